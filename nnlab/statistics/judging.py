# SPDX-License-Identifier: Apache-2.0
"""Decides a study's claims together, with corrections for how many there are."""

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from nnlab.statistics.effects import (
    Effect,
    adjusted_interval,
    holm,
    holm_steps,
    paired_shares,
    seeds_to_part,
    share_against,
)
from nnlab.statistics.intervals import LEVEL, MIN_SEEDS
from nnlab.statistics.leaning import bound, lean
from nnlab.statistics.power import detectable, to_decide
from nnlab.statistics.ranking import correction
from nnlab.statistics.verdicts import (
    CONTRADICTED,
    NOT_SIGNIFICANT,
    NOT_TESTABLE,
    NOT_TESTED,
    SUPPORTED,
    Draft,
    Verdict,
    drafts,
    shown,
)
from nnlab.study import Claim, Study
from nnlab.study.fitting import meant

if TYPE_CHECKING:
    from nnlab.statistics.findings import Findings


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
        low, high = (shown(end, draft.effect.scale) for end in ends)
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
        "detectable": shown(detectable(effect, factor), effect.scale),
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
