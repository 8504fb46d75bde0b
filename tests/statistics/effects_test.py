# SPDX-License-Identifier: Apache-2.0
"""Tests err as seldom as they say, and Holm's adjustment keeps their order."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from scipy import stats

from nnlab.statistics import effects


def test_holm_by_hand():
    adjusted = effects.holm([0.01, 0.04, np.nan, 0.03, 0.5])
    np.testing.assert_allclose(adjusted, [0.04, 0.09, np.nan, 0.09, 0.5], rtol=1e-12)


@given(some.lists(some.floats(0.0, 1.0), max_size=12), some.randoms())
def test_holm_keeps_order_and_does_not_depend_on_it(p, random):
    adjusted = effects.holm(p)
    assert np.all(adjusted >= p)
    assert np.all(adjusted <= 1.0)
    assert np.all(np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0.0)
    order = random.sample(range(len(p)), len(p))
    np.testing.assert_array_equal(effects.holm(np.take(p, order)), adjusted[order])


def test_a_number_is_met_by_t_with_halls_correction_for_skewness():
    values = np.array([0.95, 0.96, 0.955, 0.93, 0.958])
    d = values - 0.93
    n, w, g = len(d), d.mean() / d.std(ddof=1), stats.skew(d)
    hall = np.sqrt(n) * (((1 + g * w / 3) ** 3 - 1) / g + g / (6 * n))
    corrected, plain = effects.against_number(d), effects.paired(d)
    upper = stats.t.sf(hall, n - 1)
    assert upper > 2 * plain.tail(1, 0.0)
    assert corrected.tail(1, 0.0) == pytest.approx(upper)
    assert corrected.tail(-1, 0.0) == plain.tail(-1, 0.0) > stats.t.cdf(hall, n - 1)
    assert effects.two_sided(effects.against_number(values - 0.1)) < 1e-6


def test_a_skewed_mean_is_seldom_told_from_the_number_that_it_is():
    rng = np.random.default_rng(0)
    errors = 0.02 * (np.exp(0.5 * rng.normal(size=(4_000, 8))) - np.exp(0.125))
    false = sum(effects.two_sided(effects.against_number(-e)) <= 0.05 for e in errors)
    assert false <= stats.binom.ppf(0.999, 4_000, 0.05)  # with t alone 8 % of them


@pytest.mark.parametrize("n", [3, 5, 8])
def test_pairs_part_by_chance_most_often_where_half_are_lost(n):
    for net in range(1, n + 1):
        worst = effects.chance_of_parting(net, n)
        k = np.arange(n + 1)
        both = [
            2 * (stats.binom.pmf(k, n, q) @ stats.binom.sf(k + net - 1, n, q))
            for q in (0.1, 0.3, 0.5, 0.7)
        ]
        assert both[2] == pytest.approx(worst)
        assert worst >= 0.05 or max(both) == both[2]
    assert effects.chance_of_parting(n - 0.5, n) == effects.chance_of_parting(n, n)


def test_the_range_of_two_counts_is_fishers_exact_test():
    for counts in ([0, 5], [1, 4], [2, 4]):
        p = effects.range_p(np.array(counts), 5)
        table = [counts, [5 - c for c in counts]]
        exact = stats.fisher_exact(table).pvalue
        assert p[counts[1] - counts[0]] == pytest.approx(exact, abs=0.01)
    assert p[0] == 1.0


@pytest.mark.slow
def test_the_range_of_counts_holds_for_all_pairs_at_once():
    rng = np.random.default_rng(0)
    counts = rng.binomial(5, 0.4, size=(100, 12))
    spans = np.ptp(counts, axis=1)
    false = sum(effects.range_p(c, 5)[s] <= 0.05 for c, s in zip(counts, spans))
    assert false <= stats.binom.ppf(0.99, 100, 0.05)
    lone = np.array([0] * 5 + [5])
    assert effects.range_p(lone, 5)[5] < 0.001


@pytest.mark.parametrize(("n", "lost"), [(5, 0.5), (8, 0.1), (8, 0.5), (32, 0.5)])
def test_an_order_is_seldom_seen_where_there_is_none(n, lost):
    rng, errors = np.random.default_rng(0), 0
    for _ in range(500):
        steps = rng.normal(size=n) + rng.normal(size=(2, n))
        missed = rng.uniform(size=(2, n)) < lost
        one, other = np.where(missed, 9.0, steps)  # both late: a tie
        errors += effects.two_sided(effects.ordered(one, other)) <= 0.05
    assert errors <= stats.binom.ppf(0.999, 500, 0.05)


@pytest.mark.parametrize("n", [3, 6, 25, 40])
def test_an_order_is_the_rank_sum_test(n):
    """Of scipy's tests; above 25 networks both are approximations."""
    one, other = np.random.default_rng(n).normal([[0.0], [0.7]], size=(2, n))
    is_exact = n <= effects.MOST_RANKED
    expected = stats.mannwhitneyu(
        one, other, method="exact" if is_exact else "asymptotic", use_continuity=False
    )
    found = effects.two_sided(effects.ordered(one, other))
    assert found == pytest.approx(expected.pvalue, rel=1e-9)


def test_ties_and_infinities_have_the_p_of_all_their_orders():
    for seed in range(10):
        steps = np.random.default_rng(seed).integers(0, 4, size=(2, 5)).astype(float)
        one, other = np.where(steps == 3, np.inf, steps)
        ranks = stats.rankdata([*one[:4], *other[:4]])
        sums = [sum(some) for some in itertools.combinations(ranks, 4)]
        expected = np.mean(np.array(sums) <= ranks[:4].sum())
        one[4] = np.nan  # is left out
        found = effects.ordered(one, other)
        assert (found.n, found.tail(-1, 0.0)) == (4, pytest.approx(expected))
