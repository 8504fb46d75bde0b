# SPDX-License-Identifier: Apache-2.0
"""Words on figures: the users' texts made safe, labels at line ends, legends."""

import math
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from nnlab.report.figures.drawing.chart import Name
from nnlab.report.figures.drawing.style import MUTED, Look, legible
from nnlab.report.trials import named, sweep_of, trial_name
from nnlab.statistics.findings import Findings
from nnlab.words.short import shortened

WRAP = 26  # characters in a line of a label that has two
SIZE = 8.0  # points, of labels and legends
LEGEND: Look = {"frameon": False, "fontsize": SIZE, "handlelength": 1.2}


class End(NamedTuple):
    """The end of a line, and what is written there.

    Attributes:
      color: of the line.
      x, y: where it ends; x is NaN for a line without an end.
      name, remark: of the line; may be "".
    """

    color: str
    x: float
    y: float
    name: str
    remark: str = ""


def plain(value: str, most: int = 30) -> str:
    """Makes a user's text printable and short, and never read as mathematics."""
    return apart([value], most)[0]


def apart(values: Sequence[str], most: int = 30) -> list[str]:
    """Makes users' texts `plain`; those that differ stay different."""
    return [text.replace("$", r"\$") for text in shortened(values, most)]


def wrapped(values: Sequence[str], width: int = WRAP, most: int = 2) -> list[str]:
    """Returns users' texts in at most `most` lines of `width` characters each.

    Texts that differ stay different.
    """

    def laid(value: str) -> str:
        lines = textwrap.wrap(value, width) or [""]
        lines = [*lines[: most - 1], *filter(None, [" ".join(lines[most - 1 :])])]
        return "\n".join(plain(line, width) for line in lines)

    shown = [laid(value) for value in values]
    for room in range(width * most, width - 1, -1):  # one line tells all apart
        if len({*shown}) == len({*values}):
            break
        shown = [laid(value) for value in shortened(values, room)]
    return shown


def fate_of(findings: Findings, trial: int, stopped: int | None = None) -> str:
    """Says in brackets how a trial's networks ended; "" where all finished.

    `stopped` is how many have a tick; all that stopped when None.
    """
    counts = {**findings.counts(trial)}
    if stopped is not None:
        counts["stopped"] = stopped
    kinds = ("stopped", "diverged", "dropped", "at_chance")
    parts = [f"{counts[k]} {k.replace('_', ' ')}" for k in kinds if counts[k]]
    shown = ", ".join(parts)
    return f"({shown})" if shown else ""


def called(findings: Findings, trial: int, group: str | None = None) -> Name:
    """Returns how a page calls a trial.

    Its `group` is its swept value where other settings are panels of their own, else
    its name.
    """
    sweep, fate = sweep_of(findings.results), fate_of(findings, trial)
    if group is None:
        grouped = any(sweep.groups[t] for t in findings.networks)
        name = trial_name(findings.results, trial)
        group = sweep.texts[trial] if grouped else name
    full = named(findings.results, trial).strip()
    return Name(full, group, fate.strip("()"), int(findings.alive(trial).sum()))


def note(ax: Axes, y: float, text: str, above: bool = True, right: bool = True) -> None:
    """Writes a small grey word above or below a horizontal line at `y`."""
    x, ha = (0.99, "right") if right else (0.01, "left")
    up, va = (1, "bottom") if above else (-2, "top")
    place: Look = {"xycoords": ax.get_yaxis_transform(), "textcoords": "offset points"}
    look: Look = {"fontsize": 7, "color": MUTED, "ha": ha, "va": va}
    ax.annotate(text, (x, y), (0, up), **place, **look)


def spread(places: Sequence[float], gap: float, low: float, high: float) -> np.ndarray:
    """Moves labels at `places`, (N,), apart as little as possible, in their order.

    Least squares with neighbours at least `gap` apart is isotonic regression of the
    places less their rank times the gap, solved by pooling adjacent violators. The gap
    shrinks if labels do not fit between `low` and `high`.
    """
    count = len(places)
    if count == 0:
        return np.empty(0)
    gap = min(gap, (high - low) / max(count - 1, 1))
    order = np.argsort(places, kind="stable")
    ranks = np.arange(count)
    blocks: list[tuple[float, int]] = []  # mean and size, means ascending
    for place in np.asarray(places, float)[order] - gap * ranks:
        block = (float(place), 1)
        while blocks and blocks[-1][0] >= block[0]:
            mean, size = blocks.pop()
            total = size + block[1]
            block = ((mean * size + block[0] * block[1]) / total, total)
        blocks.append(block)
    level = np.repeat([m for m, _ in blocks], [n for _, n in blocks])
    level = np.clip(level, low, max(low, high - gap * (count - 1)))
    moved = np.empty(count)
    moved[order] = level + gap * ranks
    return moved


def _in_a_line(ends: Sequence[End]) -> list[str]:
    """Returns names with remarks, each in one line."""
    rooms = [max(WRAP - len(end.remark), 12) for end in ends]
    names = [plain(end.name, room) for end, room in zip(ends, rooms)]
    if len({*names}) < len({end.name for end in ends}):
        names = apart([end.name for end in ends], min(rooms))
    return [f"{name} {end.remark}".strip() for name, end in zip(names, ends)]


def _in_lines(ends: Sequence[End]) -> list[str]:
    """Returns names with remarks, each in few lines."""
    shown = []
    for name, (*_, remark) in zip(wrapped([end.name for end in ends]), ends):
        lines = [line for line in (*name.split("\n"), remark) if line]
        if remark and len(lines) > 1 and len(lines[-2]) + len(remark) < WRAP:
            lines[-2:] = [" ".join(lines[-2:])]
        shown.append("\n".join(lines))
    return shown


def label_ends(ax: Axes, ends: Sequence[End], title: str = "") -> None:
    """Writes names right of the axes, with leaders to the ends of their lines.

    The limits of `ax` must be set. `title` stands above several names.
    """
    if not ends:
        return
    dots = ax.transData.transform([(ax.get_xlim()[1], end.y) for end in ends])
    y = ax.transAxes.inverted().transform(dots)[:, 1]
    # Constrained layout will shrink the axes; 0.8 is on the safe side.
    inches = 0.8 * ax.get_window_extent().height / ax.figure.dpi
    gap = 1.2 * SIZE / 72 / inches
    low, high = ax.get_ylim()
    outside = (int(end.y > high) - int(end.y < low) for end in ends)
    beyond = [("", "↑ ", "↓ ")[side] for side in outside]
    shown = list(map(str.__add__, beyond, _in_lines(ends)))
    lines = max(text.count("\n") + 1 for text in shown)
    if lines * gap * (len(ends) - 1) > 1:
        shown, lines = list(map(str.__add__, beyond, _in_a_line(ends))), 1
    places = spread(np.clip(y, 0, 1), lines * gap, 0.0, 1.0)
    leader: Look = {"arrowstyle": "-", "linewidth": 0.6, "alpha": 0.7}
    leader |= {"shrinkA": 0, "shrinkB": 0}
    beside: Look = {"textcoords": "axes fraction", "annotation_clip": False}
    look: Look = {"transform": ax.transAxes, "fontsize": SIZE, "linespacing": 1.0}
    for text, end, place in zip(shown, ends, places):
        if text and np.isfinite(end.x):
            at = end.x, np.clip(end.y, *ax.get_ylim())
            arrow = {**leader, "color": end.color}
            ax.annotate("", at, (1.025, place), arrowprops=arrow, **beside)
        va = "center" if "\n" in text else "center_baseline"
        ax.text(1.035, place, text, color=legible(end.color), va=va, **look)
    if title and len(ends) > 1:
        top = max(float(np.max(places)), 0.0) + (lines - 1) * gap / 2
        above: Look = {"xycoords": "axes fraction", "textcoords": "offset points"}
        above |= {"color": MUTED, "fontsize": SIZE}
        ax.annotate(plain(title), (1.035, top), (0, 0.9 * SIZE), **above)


def legend_above(ax: Axes) -> None:
    """Draws a legend above the axes, in as many columns as fit."""
    handles, names = ax.get_legend_handles_labels()
    if not names:
        return
    named = dict(zip(names, handles))
    fitting = max(1, min(4, 90 // (max(map(len, named)) + 6)))
    columns = math.ceil(len(named) / math.ceil(len(named) / fitting))
    place: Look = {
        "loc": "lower left",
        "bbox_to_anchor": (0.0, 1.0),
        "borderaxespad": 0.2,
    }
    ax.legend(list(named.values()), list(named), ncols=columns, **place, **LEGEND)
