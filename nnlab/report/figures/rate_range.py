# SPDX-License-Identifier: Apache-2.0
"""The training loss against the learning rate, and the edge above which none train."""

import math

import numpy as np
from matplotlib.axes import Axes

from nnlab.report import answer
from nnlab.report.figures.drawing import captions, points, scales, style
from nnlab.report.figures.drawing.captions import Sketch, need
from nnlab.report.figures.drawing.paper import tall
from nnlab.report.trials import sweep_of
from nnlab.statistics.findings import Findings
from nnlab.statistics.intervals import mean_interval
from nnlab.statistics.rate_range import Rates
from nnlab.words import numbers

COLOR, STABLE, LOST = style.CATEGORIES[0], "#009e73", "#b5381c"
MOST = 3.0  # times the loss at the start: what is above leaves the axes


def rates(findings: Findings) -> Sketch:
    """Draws the final training loss against the rate, and what `Rates` found."""
    found = need(findings.rates, "the sweep is not of rates alone")
    order = need(found.order, "no rate was tried to the end")
    canvas = style.canvas(tall(3.6))
    ax = canvas.add_subplot()
    losses = np.array([findings.final(t, "train_loss") for t in order])
    mean, low, high = mean_interval(losses, axis=1)
    shown = scales.finite([losses, found.start])
    shown = shown[shown <= MOST * found.start] if found.start > 0 else shown
    scale = scales.scale_of(findings.results, "train_loss", shown)
    failing = points.failing_among(points.shares_lost(findings, order), order)
    view = scales.view_of(scale, shown, shown)
    scales.set_scale(ax, "y", scale, view, 0.17 if failing else 0.0)
    sweep = sweep_of(findings.results)
    scales.name_axes(ax, sweep, "training loss at the end")
    lowest, highest = found.values[[0, -1]]
    decades = [10.0**power for power in range(-12, 13)]
    decades = [d for d in decades if 0.999 * lowest <= d <= 1.001 * highest]
    if len(decades) > 1:
        ax.set_xticks(decades, [f"{rate:g}" for rate in decades])
    x = found.values
    for each in losses.T:
        ax.scatter(x, each, s=9, color=COLOR, alpha=0.3, linewidth=0, zorder=2.5)
    ax.fill_between(x, low, high, color=COLOR, alpha=0.2, linewidth=0, zorder=2)
    ax.plot(x, mean, color=COLOR, linewidth=1.6, zorder=3)
    ax.axhline(found.start, color=style.MUTED, linestyle=":", linewidth=1, zorder=1)
    _mark(ax, found, mean)
    if failing:
        points.draw_strip(ax, sweep, ("",), failing, 0.1)
    what = "Training loss at the end against the learning rate"
    updates = findings.results.program(order[0])["num_steps"]
    parts = [f"{what}, after {numbers.count(updates, 'update')}. Points are seeds."]
    if found.stable:
        parts.append("The green range is that in which all seeds make progress.")
    if math.isfinite(found.edge.value):
        interval = ", the red band its 95 % interval" * math.isfinite(found.edge.low)
        parts.append(f"The red line is the edge above which they do not{interval}.")
    parts.append("The dotted line is the mean loss before training.")
    if np.any(losses > ax.get_ylim()[1]):
        parts.append("What lies above the axes is not shown.")
    parts.append(captions.sampled(findings.results, "train_loss"))
    parts.append(captions.caption(findings, order))
    seen = " ".join(answer.sentences(findings)[:2])
    return Sketch("rates", canvas, what, " ".join(parts), seen)


def _mark(ax: Axes, found: Rates, mean: np.ndarray) -> None:
    if found.stable:
        ax.axvspan(*found.stable, color=STABLE, alpha=0.12, linewidth=0, zorder=0.5)
        _name(ax, found.stable[0], "all seeds train", STABLE)
    edge = found.edge
    if math.isfinite(edge.value):
        ax.axvline(edge.value, color=LOST, linewidth=1.4, zorder=3)
        _name(ax, edge.value, f"edge: {edge.value:.3g}", LOST)
        ends = np.clip([edge.low, edge.high], *ax.get_xlim())
        if np.isfinite(ends).all():
            ax.axvspan(*ends, color=LOST, alpha=0.18, linewidth=0, zorder=0.6)
    if found.fastest is not None:
        row = found.order.index(found.fastest)
        at = found.values[row], mean[row]
        ax.plot(*at, **style.RING)
        left: style.Look = {"textcoords": "offset points", "ha": "right", "fontsize": 8}
        ax.annotate(f"fastest: {at[0]:g}", at, (-10, -12), **left)


def _name(ax: Axes, place: float, text: str, color: str) -> None:
    """Writes words above the axes, beside a place on the x axis."""
    look: style.Look = {"color": style.darker(color), "fontsize": 8}
    above: style.Look = {
        "xycoords": ("data", "axes fraction"),
        "textcoords": "offset points",
    }
    ax.annotate(text, (place, 1.0), (0, 3), **above, **look)
