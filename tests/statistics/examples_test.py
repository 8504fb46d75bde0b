# SPDX-License-Identifier: Apache-2.0
"""Claims and comparisons speak of new examples where answers are kept."""

import dataclasses

import numpy as np
import pytest
import synthetic
from answered import World
from null import draw_answers

from nnlab.results.answers import LOSSES, Answers
from nnlab.statistics import crossed, effects, examples
from nnlab.statistics.findings import Findings
from nnlab.statistics.sequential import restricted
from nnlab.study import Claim, Quantity

TEST = Quantity(metric="test_accuracy")
ONE, OTHER = {"label": "0"}, {"label": "1"}


def _drawn(*accuracies, seeds=8, size=300, **parts):
    """Draws answers on validation, test and moved test images."""
    world = World(seeds, size, accuracies, **parts)
    drawn = world.draw(np.random.default_rng(0), 3 * size)
    parts = np.split(drawn, 3, axis=2)
    correct = dict(zip(("validation", "test", "test_moved"), parts))
    correct["test_moved"] = correct["test"] & correct["test_moved"]
    return correct


def _found(correct, *claims, **options):
    options = {"sweep": synthetic.labelled(len(correct["test"])), **options}
    options.setdefault("fields", {"compare_trials": "yes"})
    return synthetic.findings(correct=correct, claims=claims, **options)


def _claim(quantity=TEST, left=ONE, right=OTHER, **more):
    return Claim(text="x", quantity=quantity, left=left, right=right, **more)


MOVED = Quantity(metric="test_moved_accuracy", reduction="drop_from_test")


@pytest.mark.parametrize(
    ("quantity", "values"),
    [
        (TEST, lambda c: c["test"] * 1.0),
        (Quantity(metric="validation_accuracy"), lambda c: c["validation"] * 1.0),
        (MOVED, lambda c: c["test"] * 1.0 - c["test_moved"]),
    ],
)
def test_final_accuracies_and_drops_speak_of_new_examples(quantity, values):
    correct = _drawn(0.9, 0.8, 0.85)
    claims = _claim(quantity), _claim(quantity, left=ONE, right={})
    pair, average = _found(correct, *claims).verdicts
    x = values(correct)
    for verdict, side in ((pair, x[1]), (average, x.mean(axis=0))):
        effect = crossed.crossed(x[0] - side)
        assert (verdict.over, verdict.n) == (examples.EXAMPLES, 8)
        assert verdict.effect == pytest.approx(effect.mean)
        assert verdict.p == pytest.approx(effects.two_sided(effect))
        plain = effects.two_sided(effects.paired((x[0] - side).mean(axis=1)))
        assert verdict.p_seeds > plain * 1.99


def test_losses_do_where_those_of_each_example_were_kept():
    losses = np.random.default_rng(0).gamma(0.5, size=(2, 8, 300)).astype(np.float32)
    losses[1] *= 1.5
    kept = {"test": losses}
    loss = Quantity(metric="test_loss")
    claims = _claim(loss, relation="less"), _claim(loss, right=0.3)
    values = {"test_loss": losses.mean(axis=2, dtype=float)}
    found = synthetic.findings(values, claims=claims, sweep=synthetic.labelled(2))
    each = {LOSSES: Answers.of_program(kept, {"test": 300}, np.ones((2, 8), bool))}
    found = Findings(dataclasses.replace(found.results, each=each))
    x = losses.astype(float)
    means = x.mean(axis=2, keepdims=True)
    assert found.verdicts[0].effect == pytest.approx(
        np.exp(np.log(means[0] / means[1]).mean())
    )
    logs = np.log(means) + x / means - 1  # to the first order, example by example
    for verdict, d in zip(found.verdicts, (logs[0] - logs[1], logs[0] - np.log(0.3))):
        assert verdict.over == examples.EXAMPLES
        expected = effects.two_sided(crossed.crossed(d))
        assert verdict.p == pytest.approx(expected, rel=1e-3)


def test_against_a_number_an_accuracy_stays_within_its_limits():
    correct = _drawn(0.9, 0.995, seeds=4, size=60)
    (verdict,) = _found(correct, _claim(left=OTHER, right=0.9)).verdicts
    expected = crossed.crossed_share(correct["test"][1] * 1.0, 0.9)
    assert verdict.p == pytest.approx(effects.two_sided(expected))
    assert verdict.high <= 0.1 + 1e-12
    mean, low, high = _found(correct).level(1, TEST)
    assert (low < mean <= high <= 1.0) or mean == 1.0


@pytest.mark.parametrize(
    "quantity",
    [
        Quantity(metric="test_accuracy", reduction="best"),
        Quantity(metric="test_loss"),
        Quantity(metric="test_accuracy", reduction="steps_to", target=0.5),
        Quantity(reduction="at_chance_share"),
    ],
)
def test_all_else_speaks_of_seeds_alone(quantity):
    (verdict,) = _found(_drawn(0.9, 0.8), _claim(quantity)).verdicts
    assert verdict.over == examples.SEEDS
    assert verdict.p_seeds == verdict.p_holm


@pytest.mark.parametrize("right", [OTHER, 0.01])
def test_a_drop_to_other_examples_crosses_both_sets(right):
    correct = _drawn(0.9, 0.8)
    correct["validation"] = correct["validation"][:, :, :200]
    drop = Quantity(metric="validation_accuracy", reduction="drop_from_test")
    (verdict,) = _found(correct, _claim(drop, right=right)).verdicts
    test, other = (correct[name] * 1.0 for name in ("test", "validation"))
    if right is OTHER:
        effect = crossed.crossed(test[0] - test[1], other[1] - other[0])
    else:
        effect = crossed.crossed(test[0] - right, -other[0])
    assert verdict.over == examples.EXAMPLES
    assert verdict.effect == pytest.approx(effect.mean)
    assert verdict.p == pytest.approx(effects.two_sided(effect))


def test_without_answers_it_is_seeds_alone_as_that_p_beside_it():
    found = _found(_drawn(0.9, 0.88, 0.86), _claim())
    bare = Findings(dataclasses.replace(found.results, each=None))
    pairs = [*zip(found.compared, bare.compared), *zip(found.verdicts, bare.verdicts)]
    assert any(with_answers.over == examples.EXAMPLES for with_answers, _ in pairs)
    for with_answers, alone in pairs:
        assert alone.over == examples.SEEDS
        assert with_answers.p_seeds == pytest.approx(alone.p_holm, nan_ok=True)
        if with_answers.over == examples.EXAMPLES:
            assert with_answers.p > alone.p
    row = found.rows[1]
    assert row["test_accuracy_difference_p_seeds"] == found.compared[1].p_seeds
    assert row["test_accuracy_difference_over"] == examples.EXAMPLES


def test_seeds_that_diverged_and_trials_of_other_data_are_told_apart():
    correct = _drawn(0.9, 0.8, suits=0.2, ability=0.05)
    lost = {(1, 2): 3}
    (verdict,) = _found(correct, _claim(), diverged=lost).verdicts
    kept = np.arange(8) != 2
    x = correct["test"][:, kept] * 1.0
    effect = crossed.crossed(x[0] - x[1])
    assert (verdict.n, verdict.p) == (7, pytest.approx(effects.two_sided(effect)))
    sweep = [dict(s) for s in synthetic.labelled(2)]
    sweep[1]["dataset"] = "mnist"
    found = _found(correct, _claim(), sweep=sweep)
    found.results.config["datasets"]["mnist"]["digest"] = "1" * 64
    apart = crossed.crossed(correct["test"][0] * 1.0, -1.0 * correct["test"][1])
    assert found.verdicts[0].p == pytest.approx(effects.two_sided(apart))


def test_splits_of_each_seed_speak_of_new_data():
    found = _found(_drawn(0.9, 0.87), _claim(), _claim(left=ONE, right=0.5))
    object.__setattr__(found.results.study, "vary", ("init", "order", "split"))
    values = found.final(0, "test_accuracy"), found.final(1, "test_accuracy")
    ratio = synthetic.EXAMPLES["test"] / synthetic.EXAMPLES["train"]
    effect = crossed.resampled(values[0] - values[1], ratio)
    pair, number = found.verdicts
    assert pair.high <= 1.0
    compared = found.compared[1 - found.best]
    assert {pair.over, number.over, compared.over} == {examples.DATA}
    assert pair.p == pytest.approx(effects.two_sided(effect))
    assert compared.p == pytest.approx(effects.two_sided(effect))
    assert pair.p_seeds < pair.p_holm
    train = Quantity(metric="train_accuracy")
    assert examples.ratio(found.results, 0, train) == 0.0
    object.__setattr__(found.results.study, "vary", ("init", "split=published"))
    again = Findings(found.results)
    assert again.verdicts[0].over == examples.EXAMPLES  # one test set for all
    validation = Quantity(metric="validation_accuracy")
    assert examples.ratio(found.results, 0, validation) == pytest.approx(288 / 1149)


def test_intervals_of_differences_stay_within_1():
    world = World(3, 12, (0.9, 0.3), suits=0.1, ability=1.0)
    test = world.draw(np.random.default_rng(4))
    found = _found({"validation": test, "test": test}, _claim())
    for one in (found, Findings(dataclasses.replace(found.results, each=None))):
        ends = one.verdicts[0].low, one.verdicts[0].high
        ends += one.compared[1].low, one.compared[1].high
        assert -1.0 <= min(ends) < max(ends) <= 1.0
        assert max(map(abs, ends)) == 1.0


def test_a_trial_at_chance_in_3_of_3_seeds_differs_from_100_percent():
    correct = {}
    for split in ("validation", "test"):
        lost = np.arange(360) % 10 == 0
        both = np.array([np.ones(360, bool), lost])
        correct[split] = np.repeat(both[:, None], 3, axis=1)
    at_chance = [(1, seed) for seed in range(3)]
    found = _found(correct, _claim(), at_chance=at_chance)
    assert found.verdicts[0].verdict == "supported"
    assert found.verdicts[0].low > 0.8
    assert found.compared[1].resolved


def test_intervals_without_0_are_the_significant_ones():
    rng, seen = np.random.default_rng(0), set()
    for _ in range(6):
        accuracies = tuple(rng.uniform(0.8, 0.92, 5))
        world = World(6, 400, accuracies, suits=0.2, ability=0.1)
        found = draw_answers(world, rng)
        for one in (found, dataclasses.replace(found, each=None)):
            one = Findings(one)
            tested = [*one.compared, *one.verdicts]
            for side in (s for s in tested if not np.isnan(s.p_holm + s.low)):
                assert (side.low <= 0 <= side.high) == (side.p_holm > 0.05)
                seen.add((side.over, side.p_holm > 0.05))
    assert len(seen) == 4


def test_a_view_with_fewer_seeds_has_their_answers():
    found = _found(_drawn(0.9, 0.85))
    view = restricted(found.results, [5, 5])
    effect = crossed.crossed(np.subtract(*found_values(found, 5)))
    assert Findings(view).compared[1].p == pytest.approx(effects.two_sided(effect))


def found_values(found, seeds):
    return [found.results.correct(t, "test")[:seeds] * 1.0 for t in (0, 1)]
