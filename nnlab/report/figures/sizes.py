# SPDX-License-Identifier: Apache-2.0
"""Accuracy against the size of networks: depth, width, parameters and training time."""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter
from matplotlib.transforms import Bbox

from nnlab.report.figures.drawing import captions, labels, scales, style
from nnlab.report.figures.drawing.captions import Sketch, need
from nnlab.report.figures.drawing.levels import (
    Level,
    draw_level,
    level_of,
    levels_of,
    note_levels,
)
from nnlab.report.figures.drawing.paper import side_by_side
from nnlab.report.figures.drawing.points import Place, draw_points
from nnlab.report.figures.drawing.scales import Scale
from nnlab.report.figures.learning import SECONDS
from nnlab.report.scores import score_of
from nnlab.report.trials import Sweep, baselines, trial_name
from nnlab.statistics.findings import Findings
from nnlab.words import numbers, settings

Along = Literal["depth", "width", "parameters", "seconds"]
ALONG: tuple[Along, ...] = ("depth", "width", "parameters", "seconds")
OTHER: dict[Along, Along] = {"depth": "width", "width": "depth"}
LABEL_SIZE = 7.0  # points
LETTER = 0.62 * LABEL_SIZE  # width of a letter, points
NO_SEEDS = np.empty(0)  # have points here
MARKER = 5.0  # half a marker with its ring, points
# Where a point's name may stand, relative to the point or its interval's end; the best
# places first.
PLACES = (
    *((1.0, 0.0), (-1.0, 0.0), (1.0, 0.7), (1.0, -0.7), (-1.0, 0.7), (-1.0, -0.7)),
    *((0.0, 1.0), (0.0, -1.0), (0.5, 1.0), (0.5, -1.0), (-0.5, 1.0), (-0.5, -1.0)),
)


@dataclasses.dataclass(frozen=True)
class Size:
    """A trial with its final test accuracy; its name is such as "6 x 64".

    Attributes:
      depth, width: hidden layers of a fully connected network and their units, if all
        layers have equally many; else None.
      parameters: None for baselines.
      seconds: training time of one network; NaN if it was not timed.
    """

    trial: int
    name: str
    depth: int | None
    width: int | None
    parameters: int | None
    seconds: float
    accuracy: Level


def against_sizes(findings: Findings) -> Sketch:
    """Draws a panel for each size along which trials can be compared."""
    compared = sizes_of(findings)
    why = "fewer than two networks of a data set have a depth and one width"
    need(sum(size.depth is not None for size in compared) > 1, why)
    along = panels(compared)
    columns = side_by_side(len(along))
    rows = math.ceil(len(along) / columns)
    canvas = style.canvas(0.3 + 2.7 * rows, style.PAGE)
    notes = [SECONDS] if "seconds" in along else []
    for number, name in enumerate(along):
        ax = style.panel(canvas, number, len(along))
        draw(ax, findings, compared, name)
        if name not in OTHER and len(ax.texts) < len(costing(compared, name)):
            notes.append("Names without room are left out.")
        if number % columns:
            ax.set_ylabel("")
            ax.tick_params(labelleft=False)
    score = score_of(findings.results)
    what = f"Final test {score.name} against {numbers.joined(along)}"
    every = range(len(findings.results.trials))
    if len(levels_of(findings, every, _tested(findings))) > len(compared):
        notes.append(
            "Of trials with networks of one size, the best by validation is shown."
        )
    if dead := sum(not findings.alive(t).any() for t in findings.ran):
        count, verb = numbers.count(dead, "trial"), "is" if dead == 1 else "are"
        notes.append(f"{count} {verb} not shown, since no network reached the end.")
    notes.append(captions.beside(findings, _tested(findings)))
    notes.append(captions.error_scale(canvas))
    shown = [size.trial for size in compared]
    caption = (
        f"{what}: a point is a trial, its line the 95 % interval. "
        f"{captions.rings(findings)} {' '.join(dict.fromkeys(notes))} "
        f"{captions.caption(findings, shown)}"
    )
    seen = captions.ends(findings, _tested(findings), shown)
    return Sketch("sizes", canvas, what, caption, seen)


def sizes_of(findings: Findings) -> tuple[Size, ...]:
    """Returns the sizes that are compared, in the order of the sweep.

    Of several trials with the same depth and width, only the best by validation counts.
    Trials on different data sets are not compared.
    """
    trials = findings.results.trials
    if len({t.hyperparameters.data for t in trials}) > 1:
        return ()
    groups: dict[object, list[int]] = {}
    for trial in range(len(trials)):
        groups.setdefault(_shape(findings, trial) or trial, []).append(trial)
    best = (t[0] if len(t) == 1 else findings.best_of(t) for t in groups.values())
    found = (
        _size(findings, trial) for trial in sorted(t for t in best if t is not None)
    )
    return tuple(size for size in found if size is not None)


def _tested(findings: Findings) -> str:
    return score_of(findings.results).of("test")


def _shape(findings: Findings, trial: int) -> tuple[int, int] | None:
    """Returns depth and width of a network whose layers are equally wide."""
    model = findings.results.trials[trial].hyperparameters.model
    if model.name != "mlp" or len(set(model.units)) != 1:
        return None
    return len(model.units), model.units[0]


def _size(findings: Findings, trial: int) -> Size | None:
    """Returns a trial's size; None if none of its networks finished or stopped."""
    results = findings.results
    accuracy = level_of(findings, trial, _tested(findings))
    if accuracy is None:
        return None
    model = results.trials[trial].hyperparameters.model
    depth, width = _shape(findings, trial) or (None, None)
    name = f"{depth} x {width}" if depth else trial_name(results, trial)
    if not depth and model.name == "mlp" and model.units:
        name = settings.value_text(model.units)
    parameters = results.program(trial)["parameters"]
    seconds = _seconds(findings, trial)
    return Size(trial, name, depth, width, parameters, seconds, accuracy)


def _seconds(findings: Findings, trial: int) -> float:
    """Returns the seconds of training one network or baseline; NaN if not timed."""
    results = findings.results
    program = results.program(trial)
    if not results.trials[trial].hyperparameters.model.is_network:
        fits = findings.timings(program["index"])
        return float(np.mean([f["train_seconds"] for f in fits])) if fits else math.nan
    # Epochs take equally long, and networks that stopped early have fewer.
    seconds = findings.seconds_per_epoch(program["index"])
    steps = results.member(trial, "steps")[findings.alive(trial)]
    epochs = steps.astype(float).mean() / program["steps_per_epoch"]
    return float(seconds.mean() * epochs) if seconds.size else math.nan


def lines(sizes: Sequence[Size], along: Along) -> dict[int, list[Size]]:
    """Returns lines of two points or more along depth, by width, or the reverse."""

    def key(size: Size) -> tuple[int, int]:
        return getattr(size, OTHER[along]), getattr(size, along)

    shaped = sorted((size for size in sizes if size.depth is not None), key=key)
    groups = itertools.groupby(shaped, lambda size: key(size)[0])
    found = {value: list(of_line) for value, of_line in groups}
    return {value: line for value, line in found.items() if len(line) > 1}


def costing(sizes: Sequence[Size], along: Along) -> list[Size]:
    """Returns those whose parameters, or seconds, are known."""
    return [size for size in sizes if (getattr(size, along) or 0) > 0]


def panels(sizes: Sequence[Size]) -> list[Along]:
    """Returns the sizes along which there is something to draw."""
    return [a for a in ALONG if (lines if a in OTHER else costing)(sizes, a)]


def draw(ax: Axes, findings: Findings, sizes: Sequence[Size], along: Along) -> None:
    """Draws the final test accuracy against one of `panels`.

    Along depth there is a line for each width, and along width one for each depth.
    Along parameters and seconds every trial is a point, coloured by depth, with its
    name where there is room in the present size of `ax`.
    """
    core = np.array([size.accuracy.mean for size in sizes])
    scale = scales.scale_of(findings.results, _tested(findings), core)
    ends = scales.finite(size.accuracy[1:] for size in sizes)
    view = scales.view_of(scale, core, ends)
    scales.set_metric_axis(ax, scale, _tested(findings), view)
    (_draw_lines if along in OTHER else _draw_costs)(ax, findings, sizes, along, scale)
    style.dress(ax)


def _draw_lines(
    ax: Axes, findings: Findings, sizes: Sequence[Size], along: Along, scale: Scale
) -> None:
    drawn = lines(sizes, along)
    points = [size for line in drawn.values() for size in line]
    values = sorted({float(getattr(size, along)) for size in points})
    texts = tuple(f"{value:g}" for value in values)
    spaced: Literal["log", "linear"]
    spaced = "log" if settings.is_log_like(values) else "linear"
    sweep = Sweep(along, tuple(values), texts, ("",) * len(values), spaced)
    scales.set_sweep_axis(ax, sweep)
    tints = _tints(sizes, OTHER[along])
    marks = style.rings(findings)
    ax.plot([], [], linestyle="", label=OTHER[along])
    for value, line in drawn.items():
        color, name = tints[value], f"{OTHER[along]} {value}"
        at = [getattr(size, along) for size in line]
        middle = [min(size.accuracy.mean, scale.ceiling) for size in line]
        ax.plot(at, middle, color=color, linewidth=1.2)
        for x, size in zip(at, line):
            place = Place(scale, x, line=name, line_color=color)
            called = labels.called(findings, size.trial, name)._replace(full=size.name)
            of, ring = (NO_SEEDS, size.accuracy, color, called), marks.get(size.trial)
            draw_points(ax, place, *of, ring=ring)
        ax.plot([], [], color=color, marker="o", markersize=4, label=f"{value}")
    beside = baselines(findings.results)
    across = [size for size in sizes if size.trial in beside]
    for size in across:
        called = labels.called(findings, size.trial)
        draw_level(ax, size.accuracy, style.colors(findings)[size.trial], scale, called)
    if across:

        def room(x: float) -> float:
            """Returns how far the points at x are from the baselines."""
            here = [s.accuracy.mean for s in points if getattr(s, along) == x]
            levels = [size.accuracy.mean for size in across]
            apart = np.subtract.outer(scale.forward(here), scale.forward(levels))
            return float(np.abs(apart).min())

        named = {size.name: size.accuracy for size in across}
        note_levels(ax, named, right=room(values[-1]) >= room(values[0]))
    look = {**labels.LEGEND, "handlelength": 1.0, "borderaxespad": 0.2}
    look |= {"handletextpad": 0.4, "columnspacing": 0.9, "ncols": 7}
    ax.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), **look)


def _draw_costs(
    ax: Axes, findings: Findings, sizes: Sequence[Size], along: Along, scale: Scale
) -> None:
    drawn = costing(sizes, along)
    costs = np.array([float(getattr(size, along)) for size in drawn])
    # Room for the names of the outermost points.
    span = max(costs.max() / costs.min(), 2.0)
    view = np.array([costs.min() / span**0.06, costs.max() * span**0.2])
    scales.set_scale(ax, "x", scales.LOG, view)
    if along == "parameters":
        ax.xaxis.set_major_formatter(EngFormatter(sep=" "))
    ax.set_xlabel("seconds of training" if along == "seconds" else along)
    tints = _tints(sizes, "depth")
    beside, marks = baselines(findings.results), style.rings(findings)
    for x, size in zip(costs, drawn):
        color, marker = tints.get(size.depth, style.MUTED), "o"
        if size.trial in beside:
            color, marker = style.colors(findings)[size.trial], "D"
        group = f"depth {size.depth}" if size.depth in tints else size.name
        called = labels.called(findings, size.trial, group)._replace(full=size.name)
        of = NO_SEEDS, size.accuracy, color, called
        draw_points(ax, Place(scale, x), *of, ring=marks.get(size.trial), marker=marker)
    _name_points(ax, costs, drawn, scale)


def _tints(sizes: Sequence[Size], by: Along) -> dict[int | None, str]:
    """Returns a colour for each depth or width, dark for small ones."""
    values = sorted({getattr(size, by) for size in sizes if size.depth is not None})
    shades = style.ordered_colors(len(values), "plasma" if by == "depth" else "viridis")
    return dict(zip(values, shades))


def _name_points(
    ax: Axes, costs: np.ndarray, sizes: Sequence[Size], scale: Scale
) -> None:
    """Writes names beside points where they cover no point and no other name.

    They cover no interval either, if there is such a place.
    """
    # Names have some air, since constrained layout has yet to set the axes' size.
    box = ax.get_window_extent()
    unit = 72 / ax.figure.dpi  # points a dot
    inside = Bbox.from_bounds(0.0, 0.0, box.width * unit, box.height * unit)
    # Of each point: x, and y of its centre and of its interval's ends, in points.
    places = []
    for x, size in zip(costs, sizes):
        ends = np.nan_to_num(np.array(size.accuracy), nan=size.accuracy.mean)
        levels = np.clip(ends, *ax.get_ylim())
        dots = ax.transData.transform([(x, level) for level in levels])
        places.append((dots - box.p0) * unit)
    bars = [
        _box(x, (low + high) / 2, 2.5, high - low)
        for (x, _), (_, low), (_, high) in places
    ]
    taken = [_box(x, middle, 2 * MARKER, 2 * MARKER) for (x, middle), _, _ in places]
    look: style.Look = {
        "textcoords": "offset points",
        "fontsize": LABEL_SIZE,
        "color": style.INK,
    }
    look |= {"ha": "center", "va": "center"}
    names = labels.apart([size.name for size in sizes], 24)
    for number in np.argsort(costs, kind="stable"):
        text = names[number]
        rooms = _rooms(text, places[number])
        free = [
            room
            for room in rooms
            if all(inside.contains(*corner) for corner in room.corners())
            and not room.count_overlaps(taken)
        ]
        best = min(free, key=lambda room: room.count_overlaps(bars), default=None)
        if best is None:
            continue
        taken.append(best)
        at = costs[number], min(sizes[number].accuracy.mean, scale.ceiling)
        middle = (best.p0 + best.p1) / 2
        ax.annotate(text, at, tuple(middle - places[number][0]), **look)


def _rooms(text: str, place: np.ndarray) -> list[Bbox]:
    """Returns where a name may stand, the best places first."""
    (left, middle), (_, low), (_, high) = place
    width, height = LETTER * len(text), 1.2 * LABEL_SIZE
    rooms = []
    for right, up in PLACES:
        end = middle if abs(up) < 1 else high if up > 0 else low
        x = left + right * (MARKER + 1.0 + width / 2)
        y = end + up * (MARKER + 1.0 + height / 2)
        rooms.append(_box(x, y, width, height))
    return rooms


def _box(x: float, y: float, width: float, height: float) -> Bbox:
    return Bbox.from_bounds(x - width / 2, y - height / 2, width, height)
