# SPDX-License-Identifier: Apache-2.0
"""Trains one stack of layers in a thread, and keeps what was seen of it; no widgets."""

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

from nnlab import results
from nnlab.builder import editing
from nnlab.data import Dataset
from nnlab.machine import devices
from nnlab.models import layers
from nnlab.runs import experiment, provenance
from nnlab.runs.progress import Progress
from nnlab.study import Hyperparameters, Model, Optimizer, Study
from nnlab.training import place, prepare
from nnlab.words import errors

SECONDS_BETWEEN_WORDS = 0.25
"""At least; of the pictures, too."""
SHOWING_COST = 0.03
"""Of the time, what pictures may take, and what words may: training waits for them."""
MOST_EVALUATED = 2_000
"""Validation and test examples, each, that are evaluated, so that it stays quick."""
MOST_EVALUATIONS = 1_000
WORK_BETWEEN_VISITS = 5e10
"""Operations of training between two evaluations: half a second or so on two cores.
Stop is heard, and curves are drawn, no sooner."""
NUM_EXAMPLES = 6
"""Test examples whose class probabilities are shown."""

NO_MOMENTUM = ("adam", "adamw")
_LABEL = "stack"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How a stack is trained; not checked here, but by the `Study` made of it.

    Attributes:
      optimizer: one of `nnlab.study.OPTIMIZERS`.
      learning_rate, momentum: its own; Adam has no momentum to set.
      batch_size: examples in an update.
      num_epochs: passes over the training examples.
      num_seeds: networks that are trained together, each with a start of its own.
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
    """The study that trains one stack.

    It is evaluated at least once an epoch, or more often where an epoch is long, but
    not more than `MOST_EVALUATIONS` times in all.

    Args:
      stack: the layers.
      found: what `layers.inspect` found of them.
      dataset: what to train on.
      of: how to train.

    Raises:
      ValueError: what is wrong with the stack, or with a setting.
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
    examples = of.train_size or len(dataset.train.labels)
    steps = max(1, examples // of.batch_size)
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
    """Test accuracy of a study's networks as they start, (S,); NaN where not finite.

    Raises:
      ValueError: a study that cannot run on the data set, or in this memory.
    """
    (network,) = prepare.networks(study, dataset=dataset)
    program = place.place(network, study)
    population = program.population
    _, measured = population.evaluate(population.init(), program.batches)
    sums = population.gather(measured)["sums"]["test"]
    accuracy = np.asarray(sums["accuracy"][0], np.float64) / program.sizes["test"]
    return np.where(np.isfinite(sums["loss"][0]), accuracy, np.nan)


def one_line(error: Exception) -> str:
    """An error in a line: a user's mistake as it is put, any other with its name."""
    line = errors.line_of(error)
    if isinstance(error, ValueError | OSError):
        return line.removeprefix(f"trial {_LABEL!r}: ")
    return f"{type(error).__name__}: {line}"


@functools.cache
def keep_programs() -> tempfile.TemporaryDirectory[str] | None:
    """Lets this process compile a program once, unless its user chose otherwise.

    The networks that are looked at untrained are those that are trained, and a stack
    that is trained at another learning rate is the same program: it begins after 0.6 s
    instead of 5 (100 ReLU units on digits, a busy 2-core CPU).

    Returns:
      The folder of the programs, which goes with the process.
    """
    if jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]
        return None
    folder = tempfile.TemporaryDirectory(
        prefix="nnlab-programs-", ignore_cleanup_errors=True
    )
    jax.config.update("jax_compilation_cache_dir", folder.name)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)
    compilation_cache.reset_cache()  # or JAX, once used, would not look at it
    return folder


class History:
    """What was measured of the networks of one trial so far.

    Attributes:
      epochs, steps: of each of E evaluations.
    """

    def __init__(self) -> None:
        """Knows nothing yet."""
        self.epochs: list[float] = []
        self.steps: list[int] = []
        self._metrics: list[Mapping[str, np.ndarray]] = []

    def __len__(self) -> int:
        return len(self.steps)

    def add(self, step: int, epoch: float, metrics: Mapping[str, np.ndarray]) -> None:
        """Takes in one evaluation, ``{column: (S,)}``; NaN for lost networks."""
        self.steps.append(step)
        self.epochs.append(epoch)
        self._metrics.append(metrics)

    def curve(self, metric: str) -> np.ndarray:
        """A column at all evaluations, (E, S)."""
        return np.array([metrics[metric] for metrics in self._metrics])

    @property
    def living(self) -> np.ndarray:
        """Which networks were not lost at the last evaluation, bool (S,)."""
        return np.isfinite(self._metrics[-1]["test_loss"])

    def last(self, metric: str) -> np.ndarray:
        """A column at the last evaluation, of the networks that were not lost, (n,).

        Empty where it was not measured.
        """
        values = self._metrics[-1].get(metric)
        return np.empty(0) if values is None else values[self.living]


class Training:
    """The training of one stack.

    Attributes:
      number: of the training, from 1.
      study, stack, dataset, folder: what it is of, and where its tables go.
      chance: what a constant answer gets.
      history: what was measured so far.
      before, now: class probabilities of the first test examples, means over the
        networks that were not lost, (N, C), before training and at the last look; None
        where there was no look, or no network.
      progress: the last that was heard of it.
      seconds: since its first update, without compiling.
      outcome: "" while it goes on; "finished", "stopped" or "failed".
      failure: what it failed of, in a line.
      results: what it left behind; None before its end, or where it failed.
    """

    def __init__(
        self,
        number: int,
        study: Study,
        stack: editing.Stack,
        dataset: Dataset,
        folder: pathlib.Path,
        show: Callable[["Training", bool], None],
    ) -> None:
        """Does not begin yet.

        Args:
          number, study, stack, dataset, folder: see the attributes.
          show: called by the training's thread with the training whenever there is
            something to tell, and whether there are pictures to draw, too.
        """
        self.number = number
        self.study = study
        self.stack = stack
        self.dataset = dataset
        self.folder = folder
        self.chance = provenance.chance_of(dataset)
        self.history = History()
        self.before: np.ndarray | None = None
        self.now: np.ndarray | None = None
        self.progress: Progress | None = None
        self.outcome = ""
        self.failure = ""
        self.results: results.Results | None = None
        self._show = show
        self._asked_to_stop = threading.Event()
        # A daemon: an interpreter that ends does not wait for it.
        self._thread = threading.Thread(target=self._train, daemon=True)
        self._began, self._done_before = 0.0, 0
        self._next_words = self._next_pictures = 0.0

    def start(self) -> None:
        """Begins to train."""
        self._thread.start()

    def stop(self) -> None:
        """Asks it to end after the updates at hand; what it found stays."""
        self._asked_to_stop.set()

    def wait(self) -> None:
        """Waits for its end; Ctrl-C stops it."""
        try:
            self._thread.join()
        except KeyboardInterrupt:
            self.stop()
            self._thread.join()

    @property
    def seconds(self) -> float:
        """Since the first update, without compiling before it."""
        return time.monotonic() - self._began if self._began else 0.0

    @property
    def seconds_left(self) -> float:
        """As far as can be told; NaN before the first update."""
        told = self.progress
        if told is None or not (done := told.done - self._done_before):
            return float("nan")
        return self.seconds * (told.total - told.done) / done

    def _train(self) -> None:
        try:
            self.outcome = self._run()
        except Exception as error:  # of any kind: a thread has no cell to show it in
            self.failure = one_line(error)
            self.outcome = "failed"
        self._show(self, True)

    def _run(self) -> str:
        """Trains to the end or until it is stopped, and returns which."""
        try:
            self.results = experiment.run(
                self.study,
                self.folder,
                dataset=self.dataset,
                on_progress=self._hear,
            )
            return "finished"
        except KeyboardInterrupt:
            self.results = results.load(self.folder)
            return "stopped"

    def _hear(self, progress: Progress) -> None:
        """Takes in what a visit of the host found, and lets some of it be shown."""
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
        start = time.monotonic()  # the first `predict` compiles, which is no measure
        self._show(self, draws)
        end = time.monotonic()
        until = end + max(SECONDS_BETWEEN_WORDS, (end - start) / SHOWING_COST)
        if draws:
            self._next_pictures, until = until, end + SECONDS_BETWEEN_WORDS
        self._next_words = until
