# SPDX-License-Identifier: Apache-2.0
"""Norms are shown by layer, zeros apart, and one explosion hides nothing."""

import itertools

import numpy as np
import pytest
import synthetic
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from nnlab.report.figures import gradient_norms
from nnlab.statistics.findings import Findings

TREES = {"model.name": "boosted_trees"}
DEEP = tuple(f"dense_{i}" for i in range(101))
MIXED = tuple(
    itertools.chain(*((f"dense_{i}", f"batch_norm_{i}") for i in range(3)), ["dense_3"])
)


def ax_of(width=3.6):
    return Figure(figsize=(width, 2.7), layout="constrained").add_subplot()


def collect(results):
    return gradient_norms.collect(Findings(results))


def given(values, **options):
    """Makes results with these norms, a (T, S, E) array for each layer."""
    layers = tuple(f"dense_{i}" for i in range(len(values)))
    columns = {f"grad_norm_{name}": v for name, v in zip(layers, values)}
    return synthetic.results(columns, layers=layers, **options)


def test_layers_are_in_the_networks_order_without_batch_norm():
    (one,) = collect(synthetic.results(num_trials=1, layers=MIXED))
    assert list(one.curves) == ["dense_0", "dense_1", "dense_2", "dense_3"]
    assert one.names() == ["0", "1", "2", "output"]
    convolutions = ("conv_0", "conv_1", "dense_0")
    (other,) = collect(synthetic.results(num_trials=1, layers=convolutions))
    assert other.names() == ["conv 0", "conv 1", "output"]


@pytest.mark.parametrize(
    ("count", "chosen"),
    [
        (2, [0, 1]),
        (6, [0, 1, 2, 3, 4, 5]),
        (7, [0, 1, 3, 5, 6]),
        (11, [0, 3, 6, 9, 10]),
        (101, [0, 30, 60, 90, 95, 99, 100]),
    ],
)
def test_lines_are_of_few_layers_all_along_the_network(count, chosen):
    results = synthetic.results(num_trials=1, num_seeds=1, layers=DEEP[:count])
    (one,) = collect(results)
    assert [*one.colors] == chosen


def test_of_many_trials_the_best_and_the_worst_are_shown():
    accuracy = np.array([0.5, 0.7, 0.9, 0.8, 0.6, 0.85])[:, None] + np.zeros(3)
    results = synthetic.results(accuracy)
    shown = collect(results)
    assert [one.trial for one in shown] == [2, 0]
    assert [one.title.partition(":")[0] for one in shown] == ["best", "worst"]
    few = synthetic.results(sweep=[{}, TREES, {"model.depth": 2}])
    assert [one.trial for one in collect(few)] == [0, 2]
    lost = synthetic.results(
        accuracy, unfinished={(t, s): 2 for t in range(6) for s in range(3)}
    )
    assert [one.trial for one in collect(lost)] == [0, 1, 2, 3]


def test_a_cell_is_a_layer_in_the_stretch_before_an_evaluation():
    rng = np.random.default_rng(0)
    values = rng.uniform(0.1, 1.0, (3, 1, 4, 5))
    values[1, 0, :, 3] = 0.0
    results = given(values)
    (one,) = collect(results)
    ax = ax_of()
    assert gradient_norms.draw_map(ax, Findings(results), one, [one]) is ax
    measured, zero = ax.collections
    means = values[:, 0].mean(axis=1)
    np.testing.assert_allclose(measured.get_array().filled(0.0), means)
    assert zero.get_array().count() == 1
    assert not zero.get_array().mask[1, 3]
    assert to_hex(zero.cmap(0)) == gradient_norms.ZERO
    corners = measured.get_coordinates()
    assert corners[0, :, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert corners[:, 0, 1].tolist() == [-0.5, 0.5, 1.5, 2.5]
    assert ax.get_ylim() == (2.5, -0.5)
    labels = [t.get_text() for t in ax.get_yticklabels()]
    assert labels == ["0", "1", "output"]


def test_a_hundred_layers_have_ticks_that_do_not_overlap():
    results = synthetic.results(num_trials=1, num_seeds=1, layers=DEEP)
    (one,) = collect(results)
    ax = ax_of()
    gradient_norms.draw_map(ax, Findings(results), one, [one])
    ax.figure.draw_without_rendering()
    labels = ax.get_yticklabels()
    assert [t.get_text() for t in labels] == ["0", "20", "40", "60", "80", "output"]
    boxes = [t.get_window_extent() for t in labels]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def _scale(ax):
    return ax.collections[0].norm


def test_colors_are_shared_and_one_explosion_does_not_stretch_them():
    calm = np.geomspace(1e-4, 1e-2, 300).reshape(3, 2, 1, 50)
    wild = calm.copy()
    wild[2, 1, 0, 7], wild[1, 0, 0, 9] = 1e30, 1e-30
    for values, high in ((calm, 1e-2), (wild, 1e-2)):
        results = given(values)
        shown = collect(results)
        axes = [ax_of(), ax_of()]
        for ax, one in zip(axes, shown):
            gradient_norms.draw_map(ax, Findings(results), one, shown)
        assert _scale(axes[0]).vmax == pytest.approx(high, rel=0.05)
        assert _scale(axes[0]).vmin == pytest.approx(1e-4, rel=0.05)
        assert _scale(axes[0]).vmax == _scale(axes[1]).vmax
        gradient_norms.draw_color_bar(axes[:1], shown)
        bar = axes[0].figure.axes[-1]
        bar.figure.draw_without_rendering()
        boxes = [t.get_window_extent() for t in bar.get_xticklabels()]
        assert len(boxes) >= 3
        assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))
        assert bar.get_xlabel() == "gradient norm"


def _means(ax):
    return [n for n in ax.lines if n.get_linewidth() == 1.7 and len(n.get_xdata()) > 1]


def test_lines_are_means_with_the_maps_colors_on_a_log_axis():
    results = synthetic.results(num_trials=2, layers=DEEP[:11], diverged={(1, 0): 3})
    shown = collect(results)
    lines, other, cells = ax_of(), ax_of(), ax_of()
    assert gradient_norms.draw_lines(lines, Findings(results), shown[1], shown) is lines
    gradient_norms.draw_lines(other, Findings(results), shown[0], shown)
    gradient_norms.draw_map(cells, Findings(results), shown[1], shown)
    marks = {n.get_ydata()[0]: n.get_color() for n in cells.lines}
    for place, line in zip(shown[1].colors, _means(lines)):
        kept = results.curve(1, f"grad_norm_dense_{place}").values[1:]
        np.testing.assert_allclose(line.get_ydata(), kept.mean(axis=0))
        assert marks[place] == line.get_color()
    assert lines.get_yscale() == "log"
    assert (lines.get_ylim(), lines.get_xlim()) == (other.get_ylim(), other.get_xlim())
    names = [t.get_text() for t in lines.texts if t.get_text()]
    assert names == ["0", "3", "6", "9", "output", "layer"]
    assert shown[1].title.endswith("(1 diverged)")


def test_a_mean_of_exactly_0_is_a_triangle_at_the_foot():
    values = np.full((2, 1, 3, 5), 1e-20)
    values[1] = 0.1
    values[0, :, :, 3:] = 0.0
    results = given(values)
    (one,) = collect(results)
    ax = ax_of()
    gradient_norms.draw_lines(ax, Findings(results), one, [one])
    marks = [n.get_xydata()[0] for n in ax.lines if n.get_marker() == "v"]
    np.testing.assert_allclose(marks, [(x, ax.get_ylim()[0]) for x in (4, 5)])
    first, _ = _means(ax)
    assert np.isnan(first.get_ydata()).tolist() == [False] * 3 + [True] * 2
    ax.figure.draw_without_rendering()


def test_bands_end_at_the_foot():
    values = np.full((2, 1, 3, 4), 0.5)
    values[0, 0, 0] = 1e-6  # the interval of three such seeds reaches below 0
    results = given(values)
    (one,) = collect(results)
    ax = ax_of()
    gradient_norms.draw_lines(ax, Findings(results), one, [one])
    for band in ax.collections:
        (path,) = band.get_paths()
        assert path.vertices[:, 1].min() >= ax.get_ylim()[0]


@pytest.mark.parametrize("norm", [0.0, 1e-38, 1e38])
def test_any_norm_can_be_drawn(norm):
    results = given(np.full((2, 1, 3, 4), norm))
    (one,) = collect(results)
    for draw in (gradient_norms.draw_map, gradient_norms.draw_lines):
        ax = ax_of()
        draw(ax, Findings(results), one, [one])
        ax.figure.draw_without_rendering()
    gradient_norms.draw_color_bar([ax], [one])
    note = "; grey: exactly 0" if norm == 0 else ""
    assert ax.figure.axes[-1].get_xlabel() == f"gradient norm{note}"
    ax.figure.draw_without_rendering()


def test_where_all_diverged_the_norms_until_then_are_shown():
    results = synthetic.results(num_trials=1, diverged={(0, s): s for s in range(8)})
    (one,) = collect(results)
    values = results.curve(0, "grad_norm_dense_1").values
    np.testing.assert_allclose(one.means[1, :7], np.nanmean(values[:, :7], axis=0))
    assert np.isnan(one.means[1, 7:]).all()
