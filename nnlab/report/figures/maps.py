# SPDX-License-Identifier: Apache-2.0
"""Maps of two hyperparameters: a cell for each trial of their product.

A cell shows a value by its colour and as a number, and how its networks ended.
"""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Rectangle

from nnlab.report import trials as swept
from nnlab.report.figures.drawing import captions, chart, labels, levels, scales, style
from nnlab.report.figures.drawing.captions import Sketch, need
from nnlab.report.scores import score_of
from nnlab.results import DIVERGED, Results
from nnlab.statistics.findings import Findings
from nnlab.words import settings

NO_GRID = "the trials are no grid of two hyperparameters"
# Both are perceptually uniform.
METRIC_COLORS = matplotlib.colormaps["viridis"]
SHARE_COLORS = ListedColormap(matplotlib.colormaps["magma_r"](np.linspace(0, 0.6, 256)))


@dataclasses.dataclass(frozen=True)
class Grid:
    """Where each trial lies on a map.

    Attributes:
      x, y: paths of the two hyperparameters.
      columns, rows: their values: ascending numbers, else in the order of the sweep.
      ascending: whether rows are ascending numbers; others are read from the top.
      cells: ``{(column, row): index of the trial}``, from 0.
    """

    x: str
    y: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    ascending: bool
    cells: Mapping[tuple[int, int], int]

    def canvas(self) -> Canvas:
        """Makes an empty figure on which all texts are legible."""
        width = max(1.8 + 0.85 * len(self.columns), 5.0)
        return style.canvas(max(1.2 + 0.6 * len(self.rows), 2.4), width)


Cells = dict[int, tuple[list[str], Any]]
"""Of each trial: lines of text, and the colour below them."""


def grid_of(findings: Findings) -> Grid:
    """Returns the map of two swept hyperparameters, if half of their product was run.

    The numeric one with more values lies along x. Baselines have no place on a map.
    """
    results, trials = findings.results, findings.networks
    paths = swept.paths(results)
    need(len(paths) == 2, NO_GRID)
    values = {p: [swept.value_of(results, t, p) for t in trials] for p in paths}
    numeric = {p: all(map(settings.is_number, column)) for p, column in values.items()}
    named = {path: _texts(some) for path, some in values.items()}
    texts = {}
    for path, names in named.items():
        pairs = zip(values[path], names)
        ordered = sorted(pairs) if numeric[path] else pairs
        texts[path] = tuple(dict.fromkeys(text for _, text in ordered))
    x, y = sorted(paths, key=lambda p: (not numeric[p], -len(texts[p])))
    need(2 * len(trials) >= len(texts[x]) * len(texts[y]), NO_GRID)
    column, row = ([*map(texts[p].index, named[p])] for p in (x, y))
    cells = dict(zip(zip(column, row), trials))
    return Grid(x, y, texts[x], texts[y], numeric[y], cells)


def _texts(values: Sequence[Any]) -> list[str]:
    """Returns values as texts beside the name of their axis: "0.1", "on"."""
    flags = [v for v in values if isinstance(v, bool)]
    return [("off", "on")[v] for v in flags] or settings.value_texts(values)


def metric_map(findings: Findings, metric: str = "") -> Sketch:
    """Draws each trial's mean final metric as the colour and the number of a cell.

    The metric is by default the test accuracy, or r2.

    If all networks of a trial diverged or ended at chance, it does not count for the
    range of colours. Colours are even in what the metric's axis shows.
    """
    metric = metric or score_of(findings.results).of("test")
    grid = grid_of(findings)
    canvas = grid.canvas()
    ax = canvas.add_subplot()
    found = levels.levels_of(findings, grid.cells.values(), metric)
    means = {trial: level.mean for trial, level in found.items()}
    learnt = [m for t, m in means.items() if not _all_lost(findings, t)]
    shown = np.array(learnt or [*means.values()] or [0.0, 1.0])
    scale = scales.scale_of(findings.results, metric, shown if means else np.empty(0))
    ends = np.minimum([shown.min(), shown.max()], scale.ceiling)
    low, high = (float(v) for v in scale.forward(ends))
    norm = Normalize(low, high if high > low else low + 1e-9, clip=True)
    cells: Cells = {}
    for trial in (t for t in grid.cells.values() if t in findings.ran):
        if trial in means:
            mean = means[trial]
            number = f"{100 * mean:.1f}" if scale.percent else f"{mean:.3g}"
            color = METRIC_COLORS(norm(scale.forward(min(mean, scale.ceiling))))
            cells[trial] = [number, *_fates(findings, trial)], color
        else:
            epochs = findings.dropped_after(trial)
            cut = ["unfinished"] if epochs is None else ["dropped", f"epoch {epochs:g}"]
            cells[trial] = _fates(findings, trial) or cut, style.RULE
    _draw_cells(ax, grid, cells)

    chart.keep_map(ax, settings.words(metric), scale.percent)
    for place, trial in grid.cells.items():
        if trial in found:
            name = labels.called(findings, trial, "")
            chart.keep_cell(ax, place, name, found[trial])
        if trial == findings.best or trial in findings.as_good:
            ink = style.INK if trial == findings.best else style.AS_GOOD
            for color, width in (("white", 4.0), (ink, 2.0)):
                _box(ax, place, 0.92, fill=False, edgecolor=color, linewidth=width)
    if means:
        beyond = min(means.values()) < shown.min(), max(means.values()) > shown.max()
        ticks = scales.ticks(scale, (low, high))
        names = [scale.text(tick).removesuffix(" %") for tick in ticks]
        named = dict(zip(map(float, scale.forward(ticks)), names))
        label = f"{scales.axis_words(metric, scale)}{', %' * scale.percent}"
        style.color_bar(ax, (norm, METRIC_COLORS), named, label, beyond=beyond)
    what = f"Final {settings.words(metric)} over the two hyperparameters that were "
    what += "swept"
    others = ", grey ones those not significantly worse" * bool(findings.as_good)
    caption = (
        f"{what}. Each cell is a trial: the mean over its seeds. The dark frame marks "
        f"the best trial by validation{others}; hatched cells did not run. "
        f"{captions.source(findings.results)}"
    )
    return Sketch("map", canvas, what, caption, captions.ends(findings, metric))


def divergence_map(findings: Findings) -> Sketch:
    """Draws how many networks of each trial diverged, when and where, as a map."""
    grid = grid_of(findings)
    canvas = grid.canvas()
    ax = canvas.add_subplot()
    cells: Cells = {}
    for trial in (t for t in grid.cells.values() if t in findings.ran):
        count = findings.counts(trial)[DIVERGED]
        seeds = findings.results.trials[trial].num_seeds
        texts = [f"{count}/{seeds}"]
        if count:
            texts = [f"{texts[0]} diverged", *_where(findings.results, trial)]
        cells[trial] = texts, SHARE_COLORS(count / seeds)
    _draw_cells(ax, grid, cells)
    ticks = {0.0: "0", 0.5: "50", 1.0: "100"}
    bar = Normalize(0.0, 1.0), SHARE_COLORS
    style.color_bar(ax, bar, ticks, "networks that diverged, %")
    what = "How many networks diverge, when and where, over what was swept"
    caption = (
        f"{what}. Each cell is a trial: how many of its networks left the "
        "finite numbers, at which step (median), and the layer whose last finite "
        "gradient was the largest, in most of them, with that gradient's median norm; "
        f"hatched cells did not run. {captions.source(findings.results)}"
    )
    return Sketch("divergence", canvas, what, caption, losses(findings))


def _where(results: Results, trial: int) -> list[str]:
    """Returns the step, the layer and the norm at which most networks diverged."""
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


def losses(findings: Findings) -> str:
    """Says which trial loses how many networks."""
    trials = findings.results.trials
    lost = {t.index: findings.counts(t.index)[DIVERGED] for t in trials}
    losing = [t for t, count in lost.items() if count]
    if not losing:
        return "No network diverges."
    most = max(losing, key=lambda t: lost[t])
    return (
        f"Networks of {len(losing)} of {len(lost)} trials diverge, most with "
        f"{swept.named(findings.results, most)}: {lost[most]} of "
        f"{trials[most].num_seeds}."
    )


def _all_lost(findings: Findings, trial: int) -> bool:
    counts = findings.counts(trial)
    lost = counts[DIVERGED] + counts["at_chance"]
    return lost >= findings.results.trials[trial].num_seeds


def _fates(findings: Findings, trial: int) -> list[str]:
    counts = findings.counts(trial)
    seeds = findings.results.trials[trial].num_seeds
    kinds = {"diverged": counts[DIVERGED], "at chance": counts["at_chance"]}
    return [f"{count}/{seeds} {kind}" for kind, count in kinds.items() if count]


def _draw_cells(ax: Axes, grid: Grid, cells: Cells) -> None:
    columns, rows = len(grid.columns), len(grid.rows)
    # A cell in points; constrained layout has yet to make room for the labels.
    box = ax.get_window_extent()
    width = 0.95 * 72 * box.width / ax.figure.dpi / columns
    height = 72 * box.height / ax.figure.dpi / rows
    first, other = _letters([texts for texts, _ in cells.values()], width, height)
    hatch: style.Look = {"facecolor": "none", "edgecolor": style.MUTED, "hatch": "//"}
    hatch |= {"linewidth": 0, "alpha": 0.5}
    centered: style.Look = {"ha": "center", "va": "center_baseline"}
    for place in np.ndindex(columns, rows):
        trial = grid.cells.get(place)
        if trial not in cells:
            _box(ax, place, 1, **hatch)
            continue
        texts, color = cells[trial]
        _box(ax, place, 1, facecolor=color, edgecolor="white")
        look = {**centered, "color": style.ink_on(color)}
        for number, line in enumerate(map(labels.plain, texts)):
            offset = 0, 1.25 * first * ((len(texts) - 1) / 2 - number)
            look["fontsize"] = other if number else first
            ax.annotate(line, place, offset, textcoords="offset points", **look)
    ax.set_xlim(-0.5, columns - 0.5)
    ends = (-0.5, rows - 0.5)
    ax.set_ylim(ends if grid.ascending else ends[::-1])
    ax.set_xticks(range(columns), labels.apart(grid.columns))
    if 5.4 * max(map(len, grid.columns)) > width:
        ax.tick_params(axis="x", labelrotation=90)
    ax.set_yticks(range(rows), labels.wrapped(grid.rows, 20))
    ax.set_xlabel(labels.plain(settings.words(grid.x)))
    ax.set_ylabel(labels.plain(settings.words(grid.y)))
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0, labelcolor=style.INK)


def _letters(
    cells: list[list[str]], width: float, height: float
) -> tuple[float, float]:
    """Returns letter sizes of a cell's first line and of its others, so that all fit.

    Width and height of a cell are in points.
    """
    most = max(map(len, cells), default=1)
    sizes = []
    for part in (slice(0, 1), slice(1, None)):
        longest = max((len(text) for texts in cells for text in texts[part]), default=1)
        room = min(height / (1.4 * most), 0.94 * width / (0.6 * longest))
        sizes.append(float(np.clip(room, 4.0, 8.5)))
    first, other = sizes
    return first, min(other, first, max(0.85 * first, 6.0))


def _box(ax: Axes, place: tuple[int, ...], size: float, **look: Any) -> None:
    corner = (place[0] - size / 2, place[1] - size / 2)
    ax.add_patch(Rectangle(corner, size, size, **look))
