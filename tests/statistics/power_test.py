# SPDX-License-Identifier: Apache-2.0
"""A plan from a pilot keeps what it promises."""

import numpy as np
import pytest
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
    assert to_decide(share_against(np.ones(8), 0.5), 0.1, 1) == (None, None)


def test_of_splits_that_overlap_nothing_is_promised():
    """The error of their mean does not fall as 1 / sqrt(S)."""
    effect = resampled(np.random.default_rng(0).normal(size=8), 0.25)
    assert np.isnan(detectable(effect))
    assert to_decide(effect, 1.0, 1) == (None, None)


@pytest.mark.parametrize("ratio", [0.6, 1.0])
def test_a_pilot_of_four_seeds_keeps_its_promise(ratio):
    rng, found = np.random.default_rng(0), []
    for _ in range(500):
        of = power.spread(rng.normal(size=(4, 1)))
        seeds = power.seeds_needed(of, ratio)
        found.append(stats.ttest_1samp(rng.normal(ratio, 1, seeds), 0).pvalue < 0.05)
    assert 0.75 < np.mean(found) < 0.9
