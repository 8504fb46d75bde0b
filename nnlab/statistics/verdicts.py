# SPDX-License-Identifier: Apache-2.0
"""What one claim compares and finds: effects between trials, paired by seed.

`nnlab.statistics.judging` then decides all claims of a study together.
"""

import dataclasses
import itertools
import math
import types
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nnlab.results import DIVERGED
from nnlab.results.instants import unmeasured
from nnlab.statistics.effects import (
    Effect,
    against_number,
    difference,
    is_enough,
    least_p,
    ordered,
    paired,
    paired_shares,
    scaled,
    share_against,
    signs,
    welch,
)
from nnlab.statistics.examples import SEEDS, widened
from nnlab.statistics.intervals import MIN_SEEDS
from nnlab.statistics.leaning import chances, lean
from nnlab.statistics.members import is_accuracy, is_score
from nnlab.statistics.ranking import parting
from nnlab.statistics.targets import censored_median
from nnlab.study import (
    COMPARABLE,
    DIFFERENCE,
    ORDER,
    RATIO,
    Claim,
    Quantity,
    Trial,
)
from nnlab.study.claims import AT_CHANCE, Right
from nnlab.study.fitting import meant

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
      scale: what tells the sides apart. "difference": the mean of left minus right over
        the pairs. "ratio": of norms, losses, times and steps, the geometric mean of
        left / right. "order": which is larger, where such a value is 0, or a target
        was not reached in the shorter training.
      effect: on that scale; NaN for an order.
      low, high: interval of the effect, adjusted like `p_holm`: without 0 (a ratio:
        without 1) where, and only where, a difference is significant. NaN below 3
        pairs, without spread, and for an order.
      n: pairs (seeds with a value on both sides), or segments for seconds.
      greater, less: of an order, in how many pairs left is more, and less, than right.
      left_out: pairs without a value because a side diverged or did not finish.
      p: two-sided p-value; for "same" the larger of two one-sided ones. NaN if no test
        was made.
      p_holm: `p` adjusted over the study's tested claims and by `ranking.correction`;
        significant up to 0.05.
      p_seeds: the same over seeds alone, on these examples.
      over: of what else `p` speaks, see `examples.widened`.
      left, right: means over the n pairs (of a ratio geometric, of an order medians),
        or the number on the right; for steps to a target, medians over all networks,
        infinity meaning not reached.
      left_reached, right_reached: shares that reach the target; else NaN.
      left_trial, right_trial: index of a side's best of several trials; else None.
      detectable: of what is not significant, the smallest true difference (a ratio: the
        ratio) that would have been in 80 % of such runs; else NaN.
      enough_seeds: of what is not significant, the seeds that decide the claim if what
        was measured is true; None if that is not known, or no number of seeds does.
      enough_examples: in that last case, how many examples do with twice the seeds.
      asked_after: whether the claim is none of the run's record: it was made when the
        results could be seen.
    """

    claim: Claim
    verdict: str
    reason: str = ""
    unit: str = ""
    scale: str = DIFFERENCE
    effect: float = np.nan
    low: float = np.nan
    high: float = np.nan
    n: int = 0
    greater: int = 0
    less: int = 0
    left_out: int = 0
    p: float = np.nan
    p_holm: float = np.nan
    p_seeds: float = np.nan
    over: str = SEEDS
    left: float = np.nan
    right: float = np.nan
    left_reached: float = np.nan
    right_reached: float = np.nan
    left_trial: int | None = None
    right_trial: int | None = None
    detectable: float = np.nan
    enough_seeds: int | None = None
    enough_examples: int | None = None
    asked_after: bool = False


@dataclasses.dataclass(frozen=True)
class Draft:
    """A verdict by where the data lean, before corrections decide.

    Attributes:
      verdict: with what is known of one claim alone; its p-values are not adjusted.
      effect: what was tested.
      searched: by how much p is multiplied, as the best of so many was chosen.
      least: what p is at least by the counts of lost networks; 0 if they do not differ.
      together: likewise, for all claims and trials of the study at once; infinity if
        it is not known.
      share: of its networks that one side lost more than the other.
      own: p-values of the claim itself, whatever its margin, and over seeds alone.
    """

    verdict: Verdict
    effect: Effect | None = None
    searched: int = 1
    least: float = 0.0
    together: float = math.inf
    share: float = 0.0
    own: tuple[float, float] = (math.nan, math.nan)


def drafts(findings: "Findings") -> list[Draft]:
    """Returns where the data lean in each of the study's claims."""
    return [_examine(findings, claim) for claim in findings.results.study.claims]


class _UntestedError(Exception):
    """The reason why a claim is not tested in this run."""


@dataclasses.dataclass(frozen=True)
class _Side:
    """The trials that stand for a side of a claim, or its number.

    Of several trials the mean counts; `searched` is from how many the best was chosen.
    """

    name: str
    quantity: Quantity
    trials: tuple[Trial, ...] = ()
    number: float = np.nan
    searched: int = 1
    note: str = ""


_Sides = tuple[_Side, _Side]


def _examine(findings: "Findings", claim: Claim) -> Draft:
    """Drafts a verdict by where the data lean; `judging` decides by significance."""
    is_time = claim.quantity.reduction == "seconds"
    compare = _compare_seconds if is_time else _compare_members
    sides: Sequence[_Side] = ()
    try:
        sides = left, right = _sides(findings, claim)
        draft = compare(findings, claim, (left, right))
    except _UntestedError as error:
        draft = Draft(Verdict(claim, NOT_TESTED, str(error)))
    verdict = draft.verdict
    notes = [side.note for side in sides]
    searched = max((side.searched for side in sides), default=1)
    chosen: dict[str, Any] = {
        f"{side.name}_trial": side.trials[0].index
        for side in sides
        if side.searched > 1
    }
    if searched > 1 and not math.isnan(verdict.p):
        notes.append(f"p times {searched}, since the best of {searched} was chosen")
    reason = "; ".join(filter(None, (*notes, verdict.reason)))
    verdict = dataclasses.replace(verdict, reason=reason, **chosen)
    return dataclasses.replace(draft, verdict=verdict, searched=searched)


def _sides(findings: "Findings", claim: Claim) -> _Sides:
    results, quantity, names = findings.results, claim.quantity, ("left", "right")
    needed = [of.metric for of, _ in claim.compared]
    needed += [results.test_score] * (quantity.reduction == "drop_from_test")
    for column in filter(None, needed):
        if column not in results.metrics:
            raise _UntestedError(f"the curves have no column {column}")
    left, right, *beside = (
        _side(findings, claim, name, of, side)
        for name, (of, side) in zip((*names, *["side beside"] * 2), claim.compared)
    )
    if claim.right == "chance":
        if not is_score(quantity.metric) or quantity.reduction not in COMPARABLE:
            raise _UntestedError("only an accuracy or r2 compares with chance")
        shares = [results.dataset(t.index)["chance"] for t in left.trials]
        right = dataclasses.replace(right, number=float(np.mean(shares)))
    if not beside:
        return left, right
    # (left - right) - (other - last) is twice a difference of the means of two sides.
    other, last = beside
    if len({len(side.trials) for side in (left, right, other, last)}) > 1:
        raise _UntestedError("its four sides are not equally many trials")
    return (
        dataclasses.replace(left, trials=left.trials + last.trials),
        dataclasses.replace(right, trials=right.trials + other.trials),
    )


def _side(
    findings: "Findings", claim: Claim, name: str, quantity: Quantity, of: Right
) -> _Side:
    if not isinstance(of, Mapping):
        return _Side(name, quantity, number=math.nan if of == "chance" else float(of))
    trials = meant(findings.results.trials, of)
    ran = tuple(t for t in trials if findings.results.has_run(t.index))
    if not ran:
        count = "matching it has run" if trials else "matches it"
        raise _UntestedError(f"no trial on the {name} {count}")
    some = f"{len(ran)} of the {name}'s {len(trials)} trials ran"
    side = _Side(name, quantity, ran, note=some if len(ran) < len(trials) else "")
    if claim.among == "mean" or len(ran) == 1:
        return side
    best = findings.best_of(t.index for t in ran)
    if best is None:
        reason = f"no trial on the {name} kept half of its networks to the end"
        raise _UntestedError(reason)
    best_trial = (findings.results.trials[best],)
    return dataclasses.replace(side, trials=best_trial, searched=len(ran))


def _compare_members(findings: "Findings", claim: Claim, sides: _Sides) -> Draft:
    quantity, right = claim.quantity, sides[1]
    trials = [trial for side in sides for trial in side.trials]
    seeds = min(trial.num_seeds for trial in trials)
    values = [_values(findings, side, seeds) for side in sides]
    facts: dict[str, Any] = {"unit": _unit(findings, quantity)}
    notes: list[str] = []
    steps, horizon = quantity.reduction == "steps_to", math.inf
    if steps and not claim.beside:
        facts["left"], facts["right"] = map(censored_median, values)
        facts["left_reached"] = _share_reached(values[0])
        if right.trials:
            facts["right_reached"] = _share_reached(values[1])
    if steps:  # beyond the shorter training one side is unknown
        programs = [findings.results.program(t.index) for t in trials]
        horizon = min(program["num_steps"] for program in programs)
    if censored := any((side > horizon).any() for side in values):
        notes.append(f"steps count up to {horizon}")
    values = [np.minimum(side, horizon) for side in values]
    scale = _scale(claim, values, censored)
    if claim.beside and scale == ORDER:
        raise _UntestedError("what is 0, or was not reached, has no difference")
    means, d = _differences(values, scale)
    both = ~np.isnan(d)
    plain = _effect(quantity, d, means, right, scale)
    of_sides = [
        (side.quantity, [trial.index for trial in side.trials])
        for side in sides
        if side.trials
    ]
    effect, over = widened(plain, d, of_sides, findings.results, right.number)
    if claim.beside:
        plain, effect = scaled(plain, 2.0), scaled(effect, 2.0)
        means = _gains(values, scale)
    counts: dict[str, Any] = {}
    if right.trials and not steps and not quantity.reduction.endswith("_share"):
        counts = _counts(findings, sides, both)
    if both.any() and (claim.beside or not steps):
        middle = np.median if scale == ORDER else np.mean
        facts["left"], facts["right"] = (
            shown(float(middle(mean[both])), scale) for mean in means
        )
    if left_out := len(both) - effect.n:
        notes.append(
            f"{left_out} of {len(both)} pairs left out, diverged or unfinished"
        )
    p, leans = lean(claim, effect)
    if counts and counts["least"] >= p:
        notes.append("so many stay at chance that their counts decide")
    untested = ""
    if effect.n < MIN_SEEDS:
        notes.append(f"n = {effect.n}, and a test needs {MIN_SEEDS} pairs")
    elif not is_enough(effect, len(both)):
        untested = "too many of them for a test"
    elif censored and claim.relation == "same" and leans:
        untested = "a lower bound cannot show that they are the same"
    elif effect.exact:
        notes.append(effect.exact)
    notes += filter(None, [untested])
    if scale == ORDER:
        facts |= {"greater": int((d > 0).sum()), "less": int((d < 0).sum())}
    facts |= {"left_out": left_out, "over": over, "reason": "; ".join(notes)}
    return _draft(claim, (effect, plain), facts, not untested, counts)


def _scale(claim: Claim, values: Sequence[np.ndarray], censored: bool = False) -> str:
    """Returns on which scale the sides are told apart, from their values.

    What spreads over factors is compared by logarithms, or, where a value is 0 or was
    not reached, by its order. A margin between two sides is a difference.
    """
    known = np.concatenate([side.ravel() for side in values])
    margin = claim.relation == "same" and isinstance(claim.right, Mapping)
    if (
        margin
        or any(of.scale != RATIO for of, _ in claim.compared)
        or (known < 0).any()
    ):
        return DIFFERENCE
    if not censored and not ((known == 0) | np.isinf(known)).any():
        return RATIO
    return DIFFERENCE if claim.relation == "same" else ORDER


def _differences(
    values: Sequence[np.ndarray], scale: str
) -> tuple[list[np.ndarray], np.ndarray]:
    """Returns the means of each side's trials, seed by seed, and their differences.

    Logarithms of both where the scale takes them, which may be infinite.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        taken = values if scale == DIFFERENCE else [np.log(side) for side in values]
        left, right = (side.mean(axis=0) for side in taken)
        return [left, right], difference(left, right)


def _gains(values: Sequence[np.ndarray], scale: str) -> list[np.ndarray]:
    """Returns both differences that an interaction compares, each (S,)."""
    half = len(values[0]) // 2
    (one, last), (two, other) = ((side[:half], side[half:]) for side in values)
    return [_differences(pair, scale)[1] for pair in ((one, two), (other, last))]


def shown(value: float, scale: str) -> float:
    """Returns a number of a scale as readers see it."""
    with np.errstate(over="ignore"):  # an interval may end beyond all numbers
        return value if scale == DIFFERENCE else float(np.exp(value))


def _values(findings: "Findings", side: _Side, seeds: int) -> np.ndarray:
    """Returns the values of a side, (trials, seeds); a number is repeated."""
    if not side.trials:
        return np.full((1, seeds), side.number)
    values = _members(findings, side.quantity, side, seeds)
    for trial, of_trial in zip(side.trials, values):
        epochs = findings.dropped_after(trial.index)
        if epochs is not None and np.isnan(of_trial).any():
            raise _UntestedError(f"{trial.label} was dropped at epoch {epochs:g}")
        if reason := unmeasured(findings.results, trial.index, side.quantity):
            raise _UntestedError(reason)
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
    d: np.ndarray,
    means: Sequence[np.ndarray],
    right: _Side,
    scale: str,
) -> Effect:
    """Returns the effect over seeds alone, of differences and means of sides, (S,).

    Intervals of accuracies and shares stay where these can be.
    """
    if scale == ORDER:
        return ordered(*means) if right.trials else signs(d)
    share = quantity.reduction.endswith("_share")
    limits = (-np.inf, np.inf)
    if right.trials:
        effect = paired_shares(*means) if share else paired(d)
        limits = (-1.0, 1.0)
    else:
        effect = share_against(means[0], right.number) if share else against_number(d)
        limits = (-right.number, 1.0 - right.number)
    accuracy = is_accuracy(quantity.metric) and quantity.reduction in COMPARABLE
    if share or accuracy:
        effect = dataclasses.replace(effect, limits=limits)
    return dataclasses.replace(effect, scale=scale)


def _counts(findings: "Findings", sides: _Sides, both: np.ndarray) -> dict[str, Any]:
    """Returns what p is at least where one side lost more of the pairs in `both`.

    Lost is what ends at chance. These are fields of a draft.
    """
    lost = (_members(findings, AT_CHANCE, side, len(both)) for side in sides)
    left, right = (np.nan_to_num(side).mean(axis=0)[both] for side in lost)
    n, more = int(both.sum()), abs(float((left - right).sum()))
    least = least_p(more, n)
    if not least:
        return {}
    counts = {"least": least, "share": more / n}
    if n < len(both):
        return counts
    return counts | {"together": parting(findings.results, n)[math.ceil(more - 1e-9)]}


def _draft(
    claim: Claim,
    effects: tuple[Effect, Effect],
    facts: Mapping[str, Any],
    is_tested: bool = True,
    counts: Mapping[str, Any] = types.MappingProxyType({}),
) -> Draft:
    """Drafts what an effect, and that over seeds alone, say of a claim."""
    effect, (_, leans) = effects[0], lean(claim, effects[0])
    p = [lean(claim, e)[0] if is_tested else math.nan for e in effects]
    own = [chances(claim, e)[0] if is_tested else math.nan for e in effects]
    size = shown(effect.mean, effect.scale)
    verdict = Verdict(
        claim,
        SUPPORTED if leans else CONTRADICTED,
        scale=effect.scale,
        effect=size,
        n=effect.n,
        p=p[0],
        p_seeds=p[1],
        **facts,
    )
    return Draft(verdict, effect, own=(own[0], own[1]), **counts)


def _share_reached(steps: np.ndarray) -> float:
    known = steps[~np.isnan(steps)]
    return float(np.isfinite(known).mean()) if known.size else np.nan


def _unit(findings: "Findings", quantity: Quantity) -> str:
    units = {"steps_to": "updates", "steps": "updates", "seconds": "s/epoch"}
    is_loss = quantity.metric.endswith("loss") and findings.results.in_nats
    loss = "nats" if is_loss else ""
    return units.get(quantity.reduction, loss)


def _compare_seconds(findings: "Findings", claim: Claim, sides: _Sides) -> Draft:
    program = findings.results.program
    programs = [sorted({program(t.index)["index"] for t in s.trials}) for s in sides]
    unit = _unit(findings, claim.quantity)
    if set(programs[0]) & set(programs[1]):
        reason = "both sides train in one compiled program, at the same speed"
        return Draft(Verdict(claim, NOT_TESTABLE, reason, unit=unit))
    times = [[findings.seconds_per_epoch(p) for p in of] for of in programs]
    if not all(len(segments) for side in times for segments in side):
        raise _UntestedError("no segment was timed")
    numbers = [side.number for side in sides]
    known = [np.array([*itertools.chain(*of), n]) for of, n in zip(times, numbers)]
    scale = RATIO if _scale(claim, known) == RATIO else DIFFERENCE
    if scale == RATIO:
        times = [[np.log(segments) for segments in of] for of in times]
        numbers = [float(np.log(n)) for n in numbers]
    means = [[s.mean() for s in of] or n for of, n in zip(times, numbers)]
    left, right = (float(np.mean(of)) for of in means)
    effect = dataclasses.replace(welch(left - right, *times), scale=scale)
    facts = {"unit": unit, "left": shown(left, scale), "right": shown(right, scale)}
    if math.isnan(lean(claim, effect)[0]):
        few = min(len(segments) for side in times for segments in side) < MIN_SEEDS
        reason = f"fewer than {MIN_SEEDS} segments" if few else "no spread"
        facts["reason"] = f"{reason}, so nothing is tested"
    return _draft(claim, (effect, effect), facts)
