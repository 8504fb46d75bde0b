# SPDX-License-Identifier: Apache-2.0
"""Figures as data: what a page's script draws again, as its reader wants to see it.

Functions that draw on an Axes keep beside it what they drew: `kept`. `data_of` makes
JSON of it, which `templates/chart.js` reads.
"""

import dataclasses
import json
import math
import re
import weakref
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nnlab.report.figures.drawing.style import INK
from nnlab.words import numbers

MOST_POINTS = 200  # of a curve: a screen does not show more
MOST_OF_ALL = 8_000  # points of a figure of many curves: some 200 kB
FEWEST = 20  # of each of them
DIGITS = 5  # of means: one more than a reader is shown
EXACT = 9  # digits of places: parameters and steps are numbers as large
FINE = 0.99  # from here on shares have a fifth decimal
SCALE_WORDS = re.compile(r",? \(?(error on )?log scale\)?|\n.*", re.S)
NUMBER = re.compile(r"-?\d+(\.\d*)?(e[-+]?\d+)?")
COLOR_BAR = "<colorbar>"  # matplotlib's label of such Axes


class Name(NamedTuple):
    """How a trial is called.

    Attributes:
      full: wherever it stands alone.
      group: in the list by which a reader shows and hides it.
      fate: what became of its networks; "" where all finished.
      n: networks that its mean is over.
    """

    full: str
    group: str
    fate: str = ""
    n: int = 0


@dataclasses.dataclass(frozen=True)
class Series:
    """What was drawn of a trial: a curve, a point, or a line across the axes.

    Attributes:
      look: "across" has a mean at no place.
      x: where it lies along the sweep or along training, (E,).
      mean, low, high: (E,); NaN where there is none.
      seeds: thin lines of single networks, (N, E), or small points, (N, 1).
      lost: thin lines that end in a cross, (N, E).
      stopped: index of each evaluation at which a network stopped.
      line, line_color: of the line that joins it with other points; "" for none.
      ring: colour of the ring around a point.
      band: what low and high are, if no interval of each value by itself.
    """

    name: Name
    color: str
    look: Literal["solid", "dashed", "point", "across"]
    x: npt.ArrayLike
    mean: npt.ArrayLike
    low: npt.ArrayLike
    high: npt.ArrayLike
    seeds: np.ndarray = dataclasses.field(default_factory=lambda: np.empty((0, 0)))
    lost: np.ndarray = dataclasses.field(default_factory=lambda: np.empty((0, 0)))
    stopped: Iterable[int] = ()
    line: str = ""
    line_color: str = ""
    ring: str = ""
    band: str = ""


class Share(NamedTuple):
    """The share of a trial's networks that failed in one way, with its place."""

    kind: str
    color: str
    row: str
    place: float
    share: float


@dataclasses.dataclass
class Kept:
    """What was drawn on an Axes.

    Attributes:
      scales: of its axes, where they are no plain numbers: ``{side: attributes}``.
      ticks: the places and names of what was swept.
      rows: whether these are rows, with the metric along x.
      training: whether x of curves is training, which begins at 0 and at chance.
      chances: accuracies of constant answers.
      cells: where the series stand, if they are cells of a map: it stays an image.
      title: of the list of trials.
      center: what the large points are.
    """

    series: list[Series] = dataclasses.field(default_factory=list)
    scales: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    ticks: dict[float, str] = dataclasses.field(default_factory=dict)
    rows: bool = False
    training: bool = True
    chances: list[float] = dataclasses.field(default_factory=list)
    shares: list[Share] = dataclasses.field(default_factory=list)
    cells: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    title: str = ""
    center: Literal["mean", "median"] = "mean"


_KEPT: weakref.WeakKeyDictionary[Axes, Kept] = weakref.WeakKeyDictionary()


def kept(ax: Axes) -> Kept:
    """Returns what is kept beside an Axes, to be added to."""
    return _KEPT.setdefault(ax, Kept())


def keep_map(ax: Axes, label: str, percent: bool) -> None:
    """Keeps what the cells of a map measure."""
    scale = {"scale": "linear", "label": label, "percent": percent, "ends": [0.0, 1.0]}
    kept(ax).rows, kept(ax).scales["x"] = True, scale


def keep_cell(
    ax: Axes, cell: tuple[int, int], name: Name, level: tuple[float, float, float]
) -> None:
    """Keeps a trial's mean and interval, and its cell on a map."""
    kept(ax).series.append(Series(name, INK, "point", 0.0, *level))
    kept(ax).cells.append(cell)


def data_of(canvas: Figure) -> str:
    """Returns a figure as JSON that no page takes for markup.

    It is "" where an Axes, other than a colour bar, kept nothing. Cells of
    a map have their places in the figure as it was last drawn.
    """
    axes = [ax for ax in canvas.axes if ax.get_label() != COLOR_BAR]
    if not axes or not all(kept(ax).series for ax in axes):
        return ""
    every = [one for ax in axes for one in kept(ax).series]
    colors: dict[str, str] = {}  # in the order of their first series
    for one in every:
        colors.setdefault(one.name.group, one.color)
    groups = [*colors]
    if all(map(NUMBER.fullmatch, groups)):
        groups.sort(key=float)
    xs: dict[str, list[float | None]] = {}  # places are written once
    most = min(MOST_POINTS, max(FEWEST, MOST_OF_ALL // len(every)))
    whole = {
        "title": numbers.visible(kept(axes[0]).title),
        "center": kept(axes[0]).center,
        "image": bool(kept(axes[0]).cells),
        "groups": [[numbers.visible(name), colors[name]] for name in groups],
        "panels": [_panel(ax, groups, xs, most) for ax in axes],
        "xs": [*xs.values()],
    }
    text = json.dumps(whole, separators=(",", ":"), allow_nan=False)
    return text.replace("<", r"\u003c")


def _panel(
    ax: Axes, groups: list[str], xs: dict[str, Any], most: int
) -> dict[str, Any]:
    of = kept(ax)
    percent = any(scale["percent"] for scale in of.scales.values())
    series = [_series(one, percent, groups, xs, most) for one in of.series]
    for one, cell in zip(series, of.cells):
        dots = ax.transData.transform(cell)
        right, up = ax.figure.transFigure.inverted().transform(dots)
        one["at"] = [round(float(right), 4), round(float(1 - up), 4)]
    along = _axis(ax, "y" if of.rows else "x")
    along["ticks"] = [[place, numbers.visible(t)] for place, t in of.ticks.items()]
    found = {
        "title": _text(ax.get_title(loc="left")),
        "rows": of.rows,
        "training": of.training,
        "along": _filled(along),
        "value": _axis(ax, "x" if of.rows else "y"),
        "chances": of.chances,
        "shares": of.shares,
        "series": series,
    }
    return _filled(found)


def _series(
    one: Series, percent: bool, groups: list[str], xs: dict[str, Any], most: int
) -> dict[str, Any]:
    x = np.atleast_1d(np.asarray(one.x, float))
    stops = [*map(int, one.stopped)]
    evenly = np.linspace(0, len(x) - 1, min(len(x), most)).round().astype(int)
    some = np.unique([*evenly, *stops]).astype(int)  # so where there is none
    places = _rounded(x[some], EXACT)
    xs.setdefault(repr(places), places)

    def shown(values: npt.ArrayLike, digits: int = 4) -> list[float | None]:
        rounded = _rounded(np.atleast_1d(values)[some], digits, percent)
        return rounded if any(v is not None for v in rounded) else []

    whole = {
        "name": numbers.visible(one.name.full),
        "group": groups.index(one.name.group),
        "fate": numbers.visible(one.name.fate),
        "color": one.color,
        "look": one.look,
        "x": [*xs].index(repr(places)),
        "mean": shown(one.mean, DIGITS) or [None] * len(places),
        "low": shown(one.low),
        "high": shown(one.high),
        "n": one.name.n,
        "seeds": [*map(shown, one.seeds)],
        "lost": [*map(shown, one.lost)],
        "stops": np.searchsorted(some, stops).tolist(),
        "line": one.line,
        "tint": one.line_color,
        "ring": one.ring,
        "band": one.band,
    }
    return _filled(whole)


def _filled(found: dict[str, Any]) -> dict[str, Any]:
    """Leaves out what is empty; 0 stays."""
    return {key: item for key, item in found.items() if item not in ("", [])}


def _axis(ax: Axes, side: Literal["x", "y"]) -> dict[str, Any]:
    axis = ax.xaxis if side == "x" else ax.yaxis
    found = {
        "label": SCALE_WORDS.sub("", _text(axis.get_label_text())),
        "ends": _rounded(np.array(axis.get_view_interval()), 7),
        "scale": "log" if axis.get_scale() == "log" else "linear",
    }
    return found | kept(ax).scales.get(side, {})


def _text(written: str) -> str:
    return numbers.visible(written.replace(r"\$", "$"))


def _rounded(
    values: np.ndarray, digits: int = DIGITS, share: bool = False
) -> list[float | None]:
    """Returns numbers with so many digits; None for those that are not finite.

    A `share` has four decimals, or five close to 1.
    """

    def short(value: float) -> float:
        decimals = 5 if value > FINE else 4
        return round(value, decimals) if share else float(f"{value:.{digits}g}")

    return [short(v) if math.isfinite(v) else None for v in values.tolist()]
