# SPDX-License-Identifier: Apache-2.0
"""The training loss against the learning rate: what trains, and where the edge is."""

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from nnlab.report.figures.drawing.labels import plain
from nnlab.report.figures.drawing.points import draw_strip
from nnlab.report.figures.drawing.scales import (
    finite,
    scale_of,
    set_scale,
    set_sweep_axis,
    view_of,
)
from nnlab.report.figures.drawing.style import CATEGORIES, INK, MUTED, darker, dress
from nnlab.report.trials import sweep_of
from nnlab.results import Results
from nnlab.statistics import rate_range
from nnlab.statistics.intervals import mean_interval
from nnlab.statistics.members import reduce_members, status_counts
from nnlab.study import Quantity

STABLE, LOST = "#009e73", "#b5381c"
MOST = 3.0  # times the loss at the start: what is above leaves the axes
FINAL = Quantity(metric="train_loss")


def draw(ax: Axes, results: Results) -> rate_range.Rates:
    """Draws the final training loss against the rate, mean and 95 % band.

    A dot for each member that did not diverge, a strip with the shares that diverged or
    ended at chance, the range in which all seeds train, the edge with its interval, and
    a ring around the fastest rate.

    Args:
      ax: where to draw.
      results: of trials that differ in the learning rate alone.

    Returns:
      What was found of the rates.

    Raises:
      ValueError: the trials differ in more.
    """
    found = rate_range.find(results)
    losses = np.array([reduce_members(results, FINAL, t) for t in found.order])
    mean, low, high = mean_interval(losses, axis=1)
    shown = finite([losses, np.array([found.start])])
    shown = shown[shown <= MOST * found.start] if found.start > 0 else shown
    scale = scale_of(results, "train_loss", shown)
    shares: dict[str, dict[int, float]] = {"diverged": {}, "at chance": {}}
    for trial in found.order:
        counts = status_counts(results, trial)
        seeds = results.trials[trial].num_seeds
        shares["diverged"][trial] = counts["diverged"] / seeds
        shares["at chance"][trial] = counts["at_chance"] / seeds
    failing = {kind: of for kind, of in shares.items() if any(of.values())}
    set_scale(ax, "y", scale, view_of(scale, shown, shown), 0.17 if failing else 0.0)
    sweep = sweep_of(results)
    set_sweep_axis(ax, sweep)
    decades = 10.0 ** np.arange(-12, 13)
    decades = decades[(decades >= 0.999 * found.values[0])]
    decades = decades[decades <= 1.001 * found.values[-1]]
    if decades.size > 1:
        ax.set_xticks(decades, [f"{rate:g}" for rate in decades])
    ax.set_ylabel("training loss at the end")
    dress(ax, "y")
    places = np.broadcast_to(found.values[:, None], losses.shape)
    ax.scatter(
        places, losses, s=9, color=CATEGORIES[0], alpha=0.3, linewidth=0, zorder=2.5
    )
    band: dict[str, Any] = {"color": CATEGORIES[0], "alpha": 0.2, "linewidth": 0}
    ax.fill_between(found.values, low, high, **band, zorder=2)
    ax.plot(found.values, mean, color=CATEGORIES[0], linewidth=1.6, zorder=3)
    ax.axhline(found.start, color=MUTED, linestyle=":", linewidth=1, zorder=1)
    if found.stable:
        ax.axvspan(*found.stable, color=STABLE, alpha=0.12, linewidth=0, zorder=0.5)
        _name(ax, found.stable[0], "all seeds train", STABLE, "left")
    if math.isfinite(found.edge.value):
        ax.axvline(found.edge.value, color=LOST, linewidth=1.4, zorder=3)
        _name(ax, found.edge.value, f"edge: {found.edge.value:.3g}", LOST, "left")
        ends = np.clip([found.edge.low, found.edge.high], *ax.get_xlim())
        if np.isfinite(ends).all():
            ax.axvspan(*ends, color=LOST, alpha=0.18, linewidth=0, zorder=0.6)
    if found.fastest is not None:
        row = found.order.index(found.fastest)
        at = found.values[row], mean[row]
        ring: dict[str, Any] = {
            "markerfacecolor": "none",
            "markeredgecolor": INK,
            "markersize": 11,
        }
        ax.plot(*at, marker="o", zorder=4, **ring)
        ax.annotate(
            f"fastest: {at[0]:g}",
            at,
            xytext=(-10, -12),
            textcoords="offset points",
            ha="right",
            fontsize=8,
        )
    if failing:
        draw_strip(ax, sweep, ("",), failing, 0.1)
    return found


def _name(ax: Axes, place: float, text: str, color: str, side: str) -> None:
    """Words above the axes, beside a place on the x axis."""
    ax.annotate(
        plain(text),
        (place, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(0, 3),
        textcoords="offset points",
        color=darker(color),
        ha=side,
        fontsize=8,
    )


def highest(results: Results, found: rate_range.Rates) -> float:
    """The largest final training loss of a member."""
    every = finite([reduce_members(results, FINAL, t) for t in found.order])
    return float(every.max(initial=-math.inf))
