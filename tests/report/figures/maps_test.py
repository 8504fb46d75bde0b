# SPDX-License-Identifier: Apache-2.0
"""A cell of a map shows its trial, legibly, at the place of its settings."""

import contextlib

import drawn
import numpy as np
import pytest
import synthetic
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex

from nnlab.report.figures import maps
from nnlab.report.figures.drawing import style
from nnlab.report.figures.drawing.captions import Lacking
from nnlab.statistics.findings import Findings
from nnlab.statistics.ranking import best_trial

RATE = "optimizer.learning_rate"
RATES = (0.02, 0.1, 0.7)
PRODUCT = [{"batch_size": b, RATE: r} for b in (140, 6, 70) for r in RATES]
WIDE = [{"batch_size": b, RATE: r} for b in (6, 70) for r in np.geomspace(0.01, 3, 11)]
DEPTHS = [{"model.hidden": (64,) * d, RATE: r} for d in (10, 1) for r in RATES]


def grid_of(results):
    return maps.grid_of(Findings(results))


def texts(ax):
    """Returns ``{(column, row): lines of text}``."""
    found = {}
    for text in ax.texts:
        found.setdefault(tuple(map(int, text.xy)), []).append(text.get_text())
    return found


def colors(ax):
    """Returns ``{(column, row): color}`` of filled cells; hatched ones have none."""
    cells = [p for p in ax.patches if p.get_width() == 1 and not p.get_hatch()]
    places = [(round(p.get_x() + 0.5), round(p.get_y() + 0.5)) for p in cells]
    return {n: to_hex(p.get_facecolor()) for n, p in zip(places, cells)}


def test_numbers_ascend_and_other_values_keep_their_order():
    grid = grid_of(synthetic.results(sweep=DEPTHS, num_evaluations=1))
    assert (grid.x, grid.columns) == (RATE, ("0.02", "0.1", "0.7"))
    assert (grid.y, grid.rows) == ("model.hidden", ("10 x 64", "64"))
    assert (grid.cells[1, 0], grid.cells[1, 1]) == (1, 4)
    grid = grid_of(synthetic.results(sweep=PRODUCT, num_evaluations=1))
    assert {grid.columns, grid.rows} == {("0.02", "0.1", "0.7"), ("6", "70", "140")}


def test_a_switch_is_on_or_off_and_close_numbers_are_told_apart():
    rates = (0.1234567, 0.1234568)
    sweep = [{"model.batch_norm": b, RATE: r} for b in (True, False) for r in rates]
    grid = grid_of(synthetic.results(sweep=sweep, num_evaluations=1))
    assert (grid.columns, grid.rows) == (("0.1234567", "0.1234568"), ("on", "off"))
    assert len(grid.cells) == 4


@pytest.mark.parametrize(
    ("sweep", "has_one"),
    [
        (PRODUCT[:1] + PRODUCT[4:5] + PRODUCT[8:], False),  # 3 of 9
        (PRODUCT[:3] + PRODUCT[4:5] + PRODUCT[8:], True),  # 5 of 9
        ([drawn.TREES, *PRODUCT], True),
        ([{RATE: r} for r in RATES], False),
        ([{**s, "optimizer.momentum": s[RATE]} for s in PRODUCT], False),
        ([{}], False),
    ],
)
def test_a_map_needs_two_hyperparameters_that_fill_half_a_product(sweep, has_one):
    results = synthetic.results(sweep=sweep, num_evaluations=1)
    with contextlib.nullcontext() if has_one else pytest.raises(Lacking):
        grid_of(results)


def test_baselines_have_no_place_on_a_map():
    results = synthetic.results(sweep=[drawn.TREES, *PRODUCT], num_seeds=3)
    cells = grid_of(results).cells
    assert sorted(cells.values()) == list(range(1, 10))
    rates = {p[0]: results.trials[t].overrides[RATE] for p, t in cells.items()}
    assert rates == dict(enumerate(RATES))


def test_cells_hold_the_final_mean_and_the_fates():
    lost = {(2, s): 3 for s in range(5)} | {(4, 0): 2, (4, 1): 2}
    chance = [(8, 0), (8, 1), (8, 2)]
    results = synthetic.results(
        sweep=PRODUCT, num_seeds=5, diverged=lost, at_chance=chance, never_ran=[0]
    )
    ax, *_ = drawn.axes("map", results)
    shown = {t: texts(ax).get(p) for p, t in grid_of(results).cells.items()}
    fates = {4: ["2/5 diverged"], 8: ["3/5 at chance"]}
    assert (shown.pop(0), shown.pop(2)) == (None, ["5/5 diverged"])
    for trial, (number, *fate) in shown.items():
        values = results.curve(trial, "test_accuracy").values[:, -1]
        assert float(number) == pytest.approx(100 * np.nanmean(values), abs=0.051)
        assert fate == fates.get(trial, [])
    assert sum(bool(p.get_hatch()) for p in ax.patches) == 1


def test_the_best_trial_is_framed_and_failures_do_not_stretch_the_colors():
    accuracy = np.linspace(0.9, 0.95, 9)[:, None] + np.zeros(3)
    accuracy[[4, 8]] = accuracy[[8, 4]]
    lost = [(0, s) for s in range(3)]
    results = synthetic.results(accuracy, sweep=PRODUCT, at_chance=lost)
    ax, *_ = drawn.axes("map", results)
    places = {t: p for p, t in grid_of(results).cells.items()}
    assert best_trial(results) == 4
    frames = [p for p in ax.patches if p.get_width() == 0.92]
    (best,) = (p for p in frames if to_hex(p.get_edgecolor()) == style.INK)
    assert (best.get_x() + 0.46, best.get_y() + 0.46) == pytest.approx(places[4])
    shades = {t: colors(ax)[place] for t, place in places.items()}
    assert shades[4] == to_hex(maps.METRIC_COLORS(1.0))
    assert shades[0] == shades[1] == to_hex(maps.METRIC_COLORS(0.0))
    assert len({*shades.values()}) == 8


@given(st.tuples(*[st.floats(0, 1)] * 3))
def test_text_stands_out_on_every_color(color):
    assert drawn.contrast(color, style.ink_on(color)) >= 4.5


def test_where_networks_diverged_is_told():
    lost = {(2, 0): 2, (2, 1): 4, (2, 2): 5}
    results = synthetic.results(sweep=DEPTHS, num_seeds=4, diverged=lost)
    ax, _ = drawn.axes("divergence", results)
    cells, shades = texts(ax), colors(ax)
    step = np.median(results.member(2, "diverged_step")[:3])
    assert cells[2, 0] == ["3/4 diverged", f"step {step:.0f}", "dense_1: 1e8"]
    assert cells[0, 0] == ["0/4"]
    assert shades.pop((2, 0)) == to_hex(maps.SHARE_COLORS(0.75))
    assert {*shades.values()} == {to_hex(maps.SHARE_COLORS(0.0))}


@pytest.mark.parametrize("part", ["map", "divergence"])
@pytest.mark.parametrize(("sweep", "smallest"), [(PRODUCT, 7), (WIDE, 5)])
def test_texts_stay_in_their_cells(sweep, smallest, part):
    lost = {(t, s): 2 for t in (0, 2, 4) for s in range(3)}
    chance = [(4, 4), (1, 2)]
    results = synthetic.results(
        sweep=sweep, num_seeds=10, diverged=lost, at_chance=chance
    )
    ax, *_ = drawn.axes(part, results)
    for text in ax.texts:
        column, row = text.xy
        corners = [(column - 0.5, row - 0.5), (column + 0.5, row + 0.5)]
        (x0, y0), (x1, y1) = ax.transData.transform(corners)
        box = text.get_window_extent()
        assert x0 <= box.x0 < box.x1 <= x1
        assert min(y0, y1) <= box.y0 < box.y1 <= max(y0, y1)
        assert text.get_fontsize() >= smallest


def test_a_study_that_never_began_has_hatched_cells():
    never = synthetic.results(sweep=PRODUCT, never_ran=range(9))
    ax, *_ = drawn.axes("divergence", never)
    assert all(p.get_hatch() for p in ax.patches)
