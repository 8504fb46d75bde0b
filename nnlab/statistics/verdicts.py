# SPDX-License-Identifier: Apache-2.0
"""Verdicts on a study's claims: effects between trials, paired by seed."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nnlab.results import DIVERGED, Results
from nnlab.statistics.effects import (
    Effect,
    against_number,
    difference,
    holm,
    is_enough,
    least_p,
    paired,
    paired_shares,
    share_against,
    two_sided,
    welch,
)
from nnlab.statistics.intervals import LEVEL, MIN_SEEDS
from nnlab.statistics.members import is_accuracy
from nnlab.statistics.ranking import correction
from nnlab.statistics.targets import censored_median
from nnlab.study import Claim, Quantity, Trial
from nnlab.study.claims import AT_CHANCE

if TYPE_CHECKING:
    from nnlab.statistics.findings import Findings

SUPPORTED, CONTRADICTED, NOT_SIGNIFICANT, NOT_TESTABLE, NOT_TESTED = VERDICTS = (
    "supported",
    "contradicted",
    "not significant",
    "not testable",
    "not tested in this run",
)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What the data say about a claim.

    Attributes:
      claim: the claim.
      verdict: one of `VERDICTS`; not testable is what has values but no p, such as two
        seeds.
      reason: what the reader must know to judge the numbers; may be "".
      unit: of the quantity: "" (a share or an accuracy), "nats", "updates", "s/epoch".
      effect: mean of left minus right over the pairs. For steps to a target, each side
        counts at most as long as the shorter training (a restricted mean): its sign is
        right and, where a side did not reach the target, its size a lower bound.
      low, high: 95 % interval of the effect; NaN below 3 pairs or without spread.
      n: pairs (seeds with a value on both sides), or segments for seconds.
      left_out: pairs without a value because a side diverged or did not finish.
      p: two-sided p-value; for "same" the larger of two one-sided ones. NaN if no test
        was made.
      p_holm: `p` adjusted over the study's tested claims and by `ranking.correction`;
        significant up to 0.05.
      left, right: means over the n pairs, or the number on the right; for steps to a
        target, medians over all networks, infinity meaning not reached.
      left_reached, right_reached: shares that reach the target; else NaN.
      left_trial, right_trial: index of a side's best of several trials; else None.
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


def judge(findings: "Findings") -> tuple[Verdict, ...]:
    """Returns verdicts on the study's claims, in their order.

    The effect is paired by seed and tested with Student's t, with an exact sign test
    where the differences have no spread, and for shares with McNemar's test (a binomial
    test against a number). Holm's adjustment runs over the tested claims. A claim is
    contradicted when the opposite is significant. "same" is supported by two one-sided
    tests against the margin, and contradicted by an effect beyond it. Where more than a
    quarter of the pairs have no value, nothing is decided: the survivors of a diverging
    trial flatter it.

    Several trials of a side are averaged seed by seed. In a claim about the best, the
    trial with the highest expected validation accuracy stands for its side. A network
    that is lucky on validation data tends to be lucky on test data, which favours a
    side of many trials: the best of 7 equal trials differs from a single one in 11 % of
    1,000 simulations (8 seeds, equal validation and test accuracy). So p is multiplied
    by the number of trials on the larger side. The interval leaves out the uncertainty
    of the choice.

    Where one side has more than a quarter of the seeds more at chance than the other
    (or, in steps to a target, short of it), p is at least `effects.chance_of_parting`.
    Against a number, t is corrected for skewness.

    Seconds are compared by program with Welch's test, with segments as samples: they
    speak about this run on this device, not about other runs.
    """
    drafts = [_examine(findings, claim) for claim in findings.results.study.claims]
    factor = correction(findings.results)
    adjusted = np.minimum(factor * holm([d.p for d in drafts]), 1.0)
    return tuple(_settle(d, float(p)) for d, p in zip(drafts, adjusted))


def _settle(draft: Verdict, p_holm: float) -> Verdict:
    verdict = draft.verdict
    if verdict != NOT_TESTED and not p_holm <= 1 - LEVEL:
        verdict = NOT_TESTABLE if math.isnan(p_holm) else NOT_SIGNIFICANT
    return dataclasses.replace(draft, verdict=verdict, p_holm=p_holm)


def matching(results: Results, selector: Mapping[str, Any]) -> list[Trial]:
    """Returns the trials that ``{path: value}`` on a side of a claim means."""

    def fits(trial: Trial) -> bool:
        known = {**trial.hyperparameters.flat(), "label": trial.label}
        return all(_equal(known[path], value) for path, value in selector.items())

    return list(filter(fits, results.trials))


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_equal, a, b))
    if isinstance(a, int | float) and isinstance(b, int | float):
        return math.isclose(a, b, rel_tol=1e-9)
    return a == b


class _UntestedError(Exception):
    """The reason why a claim is not tested in this run."""


@dataclasses.dataclass(frozen=True)
class _Side:
    """The trials that stand for a side of a claim.

    Attributes:
      name: "left" or "right".
      trials: one, or several whose mean counts; none for a number.
      number: NaN for trials.
      searched: from how many trials the best was chosen; 1 where none was chosen.
      note: what the reader must know; may be "".
    """

    name: str
    trials: tuple[Trial, ...] = ()
    number: float = np.nan
    searched: int = 1
    note: str = ""


_Sides = tuple[_Side, _Side]


def _examine(findings: "Findings", claim: Claim) -> Verdict:
    """Drafts a verdict by where the data lean; `_settle` decides by significance."""
    try:
        sides = _sides(findings, claim)
    except _UntestedError as error:
        return Verdict(claim, NOT_TESTED, str(error))
    seconds = claim.quantity.reduction == "seconds"
    try:
        verdict = (_compare_seconds if seconds else _compare_members)(
            findings, claim, sides
        )
    except _UntestedError as error:  # the notes of its sides still hold
        verdict = Verdict(claim, NOT_TESTED, str(error))
    notes = [side.note for side in sides]
    searched = max(side.searched for side in sides)
    chosen: dict[str, Any] = {
        f"{side.name}_trial": side.trials[0].index
        for side in sides
        if side.searched > 1
    }
    if searched > 1 and not math.isnan(verdict.p):
        notes.append(f"p times {searched}, since the best of {searched} was chosen")
        chosen["p"] = float(np.minimum(searched * verdict.p, 1.0))
    reason = "; ".join(filter(None, (*notes, verdict.reason)))
    return dataclasses.replace(verdict, reason=reason, **chosen)


def _sides(findings: "Findings", claim: Claim) -> _Sides:
    left, right = _side(findings, claim, "left"), _Side("right")
    if isinstance(claim.right, Mapping):
        right = _side(findings, claim, "right")
    quantity = claim.quantity
    needed = [quantity.metric, (claim.right_quantity or quantity).metric]
    needed += ["test_accuracy"] * (quantity.reduction == "drop_from_test")
    for column in filter(None, needed):
        if column not in findings.results.metrics:
            raise _UntestedError(f"the curves have no column {column}")
    if claim.right == "chance":
        levels = ("final", "best", "at_epoch")
        if not is_accuracy(quantity.metric) or quantity.reduction not in levels:
            raise _UntestedError("only an accuracy compares with chance")
        data = [findings.results.dataset(t.index) for t in left.trials]
        right = _Side("right", number=float(np.mean([d["chance"] for d in data])))
    elif not isinstance(claim.right, Mapping):
        right = _Side("right", number=float(claim.right))
    return left, right


def _side(findings: "Findings", claim: Claim, name: str) -> _Side:
    trials = matching(findings.results, getattr(claim, name))
    ran = tuple(t for t in trials if findings.results.has_run(t.index))
    if not ran:
        count = "matching it has run" if trials else "matches it"
        raise _UntestedError(f"no trial on the {name} {count}")
    some = f"{len(ran)} of the {name}'s {len(trials)} trials ran"
    side = _Side(name, ran, note=some if len(ran) < len(trials) else "")
    if claim.among == "mean" or len(ran) == 1:
        return side
    best = findings.best_of(t.index for t in ran)
    if best is None:
        reason = f"no trial on the {name} kept half of its networks to the end"
        raise _UntestedError(reason)
    best_trial = (findings.results.trials[best],)
    return dataclasses.replace(side, trials=best_trial, searched=len(ran))


def _compare_members(findings: "Findings", claim: Claim, sides: _Sides) -> Verdict:
    quantity, right = claim.quantity, sides[1]
    trials = [trial for side in sides for trial in side.trials]
    seeds = min(trial.num_seeds for trial in trials)
    quantities = quantity, claim.right_quantity or quantity
    values = [_values(findings, *of, seeds) for of in zip(quantities, sides)]
    facts: dict[str, Any] = {"unit": _unit(quantity)}
    notes: list[str] = []
    censored = False
    steps = quantity.reduction == "steps_to"
    if steps:
        facts["left"], facts["right"] = map(censored_median, values)
        facts["left_reached"] = _share_reached(values[0])
        if right.trials:
            facts["right_reached"] = _share_reached(values[1])
        # Beyond the shorter training one side is unknown.
        programs = [findings.results.program(t.index) for t in trials]
        horizon = min(program["num_steps"] for program in programs)
        lost = [side > horizon for side in values]
        values = [np.minimum(side, horizon) for side in values]
        if censored := any(side.any() for side in lost):
            notes.append(
                f"steps count up to {horizon}, so the effect is a lower bound in size"
            )
    else:
        lost = [_members(findings, AT_CHANCE, side, seeds) for side in sides]
    means = [side.mean(axis=0) for side in values]
    effect, least = _effect(quantity, means, lost, right)
    both = ~np.isnan(means[0] + means[1])
    if both.any() and not steps:
        facts["left"], facts["right"] = (float(mean[both].mean()) for mean in means)
    if left_out := len(both) - effect.n:
        notes.append(
            f"{left_out} of {len(both)} pairs left out, diverged or unfinished"
        )
    p, lean = _lean(claim, effect)
    if least > p:
        p = least
        notes.append(
            "so many stay at chance, or short of the target, that their counts decide"
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
    facts["left_out"] = left_out
    return _verdict(claim, lean, "; ".join(notes), effect, p, **facts)


def _values(
    findings: "Findings", quantity: Quantity, side: _Side, seeds: int
) -> np.ndarray:
    """Returns the values of a side, (trials, seeds); a number is repeated."""
    if not side.trials:
        return np.full((1, seeds), side.number)
    values = _members(findings, quantity, side, seeds)
    for trial, of_trial in zip(side.trials, values):
        epochs = findings.dropped_after(trial.index)
        if epochs is not None and np.isnan(of_trial).any():
            raise _UntestedError(f"{trial.label} was dropped at epoch {epochs:g}")
    diverged = any(findings.counts(t.index)[DIVERGED] for t in side.trials)
    if np.isnan(values).all() and not diverged:
        raise _UntestedError(f"no network on the {side.name} has a value yet")
    return values


def _members(
    findings: "Findings", quantity: Quantity, side: _Side, seeds: int
) -> np.ndarray:
    rows = [findings.reduced(t.index, quantity)[:seeds] for t in side.trials]
    return np.array(rows).reshape(len(rows), seeds)


def _effect(
    quantity: Quantity,
    means: Sequence[np.ndarray],
    lost: Sequence[np.ndarray],
    right: _Side,
) -> tuple[Effect, float]:
    """Returns the effect, and the least p that the numbers of lost networks allow.

    `means` are those of each side, seed by seed, (S,). `lost` says which networks,
    (trials, S), end at chance, or short of the target.
    """
    share = quantity.reduction.endswith("_share")
    d = difference(*means)
    if not right.trials:
        against = share_against(means[0], right.number) if share else against_number(d)
        return against, 0.0
    if share:
        return paired_shares(d), 0.0
    counts = [np.nan_to_num(side).mean(axis=0) for side in lost]
    more = (counts[0] - counts[1])[~np.isnan(d)]
    return paired(d), least_p(float(more.sum()), len(more))


def _verdict(
    claim: Claim, lean: str, reason: str, effect: Effect, p: float, **facts: Any
) -> Verdict:
    facts |= {"effect": effect.mean, "low": effect.low, "high": effect.high}
    return Verdict(claim, lean, reason, n=effect.n, p=p, **facts)


def _share_reached(steps: np.ndarray) -> float:
    known = steps[~np.isnan(steps)]
    return float(np.isfinite(known).mean()) if known.size else np.nan


def _unit(quantity: Quantity) -> str:
    units = {"steps_to": "updates", "steps": "updates", "seconds": "s/epoch"}
    loss = "nats" if quantity.metric.endswith("loss") else ""
    return units.get(quantity.reduction, loss)


def _compare_seconds(findings: "Findings", claim: Claim, sides: _Sides) -> Verdict:
    program = findings.results.program
    programs = [sorted({program(t.index)["index"] for t in s.trials}) for s in sides]
    unit = _unit(claim.quantity)
    if set(programs[0]) & set(programs[1]):
        reason = "both sides train in one compiled program, at the same speed"
        return Verdict(claim, NOT_TESTABLE, reason, unit=unit)
    times = [[findings.seconds_per_epoch(p) for p in of] for of in programs]
    if not all(len(segments) for side in times for segments in side):
        raise _UntestedError("no segment was timed")
    means = [[s.mean() for s in of] or side.number for of, side in zip(times, sides)]
    left, right = (float(np.mean(of)) for of in means)
    effect = welch(left - right, *times)
    p, lean = _lean(claim, effect)
    reason = "" if p == p else f"fewer than {MIN_SEEDS} segments, or no spread"
    return _verdict(claim, lean, reason, effect, p, unit=unit, left=left, right=right)


def _lean(claim: Claim, effect: Effect) -> tuple[float, str]:
    """Returns the p-value of the likelier direction, and the verdict it would give."""
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
