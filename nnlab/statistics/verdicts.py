# SPDX-License-Identifier: Apache-2.0
"""Verdicts on a study's claims: effects between trials, paired by seed."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nnlab.results import DIVERGED, Results
from nnlab.statistics.effects import (
    MAX_LEFT_OUT,
    Effect,
    against_number,
    chance_of_parting,
    difference,
    holm,
    is_enough,
    paired,
    paired_shares,
    share_against,
    two_sided,
    welch,
)
from nnlab.statistics.intervals import LEVEL, MIN_SEEDS
from nnlab.statistics.members import (
    dropped_after,
    is_accuracy,
    reduce_members,
    seconds_per_epoch,
    status_counts,
)
from nnlab.statistics.ranking import best_trial, correction
from nnlab.statistics.targets import censored_median
from nnlab.study import Claim, Quantity, Trial

SUPPORTED, CONTRADICTED, NOT_RESOLVED, NOT_TESTED = VERDICTS = (
    "supported",
    "contradicted",
    "not resolved",
    "not tested in this run",
)


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
      p_holm: adjusted over the study's tested claims and for the comparison of trials
        in the same report, see `ranking.correction`; decides at 0.05.
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
    best, the one with the highest expected validation accuracy stands for them. A
    network that is lucky on validation data is so on test data, which flatters a side
    of many trials: the best of 7 equal ones is told from a single one in 11 % of 1,000
    simulations (8 seeds, validation and test accuracy one). So p is multiplied by the
    number of trials on the larger side. The interval does not hold the choice's own
    uncertainty.

    Where one side has left more than a quarter of the seeds more at chance (or, in
    steps to a target, short of it) than the other, p is at least
    `effects.chance_of_parting`. Against a number, t is corrected for skewness.

    Seconds are compared by program with Welch's test, its segments being the samples:
    they speak of this run on this device, not of other runs.
    """
    drafts = [_examine(results, claim) for claim in results.study.claims]
    adjusted = np.minimum(correction(results) * holm([d.p for d in drafts]), 1.0)
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
    searched = 1
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
            searched = max(searched, len(ran))
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
        is_accuracy(quantity.metric)
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
    if searched > 1 and not math.isnan(verdict.p):
        notes.append(f"p times {searched}, since the best of {searched} was chosen")
        chosen["p"] = float(np.minimum(searched * verdict.p, 1.0))
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
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
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
    # (trials of the side, the seeds that all have); a side without trials is a number,
    # repeated.
    seeds = min(t.num_seeds for t in (*left_trials, *right_trials))
    left = _members(results, quantity, left_trials)[:, :seeds]
    right = _members(results, claim.right_quantity or quantity, right_trials)
    right = right[:, :seeds]
    if constant is not None:
        right = np.full((1, seeds), constant)
    for name, values in (("left", left), ("right", right)):
        trials = left_trials if name == "left" else right_trials
        for trial, of_trial in zip(trials, values):
            epochs = dropped_after(results, trial.index)
            if epochs is not None and np.isnan(of_trial).any():
                reason = f"{trial.label} was dropped at epoch {epochs:g}"
                return Verdict(claim, NOT_TESTED, reason)
        diverged = any(status_counts(results, t.index)[DIVERGED] for t in trials)
        if np.isnan(values).all() and not diverged:
            return Verdict(
                claim, NOT_TESTED, f"no member on the {name} has a value yet"
            )
    facts: dict[str, Any] = {"unit": _unit(quantity)}
    notes = []
    censored = False
    lost = (
        _at_chance(results, left_trials)[:, :seeds],
        _at_chance(results, right_trials)[:, :seeds],
    )
    if quantity.reduction == "steps_to":
        facts |= {"left": censored_median(left), "right": censored_median(right)}
        facts["left_reached"] = _share(np.isfinite(left), ~np.isnan(left))
        if constant is None:
            facts["right_reached"] = _share(np.isfinite(right), ~np.isnan(right))
        # Beyond the shorter training nothing is known of one of the sides.
        horizon = min(
            results.program(t.index)["num_steps"] for t in (*left_trials, *right_trials)
        )
        censored = bool(np.any(left > horizon) or np.any(right > horizon))
        lost = left > horizon, right > horizon
        left, right = np.minimum(left, horizon), np.minimum(right, horizon)
        if censored:
            notes.append(
                f"steps count up to {horizon}, so the effect is a lower bound in size"
            )
    left_mean, right_mean = left.mean(axis=0), right.mean(axis=0)
    d = difference(left_mean, right_mean)
    share = quantity.reduction.endswith("_share")
    parting = 0.0
    if constant is not None:
        effect = share_against(left_mean, constant) if share else against_number(d)
    elif share:
        effect = paired_shares(d)
    else:
        effect = paired(d)
        more = (lost[0].mean(axis=0) - lost[1].mean(axis=0))[~np.isnan(d)]
        if abs(more.sum()) > MAX_LEFT_OUT * len(more):
            parting = chance_of_parting(float(more.sum()), len(more))
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
    if parting > p:
        p = parting
        notes.append(
            "so many end at chance, or short of the target, that counts decide"
        )
    if effect.n < MIN_SEEDS:
        notes.append(f"n = {effect.n}, and a test needs {MIN_SEEDS} pairs")
    elif not is_enough(effect, len(both)):
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


def _at_chance(results: Results, trials: Sequence[Trial]) -> np.ndarray:
    """Which members end at chance, float (trials, S)."""
    share = Quantity(reduction="at_chance_share")
    return np.nan_to_num(_members(results, share, trials))


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
    left_programs = sorted({results.program(t.index)["index"] for t in left_trials})
    right_programs = sorted({results.program(t.index)["index"] for t in right_trials})
    if set(left_programs) & set(right_programs):
        reason = "both sides train in one compiled program, at the same speed"
        return Verdict(claim, NOT_RESOLVED, reason, unit="s/epoch")
    left = [seconds_per_epoch(results, c) for c in left_programs]
    right = [seconds_per_epoch(results, c) for c in right_programs]
    if not all(len(s) for s in (*left, *right)):
        return Verdict(claim, NOT_TESTED, "no segment was timed", unit="s/epoch")
    left_mean = float(np.mean([s.mean() for s in left]))
    if constant is None:
        right_mean = float(np.mean([s.mean() for s in right]))
    else:
        right_mean = constant
    effect = welch(left_mean - right_mean, left, right)
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


def _lean(claim: Claim, effect: Effect) -> tuple[float, str]:
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
    return two_sided(effect), SUPPORTED if claimed < opposite else CONTRADICTED
