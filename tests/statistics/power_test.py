# SPDX-License-Identifier: Apache-2.0
"""A plan from a pilot keeps what it promises."""

import dataclasses

import numpy as np
import pytest
from answered import split_differences
from scipy import stats

from nnlab.statistics import power
from nnlab.statistics.crossed import crossed, resampled
from nnlab.statistics.effects import paired, share_against, two_sided
from nnlab.statistics.power import Spread, detectable, to_decide


@pytest.mark.parametrize("alpha", [0.05, 0.001])
@pytest.mark.parametrize("ratio", [0.5, 1.0, 3.0])
def test_over_seeds_alone_it_is_the_power_of_the_t_test(alpha, ratio):
    seeds = 7
    shift = ratio * np.sqrt(seeds)
    critical = stats.t.ppf(1 - alpha / 2, seeds - 1)
    exact = stats.nct.sf(critical, seeds - 1, shift)
    found = power.chance_to_tell(Spread(1.0), ratio, seeds, alpha=alpha)
    assert found == pytest.approx(exact, abs=1e-6)


def drawn(rng, seeds, size, of):
    """Draws differences (S, N) without any true one."""
    every, some = rng.normal(size=(seeds, 1)), rng.normal(size=(1, size))
    rest = rng.normal(size=(seeds, size))
    return of[0] * every + of[1] * some + of[2] * rest


def test_a_spread_is_found_again():
    rng, of = np.random.default_rng(0), (0.5, 1.0, 2.0)
    found = [power.spread(drawn(rng, 10, 200, of)) for _ in range(1_500)]
    for name, deviation in zip(("seeds", "examples", "rest"), of):
        values = [getattr(one, name) for one in found]
        assert np.mean(values) == pytest.approx(deviation**2, rel=0.05)


def test_parts_on_examples_of_their_own_have_the_spread_of_their_sum():
    rng, of = np.random.default_rng(0), (0.5, 1.0, 2.0)
    means, told = [], []
    for _ in range(1_500):
        one, other = (drawn(rng, 10, size, of) for size in (200, 50))
        means.append(one.mean() + other.mean())
        found = power.spread(one, other)
        rest = found.examples + found.rest / 10
        told.append(found.seeds / 10 + rest / found.size)
    assert np.mean(told) == pytest.approx(np.var(means), rel=0.1)
    effect = crossed(one, other)
    assert detectable(effect) > 0
    assert to_decide(effect, 1.0, 1)[0]


def test_examples_that_are_too_few_are_told_from_seeds_that_are():
    of = Spread(seeds=1e-5, examples=0.01, rest=0.02, size=400)
    assert power.seeds_needed(of, 0.01) is None
    more = power.examples_needed(of, 0.01, 16)
    assert power.chance_to_tell(of, 0.01, 16, more) >= 0.8
    assert power.chance_to_tell(of, 0.01, 16, more - 1) < 0.8
    few = power.seeds_needed(of, 0.01, examples=2 * more)
    assert few < 16
    assert power.chance_to_tell(of, 0.01, few, 2 * more) >= 0.8
    assert power.chance_to_tell(of, 0.01, few - 1, 2 * more) < 0.8


def test_one_seed_has_no_spread():
    with pytest.raises(ValueError, match="needs 2"):
        power.spread(np.zeros((1, 5)))


@pytest.mark.parametrize("factor", [1, 20])
def test_what_a_run_could_have_told_is_found_in_four_of_five_runs(factor):
    rng = np.random.default_rng(0)
    told = [detectable(paired(rng.normal(size=12)), factor) for _ in range(2_000)]
    found = [
        two_sided(paired(rng.normal(np.mean(told), 1, 12))) <= 0.05 / factor
        for _ in range(2_000)
    ]
    assert np.mean(found) == pytest.approx(0.8, abs=0.05)


def test_what_decides_is_seeds_or_else_examples():
    rng = np.random.default_rng(0)
    found = to_decide(crossed(drawn(rng, 8, 400, (0.01, 0.0, 1.0))), 0.02, 1)
    assert found[0] > 8
    assert found[1] is None
    found = to_decide(crossed(drawn(rng, 8, 400, (0.01, 1.0, 0.1))), 0.05, 1)
    assert found[0] is None
    assert found[1] > 400
    all_of_eight = share_against(np.ones(8), 0.5)  # six of six have p = 0.03
    assert to_decide(all_of_eight, 0.1, 1) == (6, None)


def test_more_splits_of_the_same_examples_tell_less_and_less():
    """The error of their mean does not fall below that of ever so many."""
    d = np.random.default_rng(0).normal(size=8)
    effect, of = resampled(d, 0.25), power.spread(d[:, None], ratio=0.25)
    known, limit = (
        power.least_told(one, power.MOST)
        for one in (dataclasses.replace(of, freedom=np.inf), of)
    )
    errors = (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * d.std(ddof=1) * 0.5
    assert known == pytest.approx(errors, rel=2e-3)
    assert detectable(effect) > known
    assert to_decide(effect, 0.9 * limit, 1) == (None, None)
    seeds, examples = to_decide(effect, 1.1 * limit, 1)
    assert power.chance_to_tell(of, 1.1 * limit, seeds) >= 0.8
    assert power.chance_to_tell(of, 1.1 * limit, seeds - 1) < 0.8
    assert examples is None
    assert power.pooled([of, of]).ratio == 0.25


def test_seeds_help_unless_the_examples_leave_too_large_an_error():
    rng = np.random.default_rng(0)
    of_seeds, of_examples = (1.0, 0.1, 0.1), (0.02, 1.0, 0.1)
    for shares, helps in ((of_seeds, True), (of_examples, False)):
        effect = crossed(drawn(rng, 6, 200, shares))
        assert power.seeds_help(effect, 3) == helps
    clear = crossed(drawn(rng, 6, 200, of_examples) + 0.5)
    assert power.seeds_help(clear, 3)
    d = rng.normal(size=30)
    d -= d.mean()
    assert power.seeds_help(paired(d), 3)
    assert not power.seeds_help(resampled(d, 0.25), 3)
    assert power.seeds_help(resampled(d[:4] + 1, 0.25), 3)
    assert power.seeds_help(crossed(drawn(rng, 6, 200, of_examples)), np.nan)


SPLITS = ((10, 300, 0.2, 0.26), (10, 300, 0.2, 0.13), (5, 300, 0.5, 0.3))
SPLITS += ((10, 60, 0.3, 0.5), (30, 300, 0.2, 0.24), (10, 1_000, 0.25, 0.12))


@pytest.mark.parametrize(
    ("shape", "draws"),
    [
        (SPLITS[0], 300),
        *(
            pytest.param(s, 2_000, marks=(pytest.mark.slow, pytest.mark.long))
            for s in SPLITS
        ),
    ],
)
def test_of_splits_the_promised_power_is_met(shape, draws):
    """Where learners do train on splits that overlap, not where a formula says so."""
    rng, (seeds, _, ratio, _) = np.random.default_rng(0), shape
    d = np.array([split_differences(rng, *shape) for _ in range(draws)])
    found = np.mean([two_sided(resampled(one, ratio)) <= 0.05 for one in d])
    of = Spread(d.var(axis=1, ddof=1).mean(), ratio=ratio)
    promised = power.chance_to_tell(of, d.mean(), seeds)
    print(f"{shape}: promised {promised:.1%}, found {found:.1%}")
    assert found == pytest.approx(promised, abs=0.05)


@pytest.mark.parametrize("ratio", [0.6, 1.0])
def test_a_pilot_of_four_seeds_keeps_its_promise(ratio):
    rng, found = np.random.default_rng(0), []
    for _ in range(500):
        of = power.spread(rng.normal(size=(4, 1)))
        seeds = power.seeds_needed(of, ratio)
        found.append(stats.ttest_1samp(rng.normal(ratio, 1, seeds), 0).pvalue < 0.05)
    assert 0.75 < np.mean(found) < 0.9
