# SPDX-License-Identifier: Apache-2.0
"""Claims made by functions equal those stored before there were functions."""

import pytest

from nnlab.study import claims
from nnlab.study.claims import Claim, Quantity, depends, higher, lower, same_within

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


TEST, LOSS = "test_accuracy", "test_loss"
IMPOSSIBLE = [
    (lambda: higher("x", TEST, LEFT, 97), "97 is out of range: .*mean 0.97, 97 %"),
    (lambda: higher("x", TEST, LEFT, 1.01), "1.01 is out of .* is from 0 to 1$"),
    (lambda: lower("x", TEST, LEFT, -0.1), "-0.1 is out of range"),
    (lambda: higher("x", TEST, LEFT, 1), "test_accuracy is never above 1"),
    (lambda: lower("x", claims.DIVERGED, LEFT, 0), "never below 0"),
    (lambda: higher("x", "dense_0_active_share", LEFT, 97), "97 is out of range"),
    (lambda: lower("x", LOSS, LEFT, -1), "-1 is out of range: test_loss is at least 0"),
    (lambda: higher("x", claims.SECONDS, LEFT, -1), "seconds is at least 0"),
    (lambda: higher("x", claims.drop("test_moved_accuracy"), LEFT, 5), "mean 0.05"),
    (lambda: claims.faster("x", 97, LEFT, RIGHT), "a target of 97 .*mean 0.97, 97 %"),
    (lambda: lower("x", claims.steps_to(-1, LOSS), LEFT, 9), "a target of -1"),
    (lambda: same_within("x", 1, TEST, LEFT, RIGHT), "a margin of 1 .*0.01, 1 point?"),
    (lambda: higher("x", claims.at_step(0.5, TEST), LEFT, RIGHT), "no whole number"),
    (lambda: claims.at_epoch(-1, TEST), "epoch=-1.0 must be at least 0"),
]


@pytest.mark.parametrize(("make", "told"), IMPOSSIBLE)
def test_a_number_where_no_value_can_be_is_refused(make, told):
    with pytest.raises(ValueError, match=told):
        make()


def test_what_may_be_is_not_refused():
    assert lower("at the end", TEST, LEFT, 1)
    assert higher("a metric of one's own may be negative", "test_own_loss", LEFT, -5)
    own = ("test_balanced_accuracy", "validation_share", "accuracy")
    assert all(higher("nor is it a share", name, LEFT, 97) for name in own)
    assert same_within("", 2, "test_balanced_accuracy", LEFT, RIGHT)
    assert lower("it rises", claims.best_minus_final(LOSS), LEFT, -5)


def gains(one, other, **more):
    return depends("", TEST, one, other, **more)


EARLY, LATE = claims.at_epoch(1, TEST), claims.final()
A, B, C, D = ({"batch_size": size} for size in (1, 2, 3, 4))
ALIKE = [
    (higher("this", TEST, A, B), lower("that", TEST, B, A, main=True)),
    (same_within("", 0.1, TEST, A, B), same_within("", 0.1, TEST, B, A)),
    (gains((A, B), (C, D)), gains((C, D), (A, B))),
    (gains((A, B), (C, D)), gains((A, C), (B, D))),
    (
        gains((A, B), (C, D), relation="greater"),
        gains((B, A), (D, C), relation="less"),
    ),
    (
        higher("", EARLY, A, B, right_quantity=LATE),
        lower("", LATE, B, A, right_quantity=EARLY),
    ),
]
UNLIKE = [
    (higher("", TEST, A, B), higher("", TEST, B, A)),
    (higher("", TEST, A, B), higher("", TEST, A, B, margin=0.1)),
    (higher("", TEST, A, B), higher("", TEST, A, B, among="best")),
    (higher("", TEST, A, 0.5), lower("", TEST, A, 0.5)),
    (gains((A, B), (C, D)), gains((A, B), (D, C))),
    (
        higher("", EARLY, A, B, right_quantity=LATE),
        higher("", LATE, A, B, right_quantity=EARLY),
    ),
]


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_a_claim_is_the_same_however_it_is_written(one, other):
    assert one.normal() == other.normal()


@pytest.mark.parametrize(("one", "other"), UNLIKE)
def test_claims_that_compare_something_else_differ(one, other):
    assert one.normal() != other.normal()
