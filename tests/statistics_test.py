# SPDX-License-Identifier: Apache-2.0
"""Laws of nnlab.statistics: coverage, error rates, censoring and verdicts."""

import dataclasses
import math

import numpy as np
import pyarrow as pa
import pytest
import synthetic
from hypothesis import given
from hypothesis import strategies as some
from scipy import stats

from nnlab import statistics
from nnlab.study import Claim, Quantity

FINAL = Quantity(metric="test_accuracy")


def _labelled(n, **more):
    """A sweep of `n` trials with the labels "0", "1", ..."""
    return [
        {"optimizer.learning_rate": 0.1 * (i + 1), "label": str(i), **more}
        for i in range(n)
    ]


def _claim(quantity=FINAL, left="0", right="1", relation="greater", margin=0.0):
    sides = [{"label": s} if isinstance(s, str) else s for s in (left, right)]
    sides[1] = "chance" if right == "chance" else sides[1]
    return Claim(
        text="a claim",
        quantity=quantity,
        left=sides[0],
        right=sides[1],
        relation=relation,
        margin=margin,
    )


def _verdicts(values, *claims, **options):
    n = len(next(iter(values.values())) if isinstance(values, dict) else values)
    options = {"sweep": _labelled(n), **options}
    return statistics.judge(synthetic.results(values, claims=claims, **options))


def _binomial_bound(n, rate):
    """The count that a true rate exceeds in one test run of 10,000."""
    return stats.binom.ppf(0.9999, n, rate)


# Means and intervals


def test_mean_interval_is_students_over_values_present():
    values = np.random.default_rng(0).normal(size=(6, 3))
    values[4:, 1] = np.nan
    mean, low, high = statistics.mean_interval(values)
    column = values[:4, 1]
    expected = stats.t.interval(0.95, 3, column.mean(), stats.sem(column))
    assert mean[1] == pytest.approx(column.mean(), rel=1e-12)
    assert (low[1], high[1]) == pytest.approx(expected, rel=1e-10)


def test_mean_interval_has_no_band_below_three_values():
    values = np.array([[1.0, 1.0, np.nan], [2.0, 3.0, np.nan], [3.0, np.nan, np.nan]])
    mean, low, high = statistics.mean_interval(values)
    np.testing.assert_array_equal(mean, [2.0, 2.0, np.nan])
    np.testing.assert_array_equal(np.isnan(low), [False, True, True])
    np.testing.assert_array_equal(np.isnan(high), [False, True, True])


def test_mean_interval_names_a_bad_level():
    with pytest.raises(ValueError, match=r"level=95"):
        statistics.mean_interval([1.0, 2.0, 3.0], level=95)


@pytest.mark.parametrize("n", [3, 4, 8, 16, 30])
def test_intervals_cover_the_mean_of_normal_data(n):
    values = np.random.default_rng(n).normal(5.0, 2.0, (n, 10_000))
    _, low, high = statistics.mean_interval(values)
    assert 0.93 <= np.mean((low <= 5.0) & (high >= 5.0)) <= 0.97


# Holm


def test_holm_by_hand():
    adjusted = statistics.holm([0.01, 0.04, np.nan, 0.03, 0.5])
    np.testing.assert_allclose(adjusted, [0.04, 0.09, np.nan, 0.09, 0.5], rtol=1e-12)


@given(some.lists(some.floats(0.0, 1.0), max_size=12), some.randoms())
def test_holm_keeps_order_and_does_not_depend_on_it(p, random):
    adjusted = statistics.holm(p)
    assert np.all(adjusted >= p)
    assert np.all(adjusted <= 1.0)
    assert np.all(np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0.0)
    order = random.sample(range(len(p)), len(p))
    np.testing.assert_array_equal(statistics.holm(np.take(p, order)), adjusted[order])


# Members


def test_stopped_members_are_carried_forward_at_their_best():
    accuracy = np.array([[[0.5, 0.9, 0.6, 0.7], [0.1, 0.2, 0.3, 0.4]]])
    found = synthetic.results(accuracy, stopped={(0, 0): 3}, diverged={(0, 1): 2})
    curve = statistics.carried_forward(found, 0, "test_accuracy")
    expected = [[0.5, 0.9, 0.6], [0.1, 0.2, np.nan]]
    np.testing.assert_array_equal(curve.values, expected)
    found = synthetic.results(np.tile(accuracy, (1, 2, 1)), stopped={(0, 0): 3})
    curve = statistics.carried_forward(found, 0, "test_accuracy")
    np.testing.assert_array_equal(curve.values[0], [0.5, 0.9, 0.6, 0.9])


def test_every_member_is_counted_once():
    found = synthetic.results(
        diverged={(0, 0): 3, (0, 1): 0},
        stopped={(0, 2): 5},
        unfinished={(0, 3): 2},
        at_chance=[(0, 4)],
        never_ran=[2],
    )
    counts = statistics.status_counts(found, 0)
    assert counts == {
        "finished": 4,
        "stopped": 1,
        "diverged": 2,
        "unfinished": 1,
        "at_chance": 1,
    }
    assert statistics.alive(found, 0).tolist() == [False] * 2 + [True] + [False] + (
        [True] * 4
    )
    assert set(statistics.status_counts(found, 2).values()) == {0}


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        (Quantity(metric="test_accuracy"), [0.6, np.nan]),
        (Quantity(metric="test_accuracy", reduction="best"), [0.9, np.nan]),
        (Quantity(metric="test_loss", reduction="best"), [0.2, np.nan]),
        (Quantity(metric="test_accuracy", reduction="best_minus_final"), [0.3, np.nan]),
        (Quantity(metric="test_loss", reduction="best_minus_final"), [-0.4, np.nan]),
        (Quantity(metric="test_accuracy", reduction="at_epoch", epoch=2), [0.9, 0.7]),
        (Quantity(metric="test_accuracy", reduction="at_epoch", epoch=9), [np.nan] * 2),
        (Quantity(metric="test_accuracy", reduction="at_step", step=42), [0.58, 0.54]),
        (Quantity(metric="test_accuracy", reduction="at_step", step=70), [0.9, 0.7]),
        (
            Quantity(metric="test_accuracy", reduction="at_step", step=84),
            [0.78, np.nan],
        ),
        (Quantity(metric="test_accuracy", reduction="at_step", step=34), [np.nan] * 2),
        (Quantity(metric="test_accuracy", reduction="at_step", step=106), [np.nan] * 2),
        (Quantity(reduction="steps"), [105.0, np.nan]),
        (
            Quantity(metric="test_moved_accuracy", reduction="drop_from_test"),
            [0.2, np.nan],
        ),
        (Quantity(reduction="diverged_share"), [0.0, 1.0]),
        (Quantity(reduction="at_chance_share"), [0.0, 0.0]),
        (
            Quantity(metric="test_accuracy", reduction="steps_to", target=0.9),
            [70.0, np.inf],
        ),
        (
            Quantity(metric="test_loss", reduction="steps_to", target=0.5),
            [70.0, np.inf],
        ),
        (
            Quantity(metric="test_accuracy", reduction="steps_to", target=0.7),
            [70.0, np.inf],
        ),
    ],
    ids=lambda v: v.reduction if isinstance(v, Quantity) else "",
)
def test_reductions(quantity, expected):
    values = {
        "test_accuracy": [[[0.5, 0.9, 0.6], [0.5, 0.7, 0.6]]],
        "test_moved_accuracy": [[[0.1, 0.2, 0.4], [0.1, 0.2, 0.4]]],
        "test_loss": [[[0.8, 0.2, 0.6], [0.8, 0.7, 0.6]]],
    }
    found = synthetic.results(values, diverged={(0, 1): 2})
    reduced = statistics.reduce_members(found, quantity, 0)
    np.testing.assert_allclose(reduced, expected, rtol=1e-12)


def test_a_stopped_member_is_worth_its_best_from_its_end_to_the_end_of_training():
    accuracy = np.array([[[0.5, 0.9, 0.6, 0.7, 0.1, 0.1]] * 2])
    found = synthetic.results(accuracy, stopped={(0, 0): 4, (0, 1): 3})

    def at(reduction, **more):
        quantity = Quantity(metric="test_accuracy", reduction=reduction, **more)
        return statistics.reduce_members(found, quantity, 0).tolist()

    assert at("final") == [0.9, 0.9]
    assert at("best_minus_final") == [0.0, 0.0]
    assert at("at_step", step=35 * 4) == [0.7, 0.9]
    assert at("at_step", step=35 * 6) == at("at_epoch", epoch=6) == [0.9, 0.9]
    assert np.isnan(at("at_step", step=35 * 6 + 1)).all()
    assert np.isnan(at("at_step", step=34)).all()
    steps = statistics.reduce_members(found, Quantity(reduction="steps"), 0)
    assert steps.tolist() == [35 * 4, 35 * 3]


def test_a_metric_of_the_kept_model_alone_is_its_final_value():
    accuracy = np.array([[[0.5, 0.9, 0.6, 0.7]] * 3])
    moved = np.full(accuracy.shape, np.nan)
    moved[0, 0, 1] = moved[0, 1, 1] = 0.4  # stopped: in the row of the best step
    moved[0, 2, 3] = 0.3
    values = {f"{part}_accuracy": accuracy for part in ("validation", "test")}
    found = synthetic.results(
        {**values, "test_moved_accuracy": moved}, stopped={(0, 0): 3, (0, 1): 4}
    )
    expected = {"final": [0.4, 0.4, 0.3], "drop_from_test": [0.5, 0.5, 0.4]}
    expected |= {"best": [0.4, 0.4, 0.3], "best_minus_final": [0.0] * 3}
    for reduction, value in expected.items():
        quantity = Quantity(metric="test_moved_accuracy", reduction=reduction)
        reduced = statistics.reduce_members(found, quantity, 0)
        np.testing.assert_allclose(reduced, value, atol=1e-12)
    nothing = synthetic.results({"test_accuracy": moved * np.nan}, stopped={(0, 0): 3})
    assert np.isnan(statistics.reduce_members(nothing, FINAL, 0)).all()


def test_members_of_a_trial_that_never_ran_have_no_value():
    found = synthetic.results(never_ran=[1])
    assert np.isnan(statistics.reduce_members(found, FINAL, 1)).all()


def test_a_target_is_reached_in_float32_too():
    found = synthetic.results(np.full((1, 3, 2), np.float32(0.95)))
    assert statistics.steps_to_target(found, 0, 0.95).reached_share == 1.0


def test_median_steps_count_those_that_never_arrive():
    accuracy = np.zeros((2, 5, 4))
    accuracy[0, :3, 1:] = 0.9
    accuracy[1, :2, 1:] = 0.9
    found = synthetic.results(accuracy)
    most, few = (statistics.steps_to_target(found, t, 0.9) for t in (0, 1))
    assert (most.reached_share, most.median_steps, most.median_epochs) == (0.6, 70, 2)
    assert (few.reached_share, few.median_steps) == (0.4, math.inf)


def test_an_unfinished_member_may_still_arrive():
    found = synthetic.results(np.zeros((1, 4)), unfinished={(0, 0): 2})
    assert statistics.steps_to_target(found, 0, 0.9).n == 3


# The best trial


def test_one_lucky_survivor_is_not_the_best():
    accuracy = np.array([[0.99] * 8, [0.9] * 8, [0.95] * 8])
    lost = {(0, seed): 3 for seed in range(7)}
    found = synthetic.results(accuracy, diverged=lost)
    assert statistics.best_trial(found) == 2
    found = synthetic.results(accuracy[:1], diverged=lost)
    assert statistics.best_trial(found) is None


def test_an_unfinished_trial_is_not_the_best():
    found = synthetic.results(np.array([[0.9] * 3, [0.8] * 3]), unfinished={(0, 1): 4})
    assert statistics.best_trial(found) == 1


def test_test_accuracy_does_not_choose_the_best():
    validation = np.array([[0.8] * 3, [0.9] * 3])
    found = synthetic.results(
        {"validation_accuracy": validation, "test_accuracy": 1 - validation}
    )
    assert statistics.best_trial(found) == 1


def test_default_target_tells_the_trials_apart():
    time = np.arange(1, 31)
    speeds = np.array([1.0, 0.3, 0.1, 0.03])[:, None, None]
    accuracy = np.broadcast_to(0.98 * (1 - np.exp(-speeds * time)), (4, 5, 30))
    found = synthetic.results(accuracy)
    target = statistics.default_target(found)
    medians = [
        statistics.steps_to_target(found, t, target).median_steps for t in (0, 1, 2, 3)
    ]
    assert target == 0.9
    assert len(set(medians)) == 4


def test_default_target_survives_a_dead_seed_and_perfect_accuracy():
    accuracy = np.full((1, 8), 1.0)
    accuracy[0, 0] = 0.1
    assert statistics.default_target(synthetic.results(accuracy)) == 0.999
    nothing = synthetic.results(unfinished={(t, 0): 1 for t in range(4)})
    assert math.isnan(statistics.default_target(nothing))


def test_default_target_is_near_what_the_best_reaches():
    # A target of 0.3 would tell all five apart, one of 0.9 or more the first alone.
    levels = np.array([0.98, 0.65, 0.55, 0.45, 0.35])[:, None, None]
    speeds = np.array([1.0, 0.5, 0.4, 0.3, 0.2])[:, None, None]
    accuracy = levels * (1 - np.exp(-speeds * np.arange(1, 31)))
    found = synthetic.results(np.tile(accuracy, (1, 3, 1)))
    assert statistics.default_target(found) == 0.98


def test_comparison_is_a_paired_t_adjusted_over_all_pairs():
    accuracy = 0.9 + 0.01 * np.random.default_rng(1).normal(size=(3, 8))
    accuracy[1] += 0.02
    compared = statistics.compare_to_best(synthetic.results(accuracy))
    raw = [
        stats.ttest_rel(accuracy[a], accuracy[b]).pvalue
        for a, b in ((0, 1), (0, 2), (1, 2))
    ]
    holm = statistics.holm(raw)
    assert [c.p for c in compared] == pytest.approx(
        [raw[0], np.nan, raw[2]], nan_ok=True
    )
    assert [c.p_holm for c in compared] == pytest.approx(
        [holm[0], np.nan, holm[2]], nan_ok=True
    )
    interval = stats.ttest_rel(accuracy[2], accuracy[1]).confidence_interval()
    assert (compared[2].low, compared[2].high) == pytest.approx(tuple(interval))


def test_two_seeds_resolve_nothing():
    accuracy = np.array([[0.9, 0.9], [0.1, 0.11]])
    compared = statistics.compare_to_best(synthetic.results(accuracy))
    assert [c.resolved for c in compared] == [False, False]
    assert compared[1].mean == pytest.approx(-0.795)
    assert math.isnan(compared[1].low)


def test_choosing_the_best_resolves_no_difference_by_chance():
    # Adjusted for 15 comparisons, not for all 120 pairs, 18 % of these err.
    rng = np.random.default_rng(2)
    false = sum(
        any(c.resolved for c in statistics.compare_to_best(synthetic.results(values)))
        for values in 0.9 + 0.01 * rng.normal(size=(150, 16, 8, 1))
    )
    assert false <= _binomial_bound(150, 0.05)


def test_the_worst_trial_is_one_that_might_have_been_the_best():
    accuracy = np.array([[0.9] * 4, [0.2] * 4, [0.5] * 4, [0.8] * 4, [0.1] * 4])
    sweep = [{"batch_size": b} for b in (8, 16, 32, 64)]
    sweep.append({"dataset": "mnist", "batch_size": 8})
    lost = {(1, seed): 3 for seed in range(3)}
    found = synthetic.results(accuracy, sweep=sweep, diverged=lost)
    assert (statistics.best_trial(found), statistics.worst_trial(found)) == (0, 2)
    # Of two survivors at 80 % and two at chance the expectation is below 50 %.
    lost |= {(3, seed): 3 for seed in range(2)}
    found = synthetic.results(accuracy, sweep=sweep, diverged=lost)
    assert statistics.worst_trial(found) == 3
    assert statistics.worst_trial(synthetic.results(accuracy[:1])) is None
    nothing = synthetic.results(accuracy[:2], never_ran=[0, 1])
    assert statistics.worst_trial(nothing) is None


def test_comparisons_leave_out_who_diverged_and_count_signs_without_spread():
    accuracy = 0.9 + 0.01 * np.random.default_rng(12).normal(size=(4, 8))
    accuracy[0] += 0.03
    accuracy[1] = accuracy[0] - 0.02
    lost = {(2, seed): 2 for seed in range(2)} | {(3, seed): 2 for seed in range(3)}
    compared = statistics.compare_to_best(synthetic.results(accuracy, diverged=lost))
    expected = stats.ttest_rel(accuracy[2, 2:], accuracy[0, 2:])
    assert compared[1].p == pytest.approx(2 * 0.5**8)
    assert (compared[2].n, compared[2].p) == (6, pytest.approx(expected.pvalue))
    assert compared[2].mean == pytest.approx((accuracy[2] - accuracy[0])[2:].mean())
    assert compared[3].n == 5
    assert math.isnan(compared[3].p)
    other = stats.ttest_rel(accuracy[2, 2:], accuracy[1, 2:]).pvalue
    adjusted = statistics.holm([2 * 0.5**8, expected.pvalue, other])
    assert [c.p_holm for c in compared[1:3]] == pytest.approx(adjusted[:2].tolist())


# The table


def test_summary_has_the_drop_on_each_further_test_set_paired_by_seed():
    rng = np.random.default_rng(13)
    test, moved = rng.uniform(0.5, 1.0, (2, 1, 5))
    found = synthetic.results({"test_accuracy": test, "test_moved_accuracy": moved})
    (row,) = statistics.summarize(found).to_pylist()
    interval = stats.ttest_rel(test[0], moved[0]).confidence_interval()
    drop = "test_moved_accuracy_drop"
    assert row[f"{drop}_mean"] == pytest.approx((test - moved).mean())
    assert (row[f"{drop}_low"], row[f"{drop}_high"]) == pytest.approx(tuple(interval))
    assert "test_accuracy_drop_mean" not in row


def test_summary_means_are_over_survivors_and_the_rest_is_null(tmp_path):
    accuracy = np.array([[0.9, 0.8, 0.7, 0.3]] * 3)
    found = synthetic.results(
        accuracy, diverged={(0, 3): 2}, never_ran=[2], workdir=tmp_path
    )
    rows = statistics.summarize(found).to_pylist()
    assert rows[0]["test_accuracy_mean"] == pytest.approx(0.8)
    assert rows[1]["test_accuracy_mean"] == pytest.approx(0.675)
    assert (rows[0]["n_finished"], rows[0]["n_diverged"]) == (3, 1)
    assert rows[2]["n_finished"] == 0
    assert rows[2]["test_accuracy_mean"] is None
    assert rows[0]["model.hidden"] == "[64]"
    assert [row["best"] for row in rows] == [False, True, False]


def test_summary_of_stored_results_is_the_same(tmp_path):
    options = {"diverged": {(0, 0): 0}, "stopped": {(1, 1): 4}, "never_ran": [3]}
    stored = synthetic.results(**options, workdir=tmp_path)
    fresh = synthetic.results(**options)
    assert statistics.summarize(stored).equals(statistics.summarize(fresh))


def test_summary_has_null_for_a_target_not_reached():
    found = synthetic.results(np.array([[0.9] * 3, [0.5] * 3]), target=0.8)
    fast, slow = statistics.summarize(found).to_pylist()
    assert (fast["reached_share"], fast["median_epochs_to_target"]) == (1.0, 1.0)
    assert (slow["reached_share"], slow["median_epochs_to_target"]) == (0.0, None)


def test_summary_of_a_study_that_never_began():
    found = synthetic.results(never_ran=range(4))
    rows = statistics.summarize(found).to_pylist()
    assert [row["n_finished"] for row in rows] == [0] * 4
    assert not any(row["best"] for row in rows)


# Verdicts


def test_verdict_is_a_paired_t_test():
    accuracy = 0.9 + 0.01 * np.random.default_rng(3).normal(size=(2, 8))
    accuracy[0] += 0.05
    (verdict,) = _verdicts(accuracy, _claim())
    expected = stats.ttest_rel(accuracy[0], accuracy[1])
    assert verdict.verdict == "supported"
    assert verdict.p == pytest.approx(expected.pvalue)
    assert (verdict.low, verdict.high) == pytest.approx(
        tuple(expected.confidence_interval())
    )
    assert verdict.left - verdict.right == pytest.approx(verdict.effect)


@pytest.mark.parametrize("shift", [-0.05, 0.0, 0.05])
def test_swapping_the_sides_swaps_the_verdict(shift):
    accuracy = 0.9 + 0.01 * np.random.default_rng(4).normal(size=(2, 8))
    accuracy[0] += shift
    one, other = _verdicts(accuracy, _claim(), _claim(left="1", right="0"))
    swapped = {"supported": "contradicted", "contradicted": "supported"}
    assert other.verdict == swapped.get(one.verdict, one.verdict)
    assert (other.effect, other.p) == pytest.approx((-one.effect, one.p))
    (less,) = _verdicts(accuracy, _claim(left="1", right="0", relation="less"))
    assert less.verdict == one.verdict


def test_equal_differences_need_the_sign_test():
    accuracy = np.array([[0.9] * 8, [0.8] * 8])
    (verdict,) = _verdicts(accuracy, _claim())
    assert verdict.p == pytest.approx(2 * 0.5**8)
    assert math.isnan(verdict.low)
    (few,) = _verdicts(accuracy[:, :5], _claim())
    assert (few.verdict, few.p) == ("not resolved", pytest.approx(2 * 0.5**5))


@pytest.mark.parametrize("relation", ["greater", "same"])
def test_two_seeds_are_not_tested(relation):
    claim = _claim(relation=relation, margin=0.5)
    (verdict,) = _verdicts(np.array([[0.9, 0.91], [0.5, 0.5]]), claim)
    assert (verdict.verdict, verdict.n) == ("not resolved", 2)
    assert math.isnan(verdict.p)


def test_identical_sides_are_not_resolved():
    (verdict,) = _verdicts(np.full((2, 8), 0.9), _claim())
    assert (verdict.verdict, verdict.effect, verdict.p) == ("not resolved", 0.0, 1.0)


def test_shares_are_compared_by_mcnemar():
    share = Quantity(reduction="diverged_share")
    lost = {(0, seed): 2 for seed in range(8)}
    (all_lost,) = _verdicts(np.full((2, 8), 0.9), _claim(share), diverged=lost)
    assert all_lost.verdict == "supported"
    assert all_lost.p == pytest.approx(2 * 0.5**8)
    assert 0.4 < all_lost.low < all_lost.high == 1.0
    lost = {(0, seed): 2 for seed in range(4)}
    (half,) = _verdicts(np.full((2, 8), 0.9), _claim(share), diverged=lost)
    assert (half.verdict, half.p) == ("not resolved", pytest.approx(2 * 0.5**4))


def test_eight_agreeing_pairs_do_not_prove_shares_the_same():
    share = Quantity(reduction="diverged_share")
    same = _claim(share, relation="same", margin=0.1)
    (verdict,) = _verdicts(np.full((2, 8), 0.9), same)
    assert verdict.verdict == "not resolved"


@pytest.mark.parametrize(
    ("count", "expected_verdict"),
    [(0, "contradicted"), (7, "not resolved"), (8, "supported")],
)
def test_a_share_against_a_number_is_a_binomial_test(count, expected_verdict):
    share = Quantity(reduction="at_chance_share")
    dead = [(0, seed) for seed in range(count)]
    (verdict,) = _verdicts(
        np.full((1, 8), 0.9), _claim(share, right=0.5), at_chance=dead
    )
    expected = stats.binomtest(count, 8, 0.5)
    assert verdict.verdict == expected_verdict
    assert verdict.p == pytest.approx(expected.pvalue)
    interval = expected.proportion_ci()
    assert (verdict.low + 0.5, verdict.high + 0.5) == pytest.approx(
        (interval.low, interval.high)
    )


def test_survivors_do_not_speak_for_a_diverging_trial():
    accuracy = 0.8 + 0.01 * np.random.default_rng(5).normal(size=(2, 8))
    accuracy[0] += 0.1
    two, three = ({(0, seed): 2 for seed in range(n)} for n in (2, 3))
    (verdict,) = _verdicts(accuracy, _claim(), diverged=two)
    assert (verdict.verdict, verdict.n, verdict.left_out) == ("supported", 6, 2)
    assert "2 of 8 pairs left out" in verdict.reason
    (verdict,) = _verdicts(accuracy, _claim(), diverged=three)
    assert (verdict.verdict, verdict.n) == ("not resolved", 5)


def test_same_needs_the_interval_inside_the_margin():
    rng = np.random.default_rng(6)
    accuracy = 0.9 + 0.001 * rng.normal(size=(2, 8))
    wide = _claim(relation="same", margin=0.01)
    narrow = _claim(relation="same", margin=0.0001)
    assert [v.verdict for v in _verdicts(accuracy, wide, narrow)] == [
        "supported",
        "not resolved",
    ]
    accuracy[0] += 0.05
    (verdict,) = _verdicts(accuracy, wide)
    assert verdict.verdict == "contradicted"


def test_trials_that_are_absent_are_not_tested():
    claims = (
        _claim(left="nobody"),
        _claim(left="2"),
        _claim(Quantity(metric="test_moved_accuracy")),
        _claim(Quantity(metric="test_accuracy", reduction="at_epoch", epoch=99)),
        _claim(Quantity(reduction="seconds"), right="chance"),
        _claim(),
    )
    accuracy = np.random.default_rng(7).normal(0.9, 0.01, (3, 8))
    *absent, tested = _verdicts(accuracy, *claims, never_ran=[2])
    assert {v.verdict for v in absent} == {"not tested in this run"}
    assert all(v.reason for v in absent)
    assert tested.p_holm == tested.p


def test_chance_is_that_of_the_data_set():
    accuracy = np.random.default_rng(8).normal(0.5, 0.01, (1, 8))
    (verdict,) = _verdicts(accuracy, _claim(right="chance"))
    assert verdict.verdict == "supported"
    assert verdict.right == synthetic.CHANCE


def test_selectors_average_matching_trials_seed_by_seed():
    rng = np.random.default_rng(9)
    accuracy = rng.normal(0.9, 0.01, (4, 8))
    sweep = [
        {"optimizer.learning_rate": rate, "model.hidden": hidden}
        for hidden in ((8,), (16, 16))
        for rate in (0.1, 0.3)
    ]
    wide, slow = {"model.hidden": [16, 16]}, {"optimizer.learning_rate": 0.1 + 1e-17}
    claims = (_claim(left=wide, right=slow), _claim(left=wide | slow, right=0.9))
    averaged, single = _verdicts(accuracy, *claims, sweep=sweep)
    expected = stats.ttest_rel(accuracy[[2, 3]].mean(0), accuracy[[0, 2]].mean(0))
    assert averaged.p == pytest.approx(expected.pvalue)
    assert single.effect == pytest.approx(accuracy[2].mean() - 0.9)


def test_averages_of_shares_are_compared():
    share = Quantity(reduction="diverged_share")
    lost = {(trial, seed): 2 for trial in (0, 1) for seed in range(8)}
    both = {"batch_size": 32}
    sweep = [*_labelled(2), {"batch_size": 64, "label": "other"}]
    claim = _claim(share, left=both, right="other")
    (verdict,) = _verdicts(np.full((3, 8), 0.9), claim, sweep=sweep, diverged=lost)
    assert (verdict.verdict, verdict.effect) == ("supported", 1.0)


def _tuned(validation, test, **options):
    """A claim among the best of trials 0 to 2 against trials 3 and 4."""
    left, right = {"batch_size": 16}, {"batch_size": 64}
    sweep = [
        {"optimizer.learning_rate": rate, **side}
        for side, rates in ((left, (0.1, 0.2, 0.3)), (right, (0.1, 0.2)))
        for rate in rates
    ]
    claim = dataclasses.replace(_claim(left=left, right=right), among="best")
    values = {"validation_accuracy": validation, "test_accuracy": test}
    return _verdicts(values, claim, sweep=sweep, **options)[0]


def test_the_best_by_validation_stands_for_a_side():
    rng = np.random.default_rng(14)
    level = np.array([0.7, 0.9, 0.8, 0.6, 0.5])[:, None]
    test = rng.normal(0.9, 0.01, (5, 8))
    verdict = _tuned(level + np.zeros(8), test)
    expected = stats.ttest_rel(test[1], test[3])
    assert verdict.p == pytest.approx(expected.pvalue)
    assert (verdict.left_trial, verdict.right_trial) == (1, 3)
    # A seed that is lost counts as chance in the choice.
    verdict = _tuned(level + np.zeros(8), test, diverged={(1, 0): 2, (1, 1): 2})
    assert verdict.effect == pytest.approx((test[2] - test[3]).mean())


def test_a_side_without_a_trial_that_survives_has_no_best():
    values = np.full((5, 8), 0.9)
    lost = {(trial, seed): 2 for trial in (3, 4) for seed in range(5)}
    verdict = _tuned(values, values, diverged=lost)
    assert verdict.verdict == "not tested in this run"
    assert "right" in verdict.reason
    alone = _tuned(values, values, never_ran=[4], diverged={(3, 0): 2})
    assert alone.n == 7
    assert (alone.left_trial is not None, alone.right_trial) == (True, None)


def test_choosing_by_validation_does_not_flatter_the_side_with_more_trials():
    rng = np.random.default_rng(15)
    false = sum(
        _tuned(*rng.normal(0.9, 0.01, (2, 5, 6, 1))).verdict != "not resolved"
        for _ in range(300)
    )
    assert false <= _binomial_bound(300, 0.05)


# Steps to a target


TO_90 = Quantity(metric="test_accuracy", reduction="steps_to", target=0.9)


def _reaching(*evaluations, num_evaluations=20):
    """Accuracies (T, S, E) that reach 0.9 at the given evaluations (T, S)."""
    at = np.array(evaluations)[:, :, None]
    return np.where(np.arange(num_evaluations) >= at, 0.95, 0.5)


def test_steps_to_a_target_count_the_censored():
    accuracy = _reaching([2, 3, 2, 4, 3, 2, 3, 4], [15, 16, 99, 99, 17, 99, 99, 99])
    (verdict,) = _verdicts(accuracy, _claim(TO_90, relation="less"))
    assert verdict.verdict == "supported"
    assert (verdict.left, verdict.right) == (35 * 4, math.inf)
    assert (verdict.left_reached, verdict.right_reached) == (1.0, 3 / 8)
    restricted = 35 * (np.mean([16, 17, 18] + [20] * 5) - np.mean([3, 4, 5]) + 0.125)
    assert verdict.effect == pytest.approx(-restricted)
    assert "lower bound" in verdict.reason


def test_steps_are_not_compared_where_nobody_arrives():
    accuracy = _reaching([99] * 8, [99] * 8)
    same = _claim(TO_90, relation="same", margin=10.0)
    for verdict in _verdicts(accuracy, _claim(TO_90), same):
        assert verdict.verdict == "not resolved"


def test_diverged_members_never_arrive():
    accuracy = _reaching([2] * 7 + [3], [9, 9, 8, 9, 10, 9, 9, 8])
    lost = {(0, seed): 5 for seed in range(8)}
    (verdict,) = _verdicts(accuracy, _claim(TO_90, relation="less"), diverged=lost)
    assert (verdict.verdict, verdict.left_reached) == ("contradicted", 0.0)


def test_steps_are_restricted_to_the_shorter_training():
    accuracy = _reaching([15, 16, 17], [18, 18, 19])
    sweep = [{"batch_size": 32, "label": "0"}, {"batch_size": 64, "label": "1"}]
    (verdict,) = _verdicts(accuracy, _claim(TO_90), sweep=sweep)
    horizon = 20 * (synthetic.EXAMPLES["train"] // 64)
    right = np.mean([19, 19, 20]) * (synthetic.EXAMPLES["train"] // 64)
    assert verdict.effect == pytest.approx(horizon - right)


# Seconds


def test_seconds_are_compared_by_welch_between_cohorts():
    times = {0: [0.1, 0.12, 0.11, 0.1], 1: [0.2, 0.23, 0.21]}
    sweep = [{"batch_size": 32, "label": "0"}, {"batch_size": 64, "label": "1"}]
    claims = (_claim(Quantity(reduction="seconds"), relation="less"),)
    (verdict,) = _verdicts(np.full((2, 8), 0.9), *claims, sweep=sweep, seconds=times)
    expected = stats.ttest_ind(times[0], times[1], equal_var=False)
    assert verdict.verdict == "supported"
    assert verdict.p == pytest.approx(expected.pvalue)
    assert (verdict.low, verdict.high) == pytest.approx(
        tuple(expected.confidence_interval())
    )


def test_segments_with_idle_lanes_do_not_count_in_seconds():
    found = synthetic.results(num_trials=2, seconds={0: [0.1, 0.2, 0.1, 0.1, 0.9, 0.9]})
    members = pa.array([16, 16, 16, 15, 4, 1], pa.int32())
    index = found.timings.column_names.index("members")
    timings = found.timings.set_column(index, "members", members)
    seconds = statistics.seconds_per_epoch(
        dataclasses.replace(found, timings=timings), 0
    )
    np.testing.assert_allclose(seconds, [0.1, 0.2, 0.1])
    fewer = timings.set_column(
        index, "members", pa.array([16, 9, 7, 7, 4, 1], pa.int32())
    )
    seconds = statistics.seconds_per_epoch(dataclasses.replace(found, timings=fewer), 0)
    np.testing.assert_allclose(seconds, [0.1, 0.2, 0.1, 0.1])


def test_one_program_has_one_speed():
    (verdict,) = _verdicts(np.full((2, 8), 0.9), _claim(Quantity(reduction="seconds")))
    assert verdict.verdict == "not resolved"
    assert "one compiled program" in verdict.reason


# Error rates


def test_no_difference_yields_no_verdict_in_95_of_100_studies():
    claims = [_claim(left=a, right=b) for a, b in ("01", "02", "13", "23")]
    rng = np.random.default_rng(10)
    false = sum(
        any(v.verdict != "not resolved" for v in _verdicts(values, *claims))
        for values in rng.normal(0.9, 0.01, (300, 4, 6, 1))
    )
    # Without Holm 15 % of these studies err: 46 of 300.
    assert false <= _binomial_bound(300, 0.05)


def test_a_difference_at_the_margin_is_rarely_called_the_same():
    rng = np.random.default_rng(11)
    accuracy = rng.normal(0.9, 0.004, (300, 2, 8, 1))
    accuracy[:, 0] += 0.01
    same = _claim(relation="same", margin=0.01)
    verdicts = [_verdicts(values, same)[0].verdict for values in accuracy]
    assert verdicts.count("supported") <= _binomial_bound(300, 0.05)
    assert verdicts.count("contradicted") <= _binomial_bound(300, 0.05)


def test_verdicts_are_frozen_and_in_order():
    claims = [dataclasses.replace(_claim(), text=t) for t in ("one", "two")]
    verdicts = _verdicts(np.full((2, 4), 0.9), *claims)
    assert [v.claim.text for v in verdicts] == ["one", "two"]
