# SPDX-License-Identifier: Apache-2.0
"""Points of trials against what was swept, and the shares of networks that failed.

Swept numbers run along x, with the metric as y. Categories are rows, the metric is x.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.offsetbox import AnchoredOffsetbox, HPacker, TextArea, VPacker

from nnlab.report.figures.drawing import scales
from nnlab.report.figures.drawing.chart import Name, Series, Share, kept
from nnlab.report.figures.drawing.labels import (
    End,
    apart,
    called,
    label_ends,
    legend_above,
)
from nnlab.report.figures.drawing.levels import Level, draw_level
from nnlab.report.figures.drawing.scales import Scale, name_axes, set_scale, view_of
from nnlab.report.figures.drawing.style import CATEGORIES, MUTED, Look, colors, rings
from nnlab.report.trials import Sweep
from nnlab.statistics.findings import Findings

FAILURES = {"diverged": "#b5381c", "at chance": "#6d7782", "not reached": "#6d7782"}


@dataclasses.dataclass(frozen=True)
class Against:
    """What is drawn against what was swept; a trial without a place lies across.

    Attributes:
      points: for each trial, a value for each network, (N,).
      centers: for each trial that has one: centre and interval, NaN for no interval.
      shares: for each kind of failure, each trial's share of networks, in [0, 1].
      core: values that must be in view; all where there is none.
      center: what the centres are.
      counts: networks that a centre is of; those that were trained to the end if none.
    """

    sweep: Sweep
    points: Mapping[int, np.ndarray]
    centers: Mapping[int, Level]
    shares: Mapping[str, Mapping[int, float]]
    core: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0))
    center: Literal["mean", "median"] = "mean"
    counts: Mapping[int, int] = dataclasses.field(default_factory=dict)

    @property
    def rows(self) -> bool:
        """Whether each trial is a row."""
        return self.sweep.scale == "categories"

    @property
    def placed(self) -> list[int]:
        """The trials that have a place."""
        return [t for t, v in enumerate(self.sweep.values) if math.isfinite(v)]

    @property
    def groups(self) -> list[str]:
        """The settings of what else was swept; each is a line."""
        return list(dict.fromkeys(self.sweep.groups[t] for t in self.placed))

    def draw(self, ax: Axes, findings: Findings, label: str, scale: Scale) -> None:
        """Draws points, centres with intervals, and a strip of the failing shares."""
        groups, best, tints = self.groups, findings.best, colors(findings)
        marks = rings(findings)
        failing = failing_among(self.shares, self.placed)
        centers = self.centers.values()
        every = scales.finite([*self.points.values(), *(c[:1] for c in centers)])
        core = self.core if self.core.size else every
        view = view_of(scale, core, scales.finite(c[1:] for c in centers))
        room = (0.14 if self.rows else 0.04 + 0.06 * len(groups)) if failing else 0.0
        reserve = room + 0.07 if room and not self.rows else room  # the strip's key
        set_scale(ax, "x" if self.rows else "y", scale, view, reserve)
        kept(ax).center = self.center
        kept(ax).title = "" if groups[1:] else self.sweep.title
        for number, (group, short) in enumerate(zip(groups, apart(groups, 44))):
            only = len(groups) == 1
            line = MUTED if only else CATEGORIES[number % len(CATEGORIES)]
            self._draw_line(ax, group, line, scale, short)
            for trial in (t for t in self.points if self.sweep.groups[t] == group):
                center = self.centers.get(trial, Level(math.nan, math.nan, math.nan))
                tint, place = tints[trial] if only else line, self.sweep.values[trial]
                joined = "" if self.rows else group or "all"
                at = Place(scale, place, self.rows, joined, line)
                name = called(findings, trial, None if only else group)
                name = name._replace(n=self.counts.get(trial, name.n))
                of = self.points[trial], center, tint, name
                draw_points(ax, at, *of, ring=marks.get(trial))
        if not core.size:
            text = "no network has a value"
            ax.text(0.5, 0.55, text, transform=ax.transAxes, ha="center")
        name_axes(ax, self.sweep, label)
        self._mark_outside(ax, scale, reserve)
        ends = []
        for trial in (t for t in self.centers if t not in self.placed):
            level, tint = self.centers[trial], tints[trial]
            draw_level(ax, level, tint, scale, called(findings, trial))
            remark = "(best)" if trial == best else ""
            text = self.sweep.texts[trial]
            ends.append(End(tint, ax.get_xlim()[1], level.mean, text, remark))
        label_ends(ax, ends)
        if len(groups) > 1:
            legend_above(ax)
        if failing:
            draw_strip(ax, self.sweep, groups, failing, room)

    def _mark_outside(self, ax: Axes, scale: Scale, foot: float) -> None:
        """Writes the centres that lie beyond the lower end of the axis."""
        low, _ = ax.get_xlim() if self.rows else ax.get_ylim()
        below = [t for t in self.placed if t in self.centers]
        below = [t for t in below if self.centers[t].mean < low]
        written: Counter[float] = Counter()
        for trial in below:
            place, arrow = self.sweep.values[trial], "←" if self.rows else "↓"
            at: Look = {"xy": (0.01, place), "xycoords": ax.get_yaxis_transform()}
            if not self.rows:
                at = {"xy": (place, foot), "xycoords": ax.get_xaxis_transform()}
            text = f"{arrow} {scale.text(float(f'{self.centers[trial].mean:.3g}'))}"
            # Right of the interval, whose upper end may be in view.
            up = 4 * (not self.rows), 2 + 9 * written[place]
            ax.annotate(text, xytext=up, textcoords="offset points", **at, fontsize=8)
            written[place] += 1

    def _draw_line(
        self, ax: Axes, group: str, color: str, scale: Scale, name: str
    ) -> None:
        """Joins the centres of a group; rows are not joined."""
        sweep = self.sweep
        members = [t for t in self.centers if sweep.groups[t] == group]
        members.sort(key=lambda t: sweep.values[t])
        if members and not self.rows:
            middle = [min(self.centers[t].mean, scale.ceiling) for t in members]
            at = [sweep.values[t] for t in members]
            ax.plot(at, middle, color=color, linewidth=1.2, label=name)


def failing_among(
    shares: Mapping[str, Mapping[int, float]], trials: Iterable[int]
) -> dict[str, Mapping[int, float]]:
    """Returns the kinds of failure that some of the trials have."""
    some = set(trials)
    return {k: v for k, v in shares.items() if any(v[t] for t in some & v.keys())}


def shares_lost(
    findings: Findings, trials: Iterable[int]
) -> dict[str, dict[int, float]]:
    """Returns each trial's shares of networks that diverged or ended at chance."""
    seeds = {t: findings.results.trials[t].num_seeds for t in trials}
    return {
        kind.replace("_", " "): {t: findings.counts(t)[kind] / seeds[t] for t in seeds}
        for kind in ("diverged", "at_chance")
    }


class Place(NamedTuple):
    """Where a trial's points are drawn.

    Attributes:
      scale: of the metric.
      along: its place along the sweep.
      rows: whether trials are rows.
      line, line_color: of the line that joins it with other points; "" for none.
    """

    scale: Scale
    along: float
    rows: bool = False
    line: str = ""
    line_color: str = ""


def draw_points(
    ax: Axes,
    at: Place,
    values: np.ndarray,
    level: Level,
    color: str,
    name: Name,
    *,
    ring: Look | None = None,
    marker: str = "o",
) -> None:
    """Draws one trial's networks, and their centre with its interval."""
    rows, place = at.rows, at.along
    series = Series(
        name,
        color,
        "point",
        place,
        *level,
        seeds=values[:, None],
        line=at.line,
        line_color=at.line_color,
        ring=ring["markeredgecolor"] if ring else "",
    )
    kept(ax).series.append(series)
    cloud = np.minimum(values, at.scale.ceiling)
    center, low, high = np.minimum(level, at.scale.ceiling)
    places = np.full(len(cloud), place)
    along, across = (cloud, places) if rows else (places, cloud)
    ax.scatter(along, across, s=9, color=color, alpha=0.35, linewidth=0, zorder=2.5)
    if np.isfinite(low):
        line = ax.hlines if rows else ax.vlines
        line(place, low, high, color=color, linewidth=2.2, alpha=0.8, zorder=3)
    if np.isfinite(center):
        x, y = (center, place) if rows else (place, center)
        ax.plot(x, y, marker=marker, markersize=5.5, color=color, zorder=4)
        if ring:
            ax.plot(x, y, **ring)


def draw_strip(
    ax: Axes,
    sweep: Sweep,
    groups: Sequence[str],
    shares: Mapping[str, Mapping[int, float]],
    room: float,
) -> None:
    """Draws bars of the failing shares: at the foot of the axes, or right of rows.

    Each group has its own row of the strip; a bar as high as the row is all networks.
    """
    rows = sweep.scale == "categories"
    box = (1 - room, 0.0, room, 1.0) if rows else (0.0, 0.0, 1.0, room)
    strip = ax.inset_axes(box, sharex=None if rows else ax, sharey=ax if rows else None)
    low, high = _edges(sweep)
    floors = {group: float(floor) for floor, group in enumerate(reversed(groups))}
    filled = [floors.get(group, 0.0) for group in sweep.groups]
    for kind, of_trials in shares.items():
        look: Look = {"align": "edge", "color": FAILURES[kind], "linewidth": 0}
        for trial, share in of_trials.items():
            if not share or not math.isfinite(sweep.values[trial]):
                continue
            width, height = high[trial] - low[trial], 0.9 * share
            bar = strip.barh if rows else strip.bar
            bar(low[trial], height, width, filled[trial], **look)
            filled[trial] += height
            row = sweep.groups[trial] if groups[1:] else ""
            at = sweep.values[trial]
            kept(ax).shares.append(Share(kind, FAILURES[kind], row, at, share))
    strip.set_facecolor("#f4f5f7")
    strip.spines[:].set_visible(False)
    strip.tick_params(length=0, labelsize=7, labelcolor=MUTED)
    strip.tick_params(axis="y" if rows else "x", labelleft=False, labelbottom=False)
    if rows:
        strip.set(xlim=(0, 1), xticks=[])
    else:
        middle = [len(groups) - 0.55 - n for n in range(len(groups))]
        strip.set(ylim=(0, len(groups)))
        strip.set_yticks(middle, apart(groups, 14))
        strip.yaxis.tick_right()
    texts = {} if rows else {"share of networks:": MUTED}
    texts |= {f"■ {kind}": FAILURES[kind] for kind in shares}
    notes: list[Artist] = [
        TextArea(text, textprops={"color": color, "fontsize": 7})
        for text, color in texts.items()
    ]
    child = (VPacker if rows else HPacker)(children=notes, sep=5 - 3 * rows)
    place: Look = {"bbox_transform": ax.transAxes, "borderpad": 0.2, "pad": 0}
    place["bbox_to_anchor"] = (1 - room, 1.0) if rows else (0.0, room)
    ax.add_artist(AnchoredOffsetbox("lower left", child=child, frameon=False, **place))


def _edges(sweep: Sweep) -> tuple[np.ndarray, np.ndarray]:
    """Returns where the trials' bars begin and end along the sweep, (T,) each."""
    at, places = np.array(sweep.values), np.array(sweep.places)
    several = len(places) > 1
    if sweep.scale == "log":
        ratio = np.min(places[1:] / places[:-1]) if several else 2.0
        ratio = min(ratio, (places[-1] / places[0]) ** 0.08) ** 0.35
        return at / ratio, at * ratio
    if sweep.scale == "categories":
        return at - 0.3, at + 0.3
    step = np.min(np.diff(places)) if several else 1.0
    step = 0.35 * min(step, 0.08 * (places[-1] - places[0]) or 1.0)
    return at - step, at + step
