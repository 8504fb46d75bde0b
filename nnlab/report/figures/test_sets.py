# SPDX-License-Identifier: Apache-2.0
"""What networks make of moved and of rotated test images."""

import re
from typing import Literal

import numpy as np
from matplotlib.axes import Axes

from nnlab.report.figures.drawing.curves import Drawn, draw_curve, name_lines
from nnlab.report.figures.drawing.labels import legend_above
from nnlab.report.figures.drawing.levels import draw_chance
from nnlab.report.figures.drawing.points import draw_points
from nnlab.report.figures.drawing.scales import (
    axis_words,
    finite,
    scale_of,
    set_rows,
    set_scale,
    set_sweep_axis,
    view_of,
)
from nnlab.report.figures.drawing.style import CATEGORIES, MUTED, colors, dress
from nnlab.report.trials import Sweep, sweep_of, trial_name
from nnlab.results import Results
from nnlab.statistics.intervals import mean_interval
from nnlab.statistics.members import alive, is_measured, reduce_members
from nnlab.study import Quantity
from nnlab.words.settings import words

SETS: tuple[Literal["moved", "rotated"], ...] = ("moved", "rotated")


def moved_sets(results: Results) -> list[str]:
    """Which of `SETS` were measured."""
    return [s for s in SETS if is_measured(results, f"test_{s}_accuracy")]


def test_sets(ax: Axes, results: Results) -> Axes:
    """Draws each trial's final accuracy on the normal, the moved, the rotated test set.

    Mean and 95 % Student-t interval over the members that finished or stopped, and a
    small dot for each of them. A numeric sweep runs along x with a line for each set;
    else each trial is a row.

    Args:
      ax: where to draw.
      results: what the study found.

    Returns:
      `ax`.
    """
    sets = [m for m in results.metrics if re.fullmatch(r"test_(\w+_)?accuracy", m)]
    ran = [t.index for t in results.trials if alive(results, t.index).any()]
    quantities = {m: Quantity(metric=m, reduction="final") for m in sets}
    points = {
        (t, m): values[~np.isnan(values)]
        for t in ran
        for m in sets
        for values in [reduce_members(results, quantities[m], t)]
    }
    points = {key: p for key, p in points.items() if p.size}
    centers = {key: mean_interval(p) for key, p in points.items()}
    sweep = sweep_of(results)
    rows = sweep.scale == "categories" or any(sweep.groups)
    if rows:
        names = tuple(trial_name(results, t) for t in range(len(results.trials)))
        places = tuple(float(t) for t in range(len(names)))
        sweep = Sweep("", places, names, ("",) * len(names), "categories")
    core = finite([*points.values()])
    scale = scale_of(results, "test_accuracy", core)
    view = view_of(scale, core, finite(np.array(c[1:]) for c in centers.values()))
    chances = {float(results.dataset(t)["chance"]) for t in ran}
    view = np.append(view, [c for c in chances if view.size])
    set_scale(ax, "x" if rows else "y", scale, view)
    for chance in chances:
        draw = ax.axvline if rows else ax.axhline
        draw(chance, color=MUTED, linestyle=":", linewidth=1, zorder=1, label="chance")
    for number, metric in enumerate(sets):
        color, marker = CATEGORIES[number % len(CATEGORIES)], "osD^v"[number % 5]
        shift = 0.22 * (number - (len(sets) - 1) / 2) if rows else 0.0
        of_set = [t for t in ran if (t, metric) in points]
        of_set.sort(key=lambda t: sweep.values[t])
        if not rows:
            middle = [min(float(centers[t, metric][0]), scale.ceiling) for t in of_set]
            at = [sweep.values[t] for t in of_set]
            ax.plot(at, middle, color=color, linewidth=1.2, zorder=2)
        for trial in of_set:
            values = np.append(points[trial, metric], centers[trial, metric])
            values = np.minimum(values, scale.ceiling)
            place = sweep.values[trial] + shift
            draw_points(ax, place, values, color, rows, False, marker)
        name = words(metric).removesuffix("test accuracy").strip() or "normal"
        ax.plot([], [], color=color, marker=marker, markersize=5.5, label=name)
    label = axis_words("test_accuracy", scale)
    if rows:
        set_rows(ax, sweep)
        ax.set_xlabel(label)
    else:
        set_sweep_axis(ax, sweep)
        ax.set_ylabel(label)
    dress(ax, "x" if rows else "y")
    legend_above(ax)
    return ax


def severity(
    ax: Axes, results: Results, transform: Literal["moved", "rotated"]
) -> Axes:
    """Draws the test accuracy against how far the images are moved or rotated.

    A line for each trial: mean over its final members and 95 % Student-t band (none
    below three).

    Args:
      ax: where to draw.
      results: what the study found.
      transform: which of the two.

    Returns:
      `ax`.

    Raises:
      ValueError: the study did not measure it.
    """
    columns = {
        name: results.severity[name].to_numpy(zero_copy_only=False)
        for name in ("trial", "seed", "transform", "amount", "accuracy")
    }
    chosen = columns["transform"] == transform
    if not chosen.any():
        kinds = ", ".join(sorted(set(columns["transform"]))) or "nothing"
        raise ValueError(f"no severity of {transform!r} was measured, but {kinds}")
    amounts = np.unique(columns["amount"][chosen])
    drawn: dict[int, Drawn] = {}
    for trial in sorted({int(t) for t in columns["trial"][chosen]}):
        rows = np.flatnonzero(chosen & (columns["trial"] == trial))
        values = np.full((results.study.num_seeds, len(amounts)), np.nan)
        at = np.searchsorted(amounts, columns["amount"][rows])
        values[columns["seed"][rows], at] = columns["accuracy"][rows]
        values = values[~np.isnan(values).all(axis=1)]
        summary = mean_interval(values)
        none = np.empty((0, len(amounts)))
        drawn[trial] = Drawn(
            amounts, values, *summary, none, np.empty(0, np.int64), False
        )
    core = finite(d.mean for d in drawn.values())
    scale = scale_of(results, "test_accuracy", core)
    ends = finite(a for d in drawn.values() for a in (d.low, d.high))
    view = draw_chance(ax, results, scale, view_of(scale, core, ends), drawn)
    set_scale(ax, "y", scale, view)
    ax.set_xlim(0, amounts[-1] or 1.0)
    unit = {"moved": "largest shift, pixels", "rotated": "largest rotation, degrees"}
    ax.set(xlabel=unit[transform], ylabel=axis_words("test_accuracy", scale))
    tints = colors(results)
    if len(set(sweep_of(results).groups)) > 1 and len(tints) <= len(CATEGORIES):
        tints = CATEGORIES[: len(tints)]  # all groups share the panel
    for trial, curve in drawn.items():
        draw_curve(ax, curve, tints[trial], scale, len(drawn) <= 8, "-")
    dress(ax)
    name_lines(ax, results, drawn, {}, tints)
    return ax
