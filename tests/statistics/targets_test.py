# SPDX-License-Identifier: Apache-2.0
"""Steps to a target count all networks; the default target separates the trials."""

import math

import numpy as np
import synthetic

from nnlab.statistics import targets
from nnlab.statistics.findings import Findings


def test_a_target_is_reached_in_float32_too():
    found = synthetic.results(np.full((1, 3, 2), np.float32(0.95)))
    assert targets.steps_to_target(found, 0, 0.95).reached_share == 1.0


def test_median_steps_count_those_that_never_arrive():
    accuracy = np.zeros((2, 5, 4))
    accuracy[0, :3, 1:] = 0.9
    accuracy[1, :2, 1:] = 0.9
    found = synthetic.results(accuracy)
    most, few = (targets.steps_to_target(found, t, 0.9) for t in (0, 1))
    assert (most.reached_share, most.median_steps, most.median_epochs) == (0.6, 70, 2)
    assert (few.reached_share, few.median_steps) == (0.4, math.inf)


def test_an_unfinished_member_may_still_arrive():
    found = synthetic.results(np.zeros((1, 4)), unfinished={(0, 0): 2})
    assert targets.steps_to_target(found, 0, 0.9).n == 3


def test_default_target_tells_the_trials_apart():
    time = np.arange(1, 31)
    speeds = np.array([1.0, 0.3, 0.1, 0.03])[:, None, None]
    accuracy = np.broadcast_to(0.98 * (1 - np.exp(-speeds * time)), (4, 5, 30))
    found = synthetic.results(accuracy)
    assert Findings(found).target == 0.9
    times = [targets.steps_to_target(found, t, 0.9) for t in range(4)]
    assert len({time.median_steps for time in times}) == 4


def test_default_target_survives_a_dead_seed_and_perfect_accuracy():
    accuracy = np.full((1, 8), 1.0)
    accuracy[0, 0] = 0.1
    assert synthetic.findings(accuracy).target == 0.999
    nothing = synthetic.results(unfinished={(t, 0): 1 for t in range(4)})
    assert math.isnan(Findings(nothing).target)


def test_default_target_is_near_what_the_best_reaches():
    # A target of 0.3 would separate all five, one of 0.9 or more only the first.
    levels = np.array([0.98, 0.65, 0.55, 0.45, 0.35])[:, None, None]
    speeds = np.array([1.0, 0.5, 0.4, 0.3, 0.2])[:, None, None]
    accuracy = levels * (1 - np.exp(-speeds * np.arange(1, 31)))
    found = synthetic.results(np.tile(accuracy, (1, 3, 1)))
    assert Findings(found).target == 0.98


def test_trees_take_no_updates_to_a_target_and_choose_none():
    found = synthetic.beside_trees(0.85, trees=0.999)
    assert Findings(found).target == 0.85
    network, trees = (targets.steps_to_target(found, t, 0.8) for t in (0, 1))
    assert (network.n, network.reached_share) == (4, 1.0)
    assert trees.n == 0
    assert math.isnan(trees.median_steps)
