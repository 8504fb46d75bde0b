# SPDX-License-Identifier: Apache-2.0
"""Everything that is computed about a run's results, each statistic once.

A report needs the same statistic in many places: figures, answer and tables all mark
the best trial. `Findings` computes a statistic on first use and keeps it::

    findings = Findings(results)
    findings.best  # index of the best trial by validation
    findings.final(findings.best, "test_loss")  # of its networks, (S,)

The other modules say how a statistic is computed. Kept arrays are read-only.
"""

import functools
from collections.abc import Callable, Iterable
from functools import cached_property as once
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
import pyarrow as pa

from nnlab.results import Results
from nnlab.statistics import (
    examples,
    interaction,
    judging,
    members,
    ranking,
    rate_range,
    sequential,
    summary,
    targets,
    verdicts,
)
from nnlab.study import Quantity

_P = ParamSpec("_P")
_T = TypeVar("_T")


def _held(
    function: Callable[Concatenate[Results, _P], _T],
) -> "Callable[Concatenate[Findings, _P], _T]":
    """Makes a method that computes a function of the results once for each argument."""

    @functools.wraps(function)
    def held(self: "Findings", *args: _P.args, **kwargs: _P.kwargs) -> _T:
        key = (function.__name__, *args, *sorted(kwargs.items()))
        if key not in self._values:
            value = self._values[key] = function(self.results, *args, **kwargs)
            if isinstance(value, np.ndarray):
                value.flags.writeable = False
        found: _T = self._values[key]
        return found

    return held


class Findings:
    """The statistics of one run, computed on first use and then kept.

    Trials are indices. Statistics of single trials are methods, all others attributes.

    Attributes:
      results: the tables of the run.
    """

    def __init__(self, results: Results) -> None:
        self.results = results
        self._values: dict[Any, Any] = {}

    @once
    def ran(self) -> tuple[int, ...]:
        """The trials that have networks, finished or not."""
        return tuple(filter(self.results.has_run, range(len(self.results.trials))))

    @once
    def networks(self) -> tuple[int, ...]:
        """The trials that are networks; all trials where none is."""
        return members.networks(self.results)

    @property
    def best(self) -> int | None:
        """The trial with the highest expected validation score; None for none."""
        return self.best_of(range(len(self.results.trials)))

    @once
    def extremes(self) -> tuple[int | None, int | None]:
        """The best and the worst network to look at, see `ranking.best_and_worst`."""
        return ranking.best_and_worst(self.results)

    @once
    def compared(self) -> tuple[ranking.Comparison, ...]:
        """Each trial's difference to the best in final test score, if measured."""
        test = self.results.test_score
        if test not in self.results.metrics:
            return ()
        every = range(len(self.results.trials))
        values = np.array([self.final(t, test) for t in every])
        return ranking.compare_to_best(self.results, self.best, values)

    @once
    def as_good(self) -> tuple[int, ...]:
        """The trials that were tested against the best, and are not found worse."""
        tested = (c for c in self.compared if not np.isnan(c.p_holm))
        return tuple(c.trial for c in tested if not c.resolved or c.mean > 0)

    @once
    def verdicts(self) -> tuple[verdicts.Verdict, ...]:
        """What the data say about the study's claims."""
        return judging.judge(self)

    @once
    def interaction(self) -> interaction.Interaction | None:
        """Whether what one swept field gains depends on another, if that was tested."""
        return interaction.find(self)

    @once
    def target(self) -> float:
        """The validation accuracy, or r2, that trials are to reach; NaN for none."""
        if self.results.study.target:
            return self.results.study.target
        best = self.best_of(self.networks)
        return targets.default_target(self.results, best)

    @once
    def summary(self) -> pa.Table:
        """The table of trials, ``summary.csv``."""
        return summary.summarize(self)

    @once
    def rows(self) -> list[dict[str, Any]]:
        """The summary's rows as mappings, one for each trial."""
        return self.summary.to_pylist()

    @once
    def looks(self) -> tuple[sequential.Look, ...]:
        """The looks so far, see `sequential`."""
        return sequential.history(self.results)

    @once
    def rates(self) -> rate_range.Rates | None:
        """Which learning rates train; None if the trials differ in more."""
        return rate_range.find(self.results)

    @once
    def dropped(self) -> dict[float, list[int]]:
        """The trials that halving dropped, by the epoch of the rung."""
        return members.dropped(self.results)

    @once
    def _segments(self) -> dict[int, list[dict[str, Any]]]:
        found: dict[int, list[dict[str, Any]]] = {}
        for row in self.results.timings.to_pylist():
            found.setdefault(row["cohort"], []).append(row)
        return found

    def best_of(self, among: Iterable[int]) -> int | None:
        """Returns the best of some trials, see `ranking.best_trial`."""
        return self._best_of(tuple(sorted(set(among))))

    def timings(self, cohort: int) -> list[dict[str, Any]]:
        """Returns a program's timings: a row for each segment."""
        return self._segments.get(cohort, [])

    def final(self, trial: int, metric: str) -> np.ndarray:
        """Returns a metric of the final networks, (S,); NaN for those without one."""
        return self.reduced(trial, Quantity(metric=metric))

    _best_of = _held(ranking.best_trial)
    reduced = _held(members.reduce_members)
    level = _held(examples.level)
    counts = _held(members.status_counts)
    alive = _held(members.alive)
    dropped_after = _held(members.dropped_after)
    is_measured = _held(members.is_measured)
    seconds_per_epoch = _held(members.seconds_per_epoch)
    steps_to_target = _held(targets.steps_to_target)
