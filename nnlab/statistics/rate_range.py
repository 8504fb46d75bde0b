# SPDX-License-Identifier: Apache-2.0
"""Which learning rates train, where the edge is, and which is the fastest.

Source of the test of a range of rates: Smith, L. N. (2017). Cyclical learning rates for
training neural networks. WACV. There one run's rate rises; here each rate has networks
of its own.
"""

import dataclasses
import math

import numpy as np
from scipy import special

from nnlab.results import DIVERGED, UNFINISHED, Results
from nnlab.statistics.intervals import LEVEL, MIN_SEEDS, mean_interval
from nnlab.statistics.members import at_chance, has_status, reduce_members
from nnlab.study import Quantity

RATE = "optimizer.learning_rate"
MARGIN = 0.1
"""Share of its loss at the start that a network must lose to make progress."""


@dataclasses.dataclass(frozen=True)
class Edge:
    """The rate above which networks do not train any more.

    A seed's own edge lies between two rates: from its best rate upward the last at
    which it trains, and the next.

    Attributes:
      value: over the seeds the geometric mean, or the median if some have no edge up to
        the highest rate; NaN if no seed has one, infinity if it is above the highest.
      low, high: 95 % interval, NaN below 3 seeds. It holds for wherever the edges lie
        between their rates: it is wider than the distance of two rates. Of a mean,
        Student's t on the logarithms; of a median, exact order statistics, which take
        6 seeds; an end may be infinity.
      n: seeds that train at some rate.
      beyond: of these, the seeds with no edge up to the highest rate.
      diverged, at_chance, stuck: how the others ended at the first rate above the edge;
        the stuck ones lost too little, and are not at chance.
    """

    value: float
    low: float
    high: float
    n: int
    beyond: int
    diverged: int
    at_chance: int
    stuck: int


@dataclasses.dataclass(frozen=True)
class Rates:
    """What was found of the rates that were tried.

    Attributes:
      order: indices of the trials that ran to their end, from the lowest rate up, (T,).
      values: their rates, (T,).
      trains: which members make progress, bool (T, S): they did not diverge, do not end
        at chance, and their training loss ends 10 % or more below its start.
      start: mean training loss before training.
      fastest: the trial (index) with the lowest mean validation loss at the end, of
        those in which all seeds train; None if there is none.
      stable: the lowest and the highest rate around the fastest between which all seeds
        train; None if there is none.
      edge: above which rate they do not any more.
    """

    order: tuple[int, ...]
    values: np.ndarray
    trains: np.ndarray
    start: float
    fastest: int | None
    stable: tuple[float, float] | None
    edge: Edge


def is_range(results: Results) -> bool:
    """Whether the trials differ in nothing but the learning rate."""
    return results.study.swept() == (RATE,)


def find(results: Results) -> Rates:
    """Which rates train, where the edge is, and which is the fastest.

    Raises:
      ValueError: the trials differ in more than the learning rate.
    """
    if not is_range(results):
        raise ValueError("the trials differ in more than the learning rate")
    rates = {
        t.index: t.hyperparameters.optimizer.learning_rate
        for t in results.trials
        if results.has_run(t.index)
        and not has_status(results, t.index, UNFINISHED).any()
    }
    order = tuple(sorted(rates, key=lambda t: rates[t]))
    values = np.array([rates[t] for t in order])
    shape = (len(order), results.study.num_seeds)
    losses, starts, validation = (np.full(shape, np.nan) for _ in range(3))
    diverged, dull = np.zeros(shape, bool), np.zeros(shape, bool)
    for row, trial in enumerate(order):
        starts[row] = results.curve(trial, "train_loss").values[:, 0]
        final = (Quantity(metric=f"{s}_loss") for s in ("train", "validation"))
        losses[row], validation[row] = (
            reduce_members(results, f, trial) for f in final
        )
        diverged[row] = has_status(results, trial, DIVERGED)
        dull[row] = at_chance(results, trial)
    trains = np.less_equal(losses, (1 - MARGIN) * starts)  # not where one is NaN
    trains &= ~diverged & ~dull
    whole = trains.all(axis=1)
    fastest, stable = None, None
    if whole.any():
        means = np.where(whole, validation.mean(axis=1), np.inf)
        best = int(means.argmin())
        first = last = best
        while first > 0 and whole[first - 1]:
            first -= 1
        while last + 1 < len(order) and whole[last + 1]:
            last += 1
        fastest, stable = order[best], (float(values[first]), float(values[last]))
    start = float(np.nanmean(starts)) if np.isfinite(starts).any() else math.nan
    edge = _edge(values, trains, losses, diverged, dull)
    return Rates(order, values, trains, start, fastest, stable, edge)


def _edge(
    values: np.ndarray,
    trains: np.ndarray,
    losses: np.ndarray,
    diverged: np.ndarray,
    dull: np.ndarray,
) -> Edge:
    """The edge over the seeds; arguments are (T,) and (T, S)."""
    below, above = [], []
    lost = {"diverged": 0, "at_chance": 0, "stuck": 0}
    for seed in range(trains.shape[1]):
        if not trains[:, seed].any():
            continue
        best = int(np.where(trains[:, seed], losses[:, seed], np.inf).argmin())
        failing = best + np.flatnonzero(~trains[best:, seed])
        first = int(failing[0]) if failing.size else len(values)
        below.append(values[first - 1])
        above.append(values[first] if failing.size else np.inf)
        if failing.size:
            fate = "diverged" if diverged[first, seed] else "stuck"
            lost["at_chance" if dull[first, seed] else fate] += 1
    n, beyond = len(below), int(np.isinf(above).sum())
    if beyond:
        ends = _median_interval(np.array(below), np.array(above))
    elif n:
        low, high = np.log(below), np.log(above)
        middle = float(np.exp((low + high).mean() / 2))
        ends = middle, float(np.exp(mean_interval(low)[1])), _top(high)
    else:
        ends = (math.nan,) * 3
    return Edge(*ends, n, beyond, **lost)


def _top(logs: np.ndarray) -> float:
    return float(np.exp(mean_interval(logs)[2]))


def _median_interval(
    below: np.ndarray, above: np.ndarray
) -> tuple[float, float, float]:
    """Median of edges that lie between two rates, and its interval; may be infinite.

    Of n seeds, the k-th lowest and the k-th highest enclose the median of the
    distribution with a probability of 1 - 2 P(Binomial(n, 1/2) < k).
    """
    n = len(below)
    median = float(np.median(np.sqrt(below * above)))
    k = 0
    while special.bdtr(k, n, 0.5) <= (1 - LEVEL) / 2:
        k += 1
    if not k or n < MIN_SEEDS:
        return median, math.nan, math.nan
    return median, float(np.sort(below)[k - 1]), float(np.sort(above)[n - k])
