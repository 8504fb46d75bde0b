# SPDX-License-Identifier: Apache-2.0
"""Points show every network of a trial, failed ones included."""

import drawn
import numpy as np
import pytest
import synthetic
from matplotlib.collections import PathCollection

from nnlab.statistics.members import networks


def centers(ax):
    """Returns x and y of the large points."""
    marks = [line for line in ax.lines if line.get_markersize() == 5.5]
    return [line.get_xydata()[0] for line in marks]


def test_the_final_value_is_of_the_model_that_is_kept():
    accuracy = np.full((1, 3, 5), 0.9)
    accuracy[:, :, 3:] = 0.5
    stopped = {(0, s): 4 for s in range(3)}
    (ax,) = drawn.axes("final", synthetic.results(accuracy, stopped=stopped))
    (center,) = centers(ax)
    assert center.tolist() == pytest.approx([0.9, 0.0])  # a single trial is a row


def test_means_seeds_and_shares_are_drawn():
    lost = {(3, s): 1 for s in range(2)}
    results = synthetic.results(diverged=lost, at_chance=[(3, 4), (2, 0)])
    (ax,) = drawn.axes("final", results)
    (strip,) = ax.child_axes
    for trial, (rate, mean) in enumerate(centers(ax)):
        values = results.curve(trial, "test_accuracy").values[:, -1]
        assert rate == results.trials[trial].hyperparameters.optimizer.learning_rate
        assert mean == pytest.approx(np.nanmean(values))
    clouds = [c for c in ax.collections if isinstance(c, PathCollection)]
    assert [len(cloud.get_offsets()) for cloud in clouds] == [8, 8, 8, 6]
    heights = [bar.get_height() / 0.9 for bar in strip.patches]
    np.testing.assert_allclose(sorted(heights), [1 / 8, 1 / 8, 2 / 8])


@pytest.mark.parametrize("rows", [False, True])
def test_a_trial_far_from_the_others_does_not_set_the_axis_and_is_written(rows):
    means = np.array([0.95, 0.946, 0.942, 0.6, synthetic.CHANCE])
    kinds = [{"model.activation": name} for name in drawn.ACTIVATIONS]
    options = {"sweep": kinds} if rows else {}
    values = means[:, None] + 1e-3 * (np.arange(4) - 1.5)
    lost = [(4, seed) for seed in range(4)]
    results = synthetic.results(values, at_chance=lost, **options)
    (ax,) = drawn.axes("final", results)
    low, high = ax.get_xlim() if rows else ax.get_ylim()
    assert 0.6 < low < 0.942
    assert high > 0.9515
    written = [t for t in ax.texts if t.get_text()[0] in "←↓"]
    assert len(written) == 2
    assert "60 %" in written[0].get_text()
    places = [t.xy[1 if rows else 0] for t in written]
    swept = [t.hyperparameters.optimizer.learning_rate for t in results.trials[3:]]
    assert places == ([3, 4] if rows else swept)
    for text, rate in zip(written, () if rows else swept):  # beside the interval
        assert text.get_window_extent().x0 > ax.transData.transform((rate, low))[0] + 2


def test_rings_mark_the_best_and_those_not_found_worse():
    turns = 0.004 * np.array([1, -1, -1])[:, None] * (-1.0) ** np.arange(8)
    values = np.array([[0.9], [0.8995], [0.8]]) + turns
    found = synthetic.findings(values)
    assert found.as_good == tuple({0, 1} - {found.best})
    (ax,) = drawn.axes("final", found.results)
    rings = [line for line in ax.lines if line.get_markersize() == 11]
    rates = [line.get_xdata()[0] for line in rings]
    trials = [t.hyperparameters.optimizer.learning_rate for t in found.results.trials]
    assert sorted(rates) == sorted(trials[:2])
    assert len({line.get_markeredgecolor() for line in rings}) == 2


def test_there_is_no_median_where_most_seeds_miss_the_target():
    values = np.full((2, 4, 5), 0.5)
    values[0, :, 2:] = values[1, 0, 3:] = 0.95
    (ax,) = drawn.axes("target", synthetic.results(values, target=0.9))
    (strip,) = ax.child_axes
    assert [median for _, median in centers(ax)] == [3.0]
    (bar,) = strip.patches
    assert bar.get_height() / 0.9 == pytest.approx(3 / 4)


@pytest.mark.parametrize(
    "options",
    [
        {"num_trials": 1, "num_seeds": 1, "num_evaluations": 1},
        {"num_trials": 32, "num_seeds": 2, "num_evaluations": 2},
        {"sweep": drawn.TWO_PATHS, "at_chance": [(8, 0)], "diverged": {(2, 1): 3}},
        {"sweep": [{"model.activation": a} for a in drawn.ACTIVATIONS]},
        {"diverged": {(t, s): s % 3 for t in range(4) for s in range(8)}},
        {"num_trials": 2, "never_ran": [1]},
    ],
)
def test_every_shape_of_study_can_be_drawn(ax, options):
    results = synthetic.results(**options, target=0.5)
    drawn.learning(ax, results, "validation_accuracy")
    ax.figure.draw_without_rendering()
    for part in ("final", "target"):
        assert drawn.axes(part, results)


def test_baselines_lie_across_or_are_rows():
    results = synthetic.results(sweep=drawn.BESIDE)
    (ax,) = drawn.axes("final", results)
    finals = [results.curve(t, "test_accuracy").values[:, -1] for t in (3, 4)]
    np.testing.assert_allclose(drawn.dashed(ax), np.mean(finals, axis=1))
    assert ax.get_xticks().tolist() == [0.01, 0.1, 1.0]
    (other,) = drawn.axes("final", synthetic.results(sweep=drawn.ROWS))
    rows = [t.get_text() for t in other.get_yticklabels()]
    assert rows == ["relu", "boosted trees", "tanh"]


@pytest.mark.parametrize("sweep", [drawn.BESIDE, drawn.ROWS])
def test_baselines_have_no_epochs_to_a_target(sweep):
    values = np.full((len(sweep), 3, 4), 0.9)
    for trial in (t for t, s in enumerate(sweep) if "model.name" in s):
        values[trial, :, :3] = 0.1  # with 200 trees
    results = synthetic.results(values, sweep=sweep, target=0.8)
    (ax,) = drawn.axes("target", results)
    assert (ax.get_xlim() if sweep is drawn.ROWS else ax.get_ylim())[1] < 2
    assert len(centers(ax)) == len(networks(results))
    assert "boosted trees" not in {t.get_text() for t in ax.get_yticklabels()}
    assert not drawn.dashed(ax)
