# SPDX-License-Identifier: Apache-2.0
"""The model builder driven as by a user, without kernel or browser."""

import html
import re
import time

import ipywidgets as widgets
import numpy as np
import pytest
import tiny

from nnlab import data
from nnlab.builder import ModelBuilder, Settings, editing, messages
from nnlab.builder.training import NUM_EXAMPLES
from nnlab.models import layers

pytestmark = pytest.mark.slow

HIDDEN, LAST = {"layer": "dense", "units": 8}, {"layer": "dense", "units": 3}
SMALL = ["flatten", HIDDEN, "relu", LAST]
QUICK = Settings(batch_size=16, num_epochs=3, num_seeds=3)


class User:
    """Finds controls by their text, and reads what is shown."""

    def __init__(self, dataset=None, **options):
        options = {"stack": SMALL, "settings": QUICK} | options
        self.builder = ModelBuilder(dataset or tiny.dataset(), **options)

    def all(self, within=None):
        """All widgets in the order in which they are shown."""
        yield (within := within or self.builder)
        for child in getattr(within, "children", ()):
            yield from self.all(child)

    def styled(self, name, within=None):
        """The widgets of a CSS class."""
        return [w for w in self.all(within) if name in w.get_state()["_dom_classes"]]

    def control(self, label, row=None):
        """Returns the control or button with this label; in a row if one is named."""
        texts = ("description", "tooltip")
        (found,) = (
            w
            for w in self.all(None if row is None else self.rows[row])
            if any(getattr(w, text, None) == label for text in texts)
            or (label == "kind" and w in self.styled("nnlab-kind"))
        )
        return found

    def set(self, label, value, row=None):
        self.control(label, row).value = value

    def press(self, label, row=None):
        self.control(label, row).click()

    @property
    def rows(self):
        return self.styled("nnlab-row")

    @property
    def kinds(self):
        return [self.control("kind", row).value for row in range(len(self.rows))]

    @property
    def outputs(self):
        cells = self.styled("nnlab-shape")[1:]  # below the heading
        return [cell.value.partition("<")[0] for cell in cells]

    @property
    def html(self):
        return "\n".join(w.value for w in self.all() if isinstance(w, widgets.HTML))

    def said(self, kind):
        """Returns the texts in boxes of a kind: "fine", "note" or "error"."""
        boxes = re.findall(rf'<div class="nnlab-{kind}"[^>]*>([^<]*)<', self.html)
        return [html.unescape(box) for box in boxes]

    @property
    def runs(self):
        """The rows of the table of runs."""
        (table,) = self.styled("nnlab-runs")
        return re.findall("<tr>(<td.*?)</tr>", table.value)

    @property
    def untrained(self):
        found = re.search("Untrained: [^<]*", self.html)
        return found and html.unescape(found[0])


@pytest.fixture
def user(tmp_path):
    made = User(workdir=tmp_path)
    yield made
    made.builder.close()
    wait(lambda: not made.builder.is_training)


def wait(until, seconds=120):
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_layers_are_edited_moved_put_in_and_taken_out(user):
    assert user.outputs == ["(6,)", "(8,)", "(8,)", "(3,)"]
    user.set("units", 5, row=1)
    assert user.builder.stack[1]["units"] == 5
    assert user.outputs == ["(6,)", "(5,)", "(5,)", "(3,)"]
    user.press("move this layer up", row=2)
    assert user.kinds == ["flatten", "relu", "dense", "dense"]
    user.press("insert a layer below this one", row=2)
    assert user.kinds == ["flatten", "relu", "dense", "relu", "dense"]
    user.set("kind", "dropout", row=3)
    assert user.builder.stack[3] == editing.fresh("dropout")
    user.press("remove this layer", row=3)
    user.press("move this layer down", row=1)
    assert user.kinds == ["flatten", "dense", "relu", "dense"]
    user.set("new layer", "tanh")
    user.press("Add at the end")
    assert user.kinds == ["flatten", "dense", "relu", "dense", "tanh"]
    assert [layer["layer"] for layer in user.builder.stack] == user.kinds


def test_an_edit_leaves_the_controls_in_which_it_was_typed(user):
    before = user.rows
    user.set("units", 5, row=1)
    assert user.rows == before


WRONG = {
    "no flatten": [{"layer": "conv", "channels": 2}, "flatten"],
    "classes": ["flatten", {"layer": "dense", "units": 4}, "relu"],
    "field": ["relu", {"layer": "dense", "units": 0}, "relu"],
    "nothing": [],
}


@pytest.mark.parametrize("name", WRONG)
def test_messages_are_those_of_check(user, name):
    user.builder.stack = WRONG[name]
    with pytest.raises(ValueError, match="layer") as raised:
        layers.check(WRONG[name], (6,), 3)
    assert user.said("error") == [str(raised.value)]
    bad = [i for i, row in enumerate(user.rows) if row in user.styled("nnlab-bad")]
    named = getattr(raised.value, "position", None)
    assert bad == ([] if named is None else [named])
    assert all(user.outputs[: named or 0])
    assert user.control("Train").disabled
    user.builder.train(wait=True)
    assert user.builder.answer == str(raised.value)
    assert (user.builder.results, user.runs) == (None, [])
    user.builder.stack = SMALL
    assert user.said("error") == []
    assert user.said("fine") == ["Valid: 83 parameters, 144 FLOPs an example."]
    assert not user.control("Train").disabled


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("learning rate", -1.0, "learning_rate=-1.0 must be at least 0"),
        ("momentum", 1.0, "momentum=1.0 must be"),
        ("batch size", 0, "batch_size=0 must be at least 1"),
        ("epochs", 0, "num_epochs=0 must be at least 1"),
        ("networks", 0, "num_seeds=0 must be at least 1"),
        ("examples (0: all)", -5, "train_size=-5 must be at least 0"),
    ],
)
def test_a_bad_number_is_one_red_line(user, setting, value, message):
    user.set(setting, value)
    (error,) = user.said("error")
    assert message in error
    assert user.control("Train").disabled


def test_what_only_a_training_can_refuse_is_one_red_line(user):
    user.set("batch size", 500)
    user.builder.train(wait=True)
    message = "batch_size=500 is larger than the 130 training examples"
    assert user.builder.answer == message
    assert message in user.said("error")
    assert not user.control("Train").disabled
    assert user.builder.results is None
    user.builder.settings = QUICK
    user.builder.stack = [{"layer": "dense", "units": 2**30}, *SMALL]
    user.builder.train(wait=True)
    assert "the device has" in user.builder.answer
    assert "\n" not in user.builder.answer


def test_optional_fields_are_texts_that_may_be_empty():
    user = User("digits", stack=editing.PRESETS["two convolutions"](10))
    stride = user.control("stride", row=1)
    assert (stride.value, user.outputs[1]) == ("", "(4, 4, 8)")
    stride.value = "1"
    assert (user.builder.stack[1]["stride"], user.outputs[1]) == (1, "(7, 7, 8)")
    stride.value = "one"
    (error,) = user.said("error")
    assert "stride 'one' must be a whole number of at least 1" in error
    stride.value = ""
    assert user.outputs[1] == "(4, 4, 8)"
    user.builder.close()


def test_untrained_networks_are_those_that_start_to_train(user):
    wait(lambda: "chance" in user.untrained)
    before = user.untrained
    user.builder.train(wait=True)
    assert user.untrained == before
    curves = user.builder.results.curves.to_pandas()
    first = curves[curves["step"] == 0]["test_accuracy"].to_numpy()
    assert before == messages.untrained(first, tiny.dataset(), 12 / 26)


def test_training_ends_with_an_answer_pictures_and_tables(user):
    user.press("Train")
    assert user.builder.is_training
    assert user.control("Train").disabled
    user.press("Train")  # a second click does nothing
    user.builder.train()
    wait(lambda: not user.builder.is_training)
    (run,) = user.runs
    assert "flatten, dense 8, relu, dense 3" in run
    curves = user.builder.results.curves.to_pandas()
    test = curves[curves["step"] == 24]["test_accuracy"].to_numpy()
    answer = user.builder.answer
    assert answer.startswith(f"After epoch 3: test accuracy {messages.share(test)}")
    assert answer.endswith("(n = 3).")
    plots = [w for w in user.all() if isinstance(w, widgets.Image)]
    assert [bytes(plot.value[:4]) for plot in plots] == [b"\x89PNG"] * 2
    assert user.html.count('nnlab-card"') == NUM_EXAMPLES
    assert not user.control("Train").disabled
    assert user.control("Stop").disabled
    user.press("Write report")
    path = user.builder.write_report()
    assert "flatten, dense 8, relu, dense 3" in path.read_text("utf-8")
    assert f"Report: {html.escape(str(path))}" in user.html


def test_stop_ends_it_and_keeps_what_was_found(user):
    user.set("epochs", 1_000_000)
    user.builder.train()
    wait(lambda: any(text.startswith("At epoch") for text in user.said("fine")))
    user.press("Stop")
    wait(lambda: not user.builder.is_training)
    assert user.builder.answer.startswith("Stopped after epoch")
    assert user.builder.results.config["status"] == "interrupted"
    user.builder.settings = QUICK  # and another one can follow
    user.builder.train(wait=True)
    assert ["stopped" in run for run in user.runs] == [False, True]


def test_closing_the_widgets_ends_the_training(user):
    user.set("epochs", 1_000_000)
    user.builder.train()
    wait(lambda: any(text.startswith("At epoch") for text in user.said("fine")))
    user.builder.close()
    wait(lambda: not user.builder.is_training)
    assert user.builder.results.config["status"] == "interrupted"


def test_divergence_is_said(user):
    user.builder.stack = tiny.DEEP["model.layers"]
    user.set("learning rate", 1e6)
    user.builder.train(wait=True)
    steps = user.builder.results.members["diverged_step"].to_pylist()
    message = (
        f"3 of 3 networks diverged, the first at update {min(steps)}: learning rate "
        "1e+06 is too high for this stack; try a tenth, 100000."
    )
    assert message in user.builder.answer
    assert message in user.said("note")
    assert "3 of 3 diverged" in user.runs[0]
    assert "All networks have diverged." in user.html


def test_staying_at_chance_is_said(user):
    user.set("learning rate", 0.0)
    user.set("momentum", 0.0)
    user.builder.stack = [{"layer": "dense", "units": 3}, "relu"]
    user.builder.train(wait=True)
    count = user.builder.results.members["at_chance"].to_pylist().count(True)
    assert count
    assert f"{count} of 3 networks end at chance" in user.builder.answer


def test_data_that_are_not_at_hand_are_one_red_line(tmp_path):
    user = User("digits", stack=None, data_dir=tmp_path)
    user.set("data set", "cifar10")
    with pytest.raises(FileNotFoundError) as raised:
        data.load("cifar10", data_dir=tmp_path)
    assert user.said("error") == [str(raised.value)]
    assert user.control("data set").value == "digits"
    assert "shape (8, 8, 1)" in user.html
    user.builder.close()


def test_a_preset_follows_the_data_and_an_edited_stack_does_not():
    user = User("digits", stack=None)
    user.set("begin with", "one linear layer")
    user.set("data set", "map")
    assert user.builder.stack[-1]["units"] == 20
    user.set("units", 10, row=len(user.rows) - 1)
    assert user.control("begin with").value == ""
    user.set("data set", "digits")
    assert user.builder.stack[-1]["units"] == 10
    assert user.said("error") == []
    user.set("data set", "map")
    (error,) = user.said("error")
    assert "gives shape (10,), needs (20,)" in error
    user.builder.close()


def test_names_are_escaped(tmp_path):
    rng = np.random.default_rng(0)
    evil = data.Dataset.from_arrays(
        rng.integers(0, 255, (40, 4, 4), dtype=np.uint8),
        rng.integers(0, 2, 40),
        name="<script>alert(1)</script>",
        class_names=("<b>a</b>", "&"),
    )
    user = User(evil, stack=None, workdir=tmp_path)
    user.set("batch size", 8)
    user.builder.train(wait=True)
    assert html.escape(evil.name) in user.html
    assert "<script" not in user.html
    assert "<b>a</b>" not in user.html.replace("<b>&lt;b&gt;", "")
    user.builder.close()


def test_adam_has_no_momentum_to_set(user):
    user.set("optimizer", "adam")
    assert user.control("momentum").disabled
    assert user.said("error") == []
    user.set("optimizer", "rmsprop")
    assert not user.control("momentum").disabled
