# SPDX-License-Identifier: Apache-2.0
"""Means over seeds x examples: what new seeds *and* new examples would show.

Every seed is scored on the same examples, so x (S, N), such as whether a network was
right, is a crossed design without repetition. With the mean squares MS of seeds, of
examples and of the remainder, the variance of the mean over both is estimated by
(MS_seeds + MS_examples - MS_remainder) / (S N), and taken as at least the seeds' own,
MS_seeds / (S N).

Source: Searle, S. R., Casella, G. and McCulloch, C. E. (1992). Variance Components,
chapter 4.

The tail of the statistic is that of Student's t with the seeds' degrees of freedom and
that with the examples', weighted by their shares of the variance. One t with the
degrees of freedom of Satterthwaite (1946) errs too often with few seeds, most of all in
the tails that corrections for many tests need: with 3 seeds in up to 3.3 % of tests at
a level of 1.25 %, and in 1.3 % at one of 0.1 %, against 1.4 and 0.2 % (12 worlds, 1,500
draws each).

Source of the weights: Cochran, W. G. and Cox, G. M. (1957). Experimental Designs,
section 4.14.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import special

from nnlab.statistics.effects import (
    Effect,
    interval,
    paired,
    student,
    welch_freedom,
)
from nnlab.statistics.intervals import MIN_SEEDS

MIN_EXAMPLES = 5
"""Where two trials differ on fewer examples, t covers too little: with 1, 2, 3, 4 such
examples 11 to 98 % of intervals (3 to 16 seeds, one trial truly better), with 5 or more
91 to 100 %. No sign test of 4 examples gets below p = 0.125 either."""
_ROUNDING = 1e-9  # of means over several trials
_MOST_CELLS = 2**22
"""Most differences of examples held at once, 32 MB."""


def crossed(*parts: np.ndarray) -> Effect:
    """Tests a mean over new seeds and new examples; the sum of the parts' means.

    One part is a difference paired by seed and by example, such as right minus right of
    two networks. Several share their seeds but have examples of their own, such as the
    accuracies of two trials on two data sets (one with its sign turned).

    Examples are skewed where few have a difference. Their degrees of freedom follow
    from the fourth moment, as those of any sample variance: N - 1 for normal ones, 2 k
    where k of many differ, all by the same.

    Where fewer than `MIN_EXAMPLES` of a difference are not 0, no direction is
    significant, and the interval is as wide as the exact one of the share of examples
    that differ (Clopper and Pearson).

    Args:
      *parts: floats (S, N) each, S >= 1 seeds that all have, NaN nowhere.

    Returns:
      The effect, with `exact` where too few examples differ; n is S.

    >>> rng = np.random.default_rng(0)
    >>> left, right = rng.random((2, 8, 500)) < [[[0.95]], [[0.85]]]
    >>> effect = crossed(left * 1.0 - right)
    >>> [round(v, 2) for v in (effect.mean, effect.low, effect.high)]
    [0.1, 0.09, 0.12]
    """
    n = len(parts[0])
    seeds = np.sum([part.mean(axis=1) for part in parts], axis=0)
    mean = float(seeds.mean())
    if n < MIN_SEEDS:
        return Effect(mean, n=n)
    examples = [part.mean(axis=0) for part in parts]
    differ = int(np.count_nonzero(np.abs(examples[0]) > _ROUNDING))
    if len(parts) == 1 and differ < MIN_EXAMPLES:
        return _too_few(parts[0], mean, differ)
    found = np.array([_example_squares(m * n, n) for m in examples])
    rests = np.array([_rest(part, m) for part, m in zip(parts, examples)])
    own = seeds.var(ddof=1) / n
    error = _Error.of(own, n - 1, found[:, 0], found[:, 1], rests)
    if not error.variance:  # all seeds and all examples agree
        return paired(np.full(min(map(len, examples)), mean))
    return _effect(mean, error, n, parts)


def crossed_samples(left: np.ndarray, right: np.ndarray) -> Effect:
    """Tests a difference of means over new seeds of two samples and new examples.

    The sides have seeds of their own and the same examples: floats (S, N) and (R, N).
    The variances of their means over seeds add up, with the degrees of freedom of
    Welch; that of examples is of what the means over seeds differ on each, less what
    the remainders leave there. Else it is as `crossed`; n is S + R.
    """
    sides, n = (left, right), len(left) + len(right)
    means = [side.mean(axis=0) for side in sides]
    examples = means[0] - means[1]
    mean = float(examples.mean())
    if min(map(len, sides)) < MIN_SEEDS:
        return Effect(mean, n=n)
    differ = int(np.count_nonzero(np.abs(examples) > _ROUNDING))
    if differ < MIN_EXAMPLES:
        too_few = _too_few(examples[None], mean, differ)
        return dataclasses.replace(too_few, n=n, values=())
    own = np.array([side.mean(axis=1).var(ddof=1) / len(side) for side in sides])
    squares, freedom = _example_squares(examples, 1)
    rest = np.array([sum(map(_rest, sides, means))])
    error = _Error.of(
        own.sum(), welch_freedom(own, sides), squares[None], freedom[None], rest
    )
    if not error.variance:
        return paired(np.full(left.shape[1], mean))
    return _effect(mean, error, n)


def _effect(
    mean: float, error: "_Error", n: int, values: tuple[np.ndarray, ...] = ()
) -> Effect:
    deviation = math.sqrt(error.variance)

    def tail(sign: int, bound: float) -> float:
        return float(error.tail(sign * (mean - bound) / deviation))

    wide = 2 * deviation  # where the search for the ends begins
    ends = mean - wide, mean + wide
    return _with_interval(Effect(mean, *ends, n, tail, values=values))


def _rest(x: np.ndarray, examples: np.ndarray) -> float:
    """Returns the remainder's mean square over S N, of x (S, N) with means (N,)."""
    rest = x - x.mean(axis=1, keepdims=True) - (examples - x.mean())
    n, size = x.shape
    return float((rest**2).sum()) / max((n - 1) * (size - 1), 1) / x.size


def _example_squares(sums: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the examples' mean squares over S N, and their degrees of freedom.

    Args:
      sums: over the n seeds, floats (..., N). They are overwritten.
    """
    size = sums.shape[-1]
    # R² of a network that fails may be as low as numbers go.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        sums -= sums.mean(axis=-1, keepdims=True)
        np.square(sums, out=sums)
        second = sums.mean(axis=-1)
        fourth = np.einsum("...i,...i->...", sums, sums) / size
        # The variance of a sample variance is (kurtosis - 1) / N of its square.
        excess = fourth - second**2
        freedom = np.fmin(size - 1, 2 * size * second**2 / excess)
    return second / (size - 1) / n**2, freedom


@dataclasses.dataclass(frozen=True, eq=False)
class _Error:
    """Variances of means, and what they are made of.

    Attributes:
      variance: (...).
      shares, freedom: of seeds and of the K parts' examples, (1 + K, ...).
    """

    variance: np.ndarray
    shares: np.ndarray
    freedom: np.ndarray

    @classmethod
    def of(
        cls,
        seeds: np.ndarray,
        of_seeds: float,
        examples: np.ndarray,
        freedom: np.ndarray,
        rest: np.ndarray,
    ) -> "_Error":
        """Adds the errors of seeds and of examples.

        Args:
          seeds: mean squares over S N, (...).
          of_seeds: their degrees of freedom.
          examples, freedom, rest: those of examples, with their degrees of freedom, and
            of the remainder, (K, ...).
        """
        own = np.maximum(examples - rest, 0.0)
        # Seeds without any spread, by rounding to whole examples: the examples' alone.
        flat = seeds + own.sum(axis=0) <= 0
        parts = np.stack([seeds, *np.where(flat, examples, own)])
        variance = parts.sum(axis=0)
        with np.errstate(invalid="ignore"):
            shares = parts / variance
        every = np.stack([np.full_like(seeds, of_seeds), *freedom])
        return cls(variance, shares, every)

    def tail(self, t: npt.ArrayLike) -> np.ndarray:
        """Returns one-sided p-values (...) of means in standard errors."""
        p: np.ndarray = np.sum(
            self.shares * special.stdtr(self.freedom, -np.asarray(t)), axis=0
        )
        return p


def _too_few(x: np.ndarray, mean: float, differ: int) -> Effect:
    size, widest = x.shape[1], max(1.0, float(np.abs(x).max()))

    def tail(sign: int, bound: float) -> float:
        share = min(abs(bound) / widest, 1.0)  # so many differ at least, beyond bound
        return float(special.bdtr(differ, size, share)) if sign * bound < 0 else 1.0

    return _with_interval(
        Effect(
            mean,
            *(-widest, widest),
            n=len(x),
            tail=tail,
            exact=f"too few: the sides differ on {differ} of {size} examples, and a "
            f"test needs {MIN_EXAMPLES}; more examples would help",
            limits=(-widest, widest),
            values=(x,),
        )
    )


def _with_interval(effect: Effect) -> Effect:
    low, high = interval(effect)
    return dataclasses.replace(effect, low=low, high=high)


def crossed_share(x: np.ndarray, constant: float) -> Effect:
    """Tests an accuracy against a number, over new seeds and new examples.

    The exact binomial interval (Clopper and Pearson) of as many independent answers as
    would have the crossed design's variance. Near 0 and 1 it covers where t and t on
    the logit scale do not: with 99 % on 100 examples in 95 to 100 % of cases, against
    74 to 92 % and 80 to 98 % (3 to 64 seeds). It stays within [0, 1].

    Source: Korn, E. L. and Graubard, B. I. (1998). Confidence intervals for proportions
    with small expected number of positive counts estimated from survey data. Survey
    Methodology 24, 193. Their correction for few degrees of freedom is made for each
    p-value, from the normal distribution to the one of `crossed`.

    Args:
      x: floats (S, N) in [0, 1], right or not, or the mean of several networks.
      constant: the number.
    """
    n, size = x.shape
    mean = float(x.mean())
    if n < MIN_SEEDS:
        return Effect(mean - constant, n=n)
    examples = x.mean(axis=0)
    squares, freedom = _example_squares(examples * n, n)
    rest = np.array([_rest(x, examples)])
    own = x.mean(axis=1).var(ddof=1) / n
    error = _Error.of(own, n - 1, squares[None], freedom[None], rest)
    # Where almost all are right, or wrong, their spread is not known: examples as such.
    answers = mean * (1 - mean) / float(error.variance) if error.variance else size
    few = min(np.count_nonzero(examples < 1), np.count_nonzero(examples > 0))
    answers = min(answers, size) if few < MIN_EXAMPLES else answers
    right = mean * answers

    def tail(sign: int, bound: float) -> float:
        share = min(max(constant + bound, 0.0), 1.0)
        if sign > 0:
            p = special.betainc(right, answers - right + 1, share) if right else 1.0
        else:
            wrong = answers - right
            p = special.betainc(wrong, right + 1, 1 - share) if wrong else 1.0
        return float(error.tail(-special.ndtri(p))) if error.variance else float(p)

    limits = -constant, 1 - constant
    effect = Effect(mean - constant, *limits, n=n, tail=tail, limits=limits)
    return _with_interval(dataclasses.replace(effect, values=(x - constant,)))


def resampled(differences: np.ndarray, ratio: float) -> Effect:
    """Tests paired differences (S,) of seeds that each draw their own split.

    Training sets overlap, so the seeds are no independent draws of data: the variance
    of the mean is the sample's times 1/S + n_test/n_train. The result speaks of new
    data of the same kind, and is conservative. NaN is left out.

    Source: Nadeau, C. and Bengio, Y. (2003). Inference for the generalization error.
    Machine Learning 52, 239.

    Args:
      ratio: n_test / n_train.
    """
    effect = paired(differences)
    if effect.n < MIN_SEEDS or effect.exact:
        return effect
    d = differences[~np.isnan(differences)]
    error = float(d.std(ddof=1)) * math.sqrt(1 / effect.n + ratio)
    found = student(effect.mean, error, effect.n - 1.0, effect.n)
    return dataclasses.replace(found, values=(d,), ratio=ratio)


def pairs_p(
    right: np.ndarray, present: np.ndarray, left: np.ndarray, other: np.ndarray
) -> np.ndarray:
    """Returns two-sided p-values (P,) of `crossed` for pairs of trials, all at once.

    100 trials x 20 seeds x 10,000 examples make 4,950 pairs of 200,000 differences
    each: disagreements are counted in bits, and examples are summed over seeds before.

    Args:
      right: whether each network was right, bool (T, S, N), or numbers.
      present: the networks that count, bool (T, S). A pair has the seeds that count in
        both.
      left, other: the trials of each pair, int (P,).

    Returns:
      NaN where a pair has fewer than three seeds.
    """
    p = np.full(len(left), np.nan)
    both = present[left] & present[other]
    patterns, of = np.unique(both, axis=0, return_inverse=True)
    for pattern, seeds in enumerate(patterns):
        some = np.flatnonzero(of == pattern)
        if seeds.sum() >= MIN_SEEDS and len(some):
            ends = np.stack([left[some], other[some]])
            used, (a, b) = np.unique(ends, return_inverse=True)
            p[some] = _pairs_p(right[np.ix_(used, seeds)], *np.reshape((a, b), (2, -1)))
    return p


def _bits_apart(right: np.ndarray) -> Callable[..., np.ndarray]:
    packed = np.packbits(right, axis=2)

    def apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        unlike = np.bitwise_count(packed[a] ^ packed[b])
        counted: np.ndarray = unlike.sum(axis=(1, 2), dtype=float)
        return counted

    return apart


def _squares_apart(values: np.ndarray) -> Callable[..., np.ndarray]:
    """Returns sums of squared differences of pairs, from all products at once."""
    flat = values.reshape(len(values), -1).astype(float)
    flat -= flat.mean(axis=0)  # differences stay, and squares lose fewer digits
    products = flat @ flat.T
    own = np.diag(products)
    return lambda a, b: own[a] + own[b] - 2 * products[a, b]


def _pairs_p(right: np.ndarray, left: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Does the same for networks that all count, (T, S, N)."""
    _, n, size = right.shape
    cells = n * size
    apart = _bits_apart(right) if right.dtype == bool else _squares_apart(right)
    own = right.mean(axis=2)
    sums = right.sum(axis=1, dtype=float)
    disagreements, squares, freedom, differ = np.empty((4, len(left)))
    rows = max(1, _MOST_CELLS // cells)
    for some in np.split(np.arange(len(left)), range(rows, len(left), rows)):
        a, b = left[some], other[some]
        disagreements[some] = apart(a, b)
        d = sums[a] - sums[b]
        differ[some] = np.count_nonzero(d, axis=1)
        squares[some], freedom[some] = _example_squares(d, n)
    seeds = own[left] - own[other]
    mean = seeds.mean(axis=1)
    # Sums of squares over all cells; what seeds and examples leave is the remainder.
    of_seeds = size * seeds.var(axis=1) * n
    of_examples = squares * cells * (size - 1)
    rest = disagreements - mean**2 * cells - of_seeds - of_examples
    rest = np.maximum(rest, 0.0) / max((n - 1) * (size - 1), 1) / cells
    parts = squares[None], freedom[None], rest[None]
    error = _Error.of(seeds.var(axis=1, ddof=1) / n, n - 1, *parts)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * error.tail(np.abs(mean) / np.sqrt(error.variance))
    # Without any spread it is a sign test of all examples.
    p = np.where(error.variance > 0, p, 2.0 ** (1 - size))
    return np.where(differ < MIN_EXAMPLES, 1.0, p)
