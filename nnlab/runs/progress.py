# SPDX-License-Identifier: Apache-2.0
"""Reports the progress of a run to an observer while it trains."""

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
    """The result of one evaluation of a program's networks.

    Attributes:
      trials: the program's, T of them.
      seeds: S of them.
      step, epoch: position in training.
      metrics: measured columns of the curves, such as "train_loss" and
        "validation_accuracy", float64 (T, S) each; NaN for members that had ended or
        have diverged.
      diverged: which members have diverged so far, bool (T, S).
    """

    trials: tuple[Trial, ...]
    seeds: tuple[int, ...]
    step: int
    epoch: float
    metrics: Mapping[str, np.ndarray]
    diverged: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Progress:
    """How far a run is; passed to the observer after every visit of the host.

    Attributes:
      program, num_programs: number of programs before the running one, and in all.
      epoch, num_epochs: of the program's training.
      done, total: examples trained and to train, over all programs and members; steps
        that ended members no longer need are not counted.
      examples_per_second: of all members together since the last visit.
      inferences_per_second: likewise in the program's last evaluation; NaN before it.
      best_accuracy: current mean validation accuracy of the best trial, a diverged seed
        counting as chance, see `statistics.ranking.worth`; NaN before any.
      best_label: that trial's label.
      best_curve: its mean validation accuracy at its evaluations so far.
      diverged, stopped, dropped: number of members so far.
      evaluation: new results since the last call; None if there are none.
      predict: maps examples as stored, (N, ...), to class probabilities by the
        program's current members, float32 (T, S, N, C); may be called only before the
        observer returns. None unless networks are training.
      status: "compiling", "training", "scoring", "pretraining" (a backbone, with its
        own epochs), "growing" (trees; fits are counted as epochs), or "elsewhere" (in
        other processes; `program` is then the number of finished programs).
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
    """Collects what an observer wants to know, and calls it.

    Attributes:
      rows: of each program that has trained, by index.
      begun: indices of programs that have begun in this process, or were done before.
      done, planned: examples that each program has trained, and will train.
      evaluation: the last evaluation, if not yet reported.
    """

    def __init__(
        self,
        study: Study,
        examples: Mapping[int, int],
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        """Begins with a run that has trained nothing.

        `examples` has the number to train by the index of a program.
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
        """Notes the current accuracy of a program's trials.

        Args:
          rows: of the program.
          accuracy: of its members now, (T, S); NaN for those that diverged.
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
        """Calls the observer, if there is one; see `Progress`.

        The rate in examples per second comes from the clock, or is `rate` without one.
        `number` is the program, from 0; None for the last one that began.
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
        """Reports the number of programs that other processes have finished."""
        now, done = time.monotonic(), sum(self.done.values())
        self._elsewhere_since = self._elsewhere_since or (now, done)
        begun, before = self._elsewhere_since
        rate = (done - before) / (now - begun) if done > before else math.nan
        self.tell("elsewhere", 0, 0, rate=rate, number=num_done)
