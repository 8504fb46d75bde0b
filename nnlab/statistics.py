# SPDX-License-Identifier: Apache-2.0
"""Means, intervals, paired differences, steps to a target and verdicts on claims.

Everything is computed from a run's stored tables with NumPy and SciPy; no JAX. Means
are over members that finished or were stopped early; members that diverged are counted
beside them. Trials are compared in pairs, seed by seed, because a seed has the same
data order in every trial.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

# The ufuncs of scipy.special, since importing scipy.stats takes most of a second.
from scipy import special

from nnlab.results import (
    DIVERGED,
    FINISHED,
    STATUSES,
    STOPPED,
    UNFINISHED,
    Curve,
    Results,
    table,
)
from nnlab.study import Claim, Quantity, Trial

LEVEL = 0.95
MIN_SEEDS = 3
# More pairs than this lost to divergence, and the rest no longer speak for the trial.
MAX_LEFT_OUT = 0.25
TARGETS = (
    *(0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9),
    *(0.95, 0.97, 0.98, 0.99, 0.995, 0.999),
)
# A target is of interest near the best trial's accuracy: with at most so many times its
# error (a trial at 97 % is asked for 85 % or more).
MAX_ERROR_RATIO = 5.0
# Accuracies pass through float32, where 0.95 is 0.94999999.
ROUNDING = 1e-6

SUPPORTED, CONTRADICTED, NOT_RESOLVED, NOT_TESTED = VERDICTS = (
    "supported",
    "contradicted",
    "not resolved",
    "not tested in this run",
)


def mean_interval(
    values: npt.ArrayLike, level: float = LEVEL, axis: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean and Student's t interval over the values that are not NaN.

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


def holm(p: npt.ArrayLike) -> np.ndarray:
    """P-values adjusted so that the whole family errs with at most the level.

    Args:
      p: float (m,); NaN marks a test that was not made: it stays and does not count.

    Returns:
      Adjusted p-values (m,), at most 1.

    Source: Holm, S. (1979). A simple sequentially rejective multiple test procedure.
    """
    raw = np.asarray(p, float)
    adjusted = np.full(raw.shape, np.nan)
    order = np.argsort(raw, kind="stable")[: np.count_nonzero(~np.isnan(raw))]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(raw[order] * factors), 1.0)
    return adjusted


def status_counts(results: Results, trial: int) -> dict[str, int]:
    """How many of a trial's members ended how.

    Returns:
      A count for each of "finished", "stopped", "diverged", "unfinished", which add up
      to the members that started, and for "at_chance", which is among them.
    """
    if not results.has_run(trial):
        return dict.fromkeys((*STATUSES, "at_chance"), 0)
    status = results.member(trial, "status")
    counts = {s: int(np.count_nonzero(status == s)) for s in STATUSES}
    return counts | {"at_chance": int(results.member(trial, "at_chance").sum())}


def alive(results: Results, trial: int) -> np.ndarray:
    """Which members finished or were stopped early, bool (S,): means are over them."""
    return _has_status(results, trial, FINISHED, STOPPED)


def _has_status(results: Results, trial: int, *statuses: str) -> np.ndarray:
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
    for seed in np.flatnonzero(_has_status(results, trial, STOPPED)):
        best_step = int(results.member(trial, "best_step")[seed])
        best = np.searchsorted(curve.steps, best_step)
        known = np.flatnonzero(~np.isnan(values[seed]))
        if known.size:
            values[seed, known[-1] + 1 :] = values[seed, best]
    return dataclasses.replace(curve, values=values)


def _final(results: Results, trial: int, curve: Curve) -> np.ndarray:
    """The metric of the model that is kept, (S,): of the best step where it stopped.

    The last column of the carried-forward curve is another where nobody trained longer;
    and of trees each seed has a last number of its own.
    """
    final = np.full(len(curve.values), np.nan)
    stopped = _has_status(results, trial, STOPPED)
    for seed, values in enumerate(curve.values):
        known = np.flatnonzero(~np.isnan(values))
        if stopped[seed]:
            best_step = int(results.member(trial, "best_step")[seed])
            final[seed] = values[np.searchsorted(curve.steps, best_step)]
        elif known.size:
            final[seed] = values[known[-1]]
    return final


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
      the member is unfinished, or it diverged (for shares and steps to a target that
      says something: 1 or 0, and infinity). A target that was not reached is infinity.

    Raises:
      ValueError: no such column.
    """
    reduction = quantity.reduction
    missing = np.full(results.study.num_seeds, np.nan)
    if not results.has_run(trial):
        return missing
    if reduction == "seconds":
        seconds = seconds_per_epoch(results, results.cohort(trial)["index"])
        return missing if not len(seconds) else np.full_like(missing, seconds.mean())
    if reduction in ("diverged_share", "at_chance_share"):
        counted = _has_status(results, trial, DIVERGED)
        if reduction == "at_chance_share":
            counted = results.member(trial, "at_chance").astype(bool)
        ended = ~_has_status(results, trial, UNFINISHED)
        return np.where(ended, counted.astype(float), np.nan)
    if reduction == "steps":
        steps = results.member(trial, "steps").astype(float)
        return np.where(alive(results, trial), steps, np.nan)
    curve = carried_forward(results, trial, quantity.metric)
    if reduction == "steps_to":
        assert quantity.target is not None
        lost = _has_status(results, trial, DIVERGED)
        steps = _steps_to(curve, lost, quantity.metric, quantity.target)
        unknown = _has_status(results, trial, UNFINISHED) & np.isinf(steps)
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
        per_epoch = results.cohort(trial)["steps_per_epoch"]
        return _after_all(results, trial, curve, quantity.epoch * per_epoch)
    if reduction == "at_step":
        assert quantity.step is not None
        return _at_step(results, trial, curve, quantity.step)
    final = _final(results, trial, curve)
    pick = np.fmax if _is_accuracy(quantity.metric) else np.fmin
    best = pick.reduce(curve.values, axis=1)
    value = {"final": final, "best": best, "best_minus_final": best - final}
    if reduction == "drop_from_test":
        test = carried_forward(results, trial, "test_accuracy")
        value["drop_from_test"] = _final(results, trial, test) - final
    return np.where(alive(results, trial), value[reduction], np.nan)


def _after_all(results: Results, trial: int, curve: Curve, step: float) -> np.ndarray:
    """The values (S,) at a step after all evaluations of the trial.

    A member that stopped stays what it was; NaN for the others, for steps that the
    trial was not to train and for those before its first evaluation.
    """
    stopped = _has_status(results, trial, STOPPED)
    stopped &= curve.steps[-1] < step <= results.cohort(trial)["num_steps"]
    return np.where(stopped, _final(results, trial, curve), np.nan)


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


def _is_accuracy(metric: str) -> bool:
    return metric.endswith("accuracy")


def _steps_to(curve: Curve, lost: np.ndarray, metric: str, target: float) -> np.ndarray:
    """First step (S,) at the target; infinity where there is none or `lost`."""
    if _is_accuracy(metric):
        reached = curve.values >= target - ROUNDING
    else:
        reached = curve.values <= target + ROUNDING
    steps = np.where(reached & ~lost[:, None], curve.steps, np.inf)
    return steps.min(axis=1, initial=np.inf)


@dataclasses.dataclass(frozen=True)
class StepsToTarget:
    """How soon a trial reaches a target.

    Attributes:
      target: the value to reach.
      n: members that tell: all but the unfinished ones that have not reached it yet.
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
    per_epoch = results.cohort(trial)["steps_per_epoch"]
    median = _median(steps)
    return StepsToTarget(target, len(steps), share, median, median / per_epoch)


def _median(values: np.ndarray) -> float:
    """Median of the values that are not NaN, which may be infinite; NaN for none."""
    present = values[~np.isnan(values)]
    return float(np.median(present)) if len(present) else np.nan


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
    lost = {t: _has_status(results, t, DIVERGED) for t in ran}
    survivors, chance = alive(results, best), results.dataset(best)["chance"]
    different: dict[float, int] = {}
    for target in (t for t in TARGETS if t > chance):
        steps = {t: _steps_to(curves[t], lost[t], metric, target) for t in ran}
        if np.isfinite(steps[best][survivors]).mean() >= 0.75:
            different[target] = len({_median(s) for s in steps.values()})
    if not different:
        return np.nan
    final = _median(_final(results, best, curves[best])[survivors])
    easiest = min(1 - MAX_ERROR_RATIO * (1 - final), max(different))
    hard = [t for t in different if t >= easiest - ROUNDING]
    return max(hard, key=lambda t: (different[t], t))


def _networks(results: Results) -> list[int]:
    """Indices of the trials that are no baselines."""
    return [t.index for t in results.trials if t.hyperparameters.model.is_network]


def networks(results: Results) -> tuple[int, ...]:
    """The trials, by index, that are networks; all trials where none is."""
    every = tuple(t.index for t in results.trials)
    found = (t for t in results.trials if t.hyperparameters.model.is_network)
    return tuple(t.index for t in found) or every


def _expected_accuracy(results: Results, trial: int) -> float | None:
    """What a trial's final validation accuracy is expected to be.

    The mean is over all seeds, and a diverged one counts with the accuracy of chance,
    which is what a network that is lost is worth: one lucky survivor of eight at 99 %
    makes a trial of 21 %.

    Returns:
      An accuracy, or None if any member is unfinished or fewer than half of them
      survive.
    """
    survivors = alive(results, trial)
    settled = survivors | _has_status(results, trial, DIVERGED)
    if not np.all(settled) or 2 * survivors.sum() < len(survivors):
        return None
    final = Quantity(metric="validation_accuracy", reduction="final")
    accuracy = reduce_members(results, final, trial)
    chance = results.dataset(trial)["chance"]
    return float(np.where(survivors, accuracy, chance).mean())


def _best_of(results: Results, trials: Iterable[int], sign: int = 1) -> int | None:
    """Of the trials that qualify the one expected to be the best, or the worst."""
    scores = {
        trial: sign * score
        for trial in trials
        if (score := _expected_accuracy(results, trial)) is not None
    }
    return max(scores, key=lambda t: (scores[t], -t), default=None)


def best_trial(results: Results, among: Iterable[int] | None = None) -> int | None:
    """The trial with the highest expected final validation accuracy, by its index.

    A diverged seed counts with the accuracy of chance. A trial is out if any of its
    members is unfinished, or if fewer than half of them survive. Ties go to the lower
    index.

    Args:
      results: what the study found.
      among: indices of the trials to choose from; all when None.

    Returns:
      The index, or None if no trial qualifies.
    """
    every = range(len(results.trials))
    return _best_of(results, every if among is None else among)


def worst_trial(results: Results, among: Iterable[int] | None = None) -> int | None:
    """The trial with the lowest expected final validation accuracy, by its index.

    It is one that might have been the best, on the same data set: at least half of its
    members survive, so that there are networks to look at.

    Args:
      results: what the study found.
      among: indices of the trials to choose from, the best one too; all when None.

    Returns:
      The index, or None if no trial but the best qualifies.
    """
    chosen = set(range(len(results.trials)) if among is None else among)
    best = best_trial(results, chosen)
    if best is None:
        return None
    dataset = results.trials[best].hyperparameters.dataset
    others = (
        t
        for t in chosen - {best}
        if results.trials[t].hyperparameters.dataset == dataset
    )
    return _best_of(results, others, sign=-1)


def best_and_worst(results: Results) -> tuple[int | None, int | None]:
    """What is looked at: the best and the worst network by validation.

    Baselines are left out where there are at least two networks: the question is what
    they have learned.
    """
    among = networks(results)
    chosen = among if len(among) > 1 else None
    return best_trial(results, chosen), worst_trial(results, chosen)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A trial's difference to the best trial, paired by seed.

    Attributes:
      trial: index.
      mean: of the trial minus the best, over the pairs in which both survive.
      low, high: its 95 % interval; NaN below 3 pairs or without spread.
      n: pairs.
      p: two-sided; NaN below 3 pairs, or if more than a quarter of them is missing.
      p_holm: adjusted for the search among all pairs of trials.
      resolved: whether `p_holm` is at most 0.05.
    """

    trial: int
    mean: float
    low: float
    high: float
    n: int
    p: float
    p_holm: float
    resolved: bool


def compare_to_best(
    results: Results, metric: str = "test_accuracy"
) -> tuple[Comparison, ...]:
    """Each trial's final metric against the best trial's, seed by seed.

    Holm's adjustment runs over all T(T-1)/2 pairs of trials, not over the T-1 with the
    best: the data choose the best, so that any pair might have been compared. Where no
    trial differs and validation and test accuracy are one, adjusting for the T-1 errs
    in 11 % of experiments with T = 8 and in 18 % with T = 16 (4,000 simulations of 8
    seeds), adjusting for all pairs in 3 %.

    Returns:
      One comparison for each trial, in order of index; NaN and not resolved for the
      best itself, for trials that did not run, and for all if there is no best.

    Raises:
      ValueError: no such column.
    """
    best = best_trial(results)
    final = Quantity(metric=metric, reduction="final")
    nothing = {"mean": np.nan, "low": np.nan, "high": np.nan, "n": 0, "p": np.nan}
    found: dict[int, dict[str, Any]] = {t.index: dict(nothing) for t in results.trials}
    adjusted: dict[int, float] = {}
    if best is not None:
        values = np.array([reduce_members(results, final, t) for t in found])
        a, b = np.triu_indices(len(values), 1)
        p = _paired_p(_difference(values[a], values[b]))
        with_best = (a == best) | (b == best)
        adjusted = dict(zip((a + b - best)[with_best], holm(p)[with_best].tolist()))
        for trial in adjusted:
            effect = _paired(_difference(values[trial], values[best]))
            found[trial] = {"mean": effect.mean, "low": effect.low, "high": effect.high}
            found[trial] |= {"n": effect.n}
        for trial, raw in zip(adjusted, p[with_best].tolist()):
            found[trial]["p"] = raw
    return tuple(
        Comparison(
            trial=trial,
            **values,
            p_holm=adjusted.get(trial, np.nan),
            resolved=adjusted.get(trial, np.nan) <= 1 - LEVEL,
        )
        for trial, values in found.items()
    )


def seconds_per_epoch(results: Results, cohort: int) -> np.ndarray:
    """Training seconds that one member of a cohort takes for an epoch, by segment.

    Compilation and evaluation are left out, and the cohort's rate is shared by all its
    members, which train at the same time. Those that stopped or diverged leave lanes
    idle, which is not the network's doing: only the segments count in which the most
    members trained, three of them at least.

    Returns:
      float (segments,).
    """
    record = next(c for c in results.config["cohorts"] if c["index"] == cohort)
    if "cohort" not in results.timings.column_names:
        return np.empty(0)
    of_cohort = results.timings["cohort"].to_numpy() == cohort
    rate = results.timings["examples_per_second"].to_numpy()[of_cohort].astype(float)
    members = results.timings["members"].to_numpy()[of_cohort]
    timed = np.isfinite(rate) & (rate > 0)
    rate, members = rate[timed], members[timed]
    if rate.size:
        rate = rate[members >= np.sort(members)[-MIN_SEEDS:][0]]
    h = results.trials[record["trials"][0]].hyperparameters
    examples = record["train_examples"]  # of a round of trees
    if h.model.is_network:
        examples = record["steps_per_epoch"] * h.batch_size
    return examples / rate


def summarize(results: Results) -> pa.Table:
    """The table of trials, ``summary.csv``: a row for each, run or not.

    Columns: index, id, label; every hyperparameter by its path (tuples as JSON text);
    parameters; n_<status> and n_at_chance; <metric>_mean, _low and _high of each final
    train, validation and test metric over the finished and stopped members; for each
    further test set test_<set>_accuracy_drop_mean, _low and _high, by how much its
    accuracy is below that on the normal set, paired by seed; target, reached_share,
    median_steps_to_target, median_epochs_to_target; best; and
    test_accuracy_difference_mean, _low, _high, _p_holm and _resolved, to the best.
    What is not defined is null.
    """
    best = best_trial(results)
    target = results.study.target or default_target(results)
    compared: tuple[Comparison, ...] = ()
    if "test_accuracy" in results.metrics:
        compared = compare_to_best(results)
    parts = ("train_", "validation_", "test_")
    metrics = [
        m
        for m in results.metrics
        if m.startswith(parts) and m.endswith(("_loss", "_accuracy", "_active_share"))
    ]
    quantities = {m: Quantity(metric=m, reduction="final") for m in metrics}
    if "test_accuracy" in metrics:
        quantities |= {
            f"{m}_drop": Quantity(metric=m, reduction="drop_from_test")
            for m in metrics
            if m.startswith("test_") and _is_accuracy(m) and m != "test_accuracy"
        }
    rows = []
    for trial in results.trials:
        flat = trial.hyperparameters.flat()
        counts = status_counts(results, trial.index)
        row: dict[str, Any] = {
            "index": trial.index,
            "id": trial.id,
            "label": trial.label,
            **{p: json.dumps(v) if _is_list(v) else v for p, v in flat.items()},
            "parameters": results.cohort(trial.index)["parameters"],
            **{f"n_{status}": count for status, count in counts.items()},
        }
        for column, quantity in quantities.items():
            values = reduce_members(results, quantity, trial.index)
            for name, value in zip(("mean", "low", "high"), mean_interval(values)):
                row[f"{column}_{name}"] = _or_null(float(value))
        time = StepsToTarget(target, 0, np.nan, np.nan, np.nan)
        if not math.isnan(target):
            time = steps_to_target(results, trial.index, target)
        row["target"] = _or_null(target)
        row["reached_share"] = _or_null(time.reached_share)
        row["median_steps_to_target"] = _or_null(time.median_steps)
        row["median_epochs_to_target"] = _or_null(time.median_epochs)
        row["best"] = trial.index == best
        for difference in (c for c in compared if c.trial == trial.index):
            for name in ("mean", "low", "high", "p_holm"):
                number = _or_null(getattr(difference, name))
                row[f"test_accuracy_difference_{name}"] = number
            row["test_accuracy_difference_resolved"] = difference.resolved
        rows.append(row)
    return table(rows)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _or_null(value: float) -> float | None:
    return value if math.isfinite(value) else None


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What the data say about a claim.

    Attributes:
      claim: the claim.
      verdict: one of `VERDICTS`.
      reason: in words, what the reader must know to judge the numbers; may be "".
      unit: of the quantity: "" (a share or an accuracy), "nats", "updates", "s/epoch".
      effect: mean of left minus right over the pairs. For steps to a target, each side
        counts at most as long as the shorter training (a restricted mean): its sign is
        right and, where a side did not reach the target, its size a lower bound.
      low, high: 95 % interval of the effect; NaN below 3 pairs or without spread.
      n: pairs (seeds with a value on both sides), or segments for seconds.
      left_out: pairs without a value because a side diverged or did not finish.
      p: two-sided p-value; for "same" the larger of two one-sided ones. NaN if no test
        was made.
      p_holm: adjusted over the study's tested claims; decides at 0.05.
      left, right: means over the n pairs, or the number on the right; for steps to a
        target, medians over all members, infinity meaning not reached.
      left_reached, right_reached: shares that reach the target; else NaN.
      left_trial, right_trial: index of the trial that stands for a side as the best of
        several; else None.
    """

    claim: Claim
    verdict: str
    reason: str = ""
    unit: str = ""
    effect: float = np.nan
    low: float = np.nan
    high: float = np.nan
    n: int = 0
    left_out: int = 0
    p: float = np.nan
    p_holm: float = np.nan
    left: float = np.nan
    right: float = np.nan
    left_reached: float = np.nan
    right_reached: float = np.nan
    left_trial: int | None = None
    right_trial: int | None = None


def judge(results: Results) -> tuple[Verdict, ...]:
    """Verdicts on the study's claims, in their order.

    The effect is paired by seed and tested with Student's t, exactly with a sign test
    where the differences have no spread, and for shares with McNemar's test (a binomial
    test against a number). Holm's adjustment runs over the claims that are tested. A
    claim is contradicted when the opposite is resolved; "same" is supported by two
    one-sided tests against the margin, and contradicted by an effect beyond it. Where
    more than a quarter of the pairs have no value nothing is decided: the survivors of
    a diverging trial flatter it.

    Several trials of a side are averaged seed by seed, or, where the claim is among the
    best, the one with the highest expected validation accuracy stands for them. Chosen
    on validation data and compared on test data, it is no luckier there than others: a
    side of many trials is not flattered. It is where the quantity is a validation
    metric itself. The interval does not hold the choice's own uncertainty.

    Seconds are compared by cohort with Welch's test, its segments being the samples:
    they speak of this run on this device, not of other runs.
    """
    drafts = [_examine(results, claim) for claim in results.study.claims]
    adjusted = holm([d.p for d in drafts])
    return tuple(_settle(d, float(p)) for d, p in zip(drafts, adjusted))


def _settle(draft: Verdict, p_holm: float) -> Verdict:
    verdict = draft.verdict
    if verdict != NOT_TESTED and not p_holm <= 1 - LEVEL:
        verdict = NOT_RESOLVED
    return dataclasses.replace(draft, verdict=verdict, p_holm=p_holm)


def _examine(results: Results, claim: Claim) -> Verdict:
    """A draft whose verdict is where the data lean; `_settle` asks whether enough."""
    quantity = claim.quantity
    sides = {"left": _matching(results, claim.left)}
    if isinstance(claim.right, Mapping):
        sides["right"] = _matching(results, claim.right)
    notes = []
    chosen: dict[str, Any] = {}
    for name, trials in sides.items():
        ran = [t for t in trials if results.has_run(t.index)]
        if not ran:
            count = "matching it has run" if trials else "matches it"
            return Verdict(claim, NOT_TESTED, f"no trial on the {name} {count}")
        if len(ran) < len(trials):
            notes.append(f"{len(ran)} of the {name}'s {len(trials)} trials ran")
        if claim.among == "best" and len(ran) > 1:
            best = best_trial(results, [t.index for t in ran])
            if best is None:
                reason = f"no trial on the {name} kept half of its members to the end"
                return Verdict(claim, NOT_TESTED, reason)
            ran = [results.trials[best]]
            chosen[f"{name}_trial"] = best
        sides[name] = ran
    other = claim.right_quantity or quantity
    needed = [q.metric for q in (quantity, other) if q.metric]
    needed += ["test_accuracy"] if quantity.reduction == "drop_from_test" else []
    for column in needed:
        if column not in results.metrics:
            return Verdict(claim, NOT_TESTED, f"the curves have no column {column}")
    against_chance = claim.right == "chance"
    if against_chance and not (
        _is_accuracy(quantity.metric)
        and quantity.reduction in ("final", "best", "at_epoch")
    ):
        return Verdict(claim, NOT_TESTED, "only an accuracy compares with chance")
    constant = None
    if against_chance:
        chances = [results.dataset(t.index)["chance"] for t in sides["left"]]
        constant = float(np.mean(chances))
    elif not isinstance(claim.right, Mapping):
        constant = float(claim.right)
    compare = _compare_seconds if quantity.reduction == "seconds" else _compare_members
    verdict = compare(results, claim, sides["left"], sides.get("right", []), constant)
    reason = "; ".join(filter(None, (*notes, verdict.reason)))
    return dataclasses.replace(verdict, reason=reason, **chosen)


def _matching(results: Results, selector: Mapping[str, Any]) -> list[Trial]:
    """The trials whose hyperparameters (and label) have the selector's values."""
    return [
        trial
        for trial in results.trials
        if all(
            _equal({**trial.hyperparameters.flat(), "label": trial.label}[path], value)
            for path, value in selector.items()
        )
    ]


def _equal(a: Any, b: Any) -> bool:
    if _is_list(a) and _is_list(b):
        return len(a) == len(b) and all(map(_equal, a, b))
    if isinstance(a, int | float) and isinstance(b, int | float):
        return math.isclose(a, b, rel_tol=1e-9)
    return a == b


def _compare_members(
    results: Results,
    claim: Claim,
    left_trials: Sequence[Trial],
    right_trials: Sequence[Trial],
    constant: float | None,
) -> Verdict:
    quantity = claim.quantity
    # (trials of the side, S); a side without trials is a number, repeated.
    left = _members(results, quantity, left_trials)
    right = _members(results, claim.right_quantity or quantity, right_trials)
    if constant is not None:
        right = np.full((1, results.study.num_seeds), constant)
    for name, values in (("left", left), ("right", right)):
        trials = left_trials if name == "left" else right_trials
        lost = any(status_counts(results, t.index)[DIVERGED] for t in trials)
        if np.isnan(values).all() and not lost:
            return Verdict(
                claim, NOT_TESTED, f"no member on the {name} has a value yet"
            )
    facts: dict[str, Any] = {"unit": _unit(quantity)}
    notes = []
    censored = False
    if quantity.reduction == "steps_to":
        facts |= {"left": _median(left), "right": _median(right)}
        facts["left_reached"] = _share(np.isfinite(left), ~np.isnan(left))
        if constant is None:
            facts["right_reached"] = _share(np.isfinite(right), ~np.isnan(right))
        # Beyond the shorter training nothing is known of one of the sides.
        horizon = min(
            results.cohort(t.index)["num_steps"] for t in (*left_trials, *right_trials)
        )
        censored = bool(np.any(left > horizon) or np.any(right > horizon))
        left, right = np.minimum(left, horizon), np.minimum(right, horizon)
        if censored:
            notes.append(
                f"steps count up to {horizon}, so the effect is a lower bound in size"
            )
    left_mean, right_mean = left.mean(axis=0), right.mean(axis=0)
    if quantity.reduction.endswith("_share"):
        effect = (
            _paired_shares(_difference(left_mean, right_mean))
            if constant is None
            else _share_against(left_mean, constant)
        )
    else:
        effect = _paired(_difference(left_mean, right_mean))
    both = ~np.isnan(left_mean + right_mean)
    if both.any() and quantity.reduction != "steps_to":
        facts["left"] = float(left_mean[both].mean())
        facts["right"] = float(right_mean[both].mean())
    left_out = len(both) - effect.n
    if left_out:
        notes.append(
            f"{left_out} of {len(both)} pairs left out, diverged or unfinished"
        )
    p, lean = _lean(claim, effect)
    if effect.n < MIN_SEEDS:
        notes.append(f"n = {effect.n}, and a test needs {MIN_SEEDS} pairs")
    elif not _enough(effect, len(both)):
        p = np.nan
        notes.append("too many of them for a test")
    elif censored and claim.relation == "same" and lean == SUPPORTED:
        p = np.nan
        notes.append("a lower bound cannot show that they are the same")
    elif effect.exact:
        notes.append(effect.exact)
    return Verdict(
        claim=claim,
        verdict=lean,
        reason="; ".join(notes),
        effect=effect.mean,
        low=effect.low,
        high=effect.high,
        n=effect.n,
        left_out=left_out,
        p=p,
        **facts,
    )


def _members(
    results: Results, quantity: Quantity, trials: Sequence[Trial]
) -> np.ndarray:
    """The quantity of every member, (trials, S)."""
    rows = [reduce_members(results, quantity, t.index) for t in trials]
    return np.array(rows).reshape(len(trials), results.study.num_seeds)


def _share(part: np.ndarray, whole: np.ndarray) -> float:
    return float(part.sum() / whole.sum()) if whole.any() else np.nan


def _unit(quantity: Quantity) -> str:
    units = {"steps_to": "updates", "steps": "updates", "seconds": "s/epoch"}
    loss = "nats" if quantity.metric.endswith("loss") else ""
    return units.get(quantity.reduction, loss)


def _compare_seconds(
    results: Results,
    claim: Claim,
    left_trials: Sequence[Trial],
    right_trials: Sequence[Trial],
    constant: float | None,
) -> Verdict:
    left_cohorts = sorted({results.cohort(t.index)["index"] for t in left_trials})
    right_cohorts = sorted({results.cohort(t.index)["index"] for t in right_trials})
    if set(left_cohorts) & set(right_cohorts):
        reason = "both sides train in one compiled program, at the same speed"
        return Verdict(claim, NOT_RESOLVED, reason, unit="s/epoch")
    left = [seconds_per_epoch(results, c) for c in left_cohorts]
    right = [seconds_per_epoch(results, c) for c in right_cohorts]
    if not all(len(s) for s in (*left, *right)):
        return Verdict(claim, NOT_TESTED, "no segment was timed", unit="s/epoch")
    left_mean = float(np.mean([s.mean() for s in left]))
    if constant is None:
        right_mean = float(np.mean([s.mean() for s in right]))
    else:
        right_mean = constant
    effect = _welch(left_mean - right_mean, left, right)
    p, lean = _lean(claim, effect)
    return Verdict(
        claim=claim,
        verdict=lean,
        reason="" if p == p else f"fewer than {MIN_SEEDS} segments, or no spread",
        unit="s/epoch",
        effect=effect.mean,
        low=effect.low,
        high=effect.high,
        n=effect.n,
        p=p,
        left=left_mean,
        right=right_mean,
    )


def _untestable(sign: int, bound: float) -> float:
    """The tail of an effect of which nothing can be said."""
    return np.nan


@dataclasses.dataclass(frozen=True)
class _Effect:
    """An estimate and how to test it.

    `tail(sign, bound)` is the one-sided p-value of the effect lying above (sign 1) or
    below (sign -1) the bound. `exact` says in words that a test without t was made.
    """

    mean: float
    low: float = np.nan
    high: float = np.nan
    n: int = 0
    tail: Callable[[int, float], float] = _untestable
    exact: str = ""


def _difference(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Left minus right, exactly 0 where they differ by rounding alone."""
    return np.where(np.isclose(left, right, rtol=1e-9, atol=1e-12), 0.0, left - right)


def _enough(effect: _Effect, num_pairs: int) -> bool:
    return effect.n >= MIN_SEEDS and num_pairs - effect.n <= MAX_LEFT_OUT * num_pairs


def _student(mean: float, error: float, freedom: float, n: int) -> _Effect:
    half = float(special.stdtrit(freedom, (1 + LEVEL) / 2)) * error

    def tail(sign: int, bound: float) -> float:
        return float(special.stdtr(freedom, -sign * (mean - bound) / error))

    return _Effect(mean, mean - half, mean + half, n, tail)


def _paired(differences: np.ndarray) -> _Effect:
    """The mean of paired differences (S,), NaN ones left out.

    Equal differences have no spread: t would be infinite and p zero whatever n is, so
    the sign test decides: 8 of 8 in one direction have p = 0.008.
    """
    d = differences[~np.isnan(differences)]
    if len(d) < MIN_SEEDS:
        return _Effect(float(d.mean()) if len(d) else np.nan, n=len(d))
    if np.ptp(d) <= 1e-9 * np.abs(d).max():
        return _Effect(
            mean=float(d.mean()),
            n=len(d),
            tail=lambda sign, bound: _sign_tail(sign * (d - bound)),
            exact=f"all {len(d)} differences are equal: sign test",
        )
    error = float(d.std(ddof=1)) / math.sqrt(len(d))
    return _student(float(d.mean()), error, len(d) - 1.0, len(d))


def _paired_p(differences: np.ndarray) -> np.ndarray:
    """Two-sided p-values (P,) of `_paired` for each row of differences (P, S).

    NaN where too few pairs have a value. Student's t for all rows at once: 120 trials
    make 7,140 pairs.
    """
    n = np.count_nonzero(~np.isnan(differences), axis=1)
    enough = (n >= MIN_SEEDS) & (
        differences.shape[1] - n <= MAX_LEFT_OUT * differences.shape[1]
    )
    p = np.full(len(differences), np.nan)
    d, n = differences[enough], n[enough]
    spread = np.nanmax(d, axis=1) - np.nanmin(d, axis=1)
    flat = spread <= 1e-9 * np.nanmax(np.abs(d), axis=1)
    error = np.nanstd(d, axis=1, ddof=1) / np.sqrt(n)
    t = np.nanmean(d, axis=1) / np.where(flat, np.nan, error)
    p[enough] = 2 * special.stdtr(n - 1.0, -np.abs(t))
    for row in np.flatnonzero(enough)[flat]:
        p[row] = _two_sided(_paired(differences[row]))
    return p


def _sign_tail(d: np.ndarray) -> float:
    """P-value of so many positive values, were both signs as likely; zeros drop out.

    On differences of binary values this is McNemar's exact test.
    """
    positive, n = np.count_nonzero(d > 0), np.count_nonzero(d)
    return float(special.bdtrc(positive - 1, n, 0.5)) if positive else 1.0


def _paired_shares(differences: np.ndarray) -> _Effect:
    """The difference of two paired shares, from differences in [-1, 1].

    The interval and the tests against a margin are Wald's with half a pair added to
    each of the four cells: unlike t they keep their width when all pairs agree.

    Source: Agresti, A. and Min, Y. (2005). Simple improved confidence intervals for
    comparing matched proportions. Statistics in Medicine 24, 729.
    """
    d = differences[~np.isnan(differences)]
    if len(d) < MIN_SEEDS:
        return _Effect(float(d.mean()) if len(d) else np.nan, n=len(d))
    n = len(d) + 2
    centre = d.sum() / n
    error = math.sqrt(((d**2).sum() + 1 - n * centre**2) / n) / math.sqrt(n)
    half = special.ndtri((1 + LEVEL) / 2) * error

    def tail(sign: int, bound: float) -> float:
        if bound == 0.0:
            return _sign_tail(sign * d)
        return float(special.ndtr(-sign * (centre - bound) / error))

    low, high = max(-1.0, centre - half), min(1.0, centre + half)
    return _Effect(float(d.mean()), low, high, len(d), tail, "exact McNemar test")


def _share_against(values: np.ndarray, constant: float) -> _Effect:
    """A share against a number: exact binomial test, Clopper and Pearson's interval.

    Averages of several trials are no counts: they are compared like other means.
    """
    x = values[~np.isnan(values)]
    if len(x) < MIN_SEEDS or not np.isin(x, (0.0, 1.0)).all():
        return _paired(_difference(values, np.full_like(values, constant)))
    n, k = len(x), int(x.sum())
    outside = (1 - LEVEL) / 2
    low = float(special.betaincinv(k, n - k + 1, outside)) if k else 0.0
    high = float(special.betaincinv(k + 1, n - k, 1 - outside)) if k < n else 1.0

    def tail(sign: int, bound: float) -> float:
        # sign * (X - k) >= 0: at least, or at most, as many as were counted.
        share = min(max(constant + bound, 0.0), 1.0)
        at_most = float(special.bdtr(k, n, share))
        at_least = float(special.bdtrc(k - 1, n, share)) if k else 1.0
        return at_least if sign > 0 else at_most

    return _Effect(
        k / n - constant, low - constant, high - constant, n, tail, "binomial test"
    )


def _welch(
    effect: float, left: Sequence[np.ndarray], right: Sequence[np.ndarray]
) -> _Effect:
    """A difference of two sides, each the mean of its samples' means (or a number).

    Source: Welch, B. L. (1947). The generalization of "Student's" problem when several
    different population variances are involved. Biometrika 34, 28.
    """
    sides = [(len(side), sample) for side in (left, right) for sample in side]
    sizes = np.array([len(sample) for _, sample in sides])
    if sizes.min() < MIN_SEEDS:
        return _Effect(effect, n=int(sizes.sum()))
    variances = np.array([s.var(ddof=1) / len(s) / count**2 for count, s in sides])
    if not variances.any():
        return _Effect(effect, n=int(sizes.sum()))
    freedom = variances.sum() ** 2 / (variances**2 / (sizes - 1)).sum()
    error = math.sqrt(variances.sum())
    return _student(effect, error, float(freedom), int(sizes.sum()))


def _two_sided(effect: _Effect) -> float:
    smaller = np.minimum(effect.tail(1, 0.0), effect.tail(-1, 0.0))
    return float(np.minimum(1.0, 2 * smaller))


def _lean(claim: Claim, effect: _Effect) -> tuple[float, str]:
    """The p-value of the claim's better direction, and the verdict it would give."""
    if claim.relation == "same":
        margin = claim.margin
        inside = np.maximum(effect.tail(1, -margin), effect.tail(-1, margin))
        outside = 2 * np.minimum(effect.tail(1, margin), effect.tail(-1, -margin))
        if outside < inside:
            return float(outside), CONTRADICTED
        return float(inside), SUPPORTED
    above, below = effect.tail(1, 0.0), effect.tail(-1, 0.0)
    claimed, opposite = (
        (above, below) if claim.relation == "greater" else (below, above)
    )
    return _two_sided(effect), SUPPORTED if claimed < opposite else CONTRADICTED
