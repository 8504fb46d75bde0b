# SPDX-License-Identifier: Apache-2.0
"""How many seeds and test examples tell a difference apart; plans, on plain arrays."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy import special

from nnlab.statistics.effects import Effect, paired, two_sided
from nnlab.statistics.intervals import LEVEL, MIN_SEEDS

POWER = 0.8
"""Share of runs in which a plan promises to find the difference."""
MOST = 2**20
"""Most seeds or examples, as a multiple of those known, that a plan looks for."""
MOST_REPEATED = 2**6
"""Likewise, of an exact test, which takes longer the more seeds there are."""
_QUANTILES = (np.arange(64) + 0.5) / 64


@dataclasses.dataclass(frozen=True)
class Spread:
    """What makes the measured difference of two trials vary, as variances.

    A difference of one seed on one example is the true one, plus what is particular to
    the seed, to the example, and to both.

    Attributes:
      seeds: of new seeds, on all examples there could be.
      examples: of new examples, over all seeds; 0 where only seeds vary.
      rest: of what is left.
      size: examples that were scored; 1 where only seeds vary.
      freedom: degrees of freedom of the seeds' variance.
      ratio: what the variance of a mean over S seeds has beside 1/S of the seeds', and
        no number of seeds lowers: n_test / n_train where each seed draws its own split
        (`crossed.resampled`).
    """

    seeds: float
    examples: float = 0.0
    rest: float = 0.0
    size: int = 1
    freedom: float = np.inf
    ratio: float = 0.0

    @property
    def varies(self) -> bool:
        """Whether there is any."""
        return self.seeds + self.examples + self.rest > 0


def spread(*parts: np.ndarray, ratio: float = 0.0) -> Spread:
    """Estimates the spread of differences (S, N) of S seeds on the same N examples.

    N = 1 where a seed has one number, and where it draws its own split, with a `ratio`
    of test to training examples. Several parts have examples of their own, and their
    means add up (see `crossed.crossed`); the size is that of the first, in proportion
    to which the others grow. The components of variance are those of the analysis of
    variance, 0 where that is negative.

    Source: Searle, S. R., Casella, G. and McCulloch, C. E. (1992). Variance Components,
    chapter 4.

    Raises:
      ValueError: fewer than two seeds.
    """
    n, size = parts[0].shape
    if n < 2:
        raise ValueError(f"a spread over seeds needs 2 of them, not {n}")
    seeds = size * np.sum([x.mean(axis=1) for x in parts], axis=0).var(ddof=1)
    if size == 1:
        return Spread(float(seeds), freedom=n - 1.0, ratio=ratio)
    weights = [size / x.shape[1] for x in parts]
    found = weights @ np.array(list(map(_of_examples, parts)))
    return Spread(
        seeds=max(float(seeds - found[1]) / size, 0.0),
        examples=float(found[0]),
        rest=float(found[1]),
        size=size,
        freedom=n - 1.0,
    )


def _of_examples(x: np.ndarray) -> tuple[float, float]:
    """Returns the variances of (S, N) that are of examples, and of what is left."""
    n, size = x.shape
    examples = n * x.mean(axis=0).var(ddof=1)
    seeds = size * x.mean(axis=1).var(ddof=1)
    rest = n * size * x.var() - (n - 1) * seeds - (size - 1) * examples
    rest = max(rest / ((n - 1) * (size - 1)), 0.0)
    return max(float(examples - rest) / n, 0.0), rest


def pooled(spreads: Sequence[Spread]) -> Spread:
    """Returns the mean spread of trials that were each compared with the same one.

    What they share makes their differences correlate by about a half, and so the
    variances by a quarter: k of them have not k times the degrees of freedom but k / (1
    + (k - 1) / 4) times.
    """
    k = len(spreads)
    each = {
        name: float(np.mean([getattr(one, name) for one in spreads]))
        for name in ("seeds", "examples", "rest", "freedom", "ratio")
    }
    each["freedom"] *= k / (1 + (k - 1) / 4)
    return Spread(size=min(one.size for one in spreads), **each)


def chance_to_tell(
    of: Spread,
    difference: float,
    seeds: int,
    examples: int = 0,
    alpha: float = 1 - LEVEL,
) -> float:
    """Returns the power of the test (`crossed`) to tell a true difference.

    How large the spread over seeds is, is known from few of them: the power is the mean
    over what it may be, given its degrees of freedom (a fiducial distribution).

    Args:
      of: the spread, such as that of a pilot.
      difference: the true one.
      seeds: of each trial.
      examples: that are scored; 0 for as many as before.
      alpha: the level of the two-sided test.
    """
    size = examples or of.size
    mean_square = size * of.seeds + of.rest
    if np.isfinite(of.freedom):
        quantiles = special.chdtri(of.freedom, _QUANTILES)
        mean_square = mean_square * of.freedom / quantiles
    of_examples = seeds * of.examples + of.rest
    error = np.maximum(mean_square + of_examples - of.rest, mean_square)
    squares = mean_square**2 / (seeds - 1)
    if size > 1:
        squares = squares + of_examples**2 / (size - 1)
        squares = squares + of.rest**2 / ((seeds - 1) * (size - 1))
    freedom = error**2 / squares
    shift = abs(difference) / np.sqrt(error / size * (1 / seeds + of.ratio))
    critical = special.stdtrit(freedom, 1 - alpha / 2)
    found = 1 - special.nctdtr(freedom, shift, critical)
    # Far out the noncentral t is not computed: there the difference is plain.
    return float(
        np.where(shift > critical + 8, 1.0, np.nan_to_num(found, nan=1)).mean()
    )


def seeds_needed(
    of: Spread,
    difference: float,
    power: float = POWER,
    examples: int = 0,
    alpha: float = 1 - LEVEL,
) -> int | None:
    """Returns the fewest seeds, at least 3, that tell a true difference apart.

    None if no number of seeds does: then the examples are too few, see
    `examples_needed`, or with a `Spread.ratio` the data. Arguments are those of
    `chance_to_tell`, and the power to reach.

    >>> seeds_needed(Spread(seeds=0.01**2), 0.01)
    10
    """
    return _fewest(
        lambda n: chance_to_tell(of, difference, n, examples, alpha) >= power, MIN_SEEDS
    )


def examples_needed(
    of: Spread,
    difference: float,
    seeds: int,
    power: float = POWER,
    alpha: float = 1 - LEVEL,
) -> int | None:
    """Returns the fewest examples that do, with so many seeds; None if none do."""
    return _fewest(
        lambda n: chance_to_tell(of, difference, seeds, n, alpha) >= power, 2
    )


def least_told(
    of: Spread,
    seeds: int,
    power: float = POWER,
    alpha: float = 1 - LEVEL,
) -> float:
    """Returns the smallest true difference that so many seeds tell apart.

    >>> round(least_told(Spread(seeds=0.01**2), 10), 3)
    0.01
    """
    if not of.varies:
        return 0.0
    high = np.sqrt(of.seeds + of.examples + of.rest)
    while chance_to_tell(of, high, seeds, alpha=alpha) < power:
        high *= 2
    low = 0.0
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        if chance_to_tell(of, middle, seeds, alpha=alpha) < power:
            low = middle
        else:
            high = middle
    return float(high)


def detectable(effect: Effect, factor: float = 1.0) -> float:
    """Returns which true difference a test could have told apart with `POWER`.

    It takes the spread for known. NaN where that is not known, or nothing was tested.

    Args:
      effect: has `Effect.values`.
      factor: what the test's p is multiplied with.
    """
    if math.isnan(effect.low) or (of := _tested(effect, factor)) is None:
        return math.nan
    of = dataclasses.replace(of, freedom=np.inf)
    return least_told(of, effect.n, alpha=(1 - LEVEL) / factor)


def _tested(effect: Effect, factor: float) -> Spread | None:
    """Returns the spread of what was tested; None if it is not known, or has none."""
    if not effect.values or math.isnan(factor):
        return None
    parts = [part.reshape(len(part), -1) for part in effect.values]
    parts = [part[~np.isnan(part).any(axis=1)] for part in parts]
    of = spread(*parts, ratio=effect.ratio)
    return of if of.varies else None


def to_decide(
    effect: Effect,
    difference: float,
    factor: float,
    p: Callable[[Effect], float] = two_sided,
    power: float = POWER,
) -> tuple[int | None, int | None]:
    """Returns how many seeds tell a true difference apart, by what was tested.

    An exact test, which has no spread, is repeated: more seeds that are like these.

    Args:
      effect: has `Effect.values`, or `Effect.again`.
      difference: the true one, if there is a spread.
      factor: what the test's p is multiplied with.
      p: the test's.
      power: to reach, if there is a spread.

    Returns:
      The seeds, on as many examples, and None. Where no number of seeds would do: None,
      and how many examples would with twice the seeds, if any; of splits (`ratio`),
      where only more data would, and where neither is known, both are None.
    """
    alpha = (1 - LEVEL) / factor
    if again := effect.again:
        few = _fewest(lambda n: p(again(n)) <= alpha, MIN_SEEDS, MOST_REPEATED)
        return few, None
    of = _tested(effect, factor)
    if of is None or not difference:
        return None, None
    if seeds := seeds_needed(of, difference, power, alpha=alpha):
        return seeds, None
    if of.ratio:
        return None, None
    examples = examples_needed(of, difference, 2 * effect.n, power, alpha)
    return None, examples


def seeds_help(effect: Effect, factor: float) -> bool:
    """Returns whether more seeds may make it significant, on the same examples.

    Taken for true is the largest difference that the seeds leave possible: the far end
    of their own 95 % interval. If ever so many seeds do not tell that one in half of
    runs, only more examples help; of splits, more data. True where the spread is not
    known.

    Args:
      effect: has `Effect.values`.
      factor: what the test's p is multiplied with.
    """
    of = _tested(effect, factor)
    if of is None:
        return True
    means = [part.reshape(len(part), -1).mean(axis=1) for part in effect.values]
    seeds = paired(np.sum(means, axis=0))
    far = np.nanmax(np.abs([seeds.low, seeds.mean, seeds.high]))
    of, alpha = dataclasses.replace(of, freedom=np.inf), (1 - LEVEL) / factor
    return chance_to_tell(of, far, MOST, alpha=alpha) >= 0.5


def _fewest(
    suffices: Callable[[int], bool], least: int, most: int = MOST
) -> int | None:
    """Returns the least number that suffices, of those up to `most` times the least."""
    high = least
    while not suffices(high):
        high *= 2
        if high > most * least:
            return None
    low = high // 2
    while high - low > 1 and high > least:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high
