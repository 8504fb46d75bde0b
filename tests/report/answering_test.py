# SPDX-License-Identifier: Apache-2.0
import re

import numpy as np
import pytest
import synthetic

from nnlab.report import answer, answering
from nnlab.report.effects import noun
from nnlab.study import grammar
from nnlab.study.claims import AT_CHANCE, SECONDS, drop, higher, lower, steps_to

RATE = "optimizer.learning_rate"
FAST, SLOW = {RATE: 0.7}, {RATE: 0.02}
RATES = [SLOW, FAST]
TEST = "test_accuracy"


def found(gain, claims, *, seeds=8, question="Is 0.7 better?", **more):
    """Findings on 0.02 and 0.7, whose accuracies differ by `gain`."""
    noise = np.random.default_rng(0).normal(scale=0.003, size=(2, seeds))
    noise -= noise.mean(axis=1, keepdims=True)
    values = np.reshape((0.9, 0.9 + gain), (2, 1)) + noise
    options = {"sweep": RATES, "claims": claims, "question": question, **more}
    return synthetic.findings(values, **options)


def better(make=higher, **more):
    return make("0.7 is better", TEST, FAST, SLOW, main=True, **more)


@pytest.mark.parametrize(
    ("gain", "options", "start"),
    [
        (0.05, {}, "Yes: 0.7 is better ("),
        (0.05, {"question": "What is better?"}, "0.7 is better ("),
        (-0.05, {}, "No: test accuracy is lower with learning rate 0.7 than"),
        (-0.05, {"question": "How is 0.7?"}, "Test accuracy is lower with"),
        (-0.05, {"otherwise": "0.7 is no better"}, "No: 0.7 is no better ("),
        (0.0, {"otherwise": "0.7 is no better", "margin": 0.2}, "No: 0.7 is no better"),
        (0.0, {"margin": 0.2}, "No: test accuracy is not 20 points higher with"),
        (0.05, {"margin": 0.2}, "Yes: 0.7 is better, but by significantly less than"),
        (-0.05, {"make": lower}, "Yes: 0.7 is better ("),
        (0.0, {}, "It is open whether 0.7 is better."),
        (0.05, {"seeds": 2}, "It cannot be tested whether 0.7 is better."),
        (0.0, {"relation": "same", "margin": 0.01}, "0.7 is better ("),
        (0.05, {"relation": "same", "margin": 0.01}, "Test accuracy is higher with"),
    ],
)
def test_a_main_claim_is_answered_in_words_and_then_in_numbers(gain, options, start):
    given = {name: options[name] for name in ("seeds", "question") if name in options}
    claim = better(**{name: o for name, o in options.items() if name not in given})
    findings = found(gain, [higher("aside", TEST, FAST, 0.1), claim], **given)
    verdict = findings.verdicts[1]
    first, told, *_ = answer.sentences(findings)
    assert first.startswith(start)
    ends = [100 * verdict.left, 100 * verdict.right, 100 * abs(verdict.effect)]
    numbers = [float(text) for text in re.findall(r"\d+\.\d+", told)]
    for end in ends:
        assert min(abs(number - end) for number in numbers) < 0.06
    assert f"n = {verdict.n}" in told
    assert told.index("learning rate 0.7") < told.index("learning rate 0.02")


def test_the_first_sentence_has_all_claims_and_each_its_numbers():
    claims = [
        lower("Open", TEST, FAST, 0.9505, main=True),
        better(),
        higher("ReLU learns", TEST, FAST, 0.1, main=True),
    ]
    first, *rest = answering.answered(found(0.05, claims))
    assert first == (
        "0.7 is better (+5.0 points); ReLU learns (95.0 %); it is open whether open."
    )
    ends = ("learning rate 0.02", "n = 8", "would decide it")
    assert all(end in text for end, text in zip(ends, rest, strict=True))
    wrong = lower("Wrong", TEST, FAST, 0.1, main=True, otherwise="It learns")
    first = answering.answered(found(0.05, [better(), wrong]))[0]
    assert first.startswith("0.7 is better")  # neither yes nor no
    many = [higher(f"{n}", TEST, FAST, n / 10, main=True) for n in range(1, 7)]
    first, *rest = answering.answered(found(0.05, many))
    assert re.findall(r"(\d) \(", first) == list("123456")
    assert len(rest) == answering.MOST


def test_where_trials_are_compared_the_best_comes_before_claims():
    which = found(0.05, [better()], question="Which rate is better?")
    compared = found(0.05, [better()], fields={"compare_trials": "yes"})
    for findings in (which, compared):
        best, told, *_ = answer.sentences(findings)
        assert best.startswith("Learning rate 0.7 does best")
        assert "0.7 is better" in told


def test_a_claim_without_words_is_put_in_words():
    sides = f"{TEST}(learning_rate=0.7)", f"{TEST}(learning_rate=0.02)"
    for gain, sign, told in (
        (0.05, ">", "Yes: test accuracy is higher with learning rate 0.7 than with"),
        (-0.05, ">", "No: test accuracy is lower with learning rate 0.7 than with"),
        (0.05, "!=", "Yes: test accuracy differs between learning rate 0.7 and"),
    ):
        claim = grammar.answer(sign.join(sides))
        assert answering.answered(found(gain, [claim]))[0].startswith(told)
    claim = grammar.answer(f"{sides[0]} > 50 %")
    first = answering.answered(found(0.05, [claim]))[0]
    assert first.startswith("Yes: test accuracy is above 50 % with learning rate 0.7")


def test_what_holds_of_the_best_trials_says_that_they_are():
    many = [{**rate, "model.depth": depth} for rate in RATES for depth in (1, 2)]
    noise = np.random.default_rng(0).normal(scale=0.003, size=(4, 8))
    values = np.repeat([[0.9], [0.8]], 2, axis=0) + noise
    claim = better(among="best")
    findings = synthetic.findings(values, sweep=many, claims=[claim])
    told = answering.answered(findings)[0]
    assert (
        "with learning rate 0.7 than with learning rate 0.02, each at its best" in told
    )


def test_a_number_on_the_right_leaves_the_left_sides_interval():
    claim = higher("Some do", AT_CHANCE, FAST, 0.05, main=True)
    lost = [(1, s) for s in range(6)]
    findings = synthetic.findings(sweep=RATES, claims=[claim], at_chance=lost)
    (verdict,) = findings.verdicts
    ends = (f"{100 * (verdict.right + e):.0f}" for e in (verdict.low, verdict.high))
    told = answering.answered(findings)[1]
    assert f"75 % (learning rate 0.7, interval {' to '.join(ends)}, n = 8" in told


def test_a_ratio_below_one_is_told_the_other_way_round():
    seconds = {0: (0.4, 0.42, 0.38), 1: (0.1, 0.11, 0.09)}
    sweep = [{"batch_size": 8}, {"batch_size": 32}]
    small, large = sweep
    for left, right, how in ((small, large, "longer"), (large, small, "shorter")):
        claim = higher("Slow", SECONDS, left, right, main=True)
        options = {"sweep": sweep, "claims": [claim], "seconds": seconds}
        findings = synthetic.findings(**options)
        (verdict,) = findings.verdicts
        factor = max(verdict.effect, 1 / verdict.effect)
        told = answering.answered(findings)[1]
        assert f"{how} by a factor of {factor:.3g}" in told


@pytest.mark.parametrize(
    ("quantity", "told"),
    [
        (steps_to(0.95), "updates to 95 % validation accuracy"),
        (steps_to(0.955), "updates to 95.5 % validation accuracy"),
        (steps_to(0.1, "test_loss"), "updates to 0.1 test loss"),
        (drop("test_moved_accuracy"), "the accuracy lost on moved images"),
        (drop("train_accuracy"), "test accuracy minus train accuracy"),
    ],
)
def test_a_quantity_has_a_name(quantity, told):
    assert noun(quantity).endswith(told)
