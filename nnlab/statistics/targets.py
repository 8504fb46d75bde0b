# SPDX-License-Identifier: Apache-2.0
"""How soon a trial reaches a target, and which target separates the trials best."""

import dataclasses

import numpy as np

from nnlab.results import DIVERGED, Results
from nnlab.statistics.members import (
    ROUNDING,
    alive,
    carried_forward,
    final_values,
    has_status,
    networks,
    reduce_members,
    steps_to,
)
from nnlab.study import Quantity

TARGETS = (
    *(0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9),
    *(0.95, 0.97, 0.98, 0.99, 0.995, 0.999),
)
# A target's error is at most this many times the best trial's: for a trial at 97 %,
# targets are 85 % or more.
MAX_ERROR_RATIO = 5.0


@dataclasses.dataclass(frozen=True)
class StepsToTarget:
    """How soon a trial reaches a target.

    Attributes:
      target: the value to reach.
      n: number of networks that count: all but the unfinished ones that have not
        reached it yet; 0 if halving dropped one before it did.
      reached_share: share of the n that reached it, in [0, 1]; NaN for n = 0.
      median_steps: median over the n, in updates. A network that did not reach it
        counts as infinity, so the median is infinity when no more than half did.
      median_epochs: the same in passes over the training examples.
    """

    target: float
    n: int
    reached_share: float
    median_steps: float
    median_epochs: float

    @property
    def reached(self) -> int:
        """Number of networks that reached the target."""
        return round(self.reached_share * self.n) if self.n else 0


def steps_to_target(results: Results, trial: int, target: float) -> StepsToTarget:
    """Returns the share of a trial's networks that reach a target, and the median time.

    There is no mean over those that did: it would favour a trial in which only the
    luckiest networks arrive. A diverged network counts as not having reached it. Trees
    have n = 0: they take no updates. The target is of the validation score.
    """
    metric = results.validation_score
    is_network = results.trials[trial].hyperparameters.model.is_network
    if not (results.has_run(trial) and is_network) or np.isnan(target):
        return StepsToTarget(target, 0, np.nan, np.nan, np.nan)
    quantity = Quantity(metric=metric, reduction="steps_to", target=target)
    steps = reduce_members(results, trial, quantity)
    steps = steps[~np.isnan(steps)]
    share = float(np.isfinite(steps).mean()) if len(steps) else np.nan
    per_epoch = results.program(trial)["steps_per_epoch"]
    median = censored_median(steps)
    return StepsToTarget(target, len(steps), share, median, median / per_epoch)


def censored_median(values: np.ndarray) -> float:
    """Returns the median of the values, which may be infinite, without NaN."""
    present = values[~np.isnan(values)]
    return float(np.median(present)) if len(present) else np.nan


def default_target(results: Results, best: int | None) -> float:
    """Returns a round validation accuracy (or r2) that separates the trials.

    A target qualifies if it is one of `TARGETS`, above chance, reached by at least
    three quarters of the best trial's finished and stopped networks, and not too easy:
    its error is at most five times the best trial's median final error (or it is the
    highest that they reach). Of those, the one with the most different median steps
    among the trials is taken ("not reached" counts as one); of several such, the
    highest.

    NaN if there is no best trial among `networks`, or it reaches no target.
    """
    if best is None:
        return np.nan
    metric = results.validation_score
    ran = [t for t in networks(results) if results.has_run(t)]
    curves = {t: carried_forward(results, t, metric) for t in ran}
    lost = {t: has_status(results, t, DIVERGED) for t in ran}
    survivors, chance = alive(results, best), results.dataset(best)["chance"]
    different: dict[float, int] = {}
    for target in (t for t in TARGETS if t > chance):
        steps = {t: steps_to(curves[t], lost[t], metric, target) for t in ran}
        if np.isfinite(steps[best][survivors]).mean() >= 0.75:
            different[target] = len({censored_median(s) for s in steps.values()})
    if not different:
        return np.nan
    final = censored_median(final_values(results, best, curves[best])[survivors])
    easiest = min(1 - MAX_ERROR_RATIO * (1 - final), max(different))
    hard = [t for t in different if t >= easiest - ROUNDING]
    return max(hard, key=lambda t: (different[t], t))
