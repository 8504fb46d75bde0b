# SPDX-License-Identifier: Apache-2.0
"""Maps of two hyperparameters: a cell for each trial of their product.

Every function draws on an Axes and returns it. A cell says in words and numbers what
its colour shows, and what became of its members.
"""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, ListedColormap, Normalize, to_rgb
from matplotlib.patches import Rectangle

from nnlab.report import trials as swept
from nnlab.report.figures.drawing import labels, scales, style
from nnlab.results import DIVERGED, Results
from nnlab.statistics.members import (
    dropped_after,
    networks,
    reduce_members,
    status_counts,
)
from nnlab.statistics.ranking import best_trial
from nnlab.study import Quantity
from nnlab.words import settings

# Both are perceptually uniform.
METRIC_COLORS = matplotlib.colormaps["viridis"]
SHARE_COLORS = ListedColormap(matplotlib.colormaps["magma_r"](np.linspace(0, 0.6, 256)))
METRIC_NOTE = (
    "Each cell is a trial: the mean over its seeds. The frame marks the best trial by "
    "validation; hatched cells did not run."
)
DIVERGENCE_NOTE = (
    "Each cell is a trial: how many of its members left the finite numbers, at which "
    "step (median), and the layer whose last finite gradient was the largest, in most "
    "of them, with that gradient's median norm; hatched cells did not run."
)


@dataclasses.dataclass(frozen=True)
class Side:
    """One side of a map.

    Attributes:
      path: of the hyperparameter.
      texts: its values as text, in order: ascending numbers, else that of the sweep.
      numeric: whether they are numbers.
    """

    path: str
    texts: tuple[str, ...]
    numeric: bool


@dataclasses.dataclass(frozen=True)
class Grid:
    """Where each trial lies on a map.

    Attributes:
      x, y: the two sides.
      cells: ``{(place on x, place on y): index of the trial}``, places from 0.
    """

    x: Side
    y: Side
    cells: Mapping[tuple[int, int], int]

    def size(self) -> tuple[float, float]:
        """Width and height of a figure, in inches, in which all texts are legible."""
        width = 1.8 + 0.85 * len(self.x.texts)
        return max(width, 5.0), max(1.2 + 0.6 * len(self.y.texts), 2.4)


def axes_of(results: Results) -> Grid | None:
    """The two hyperparameters that were swept, if the trials fill half their product.

    The numeric one with more values lies along x. Baselines have no place on a map.

    Returns:
      The grid; None if not exactly two were swept, or most of the product is missing.
    """
    paths, trials = swept.paths(results), networks(results)
    if len(paths) != 2:
        return None
    values = {p: [swept.value_of(results, t, p) for t in trials] for p in paths}
    sides = {path: _side(path, column) for path, column in values.items()}
    x, y = sorted(paths, key=lambda p: (not sides[p].numeric, -len(sides[p].texts)))
    if 2 * len(trials) < len(sides[x].texts) * len(sides[y].texts):
        return None
    places = {
        p: [sides[p].texts.index(_text(v)) for v in column]
        for p, column in values.items()
    }
    cells = dict(zip(zip(places[x], places[y]), trials))
    return Grid(sides[x], sides[y], cells)


def _side(path: str, values: Sequence[Any]) -> Side:
    numeric = all(settings.is_number(v) for v in values)
    ordered = sorted(values) if numeric else values
    return Side(path, tuple(dict.fromkeys(_text(v) for v in ordered)), numeric)


def _text(value: Any) -> str:
    return settings.value_text(value)


def metric_map(ax: Axes, results: Results, metric: str) -> Axes:
    """Draws the mean final metric of each cell as colour and number.

    The mean is over the members that finished or stopped. A cell in which members
    diverged or ended at chance says how many; if that are all, it does not stretch the
    colours, which are even in what the metric's axis would show. A frame marks the best
    trial by validation, hatching what did not run.

    Args:
      ax: where to draw.
      results: what the study found; `axes_of` has a grid for it.
      metric: a column of the curves.

    Returns:
      `ax`.

    Raises:
      ValueError: no such metric, or no two hyperparameters that span a map.
    """
    grid = _grid(results)
    final = Quantity(metric=metric, reduction="final")
    means: dict[int, float] = {}
    for trial in grid.cells.values():
        values = reduce_members(results, final, trial)
        if np.isfinite(values).any():
            means[trial] = float(values[np.isfinite(values)].mean())
    learnt = [m for t, m in means.items() if not _all_lost(results, t)]
    shown = np.array(learnt or list(means.values()))
    scale = scales.scale_of(results, metric, shown)
    ends = [shown.min(), shown.max()] if shown.size else [0.0, 1.0]
    low, high = (float(v) for v in scale.forward(np.minimum(ends, scale.ceiling)))
    norm = Normalize(low, high if high > low else low + 1e-9, clip=True)
    texts, tints = {}, {}
    for trial, mean in means.items():
        number = f"{100 * mean:.1f}" if scale.percent else f"{mean:.3g}"
        texts[trial] = [number, *_fates(results, trial)]
        tints[trial] = METRIC_COLORS(norm(scale.forward(min(mean, scale.ceiling))))
    for trial in grid.cells.values():
        if trial not in means and results.has_run(trial):
            epochs = dropped_after(results, trial)
            cut = ["unfinished"] if epochs is None else ["dropped", f"epoch {epochs:g}"]
            texts[trial] = _fates(results, trial) or cut
            tints[trial] = style.RULE
    _draw_cells(ax, grid, texts, tints)
    best = best_trial(results)
    for (column, row), trial in grid.cells.items():
        if trial == best:
            _frame(ax, column, row)
    if shown.size:
        label = f"{scales.axis_words(metric, scale)}{', %' * scale.percent}"
        outside = [m for m in means.values() if m < shown.min()]
        above = [m for m in means.values() if m > shown.max()]
        extend = ("min" if outside else "") + ("max" if above else "")
        ticks = scales.ticks(scale, (low, high))
        names = [scale.text(t).removesuffix(" %") for t in ticks]
        places = [float(p) for p in scale.forward(ticks)]
        extend = {"": "neither", "minmax": "both"}.get(extend, extend)
        _color_bar(ax, norm, METRIC_COLORS, label, dict(zip(places, names)), extend)
    return ax


def divergence_map(ax: Axes, results: Results) -> Axes:
    """Draws how many members of each cell diverged, when and where.

    Args:
      ax: where to draw.
      results: what the study found; `axes_of` has a grid for it.

    Returns:
      `ax`.

    Raises:
      ValueError: no two hyperparameters span a map.
    """
    grid = _grid(results)
    texts, tints = {}, {}
    norm = Normalize(0.0, 1.0)
    for trial in grid.cells.values():
        if not results.has_run(trial):
            continue
        count = status_counts(results, trial)[DIVERGED]
        seeds = results.trials[trial].num_seeds
        texts[trial] = [f"{count}/{seeds}"]
        if count:
            texts[trial][0] += " diverged"
            texts[trial] += _where(results, trial)
        tints[trial] = SHARE_COLORS(norm(count / seeds))
    _draw_cells(ax, grid, texts, tints)
    ticks = {0.0: "0", 0.5: "50", 1.0: "100"}
    _color_bar(ax, norm, SHARE_COLORS, "members that diverged, %", ticks, "neither")
    return ax


def _where(results: Results, trial: int) -> list[str]:
    """At which step, in which layer and with which norm most members diverged."""
    lost = results.member(trial, "status") == DIVERGED
    step = np.median(results.member(trial, "diverged_step")[lost].astype(float))
    layers = results.member(trial, "diverged_layer")
    named = Counter(name for name in layers[lost] if name)
    if not named:
        return [f"step {step:.0f}"]
    layer = named.most_common(1)[0][0]
    there = lost & (layers == layer)
    norms = results.member(trial, f"last_grad_norm_{layer}")[there].astype(float)
    digit, power = f"{np.median(norms):.0e}".split("e")
    return [f"step {step:.0f}", f"{layer}: {digit}e{int(power)}"]


def _grid(results: Results) -> Grid:
    grid = axes_of(results)
    if grid is None:
        found = ", ".join(swept.paths(results)) or "nothing"
        raise ValueError(
            f"a map needs two hyperparameters whose product was swept, not {found}"
        )
    return grid


def _all_lost(results: Results, trial: int) -> bool:
    counts = status_counts(results, trial)
    lost = counts[DIVERGED] + counts["at_chance"]
    return lost >= results.trials[trial].num_seeds


def _fates(results: Results, trial: int) -> list[str]:
    counts = status_counts(results, trial)
    seeds = results.trials[trial].num_seeds
    kinds = {"diverged": counts[DIVERGED], "at chance": counts["at_chance"]}
    return [f"{count}/{seeds} {kind}" for kind, count in kinds.items() if count]


def _draw_cells(
    ax: Axes,
    grid: Grid,
    texts: Mapping[int, Sequence[str]],
    tints: Mapping[int, Any],
) -> None:
    """Draws coloured cells with text, hatched ones where there is none."""
    columns, rows = len(grid.x.texts), len(grid.y.texts)
    up = 1 if grid.y.numeric else -1  # categories are read from the top
    # Of a cell, in points; constrained layout has yet to make room for the labels.
    box = ax.get_window_extent()
    width = 0.95 * 72 * box.width / ax.figure.dpi / columns
    height = 72 * box.height / ax.figure.dpi / rows
    most = max((len(lines) for lines in texts.values()), default=1)
    sizes = []
    for part in (slice(0, 1), slice(1, None)):
        longest = max(
            (len(t) for lines in texts.values() for t in lines[part]), default=1
        )
        room = min(height / (1.4 * most), 0.94 * width / (0.6 * longest))
        sizes.append(float(np.clip(room, 4.0, 8.5)))
    first = sizes[0]
    other = min(sizes[1], first, max(0.85 * first, 6.0))
    for column in range(columns):
        for row in range(rows):
            trial = grid.cells.get((column, row), -1)
            corner = (column - 0.5, row - 0.5)
            if trial not in texts:
                ax.add_patch(
                    Rectangle(
                        corner,
                        1,
                        1,
                        facecolor="none",
                        edgecolor=style.MUTED,
                        linewidth=0,
                        alpha=0.5,
                        hatch="//",
                    )
                )
                continue
            ax.add_patch(
                Rectangle(corner, 1, 1, facecolor=tints[trial], edgecolor="white")
            )
            ink = ink_on(tints[trial])
            lines = texts[trial]
            for number, line in enumerate(lines):
                ax.annotate(
                    labels.plain(line),
                    (column, row),
                    xytext=(0, 1.25 * first * ((len(lines) - 1) / 2 - number)),
                    textcoords="offset points",
                    ha="center",
                    va="center_baseline",
                    color=ink,
                    fontsize=other if number else first,
                )
    ax.set_xlim(-0.5, columns - 0.5)
    ax.set_ylim(*((-0.5, rows - 0.5) if up > 0 else (rows - 0.5, -0.5)))
    ax.set_xticks(range(columns), [labels.plain(t) for t in grid.x.texts])
    if 5.4 * max(map(len, grid.x.texts)) > width:
        ax.tick_params(axis="x", labelrotation=90)
    ax.set_yticks(range(rows), [labels.wrapped(t, 20) for t in grid.y.texts])
    ax.set_xlabel(labels.plain(settings.words(grid.x.path)))
    ax.set_ylabel(labels.plain(settings.words(grid.y.path)))
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0, labelcolor=style.INK)


def ink_on(color: Any) -> str:
    """Black or white, whichever stands out more on the colour (4.6 to 1 at least).

    Source: the contrast ratio of WCAG 2.2.
    """
    channels = np.array(to_rgb(color))
    linear = np.where(
        channels > 0.04045, ((channels + 0.055) / 1.055) ** 2.4, channels / 12.92
    )
    luminance = float(linear @ [0.2126, 0.7152, 0.0722])
    return "black" if (luminance + 0.05) ** 2 > 0.05 * 1.05 else "white"


def _frame(ax: Axes, column: int, row: int) -> None:
    """A ring around a cell that stands out on every colour."""
    corner = (column - 0.46, row - 0.46)
    for color, width in (("white", 4.0), (style.INK, 2.0)):
        ax.add_patch(
            Rectangle(corner, 0.92, 0.92, fill=False, edgecolor=color, linewidth=width)
        )


def _color_bar(
    ax: Axes,
    norm: Normalize,
    shades: Colormap,
    label: str,
    ticks: Mapping[float, str],
    extend: str,
) -> None:
    bar = ax.figure.colorbar(
        ScalarMappable(norm, shades), ax=ax, aspect=30, pad=0.02, extend=extend
    )
    bar.ax.set_yticks(list(ticks), list(ticks.values()))
    style.dress_bar(bar, label)
