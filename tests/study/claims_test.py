# SPDX-License-Identifier: Apache-2.0
"""Claims made by functions equal those stored before there were functions."""

import pytest

from nnlab.study import claims
from nnlab.study.claims import Claim, Quantity

LEFT, RIGHT = {"batch_size": 6}, {"batch_size": 45}
SOONER = claims.steps_to(0.9)
QUANTITIES = [
    (claims.final(), {"metric": "test_accuracy", "reduction": "final"}),
    (claims.best("a"), {"metric": "a", "reduction": "best"}),
    (claims.at_epoch(2, "a"), {"metric": "a", "reduction": "at_epoch", "epoch": 2.0}),
    (claims.at_step(9, "a"), {"metric": "a", "reduction": "at_step", "step": 9.0}),
    (claims.best_minus_final("a"), {"metric": "a", "reduction": "best_minus_final"}),
    (claims.drop("a"), {"metric": "a", "reduction": "drop_from_test"}),
    (claims.steps_to(1, "a"), {"metric": "a", "reduction": "steps_to", "target": 1.0}),
    (claims.SECONDS, {"reduction": "seconds"}),
    (claims.STEPS, {"reduction": "steps"}),
    (claims.AT_CHANCE, {"reduction": "at_chance_share"}),
    (claims.DIVERGED, {"reduction": "diverged_share"}),
]
FINAL, A = claims.final("test_loss"), claims.best("a_loss")
TEXT = "so it is"
SAME = {"relation": "same", "margin": 0.1, "among": "best"}
COMPARISONS = [
    (claims.higher, (FINAL,), {}, {"quantity": FINAL, "relation": "greater"}),
    (claims.lower, ("test_loss",), {}, {"quantity": FINAL, "relation": "less"}),
    (claims.same_within, (0.1, FINAL), {"among": "best"}, {"quantity": FINAL, **SAME}),
    (claims.faster, (0.9,), {}, {"quantity": SOONER, "relation": "less"}),
    (claims.slower, (0.9,), {}, {"quantity": SOONER, "relation": "greater"}),
    (claims.higher, (FINAL,), {"right_quantity": A}, {"quantity": FINAL}),
]


@pytest.mark.parametrize(("made", "stored"), QUANTITIES)
def test_a_quantity(made, stored):
    assert made == Quantity(**stored)


@pytest.mark.parametrize(("make", "given", "more", "stored"), COMPARISONS)
def test_a_comparison(make, given, more, stored):
    made = make(TEXT, *given, LEFT, RIGHT, **more)
    fields = {"text": TEXT, "left": LEFT, "right": RIGHT}
    assert made == Claim(**fields, **(more | stored))


def test_a_bad_comparison_says_which_claim_it_is():
    with pytest.raises(ValueError, match=r"^claim 'so it is'.relation='same' needs a"):
        claims.same_within(TEXT, 0.0, "test_loss", LEFT, 0.5)


def test_the_claims_that_answer_are_marked_by_their_words():
    made = [claims.higher(text, FINAL, LEFT, 0.5) for text in ("a wins", "b learns")]
    marked = claims.answering(made, "learns")
    assert [claim.main for claim in marked] == [False, True]
    with pytest.raises(
        ValueError, match=r"no claim says 'lerns'; there are: a wins; b"
    ):
        claims.answering(made, "wins", "lerns")
