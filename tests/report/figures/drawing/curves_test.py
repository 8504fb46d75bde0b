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
from nnlab.statistics.findings import Findings
from nnlab.statistics.members import alive, carried_forward


def test_mean_is_over_finished_and_stopped_members(ax):
    results = synthetic.results(
        num_trials=2, diverged={(0, 1): 4, (0, 6): 2}, stopped={(1, 3): 5}
    )
    drawn.learning(ax, results, "train_loss")
    for trial, line in enumerate(drawn.solid(ax)):
        curve = carried_forward(results, trial, "train_loss")
        kept = curve.values[alive(results, trial)]
        assert len(kept) == (6, 8)[trial]
        np.testing.assert_allclose(line.get_ydata(), kept.mean(axis=0))
        np.testing.assert_allclose(line.get_xdata(), curve.epochs)


@pytest.mark.parametrize(("num_seeds", "bands"), [(2, 0), (3, 4)])
def test_no_band_below_three_seeds(ax, num_seeds, bands):
    results = synthetic.results(num_seeds=num_seeds)
    drawn.learning(ax, results, "validation_accuracy")
    assert len(ax.collections) == bands


@pytest.mark.parametrize(("num_seeds", "thin"), [(1, 0), (5, 20), (6, 0)])
def test_single_seeds_are_drawn_where_there_are_few(ax, num_seeds, thin):
    results = synthetic.results(num_seeds=num_seeds)
    drawn.learning(ax, results, "validation_accuracy")
    assert sum(line.get_linewidth() == 0.6 for line in ax.lines) == thin


def test_diverged_members_end_in_a_cross_at_their_last_finite_value(ax):
    results = synthetic.results(diverged={(1, 2): 4, (3, 0): 0})
    drawn.learning(ax, results, "train_loss")
    value = results.curve(1, "train_loss").values[2, 3]
    (never, last) = sorted(drawn.crosses(ax), key=lambda point: point[0])
    np.testing.assert_allclose(last, [4.0, value])
    np.testing.assert_allclose(never, [0.0, ax.get_ylim()[0]])


def test_a_diverged_members_huge_loss_does_not_set_the_limits(ax):
    values = np.full((2, 4, 6), 0.5)
    values[1, 0, 3] = 1e30
    results = synthetic.results({"train_loss": values}, diverged={(1, 0): 4})
    drawn.learning(ax, results, "train_loss")
    assert ax.get_ylim()[1] < 1
    (cross,) = drawn.crosses(ax)
    assert cross[1] == pytest.approx(ax.get_ylim()[1])


def test_a_huge_loss_at_chance_does_not_set_the_limits(ax):
    values = np.full((2, 4, 6), 0.5)
    values[1] = 1e9
    lost = [(1, s) for s in range(4)]
    given = {"grad_norm_dense_0": values, "test_accuracy": np.full((2, 4, 6), 0.9)}
    results = synthetic.results(given, at_chance=lost)
    drawn.learning(ax, results, "grad_norm_dense_0")
    assert ax.get_ylim()[1] < 1
    other = ax.figure.add_subplot()
    drawn.learning(other, results, "test_accuracy")
    assert other.get_ylim()[0] < synthetic.CHANCE  # in accuracy all are in view


@pytest.mark.parametrize("num_trials", [1, 2, 7, 12])
def test_labels_do_not_overlap(ax, num_trials):
    values = np.full((num_trials, 3, 4), 0.8)
    results = synthetic.results(values, num_trials=num_trials)
    drawn.learning(ax, results, "test_accuracy")
    ax.figure.draw_without_rendering()
    labels = [t for t in ax.texts if t.get_position()[0] == 1.035 and t.get_text()]
    assert len(labels) == (num_trials if num_trials > 1 else 0)
    boxes = sorted((t.get_window_extent() for t in labels), key=lambda b: b.y0)
    assert all(low.y1 <= high.y0 + 0.5 for low, high in itertools.pairwise(boxes))


@pytest.mark.parametrize("num_trials", [13, 32])
def test_many_trials_get_a_color_bar(ax, num_trials):
    results = synthetic.results(num_trials=num_trials, num_seeds=3, num_evaluations=3)
    drawn.learning(ax, results, "train_loss")
    assert len(drawn.solid(ax)) == num_trials
    assert len(ax.figure.axes) == 2


def test_panels_share_limits_and_colors(ax):
    results = synthetic.results(sweep=drawn.TWO_PATHS)
    drawn.learning(ax, results, "train_loss", trials=(0, 1, 2))
    other = ax.figure.add_subplot()
    drawn.learning(other, results, "train_loss", trials=(3, 4, 5))
    assert ax.get_ylim() == other.get_ylim()
    first, second = ([line.get_color() for line in drawn.solid(a)] for a in (ax, other))
    assert first == second


def test_unfinished_members_are_drawn_dashed_if_a_trial_has_no_others(ax):
    lost = {(1, s): 5 for s in range(8)}
    results = synthetic.results(num_trials=3, unfinished=lost, never_ran=[2])
    drawn.learning(ax, results, "train_loss")
    assert [line.get_linestyle() for line in drawn.solid(ax)] == ["-", "--"]


@pytest.mark.parametrize("x", ["epoch", "step", "seconds"])
def test_ticks_on_the_mean_mark_where_members_stopped(ax, x):
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


def test_seconds_are_a_networks_share_of_its_program(ax):
    sweep = [{"batch_size": 32}, {"batch_size": 64}]
    times = {0: (0.2, 0.4), 1: (0.1, 0.1)}
    results = synthetic.results(sweep=sweep, seconds=times)
    drawn.learning(ax, results, "test_accuracy", x="seconds")
    for line, seconds in zip(drawn.solid(ax), (0.3, 0.1)):
        np.testing.assert_allclose(line.get_xdata(), seconds * np.arange(1, 11))
    assert ax.get_xlim() == pytest.approx((0, 3.0))
    assert ax.get_xlabel() == "seconds of training"


@pytest.mark.parametrize(("slow", "scale"), [(0.4, "linear"), (0.6, "log")])
def test_ends_far_apart_get_a_log_axis_that_shows_all(ax, slow, scale):
    sweep = [{"batch_size": 32}, {"batch_size": 64}]
    results = synthetic.results(
        sweep=sweep, seconds={0: (slow,), 1: (0.1,)}, diverged={(0, 0): 0}
    )
    drawn.learning(ax, results, "test_accuracy", x="seconds")
    assert ax.get_xscale() == scale
    left, right = ax.get_xlim()
    shown = np.concatenate([line.get_xdata() for line in drawn.solid(ax)])
    assert left <= shown.min() < shown.max() <= right
    ((place, _),) = drawn.crosses(ax)
    assert place == pytest.approx(left)
    ax.figure.draw_without_rendering()


def test_the_start_of_training_has_no_place_on_a_log_axis(ax):
    sweep = [{"batch_size": 4}, {"batch_size": 64}]
    results = synthetic.results(sweep=sweep)
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
    results = synthetic.results(num_trials=3, unfinished=lost, stopped={(1, 0): 6})
    both = curves.collect(Findings(results), "test_accuracy", dashed="train_accuracy")
    both.draw(ax, (1, 2))
    (test,) = drawn.solid(ax)
    (train,) = (line for line in ax.lines if line.get_linestyle() == "--")
    for line, metric in ((test, "test_accuracy"), (train, "train_accuracy")):
        curve = carried_forward(results, 1, metric)
        np.testing.assert_allclose(line.get_ydata(), curve.values.mean(axis=0))
    assert len(drawn.ticks(ax)) == 1
    assert "test solid, training dashed" in ax.get_ylabel()


def test_long_labels_have_two_lines_and_do_not_overlap(ax):
    sweep = [
        {"batch_size": 2**n, "label": f"step {n}: weights with std 1/sqrt(fan-in), so"}
        for n in range(5)
    ]
    values = np.full((5, 3, 4), 0.8)
    results = synthetic.results(values, sweep=sweep, stopped={(0, 0): 2})
    drawn.learning(ax, results, "test_accuracy")
    ax.figure.draw_without_rendering()
    labels = [t for t in ax.texts if t.get_position()[0] == 1.035 and t.get_text()]
    boxes = sorted((t.get_window_extent() for t in labels), key=lambda b: b.y0)
    assert all(low.y1 <= high.y0 + 0.5 for low, high in itertools.pairwise(boxes))
    assert sum("\n" in label.get_text() for label in labels) == 5
    assert ax.get_window_extent().width > 0.5 * ax.figure.bbox.width


def test_an_unknown_metric_is_refused(ax):
    with pytest.raises(ValueError, match="no metric 'accuracy'"):
        drawn.learning(ax, synthetic.results(), "accuracy")


def test_a_loss_that_grew_in_one_seed_does_not_set_the_limits(ax):
    values = np.linspace(2.0, 0.5, 4 * 8 * 6).reshape(4, 8, 6)[:, :, ::-1].copy()
    values[:, :, 0] = 2.0
    values[1, 3, 2:] = 1e12  # its trial learns in the other seeds
    drawn.learning(ax, synthetic.results({"train_loss": values}), "train_loss")
    assert 10 < ax.get_ylim()[1] < 100


def test_dead_units_are_in_view(ax):
    shares = np.full((4, 8, 6), 0.5)
    shares[2] = 0.0
    name, lost = "validation_active_share", [(2, s) for s in range(8)]
    results = synthetic.results({name: shares}, at_chance=lost)
    drawn.learning(ax, results, name)
    assert ax.get_ylim()[0] <= 0.0


def test_curves_of_trees_alone_run_along_their_number(ax):
    results = synthetic.results(sweep=[drawn.TREES])
    drawn.learning(ax, results, "test_accuracy")
    (line,) = drawn.solid(ax)
    assert tuple(line.get_xdata()) == synthetic.TREES
    assert ax.get_xlabel() == "trees"
