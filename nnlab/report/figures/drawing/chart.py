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

from nnlab.words import numbers

MOST_POINTS = 200  # of a curve: a screen does not show more
DIGITS = 5  # of means: one more than a reader is shown
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
      chances: accuracies of constant answers.
      title: of the list of trials.
      center: what the large points are.
    """

    series: list[Series] = dataclasses.field(default_factory=list)
    scales: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    ticks: dict[float, str] = dataclasses.field(default_factory=dict)
    rows: bool = False
    chances: list[float] = dataclasses.field(default_factory=list)
    shares: list[Share] = dataclasses.field(default_factory=list)
    title: str = ""
    center: Literal["mean", "median"] = "mean"


_KEPT: weakref.WeakKeyDictionary[Axes, Kept] = weakref.WeakKeyDictionary()


def kept(ax: Axes) -> Kept:
    """Returns what is kept beside an Axes, to be added to."""
    return _KEPT.setdefault(ax, Kept())


def data_of(canvas: Figure) -> str:
    """Returns a figure as JSON that no page takes for markup.

    It is "" where an Axes of the figure, other than a colour bar, kept nothing.
    """
    axes = [ax for ax in canvas.axes if ax.get_label() != COLOR_BAR]
    if not axes or not all(kept(ax).series for ax in axes):
        return ""
    first = kept(axes[0])
    every = [one for ax in axes for one in kept(ax).series]
    pages = _Pages({one.name.group: one.color for one in reversed(every)})
    panels = [pages.panel(ax) for ax in axes]
    whole = {
        "title": numbers.visible(first.title),
        "center": first.center,
        "groups": [[numbers.visible(name), c] for name, c in pages.groups.items()],
        "xs": [*pages.xs.values()],
        "panels": panels,
    }
    text = json.dumps(whole, separators=(",", ":"))
    return text.replace("<", r"\u003c")


class _Pages:
    """Panels in the making; groups and places are written once for all of them."""

    def __init__(self, groups: dict[str, str]) -> None:
        """Orders groups, ``{name: colour}``, by number, or last one first."""
        names = [*reversed(groups)]
        if all(map(NUMBER.fullmatch, names)):
            names.sort(key=float)
        self.groups = {name: groups[name] for name in names}
        self.xs: dict[str, list[float | None]] = {}

    def panel(self, ax: Axes) -> dict[str, Any]:
        of = kept(ax)
        percent = any(scale["percent"] for scale in of.scales.values())
        along, value = ("y", "x") if of.rows else ("x", "y")
        axes = {
            "along": _axis(ax, along, of.scales.get(along, {})),
            "value": _axis(ax, value, of.scales.get(value, {})),
        }
        if of.ticks:
            named = {place: numbers.visible(t) for place, t in of.ticks.items()}
            axes["along"]["ticks"] = [*map(list, named.items())]
        found = {
            "title": numbers.visible(ax.get_title(loc="left").replace(r"\$", "$")),
            "rows": of.rows,
            **axes,
            "chances": of.chances,
            "shares": [*map(list, of.shares)],
            "series": [self._series(one, percent) for one in of.series],
        }
        return {key: item for key, item in found.items() if item}

    def _series(self, one: Series, percent: bool) -> dict[str, Any]:
        full, fate = map(numbers.visible, (one.name.full, one.name.fate))
        x = np.atleast_1d(np.asarray(one.x, float))
        stops = [*map(int, one.stopped)]
        some = np.linspace(0, len(x) - 1, min(len(x), MOST_POINTS)).round().astype(int)
        some = np.unique([*some, *stops])
        places = _rounded(x[some])
        self.xs.setdefault(repr(places), places)
        rounded = _shares if percent else _rounded
        mean = rounded(np.atleast_1d(one.mean)[some])
        low, high = (rounded(np.atleast_1d(v)[some], 4) for v in (one.low, one.high))
        known = any(v is not None for v in low)
        whole = {
            "name": full,
            "group": [*self.groups].index(one.name.group),
            "fate": fate,
            "color": one.color,
            "look": one.look,
            "x": [*self.xs].index(repr(places)),
            "mean": mean,
            "low": low if known else [],
            "high": high if known else [],
            "n": one.name.n,
            "seeds": [rounded(seed[some], 4) for seed in one.seeds],
            "lost": [rounded(seed[some], 4) for seed in one.lost],
            "stops": np.searchsorted(some, stops).tolist(),
            "line": one.line,
            "tint": one.line_color,
            "ring": one.ring,
        }
        return {key: item for key, item in whole.items() if item not in ("", [])}


def _axis(ax: Axes, side: str, scale: dict[str, Any]) -> dict[str, Any]:
    ends, log = (
        (ax.get_xlim(), ax.get_xscale())
        if side == "x"
        else (
            ax.get_ylim(),
            ax.get_yscale(),
        )
    )
    label = (ax.get_xlabel if side == "x" else ax.get_ylabel)().replace(r"\$", "$")
    scale = scale or {"scale": "log" if log == "log" else "linear"}
    named = numbers.visible(SCALE_WORDS.sub("", label))
    return {"label": named, "ends": _rounded(np.array(ends), 7), **scale}


def _shares(values: np.ndarray, digits: int = 4) -> list[float | None]:
    """Returns shares with four decimals, or five close to 1."""
    return [
        None if math.isnan(v) else round(v, 5 if v > FINE else digits)
        for v in values.tolist()
    ]


def _rounded(values: np.ndarray, digits: int = DIGITS) -> list[float | None]:
    """Returns numbers with so many digits; None for those that are not finite."""
    finite = np.isfinite(values).tolist()
    return [
        float(f"{v:.{digits}g}") if known else None
        for v, known in zip(values.tolist(), finite)
    ]
