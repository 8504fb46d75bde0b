# SPDX-License-Identifier: Apache-2.0
"""Student's interval of a mean, and the bound of chance, on plain arrays."""

import numpy as np
import numpy.typing as npt

# Only the ufuncs of scipy.special: importing scipy.stats takes most of a second.
from scipy import special

from nnlab.study import POINTWISE

LEVEL = 0.95
MIN_SEEDS = 3
LUCK = 0.01
"""How often an answer that knows nothing may be called above chance."""
DRAWS = 2_000
"""Samples from which a band's width is read: its coverage is then within 1 point."""
_AT_ONCE = 100  # samples in memory


def mean_interval(
    values: npt.ArrayLike, level: float = LEVEL, axis: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the mean and Student's t interval of the values that are not NaN.

    On normal data the interval covers the mean in 95 % of experiments at every n. On
    accuracies skewed towards their ceiling it covers less, measured over 20,000 draws
    at n = 3, 5, 8, 16: Beta(60, 1) 89, 89, 90, 92 %; an error that is lognormal with
    sigma 0.5: 92, 92, 92, 93 %, with sigma 1: 84, 82, 83, 86 %. Differences of two
    equally skewed samples are symmetric: 97, 97, 96, 95 % for Beta(60, 1).

    Args:
      values: floats of any shape, e.g. (S, E).
      level: coverage, in (0, 1).
      axis: the axis of the repetitions.

    Returns:
      mean, low, high without that axis; low and high are NaN where n < 3, the mean
      where n = 0.

    Raises:
      ValueError: `level` outside (0, 1).

    >>> [round(float(x), 3) for x in mean_interval([0.91, 0.93, 0.95])]
    [0.93, 0.88, 0.98]
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level={level!r} must be above 0 and below 1")
    array = np.asarray(values, float)
    present = ~np.isnan(array)
    n = present.sum(axis)
    mean = np.where(present, array, 0.0).sum(axis) / np.where(n == 0, np.nan, n)
    deviation = np.where(present, array - np.expand_dims(mean, axis), 0.0)
    freedom = np.where(n < MIN_SEEDS, np.nan, n - 1.0)
    error = np.sqrt((deviation**2).sum(axis) / freedom / np.where(n == 0, np.nan, n))
    half = special.stdtrit(freedom, (1 + level) / 2) * error
    return mean, mean - half, mean + half


def band(
    values: npt.ArrayLike, bands: str = POINTWISE
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns mean, low and high, (E,) each, of curves (n, E), as `mean_interval`.

    `bands` is one of `study.BANDS`: whether each point is covered in 95 % of
    experiments or, with a wider band, all points of the curve at once.
    """
    level = LEVEL if bands == POINTWISE else simultaneous_level(values)
    return mean_interval(values, level)


def simultaneous_level(values: npt.ArrayLike, level: float = LEVEL) -> float:
    """Returns the level at which pointwise intervals hold along a whole curve.

    The sup-t band of Montiel Olea and Plagborg-Moller (2019, "Simultaneous confidence
    bands", Journal of Applied Econometrics 34): as many standard errors wide as the
    largest |t| along a curve has in 95 % of samples. Here the samples are n normal
    curves with the correlations of these between their points, so that it holds for few
    seeds too. docs/numbers.md has its measured coverage.

    Args:
      values: curves (n, E); NaN where one has no value.
      level: coverage of the whole, in (0, 1).

    Returns:
      A level of at least `level`; `level` itself below 3 curves.

    >>> steps = np.random.default_rng(0).normal(size=(8, 10))
    >>> round(simultaneous_level(steps), 2)
    0.99
    """
    array = np.asarray(values, float)
    deviation = np.nan_to_num(array - mean_interval(array)[0])
    size = np.sqrt((deviation**2).sum(0))
    shape = deviation[:, size > 0] / size[size > 0]
    n = len(shape)
    if n < MIN_SEEDS or not shape.size:
        return level
    rng, largest = np.random.default_rng(0), []
    for _ in range(DRAWS // _AT_ONCE):
        drawn = (rng.standard_normal((_AT_ONCE * n, n)) @ shape).reshape(
            _AT_ONCE, n, -1
        )
        t = drawn.mean(1) / np.sqrt(drawn.var(1, ddof=1) / n)
        largest.append(np.abs(t).max(axis=1))
    within = special.stdtr(n - 1, np.quantile(largest, level))
    return max(level, float(2 * within - 1))


def chance_bound(chance: float, size: int) -> float:
    """Returns the highest accuracy on a set that still counts as chance.

    More right answers have a probability of at most 1 % for an answer that is right
    with probability `chance` on each example, independently: an exact one-sided
    binomial test. A constant answer is never above the bound, and all answers right are
    always above it, also on a set so small that luck would reach that more often.

    Args:
      chance: the share of the set's largest class, in (0, 1].
      size: the set's number of examples.

    >>> [round(chance_bound(share, 120), 3) for share in (0.1, 0.5, 0.95)]
    [0.167, 0.608, 0.992]
    """
    more = special.bdtrc(np.arange(size - 1), size, chance)  # than so many are right
    return max(chance, int((more > LUCK).sum()) / size)
