# SPDX-License-Identifier: Apache-2.0
"""Learning curves: a line for each trial, its mean over the seeds and their band.

Labels stand at the ends of the lines.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Literal, NamedTuple

import matplotlib
import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap

from nnlab.report.figures.drawing.labels import fate_of, label_ends, plain
from nnlab.report.figures.drawing.levels import (
    Level,
    draw_chance,
    draw_level,
    level_of,
    note_levels,
)
from nnlab.report.figures.drawing.scales import (
    Scale,
    axis_words,
    finite,
    scale_of,
    set_scale,
    view_of,
)
from nnlab.report.figures.drawing.style import colors, darker, dress, dress_bar
from nnlab.report.trials import baselines, sweep_of, trial_name
from nnlab.results import DIVERGED, DROPPED, STOPPED, UNFINISHED, Results
from nnlab.statistics.intervals import mean_interval
from nnlab.statistics.members import (
    alive,
    at_chance,
    carried_forward,
    dropped_after,
    networks,
    seconds_per_epoch,
)

MOST_LABELS = 12  # above it, a colour bar
MOST_LOSS = 10.0  # times the loss at the start: what is above leaves the axes
FEW_SEEDS = 5  # up to here each seed has its thin line
FAR_APART = 5.0  # ends of training whose ratio is above it need a log axis


class Drawn(NamedTuple):
    """One trial's curve.

    Attributes:
      x: place of each evaluation, (E,).
      values: (n, E), of the members that the mean is over.
      mean, low, high: (E,); low and high are NaN below three values.
      lost: (n, E), of the diverged members; NaN from where they diverged.
      stopped: for each member that stopped, the index of its last evaluation.
      running: whether the values are of members that were not trained to the end.
    """

    x: np.ndarray
    values: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    lost: np.ndarray
    stopped: np.ndarray
    running: bool


Along = Literal["epoch", "step", "examples", "seconds"]
ALONG: dict[Along, str] = {
    "epoch": "epochs",
    "step": "steps",
    "examples": "examples",
    "seconds": "seconds of training",
}


def curve_of(results: Results, trial: int, metric: str, x: Along) -> Drawn | None:
    """A trial's curve over its finished and stopped members.

    Where it has none, over those unfinished or dropped; None where it has not run, or
    was not timed for an axis of seconds.
    """
    if not results.has_run(trial):
        return None
    curve = carried_forward(results, trial, metric)
    if not results.trials[trial].hyperparameters.model.is_network:
        # Each seed has its own number of trees, and stays with those.
        values = [_filled(curve.steps, seed) for seed in curve.values]
        curve = dataclasses.replace(curve, values=np.array(values))
    along = {"epoch": curve.epochs, "step": curve.steps, "examples": curve.examples}
    if x == "seconds":
        program = results.program(trial)["index"]
        seconds = seconds_per_epoch(results, program)
        if not seconds.size:
            return None
        along["seconds"] = curve.epochs * seconds.mean()
    status = results.member(trial, "status")
    ended = alive(results, trial)
    cut = np.isin(status.astype(str), (UNFINISHED, DROPPED))
    running = not ended.any() and bool(cut.any())
    kept = curve.values[cut if running else ended]
    lost = np.where(np.isfinite(curve.values), curve.values, np.nan)
    lost = lost[status == DIVERGED]
    mean, low, high = mean_interval(kept)
    last = results.member(trial, "steps")[status == STOPPED]
    stopped = np.searchsorted(curve.steps, last)
    places = np.asarray(along[x], float)
    return Drawn(places, kept, mean, low, high, lost, stopped, running)


def _filled(steps: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values (E,) on straight lines where there are none, and beyond the last, it."""
    known = np.isfinite(values)
    return np.interp(steps, steps[known], values[known]) if known.any() else values


def learning_curves(
    ax: Axes,
    results: Results,
    metric: str,
    *,
    x: Along = "epoch",
    trials: Collection[int] | None = None,
) -> Axes:
    """Draws each trial's mean over its seeds, with the 95 % Student-t band.

    The mean is over the members that finished or stopped; over those that are
    unfinished or were dropped, dashed, where a trial has no others. No band below three
    seeds; a thin line for each seed where there are at most five; a tick where members
    stopped early, taller where several did at once, from where on they count with their
    best; a cross where a member diverged, at its last finite value (at the foot of the
    axes if it had none).
    Labels stand at the ends of the lines up to twelve trials, then a colour bar takes
    over. The x axis is logarithmic where some trials end far before others. Baselines
    beside networks have no epochs: they lie across the axes in long dashes, at their
    final value.

    Args:
      ax: where to draw.
      results: what the study found.
      metric: a column of the curves.
      x: what runs along the x axis. "seconds" is a network's share of the time that its
        program trained: epochs times the mean of `members.seconds_per_epoch`.
      trials: indices of the trials to draw; all when None. Colours and limits do not
        depend on it, so that panels compare.

    Returns:
      `ax`.

    Raises:
      ValueError: no such metric.
    """
    scale = _draw_curves(ax, results, (metric,), x, trials)
    ax.set_ylabel(axis_words(metric, scale))
    return ax


def gap_curves(
    ax: Axes, results: Results, *, trials: Collection[int] | None = None
) -> Axes:
    """Draws each trial's test accuracy, solid, and its training accuracy, dashed.

    As `learning_curves`, over the members that finished or stopped; a trial that has
    none is left out. Of baselines only the test accuracy is drawn.

    Args:
      ax: where to draw.
      results: what the study found.
      trials: indices of the trials to draw; all when None.

    Returns:
      `ax`.
    """
    scale = _draw_curves(
        ax, results, ("test_accuracy", "train_accuracy"), "epoch", trials
    )
    note = "accuracy: test solid, training dashed"
    ax.set_ylabel(note + ("\n(error on log scale)" if scale.name == "error" else ""))
    return ax


def _draw_curves(
    ax: Axes,
    results: Results,
    metrics: Sequence[str],
    x: Along,
    trials: Collection[int] | None,
) -> Scale:
    """Draws the first metric with all its marks, a second one dashed below it."""
    found = {
        (t, m): curve_of(results, t, m, x) for m in metrics for t in networks(results)
    }
    ran = {key: d for key, d in found.items() if d is not None}
    if len(metrics) > 1:
        ran = {key: d for key, d in ran.items() if not d.running}
    levels = {t: level_of(results, t, metrics[0]) for t in baselines(results)}
    across = {t: level for t, level in levels.items() if level is not None}
    shown = {t for t in range(len(results.trials)) if trials is None or t in trials}
    drawn = {t: d for (t, m), d in ran.items() if m == metrics[0] and t in shown}
    tints = colors(results)
    scale = set_metric_axis(ax, results, metrics[0], ran, across)
    places = {t: d.x for (t, _), d in ran.items()}
    whole = {t: p for t, p in places.items() if dropped_after(results, t) is None}
    set_time_axis(ax, results, x, whole or places)
    for metric in reversed(metrics):
        main = metric == metrics[0]
        for trial in drawn:
            curve = ran[trial, metric]
            thin = main and len(drawn) <= 8 and len(metrics) == 1
            line = "--" if curve.running or not main else "-"
            draw_curve(ax, curve, tints[trial], scale, thin, line)
            if main:
                draw_ends(ax, curve, tints[trial], scale)
    across = {t: level for t, level in across.items() if t in shown}
    for trial, level in across.items():
        draw_level(ax, level, tints[trial], scale)
    dress(ax)
    name_lines(ax, results, drawn, across, tints)
    return scale


def set_metric_axis(
    ax: Axes,
    results: Results,
    metric: str,
    curves: Mapping[tuple[int, str], Drawn],
    levels: Mapping[int, Level],
) -> Scale:
    """Sets limits and scale of y so that curves of one kind of metric are in view.

    Args:
      ax: where to draw; gets the level of chance where accuracies are near it.
      results: what the study found.
      metric: one of the kind.
      curves: by trial and metric.
      levels: of baselines, by trial.

    Returns:
      The scale.
    """
    # The loss of a trial that learnt nothing can be 1e9: it would flatten the others.
    learnt = [d.mean for (t, _), d in curves.items() if _learns(results, t)]
    bounded = metric.endswith(("accuracy", "_share"))
    core = finite([] if bounded else learnt)
    core = core if core.size else finite(d.mean for d in curves.values())
    core = core if core.size else finite(d.lost for d in curves.values())
    core = np.append(core, [level.mean for level in levels.values()])
    scale = scale_of(results, metric, core)
    ends = finite(a for d in curves.values() for a in (d.low, d.high))
    ends = np.append(ends, finite(np.array(level) for level in levels.values()))
    view = view_of(scale, core, ends)
    if metric.endswith("loss") and view.size:
        # So would one that grew in a few seeds of a trial that learns in others.
        start = finite(d.mean[:1] for d in curves.values())
        view = np.minimum(view, MOST_LOSS * start.max(initial=view.min()))
    if metric.endswith("accuracy") and view.size:
        trials = {*levels, *(t for t, _ in curves)}
        view = draw_chance(ax, results, scale, view, trials)
    set_scale(ax, "y", scale, view)
    return scale


def _learns(results: Results, trial: int) -> bool:
    return bool((alive(results, trial) & ~at_chance(results, trial)).any())


def set_time_axis(
    ax: Axes, results: Results, x: Along, places: Mapping[int, np.ndarray]
) -> None:
    """Limits and ticks for trials' curves; logarithmic if their ends are far apart.

    Args:
      ax: where to draw.
      results: what the study found.
      x: what runs along the axis; curves of trees alone run along their number.
      places: of the evaluations, (E,), by trial.
    """
    models = [results.trials[t].hyperparameters.model for t in places]
    trees = bool(models) and not any(m.is_network for m in models)
    along = "trees" if trees and x != "seconds" else ALONG[x]
    set_time_scale(ax, list(places.values()), along, whole=x != "seconds")


def set_time_scale(
    ax: Axes, places: Sequence[np.ndarray], along: str, whole: bool = True
) -> None:
    """Likewise for curves of any origin.

    Args:
      ax: where to draw.
      places: of the evaluations of each curve, (E,).
      along: what runs along the axis.
      whole: whether it is counted in whole numbers.
    """
    ends = [float(p[-1]) for p in places if p.size]
    last = max(ends, default=0.0)
    if ends and FAR_APART * min(ends) < last and min(ends) > 0:
        view = finite(places)
        set_scale(ax, "x", Scale("log", False, math.inf), view[view > 0])
        ax.set_xlabel(f"{along}, log scale")
        return
    ax.set_xlim(0, last or 1.0)
    ax.xaxis.set_major_locator(
        matplotlib.ticker.MaxNLocator(
            6, integer=last >= 3 and whole, steps=[1, 2, 5, 10]
        )
    )
    ax.set_xlabel(along)


def draw_curve(
    ax: Axes, curve: Drawn, color: str, scale: Scale, thin: bool, line: str
) -> None:
    """Draws mean, band and, if few, the single seeds of one trial."""
    mean, low, high = (
        np.minimum(a, scale.ceiling) for a in (curve.mean, curve.low, curve.high)
    )
    x = _places(ax, curve)
    if thin and 1 < len(curve.values) <= FEW_SEEDS:
        for seed in np.minimum(curve.values, scale.ceiling):
            ax.plot(x, seed, color=color, linewidth=0.6, alpha=0.5)
    if x.size == 1 and np.isfinite(low).all():
        ax.vlines(x, low, high, color=color, linewidth=1.2, alpha=0.5)
    elif np.isfinite(low).any():
        ax.fill_between(x, low, high, color=color, alpha=0.14, linewidth=0)
    ax.plot(
        x,
        mean,
        color=color,
        linewidth=1.7 if line == "-" or curve.running else 1.2,
        linestyle=line,
        marker="o" if x.size <= 2 else "",
        markersize=4,
        clip_on=x.size > 2,
        zorder=3,
    )


def _places(ax: Axes, curve: Drawn) -> np.ndarray:
    """The curve's x, without the start of training where the axis cannot show it."""
    return np.where(curve.x > 0, curve.x, np.nan) if _is_log(ax) else curve.x


def _is_log(ax: Axes) -> bool:
    return ax.get_xscale() == "log"


def draw_ends(ax: Axes, curve: Drawn, color: str, scale: Scale) -> None:
    """Ticks on the mean where members stopped, crosses where they diverged."""
    x = _places(ax, curve)
    for at, count in Counter(curve.stopped.tolist()).items():
        ax.plot(
            x[at],
            min(float(curve.mean[at]), scale.ceiling),
            marker="|",
            markersize=5.0 + 2.0 * min(count, 8),
            markeredgewidth=1.3,
            color=darker(color),
            zorder=4,
        )
    bottom, top = ax.get_ylim()
    for values in curve.lost:
        ax.plot(x, values, color=color, linewidth=0.6, alpha=0.5)
        place, value = _last(x, values)
        ax.plot(
            ax.get_xlim()[0] if np.isnan(place) else place,
            bottom if np.isnan(value) else np.clip(value, bottom, top),
            marker="x",
            markersize=6,
            markeredgewidth=1.4,
            color=color,
            clip_on=False,
            zorder=5,
        )


def _last(x: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """The last finite point of a curve, NaN if there is none."""
    finite = np.flatnonzero(np.isfinite(values))
    if not finite.size:
        return np.nan, np.nan
    return float(x[finite[-1]]), float(values[finite[-1]])


def name_lines(
    ax: Axes,
    results: Results,
    drawn: Mapping[int, Drawn],
    across: Mapping[int, Level],
    tints: Sequence[str],
) -> None:
    """Labels at the ends of the lines, or a colour bar where there are too many."""
    if len(drawn) + len(across) <= MOST_LABELS:
        _label_trials(ax, results, drawn, across, tints)
        return
    note_levels(ax, {trial_name(results, t): level for t, level in across.items()})
    _color_bar(ax, results, tints)


def _label_trials(
    ax: Axes,
    results: Results,
    drawn: Mapping[int, Drawn],
    across: Mapping[int, Level],
    tints: Sequence[str],
) -> None:
    """Writes each trial's name at the end of its line, and how its members ended."""
    sweep = sweep_of(results)
    grouped = any(sweep.groups[t] for t in networks(results))
    one_panel = len({sweep.groups[t] for t in drawn}) == 1
    names: list[tuple[str, str]] = []
    ends: list[tuple[str, float, float]] = []
    for trial, curve in drawn.items():
        at = _last(curve.x, curve.mean)
        if np.isnan(at[0]):  # all have diverged: the one that lasted longest
            at = max(
                (_last(curve.x, v) for v in curve.lost if np.isfinite(v).any()),
                default=at,
            )
        if np.isnan(at[1]):
            at = np.nan, ax.get_ylim()[0]
        given = results.study.sweep[trial].get("label")
        name = str(sweep.texts[trial] if grouped else given or sweep.texts[trial])
        name = name if one_panel else trial_name(results, trial)
        name = name if len(results.trials) > 1 else ""
        names.append((name, fate_of(results, trial, len(curve.stopped))))
        ends.append((tints[trial], *at))
    for trial, level in across.items():
        names.append((sweep.texts[trial], ""))
        ends.append((tints[trial], ax.get_xlim()[1], level.mean))
    label_ends(ax, names, ends, sweep.name if one_panel else "")


def _color_bar(ax: Axes, results: Results, tints: Sequence[str]) -> None:
    """A bar of the trials' colours in order, with the swept values as its ticks."""
    sweep = sweep_of(results)
    by_value = {sweep.values[t]: (tints[t], sweep.texts[t]) for t in networks(results)}
    by_value = dict(sorted(by_value.items()))
    shades, texts = zip(*by_value.values())
    mapped = ScalarMappable(
        BoundaryNorm(np.arange(len(shades) + 1) - 0.5, len(shades)),
        ListedColormap(list(shades)),
    )
    step = 1 if sweep.scale == "categories" else math.ceil(len(shades) / 10)
    ticks = range(0, len(shades), step)
    bar = ax.figure.colorbar(mapped, ax=ax, ticks=list(ticks), aspect=30, pad=0.02)
    bar.ax.set_yticklabels([plain(texts[t]) for t in ticks])
    dress_bar(bar, plain(sweep.name), 6 if step == 1 and len(shades) > 16 else 8)
