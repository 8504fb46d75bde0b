# SPDX-License-Identifier: Apache-2.0
"""The table of trials accounts for all networks."""

import numpy as np
import pytest
import synthetic
from scipy import stats

from nnlab.statistics.findings import Findings


def test_summary_has_the_drop_on_each_further_test_set_paired_by_seed():
    rng = np.random.default_rng(13)
    test, moved = rng.uniform(0.5, 1.0, (2, 1, 5))
    found = synthetic.results({"test_accuracy": test, "test_moved_accuracy": moved})
    (row,) = Findings(found).rows
    interval = stats.ttest_rel(test[0], moved[0]).confidence_interval()
    drop = "test_moved_accuracy_drop"
    assert row[f"{drop}_mean"] == pytest.approx((test - moved).mean())
    assert (row[f"{drop}_low"], row[f"{drop}_high"]) == pytest.approx(tuple(interval))
    assert "test_accuracy_drop_mean" not in row


def test_summary_means_are_over_survivors_and_the_rest_is_null(tmp_path):
    accuracy = np.array([[0.9, 0.8, 0.7, 0.3]] * 3)
    found = synthetic.results(
        accuracy, diverged={(0, 3): 2}, never_ran=[2], workdir=tmp_path
    )
    rows = Findings(found).rows
    assert rows[0]["test_accuracy_mean"] == pytest.approx(0.8)
    assert rows[1]["test_accuracy_mean"] == pytest.approx(0.675)
    assert (rows[0]["n_finished"], rows[0]["n_diverged"]) == (3, 1)
    assert rows[2]["n_finished"] == 0
    assert rows[2]["test_accuracy_mean"] is None
    assert rows[0]["model.hidden"] == "[64]"
    assert [row["best"] for row in rows] == [False, True, False]


def test_summary_of_stored_results_is_the_same(tmp_path):
    options = {"diverged": {(0, 0): 0}, "stopped": {(1, 1): 4}, "never_ran": [3]}
    stored = synthetic.findings(**options, workdir=tmp_path)
    assert stored.summary.equals(synthetic.findings(**options).summary)


def test_summary_has_null_for_a_target_not_reached():
    found = synthetic.results(np.array([[0.9] * 3, [0.5] * 3]), target=0.8)
    fast, slow = Findings(found).rows
    assert (fast["reached_share"], fast["median_epochs_to_target"]) == (1.0, 1.0)
    assert (slow["reached_share"], slow["median_epochs_to_target"]) == (0.0, None)


def test_summary_of_a_study_that_never_began():
    rows = synthetic.findings(never_ran=range(4)).rows
    assert {(row["n_finished"], row["best"]) for row in rows} == {(0, False)}


def test_summary_has_no_interval_below_three_values():
    lost = {(0, seed): 2 for seed in range(3)}
    rows = synthetic.findings(num_seeds=5, diverged=lost).rows
    rows += synthetic.findings(num_seeds=2).rows
    few = [rows[0], *rows[4:]]
    for row in few:
        ends = [v for name, v in row.items() if name.endswith(("_low", "_high"))]
        assert ends
        assert not any(v is not None for v in ends)
    assert rows[0]["test_accuracy_mean"] is not None
    assert [r["test_accuracy_difference_n"] for r in rows[:2]] == [2, 5]
    assert rows[1]["test_accuracy_low"] is not None
