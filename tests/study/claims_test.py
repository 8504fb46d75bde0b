# SPDX-License-Identifier: Apache-2.0
"""Claims made by functions equal those stored before there were functions."""

import pytest

from nnlab.study import claims
from nnlab.study.claims import Claim, Quantity

LEFT, RIGHT = {"batch_size": 6}, {"batch_size": 45}
SOONER = Quantity(
    metric="validation_accuracy", reduction="steps_to", target=0.9
)  # fmt: skip
QUANTITIES = [
    (claims.final(), {"metric": "test_accuracy", "reduction": "final"}),
    (claims.best("a"), {"metric": "a", "reduction": "best"}),
    (claims.at_epoch(2, "a"), {"metric": "a", "reduction": "at_epoch", "epoch": 2.0}),
    (claims.at_step(9, "a"), {"metric": "a", "reduction": "at_step", "step": 9.0}),
    (claims.best_minus_final("a"), {"metric": "a", "reduction": "best_minus_final"}),
    (claims.drop("a"), {"metric": "a", "reduction": "drop_from_test"}),
    (
        claims.steps_to(0.9, "a"),
        {"metric": "a", "reduction": "steps_to", "target": 0.9},
    ),
    (claims.SECONDS, {"reduction": "seconds"}),
    (claims.STEPS, {"reduction": "steps"}),
    (claims.AT_CHANCE, {"reduction": "at_chance_share"}),
    (claims.DIVERGED, {"reduction": "diverged_share"}),
]
FINAL = claims.final("test_loss")
TEXT = "so it is"
COMPARISONS = [
    (
        claims.higher(TEXT, FINAL, LEFT, RIGHT),
        {"quantity": FINAL, "relation": "greater"},
    ),
    (
        claims.lower(TEXT, "test_loss", LEFT, RIGHT),
        {"quantity": FINAL, "relation": "less"},
    ),
    (
        claims.same_within(TEXT, 0.1, "test_loss", LEFT, RIGHT, among="best"),
        {"quantity": FINAL, "relation": "same", "margin": 0.1, "among": "best"},
    ),
    (claims.faster(TEXT, 0.9, LEFT, RIGHT), {"quantity": SOONER, "relation": "less"}),
    (
        claims.slower(TEXT, 0.9, LEFT, RIGHT),
        {"quantity": SOONER, "relation": "greater"},
    ),
    (
        claims.lower(TEXT, FINAL, LEFT, RIGHT, right_quantity=claims.best("a")),
        {"quantity": FINAL, "relation": "less", "right_quantity": claims.best("a")},
    ),
]


@pytest.mark.parametrize(("made", "stored"), QUANTITIES)
def test_a_quantity(made, stored):
    assert made == Quantity(**stored)


@pytest.mark.parametrize(("made", "stored"), COMPARISONS)
def test_a_comparison(made, stored):
    assert made == Claim(text=TEXT, left=LEFT, right=RIGHT, **stored)


def test_a_bad_comparison_says_which_claim_it_is():
    with pytest.raises(ValueError, match=r"^claim 'so it is'.relation='same' needs a"):
        claims.same_within(TEXT, 0.0, "test_loss", LEFT, 0.5)
