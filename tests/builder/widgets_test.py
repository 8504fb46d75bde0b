# SPDX-License-Identifier: Apache-2.0
"""The model builder, its widgets driven as a user does, without kernel or browser."""

import html
import time

import ipywidgets as widgets
import numpy as np
import pytest
import tiny

from nnlab import data
from nnlab.builder import editing, messages
from nnlab.builder.training import NUM_EXAMPLES
from nnlab.builder.widgets import ModelBuilder, Settings
from nnlab.models import layers

pytestmark = pytest.mark.slow

HIDDEN, LAST = {"layer": "dense", "units": 8}, {"layer": "dense", "units": 3}
SMALL = ["flatten", HIDDEN, "relu", LAST]
QUICK = Settings(batch_size=16, num_epochs=3, num_seeds=3)


@pytest.fixture
def builder(tmp_path):
    made = ModelBuilder(tiny.dataset(), stack=SMALL, settings=QUICK, workdir=tmp_path)
    yield made
    made.close()
    for training in made._trainings:
        training.stop()
        training.wait()


def wait(until, seconds=60):
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def verdict(builder):
    return html.unescape(builder._verdict.value)


def kinds(builder):
    return [row.kind.value for row in builder._rows]


def output(row):
    return row.cells[0].value.partition("<")[0]


def test_layers_are_edited_moved_put_in_and_taken_out(builder):
    rows = builder._rows
    assert [output(row) for row in rows] == ["(6,)", "(8,)", "(8,)", "(3,)"]
    rows[1].fields["units"].value = 5
    assert builder.stack[1]["units"] == 5
    assert [output(row) for row in builder._rows] == ["(6,)", "(5,)", "(5,)", "(3,)"]
    rows[2].buttons["up"].click()
    assert kinds(builder) == ["flatten", "relu", "dense", "dense"]
    rows[1].buttons["insert"].click()  # the dense layer's, which is third by now
    assert kinds(builder) == ["flatten", "relu", "dense", "relu", "dense"]
    builder._rows[3].kind.value = "dropout"
    assert builder.stack[3] == editing.fresh("dropout")
    builder._rows[3].buttons["remove"].click()
    builder._rows[1].buttons["down"].click()
    assert kinds(builder) == ["flatten", "dense", "relu", "dense"]
    builder._new_kind.value = "tanh"
    builder._add.click()
    assert [layer["layer"] for layer in builder.stack] == kinds(builder)
    assert kinds(builder)[-1] == "tanh"
    assert list(builder._table.children) == [row.box for row in builder._rows]


def test_an_edit_leaves_the_controls_in_which_it_was_typed(builder):
    boxes = builder._table.children
    builder._rows[1].fields["units"].value = 5
    assert builder._table.children == boxes


WRONG = {
    "no flatten": [{"layer": "conv", "channels": 2}, "flatten"],
    "classes": ["flatten", {"layer": "dense", "units": 4}, "relu"],
    "field": ["relu", {"layer": "dense", "units": 0}, "relu"],
    "nothing": [],
}


@pytest.mark.parametrize("name", WRONG)
def test_messages_are_those_of_check(builder, name):
    builder.stack = WRONG[name]
    with pytest.raises(ValueError, match="layer") as raised:
        layers.check(WRONG[name], (6,), 3)
    assert str(raised.value) in verdict(builder)
    assert "nnlab-error" in verdict(builder)
    bad = [i for i, r in enumerate(builder._rows) if "nnlab-bad" in r.box._dom_classes]
    named = getattr(raised.value, "position", None)
    assert bad == ([] if named is None else [named])
    before = [output(row) for row in builder._rows[: named or 0]]
    assert all(before)
    assert builder._train.disabled
    builder.train(wait=True)
    assert builder.answer == str(raised.value)
    assert not builder._trainings
    builder.stack = SMALL
    assert "Valid: 83 parameters, 144 FLOPs" in verdict(builder)
    assert not builder._train.disabled


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("learning_rate", -1.0, "learning_rate=-1.0 must be at least 0"),
        ("momentum", 1.0, "momentum=1.0 must be"),
        ("batch_size", 0, "batch_size=0 must be at least 1"),
        ("num_epochs", 0, "num_epochs=0 must be at least 1"),
        ("num_seeds", 0, "num_seeds=0 must be at least 1"),
        ("train_size", -5, "train_size=-5 must be at least 0"),
    ],
)
def test_a_bad_number_is_one_red_line(builder, setting, value, message):
    builder._settings[setting].value = value
    assert message in verdict(builder)
    assert "nnlab-error" in verdict(builder)
    assert builder._train.disabled


def test_what_only_a_training_can_refuse_is_one_red_line(builder):
    builder._settings["batch_size"].value = 500
    builder.train(wait=True)
    message = "batch_size=500 is larger than the 130 training examples"
    assert builder.answer == message
    assert message in builder._told.value
    assert "nnlab-error" in builder._told.value
    assert not builder._train.disabled
    assert builder.results is None
    builder.settings = QUICK
    builder.stack = [{"layer": "dense", "units": 2**30}, *SMALL]
    builder.train(wait=True)
    assert "the device has" in builder.answer
    assert "\n" not in builder.answer


def test_optional_fields_are_texts_that_may_be_empty():
    made = ModelBuilder("digits", stack=editing.PRESETS["two convolutions"](10))
    stride = made._rows[1].fields["stride"]
    assert (stride.value, output(made._rows[1])) == ("", "(4, 4, 8)")
    stride.value = "1"
    assert (made.stack[1]["stride"], output(made._rows[1])) == (1, "(7, 7, 8)")
    stride.value = "one"
    assert "stride 'one' must be a whole number of at least 1" in verdict(made)
    stride.value = ""
    assert output(made._rows[1]) == "(4, 4, 8)"
    made.close()


def test_untrained_networks_are_those_that_start_to_train(builder):
    wait(lambda: "chance" in builder._untrained.value)
    before = builder._untrained.value
    builder._untrained.value = ""
    builder.train(wait=True)
    assert builder._untrained.value == before
    first = builder._trainings[0].history.curve("test_accuracy")[0]
    assert messages.untrained(first, tiny.dataset(), 12 / 26) in html.unescape(before)


def test_training_ends_with_an_answer_pictures_and_tables(builder):
    builder._train.click()
    assert builder.is_training
    assert builder._train.disabled
    builder._train.click()  # a second click does nothing
    builder.train()
    builder._trainings[0].wait()
    assert len(builder._trainings) == 1
    found = builder.results
    final = found.curves.filter(np.array(found.curves["step"]) == 24)
    test = np.array(final["test_accuracy"])
    assert builder.answer.startswith(
        f"After epoch 3: test accuracy {messages.share(test)}"
    )
    assert builder.answer.endswith("(n = 3).")
    for plot in builder._plots.values():
        assert bytes(plot.value).startswith(b"\x89PNG")
    assert len(builder._plot_box.children) == 2
    assert builder._examples.value.count('nnlab-card"') == NUM_EXAMPLES
    assert "flatten, dense 8, relu, dense 3" in builder._done.value
    assert not builder._train.disabled
    assert builder._stop.disabled
    path = builder.write_report()
    assert "flatten, dense 8, relu, dense 3" in path.read_text("utf-8")
    assert html.escape(str(path)) in builder._where.value


def test_stop_ends_it_and_keeps_what_was_found(builder):
    builder._settings["num_epochs"].value = 1_000_000
    builder.train()
    wait(lambda: len(builder._trainings[0].history) > 2)
    builder._stop.click()
    wait(lambda: not builder.is_training)
    builder._trainings[0].wait()
    assert builder.answer.startswith("Stopped after epoch")
    assert builder.results.config["status"] == "interrupted"
    builder.settings = QUICK  # and another one can follow
    builder.train(wait=True)
    assert [t.outcome for t in builder._trainings] == ["stopped", "finished"]
    assert builder._done.value.count("<tr>") == 3


def test_closing_the_widgets_ends_the_training(builder):
    builder._settings["num_epochs"].value = 1_000_000
    builder.train()
    (training,) = builder._trainings
    wait(lambda: training.history)
    builder.close()
    wait(lambda: training.outcome == "stopped")


def test_divergence_is_said(builder):
    builder.stack = tiny.DEEP["model.layers"]
    builder._settings["learning_rate"].value = 1e6
    builder.train(wait=True)
    steps = builder.results.members["diverged_step"].to_pylist()
    assert (
        f"3 of 3 networks left the finite numbers, the first at update {min(steps)}: "
        "learning rate 1e+06 is too high for this stack; try a tenth, 100000."
    ) in builder.answer
    assert "nnlab-note" in builder._told.value
    assert "3 of 3 diverged" in builder._done.value
    assert "No network is left to ask." in builder._examples.value


def test_staying_at_chance_is_said(builder):
    builder._settings["learning_rate"].value = 0.0
    builder._settings["momentum"].value = 0.0
    builder.stack = [{"layer": "dense", "units": 3}, "relu"]
    builder.train(wait=True)
    count = builder.results.members["at_chance"].to_pylist().count(True)
    assert count
    assert f"{count} of 3 networks end" in builder.answer
    assert "at chance" in builder.answer


def test_data_that_are_not_at_hand_are_one_red_line(tmp_path):
    made = ModelBuilder("digits", data_dir=tmp_path)
    made._data.value = "cifar10"
    with pytest.raises(FileNotFoundError) as raised:
        data.load("cifar10", data_dir=tmp_path)
    assert str(raised.value) in verdict(made)
    assert made._data.value == "digits"
    assert made._dataset.name == "digits"
    made.close()


def test_what_it_began_with_follows_the_data_and_an_edited_stack_does_not():
    made = ModelBuilder("digits")
    made._preset.value = "one linear layer"
    made._data.value = "map"
    assert made.stack[-1]["units"] == made._dataset.num_classes == 20
    made._rows[-1].fields["units"].value = 10
    assert made._preset.value == ""
    made._data.value = "digits"
    assert made.stack[-1]["units"] == 10
    assert "Valid" in verdict(made)
    made._data.value = "map"
    assert "gives shape (10,), needs (20,)" in verdict(made)
    made.close()


def test_names_are_escaped(tmp_path):
    name = "<script>alert(1)</script>"
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (40, 4, 4), dtype=np.uint8)
    labels = rng.integers(0, 2, 40)
    evil = data.Dataset.from_arrays(
        images, labels, name=name, class_names=("<b>a</b>", "&")
    )
    made = ModelBuilder(evil, settings=QUICK, workdir=tmp_path)
    made._settings["batch_size"].value = 8
    made.train(wait=True)
    shown = "".join(w.value for w in vars(made).values() if isinstance(w, widgets.HTML))
    assert html.escape(name) in shown
    assert "<script" not in shown
    assert "<b>a</b>" not in shown.replace("<b>&lt;b&gt;", "")
    made.close()


def test_adam_has_no_momentum_to_set(builder):
    builder._settings["optimizer"].value = "adam"
    assert builder._settings["momentum"].disabled
    assert "Valid" in verdict(builder)
    builder._settings["optimizer"].value = "rmsprop"
    assert not builder._settings["momentum"].disabled
