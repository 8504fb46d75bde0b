# SPDX-License-Identifier: Apache-2.0
"""Student's interval of a mean, and the bound of chance, on plain arrays."""

import numpy as np
import numpy.typing as npt

# Only the ufuncs of scipy.special: importing scipy.stats takes most of a second.
from scipy import special

LEVEL = 0.95
MIN_SEEDS = 3
LUCK = 0.01
"""How often an answer that knows nothing may be called above chance."""


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
