# SPDX-License-Identifier: Apache-2.0
"""Figures that look at models: what they confuse, what they see, where they are wrong.

`confusion` draws on an Axes. The others fill a whole Figure, 7.2 inches wide say, and
set its height by what there is to show. No pyplot, hence no global state.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import (
    LinearSegmentedColormap,
    ListedColormap,
    Normalize,
    PowerNorm,
)
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from nnlab.report.figures.drawing.labels import plain
from nnlab.report.figures.drawing.style import CATEGORIES, INK, MUTED, RULE
from nnlab.results.pictures import Kernel, Stored

BEST, WORST = CATEGORIES[:2]
BEFORE = "#b4bbc3"
DIAGONAL = "#eef0f3"
COLUMNS = 5  # of images
MOST_BARS = 10  # classes of an example
NAMED_CLASSES = 20  # more have no numbers in the cells, and names only for some
# Two layers whose weights differ by less than this share a scale, so that the eye can
# compare them; beyond it, the smaller would be blank.
SHARED_SCALE = 4.0
TILE = 24  # least side of a unit's image, in dots
# Of classes: light to mid colours (lightness 55 to 86 in CIELAB), each as far from all
# before as can be, for eyes that lack green, too; 24 apart at least.
FILLS = (
    *("#2fbdec", "#ffbd55", "#e3558e", "#139755", "#ecd0bd", "#aa71d9", "#d95e42"),
    *("#00ecd9", "#aae371", "#ecc6ff", "#688e84", "#97844c", "#0097ff", "#8484b3"),
    *("#7b8e09", "#97e3aa", "#b37b7b", "#ffaa84", "#f684d9", "#a1d0d9", "#b37b1c"),
    *("#ffaac6", "#ff7b84", "#e3d084"),
)
MOST_STRETCHED = 2.0  # a plane that is longer than that is drawn as a square


def confusion(ax: Axes, stored: Stored, trial: int, class_names: Sequence[str]) -> Axes:
    """Draws which classes a trial takes for which, over all its living seeds.

    Rows are true classes and sum to 100 %. Only errors are coloured, by the square root
    of their share, since the right answers would drown them; those stand as numbers on
    the diagonal. Up to `NAMED_CLASSES` classes all numbers are written that do not
    round to 0.

    Args:
      ax: where to draw; 7.2 by 5.4 inches suit ten to twenty classes.
      stored: what the run stored.
      trial: which trial.
      class_names: of the C classes.

    Returns:
      `ax`; the colour bar is an axes of its figure.

    Raises:
      ValueError: nothing was stored of that trial.
    """
    if trial not in stored.confusion:
        raise ValueError(
            f"no confusion of trial {trial}; there is one of {sorted(stored.confusion)}"
        )
    seeds = stored.confusion[trial]
    living = int(np.sum(seeds.sum(axis=(1, 2)) > 0))
    if not living:
        ax.set_axis_off()
        ax.text(0.5, 0.5, "no member finished", transform=ax.transAxes, ha="center")
        return ax
    counts = seeds.sum(axis=0)
    size = len(counts)
    of_class = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, of_class, out=np.zeros(counts.shape), where=of_class > 0)
    errors = np.where(np.eye(size, dtype=bool), np.nan, shares)
    worst = float(np.nanmax(errors, initial=0.0))
    norm = PowerNorm(0.5, 0.0, worst or 1.0)
    tints = LinearSegmentedColormap.from_list(
        "errors", ("#ffffff", "#f9d9c3", "#e58c5a", "#b5381c", "#6d1508")
    ).with_extremes(bad=DIAGONAL)
    ax.imshow(errors, cmap=tints, norm=norm, interpolation="nearest")
    if size <= NAMED_CLASSES:  # more would be all grid and no cells
        _write_shares(ax, shares, of_class[:, 0], worst)
        for side in (ax.xaxis, ax.yaxis):
            side.set_ticks(np.arange(size + 1) - 0.5, minor=True)
        ax.grid(which="minor", color=RULE, linewidth=0.5)
    _name_classes(ax, class_names, size)
    ax.tick_params(which="both", length=0)
    ax.spines[:].set(color=RULE, linewidth=0.5)
    tested = int(counts.sum()) // living
    over = "one seed" if living == 1 else f"{living} seeds"
    ax.set_xlabel(
        f"predicted class, in % of each true class ({over}, {tested:,} examples)"
    )
    ax.set_ylabel("true class")
    if worst:
        _error_bar(ax, ScalarMappable(norm, tints), worst)
    return ax


def _error_bar(ax: Axes, mapped: ScalarMappable, worst: float) -> None:
    bar = ax.figure.colorbar(mapped, ax=ax, aspect=30, pad=0.02, shrink=0.8)
    marks = [digit * 10.0**power for power in range(-7, 1) for digit in (1, 3)]
    ticks = [0.0, *(mark for mark in marks if 0.01 * worst <= mark <= worst)]
    bar.set_ticks(ticks, labels=[f"{100 * tick:g} %" for tick in ticks])
    bar.ax.tick_params(length=0, labelsize=7.5)
    bar.ax.minorticks_off()
    bar.outline.set_visible(False)
    bar.set_label("errors, in % of the true class", fontsize=8, color=MUTED)


def _write_shares(
    ax: Axes, shares: np.ndarray, of_class: np.ndarray, worst: float
) -> None:
    """The numbers in the cells; with one decimal where there is room for it."""
    size = len(shares)
    decimals = 1 if size <= 12 else 0
    fontsize = min(8.5, (90 if decimals else 130) / size)
    for row, column in np.ndindex(shares.shape):
        share = shares[row, column]
        text = "100" if share == 1.0 else f"{100 * share:.{decimals}f}"
        right = row == column
        if right and not of_class[row]:
            text = "none"  # of this class in the test set
        elif not right and not float(text):
            continue
        dark = not right and share > 0.4 * worst
        ax.text(
            column,
            row,
            text,
            ha="center",
            va="center",
            fontsize=fontsize if right else 0.85 * fontsize,
            fontweight="bold" if right else "normal",
            color="white" if dark else INK,
        )


def _name_classes(ax: Axes, class_names: Sequence[str], size: int) -> None:
    step = math.ceil(size / NAMED_CLASSES)
    places = list(range(0, size, step))
    names = [plain(class_names[c], 16) for c in places]
    fontsize = 8.5 if len(places) <= 12 else 7
    ax.set_yticks(places, names, fontsize=fontsize)
    long = max(map(len, names)) > 3
    ax.set_xticks(
        places,
        names,
        fontsize=fontsize,
        rotation=45 if long else 0,
        ha="right" if long else "center",
        rotation_mode="anchor",
    )


# Images.


def gallery(
    figure: Figure,
    stored: Stored,
    class_names: Sequence[str],
    best_name: str,
    worst_name: str,
) -> Figure:
    """Shows test images that the best trial gets right and the worst gets wrong.

    Args:
      figure: what to fill; its layout and height are set.
      stored: what the run stored.
      class_names: of the C classes.
      best_name: what the best trial is called.
      worst_name: what the worst trial is called.

    Returns:
      `figure`.
    """
    shown = stored.gallery
    if shown is None:
        return _say(figure, "No gallery: it needs images and two trials to compare.")
    if not shown.worst_seeds:
        return _say(figure, "No gallery: no member of the worst trial finished.")
    if not len(shown.images):
        return _say(
            figure,
            "No test image is got right by most seeds of the best trial and wrong by "
            "most of the worst.",
        )
    of_best, of_worst = int(shown.best_seeds), int(shown.worst_seeds)
    captions = [
        (
            (f"true: {_class(class_names, label)}", INK),
            (f"best: {_class(class_names, label)} ({right}/{of_best})", BEST),
            (f"worst: {_class(class_names, taken)} ({wrong}/{of_worst})", WORST),
        )
        for label, taken, right, wrong in zip(
            shown.labels, shown.taken_for, shown.best_right, shown.worst_right
        )
    ]
    key = {f"best: {plain(best_name, 80)}": BEST}
    key[f"worst: {plain(worst_name, 80)}"] = WORST
    foot = "What most seeds say; in brackets, how many of the seeds are right."
    return _show(figure, shown.images, captions, key, foot)


def mistakes(figure: Figure, stored: Stored, class_names: Sequence[str]) -> Figure:
    """Shows the best trial's most confident mistakes.

    Args:
      figure: what to fill; its layout and height are set.
      stored: what the run stored.
      class_names: of the C classes.

    Returns:
      `figure`.
    """
    shown = stored.mistakes
    if shown is None:
        return _say(figure, "No mistakes to show: they need images and a best trial.")
    if not shown.seeds:
        return _say(figure, "No mistakes to show: no member of the trial finished.")
    if not len(shown.images):
        return _say(figure, "Most seeds of the best trial are right on every image.")
    captions = [
        (
            (f"true: {_class(class_names, label)}", INK),
            (f"taken for: {_class(class_names, taken)}", WORST),
            (f"{100 * sure:.1f} % sure; wrong: {wrong}/{int(shown.seeds)}", MUTED),
        )
        for label, taken, sure, wrong in zip(
            shown.labels, shown.taken_for, shown.confidence, shown.wrong
        )
    ]
    foot = (
        "Sure: mean over the seeds of the probability with which they say that class. "
        "Wrong: how many of the seeds are."
    )
    return _show(figure, shown.images, captions, {}, foot)


def _show(
    figure: Figure,
    images: np.ndarray,
    captions: Sequence[Sequence[tuple[str, str]]],
    key: Mapping[str, str],
    foot: str,
) -> Figure:
    """Images in rows, with three lines of coloured text below each.

    The places are in inches and by hand: a layout engine would shrink the images until
    their captions had room beside each other.
    """
    rows = math.ceil(len(images) / COLUMNS)
    width, gap, text = figure.get_figwidth(), 0.1, 0.5
    side = (width - gap) / COLUMNS - gap
    tall = side * images.shape[1] / images.shape[2]
    top = 0.1 + 0.19 * len(key)
    height = top + rows * (tall + text + gap) + 0.15
    figure.set_layout_engine("none")
    figure.set_figheight(height)
    for number, (image, lines) in enumerate(zip(images, captions)):
        row, column = divmod(number, COLUMNS)
        left = gap + column * (side + gap)
        bottom = height - top - row * (tall + text + gap) - tall
        box = left / width, bottom / height, side / width, tall / height
        ax = figure.add_axes(box)
        _image(ax, image)
        for place, (line, color) in enumerate(lines):
            ax.annotate(
                line,
                (0.5, 0.0),
                (0, -4 - 10.5 * place),
                xycoords="axes fraction",
                textcoords="offset points",
                ha="center",
                va="top",
                fontsize=7.5,
                color=color,
                fontweight="normal" if place else "bold",
            )
    if key:
        _key(figure, key, 1)
    _foot(figure, foot)
    return figure


def _image(ax: Axes, image: np.ndarray) -> None:
    """One image: in colour if it has three channels, else their mean in grey."""
    shown = image if image.shape[-1] == 3 else image.mean(axis=-1)
    ax.imshow(shown, cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(color=RULE, linewidth=0.8)


def _class(class_names: Sequence[str], number: int, most: int = 11) -> str:
    return plain(class_names[number], most)


# Probabilities.


def probabilities(figure: Figure, stored: Stored, class_names: Sequence[str]) -> Figure:
    """Shows the class probabilities of a few test images, before and after training.

    Bars are means over the seeds of the best trial, with a line from the lowest to the
    highest seed. Of more than `MOST_BARS` classes, the true one and the most probable
    ones after training are shown.

    Args:
      figure: what to fill; its layout and height are set.
      stored: what the run stored.
      class_names: of the C classes.

    Returns:
      `figure`.
    """
    shown = stored.examples
    if shown is None or not len(shown.images):
        return _say(
            figure, "No probabilities to show: they need images and a trained network."
        )
    count, bars = len(shown.images), min(shown.after.shape[2], MOST_BARS)
    rows = math.ceil(count / 2)
    _prepare(figure, rows * (0.55 + 0.145 * bars) + 0.6)
    grid = figure.add_gridspec(rows, 4, width_ratios=(0.85, 1.2) * 2)
    for number in range(count):
        row, column = divmod(number, 2)
        label = int(shown.labels[number])
        picture = figure.add_subplot(grid[row, 2 * column])
        _image(picture, shown.images[number])
        picture.set_title(
            _class(class_names, label), fontsize=8, fontweight="bold", color=BEST
        )
        ax = figure.add_subplot(grid[row, 2 * column + 1])
        _bars(ax, shown.before[:, number], shown.after[:, number], label, class_names)
        if number + 2 < count:
            ax.set_xticklabels([])
    _key(
        figure,
        {
            "before training": BEFORE,
            "after: true class": BEST,
            "after: other class": WORST,
        },
        3,
    )
    seeds = len(shown.after)
    what = f"means over {seeds} seeds; lines go from the lowest to the highest seed"
    _foot(
        figure,
        f"Probabilities of the best trial: {'one seed' if seeds == 1 else what}.",
    )
    return figure


def _bars(
    ax: Axes,
    before: np.ndarray,
    after: np.ndarray,
    label: int,
    class_names: Sequence[str],
) -> None:
    """Two bars for each class; `before` and `after` are (L, C)."""
    weight = after.mean(axis=0)
    weight[label] = np.inf
    classes = np.sort(np.argsort(-weight, kind="stable")[:MOST_BARS])
    places = np.arange(len(classes))
    true = classes == label
    colors = np.where(true, BEST, WORST)
    for values, offset, tints, height in (
        (before[:, classes], -0.3, np.full(len(classes), BEFORE), 0.22),
        (after[:, classes], 0.08, colors, 0.5),
    ):
        mean = values.mean(axis=0)
        ax.barh(places + offset, mean, height, color=list(tints), linewidth=0)
        if len(values) > 1:
            low, high = values.min(axis=0), values.max(axis=0)
            ax.hlines(places + offset, low, high, color=INK, linewidth=0.7)
    ax.set_yticks(places, [_class(class_names, c) for c in classes], fontsize=7)
    for tick, is_true in zip(ax.get_yticklabels(), true):
        tick.set(color=BEST if is_true else INK)
        tick.set_fontweight("bold" if is_true else "normal")
    ax.set_ylim(len(classes) - 0.4, -0.6)
    ax.set_xlim(0.0, 1.01)
    ax.set_xticks((0.0, 0.5, 1.0), ("0", "50", "100 %"), fontsize=7)
    ax.tick_params(length=0)
    ax.grid(axis="x", color=RULE, linewidth=0.7)
    ax.set_axisbelow(True)
    ax.spines[:].set_visible(False)


# First-layer weights.


def weights(
    figure: Figure,
    stored: Stored,
    which: Mapping[str, str],
    input_shape: Sequence[int],
) -> Figure:
    """Shows first-layer weights as images, a tile for each unit.

    A dense layer's weights lie on the pixels that they multiply, a convolution's are
    its kernel. Three channels are red, green and blue, mid-grey for 0; other numbers of
    channels are averaged. All tiles share a scale, symmetric around 0, which leaves the
    outermost 0.5 % of the weights saturated; if the weights of the two trials differ
    more than `SHARED_SCALE` times, each has its own.

    Args:
      figure: what to fill; its layout and height are set.
      stored: what the run stored.
      which: what to show, some of "best" and "worst", and what each trial is called.
      input_shape: of an example, such as (28, 28, 1).

    Returns:
      `figure`.
    """
    tiles = {
        name: found
        for name in which
        if name in stored.kernels
        and (found := _tiles(stored.kernels[name], tuple(input_shape))) is not None
    }
    if not tiles:
        return _say(figure, "No weights to show: none lie on an image's pixels.")
    limits = {
        name: float(np.quantile(np.abs(found), 0.995)) or 1.0
        for name, found in tiles.items()
    }
    if max(limits.values()) <= SHARED_SCALE * min(limits.values()):
        limits = dict.fromkeys(limits, max(limits.values()))
    mosaics = {name: _mosaic(found, 16 // len(tiles)) for name, found in tiles.items()}
    ratio = max(m.shape[0] / m.shape[1] for m in mosaics.values())
    for name, mosaic in mosaics.items():  # equally high, so that both begin at the top
        room = round(ratio * mosaic.shape[1]) - len(mosaic)
        empty = ((0, room), (0, 0), (0, 0))
        mosaics[name] = np.pad(mosaic, empty, constant_values=np.nan)
    wide = figure.get_figwidth() / len(tiles) - 0.15
    high = ratio * wide
    _prepare(figure, high + 0.85)
    for number, (name, mosaic) in enumerate(mosaics.items()):
        ax = figure.add_subplot(1, len(mosaics), number + 1)
        limit = limits[name]
        norm, tints = Normalize(-limit, limit), matplotlib.colormaps["RdBu_r"]
        if mosaic.shape[-1] == 3:
            colors = np.clip(0.5 + mosaic / (2 * limit), 0.0, 1.0)
            ax.imshow(np.where(np.isnan(colors), 1.0, colors), interpolation="nearest")
            tints = matplotlib.colormaps["gray"]
        else:
            ax.imshow(mosaic[..., 0], cmap=tints, norm=norm, interpolation="nearest")
        ax.set_axis_off()
        title = f"{name}: {plain(which[name], 40)}"
        about = _about(stored.kernels[name], input_shape)
        ax.set_title(f"{title}\n{about}", fontsize=8.5)
        bar = figure.colorbar(
            ScalarMappable(norm, tints),
            ax=ax,
            location="bottom",
            aspect=80 // len(mosaics),
            pad=0.02,
            shrink=0.7,
            extend="both",
        )
        bar.set_ticks(
            (-limit, 0.0, limit),
            labels=[f"{tick:.2g}" for tick in (-limit, 0.0, limit)],
        )
        bar.ax.tick_params(length=0, labelsize=7.5)
        bar.outline.set(color=RULE, linewidth=0.5)
    return figure


def _about(kernel: Kernel, input_shape: Sequence[int]) -> str:
    """Which units are shown, and how their channels are."""
    shown = kernel.values.shape[-1]
    some = f"first {shown} of {kernel.units}" if shown < kernel.units else f"{shown}"
    units = "unit" if kernel.units == 1 else "units"
    channels = kernel.values.shape[2] if kernel.values.ndim == 4 else input_shape[2]
    how = {1: "", 3: ", channels as red, green, blue"}
    mean = f", mean over {channels} channels"
    return f"{some} {units}{how.get(channels, mean)}"


def _tiles(kernel: Kernel, input_shape: tuple[int, ...]) -> np.ndarray | None:
    """(U, H, W, D), D 1 or 3; None if the weights lie on no image."""
    values = kernel.values
    if values.ndim == 2:
        if len(input_shape) != 3 or len(values) != math.prod(input_shape):
            return None
        values = values.reshape(*input_shape, -1)
    if values.shape[2] != 3:
        values = values.mean(axis=2, keepdims=True)
    return np.moveaxis(values, -1, 0)


def _mosaic(tiles: np.ndarray, most: int) -> np.ndarray:
    """The tiles in rows of up to `most`, NaN between them: (rows, columns, D) of dots.

    Rows are about equally full; few tiles stay at most twice as large as many.
    """
    count, height, width, channels = tiles.shape
    rows = math.ceil(count / most)
    columns = max(math.ceil(count / rows), most // 2)
    zoom = max(1, round(TILE / max(height, width)))
    tiles = tiles.repeat(zoom, axis=1).repeat(zoom, axis=2)
    height, width, gap = zoom * height, zoom * width, 2
    shape = rows * (height + gap) - gap, columns * (width + gap) - gap, channels
    mosaic = np.full(shape, np.nan, np.float32)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        top, left = row * (height + gap), column * (width + gap)
        mosaic[top : top + height, left : left + width] = tile
    return mosaic


# Regions.


def regions(
    figure: Figure,
    stored: Stored,
    which: Mapping[str, str],
    features: Sequence[str],
) -> Figure:
    """Shows a plane of two features: its data, and how the trials divide it.

    Colours are classes, `FILLS` over and over; dark lines are where the prediction
    changes. Both features have the same scale unless one extends `MOST_STRETCHED` times
    as far as the other.

    Args:
      figure: what to fill; its layout and height are set.
      stored: what the run stored.
      which: what to show, some of "best" and "worst", and what each trial is called; a
        second line is small.
      features: names of the first, which runs to the right, and of the second.

    Returns:
      `figure`.
    """
    shown = stored.regions
    if shown is None:
        return _say(figure, "No regions to show: they need data with two features.")
    grids = {name: getattr(shown, name) for name in which}
    grids = {name: grid for name, grid in grids.items() if grid is not None}
    left, right, bottom, top = extent = tuple(float(end) for end in shown.extent)
    ratio = (top - bottom) / (right - left)
    ratio = ratio if 1 / MOST_STRETCHED <= ratio <= MOST_STRETCHED else 1.0
    panels = 1 + len(grids)
    wide = (figure.get_figwidth() - 0.7) / panels - 0.1
    _prepare(figure, ratio * wide + 0.85)
    titles = {"data": f"the data\n{len(shown.points):,} examples"}
    titles |= {name: f"{name}: {which[name]}" for name in grids}
    for number, (name, title) in enumerate(titles.items()):
        ax = figure.add_subplot(1, panels, number + 1)
        if name == "data":
            _scatter(ax, shown.points, shown.labels)
        else:
            _divide(ax, grids[name], extent)
        ax.set(xlim=(left, right), ylim=(bottom, top), box_aspect=ratio)
        first, _, second = title.partition("\n")
        ax.set_title(f"{plain(first, 34)}\n{plain(second, 40)}", fontsize=8.5)
        ax.set_xlabel(plain(features[0]))
        if number:
            ax.tick_params(labelleft=False)
        else:
            ax.set_ylabel(plain(features[1]))
        ax.locator_params(nbins=5)
        ax.tick_params(color=MUTED, labelcolor=INK, length=3, labelsize=8)
        ax.spines[:].set(color=MUTED, linewidth=0.6)
    return figure


def _scatter(ax: Axes, points: np.ndarray, labels: np.ndarray) -> None:
    """Points of the data, smaller where there are many."""
    size = float(np.clip(12_000 / max(len(points), 1), 1.0, 12.0))
    colors = [FILLS[label % len(FILLS)] for label in labels]
    # As an image within the SVG: there may be twenty thousand.
    ax.scatter(points[:, 0], points[:, 1], size, colors, linewidth=0, rasterized=True)


def _divide(ax: Axes, classes: np.ndarray, extent: tuple[float, ...]) -> None:
    """Cells in the colours of their classes, and a line wherever these change."""
    left, right, bottom, top = extent
    ax.imshow(
        classes % len(FILLS),
        cmap=ListedColormap(list(FILLS)),
        vmin=-0.5,
        vmax=len(FILLS) - 0.5,
        extent=(left, right, bottom, top),
        origin="lower",
        aspect="auto",
        interpolation="nearest",
    )
    rows, columns = classes.shape
    x, y = np.linspace(left, right, columns + 1), np.linspace(bottom, top, rows + 1)
    segments = []
    for row, column in np.argwhere(classes[:, 1:] != classes[:, :-1]):
        segments.append([(x[column + 1], y[row]), (x[column + 1], y[row + 1])])
    for row, column in np.argwhere(classes[1:] != classes[:-1]):
        segments.append([(x[column], y[row + 1]), (x[column + 1], y[row + 1])])
    lines = LineCollection(segments, colors=INK, linewidths=0.5, rasterized=True)
    ax.add_collection(lines, autolim=False)


# The frame.


def _prepare(figure: Figure, height: float) -> None:
    figure.set_layout_engine("constrained", wspace=0.04)
    figure.set_figheight(height)


def _say(figure: Figure, text: str) -> Figure:
    """Says why there is nothing to see, on a figure as low as the text."""
    _prepare(figure, 0.6)
    figure.text(0.5, 0.5, text, ha="center", va="center", fontsize=9, color=MUTED)
    return figure


def _key(figure: Figure, colors: Mapping[str, str], columns: int) -> None:
    handles: list[Any] = [Patch(color=c, label=text) for text, c in colors.items()]
    figure.legend(
        handles=handles,
        loc="outside upper left",
        ncols=columns,
        frameon=False,
        fontsize=8,
        borderaxespad=0.2,
        handlelength=0.9,
        handleheight=0.9,
    )


def _foot(figure: Figure, text: str) -> None:
    figure.supxlabel(text, fontsize=7.5, color=MUTED, x=0.01, ha="left")
