# SPDX-License-Identifier: Apache-2.0
"""How the networks of a trial ended, and quantities of each of them.

Means are over the networks that finished or stopped early, see `alive`. Those that
diverged are counted separately.
"""

import dataclasses
from typing import Any

import numpy as np

from nnlab.results import (
    DIVERGED,
    DROPPED,
    FINISHED,
    STATUSES,
    STOPPED,
    UNFINISHED,
    Curve,
    Results,
)
from nnlab.statistics.intervals import MIN_SEEDS
from nnlab.study import Quantity

# Accuracies are stored as float32, where 0.95 is 0.94999999.
ROUNDING = 1e-6


def networks(results: Results) -> tuple[int, ...]:
    """Returns the trials, by index, that are networks; all trials where none is."""
    found = [t for t in results.trials if t.hyperparameters.model.is_network]
    return tuple(t.index for t in found or results.trials)


def status_counts(results: Results, trial: int) -> dict[str, int]:
    """Counts how a trial's networks ended, and how many ended "at_chance".

    The counts of `STATUSES` add up to the networks that started.
    """
    if not results.has_run(trial):
        return dict.fromkeys((*STATUSES, "at_chance"), 0)
    status = results.member(trial, "status")
    counts = {s: int(np.count_nonzero(status == s)) for s in STATUSES}
    return counts | {"at_chance": int(at_chance(results, trial).sum())}


def at_chance(results: Results, trial: int) -> np.ndarray:
    """Returns which networks ended at chance, bool (S,)."""
    if not results.has_run(trial):
        return np.zeros(results.study.num_seeds, bool)
    found = results.member(trial, "at_chance")
    return np.equal(found, True).astype(bool)  # not where there is none


def alive(results: Results, trial: int) -> np.ndarray:
    """Returns which networks finished or stopped early, bool (S,).

    None of a dropped trial: the seeds that stopped before do not represent it.
    """
    kept = has_status(results, trial, FINISHED, STOPPED)
    return kept & (dropped_after(results, trial) is None)


def dropped_after(results: Results, trial: int) -> float | None:
    """Returns after how many epochs halving dropped a trial; None if it did not."""
    dropped = has_status(results, trial, DROPPED)
    if not dropped.any():
        return None
    (steps,) = set(results.member(trial, "steps")[dropped].tolist())
    return float(steps / results.program(trial)["steps_per_epoch"])


def asked(results: Results, trial: int) -> np.ndarray:
    """Returns which seeds the trial has, bool (S,): some have fewer than others."""
    return np.arange(results.study.num_seeds) < results.trials[trial].num_seeds


def has_status(results: Results, trial: int, *statuses: str) -> np.ndarray:
    """Returns which networks ended in one of the ways, bool (S,)."""
    if not results.has_run(trial):
        return np.zeros(results.study.num_seeds, bool)
    return np.isin(results.member(trial, "status").astype(str), statuses)


def keep_best(results: Results, trial: int) -> np.ndarray:
    """Returns which networks keep the parameters of their best evaluation, bool (S,).

    With early stopping all do, also those that reached the last epoch. Runs that do not
    record it are older: there only stopped networks did.
    """
    kept = has_status(results, trial, STOPPED)
    if results.has_run(trial) and results.program(trial).get("keeps_best"):
        kept |= has_status(results, trial, FINISHED)
    return kept


def carried_forward(results: Results, trial: int, metric: str) -> Curve:
    """Returns a metric's curve in which stopped networks keep their best value.

    Early stopping keeps the parameters of the best evaluation, so a stopped network has
    that evaluation's value from its last row on. Networks that diverged or did not
    finish are NaN from where they ended. The curve of one that finished is as measured,
    up to its end; see `final_values` for what it keeps.
    """
    curve = results.curve(trial, metric)
    values = curve.values.copy()
    for seed in np.flatnonzero(has_status(results, trial, STOPPED)):
        best_step = int(results.member(trial, "best_step")[seed])
        best = _last_until(curve, best_step)
        known = np.flatnonzero(~np.isnan(values[seed]))
        if known.size:
            values[seed, known[-1] + 1 :] = values[seed, best] if best >= 0 else np.nan
    return dataclasses.replace(curve, values=values)


def _last_until(curve: Curve, steps: Any) -> Any:
    """Returns the places of the last rows up to some steps; -1 for none.

    What a probe measured at steps of its own may not be known at the best evaluation.
    """
    return np.searchsorted(curve.steps, steps, side="right") - 1


def final_values(results: Results, trial: int, curve: Curve) -> np.ndarray:
    """Returns the metric of the kept networks, (S,): of their best step, if they do.

    It is not always the last column of the carried-forward curve: networks may keep an
    earlier evaluation, see `keep_best`, and each seed of trees has its own last number
    of trees.
    """
    if not len(curve.steps):
        return np.full(len(curve.values), np.nan)
    known = ~np.isnan(curve.values)
    kept = known.shape[1] - 1 - known[:, ::-1].argmax(axis=1)  # the last known
    early = np.flatnonzero(keep_best(results, trial))
    best = results.member(trial, "best_step")[early].astype(np.int64)
    kept[early] = _last_until(curve, best)
    found = np.take_along_axis(curve.values, np.maximum(kept, 0)[:, None], axis=1)[:, 0]
    return np.where(kept >= 0, found, np.nan)


def reduce_members(results: Results, trial: int, quantity: Quantity) -> np.ndarray:
    """Returns a quantity of each network of a trial.

    Args:
      quantity: the column and its reduction. "final" is the value of the kept network,
        with early stopping that of its best step. "steps_to" is the step of the first
        evaluation at the target or beyond (at least it for accuracies and r2, at most
        it for all else). "steps" is the step of the last evaluation. "best" is the
        largest accuracy or r2, the smallest of all else. "at_epoch" is the evaluation
        nearest to the epoch, at most half the distance between evaluations away; a
        verdict asks for one at the epoch, see `instants.unmeasured`. "at_step" lies on
        the straight line between the two evaluations around the step. For both, stopped
        networks keep their value to the end of the trial's training.

    Returns:
      float (S,). Infinity for a target that was not reached. NaN where there is no
      value: the trial never ran or trained less far, or the network is unfinished,
      dropped or diverged. A diverged network has a value of shares and of steps to a
      target: 1 or 0, and infinity. All of a dropped trial are NaN unless it was dropped
      later.
    """
    reduction = quantity.reduction
    missing = np.full(results.study.num_seeds, np.nan)
    if not results.has_run(trial):
        return missing
    if reduction == "seconds":
        seconds = seconds_per_epoch(results, results.program(trial)["index"])
        return missing if not len(seconds) else np.full_like(missing, seconds.mean())
    lost = has_status(results, trial, DIVERGED)
    if reduction in ("diverged_share", "at_chance_share"):
        diverged = reduction == "diverged_share"
        counted = lost if diverged else at_chance(results, trial)
        ended = asked(results, trial) & ~has_status(results, trial, UNFINISHED, DROPPED)
        return np.where(ended, counted.astype(float), np.nan)
    if reduction == "steps":
        steps = results.member(trial, "steps").astype(float)
        return np.where(alive(results, trial), steps, np.nan)
    curve = carried_forward(results, trial, quantity.metric)
    if reduction == "steps_to":
        assert quantity.target is not None
        steps = steps_to(curve, lost, quantity.metric, quantity.target)
        unknown = has_status(results, trial, UNFINISHED) & np.isinf(steps)
        unknown |= ~asked(results, trial)
        # Seeds that reached the target in time do not represent a dropped trial.
        unknown |= (has_status(results, trial, DROPPED) & np.isinf(steps)).any()
        return np.where(unknown, np.nan, steps)
    if not len(curve.steps):
        return missing
    if reduction == "at_epoch":
        assert quantity.epoch is not None
        distance = np.abs(curve.epochs - quantity.epoch)
        every = results.trials[trial].hyperparameters.eval_every_epochs
        per_epoch = results.program(trial)["steps_per_epoch"]
        near = int(distance.argmin())
        # Networks are evaluated once an update at most.
        if distance[near] <= max(every, 1 / per_epoch) / 2 + ROUNDING:
            return curve.values[:, near]
        return _after_all(results, trial, curve, quantity.epoch * per_epoch)
    if reduction == "at_step":
        assert quantity.step is not None
        return _at_step(results, trial, curve, quantity.step)
    final = final_values(results, trial, curve)
    pick = np.fmax if is_score(quantity.metric) else np.fmin
    best = pick.reduce(curve.values, axis=1)
    with np.errstate(invalid="ignore"):  # of an infinite loss, or R²
        value = {"final": final, "best": best, "best_minus_final": best - final}
    if reduction == "drop_from_test":
        test = carried_forward(results, trial, results.test_score)
        value["drop_from_test"] = final_values(results, trial, test) - final
    return np.where(alive(results, trial), value[reduction], np.nan)


def _after_all(results: Results, trial: int, curve: Curve, step: float) -> np.ndarray:
    """Returns the values (S,) at a step after all evaluations of the trial.

    A stopped network keeps its value. NaN for the others, for steps beyond the trial's
    training, and for steps before its first evaluation.
    """
    stopped = has_status(results, trial, STOPPED)
    stopped &= curve.steps[-1] < step <= results.program(trial)["num_steps"]
    return np.where(stopped, final_values(results, trial, curve), np.nan)


def _at_step(results: Results, trial: int, curve: Curve, step: float) -> np.ndarray:
    after = int(np.searchsorted(curve.steps, step))
    if after < len(curve.steps) and curve.steps[after] == step:
        return curve.values[:, after]
    if after in (0, len(curve.steps)):
        return _after_all(results, trial, curve, step)
    start, end = curve.steps[after - 1 : after + 1]
    weight = (step - start) / (end - start)
    return (1 - weight) * curve.values[:, after - 1] + weight * curve.values[:, after]


def is_accuracy(metric: str) -> bool:
    """Whether a column is a share of examples."""
    return metric.endswith("accuracy")


def is_score(metric: str) -> bool:
    """Whether larger values of a column are better, and chance has one."""
    return metric.endswith(("accuracy", "_r2"))


def steps_to(curve: Curve, lost: np.ndarray, metric: str, target: float) -> np.ndarray:
    """Returns the first step (S,) at the target; infinity for none or where `lost`."""
    if is_score(metric):
        reached = curve.values >= target - ROUNDING
    else:
        reached = curve.values <= target + ROUNDING
    steps = np.where(reached & ~lost[:, None], curve.steps, np.inf)
    return steps.min(axis=1, initial=np.inf)


def is_measured(results: Results, column: str) -> bool:
    """Whether a column of the curves has any value."""
    if column not in results.metrics:
        return False
    of = results.probes if column in results.probes.column_names else results.curves
    values = of[column].drop_null().to_numpy()
    return bool(np.isfinite(values).any())


def seconds_per_epoch(results: Results, program: int) -> np.ndarray:
    """Returns the seconds a network of a program takes for an epoch, (segments,).

    Compilation and evaluation are left out. Networks of a program train at the same
    time and share its rate. Those that stopped or diverged leave lanes idle, so only
    segments count in which the most networks trained, at least three segments.
    """
    record = next(c for c in results.config["cohorts"] if c["index"] == program)
    if "cohort" not in results.timings.column_names:
        return np.empty(0)
    of_program = results.timings["cohort"].to_numpy() == program
    rate = results.timings["examples_per_second"].to_numpy()[of_program].astype(float)
    members = results.timings["members"].to_numpy()[of_program]
    timed = np.isfinite(rate) & (rate > 0)
    rate, members = rate[timed], members[timed]
    if rate.size:
        rate = rate[members >= np.sort(members)[-MIN_SEEDS:][0]]
    h = results.trials[record["trials"][0]].hyperparameters
    examples = record["train_examples"]  # of a round of trees
    if h.model.is_network:
        examples = record["steps_per_epoch"] * h.batch_of(examples)
    return examples / rate


def dropped(results: Results) -> dict[float, list[int]]:
    """Returns the trials, by index, that halving dropped, by the epoch of the rung."""
    found: dict[float, list[int]] = {}
    for trial in range(len(results.trials)):
        if (epochs := dropped_after(results, trial)) is not None:
            found.setdefault(epochs, []).append(trial)
    return dict(sorted(found.items()))


def finals(results: Results, metric: str) -> np.ndarray:
    """Returns a metric of all trials' final networks, (T, S); NaN for none."""
    quantity = Quantity(metric=metric)
    return np.array(
        [reduce_members(results, t.index, quantity) for t in results.trials]
    )
