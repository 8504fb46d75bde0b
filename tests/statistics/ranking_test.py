# SPDX-License-Identifier: Apache-2.0
"""The best trial is chosen by validation, and differences to it are tested."""

import math

import numpy as np
import pytest
import synthetic
from scipy import stats

from nnlab.statistics import effects, members, ranking
from nnlab.statistics.findings import Findings
from nnlab.study import Claim, Quantity


@pytest.mark.parametrize(
    ("levels", "options", "best"),
    [
        ((0.99, 0.9, 0.95), {"diverged": {(0, seed): 3 for seed in range(7)}}, 2),
        ((0.99,), {"diverged": {(0, seed): 3 for seed in range(7)}}, None),
        ((0.9, 0.8), {"unfinished": {(0, 1): 4}}, 1),
    ],
)
def test_a_lucky_survivor_or_an_unfinished_trial_is_not_the_best(levels, options, best):
    accuracy = np.repeat(np.array(levels)[:, None], 8, axis=1)
    assert ranking.best_trial(synthetic.results(accuracy, **options)) == best


@pytest.mark.parametrize(("looks", "best"), [((), 0), ((3, 8), 1)])
def test_a_trial_with_fewer_seeds_is_the_best_unless_looks_left_it_behind(looks, best):
    sweep = [{"batch_size": 8, "num_seeds": 3}, {"batch_size": 16}]
    accuracy = np.repeat([[0.9], [0.8]], 8, axis=1)
    found = synthetic.results(accuracy, sweep=sweep, fields={"looks": looks})
    assert ranking.best_trial(found) == best


def test_test_accuracy_does_not_choose_the_best():
    validation = np.array([[0.8] * 3, [0.9] * 3])
    values = {"validation_accuracy": validation, "test_accuracy": 1 - validation}
    assert synthetic.findings(values).best == 1


def test_comparison_is_a_paired_t_adjusted_over_all_pairs():
    accuracy = 0.9 + 0.01 * np.random.default_rng(1).normal(size=(3, 8))
    accuracy[1] += 0.02
    compared = synthetic.findings(accuracy).compared
    pairs = ((0, 1), (0, 2), (1, 2))
    raw = [stats.ttest_rel(accuracy[a], accuracy[b]).pvalue for a, b in pairs]
    for kind, (one, _, other) in (("p", raw), ("p_holm", effects.holm(raw))):
        found = [getattr(c, kind) for c in compared]
        assert found == pytest.approx([one, np.nan, other], nan_ok=True)
    step = effects.holm_steps(raw)[2]
    test = stats.ttest_rel(accuracy[2], accuracy[1])
    interval = test.confidence_interval(1 - 0.05 / step)
    assert (compared[2].low, compared[2].high) == pytest.approx(tuple(interval))


def test_claims_take_half_of_what_may_err():
    accuracy = 0.9 + 0.01 * np.random.default_rng(1).normal(size=(3, 8))
    accuracy[1] += 0.012
    claim = Claim(
        text="x", quantity=Quantity(metric="test_accuracy"), left={}, right="chance"
    )
    alone = synthetic.findings(accuracy).compared
    only = synthetic.findings(accuracy, claims=[claim])
    fields = {"compare_trials": "yes"}
    both = synthetic.findings(accuracy, claims=[claim], fields=fields)
    beside = both.compared
    assert both.verdicts[0].p_holm == 2 * only.verdicts[0].p_holm
    single = synthetic.results(accuracy[:1], claims=[claim], fields=fields)
    assert ranking.num_families(single.study) == 1
    for one, other in zip(alone, beside):
        if one.trial != 1:
            assert other.p_holm == pytest.approx(min(1.0, 2 * one.p_holm))


def test_what_a_study_does_not_ask_is_described_and_not_tested():
    accuracy = 0.9 + 0.01 * np.random.default_rng(1).normal(size=(3, 8))
    accuracy[1] += 0.1
    claim = Claim(
        text="x", quantity=Quantity(metric="test_accuracy"), left={}, right="chance"
    )
    found = synthetic.findings(accuracy, claims=[claim])
    for other in (found.compared[t] for t in (0, 2)):
        assert np.isnan([other.p, other.p_holm, other.p_seeds]).all()
        assert not other.resolved
        test = stats.ttest_rel(accuracy[other.trial], accuracy[1])
        interval = test.confidence_interval(0.95)
        assert (other.low, other.high) == pytest.approx(tuple(interval))
    fields = {"compare_trials": "no"}
    assert not synthetic.findings(accuracy, fields=fields).compared[0].resolved
    with pytest.raises(ValueError, match="compare_trials must be"):
        synthetic.results(accuracy, fields={**fields, "looks": (4, 8)})


def _at_chance(*counts, seeds):
    """Trials at 95 % with so many networks at chance; the first is best."""
    rng = np.random.default_rng(3)
    accuracy = 0.95 + 0.003 * rng.normal(size=(len(counts), seeds))
    accuracy[0] += 0.0001
    lost = [(t, s) for t, count in enumerate(counts) for s in range(count)]
    return synthetic.results(accuracy, at_chance=lost)


def test_members_at_chance_come_in_clusters_which_t_does_not_know():
    # If each is lost with probability 1/2, 3 % of pairs of trials differ like these.
    _, other = Findings(_at_chance(0, 3, seeds=3)).compared
    assert other.p < 0.001
    assert other.p_holm == pytest.approx(2 * 0.5**6)
    assert other.resolved
    _, other, *_ = Findings(_at_chance(0, 3, 3, 0, 0, seeds=3)).compared
    assert (other.p < 0.001, other.resolved) == (True, False)
    (_, *others) = Findings(_at_chance(0, 5, *[2, 3] * 5, seeds=5)).compared
    assert not others[0].resolved


def test_a_trial_that_loses_all_where_others_lose_none_is_resolved():
    compared = Findings(_at_chance(0, 0, 0, 0, 0, 5, seeds=5)).compared
    assert compared[5].resolved
    assert compared[5].p_holm < 0.002


def test_two_seeds_resolve_nothing():
    accuracy = np.array([[0.9, 0.9], [0.1, 0.11]])
    compared = synthetic.findings(accuracy).compared
    assert [c.resolved for c in compared] == [False, False]
    assert compared[1].mean == pytest.approx(-0.795)
    assert math.isnan(compared[1].low)


@pytest.mark.slow
def test_choosing_the_best_resolves_no_difference_by_chance():
    # Adjusted for 15 comparisons instead of all 120 pairs, 18 % of these err.
    rng = np.random.default_rng(2)
    false = sum(
        any(c.resolved for c in synthetic.findings(values).compared)
        for values in 0.9 + 0.01 * rng.normal(size=(60, 16, 8, 1))
    )
    assert false <= stats.binom.ppf(0.99, 60, 0.05)


def test_the_worst_trial_is_one_that_might_have_been_the_best():
    accuracy = np.array([[0.9] * 4, [0.2] * 4, [0.5] * 4, [0.8] * 4, [0.1] * 4])
    sweep = [{"batch_size": b} for b in (8, 16, 32, 64)]
    sweep.append({"dataset": "mnist", "batch_size": 8})
    lost = {(1, seed): 3 for seed in range(3)}
    found = synthetic.results(accuracy, sweep=sweep, diverged=lost)
    assert (ranking.best_trial(found), ranking.worst_trial(found)) == (0, 2)
    # With two survivors at 80 % and two at chance the expectation is below 50 %.
    lost |= {(3, seed): 3 for seed in range(2)}
    found = synthetic.results(accuracy, sweep=sweep, diverged=lost)
    assert ranking.worst_trial(found) == 3
    assert ranking.worst_trial(synthetic.results(accuracy[:1])) is None
    nothing = synthetic.results(accuracy[:2], never_ran=[0, 1])
    assert ranking.worst_trial(nothing) is None


def test_comparisons_leave_out_who_diverged_and_count_signs_without_spread():
    accuracy = 0.9 + 0.01 * np.random.default_rng(12).normal(size=(4, 8))
    accuracy[0] += 0.03
    accuracy[1] = accuracy[0] - 0.02
    lost = {(2, seed): 2 for seed in range(2)} | {(3, seed): 2 for seed in range(3)}
    compared = synthetic.findings(accuracy, diverged=lost).compared
    expected = stats.ttest_rel(accuracy[2, 2:], accuracy[0, 2:])
    assert compared[1].p == pytest.approx(2 * 0.5**8)
    assert (compared[2].n, compared[2].p) == (6, pytest.approx(expected.pvalue))
    assert compared[2].mean == pytest.approx((accuracy[2] - accuracy[0])[2:].mean())
    assert compared[3].n == 5
    assert math.isnan(compared[3].p)
    other = stats.ttest_rel(accuracy[2, 2:], accuracy[1, 2:]).pvalue
    adjusted = effects.holm([2 * 0.5**8, expected.pvalue, other])
    assert [c.p_holm for c in compared[1:3]] == pytest.approx(adjusted[:2].tolist())


def test_the_best_and_the_worst_that_are_looked_at_are_networks():
    found = synthetic.beside_trees(0.8, 0.6, 0.7, trees=0.9)
    assert members.networks(found) == (0, 1, 2)
    assert ranking.best_trial(found) == 3  # of all models
    assert ranking.best_and_worst(found) == (0, 1)
    found = synthetic.beside_trees(0.8, 0.6, 0.7, trees=0.5)
    assert ranking.worst_trial(found) == 3
    assert ranking.best_and_worst(found) == (0, 1)
    alone = synthetic.beside_trees(0.8, trees=0.9)
    assert ranking.best_and_worst(alone) == (1, 0)  # else there were no pair
    nothing = synthetic.results(sweep=[{"model.name": "boosted_trees"}])
    assert members.networks(nothing) == (0,)
