# SPDX-License-Identifier: Apache-2.0
"""Gradient norms of a network's layers along training, as a map and as lines.

`draw_map` and `draw_lines` draw on an Axes and return it. Norms span decades, and those
of a dead network are exactly 0: scales are logarithmic, and a 0 is told apart from what
was not measured. No pyplot, hence no global state.
"""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.ticker import MaxNLocator

from nnlab.report import trials
from nnlab.report.figures.drawing import labels, scales, style
from nnlab.report.figures.drawing.curves import (
    Drawn,
    curve_of,
    draw_curve,
    set_time_axis,
)
from nnlab.results import STOPPED, Results
from nnlab.statistics.intervals import mean_interval
from nnlab.statistics.members import status_counts
from nnlab.statistics.ranking import best_trial, worst_trial

COLORS = matplotlib.colormaps["viridis"]
ZERO = "#c3c8ce"
PREFIX = "grad_norm_"
FEW_LAYERS = 6  # up to here all have a line
SHARES = (0, 30, 60, 90, 95)  # beyond, in percent of the hidden layers, which have one
NAMED_LAYERS = 12  # up to here all are named beside the map
MOST_TRIALS = 4  # beyond, the best and the worst are shown
# An end of the colours that is more than a decade away from all but so large a share of
# the norms comes nearer: one step that explodes would leave the others one colour.
OUTLYING = 0.005
LOG = scales.Scale("log", False, math.inf)


@dataclasses.dataclass(frozen=True)
class Norms:
    """Gradient norms of one trial's layers.

    Attributes:
      trial: its index.
      title: what the trial is called: "best: 0.1 (1 diverged)".
      curves: for each layer but batch norm, in the order of the network, the output
        layer last: its norms, with means over the members that finished or stopped; if
        all diverged, over those that had not yet.
    """

    trial: int
    title: str
    curves: Mapping[str, Drawn]

    @property
    def epochs(self) -> np.ndarray:
        """Of the evaluations, (E,)."""
        return next(iter(self.curves.values())).x

    @property
    def means(self) -> np.ndarray:
        """Means over the members, (layers, E)."""
        return np.array([curve.mean for curve in self.curves.values()])

    @property
    def chosen(self) -> list[int]:
        """Which layers have a line, by their place among the layers."""
        count = len(self.curves)
        if count <= FEW_LAYERS:
            return list(range(count))
        hidden = count - 1
        return sorted(
            {hidden * share // 100 for share in SHARES} | {hidden - 1, hidden}
        )

    def names(self) -> list[str]:
        """What the layers are called: "0", "1", ..., "output", or "conv 0", ..."""
        *hidden, _ = self.curves
        dense = all(re.fullmatch(r"dense_\d+", layer) for layer in hidden)
        named = (str(n) if dense else w.replace("_", " ") for n, w in enumerate(hidden))
        return [*named, "output"]


def collect(results: Results) -> list[Norms]:
    """The norms that are shown: of all trials that have any; of many, best and worst.

    Where there are more than `MOST_TRIALS` and none of them is best, the first ones.
    """
    measured = [
        t.index
        for t in results.trials
        if results.has_run(t.index) and _layers(results, t.index)
    ]
    named = dict.fromkeys(measured, "")
    if len(measured) > MOST_TRIALS:
        best = best_trial(results, measured)
        worst = worst_trial(results, measured)
        extremes = {best: "best: ", worst: "worst: "}
        named = {t: extremes[t] for t in (best, worst) if t in measured}
        named = named or dict.fromkeys(measured[:MOST_TRIALS], "")
    return [_norms(results, trial, name) for trial, name in named.items()]


def _layers(results: Results, trial: int) -> list[str]:
    """A trial's layers whose norms were measured, without batch norm."""
    return [
        layer
        for layer in results.program(trial)["layers"]
        if not layer.startswith("batch_norm")
        and PREFIX + layer in results.metrics
        and np.isfinite(results.curve(trial, PREFIX + layer).values).any()
    ]


def _norms(results: Results, trial: int, name: str) -> Norms:
    curves = {}
    for layer in _layers(results, trial):
        curve = curve_of(results, trial, PREFIX + layer, "epoch")
        assert curve is not None
        if not np.isfinite(curve.mean).any():
            mean, low, high = mean_interval(curve.lost)
            curve = curve._replace(mean=mean, low=low, high=high)
        curves[layer] = curve
    stopped = status_counts(results, trial)[STOPPED]
    fate = labels.fate_of(results, trial, stopped)
    called = labels.plain(f"{name}{trials.trial_name(results, trial)}", 44)
    return Norms(trial, f"{called} {fate}".strip(), curves)


def _color_scale(shown: Sequence[Norms]) -> tuple[float, float]:
    """Ends of the colours that all maps share, as powers of 10."""
    logs = np.log10(_positive([norms.means for norms in shown]))
    low, high = (float(q) for q in np.quantile(logs, (OUTLYING, 1 - OUTLYING)))
    low = low if logs.min() < low - 1 else float(logs.min())
    high = high if logs.max() > high + 1 else float(logs.max())
    return low, max(high, low + 0.01)


def _positive(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """All finite values above 0; where there is none, 1."""
    values = scales.finite(arrays)
    values = values[values > 0]
    return values if values.size else np.ones(1)


def _set_epochs(
    ax: Axes, results: Results, norms: Norms, beside: Sequence[Norms]
) -> None:
    """An x axis as long as the longest training that is shown."""
    longest = max((one.epochs for one in beside), key=lambda epochs: epochs[-1])
    set_time_axis(ax, results, "epoch", {norms.trial: longest})


def draw_map(ax: Axes, results: Results, norms: Norms, beside: Sequence[Norms]) -> Axes:
    """Draws the mean norm of each layer, a row, in each stretch between evaluations.

    The first layer is at the top. Grey is a norm of exactly 0; white was not measured.
    Marks at the right edge have the colours of the layers' lines.

    Args:
      ax: where to draw.
      results: what the study found.
      norms: of one trial.
      beside: of all trials that are shown, whose maps share their colours.

    Returns:
      `ax`.
    """
    trained = norms.epochs > 0  # there is no gradient before training
    edges = np.concatenate([[0.0], norms.epochs[trained]])
    means = norms.means[:, trained]
    rows = np.arange(len(means) + 1) - 0.5
    low, high = _color_scale(beside)
    # As images within the SVG: there may be ten thousand cells.
    ax.pcolormesh(
        edges,
        rows,
        np.ma.masked_where(~(means > 0), means),
        cmap=COLORS,
        norm=LogNorm(10.0**low, 10.0**high),
        rasterized=True,
    )
    zero = np.ma.masked_where(means != 0, means)
    ax.pcolormesh(edges, rows, zero, cmap=ListedColormap([ZERO]), rasterized=True)
    names = norms.names()
    places = list(range(len(names)))
    if len(names) > NAMED_LAYERS:
        last = places[-1]
        ticks = MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]).tick_values(0, last)
        places = [*(int(t) for t in ticks if 0 <= t <= 0.94 * last), last]
    ax.set_yticks(places, [labels.plain(names[place], 14) for place in places])
    ax.set_ylim(len(names) - 0.5, -0.5)
    _set_epochs(ax, results, norms, beside)
    ax.tick_params(color=style.MUTED, labelcolor=style.INK, length=3)
    ax.spines[:].set_visible(False)
    ax.set_ylabel("layer")
    ax.set_title(norms.title, fontsize=9, loc="left")
    edge = ax.get_xlim()[1]
    for place, color in _line_colors(norms).items():
        ax.plot(edge, place, marker="<", markersize=4, color=color, clip_on=False)
    return ax


def _line_colors(norms: Norms) -> dict[int, str]:
    """A colour for each chosen layer, from dark to light; the output's is ink."""
    *hidden, output = norms.chosen
    shades = style.ordered_colors(len(hidden))
    return {**dict(zip(hidden, shades)), output: style.INK}


def draw_color_bar(axes: Sequence[Axes], shown: Sequence[Norms]) -> None:
    """A colour bar below the maps, which says what grey is."""
    low, high = _color_scale(shown)
    means = scales.finite([norms.means for norms in shown])
    logs = np.log10(means[means > 0])
    beyond = bool(np.any(logs < low)), bool(np.any(logs > high))
    extend = {(True, True): "both", (True, False): "min", (False, True): "max"}
    bar = axes[0].figure.colorbar(
        ScalarMappable(LogNorm(10.0**low, 10.0**high), COLORS),
        ax=list(axes),
        location="bottom",
        aspect=30,
        pad=0.02,
        extend=extend.get(beyond, "neither"),
    )
    ticks = scales.ticks(LOG, (low, high))
    powers = [tick for tick in ticks if math.log10(tick).is_integer()]
    kept: list[float] = []
    for tick in powers if len(powers) > 2 else ticks:
        if not kept or math.log10(tick / kept[-1]) > 0.18 * (high - low):
            kept.append(tick)  # a text as long as "0.0001" has room
    bar.set_ticks(kept, labels=[_text(tick) for tick in kept])
    zero = "; grey: exactly 0" if np.any(means == 0) else ""
    style.dress_bar(bar, f"gradient norm{zero}")


def _text(norm: float) -> str:
    """A norm with few digits, such as "0.03" or "1e-7"."""
    return re.sub(r"e\+?(-?)0*", r"e\1", f"{norm:.6g}")


def draw_lines(
    ax: Axes, results: Results, norms: Norms, beside: Sequence[Norms]
) -> Axes:
    """Draws the norms of `Norms.chosen` layers against epochs, with their bands.

    Means over the members and 95 % Student-t bands, which end at the foot of the axes
    where they reach 0; triangles at the foot where a mean is exactly 0.

    Args:
      ax: where to draw.
      results: what the study found.
      norms: of one trial.
      beside: of all trials that are shown, whose lines share their limits.

    Returns:
      `ax`.
    """
    means = [one.means[one.chosen] for one in beside]
    scales.set_scale(ax, "y", LOG, _positive(means))
    ax.yaxis.set_major_formatter(lambda norm, _: _text(norm))
    _set_epochs(ax, results, norms, beside)
    foot = ax.get_ylim()[0]
    names, curves = norms.names(), [*norms.curves.values()]
    ends = []
    for place, color in _line_colors(norms).items():
        curve = curves[place]
        zero = curve.mean == 0
        for x in curve.x[zero]:
            ax.plot(x, foot, marker="v", markersize=3, color=color, clip_on=False)
        mean, low, high = (np.where(zero, np.nan, a) for a in curve[2:5])
        above = curve._replace(mean=mean, low=np.maximum(low, foot), high=high)
        line = "--" if curve.running else "-"
        draw_curve(ax, above, color, LOG, False, line)
        known = np.flatnonzero(np.isfinite(mean))
        at = known[-1] if known.size else len(mean) - 1
        ends.append((color, float(curve.x[at]), max(float(curve.mean[at]), foot)))
    style.dress(ax)
    named = [(names[place], "") for place in norms.chosen]
    labels.label_ends(ax, named, ends, "layer")
    ax.set_ylabel("gradient norm")
    return ax
