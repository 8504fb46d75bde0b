# SPDX-License-Identifier: Apache-2.0
"""How many seeds decide each claim of a study, from a pilot of a few."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from nnlab.results import Results
from nnlab.statistics import judging, leaning, verdicts
from nnlab.statistics.effects import Effect
from nnlab.statistics.findings import Findings
from nnlab.statistics.intervals import MIN_SEEDS
from nnlab.statistics.power import POWER, to_decide
from nnlab.study import Claim
from nnlab.study.fitting import meant


@dataclasses.dataclass(frozen=True)
class Need:
    """What decides a claim.

    Attributes:
      claim: the claim.
      trials: indices of those that it compares.
      seeds: of each of them; None if no number of seeds does, or it is not known.
      examples: where no number of seeds does: test examples that would.
      reason: why it is not known; may be "".
    """

    claim: Claim
    trials: tuple[int, ...]
    seeds: int | None = None
    examples: int | None = None
    reason: str = ""


def needs(findings: Findings, power: float = POWER) -> list[Need]:
    """Returns what decides each claim in a share of runs, as far as a pilot tells.

    The effect that a claim is about is its margin, or a larger one that the pilot
    shows: the end of its 95 % interval that is nearer to 0. Without a margin, where the
    interval contains 0, it is what was measured. "same" is planned for no difference,
    or, where the pilot's interval lies beyond the margin, for how far it does.
    Holm's factors are those of the pilot. Exact tests are planned for seeds that end
    like those of the pilot.
    """
    drafts = verdicts.drafts(findings)
    steps = judging.adjusted_steps(findings, drafts)
    return [_need(findings.results, d, s, power) for d, s in zip(drafts, steps)]


def _need(results: Results, draft: verdicts.Draft, step: float, power: float) -> Need:
    claim, effect = draft.verdict.claim, draft.effect
    every = (meant(results.trials, side) for side in claim.sides)
    trials = {trial.index for some in every for trial in some}
    need = Need(claim, tuple(sorted(trials)))
    if effect is None or math.isnan(step):
        return dataclasses.replace(need, reason=draft.verdict.reason)
    if claim.relation == "same" and not _beyond(claim, effect):
        # Both one-sided tests at 5 % must reject.
        power, step = (1 + power) / 2, step / 2
    seeds, examples = to_decide(
        effect, _about(claim, effect), step, lambda e: leaning.lean(claim, e)[0], power
    )
    shared = "no number of seeds does: all split the same examples"
    reason = shared if effect.ratio and not seeds else ""
    return dataclasses.replace(need, seeds=seeds, examples=examples, reason=reason)


def _about(claim: Claim, effect: Effect) -> float:
    """Returns the effect that a claim is about, on the scale of its test."""
    if claim.relation == "same":
        low, high = leaning.same_ends(claim, effect.scale)
        return _beyond(claim, effect) or min(-low, high)
    least = abs(leaning.bound(claim, effect.scale))
    near = max(effect.low, -effect.high, 0.0)
    return max(least, near) or abs(effect.mean)


def _beyond(claim: Claim, effect: Effect) -> float:
    """Returns how far the pilot's interval lies beyond what counts as the same."""
    low, high = leaning.same_ends(claim, effect.scale)
    return float(np.nanmax([effect.low - high, low - effect.high, 0.0]))


def seeds_of_trials(found: Sequence[Need], trials: int) -> np.ndarray:
    """Returns the seeds that each of so many trials needs, int (T,): the most of any
    claim that compares it, and `MIN_SEEDS` where none does."""
    seeds = np.full(trials, MIN_SEEDS)
    for need in found:
        for trial in need.trials:
            seeds[trial] = max(seeds[trial], need.seeds or 0)
    return seeds
