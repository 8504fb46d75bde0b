# SPDX-License-Identifier: Apache-2.0
"""Gradient norms of a network's layers during training, as a map and as lines.

Norms span decades, and those of a dead network are exactly 0. So scales are
logarithmic, and 0 has its own colour.
"""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.ticker import MaxNLocator

from nnlab.report.figures.drawing import captions, curves, labels, scales, style
from nnlab.report.figures.drawing.captions import Sketch, need
from nnlab.report.figures.drawing.paper import side_by_side
from nnlab.report.trials import trial_name
from nnlab.statistics.findings import Findings
from nnlab.statistics.intervals import band
from nnlab.statistics.ranking import worst_trial

COLORS = matplotlib.colormaps["viridis"]
ZERO = "#c3c8ce"
PREFIX = "grad_norm_"
FEW_LAYERS = 6  # up to here all have a line
SHARES = (0, 30, 60, 90, 95)  # beyond, in percent of the hidden layers, which have one
NAMED_LAYERS = 12  # up to here all are named beside the map
MOST_TRIALS = 4  # beyond, the best and the worst are shown
# If only so small a share of the norms lies more than a decade beyond the others, the
# colours end before them: one exploding step would leave the others one colour.
OUTLYING = 0.005


@dataclasses.dataclass(frozen=True)
class Norms:
    """Gradient norms of one trial's layers, with a title as "best: 0.1 (1 diverged)".

    Attributes:
      curves: norms of each layer but batch norm, in the order of the network, the
        output layer last. Means are over the networks that finished or stopped; if all
        diverged, over those that had not yet.
    """

    trial: int
    title: str
    curves: Mapping[str, curves.Drawn]

    @property
    def epochs(self) -> np.ndarray:
        """Epochs of the evaluations, (E,)."""
        return next(iter(self.curves.values())).x

    @property
    def means(self) -> np.ndarray:
        """Means over the networks, (layers, E)."""
        return np.array([curve.mean for curve in self.curves.values()])

    @property
    def colors(self) -> dict[int, str]:
        """Index and colour of the layers that have a line, from dark on."""
        count = len(self.curves)
        hidden = count - 1
        chosen = {hidden * share // 100 for share in SHARES} | {hidden - 1}
        some = range(hidden) if count <= FEW_LAYERS else sorted(chosen)
        shades = style.ordered_colors(len(some))
        return {**dict(zip(some, shades)), hidden: style.INK}

    @property
    def names(self) -> list[str]:
        """Names of the layers: "0", "1", ..., "output", or "conv 0", ..."""
        *hidden, _ = self.curves
        dense = all(re.fullmatch(r"dense_\d+", layer) for layer in hidden)
        named = (str(n) if dense else w.replace("_", " ") for n, w in enumerate(hidden))
        return [*named, "output"]


def gradients(findings: Findings) -> Sketch:
    """Draws a row for each trial: its map, and beside it its lines."""
    shown = need(collect(findings), "no gradient was measured")
    means = scales.finite([one.means for one in shown])
    ends = _color_ends(means)
    drawn = _positive([one.means[[*one.colors]] for one in shown])
    longest = max(shown, key=lambda one: one.epochs[-1])
    time = {longest.trial: next(iter(longest.curves.values()))}
    columns = side_by_side(2)
    rows = 2 // columns * len(shown)
    canvas = style.canvas(0.8 + 2.5 * rows, style.PAGE)
    panels = canvas.subplots(rows, columns, squeeze=False).reshape(-1, 2)
    for one, (left, right) in zip(shown, panels):
        scales.set_scale(right, "y", scales.LOG, drawn)
        for ax in (left, right):
            curves.set_time_axis(ax, findings, time)
            if ax not in panels.flat[-columns:]:
                ax.set_xlabel("")
        _draw_map(left, one, _norm(ends))
        _draw_lines(right, one)
    _draw_color_bar(panels[:, 0].tolist(), ends, means)
    what = "Gradient norm of each layer by epoch, as a map and as lines"
    dead = any(np.any(one.means[[*one.colors]] == 0) for one in shown)
    caption = (
        f"{what}: a row of the map is a layer, the first at the top; the lines are of "
        "the layers that have a mark at its edge. Each value is the mean over the "
        "batches since the last evaluation of the Euclidean norm of the layer's "
        "gradient (weights and biases together); over the seeds it is the arithmetic "
        f"mean. {'Triangles at the foot are means of exactly 0.' if dead else ''} "
        f"{captions.caption(findings, [one.trial for one in shown], curves=True)}"
    )
    return Sketch("gradients", canvas, what, caption, last_norms(shown))


def collect(findings: Findings) -> list[Norms]:
    """Returns the norms of all trials that have any.

    Of more than `MOST_TRIALS`, of the best and the worst, or of the first ones if none
    is best.
    """
    measured = [t for t in findings.ran if _layers(findings, t)]
    named = dict.fromkeys(measured, "")
    if len(measured) > MOST_TRIALS:
        ends = findings.best_of(measured), worst_trial(findings.results, measured)
        pairs = zip(ends, ("best: ", "worst: "))
        named = {t: name for t, name in pairs if t is not None}
        named = named or dict.fromkeys(measured[:MOST_TRIALS], "")
    titles = [f"{name}{trial_name(findings.results, t)}" for t, name in named.items()]
    return list(map(_norms, [findings] * len(named), named, labels.apart(titles, 44)))


def _layers(findings: Findings, trial: int) -> list[str]:
    results = findings.results
    return [
        layer
        for layer in results.program(trial)["layers"]
        if not layer.startswith("batch_norm")
        and PREFIX + layer in results.metrics
        and np.isfinite(results.curve(trial, PREFIX + layer).values).any()
    ]


def _norms(findings: Findings, trial: int, title: str) -> Norms:
    found = {}
    for layer in _layers(findings, trial):
        curve = curves.curve_of(findings, trial, PREFIX + layer)
        assert curve is not None
        if not np.isfinite(curve.mean).any():
            mean, low, high = band(curve.lost, findings.results.study.bands)
            curve = curve._replace(mean=mean, low=low, high=high)
        found[layer] = curve
    return Norms(trial, f"{title} {labels.fate_of(findings, trial)}".strip(), found)


def _positive(arrays: Sequence[np.ndarray]) -> np.ndarray:
    values = scales.finite(arrays)
    values = values[values > 0]
    return values if values.size else np.ones(1)


def _color_ends(means: np.ndarray) -> tuple[float, float]:
    """Returns the ends of the colours that all maps share, as powers of 10."""
    logs = np.log10(_positive([means]))
    low, high = (float(q) for q in np.quantile(logs, (OUTLYING, 1 - OUTLYING)))
    low = low if logs.min() < low - 1 else float(logs.min())
    high = high if logs.max() > high + 1 else float(logs.max())
    return low, max(high, low + 0.01)


def _norm(ends: tuple[float, float]) -> LogNorm:
    return LogNorm(10.0 ** ends[0], 10.0 ** ends[1])


def _draw_map(ax: Axes, norms: Norms, norm: LogNorm) -> None:
    """Draws each layer's mean norm as a row, with a cell between two evaluations.

    Grey is a norm of exactly 0; white was not measured.
    """
    trained = norms.epochs > 0  # there is no gradient before training
    edges = np.concatenate([[0.0], norms.epochs[trained]])
    means = norms.means[:, trained]
    rows = np.arange(len(means) + 1) - 0.5
    zero = np.ma.masked_where(means != 0, means)
    means = np.ma.masked_where(~(means > 0), means)
    # As images within the SVG: there may be ten thousand cells.
    ax.pcolormesh(edges, rows, means, cmap=COLORS, norm=norm, rasterized=True)
    ax.pcolormesh(edges, rows, zero, cmap=ListedColormap([ZERO]), rasterized=True)
    names = norms.names
    places = list(range(len(names)))
    if len(names) > NAMED_LAYERS:
        last = places[-1]
        ticks = MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]).tick_values(0, last)
        places = [*(int(t) for t in ticks if 0 <= t <= 0.94 * last), last]
    ax.set_yticks(places, labels.apart([names[place] for place in places], 14))
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.tick_params(color=style.MUTED, labelcolor=style.INK, length=3)
    ax.spines[:].set_visible(False)
    ax.set_ylabel("layer")
    ax.set_title(norms.title, fontsize=9, loc="left")
    edge = ax.get_xlim()[1]
    for place, color in norms.colors.items():
        ax.plot(edge, place, marker="<", markersize=4, color=color, clip_on=False)


def _draw_color_bar(
    axes: Sequence[Axes], ends: tuple[float, float], means: np.ndarray
) -> None:
    """Draws a colour bar below the maps, which also explains grey."""
    low, high = ends
    logs = np.log10(means[means > 0])
    beyond = bool(np.any(logs < low)), bool(np.any(logs > high))
    ticks = scales.ticks(scales.LOG, ends)
    powers = [tick for tick in ticks if math.log10(tick).is_integer()]
    kept: list[float] = []
    for tick in powers if len(powers) > 2 else ticks:
        if not kept or math.log10(tick / kept[-1]) > 0.18 * (high - low):
            kept.append(tick)  # a text as long as "0.0001" has room
    named = {tick: _text(tick) for tick in kept}
    label = f"gradient norm{'; grey: exactly 0' * bool(np.any(means == 0))}"
    bar = _norm(ends), COLORS
    style.color_bar(axes, bar, named, label, beyond=beyond, location="bottom")


def _text(norm: float) -> str:
    return re.sub(r"e\+?(-?)0*", r"e\1", f"{norm:.6g}")


def _draw_lines(ax: Axes, norms: Norms) -> None:
    """Draws the norms of the layers of `Norms.colors`; bands end at the axes' foot."""
    ax.yaxis.set_major_formatter(lambda norm, _: _text(norm))
    foot = ax.get_ylim()[0]
    every = [*norms.curves.values()]
    ends = []
    for place, color in norms.colors.items():
        curve = every[place]
        zero = curve.mean == 0
        for x in curve.x[zero]:
            ax.plot(x, foot, marker="v", markersize=3, color=color, clip_on=False)
        mean, low, high = (np.where(zero, np.nan, a) for a in curve[2:5])
        above = curve._replace(mean=mean, low=np.maximum(low, foot), high=high)
        name = labels.Name(norms.names[place], norms.names[place])
        curves.draw_curve(ax, above, color, scales.LOG, name, ends=False)
        known = np.flatnonzero(np.isfinite(mean))
        at = known[-1] if known.size else len(mean) - 1
        end = float(curve.x[at]), max(float(curve.mean[at]), foot)
        ends.append(labels.End(color, *end, norms.names[place]))
    style.dress(ax)
    labels.label_ends(ax, ends, "layer")
    ax.set_ylabel("gradient norm")


def last_norms(shown: Sequence[Norms]) -> str:
    """Says the last norms of the first and of the last layer, trial by trial."""
    said = []
    for one in shown:
        last = (row[np.isfinite(row)][-1:] for row in one.means[[0, -1]])
        first, output = (f"{v[0]:.2g}" if v.size else "none" for v in last)
        of = f"{one.title}: " if len(shown) > 1 else ""
        said.append(f"{of}{first} in the first layer, {output} in the output layer")
    return f"At the end {'; '.join(said)}."
