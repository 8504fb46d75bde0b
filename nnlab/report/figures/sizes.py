# SPDX-License-Identifier: Apache-2.0
"""Accuracy against the size of networks: depth, width, parameters and training time.

`draw` draws on an Axes and returns it; the accuracy's axis is alike in all panels. No
pyplot, hence no global state.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.ticker import EngFormatter
from matplotlib.transforms import Bbox

from nnlab.report import trials
from nnlab.report.figures.drawing import labels, scales, style
from nnlab.report.figures.drawing.levels import Level, draw_level, level_of, note_levels
from nnlab.report.figures.drawing.points import draw_points
from nnlab.report.figures.drawing.scales import Scale
from nnlab.results import Results
from nnlab.statistics.members import alive, seconds_per_epoch
from nnlab.statistics.ranking import best_trial
from nnlab.words import settings

Along = Literal["depth", "width", "parameters", "seconds"]
ALONG: tuple[Along, ...] = ("depth", "width", "parameters", "seconds")
VIRIDIS_END = 0.75  # up to here it keeps a contrast of 2 to white
LABEL_SIZE = 7.0  # points
LETTER = 0.62 * LABEL_SIZE  # width of a letter, points
MARKER = 5.0  # half a marker with its ring, points
# Where a point's name may stand: right of it, and up of it or of its interval's end;
# the best places first.
PLACES = (
    *((1.0, 0.0), (-1.0, 0.0), (1.0, 0.7), (1.0, -0.7), (-1.0, 0.7), (-1.0, -0.7)),
    *((0.0, 1.0), (0.0, -1.0), (0.5, 1.0), (0.5, -1.0), (-0.5, 1.0), (-0.5, -1.0)),
)


@dataclasses.dataclass(frozen=True)
class Size:
    """A trial with its final test accuracy.

    Attributes:
      trial: its index.
      name: such as "6 x 64".
      depth: hidden layers of a fully connected network whose layers have equally many
        units; None for other models.
      width: how many units they have; None likewise.
      parameters: None for baselines.
      seconds: of training one of them; NaN if it was not timed.
      accuracy: mean over the finished and stopped members, and its 95 % interval.
    """

    trial: int
    name: str
    depth: int | None
    width: int | None
    parameters: int | None
    seconds: float
    accuracy: Level


def sizes_of(results: Results) -> tuple[Size, ...]:
    """The sizes that are compared, in the order of the sweep.

    Of several trials with networks of one depth and width, which differ in something
    else, the best by validation stands for all. None are compared across data sets.
    """
    if len({t.hyperparameters.data for t in results.trials}) > 1:
        return ()
    groups: dict[object, list[int]] = {}
    for trial in (t.index for t in results.trials):
        groups.setdefault(_shape(results, trial) or trial, []).append(trial)
    found = []
    for same in groups.values():
        best = same[0] if len(same) == 1 else best_trial(results, same)
        if best is not None and (size := _size(results, best)) is not None:
            found.append(size)
    return tuple(sorted(found, key=lambda size: size.trial))


def _shape(results: Results, trial: int) -> tuple[int, int] | None:
    """Depth and width of a fully connected network whose layers are equally wide."""
    model = results.trials[trial].hyperparameters.model
    if model.name != "mlp" or len(set(model.units)) != 1:
        return None
    return len(model.units), model.units[0]


def _size(results: Results, trial: int) -> Size | None:
    """A trial's size; None if none of its members finished or stopped."""
    accuracy = level_of(results, trial, "test_accuracy")
    if accuracy is None:
        return None
    model = results.trials[trial].hyperparameters.model
    depth, width = _shape(results, trial) or (None, None)
    name = f"{depth} x {width}" if depth else trials.trial_name(results, trial)
    if not depth and model.name == "mlp" and model.units:
        name = settings.value_text(model.units)
    return Size(
        trial=trial,
        name=name,
        depth=depth,
        width=width,
        parameters=results.program(trial)["parameters"],
        seconds=_seconds(results, trial),
        accuracy=accuracy,
    )


def _seconds(results: Results, trial: int) -> float:
    """Seconds of training one network, or one baseline, of a trial; NaN if not timed.

    A network's epochs take equally long, and those that stopped early have fewer.
    """
    program = results.program(trial)
    if not results.trials[trial].hyperparameters.model.is_network:
        rows = results.timings.to_pylist()  # of trees, one for each fit
        spent = [r["train_seconds"] for r in rows if r["cohort"] == program["index"]]
        return float(np.mean(spent)) if spent else math.nan
    seconds = seconds_per_epoch(results, program["index"])
    steps = results.member(trial, "steps")[alive(results, trial)]
    epochs = steps.astype(float).mean() / program["steps_per_epoch"]
    return float(seconds.mean() * epochs) if seconds.size else math.nan


def shaped(sizes: Sequence[Size]) -> list[Size]:
    """Those with a depth and a width."""
    return [size for size in sizes if size.depth is not None]


def lines(sizes: Sequence[Size], along: Along) -> dict[int, list[Size]]:
    """The lines along depth, by width, or along width, by depth; two points at least.

    Returns:
      ``{value of the other: sizes, ascending}``, ascending.
    """
    other = "width" if along == "depth" else "depth"

    def key(size: Size) -> tuple[int, int]:
        return getattr(size, other), getattr(size, along)

    groups = itertools.groupby(sorted(shaped(sizes), key=key), lambda s: key(s)[0])
    found = {value: list(of_line) for value, of_line in groups}
    return {value: line for value, line in found.items() if len(line) > 1}


def costing(sizes: Sequence[Size], along: Along) -> list[Size]:
    """Those with so many parameters, or so many seconds, as far as that is known."""
    return [size for size in sizes if (getattr(size, along) or 0) > 0]


def panels(sizes: Sequence[Size]) -> list[Along]:
    """What there is to draw along."""
    return [
        along
        for along in ALONG
        if (lines if along in ("depth", "width") else costing)(sizes, along)
    ]


def draw(ax: Axes, results: Results, sizes: Sequence[Size], along: Along) -> Axes:
    """Draws the final test accuracy, mean and 95 % interval, against a size.

    A ring marks the best trial by validation. Along depth there is a line for each
    width and along width one for each depth, if it has two points; baselines lie across
    the axes in long dashes. Along parameters, and along the seconds of training one
    network, every trial is a point, coloured by depth, with its name where there is
    room for it.

    Args:
      ax: where to draw; names are placed for its present size.
      results: what the study found.
      sizes: all that are compared.
      along: what runs along the x axis, one of `panels`.

    Returns:
      `ax`.
    """
    scale = _set_accuracy_axis(ax, results, sizes)
    if along in ("depth", "width"):
        _draw_lines(ax, results, sizes, along, scale)
    else:
        _draw_costs(ax, results, sizes, along, scale)
    style.dress(ax)
    return ax


def _draw_lines(
    ax: Axes, results: Results, sizes: Sequence[Size], along: Along, scale: Scale
) -> None:
    drawn = lines(sizes, along)
    values = sorted({float(getattr(s, along)) for line in drawn.values() for s in line})
    texts = tuple(f"{value:g}" for value in values)
    spaced: Literal["log", "linear"] = (
        "log" if settings.is_log_like(values) else "linear"
    )
    blank = ("",) * len(values)
    scales.set_sweep_axis(ax, trials.Sweep(along, tuple(values), texts, blank, spaced))
    best = best_trial(results)
    other = "width" if along == "depth" else "depth"
    tints = _tints(sizes, other)
    ax.plot([], [], linestyle="", label=other)
    for value, line in drawn.items():
        color = tints[value]
        at = [getattr(size, along) for size in line]
        middle = [min(size.accuracy.mean, scale.ceiling) for size in line]
        ax.plot(at, middle, color=color, linewidth=1.2, zorder=2)
        for x, size in zip(at, line):
            _draw_point(ax, x, size, color, scale, best)
        ax.plot([], [], color=color, marker="o", markersize=4, label=f"{value}")
    across = [size for size in sizes if size.trial in trials.baselines(results)]
    for size in across:
        color = style.colors(results)[size.trial]
        draw_level(ax, size.accuracy, color, scale)
    if across:
        named = {size.name: size.accuracy for size in across}
        points = [size for line in drawn.values() for size in line]
        first, last = (
            _distance([s for s in points if getattr(s, along) == x], across, scale)
            for x in (values[0], values[-1])
        )
        note_levels(ax, named, right=last >= first)
    ax.legend(
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=7,
        borderaxespad=0.2,
        frameon=False,
        fontsize=8,
        handlelength=1.0,
        handletextpad=0.4,
        columnspacing=0.9,
    )


def _distance(some: Sequence[Size], others: Sequence[Size], scale: Scale) -> float:
    """The least distance between accuracies along the axis."""
    one, other = (
        scale.forward([size.accuracy.mean for size in sizes])
        for sizes in (some, others)
    )
    return float(np.abs(one[:, None] - other).min())


def _draw_costs(
    ax: Axes, results: Results, sizes: Sequence[Size], along: Along, scale: Scale
) -> None:
    drawn = costing(sizes, along)
    costs = np.array([float(getattr(size, along)) for size in drawn])
    # Room for the names of the outermost points.
    span = max(costs.max() / costs.min(), 2.0)
    view = np.array([costs.min() / span**0.06, costs.max() * span**0.2])
    scales.set_scale(ax, "x", Scale("log", False, math.inf), view)
    if along == "parameters":
        ax.xaxis.set_major_formatter(EngFormatter(sep=" "))
    ax.set_xlabel("seconds of training" if along == "seconds" else along)
    best = best_trial(results)
    tints = _tints(sizes, "depth")
    beside = trials.baselines(results)
    for x, size in zip(costs, drawn):
        color = tints.get(size.depth, style.MUTED)
        if size.trial in beside:
            color = style.colors(results)[size.trial]
        marker = "D" if size.trial in beside else "o"
        _draw_point(ax, x, size, color, scale, best, marker)
    _name_points(ax, costs, drawn, scale)


def _set_accuracy_axis(ax: Axes, results: Results, sizes: Sequence[Size]) -> Scale:
    """The y axis, the same in all panels."""
    core = np.array([size.accuracy.mean for size in sizes])
    scale = scales.scale_of(results, "test_accuracy", core)
    ends = scales.finite(np.array(size.accuracy[1:]) for size in sizes)
    scales.set_scale(ax, "y", scale, scales.view_of(scale, core, ends))
    ax.set_ylabel(scales.axis_words("test_accuracy", scale))
    return scale


def _tints(sizes: Sequence[Size], by: str) -> dict[int | None, str]:
    """A colour for each depth or width, dark for small ones."""
    values = sorted({getattr(size, by) for size in shaped(sizes)})
    if by == "depth":
        return dict(zip(values, style.ordered_colors(len(values))))
    places = np.linspace(0, VIRIDIS_END, max(len(values), 2))
    return dict(zip(values, map(to_hex, matplotlib.colormaps["viridis"](places))))


def _draw_point(
    ax: Axes,
    x: float,
    size: Size,
    color: str,
    scale: Scale,
    best: int | None,
    marker: str = "o",
) -> None:
    values = np.minimum(np.array(size.accuracy), scale.ceiling)
    draw_points(ax, x, values, color, False, size.trial == best, marker)


def _name_points(
    ax: Axes, costs: np.ndarray, sizes: Sequence[Size], scale: Scale
) -> None:
    """Writes names beside points where they cover no point and no other name.

    Nor an interval, if there is such a place. Constrained layout has yet to find the
    final size of the axes: names have some air.
    """
    box = ax.get_window_extent()
    unit = 72 / ax.figure.dpi  # points a dot
    inside = Bbox.from_bounds(0.0, 0.0, box.width * unit, box.height * unit)
    # Of each point x, and y of its centre and of the ends of its interval, in points.
    places = []
    for x, size in zip(costs, sizes):
        ends = np.nan_to_num(np.array(size.accuracy), nan=size.accuracy.mean)
        levels = np.clip(ends, *ax.get_ylim())
        dots = ax.transData.transform([(x, level) for level in levels])
        places.append((dots - (box.x0, box.y0)) * unit)
    bars = [
        _box(x, (low + high) / 2, 2.5, high - low)
        for (x, _), (_, low), (_, high) in places
    ]
    taken = [_box(x, middle, 2 * MARKER, 2 * MARKER) for (x, middle), _, _ in places]
    for number in np.argsort(costs, kind="stable"):
        text = labels.plain(sizes[number].name, 24)
        width, height = LETTER * len(text), 1.2 * LABEL_SIZE
        (left, middle), (_, low), (_, high) = places[number]
        rooms = []
        for right, up in PLACES:
            end = middle if abs(up) < 1 else high if up > 0 else low
            x = left + right * (MARKER + 1.0 + width / 2)
            y = end + up * (MARKER + 1.0 + height / 2)
            room = _box(x, y, width, height)
            if all(inside.contains(*corner) for corner in room.corners()):
                rooms.append(room)
        free = [room for room in rooms if not room.count_overlaps(taken)]
        best = min(free, key=lambda room: room.count_overlaps(bars), default=None)
        if best is None:
            continue
        taken.append(best)
        ax.annotate(
            text,
            (costs[number], min(sizes[number].accuracy.mean, scale.ceiling)),
            xytext=((best.x0 + best.x1) / 2 - left, (best.y0 + best.y1) / 2 - middle),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=LABEL_SIZE,
            color=style.INK,
        )


def _box(x: float, y: float, width: float, height: float) -> Bbox:
    """A box around a point."""
    return Bbox.from_bounds(x - width / 2, y - height / 2, width, height)
