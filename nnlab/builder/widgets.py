# SPDX-License-Identifier: Apache-2.0
"""A model builder for notebooks: stack layers, see their shapes, train and watch.

    from nnlab.builder import ModelBuilder
    ModelBuilder()

It works with ipywidgets 7 (Colab) and 8 (JupyterLab, Voila), without an extension.
Training runs in its own thread, so that all controls keep working.
"""

import importlib
import importlib.resources
import itertools
import os
import pathlib
import sys
import tempfile
import threading
from collections.abc import Iterable
from typing import Any, get_type_hints

import numpy as np

from nnlab import data, report, results
from nnlab.builder import controls, editing, messages, plots
from nnlab.builder.controls import Row, box, button, close, control, html
from nnlab.builder.training import (
    NO_MOMENTUM,
    OPTIMIZERS,
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
from nnlab.study import Study
from nnlab.words.numbers import escaped

SECONDS_OF_QUIET = 0.4
"""Time after an edit until untrained networks are evaluated."""

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


class ModelBuilder(controls.widgets.VBox):
    """The builder, a widget; a cell that ends with it shows it.

    Attributes:
      results: of the last training that ended or was stopped; None before.
      answer: the result of the last training in words, or why it did not train.
      is_training: whether a training is running.
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
          dataset: the name of the first data set, or a user's own data set, which is
            then listed with the others.
          stack: the first layers.
          settings: the first settings of the training.
          data_dir: the folder of the image data; see `nnlab.data.load`.
          workdir: each training gets a folder in it; None for a temporary one.

        Raises:
          ValueError: something is not a layer, or the data set is unknown.
          FileNotFoundError, ConnectionError: the data set is not available.
        """
        keep_programs()
        self._data_dir = None if data_dir is None else absolute(data_dir, "data_dir")
        self._workdir = None if workdir is None else absolute(workdir, "workdir")
        self._own = {} if isinstance(dataset, str) else {dataset.name: dataset}
        self._loaded = dict(self._own)
        self._trainings: list[Training] = []
        self._rows: list[Row] = []
        self._edits = self._edits_trained = 0
        self._first_compared = 1  # training
        self._is_settling = self.is_training = False
        self._measuring = threading.Lock()
        self.results: results.Results | None = None
        self.answer = ""
        name = dataset if isinstance(dataset, str) else dataset.name
        self._dataset = self._load(name)
        preset = "100 ReLU units" if stack is None else ""
        if stack is None:
            stack = editing.PRESETS[preset](self._dataset.num_classes)
        self._stack = editing.stack_of(stack)
        self._study: Study | None = None
        self._mistake = ""
        parts = self._editor(name, preset), self._trainer(settings or Settings())
        super().__init__([*itertools.chain(*parts, self._outputs())])
        self.add_class("nnlab-builder")
        self._show_stack()

    @property
    def stack(self) -> editing.Stack:
        """The layers; may be assigned, and need not be valid."""
        return self._stack

    @stack.setter
    def stack(self, stack: Iterable[layers.Layer]) -> None:
        self._take(editing.stack_of(stack))

    @property
    def settings(self) -> Settings:
        """The settings of the next training; assigning sets the controls."""
        return Settings(**{name: w.value for name, w in self._settings.items()})

    @settings.setter
    def settings(self, settings: Settings) -> None:
        for name, setting in self._settings.items():
            self._set_quietly(setting, getattr(settings, name))
        self._refresh()

    def train(self, wait: bool = False) -> None:
        """Trains the stack; does nothing while a training is running.

        With `wait` it returns only at the end; Ctrl-C then stops the training.
        """
        if self.is_training:
            return
        if self._study is None:
            self.answer = self._mistake  # also in the line below the layers
            return
        self._edits += 1  # the training's first evaluation is of untrained networks
        self._edits_trained = self._edits
        training = Training(
            *(len(self._trainings) + 1, self._study, self._stack, self._dataset),
            *(self._folder(), self._show),
        )
        self._trainings.append(training)
        self.is_training = True
        self._set_buttons()
        self._news.value = messages.news(training)
        self._note.value = self._examples.value = ""
        self._plot_box.children = []
        training.start()
        if wait:
            training.wait()

    def stop(self) -> None:
        """Ends the training at its next evaluation; its results are kept."""
        if self.is_training:
            self._trainings[-1].stop()
            self._note.value = _line("Stopping.")

    def close(self) -> None:
        """Removes the widgets and ends a training."""
        self.stop()
        self._edits += 1
        for child in self.children:
            close(child)
        super().close()

    def write_report(self) -> pathlib.Path | None:
        """Writes the report of the last training and returns its path."""
        if self.results is None or self.is_training:
            return None
        try:
            path = report.write(self.results.workdir)
        except (ValueError, OSError) as error:
            self._note.value = messages.box("error", one_line(error))
            return None
        self._note.value = messages.written(path)
        return path

    def _press_write(self, _: Any) -> None:
        """Writes the report; in Colab the browser saves it at once."""
        path = self.write_report()
        if path and "google.colab" in sys.modules:
            from google.colab import files

            files.download(str(path))

    def _press_clear(self, _: Any) -> None:
        """Takes earlier runs out of the plots; a running one soon draws new ones."""
        self._first_compared = len(self._trainings)
        if not self.is_training and len(self._trainings[-1].history):
            self._draw(self._trainings[-1])
        self._set_buttons()

    def _earlier(self) -> list[Training]:
        """Returns the trainings that the last one is compared with."""
        *before, last = self._trainings[self._first_compared - 1 :]
        same = [each for each in before if each.dataset is last.dataset]
        return [each for each in same if len(each.history)][-plots.MOST_EARLIER :]

    def _editor(self, name: str, preset: str) -> list[Any]:
        """Makes the table of layers, with what is above and below it."""
        names = list(dict.fromkeys([*self._own, *SOURCES, name]))
        self._data = control("data set", str, name, "220px", options=names)
        self._data.observe(self._choose_data, "value")
        presets = [("(a stack of your own)", ""), *((n, n) for n in editing.PRESETS)]
        self._preset = control("begin with", str, preset, "290px", options=presets)
        self._preset.observe(self._choose_preset, "value")
        kinds = list(layers.FIELDS)
        self._new_kind = control("new layer", str, "dense", "220px", options=kinds)
        add = button("Add at the end", "add a layer at the end", self._append)
        self._about_data, self._table = html("nnlab-quiet"), box("nnlab-rows")
        self._verdict, self._untrained = html(), html()
        css = importlib.resources.files("nnlab.builder") / "builder.css"
        heads = {"kind": "layer", "shape": "output", "count": "parameters"}
        heads["cost"] = "FLOPs"
        return [
            html(text=f"<style>{css.read_text('utf-8')}</style>"),
            box("nnlab-line", self._data, self._preset),
            self._about_data,
            box("nnlab-head", *(html(f"nnlab-{k}", v) for k, v in heads.items())),
            self._table,
            box("nnlab-line", self._new_kind, add),
            *(self._verdict, self._untrained),
        ]

    def _trainer(self, settings: Settings) -> list[Any]:
        """Makes the settings and the buttons."""
        self._settings = {}
        for name, kind in get_type_hints(Settings).items():
            options = {"options": list(OPTIMIZERS)} if name == "optimizer" else {}
            value = getattr(settings, name)
            setting = control(_SETTINGS[name], kind, value, "auto", **options)
            setting.observe(self._refresh, "value")
            self._settings[name] = setting
        self._train = button("Train", "train these layers", lambda _: self.train())
        self._train.button_style = "primary"
        self._stop = button("Stop", "stop the training", lambda _: self.stop())
        tip = "write the report"
        self._report = button("Write report", tip, self._press_write)
        tip = "take earlier runs out of the plots"
        self._clear = button("Clear curves", tip, self._press_clear)
        return [
            html(text="<h3>Training</h3>"),
            box("nnlab-settings", *self._settings.values()),
            box("nnlab-line", self._train, self._stop, self._report, self._clear),
        ]

    def _outputs(self) -> list[Any]:
        """Makes the widgets that show a training."""
        self._news, self._note, self._examples = html(), html(), html()
        self._done = html("nnlab-runs")
        self._plots = {name: controls.widgets.Image(format="png") for name in _PLOTS}
        # Empty at first: an Image without bytes is shown as a broken one.
        self._plot_box = box("nnlab-plots")
        return [self._news, self._note, self._plot_box, self._examples, self._done]

    def _set_buttons(self) -> None:
        self._train.disabled = self.is_training or self._study is None
        self._stop.disabled = not self.is_training
        self._report.disabled = self.is_training or self.results is None
        self._clear.disabled = not (self._trainings and self._earlier())

    def _set_quietly(self, control: Any, value: Any) -> None:
        """Sets a control without calling its observers."""
        self._is_settling = True
        try:
            control.value = value
        finally:
            self._is_settling = False

    def _load(self, name: str) -> Dataset:
        if name not in self._loaded:
            self._loaded[name] = data.load(name, data_dir=self._data_dir)
        if (found := self._loaded[name]).is_regression:
            raise ValueError(
                f"{name} has numbers to predict, and the builder shows classes: "
                "nnlab.run trains on it"
            )
        return found

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
            self._verdict.value = messages.box("error", one_line(error))
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
        """Shows another stack, which is not a preset."""
        self._stack = stack
        self._set_quietly(self._preset, "")
        self._show_stack()

    def _act(self, row: Row, action: str, value: Any) -> None:
        """Edits the stack as a row's control says."""
        stack, at = self._stack, self._rows.index(row)
        match action:
            case "edit":
                name, given = value
                stack = editing.edit(
                    stack, at, name, controls.value_of(row.layer, name, given)
                )
                row.layer = stack[at]  # it keeps its controls
            case "turn":
                stack = editing.turn(stack, at, value)
            case "insert":
                stack = editing.insert(stack, at + 1, editing.fresh("relu"))
            case "remove":
                stack = editing.remove(stack, at)
            case _:
                stack = editing.move(stack, at, -1 if action == "up" else 1)
        self._take(stack)

    def _show_stack(self) -> None:
        """Gives each layer a row; a layer that had one keeps it, and its focus."""
        known = {id(row.layer): row for row in self._rows}
        self._rows = [
            known.pop(id(layer)) if id(layer) in known else Row(layer, self._act)
            for layer in self._stack
        ]
        boxes = tuple(row.box for row in self._rows)
        if tuple(self._table.children) != boxes:
            self._table.children = boxes
        for row in known.values():
            close(row.box)
        self._refresh()

    def _refresh(self, _: Any = None) -> None:
        """Shows shapes and sizes of the layers, and whether they can be trained."""
        if self._is_settling:
            return
        some = self._dataset
        found = layers.inspect(
            self._stack, some.input_shape, some.num_classes, some.vocabulary
        )
        for position, row in enumerate(self._rows):
            made = found.rows[position] if position < len(found.rows) else None
            row.show(position, made, position == found.position)
        splits = (some.train, some.validation, some.test)
        train, validation, test = (f"{len(split.labels):,}" for split in splits)
        self._about_data.value = escaped(
            f"{train} training, {validation} validation and {test} test examples of "
            f"shape {some.input_shape}, {some.num_classes} classes"
        )
        optimizer = self._settings["optimizer"].value
        self._settings["momentum"].disabled = optimizer in NO_MOMENTUM
        self._edits += 1
        try:
            self._study = study_of(self._stack, found, some, self.settings)
        except ValueError as error:
            self._study, self._mistake = None, str(error)
            self._verdict.value = messages.box("error", self._mistake)
            self._untrained.value = ""
        self._set_buttons()
        if self._study is None:
            return
        parameters = sum(row.parameters for row in found.rows)
        operations = sum(row.flops for row in found.rows)
        text = f"Valid: {parameters:,} parameters, {operations:,} FLOPs an example."
        self._verdict.value = messages.box("fine", text)
        self._untrained.value = _line("Untrained: …")
        given = (self._edits, self._study, some)
        timer = threading.Timer(SECONDS_OF_QUIET, self._evaluate_untrained, given)
        timer.daemon = True
        timer.start()

    def _evaluate_untrained(self, edit: int, study: Study, dataset: Dataset) -> None:
        """Shows how good an edit's untrained networks are; runs in a thread."""
        with self._measuring:  # one at a time; of those that wait only the last runs
            if edit != self._edits:
                return
            try:
                accuracy = untrained_accuracy(study, dataset)
            except Exception as error:
                text = messages.box("error", one_line(error))
            else:
                text = _untrained(accuracy, dataset)
            if edit == self._edits:
                self._untrained.value = text

    def _show(self, training: Training, draws: bool) -> None:
        """Shows the progress of a training, or its result and all buttons."""
        history = training.history
        try:
            if len(history) == 1 and self._edits == self._edits_trained:
                accuracy = history.curve("test_accuracy")[0]
                self._untrained.value = _untrained(accuracy, training.dataset)
            if draws and len(history):
                self._draw(training)
            self._news.value = messages.news(training)
            if training.outcome:
                self.answer = training.failure or " ".join(messages.told(training))
                self._note.value = ""
            if training.results is not None:
                self.results = training.results
                self._note.value = _line(f"Tables: {training.folder}")
                ended = [each for each in self._trainings if each.results is not None]
                self._done.value = messages.table(ended)
        finally:
            if training.outcome:
                self.is_training = False
                self._set_buttons()

    def _draw(self, training: Training) -> None:
        history, before = training.history, self._earlier()
        for name, plot in self._plots.items():
            splits = {"training": "train", "validation": "validation"}
            lines = {k: history.curve(f"{s}_{name}") for k, s in splits.items()}
            of: Any = {"chance": training.chance if name == "accuracy" else None}
            of["earlier"] = [_course(each, f"validation_{name}") for each in before]
            plot.value = plots.picture(np.array(history.epochs), lines, **of)
        self._plot_box.children = list(self._plots.values())
        self._examples.value = messages.probabilities(training)

    def _folder(self) -> pathlib.Path:
        if self._workdir is None:
            self._workdir = pathlib.Path(tempfile.mkdtemp(prefix="nnlab-builder-"))
        numbers = itertools.count(len(self._trainings) + 1)
        folders = (self._workdir / f"run-{number}" for number in numbers)
        return next(folder for folder in folders if not folder.exists())


def _course(training: Training, metric: str) -> plots.Earlier:
    history = training.history
    return training.number, np.array(history.epochs), history.curve(metric)


def _line(text: str) -> str:
    return f'<div class="nnlab-quiet">{escaped(text)}</div>'


def _untrained(accuracy: np.ndarray, dataset: Dataset) -> str:
    chance = provenance.chance_of(dataset)
    return f"<div>{escaped(messages.untrained(accuracy, dataset, chance))}</div>"
