# SPDX-License-Identifier: Apache-2.0
"""Verdicts on a study's claims: effects between trials, paired by seed."""

import dataclasses
import itertools
import math
import sys
import types
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from nnlab.results import DIVERGED, Results
from nnlab.results.instants import unmeasured
from nnlab.statistics.effects import (
    Effect,
    adjusted_interval,
    against_number,
    difference,
    holm,
    holm_steps,
    is_enough,
    least_p,
    ordered,
    paired,
    paired_shares,
    scaled,
    seeds_to_part,
    share_against,
    signs,
    two_sided,
    welch,
)
from nnlab.statistics.examples import SEEDS, widened
from nnlab.statistics.intervals import LEVEL, MIN_SEEDS
from nnlab.statistics.members import is_accuracy
from nnlab.statistics.power import detectable, to_decide
from nnlab.statistics.ranking import correction, parting
from nnlab.statistics.targets import censored_median
from nnlab.study import (
    COMPARABLE,
    DIFFERENCE,
    ORDER,
    RATIO,
    Claim,
    Quantity,
    Study,
    Trial,
)
from nnlab.study.claims import AT_CHANCE
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


def judge(findings: "Findings") -> tuple[Verdict, ...]:
    """Returns verdicts on the study's claims, in their order.

    Final accuracies on validation and test sets, and drops between test sets, are
    tested for new seeds and new examples (`crossed`), or, where each seed draws its own
    split, for new data. All else, and runs that did not keep what each network said of
    each example, are tested for new seeds: by Student's t paired by seed, an exact sign
    test where the differences have no spread, and for shares an exact test of counts.

    What is positive and spreads over factors (`Quantity.scale`) is compared by its
    logarithms: one network's norm may be as large as all others' together, and t would
    see noise alone. Where a value is 0, or a target was not reached, an exact test of
    the ranks decides (`effects.ordered`), against a number one of the signs. "same"
    within a margin of other trials stays a difference; about a number, the geometric
    mean is compared with both ends.

    Holm's adjustment runs over the tested claims. A claim is contradicted when the
    opposite is significant, or, where it has a margin, when the effect is significantly
    smaller than that. At no true effect both would be wrong. "same" is supported by two
    one-sided tests against the margin, and contradicted by an effect beyond it. Where
    more than a quarter of the pairs have no value, nothing is decided: the survivors of
    a diverging trial flatter it.

    Several trials of a side are averaged seed by seed. In a claim about the best, the
    trial with the highest expected validation accuracy stands for its side. A network
    that is lucky on validation data tends to be lucky on test data, which favours a
    side of many trials: the best of 7 equal trials differs from a single one in 11 % of
    1,000 simulations (8 seeds, equal validation and test accuracy). So p is multiplied
    by the number of trials on the larger side. The interval leaves out the uncertainty
    of the choice.

    Where one side has more than a quarter of the seeds more at chance than the other, p
    is at least `effects.chance_of_parting`, adjusted like all p-values, or
    `ranking.parting`, which holds for all claims at once as it is. Against a number, t
    over seeds is corrected for skewness.

    Seconds are compared by program with Welch's test, with segments as samples: they
    speak about this run on this device, not about other runs.
    """
    found = drafts(findings)
    factor = correction(findings.results.study)
    tested, steps = _adjusted(found, [d.verdict.p for d in found], factor)
    alone, _ = _adjusted(found, [d.verdict.p_seeds for d in found], factor)
    first = factor * np.count_nonzero(~np.isnan(tested))
    each = zip(found, tested.tolist(), alone.tolist(), steps.tolist())
    settled = [_settle(*of, int(first)) for of in each]
    before = len(findings.results.config["study"]["claims"])
    return (*settled[:before], *map(_after, settled[before:]))


def _after(verdict: Verdict) -> Verdict:
    reason = "; ".join(filter(None, ("asked after the run", verdict.reason)))
    return dataclasses.replace(verdict, asked_after=True, reason=reason)


def drafts(findings: "Findings") -> list[Draft]:
    """Returns where the data lean in each of the study's claims."""
    return [_examine(findings, claim) for claim in findings.results.study.claims]


def adjusted_steps(findings: "Findings", of: Sequence[Draft]) -> list[float]:
    """Returns by what Holm's procedure multiplies the p-value of each draft here."""
    factor = correction(findings.results.study)
    _, steps = _adjusted(of, [d.verdict.p for d in of], factor)
    return [d.searched * step for d, step in zip(of, steps.tolist())]


def _adjusted(
    drafts: Sequence[Draft], p: Sequence[float], factor: int
) -> tuple[np.ndarray, np.ndarray]:
    """Adjusts p-values (m,), at least to those of the counts of lost networks.

    Returns:
      The p-values, and by how much each was multiplied beside its own search.
    """
    searched = np.array([d.searched for d in drafts])
    least = searched * np.array([d.least for d in drafts])
    together = np.array([d.together for d in drafts])
    plain = np.minimum(searched * np.array(p), 1.0)
    floored = np.minimum(np.maximum(plain, least), 1.0)
    at_once = np.where(least > 0, np.maximum(factor * holm(plain), together), np.inf)
    adjusted = np.minimum(np.minimum(factor * holm(floored), at_once), 1.0)
    return adjusted, factor * np.minimum(holm_steps(plain), holm_steps(floored))


def _settle(
    draft: Draft, p_holm: float, p_seeds: float, step: float, first: int
) -> Verdict:
    """Decides; p is multiplied by `step`, and by `first` if it is the smallest.

    What is significantly there is supported, even if it is significantly smaller than
    the margin.
    """
    found, factor = draft.verdict, draft.searched * step
    own, alone = (factor * max(p, draft.least) for p in draft.own)
    if found.verdict == CONTRADICTED and own <= 1 - LEVEL:
        found = dataclasses.replace(found, verdict=SUPPORTED, p=draft.own[0])
        p_holm, p_seeds = own, min(alone, 1.0)
    verdict, reason = found.verdict, found.reason
    if verdict != NOT_TESTED and not p_holm <= 1 - LEVEL:
        verdict = NOT_TESTABLE if math.isnan(p_holm) else NOT_SIGNIFICANT
    if draft.least and draft.least >= found.p and verdict == NOT_SIGNIFICANT:
        seeds = seeds_to_part(draft.share, first * draft.searched)
        reason += f"; {seeds} seeds that part like these would be significant"
    low = high = np.nan
    if draft.effect:
        other = bound(found.claim, draft.effect.scale)
        ends = adjusted_interval(draft.effect, factor, p_holm, other)
        low, high = (_shown(end, draft.effect.scale) for end in ends)
    more: dict[str, Any] = {}
    if draft.effect and verdict == NOT_SIGNIFICANT:
        more = _remedy(draft.effect, found.claim, factor)
    return dataclasses.replace(
        found,
        **more,
        verdict=verdict,
        reason=reason,
        low=low,
        high=high,
        p=float(np.minimum(draft.searched * np.maximum(found.p, draft.least), 1.0)),
        p_holm=p_holm,
        p_seeds=p_seeds,
    )


def _remedy(effect: Effect, claim: Claim, factor: float) -> dict[str, Any]:
    """Returns what a test that decided nothing could have told, and what would do."""
    least, size = bound(claim, effect.scale), abs(effect.mean)
    apart = size if claim.relation == "different" else effect.mean
    goal = max(size, abs(apart - least))
    if claim.relation == "same":
        goal = abs(size - claim.margin)
    seeds, examples = to_decide(effect, goal, factor, lambda e: lean(claim, e)[0])
    return {
        "detectable": _shown(detectable(effect, factor), effect.scale),
        "enough_seeds": seeds,
        "enough_examples": examples,
    }


def undecidable(study: Study) -> tuple[Claim, ...]:
    """Returns the claims that no outcome could decide at the study's seeds.

    Even the clearest outcome has a p-value above 0.05 there, if it comes first in
    Holm's procedure: shares of few networks take few values, and fewer than three seeds
    test nothing. All else can be as plain as it likes.

    >>> from nnlab.study.claims import DIVERGED, higher
    >>> some = higher("Half of them diverge", DIVERGED, {}, 0.5)
    >>> [len(undecidable(Study(claims=[some], num_seeds=n))) for n in (5, 6)]
    [1, 0]
    """
    factor = correction(study) * len(study.claims)
    return tuple(c for c in study.claims if factor * _least(study, c) > 1 - LEVEL)


def _least(study: Study, claim: Claim) -> float:
    """Returns the least p-value that a claim could have; infinity for none."""
    trials = [meant(study.trials(), side) for side in claim.sides]
    seeds = min((t.num_seeds for side in trials for t in side), default=0)
    is_share = claim.quantity.reduction.endswith("_share")
    if seeds < MIN_SEEDS or (is_share and claim.right == "chance"):
        return math.inf
    if not is_share:
        return 0.0
    counts = np.tri(seeds + 1, seeds, -1)  # of 0 to all networks
    if len(trials) > 1:
        none = np.zeros(seeds)
        pairs = [of for x in counts for of in ((x, none), (none, x))]
        effects = [paired_shares(*of) for of in pairs]
    else:
        number = cast(float, claim.right)
        effects = [share_against(x, number) for x in counts]
    searched = max(map(len, trials)) if claim.among == "best" else 1
    return searched * min(lean(claim, effect)[0] for effect in effects)


def matching(results: Results, selector: Mapping[str, Any]) -> list[Trial]:
    """Returns the trials that ``{path: value}`` on a side of a claim means."""
    return meant(results.trials, selector)


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


def _examine(findings: "Findings", claim: Claim) -> Draft:
    """Drafts a verdict by where the data lean; `_settle` decides by significance."""
    try:
        sides = _sides(findings, claim)
    except _UntestedError as error:
        return Draft(Verdict(claim, NOT_TESTED, str(error)))
    seconds = claim.quantity.reduction == "seconds"
    try:
        draft = (_compare_seconds if seconds else _compare_members)(
            findings, claim, sides
        )
    except _UntestedError as error:  # the notes of its sides still hold
        draft = Draft(Verdict(claim, NOT_TESTED, str(error)))
    verdict = draft.verdict
    notes = [side.note for side in sides]
    searched = max(side.searched for side in sides)
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
    left, right = _side(findings, claim, "left", claim.left), _Side("right")
    if isinstance(claim.right, Mapping):
        right = _side(findings, claim, "right", claim.right)
    quantity = claim.quantity
    needed = [quantity.metric, (claim.right_quantity or quantity).metric]
    needed += ["test_accuracy"] * (quantity.reduction == "drop_from_test")
    for column in filter(None, needed):
        if column not in findings.results.metrics:
            raise _UntestedError(f"the curves have no column {column}")
    if claim.right == "chance":
        if not is_accuracy(quantity.metric) or quantity.reduction not in COMPARABLE:
            raise _UntestedError("only an accuracy compares with chance")
        data = [findings.results.dataset(t.index) for t in left.trials]
        right = _Side("right", number=float(np.mean([d["chance"] for d in data])))
    elif not isinstance(claim.right, Mapping):
        right = _Side("right", number=float(claim.right))
    if not claim.beside:
        return left, right
    # (left - right) - (other - last) is twice a difference of the means of two sides.
    other, last = (_side(findings, claim, "side beside", of) for of in claim.beside)
    if len({len(side.trials) for side in (left, right, other, last)}) > 1:
        raise _UntestedError("its four sides are not equally many trials")
    return (
        dataclasses.replace(left, trials=left.trials + last.trials),
        dataclasses.replace(right, trials=right.trials + other.trials),
    )


def _side(
    findings: "Findings", claim: Claim, name: str, selector: Mapping[str, Any]
) -> _Side:
    trials = matching(findings.results, selector)
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


def _compare_members(findings: "Findings", claim: Claim, sides: _Sides) -> Draft:
    quantity, right = claim.quantity, sides[1]
    trials = [trial for side in sides for trial in side.trials]
    seeds = min(trial.num_seeds for trial in trials)
    quantities = quantity, claim.right_quantity or quantity
    values = [_values(findings, *of, seeds) for of in zip(quantities, sides)]
    facts: dict[str, Any] = {"unit": _unit(quantity)}
    notes: list[str] = []
    censored = False
    steps = quantity.reduction == "steps_to"
    if steps and not claim.beside:
        facts["left"], facts["right"] = map(censored_median, values)
        facts["left_reached"] = _share_reached(values[0])
        if right.trials:
            facts["right_reached"] = _share_reached(values[1])
    if steps:
        # Beyond the shorter training one side is unknown.
        programs = [findings.results.program(t.index) for t in trials]
        horizon = min(program["num_steps"] for program in programs)
        lost = [side > horizon for side in values]
        values = [np.minimum(side, horizon) for side in values]
        if censored := any(side.any() for side in lost):
            notes.append(f"steps count up to {horizon}")
    else:
        lost = [_members(findings, AT_CHANCE, side, seeds) for side in sides]
    scale = _scale(claim, values, censored)
    if claim.beside and scale == ORDER:
        raise _UntestedError("what is 0, or was not reached, has no difference")
    means, d = _differences(values, scale)
    both = ~np.isnan(d)
    more = _more_lost(lost, both) if right.trials else 0.0
    plain = _effect(quantity, d, means, right, scale)
    of_sides = [
        (of, tuple(t.index for t in side.trials))
        for of, side in zip(quantities, sides)
        if side.trials
    ]
    effect, over = widened(plain, d, of_sides, findings.results, right.number)
    if claim.beside:
        plain, effect = scaled(plain, 2.0), scaled(effect, 2.0)
        means = _gains(values, scale)
    counts: dict[str, Any] = {}
    if right.trials and not steps and not quantity.reduction.endswith("_share"):
        counts = _counts(findings, abs(more), both)
    if both.any() and (claim.beside or not steps):
        middle = np.median if scale == ORDER else np.mean
        facts["left"], facts["right"] = (
            _shown(float(middle(mean[both])), scale) for mean in means
        )
    if left_out := len(both) - effect.n:
        notes.append(
            f"{left_out} of {len(both)} pairs left out, diverged or unfinished"
        )
    p, leaning = lean(claim, effect)
    p_seeds, _ = lean(claim, plain)
    own = _own_p(claim, effect), _own_p(claim, plain)
    if counts and counts["least"] >= p:
        notes.append("so many stay at chance that their counts decide")
    untested = ""
    if effect.n < MIN_SEEDS:
        notes.append(f"n = {effect.n}, and a test needs {MIN_SEEDS} pairs")
    elif not is_enough(effect, len(both)):
        untested = "too many of them for a test"
    elif censored and claim.relation == "same" and leaning == SUPPORTED:
        untested = "a lower bound cannot show that they are the same"
    elif effect.exact:
        notes.append(effect.exact)
    if untested:
        p = p_seeds = np.nan
        own = np.nan, np.nan
        notes.append(untested)
    if scale == ORDER:
        facts |= {"greater": int((d > 0).sum()), "less": int((d < 0).sum())}
    facts |= {"left_out": left_out, "p_seeds": p_seeds, "over": over}
    draft = _draft(claim, leaning, "; ".join(notes), effect, p, counts, **facts)
    return dataclasses.replace(draft, own=own)


def _scale(claim: Claim, values: Sequence[np.ndarray], censored: bool = False) -> str:
    """Returns on which scale the sides are told apart, from their values.

    What spreads over factors is compared by logarithms, or, where a value is 0 or was
    not reached, by its order. A margin between two sides is a difference.
    """
    sides = (claim.quantity, claim.right_quantity or claim.quantity)
    known = np.concatenate([side.ravel() for side in values])
    margin = claim.relation == "same" and isinstance(claim.right, Mapping)
    if margin or any(of.scale != RATIO for of in sides) or (known < 0).any():
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


def _shown(value: float, scale: str) -> float:
    """Returns a number of a scale as readers see it."""
    with np.errstate(over="ignore"):  # an interval may end beyond all numbers
        return value if scale == DIFFERENCE else float(np.exp(value))


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
        if reason := unmeasured(findings.results, trial.index, quantity):
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


def _more_lost(lost: Sequence[np.ndarray], both: np.ndarray) -> float:
    """Returns how many networks more the left side lost, of the pairs in `both`.

    `lost` says which networks, (trials, S), end at chance.
    """
    left, right = (np.nan_to_num(side).mean(axis=0) for side in lost)
    return float((left - right)[both].sum())


def _counts(findings: "Findings", more: float, both: np.ndarray) -> dict[str, Any]:
    """Returns what so many more lost networks allow, as fields of a draft."""
    n = int(both.sum())
    least = least_p(more, n)
    if not least:
        return {}
    counts = {"least": least, "share": more / n}
    if n < len(both):
        return counts
    return counts | {"together": parting(findings.results, n)[math.ceil(more - 1e-9)]}


def _draft(
    claim: Claim,
    leaning: str,
    reason: str,
    effect: Effect,
    p: float,
    counts: Mapping[str, Any] = types.MappingProxyType({}),
    **facts: Any,
) -> Draft:
    facts |= {"scale": effect.scale, "effect": _shown(effect.mean, effect.scale)}
    verdict = Verdict(claim, leaning, reason, n=effect.n, p=p, **facts)
    return Draft(verdict, effect, **counts)


def _share_reached(steps: np.ndarray) -> float:
    known = steps[~np.isnan(steps)]
    return float(np.isfinite(known).mean()) if known.size else np.nan


def _unit(quantity: Quantity) -> str:
    units = {"steps_to": "updates", "steps": "updates", "seconds": "s/epoch"}
    loss = "nats" if quantity.metric.endswith("loss") else ""
    return units.get(quantity.reduction, loss)


def _compare_seconds(findings: "Findings", claim: Claim, sides: _Sides) -> Draft:
    program = findings.results.program
    programs = [sorted({program(t.index)["index"] for t in s.trials}) for s in sides]
    unit = _unit(claim.quantity)
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
    p, leaning = lean(claim, effect)
    reason = "" if p == p else f"fewer than {MIN_SEEDS} segments, or no spread"
    facts: dict[str, Any] = {"unit": unit, "p_seeds": p}
    facts |= {"left": _shown(left, scale), "right": _shown(right, scale)}
    draft = _draft(claim, leaning, reason, effect, p, **facts)
    return dataclasses.replace(draft, own=(_own_p(claim, effect),) * 2)


def lean(claim: Claim, effect: Effect) -> tuple[float, str]:
    """Returns the p-value of the likelier direction, and the verdict it would give."""
    if claim.relation == "same":
        low, high = same_ends(claim, effect.scale)
        inside = np.maximum(effect.tail(1, low), effect.tail(-1, high))
        outside = 2 * np.minimum(effect.tail(1, high), effect.tail(-1, low))
        if outside < inside:
            return float(outside), CONTRADICTED
        return float(inside), SUPPORTED
    if claim.relation == "different":
        return _lean_different(effect, bound(claim, effect.scale))
    sign, other = _sign(claim), bound(claim, effect.scale)
    claimed, opposite = effect.tail(sign, 0.0), effect.tail(-sign, other)
    p = float(np.minimum(2 * np.minimum(claimed, opposite), 1.0))
    return p, SUPPORTED if claimed < opposite else CONTRADICTED


def _own_p(claim: Claim, effect: Effect) -> float:
    """Returns the two-sided p-value of the claim without its margin; NaN of "same"."""
    if claim.relation == "same":
        return math.nan
    if claim.relation == "different":
        return two_sided(effect)
    return float(np.minimum(2 * effect.tail(_sign(claim), 0.0), 1.0))


def same_ends(claim: Claim, scale: str) -> tuple[float, float]:
    """Returns the effects between which both sides count as the same."""
    if scale == DIFFERENCE:
        return -claim.margin, claim.margin
    share = claim.margin / cast(float, claim.right)  # a number, so ends have logarithms
    return math.log(max(1 - share, sys.float_info.min)), math.log1p(share)


def _lean_different(effect: Effect, margin: float) -> tuple[float, str]:
    """Likewise for a difference to either side: it is not there if it is small."""
    apart = two_sided(effect)
    inside = np.maximum(effect.tail(1, -margin), effect.tail(-1, margin))
    if margin and inside < apart:
        return float(inside), CONTRADICTED
    return apart, SUPPORTED


def _sign(claim: Claim) -> int:
    return -1 if claim.relation == "less" else 1


def bound(claim: Claim, scale: str) -> float:
    """Returns the least effect that a claim of more or less is about; 0 for any."""
    quantities = claim.quantity, claim.right_quantity or claim.quantity
    if claim.relation == "same" or scale == ORDER:
        return 0.0
    if scale == RATIO:
        return _sign(claim) * math.log1p(claim.margin)
    plain = all(of.scale == DIFFERENCE for of in quantities)
    return _sign(claim) * claim.margin if plain else 0.0
