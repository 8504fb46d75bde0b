# SPDX-License-Identifier: Apache-2.0
"""Curves show what was measured, and limits that hide nothing."""

import dataclasses
import itertools

import drawn
import numpy as np
import pyarrow as pa
import pytest
import synthetic

from nnlab.report.figures.drawing import curves
from nnlab.statistics.members import alive, carried_forward


def test_mean_is_over_finished_and_stopped_networks(ax):
    lost = {(0, 1): 4, (0, 6): 2}
    results = synthetic.results(num_trials=2, diverged=lost, stopped={(1, 3): 5})
    drawn.learning(ax, results, "train_loss")
    for trial, line in enumerate(drawn.solid(ax)):
        curve = carried_forward(results, trial, "train_loss")
        kept = curve.values[alive(results, trial)]
        assert len(kept) == (6, 8)[trial]
        np.testing.assert_allclose(line.get_ydata(), kept.mean(axis=0))
        np.testing.assert_allclose(line.get_xdata(), curve.epochs)


@pytest.mark.parametrize(
    ("num_seeds", "bands", "thin"), [(1, 0, 0), (2, 0, 8), (5, 4, 20), (6, 4, 0)]
)
def test_bands_take_three_seeds_and_few_seeds_have_lines(ax, num_seeds, bands, thin):
    drawn.learning(ax, synthetic.results(num_seeds=num_seeds), "validation_accuracy")
    assert len(ax.collections) == bands
    assert sum(line.get_linewidth() == 0.6 for line in ax.lines) == thin


def test_diverged_networks_end_in_a_cross_at_their_last_finite_value(ax):
    results = synthetic.results(diverged={(1, 2): 4, (3, 0): 0})
    drawn.learning(ax, results, "train_loss")
    value = results.curve(1, "train_loss").values[2, 3]
    crosses = sorted(drawn.crosses(ax), key=lambda point: point[0])
    np.testing.assert_allclose(crosses, [[0.0, ax.get_ylim()[0]], [4.0, value]])


def exploded(at, value, level=0.5, **options):
    """Makes losses with a huge value in one trial."""
    values = np.full((2, 4, 6), level)
    values[at] = value
    return synthetic.results({"train_loss": values}, **options)


def test_a_diverged_networks_huge_loss_does_not_set_the_limits(ax):
    drawn.learning(ax, exploded((1, 0, 3), 1e30, diverged={(1, 0): 4}), "train_loss")
    assert ax.get_ylim()[1] < 1
    (cross,) = drawn.crosses(ax)
    assert cross[1] == pytest.approx(ax.get_ylim()[1])


def test_a_huge_loss_at_chance_does_not_set_the_limits(ax):
    lost = [(1, s) for s in range(4)]
    values = np.full((2, 4, 6), 0.5)
    values[1] = 1e9
    given = {"grad_norm_dense_0": values, "test_accuracy": np.full((2, 4, 6), 0.9)}
    results = synthetic.results(given, at_chance=lost)
    drawn.learning(ax, results, "grad_norm_dense_0")
    assert ax.get_ylim()[1] < 1
    other = ax.figure.add_subplot()
    drawn.learning(other, results, "test_accuracy")
    assert other.get_ylim()[0] > synthetic.CHANCE


def test_a_loss_that_grew_in_one_seed_does_not_set_the_limits(ax):
    # The trial learns in the other seeds.
    results = exploded((1, 3, slice(2, None)), 1e12, np.linspace(2.0, 0.5, 6))
    drawn.learning(ax, results, "train_loss")
    assert 10 < ax.get_ylim()[1] < 100


@pytest.mark.parametrize("far", [0.6, 0.944])
def test_an_axis_shows_the_ends_that_differ_not_the_start_they_share(ax, far):
    ends = np.array([0.95, 0.948, 0.946, far, synthetic.CHANCE])
    rise = 1 - np.exp(-np.arange(40))  # to the end within a fifth of training
    values = synthetic.CHANCE + (ends - synthetic.CHANCE)[:, None, None] * rise
    lost = [(4, seed) for seed in range(3)]
    results = synthetic.results(np.repeat(values, 3, axis=1), at_chance=lost)
    drawn.learning(ax, results, "validation_accuracy")
    low, high = np.log10(1 - np.array(ax.get_ylim()))
    apart = np.log10((1 - ends[ends > 0.9].min()) / (1 - ends.max()))
    assert apart > 0.5 * (low - high)
    # What lies beyond is named, with an arrow.
    arrows = [t.get_text() for t in ax.texts if t.get_text().startswith("↓")]
    assert len(arrows) == 1 + (far < 0.9)
    assert any("3 at chance" in text for text in arrows)


def test_dead_units_are_in_view(ax):
    shares = np.full((4, 8, 6), 0.5)
    shares[2] = 0.0
    name, lost = "validation_active_share", [(2, s) for s in range(8)]
    drawn.learning(ax, synthetic.results({name: shares}, at_chance=lost), name)
    assert ax.get_ylim()[0] <= 0.0


LONG = "step {}: weights with std 1/sqrt(fan-in), so"


@pytest.mark.parametrize(("count", "lines"), [(1, 0), (2, 1), (12, 1), (5, 2)])
def test_labels_do_not_overlap(ax, count, lines):
    sweep = [{"batch_size": n + 1} for n in range(count)]
    for n, trial in enumerate(sweep if lines == 2 else ()):
        trial["label"] = LONG.format(n)
    values = np.full((count, 3, 4), 0.8)
    stopped = {(0, 0): 2} if lines == 2 else {}
    results = synthetic.results(values, sweep=sweep, stopped=stopped)
    drawn.learning(ax, results, "test_accuracy")
    ax.figure.draw_without_rendering()
    labels = [t for t in ax.texts if t.get_position()[0] == 1.035 and t.get_text()]
    assert len(labels) == (count if lines else 0)
    assert all(("\n" in t.get_text()) == (lines == 2) for t in labels)
    boxes = sorted((t.get_window_extent() for t in labels), key=lambda b: b.y0)
    assert all(low.y1 <= high.y0 + 0.5 for low, high in itertools.pairwise(boxes))
    assert ax.get_window_extent().width > 0.5 * ax.figure.bbox.width


def test_many_trials_get_a_color_bar(ax):
    results = synthetic.results(num_trials=13, num_seeds=3, num_evaluations=3)
    drawn.learning(ax, results, "train_loss")
    assert len(drawn.solid(ax)) == 13
    assert len(ax.figure.axes) == 2


def test_panels_share_limits_and_colors(ax):
    results = synthetic.results(sweep=drawn.TWO_PATHS)
    axes = ax, ax.figure.add_subplot()
    for panel, trials in zip(axes, ((0, 1, 2), (3, 4, 5))):
        drawn.learning(panel, results, "train_loss", trials=trials)
    assert axes[0].get_ylim() == axes[1].get_ylim()
    first, second = ([line.get_color() for line in drawn.solid(a)] for a in axes)
    assert first == second


def test_unfinished_networks_are_drawn_dashed_if_a_trial_has_no_others(ax):
    lost = {(1, s): 5 for s in range(8)}
    results = synthetic.results(num_trials=3, unfinished=lost, never_ran=[2])
    drawn.learning(ax, results, "train_loss")
    assert [line.get_linestyle() for line in drawn.solid(ax)] == ["-", "--"]


def test_a_short_curve_beyond_the_axis_is_not_drawn_outside(ax):
    loss = np.linspace(0.9, 0.1, 10) * np.ones((3, 8, 1))
    loss[2] *= 20
    gone = synthetic.results({"train_loss": loss}, dropped={2: 1})
    drawn.learning(ax, gone, "train_loss")
    (mark,) = (line for line in ax.lines if line.get_marker() == "o")
    assert np.nanmin(mark.get_ydata()) > ax.get_ylim()[1]
    assert mark.get_clip_on()


@pytest.mark.parametrize("x", ["epoch", "seconds"])
def test_ticks_on_the_mean_mark_where_networks_stopped(ax, x):
    ends = {(0, 0): 4, (0, 1): 4, (0, 2): 7, (1, 3): 2}
    accuracy = np.full((2, 8, 10), 0.5)
    accuracy[:, :, 0] = 0.6  # the best step
    values = {"validation_accuracy": accuracy}
    results = synthetic.results(values, stopped=ends, diverged={(1, 0): 3})
    drawn.learning(ax, results, "train_loss", x=x)
    (pair, single, other) = drawn.ticks(ax)
    first, second = drawn.solid(ax)
    for tick, line, at in ((pair, first, 3), (single, first, 6), (other, second, 1)):
        np.testing.assert_allclose(tick[:2], line.get_xydata()[at])
    assert pair[2] > single[2] == other[2]
    shown = " ".join(text.get_text() for text in ax.texts)
    assert "(3 stopped)" in shown
    assert "(1 stopped, 1 diverged)" in shown


@pytest.mark.parametrize(("slow", "scale"), [(0.4, "linear"), (0.6, "log")])
def test_seconds_are_a_networks_share_and_far_ends_get_a_log_axis(ax, slow, scale):
    sweep = [{"batch_size": 32}, {"batch_size": 64}]
    times = {0: (slow - 0.1, slow + 0.1), 1: (0.1,)}
    results = synthetic.results(sweep=sweep, seconds=times, diverged={(0, 0): 0})
    drawn.learning(ax, results, "test_accuracy", x="seconds")
    assert ax.get_xscale() == scale
    left, right = ax.get_xlim()
    for line, seconds in zip(drawn.solid(ax), (slow, 0.1)):
        places = line.get_xdata()
        np.testing.assert_allclose(places, seconds * np.arange(1, 11))
        assert left <= places.min() < places.max() <= right + 1e-9
    ((place, _),) = drawn.crosses(ax)
    assert place == pytest.approx(left)
    assert ax.get_xlabel().startswith("seconds of training")


def test_the_start_of_training_has_no_place_on_a_log_axis(ax):
    results = synthetic.results(sweep=[{"batch_size": 4}, {"batch_size": 64}])
    name = results.curves.column_names.index("step")
    steps = results.curves["step"].to_numpy()
    steps = steps - np.where(results.curves["trial"].to_numpy() == 0, 287, 17)
    table = results.curves.set_column(name, "step", pa.array(steps))
    moved = dataclasses.replace(results, curves=table)
    drawn.learning(ax, moved, "test_accuracy", x="step")
    assert ax.get_xscale() == "log"
    for line in drawn.solid(ax):
        assert np.isnan(line.get_xdata()[0])
        assert np.nanmin(line.get_xdata()) >= ax.get_xlim()[0] > 0


def test_a_program_that_was_not_timed_has_no_seconds(ax):
    results = synthetic.results(num_trials=2, seconds={0: ()})
    drawn.learning(ax, results, "test_accuracy", x="seconds")
    assert not drawn.solid(ax)


def test_gap_curves_are_test_solid_and_training_dashed(ax):
    lost = {(2, s): 3 for s in range(8)}
    options = {"unfinished": lost, "stopped": {(1, 0): 6}}
    found = synthetic.findings(num_trials=3, **options)
    curves.Curves(found, "test_accuracy", dashed="train_accuracy").draw(ax, (1, 2))
    (test,) = drawn.solid(ax)
    (train,) = (line for line in ax.lines if line.get_linestyle() == "--")
    for line, metric in ((test, "test_accuracy"), (train, "train_accuracy")):
        curve = carried_forward(found.results, 1, metric)
        np.testing.assert_allclose(line.get_ydata(), curve.values.mean(axis=0))
    assert len(drawn.ticks(ax)) == 1
    assert "test solid, training dashed" in ax.get_ylabel()


def test_an_unknown_metric_is_refused(ax):
    with pytest.raises(ValueError, match="no metric 'accuracy'"):
        drawn.learning(ax, synthetic.results(), "accuracy")


def test_curves_of_trees_alone_run_along_their_number(ax):
    drawn.learning(ax, synthetic.results(sweep=[drawn.TREES]), "test_accuracy")
    (line,) = drawn.solid(ax)
    assert tuple(line.get_xdata()) == synthetic.TREES
    assert ax.get_xlabel() == "trees"
