# SPDX-License-Identifier: Apache-2.0
"""Draws the curves of a running training again and again.

Every property is set on its artist, because matplotlib's settings belong to the whole
process, and these figures are drawn in a thread beside the user's own.
"""

import io
import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator, PercentFormatter

from nnlab.report.figures.drawing.labels import LEGEND
from nnlab.report.figures.drawing.style import CATEGORIES, INK, MUTED, Look, dress
from nnlab.statistics.intervals import mean_interval

SIZE = (4.4, 2.7)
"""Inches of a figure: two fit side by side on a page, and one fits a phone."""
MOST_DECADES = 1.5  # of losses on a linear axis
MOST_EARLIER = 4  # runs that are compared: of as many there are colours that differ
PALE = 0.5  # opacity of their lines

Earlier = tuple[int, np.ndarray, np.ndarray]
"""A run to compare with: its number, its epochs, (E,), and a metric of it, (E, S)."""


def curves(
    ax: Axes,
    epochs: np.ndarray,
    lines: Mapping[str, np.ndarray],
    *,
    chance: float | None = None,
    earlier: Sequence[Earlier] = (),
) -> None:
    """Draws the mean over the seeds with its 95 % band, for each split.

    Args:
      ax: where to draw, empty.
      epochs: of the evaluations so far, (E,), E >= 1.
      lines: ``{name in the legend: (E, S)}``; NaN for networks that diverged.
      chance: for accuracies, that of a constant answer; None for losses, which get a
        logarithmic axis if they span decades.
      earlier: at most `MOST_EARLIER` runs to compare with, drawn pale below the lines.
    """
    dress(ax)
    ax.tick_params(labelsize=8)
    lowest, highest = np.inf, -np.inf
    drawn = [(name, epochs, each, 1.0) for name, each in lines.items()]
    colors = list(CATEGORIES[: len(lines)])
    for number, at, values in earlier:
        drawn.append((f"run {number}", at, values, PALE))
        turns = (len(lines) + (number + k) % MOST_EARLIER for k in range(MOST_EARLIER))
        colors.append(next(CATEGORIES[k] for k in turns if CATEGORIES[k] not in colors))
    for (name, at, values, alpha), color in zip(drawn, colors):
        mean, low, high = mean_interval(values, axis=1)
        if np.isfinite(mean).any():
            lowest = min(lowest, np.nanmin(mean))
            highest = max(highest, np.nanmax(mean))
        look: Look = {"color": color, "zorder": 1 + alpha}
        ax.fill_between(at, low, high, alpha=0.2 * alpha, linewidth=0, **look)
        look["alpha"] = alpha
        ax.plot(at, mean, label=name, linewidth=1.6, **look)
        if np.isfinite(mean).sum() == 1:  # a single point makes no line
            ax.plot(at, mean, "o", markersize=5, clip_on=False, **look)
    end = max(at[-1] for _, at, _, _ in drawn) or 1.0
    ax.set_xlim(0, end)
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=end > 4))
    pale = " (pale: validation of earlier runs)" if earlier else ""
    ax.set_xlabel(f"epoch{pale}", fontsize=8, color=MUTED, labelpad=1)
    if chance is not None:
        ax.set_ylim(0, 1.02)
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        ax.axhline(chance, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
        look = {"ha": "right", "fontsize": 7.5, "color": MUTED}
        look["transform"] = ax.get_yaxis_transform()
        ax.text(0.99, chance + 0.015, "chance", **look)
    elif lowest > 0 and highest > lowest * 10**MOST_DECADES:
        ax.set_yscale("log")
    elif highest >= 0:
        ax.set_ylim(0, highest * 1.08 or 1)
    what = "loss" if chance is None else "accuracy"
    ax.set_title(what, loc="left", fontsize=9, color=INK, fontweight="bold", pad=6)
    place: Look = {"loc": "lower right", "bbox_to_anchor": (1, 1), "borderaxespad": 0.1}
    columns = math.ceil(len(drawn) / (2 if earlier else 1))
    ax.legend(ncols=columns, labelcolor=INK, **place, **LEGEND)
    if not any(np.isfinite(values[-1]).any() for values in lines.values()):
        text = "all networks have diverged"
        ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", color=INK)


def picture(
    epochs: np.ndarray,
    lines: Mapping[str, np.ndarray],
    *,
    chance: float | None = None,
    earlier: Sequence[Earlier] = (),
) -> bytes:
    """Returns a PNG of `curves`, on a figure of its own."""
    figure = Figure(figsize=SIZE, dpi=140, facecolor="white")
    # Placed by hand, because an automatic layout would take longer than drawing.
    ax = figure.add_axes((0.13, 0.155, 0.84, 0.68 if earlier else 0.73))
    curves(ax, epochs, lines, chance=chance, earlier=earlier)
    for ax in figure.axes:  # texts that the user's settings would send to LaTeX
        for axis in (ax.xaxis, ax.yaxis):
            axis.get_ticklabels(which="both")  # makes them
    for text in figure.findobj(Text):
        text.set_usetex(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", pil_kwargs={"compress_level": 1})
    return buffer.getvalue()
