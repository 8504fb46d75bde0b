# SPDX-License-Identifier: Apache-2.0
"""Claims in a line equal those made by functions, and mistakes are named."""

import string

import hypothesis
import pytest
from hypothesis import strategies as st

from nnlab.study import PATHS, Claim, Study, claims, grammar
from nnlab.study.claims import higher, lower, same_within

SIX, ONE = {"model.depth": 6}, {"model.depth": 1}
TEST, VALIDATION = "test_accuracy", "validation_accuracy"
DROP = claims.drop("test_moved_accuracy")
LABELS = {"label": "a, b"}, {"label": "it's > 3"}
SAME = {
    "test_accuracy(depth=6) > test_accuracy(depth=1)": higher("", TEST, SIX, ONE),
    "test_loss(model.depth=6)<0.5": lower("", "test_loss", SIX, 0.5),
    "test_accuracy(depth=6) == chance within 1 %": same_within(
        "", 0.01, TEST, SIX, "chance"
    ),
    "test_accuracy(depth=6) > test_accuracy(depth=1) margin 0.5 points": higher(
        "", TEST, SIX, ONE, margin=0.005
    ),
    "chance != test_accuracy(depth=6)": higher(
        "", TEST, SIX, "chance", relation="different"
    ),
    "steps_to(0.9, depth=6) < steps_to(0.9, depth=1) margin 25 %": claims.faster(
        "", 0.9, SIX, ONE, margin=0.25
    ),
    "test_accuracy(depth=6) - test_accuracy(depth=1)"
    " != test_accuracy() - test_accuracy(depth=2)": claims.depends(
        "", TEST, (SIX, ONE), ({}, {"model.depth": 2})
    ),
    "test_loss(depth=6)/test_loss() < test_loss(depth=1)/test_loss()": claims.depends(
        "", "test_loss", (SIX, {}), (ONE, {}), relation="less"
    ),
    "95 % < test_accuracy(depth=6)": higher("", TEST, SIX, 0.95),
    "chance == test_accuracy() within 1e-2": same_within("", 0.01, TEST, {}, "chance"),
    "best(validation_accuracy, depth=6) > 57.3 %": higher(
        "", claims.best(VALIDATION), SIX, 0.573
    ),
    "at_epoch(3, test_loss, depth=6) < test_loss(depth=6)": lower(
        "",
        claims.at_epoch(3, "test_loss"),
        SIX,
        SIX,
        right_quantity=claims.final("test_loss"),
    ),
    "at_step(500, test_loss) < 1": lower("", claims.at_step(500, "test_loss"), {}, 1),
    "steps_to(90 %, depth=6) < steps_to(0.9, depth=1)": claims.faster(
        "", 0.9, SIX, ONE
    ),
    "steps_to(.1, train_loss, depth=6) > 500": higher(
        "", claims.steps_to(0.1, "train_loss"), SIX, 500
    ),
    "best_minus_final(test_loss, depth=6) < 0": lower(
        "", claims.best_minus_final("test_loss"), SIX, 0
    ),
    "drop(test_moved_accuracy, depth=6) > 5 points": higher("", DROP, SIX, 0.05),
    "seconds(depth=6) > seconds(depth=1)": higher("", claims.SECONDS, SIX, ONE),
    "steps(depth=6) == 100 within 5": same_within("", 5, claims.STEPS, SIX, 100),
    "best_minus_final(test_loss, depth=6) > \N{MINUS SIGN}5": higher(
        "", claims.best_minus_final("test_loss"), SIX, -5
    ),
    "diverged(depth=6) > 5 %": higher("", claims.DIVERGED, SIX, 0.05),
    "at_chance(depth=6) < 1": lower("", claims.AT_CHANCE, SIX, 1),
    "test_accuracy(best of depth=6) > test_accuracy(best of all)": higher(
        "", TEST, SIX, {}, among="best"
    ),
    """test_accuracy("a, b") > test_accuracy("it's > 3")""": higher("", TEST, *LABELS),
    "test_accuracy(dataset='csv:a, b > c.csv', learning_rate=1) < 1": lower(
        "", TEST, {"dataset": "csv:a, b > c.csv", "optimizer.learning_rate": 1}, 1
    ),
    "test_accuracy(hidden=(64, 32), activation='relu', batch_norm=true) > 0": higher(
        "",
        TEST,
        {
            "model.hidden": (64, 32),
            "model.activation": "relu",
            "model.batch_norm": True,
        },
        0,
    ),
    "test_accuracy(optimizer=adam, transfer.batch_size=8, hidden=64) > 0": higher(
        "",
        TEST,
        {
            "optimizer.name": "adam",
            "transfer.batch_size": 8,
            "model.hidden": (64,),
        },
        0,
    ),
}


def without_text(claim):
    return {**vars(claim), "text": ""}


@pytest.mark.parametrize("text", SAME)
def test_a_line_is_the_claim_that_a_function_makes(text):
    assert without_text(grammar.parse(text)) == without_text(SAME[text])


def test_a_claim_s_text_is_its_source_or_stands_before_a_colon():
    source = "test_accuracy(dataset=csv:a.csv)  >  chance"
    assert grammar.parse(source).text == "test_accuracy(dataset=csv:a.csv) > chance"
    said = grammar.parse(f"Does it learn: at 3 > 2?: {source}")
    assert said.text == "Does it learn: at 3 > 2?"
    assert without_text(said) == without_text(grammar.parse(source))


@pytest.mark.parametrize(
    "words",
    [
        *("my words (see fig 2)", "it's so: a) first", "if A > B (by 3 %: at most)"),
        *("at 12:30", "unclosed (", ":)", "best(x, y) > 3"),
    ],
)
def test_words_before_the_colon_may_hold_anything(words):
    source = "test_accuracy(dataset=csv:a.csv) > chance"
    claim = grammar.parse(f"{words}: {source}")
    assert claim.text == words
    assert without_text(claim) == without_text(grammar.parse(source))


def test_a_number_that_comes_first_is_turned_to_the_right_with_its_sign():
    turned = grammar.parse("90 % > test_accuracy(depth=6) margin 1 point")
    assert turned.text == "test_accuracy(depth=6) < 90 % margin 1 point"
    assert turned == grammar.parse(turned.text)
    assert grammar.parse("chance == test_accuracy() within 1 %").text == (
        "test_accuracy() == chance within 1 %"
    )


def test_a_study_takes_texts_and_keeps_fields():
    text = "test_accuracy(depth=6) > chance"
    claim = higher("by function", TEST, SIX, "chance")
    study = Study(claims=[text, claim])
    assert study.claims == (grammar.answer(text), claim)
    assert [claim.main for claim in study.claims] == [True, False]
    assert study == Study.from_dict(study.to_dict())


MISTAKES = {
    "best(depth=6) > 3": r"best\(COLUMN, TRIALS\)",
    "at_epoch(test_loss, depth=6) > 3": r"at_epoch\(NUMBER, COLUMN, TRIALS\)",
    "at_epoch(3) > 3": r"at_epoch\(NUMBER, COLUMN, TRIALS\)",
    "besst(test_loss, depth=6) > 3": "quantity 'besst'; did you mean 'best'",
    "test_accuracy(dept=6) > 3": "'dept'; did you mean 'model.depth'",
    "test_accuracy(activation=rleu) > 3": "'rleu' .* did you mean 'relu'",
    "test_accuracy(depth=six) > 3": "'six' is not a whole number",
    "test_accuracy(6) > 3": "'6' names no trials",
    "test_accuracy(depth=6, model.depth=6) > 3": "model.depth is there twice",
    "test_accuracy(depth=6,, batch_size=6) > 3": "empty place",
    "test_accuracy(depth=6) >= 0.3": "here is '>='; did you mean '>'",
    "test_accuracy(depth=6) \N{LESS-THAN OR EQUAL TO} 0.3": "did you mean '<'",
    "test_accuracy(depth=6) = chance": "did you mean '=='",
    "0.3 < test_accuracy(depth=6) < 0.4": "here is '<' and '<'; write two claims",
    "test_accuracy(depth=6) > 0.1 and test_loss(depth=6) < 3": "write two claims",
    "test_accuracy(depth=6 > 3": "here is none; its brackets do not match",
    "test_accuracy(depth=6)) > 3": "its brackets do not match",
    "test_accuracy > 0.9": r"name no trials.* or of all, test_accuracy\(\)",
    "test accuracy(depth=6) > 0.9": "did you mean 'test_accuracy'",
    "quantile(0.9, test_loss, depth=6) > 0.9": "unknown quantity 'quantile'",
    "test_accuracy(batch_norm) > 0.9": "'batch_norm' names no trials",
    "at_epoch(10 %, test_loss, depth=6) < 1": "'10 %' goes with accuracies",
    "steps_to(10 %, test_loss, depth=6) < 1": "'10 %' goes with accuracies",
    "words (of mine): test_accuracy(dept=6) > 3": "'dept'; did you mean",
    "test_accuracy(depth=6) > 97": "mean 0.97, 97 %",
    "test_accuracy('a > 3": "the quote ' does not close",
    "test_accuracy(depth=6) == 3": "'within 0.01'",
    "test_accuracy(depth=6) == 3 by 1": "'within 0.01'",
    "test_accuracy(depth=6) > 3 within 1": "'margin 0.01'",
    "test_accuracy(depth=6) > 3 margin": "needs a margin",
    "test_accuracy(depth=6) > 3 by 1": "'margin 0.01'",
    "test_accuracy(depth=6) > 1e999": "inf is not finite",
    "test_accuracy(depth=6) == 3 within 0": "margin above 0",
    "3 > 4": "'3' and '4' name no trials",
    "test_accuracy(depth=6) > many": "'many' is neither a number",
    "test_accuracy(depth=6) - test_accuracy() > 1": "compared with another one",
    "test_accuracy(depth=6) - 3 > 1": "no difference of two quantities",
    "test_loss(depth=6) - test_loss() > test_loss() - test_loss()": "write /",
    "test_loss(depth=6) / test_loss() == test_loss() / test_loss() within 1": "write -",
    "test_accuracy() / test_accuracy() > test_accuracy() / test_accuracy()": "write -",
    "test_accuracy() - test_accuracy() > drop(a) - drop(a)": "of one quantity",
    "test_accuracy(depth=1) > test_loss(depth=1)": "different units",
    "test_loss() == 1 within 1 point": "'within' takes a number in the quantity's",
    "test_accuracy(label=plain) > 0.5": 'a label needs quotes: "plain"',
    "test_loss(depth=1) < chance": "only an accuracy, or R2, compares with chance",
    "drop(test_loss, depth=1) > 0.5": "between accuracies",
    "steps(depth=6) > 100 margin 5 points": "'5 points' goes with accuracies",
    "seconds(depth=6) == 3 within 20 %": "a number in the quantity's own unit",
    "steps(depth=6) > test_loss(depth=6)": "right_quantity does not go with",
    "test_accuracy(best of depth=6) > test_accuracy(depth=1)": "on both sides",
    "": "here is none",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_named_in_one_line_that_quotes_the_claim(text):
    with pytest.raises(ValueError, match=f"(?s)^claim .*{MISTAKES[text]}") as error:
        grammar.parse(text)
    assert "\n" not in str(error.value)
    assert repr(text) in str(error.value)


PIECES = [*SAME, *MISTAKES, *PATHS, *"()[]{}<>=%'\",:-+.\\\0é\n 0a", "best of"]
PIECES += ["margin", "within", "==", "chance", "1e999", "=" * 99, "(" * 200, "-" * 2000]


@st.composite
def broken(draw):
    """Draws a claim with something in it that should not be there."""
    text, piece = draw(st.sampled_from([*SAME])), draw(st.sampled_from(PIECES))
    at = draw(st.integers(0, len(text)))
    return text[:at] + piece + text[at:]


@hypothesis.given(
    st.text()
    | st.text(string.printable)
    | st.lists(st.sampled_from(PIECES)).map("".join)
    | broken()
)
@hypothesis.settings(deadline=None, max_examples=300)
def test_nothing_but_a_claim_or_a_refusal_comes_out(text):
    try:
        claim = grammar.parse(text)
    except ValueError:
        return
    assert Claim(**vars(claim)) == claim


def test_the_help_is_a_screen_and_its_examples_are_claims():
    lines = grammar.HELP.splitlines()
    assert len(lines) <= 23
    assert max(map(len, lines)) <= 80
    assert len({grammar.parse(line).relation for line in lines[1:4]}) == 3
