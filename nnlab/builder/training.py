# SPDX-License-Identifier: Apache-2.0
"""Trains one stack of layers in a thread and keeps its measurements; no widgets."""

import dataclasses
import functools
import pathlib
import tempfile
import threading
import time
from collections.abc import Callable, Mapping

import jax
import numpy as np
from jax.experimental.compilation_cache import compilation_cache

from nnlab.builder import editing
from nnlab.data import Dataset
from nnlab.machine import devices
from nnlab.models import layers
from nnlab.results import Results, load
from nnlab.runs import experiment, provenance
from nnlab.runs.progress import Progress
from nnlab.study import Hyperparameters, Model, Optimizer, Study
from nnlab.training import place, prepare
from nnlab.words import errors

SECONDS_BETWEEN_WORDS = 0.25  # at least, between updates of texts, and of pictures
SHOWING_COST = 0.03  # share of the time for either, at most; training waits for them
MOST_EVALUATED = 2_000  # validation examples, and test examples
MOST_EVALUATIONS = 1_000
# Operations of training between two evaluations: about half a second on two cores. A
# training can stop, and curves are drawn, only at evaluations.
WORK_BETWEEN_VISITS = 5e10
NUM_EXAMPLES = 6  # of the test set, whose class probabilities are shown
OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop")
NO_MOMENTUM = ("adam", "adamw")
_LABEL = "stack"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How a stack is trained; its `Study` checks the values.

    Attributes:
      optimizer: one of `OPTIMIZERS`.
      learning_rate, momentum: of the optimizer; Adam has no momentum to set.
      batch_size: examples in an update.
      num_epochs: passes over the training examples.
      num_seeds: networks that are trained together, each from its own random weights.
      train_size: training examples used; 0 for all.
    """

    optimizer: str = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.1
    batch_size: int = 64
    num_epochs: int = 20
    num_seeds: int = 8
    train_size: int = 0


def study_of(
    stack: editing.Stack, found: layers.Inspection, dataset: Dataset, of: Settings
) -> Study:
    """Makes the study that trains one stack; `found` is what `layers.inspect` says.

    It evaluates at least once an epoch and more often where an epoch is long, but at
    most `MOST_EVALUATIONS` times in all.

    Raises:
      ValueError: the stack or a setting is invalid.
    """
    if found.message:
        raise ValueError(found.message)
    base = Hyperparameters(
        dataset=dataset.name,
        train_size=of.train_size,
        model=Model(name="stack", layers=stack),
        optimizer=Optimizer(
            name=of.optimizer,
            learning_rate=of.learning_rate,
            momentum=0.0 if of.optimizer in NO_MOMENTUM else of.momentum,
        ),
        batch_size=of.batch_size,
        num_epochs=of.num_epochs,
    )
    steps = max(1, (of.train_size or len(dataset.train.labels)) // of.batch_size)
    work = 3 * sum(row.flops for row in found.rows) * of.batch_size * of.num_seeds
    between = min(steps, max(16, WORK_BETWEEN_VISITS // max(1, work)))
    between = max(between, steps * of.num_epochs / MOST_EVALUATIONS)
    figures = ["curves"]
    if any(layer["layer"] == "relu" for layer in stack):
        figures.append("active_units")
    if len(dataset.input_shape) == 3:
        figures += ["probabilities", "confusion", "mistakes"]
    return Study(
        question=f"How good is {editing.summary(stack)} on {dataset.name}?",
        base=dataclasses.replace(base, eval_every_epochs=float(between / steps)),
        sweep=({"label": _LABEL},),
        num_seeds=of.num_seeds,
        eval_size=MOST_EVALUATED,
        figures=tuple(figures),
    )


@devices.pinned()
def untrained_accuracy(study: Study, dataset: Dataset) -> np.ndarray:
    """Evaluates a study's untrained networks: test accuracy, (S,); NaN if not finite.

    Raises:
      ValueError: the study cannot run on the data set, or not in this memory.
    """
    (network,) = prepare.networks(study, dataset=dataset)
    program = place.place(network, study)
    population = program.population
    _, measured = population.evaluate(population.init(), program.batches)
    sums = population.gather(measured)["sums"]["test"]
    accuracy = np.asarray(sums["accuracy"][0], np.float64) / program.sizes["test"]
    return np.where(np.isfinite(sums["loss"][0]), accuracy, np.nan)


def one_line(error: Exception) -> str:
    """Writes an error in a line; with its name unless it is the user's mistake."""
    line = errors.line_of(error)
    if isinstance(error, ValueError | OSError):
        return line.removeprefix(f"trial {_LABEL!r}: ")
    return f"{type(error).__name__}: {line}"


@functools.cache
def keep_programs() -> tempfile.TemporaryDirectory[str] | None:
    """Keeps compiled functions, unless the user has set where JAX keeps them.

    Untrained and trained networks share one compiled function, also at another learning
    rate: training begins after 0.6 s instead of 5 (100 ReLU units on digits, a busy
    2-core CPU). Returns their folder, which is removed when the process ends.
    """
    if jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]
        return None
    folder = tempfile.TemporaryDirectory(
        prefix="nnlab-programs-", ignore_cleanup_errors=True
    )
    jax.config.update("jax_compilation_cache_dir", folder.name)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)
    compilation_cache.reset_cache()  # or JAX, once used, would ignore the folder
    return folder


@dataclasses.dataclass
class History:
    """The measurements so far.

    Attributes:
      epochs, steps: of each evaluation, (E,) each.
      metrics: ``{column: (S,)}`` of each evaluation; NaN for diverged networks.
    """

    epochs: list[float] = dataclasses.field(default_factory=list)
    steps: list[int] = dataclasses.field(default_factory=list)
    metrics: list[Mapping[str, np.ndarray]] = dataclasses.field(default_factory=list)

    def __len__(self) -> int:
        return len(self.steps)

    def add(self, step: int, epoch: float, metrics: Mapping[str, np.ndarray]) -> None:
        """Adds one evaluation."""
        self.steps.append(step)
        self.epochs.append(epoch)
        self.metrics.append(metrics)

    def curve(self, metric: str) -> np.ndarray:
        """Returns a column at all evaluations, (E, S)."""
        return np.array([metrics[metric] for metrics in self.metrics])

    @property
    def living(self) -> np.ndarray:
        """Returns which networks have not diverged so far, bool (S,)."""
        return np.isfinite(self.metrics[-1]["test_loss"])

    def last(self, metric: str) -> np.ndarray:
        """Returns a column at the last evaluation, without diverged networks, (n,).

        It is empty if the column was not measured.
        """
        values = self.metrics[-1].get(metric) if self.metrics else None
        return np.empty(0) if values is None else values[self.living]


@dataclasses.dataclass(eq=False)
class Training:
    """The training of one stack.

    Attributes:
      number: of the training, from 1.
      folder: where its tables go.
      show: called by the training's thread when there is news, with the training and
        whether to draw its curves and examples too.
      before, now: class probabilities of the first test examples, before training and
        now: means over the networks that have not diverged, (N, C). None before the
        first evaluation; `now` also if all networks have diverged.
      progress: the run's last progress.
      outcome: "" while it runs; "finished", "stopped" or "failed".
      failure: the error of a failed training, in a line.
      results: of the run; None before its end, or if it failed.
    """

    number: int
    study: Study
    stack: editing.Stack
    dataset: Dataset
    folder: pathlib.Path
    show: Callable[["Training", bool], None]
    history: History = dataclasses.field(default_factory=History)
    before: np.ndarray | None = None
    now: np.ndarray | None = None
    progress: Progress | None = None
    outcome: str = ""
    failure: str = ""
    results: Results | None = None

    def __post_init__(self) -> None:
        self._asked_to_stop = threading.Event()
        # A daemon, so that the interpreter does not wait for it at its end.
        self._thread = threading.Thread(target=self._train, daemon=True)
        self._began, self._done_before = 0.0, 0
        self._next_words = self._next_pictures = 0.0
        self.chance = provenance.chance_of(self.dataset)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the training at its next evaluation; its results are kept."""
        self._asked_to_stop.set()

    def wait(self) -> None:
        """Waits for the end; Ctrl-C stops the training."""
        try:
            self._thread.join()
        except KeyboardInterrupt:
            self.stop()
            self._thread.join()

    @property
    def seconds(self) -> float:
        """Time since the first update, without compilation."""
        return time.monotonic() - self._began if self._began else 0.0

    @property
    def seconds_left(self) -> float:
        """An estimate; NaN before the first update."""
        progress = self.progress
        if progress is None or not (done := progress.done - self._done_before):
            return float("nan")
        return self.seconds * (progress.total - progress.done) / done

    def _train(self) -> None:
        try:
            self.results, self.outcome = self._run()
        except Exception as error:  # of any kind, as a thread has no cell to show it
            self.failure, self.outcome = one_line(error), "failed"
        self.show(self, True)

    def _run(self) -> tuple[Results, str]:
        """Trains to the end or until it is stopped; says which."""
        run = functools.partial(experiment.run, self.study, self.folder)
        try:
            return run(dataset=self.dataset, on_progress=self._update), "finished"
        except KeyboardInterrupt:
            return load(self.folder), "stopped"

    def _update(self, progress: Progress) -> None:
        """Keeps what was measured, and shows it if enough time has passed."""
        if self._asked_to_stop.is_set():
            raise KeyboardInterrupt
        self.progress = progress
        if found := progress.evaluation:
            metrics = {name: values[0] for name, values in found.metrics.items()}
            self.history.add(found.step, found.epoch, metrics)
        now = time.monotonic()
        if progress.status == "training" and not self._began:
            self._began, self._done_before = now, progress.done
        is_last = progress.epoch >= progress.num_epochs
        draws = progress.predict is not None and (now >= self._next_pictures or is_last)
        if not (draws or now >= self._next_words):
            return
        if draws and progress.predict:
            found = progress.predict(self.dataset.test.inputs[:NUM_EXAMPLES])[0]
            living = found[self.history.living]
            self.now = living.mean(axis=0) if len(living) else None
            self.before = self.now if self.before is None else self.before
        start = time.monotonic()  # after `predict`, which compiles at first
        self.show(self, draws)
        end = time.monotonic()
        until = end + max(SECONDS_BETWEEN_WORDS, (end - start) / SHOWING_COST)
        if draws:
            self._next_pictures, until = until, end + SECONDS_BETWEEN_WORDS
        self._next_words = until
