# SPDX-License-Identifier: Apache-2.0
"""Final values with their intervals; those of baselines are lines across the axes."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from nnlab.report.figures.drawing.chart import Name, Series, kept
from nnlab.report.figures.drawing.labels import apart, note
from nnlab.report.figures.drawing.scales import Scale
from nnlab.statistics.findings import Findings
from nnlab.statistics.intervals import mean_interval

LONG_DASHES = (0, (7.0, 3.0))  # of baselines; training curves have short ones


class Level(NamedTuple):
    """A final mean and its 95 % interval; low and high are NaN below three values."""

    mean: float
    low: float
    high: float


def level_of(findings: Findings, trial: int, metric: str) -> Level | None:
    """Returns a trial's final mean; None where no network has a finite value.

    Raises:
      ValueError: no such metric.
    """
    values = findings.final(trial, metric)
    values = values[np.isfinite(values)]
    return Level(*map(float, mean_interval(values))) if values.size else None


def levels_of(
    findings: Findings, trials: Iterable[int], metric: str
) -> dict[int, Level]:
    """Returns the final means of the trials that have one."""
    levels = {trial: level_of(findings, trial, metric) for trial in trials}
    return {trial: level for trial, level in levels.items() if level is not None}


def draw_level(ax: Axes, level: Level, color: str, scale: Scale, name: Name) -> None:
    """Draws a baseline's mean and interval across the axes."""
    kept(ax).series.append(Series(name, color, "across", 0.0, *level))
    mean, low, high = (min(value, scale.ceiling) for value in level)
    if low < high:
        ax.axhspan(low, high, color=color, alpha=0.1, linewidth=0, zorder=1)
    ax.axhline(mean, color=color, linestyle=LONG_DASHES, linewidth=1.2, zorder=2)


def note_levels(ax: Axes, levels: Mapping[str, Level], right: bool = True) -> None:
    """Writes names at an end of horizontal lines, apart where lines are close."""
    ordered = sorted(levels, key=lambda name: -levels[name].mean)
    for name, shown in zip(ordered, apart(ordered)):
        note(ax, levels[name].mean, shown, name == ordered[0], right)
