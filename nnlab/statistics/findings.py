# SPDX-License-Identifier: Apache-2.0
"""All that is computed about a run's results, each statistic once.

A report asks the same question in many places: each figure rings the best trial, the
answer names it, the tables mark it. `Findings` computes a statistic when it is first
asked for and holds it from then on::

    findings = Findings(results)
    findings.best  # index of the best trial by validation
    findings.final(findings.best, "test_accuracy")  # of its networks, (S,)

The other modules say how a statistic is computed; those that build on several others
take the findings. What is held is shared: arrays are read-only.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
import pyarrow as pa

from nnlab.results import Results
from nnlab.statistics import (
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
    method: "Callable[Concatenate[Findings, _P], _T]",
) -> "Callable[Concatenate[Findings, _P], _T]":
    """A method that computes its value once for each of its arguments."""

    @functools.wraps(method)
    def once(self: "Findings", *args: _P.args, **kwargs: _P.kwargs) -> _T:
        key = (method.__name__, args, *sorted(kwargs.items()))
        if key not in self._values:
            value = self._values[key] = method(self, *args, **kwargs)
            if isinstance(value, np.ndarray):
                value.flags.writeable = False
        found: _T = self._values[key]
        return found

    return once


class Findings:
    """What the results of one run say, computed when first asked for and then held.

    Trials are indices. Statistics of a single trial are methods, all others attributes.

    Attributes:
      results: what the run left.
      ran: the trials that have members, finished or not.
      best: the trial with the highest expected validation accuracy; None for none.
      extremes: the best and the worst network to look at, see `best_and_worst`.
      compared: for each trial its difference to the best; none without test accuracy.
      verdicts: on the study's claims.
      target: the validation accuracy that trials are to reach; NaN for none.
      summary: the table of trials, ``summary.csv``; `rows` has it as mappings.
      looks: those that have been taken.
      rates: which learning rates train; None if the trials differ in more.
      dropped: the trials that halving dropped, by the epoch at which it did.
    """

    def __init__(self, results: Results) -> None:
        """Holds the results; computes nothing yet."""
        self.results = results
        self._values: dict[Any, Any] = {}

    # Of all trials.

    @functools.cached_property
    def ran(self) -> tuple[int, ...]:
        """The trials that have members, finished or not."""
        trials = (t.index for t in self.results.trials)
        return tuple(t for t in trials if self.results.has_run(t))

    @functools.cached_property
    def networks(self) -> tuple[int, ...]:
        """The trials that are networks; all trials where none is."""
        return members.networks(self.results)

    @property
    def best(self) -> int | None:
        """See `ranking.best_trial`."""
        return self.best_of(range(len(self.results.trials)))

    def best_of(self, among: Iterable[int]) -> int | None:
        """Likewise of some trials."""
        return self._best_of(tuple(sorted(set(among))))

    @_held
    def _best_of(self, among: tuple[int, ...]) -> int | None:
        return ranking.best_trial(self.results, among)

    @functools.cached_property
    def extremes(self) -> tuple[int | None, int | None]:
        """See `ranking.best_and_worst`."""
        return ranking.best_and_worst(self.results)

    @functools.cached_property
    def compared(self) -> tuple[ranking.Comparison, ...]:
        """See `ranking.compare_to_best`; in final test accuracy."""
        if "test_accuracy" not in self.results.metrics:
            return ()
        trials = (t.index for t in self.results.trials)
        values = np.array([self.final(t, "test_accuracy") for t in trials])
        return ranking.compare_to_best(self.results, self.best, values)

    @functools.cached_property
    def verdicts(self) -> tuple[verdicts.Verdict, ...]:
        """See `verdicts.judge`."""
        return verdicts.judge(self)

    @functools.cached_property
    def target(self) -> float:
        """The one that the study names, else `targets.default_target`."""
        if self.results.study.target:
            return self.results.study.target
        best = self.best_of(self.networks)
        return targets.default_target(self.results, best)

    @functools.cached_property
    def summary(self) -> pa.Table:
        """See `summary.summarize`."""
        return summary.summarize(self)

    @functools.cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The summary's rows, one for each trial."""
        return self.summary.to_pylist()

    @functools.cached_property
    def looks(self) -> tuple[sequential.Look, ...]:
        """See `sequential.history`."""
        return sequential.history(self.results)

    @functools.cached_property
    def rates(self) -> rate_range.Rates | None:
        """See `rate_range.find`."""
        is_range = rate_range.is_range(self.results)
        return rate_range.find(self.results) if is_range else None

    @functools.cached_property
    def dropped(self) -> dict[float, list[int]]:
        """See `members.dropped`."""
        return members.dropped(self.results)

    @_held
    def is_measured(self, column: str) -> bool:
        """See `members.is_measured`."""
        return members.is_measured(self.results, column)

    @_held
    def seconds_per_epoch(self, cohort: int) -> np.ndarray:
        """See `members.seconds_per_epoch`."""
        return members.seconds_per_epoch(self.results, cohort)

    @functools.cached_property
    def _segments(self) -> dict[int, list[dict[str, Any]]]:
        found: dict[int, list[dict[str, Any]]] = {}
        for row in self.results.timings.to_pylist():
            found.setdefault(row["cohort"], []).append(row)
        return found

    def timings(self, cohort: int) -> list[dict[str, Any]]:
        """What a clock measured of a cohort: a row for each segment."""
        return self._segments.get(cohort, [])

    # Of one trial.

    @_held
    def counts(self, trial: int) -> dict[str, int]:
        """How many members ended how, see `members.status_counts`."""
        return members.status_counts(self.results, trial)

    @_held
    def alive(self, trial: int) -> np.ndarray:
        """Which members finished or stopped, bool (S,); see `members.alive`."""
        return members.alive(self.results, trial)

    @_held
    def dropped_after(self, trial: int) -> float | None:
        """After how many epochs halving dropped it; None if it did not."""
        return members.dropped_after(self.results, trial)

    @_held
    def reduced(self, trial: int, quantity: Quantity) -> np.ndarray:
        """A quantity of each member, (S,); see `members.reduce_members`."""
        return members.reduce_members(self.results, quantity, trial)

    def final(self, trial: int, metric: str) -> np.ndarray:
        """A metric of the final networks, (S,); NaN for those that have none."""
        return self.reduced(trial, Quantity(metric=metric, reduction="final"))

    @_held
    def steps_to_target(self, trial: int, target: float) -> targets.StepsToTarget:
        """How soon its seeds reach a validation accuracy."""
        return targets.steps_to_target(self.results, trial, target)
