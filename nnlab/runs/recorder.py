# SPDX-License-Identifier: Apache-2.0
"""Turns what the host sees of a run into rows, tables on disk, and progress."""

import contextlib
import dataclasses
import logging
import math
import pathlib
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from nnlab import results
from nnlab.data import Dataset
from nnlab.machine.devices import peak_bytes
from nnlab.machine.files import write_atomic
from nnlab.results import pictures
from nnlab.results.rows import (
    DIVERGED,
    DROPPED,
    FINISHED,
    STOPPED,
    UNFINISHED,
    Rows,
    curves_table,
    members_table,
    no_members,
)
from nnlab.runs import halving, provenance, resume
from nnlab.runs.progress import Evaluation, Progress
from nnlab.statistics import ranking
from nnlab.statistics.findings import Findings
from nnlab.study import Study, Trial
from nnlab.study.members import Members
from nnlab.training import lane_width, trees
from nnlab.training.backbone import Backbone
from nnlab.training.population import Population
from nnlab.training.program import NetworkProgram, Program, TreeProgram
from nnlab.words import numbers

_log = logging.getLogger(__name__)

SECONDS_BETWEEN_WRITES = 10.0
SHARE_OF_WRITES = 0.1
"""Of a run's time, what writing tables in between may take: those of a million rows
take seconds."""
MAX_FAILURE = 300
"""Characters of a failure's message that are kept."""


@dataclasses.dataclass
class _Timed:
    seconds: float = 0.0


class Recorder:
    """The rows of a run so far, and who hears of them.

    Attributes:
      still_training: members of the current program that have neither diverged nor
        stopped early nor been dropped, bool (T, S).
    """

    still_training: np.ndarray

    def __init__(
        self,
        study: Study,
        workdir: pathlib.Path | None,
        programs: Sequence[Program],
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        """Knows nothing yet.

        Args:
          study: what runs.
          workdir: where the tables are written; None for nowhere.
          programs: its programs.
          on_progress: told how far the run is.
        """
        self._study = study
        self._workdir = workdir
        self._programs = programs
        self._on_progress = on_progress
        self._config = provenance.record(study, programs)
        self._records = {record["index"]: record for record in self._config["cohorts"]}
        self._started = -1
        self._rows: dict[int, Rows] = {}
        self._severity: list[dict[str, Any]] = []
        self._pictures: bytes | None = None
        self._seen: dict[tuple[int, int], pictures.Seen] = {}
        self._timings: list[dict[str, Any]] = []
        self._planned = {program.index: program.num_examples for program in programs}
        self._done: dict[int, int] = {}
        self._pretraining_seconds = 0.0
        self._worths: dict[int, float] = {}
        self._curves: dict[int, tuple[float, ...]] = {}
        self._evaluation: Evaluation | None = None
        self._written, self._write_seconds = -math.inf, 0.0
        self._finished: set[int] = set()
        self._rate = self._inference_rate = math.nan
        self._first_told: tuple[float, int] | None = None

    @property
    def config(self) -> Mapping[str, Any]:
        """The record of the run so far, all but its status."""
        records = [self._records[index] for index in sorted(self._records)]
        finished = sorted(self._finished)
        return {**self._config, "cohorts": records, "finished": finished}

    def identity(self, index: int) -> dict[str, Any]:
        """What the checkpoints of a program, by its index, are of."""
        return resume.identity(self._study, self._records[index], self._config)

    def best_accuracy(self) -> float:
        """Of the current program's trials, mean over seeds; -1 if none has one."""
        means = self._accuracy.mean(axis=1)
        return float(np.nanmax(means, initial=-1.0))

    def start(
        self,
        program: NetworkProgram,
        population: Population,
        sizes: Mapping[str, int],
        tuning_seconds: float = 0.0,
    ) -> None:
        """Begins a program.

        Args:
          program: the program, with the plan that it runs by.
          population: its programs.
          sizes: examples of each split that is evaluated.
          tuning_seconds: spent on measuring lane widths that were not taken.
        """
        self._records[program.index] = program.to_dict()
        self._tuning_seconds = tuning_seconds
        self._population = population
        self._begin(program, sizes)
        self._network = program
        self._compiled_seconds = 0.0
        self._train_seconds = self._evaluation_seconds = 0.0
        self._trained = 0
        self._step = 0

    def start_baseline(self, program: TreeProgram, sizes: Mapping[str, int]) -> None:
        """Begins a program of trees; see `start`."""
        self._begin(program, sizes)
        self._tell("growing", 0, self.still_training.size)

    def _begin(self, program: Program, sizes: Mapping[str, int]) -> None:
        self._started += 1
        self._sizes = sizes
        self._rate = self._inference_rate = math.nan
        self._forget(program)

    def _forget(self, program: Program) -> None:
        """Makes a program the current one, with nothing known of it."""
        self._current = program
        shape = (len(program.trials), program.num_seeds)
        self.still_training = np.ones(shape, bool)
        self._accuracy = np.full(shape, math.nan)
        self._means: list[list[float]] = [[] for _ in program.trials]
        index = program.index
        self._planned[index], self._done[index] = program.num_examples, 0
        self._finished.discard(index)
        self._rows[index] = Rows(program.members)
        self._severity = self._severity_of(own=False)
        self._timings = [row for row in self._timings if row["cohort"] != index]

    def add_seen(self, trial: int, seen: pictures.Seen) -> None:
        """Takes in what pictures need of the final members of a trial (by index)."""
        self._seen[trial, self._current.first_seed] = seen

    def _all_seen(self) -> dict[int, pictures.Seen]:
        """For each trial, what pictures need of all its members so far."""
        parts: dict[int, list[pictures.Seen]] = {}
        for trial, first_seed in sorted(self._seen):
            parts.setdefault(trial, []).append(self._seen[trial, first_seed])
        return {trial: pictures.together(some) for trial, some in parts.items()}

    @property
    def _own(self) -> Rows:
        """What is known of the current program's members."""
        return self._rows[self._current.index]

    def _severity_of(self, own: bool) -> list[dict[str, Any]]:
        """The rows of the current program's members, or all others."""
        members = self._current.members
        trials, seeds = {trial.index for trial in members.trials}, members.seeds
        return [
            row
            for row in self._severity
            if (row["trial"] in trials and row["seed"] in seeds) == own
        ]

    def snapshot(self) -> dict[str, Any]:
        """What is known of the current program beside its rows, as plain values.

        A copy: it changes while it is saved.
        """
        members = self._current.members
        index = members.index
        return {
            "record": dict(self._records[index]),
            "severity": [dict(row) for row in self._severity_of(own=True)],
            "timings": [dict(row) for row in self._timings if row["cohort"] == index],
            "still_training": self.still_training.tolist(),
            "accuracy": self._accuracy.tolist(),
            "means": [list(values) for values in self._means],
        }

    def row_arrays(self) -> dict[str, np.ndarray]:
        """The rows of the current program as named arrays."""
        return self._own.to_arrays()

    def seen_arrays(self) -> dict[str, np.ndarray]:
        """What pictures need of the current program, as named arrays."""
        members = self._current.members
        found: dict[str, np.ndarray] = {}
        for trial in members.trials:
            if seen := self._seen.get((trial.index, members.first_seed)):
                fields = vars(seen).items()
                found |= {f"{trial.index}/{n}": v for n, v in fields if v is not None}
        return found

    def restore(
        self,
        program: Program,
        known: Mapping[str, Any],
        rows: Mapping[str, np.ndarray],
        seen: Mapping[str, np.ndarray],
    ) -> None:
        """Takes up what is known of a program, as the current one.

        Args:
          program: the program.
          known: from `snapshot`.
          rows: from `row_arrays`.
          seen: from `seen_arrays`.
        """
        self._forget(program)
        fields: dict[str, dict[str, Any]] = {}
        for name, value in seen.items():
            trial, _, field = name.partition("/")
            fields.setdefault(trial, {"kernel": None})[field] = value
        for trial, values in fields.items():
            self.add_seen(int(trial), pictures.Seen(**values))
        self._rows[program.index] = Rows.from_arrays(program.members, rows)
        self._severity += _rows(known["severity"], results.SEVERITY, "trial", "seed")
        self._timings += _rows(known["timings"], results.TIMINGS, "cohort", "segment")
        shape = len(program.trials), program.num_seeds
        self.still_training = np.array(known["still_training"], bool).reshape(shape)
        self._accuracy = np.array(known["accuracy"], np.float64).reshape(shape)
        self._means = [list(values) for values in known["means"]]
        self._note_worths()
        self._account(program)

    def take_up(
        self,
        program: Program,
        known: Mapping[str, Any],
        rows: Mapping[str, np.ndarray],
        seen: Mapping[str, np.ndarray],
        is_done: bool,
    ) -> None:
        """Takes up a program of a run that is resumed; see `restore`.

        Args:
          program: the program.
          known: from `snapshot`.
          rows: from `row_arrays`.
          seen: from `seen_arrays`.
          is_done: whether nothing is left to train of it.

        Raises:
          ValueError, LookupError, TypeError: they are not of this program.
        """
        if Members.from_dict(known["record"], self._study.trials()) != program.members:
            raise ValueError("its record is of another program")
        self.restore(program, known, rows, seen)
        self._records[program.index] = dict(known["record"])
        if is_done:
            self._started += 1
            self._finished.add(program.index)

    def collect(
        self,
        program: Program,
        known: Mapping[str, Any],
        rows: Mapping[str, np.ndarray],
        seen: Mapping[str, np.ndarray],
    ) -> None:
        """Takes up a program that another process has trained to its end.

        Args:
          program: the program.
          known, rows, seen: from that process; see `restore`.
        """
        self.take_up(program, known, rows, seen, is_done=True)
        self._pictures = None  # there may be a better trial now, or a worse one
        if self._workdir:  # of an attempt before
            self._failure_file(program.index).unlink(missing_ok=True)
        self._write_if_due()

    def tell_elsewhere(self) -> None:
        """Tells the callback how far a run is whose programs other processes train."""
        now, done = time.monotonic(), sum(self._done.values())
        self._first_told = self._first_told or (now, done)
        begun, before = self._first_told
        if done > before:
            self._rate = (done - before) / (now - begun)
        self._tell("elsewhere", 0, 0, len(self._finished))

    def _account(self, program: Program) -> None:
        """Counts what the current program's members were trained before."""
        index = program.index
        if not isinstance(program, NetworkProgram):
            fitted = self.still_training.size - int(self.still_training.sum())
            self._done[index] = fitted * len(program.dataset.train.labels)
            return
        batch_size = program.hyperparameters.batch_size
        steps, ended = self._own.steps, self._own.has_status(STOPPED, DIVERGED, DROPPED)
        self._step = int(steps.max())
        self._done[index] = int(steps.sum()) * batch_size
        self._planned[index] -= (
            int((program.num_steps - steps[ended]).sum()) * batch_size
        )

    def extend(self) -> None:
        """Lets the current program's members that finished go on, for more epochs.

        What was measured on the final members only is theirs no more.
        """
        program, rows = self._network, self._own
        finished = rows.has_status(FINISHED)
        rows.status[finished] = UNFINISHED
        rows.at_chance[finished] = False
        scored = tuple(f"{split}_" for split in program.scored())
        rows.forget_at(rows.steps, lambda name: name.startswith(scored), finished)
        self._severity = self._severity_of(own=False)

    def pretraining(
        self, program: Program, training: NetworkProgram, step: int
    ) -> None:
        """Tells how far the training of a program's backbone is."""
        self._current, self._rate, self._inference_rate = program, math.nan, math.nan
        epoch = step / training.steps_per_epoch
        number = self._started + 1  # of the program that waits for it
        self._tell("pretraining", epoch, training.num_epochs, number)

    def add_backbone(self, backbone: Backbone) -> None:
        """Notes how a backbone came about."""
        self._config["backbones"].append(dict(backbone.about))
        self._pretraining_seconds += backbone.seconds

    def add_trees(
        self,
        trial: Trial,
        seed: int,
        fit: trees.Fit,
        inferences_per_second: float,
    ) -> None:
        """Takes in the trees of one seed: a row for some numbers of trees."""
        program = self._current
        examples = len(program.dataset.train.labels)
        at = program.trials.index(trial), seed - program.first_seed
        rows, here = self._own, np.zeros(self.still_training.shape, bool)
        here[at] = True
        for i, count in enumerate(fit.trees.tolist()):
            found = {name: float(values[i]) for name, values in fit.metrics.items()}
            rows.add(count, float(count), count * examples, found, here)
        accuracy = float(fit.metrics["validation_accuracy"][-1])
        kept = int(fit.trees[-1])
        rows.status[at], rows.steps[at] = FINISHED, kept
        rows.at_chance[at] = self._at_chance(accuracy)
        rows.more.put("best_step", kept, here)
        self._accuracy[at] = accuracy
        self.still_training[at] = False
        done = self.still_training.size - int(self.still_training.sum())
        self._timings.append(
            {
                "cohort": program.index,
                "segment": done - 1,
                "step": kept,
                "members": 1,
                "train_seconds": fit.seconds,
                "examples_per_second": kept * examples / fit.seconds,
                "inferences_per_second": inferences_per_second,
                "peak_bytes": peak_bytes(),
            }
        )
        self._done[program.index] += examples
        self._note_worths()

    @contextlib.contextmanager
    def training(self, step: int, count: int) -> Iterator[None]:
        """Accounts for the time of `count` steps that end at `step`."""
        with self._timed() as timed:
            yield
        examples = self._examples(count)
        self._train_seconds += timed.seconds
        self._trained += examples
        self._rate = examples / timed.seconds
        self._done[self._current.index] += examples
        self._step = step

    def steps_in(self, seconds: float) -> float:
        """How many steps the last ones' speed makes in so many seconds."""
        return seconds * self._rate / self._examples(1)

    def tell(
        self,
        status: str,
        predict: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        """Tells the callback how far the current program is; see `Progress`."""
        current = self._current
        if not isinstance(current, NetworkProgram):
            fits, left = self.still_training.size, int(self.still_training.sum())
            self._tell(status, fits - left, fits)
        else:
            epoch = self._step / current.steps_per_epoch
            self._tell(status, epoch, current.num_epochs, predict=predict)

    def _examples(self, num_steps: int) -> int:
        """Examples of so many steps, all members that train together."""
        batch_size = self._current.hyperparameters.batch_size
        return num_steps * batch_size * int(self.still_training.sum())

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """Accounts for the time of one evaluation."""
        with self._timed() as timed:
            yield
        self._evaluation_seconds += timed.seconds

    @contextlib.contextmanager
    def scoring(self) -> Iterator[None]:
        """Accounts for the time in which the final members are looked at."""
        self.tell("scoring")
        with self._timed() as timed:
            yield
        compiled = self._population.compile_seconds
        last = self._timings[-1]
        last["scoring_seconds"] = timed.seconds
        last["compile_seconds"] += compiled - self._compiled_seconds
        self._compiled_seconds = compiled

    @contextlib.contextmanager
    def _timed(self) -> Iterator["_Timed"]:
        """Seconds without compilation, which is reported by itself."""
        before = self._population.compile_seconds
        timed, start = _Timed(), time.perf_counter()
        yield timed
        compiling = self._population.compile_seconds - before
        timed.seconds = time.perf_counter() - start - compiling

    def add(
        self,
        evaluation: int,
        measured: Mapping[str, Any],
        num_steps: int,
        samples: int,
    ) -> None:
        """Takes in one evaluation of all members, leaves (T, S, ...)."""
        program = self._network
        step = program.boundaries[evaluation]
        metrics = {
            f"{split}_{metric}": sums.astype(np.float64) / self._sizes[split]
            for split, values in measured["sums"].items()
            for metric, sums in values.items()
        }
        alive, last = measured["alive"], step == program.num_steps
        if last:  # no step follows that would find the last update to be the ruin
            alive = alive & np.all(
                [np.isfinite(metrics[f"{split}_loss"]) for split in self._sizes], axis=0
            )
        self._add_timing(evaluation, step)
        seen = alive & self.still_training
        planned = self._examples(program.num_steps - step)
        rows, lost = self._own, self.still_training & ~alive
        values = dict(metrics)
        if num_steps:
            mean = measured["loss_sum"].astype(np.float64) / num_steps
            square = measured["loss_square_sum"].astype(np.float64) / num_steps
            values["batch_loss"] = mean
            values["batch_loss_std"] = np.sqrt(np.maximum(square - mean**2, 0.0))
            values |= self._by_layer("grad_norm_", measured["norm_sum"] / samples)
        epoch = step / program.steps_per_epoch
        rows.add(step, epoch, step * program.hyperparameters.batch_size, values, seen)
        rows.steps[seen] = step
        accuracy = metrics["validation_accuracy"]
        if program.recipe.patience:
            best = seen & (measured["best_step"] == step)
        else:
            best = seen & (accuracy > rows.best_accuracy)
        rows.more.put("best_step", step, best)
        rows.best_accuracy[best] = accuracy[best]
        stopped = seen & measured["stopped"]
        self._accuracy[seen] = accuracy[seen]
        self._accuracy[stopped] = rows.best_accuracy[stopped]
        self._accuracy[lost] = math.nan
        ended = seen if last else stopped
        rows.status[ended] = np.where(stopped, STOPPED, FINISHED)[ended]
        rows.at_chance[ended] = self._at_chance(self._accuracy)[ended]
        self._note_divergence(measured, lost)
        self.still_training &= ~(lost | stopped)
        self._evaluation = Evaluation(
            program.trials,
            tuple(program.seeds),
            step,
            epoch,
            {name: np.where(seen, v, math.nan) for name, v in metrics.items()},
            self._own.has_status(DIVERGED),
        )
        spared = planned - self._examples(program.num_steps - step)
        self._planned[program.index] -= spared
        for curve, mean in zip(self._means, self._accuracy.mean(axis=1)):
            curve.append(float(mean))
        self._note_worths()
        self._write_if_due()

    def drop_worst(self, factor: int) -> None:
        """Ends all but the best 1/factor of the current program's trials: `halving`.

        It is a rung: the evaluation just taken in decides.
        """
        program = self._network
        chance = provenance.chance_of(program.dataset)
        leaving = halving.worst(self._accuracy, self.still_training, chance, factor)
        left = program.num_steps - self._step
        before = self._examples(left)
        dropped = self.still_training & leaving[:, None]
        self._own.status[dropped] = DROPPED
        self.still_training &= ~dropped
        self._planned[program.index] -= before - self._examples(left)

    def _by_layer(self, prefix: str, values: np.ndarray) -> dict[str, np.ndarray]:
        """Columns of (T, S, layers)."""
        layers = self._network.recipe.layers
        wide = values.astype(np.float64)
        return {f"{prefix}{name}": wide[..., i] for i, name in enumerate(layers)}

    def _note_divergence(self, measured: Mapping[str, Any], lost: np.ndarray) -> None:
        """Notes where members, bool (T, S), left the finite numbers.

        A NaN spreads to every layer at once, so the layer named is the one whose last
        finite gradient was the largest.
        """
        rows, norms = self._own, measured["last_norms"]
        rows.status[lost] = DIVERGED
        rows.at_chance[lost] = False
        rows.steps[lost] = measured["step"][lost]
        rows.more.put("diverged_step", measured["step"].astype(np.int64), lost)
        moved = lost & (norms.min(axis=-1) >= 0)  # else it never took a step
        layers = np.array(self._network.recipe.layers)[norms.argmax(axis=-1)]
        rows.more.put("diverged_layer", layers, moved)
        for name, values in self._by_layer("last_grad_norm_", norms).items():
            rows.more.put(name, values, moved)

    def _note_worths(self) -> None:
        """Notes what the current program's trials are worth by now."""
        rows, chance = self._own, provenance.chance_of(self._current.dataset)
        lost, dropped = rows.has_status(DIVERGED), rows.has_status(DROPPED)
        for i, trial in enumerate(self._current.trials):
            self._worths.pop(trial.index, None)
            value = ranking.worth(self._accuracy[i], lost[i], chance)
            if value is not None and not dropped[i].any():
                self._worths[trial.index] = value
                self._curves[trial.index] = tuple(self._means[i])

    def _at_chance(self, accuracy: Any) -> Any:
        """Whether accuracies are not above chance: one-sided binomial test at 1 %."""
        chance, size = (
            provenance.chance_of(self._current.dataset),
            self._sizes["validation"],
        )
        return accuracy <= chance + 2.326 * math.sqrt(chance * (1 - chance) / size)

    def _add_timing(self, evaluation: int, step: int) -> None:
        members = int(self.still_training.sum())
        evaluated = sum(self._sizes.values()) * members
        compiled = self._population.compile_seconds
        self._inference_rate = evaluated / self._evaluation_seconds
        self._timings.append(
            {
                "cohort": self._current.index,
                "segment": evaluation,
                "step": step,
                "members": members,
                "tuning_seconds": self._tuning_seconds,
                "pretraining_seconds": self._pretraining_seconds,
                "compile_seconds": compiled - self._compiled_seconds,
                "train_seconds": self._train_seconds,
                "evaluation_seconds": self._evaluation_seconds,
                "examples_per_second": self._trained / self._train_seconds
                if self._trained
                else None,
                "inferences_per_second": self._inference_rate,
                "peak_bytes": peak_bytes(),
            }
        )
        self._compiled_seconds = compiled
        self._tuning_seconds = self._pretraining_seconds = 0.0
        self._train_seconds = self._evaluation_seconds = 0.0
        self._trained = 0

    def rates(self) -> lane_width.Rates:
        """How fast the program ran so far."""
        index = self._current.index
        rows = [row for row in self._timings if row["cohort"] == index]
        # As long as all trained: those that ended leave places idle.
        most = max(row["members"] for row in rows)
        rows = [row for row in rows if row["members"] == most]

        def total(column: str, weight: str) -> float:
            return sum((row[column] or 0.0) * row[weight] for row in rows)

        train_seconds = sum(row["train_seconds"] for row in rows)
        evaluation_seconds = sum(row["evaluation_seconds"] for row in rows)
        return lane_width.Rates(
            total("examples_per_second", "train_seconds") / train_seconds,
            total("inferences_per_second", "evaluation_seconds") / evaluation_seconds,
            self._population.compile_seconds,
        )

    def living(self, trial: int) -> np.ndarray:
        """Which members of a trial of the current program were not lost, bool (S,)."""
        indices = [t.index for t in self._current.trials]
        kept: np.ndarray = self._own.has_status(FINISHED, STOPPED)[indices.index(trial)]
        return kept

    def add_final(
        self, sums: Mapping[str, Mapping[str, np.ndarray]], sizes: Mapping[str, int]
    ) -> None:
        """Takes in what was measured on the current program's final members only.

        It goes into the row of the model that is kept: a stopped member's best one.

        Args:
          sums: ``{split: {metric: (T, S)}}``.
          sizes: examples of each split.
        """
        rows = self._own
        stopped = rows.has_status(STOPPED)
        steps = np.where(stopped, rows.more.get("best_step", 0), rows.steps)
        values = {
            f"{split}_{metric}": some.astype(np.float64) / sizes[split]
            for split, metrics in sums.items()
            for metric, some in metrics.items()
        }
        rows.add_at(steps, values, rows.has_status(FINISHED, STOPPED))

    def add_severity(
        self,
        transform: str,
        amount: float,
        sums: Mapping[str, np.ndarray],
        size: int,
    ) -> None:
        """Takes in how the final members do on images that were changed so far.

        Args:
          transform: "moved" or "rotated".
          amount: pixels or degrees.
          sums: ``{"accuracy": (T, S), "loss": (T, S)}``.
          size: examples.
        """
        members = self._current.members
        for t, s in np.argwhere(self._own.has_status(FINISHED, STOPPED)).tolist():
            trial, seed = members.trials[t].index, members.first_seed + s
            self._severity.append(
                {
                    "trial": trial,
                    "seed": seed,
                    "transform": transform,
                    "amount": amount,
                    "accuracy": float(sums["accuracy"][t, s]) / size,
                    "loss": float(sums["loss"][t, s]) / size,
                }
            )

    def add_solo_speed(self, inferences_per_second: float) -> None:
        """Takes in how fast one network of the program answers, one by one."""
        self._timings[-1]["inferences_per_second_batch_1"] = inferences_per_second

    def fail(self, program: Program, error: Exception) -> None:
        """Notes that a program failed, and keeps the traceback in a file beside it."""
        index = program.index
        text = f"{type(error).__name__}: {error}"
        line = " ".join(text.split())
        line = line if len(line) <= MAX_FAILURE else f"{line[:MAX_FAILURE]}..."
        self._config["failures"][str(index)] = line
        _log.error("program %d of %d failed: %s", index + 1, len(self._programs), line)
        lines = traceback.format_exception(error)
        if self._workdir:
            text = numbers.visible("".join(lines))
            write_atomic(self._failure_file(index), text.encode())
        self.write("interrupted")

    def note_devices(self, devices: Sequence[Mapping[str, Any]]) -> None:
        """Notes where other processes train, one for each of their devices' records.

        Kinds that differ are all named.
        """
        every = [dict(one) for one in devices]
        names = ("platform", "kind")
        several = {n: " and ".join(sorted({one[n] for one in every})) for n in names}
        self._config["devices"] = {
            **max(every, key=lambda one: one["count"]),
            **several,
        }

    def note_beginning(self, differences: Sequence[str]) -> None:
        """Notes under what other versions, or where, the run was begun, in words."""
        self._config["begun_otherwise"] = list(dict.fromkeys(differences))

    def out_of_memory(self, program: Program, width: int) -> None:
        """Notes that a program's lanes of that width were too much for the memory."""
        index = program.index
        self._config["out_of_memory"].setdefault(str(index), []).append(width)
        _log.warning(
            "program %d of %d: out of memory with %d networks at once; beginning it "
            "again with %d",
            *(index + 1, len(self._programs), width, width // 2),
        )

    def finish(self) -> None:
        """Ends a program."""
        index = self._current.index
        self._finished.add(index)
        self._pictures = None  # there may be a better trial now, or a worse one
        self.write("interrupted")
        if self._workdir:  # of an attempt before
            self._failure_file(index).unlink(missing_ok=True)

    def _failure_file(self, index: int) -> pathlib.Path:
        assert self._workdir
        return self._workdir / f"failure_{index}.txt"

    def _choose_pictures(self, found: results.Results) -> bytes | None:
        """What pictures show, of the best and the worst trial so far."""
        best, worst = ranking.best_and_worst(found)
        all_seen = self._all_seen()
        if best not in all_seen:
            return None
        name = found.trials[best].hyperparameters.data
        dataset = next(
            program.dataset
            for program in self._programs
            if program.hyperparameters.data == name
        )
        alike = {
            trial: seen
            for trial, seen in all_seen.items()
            if found.trials[trial].hyperparameters.data == name
        }
        test = dataset.test
        images = None
        if len(dataset.input_shape) == 3:
            images = test.inputs.astype(np.float32) * np.float32(dataset.scale)
        worst = worst if worst in alike else None
        arrays = pictures.choose(
            alike,
            best,
            worst,
            images,
            test.labels,
            dataset.num_classes,
            plane_of(dataset),
        )
        return pictures.encode(arrays)

    def _tell(
        self,
        status: str,
        epoch: float,
        num_epochs: float,
        number: int | None = None,
        predict: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        if self._on_progress is None:
            return
        evaluation, self._evaluation = self._evaluation, None
        best = ranking.leading(self._worths)
        counts = sum((rows.counts() for rows in self._rows.values()), no_members())
        self._on_progress(
            Progress(
                program=max(self._started, 0) if number is None else number,
                num_programs=len(self._programs),
                epoch=epoch,
                num_epochs=num_epochs,
                done=sum(self._done.values()),
                total=sum(self._planned.values()),
                examples_per_second=self._rate,
                inferences_per_second=self._inference_rate,
                best_accuracy=math.nan if best is None else self._worths[best],
                best_label="" if best is None else self._study.trials()[best].label,
                best_curve=() if best is None else self._curves[best],
                diverged=int(counts[DIVERGED]),
                stopped=int(counts[STOPPED]),
                dropped=int(counts[DROPPED]),
                status=status,
                evaluation=evaluation,
                predict=predict,
            )
        )

    def results(self, status: str) -> results.Results:
        """What is known so far.

        Args:
          status: of the run: "interrupted", "failed" or "complete".
        """
        # A trial that has begun has all its seeds; some may be of a later program.
        trials = self._study.trials()
        parts = [self._rows[index] for index in sorted(self._rows)]
        seeds: dict[int, list[range]] = {}
        for rows in parts:
            for trial in rows.members.trials:
                seeds.setdefault(trial.index, []).append(rows.members.seeds)
        missing = [
            (index, seed)
            for index, some in seeds.items()
            if sum(map(len, some)) < trials[index].num_seeds
            for seed in range(trials[index].num_seeds)
            if not any(seed in one for one in some)
        ]
        timings = sorted(self._timings, key=lambda r: (r["cohort"], r["segment"]))
        severity = sorted(self._severity, key=lambda row: (row["trial"], row["seed"]))
        return results.Results(
            workdir=self._workdir or pathlib.Path(),
            config={**self.config, "status": status},
            study=self._study,
            curves=curves_table(parts),
            members=members_table(parts, missing),
            timings=results.table(timings, results.TIMINGS),
            severity=results.table(severity, results.SEVERITY),
        )

    def _write_if_due(self) -> None:
        """Writes all tables, unless the last time was not long ago."""
        pause = max(SECONDS_BETWEEN_WRITES, self._write_seconds / SHARE_OF_WRITES)
        if time.monotonic() - self._written > pause:
            self.write("interrupted")

    def write(self, status: str) -> None:
        """Writes all tables; a run that is cut off leaves those of its last write."""
        if self._workdir is None:
            return
        begin = time.monotonic()
        found = self.results(status)
        if self._pictures is None:
            self._pictures = self._choose_pictures(found)
        files: dict[str, pa.Table | bytes] = {
            "curves.parquet": found.curves,
            "members.csv": found.members,
            "timings.csv": found.timings,
            "summary.csv": Findings(found).summary,
        }
        if self._severity:
            files["severity.csv"] = found.severity
        if self._pictures:
            files[pictures.FILE] = self._pictures
        results.write(self._workdir, found.config, files)
        self._written = time.monotonic()
        self._write_seconds = self._written - begin


def _rows(
    values: Any, columns: Mapping[str, pa.DataType], *keys: str
) -> list[dict[str, Any]]:
    """Rows of a table from plain values, which must be some; all have the keys."""
    rows = [dict(row) for row in values]
    if any(results.table(rows, columns)[key].null_count for key in keys):
        raise ValueError(f"a row lacks {' or '.join(keys)}")
    return rows


def plane_of(dataset: Dataset) -> pictures.Plane | None:
    """All examples of a table of two features, in its units; None for other data."""
    if not dataset.is_table or dataset.input_shape != (2,):
        return None
    splits = (dataset.train, dataset.validation, dataset.test)
    points = dataset.in_units(np.concatenate([split.inputs for split in splits]))
    labels = np.concatenate([split.labels for split in splits])
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    return pictures.Plane(np.array([x0, x1, y0, y1], np.float64), points, labels)
