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
from nnlab.statistics.crossed import crossed_samples
from nnlab.statistics.effects import (
    MAX_LEFT_OUT,
    Effect,
    adjusted_interval,
    difference,
    holm,
    holm_steps,
    is_enough,
    least_p,
    paired,
    two_sided,
    welch,
)
from nnlab.statistics.examples import (
    DATA,
    EXAMPLES,
    SEEDS,
    answers,
    final_score,
    limits,
    ratio,
    widened,
)
from nnlab.statistics.findings import Findings
from nnlab.statistics.intervals import LEVEL, MIN_SEEDS
from nnlab.statistics.power import detectable
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
      low, high, p_seeds, over, detectable: as `ranking.Comparison` has them; the
        interval is of 95 % where no test was made.
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
    p_seeds: float = np.nan
    over: str = SEEDS
    detectable: float = np.nan

    @property
    def resolved(self) -> bool:
        """Whether `p_holm` is at most 0.05."""
        return self.p_holm <= 1 - LEVEL


@dataclasses.dataclass(frozen=True)
class _Tested:
    """What is tested of two sides: over new examples, too, and over seeds `alone`.

    `least` is the p that the networks at chance allow.
    """

    effect: Effect
    over: str
    alone: Effect
    least: float
    notes: list[str]
    untested: str


def compare_bests(runs: Sequence[Findings]) -> tuple[Difference, ...]:
    """Compares the best trial by validation of each pair of runs.

    The test is paired by seed, where they share random numbers, over the seeds that
    both have; else it is of two samples. It is over new seeds and new examples, where
    both runs kept what each network said of each test example (`crossed`); over new
    data, where every seed drew its own split; else over seeds (paired t, or Welch's).
    Where more than a quarter of the seeds have no value, nothing is tested. As in
    claims about the best trial (`judging.judge`), p is multiplied by the number of
    trials on the side that had more to choose from. It is at least
    `effects.chance_of_parting` of the networks at chance, where their numbers differ by
    more than a quarter. Holm's adjustment runs over all pairs of runs.
    docs/comparing.md has the measured rates of error.

    Returns:
      One for each pair of two or more runs, (0, 1), (0, 2), ..., (1, 2), ...
    """
    pairs = itertools.combinations(range(len(runs)), 2)
    drafts = [_compare(runs, left, right) for left, right in pairs]
    p, alone = (
        [getattr(found, name) for found, _, _ in drafts] for name in ("p", "p_seeds")
    )
    adjusted = zip(holm(p).tolist(), holm(alone).tolist(), holm_steps(p).tolist())
    return tuple(_settle(*draft, *of) for draft, of in zip(drafts, adjusted))


def _settle(
    draft: Difference,
    effect: Effect | None,
    searched: int,
    p_holm: float,
    p_seeds: float,
    step: float,
) -> Difference:
    found = dataclasses.replace(draft, p_holm=p_holm, p_seeds=p_seeds)
    if effect is None:
        return found
    factor = searched * step
    low, high = adjusted_interval(effect, factor, p_holm)
    told = np.nan if found.resolved else detectable(effect, factor)
    return dataclasses.replace(found, low=low, high=high, detectable=told)


def test_data(results: Results, trial: int) -> tuple[str, int, bool]:
    """Returns what two trials share if they are scored on the same examples."""
    data = results.dataset(trial)
    drawn = results.study.split == DRAWN[0]
    return str(data["digest"]), int(data["test"]), drawn


_Best = tuple[Findings, int]


def _compare(
    runs: Sequence[Findings], left: int, right: int
) -> tuple[Difference, Effect | None, int]:
    """Drafts a difference; with what was tested, and by how much p is multiplied."""
    sides = runs[left], runs[right]
    bests = [(run, run.best) for run in sides if run.best is not None]
    reason = ""
    if len(bests) < 2:
        reason = "a run has no best trial"
    elif len({run.results.score for run in sides}) > 1:
        reason = "one learns classes, one numbers"
    elif any(run.results.test_score not in run.results.metrics for run in sides):
        reason = "a run has no test scores"
    elif len({test_data(run.results, trial) for run, trial in bests}) > 1:
        reason = "their test data are not the same"
    if reason:
        return Difference(left, right, reason=reason), None, 1
    owners = {(run.results.study.root_seed, run.results.study.vary) for run in sides}
    shared = len(owners) == 1
    tested = (_pairs if shared else _samples)(bests)
    p, notes = [np.nan, np.nan], tested.notes
    searched = max(len(run.ran) for run in sides)
    if tested.untested:
        notes.append(tested.untested)
    else:
        raw = [two_sided(effect) for effect in (tested.effect, tested.alone)]
        if tested.least >= raw[0] and tested.least:
            notes.append("so many stay at chance that their counts decide")
        # A network that is lucky on validation data tends to be lucky on test data.
        p = [min(searched * max(one, tested.least), 1.0) for one in raw]
        if searched > 1:
            notes.append(f"p times {searched}, since the best of {searched} was chosen")
    found = Difference(
        left,
        right,
        method="paired" if shared else "unpaired",
        reason="; ".join(notes),
        mean=tested.effect.mean,
        n=tested.effect.n,
        p=p[0],
        p_seeds=p[1],
        over=tested.over,
    )
    return found, tested.effect, searched


def _networks(bests: Sequence[_Best]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Returns the test scores of both sides, and which networks are at chance."""
    values = [run.final(trial, run.results.test_score) for run, trial in bests]
    lost = [np.nan_to_num(run.reduced(trial, AT_CHANCE)) for run, trial in bests]
    return values, lost


def _pairs(bests: Sequence[_Best]) -> _Tested:
    """Compares the seeds that both have."""
    values, lost = _networks(bests)
    common = min(map(len, values))
    uneven = any(len(v) > common for v in values)
    notes = [f"over the {common} seeds that both have"] if uneven else []
    d = difference(values[0][:common], values[1][:common])
    alone = dataclasses.replace(paired(d), limits=limits(bests[0][0].results))
    sides = [(final_score(run.results), [trial]) for run, trial in bests]
    effect, over = widened(alone, d, sides, [run.results for run, _ in bests])
    notes += [effect.exact] * bool(effect.exact)
    more, untested = (lost[0][:common] - lost[1][:common])[~np.isnan(d)], ""
    if alone.n < MIN_SEEDS:
        untested = f"n = {alone.n}, and a test needs {MIN_SEEDS} pairs"
    elif not is_enough(alone, common):
        untested = "too many pairs have no value for a test"
    least = least_p(float(more.sum()), len(more))
    return _Tested(effect, over, alone, least, notes, untested)


def _samples(bests: Sequence[_Best]) -> _Tested:
    """Compares two samples of seeds."""
    values, lost = _networks(bests)
    notes = ["seeds are no pairs (other root seeds, or randomness): Welch's test"]
    there = [~np.isnan(v) for v in values]
    alive = [v[kept] for v, kept in zip(values, there)]
    fewest = min(a.size for a in alive)
    if not fewest:
        none = Effect(np.nan)
        return _Tested(none, SEEDS, none, 0.0, notes, "a side has no value")
    mean = float(alive[0].mean() - alive[1].mean())
    alone = effect = welch(mean, alive[:1], alive[1:])
    of = [(run.results, trial, final_score(run.results)) for run, trial in bests]
    over, said = SEEDS, [answers(*one) for one in of]
    if share := max(ratio(*one) for one in of):
        effect, over = welch(mean, alive[:1], alive[1:], ratio=share), DATA
    elif said[0] and said[1] and said[0].of == said[1].of:
        kept = [one.values[of] * 1.0 for one, of in zip(said, there) if one]
        effect, over = crossed_samples(*kept), EXAMPLES
    effect = dataclasses.replace(effect, limits=limits(bests[0][0].results))
    notes += [effect.exact] * bool(effect.exact)
    shares = [float(side[kept].mean()) for side, kept in zip(lost, there)]
    untested = ""
    if fewest < MIN_SEEDS:
        untested = f"a test needs {MIN_SEEDS} seeds on both sides"
    elif any(len(v) - a.size > MAX_LEFT_OUT * len(v) for v, a in zip(values, alive)):
        untested = "too many seeds have no value for a test"
    elif np.isnan(two_sided(effect)):
        untested = "no spread to test with"
    least = least_p((shares[0] - shares[1]) * fewest, fewest)
    return _Tested(effect, over, alone, least, notes, untested)
