# SPDX-License-Identifier: Apache-2.0
"""Which trial is best, and which others differ from it significantly."""

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np

from nnlab.results import DIVERGED, UNFINISHED, Results
from nnlab.statistics.crossed import pairs_p
from nnlab.statistics.effects import (
    MAX_LEFT_OUT,
    Effect,
    adjusted_interval,
    difference,
    holm,
    holm_steps,
    interval,
    paired,
    paired_p,
    parting_p,
)
from nnlab.statistics.examples import (
    SEEDS,
    answers,
    final_score,
    limits,
    ratio,
    widened,
)
from nnlab.statistics.intervals import LEVEL
from nnlab.statistics.members import (
    alive,
    asked,
    at_chance,
    carried_forward,
    final_values,
    has_status,
    networks,
)
from nnlab.statistics.power import detectable, seeds_help
from nnlab.study import Study

_MOST_VALUES = 2**22
"""Most differences held at once: 1,000 trials of 1,000 seeds have 500 million."""


def mean_score(results: Results, trial: int) -> float:
    """Returns a trial's last mean validation score, however its networks ended.

    A diverged one counts with `of_lost`, among the networks of all trials.
    """
    lost = has_status(results, trial, DIVERGED)
    ran = [t.index for t in results.trials if results.has_run(t.index)]
    every = {t: _last_score(results, t) for t in (ran if lost.any() else [trial])}
    chance = results.dataset(trial)["chance"]
    least = of_lost(results.score, chance, np.concatenate([*every.values()]))
    counted = np.where(lost, least, every[trial])
    return float(counted[asked(results, trial)].mean())


def of_lost(score: str, chance: float, known: np.ndarray) -> float:
    """Returns the score with which a diverged network counts.

    It is that of chance. R2 has no least value, so there it is at most the worst that
    is `known` of other networks, in any shape; NaN is unknown.

    >>> of_lost("accuracy", 0.1, np.array([0.05])), of_lost("r2", 0, np.array([-0.5]))
    (0.1, -0.5)
    """
    if score == "accuracy":
        return chance
    return float(np.fmin.reduce(known, axis=None, initial=chance))


def _last_score(results: Results, trial: int) -> np.ndarray:
    curve = carried_forward(results, trial, results.validation_score)
    return final_values(results, trial, curve)


def worth(scores: np.ndarray, lost: np.ndarray, least: float) -> float | None:
    """Returns the mean validation score of a trial's seeds, (S,).

    The `lost` ones, which diverged, count with `of_lost`, `least`: with chance of 10 %
    one lucky survivor of eight at 99 % makes a trial of 21 %. None if fewer than half
    survive, or one has no score yet.
    """
    mean = float(np.where(lost, least, scores).mean())
    return None if 2 * lost.sum() > len(lost) or np.isnan(mean) else mean


def leading(worths: Mapping[int, float]) -> int | None:
    """Returns the index of the trial that is worth the most, the first among equals."""
    return max(worths, key=lambda t: (worths[t], -t), default=None)


def expected_score(
    results: Results, trial: int, *, so_far: bool = False
) -> float | None:
    """Returns a trial's expected final validation score; see `worth`.

    None if fewer than half survive, or a network is dropped or unfinished; with
    `so_far` the last evaluation of an unfinished one counts.
    """
    survivors, seeds = alive(results, trial), asked(results, trial)
    if so_far:
        survivors |= has_status(results, trial, UNFINISHED)
    lost = has_status(results, trial, DIVERGED)
    if not np.all((survivors | lost)[seeds]):
        return None
    last = _last_score(results, trial)[seeds]
    least = of_lost(results.score, results.dataset(trial)["chance"], last)
    return worth(last, lost[seeds], least)


def best_trial(
    results: Results, among: Iterable[int] | None = None, *, so_far: bool = False
) -> int | None:
    """Returns the trial, by index, with the highest `expected_score`; None for none.

    Ties go to the lower index. Where looks gave some trials more seeds than others,
    only those with the most qualify: the others were found to differ from the best, or
    no number of seeds tells them from it.

    Args:
      among: indices of the trials to choose from; all when None.
      so_far: whether unfinished networks count with their last evaluation.
    """
    chosen = list(range(len(results.trials)) if among is None else among)
    if results.study.looks:
        most = max((results.trials[t].num_seeds for t in chosen), default=0)
        chosen = [t for t in chosen if results.trials[t].num_seeds == most]
    return leading(_expected(results, chosen, so_far=so_far))


def _expected(
    results: Results, trials: Iterable[int], *, so_far: bool = False
) -> dict[int, float]:
    values = {t: expected_score(results, t, so_far=so_far) for t in trials}
    return {trial: value for trial, value in values.items() if value is not None}


def worst_trial(results: Results, among: Iterable[int] | None = None) -> int | None:
    """Returns the trial with the lowest expected score on the best trial's data set.

    `among` are indices, the best one's included; all when None. Returns None if no
    other trial on that data set has an `expected_score`.
    """
    chosen = set(range(len(results.trials)) if among is None else among)
    best = best_trial(results, chosen)
    if best is None:
        return None
    data = [t.hyperparameters.data for t in results.trials]
    others = (t for t in chosen - {best} if data[t] == data[best])
    return leading({t: -v for t, v in _expected(results, others).items()})


def best_and_worst(results: Results) -> tuple[int | None, int | None]:
    """Returns the best and the worst trial; of at least two networks, no baselines."""
    among = networks(results)
    chosen = among if len(among) > 1 else None
    return best_trial(results, chosen), worst_trial(results, chosen)


def num_families(study: Study) -> int:
    """Returns how many families of tests share the report's level of 5 %.

    Two, if the study asks which trial is best and makes claims; then p-values are
    multiplied by 2. It depends on the study, not on its results.
    """
    return max(1, study.compares + bool(study.claims))


def correction(study: Study) -> int:
    """Returns the factor on p-values, beside Holm's adjustment.

    It is `num_families` times K, the number of looks at which trials are compared (one,
    if the study names none). Then what is called significant at any look errs with at
    most the level, whichever trials go on: a wrong statement needs a p-value below
    level / (K m) of one of m true null hypotheses at one of K looks, which has at most
    the probability of the level (Bonferroni).
    """
    return num_families(study) * max(1, len(study.looks))


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A trial's difference to the best trial, paired by seed.

    Attributes:
      trial: index.
      mean: the trial minus the best, over the pairs in which both survive.
      low, high: its interval, adjusted like `p_holm`: without 0 where, and only where,
        the difference is significant. NaN below 3 pairs or without spread.
      n: pairs.
      p: two-sided; NaN below 3 pairs, if more than a quarter of them is missing, or
        if the study does not ask for the comparison.
      p_holm: `p` adjusted over all pairs of trials and by `correction`.
      p_seeds: the same over seeds alone, on these examples.
      over: of what else `p` speaks, see `examples.widened`.
      detectable: the smallest true difference that would have been significant in 80 %
        of such runs; NaN if nothing was tested.
      seeds_help: whether more seeds may make it significant, see `power.seeds_help`;
        judged only where a study names looks.
    """

    trial: int
    mean: float = np.nan
    low: float = np.nan
    high: float = np.nan
    n: int = 0
    p: float = np.nan
    p_holm: float = np.nan
    p_seeds: float = np.nan
    over: str = SEEDS
    detectable: float = np.nan
    seeds_help: bool = True

    @property
    def resolved(self) -> bool:
        """Whether the trial differs significantly from the best."""
        return self.p_holm <= 1 - LEVEL


def compare_to_best(
    results: Results, best: int | None, values: np.ndarray
) -> tuple[Comparison, ...]:
    """Compares each trial's final test accuracy, or r2, with the best trial's.

    The test is over new seeds and new examples, where the run kept what each network
    said of each test example (`crossed.pairs_p`); over new data, where every seed drew
    its own split; else over seeds.

    Holm's adjustment runs over all T(T-1)/2 pairs of trials, not over the T-1 with the
    best: the data choose the best, so any pair might have been compared. Where no trial
    differs and validation and test accuracy are equal, adjusting for T-1 errs in 11 %
    of experiments with T = 8 and in 18 % with T = 16 (4,000 simulations of 8 seeds),
    adjusting for all pairs in 3 %. P-values are also multiplied by `correction`. Trials
    with different numbers of seeds are compared over those that both have.

    Where the study does not ask for it (`Study.compares`) nothing is tested: there are
    differences with 95 % intervals and no p-values.

    Where the numbers of networks at chance differ by more than a quarter of the seeds,
    t misleads, and p is at least that of `parting`.

    `values` is the test score of each trial's final networks, (T, S).

    Returns:
      One comparison for each trial, in order of index. It is NaN and not significant
      for the best itself, for trials that did not run, and for all if there is no best.
    """
    trials, test = [t.index for t in results.trials], final_score(results)
    if best is None:
        return tuple(Comparison(trial) for trial in trials)

    def effect_of(trial: int) -> tuple[Effect, str]:
        d = difference(values[trial], values[best])
        plain = dataclasses.replace(paired(d), limits=limits(results))
        return widened(plain, d, [(test, [trial]), (test, [best])], results)

    def described(trial: int) -> Comparison:
        effect, over = effect_of(trial)
        ends = interval(effect)
        return Comparison(trial, effect.mean, *ends, n=effect.n, over=over)

    if not results.study.compares:
        return tuple(Comparison(t) if t == best else described(t) for t in trials)
    a, b = np.triu_indices(len(trials), 1)
    seeds = np.array([t.num_seeds for t in results.trials])
    common = np.minimum(seeds[a], seeds[b])
    alone = _paired(values, a, b, common)
    p = _widened(results, values, a, b, common, alone)
    found = {
        "p": p,
        "p_holm": _adjusted(results, a, b, p, common),
        "p_seeds": _adjusted(results, a, b, alone, common),
    }
    with_best = (a == best) | (b == best)
    others = (a + b - best)[with_best].tolist()
    tested = {
        name: dict(zip(others, v[with_best].tolist())) for name, v in found.items()
    }
    factors = holm_steps(p) * correction(results.study)
    step = dict(zip(others, factors[with_best].tolist()))

    def compared(trial: int) -> Comparison:
        effect, over = effect_of(trial)
        own = {name: of[trial] for name, of in tested.items()}
        ends = adjusted_interval(effect, step[trial], own["p_holm"])
        own["detectable"] = detectable(effect, step[trial])
        if results.study.looks:
            own["seeds_help"] = seeds_help(effect, step[trial])
        return Comparison(trial, effect.mean, *ends, n=effect.n, over=over, **own)

    return tuple(Comparison(t) if t == best else compared(t) for t in trials)


def _paired(
    values: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    common: np.ndarray,
    share: float = 0.0,
) -> np.ndarray:
    """Returns p-values (P,) of pairs of trials over seeds, or splits."""
    rows = max(1, _MOST_VALUES // values.shape[1])
    parts = np.split(np.arange(len(a)), range(rows, len(a), rows))
    return np.concatenate(
        [
            paired_p(difference(values[a[some]], values[b[some]]), common[some], share)
            for some in parts
        ]
    )


def _widened(
    results: Results,
    values: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    common: np.ndarray,
    alone: np.ndarray,
) -> np.ndarray:
    """Returns p-values (P,) over examples or data, too, where they are known.

    `alone` are those over seeds.
    """
    test = final_score(results)
    ran = [t.index for t in results.trials if results.has_run(t.index)]
    if shares := [share for t in ran if (share := ratio(results, t, test))]:
        return _paired(values, a, b, common, max(shares))
    said = {t: found for t in ran if (found := answers(results, t, test))}
    p = alone.copy()
    for of in {found.of for found in said.values()}:
        same = [t for t, found in said.items() if found.of == of]
        place = np.full(len(results.trials), -1)
        place[same] = np.arange(len(same))
        some = (place[a] >= 0) & (place[b] >= 0) & ~np.isnan(alone)
        right = np.array([said[t].values for t in same])
        present = ~np.isnan(values[same])
        p[some] = pairs_p(right, present, place[a[some]], place[b[some]])
    return p


def parting(results: Results, seeds: int) -> np.ndarray:
    """Returns p-values (seeds + 1,) of differences in networks at chance.

    One holds for all pairs of trials, and so for all claims about them, at once; it is
    multiplied by the number of looks only. See `effects.parting_p`.
    """
    dull = [
        np.count_nonzero(at_chance(results, t.index)[:seeds])
        for t in results.trials
        if t.num_seeds >= seeds and results.has_run(t.index)
    ]
    return max(1, len(results.study.looks)) * parting_p(np.array(dull), seeds)


def _adjusted(
    results: Results, a: np.ndarray, b: np.ndarray, p: np.ndarray, common: np.ndarray
) -> np.ndarray:
    """Adjusts p-values (P,) by Holm, at least to those of the pairs' losses to chance.

    `a` and `b` are the trials of each pair, `common` the seeds that both have, (P,).
    """
    adjusted = correction(results.study) * holm(p)
    dull = np.array([at_chance(results, t.index) for t in results.trials])
    for seeds in np.unique(common).tolist():
        counts = dull[:, :seeds].sum(axis=1)
        apart = np.abs(counts[a] - counts[b])
        clustered = (common == seeds) & (apart > MAX_LEFT_OUT * seeds)
        if clustered.any():
            floor = parting(results, seeds)[apart[clustered]]
            adjusted[clustered] = np.maximum(adjusted[clustered], floor)
    return np.minimum(adjusted, 1.0)
