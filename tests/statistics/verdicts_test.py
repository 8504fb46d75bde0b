# SPDX-License-Identifier: Apache-2.0
"""Verdicts on claims: error rates, censoring, and which networks count."""

import dataclasses
import math

import numpy as np
import pytest
import synthetic
from scipy import stats

from nnlab.statistics import effects
from nnlab.statistics.judging import undecidable
from nnlab.study import Claim, Quantity, Study
from nnlab.study.claims import AT_CHANCE, DIVERGED, SECONDS, depends

FINAL = Quantity(metric="test_accuracy")
BATCHES = [{"batch_size": 32, "label": "0"}, {"batch_size": 64, "label": "1"}]


def _binomial_bound(n, rate):
    """Returns the count that a true rate exceeds in one test run of 10,000."""
    return stats.binom.ppf(0.9999, n, rate)


def _claim(quantity=FINAL, left="0", right="1", **more):
    if right != "chance" and isinstance(right, str):
        right = {"label": right}
    left = {"label": left} if isinstance(left, str) else left
    return Claim(text="x", quantity=quantity, left=left, right=right, **more)


def _verdicts(values, *claims, **options):
    n = len(next(iter(values.values())) if isinstance(values, dict) else values)
    options = {"sweep": synthetic.labelled(n), **options}
    return synthetic.findings(values, claims=claims, **options).verdicts


def _agrees(found, expected, constant=0.0):
    """Expects p and interval of SciPy's test; of a share against a constant's too.

    The interval is adjusted like p.
    """
    interval = getattr(expected, "confidence_interval", None) or expected.proportion_ci
    ends = found.low + constant, found.high + constant
    assert found.p == pytest.approx(expected.pvalue)
    assert found.p_seeds == found.p_holm >= found.p
    level = 1 - 0.05 * found.p / found.p_holm
    assert ends == pytest.approx(tuple(interval(level)))


def test_verdict_is_a_paired_t_test():
    accuracy = 0.9 + 0.01 * np.random.default_rng(3).normal(size=(2, 8))
    accuracy[0] += 0.05
    (verdict,) = _verdicts(accuracy, _claim())
    assert verdict.verdict == "supported"
    _agrees(verdict, stats.ttest_rel(accuracy[0], accuracy[1]))
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


@pytest.mark.parametrize(
    ("values", "relation", "verdict", "p"),
    [
        ([[0.9] * 8, [0.8] * 8], "greater", "supported", 2 * 0.5**8),
        ([[0.9] * 5, [0.8] * 5], "greater", "not significant", 2 * 0.5**5),
        ([[0.9] * 8] * 2, "greater", "not significant", 1.0),
        ([[0.9, 0.91], [0.5, 0.5]], "greater", "not testable", math.nan),
        ([[0.9, 0.91], [0.5, 0.5]], "same", "not testable", math.nan),
    ],
)
def test_equal_differences_take_the_sign_test_and_two_seeds_none(
    values, relation, verdict, p
):
    margin = 0.5 * (relation == "same")
    (found,) = _verdicts(np.array(values), _claim(relation=relation, margin=margin))
    assert (found.verdict, found.n) == (verdict, len(values[0]))
    assert found.p == pytest.approx(p, nan_ok=True)
    assert math.isnan(found.low)


def test_shares_are_compared_by_their_counts():
    claims = _claim(DIVERGED), _claim(DIVERGED, relation="same", margin=0.1)
    found = {
        n: _verdicts(
            np.full((2, 8), 0.9), *claims, diverged={(0, s): 2 for s in range(n)}
        )
        for n in (0, 3, 5, 8)
    }
    for n, expected in ((8, "supported"), (5, "supported"), (3, "not significant")):
        exact = stats.barnard_exact([[n, 0], [8 - n, 8]], n=401)
        assert found[n][0].p == pytest.approx(exact.pvalue, rel=0.01)
        assert found[n][0].verdict == expected
    assert 0.4 < found[8][0].low < found[8][0].high == 1.0
    # Eight agreeing pairs do not prove shares the same.
    assert found[0][1].verdict == "not significant"


@pytest.mark.parametrize(
    ("count", "expected_verdict"),
    [(0, "contradicted"), (7, "not significant"), (8, "supported")],
)
def test_a_share_against_a_number_is_a_binomial_test(count, expected_verdict):
    dead = [(0, seed) for seed in range(count)]
    claim = _claim(AT_CHANCE, right=0.5)
    (verdict,) = _verdicts(np.full((1, 8), 0.9), claim, at_chance=dead)
    assert verdict.verdict == expected_verdict
    _agrees(verdict, stats.binomtest(count, 8, 0.5), constant=0.5)


def test_survivors_do_not_speak_for_a_diverging_trial():
    accuracy = 0.8 + 0.01 * np.random.default_rng(5).normal(size=(2, 8))
    accuracy[0] += 0.1
    two, three = ({(0, seed): 2 for seed in range(n)} for n in (2, 3))
    (verdict,) = _verdicts(accuracy, _claim(), diverged=two)
    assert (verdict.verdict, verdict.n, verdict.left_out) == ("supported", 6, 2)
    assert "2 of 8 pairs left out" in verdict.reason
    (verdict,) = _verdicts(accuracy, _claim(), diverged=three)
    assert (verdict.verdict, verdict.n) == ("not testable", 5)


def test_same_needs_the_interval_inside_the_margin():
    rng = np.random.default_rng(6)
    accuracy = 0.9 + 0.001 * rng.normal(size=(2, 8))
    wide = _claim(relation="same", margin=0.01)
    narrow = _claim(relation="same", margin=0.0001)
    assert [v.verdict for v in _verdicts(accuracy, wide, narrow)] == [
        "supported",
        "not significant",
    ]
    accuracy[0] += 0.05
    (verdict,) = _verdicts(accuracy, wide)
    assert verdict.verdict == "contradicted"


def test_a_difference_to_either_side_has_the_two_sided_p():
    accuracy = np.random.default_rng(8).normal(0.9, 0.01, (2, 8))
    accuracy[0] += (accuracy[1] - accuracy[0]).mean() + 1e-4
    (found,) = _verdicts(accuracy, _claim(relation="different"))
    assert found.p == pytest.approx(stats.ttest_rel(*accuracy).pvalue)
    assert found.p > 2 / 3  # where that of being near 0 would be smaller


def test_trials_that_are_absent_are_not_tested():
    claims = (
        _claim(left="nobody"),
        _claim(left="2"),
        _claim(Quantity(metric="test_moved_accuracy")),
        _claim(Quantity(metric="test_accuracy", reduction="at_epoch", epoch=99)),
        _claim(),
    )
    accuracy = np.random.default_rng(7).normal(0.9, 0.01, (3, 8))
    *absent, tested = _verdicts(accuracy, *claims, never_ran=[2])
    assert {v.verdict for v in absent} == {"not tested in this run"}
    assert all(v.reason for v in absent)
    assert "the last is epoch 10" in absent[-1].reason
    assert tested.p_holm == tested.p


def test_chance_is_that_of_the_data_set():
    accuracy = np.random.default_rng(8).normal(0.5, 0.01, (1, 8))
    early = Quantity(metric="test_accuracy", reduction="at_step", step=50)
    for claim in (_claim(right="chance"), _claim(early, right="chance")):
        (verdict,) = _verdicts(accuracy, claim)
        assert (verdict.verdict, verdict.right) == ("supported", synthetic.CHANCE)


def test_selectors_average_matching_trials_seed_by_seed():
    rng = np.random.default_rng(9)
    accuracy = rng.normal(0.9, 0.01, (4, 8))
    accuracy[3] += 0.05
    sweep = [
        {"optimizer.learning_rate": rate, "model.hidden": hidden}
        for hidden in ((8,), (16, 16))
        for rate in (0.1, 0.3)
    ]
    wide, slow = {"model.hidden": [16, 16]}, {"optimizer.learning_rate": 0.1 + 1e-17}
    claims = (_claim(left=wide, right=slow), _claim(left=wide | slow, right=0.9))
    averaged, single = _verdicts(accuracy, *claims, sweep=sweep)
    _agrees(
        averaged, stats.ttest_rel(accuracy[[2, 3]].mean(0), accuracy[[0, 2]].mean(0))
    )
    assert single.effect == pytest.approx(accuracy[2].mean() - 0.9)


def test_averages_of_shares_are_compared():
    lost = {(trial, seed): 2 for trial in (0, 1) for seed in range(8)}
    sweep = [*synthetic.labelled(2), {"batch_size": 64, "label": "other"}]
    claim = _claim(DIVERGED, left={"batch_size": 32}, right="other")
    (verdict,) = _verdicts(np.full((3, 8), 0.9), claim, sweep=sweep, diverged=lost)
    assert (verdict.verdict, verdict.effect) == ("supported", 1.0)


def test_two_quantities_are_compared_each_on_its_side():
    rng = np.random.default_rng(16)
    test, train = rng.normal(0.9, 0.01, (2, 2, 8, 4))
    train += 0.05
    values = {"test_accuracy": test, "train_accuracy": train}
    early = Quantity(metric="train_accuracy", reduction="at_epoch", epoch=2)
    claims = [
        _claim(right="0", relation="less", right_quantity=right)
        for right in (Quantity(metric="train_accuracy"), early, Quantity(metric="no"))
    ]
    final, second, absent = _verdicts(values, *claims)
    for verdict, right in ((final, train[0, :, 3]), (second, train[0, :, 1])):
        _agrees(verdict, stats.ttest_rel(test[0, :, 3], right))
        assert verdict.right == pytest.approx(right.mean())
        assert verdict.verdict == "supported"
    assert absent.verdict == "not tested in this run"
    assert absent.reason == "the curves have no column no"


def _tuned(validation, test, **options):
    """A claim about the best of trials 0 to 2 against trials 3 and 4."""
    left, right = {"batch_size": 16}, {"batch_size": 64}
    sweep = [
        {"optimizer.learning_rate": rate, **side}
        for side, rates in ((left, (0.1, 0.2, 0.3)), (right, (0.1, 0.2)))
        for rate in rates
    ]
    claim = _claim(left=left, right=right, among="best")
    values = {"validation_accuracy": validation, "test_accuracy": test}
    return _verdicts(values, claim, sweep=sweep, **options)[0]


def test_the_best_by_validation_stands_for_a_side():
    rng = np.random.default_rng(14)
    level = np.array([0.7, 0.9, 0.8, 0.6, 0.5])[:, None]
    test = rng.normal(0.9, 0.01, (5, 8))
    verdict = _tuned(level + np.zeros(8), test)
    expected = stats.ttest_rel(test[1], test[3])
    assert verdict.p == pytest.approx(3 * expected.pvalue)  # the best of 3 and of 2
    assert "p times 3" in verdict.reason
    assert (verdict.left_trial, verdict.right_trial) == (1, 3)
    # In the choice a lost seed counts as chance.
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


@pytest.mark.slow
def test_choosing_by_validation_does_not_flatter_the_side_with_more_trials():
    """Luck in validation is luck in the test: here both accuracies are one."""
    sides = [{"batch_size": 16}] * 7 + [{"batch_size": 64}]
    sweep = [{**t, **side} for t, side in zip(synthetic.labelled(8), sides)]
    claim = _claim(left=sides[0], right=sides[7], among="best")
    rng = np.random.default_rng(5)
    false = sum(
        _verdicts(values, claim, sweep=sweep)[0].p <= 0.05
        for values in rng.normal(0.9, 0.01, (100, 8, 8, 1))
    )
    assert false <= _binomial_bound(100, 0.05) / 2  # without the factor 11 % err


def test_members_at_chance_are_counted_where_t_does_not_know_clusters():
    accuracy = 0.9 + 0.003 * np.random.default_rng(18).normal(size=(2, 8))
    lost = [(1, seed) for seed in range(8)]
    for n in (3, 8):
        (found,) = _verdicts(accuracy[:, :n], _claim(), at_chance=lost[:n])
        assert found.p == pytest.approx(2 * 0.25**n)
        assert found.p_holm == found.p  # holds for the comparison with the best, too
        assert found.verdict == "supported"
        assert "counts decide" in found.reason
    sweep = [*synthetic.labelled(5)]
    many = np.concatenate([accuracy, accuracy[:1], accuracy[:1], accuracy[:1]])[:, :3]
    lost = [(t, seed) for t in (1, 2) for seed in range(3)]
    both = {"compare_trials": "yes"}  # p is doubled
    (found,) = _verdicts(many, _claim(), at_chance=lost, sweep=sweep, fields=both)
    assert found.verdict == "not significant"
    assert found.low <= 0 < found.high
    assert "4 seeds that part like these" in found.reason
    assert 2 * 2 * 0.25**4 <= 0.05 < 2 * 2 * 0.25**3
    lost = [(1, seed) for seed in range(8)]
    (few,) = _verdicts(accuracy, _claim(), at_chance=lost[:2])
    assert "counts" not in few.reason
    (shared,) = _verdicts(accuracy[:, :3], _claim(), at_chance=[*lost[:3], (0, 1)])
    assert shared.p >= 2 * (1 + 6) / 2**6  # two of three: P(at least 2 more)


def test_a_mean_against_a_number_allows_for_skewness():
    accuracy = 1 - 0.02 * np.exp(0.5 * np.random.default_rng(2).normal(size=(1, 8)))
    (verdict,) = _verdicts(accuracy, _claim(right=0.96))
    assert verdict.p > 1.5 * stats.ttest_1samp(accuracy[0], 0.96).pvalue


TO_90 = Quantity(metric="test_accuracy", reduction="steps_to", target=0.9)


def _reaching(*evaluations, num_evaluations=20):
    """Makes accuracies (T, S, E) that reach 0.9 at given evaluations (T, S)."""
    at = np.array(evaluations)[:, :, None]
    return np.where(np.arange(num_evaluations) >= at, 0.95, 0.5)


def test_steps_that_all_reach_the_target_are_compared_by_their_ratio():
    one, other = [2, 3, 2, 4, 3, 2, 3, 4], [8, 9, 7, 9, 15, 8, 8, 9]
    (found,) = _verdicts(_reaching(one, other), _claim(TO_90, relation="less"))
    logs = np.log(np.add(one, 1)) - np.log(np.add(other, 1))
    assert (found.verdict, found.scale) == ("supported", "ratio")
    assert found.effect == pytest.approx(np.exp(logs.mean()))
    test = stats.ttest_1samp(logs, 0)
    assert found.p == pytest.approx(test.pvalue)
    ends = np.exp(test.confidence_interval(0.95))
    assert (found.low, found.high) == pytest.approx(tuple(ends))


@pytest.mark.parametrize(
    ("one", "other"),
    [  # three of eight arrive, seven do; and where neither does, it is a tie
        ([2, 3, 2, 4, 3, 2, 3, 4], [15, 16, 99, 99, 17, 99, 99, 99]),
        ([2, 3, 2, 4, 3, 2, 3, 4], [8, 8, 8, 8, 8, 8, 8, 99]),
        ([2, 3, 2, 4, 3, 2, 3, 99], [8, 8, 8, 8, 8, 8, 8, 99]),
    ],
)
def test_steps_to_a_target_are_ranked_where_some_are_censored(one, other):
    (found,) = _verdicts(_reaching(one, other), _claim(TO_90, relation="less"))
    assert (found.verdict, found.scale) == ("supported", "order")
    late = [np.minimum(side, 98.0) for side in (one, other)]
    assert found.p == pytest.approx(effects.two_sided(effects.ordered(*late)))
    assert np.isnan([found.effect, found.low, found.high]).all()
    assert found.left == 35 * 4
    assert (found.right == math.inf) == (other.count(99) > 4)


def test_steps_are_not_compared_where_nobody_arrives():
    accuracy = _reaching([99] * 8, [99] * 8)
    same = _claim(TO_90, relation="same", margin=10.0)
    both = _verdicts(accuracy, _claim(TO_90), same)
    assert [v.verdict for v in both] == ["not significant", "not testable"]


def test_diverged_members_never_arrive():
    accuracy = _reaching([2] * 7 + [3], [9, 9, 8, 9, 10, 9, 9, 8])
    lost = {(0, seed): 5 for seed in range(8)}
    (verdict,) = _verdicts(accuracy, _claim(TO_90, relation="less"), diverged=lost)
    assert (verdict.verdict, verdict.left_reached) == ("contradicted", 0.0)


def test_steps_are_unknown_beyond_the_shorter_training():
    steps = synthetic.EXAMPLES["train"] // 32, synthetic.EXAMPLES["train"] // 64
    evaluations = math.ceil(20 * steps[1] / steps[0]) + 1
    accuracy = _reaching([evaluations] * 3, [99] * 3)  # beyond, and never
    (found,) = _verdicts(accuracy, _claim(TO_90, relation="less"), sweep=BATCHES)
    assert (found.p, found.left_reached) == (1.0, 1.0)
    margin = _claim(TO_90, relation="same", margin=1e6)
    (same,) = _verdicts(accuracy, margin, sweep=BATCHES)
    assert same.verdict == "not testable"


NORM = Quantity(metric="grad_norm_dense_0")


def test_what_spreads_over_factors_is_compared_by_its_logarithms():
    logs = [[3], [0.01]] * np.random.default_rng(3).normal(size=(2, 8))
    logs[0] += 12
    claims = (
        _claim(NORM),
        _claim(NORM, right=1.0),
        *(
            _claim(NORM, left="1", right=4.0, relation="same", margin=margin)
            for margin in (2.9, 3.1)  # from 1.1, and from 0.9
        ),
    )
    found = _verdicts({"grad_norm_dense_0": np.exp(logs)}, *claims)
    pair, number, *_ = found
    assert pair.p == pytest.approx(stats.ttest_rel(logs[0], logs[1]).pvalue)
    assert pair.effect == pytest.approx(np.exp((logs[0] - logs[1]).mean()))
    assert pair.effect == pytest.approx(pair.left / pair.right)
    assert 0 < pair.low < pair.effect < pair.high
    assert number.effect == pytest.approx(np.exp(logs[0].mean()))
    verdicts = [v.verdict for v in found]
    assert verdicts == ["supported", "supported", "contradicted", "supported"]
    # Differences of such values would decide nothing.
    assert stats.ttest_rel(*np.exp(logs)).pvalue > 0.05


def test_zeros_are_compared_by_their_order():
    norms = np.exp(np.random.default_rng(3).normal(size=(2, 8)))
    norms[1] = 0.0
    small = _claim(NORM, left="1", right=1e-6, relation="less")
    pair, number = _verdicts({"grad_norm_dense_0": norms}, _claim(NORM), small)
    for found in (pair, number):
        assert (found.verdict, found.scale) == ("supported", "order")
    assert number.p == 2 / 2**8
    assert pair.p == pytest.approx(2 / math.comb(16, 8))
    assert (pair.right, number.left, math.isnan(pair.low)) == (0.0, 0.0, True)
    norms[:, :4] = 0.0  # ties
    (tied,) = _verdicts({"grad_norm_dense_0": norms}, _claim(NORM))
    assert tied.p == pytest.approx(2 * math.comb(8, 4) / math.comb(16, 4))


@pytest.mark.parametrize(
    ("claim", "seeds", "decidable"),
    [
        (_claim(DIVERGED, right=0.05), 3, True),  # all three have p = 0.0003
        (_claim(DIVERGED, right=0.5), 5, False),
        (_claim(DIVERGED, right=0.5), 6, True),
        (_claim(DIVERGED), 3, True),
        (_claim(), 2, False),
        (_claim(), 3, True),
        (_claim(NORM, right=1.0), 3, True),
    ],
)
def test_it_is_known_beforehand_what_no_outcome_decides(claim, seeds, decidable):
    study = Study(claims=(claim,), sweep=synthetic.labelled(2), num_seeds=seeds)
    assert (undecidable(study) == ()) == decidable
    twice = dataclasses.replace(study, compare_trials="yes")
    assert len(undecidable(twice)) >= len(undecidable(study))


def test_seconds_are_compared_by_welch_between_programs():
    times = {0: [0.1, 0.12, 0.11, 0.1], 1: [0.2, 0.23, 0.21]}
    claim, accuracy = _claim(SECONDS, relation="less"), np.full((2, 8), 0.9)
    (verdict,) = _verdicts(accuracy, claim, sweep=BATCHES, seconds=times)
    assert verdict.verdict == "supported"
    logs = [np.log(of) for of in times.values()]
    test = stats.ttest_ind(*logs, equal_var=False)
    assert verdict.p == pytest.approx(test.pvalue)
    ends = np.exp(test.confidence_interval(0.95))
    assert (verdict.low, verdict.high) == pytest.approx(tuple(ends))
    (shared,) = _verdicts(accuracy, claim)
    assert shared.verdict == "not testable"
    assert "one compiled program" in shared.reason


@pytest.mark.parametrize(
    ("shift", "verdict"),
    [(-0.05, "contradicted"), (0.0, "contradicted"), (0.05, "supported")],
)
def test_a_claim_with_a_margin_is_contradicted_by_a_smaller_difference(shift, verdict):
    noise = 0.005 * np.random.default_rng(12).normal(size=(2, 8))
    accuracy = 0.9 + noise - noise.mean(axis=1, keepdims=True)
    accuracy[0] += shift
    claims = [
        _claim(margin=0.02),
        _claim(left="1", right="0", relation="less", margin=0.02),
        _claim(margin=0.2),
    ]
    one, less, _ = _verdicts(accuracy, *claims)
    assert (one.verdict, less.verdict) == (verdict, verdict)
    d = accuracy[0] - accuracy[1]
    below = stats.ttest_1samp(d, 0.02, alternative="less")
    above = stats.ttest_1samp(d, 0.0, alternative="greater")
    assert one.p == pytest.approx(2 * min(below.pvalue, above.pvalue), rel=1e-6)
    assert (one.high < 0.02) == (verdict == "contradicted")


def test_what_is_there_is_supported_even_if_it_is_smaller_than_the_margin():
    noise = 0.002 * np.random.default_rng(12).normal(size=(2, 8))
    accuracy = 0.9 + noise - noise.mean(axis=1, keepdims=True)
    accuracy[0] += 0.01
    claims = [_claim(margin=0.1), _claim(relation="different", margin=0.1)]
    for found in _verdicts(accuracy, *claims):
        test = stats.ttest_rel(accuracy[0], accuracy[1])
        assert (found.verdict, found.p) == ("supported", pytest.approx(test.pvalue))
        assert found.p <= found.p_holm <= 2 * found.p
        assert 0 < found.low < found.high < 0.1


def test_a_margin_of_what_is_compared_by_ratios_is_a_share():
    times = _reaching([6, 7, 6, 8, 7, 6, 7, 8], [7, 7, 6, 8, 7, 6, 7, 8])
    claims = [_claim(TO_90, relation="less", margin=m) for m in (0.05, 0.5)]
    by_5, by_half = _verdicts(times, *claims)
    assert (by_5.verdict, by_half.verdict) == ("not significant", "contradicted")
    assert 1 / 1.5 < by_half.low < 1 < by_half.high


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shift", "wrong"), [(0.0, "supported"), (0.01, "contradicted")]
)
def test_a_margin_costs_no_errors(shift, wrong):
    accuracy = np.random.default_rng(13).normal(0.9, 0.004, (100, 2, 8, 1))
    accuracy[:, 0] += shift
    verdicts = [_verdicts(v, _claim(margin=0.01))[0].verdict for v in accuracy]
    assert verdicts.count(wrong) <= _binomial_bound(100, 0.025)
    assert verdicts.count("contradicted") + verdicts.count("supported") > 50


@pytest.mark.slow
def test_a_difference_at_the_margin_is_rarely_called_the_same():
    rng = np.random.default_rng(11)
    accuracy = rng.normal(0.9, 0.004, (100, 2, 8, 1))
    accuracy[:, 0] += 0.01
    same = _claim(relation="same", margin=0.01)
    verdicts = [_verdicts(values, same)[0].verdict for values in accuracy]
    assert verdicts.count("supported") <= _binomial_bound(100, 0.05)
    assert verdicts.count("contradicted") <= _binomial_bound(100, 0.05)


SIDES = [{"label": name} for name in "0123"]


def _four(rng, gain, n=8):
    """Makes accuracies (4, n) whose first gain exceeds the second one by `gain`."""
    accuracy = rng.normal(0.8, 0.003, (4, n))
    accuracy[0] += 0.05 + gain
    accuracy[2] += 0.05
    return accuracy


@pytest.mark.parametrize(
    ("value", "number", "margin", "verdict"),
    [
        (0.0, 0.5, 0.6, "supported"),
        (0.0, 0.5, 0.4, "contradicted"),
        (2.0, 0.0, 3.0, "supported"),
        (2.0, 0.0, 1.0, "contradicted"),
    ],
)
def test_the_same_as_a_number_is_a_difference_where_zero_has_no_logarithm(
    value, number, margin, verdict
):
    norms = value * np.exp(0.01 * np.random.default_rng(0).normal(size=(1, 8)))
    claim = _claim(NORM, right=number, relation="same", margin=margin)
    (found,) = _verdicts({"grad_norm_dense_0": norms}, claim)
    assert (found.verdict, found.scale) == (verdict, "difference")


def test_an_interaction_is_a_test_of_the_difference_of_differences():
    accuracy = _four(np.random.default_rng(0), 0.03)
    gain, other = SIDES[:2], SIDES[2:]
    two = depends("x", FINAL, gain, other)
    more = depends("x", FINAL, gain, other, relation="greater", margin=0.02)
    found, greater = _verdicts(accuracy, two, more)
    d = (accuracy[0] - accuracy[1]) - (accuracy[2] - accuracy[3])
    test = stats.ttest_1samp(d, 0.0)
    for one in (found, greater):
        assert one.effect == pytest.approx(d.mean())
        assert one.p == pytest.approx(test.pvalue)
        assert one.verdict == "supported"
        assert one.left - one.right == pytest.approx(one.effect)
    assert found.left == pytest.approx((accuracy[0] - accuracy[1]).mean())


def test_an_interaction_of_what_spreads_over_factors_is_one_of_ratios():
    logs = np.random.default_rng(0).normal([[1.0], [0.0], [3.0], [0.0]], 0.2, (4, 8))
    claim = depends("x", NORM, SIDES[:2], SIDES[2:])
    (found,) = _verdicts({"grad_norm_dense_0": np.exp(logs)}, claim)
    d = logs[0] - logs[1] - logs[2] + logs[3]
    assert (found.verdict, found.scale) == ("supported", "ratio")
    assert found.effect == pytest.approx(np.exp(d.mean()))
    assert found.left / found.right == pytest.approx(found.effect)
    assert found.low < found.effect < found.high < 1


@pytest.mark.parametrize(
    ("gain", "margin", "verdict"),
    [
        (0.0, 0.0, "not significant"),
        (0.0, 0.02, "contradicted"),
        (0.06, 0.02, "supported"),
        (-0.06, 0.02, "supported"),
    ],
)
def test_gains_that_differ_by_less_than_the_margin_do_not_depend(gain, margin, verdict):
    accuracy = _four(np.random.default_rng(1), gain)
    claim = depends("x", FINAL, SIDES[:2], SIDES[2:], margin=margin)
    assert _verdicts(accuracy, claim)[0].verdict == verdict


def test_an_interaction_needs_four_sides_of_equally_many_trials():
    wide = {"model.depth": 1}  # all of them
    claim = depends("x", FINAL, (SIDES[0], wide), SIDES[2:])
    (found,) = _verdicts(_four(np.random.default_rng(0), 0.0), claim)
    assert found.verdict == "not tested in this run"
    assert "equally many" in found.reason
    with pytest.raises(ValueError, match="beside needs two sides"):
        depends("x", FINAL, SIDES[:2], SIDES[2:3])
