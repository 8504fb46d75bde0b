# SPDX-License-Identifier: Apache-2.0
"""Intervals and tests hold for new seeds and new examples."""

import dataclasses
import math

import numpy as np
import pytest
from answered import World, split_differences
from hypothesis import given
from hypothesis import strategies as some
from scipy import stats

from nnlab.statistics import crossed, effects


def test_the_error_is_that_of_the_analysis_of_variance():
    x = World(5, 40, (0.8,)).draw(np.random.default_rng(0))[0] * 1.0
    x -= np.random.default_rng(1).normal(size=x.shape)
    n, size = x.shape
    rows, columns = x.mean(axis=1), x.mean(axis=0)
    rest = x - rows[:, None] - columns + x.mean()
    squares = size * rows.var(ddof=1), n * columns.var(ddof=1)
    squares = *squares, (rest**2).sum() / ((n - 1) * (size - 1))
    variance = (squares[0] + squares[1] - squares[2]) / x.size
    freedom_of_examples = min(size - 1, 2 * size / (stats.kurtosis(columns) + 2))
    assert squares[1] > squares[2]
    share = squares[0] / x.size / variance
    found = crossed.crossed(x)
    assert (found.mean, found.n) == (pytest.approx(x.mean()), n)
    t = (found.mean - 0.1) / math.sqrt(variance)
    tails = stats.t.sf(t, n - 1), stats.t.sf(t, freedom_of_examples)
    weighted = share * tails[0] + (1 - share) * tails[1]
    assert found.tail(1, 0.1) == pytest.approx(weighted)
    assert found.tail(-1, found.high) == pytest.approx(0.025)
    assert found.tail(1, found.low) == pytest.approx(0.025)


def test_it_is_never_smaller_than_the_seeds_own():
    x = np.random.default_rng(0).normal(size=(6, 30)) + np.arange(6)[:, None]
    x -= x.mean(axis=0)  # examples have no effect at all
    x += np.arange(6)[:, None]
    found, plain = crossed.crossed(x), effects.paired(x.mean(axis=1))
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high))


@pytest.mark.parametrize("missing", [(), ((2, 3), (4, 0), (4, 1), (5, 3))])
def test_all_pairs_at_once_are_the_pairs_one_by_one(missing):
    right = World(6, 301, (0.9,) * 6, suits=0.2).draw(np.random.default_rng(2))
    right[1] = right[0]
    right[1, :, :3] ^= True
    present = np.ones((6, 6), bool)
    for member in missing:
        present[member] = False
    a, b = np.triu_indices(6, 1)
    found = crossed.pairs_p(right, present, a, b)
    for p, i, j in zip(found, a, b):
        both = present[i] & present[j]
        effect = crossed.crossed(right[i, both] * 1.0 - right[j, both])
        assert p == pytest.approx(effects.two_sided(effect), rel=1e-6)
    assert found[0] == 1.0  # differ on 3 examples
    present[0] = np.arange(6) < 2
    assert np.isnan(crossed.pairs_p(right, present, a, b)[:5]).all()


def test_examples_of_two_data_sets_add_their_own_errors():
    rng = np.random.default_rng(3)
    x, y = World(8, 500, (0.9, 0.9), 0.2, 0.05, 0.3).draw(rng) * 1.0
    together, apart = crossed.crossed(x - y), crossed.crossed(x, -y)
    assert apart.mean == pytest.approx(together.mean)
    # What both find hard is no longer subtracted.
    assert apart.high - apart.low > 2 * (together.high - together.low)


def test_two_samples_are_as_one_against_a_sample_without_any_spread():
    left = World(6, 200).draw(np.random.default_rng(0))[0] * 1.0
    one, both = crossed.crossed(left), crossed.crossed_samples(left, 0 * left[:4])
    assert (both.low, both.high) == pytest.approx((one.low, one.high))
    assert both.n == 10
    few = crossed.crossed_samples(left, left)
    assert few.exact.startswith("too few: the sides differ on 0 of 200")
    assert np.isnan(crossed.crossed_samples(left, left[:2]).low)


def test_seeds_without_spread_have_that_of_the_examples():
    lost, best = np.arange(90) % 9 == 0, np.ones(90, bool)
    x = np.tile(best * 1.0 - lost, (3, 1))
    found = crossed.crossed(x)
    assert found.mean == pytest.approx(80 / 90)
    assert effects.two_sided(found) < 1e-20
    half = stats.t.ppf(0.975, 180 / (stats.kurtosis(x[0]) + 2))
    half *= math.sqrt(80 / 90 * 10 / 90 / 89)
    assert found.high - found.mean == pytest.approx(half)
    assert effects.two_sided(crossed.crossed(np.ones((3, 20)))) == 2 * 0.5**20


def test_too_few_disagreements_tell_no_direction_but_may_tell_equality():
    x = np.zeros((8, 1_000))
    x[:, :3] = 1.0
    found = crossed.crossed(x)
    top = stats.beta.ppf(0.975, 4, 997)  # Clopper and Pearson
    assert (found.low, found.high) == (pytest.approx(-top), pytest.approx(top))
    assert "3 of 1000" in found.exact
    assert effects.two_sided(found) == 1.0
    assert found.tail(-1, 0.02) == found.tail(1, -0.02) < 0.001


@given(some.integers(0, 40), some.integers(0, 2**16), some.floats(0.0, 1.0))
def test_an_accuracy_stays_between_0_and_1(count, seed, constant):
    rng = np.random.default_rng(seed)
    x = np.arange(40) < count + rng.integers(-2, 3, size=(4, 1))
    found = crossed.crossed_share(x * 1.0, constant)
    assert found.low + constant + 1e-9 >= 0.0
    assert found.high + constant <= 1.0 + 1e-9
    assert found.low <= found.mean + 1e-9 <= found.high + 2e-9
    for level in (0.9, 0.999):
        low, high = effects.interval(found, level)
        assert (low <= 0.0 <= high) == (effects.two_sided(found) >= 1 - level)


def test_splits_add_the_share_of_test_to_training_examples():
    d = np.array([0.01, 0.02, 0.015, np.nan, 0.0])
    found, plain = crossed.resampled(d, 0.5), effects.paired(d)
    wider = math.sqrt((1 / 4 + 0.5) * 4)
    assert found.high - found.mean == pytest.approx(wider * (plain.high - plain.mean))


# Simulations.

WORLDS = tuple(
    World(n, size, (accuracy,) * 2, *parts)
    for n in (8, 16, 64)
    for size, accuracy in ((100, 0.95), (360, 0.95), (1_000, 0.97))
    for parts in ((0.5, 0.3, 0.7), (0.1, 0.3, 0.3), (0.7, 0.05, 0.3), (0.02, 0.02, 1.0))
)
FEW = tuple(dataclasses.replace(w, seeds=n) for n in (3, 5) for w in WORLDS[:12])
UNLIKE = tuple(
    World(n, size, pair, *parts)
    for n in (3, 5, 8, 16)
    for size, pair in (
        (100, (0.98, 0.96)),
        (360, (0.995, 0.99)),
        (1_000, (0.999, 0.997)),
    )
    for parts in ((0.05, 0.05, 0.1), (0.2, 0.1, 0.2))
)


def coverage(world, draws, seed=0):
    """Returns in what share of draws the difference of two trials is covered.

    That is by `crossed`, and by today's interval over seeds alone.
    """
    rng = np.random.default_rng(seed)
    true = world.accuracies[0] - world.accuracies[1]
    hits = np.zeros(2)
    for _ in range(draws):
        left, right = world.draw(rng)
        d = left * 1.0 - right
        both = crossed.crossed(d), effects.paired(d.mean(axis=1))
        hits += [e.low - 1e-12 <= true <= e.high + 1e-12 for e in both]
    return hits / draws


def test_intervals_cover_what_new_seeds_and_examples_find():
    world = World(16, 360, suits=0.7, ability=0.05, luck=0.3)
    both, seeds_only = coverage(world, 300)
    assert 0.92 <= both <= 0.98
    assert seeds_only < 0.6


def samples_coverage(world, draws):
    """Does the same for seeds that are no pairs, half as many on one side."""
    rng, hits = np.random.default_rng(0), np.zeros(2)
    true = world.accuracies[0] - world.accuracies[1]
    for _ in range(draws):
        left, right = world.draw(rng) * 1.0
        right = right[: max(world.seeds // 2, 3)]
        sides = left.mean(axis=1), right.mean(axis=1)
        alone = effects.welch(left.mean() - right.mean(), sides[:1], sides[1:])
        both = crossed.crossed_samples(left, right), alone
        hits += [e.low - 1e-12 <= true <= e.high + 1e-12 for e in both]
    return hits / draws


@pytest.mark.parametrize(
    ("world", "draws"),
    [
        (World(8, 360, suits=0.7, ability=0.05, luck=0.3), 300),
        *(
            pytest.param(w, 1_000, marks=(pytest.mark.slow, pytest.mark.long))
            for w in WORLDS + FEW + UNLIKE
        ),
    ],
)
def test_intervals_of_two_samples_cover_everywhere(world, draws):
    both, seeds_only = samples_coverage(world, draws)
    print(f"{world.name()}: {both:.1%}, over seeds alone {seeds_only:.1%}")
    few = world.seeds < 8 or world in UNLIKE
    # Two standard errors of 1,000 draws at 93 % are 1.6 points.
    assert both >= (0.90 if few else 0.93) - 0.016
    assert few or world.suits <= 0.5 or seeds_only < 0.9


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("world", WORLDS + FEW + UNLIKE, ids=World.name)
def test_intervals_cover_everywhere(world):
    both, seeds_only = coverage(world, 2_000)
    print(f"{world.name()}: {both:.1%}, over seeds alone {seeds_only:.1%}")
    # Three standard errors of 2,000 draws at 95 % are 1.5 points.
    few = world.seeds < 8 or world in UNLIKE
    assert both >= (0.90 if few else 0.93) - 0.005
    assert few or both <= 0.97 + 0.015


def accuracy_coverage(world, draws):
    rng, true = np.random.default_rng(0), world.accuracies[0]
    found = (
        crossed.crossed_share(world.draw(rng)[0] * 1.0, true) for _ in range(draws)
    )
    return float(np.mean([e.low - 1e-12 <= 0 <= e.high + 1e-12 for e in found]))


def test_accuracies_near_1_are_covered():
    world = World(8, 100, (0.99,), suits=0.0, ability=0.3, luck=0.3)
    assert accuracy_coverage(world, 300) >= 0.95  # t: 80 %


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(
    "world",
    [
        World(n, size, (accuracy,), 0.0, *parts)
        for n in (3, 8, 16, 64)
        for size, accuracy in ((100, 0.95), (100, 0.99), (360, 0.96), (1_000, 0.98))
        for parts in ((0.05, 0.3), (0.3, 0.3))
    ],
    ids=World.name,
)
def test_accuracies_are_covered_everywhere(world):
    share = accuracy_coverage(world, 1_000)
    print(f"{world.name()}: {share:.1%}")
    assert share >= 0.93 - 0.01


def resampled_coverage(size, ratio, draws, seeds=10):
    """Returns how often (as of new data, and of plain t) a true 0 is covered."""
    rng, hits = np.random.default_rng(0), np.zeros(2)
    for _ in range(draws):
        d = split_differences(rng, seeds, size, ratio)
        for i, effect in enumerate((crossed.resampled(d, ratio), effects.paired(d))):
            hits[i] += effect.low <= 0 <= effect.high
    return hits / draws


@pytest.mark.parametrize(
    "draws", [300, pytest.param(3_000, marks=(pytest.mark.slow, pytest.mark.long))]
)
@pytest.mark.parametrize(("size", "ratio"), [(300, 0.2), (300, 0.5), (60, 0.3)])
def test_splits_cover_new_data_where_plain_t_does_not(size, ratio, draws):
    new, plain = resampled_coverage(size, ratio, draws)
    print(f"{size} {ratio}: {new:.1%}, plain t {plain:.1%}")
    assert new >= 0.93
    assert plain < 0.85
