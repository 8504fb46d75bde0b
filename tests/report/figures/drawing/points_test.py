# SPDX-License-Identifier: Apache-2.0
"""A point is what became of a trial's members, and none is left out silently."""

import drawn
import numpy as np
import pytest
import synthetic
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from nnlab.report.figures.drawing import curves, points
from nnlab.statistics.members import networks


def test_final_metric_shows_the_model_that_is_kept(ax):
    accuracy = np.full((1, 3, 5), 0.9)
    accuracy[:, :, 3:] = 0.5
    stopped = {(0, s): 5 for s in range(3)}
    points.final_metric(ax, synthetic.results(accuracy, stopped=stopped), "test_loss")
    results = synthetic.results(accuracy, stopped=stopped)
    other = ax.figure.add_subplot()
    points.final_metric(other, results, "test_accuracy")
    (mean,) = (line for line in other.lines if line.get_markersize() == 5.5)
    assert 0.9 in mean.get_xydata()[0]


def test_final_metric_draws_means_seeds_and_shares(ax):
    results = synthetic.results(
        diverged={(3, s): 1 for s in range(2)}, at_chance=[(3, 4), (2, 0)]
    )
    points.final_metric(ax, results, "test_accuracy")
    means = [line.get_xydata()[0] for line in ax.lines if line.get_markersize() == 5.5]
    for trial, (rate, mean) in enumerate(means):
        values = results.curve(trial, "test_accuracy").values[:, -1]
        assert rate == results.trials[trial].hyperparameters.optimizer.learning_rate
        assert mean == pytest.approx(np.nanmean(values))
    clouds = [c for c in ax.collections if isinstance(c, PathCollection)]
    assert [len(cloud.get_offsets()) for cloud in clouds] == [8, 8, 8, 6]
    (strip,) = ax.child_axes
    heights = [np.ptp(p.get_xy()[:, 1]) / 0.9 for p in strip.patches]
    np.testing.assert_allclose(sorted(heights), [1 / 8, 1 / 8, 2 / 8])


def test_steps_to_target_has_no_median_where_most_seeds_miss_it(ax):
    values = np.full((2, 4, 5), 0.5)
    values[0, :, 2:] = values[1, 0, 3:] = 0.95
    results = synthetic.results(values)
    points.steps_to_target(ax, results, 0.9)
    medians = [line.get_ydata()[0] for line in ax.lines if line.get_markersize() == 5.5]
    assert medians == [3.0]
    (strip,) = ax.child_axes
    (bar,) = strip.patches
    assert np.ptp(bar.get_xy()[:, 1]) / 0.9 == pytest.approx(3 / 4)


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
    results = synthetic.results(**options)
    assert curves.learning_curves(ax, results, "validation_accuracy") is ax
    for draw in (points.final_metric, points.steps_to_target):
        panel = Figure(layout="constrained").add_subplot()
        what = "test_accuracy" if draw is points.final_metric else 0.5
        assert draw(panel, results, what) is panel
        panel.figure.draw_without_rendering()
    ax.figure.draw_without_rendering()


def test_final_metric_shows_baselines_across_or_as_rows(ax):
    results = synthetic.results(sweep=drawn.BESIDE)
    points.final_metric(ax, results, "test_accuracy")
    finals = [results.curve(t, "test_accuracy").values[:, -1] for t in (3, 4)]
    np.testing.assert_allclose(drawn.dashed(ax), np.mean(finals, axis=1))
    assert ax.get_xticks().tolist() == [0.01, 0.1, 1.0]
    other = ax.figure.add_subplot()
    points.final_metric(other, synthetic.results(sweep=drawn.ROWS), "test_accuracy")
    rows = [t.get_text() for t in other.get_yticklabels()]
    assert rows == ["relu", "boosted trees", "tanh"]


@pytest.mark.parametrize("sweep", [drawn.BESIDE, drawn.ROWS])
def test_baselines_have_no_epochs_to_a_target(ax, sweep):
    values = np.full((len(sweep), 3, 4), 0.9)
    for trial in (t for t, s in enumerate(sweep) if "model.name" in s):
        values[trial, :, :3] = 0.1  # with 200 trees
    results = synthetic.results(values, sweep=sweep)
    points.steps_to_target(ax, results, 0.8)
    assert (ax.get_xlim() if sweep is drawn.ROWS else ax.get_ylim())[1] < 2
    medians = [line for line in ax.lines if line.get_markersize() == 5.5]
    assert len(medians) == len(networks(results))
    assert "boosted trees" not in {t.get_text() for t in ax.get_yticklabels()}
    assert not drawn.dashed(ax)
