# SPDX-License-Identifier: Apache-2.0
"""Whether one field's gain depends on another is a tested difference of differences."""

import itertools

import answered
import numpy as np
import pytest
import synthetic
from scipy import stats

from nnlab.statistics import effects
from nnlab.study import product
from nnlab.study.claims import higher

MOMENTA, RATES = (0.9, 0.0), (0.1, 0.3, 1.0)
PATHS = ("optimizer.momentum", "optimizer.learning_rate")
GRID = product(dict(zip(PATHS, (MOMENTA, RATES))))


def accuracies(gains, seeds=8):
    """Final accuracies (T, S): momentum 0.9 gains so much at each rate."""
    values = 0.7 + 0.01 * np.random.default_rng(1).normal(size=(2, len(gains), seeds))
    values[0] += np.array(gains)[:, None]
    return values.reshape(-1, seeds)


def found(gains, **options):
    options = {"sweep": GRID, "question": "What helps?", **options}
    return synthetic.findings(accuracies(gains), **options).interaction


def test_it_is_a_paired_t_of_differences_adjusted_over_all_pairs():
    gains = (0.1, 0.1, 0.05)
    values = accuracies(gains).reshape(2, 3, 8)
    rises = values[0] - values[1]
    pairs = list(itertools.combinations(range(3), 2))
    raw = [stats.ttest_rel(rises[k], rises[j]).pvalue for j, k in pairs]
    place = int(np.argmin(raw))
    one = found(gains)
    assert one.p_holm == pytest.approx(effects.holm(raw)[place])
    j, k = pairs[place]
    assert one.gains == pytest.approx((rises[j].mean(), rises[k].mean()))
    test = stats.ttest_rel(rises[k], rises[j]).confidence_interval(1 - 0.05 / 3)
    assert (one.low, one.high) == pytest.approx(tuple(test))
    assert one.effect == pytest.approx(one.gains[1] - one.gains[0])
    assert (one.field, one.other, one.resolved) == (*PATHS, True)
    assert one.trials == (3 + j, j, 3 + k, k)  # momentum 0 comes last in the sweep


def test_the_field_that_the_question_names_first_is_asked():
    for question in ("Which rate is best at what momentum?", "Is LEARNING fast?"):
        assert found((0.1, 0.1, 0.05), question=question).field == PATHS[1]
    assert found((0.1, 0.1, 0.05), question="What helps?").field == PATHS[0]


def test_gains_that_are_alike_are_no_interaction():
    one = found((0.1, 0.1, 0.1))
    assert not one.resolved
    assert one.low < 0 < one.high


def test_without_a_trial_that_differs_nothing_interacts():
    # Twice as sure as any difference of two trials, of which there are six.
    noise = 0.01 * np.random.default_rng(1).normal(size=(4, 8))
    noise -= noise.mean(axis=1, keepdims=True)
    crossing = 0.9 + 0.006 * np.array([[1], [-1], [-1], [1]]) + noise
    sweep = [item for item in GRID if item[PATHS[1]] < 1]
    told = synthetic.findings(crossing, sweep=sweep)
    gain = crossing[0] - crossing[1] - crossing[2] + crossing[3]
    assert stats.ttest_1samp(gain, 0).pvalue < 0.05
    least = np.nanmin([c.p_holm for c in told.compared])
    assert told.interaction.p_holm == least > 0.05
    claims = [higher("a", "test_loss", {}, 0.1)]  # whose trials are not compared
    told = synthetic.findings(crossing, sweep=sweep, claims=claims)
    assert told.interaction is None


@pytest.mark.slow
@pytest.mark.parametrize("gain", [0.0, 0.05])
def test_gains_that_do_not_depend_are_rarely_called_so(gain):
    rng, count = np.random.default_rng(3), 150
    levels = gain * np.array([[[1], [1], [0]], [[0], [0], [-1]]])
    wrong = 0
    for _ in range(count):
        values = 0.8 + levels + 0.01 * rng.normal(size=(2, 3, 5))
        options = {"sweep": GRID, "num_evaluations": 2}
        found = synthetic.findings(values.reshape(6, 5), **options)
        wrong += found.interaction.resolved
    assert wrong <= stats.binom.isf(1e-3, count, 0.05)


def test_it_speaks_of_new_examples_where_they_are_known():
    world = answered.World(6, 400, (0.9, 0.9, 0.9, 0.6, 0.9, 0.9))
    right = world.draw(np.random.default_rng(0))
    options = {"sweep": GRID, "question": "What helps?"}
    one = synthetic.findings(correct={"test": right}, **options).interaction
    assert one.over == "seeds and examples"
    assert one.resolved
    assert one.trials[:2] == (3, 0)
    assert -0.36 < one.effect < -0.24


@pytest.mark.parametrize(("seeds", "resolved"), [(3, False), (6, True)])
def test_counts_of_networks_at_chance_decide_where_they_part(seeds, resolved):
    values, lost = accuracies((0.0, 0.0), seeds), [(0, s) for s in range(seeds)]
    sweep = [item for item in GRID if item[PATHS[1]] < 1]
    one = synthetic.findings(values, sweep=sweep, at_chance=lost).interaction
    assert one.effect > 0.5
    assert one.resolved is resolved


@pytest.mark.parametrize(
    "sweep",
    [
        GRID[:5],
        [{"batch_size": b} for b in (8, 9)],
        [{**item, "batch_size": 8 + i} for i, item in enumerate(GRID)],
    ],
)
def test_without_a_grid_of_two_fields_there_is_none(sweep):
    assert synthetic.findings(sweep=sweep, num_seeds=3).interaction is None
