# SPDX-License-Identifier: Apache-2.0
"""Curves of the best and of the worst trial, side by side with equal axes.

`draw` draws on an Axes and returns it; no pyplot, hence no global state.
"""

from collections.abc import Collection
from typing import Literal

from matplotlib.axes import Axes

from nnlab.report.figures.drawing import style
from nnlab.report.figures.drawing.curves import (
    curve_of,
    draw_curve,
    draw_ends,
    set_metric_axis,
    set_time_axis,
)
from nnlab.report.figures.drawing.scales import axis_words
from nnlab.results import Results

SPLITS = {
    "train": ("training", style.CATEGORIES[0]),
    "validation": ("validation", style.CATEGORIES[1]),
    "test": ("test", style.CATEGORIES[2]),
}
"""Parts of the data, and what they are called and coloured."""


def draw(
    ax: Axes,
    results: Results,
    kind: Literal["accuracy", "loss"],
    trial: int,
    beside: Collection[int],
) -> Axes:
    """Draws a trial's training, validation and test curves.

    As `curves.learning_curves`: means over the members that finished or stopped, with
    95 % Student-t bands, ticks where members stopped and crosses where they diverged.

    Args:
      ax: where to draw.
      results: what the study found.
      kind: which metric.
      trial: whose curves.
      beside: all trials that the panels show, which share their limits. A baseline's
        curves run along its number of trees, and only their metric's axis is shared.

    Returns:
      `ax`, with a label for each curve in its legend's handles.

    Raises:
      ValueError: the curves have none of the metrics.
    """
    metrics = {
        name: metric
        for name in SPLITS
        if (metric := f"{name}_{kind}") in results.metrics
    }
    if not metrics:
        raise ValueError(f"the curves have no {kind}")
    found = {
        (t, m): curve_of(results, t, m, "epoch")
        for t in (trial, *beside)
        for m in metrics.values()
    }
    curves = {key: curve for key, curve in found.items() if curve is not None}
    scale = set_metric_axis(ax, results, f"test_{kind}", curves, {})
    alike = {
        t: curve.x for (t, _), curve in curves.items() if _alike(results, t, trial)
    }
    set_time_axis(ax, results, "epoch", alike)
    for name, metric in metrics.items():
        if (trial, metric) not in curves:
            continue
        curve, (label, color) = curves[trial, metric], SPLITS[name]
        line = "--" if curve.running else "-"
        draw_curve(ax, curve, color, scale, False, line)
        draw_ends(ax, curve, color, scale)
        ax.plot([], [], color=color, linewidth=1.7, label=label)
    style.dress(ax)
    ax.set_ylabel(axis_words(kind, scale))
    return ax


def _alike(results: Results, one: int, other: int) -> bool:
    """Whether both are networks, or neither is, so that their curves share an axis."""
    models = (results.trials[t].hyperparameters.model for t in (one, other))
    return len({model.is_network for model in models}) == 1
