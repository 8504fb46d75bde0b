# SPDX-License-Identifier: Apache-2.0
"""A model builder for notebooks: stack layers, see what they make, train and watch.

    from nnlab.builder import ModelBuilder
    ModelBuilder()

Works with ipywidgets 7 (Colab) and 8 (JupyterLab, Voila), without an extension.
Training runs in a thread of its own, so that all controls stay alive.
"""

import functools
import importlib.resources
import itertools
import os
import pathlib
import tempfile
import threading
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

try:
    import ipywidgets as widgets
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        "nnlab.builder.widgets needs ipywidgets: pip install 'nnlab[notebook]'"
    ) from None

from nnlab import data, report, results
from nnlab.builder import editing, messages, plots
from nnlab.builder.training import (
    NO_MOMENTUM,
    Settings,
    Training,
    keep_programs,
    one_line,
    study_of,
    untrained_accuracy,
)
from nnlab.data import Dataset
from nnlab.data.sources import SOURCES
from nnlab.machine.files import absolute
from nnlab.models import layers
from nnlab.runs import provenance
from nnlab.study import OPTIMIZERS, Study
from nnlab.words.numbers import escaped

SECONDS_OF_QUIET = 0.4
"""After an edit, before untrained networks are looked at."""

_SETTINGS = {
    "optimizer": "optimizer",
    "learning_rate": "learning rate",
    "momentum": "momentum",
    "batch_size": "batch size",
    "num_epochs": "epochs",
    "num_seeds": "networks",
    "train_size": "examples (0: all)",
}
_PLOTS = ("accuracy", "loss")


class _Row:
    """One layer's controls. `layer` is the dict in the stack that it stands for."""

    def __init__(
        self, layer: dict[str, Any], act: Callable[["_Row", str, Any], None]
    ) -> None:
        self.layer = layer
        self.number = _html("nnlab-number")
        self.cells = [_html(f"nnlab-{name}") for name in ("shape", "count", "cost")]
        self.kind = widgets.Dropdown(
            options=list(layers.FIELDS), value=layer["layer"], layout={"width": "auto"}
        )
        self.kind.add_class("nnlab-kind")
        self.kind.observe(lambda change: act(self, "turn", change["new"]), "value")
        self.fields = {}
        for name, field in layers.FIELDS[layer["layer"]].items():
            control = _control(name, field, layer.get(name, field.default))
            edited = functools.partial(self._edited, act, name)
            control.observe(edited, "value")
            self.fields[name] = control
        self.buttons = {
            action: _button(text, tip, functools.partial(act, self, action))
            for action, (text, tip) in _ACTIONS.items()
        }
        self.box = _box(
            "nnlab-row",
            self.number,
            self.kind,
            _box("nnlab-fields", *self.fields.values()),
            *self.cells,
            _box("nnlab-buttons", *self.buttons.values()),
        )

    def _edited(
        self, act: Callable[["_Row", str, Any], None], name: str, change: Any
    ) -> None:
        act(self, "edit", (name, change["new"]))

    def show(self, position: int, row: layers.LayerRow | None, is_bad: bool) -> None:
        """Shows where the layer stands and what it makes; None for what is unknown."""
        self.number.value = str(position)
        made = ("", "", "")
        if row:
            made = str(row.output_shape), f"{row.parameters:,}", f"{row.flops:,}"
        for cell, text, unit in zip(self.cells, made, ("", " parameters", " FLOPs")):
            cell.value = text and f'{text}<span class="nnlab-unit">{unit}</span>'
        (self.box.add_class if is_bad else self.box.remove_class)("nnlab-bad")


_ACTIONS = {
    "up": ("↑", "move this layer up"),
    "down": ("↓", "move this layer down"),
    "insert": ("+", "insert a layer below this one"),
    "remove": ("\u00d7", "remove this layer"),
}


class ModelBuilder(widgets.VBox):
    """The builder, a widget: the last line of a cell shows it.

    Attributes:
      results: of the last training that ended or was stopped; None before.
      answer: what the last training came to, in words, or why there was none.
    """

    def __init__(
        self,
        dataset: Dataset | str = "digits",
        *,
        stack: Iterable[layers.Layer] | None = None,
        settings: Settings | None = None,
        data_dir: str | os.PathLike[str] | None = None,
        workdir: str | os.PathLike[str] | None = None,
    ) -> None:
        """Begins with 100 ReLU units.

        Args:
          dataset: the name of one to begin with, or a data set of one's own, which then
            stands among the others.
          stack: the layers to begin with.
          settings: how to train at first.
          data_dir: where image data lie; see `nnlab.data.load`.
          workdir: each training gets a folder in it; None for a temporary one.

        Raises:
          ValueError, FileNotFoundError, ConnectionError: layers that are none, a data
            set that is not at hand.
        """
        keep_programs()
        self._data_dir = None if data_dir is None else absolute(data_dir, "data_dir")
        self._workdir = None if workdir is None else absolute(workdir, "workdir")
        self._own = {} if isinstance(dataset, str) else {dataset.name: dataset}
        self._loaded = dict(self._own)
        self._trainings: list[Training] = []
        self._rows: list[_Row] = []
        self._edits = self._edits_trained = 0
        self._is_settling = False
        self._measuring = threading.Lock()
        self.results: results.Results | None = None
        self.answer = ""
        name = dataset if isinstance(dataset, str) else dataset.name
        self._dataset = self._load(name)
        preset = "100 ReLU units" if stack is None else ""
        if stack is None:
            stack = editing.PRESETS[preset](self._dataset.num_classes)
        self._stack = editing.stack_of(stack)
        self._make_widgets(name, preset, settings or Settings())
        super().__init__(self._parts())
        self.add_class("nnlab-builder")
        self._show_stack()

    @property
    def stack(self) -> editing.Stack:
        """The layers; assigning shows others, which need not be valid."""
        return self._stack

    @stack.setter
    def stack(self, stack: Iterable[layers.Layer]) -> None:
        self._take(editing.stack_of(stack))

    @property
    def settings(self) -> Settings:
        """How the next training goes; assigning sets the controls."""
        return Settings(**{name: w.value for name, w in self._settings.items()})

    @settings.setter
    def settings(self, settings: Settings) -> None:
        for name, control in self._settings.items():
            self._set_quietly(control, getattr(settings, name))
        self._refresh()

    @property
    def is_training(self) -> bool:
        """Whether a training goes on."""
        return bool(self._trainings) and not self._trainings[-1].outcome

    def train(self, wait: bool = False) -> None:
        """Begins to train the stack; does nothing while a training goes on.

        Args:
          wait: whether to return only when it has ended; Ctrl-C then stops it.
        """
        if self.is_training:
            return
        if self._study is None:
            self.answer = self._mistake  # which stands below the layers already
            return
        self._edits += 1  # what untrained networks do is about to be seen anyway
        self._edits_trained = self._edits
        training = Training(
            *(len(self._trainings) + 1, self._study, self._stack, self._dataset),
            folder=self._folder(),
            show=self._show,
        )
        self._trainings.append(training)
        self._set_buttons()
        words = f"Run {training.number}: {editing.summary(self._stack)}"
        words += f" ({self._dataset.name})"
        self._title.value = f"<h3>{escaped(words)}</h3>"
        self._told.value = self._where.value = self._examples.value = ""
        self._plot_box.children = []
        self._state.value = messages.state(training)
        training.start()
        if wait:
            training.wait()

    def stop(self) -> None:
        """Ends the training after the updates at hand; what it found stays."""
        if self.is_training:
            self._trainings[-1].stop()
            self._state.value = "Stopping."

    def close(self) -> None:
        """Takes the widgets away, and ends a training."""
        self.stop()
        self._edits += 1
        for child in self.children:
            _close(child)
        super().close()

    def write_report(self) -> pathlib.Path | None:
        """Writes the report of the last training, and says where it is."""
        if self.results is None or self.is_training:
            return None
        try:
            path = report.write(self.results.workdir)
        except (ValueError, OSError) as error:
            self._refuse(one_line(error))
            return None
        self._where.value = _line(f"Report: {path}")
        return path

    # The widgets.

    def _make_widgets(self, name: str, preset: str, settings: Settings) -> None:
        names = list(dict.fromkeys([*self._own, *SOURCES, name]))
        self._data = _labelled(
            widgets.Dropdown, "data set", "220px", name, options=names
        )
        self._data.observe(self._choose_data, "value")
        presets = [("(a stack of your own)", ""), *((n, n) for n in editing.PRESETS)]
        self._preset = _labelled(
            widgets.Dropdown, "begin with", "290px", preset, options=presets
        )
        self._preset.observe(self._choose_preset, "value")
        self._about_data = _html("nnlab-quiet")
        self._table = _box("nnlab-rows")
        kinds = list(layers.FIELDS)
        self._new_kind = _labelled(
            widgets.Dropdown, "new layer", "220px", "dense", options=kinds
        )
        self._add = _button("Add at the end", "add a layer at the end", self._append)
        self._verdict, self._untrained = _html(), _html()
        self._settings = {
            name: _setting(name, getattr(settings, name)) for name in _SETTINGS
        }
        for control in self._settings.values():
            control.observe(self._refresh, "value")
        self._train = _button("Train", "train these layers", lambda _: self.train())
        self._train.button_style = "primary"
        self._stop = _button("Stop", "stop the training", lambda _: self.stop())
        self._report = _button("Write report", "write the report", self._write_report)
        self._title, self._bar, self._state = _html(), _html(), _html()
        self._told, self._where, self._examples = _html(), _html(), _html()
        self._done = _html("nnlab-runs")
        self._plots = {name: widgets.Image(format="png") for name in _PLOTS}
        # Empty as yet: an Image without bytes is shown as a broken one.
        self._plot_box = _box("nnlab-plots")
        self._study: Study | None = None
        self._mistake = ""

    def _parts(self) -> list[Any]:
        css = importlib.resources.files("nnlab.builder") / "builder.css"
        heads = {"kind": "layer", "shape": "output", "count": "parameters"}
        heads["cost"] = "FLOPs"
        return [
            widgets.HTML(f"<style>{css.read_text('utf-8')}</style>"),
            _box("nnlab-line", self._data, self._preset),
            self._about_data,
            _box("nnlab-head", *(_html(f"nnlab-{k}", v) for k, v in heads.items())),
            self._table,
            _box("nnlab-line", self._new_kind, self._add),
            self._verdict,
            self._untrained,
            _html(text="<h3>Training</h3>"),
            _box("nnlab-settings", *self._settings.values()),
            _box("nnlab-line", self._train, self._stop, self._report),
            *(self._title, self._bar, self._state, self._told, self._where),
            *(self._plot_box, self._examples, self._done),
        ]

    def _set_buttons(self) -> None:
        at_work = self.is_training
        self._train.disabled = at_work or self._study is None
        self._stop.disabled = not at_work
        self._report.disabled = at_work or self.results is None

    def _set_quietly(self, control: Any, value: Any) -> None:
        """Sets a control as code does it, not a user: nobody listens."""
        self._is_settling = True
        try:
            control.value = value
        finally:
            self._is_settling = False

    def _write_report(self, _: Any) -> None:
        self.write_report()

    def _refuse(self, message: str) -> None:
        self.answer = message
        self._told.value = _error(message)

    # What is edited.

    def _load(self, name: str) -> Dataset:
        if name not in self._loaded:
            self._loaded[name] = data.load(name, data_dir=self._data_dir)
        return self._loaded[name]

    def _choose_data(self, change: Any) -> None:
        if self._is_settling:
            return
        name = change["new"]
        self._verdict.value = _line(f"Reading {name}.")
        try:
            self._dataset = self._load(name)
        except (ValueError, OSError) as error:
            self._set_quietly(self._data, change["old"])
            self._refresh()
            self._verdict.value = _error(one_line(error))
            return
        self._choose_preset({"new": self._preset.value})
        self._show_stack()

    def _choose_preset(self, change: Any) -> None:
        if change["new"] and not self._is_settling:
            made = editing.PRESETS[change["new"]](self._dataset.num_classes)
            self._stack = editing.stack_of(made)
            self._show_stack()

    def _append(self, _: Any) -> None:
        new = editing.fresh(self._new_kind.value)
        self._take(editing.insert(self._stack, len(self._stack), new))

    def _take(self, stack: editing.Stack) -> None:
        """Takes a stack that is no longer what it began with."""
        self._stack = stack
        self._set_quietly(self._preset, "")
        self._show_stack()

    def _act(self, row: _Row, action: str, value: Any) -> None:
        """Does what a row's control asks for."""
        stack, at = self._stack, self._rows.index(row)
        if action == "edit":
            name, given = value
            stack = editing.edit(stack, at, name, _value(row.layer, name, given))
            row.layer = stack[at]
        elif action == "turn":
            stack = editing.turn(stack, at, value)
        elif action == "insert":
            stack = editing.insert(stack, at + 1, editing.fresh("relu"))
        elif action == "remove":
            stack = editing.remove(stack, at)
        else:
            stack = editing.move(stack, at, -1 if action == "up" else 1)
        self._take(stack)

    def _show_stack(self) -> None:
        """Gives each layer a row; layers that had one keep it."""
        known = {id(row.layer): row for row in self._rows}
        self._rows = [
            known.pop(id(layer)) if id(layer) in known else _Row(layer, self._act)
            for layer in self._stack
        ]
        boxes = tuple(row.box for row in self._rows)
        if tuple(self._table.children) != boxes:
            self._table.children = boxes
        for row in known.values():
            _close(row.box)
        self._refresh()

    def _refresh(self, _: Any = None) -> None:
        """Shows what the stack makes of the data set, and whether it can be trained."""
        if self._is_settling:
            return
        some = self._dataset
        found = layers.inspect(self._stack, some.input_shape, some.num_classes)
        train, validation, test = (
            f"{len(split.labels):,}"
            for split in (some.train, some.validation, some.test)
        )
        self._about_data.value = escaped(
            f"{train} training, {validation} validation and {test} test examples of "
            f"shape {some.input_shape}, {some.num_classes} classes"
        )
        for position, row in enumerate(self._rows):
            made = found.rows[position] if position < len(found.rows) else None
            row.show(position, made, position == found.position)
        optimizer = self._settings["optimizer"].value
        self._settings["momentum"].disabled = optimizer in NO_MOMENTUM
        self._edits += 1
        try:
            self._study = study_of(self._stack, found, some, self.settings)
        except ValueError as error:
            self._study, self._mistake = None, str(error)
        self._set_buttons()
        if self._study is None:
            self._verdict.value = _error(self._mistake)
            self._untrained.value = ""
            return
        parameters = sum(row.parameters for row in found.rows)
        operations = sum(row.flops for row in found.rows)
        text = f"Valid: {parameters:,} parameters, {operations:,} FLOPs an example."
        self._verdict.value = messages.notes([text])
        self._untrained.value = _line("Untrained: …")
        arguments = (self._edits, self._study, some)
        timer = threading.Timer(SECONDS_OF_QUIET, self._look_at_untrained, arguments)
        timer.daemon = True
        timer.start()

    def _look_at_untrained(self, edit: int, study: Study, dataset: Dataset) -> None:
        """In the background: says how good the networks of an edit are at first."""
        with self._measuring:  # one at a time; of those that wait only the last counts
            if edit != self._edits:
                return
            try:
                accuracy = untrained_accuracy(study, dataset)
            except Exception as error:
                text = _error(one_line(error))
            else:
                text = _untrained(accuracy, dataset)
            if edit == self._edits:
                self._untrained.value = text

    # What goes on; called by the training's thread.

    def _show(self, training: Training, draws: bool) -> None:
        """Tells how a training goes, or what it came to."""
        history = training.history
        if len(history) == 1 and self._edits == self._edits_trained:
            accuracy = history.curve("test_accuracy")[0]
            self._untrained.value = _untrained(accuracy, training.dataset)
        if draws and len(history):
            for name, plot in self._plots.items():
                plot.value = plots.picture(
                    np.array(history.epochs),
                    {
                        "training": history.curve(f"train_{name}"),
                        "validation": history.curve(f"validation_{name}"),
                    },
                    chance=training.chance if name == "accuracy" else None,
                )
            self._plot_box.children = list(self._plots.values())
            self._examples.value = messages.probabilities(training)
        if training.outcome == "failed":
            self._bar.value = self._state.value = ""
            self._refuse(training.failure)
        else:
            told = messages.told(training)
            left = not len(history) or len(history.last("test_accuracy")) > 0
            self._told.value = messages.notes(told, is_fine=left)
            self._state.value = escaped(messages.state(training))
            self._bar.value = messages.bar(training)
        if training.outcome in ("finished", "stopped"):
            self.results, self.answer = training.results, " ".join(told)
            self._where.value = _line(f"Tables: {training.folder}")
            ended = [each for each in self._trainings if each.results is not None]
            self._done.value = messages.table(ended)
        if training.outcome:
            self._set_buttons()

    def _folder(self) -> pathlib.Path:
        """A folder for the next training that is not there yet."""
        if self._workdir is None:
            self._workdir = pathlib.Path(tempfile.mkdtemp(prefix="nnlab-builder-"))
        numbers = itertools.count(len(self._trainings) + 1)
        folders = (self._workdir / f"run-{number}" for number in numbers)
        return next(folder for folder in folders if not folder.exists())


def _value(layer: dict[str, Any], name: str, value: Any) -> Any:
    """What a control holds, as the layer's field: text as a number, where it is one."""
    field = layers.FIELDS[layer["layer"]][name]
    if not (field.absent and isinstance(value, str)):
        return value
    if not value.strip():
        return None
    try:
        return field.type(value)
    except ValueError:
        return value  # which `layers.check` refuses in words


def _control(name: str, field: layers.Field, value: Any) -> Any:
    """A control for a field of a layer; one that may be absent is a text."""
    if field.choices:
        choices = list(field.choices)
        return _labelled(widgets.Dropdown, name, "130px", value, options=choices)
    if field.type is bool:
        return _labelled(widgets.Checkbox, name, "62px", bool(value), indent=False)
    if field.absent:
        text = "" if value is None else str(value)
        return _labelled(widgets.Text, name, "146px", text, placeholder=field.absent)
    kind = widgets.IntText if field.type is int else widgets.FloatText
    width = "114px" if name == "channels" else "94px"
    return _labelled(kind, name, width, value or 0, continuous_update=True)


def _setting(name: str, value: Any) -> Any:
    """A control for one of the settings."""
    label, width = _SETTINGS[name], "auto"
    if name == "optimizer":
        choices = list(OPTIMIZERS)
        return _labelled(widgets.Dropdown, label, width, value, options=choices)
    is_real = Settings.__annotations__[name] is float
    kind = widgets.FloatText if is_real else widgets.IntText
    return _labelled(kind, label, width, value, continuous_update=True)


def _labelled(kind: Any, label: str, width: str, value: Any, **options: Any) -> Any:
    """A control with its label before it, so wide together."""
    return kind(
        description=label,
        value=value,
        style={"description_width": "initial"},
        layout={"width": width},
        **options,
    )


def _button(text: str, tip: str, do: Callable[[Any], None]) -> Any:
    button = widgets.Button(description=text, tooltip=tip)
    button.on_click(do)
    return button


def _box(name: str, *children: Any) -> Any:
    box = widgets.Box(list(children))
    box.add_class(name)
    return box


def _html(name: str = "", text: str = "") -> Any:
    made = widgets.HTML(text)
    if name:
        made.add_class(name)
    return made


def _close(widget: Any) -> None:
    """Closes a widget with all in it."""
    for child in getattr(widget, "children", ()):
        _close(child)
    widget.close()


def _error(message: str) -> str:
    return f'<div class="nnlab-error" role="alert">{escaped(message)}</div>'


def _line(text: str) -> str:
    return f'<div class="nnlab-quiet">{escaped(text)}</div>'


def _untrained(accuracy: np.ndarray, dataset: Dataset) -> str:
    chance = provenance.chance_of(dataset)
    return f"<div>{escaped(messages.untrained(accuracy, dataset, chance))}</div>"
