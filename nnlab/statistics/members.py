# SPDX-License-Identifier: Apache-2.0
"""What a trial's members come to: how they ended, and quantities of each of them.

Means are over the members that finished or were stopped early, see `alive`; those that
diverged are counted beside them.
"""

import dataclasses

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

# Accuracies pass through float32, where 0.95 is 0.94999999.
ROUNDING = 1e-6


def networks(results: Results) -> tuple[int, ...]:
    """The trials, by index, that are networks; all trials where none is."""
    every = tuple(t.index for t in results.trials)
    found = (t for t in results.trials if t.hyperparameters.model.is_network)
    return tuple(t.index for t in found) or every


def status_counts(results: Results, trial: int) -> dict[str, int]:
    """How many of a trial's members ended how.

    Returns:
      A count for each of "finished", "stopped", "diverged", "dropped", "unfinished",
      which add up to the members that started, and for "at_chance", which is among
      them.
    """
    if not results.has_run(trial):
        return dict.fromkeys((*STATUSES, "at_chance"), 0)
    status = results.member(trial, "status")
    counts = {s: int(np.count_nonzero(status == s)) for s in STATUSES}
    return counts | {"at_chance": int(at_chance(results, trial).sum())}


def at_chance(results: Results, trial: int) -> np.ndarray:
    """Which members ended at chance, bool (S,)."""
    if not results.has_run(trial):
        return np.zeros(results.study.num_seeds, bool)
    found = results.member(trial, "at_chance")
    return np.equal(found, True).astype(bool)  # not where there is none


def alive(results: Results, trial: int) -> np.ndarray:
    """Which members finished or were stopped early, bool (S,): means are over them.

    None of a trial that was dropped: the seeds that stopped before do not stand for it.
    """
    kept = has_status(results, trial, FINISHED, STOPPED)
    return kept & (dropped_after(results, trial) is None)


def dropped_after(results: Results, trial: int) -> float | None:
    """After how many epochs halving dropped a trial; None if it did not."""
    dropped = has_status(results, trial, DROPPED)
    if not dropped.any():
        return None
    (steps,) = set(results.member(trial, "steps")[dropped].tolist())
    return float(steps / results.program(trial)["steps_per_epoch"])


def asked(results: Results, trial: int) -> np.ndarray:
    """Which seeds the trial has, bool (S,): some may have fewer than others."""
    return np.arange(results.study.num_seeds) < results.trials[trial].num_seeds


def has_status(results: Results, trial: int, *statuses: str) -> np.ndarray:
    """Which members ended in one of the ways, bool (S,)."""
    if not results.has_run(trial):
        return np.zeros(results.study.num_seeds, bool)
    return np.isin(results.member(trial, "status").astype(str), statuses)


def carried_forward(results: Results, trial: int, metric: str) -> Curve:
    """A metric's curve with stopped members carried on at their restored best.

    Early stopping restores the parameters of the best evaluation, so a stopped member
    keeps that evaluation's value from its last row on. Members that diverged or did not
    finish are NaN from where they ended.

    Raises:
      ValueError: no such column.
    """
    curve = results.curve(trial, metric)
    values = curve.values.copy()
    for seed in np.flatnonzero(has_status(results, trial, STOPPED)):
        best_step = int(results.member(trial, "best_step")[seed])
        best = np.searchsorted(curve.steps, best_step)
        known = np.flatnonzero(~np.isnan(values[seed]))
        if known.size:
            values[seed, known[-1] + 1 :] = values[seed, best]
    return dataclasses.replace(curve, values=values)


def final_values(results: Results, trial: int, curve: Curve) -> np.ndarray:
    """The metric of the model that is kept, (S,): of the best step where it stopped.

    The last column of the carried-forward curve is another where nobody trained longer;
    and of trees each seed has a last number of its own.
    """
    if not len(curve.steps):
        return np.full(len(curve.values), np.nan)
    known = ~np.isnan(curve.values)
    kept = known.shape[1] - 1 - known[:, ::-1].argmax(axis=1)  # the last known
    stopped = np.flatnonzero(has_status(results, trial, STOPPED))
    best = results.member(trial, "best_step")[stopped].astype(np.int64)
    kept[stopped] = np.searchsorted(curve.steps, best)
    return np.take_along_axis(curve.values, kept[:, None], axis=1)[:, 0]


def reduce_members(results: Results, quantity: Quantity, trial: int) -> np.ndarray:
    """A quantity of each member of a trial.

    Args:
      results: of the study.
      quantity: the column and its reduction. "final" is of the model that is kept, at
        the best step of a stopped member; "steps_to" is the step of the first
        evaluation at the target or beyond (at least it for accuracies, at most it for
        all else); "steps" is the step of the last; "best" is the largest accuracy, or
        the smallest of all else; "at_epoch" is the evaluation nearest to the epoch, at
        most half the distance between evaluations away; "at_step" lies on the straight
        line between the two evaluations around the step. For both, stopped members are
        carried on to the end of the trial's training.
      trial: index.

    Returns:
      float (S,). NaN where there is no value: the trial never ran or trained less far,
      the member is unfinished or dropped, or it diverged (for shares and steps to a
      target that says something: 1 or 0, and infinity). A target that was not reached
      is infinity; of a dropped trial all are NaN unless it was dropped later.

    Raises:
      ValueError: no such column.
    """
    reduction = quantity.reduction
    missing = np.full(results.study.num_seeds, np.nan)
    if not results.has_run(trial):
        return missing
    if reduction == "seconds":
        seconds = seconds_per_epoch(results, results.program(trial)["index"])
        return missing if not len(seconds) else np.full_like(missing, seconds.mean())
    if reduction in ("diverged_share", "at_chance_share"):
        counted = has_status(results, trial, DIVERGED)
        if reduction == "at_chance_share":
            counted = at_chance(results, trial)
        ended = asked(results, trial) & ~has_status(results, trial, UNFINISHED, DROPPED)
        return np.where(ended, counted.astype(float), np.nan)
    if reduction == "steps":
        steps = results.member(trial, "steps").astype(float)
        return np.where(alive(results, trial), steps, np.nan)
    curve = carried_forward(results, trial, quantity.metric)
    if reduction == "steps_to":
        assert quantity.target is not None
        lost = has_status(results, trial, DIVERGED)
        steps = steps_to(curve, lost, quantity.metric, quantity.target)
        unknown = has_status(results, trial, UNFINISHED) & np.isinf(steps)
        unknown |= ~asked(results, trial)
        # The seeds that got there in time do not stand for a trial that was dropped.
        unknown |= (has_status(results, trial, DROPPED) & np.isinf(steps)).any()
        return np.where(unknown, np.nan, steps)
    if not len(curve.steps):
        return missing
    if reduction == "at_epoch":
        assert quantity.epoch is not None
        distance = np.abs(curve.epochs - quantity.epoch)
        every = results.trials[trial].hyperparameters.eval_every_epochs
        near = int(distance.argmin())
        if distance[near] <= every / 2:
            return curve.values[:, near]
        per_epoch = results.program(trial)["steps_per_epoch"]
        return _after_all(results, trial, curve, quantity.epoch * per_epoch)
    if reduction == "at_step":
        assert quantity.step is not None
        return _at_step(results, trial, curve, quantity.step)
    final = final_values(results, trial, curve)
    pick = np.fmax if is_accuracy(quantity.metric) else np.fmin
    best = pick.reduce(curve.values, axis=1)
    value = {"final": final, "best": best, "best_minus_final": best - final}
    if reduction == "drop_from_test":
        test = carried_forward(results, trial, "test_accuracy")
        value["drop_from_test"] = final_values(results, trial, test) - final
    return np.where(alive(results, trial), value[reduction], np.nan)


def _after_all(results: Results, trial: int, curve: Curve, step: float) -> np.ndarray:
    """The values (S,) at a step after all evaluations of the trial.

    A member that stopped stays what it was; NaN for the others, for steps that the
    trial was not to train and for those before its first evaluation.
    """
    stopped = has_status(results, trial, STOPPED)
    stopped &= curve.steps[-1] < step <= results.program(trial)["num_steps"]
    return np.where(stopped, final_values(results, trial, curve), np.nan)


def _at_step(results: Results, trial: int, curve: Curve, step: float) -> np.ndarray:
    """The curve's value (S,) at a step; NaN outside of what was trained."""
    after = int(np.searchsorted(curve.steps, step))
    if after < len(curve.steps) and curve.steps[after] == step:
        return curve.values[:, after]
    if after in (0, len(curve.steps)):
        return _after_all(results, trial, curve, step)
    start, end = curve.steps[after - 1 : after + 1]
    weight = (step - start) / (end - start)
    return (1 - weight) * curve.values[:, after - 1] + weight * curve.values[:, after]


def is_accuracy(metric: str) -> bool:
    """Whether a column is better the larger it is."""
    return metric.endswith("accuracy")


def steps_to(curve: Curve, lost: np.ndarray, metric: str, target: float) -> np.ndarray:
    """First step (S,) at the target; infinity where there is none or `lost`."""
    if is_accuracy(metric):
        reached = curve.values >= target - ROUNDING
    else:
        reached = curve.values <= target + ROUNDING
    steps = np.where(reached & ~lost[:, None], curve.steps, np.inf)
    return steps.min(axis=1, initial=np.inf)


def is_measured(results: Results, column: str) -> bool:
    """Whether a column of the curves has any value."""
    if column not in results.metrics:
        return False
    values = results.curves[column].drop_null().to_numpy()
    return bool(np.isfinite(values).any())


def seconds_per_epoch(results: Results, program: int) -> np.ndarray:
    """Training seconds that one member of a program takes for an epoch, by segment.

    Compilation and evaluation are left out, and the program's rate is shared by all its
    members, which train at the same time. Those that stopped or diverged leave lanes
    idle, which is not the network's doing: only the segments count in which the most
    members trained, three of them at least.

    Returns:
      float (segments,).
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
        examples = record["steps_per_epoch"] * h.batch_size
    return examples / rate


def dropped(results: Results) -> dict[float, list[int]]:
    """The trials, by index, that halving dropped, by the epoch at which it did."""
    found: dict[float, list[int]] = {}
    for trial in range(len(results.trials)):
        epochs = dropped_after(results, trial)
        if epochs is not None:
            found.setdefault(epochs, []).append(trial)
    return dict(sorted(found.items()))


def final(results: Results, trial: int, metric: str) -> np.ndarray:
    """A metric of a trial's final networks, (S,); NaN for those that have none."""
    quantity = Quantity(metric=metric, reduction="final")
    return reduce_members(results, quantity, trial)
