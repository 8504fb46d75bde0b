# SPDX-License-Identifier: Apache-2.0
"""Intervals are Student's, with the stated coverage; chance has an exact bound."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nnlab.statistics import intervals


def test_mean_interval_is_students_over_values_present():
    values = np.random.default_rng(0).normal(size=(6, 3))
    values[4:, 1] = np.nan
    mean, low, high = intervals.mean_interval(values)
    column = values[:4, 1]
    expected = stats.t.interval(0.95, 3, column.mean(), stats.sem(column))
    assert mean[1] == pytest.approx(column.mean(), rel=1e-12)
    assert (low[1], high[1]) == pytest.approx(expected, rel=1e-10)


def test_mean_interval_has_no_band_below_three_values():
    values = np.array([[1.0, 1.0, np.nan], [2.0, 3.0, np.nan], [3.0, np.nan, np.nan]])
    mean, low, high = intervals.mean_interval(values)
    np.testing.assert_array_equal(mean, [2.0, 2.0, np.nan])
    np.testing.assert_array_equal(np.isnan(low), [False, True, True])
    np.testing.assert_array_equal(np.isnan(high), [False, True, True])


def test_mean_interval_names_a_bad_level():
    with pytest.raises(ValueError, match=r"level=95"):
        intervals.mean_interval([1.0, 2.0, 3.0], level=95)


@pytest.mark.parametrize("n", [3, 4, 8, 16, 30])
def test_intervals_cover_the_mean_of_normal_data(n):
    values = np.random.default_rng(n).normal(5.0, 2.0, (n, 10_000))
    _, low, high = intervals.mean_interval(values)
    assert 0.93 <= np.mean((low <= 5.0) & (high >= 5.0)) <= 0.97


@pytest.mark.slow
def test_simultaneous_bands_cover_whole_curves():
    points, whole, by_point = np.arange(10), [], []
    near = np.linalg.cholesky(0.4 ** np.abs(points[:, None] - points))
    for values in np.random.default_rng(0).normal(size=(500, 8, 10)) @ near.T:
        for bands, found in (("simultaneous", whole), ("pointwise", by_point)):
            _, low, high = intervals.band(5 * values + points, bands)
            found.append(np.all((low <= points) & (points <= high)))
    assert np.mean(whole) >= 0.93
    assert 0.55 <= np.mean(by_point) <= 0.68


def test_a_simultaneous_band_is_as_wide_as_its_curves_need():
    one = np.random.default_rng(0).normal(size=(8, 1))
    rigid = one * [1.0, 2.0, 0.0] + [0.0, 0.0, 7.0]  # the last point never varies
    assert intervals.simultaneous_level(rigid) == pytest.approx(0.95, abs=0.01)
    gaps = np.append(rigid, np.full((8, 2), np.nan), axis=1)
    assert intervals.simultaneous_level(gaps) == intervals.simultaneous_level(rigid)
    for few in (one[:2], np.ones((8, 3)), np.full((8, 3), np.nan)):
        assert intervals.simultaneous_level(few) == 0.95


@given(st.integers(5, 2000), st.data())
def test_luck_passes_the_bound_of_chance_in_at_most_1_percent(size, data):
    largest = data.draw(st.integers(-(-size // 10), size - 1))  # of up to ten classes
    chance = largest / size
    right = round(size * intervals.chance_bound(chance, size))
    luck = stats.binom(size, chance)
    assert largest <= right < size
    assert luck.sf(right) <= 0.01 or right == size - 1
    assert luck.sf(right - 1) > 0.01


def test_the_only_class_of_a_set_is_no_achievement():
    assert intervals.chance_bound(1.0, 5) == 1.0
