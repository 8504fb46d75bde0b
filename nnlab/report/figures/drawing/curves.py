# SPDX-License-Identifier: Apache-2.0
"""Learning curves: for each trial a line, its mean over the seeds, and their band."""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.ticker import MaxNLocator

from nnlab.report.figures.drawing import scales, style
from nnlab.report.figures.drawing.chart import Name, Series, kept
from nnlab.report.figures.drawing.labels import (
    End,
    apart,
    called,
    fate_of,
    label_ends,
    plain,
)
from nnlab.report.figures.drawing.levels import (
    Level,
    draw_level,
    levels_of,
    note_levels,
)
from nnlab.report.figures.drawing.scales import Scale, finite, near
from nnlab.report.scores import score_of
from nnlab.report.trials import baselines, sweep_of, trial_name
from nnlab.results import DIVERGED, DROPPED, STOPPED, UNFINISHED
from nnlab.statistics.findings import Findings
from nnlab.statistics.intervals import band
from nnlab.statistics.members import at_chance, carried_forward, is_score
from nnlab.study import POINTWISE

MOST_LABELS = 12  # above it, a colour bar
MOST_LOSS = 10.0  # times the loss at the start: what is above leaves the axes
FEW_SEEDS = 5  # up to here each seed has its thin line
FEW_LINES = 8  # likewise
EARLY = 0.25  # of training: until then curves may lie outside of the axes
FAR_APART = 5.0  # ends of training whose ratio is above it need a log axis


class Drawn(NamedTuple):
    """One trial's curve.

    Attributes:
      x: of each evaluation, (E,).
      values: (n, E), of the networks that the mean is over.
      mean, low, high: (E,); low and high are NaN below three values.
      lost: (n, E), of the diverged networks; NaN from where they diverged.
      stopped: for each stopped network, the index of its last evaluation.
      running: whether the values are of networks that were not trained to the end.
      bands: what its band is, one of `study.BANDS`.
    """

    x: np.ndarray
    values: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    lost: np.ndarray
    stopped: np.ndarray
    running: bool = False
    bands: str = POINTWISE

    @classmethod
    def of(cls, x: np.ndarray, values: np.ndarray, bands: str) -> "Drawn":
        """Makes the curve of values (n, E), none of which was lost or stopped.

        Its band is as `intervals.band` makes it.
        """
        found, none = band(values, bands), np.empty((0, len(x)))
        return cls(x, values, *found, none, np.empty(0, np.int64), bands=bands)

    @property
    def late(self) -> np.ndarray:
        """Mean, low and high once training is well on its way, (3, E'); all of few."""
        shown = np.array([self.mean, self.low, self.high])
        return shown[:, self.x >= EARLY * self.x[-1]] if self.x.size > 2 else shown

    def end(self, foot: float) -> tuple[float, float]:
        """Returns where its line ends; x is NaN and y is `foot` if it has no end."""
        place, *lost = (_last(self.x, v) for v in (self.mean, *self.lost))
        if np.isnan(place[0]):  # all have diverged: the one that lasted longest
            place = max((e for e in lost if not np.isnan(e[0])), default=(np.nan, foot))
        return place


Along = Literal["epoch", "step", "seconds"]
ALONG = {"epoch": "epochs", "step": "steps", "seconds": "seconds of training"}


def curve_of(
    findings: Findings, trial: int, metric: str, x: Along = "epoch"
) -> Drawn | None:
    """Returns a trial's curve over its finished and stopped networks.

    If there are none, it is over the unfinished or dropped ones. It is None where the
    trial did not run, or was not timed for an axis of seconds.
    """
    results = findings.results
    if not results.has_run(trial):
        return None
    curve = carried_forward(results, trial, metric)
    values = curve.values
    if not results.trials[trial].hyperparameters.model.is_network:
        # Each seed has its own number of trees, and keeps its last value.
        values = np.array([_filled(curve.steps, seed) for seed in values])
    along = {"epoch": curve.epochs, "step": curve.steps}
    if x == "seconds":
        seconds = findings.seconds_per_epoch(results.program(trial)["index"])
        if not seconds.size:
            return None
        along["seconds"] = curve.epochs * seconds.mean()
    status = results.member(trial, "status").astype(str)
    ended = findings.alive(trial)
    cut = np.isin(status, (UNFINISHED, DROPPED))
    running = not ended.any() and bool(cut.any())
    last = results.member(trial, "steps")[status == STOPPED]
    lost = np.where(np.isfinite(values), values, np.nan)[status == DIVERGED]
    shown = values[cut if running else ended]
    drawn = Drawn.of(np.asarray(along[x], float), shown, results.study.bands)
    stopped = np.searchsorted(curve.steps, last)
    return drawn._replace(lost=lost, stopped=stopped, running=running)


def _filled(steps: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Fills gaps in values (E,) by straight lines, and repeats the last value."""
    known = np.isfinite(values)
    return np.interp(steps, steps[known], values[known]) if known.any() else values


def _last(x: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Returns the last point whose value is finite; NaN for none."""
    known = np.flatnonzero(np.isfinite(values))
    at = known[-1:]
    return (float(x[at][0]), float(values[at][0])) if at.size else (np.nan, np.nan)


class Curves:
    """The curves of all trials; panels that show some of them share limits and colours.

    Lines are means over the networks that finished or stopped, with the study's kind of
    95 % band. Where a trial has none, the line is dashed and over those that are
    unfinished or were dropped. A tick marks where networks stopped early, taller where
    several did at once; from there on they count with their best. A cross marks where a
    network diverged, at its last finite value. Baselines beside networks have no
    epochs: their final value is a long-dashed line across the axes.
    """

    def __init__(
        self, findings: Findings, metric: str, x: Along = "epoch", dashed: str = ""
    ) -> None:
        """Collects the curves of a metric, and of a second one that is drawn `dashed`.

        With a second metric, trials without a network trained to its end have no curve.

        Raises:
          ValueError: no such metric.
        """
        self.findings, self.metric, self.x = findings, metric, x
        self.solid, self.dashed = (
            {
                trial: curve
                for trial in (findings.networks if name else ())
                if (curve := curve_of(findings, trial, name, x)) is not None
                and not (dashed and curve.running)
            }
            for name in (metric, dashed)
        )
        self.levels = levels_of(findings, baselines(findings.results), metric)

    def draw(self, ax: Axes, trials: Collection[int] | None = None) -> None:
        """Draws some trials, by index; all when None."""
        findings = self.findings
        every = [*self.solid.items(), *self.dashed.items()]
        scale = set_curves_axis(
            ax, findings, self.metric, every, self.levels, zoom=True
        )
        whole = {t: d for t, d in every if findings.dropped_after(t) is None}
        set_time_axis(ax, findings, whole or dict(every), self.x)
        among = range(len(findings.results.trials)) if trials is None else trials
        shown = {t: d for t, d in self.solid.items() if t in among}
        levels = {t: level for t, level in self.levels.items() if t in among}
        tints = style.colors(findings)
        if self.dashed:
            error = "\n(error on log scale)" if scale.name == "error" else ""
            score = score_of(findings.results).name
            ax.set_ylabel(f"{score}: test solid, training dashed{error}")
        names = {trial: called(findings, trial) for trial in among}
        for trial in shown if self.dashed else ():
            name = names[trial]._replace(full=f"{names[trial].full}, training")
            of = self.dashed[trial], tints[trial], scale, name
            draw_curve(ax, *of, "--", ends=False)
        thin = len(shown) <= FEW_LINES and not self.dashed
        for trial, curve in shown.items():
            draw_curve(ax, curve, tints[trial], scale, names[trial], thin=thin)
        for trial, level in levels.items():
            draw_level(ax, level, tints[trial], scale, names[trial])
        style.dress(ax)
        name_lines(ax, findings, shown, tints, levels)


def set_curves_axis(
    ax: Axes,
    findings: Findings,
    metric: str,
    curves: Sequence[tuple[int, Drawn]],
    levels: Mapping[int, Level],
    *,
    zoom: bool = False,
) -> Scale:
    """Sets limits and scale of y so that curves of one kind of metric are in view.

    With `zoom`, accuracies and losses are those of the later parts of the curves that
    learn: all begin at chance, and from there on no axis shows how their ends differ.
    """
    zoom = zoom and (is_score(metric) or metric.endswith("loss"))
    # The loss of a trial that learns nothing can be 1e9, and flatten the others.
    bounded = metric.endswith(("accuracy", "_share")) and not zoom
    learnt = [d for t, d in curves if not bounded and _learns(findings, t).any()]
    every = [d for _, d in curves]
    parts = [d.late if zoom else np.array(d[2:5]) for d in learnt or every]
    if zoom:
        scale = scales.scale_of(findings.results, metric, finite(p[:1] for p in parts))
        means = [finite(part[:1]) for part in parts]
        parts = [parts[n] for n in near(scale, means, is_score(metric))]
    choices = ([p[:1] for p in parts], [d.mean for d in every], [d.lost for d in every])
    core = next((c for c in map(finite, choices) if c.size), np.empty(0))
    core = np.append(core, [level.mean for level in levels.values()])
    scale = scales.scale_of(findings.results, metric, core)
    ends = finite([*(p[1:] for p in parts), *levels.values()])
    view = scales.view_of(scale, core, ends)
    if metric.endswith("loss") and view.size:
        # So would a loss that grows in a few seeds of a trial that learns in others.
        start = finite([d.mean[:1] for _, d in curves])
        view = np.minimum(view, MOST_LOSS * start.max(initial=view.min()))
    trials = {*levels, *(t for t, _ in curves)} if is_score(metric) else ()
    scales.set_metric_axis(ax, scale, metric, view, chances_of(findings, trials))
    return scale


def chances_of(findings: Findings, trials: Collection[int]) -> set[float]:
    """Returns the scores of constant answers on the trials' data."""
    return {float(findings.results.dataset(t)["chance"]) for t in trials}


def _learns(findings: Findings, trial: int) -> np.ndarray:
    """Returns which networks reached the end, above chance, (S,)."""
    return findings.alive(trial) & ~at_chance(findings.results, trial)


def learnt(findings: Findings, metric: str) -> dict[int, np.ndarray]:
    """Returns the final values of the networks that learn, by trial; none is empty."""
    finals = {t: findings.final(t, metric)[_learns(findings, t)] for t in findings.ran}
    finals = {trial: values[np.isfinite(values)] for trial, values in finals.items()}
    return {trial: values for trial, values in finals.items() if values.size}


def set_time_axis(
    ax: Axes, findings: Findings, curves: Mapping[int, Drawn], x: Along = "epoch"
) -> None:
    """Sets limits and ticks of x for curves by trial; those of trees count trees."""
    trials = (findings.results.trials[t] for t in curves)
    networks = {trial.hyperparameters.model.is_network for trial in trials}
    along = "trees" if networks == {False} and x != "seconds" else ALONG[x]
    set_time_scale(ax, curves.values(), along, whole=x != "seconds")


def set_time_scale(
    ax: Axes, curves: Collection[Drawn], along: str, whole: bool = True
) -> None:
    """Sets limits and ticks of x; logarithmic if the curves' ends are far apart.

    Ticks are whole numbers if `whole`.
    """
    ends = [float(curve.x[-1]) for curve in curves if curve.x.size]
    last = max(ends, default=0.0)
    if ends and FAR_APART * min(ends) < last and min(ends) > 0:
        view = finite(curve.x for curve in curves)
        scales.set_scale(ax, "x", scales.LOG, view[view > 0])
        ax.set_xlabel(f"{along}, log scale")
        return
    ax.set_xlim(0, last or 1.0)
    steps = [1, 2, 5, 10]
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=last >= 3 and whole, steps=steps))
    ax.set_xlabel(along)


def draw_curve(
    ax: Axes,
    curve: Drawn,
    color: str,
    scale: Scale,
    name: Name,
    line: str = "-",
    *,
    thin: bool = False,
    ends: bool = True,
) -> None:
    """Draws a trial's mean and band; the limits of `ax` must be set.

    If `thin`, few seeds have lines of their own. If `ends`, marks show where networks
    stopped and where they diverged.
    """
    thin = thin and 1 < len(curve.values) <= FEW_SEEDS
    line = "--" if curve.running else line
    series = Series(
        name._replace(n=len(curve.values)),
        color,
        "solid" if line == "-" else "dashed",
        *(curve.x, curve.mean, curve.low, curve.high),
        seeds=curve.values if thin else curve.values[:0],
        lost=curve.lost if ends else curve.lost[:0],
        stopped=curve.stopped if ends else (),
        band="" if curve.bands == POINTWISE else f"{curve.bands} band",
    )
    kept(ax).series.append(series)
    # Step 0 has no place on a log axis.
    x = np.where(curve.x > 0, curve.x, np.nan) if ax.get_xscale() == "log" else curve.x
    shown = (np.minimum(a, scale.ceiling) for a in (curve.mean, curve.low, curve.high))
    mean, low, high = shown
    if thin:
        for seed in np.minimum(curve.values, scale.ceiling):
            ax.plot(x, seed, color=color, linewidth=0.6, alpha=0.5)
    if x.size == 1 and np.isfinite(low).all():
        ax.vlines(x, low, high, color=color, linewidth=1.2, alpha=0.5)
    elif np.isfinite(low).any():
        ax.fill_between(x, low, high, color=color, alpha=0.14, linewidth=0)
    width = 1.2 if line == "--" and not curve.running else 1.7
    look: style.Look = {"linewidth": width, "linestyle": line, "zorder": 3}
    if x.size <= 2:
        bottom, top = ax.get_ylim()
        beyond = bool(((mean < bottom) | (mean > top)).any())
        look |= {"marker": "o", "markersize": 4, "clip_on": beyond}
    ax.plot(x, mean, color=color, **look)
    if ends:
        _draw_ends(ax, curve, x, mean, color)


def _draw_ends(
    ax: Axes, curve: Drawn, x: np.ndarray, mean: np.ndarray, color: str
) -> None:
    tick: style.Look = {"marker": "|", "markeredgewidth": 1.3, "zorder": 4}
    for at, count in Counter(curve.stopped.tolist()).items():
        size = 5.0 + 2.0 * min(count, 8)
        ax.plot(x[at], mean[at], **tick, markersize=size, color=style.darker(color))
    bottom, top = ax.get_ylim()
    cross: style.Look = {"marker": "x", "markersize": 6, "markeredgewidth": 1.4}
    for values in curve.lost:
        ax.plot(x, values, color=color, linewidth=0.6, alpha=0.5)
        place, value = _last(x, values)
        place = ax.get_xlim()[0] if np.isnan(place) else place
        value = bottom if np.isnan(value) else np.clip(value, bottom, top)
        ax.plot(place, value, color=color, clip_on=False, zorder=5, **cross)


def name_lines(
    ax: Axes,
    findings: Findings,
    drawn: Mapping[int, Drawn],
    tints: Sequence[str],
    across: Mapping[int, Level],
) -> None:
    """Names trials at the ends of their lines, or in a colour bar if there are many."""
    results = findings.results
    sweep = sweep_of(results)
    if len(drawn) + len(across) > MOST_LABELS:
        note_levels(ax, {trial_name(results, t): lv for t, lv in across.items()})
        _color_bar(ax, findings, tints)
        return
    grouped = any(sweep.groups[t] for t in findings.networks)
    one_panel = len({sweep.groups[t] for t in drawn}) == 1
    ends = []
    for trial, curve in drawn.items():
        given = results.study.sweep[trial].get("label")
        name = str(sweep.texts[trial] if grouped else given or sweep.texts[trial])
        name = name if one_panel else trial_name(results, trial)
        name = name if len(results.trials) > 1 else ""
        remark = fate_of(findings, trial, len(curve.stopped))
        ends.append(End(tints[trial], *curve.end(ax.get_ylim()[0]), name, remark))
    right = ax.get_xlim()[1]
    for trial, level in across.items():
        ends.append(End(tints[trial], right, level.mean, sweep.texts[trial]))
    named = any(item.get("label") for item in results.study.sweep)  # not by a number
    title = sweep.title if one_panel and (grouped or not named) else ""
    kept(ax).title = title
    label_ends(ax, ends, title)


def _color_bar(ax: Axes, findings: Findings, tints: Sequence[str]) -> None:
    sweep = sweep_of(findings.results)
    named = {sweep.values[t]: (tints[t], sweep.texts[t]) for t in findings.networks}
    shades, texts = zip(*(named[value] for value in sorted(named)))
    step = 1 if sweep.scale == "categories" else math.ceil(len(shades) / 10)
    norm = BoundaryNorm(np.arange(len(shades) + 1) - 0.5, len(shades))
    ticks = dict(zip(map(float, range(0, len(shades), step)), apart(texts[::step])))
    size = 6 if step == 1 and len(shades) > 16 else 8
    bar = norm, ListedColormap(list(shades))
    style.color_bar(ax, bar, ticks, plain(sweep.name), size)
