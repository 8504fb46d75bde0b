# SPDX-License-Identifier: Apache-2.0
"""Several runs on one Axes: curves of their best trials, final values of all trials."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from nnlab.report.figures.drawing import curves as lines
from nnlab.report.figures.drawing import labels, levels, scales, style
from nnlab.report.figures.drawing.levels import Level
from nnlab.statistics.findings import Findings
from nnlab.statistics.members import is_score


class Chosen(NamedTuple):
    """A run, under a name of its own, and its best trial."""

    name: str
    findings: Findings
    trial: int


def colors(count: int) -> list[str]:
    """Returns a colour for each run: distinct ones, or ordered ones for many runs."""
    few = count <= len(style.CATEGORIES)
    return [*style.CATEGORIES[:count]] if few else style.ordered_colors(count)


def best_curves(ax: Axes, runs: Sequence[Chosen], metric: str) -> None:
    """Draws each run's best trial as `curves.Curves` draws trials.

    Raises:
      ValueError: a run has no such metric.
    """
    curves: dict[int, lines.Drawn] = {}
    across: dict[int, Level] = {}
    for place, (_, findings, trial) in enumerate(runs):
        model = findings.results.trials[trial].hyperparameters.model
        if not model.is_network:
            if level := levels.level_of(findings, trial, metric):
                across[place] = level
        elif curve := lines.curve_of(findings, trial, metric):
            curves[place] = curve
    late = [curve.late for curve in curves.values()]
    core = scales.finite([*(c[:1] for c in late), *(lv[:1] for lv in across.values())])
    ends = scales.finite(c[1:] for c in late)
    scale = _scale_of(runs, metric, core)
    of_runs = (lines.chances_of(run.findings, [run.trial]) for run in runs)
    chances = set().union(*of_runs) if is_score(metric) else set()
    view = scales.view_of(scale, core, ends)
    scales.set_metric_axis(ax, scale, metric, view, chances)
    lines.set_time_scale(ax, curves.values(), "epochs")
    tints, few = colors(len(runs)), len(runs) <= 4
    called = (labels.called(run.findings, run.trial, run.name) for run in runs)
    names = [name._replace(full=name.group) for name in called]
    for place, curve in curves.items():
        lines.draw_curve(ax, curve, tints[place], scale, names[place], thin=few)
    for place, level in across.items():
        levels.draw_level(ax, level, tints[place], scale, names[place])
    style.dress(ax)
    labelled = []
    for place, run in enumerate(runs):
        end, stopped = (np.nan, ax.get_ylim()[0]), 0
        if place in across:
            end = ax.get_xlim()[1], across[place].mean
        elif place in curves:
            end, stopped = curves[place].end(end[1]), len(curves[place].stopped)
        fate = labels.fate_of(run.findings, run.trial, stopped)
        labelled.append(labels.End(tints[place], *end, run.name, fate))
    labels.label_ends(ax, labelled)


def all_finals(ax: Axes, runs: Sequence[Chosen], metric: str) -> None:
    """Draws the final mean of every trial, a row for each run.

    A ring marks the best trial by validation, with its 95 % interval.

    Raises:
      ValueError: a run has no such metric.
    """
    found = []
    for run in runs:
        every = range(len(run.findings.results.trials))
        found.append(levels.levels_of(run.findings, every, metric))
    best = [row[run.trial] for row, run in zip(found, runs)]
    core = scales.finite(level.mean for row in found for level in row.values())
    scale = _scale_of(runs, metric, core)
    view = scales.view_of(scale, core, scales.finite(level[1:] for level in best))
    scales.set_scale(ax, "x", scale, view)
    for place, (row, color) in enumerate(zip(found, colors(len(runs)))):
        means = np.minimum([level.mean for level in row.values()], scale.ceiling)
        y = np.full(len(means), float(place))
        ax.plot(means, y, "o", color=color, markersize=4, alpha=0.55, zorder=3)
        mean, low, high = np.minimum(best[place], scale.ceiling)
        ax.hlines(place, low, high, color=color, linewidth=1.4, zorder=3)
        ax.plot(mean, place, "o", color=color, markersize=5, zorder=4)
        ax.plot(mean, place, **style.RING)
    scales.set_rows(ax, [run.name for run in runs], width=labels.WRAP)
    style.dress(ax, grid="x")
    ax.set_xlabel(scales.axis_words(metric, scale))


def _scale_of(runs: Sequence[Chosen], metric: str, core: np.ndarray) -> scales.Scale:
    fitting = [scales.scale_of(run.findings.results, metric, core) for run in runs]
    return max(fitting, key=lambda scale: scale.ceiling)
