# SPDX-License-Identifier: Apache-2.0
"""The model builder driven as by a user, without kernel or browser."""

import base64
import dataclasses
import html
import re
import time

import ipywidgets as widgets
import numpy as np
import pytest
import tiny

from nnlab import data
from nnlab.builder import ModelBuilder, Settings, editing, messages
from nnlab.builder import widgets as builder_widgets
from nnlab.builder.training import NUM_EXAMPLES
from nnlab.models import layers

pytestmark = pytest.mark.usefixtures("compiled_fast")

HIDDEN, LAST = {"layer": "dense", "units": 8}, {"layer": "dense", "units": 3}
SMALL = ["flatten", HIDDEN, "relu", LAST]
QUICK = Settings(batch_size=16, num_epochs=3, num_seeds=3)
MOVES = ("move this layer up", "move this layer down")
BELOW, AWAY = "insert a layer below this one", "remove this layer"


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


def wait(until, seconds=120):
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def begin(tmp_path, monkeypatch, request):
    """Makes users, whose builders are closed at the end.

    Only slow tests evaluate untrained networks after each edit.
    """
    if not request.node.get_closest_marker("slow"):
        monkeypatch.setattr(builder_widgets, "SECONDS_OF_QUIET", 3600)
    made = []

    def begin(*args, **options):
        made.append(User(*args, **{"workdir": tmp_path} | options))
        return made[-1]

    yield begin
    for user in made:
        user.builder.close()
    wait(lambda: not any(user.builder.is_training for user in made))


@pytest.fixture
def user(begin):
    return begin()


def test_layers_are_edited_moved_put_in_and_taken_out(user):
    up, down = MOVES
    before = user.rows
    assert user.outputs == ["(6,)", "(8,)", "(8,)", "(3,)"]
    user.set("units", 5, row=1)
    assert user.builder.stack[1]["units"] == 5
    assert user.outputs == ["(6,)", "(5,)", "(5,)", "(3,)"]
    assert user.rows == before  # a control in which one types stays
    user.press(up, row=2)
    assert user.kinds == ["flatten", "relu", "dense", "dense"]
    user.press(BELOW, row=2)
    assert user.kinds == ["flatten", "relu", "dense", "relu", "dense"]
    user.set("kind", "dropout", row=3)
    assert user.builder.stack[3] == editing.fresh("dropout")
    user.press(AWAY, row=3)
    user.press(down, row=1)
    assert user.kinds == ["flatten", "dense", "relu", "dense"]
    user.set("new layer", "tanh")
    user.press("Add at the end")
    assert user.kinds == ["flatten", "dense", "relu", "dense", "tanh"]
    assert [layer["layer"] for layer in user.builder.stack] == user.kinds


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


@pytest.mark.slow
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


def test_optional_fields_are_texts_that_may_be_empty(begin):
    user = begin("digits", stack=editing.PRESETS["two convolutions"](10))
    stride = user.control("stride", row=1)
    assert (stride.value, user.outputs[1]) == ("", "(4, 4, 8)")
    stride.value = "1"
    assert (user.builder.stack[1]["stride"], user.outputs[1]) == (1, "(7, 7, 8)")
    stride.value = "one"
    (error,) = user.said("error")
    assert "stride 'one' must be a whole number of at least 1" in error
    stride.value = ""
    assert user.outputs[1] == "(4, 4, 8)"


@pytest.mark.slow
def test_training_ends_with_an_answer_pictures_and_tables(user):
    wait(lambda: "chance" in user.untrained)
    before = user.untrained
    user.press("Train")
    assert user.builder.is_training
    assert user.control("Train").disabled
    user.press("Train")  # a second click does nothing
    user.builder.train()
    wait(lambda: not user.builder.is_training)
    (run,) = user.runs
    assert "flatten, dense 8, relu, dense 3" in run
    curves = user.builder.results.curves.to_pandas().set_index("step")
    first, last = (curves["test_accuracy"][n].to_numpy() for n in (0, 24))
    # Untrained networks are those that start to train.
    labels = tiny.dataset().validation.labels
    chance = np.bincount(labels).max() / len(labels)
    said = messages.untrained(first, tiny.dataset(), chance)
    assert user.untrained == before == said
    answer = user.builder.answer
    assert answer.startswith(f"After epoch 3: test accuracy {messages.share(last)}")
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
    (saved,) = re.findall(
        'download="nnlab-run-1.html" href="data:[^,]*,([^"]*)"', user.html
    )
    assert base64.b64decode(saved) == path.read_bytes()


@pytest.mark.slow
def test_earlier_runs_on_the_same_data_stay_in_the_plots_until_cleared(
    user, monkeypatch
):
    drawn = []

    def picture(*args, earlier, **how):
        drawn.append([(run, len(epochs), each.shape) for run, epochs, each in earlier])
        return b""

    monkeypatch.setattr(builder_widgets.plots, "picture", picture)
    monkeypatch.setattr(builder_widgets.plots, "MOST_EARLIER", 1)
    assert user.control("Clear curves").disabled
    for _ in range(2):
        user.builder.train(wait=True)
    assert drawn[-2:] == [[(1, 4, (4, 3))]] * 2  # accuracy and loss
    user.press("Clear curves")
    assert drawn[-2:] == [[], []]
    assert user.control("Clear curves").disabled
    user.builder.train(wait=True)
    assert [run for run, *_ in drawn[-1]] == [2]
    first = user.control("data set").value
    user.set("data set", "digits")
    user.builder.stack = editing.PRESETS["one linear layer"](10)
    user.builder.train(wait=True)
    assert drawn[-1] == []
    user.set("data set", first)
    user.builder.stack = editing.PRESETS["one linear layer"](3)
    user.builder.train(wait=True)
    assert [run for run, *_ in drawn[-1]] == [3]  # the last one on these data


@pytest.mark.slow
def test_stopping_and_closing_end_it_and_keep_what_was_found(user):
    def trains():
        return any(text.startswith("At epoch") for text in user.said("fine"))

    user.set("epochs", 1_000_000)
    user.builder.train()
    wait(trains)
    user.press("Stop")
    wait(lambda: not user.builder.is_training)
    first = user.builder.results
    assert user.builder.answer.startswith("Stopped after epoch")
    user.builder.train()  # another one can follow
    assert not trains()
    wait(trains)
    user.builder.close()
    wait(lambda: not user.builder.is_training)
    for found in (first, user.builder.results):
        assert found.config["status"] == "interrupted"
    assert first.workdir != user.builder.results.workdir


@pytest.mark.slow
def test_divergence_and_staying_at_chance_are_said(user):
    user.set("learning rate", 1e30)
    user.builder.train(wait=True)
    steps = user.builder.results.members["diverged_step"].to_pylist()
    message = (
        f"3 of 3 networks diverged, the first at update {min(steps)}: learning rate "
        "1e+30 is too high for this stack; try a tenth, 1e+29."
    )
    assert message in user.builder.answer
    assert message in user.said("note")
    assert "3 of 3 diverged" in user.runs[0]
    assert "All networks have diverged." in user.html
    user.builder.settings = dataclasses.replace(QUICK, learning_rate=0.0, momentum=0.0)
    user.builder.train(wait=True)
    count = user.builder.results.members["at_chance"].to_pylist().count(True)
    assert count
    assert f"{count} of 3 networks end at chance" in user.builder.answer


def test_data_that_are_not_at_hand_are_one_red_line(tmp_path, begin):
    user = begin("digits", stack=None, data_dir=tmp_path)
    user.set("data set", "cifar10")
    with pytest.raises(FileNotFoundError) as raised:
        data.load("cifar10", data_dir=tmp_path)
    assert user.said("error") == [str(raised.value)]
    assert user.control("data set").value == "digits"
    assert "shape (8, 8, 1)" in user.html


def test_a_preset_follows_the_data_and_an_edited_stack_does_not(begin):
    user = begin("digits", stack=None)
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


def test_names_and_texts_that_are_typed_are_escaped(begin):
    name, classes = "<script>alert(1)</script>", ("<b>a</b>", "&")
    pixels, labels = np.zeros((40, 8, 8), np.uint8), np.arange(40) % 2
    of = {"name": name, "class_names": classes}
    evil = data.Dataset.from_arrays(pixels, labels, **of)
    user = begin(evil, stack=editing.PRESETS["two convolutions"](2))
    user.set("stride", name, row=1)
    assert html.escape(name) in user.html
    assert "<script" not in user.html
    assert classes[0] not in user.html


def test_adam_has_no_momentum_to_set(user):
    user.set("optimizer", "adam")
    assert user.control("momentum").disabled
    assert user.said("error") == []
    user.set("optimizer", "rmsprop")
    assert not user.control("momentum").disabled
