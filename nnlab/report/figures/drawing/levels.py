# SPDX-License-Identifier: Apache-2.0
"""Levels across the axes: final values of baselines, and chance."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from nnlab.report.figures.drawing.labels import note, plain
from nnlab.report.figures.drawing.scales import Scale
from nnlab.report.figures.drawing.style import MUTED
from nnlab.results import Results
from nnlab.statistics.intervals import mean_interval
from nnlab.statistics.members import reduce_members
from nnlab.study import Quantity

LONG_DASHES = (0, (7.0, 3.0))  # of baselines; training curves have short ones


class Level(NamedTuple):
    """A final mean and its 95 % interval; low and high are NaN below three values."""

    mean: float
    low: float
    high: float


def level_of(results: Results, trial: int, metric: str) -> Level | None:
    """A trial's final mean; None where no member has a finite value.

    Raises:
      ValueError: no such metric.
    """
    final = Quantity(metric=metric, reduction="final")
    values = reduce_members(results, final, trial)
    values = values[np.isfinite(values)]
    if not values.size:
        return None
    return Level(*map(float, mean_interval(values)))


def draw_level(ax: Axes, level: Level, color: str, scale: Scale) -> None:
    """Draws a baseline's mean and interval across the axes."""
    mean, low, high = (min(value, scale.ceiling) for value in level)
    if low < high:
        ax.axhspan(low, high, color=color, alpha=0.1, linewidth=0, zorder=1)
    ax.axhline(mean, color=color, linestyle=LONG_DASHES, linewidth=1.2, zorder=2)


def note_levels(ax: Axes, levels: Mapping[str, Level], right: bool = True) -> None:
    """Names at an end of horizontal lines; two that lie close together have room."""
    ordered = sorted(levels.items(), key=lambda item: -item[1].mean)
    for number, (name, level) in enumerate(ordered):
        note(ax, level.mean, plain(name), number == 0, right)


def draw_chance(
    ax: Axes, results: Results, scale: Scale, view: np.ndarray, trials: Iterable[int]
) -> np.ndarray:
    """Draws the level of chance unless it would squeeze the curves; the new view."""
    low, high = scale.forward([view.min(), view.max()])
    for chance in {float(results.dataset(t)["chance"]) for t in trials}:
        if low - scale.forward(chance) < high - low:
            ax.axhline(chance, color=MUTED, linestyle=":", linewidth=1, zorder=1)
            note(ax, chance, "chance")
            view = np.append(view, chance)
    return view
