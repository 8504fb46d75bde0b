# SPDX-License-Identifier: Apache-2.0
"""Sizes are those of the networks, accuracies are means, and names are legible."""

import itertools

import drawn
import numpy as np
import pytest
import synthetic
from drawn import FOREST, TREES
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from nnlab.report.figures import sizes
from nnlab.report.figures.drawing import style
from nnlab.statistics.findings import Findings

RATE = "optimizer.learning_rate"
PAIRS = ((1, 16), (2, 16), (6, 16), (10, 16), (6, 8), (6, 32), (6, 64))
SWEEP = [{"model.depth": d, "model.hidden": (w,)} for d, w in PAIRS]


def found(sweep, spread=0.001, low=0.9, **options):
    values = np.linspace(low, 0.95, len(sweep))[:, None] + [-spread, 0.0, spread]
    given = {f"{part}_accuracy": values for part in ("validation", "test")}
    return synthetic.results(given, sweep=sweep, num_evaluations=3, **options)


def sizes_of(results):
    return sizes.sizes_of(Findings(results))


def draw(results, along):
    figure = Figure(figsize=(3.6, 2.7), layout="constrained")
    ax = figure.add_subplot()
    sizes.draw(ax, Findings(results), sizes_of(results), along)
    figure.draw_without_rendering()
    return ax


def test_sizes_are_depth_width_parameters_and_final_means():
    results = found([*SWEEP, {"model.hidden": (4, 6), "model.depth": 2}, TREES])
    every = sizes_of(results)
    shapes = [(size.depth, size.width) for size in every]
    assert shapes == [*PAIRS, (None, None), (None, None)]
    assert [size.name for size in every[-3:]] == ["6 x 64", "4-6-4-6", "boosted trees"]
    assert every[2].parameters == 65 * 6 * 16 + 10
    assert every[-1].parameters is None
    means = [size.accuracy.mean for size in every]
    np.testing.assert_allclose(means, np.linspace(0.9, 0.95, 9))
    # Student's t for 2 degrees of freedom, times the standard error of the mean.
    halves = [size.accuracy.high - size.accuracy.mean for size in every]
    np.testing.assert_allclose(halves, 4.302653 * 0.001 / np.sqrt(3), rtol=1e-5)


def test_seconds_are_of_all_epochs_that_a_network_trained():
    stopped = {(1, s): 1 for s in range(3)}
    times = {0: (0.2, 0.4), 1: (0.1,), 2: (2.0, 3.0)}
    results = found([{}, {"model.depth": 2}, TREES], seconds=times, stopped=stopped)
    seconds = [size.seconds for size in sizes_of(results)]
    assert seconds == pytest.approx([3 * 0.3, 1 * 0.1, 2.5])  # trees: a fit
    never = sizes_of(found([{}, {"model.depth": 2}], seconds={0: ()}))
    assert np.isnan(never[0].seconds)
    assert [size.trial for size in sizes.costing(never, "seconds")] == [1]


def test_what_is_compared():
    rates = [{"model.hidden": h, RATE: r} for h in ((8,), (8, 8)) for r in (0.1, 0.2)]
    best = [(size.trial, size.name) for size in sizes_of(found(rates))]
    assert best == [(1, "1 x 8"), (3, "2 x 8")]  # of equal sizes the best
    running = {(0, s): 1 for s in range(3)}
    ended = sizes_of(found(SWEEP[:3], unfinished=running, never_ran=(2,)))
    assert [size.trial for size in ended] == [1]
    assert sizes_of(found([{"dataset": "mnist"}, {"dataset": "digits"}])) == ()


def test_lines_have_two_points_at_least():
    every = sizes_of(found([*SWEEP, TREES]))
    along = {w: [s.depth for s in v] for w, v in sizes.lines(every, "depth").items()}
    assert along == {16: [1, 2, 6, 10]}
    along = {d: [s.width for s in v] for d, v in sizes.lines(every, "width").items()}
    assert along == {6: [8, 16, 32, 64]}
    assert sizes.panels(every) == ["depth", "width", "parameters", "seconds"]
    wide = sizes_of(found(SWEEP[:1] + SWEEP[-1:]))
    assert sizes.panels(wide) == ["parameters", "seconds"]


@pytest.mark.parametrize("along", ["depth", "width"])
def test_a_line_joins_the_means_and_baselines_lie_across(along):
    results = found([*SWEEP, TREES, FOREST])
    ax = draw(results, along)
    (line,) = (n for n in ax.lines if n.get_linewidth() == 1.2 and n.get_ls() == "-")
    ((_, of_line),) = sizes.lines(sizes_of(results), along).items()
    np.testing.assert_allclose(line.get_xdata(), [getattr(s, along) for s in of_line])
    np.testing.assert_allclose(line.get_ydata(), [s.accuracy.mean for s in of_line])
    levels = [s.accuracy.mean for s in sizes_of(results)[-2:]]
    assert drawn.dashed(ax) == pytest.approx(levels)
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == (["width", "16"] if along == "depth" else ["depth", "6"])
    assert [float(t) for t in ax.get_xticks()] == sorted(line.get_xdata())


@pytest.mark.parametrize(
    ("sweep", "side"),
    [([*SWEEP[:4], TREES], "left"), ([TREES, *SWEEP[:4]], "right")],
)
def test_a_baseline_is_in_view_and_named_where_no_point_is_near(sweep, side):
    ax = draw(found(sweep, low=0.5), "depth")  # accuracies rise along the sweep
    (name,) = ax.texts
    assert (name.get_text(), name.get_ha()) == ("boosted trees", side)
    low, high = ax.get_ylim()
    assert low < 0.5 < 0.95 < high


@pytest.mark.parametrize("along", sizes.ALONG)
def test_panels_share_the_accuracys_axis_and_ring_the_best(along):
    results = found([TREES, *SWEEP])
    ax = draw(results, along)
    assert ax.get_ylim() == draw(results, "depth").get_ylim()
    rings = [n for n in ax.lines if n.get_markersize() == 11]
    rings = [n for n in rings if n.get_markeredgecolor() == style.INK]
    assert len(rings) == (along != "depth")  # 6 x 64 is on no line along depth
    assert all(ring.get_ydata()[0] == pytest.approx(0.95) for ring in rings)
    diamonds = [n for n in ax.lines if n.get_marker() == "D"]
    assert len(diamonds) == (along == "seconds")  # baselines have no parameters


@pytest.mark.parametrize("along", ["parameters", "seconds"])
@pytest.mark.parametrize(
    ("faster", "low", "spread", "least"),
    [
        (1.0, 0.9499, 1e-5, 1),  # all at one place
        (1.0, 0.9, 0.004, 3),
        (1.5, 0.9, 0.004, 6),
    ],
)
def test_names_cover_no_point_and_no_other_name(along, faster, low, spread, least):
    times = {n: (0.1 * faster**n,) for n in range(9)}
    results = found([*SWEEP, TREES, FOREST], spread, low, seconds=times)
    ax = draw(results, along)
    boxes = [text.get_window_extent() for text in ax.texts]
    assert len(boxes) >= least
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    for size in sizes.costing(sizes_of(results), along):
        dot = ax.transData.transform((getattr(size, along), size.accuracy.mean))
        assert not any(b.contains(*dot) for b in boxes)
    assert ax.get_xscale() == "log"


def test_names_cover_no_interval_where_there_is_room():
    ax = draw(found(SWEEP, spread=0.01), "parameters")
    boxes = [text.get_window_extent() for text in ax.texts]
    assert len(boxes) == len(SWEEP)
    for bar in (c for c in ax.collections if isinstance(c, LineCollection)):
        (segment,) = bar.get_segments()
        line = Bbox(ax.transData.transform(segment))
        assert not any(b.overlaps(line) for b in boxes)


def test_a_long_name_stays_within_the_axes():
    wide = {"model.name": "cnn", "model.hidden": (512,), "label": "convolutions " * 2}
    ax = draw(found([*SWEEP, wide]), "parameters")
    box, inside = ax.texts[-1].get_window_extent(), ax.get_window_extent()
    assert ax.texts[-1].get_text().startswith("convolutions")
    assert inside.x0 <= box.x0 < box.x1 <= inside.x1
