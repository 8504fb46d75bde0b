# SPDX-License-Identifier: Apache-2.0
"""Effects between two sides, and how significant they are: tests on plain arrays.

Trials are compared seed by seed: a seed has the same data order in every trial.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

# Only the ufuncs of scipy.special: importing scipy.stats takes most of a second.
from scipy import special

from nnlab.statistics.intervals import LEVEL, MIN_SEEDS
from nnlab.study import DIFFERENCE, ORDER

# Where more pairs are lost to divergence, the rest do not represent the trial.
MAX_LEFT_OUT = 0.25
MOST_RANKED = 25
"""Networks of a side up to which all orders of ranks are counted."""


@dataclasses.dataclass(frozen=True)
class Effect:
    """An estimate and its test.

    `tail(sign, bound)` is the one-sided p-value for an effect above (sign 1) or below
    (sign -1) the bound. `exact` names the test if it was not a t test. `scale` says
    what the numbers are: differences, logarithms of ratios, or nothing but an order.
    `values` are what was tested, floats (S,), or (S, N) over examples, too; several
    whose means add up where these are of different examples; none of two samples.
    `ratio` is that of `crossed.resampled`. `again(n)` is an exact test of n pairs that
    repeat these, as what a plan expects of more seeds.
    """

    mean: float
    low: float = np.nan
    high: float = np.nan
    n: int = 0
    tail: Callable[[int, float], float] = lambda sign, bound: math.nan
    exact: str = ""
    limits: tuple[float, float] = (-np.inf, np.inf)
    scale: str = DIFFERENCE
    values: tuple[np.ndarray, ...] = dataclasses.field(
        default=(), compare=False, repr=False
    )
    ratio: float = 0.0
    again: "Callable[[int], Effect] | None" = None


def scaled(effect: Effect, factor: float) -> Effect:
    """Returns the same test of `factor` times the effect, for a factor above 0."""
    low, high = (factor * end for end in effect.limits)
    return dataclasses.replace(
        effect,
        mean=factor * effect.mean,
        low=factor * effect.low,
        high=factor * effect.high,
        tail=lambda sign, bound: effect.tail(sign, bound / factor),
        limits=(low, high),
        values=tuple(factor * part for part in effect.values),
    )


def interval(effect: Effect, level: float = LEVEL) -> tuple[float, float]:
    """Returns the numbers that a two-sided test of the effect does not reject.

    So the interval excludes 0 where, and only where, p is below 1 - level. NaN where
    nothing is tested, or the values have no spread.

    >>> effect = paired(np.array([0.1, 0.2, 0.4]))
    >>> bool(np.allclose(interval(effect), (effect.low, effect.high)))
    True
    """
    side = (1 - level) / 2
    if math.isnan(effect.low):
        return np.nan, np.nan

    def end(sign: int) -> float:
        inside, width = effect.mean, max(effect.high - effect.low, 1e-12)
        limit = effect.limits[sign > 0]
        outside = inside + sign * width
        while effect.tail(-sign, outside) > side and sign * (limit - outside) > 0:
            width *= 2
            outside = inside + sign * width
        for _ in range(60):  # to the last bit
            middle = (inside + outside) / 2
            if effect.tail(-sign, middle) > side:
                inside = middle
            else:
                outside = middle
        return inside if sign * (limit - inside) > 0 else limit

    low, high = end(-1), end(1)
    if two_sided(effect) > 1 - level:  # exact tests of 0 have intervals of other tests
        low, high = min(low, 0.0), max(high, 0.0)
    return low, high


def difference(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Returns left minus right, exactly 0 where only rounding differs."""
    return np.where(np.isclose(left, right, rtol=1e-9, atol=1e-12), 0.0, left - right)


def is_enough(effect: Effect, num_pairs: int) -> bool:
    """Whether enough pairs have a value to represent all."""
    return effect.n >= MIN_SEEDS and num_pairs - effect.n <= MAX_LEFT_OUT * num_pairs


def student(mean: float, error: float, freedom: float, n: int) -> Effect:
    """Tests a mean of n values with a standard error of so many degrees of freedom."""
    half = float(special.stdtrit(freedom, (1 + LEVEL) / 2)) * error

    def tail(sign: int, bound: float) -> float:
        return float(special.stdtr(freedom, -sign * (mean - bound) / error))

    return Effect(mean, mean - half, mean + half, n, tail)


def paired(differences: np.ndarray) -> Effect:
    """Tests the mean of paired differences (S,); NaN is left out.

    Equal differences have no spread: t would be infinite and p zero at every n. Then
    the sign test decides: 8 of 8 in one direction give p = 0.008.
    """
    d = differences[~np.isnan(differences)]
    if len(d) < MIN_SEEDS:
        return Effect(float(d.mean()) if len(d) else np.nan, n=len(d))
    if np.ptp(d) <= 1e-9 * np.abs(d).max():
        return Effect(
            mean=float(d.mean()),
            n=len(d),
            tail=lambda sign, bound: _sign_tail(sign * (d - bound)),
            exact=f"all {len(d)} differences are equal: sign test",
            values=(d,),
            again=lambda n: paired(np.resize(d, n)),
        )
    error = float(d.std(ddof=1)) / math.sqrt(len(d))
    effect = student(float(d.mean()), error, len(d) - 1.0, len(d))
    return dataclasses.replace(effect, values=(d,))


def ordered(left: np.ndarray, right: np.ndarray) -> Effect:
    """Tests which of two sides is larger, by the ranks of their values (S,) alone.

    That is the exact rank-sum test of Wilcoxon, with mean ranks of ties; above
    `MOST_RANKED` networks its normal approximation. Values may be infinite. The sign
    test of the pairs needs six of them for p below 0.05, and sees no size; this one
    gives 4 networks that all come before 4 others p = 0.03. Networks of a seed share
    initialisation and order; where they end alike it is conservative.

    There is no size of the effect, and no interval.

    Source: Lehmann, E. L. (1975). Nonparametrics: Statistical Methods Based on Ranks,
    section 1.4.

    Args:
      left, right: pairs by seed; those with a NaN are left out.
    """
    there = ~(np.isnan(left) | np.isnan(right))
    left, right, n = left[there], right[there], int(there.sum())
    if n < MIN_SEEDS:
        return Effect(np.nan, n=n, scale=ORDER)
    both = np.concatenate([left, right])
    _, place, counts = np.unique(both, return_inverse=True, return_counts=True)
    ranks = (2 * np.cumsum(counts) - counts + 1)[place]  # twice the mean ranks: whole
    above, below = _rank_tails(tuple(sorted(ranks.tolist())), int(ranks[:n].sum()))

    def tail(sign: int, bound: float) -> float:
        return math.nan if bound else (above if sign > 0 else below)

    def again(n: int) -> Effect:
        return ordered(np.resize(left, n), np.resize(right, n))

    exact = "rank-sum test"
    return Effect(np.nan, n=n, tail=tail, exact=exact, scale=ORDER, again=again)


@functools.cache
def _rank_tails(ranks: tuple[int, ...], total: int) -> tuple[float, float]:
    """Returns how likely half of the ranks, at random, sum to so much: more, less."""
    n = len(ranks) // 2
    if n > MOST_RANKED:
        mean, var = sum(ranks) / 2, float(np.var(ranks)) * n**2 / (2 * n - 1)
        z = (total - mean) / math.sqrt(var) if var else 0.0
        return float(special.ndtr(-z)), float(special.ndtr(z))
    ways = np.zeros((n + 1, sum(ranks) + 1))  # of so many ranks with such a sum
    ways[0, 0] = 1.0
    for rank in ranks:
        ways[1:, rank:] += ways[:-1, : ways.shape[1] - rank].copy()
    chances = ways[n] / ways[n].sum()
    return float(chances[total:].sum()), float(chances[: total + 1].sum())


def signs(differences: np.ndarray) -> Effect:
    """Tests by an exact sign test whether values lie above a number, or below.

    Args:
      differences: the values minus the number, (S,); they may be infinite. NaN is left
        out.
    """
    d = differences[~np.isnan(differences)]
    if len(d) < MIN_SEEDS:
        return Effect(np.nan, n=len(d), scale=ORDER)
    return Effect(
        np.nan,
        n=len(d),
        tail=lambda sign, bound: _sign_tail(sign * (d - bound)),
        exact="sign test",
        scale=ORDER,
        again=lambda n: signs(np.resize(d, n)),
    )


def against_number(differences: np.ndarray) -> Effect:
    """Tests the mean of values minus a number (S,); NaN is left out.

    Skewness, which pairs cancel, makes t reject too often here: at a level of 2.5 %,
    5.2 % of tests err on the mean of 8 accuracies with lognormal errors (sigma 0.5). So
    p is the larger one of t and of t with Hall's correction for skewness, which errs in
    3.3 %.

    Source: Hall, P. (1992). On the removal of skewness by transformation. Journal of
    the Royal Statistical Society B 54, 221.
    """
    effect = paired(differences)
    if effect.n < MIN_SEEDS or effect.exact:
        return effect
    d = differences[~np.isnan(differences)]
    n, spread = effect.n, float(d.std(ddof=1))
    skew = float(((d - d.mean()) ** 3).mean() / d.std() ** 3)

    def tail(sign: int, bound: float) -> float:
        w = (effect.mean - bound) / spread
        w += skew * w**2 / 3 + skew**2 * w**3 / 27 + skew / (6 * n)
        corrected = special.stdtr(n - 1.0, -sign * math.sqrt(n) * w)
        return float(np.maximum(effect.tail(sign, bound), corrected))

    return dataclasses.replace(effect, tail=tail)


def chance_of_parting(net: float, n: int) -> float:
    """Returns how likely so large a difference in lost networks is by chance.

    Where some networks learn and others are lost, the values form two clusters, and t
    misleads: if each network is lost with probability 1/2, all of 3 pairs differ in the
    same direction in 3 % of cases, and t gives them p = 0.00005. This is the two-sided
    p-value of the counts: of n pairs, one side lost `net` networks more than the other.
    A probability of 1/2 is the worst case.
    """
    least = n + math.ceil(abs(net) - 1e-9)  # n plus the difference of two binomials
    return min(1.0, 2 * float(special.bdtrc(least - 1, 2 * n, 0.5)))


def least_p(net: float, n: int) -> float:
    """Returns what p is at least, for `net` in [-n, n].

    That is `chance_of_parting` where the counts differ by more than a quarter of the
    pairs, and 0 elsewhere.
    """
    return chance_of_parting(net, n) if abs(net) > MAX_LEFT_OUT * n else 0.0


def range_p(counts: np.ndarray, size: int) -> np.ndarray:
    """Returns how likely some two trials differ by so many lost networks by chance.

    If all trials are equally prone to lose networks, the lost ones are spread at
    random. One trial of 6 with all its 5 networks lost has p = 0.0003.

    Args:
      counts: networks lost in each trial, int (T,), of `size` in each.

    Returns:
      P-values (size + 1,), one for each difference, valid for all pairs of trials at
      once. From 9,999 draws with a fixed seed.
    """
    members = np.full(len(counts), size)
    drawn = np.random.default_rng(0).multivariate_hypergeometric(
        members, int(counts.sum()), size=9_999
    )
    spans = np.append(np.ptp(drawn, axis=1), size)  # the data are a draw themselves
    return (spans[:, None] >= np.arange(size + 1)).mean(axis=0)


def parting_p(counts: np.ndarray, size: int) -> np.ndarray:
    """Returns the p-values (size + 1,) of differences in lost networks; see `range_p`.

    Of two trials it is `chance_of_parting`, which does not take their sum as given, and
    so tells 3 of 3 lost networks from 0 of 3 (p = 0.03, against 0.1).
    """
    if len(counts) == 2:
        return np.array([chance_of_parting(net, size) for net in range(size + 1)])
    return range_p(counts, size)


def seeds_to_part(share: float, factor: float) -> int:
    """Returns with how many seeds counts that part by a share would be significant.

    Args:
      share: of its networks that one side lost more than the other, in (0, 1].
      factor: by which p is multiplied.

    >>> seeds_to_part(1.0, 2.0)
    4
    """
    n = MIN_SEEDS
    while factor * chance_of_parting(share * n, n) > 1 - LEVEL:
        n += 1
    return n


def paired_p(
    differences: np.ndarray, pairs: np.ndarray | None = None, ratio: float = 0.0
) -> np.ndarray:
    """Returns two-sided p-values (P,) of `paired` for each row of differences (P, S).

    They are NaN where too few pairs have a value. `pairs`, int (P,), is the number of
    pairs of each row, S by default. With a `ratio` they are those of
    `crossed.resampled`. All rows are computed at once: 120 trials make 7,140 pairs.
    """
    n = np.count_nonzero(~np.isnan(differences), axis=1)
    of = np.full(len(differences), differences.shape[1]) if pairs is None else pairs
    enough = (n >= MIN_SEEDS) & (of - n <= MAX_LEFT_OUT * of)
    p = np.full(len(differences), np.nan)
    d, n = differences[enough], n[enough]
    spread = np.nanmax(d, axis=1) - np.nanmin(d, axis=1)
    flat = spread <= 1e-9 * np.nanmax(np.abs(d), axis=1)
    error = np.nanstd(d, axis=1, ddof=1) * np.sqrt(1 / n + ratio)
    t = np.nanmean(d, axis=1) / np.where(flat, np.nan, error)
    p[enough] = 2 * special.stdtr(n - 1.0, -np.abs(t))
    for row in np.flatnonzero(enough)[flat]:
        p[row] = two_sided(paired(differences[row]))
    return p


def _sign_tail(d: np.ndarray) -> float:
    """Returns the sign test's p-value of the positive values; zeros are left out."""
    positive, n = np.count_nonzero(d > 0), np.count_nonzero(d)
    return float(special.bdtrc(positive - 1, n, 0.5)) if positive else 1.0


@functools.cache
def counts_p(left: int, right: int, n: int) -> float:
    """Returns the two-sided p-value of two counts of n networks each.

    Barnard's exact test by the pooled z, at the common probability that makes it
    largest. McNemar's test of the pairs sees only those that differ: 5 of 8 against
    none have p = 0.06, here 0.008. Networks of a seed share initialisation and order,
    and so tend to end alike; then the test is conservative.

    Source: Suissa, S. and Shuster, J. J. (1985). Exact unconditional sample sizes for
    the 2 x 2 binomial trial. Journal of the Royal Statistical Society A 148, 317.

    >>> round(counts_p(5, 0, 8), 3)
    0.008
    """
    k = np.arange(n + 1)
    pooled = (k[:, None] + k) / (2 * n)
    error = np.sqrt(2 * n * pooled * (1 - pooled))
    z = np.abs(k[:, None] - k) / np.where(error > 0, error, 1.0)
    beyond = z >= z[left, right] * (1 - 1e-9)
    q = np.linspace(0, 1, 401)[1:-1, None]  # 1/2, often the worst case, among them
    chances = special.binom(n, k) * q**k * (1 - q) ** (n - k)
    return float(np.einsum("qi,ij,qj->q", chances, beyond, chances).max().clip(max=1))


def paired_shares(left: np.ndarray, right: np.ndarray) -> Effect:
    """Tests the difference of two shares, from values (S,) in [0, 1], paired by seed.

    It is an exact test of the counts; averages over several trials are no counts, and
    take the sign test. Interval and tests against a margin are Wald's with half a pair
    added to each of the four cells. Unlike t they keep their width when all agree.

    Source: Agresti, A. and Min, Y. (2005). Simple improved confidence intervals for
    comparing matched proportions. Statistics in Medicine 24, 729.
    """
    d = difference(left, right)
    there = ~np.isnan(d)
    d, sides = d[there], np.array([left[there], right[there]])
    if len(d) < MIN_SEEDS:
        return Effect(float(d.mean()) if len(d) else np.nan, n=len(d))
    n = len(d) + 2
    centre = d.sum() / n
    error = math.sqrt(((d**2).sum() + 1 - n * centre**2) / n) / math.sqrt(n)
    half = special.ndtri((1 + LEVEL) / 2) * error
    counted = bool(np.isin(sides, (0.0, 1.0)).all())
    counts = sides.sum(axis=1).astype(int).tolist()

    def tail(sign: int, bound: float) -> float:
        if bound == 0.0 and counted:
            more = sign * (counts[0] - counts[1]) > 0
            return counts_p(*counts, len(d)) / 2 if more else 1.0
        if bound == 0.0:
            return _sign_tail(sign * d)
        return float(special.ndtr(-sign * (centre - bound) / error))

    low, high = max(-1.0, centre - half), min(1.0, centre + half)
    name = "exact test of the counts" if counted else "sign test"
    return Effect(
        float(d.mean()),
        low,
        high,
        len(d),
        tail,
        name,
        again=lambda n: paired_shares(*(np.resize(side, n) for side in sides)),
    )


def share_against(values: np.ndarray, constant: float) -> Effect:
    """Tests a share against a number: exact binomial test, Clopper-Pearson interval.

    Averages over several trials are no counts; they are compared like other means.
    """
    x = values[~np.isnan(values)]
    if len(x) < MIN_SEEDS or not np.isin(x, (0.0, 1.0)).all():
        return against_number(difference(values, np.full_like(values, constant)))
    n, k = len(x), int(x.sum())
    outside = (1 - LEVEL) / 2
    low = float(special.betaincinv(k, n - k + 1, outside)) if k else 0.0
    high = float(special.betaincinv(k + 1, n - k, 1 - outside)) if k < n else 1.0

    def tail(sign: int, bound: float) -> float:
        # sign * (X - k) >= 0: at least, or at most, the counted number.
        share = min(max(constant + bound, 0.0), 1.0)
        at_most = float(special.bdtr(k, n, share))
        at_least = float(special.bdtrc(k - 1, n, share)) if k else 1.0
        return at_least if sign > 0 else at_most

    ends, name = (low - constant, high - constant), "binomial test"
    return Effect(
        k / n - constant,
        *ends,
        n,
        tail,
        name,
        again=lambda n: share_against(np.resize(x, n), constant),
    )


def welch(
    effect: float,
    left: Sequence[np.ndarray],
    right: Sequence[np.ndarray],
    *,
    ratio: float = 0.0,
) -> Effect:
    """Tests a difference of two sides, each the mean of its samples' means or a number.

    With a `ratio` each mean has the variance of `crossed.resampled`.

    Source: Welch, B. L. (1947). The generalization of "Student's" problem when several
    different population variances are involved. Biometrika 34, 28.
    """
    sides = [(len(side), sample) for side in (left, right) for sample in side]
    sizes = np.array([len(sample) for _, sample in sides])
    if sizes.min() < MIN_SEEDS:
        return Effect(effect, n=int(sizes.sum()))
    variances = np.array([s.var(ddof=1) / len(s) / count**2 for count, s in sides])
    variances = variances * (1 + ratio * sizes)
    if not variances.any():
        return Effect(effect, n=int(sizes.sum()))
    error = math.sqrt(variances.sum())
    freedom = welch_freedom(variances, [sample for _, sample in sides])
    return student(effect, error, freedom, int(sizes.sum()))


def welch_freedom(variances: np.ndarray, samples: Sequence[np.ndarray]) -> float:
    """Returns the degrees of freedom of a sum of samples' variances of means, (K,).

    That of the smallest sample where there is no variance.
    """
    freedom = np.array([len(sample) - 1 for sample in samples])
    if not variances.any():
        return float(freedom.min())
    return float(variances.sum() ** 2 / (variances**2 / freedom).sum())


def two_sided(effect: Effect) -> float:
    """Returns the p-value of an effect in either direction."""
    smaller = np.minimum(effect.tail(1, 0.0), effect.tail(-1, 0.0))
    return float(np.minimum(1.0, 2 * smaller))


def holm(p: npt.ArrayLike) -> np.ndarray:
    """Adjusts p-values (m,) so that any false positive has at most the tests' level.

    NaN marks a test that was not made: it stays NaN and does not count.

    Source: Holm, S. (1979). A simple sequentially rejective multiple test procedure.

    >>> holm([0.01, 0.04, float("nan")]).tolist()
    [0.02, 0.04, nan]
    """
    raw = np.asarray(p, float)
    adjusted = raw * holm_steps(raw)
    order = np.argsort(raw, kind="stable")  # NaN comes last
    return np.minimum(np.maximum.accumulate(adjusted[order])[np.argsort(order)], 1.0)


def holm_steps(p: npt.ArrayLike) -> np.ndarray:
    """Returns by what Holm multiplies each p-value (m,): how many are not smaller.

    NaN where no test was made.

    >>> holm_steps([0.01, 0.04, float("nan")]).tolist()
    [2.0, 1.0, nan]
    """
    raw = np.asarray(p, float)
    steps = np.full(raw.shape, np.nan)
    order = np.argsort(raw, kind="stable")[: np.count_nonzero(~np.isnan(raw))]
    steps[order] = np.arange(len(order), 0, -1)
    return steps


def adjusted_interval(
    effect: Effect, factor: float, p_adjusted: float, bound: float = 0.0
) -> tuple[float, float]:
    """Returns the interval that goes with an adjusted p-value.

    Its level is that of the test: 1 - 0.05 / factor. It contains 0, and the other bound
    that was tested, wherever nothing is significant, for whatever other reason, too: a
    larger p-value that comes first in Holm's procedure, or the counts of networks at
    chance. Where nothing was tested (NaN) it is the plain one.
    """
    tested = not math.isnan(p_adjusted)
    low, high = interval(effect, 1 - (1 - LEVEL) / factor if tested else LEVEL)
    if p_adjusted > 1 - LEVEL:
        low, high = min(low, bound, 0.0), max(high, bound, 0.0)
    return low, high
