# SPDX-License-Identifier: Apache-2.0
"""Several runs on one Axes: the curves of their best trials, all trials' final values.

Every function draws on an Axes and returns it.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes

from nnlab.report.figures.drawing import labels, style
from nnlab.report.figures.drawing.curves import (
    Drawn,
    curve_of,
    draw_curve,
    draw_ends,
    set_time_scale,
)
from nnlab.report.figures.drawing.levels import Level, draw_chance, draw_level, level_of
from nnlab.report.figures.drawing.scales import (
    Scale,
    axis_words,
    finite,
    scale_of,
    set_scale,
    view_of,
)
from nnlab.results import Results


@dataclasses.dataclass(frozen=True)
class Chosen:
    """A run and its best trial.

    Attributes:
      name: of the run, distinct among those drawn.
      results: what it found.
      trial: index of the best trial.
    """

    name: str
    results: Results
    trial: int

    @property
    def is_network(self) -> bool:
        """Whether the trial trains along epochs; trees have none."""
        return self.results.trials[self.trial].hyperparameters.model.is_network

    @property
    def chance(self) -> float:
        """Accuracy of a constant answer."""
        return float(self.results.dataset(self.trial)["chance"])


def colors(count: int) -> list[str]:
    """A colour for each run: distinct ones, ordered ones where there are many."""
    few = count <= len(style.CATEGORIES)
    return [*style.CATEGORIES[:count]] if few else style.ordered_colors(count)


def best_curves(ax: Axes, runs: Sequence[Chosen], metric: str) -> Axes:
    """Draws each run's best trial as `curves.learning_curves` draws trials.

    Means with 95 % bands over the members that finished or stopped, ticks where members
    stopped, crosses where they diverged; trees lie across the axes in long dashes.

    Args:
      ax: where to draw.
      runs: those that measured it.
      metric: a column of the curves.

    Returns:
      `ax`.

    Raises:
      ValueError: a run has no such metric.
    """
    curves: dict[int, Drawn] = {}
    levels: dict[int, Level] = {}
    for place, run in enumerate(runs):
        if not run.is_network:
            level = level_of(run.results, run.trial, metric)
            levels |= {place: level} if level is not None else {}
        elif (curve := curve_of(run.results, run.trial, metric, "epoch")) is not None:
            curves[place] = curve
    core = finite([c.mean for c in curves.values()])
    core = np.append(core, [level.mean for level in levels.values()])
    ends = finite([a for c in curves.values() for a in (c.low, c.high)])
    scale = _set_metric_scale(ax, "y", runs, metric, core, ends)
    set_time_scale(ax, [c.x for c in curves.values()], "epochs")
    tints = colors(len(runs))
    for place, curve in curves.items():
        draw_curve(ax, curve, tints[place], scale, len(runs) <= 4, "-")
        draw_ends(ax, curve, tints[place], scale)
    for place, level in levels.items():
        draw_level(ax, level, tints[place], scale)
    style.dress(ax)
    ax.set_ylabel(axis_words(metric, scale))
    _name(ax, runs, curves, levels, tints)
    return ax


def _name(
    ax: Axes,
    runs: Sequence[Chosen],
    curves: Mapping[int, Drawn],
    levels: Mapping[int, Level],
    tints: Sequence[str],
) -> None:
    """Writes the runs' names at the ends of their lines."""
    names, ends = [], []
    for place, run in enumerate(runs):
        stopped = len(curves[place].stopped) if place in curves else 0
        names.append((run.name, labels.fate_of(run.results, run.trial, stopped)))
        x, y = np.nan, ax.get_ylim()[0]
        if place in levels:
            x, y = ax.get_xlim()[1], levels[place].mean
        elif place in curves and np.isfinite(curves[place].mean).any():
            at = np.flatnonzero(np.isfinite(curves[place].mean))[-1]
            x, y = float(curves[place].x[at]), float(curves[place].mean[at])
        ends.append((tints[place], x, y))
    labels.label_ends(ax, names, ends, "")


def all_finals(ax: Axes, runs: Sequence[Chosen], metric: str) -> Axes:
    """Draws the final mean of every trial, a row for each run.

    A ring marks the best trial by validation, with its 95 % interval.

    Args:
      ax: where to draw.
      runs: those that measured it.
      metric: a column of the curves.

    Returns:
      `ax`.

    Raises:
      ValueError: a run has no such metric.
    """
    found = {
        place: {
            t.index: level
            for t in run.results.trials
            if (level := level_of(run.results, t.index, metric)) is not None
        }
        for place, run in enumerate(runs)
    }
    levels = [level for row in found.values() for level in row.values()]
    best = [found[p][run.trial] for p, run in enumerate(runs)]
    core = np.array([level.mean for level in levels])
    ends = finite([np.array([level.low, level.high]) for level in best])
    scale = _set_metric_scale(ax, "x", runs, metric, core, ends)
    tints = colors(len(runs))
    for place, run in enumerate(runs):
        means = np.array([level.mean for level in found[place].values()])
        x = np.minimum(means, scale.ceiling)
        y = np.full(len(x), float(place))
        ax.plot(x, y, "o", color=tints[place], markersize=4, alpha=0.55, zorder=3)
        mean, low, high = (min(v, scale.ceiling) for v in found[place][run.trial])
        ax.hlines(place, low, high, color=tints[place], linewidth=1.4, zorder=3)
        ax.plot(mean, place, "o", color=tints[place], markersize=5, zorder=4)
        ax.plot(mean, place, "o", color=style.INK, fillstyle="none", markersize=10)
    ax.set_yticks(range(len(runs)), [labels.wrapped(run.name) for run in runs])
    ax.set_ylim(len(runs) - 0.5, -0.5)
    style.dress(ax, grid="x")
    ax.set_xlabel(axis_words(metric, scale))
    return ax


def _set_metric_scale(
    ax: Axes,
    which: Literal["x", "y"],
    runs: Sequence[Chosen],
    metric: str,
    core: np.ndarray,
    ends: np.ndarray,
) -> Scale:
    """Sets an axis so that all of `core` is in view, and of `ends` what is near."""
    scales = [scale_of(run.results, metric, core) for run in runs]
    scale = max(scales, key=lambda s: s.ceiling)
    view = view_of(scale, core, ends)
    if which == "y" and metric.endswith("accuracy") and view.size:
        for run in {run.chance: run for run in runs}.values():
            view = draw_chance(ax, run.results, scale, view, [run.trial])
    set_scale(ax, which, scale, view)
    return scale
