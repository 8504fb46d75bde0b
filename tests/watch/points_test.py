# SPDX-License-Identifier: Apache-2.0
"""What dashboards show of a trial is what the tables say."""

import numpy as np
import synthetic

from nnlab.statistics.findings import Findings
from nnlab.watch import points


def test_a_verdict_is_that_of_the_table():
    noise = np.random.default_rng(0).normal(0, 0.01, (4, 8))
    accuracies = np.array([[0.5], [0.9], [0.9], [0.7]]) + noise
    accuracies[2] = accuracies[1, ::-1]
    findings = Findings(synthetic.results(accuracies))
    worse, good = "significantly worse than the best", "not significantly different"
    said = [points.verdict(findings, trial) for trial in range(4)]
    assert (said[0], said[3]) == (worse, worse)
    assert sorted(said[1:3])[0] == "best by validation"
    assert sorted(said[1:3])[1].startswith(good)
    one = Findings(synthetic.results(accuracies[:2, :1]))
    assert points.verdict(one, 0) == "not compared with the best"


def test_trials_with_a_run_are_spread_over_the_sweep():
    assert points.chosen(3) == {0, 1, 2}
    some = sorted(points.chosen(200))
    assert (len(some), some[0], some[-1]) == (points.MOST_TRIALS, 0, 199)
    assert max(np.diff(some)) <= 4
