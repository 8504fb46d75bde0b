# SPDX-License-Identifier: Apache-2.0
"""At which learning rates networks train, where the edge is, and which rate is fastest.

Source of the test: Smith, L. N. (2017). Cyclical learning rates for training neural
networks. WACV. There the rate rises during one run; here each rate has its own
networks.
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
"""Share of its first loss that a network must lose to count as training."""


@dataclasses.dataclass(frozen=True)
class Edge:
    """The learning rate above which networks no longer train.

    A seed's own edge lies between two rates: going up from its best rate, the last at
    which it trains, and the next.

    Attributes:
      value: geometric mean over the seeds, or the median if some have no edge up to the
        highest rate; NaN if no seed has one, infinity if it is above the highest.
      low, high: 95 % interval; NaN below 3 seeds, and an end may be infinity. It holds
        wherever the edges lie between their rates, so it is wider than the distance of
        two rates. Of a mean: Student's t on the logarithms. Of a median: exact order
        statistics, which take 6 seeds.
      n: seeds that train at some rate.
      beyond: of these, the seeds with no edge up to the highest rate.
      diverged, at_chance, stuck: how the others ended at the first rate above the edge.
        Stuck ones lost too little but are not at chance.
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
    """What was found about the rates that were tried.

    Attributes:
      order: indices of the trials that ran to their end, by ascending rate, (T,).
      values: their rates, (T,).
      trains: which networks train, bool (T, S): they did not diverge, do not end at
        chance, and their training loss ends 10 % or more below its start.
      start: mean training loss before training.
      fastest: index of the trial with the lowest mean validation loss at the end, among
        those in which all seeds train; None if there is none.
      stable: the lowest and the highest rate around the fastest between which all seeds
        train; None if there is none.
      edge: the rate above which networks no longer train.
    """

    order: tuple[int, ...]
    values: np.ndarray
    trains: np.ndarray
    start: float
    fastest: int | None
    stable: tuple[float, float] | None
    edge: Edge


def find(results: Results) -> Rates | None:
    """Finds the rates that train, the edge, and the fastest rate.

    None if the trials differ in more than the learning rate.
    """
    if results.study.swept() != (RATE,):
        return None
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
            reduce_members(results, trial, f) for f in final
        )
        diverged[row] = has_status(results, trial, DIVERGED)
        dull[row] = at_chance(results, trial)
    trains = np.less_equal(losses, (1 - MARGIN) * starts)  # not where one is NaN
    trains &= ~diverged & ~dull
    fastest, stable = None, None
    if (whole := trains.all(axis=1)).any():
        best = int(np.where(whole, validation.mean(axis=1), np.inf).argmin())
        gaps = np.flatnonzero(~whole)
        first = max(gaps[gaps < best], default=-1) + 1
        last = min(gaps[gaps > best], default=len(order)) - 1
        fastest, stable = order[best], (float(values[first]), float(values[last]))
    start = float(np.nanmean(starts)) if np.isfinite(starts).any() else math.nan
    seeds = trains.any(axis=0)
    edge = _edge(values, *(a[:, seeds] for a in (trains, losses, diverged, dull)))
    return Rates(order, values, trains, start, fastest, stable, edge)


def _edge(
    values: np.ndarray,
    trains: np.ndarray,
    losses: np.ndarray,
    diverged: np.ndarray,
    dull: np.ndarray,
) -> Edge:
    """Finds the edge of seeds that train at some rate, from (T,) and (T, S)."""
    n = trains.shape[1]
    if not n:
        return Edge(math.nan, math.nan, math.nan, 0, 0, 0, 0, 0)
    best = np.where(trains, losses, np.inf).argmin(axis=0)
    fails = ~trains & (np.arange(len(values))[:, None] > best)
    ends = fails.any(axis=0)
    first = np.where(ends, fails.argmax(axis=0), len(values))
    below, above = values[first - 1], np.append(values, np.inf)[first]
    if ends.all():
        low, high = np.log(below), np.log(above)
        middle = float(np.exp((low + high).mean() / 2))
        least, most = mean_interval(low)[1], mean_interval(high)[2]
        interval = middle, float(np.exp(least)), float(np.exp(most))
    else:
        interval = _median_interval(below, above)
    at = first[ends], np.flatnonzero(ends)
    return Edge(
        *interval,
        n=n,
        beyond=int(np.count_nonzero(~ends)),
        diverged=int((diverged[at] & ~dull[at]).sum()),
        at_chance=int(dull[at].sum()),
        stuck=int((~diverged[at] & ~dull[at]).sum()),
    )


def _median_interval(
    below: np.ndarray, above: np.ndarray
) -> tuple[float, float, float]:
    """Returns the median of edges between two rates, and its interval; may be infinite.

    Of n seeds, the k-th lowest and the k-th highest enclose the distribution's median
    with a probability of 1 - 2 P(Binomial(n, 1/2) < k).
    """
    n = len(below)
    median = float(np.median(np.sqrt(below * above)))
    k = 0
    while special.bdtr(k, n, 0.5) <= (1 - LEVEL) / 2:
        k += 1
    if not k or n < MIN_SEEDS:
        return median, math.nan, math.nan
    return median, float(np.sort(below)[k - 1]), float(np.sort(above)[n - k])
