# SPDX-License-Identifier: Apache-2.0
"""What an observer of a run is told while it trains."""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from nnlab.results.rows import DIVERGED, DROPPED, STOPPED, Rows, no_members
from nnlab.runs.clock import Clock
from nnlab.statistics import ranking
from nnlab.study import Study, Trial


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """What one evaluation of a program's networks found.

    Attributes:
      trials: the program's, T of them.
      seeds: S of them.
      step, epoch: where in training.
      metrics: the columns of the curves that were measured, such as "train_loss" and
        "validation_accuracy", float64 (T, S) each; NaN for members that had ended or
        were found to have diverged.
      diverged: which members have diverged by now, bool (T, S).
    """

    trials: tuple[Trial, ...]
    seeds: tuple[int, ...]
    step: int
    epoch: float
    metrics: Mapping[str, np.ndarray]
    diverged: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Progress:
    """How far a run is; handed to the callback after every visit of the host.

    Attributes:
      program, num_programs: how many programs ran before this one, and how many there
        are.
      epoch, num_epochs: of the program's training.
      done, total: examples trained and to train, over all programs and members; what
        members that ended will not need is not counted.
      examples_per_second: of the last visit, all members that train together.
      inferences_per_second: of the program's last evaluation, likewise; NaN before.
      best_accuracy: mean validation accuracy by now of the trial that leads, a diverged
        seed counting as chance, see `statistics.ranking.worth`; NaN before any.
      best_label: that trial's label.
      best_curve: its mean validation accuracy at its evaluations so far.
      diverged, stopped, dropped: members so far.
      evaluation: what was measured since the call before; None if nothing was.
      predict: from examples as they are stored, (N, ...), to their class probabilities
        by the program's members as they are, float32 (T, S, N, C); only to be called
        before the callback returns. None where there are no networks at work.
      status: what goes on: "compiling", "training" or "scoring"; "pretraining" (of a
        backbone, whose epochs then are counted), "growing" (trees; fits are counted
        instead of epochs), or "elsewhere" (in other processes; `program` is how many
        programs are done).
    """

    program: int
    num_programs: int
    epoch: float
    num_epochs: float
    done: int
    total: int
    examples_per_second: float
    inferences_per_second: float
    best_accuracy: float
    best_label: str
    best_curve: tuple[float, ...]
    diverged: int
    stopped: int
    status: str
    evaluation: Evaluation | None = None
    predict: Callable[[np.ndarray], np.ndarray] | None = None
    dropped: int = 0


class Teller:
    """Keeps what an observer wants to know, and tells it.

    Attributes:
      rows: of each program that has been trained at all, by index.
      begun: indices of the programs that have begun in this process, or were done.
      done, planned: examples that each program has trained, and is to train.
      evaluation: what was measured last, if that has not been told.
    """

    def __init__(
        self,
        study: Study,
        examples: Mapping[int, int],
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        """Of a run of which nothing has been trained.

        Args:
          study: what runs.
          examples: to train, by the index of a program.
          on_progress: the observer.
        """
        self.rows: dict[int, Rows] = {}
        self.begun: set[int] = set()
        self.done, self.planned = dict.fromkeys(examples, 0), dict(examples)
        self.evaluation: Evaluation | None = None
        self._study = study
        self._on_progress = on_progress
        self._worths: dict[int, float] = {}
        self._curves: dict[int, tuple[float, ...]] = {}
        self._elsewhere_since: tuple[float, int] | None = None

    def note(
        self,
        rows: Rows,
        accuracy: np.ndarray,
        chance: float,
        curves: Sequence[Sequence[float]],
    ) -> None:
        """Notes what the trials of a program are worth by now.

        Args:
          rows: of the program.
          accuracy: of its members by now, (T, S); NaN of those that diverged.
          chance: accuracy of a constant answer.
          curves: for each trial, its mean accuracy at the evaluations so far.
        """
        lost, dropped = rows.has_status(DIVERGED), rows.has_status(DROPPED)
        for i, trial in enumerate(rows.members.trials):
            self._worths.pop(trial.index, None)
            value = ranking.worth(accuracy[i], lost[i], chance)
            if value is not None and not dropped[i].any():
                self._worths[trial.index] = value
                self._curves[trial.index] = tuple(curves[i])

    def tell(
        self,
        status: str,
        epoch: float,
        num_epochs: float,
        *,
        clock: Clock | None = None,
        rate: float = math.nan,
        number: int | None = None,
        predict: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        """Tells the observer, if there is one; see `Progress`.

        Args:
          status, epoch, num_epochs, predict: as they are told.
          clock: of the program that runs; None if none does.
          rate: examples per second where there is no clock.
          number: the program, from 0; None for the last one that began.
        """
        if self._on_progress is None:
            return
        evaluation, self.evaluation = self.evaluation, None
        best = ranking.leading(self._worths)
        counts = sum((rows.counts() for rows in self.rows.values()), no_members())
        self._on_progress(
            Progress(
                program=max(len(self.begun) - 1, 0) if number is None else number,
                num_programs=len(self.planned),
                epoch=epoch,
                num_epochs=num_epochs,
                done=sum(self.done.values()),
                total=sum(self.planned.values()),
                examples_per_second=clock.rate if clock else rate,
                inferences_per_second=clock.inference_rate if clock else math.nan,
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

    def tell_elsewhere(self, num_done: int) -> None:
        """Tells how far a run is whose programs other processes train.

        Args:
          num_done: programs that are done.
        """
        now, done = time.monotonic(), sum(self.done.values())
        self._elsewhere_since = self._elsewhere_since or (now, done)
        begun, before = self._elsewhere_since
        rate = (done - before) / (now - begun) if done > before else math.nan
        self.tell("elsewhere", 0, 0, rate=rate, number=num_done)
