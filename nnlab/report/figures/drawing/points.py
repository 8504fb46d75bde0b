# SPDX-License-Identifier: Apache-2.0
"""A point for each trial against what was swept: final metrics, epochs to a target."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.offsetbox import AnchoredOffsetbox, HPacker, TextArea, VPacker

from nnlab.report.figures.drawing.curves import curve_of
from nnlab.report.figures.drawing.labels import label_ends, legend_above, plain
from nnlab.report.figures.drawing.levels import Level, draw_level
from nnlab.report.figures.drawing.scales import (
    Scale,
    axis_words,
    finite,
    scale_of,
    set_rows,
    set_scale,
    set_sweep_axis,
    view_of,
)
from nnlab.report.figures.drawing.style import CATEGORIES, INK, MUTED, colors, dress
from nnlab.report.trials import Sweep, sweep_of
from nnlab.results import Results
from nnlab.statistics import targets
from nnlab.statistics.intervals import mean_interval
from nnlab.statistics.members import networks, reduce_members, status_counts
from nnlab.statistics.ranking import best_trial
from nnlab.study import Quantity

FAILURES = {"diverged": "#b5381c", "at chance": "#6d7782", "not reached": "#6d7782"}


def final_metric(ax: Axes, results: Results, metric: str) -> Axes:
    """Draws the metric at the end of training against the swept value.

    Mean and 95 % Student-t interval over the members that finished or stopped (no
    interval below three), a dot for each of them, a ring around the best trial by
    validation, and a strip with the shares of members that diverged or ended at chance,
    where there are any. Categories are rows; other settings are lines of their own.
    Baselines beside a numeric sweep lie across the axes in long dashes.

    Args:
      ax: where to draw.
      results: what the study found.
      metric: a column of the curves.

    Returns:
      `ax`; the strip is one of its child axes.

    Raises:
      ValueError: no such metric.
    """
    points: dict[int, np.ndarray] = {}
    shares: dict[str, dict[int, float]] = {"diverged": {}, "at chance": {}}
    for trial in range(len(results.trials)):
        curve = curve_of(results, trial, metric, "epoch")
        if curve is None:
            continue
        counts = status_counts(results, trial)
        total = results.trials[trial].num_seeds
        shares["diverged"][trial] = counts["diverged"] / total
        shares["at chance"][trial] = counts["at_chance"] / total
        if curve.x.size and not curve.running:
            final = Quantity(metric=metric, reduction="final")
            values = reduce_members(results, final, trial)
            points[trial] = values[~np.isnan(values)]
    every = finite(points.values())
    scale = scale_of(results, metric, every)
    centers = {t: mean_interval(p) for t, p in points.items() if p.size}
    label = axis_words(metric, scale)
    sweep = sweep_of(results)
    _draw_along(ax, results, sweep, label, scale, points, centers, shares)
    if metric.endswith("accuracy") and every.size:
        rows = sweep.scale == "categories"
        low, high = ax.get_xlim() if rows else ax.get_ylim()
        for chance in {float(results.dataset(t)["chance"]) for t in points}:
            if low <= chance <= high:
                line = ax.axvline if rows else ax.axhline
                line(chance, color=MUTED, linestyle=":", linewidth=1, zorder=1)
    return ax


def steps_to_target(ax: Axes, results: Results, target: float) -> Axes:
    """Draws the epochs until a validation accuracy is reached, and who does not get it.

    The median counts the members that never reach the target as later than all others,
    so a trial in which most never do has none; a dot for each seed that reaches it.
    Baselines have no epochs and are left out.

    Args:
      ax: where to draw.
      results: what the study found.
      target: validation accuracy, in (0, 1).

    Returns:
      `ax`; the strip with the share that does not reach it is one of its child axes.
    """
    quantity = Quantity(
        metric="validation_accuracy", reduction="steps_to", target=target
    )
    points, centers = {}, {}
    missed: dict[int, float] = {}
    for trial in networks(results):
        if not results.has_run(trial):
            continue
        time = targets.steps_to_target(results, trial, target)
        steps = reduce_members(results, quantity, trial)
        per_epoch = results.program(trial)["steps_per_epoch"]
        points[trial] = steps[np.isfinite(steps)] / per_epoch
        missed[trial] = 1 - time.reached_share if time.n else 0.0
        if np.isfinite(time.median_epochs):
            centers[trial] = (time.median_epochs, np.nan, np.nan)
    every = finite(points.values())
    scale = scale_of(results, "epochs", every)
    label = f"epochs to {100 * target:g} % validation accuracy"
    shares = {"not reached": missed}
    sweep = _without_baselines(results, sweep_of(results))
    _draw_along(ax, results, sweep, label, scale, points, centers, shares)
    return ax


def _without_baselines(results: Results, sweep: Sweep) -> Sweep:
    """The sweep in which baselines have no place, not even a row."""
    values = [math.inf] * len(sweep.values)
    for place, trial in enumerate(networks(results)):
        rows = sweep.scale == "categories"
        values[trial] = float(place) if rows else sweep.values[trial]
    return dataclasses.replace(sweep, values=tuple(values))


def _draw_along(
    ax: Axes,
    results: Results,
    sweep: Sweep,
    label: str,
    scale: Scale,
    points: Mapping[int, np.ndarray],
    centers: Mapping[int, tuple[Any, Any, Any]],
    shares: Mapping[str, Mapping[int, float]],
) -> None:
    """Draws points, centres with intervals, and a strip of shares along the sweep.

    Args:
      ax: where to draw.
      results: what the study found.
      sweep: where each trial lies; one that has no place lies across the axes.
      label: of the metric's axis.
      scale: of the metric.
      points: for each trial, a value for each member, (N,).
      centers: for each trial that has one: centre, low, high; NaN for no interval.
      shares: for each kind of failure, each trial's share of members, in [0, 1].
    """
    rows = sweep.scale == "categories"
    tints = colors(results)
    placed = [t for t, value in enumerate(sweep.values) if math.isfinite(value)]
    names = list(dict.fromkeys(sweep.groups[t] for t in placed))
    failing = {k: v for k, v in shares.items() if any(v.get(t) for t in placed)}
    core = finite([*points.values(), *(np.array(c[:1]) for c in centers.values())])
    view = view_of(scale, core, finite(np.array(c[1:]) for c in centers.values()))
    room = (0.14 if rows else 0.04 + 0.06 * len(names)) if failing else 0.0
    reserve = room + 0.07 if room and not rows else room  # with the strip's key
    set_scale(ax, "x" if rows else "y", scale, view, reserve)
    best = best_trial(results)
    for number, group in enumerate(names):
        members = [t for t in centers if sweep.groups[t] == group]
        members.sort(key=lambda t: sweep.values[t])
        line = MUTED if len(names) == 1 else CATEGORIES[number % len(CATEGORIES)]
        if members and not rows:
            middle = [min(float(centers[t][0]), scale.ceiling) for t in members]
            at = [sweep.values[t] for t in members]
            ax.plot(at, middle, color=line, linewidth=1.2, zorder=2, label=plain(group))
        for trial in (t for t in points if sweep.groups[t] == group):
            tint = tints[trial] if len(names) == 1 else line
            values = np.append(points[trial], centers.get(trial, (np.nan,) * 3))
            values = np.minimum(values, scale.ceiling)
            draw_points(ax, sweep.values[trial], values, tint, rows, trial == best)
    if not core.size:
        ax.text(0.5, 0.55, "no member has a value", transform=ax.transAxes, ha="center")
    if rows:
        set_rows(ax, sweep)
        ax.set_xlabel(label)
    else:
        set_sweep_axis(ax, sweep)
        ax.set_ylabel(label)
    levels = {t: Level(*map(float, c)) for t, c in centers.items() if t not in placed}
    for trial, level in levels.items():
        draw_level(ax, level, tints[trial], scale)
    label_ends(
        ax,
        [(sweep.texts[t], "(best)" if t == best else "") for t in levels],
        [(tints[t], ax.get_xlim()[1], level.mean) for t, level in levels.items()],
        "",
    )
    dress(ax, "x" if rows else "y")
    if len(names) > 1:
        legend_above(ax)
    if failing:
        draw_strip(ax, sweep, names, failing, room)


def draw_points(
    ax: Axes,
    place: float,
    values: np.ndarray,
    color: str,
    rows: bool,
    best: bool,
    marker: str = "o",
) -> None:
    """One trial's members, and as the last three values its centre and interval."""
    *cloud, center, low, high = values
    places = np.full(len(cloud), place)
    along, across = (cloud, places) if rows else (places, cloud)
    ax.scatter(along, across, s=9, color=color, alpha=0.35, linewidth=0, zorder=2.5)
    if np.isfinite(low):
        line = ax.hlines if rows else ax.vlines
        line(place, low, high, color=color, linewidth=2.2, alpha=0.8, zorder=3)
    if np.isfinite(center):
        x, y = (center, place) if rows else (place, center)
        ax.plot(x, y, marker=marker, markersize=5.5, color=color, zorder=4)
        if best:
            ring = {"markerfacecolor": "none", "markeredgecolor": INK, "markersize": 11}
            ax.plot(x, y, marker="o", zorder=4, **cast(Any, ring))


def draw_strip(
    ax: Axes,
    sweep: Sweep,
    groups: Sequence[str],
    shares: Mapping[str, Mapping[int, float]],
    room: float,
) -> None:
    """Bars of the failing shares: at the foot of the axes, or right of rows.

    Each group has its own row of the strip; a bar as high as the row is all members.
    """
    rows = sweep.scale == "categories"
    box = (1 - room, 0.0, room, 1.0) if rows else (0.0, 0.0, 1.0, room)
    strip = ax.inset_axes(box, sharex=None if rows else ax, sharey=ax if rows else None)
    values = np.array(sweep.places)
    if sweep.scale == "log":
        ratio = np.min(values[1:] / values[:-1]) if len(values) > 1 else 2.0
        ratio = min(ratio, (values[-1] / values[0]) ** 0.08) ** 0.35
    else:
        step = np.min(np.diff(values)) if len(values) > 1 else 1.0
        step = 0.35 * min(step, 0.08 * (values[-1] - values[0]) or 1.0)
        step = 0.3 if rows else step
    for number, group in enumerate(groups):
        base = float(len(groups) - 1 - number)
        filled = dict.fromkeys(range(len(sweep.values)), base)
        for kind, of_trials in shares.items():
            for trial, share in of_trials.items():
                if sweep.groups[trial] != group or not share:
                    continue
                value = sweep.values[trial]
                left, right = (
                    (value / ratio, value * ratio)
                    if sweep.scale == "log"
                    else (value - step, value + step)
                )
                edges = [left, right, right, left]
                start, end = filled[trial], filled[trial] + 0.9 * share
                across = [start, start, end, end]
                pair = (across, edges) if rows else (edges, across)
                strip.fill(*pair, color=FAILURES[kind], linewidth=0)
                filled[trial] = end
    strip.set_facecolor("#f4f5f7")
    strip.spines[:].set_visible(False)
    strip.tick_params(length=0, labelsize=7, labelcolor=MUTED)
    strip.tick_params(axis="y" if rows else "x", labelleft=False, labelbottom=False)
    if rows:
        strip.set(xlim=(0, 1), xticks=[])
    else:
        middle = [len(groups) - 0.55 - n for n in range(len(groups))]
        strip.set(ylim=(0, len(groups)))
        strip.set_yticks(middle, [plain(g, 14) for g in groups])
        strip.yaxis.tick_right()
    texts = [(f"■ {kind}", FAILURES[kind]) for kind in shares]
    if not rows:
        texts.insert(0, ("share of members:", MUTED))
    notes: list[Artist] = [
        TextArea(text, textprops={"color": color, "fontsize": 7})
        for text, color in texts
    ]
    ax.add_artist(
        AnchoredOffsetbox(
            "lower left",
            child=(VPacker if rows else HPacker)(children=notes, sep=5 - 3 * rows),
            bbox_to_anchor=(1 - room, 1.0) if rows else (0.0, room),
            bbox_transform=ax.transAxes,
            frameon=False,
            borderpad=0.2,
            pad=0,
        )
    )
