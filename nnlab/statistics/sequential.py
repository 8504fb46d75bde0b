# SPDX-License-Identifier: Apache-2.0
"""Adds seeds look by look, until it is significant which trial is best.

A study names beforehand at how many seeds its trials are compared. After each look the
best trial by validation, and those that do not differ from it significantly, get the
seeds of the next look, but for those that no number of seeds would tell from it. All of
this follows from the tables, so a run that was cut off decides as it would have.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from nnlab.results import UNFINISHED, Results
from nnlab.statistics.members import alive, finals, has_status
from nnlab.statistics.ranking import best_trial, compare_to_best
from nnlab.study import Study


@dataclasses.dataclass(frozen=True)
class Look:
    """One comparison of the trials.

    Attributes:
      seeds: number of seeds of the trials that are still compared.
      each: number of seeds that each trial has by now.
      best: index of the best trial by validation; None if there is none.
      resolved: trials that differ significantly from the best now, but not before.
      unresolved: trials that do not differ significantly from the best.
      stuck: those of them that no number of seeds would tell from it on the same
        examples (`power.seeds_help`).
      untested: trials of which fewer than half of the networks survive; they are not
        compared.
    """

    seeds: int
    each: tuple[int, ...]
    best: int | None
    resolved: tuple[int, ...]
    unresolved: tuple[int, ...]
    stuck: tuple[int, ...]
    untested: tuple[int, ...]

    @property
    def asks(self) -> set[int]:
        """The trials that more seeds may tell apart, with the best; none if none."""
        open_ = {*self.unresolved} - {*self.stuck}
        return open_ | {self.best} if open_ and self.best is not None else set()

    @property
    def networks(self) -> int:
        """Number of networks trained by then."""
        return sum(self.each)


def begin(study: Study, looks: Sequence[int]) -> Study:
    """Returns the study at the first of its looks, the numbers of seeds at each."""
    whole = study.with_seeds([looks[0]] * len(study.sweep))
    return dataclasses.replace(whole, looks=tuple(looks))


def doubling(first: int, most: int) -> tuple[int, ...]:
    """Returns looks at twice as many seeds each, from `first` to `most`.

    Raises:
      ValueError: too few seeds to test anything, or no more than at the first look.

    >>> doubling(4, 32)
    (4, 8, 16, 32)
    """
    if first < 3:
        raise ValueError(f"{first} seeds at the first look: a test needs at least 3")
    if most <= first:
        raise ValueError(
            f"at most {most} seeds are not more than the {first} of the first look"
        )
    found = [first]
    while found[-1] < most:
        found.append(min(2 * found[-1], most))
    return tuple(found)


def history(results: Results) -> tuple[Look, ...]:
    """Returns the looks so far; none without `Study.looks`.

    A look whose networks are not all there yet does not count.
    """
    found: list[Look] = []
    numbers = [t.num_seeds for t in results.trials]
    for seeds in results.study.looks:
        goes_on = set(range(len(numbers)))
        if found:
            goes_on = found[-1].asks
        each = [
            seeds if t in goes_on else found[-1].each[t] for t in range(len(numbers))
        ]
        if not goes_on or any(a > n for a, n in zip(each, numbers)):
            break
        view = restricted(results, each)
        if any(has_status(view, t, UNFINISHED).any() for t in goes_on):
            break
        found.append(_look(view, seeds, found))
    return tuple(found)


def _look(view: Results, seeds: int, before: Sequence[Look]) -> Look:
    best = best_trial(view)
    groups: tuple[list[int], ...] = [], [], [], []
    resolved, unresolved, stuck, untested = groups
    # New is what was the best, or not told from it, and is told now.
    last = before[-1] if before else None
    news = {last.best, *last.unresolved, *last.untested} if last else None
    for compared in compare_to_best(view, best, finals(view, view.test_score)):
        trial = compared.trial
        if best is None or trial == best or not view.has_run(trial):
            continue
        if compared.resolved:
            resolved += [trial] if news is None or trial in news else []
        elif (
            math.isnan(compared.p_holm)
            and 2 * alive(view, trial).sum() < view.trials[trial].num_seeds
        ):
            untested.append(trial)
        else:
            unresolved.append(trial)
            stuck += [] if compared.seeds_help else [trial]
    each = tuple(t.num_seeds for t in view.trials)
    return Look(seeds, each, best, *map(tuple, groups))


def restricted(results: Results, seeds: Sequence[int]) -> Results:
    """Returns the results as they would be with only so many seeds of each trial."""

    def kept(table: pa.Table) -> pa.Table:
        trial, seed = (table[c].to_numpy() for c in ("trial", "seed"))
        return table.filter(pa.array(seed < np.asarray(seeds)[trial], pa.bool_()))

    return dataclasses.replace(
        results,
        study=results.study.with_seeds(seeds),
        curves=kept(results.curves),
        probes=kept(results.probes),
        members=kept(results.members),
        severity=kept(results.severity),
    )


def asked_next(results: Results) -> Study | None:
    """Returns the study with the seeds of the next look; None if it has ended.

    It ends when no trial may be told from the best by more seeds, after the last look,
    or when programs failed.
    """
    taken = history(results)
    if not taken or results.config.get("failures"):
        return None
    last = taken[-1]
    if not last.asks or len(taken) == len(results.study.looks):
        return None
    seeds = results.study.looks[len(taken)]
    each = [seeds if t in last.asks else n for t, n in enumerate(last.each)]
    return results.study.with_seeds(each)
