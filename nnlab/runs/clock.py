# SPDX-License-Identifier: Apache-2.0
"""Measures how a program spends its time, for ``timings.csv``.

Seconds of training and of evaluation are without compilation, which has its own column.
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
    """A span of time that is being measured, or not yet reported."""

    seconds: float = 0.0

    def take(self) -> float:
        """Returns the time so far and resets it to 0."""
        taken, self.seconds = self.seconds, 0.0
        return taken


@dataclasses.dataclass
class Clock:
    """Measures one program, given by its index, segment after segment.

    Attributes:
      compiled: returns the seconds its compilation has taken so far.
      tuning, pretraining: seconds of measuring lane widths that were not taken, and of
        training backbones; they go into the row of the next segment.
      rows: of ``timings.csv``, one for each segment.
      rate: examples per second in the last stretch of training; NaN before the first.
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
    _probing: Seconds = dataclasses.field(default_factory=Seconds)
    _trained: int = 0
    _compiled_before: float = 0.0

    @contextlib.contextmanager
    def training(self, examples: int) -> Iterator[None]:
        """Measures the time in which that many examples are trained."""
        before = self._train.seconds
        with self._measured(self._train):
            yield
        self._trained += examples
        self.rate = examples / (self._train.seconds - before)

    def evaluating(self) -> contextlib.AbstractContextManager[None]:
        """Measures the time of one evaluation."""
        return self._measured(self._evaluation)

    def probing(self) -> contextlib.AbstractContextManager[None]:
        """Measures the time of probes at one step."""
        return self._measured(self._probing)

    @contextlib.contextmanager
    def scoring(self) -> Iterator[None]:
        """Measures the time of the final evaluations and pictures."""
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
        """Adds the row of a segment, which ends with the evaluation of that number.

        `members` trained in it, and each was evaluated on `examples`.
        """
        spent = self._train.take()
        evaluation = self._evaluation.take()
        probing = self._probing.take()
        self.inference_rate = examples * members / evaluation
        self._add(
            segment,
            step,
            members=members,
            tuning_seconds=self.tuning.take(),
            pretraining_seconds=self.pretraining.take(),
            compile_seconds=self._newly_compiled(),
            train_seconds=spent,
            evaluation_seconds=evaluation,
            examples_per_second=self._trained / spent if self._trained else None,
            inferences_per_second=self.inference_rate,
            **({"probe_seconds": probing} if probing else {}),
        )
        self._trained = 0

    def _add(self, segment: int, step: int, **measured: float | None) -> None:
        at = {"cohort": self.program, "segment": segment, "step": step}
        self.rows.append({**at, **measured, "peak_bytes": peak_bytes()})

    def add_trees(
        self, segment: int, fit: trees.Fit, examples: int, inferences: float
    ) -> None:
        """Adds the row of one seed's trees, fitted to so many examples.

        `segment` is the number of seeds before; `inferences` are per second.
        """
        step = int(fit.trees[-1])
        self._add(
            segment,
            step,
            members=1,
            train_seconds=fit.seconds,
            examples_per_second=step * examples / fit.seconds,
            inferences_per_second=inferences,
        )

    def add_solo_speed(self, inferences_per_second: float) -> None:
        """Notes how fast one network of the program predicts examples one by one."""
        self.rows[-1]["inferences_per_second_batch_1"] = inferences_per_second

    def rates(self) -> Rates:
        """Returns the program's speed so far."""
        # Only of the time when all trained: members that ended leave idle places.
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
