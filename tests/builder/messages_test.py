# SPDX-License-Identifier: Apache-2.0
"""Messages about a training, as text and as HTML."""

import base64
import io
import re

import numpy as np
import pytest
import tiny
from PIL import Image
from progressed import progress

from nnlab import data
from nnlab.builder import editing, messages
from nnlab.builder.training import Training


def of_dataset(dataset, folder):
    stack = editing.stack_of(["flatten", {"layer": "dense", "units": 2}])
    study = tiny.study(num_seeds=3)
    return Training(1, study, stack, dataset, folder, show=lambda *_: None)


@pytest.fixture
def training(tmp_path):
    """Three networks on two images of two classes, before training."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (40, 4, 4), dtype=np.uint8)
    names = {"name": "<script>", "class_names": ("<b>cat</b>", "dog")}
    dataset = data.Dataset.from_arrays(images, rng.integers(0, 2, 40), **names)
    made = of_dataset(dataset, tmp_path)
    made.before = np.array([[0.5, 0.5], [0.4, 0.6]])
    made.now = np.array([[0.9, 0.1], [0.2, 0.8]])
    return made


def measure(training, *accuracies):
    names = ("train_accuracy", "train_loss", "test_accuracy", "test_loss")
    step = 8 * len(training.history)
    training.history.add(step, step / 8, dict.fromkeys(names, np.array(accuracies)))


def test_an_accuracy_has_its_interval_and_a_single_one_has_none():
    assert messages.share(np.array([0.5, 0.6, 0.7])) == "60 % ± 25"
    assert messages.share(np.array([0.5])) == "50.0 %"


@pytest.mark.parametrize(
    ("accuracies", "wanted"),
    [
        (
            [0.1, 0.2, np.nan],
            "Untrained: 15.0 % of 37 test examples right (10.0 % to 20.0 % over 2 "
            "networks, chance 40.0 %).",
        ),
        ([0.1], "Untrained: 10.0 % of 37 test examples right (chance 40.0 %)."),
        ([np.nan], "Untrained: no network has finite outputs."),
    ],
)
def test_untrained_networks_are_set_beside_chance(accuracies, wanted):
    said = messages.untrained(np.array(accuracies), tiny.dataset(), 0.4)
    assert said == wanted


def test_divergence_is_said_with_what_to_do():
    assert messages.lost(3, 8, 1200, 0.7) == (
        "3 of 8 networks diverged, the first at update 1,200: learning "
        "rate 0.7 is too high for this stack; try a tenth, 0.07."
    )
    assert "diverged, by update 12:" in messages.lost(3, 8, 12, 0.7, by=True)
    assert "diverged, at update 12:" in messages.lost(1, 8, 12, 0.7)


def test_a_training_that_goes_on_is_told_of_and_lost_networks_are_counted_out(training):
    assert messages.told(training) == []
    measure(training, 0.5, 0.6, 0.7)
    measure(training, 0.6, np.nan, 0.7)
    assert messages.told(training) == [
        "At epoch 1: test accuracy 65.0 %, training accuracy 65.0 % (n = 2)."
    ]
    measure(training, np.nan, np.nan, np.nan)
    training.outcome = "finished"
    assert messages.told(training) == ["After epoch 2: all networks have diverged."]
    news = messages.news(training)
    assert "flatten, dense 2 (&lt;script&gt;)" in news
    assert '<div class="nnlab-note" role="status">After epoch 2: all' in news


def test_what_goes_on_is_said_with_the_time_left(training):
    assert messages.state(training) == "Compiling."
    training.progress = progress(done=500)
    assert messages.state(training) == (
        "epoch 13.2 of 60 | 0:00:00 left | 2,000,000 examples/s | "
        "2,000,000 inferences/s (3 networks together)"
    )
    training.outcome = "stopped"
    assert messages.state(training).startswith("Stopped after 0:00:00. Means and 95 %")
    assert messages.clock(3725.4) == "1:02:05"


def test_examples_are_shown_with_a_bar_for_each_class(training):
    measure(training, 0.5, 0.6, 0.7)
    shown = messages.probabilities(training)
    assert shown.count('"nnlab-card"') == 2
    widths = re.findall(r'nnlab-(before|now)" style="width:([0-9.]+)%', shown)
    assert [float(w) for kind, w in widths if kind == "now"] == [90, 10, 20, 80]
    assert [float(w) for kind, w in widths if kind == "before"] == [50, 50, 40, 60]
    assert "says dog, 80 %" in shown
    assert "<b>cat" not in shown
    assert "&lt;b&gt;cat" in shown
    labels = training.dataset.test.labels[:2]
    true = re.findall(r'nnlab-class nnlab-(true|other)"', shown)
    assert [kind == "true" for kind in true] == [c == y for y in labels for c in (0, 1)]
    encoded = re.findall(r"base64,([^\"]+)", shown)
    for image, example in zip(encoded, training.dataset.test.inputs):
        pixels = np.array(Image.open(io.BytesIO(base64.b64decode(image))))
        np.testing.assert_array_equal(pixels, example[..., 0])


def test_of_many_classes_the_true_and_the_most_probable_have_bars(tmp_path):
    names, labels = tuple(f"class {c}" for c in range(30)), np.arange(300) % 30
    many = data.Dataset.from_arrays(np.zeros((300, 4)), labels, class_names=names)
    made = of_dataset(many, tmp_path)
    measure(made, 0.5)
    made.before = made.now = np.linspace(0.01, 0.3, 30)[None]
    label = int(many.test.labels[0])
    shown = re.findall(r">(class \d+)<", messages.probabilities(made))[1:]
    assert shown == [names[c] for c in sorted({label, *range(30 - 9, 30)})][-10:]


def test_a_network_that_is_lost_answers_nothing(training):
    measure(training, np.nan, np.nan, np.nan)
    assert "All networks have diverged." in messages.probabilities(training)


def test_images_of_other_channels_have_no_png():
    assert messages.png(np.zeros((4, 4, 2))) is None
    assert messages.png(np.zeros(4)) is None
    assert messages.png(np.zeros((4, 4, 3))).startswith(b"\x89PNG")


def test_the_table_has_a_row_for_each_run_and_escapes(training):
    assert messages.table([]) == ""
    measure(training, 0.5, np.nan, 0.7)
    training.outcome = "stopped"
    training.stack[0]["layer"] = "<i>"
    shown = messages.table([training])
    assert "&lt;i&gt;, dense 2" in shown
    assert "stopped, 1 of 3 diverged" in shown
    assert "60.0 % (n = 2)" in shown
