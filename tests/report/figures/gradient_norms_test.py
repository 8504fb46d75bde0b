# SPDX-License-Identifier: Apache-2.0
"""Norms are shown by layer, zeros apart, and one explosion hides nothing."""

import itertools

import drawn
import numpy as np
import pytest
import synthetic
from matplotlib.colors import to_hex

from nnlab.report.figures import gradient_norms
from nnlab.statistics.findings import Findings

DEEP = tuple(f"dense_{i}" for i in range(101))


def collect(results):
    return gradient_norms.collect(Findings(results))


def axes(results):
    """Returns the maps, the lines, and the colour bar."""
    *panels, bar = drawn.axes("gradients", results)
    return panels[::2], panels[1::2], bar


def given(values, **options):
    """Makes results with these norms, a (T, S, E) array for each layer."""
    layers = DEEP[: len(values)]
    columns = {f"grad_norm_{name}": v for name, v in zip(layers, values)}
    return synthetic.results(columns, layers=layers, **options)


def words(artists):
    return [artist.get_text() for artist in artists if artist.get_text()]


def test_layers_are_in_the_networks_order_without_batch_norm():
    mixed = ("dense_0", "batch_norm_0", "dense_1", "batch_norm_1", "dense_2")
    (one,) = collect(synthetic.results(num_trials=1, layers=mixed))
    assert list(one.curves) == ["dense_0", "dense_1", "dense_2"]
    assert one.names == ["0", "1", "output"]
    convolutions = ("conv_0", "conv_1", "dense_0")
    (other,) = collect(synthetic.results(num_trials=1, layers=convolutions))
    assert other.names == ["conv 0", "conv 1", "output"]


@pytest.mark.parametrize(
    ("count", "chosen"),
    [
        (2, [0, 1]),
        (6, [0, 1, 2, 3, 4, 5]),
        (7, [0, 1, 3, 5, 6]),
        (101, [0, 30, 60, 90, 95, 99, 100]),
    ],
)
def test_lines_are_of_few_layers_all_along_the_network(count, chosen):
    results = synthetic.results(num_trials=1, num_seeds=1, layers=DEEP[:count])
    (one,) = collect(results)
    assert [*one.colors] == chosen


def test_of_many_trials_the_best_and_the_worst_are_shown():
    accuracy = np.array([0.5, 0.7, 0.9, 0.8, 0.6, 0.85])[:, None] + np.zeros(3)
    shown = collect(synthetic.results(accuracy))
    assert [one.trial for one in shown] == [2, 0]
    assert [one.title.partition(":")[0] for one in shown] == ["best", "worst"]
    few = synthetic.results(sweep=[{}, drawn.TREES, {"model.depth": 2}])
    assert [one.trial for one in collect(few)] == [0, 2]
    cut = {(t, s): 2 for t in range(6) for s in range(3)}
    lost = synthetic.results(accuracy, unfinished=cut)
    assert [one.trial for one in collect(lost)] == [0, 1, 2, 3]


def test_a_cell_is_a_layer_in_the_stretch_before_an_evaluation():
    values = np.random.default_rng(0).uniform(0.1, 1.0, (3, 1, 4, 5))
    values[1, 0, :, 3] = 0.0
    (ax,), _, bar = axes(given(values))
    measured, zero = ax.collections
    means = values[:, 0].mean(axis=1)
    np.testing.assert_allclose(measured.get_array().filled(0.0), means)
    assert zero.get_array().count() == 1
    assert not zero.get_array().mask[1, 3]
    assert to_hex(zero.cmap(0)) == gradient_norms.ZERO
    assert bar.get_xlabel() == "gradient norm; grey: exactly 0"
    corners = measured.get_coordinates()
    assert corners[0, :, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert corners[:, 0, 1].tolist() == [-0.5, 0.5, 1.5, 2.5]
    assert ax.get_ylim() == (2.5, -0.5)
    assert words(ax.get_yticklabels()) == ["0", "1", "output"]


def test_a_hundred_layers_have_ticks_that_do_not_overlap():
    results = synthetic.results(num_trials=1, num_seeds=1, layers=DEEP)
    (ax,), _, _ = axes(results)
    labels = ax.get_yticklabels()
    assert words(labels) == ["0", "20", "40", "60", "80", "output"]
    boxes = [t.get_window_extent() for t in labels]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


@pytest.mark.parametrize("wild", [False, True])
def test_colors_are_shared_and_one_explosion_does_not_stretch_them(wild):
    values = np.geomspace(1e-4, 1e-2, 300).reshape(3, 2, 1, 50).copy()
    if wild:
        values[2, 1, 0, 7], values[1, 0, 0, 9] = 1e30, 1e-30
    maps, _, bar = axes(given(values))
    for ax in maps:
        norm = ax.collections[0].norm
        assert (norm.vmin, norm.vmax) == pytest.approx((1e-4, 1e-2), rel=0.05)
    boxes = [t.get_window_extent() for t in bar.get_xticklabels()]
    assert len(boxes) >= 3
    assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))
    assert bar.get_xlabel() == "gradient norm"


def means(ax):
    return [line for line in drawn.solid(ax) if len(line.get_xdata()) > 1]


def test_lines_are_means_with_the_maps_colors_on_a_log_axis():
    results = synthetic.results(num_trials=2, layers=DEEP[:11], diverged={(1, 0): 3})
    (_, cells), (other, ax), _ = axes(results)
    colors = collect(results)[1].colors
    marks = {n.get_ydata()[0]: n.get_color() for n in cells.lines}
    for place, line in zip(colors, means(ax), strict=True):
        kept = results.curve(1, f"grad_norm_dense_{place}").values[1:]
        np.testing.assert_allclose(line.get_ydata(), kept.mean(axis=0))
        assert marks[place] == line.get_color()
    assert ax.get_yscale() == "log"
    assert (ax.get_ylim(), ax.get_xlim()) == (other.get_ylim(), other.get_xlim())
    assert words(ax.texts) == ["0", "3", "6", "9", "output", "layer"]
    assert cells.get_title(loc="left").endswith("(1 diverged)")


def test_a_mean_of_exactly_0_is_a_triangle_at_the_foot():
    values = np.full((2, 1, 3, 5), 1e-20)
    values[1] = 0.1
    values[0, :, :, 3:] = 0.0
    _, (ax,), _ = axes(given(values))
    marks = [n.get_xydata()[0] for n in ax.lines if n.get_marker() == "v"]
    np.testing.assert_allclose(marks, [(x, ax.get_ylim()[0]) for x in (4, 5)])
    first, _ = means(ax)
    assert np.isnan(first.get_ydata()).tolist() == [False] * 3 + [True] * 2


def test_bands_end_at_the_foot():
    values = np.full((2, 1, 3, 4), 0.5)
    values[0, 0, 0] = 1e-6  # the interval of three such seeds reaches below 0
    _, (ax,), _ = axes(given(values))
    for band in ax.collections:
        (path,) = band.get_paths()
        assert path.vertices[:, 1].min() >= ax.get_ylim()[0]


@pytest.mark.parametrize("norm", [0.0, 1e-38, 1e38])
def test_any_norm_can_be_drawn(norm):
    assert axes(given(np.full((2, 1, 3, 4), norm)))


def test_where_all_diverged_the_norms_until_then_are_shown():
    results = synthetic.results(num_trials=1, diverged={(0, s): s for s in range(8)})
    (one,) = collect(results)
    values = results.curve(0, "grad_norm_dense_1").values
    np.testing.assert_allclose(one.means[1, :7], np.nanmean(values[:, :7], axis=0))
    assert np.isnan(one.means[1, 7:]).all()
