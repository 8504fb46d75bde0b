# SPDX-License-Identifier: Apache-2.0
"""Scales, limits and ticks of axes, chosen by the data."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from nnlab.report.figures.drawing import chart
from nnlab.report.figures.drawing.labels import apart, note, plain, wrapped
from nnlab.report.figures.drawing.style import MUTED, dress
from nnlab.report.trials import Sweep
from nnlab.results import Results
from nnlab.words.settings import words

FAR = 0.25  # of the trials may lie outside of the axes if they are far from the others
ROOM = 1.8  # times, nearly twice: less is not worth a trial that is not seen
ROW_WRAP, ROW_LINES = 26, 3  # characters in a line of a row's label, and its lines
ROW_LINE = 0.15  # inches
Side = Literal["x", "y"]


class Scale(NamedTuple):
    """How a metric is laid along an axis.

    Attributes:
      name: "linear", "log" (of the value) or "error" (log of one minus the value).
      percent: whether values are shares.
      ceiling: the largest value drawn; an accuracy of 1 has no place on a log axis.
    """

    name: Literal["linear", "log", "error"]
    percent: bool
    ceiling: float

    def forward(self, value: Any) -> Any:
        """Returns the place of a value along a linear axis."""
        value = np.asarray(value, float)
        if self.name == "log":
            return np.log10(np.maximum(value, 1e-300))
        if self.name == "error":
            return -np.log10(np.maximum(1 - value, 1e-12))
        return value

    def inverse(self, place: Any) -> Any:
        """Returns the value at a place."""
        place = np.asarray(place, float)
        if self.name == "log":
            return 10.0**place
        return 1 - 10.0**-place if self.name == "error" else place

    def text(self, value: float) -> str:
        """Returns a tick's label."""
        if not self.percent:
            return f"{value:.6g}"
        # The highest place stands for everything above it, 100 % included.
        return f"{100 if value >= self.ceiling else 100 * value:.6g} %"


LOG = Scale("log", False, math.inf)


def scale_of(results: Results, metric: str, shown: np.ndarray) -> Scale:
    """Chooses the scale for finite values that will be drawn."""
    if metric.endswith("share"):
        return Scale("linear", True, math.inf)
    if metric.endswith("accuracy"):
        part = metric.split("_")[0]
        counts = [d.get(part, d["test"]) for d in results.config["datasets"].values()]
        # From 95 % to 99 % a linear axis shows nothing: use the error's logarithm.
        error = shown.size > 0 and shown.max() >= 0.9
        return Scale("error" if error else "linear", True, 1 - 0.5 / max(counts))
    wide = shown.size > 0 and shown.min() > 0 and shown.max() > 3 * shown.min()
    return LOG if wide else Scale("linear", False, math.inf)


def view_of(scale: Scale, core: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Returns all of `core`, and `ends` up to a quarter of its extent away.

    Otherwise the interval of three seeds, one of which failed, would leave no room.
    """
    if not core.size:
        return core
    core = np.minimum(core, scale.ceiling)
    low, high = scale.forward([core.min(), core.max()])
    reach = (high - low) / 4
    places = scale.forward(np.minimum(ends, scale.ceiling))
    near = scale.inverse(np.clip(places, low - reach, high + reach))
    view = np.append(core, near)
    return np.clip(view, 0, 1) if scale.percent else view


def near(scale: Scale, values: Sequence[np.ndarray], rising: bool = True) -> list[int]:
    """Returns the indices of the trials that an axis is to show.

    The worst are left out, as few as give the others `ROOM` times as much room, or none
    if it took more than `FAR` of them. `values` are each trial's, finite; `rising` says
    whether larger ones are better.
    """
    places = [scale.forward(v) if rising else -scale.forward(v) for v in values]
    worst = [float(place.min(initial=math.inf)) for place in places]
    best = max((float(place.max()) for place in places if place.size), default=0.0)
    ends = sorted(worst)[: int(FAR * len(worst)) + 1]
    whole = best - min(worst, default=best)
    kept = next((e for e in ends if whole >= ROOM * (best - e)), -math.inf)
    return [trial for trial, place in enumerate(worst) if place >= kept]


def set_metric_axis(
    ax: Axes,
    scale: Scale,
    metric: str,
    view: np.ndarray,
    chances: Iterable[float] = (),
) -> None:
    """Makes y the axis of a metric: its scale, limits, ticks and name.

    All of `view` is in view. `chances`, accuracies of constant answers, are lines
    unless they would squeeze the view.
    """
    if view.size:
        low, high = scale.forward([view.min(), view.max()])
        for chance in set(chances):
            if low - scale.forward(chance) < (high - low) / 2:
                draw_chance(ax, chance)
                note(ax, chance, "chance")
                view = np.append(view, chance)
    set_scale(ax, "y", scale, view)
    ax.set_ylabel(axis_words(metric, scale))


def set_scale(
    ax: Axes, which: Side, scale: Scale, view: np.ndarray, reserve: float = 0.0
) -> None:
    """Sets scale, limits and ticks of one axis so that finite `view` is in view.

    `reserve` is the share of the axis kept free, at the foot of y or at the end of x.
    """
    set_scale_of = ax.set_xscale if which == "x" else ax.set_yscale
    if scale.name == "log":
        set_scale_of("log")
    elif scale.name == "error":
        set_scale_of("function", functions=(scale.forward, scale.inverse))
    values = np.minimum(view, scale.ceiling) if view.size else np.array([0.0, 1.0])
    low, high = (float(v) for v in scale.forward([values.min(), values.max()]))
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
    ends = low - margin, high + margin
    chart.kept(ax).scales[which] = {
        "scale": scale.name,
        "ends": [float(end) for end in scale.inverse(ends)],
        "percent": scale.percent,
    } | ({"top": scale.ceiling} if math.isfinite(scale.ceiling) else {})
    free = (ends[1] - ends[0]) * reserve / (1 - reserve)
    limits = (ends[0] - free, ends[1]) if which == "y" else (ends[0], ends[1] + free)
    ax.set(**{f"{which}lim": tuple(float(e) for e in scale.inverse(limits))})
    axis = ax.xaxis if which == "x" else ax.yaxis
    gap = 0.2 if which == "x" else 0.1  # numbers are wider than they are high
    axis.set_major_locator(FixedLocator(ticks(scale, ends, gap)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: scale.text(value))


def ticks(scale: Scale, ends: tuple[float, float], gap: float = 0.1) -> list[float]:
    """Returns round values between the ends, at least that share of the axis apart.

    The roundest come first; finer ones are added until there are five.
    """
    low, high = ends
    groups: list[list[float]] = []
    decades = range(math.floor(low), math.ceil(high) + 1)
    if scale.name == "error":
        groups.append([scale.ceiling])
        multiples = ((1,), (5,), (2,), (3,), (1.5, 4, 7), (1.2, 2.5, 3.5, 6, 8, 9))
        for group in multiples:
            errors = [m * 10.0**-d for d in decades for m in group]
            groups.append([1 - e for e in errors if e <= 1])
    elif scale.name == "log":
        thin = max(1, len(decades) // 6)
        groups.append([10.0**d for d in decades if d % thin == 0])
        finer = (3, 5, 2, 1.5, 7, 4) if thin == 1 else ()
        groups += [[m * 10.0**d for d in decades] for m in finer]
    chosen: dict[float, float] = {}
    for value in (v for g in groups if len(chosen) < 5 for v in g):
        place = float(scale.forward(value))
        if low <= place <= high and all(
            abs(place - p) >= gap * (high - low) for p in chosen.values()
        ):
            chosen[value] = place
    if len(chosen) < 3:  # a linear axis, or a range too narrow to see its bend
        locator = MaxNLocator(6, steps=[1, 2, 2.5, 5, 10])
        start, end = (float(v) for v in scale.inverse(ends))
        return [v for v in locator.tick_values(start, end) if start <= v <= end]
    return sorted(chosen)


def set_sweep_axis(ax: Axes, sweep: Sweep) -> None:
    """Puts the swept values along x, with ticks at those that have room."""
    ax.set_xlabel(plain(sweep.name))
    values = sweep.places
    if sweep.scale == "log":
        ax.set_xscale("log")
        pad = (values[-1] / values[0]) ** 0.06
        ax.set_xlim(values[0] / pad, values[-1] * pad)
    else:
        pad = 0.06 * (values[-1] - values[0]) or 0.5
        ax.set_xlim(values[0] - pad, values[-1] + pad)
    ax.xaxis.set_minor_locator(NullLocator())
    places = np.log(values) if sweep.scale == "log" else np.asarray(values)
    texts = dict(zip(sweep.values, sweep.texts))
    chart.kept(ax).ticks = {value: texts[value] for value in values}
    width = 0.016 * max(map(len, texts.values())) * (places[-1] - places[0])
    kept = [0]
    for i in range(1, len(values)):
        if places[i] - places[kept[-1]] >= width:
            kept.append(i)
    shown = [values[i] for i in kept]
    ax.set_xticks(shown, apart([texts[value] for value in shown]))


def set_rows(
    ax: Axes, names: Sequence[str], title: str = "", width: int = ROW_WRAP
) -> None:
    """Makes a row for each name, from the top down, wrapped at `width` characters."""
    chart.kept(ax).rows, chart.kept(ax).ticks = True, dict(enumerate(names))
    ax.set_yticks(range(len(names)), row_texts(names, width))
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_ylabel(plain(title))


def row_texts(names: Sequence[str], width: int = ROW_WRAP) -> list[str]:
    """Returns the labels of rows."""
    return wrapped(names, width, ROW_LINES)


def name_axes(ax: Axes, sweep: Sweep, label: str) -> None:
    """Puts trials along x as numbers, or in rows; the other axis is called `label`."""
    if sweep.scale == "categories":
        names = dict(zip(sweep.values, sweep.texts))
        set_rows(ax, [names[place] for place in sweep.places], sweep.title)
        ax.set_xlabel(label)
        dress(ax, "x")
    else:
        set_sweep_axis(ax, sweep)
        ax.set_ylabel(label)
        dress(ax)


def draw_chance(ax: Axes, chance: float, along: Side = "y", label: str = "") -> None:
    """Draws a dotted line across the axes at the score of constant answers."""
    chart.kept(ax).chances.append(chance)
    line = ax.axvline if along == "x" else ax.axhline
    line(chance, color=MUTED, linestyle=":", linewidth=1, zorder=1, label=label)


def axis_words(metric: str, scale: Scale) -> str:
    """Returns a metric's name on an axis with that scale."""
    return words(metric) + (" (error on log scale)" if scale.name == "error" else "")


def finite(arrays: Iterable[npt.ArrayLike]) -> np.ndarray:
    """Returns all finite values, (N,)."""
    joined = np.concatenate([np.ravel(a) for a in arrays] or [np.empty(0)])
    return joined[np.isfinite(joined)]
