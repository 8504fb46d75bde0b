# SPDX-License-Identifier: Apache-2.0
"""Compares the best trials of several runs, where the runs are comparable.

Two runs on the same test data and with the same root seed share their random numbers,
so their seeds are pairs. With different root seeds they are two independent samples.
Runs on different test data are not compared.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from nnlab.results import Results
from nnlab.statistics.effects import (
    MAX_LEFT_OUT,
    Effect,
    difference,
    holm,
    is_enough,
    least_p,
    paired,
    two_sided,
    welch,
)
from nnlab.statistics.findings import Findings
from nnlab.statistics.intervals import LEVEL, MIN_SEEDS
from nnlab.study import DRAWN
from nnlab.study.claims import AT_CHANCE


@dataclasses.dataclass(frozen=True)
class Difference:
    """The best trial of one run against that of another, in final test accuracy.

    Attributes:
      left, right: indices of the runs, `left` before `right`.
      method: "paired", "unpaired", or "" where nothing is compared.
      reason: why nothing is compared or tested, or what the reader must know.
      mean: left minus right; NaN where nothing is compared.
      low, high: its 95 % interval; NaN where there is none.
      n: number of pairs, or of networks on both sides.
      p: two-sided, times the larger number of trials from which a side's best was
        chosen; NaN where no test was made.
      p_holm: `p` adjusted over all pairs of runs; significant up to 0.05.
    """

    left: int
    right: int
    method: str = ""
    reason: str = ""
    mean: float = np.nan
    low: float = np.nan
    high: float = np.nan
    n: int = 0
    p: float = np.nan
    p_holm: float = np.nan

    @property
    def resolved(self) -> bool:
        """Whether `p_holm` is at most 0.05."""
        return self.p_holm <= 1 - LEVEL


def compare_bests(runs: Sequence[Findings]) -> tuple[Difference, ...]:
    """Compares the best trial by validation of each pair of runs.

    The test is a paired t test over the seeds that both have, where they share random
    numbers, else Welch's test. Where more than a quarter of the seeds have no value,
    nothing is tested. As in claims about the best trial (`verdicts.judge`), p is
    multiplied by the number of trials on the side that had more to choose from. It is
    at least `effects.chance_of_parting` of the networks at chance, where their numbers
    differ by more than a quarter. Holm's adjustment runs over all pairs of runs.

    Where no trial differs from another, at most 4.3 % of comparisons call a difference
    significant (1,000 simulations for each of 8 shapes, see ``between_runs_test.py``).

    Returns:
      One for each pair of two or more runs, (0, 1), (0, 2), ..., (1, 2), ...
    """
    pairs = itertools.combinations(range(len(runs)), 2)
    drafts = [_compare(runs, left, right) for left, right in pairs]
    adjusted = holm([draft.p for draft in drafts]).tolist()
    return tuple(dataclasses.replace(d, p_holm=p) for d, p in zip(drafts, adjusted))


def test_data(results: Results, trial: int) -> tuple[str, int, bool]:
    """Returns what two trials share if they are scored on the same examples."""
    data = results.dataset(trial)
    drawn = results.study.split == DRAWN[0]
    return str(data["digest"]), int(data["test"]), drawn


def _compare(runs: Sequence[Findings], left: int, right: int) -> Difference:
    sides = runs[left], runs[right]
    none = Difference(left, right)
    first, second = (run.best for run in sides)
    if first is None or second is None:
        return dataclasses.replace(none, reason="a run has no best trial")
    if any("test_accuracy" not in run.results.metrics for run in sides):
        return dataclasses.replace(none, reason="a run has no test accuracy")
    bests = tuple(zip(sides, (first, second)))
    if len({test_data(run.results, trial) for run, trial in bests}) > 1:
        return dataclasses.replace(none, reason="their test data are not the same")
    values = [run.final(trial, "test_accuracy") for run, trial in bests]
    lost = [np.nan_to_num(run.reduced(trial, AT_CHANCE)) for run, trial in bests]
    owners = {(run.results.study.root_seed, run.results.study.vary) for run in sides}
    shared = len(owners) == 1
    effect, floor, notes, untested = (_pairs if shared else _samples)(values, lost)
    p = np.nan
    if untested:
        notes.append(untested)
    else:
        p = max(two_sided(effect), floor)
        if floor and p == floor:
            notes.append("so many stay at chance that their counts decide")
        # A network that is lucky on validation data tends to be lucky on test data.
        searched = max(len(run.ran) for run in sides)
        p = min(searched * p, 1.0)
        if searched > 1:
            notes.append(f"p times {searched}, since the best of {searched} was chosen")
    method, reason = "paired" if shared else "unpaired", "; ".join(notes)
    interval = effect.mean, effect.low, effect.high
    return Difference(left, right, method, reason, *interval, effect.n, p)


_Sides = Sequence[np.ndarray]
_Tested = tuple[Effect, float, list[str], str]
"""The effect, the least p that the networks at chance allow, and notes; at the end why
nothing is tested, or ""."""


def _pairs(values: _Sides, lost: _Sides) -> _Tested:
    """Compares the seeds that both have."""
    common = min(map(len, values))
    uneven = any(len(v) > common for v in values)
    notes = [f"over the {common} seeds that both have"] if uneven else []
    d = difference(values[0][:common], values[1][:common])
    effect, untested = paired(d), ""
    more = (lost[0][:common] - lost[1][:common])[~np.isnan(d)]
    if effect.n < MIN_SEEDS:
        untested = f"n = {effect.n}, and a test needs {MIN_SEEDS} pairs"
    elif not is_enough(effect, common):
        untested = "too many pairs have no value for a test"
    return effect, least_p(float(more.sum()), len(more)), notes, untested


def _samples(values: _Sides, lost: _Sides) -> _Tested:
    """Compares two samples of seeds."""
    notes = ["the root seeds differ, so that seeds are no pairs: Welch's test"]
    alive = [v[~np.isnan(v)] for v in values]
    fewest = min(a.size for a in alive)
    if not fewest:
        return Effect(np.nan), 0.0, notes, "a side has no value"
    effect = welch(float(alive[0].mean() - alive[1].mean()), alive[:1], alive[1:])
    shares = [float(side[~np.isnan(v)].mean()) for side, v in zip(lost, values)]
    untested = ""
    if fewest < MIN_SEEDS:
        untested = f"a test needs {MIN_SEEDS} seeds on both sides"
    elif any(len(v) - a.size > MAX_LEFT_OUT * len(v) for v, a in zip(values, alive)):
        untested = "too many seeds have no value for a test"
    elif np.isnan(two_sided(effect)):
        untested = "no spread to test with"
    return effect, least_p((shares[0] - shares[1]) * fewest, fewest), notes, untested
