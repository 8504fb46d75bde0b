# SPDX-License-Identifier: Apache-2.0
"""Whether an effect speaks for a claim or against it, and how surely."""

import math
import sys
from typing import cast

import numpy as np

from nnlab.statistics.effects import Effect, two_sided
from nnlab.study import DIFFERENCE, ORDER, RATIO, Claim


def lean(claim: Claim, effect: Effect) -> tuple[float, bool]:
    """Returns the p-value of the likelier side, and whether that is the claim's."""
    claimed, opposite = chances(claim, effect)
    return (opposite, False) if opposite < claimed else (claimed, True)


def chances(claim: Claim, effect: Effect) -> tuple[float, float]:
    """Returns the p-values of a claim, and of what contradicts it.

    What is more, or different, is so whatever the margin; smaller than that it is
    contradicted. "The same" is so within the margin, by two one-sided tests.
    """
    least = bound(claim, effect.scale)
    if claim.relation in ("greater", "less"):
        sign = _sign(claim)
        tails = effect.tail(sign, 0.0), effect.tail(-sign, least)
        claimed, opposite = (float(np.minimum(2 * tail, 1.0)) for tail in tails)
        return claimed, opposite
    is_same = claim.relation == "same"
    low, high = same_ends(claim, effect.scale) if is_same else (-least, least)
    inside = float(np.maximum(effect.tail(1, low), effect.tail(-1, high)))
    if is_same:
        outside = 2 * np.minimum(effect.tail(1, high), effect.tail(-1, low))
        return inside, float(outside)
    return two_sided(effect), inside if least else math.inf


def same_ends(claim: Claim, scale: str) -> tuple[float, float]:
    """Returns the effects between which both sides count as the same."""
    if scale == DIFFERENCE:
        return -claim.margin, claim.margin
    share = claim.margin / cast(float, claim.right)  # a number, so ends have logarithms
    return math.log(max(1 - share, sys.float_info.min)), math.log1p(share)


def _sign(claim: Claim) -> int:
    return -1 if claim.relation == "less" else 1


def bound(claim: Claim, scale: str) -> float:
    """Returns the least effect that a claim of more or less is about; 0 for any."""
    if claim.relation == "same" or scale == ORDER:
        return 0.0
    if scale == RATIO:
        return _sign(claim) * math.log1p(claim.margin)
    plain = all(of.scale == DIFFERENCE for of, _ in claim.compared)
    return _sign(claim) * claim.margin if plain else 0.0
