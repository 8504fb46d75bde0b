# SPDX-License-Identifier: Apache-2.0
"""How soon a trial reaches a target, and which target tells the trials apart."""

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
from nnlab.statistics.ranking import best_trial
from nnlab.study import Quantity

TARGETS = (
    *(0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9),
    *(0.95, 0.97, 0.98, 0.99, 0.995, 0.999),
)
# A target is of interest near the best trial's accuracy: with at most so many times its
# error (a trial at 97 % is asked for 85 % or more).
MAX_ERROR_RATIO = 5.0


@dataclasses.dataclass(frozen=True)
class StepsToTarget:
    """How soon a trial reaches a target.

    Attributes:
      target: the value to reach.
      n: members that tell: all but the unfinished ones that have not reached it yet;
        none if halving dropped one before it did.
      reached_share: share of the n that reached it, in [0, 1]; NaN for n = 0.
      median_steps: median over the n, in updates, counting a member that did not reach
        it as infinity: infinity when no more than half did.
      median_epochs: the same in passes over the training examples.
    """

    target: float
    n: int
    reached_share: float
    median_steps: float
    median_epochs: float


def steps_to_target(
    results: Results, trial: int, target: float, metric: str = "validation_accuracy"
) -> StepsToTarget:
    """The share of a trial's members that reach a target, and the median time to it.

    Never a mean over those that did: it would reward a trial in which only the luckiest
    members arrive. A diverged member counts as not having reached it. Of trees nothing
    is said (n = 0): they take no updates.

    Raises:
      ValueError: no such column.
    """
    is_network = results.trials[trial].hyperparameters.model.is_network
    if not (results.has_run(trial) and is_network):
        return StepsToTarget(target, 0, np.nan, np.nan, np.nan)
    quantity = Quantity(metric=metric, reduction="steps_to", target=target)
    steps = reduce_members(results, quantity, trial)
    steps = steps[~np.isnan(steps)]
    share = float(np.isfinite(steps).mean()) if len(steps) else np.nan
    per_epoch = results.program(trial)["steps_per_epoch"]
    median = censored_median(steps)
    return StepsToTarget(target, len(steps), share, median, median / per_epoch)


def censored_median(values: np.ndarray) -> float:
    """Median of the values that are not NaN, which may be infinite; NaN for none."""
    present = values[~np.isnan(values)]
    return float(np.median(present)) if len(present) else np.nan


def target_of(results: Results) -> float:
    """The target that the study names, else `default_target`."""
    return results.study.target or default_target(results)


def default_target(results: Results) -> float:
    """A round validation accuracy that tells the trials apart.

    A target qualifies if it is one of the round values in `TARGETS`, above chance,
    reached by at least three quarters of the best trial's finished and stopped members,
    and not too easy: its error is at most five times the best trial's median final
    error (or it is the highest that they reach). Of those, the one with the most
    different median steps to it among the trials, "not reached" being one of them; of
    several such, the highest.

    Returns:
      An accuracy in (0, 1); NaN if there is no best trial, or it reaches none of them.
    """
    best = best_trial(results, networks(results))
    if best is None:
        return np.nan
    metric = "validation_accuracy"
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
