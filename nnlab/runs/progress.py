# SPDX-License-Identifier: Apache-2.0
"""What an observer is told of a run while it trains; see `Recorder.tell`."""

import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np

from nnlab.study import Trial


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

    def without(self, is_hidden: Callable[[str], bool]) -> "Evaluation":
        """Returns the evaluation without some of its columns."""
        kept = {k: v for k, v in self.metrics.items() if not is_hidden(k)}
        return dataclasses.replace(self, metrics=kept)


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
      score: what trials are compared by on validation data, "accuracy" or "r2".
      best_score: current mean of it of the best trial, a diverged seed counting as
        chance, see `statistics.ranking.worth`; NaN before any.
      best_label: that trial's label.
      best_curve: its mean score at its evaluations so far.
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
    best_score: float
    best_label: str
    best_curve: tuple[float, ...]
    diverged: int
    stopped: int
    status: str
    score: str = "accuracy"
    examples_per_second: float = math.nan
    inferences_per_second: float = math.nan
    evaluation: Evaluation | None = None
    predict: Callable[[np.ndarray], np.ndarray] | None = None
    dropped: int = 0
