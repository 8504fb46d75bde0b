# SPDX-License-Identifier: Apache-2.0
"""What an observer of a run is told while it trains."""

import contextlib
import dataclasses
import logging
import math
import pathlib
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
import jax
import numpy as np
import pyarrow as pa
from nnlab.results import pictures
from nnlab.training import trees, lane_width
from nnlab.runs import halving, provenance, resume
from nnlab import results
from nnlab.words import numbers
from nnlab.training.backbone import Backbone
from nnlab.training.program import Baseline, Prepared
from nnlab.data import Dataset
from nnlab.machine.files import write_atomic
from nnlab.training.population import Population
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
from nnlab.statistics import ranking
from nnlab.statistics.summary import summarize
from nnlab.study import Study, Trial
from nnlab.study.cohorts import Cohort
from nnlab.machine.devices import peak_bytes



@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """What one evaluation of a cohort's networks found.

    Attributes:
      trials: the cohort's, T of them.
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
      cohort, num_cohorts: the how manieth program runs, from 0.
      epoch, num_epochs: of the cohort's training.
      done, total: examples trained and to train, over all cohorts and members; what
        members that ended will not need is not counted.
      examples_per_second: of the last visit, all members that train together.
      inferences_per_second: of the cohort's last evaluation, likewise; NaN before.
      best_accuracy: mean validation accuracy by now of the trial that leads, a diverged
        seed counting as chance, see `statistics.ranking.worth`; NaN before any.
      best_label: that trial's label.
      best_curve: its mean validation accuracy at its evaluations so far.
      diverged, stopped, dropped: members so far.
      evaluation: what was measured since the call before; None if nothing was.
      predict: from examples as they are stored, (N, ...), to their class probabilities
        by the cohort's members as they are, float32 (T, S, N, C); only to be called
        before the callback returns. None where there are no networks at work.
      status: what goes on: "compiling", "training" or "scoring"; "pretraining" (of a
        backbone, whose epochs then are counted), "growing" (trees; fits are counted
        instead of epochs), or "elsewhere" (in other processes; `cohort` is how many
        programs are done).
    """

    cohort: int
    num_cohorts: int
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
