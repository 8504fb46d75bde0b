# SPDX-License-Identifier: Apache-2.0
"""Compares the best trials of several runs, where the runs are comparable.

Two runs on the same test data and with the same root seed share their random numbers,
so their seeds are pairs. With different root seeds they are two independent samples.
Runs on different test data are not compared.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

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
from nnlab.study import Quantity

AT_CHANCE = Quantity(reduction="at_chance_share")


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

    Args:
      runs: two or more.

    Returns:
      One for each pair, (0, 1), (0, 2), ..., (1, 2), ...
    """
    pairs = itertools.combinations(range(len(runs)), 2)
    drafts = [_compare(runs, left, right) for left, right in pairs]
    adjusted = holm([draft.p for draft in drafts])
    return tuple(
        dataclasses.replace(draft, p_holm=float(p))
        for draft, p in zip(drafts, adjusted)
    )


def test_data(results: Results, trial: int) -> tuple[str, int]:
    """Returns what two trials share if they are scored on the same examples."""
    data = results.dataset(trial)
    return str(data["digest"]), int(data["test"])


def _compare(runs: Sequence[Findings], left: int, right: int) -> Difference:
    sides = runs[left], runs[right]
    none = Difference(left, right)
    first, second = (run.best for run in sides)
    if first is None or second is None:
        return dataclasses.replace(none, reason="a run has no best trial")
    if any("test_accuracy" not in run.results.metrics for run in sides):
        return dataclasses.replace(none, reason="a run has no test accuracy")
    left_data = test_data(sides[0].results, first)
    if left_data != test_data(sides[1].results, second):
        return dataclasses.replace(none, reason="their test data are not the same")
    bests = tuple(zip(sides, (first, second)))
    values = [run.final(trial, "test_accuracy") for run, trial in bests]
    lost = [np.nan_to_num(run.reduced(trial, AT_CHANCE)) for run, trial in bests]
    roots = {run.results.study.root_seed for run in sides}
    shared = len(roots) == 1
    effect, notes, floor = (_pairs if shared else _samples)(values, lost)
    facts: dict[str, Any] = {"mean": effect.mean, "low": effect.low, "n": effect.n}
    p = max(two_sided(effect), floor) if not np.isnan(two_sided(effect)) else np.nan
    if not np.isnan(p):
        if floor and p == floor:
            notes.append("so many stay at chance that their counts decide")
        # A network that is lucky on validation data tends to be lucky on test data.
        searched = max(len(run.ran) for run in sides)
        p = min(searched * p, 1.0)
        if searched > 1:
            notes.append(f"p times {searched}, since the best of {searched} was chosen")
    return dataclasses.replace(
        none,
        method="paired" if shared else "unpaired",
        reason="; ".join(notes),
        high=effect.high,
        p=float(p),
        **facts,
    )


def _pairs(
    values: Sequence[np.ndarray], lost: Sequence[np.ndarray]
) -> tuple[Effect, list[str], float]:
    """Compares the seeds that both have; see `_samples`."""
    common = min(map(len, values))
    d = difference(values[0][:common], values[1][:common])
    effect, notes = paired(d), []
    if any(len(v) > common for v in values):
        notes.append(f"over the {common} seeds that both have")
    more = (lost[0][:common] - lost[1][:common])[~np.isnan(d)]
    floor = least_p(float(more.sum()), len(more))
    if effect.n < MIN_SEEDS:
        notes.append(f"n = {effect.n}, and a test needs {MIN_SEEDS} pairs")
    elif not is_enough(effect, common):
        effect = dataclasses.replace(effect, tail=Effect(np.nan).tail)
        notes.append("too many pairs have no value for a test")
    return effect, notes, floor


def _samples(
    values: Sequence[np.ndarray], lost: Sequence[np.ndarray]
) -> tuple[Effect, list[str], float]:
    """Compares two samples of seeds.

    Returns:
      The effect, notes in words, and the least p that the networks at chance allow.
    """
    notes = ["the root seeds differ, so that seeds are no pairs: Welch's test"]
    alive = [v[~np.isnan(v)] for v in values]
    if not all(a.size for a in alive):
        return Effect(np.nan), [*notes, "a side has no value"], 0.0
    effect = welch(float(alive[0].mean() - alive[1].mean()), alive[:1], alive[1:])
    shares = [float(side[~np.isnan(v)].mean()) for side, v in zip(lost, values)]
    fewest = min(a.size for a in alive)
    floor = least_p((shares[0] - shares[1]) * fewest, fewest)
    if any(a.size < MIN_SEEDS for a in alive):
        notes.append(f"a test needs {MIN_SEEDS} seeds on both sides")
    elif any(len(v) - a.size > MAX_LEFT_OUT * len(v) for v, a in zip(values, alive)):
        effect = dataclasses.replace(effect, tail=Effect(np.nan).tail)
        notes.append("too many seeds have no value for a test")
    elif np.isnan(two_sided(effect)):
        notes.append("no spread to test with")
    return effect, notes, floor
