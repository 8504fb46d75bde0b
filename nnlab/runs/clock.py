# SPDX-License-Identifier: Apache-2.0
"""What the time of a program goes into: its rows of ``timings.csv``.

Compilation is reported by itself: seconds of training and evaluation are without it.
"""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

from nnlab.machine.devices import peak_bytes
from nnlab.training import trees
from nnlab.training.lane_width import Rates


@dataclasses.dataclass
class Seconds:
    """A span of time that is still being measured, or waits to be reported."""

    seconds: float = 0.0

    def take(self) -> float:
        """What there is; 0 is left."""
        taken, self.seconds = self.seconds, 0.0
        return taken


@dataclasses.dataclass
class Clock:
    """Measures one program, segment after segment.

    Attributes:
      program: its index.
      compiled: returns the seconds that its compilation has taken so far.
      tuning: spent on measuring lane widths that were not taken.
      pretraining: spent on backbones; the first program that reports a segment after it
        takes it in.
      rows: of ``timings.csv``, one a segment.
      rate: examples a second in the last stretch of training; NaN before any.
      inference_rate: likewise in the last evaluation.
    """

    program: int
    compiled: Callable[[], float] = lambda: 0.0
    tuning: Seconds = dataclasses.field(default_factory=Seconds)
    pretraining: Seconds = dataclasses.field(default_factory=Seconds)
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    rate: float = math.nan
    inference_rate: float = math.nan
    _train: Seconds = dataclasses.field(default_factory=Seconds)
    _evaluation: Seconds = dataclasses.field(default_factory=Seconds)
    _trained: int = 0
    _compiled_before: float = 0.0

    @contextlib.contextmanager
    def training(self, examples: int) -> Iterator[None]:
        """Accounts for the time in which so many examples are trained."""
        spent = Seconds()
        with self._measured(spent):
            yield
        self._train.seconds += spent.seconds
        self._trained += examples
        self.rate = examples / spent.seconds

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """Accounts for the time of one evaluation."""
        with self._measured(self._evaluation):
            yield

    @contextlib.contextmanager
    def scoring(self) -> Iterator[None]:
        """Accounts for the time in which the final members are looked at."""
        spent = Seconds()
        with self._measured(spent):
            yield
        last = self.rows[-1]
        last["scoring_seconds"] = spent.seconds
        last["compile_seconds"] += self._newly_compiled()

    @contextlib.contextmanager
    def _measured(self, into: Seconds) -> Iterator[None]:
        """Adds the seconds of the context, without compilation."""
        compiled, start = self.compiled(), time.perf_counter()
        yield
        compiling = self.compiled() - compiled
        into.seconds += time.perf_counter() - start - compiling

    def _newly_compiled(self) -> float:
        before, self._compiled_before = self._compiled_before, self.compiled()
        return self._compiled_before - before

    def end_segment(self, segment: int, step: int, members: int, examples: int) -> None:
        """Reports what came up to an evaluation, as a row.

        Args:
          segment: the evaluation.
          step: updates done.
          members: that trained.
          examples: that each of them was evaluated on.
        """
        spent = self._train.take()
        evaluation = self._evaluation.take()
        self.inference_rate = examples * members / evaluation
        self.rows.append(
            {
                "cohort": self.program,
                "segment": segment,
                "step": step,
                "members": members,
                "tuning_seconds": self.tuning.take(),
                "pretraining_seconds": self.pretraining.take(),
                "compile_seconds": self._newly_compiled(),
                "train_seconds": spent,
                "evaluation_seconds": evaluation,
                "examples_per_second": self._trained / spent if self._trained else None,
                "inferences_per_second": self.inference_rate,
                "peak_bytes": peak_bytes(),
            }
        )
        self._trained = 0

    def add_trees(
        self, segment: int, fit: trees.Fit, examples: int, inferences: float
    ) -> None:
        """Reports the trees of one seed, as a row.

        Args:
          segment: how many seeds came before.
          fit: its trees.
          examples: that each of them was fitted to.
          inferences: examples that it answers in a second.
        """
        step = int(fit.trees[-1])
        self.rows.append(
            {
                "cohort": self.program,
                "segment": segment,
                "step": step,
                "members": 1,
                "train_seconds": fit.seconds,
                "examples_per_second": step * examples / fit.seconds,
                "inferences_per_second": inferences,
                "peak_bytes": peak_bytes(),
            }
        )

    def add_solo_speed(self, inferences_per_second: float) -> None:
        """Reports how fast one network of the program answers, one by one."""
        self.rows[-1]["inferences_per_second_batch_1"] = inferences_per_second

    def rates(self) -> Rates:
        """How fast the program ran so far."""
        # As long as all trained: those that ended leave places idle.
        most = max(row["members"] for row in self.rows)
        rows = [row for row in self.rows if row["members"] == most]

        def mean(column: str, weight: str) -> float:
            total = sum((row[column] or 0.0) * row[weight] for row in rows)
            seconds: float = sum(row[weight] for row in rows)
            return total / seconds

        return Rates(
            mean("examples_per_second", "train_seconds"),
            mean("inferences_per_second", "evaluation_seconds"),
            self.compiled(),
        )
