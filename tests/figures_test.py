# SPDX-License-Identifier: Apache-2.0
"""What is drawn is what was measured, in order, legible, and always the same."""

import dataclasses
import itertools
import re

import matplotlib
import numpy as np
import pyarrow as pa
import pytest
import synthetic
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from nnlab import figures, statistics
from nnlab.study import Hyperparameters

ACTIVATIONS = ("relu", "tanh", "sigmoid", "gelu", "elu")
TWO_PATHS = [
    {"model.activation": a, "optimizer.learning_rate": r}
    for a in ACTIVATIONS[:3]
    for r in (0.01, 0.1, 1.0)
]


@pytest.fixture
def ax():
    with matplotlib.rc_context(figures.STYLE):
        yield Figure(figsize=(7.2, 3.9), layout="constrained").add_subplot()


def _solid(ax):
    """The mean curves: lines of full width."""
    return [line for line in ax.lines if line.get_linewidth() == 1.7]


def _crosses(ax):
    return [line.get_xydata()[0] for line in ax.lines if line.get_marker() == "x"]


@given(
    st.lists(st.floats(0, 1), max_size=12),
    st.floats(0.001, 0.2),
)
def test_spread_keeps_apart_in_order_and_in_bounds(places, gap):
    moved = figures.spread(places, gap, 0.0, 1.0)
    fits = min(gap, 1 / max(len(places) - 1, 1))
    order = np.argsort(places, kind="stable")
    assert np.all(np.diff(moved[order]) >= fits - 1e-9)
    assert np.all((moved >= -1e-9) & (moved <= 1 + 1e-9))


def test_spread_moves_no_more_than_needed():
    free = figures.spread([0.1, 0.5, 0.9], 0.1, 0.0, 1.0)
    np.testing.assert_allclose(free, [0.1, 0.5, 0.9])
    # Three labels at one place: the middle one stays, the others give way equally.
    np.testing.assert_allclose(
        figures.spread([0.5, 0.5, 0.5, 0.9], 0.1, 0.0, 1.0), [0.4, 0.5, 0.6, 0.9]
    )


def test_mean_is_over_finished_and_stopped_members(ax):
    results = synthetic.results(
        num_trials=2, diverged={(0, 1): 4, (0, 6): 2}, stopped={(1, 3): 5}
    )
    figures.learning_curves(ax, results, "train_loss")
    for trial, line in enumerate(_solid(ax)):
        curve = statistics.carried_forward(results, trial, "train_loss")
        kept = curve.values[statistics.alive(results, trial)]
        assert len(kept) == (6, 8)[trial]
        np.testing.assert_allclose(line.get_ydata(), kept.mean(axis=0))
        np.testing.assert_allclose(line.get_xdata(), curve.epochs)


@pytest.mark.parametrize(("num_seeds", "bands"), [(2, 0), (3, 4)])
def test_no_band_below_three_seeds(ax, num_seeds, bands):
    results = synthetic.results(num_seeds=num_seeds)
    figures.learning_curves(ax, results, "validation_accuracy")
    assert len(ax.collections) == bands


@pytest.mark.parametrize(("num_seeds", "thin"), [(1, 0), (5, 20), (6, 0)])
def test_single_seeds_are_drawn_where_there_are_few(ax, num_seeds, thin):
    results = synthetic.results(num_seeds=num_seeds)
    figures.learning_curves(ax, results, "validation_accuracy")
    assert sum(line.get_linewidth() == 0.6 for line in ax.lines) == thin


def test_diverged_members_end_in_a_cross_at_their_last_finite_value(ax):
    results = synthetic.results(diverged={(1, 2): 4, (3, 0): 0})
    figures.learning_curves(ax, results, "train_loss")
    value = results.curve(1, "train_loss").values[2, 3]
    (never, last) = sorted(_crosses(ax), key=lambda point: point[0])
    np.testing.assert_allclose(last, [4.0, value])
    np.testing.assert_allclose(never, [0.0, ax.get_ylim()[0]])


def test_a_diverged_members_huge_loss_does_not_set_the_limits(ax):
    values = np.full((2, 4, 6), 0.5)
    values[1, 0, 3] = 1e30
    results = synthetic.results({"train_loss": values}, diverged={(1, 0): 4})
    figures.learning_curves(ax, results, "train_loss")
    assert ax.get_ylim()[1] < 1
    (cross,) = _crosses(ax)
    assert cross[1] == pytest.approx(ax.get_ylim()[1])


def test_a_huge_loss_at_chance_does_not_set_the_limits(ax):
    values = np.full((2, 4, 6), 0.5)
    values[1] = 1e9
    lost = [(1, s) for s in range(4)]
    given = {"grad_norm_dense_0": values, "test_accuracy": np.full((2, 4, 6), 0.9)}
    results = synthetic.results(given, at_chance=lost)
    figures.learning_curves(ax, results, "grad_norm_dense_0")
    assert ax.get_ylim()[1] < 1
    other = ax.figure.add_subplot()
    figures.learning_curves(other, results, "test_accuracy")
    assert other.get_ylim()[0] < synthetic.CHANCE  # in accuracy all are in view


@pytest.mark.parametrize("rates", [(0.01, 0.1, 1.0), (1.0, 0.01, 0.1)])
def test_colors_are_ordered_with_the_swept_value_and_legible(rates):
    results = synthetic.results(sweep=[{"optimizer.learning_rate": r} for r in rates])
    luminance = []
    for _, color in sorted(zip(rates, figures.colors(results))):
        channels = np.array(to_rgb(color))
        linear = np.where(
            channels > 0.04045, ((channels + 0.055) / 1.055) ** 2.4, channels / 12.92
        )
        luminance.append(float(linear @ [0.2126, 0.7152, 0.0722]))
    assert luminance == sorted(luminance)
    assert 1.05 / (max(luminance) + 0.05) >= 1.9  # contrast to white, as WCAG has it


@pytest.mark.parametrize("num_trials", [1, 2, 7, 12])
def test_labels_do_not_overlap(ax, num_trials):
    values = np.full((num_trials, 3, 4), 0.8)
    results = synthetic.results(values, num_trials=num_trials)
    figures.learning_curves(ax, results, "test_accuracy")
    ax.figure.draw_without_rendering()
    labels = [t for t in ax.texts if t.get_position()[0] == 1.035 and t.get_text()]
    assert len(labels) == (num_trials if num_trials > 1 else 0)
    boxes = sorted((t.get_window_extent() for t in labels), key=lambda b: b.y0)
    assert all(low.y1 <= high.y0 + 0.5 for low, high in itertools.pairwise(boxes))


@pytest.mark.parametrize("num_trials", [13, 32])
def test_many_trials_get_a_color_bar(ax, num_trials):
    results = synthetic.results(num_trials=num_trials, num_seeds=3, num_evaluations=3)
    figures.learning_curves(ax, results, "train_loss")
    assert len(_solid(ax)) == num_trials
    assert len(ax.figure.axes) == 2


@pytest.mark.parametrize(("spread", "scale"), [(1.1, "linear"), (100.0, "log")])
def test_loss_is_on_a_log_axis_where_that_helps(ax, spread, scale):
    values = np.geomspace(spread, 1.0, 5) * np.ones((2, 3, 1))
    results = synthetic.results({"train_loss": values})
    figures.learning_curves(ax, results, "train_loss")
    assert ax.get_yscale() == scale


def test_an_accuracy_of_one_is_in_view_on_the_error_scale(ax):
    results = synthetic.results(np.full((2, 4, 3), 1.0))
    figures.learning_curves(ax, results, "validation_accuracy")
    bottom, top = ax.get_ylim()
    assert all(bottom < y < top for y in _solid(ax)[0].get_ydata())
    ax.figure.draw_without_rendering()
    assert "100 %" in [t.get_text() for t in ax.get_yticklabels()]


def test_panels_share_limits_and_colors(ax):
    results = synthetic.results(sweep=TWO_PATHS)
    figures.learning_curves(ax, results, "train_loss", trials=(0, 1, 2))
    other = ax.figure.add_subplot()
    figures.learning_curves(other, results, "train_loss", trials=(3, 4, 5))
    assert ax.get_ylim() == other.get_ylim()
    first, second = ([line.get_color() for line in _solid(a)] for a in (ax, other))
    assert first == second


def test_unfinished_members_are_drawn_dashed_if_a_trial_has_no_others(ax):
    lost = {(1, s): 5 for s in range(8)}
    results = synthetic.results(num_trials=3, unfinished=lost, never_ran=[2])
    figures.learning_curves(ax, results, "train_loss")
    assert [line.get_linestyle() for line in _solid(ax)] == ["-", "--"]


@pytest.mark.parametrize(
    ("sweep", "scale", "groups"),
    [
        ([{"optimizer.learning_rate": r} for r in (1e-3, 1e-2, 0.1)], "log", 1),
        ([{"optimizer.momentum": m} for m in (0.0, 0.3, 0.6, 0.9)], "linear", 1),
        ([{"model.hidden": [h]} for h in (16, 64, 256)], "log", 1),
        ([{"model.activation": a} for a in ACTIVATIONS], "categories", 1),
        (TWO_PATHS, "log", 3),
        (
            [
                {"optimizer.learning_rate": 0.1 * i, "optimizer.momentum": 0.1 * i}
                for i in range(1, 9)
            ],
            "categories",
            1,
        ),
    ],
)
def test_the_axis_is_chosen_by_what_was_swept(sweep, scale, groups):
    found = figures.sweep_of(synthetic.results(sweep=sweep, num_evaluations=1))
    assert (found.scale, len(set(found.groups))) == (scale, groups)


ABLATION = {
    "plain": {},
    "improved sigmoid": {"model.activation": "lecun_tanh"},
    "momentum 0.9": {"optimizer.momentum": 0.9, "model.init": "uniform"},
}
RATES = (0.02, 0.1, 0.5)


@pytest.mark.parametrize(
    ("sweep", "groups"),
    [
        (TWO_PATHS, ["relu", "tanh", "sigmoid"]),
        (
            [
                {"batch_size": b, "optimizer.learning_rate": r}
                for b in (6, 70)
                for r in RATES
            ],
            ["batch size 6", "batch size 70"],
        ),
        (
            [
                {"model.hidden": h, "optimizer.learning_rate": r}
                for h in ((64,), (60, 60), (64,) * 10)
                for r in RATES
            ],
            ["hidden 64", "hidden 60-60", "hidden 10 x 64"],
        ),
        (
            [
                {"label": f"{n}, rate {r}", "optimizer.learning_rate": r, **change}
                for n, change in ABLATION.items()
                for r in RATES
            ],
            list(ABLATION),
        ),
        (
            [
                {"optimizer.learning_rate": r, **change}
                for change in ({}, {"model.name": "cnn", "model.hidden": (128,)})
                for r in RATES
            ],
            ["mlp", "cnn"],
        ),
        (
            [
                {"optimizer.learning_rate": r, **change}
                for change in ({"model.batch_norm": True}, {"batch_size": 64})
                for r in RATES
            ],
            ["batch norm, batch size 32", "no batch norm, batch size 64"],
        ),
    ],
)
def test_groups_are_named_by_what_tells_them_apart(sweep, groups):
    found = figures.sweep_of(synthetic.results(sweep=sweep, num_evaluations=1))
    assert found.name == "learning rate"
    assert list(dict.fromkeys(found.groups)) == groups


@pytest.mark.parametrize(
    ("sweep", "texts"),
    [
        ([{"label": n, **c, "batch_size": 8} for n, c in ABLATION.items()], ABLATION),
        ([{}, {"model.name": "cnn", "model.hidden": (128,)}], ("mlp", "cnn")),
        (
            [{}, {"model.bias": "none", "model.hidden": (60, 60), "batch_size": 8}],
            ("all", "none"),
        ),
        (
            [{"model.hidden": (64,) * d, "label": f"{d} deep"} for d in (1, 2, 10)],
            ("1 deep", "2 deep", "10 deep"),
        ),
        (
            [{"model.hidden": (60, 60)}, {"model.hidden": (9, 9), "batch_size": 8}],
            ("hidden 60-60, batch size 32", "hidden 9-9, batch size 8"),
        ),
    ],
)
def test_trials_that_share_no_axis_are_categories_under_their_names(sweep, texts):
    found = figures.sweep_of(synthetic.results(sweep=sweep, num_evaluations=1))
    assert (found.scale, found.texts) == ("categories", tuple(texts))
    assert found.values == tuple(range(len(sweep)))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0.1"),
        ((64,) * 10, "10 x 64"),
        ((60, 60), "60-60"),
        ((), "none"),
        ((64, 64, 64, 32), "64-64-64-32"),
        (
            ({"layer": "flatten"}, *[{"layer": "dense", "units": 9}] * 3),
            "flatten, 3 x dense 9",
        ),
    ],
)
def test_values_are_short_texts(value, text):
    assert figures.value_text(value) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("optimizer.learning_rate", "learning rate"),
        ("model.name", "model"),
        ("batch_loss_std", "spread of batch losses"),
        ("validation_active_share", "active share (validation)"),
        ("test_moved_accuracy", "moved test accuracy"),
        ("test_accuracy", "test accuracy"),
        ("grad_norm_dense_3", "gradient norm of dense 3"),
        ("model.depth", "depth"),
        ("model.num_trees", "number of trees"),
    ],
)
def test_columns_have_names_in_words(name, text):
    assert figures.words(name) == text


def test_all_training_examples_take_their_number_as_place():
    sweep = [{"train_size": n} for n in (0, 100, 300)]
    base = Hyperparameters(batch_size=10)
    found = figures.sweep_of(synthetic.results(sweep=sweep, base=base))
    assert found.values == (synthetic.EXAMPLES["train"], 100, 300)


def _ticks(ax):
    """Where members stopped: place, value and height of each tick."""
    marks = [line for line in ax.lines if line.get_marker() == "|"]
    return [(*line.get_xydata()[0], line.get_markersize()) for line in marks]


@pytest.mark.parametrize("x", ["epoch", "step", "seconds"])
def test_ticks_on_the_mean_mark_where_members_stopped(ax, x):
    ends = {(0, 0): 4, (0, 1): 4, (0, 2): 7, (1, 3): 2}
    accuracy = np.full((2, 8, 10), 0.5)
    accuracy[:, :, 0] = 0.6  # the best step
    values = {"validation_accuracy": accuracy}
    results = synthetic.results(values, stopped=ends, diverged={(1, 0): 3})
    figures.learning_curves(ax, results, "train_loss", x=x)
    (pair, single, other) = _ticks(ax)
    first, second = _solid(ax)
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
    figures.learning_curves(ax, results, "test_accuracy", x="seconds")
    for line, seconds in zip(_solid(ax), (0.3, 0.1)):
        np.testing.assert_allclose(line.get_xdata(), seconds * np.arange(1, 11))
    assert ax.get_xlim() == pytest.approx((0, 3.0))
    assert ax.get_xlabel() == "seconds of training"


@pytest.mark.parametrize(("slow", "scale"), [(0.4, "linear"), (0.6, "log")])
def test_ends_far_apart_get_a_log_axis_that_shows_all(ax, slow, scale):
    sweep = [{"batch_size": 32}, {"batch_size": 64}]
    results = synthetic.results(
        sweep=sweep, seconds={0: (slow,), 1: (0.1,)}, diverged={(0, 0): 0}
    )
    figures.learning_curves(ax, results, "test_accuracy", x="seconds")
    assert ax.get_xscale() == scale
    left, right = ax.get_xlim()
    shown = np.concatenate([line.get_xdata() for line in _solid(ax)])
    assert left <= shown.min() < shown.max() <= right
    ((place, _),) = _crosses(ax)
    assert place == pytest.approx(left)
    ax.figure.draw_without_rendering()


def test_the_start_of_training_has_no_place_on_a_log_axis(ax):
    sweep = [{"batch_size": 4}, {"batch_size": 64}]
    results = synthetic.results(sweep=sweep)
    name = results.curves.column_names.index("step")
    steps = results.curves["step"].to_numpy()
    steps = steps - np.where(results.curves["trial"].to_numpy() == 0, 287, 17)
    curves = results.curves.set_column(name, "step", pa.array(steps))
    moved = dataclasses.replace(results, curves=curves)
    figures.learning_curves(ax, moved, "test_accuracy", x="step")
    assert ax.get_xscale() == "log"
    for line in _solid(ax):
        assert np.isnan(line.get_xdata()[0])
        assert np.nanmin(line.get_xdata()) >= ax.get_xlim()[0] > 0


def test_a_program_that_was_not_timed_has_no_seconds(ax):
    results = synthetic.results(num_trials=2, seconds={0: ()})
    figures.learning_curves(ax, results, "test_accuracy", x="seconds")
    assert not _solid(ax)


def test_gap_curves_are_test_solid_and_training_dashed(ax):
    lost = {(2, s): 3 for s in range(8)}
    results = synthetic.results(num_trials=3, unfinished=lost, stopped={(1, 0): 6})
    figures.gap_curves(ax, results, trials=(1, 2))
    (test,) = _solid(ax)
    (train,) = (line for line in ax.lines if line.get_linestyle() == "--")
    for line, metric in ((test, "test_accuracy"), (train, "train_accuracy")):
        curve = statistics.carried_forward(results, 1, metric)
        np.testing.assert_allclose(line.get_ydata(), curve.values.mean(axis=0))
    assert len(_ticks(ax)) == 1
    assert "test solid, training dashed" in ax.get_ylabel()


def test_a_share_is_drawn_in_percent(ax):
    values = np.full((2, 3, 4), 0.93) * [[[1.0, 0.5, 0.2, 0.1]]]
    results = synthetic.results({"test_active_share": values})
    figures.learning_curves(ax, results, "test_active_share")
    ax.figure.draw_without_rendering()
    assert ax.get_yscale() == "linear"
    assert {"20 %", "80 %"} <= {t.get_text() for t in ax.get_yticklabels()}


MOVED = {
    "test_accuracy": [[[0.2, 0.9]] * 3, [[0.1, 0.8]] * 3],
    "test_moved_accuracy": [[[np.nan, 0.4]] * 3, [[np.nan, 0.3]] * 3],
    "test_rotated_accuracy": [[[np.nan, 0.7]] * 3, [[np.nan, 0.6]] * 3],
}


@pytest.mark.parametrize(
    ("sweep", "rows"),
    [
        ([{"batch_size": 8}, {"batch_size": 64}], False),
        ([{"model.activation": "relu"}, {"model.activation": "tanh"}], True),
    ],
)
def test_test_sets_draw_the_final_mean_of_each_set(ax, sweep, rows):
    figures.test_sets(ax, synthetic.results(MOVED, sweep=sweep))
    means = [
        float((line.get_xdata() if rows else line.get_ydata())[0])
        for line in ax.lines
        if line.get_markersize() == 5.5 and len(line.get_xdata())
    ]
    assert means == pytest.approx([0.9, 0.8, 0.4, 0.3, 0.7, 0.6])
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["chance", "normal", "moved", "rotated"]


def test_severity_draws_the_members_that_are_left(ax):
    results = synthetic.results(
        num_trials=2, num_seeds=4, severity=("moved",), diverged={(1, 3): 2}
    )
    figures.severity(ax, results, "moved")
    for trial, line in enumerate(_solid(ax)):
        rows = [r for r in results.severity.to_pylist() if r["trial"] == trial]
        accuracies = np.reshape([r["accuracy"] for r in rows], ((4, 3)[trial], 7))
        np.testing.assert_allclose(line.get_xdata(), range(7))
        np.testing.assert_allclose(line.get_ydata(), accuracies.mean(axis=0))
    assert len(ax.collections) == 2  # the bands
    assert "pixels" in ax.get_xlabel()
    with pytest.raises(ValueError, match="'rotated' was measured, but moved"):
        figures.severity(ax, results, "rotated")


def test_long_labels_have_two_lines_and_do_not_overlap(ax):
    sweep = [
        {"batch_size": 2**n, "label": f"step {n}: weights with std 1/sqrt(fan-in), so"}
        for n in range(5)
    ]
    values = np.full((5, 3, 4), 0.8)
    results = synthetic.results(values, sweep=sweep, stopped={(0, 0): 2})
    figures.learning_curves(ax, results, "test_accuracy")
    ax.figure.draw_without_rendering()
    labels = [t for t in ax.texts if t.get_position()[0] == 1.035 and t.get_text()]
    boxes = sorted((t.get_window_extent() for t in labels), key=lambda b: b.y0)
    assert all(low.y1 <= high.y0 + 0.5 for low, high in itertools.pairwise(boxes))
    assert sum("\n" in label.get_text() for label in labels) == 5
    assert ax.get_window_extent().width > 0.5 * ax.figure.bbox.width


def test_final_metric_shows_the_model_that_is_kept(ax):
    accuracy = np.full((1, 3, 5), 0.9)
    accuracy[:, :, 3:] = 0.5
    stopped = {(0, s): 5 for s in range(3)}
    figures.final_metric(ax, synthetic.results(accuracy, stopped=stopped), "test_loss")
    results = synthetic.results(accuracy, stopped=stopped)
    other = ax.figure.add_subplot()
    figures.final_metric(other, results, "test_accuracy")
    (mean,) = (line for line in other.lines if line.get_markersize() == 5.5)
    assert 0.9 in mean.get_xydata()[0]


def test_final_metric_draws_means_seeds_and_shares(ax):
    results = synthetic.results(
        diverged={(3, s): 1 for s in range(2)}, at_chance=[(3, 4), (2, 0)]
    )
    figures.final_metric(ax, results, "test_accuracy")
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
    figures.steps_to_target(ax, results, 0.9)
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
        {"sweep": TWO_PATHS, "at_chance": [(8, 0)], "diverged": {(2, 1): 3}},
        {"sweep": [{"model.activation": a} for a in ACTIVATIONS]},
        {"diverged": {(t, s): s % 3 for t in range(4) for s in range(8)}},
        {"num_trials": 2, "never_ran": [1]},
    ],
)
def test_every_shape_of_study_can_be_drawn(ax, options):
    results = synthetic.results(**options)
    assert figures.learning_curves(ax, results, "validation_accuracy") is ax
    for draw in (figures.final_metric, figures.steps_to_target):
        panel = Figure(layout="constrained").add_subplot()
        what = "test_accuracy" if draw is figures.final_metric else 0.5
        assert draw(panel, results, what) is panel
        panel.figure.draw_without_rendering()
    ax.figure.draw_without_rendering()


def test_caption_counts_members_by_status():
    text = figures.caption(
        synthetic.results(
            diverged={(0, 0): 2},
            stopped={(1, 0): 3},
            unfinished={(2, 0): 3},
            never_ran=[3],
            at_chance=[(2, 1)],
        )
    )
    for part in (
        "Mean over 8 seeds with its 95 % Student-t interval",
        "1 stopped (small ticks; carried on at their best), 1 diverged",
        "1 unfinished",
        "8 did not run",
        "1 ended at chance",
        "2 CPU devices",
        "jax 0.10.2",
    ):
        assert part in text
    assert "no interval" in figures.caption(synthetic.results(num_seeds=2))


def test_equal_results_give_equal_bytes(tmp_path):
    files = []
    for name in ("a", "b"):
        with matplotlib.rc_context(figures.STYLE):
            figure = Figure(layout="constrained")
            results = synthetic.results(diverged={(0, 1): 3})
            figures.learning_curves(figure.add_subplot(), results, "train_loss")
        files.append([p.read_bytes() for p in figures.save(figure, tmp_path / name)])
    assert files[0] == files[1]


def test_a_users_label_is_text_in_the_svg(ax, tmp_path):
    sweep = [{"label": "<script> $x^ & \x07"}, {"label": "日本", "batch_size": 8}]
    figures.learning_curves(ax, synthetic.results(sweep=sweep), "train_loss")
    _, path = figures.save(ax.figure, tmp_path / "figure")
    svg = path.read_text(encoding="utf-8")
    assert re.search(r"<text[^>]*>&lt;script&gt; \$x\^ &amp;", svg)
    assert "<script" not in svg
    assert "日本" in svg


def test_an_unknown_metric_is_refused(ax):
    with pytest.raises(ValueError, match="no metric 'accuracy'"):
        figures.learning_curves(ax, synthetic.results(), "accuracy")


def test_a_loss_that_grew_in_one_seed_does_not_set_the_limits(ax):
    values = np.linspace(2.0, 0.5, 4 * 8 * 6).reshape(4, 8, 6)[:, :, ::-1].copy()
    values[:, :, 0] = 2.0
    values[1, 3, 2:] = 1e12  # its trial learns in the other seeds
    figures.learning_curves(ax, synthetic.results({"train_loss": values}), "train_loss")
    assert 10 < ax.get_ylim()[1] < 100


def test_dead_units_are_in_view(ax):
    shares = np.full((4, 8, 6), 0.5)
    shares[2] = 0.0
    name, lost = "validation_active_share", [(2, s) for s in range(8)]
    results = synthetic.results({name: shares}, at_chance=lost)
    figures.learning_curves(ax, results, name)
    assert ax.get_ylim()[0] <= 0.0


# Baselines: trees beside networks.

TREES = {"model.name": "boosted_trees"}
FOREST = {"model.name": "random_forest", "label": "a forest"}
BESIDE = [*({"optimizer.learning_rate": r} for r in (0.01, 0.1, 1.0)), TREES, FOREST]
ROWS = [{"model.activation": "relu"}, TREES, {"model.activation": "tanh"}]


def _dashed(ax):
    """Heights of the lines across the axes that are of baselines."""
    lines = [line for line in ax.lines if line.get_linestyle() == "--"]
    across = [line for line in lines if list(line.get_xdata()) == [0, 1]]
    return [line.get_ydata()[0] for line in across]


@pytest.mark.parametrize(("x", "last"), [("epoch", 10), ("step", 350), ("seconds", 1)])
def test_baselines_lie_across_curves_at_their_final_value(ax, x, last):
    results = synthetic.results(sweep=BESIDE, seconds={0: (0.1,) * 3})
    figures.learning_curves(ax, results, "validation_accuracy", x=x)
    finals = [results.curve(t, "validation_accuracy").values[:, -1] for t in (3, 4)]
    np.testing.assert_allclose(_dashed(ax), np.mean(finals, axis=1))
    assert len(_solid(ax)) == 3
    assert ax.get_xlim() == pytest.approx((0, last))
    assert {"boosted trees", "a forest", "0.1"} <= {t.get_text() for t in ax.texts}


def test_of_a_baseline_the_gap_shows_the_test_accuracy(ax):
    results = synthetic.results(sweep=BESIDE[:4])
    figures.gap_curves(ax, results)
    (level,) = _dashed(ax)
    final = results.curve(3, "test_accuracy").values[:, -1]
    assert level == pytest.approx(final.mean())


def test_a_baseline_without_a_value_is_left_out(ax):
    figures.learning_curves(ax, synthetic.results(sweep=BESIDE), "grad_norm_dense_0")
    assert not _dashed(ax)
    never = synthetic.results(sweep=BESIDE, never_ran=(3,))
    other = ax.figure.add_subplot()
    figures.learning_curves(other, never, "test_accuracy")
    assert len(_dashed(other)) == 1


@pytest.mark.parametrize("count", [3, 14])
def test_baselines_are_named_beside_labels_and_beside_a_color_bar(ax, count):
    rates = np.geomspace(0.01, 1, count)
    sweep = [{"optimizer.learning_rate": float(r)} for r in rates]
    results = synthetic.results(sweep=[*sweep, TREES, FOREST], num_seeds=3)
    figures.learning_curves(ax, results, "test_accuracy")
    ax.figure.draw_without_rendering()
    names = [t for t in ax.texts if t.get_text() in ("boosted trees", "a forest")]
    assert not names[0].get_window_extent().overlaps(names[1].get_window_extent())
    assert len(ax.figure.axes) == (1 if count == 3 else 2)


def test_baselines_have_no_say_in_what_was_swept():
    more = {**TREES, "model.num_trees": 50}
    found = figures.sweep_of(synthetic.results(sweep=[*BESIDE, more], num_seeds=1))
    assert (found.name, found.scale) == ("learning rate", "log")
    assert found.places == [0.01, 0.1, 1.0]
    kinds = "boosted trees, number of trees"
    assert found.texts[3:] == (f"{kinds} 200", "a forest", f"{kinds} 50")
    results = synthetic.results(sweep=ROWS, num_seeds=1)
    rows = figures.sweep_of(results)
    assert (rows.scale, rows.name) == ("categories", "")
    assert rows.texts == ("relu", "boosted trees", "tanh")
    assert figures.swept(results) == ("model.activation",)
    assert figures.colors(results)[1] == figures.INK
    alone = figures.sweep_of(synthetic.results(sweep=[{}, TREES], num_seeds=1))
    assert alone.texts == ("mlp", "boosted trees")


def test_final_metric_shows_baselines_across_or_as_rows(ax):
    results = synthetic.results(sweep=BESIDE)
    figures.final_metric(ax, results, "test_accuracy")
    finals = [results.curve(t, "test_accuracy").values[:, -1] for t in (3, 4)]
    np.testing.assert_allclose(_dashed(ax), np.mean(finals, axis=1))
    assert ax.get_xticks().tolist() == [0.01, 0.1, 1.0]
    other = ax.figure.add_subplot()
    figures.final_metric(other, synthetic.results(sweep=ROWS), "test_accuracy")
    rows = [t.get_text() for t in other.get_yticklabels()]
    assert rows == ["relu", "boosted trees", "tanh"]


@pytest.mark.parametrize("sweep", [BESIDE, ROWS])
def test_baselines_have_no_epochs_to_a_target(ax, sweep):
    values = np.full((len(sweep), 3, 4), 0.9)
    for trial in (t for t, s in enumerate(sweep) if "model.name" in s):
        values[trial, :, :3] = 0.1  # with 200 trees
    results = synthetic.results(values, sweep=sweep)
    figures.steps_to_target(ax, results, 0.8)
    assert (ax.get_xlim() if sweep is ROWS else ax.get_ylim())[1] < 2
    medians = [line for line in ax.lines if line.get_markersize() == 5.5]
    assert len(medians) == len(statistics.networks(results))
    assert "boosted trees" not in {t.get_text() for t in ax.get_yticklabels()}
    assert not _dashed(ax)


def test_curves_of_trees_alone_run_along_their_number(ax):
    results = synthetic.results(sweep=[TREES])
    figures.learning_curves(ax, results, "test_accuracy")
    (line,) = _solid(ax)
    assert tuple(line.get_xdata()) == synthetic.TREES
    assert ax.get_xlabel() == "trees"


def test_of_crowded_values_those_with_room_are_ticks(ax):
    sweep = [{"batch_size": b} for b in (6, 9, 10, 45, 140)]
    figures.final_metric(ax, synthetic.results(sweep=sweep), "test_accuracy")
    assert ax.get_xticks().tolist() == [6, 9, 45, 140]
