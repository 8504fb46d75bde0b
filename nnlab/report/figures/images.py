# SPDX-License-Identifier: Apache-2.0
"""Figures that look at networks: what they confuse, see, and get wrong.

They show what the run stored of its best and of its worst trial.
"""

import math
import textwrap
import weakref
from collections import Counter
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import (
    LinearSegmentedColormap,
    ListedColormap,
    Normalize,
    PowerNorm,
)
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from nnlab.report.figures.drawing import captions, style
from nnlab.report.figures.drawing.captions import Sketch, need
from nnlab.report.figures.drawing.labels import LEGEND, apart, plain
from nnlab.report.figures.drawing.paper import area, side_by_side, tall
from nnlab.report.figures.drawing.style import CATEGORIES, INK, MUTED, RULE, Look
from nnlab.report.trials import trial_name
from nnlab.results import pictures
from nnlab.results.pictures import Gallery, Kernel, Mistakes, Stored
from nnlab.statistics.findings import Findings
from nnlab.words import numbers

BEST, WORST = CATEGORIES[:2]
BEFORE = "#b4bbc3"
DIAGONAL = "#eef0f3"
COLUMNS = 5  # of images, in a report
LETTERS = 18.0  # of the foot to an inch
MOST_BARS = 10  # classes of an example
NAMED_CLASSES = 20  # more have no numbers in the cells, and names only for some
SOME = 5  # kinds of mistakes that are gone through in words
MOST_NAME = 11  # letters of a class below or beside an image
IMAGES = "it takes images and a best trial"
FEATURES = ("feature 1", "feature 2")  # where the data do not name them
# Two layers whose weights differ by less than this factor share a scale and can be
# compared; beyond it, the smaller would be blank.
SHARED_SCALE = 4.0
TILE = 24  # least side of a unit's image, in dots
# Colours of classes, light to mid (lightness 55 to 86 in CIELAB), each as far from all
# before as possible, also for colour-blind eyes; at least 24 apart.
FILLS = (
    *("#2fbdec", "#ffbd55", "#e3558e", "#139755", "#ecd0bd", "#aa71d9", "#d95e42"),
    *("#00ecd9", "#aae371", "#ecc6ff", "#688e84", "#97844c", "#0097ff", "#8484b3"),
    *("#7b8e09", "#97e3aa", "#b37b7b", "#ffaa84", "#f684d9", "#a1d0d9", "#b37b1c"),
    *("#ffaac6", "#ff7b84", "#e3d084"),
)
MOST_STRETCHED = 2.0  # a plane that is longer than that is drawn as a square
NOTHING = Stored(None, None, {}, None, None, None, {})
_stored: weakref.WeakKeyDictionary[Findings, Stored] = weakref.WeakKeyDictionary()


def stored_of(findings: Findings) -> Stored:
    """Returns what the run stored of its final networks; `NOTHING` for nothing."""
    if findings not in _stored:
        _stored[findings] = pictures.load(findings.results.workdir) or NOTHING
    return _stored[findings]


def trials_of(findings: Findings) -> dict[str, int]:
    """Returns the indices of the "best" and the "worst" trial, if they are stored.

    Raises:
      Lacking: there is no best trial.
    """
    stored = stored_of(findings)
    need(stored.best is not None, "there is no best trial")
    pair = {"best": stored.best, "worst": stored.worst}
    return {name: trial for name, trial in pair.items() if trial is not None}


def _about_best(findings: Findings, field: str) -> list[str]:
    """Returns a field of the record of the best trial's data."""
    best = trials_of(findings)["best"]
    return list(findings.results.dataset(best).get(field) or ())


def _named(findings: Findings) -> dict[str, str]:
    trials = trials_of(findings)
    return {name: trial_name(findings.results, t) for name, t in trials.items()}


def _sketch(
    findings: Findings, name: str, drawn: Figure, what: str, rest: str, seen: str
) -> Sketch:
    said = f"{what}{rest} {captions.source(findings.results)}"
    return Sketch(name, drawn, what, said, seen)


# The confusion matrix.


def confusion(findings: Findings) -> Sketch:
    """Draws which classes the best trial confuses, over all living seeds.

    Only errors are coloured, by the square root of their share; the right answers would
    drown them.
    """
    best, class_names = trials_of(findings)["best"], _about_best(findings, "classes")
    seeds = stored_of(findings).confusion[best]
    need(seeds.any(), "no network of the best trial finished")
    drawn = style.canvas(tall(5.4, 0.85), style.PAGE)
    ax = drawn.add_subplot()
    living = int(np.sum(seeds.sum(axis=(1, 2)) > 0))
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
        room = min(1.0, drawn.get_figwidth() / style.PAGE)
        _write_shares(ax, shares, of_class[:, 0], worst, room)
        for side in (ax.xaxis, ax.yaxis):
            side.set_ticks(np.arange(size + 1) - 0.5, minor=True)
        ax.grid(which="minor", color=RULE, linewidth=0.5)
    places = list(range(0, size, math.ceil(size / NAMED_CLASSES)))
    names = apart([class_names[c] for c in places], 16)
    look: Look = {"fontsize": 8.5 if len(places) <= 12 else 7}
    ax.set_yticks(places, names, **look)
    slant: Look = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    ax.set_xticks(places, names, **look, **(slant if max(map(len, names)) > 3 else {}))
    ax.tick_params(which="both", length=0)
    ax.spines[:].set(color=RULE, linewidth=0.5)
    over = "one seed" if living == 1 else f"{living} seeds"
    tested = f"{over}, {int(counts.sum()) // living:,} examples"
    ax.set_xlabel(f"predicted class, in % of each true class ({tested})")
    ax.set_ylabel("true class")
    if worst:
        marks = [digit * 10.0**power for power in range(-7, 1) for digit in (1, 3)]
        round_ones = [0.0, *(m for m in marks if 0.01 * worst <= m <= worst)]
        ticks = {mark: f"{100 * mark:g} %" for mark in round_ones}
        label = "errors, in % of the true class"
        style.color_bar(ax, (norm, tints), ticks, label, 7.5, shrink=0.8)
    what = "Which classes the best trial takes for which"
    rest = (
        f" ({trial_name(findings.results, best)}). A row is a true class and "
        "adds up to 100 %; the diagonal is right, the colours show the errors."
    )
    seen = confused(counts, class_names)
    return _sketch(findings, "confusion", drawn, what, rest, seen)


def _write_shares(
    ax: Axes, shares: np.ndarray, of_class: np.ndarray, worst: float, room: float
) -> None:
    """Writes the shares that do not round to 0, those on the diagonal in bold.

    `room` is the width of the figure as a share of a page.
    """
    size = len(shares) / room
    decimals = 1 if size <= 12 else 0
    fontsize = min(8.5, (90 if decimals else 130) / size)
    for (row, column), share in np.ndenumerate(shares):
        text = "100" if share == 1.0 else f"{100 * share:.{decimals}f}"
        look: Look = {"fontsize": fontsize, "fontweight": "bold", "color": INK}
        if row != column:
            if not float(text):
                continue
            dark = share > 0.4 * worst
            look = {"fontsize": 0.85 * fontsize, "color": "white" if dark else INK}
        elif not of_class[row]:
            text = "none"  # of this class in the test set
        ax.text(column, row, text, ha="center", va="center", **look)


def confused(counts: np.ndarray, classes: Sequence[str]) -> str:
    """Says the share that is right, and the most confused pair of classes.

    `counts` are examples by [true class, predicted class], (C, C).
    """
    right = numbers.percent(float(np.trace(counts) / counts.sum()))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    np.fill_diagonal(shares, 0.0)
    true, taken = np.unravel_index(shares.argmax(), shares.shape)
    if not shares[true, taken]:
        return "All examples are taken for what they are."
    share = numbers.percent(float(shares[true, taken]))
    return (
        f"{right} of the examples are right; most often {classes[true]} is taken for "
        f"{classes[taken]}, in {share} of its examples."
    )


# Images.


def gallery(findings: Findings) -> Sketch:
    """Draws test images that the best trial gets right and the worst gets wrong."""
    stored = stored_of(findings).gallery
    shown = need(stored, "it takes images, and two trials to compare")
    need(int(shown.worst_seeds), "no network of the worst trial finished")
    need(
        len(shown.images),
        "no test image is got right by the best trial and wrong by the worst",
    )
    classes = _about_best(findings, "classes")
    names = apart(classes, MOST_NAME)
    said = [
        (
            (f"true: {names[label]}", INK),
            (f"best: {names[label]} ({right}/{int(shown.best_seeds)})", BEST),
            (f"worst: {names[taken]} ({wrong}/{int(shown.worst_seeds)})", WORST),
        )
        for label, taken, right, wrong in zip(
            shown.labels, shown.taken_for, shown.best_right, shown.worst_right
        )
    ]
    trials = zip(_named(findings).items(), CATEGORIES)
    key = {f"{name}: {plain(trial, 80)}": color for (name, trial), color in trials}
    foot = "What most seeds say; in brackets, how many of the seeds are right."
    drawn = _show(shown.images, said, key, foot)
    what = "Test images that the best trial gets right and the worst wrong"
    rest = (
        ", in more than half of their seeds; first those with the widest gap. "
        f"{captions.by_validation(findings)}"
    )
    seen = taken_for(shown, classes)
    return _sketch(findings, "gallery", drawn, what, rest, seen)


def mistakes(findings: Findings) -> Sketch:
    """Draws the best trial's most confident mistakes."""
    shown = need(stored_of(findings).mistakes, IMAGES)
    need(int(shown.seeds), "no network of the best trial finished")
    need(len(shown.images), "most seeds of the best trial are right on every image")
    classes = _about_best(findings, "classes")
    names = apart(classes, MOST_NAME)
    said = [
        (
            (f"true: {names[label]}", INK),
            (f"taken for: {names[taken]}", WORST),
            (f"{100 * sure:.1f} % sure ({wrong}/{int(shown.seeds)})", MUTED),
        )
        for label, taken, sure, wrong in zip(
            shown.labels, shown.taken_for, shown.confidence, shown.wrong
        )
    ]
    foot = (
        "Sure: mean over the seeds of the probability with which they say that class; "
        "in brackets, how many are wrong."
    )
    drawn = _show(shown.images, said, {}, foot)
    what = "The best trial's most confident mistakes"
    rest = ": test images that more than half of its seeds get wrong."
    seen = taken_for(shown, classes)
    return _sketch(findings, "mistakes", drawn, what, rest, seen)


def _show(
    images: np.ndarray,
    said: Sequence[Sequence[tuple[str, str]]],
    key: Mapping[str, str],
    foot: str,
) -> Figure:
    """Draws images in rows, with three lines of coloured text below each.

    Places are set in inches: a layout engine would shrink the images to make room for
    their captions.
    """
    width, gap, text = area(0.0, style.PAGE)[0], 0.1, 0.5
    columns = round(width * COLUMNS / style.PAGE)
    rows = math.ceil(len(images) / columns)
    side = (width - gap) / columns - gap
    high = side * images.shape[1] / images.shape[2]
    top = 0.1 + 0.19 * len(key)
    foot = textwrap.fill(foot, round(width * LETTERS))
    height = top + rows * (high + text + gap) + 0.15 * (1 + foot.count("\n"))
    figure = Figure(figsize=(width, height))
    below: Look = {"xycoords": "axes fraction", "textcoords": "offset points"}
    below |= {"ha": "center", "va": "top", "fontsize": 7.5}
    for number, (image, lines) in enumerate(zip(images, said)):
        row, column = divmod(number, columns)
        left = gap + column * (side + gap)
        bottom = height - top - row * (high + text + gap) - high
        box = left / width, bottom / height, side / width, high / height
        ax = figure.add_axes(box)
        _image(ax, image)
        for place, (line, color) in enumerate(lines):
            weight = "normal" if place else "bold"
            offset = 0, -4 - 10.5 * place
            ax.annotate(line, (0.5, 0), offset, color=color, fontweight=weight, **below)
    if key:
        _key(figure, key, 1)
    _foot(figure, foot)
    return figure


def _image(ax: Axes, image: np.ndarray) -> None:
    shown = image if image.shape[-1] == 3 else image.mean(axis=-1)
    ax.imshow(shown, cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(color=RULE, linewidth=0.8)


def _key(figure: Figure, colors: Mapping[str, str], columns: int) -> None:
    handles = [Patch(color=color, label=text) for text, color in colors.items()]
    look = {**LEGEND, "handlelength": 0.9, "handleheight": 0.9, "borderaxespad": 0.2}
    figure.legend(handles=handles, loc="outside upper left", ncols=columns, **look)


def _foot(figure: Figure, text: str) -> None:
    lines = textwrap.fill(text, round(figure.get_figwidth() * LETTERS))
    figure.supxlabel(lines, fontsize=7.5, color=MUTED, x=0.01, ha="left")


def taken_for(found: Gallery | Mistakes, classes: Sequence[str]) -> str:
    """Says which classes are predicted for the images, the most frequent first."""
    pairs = Counter(zip(found.labels.tolist(), found.taken_for.tolist()))
    first = pairs.most_common(SOME)
    listed = [
        f"{n} of {classes[true]} taken for {classes[c]}" for (true, c), n in first
    ]
    more = pairs.total() - sum(count for _, count in first)
    rest = f" and {more} more" if more else ""
    return f"{numbers.count(pairs.total(), 'image')}: {', '.join(listed)}{rest}."


# Probabilities.


def probabilities(findings: Findings) -> Sketch:
    """Draws class probabilities of a few test images, before and after training.

    Of more than `MOST_BARS` classes, the true one and the most probable ones after
    training are shown.
    """
    shown = need(stored_of(findings).examples, IMAGES)
    need(len(shown.images), IMAGES)
    count, bars = len(shown.images), min(shown.after.shape[2], MOST_BARS)
    columns = side_by_side(count)
    rows = math.ceil(count / columns)
    figure = _canvas(rows * (0.55 + 0.145 * bars) + 0.6)
    grid = figure.add_gridspec(rows, 2 * columns, width_ratios=(0.85, 1.2) * columns)
    names = apart(_about_best(findings, "classes"), MOST_NAME)
    for number, label in enumerate(shown.labels.tolist()):
        row, column = divmod(number, columns)
        picture = figure.add_subplot(grid[row, 2 * column])
        _image(picture, shown.images[number])
        picture.set_title(names[label], fontsize=8, fontweight="bold", color=BEST)
        ax = figure.add_subplot(grid[row, 2 * column + 1])
        _bars(ax, shown.before[:, number], shown.after[:, number], label, names)
        if number + columns < count:
            ax.set_xticklabels([])
    key = {"before training": BEFORE, "after: true class": BEST}
    _key(figure, {**key, "after: other class": WORST}, side_by_side(3, 3, 1.9))
    seeds = len(shown.after)
    what = f"means over {seeds} seeds; lines go from the lowest to the highest seed"
    over = "one seed" if seeds == 1 else what
    _foot(figure, f"Probabilities of the best trial: {over}.")
    what = "Class probabilities of a few test images, before and after training"
    rest = ", from the best trial; the images are the first of the test set."
    before, after = (
        numbers.percent(float(p[:, range(count), shown.labels].mean()))
        for p in (shown.before, shown.after)
    )
    seen = (
        f"The true class of {numbers.count(count, 'image')} has a mean "
        f"probability of {before} before and {after} after training."
    )
    return _sketch(findings, "probabilities", figure, what, rest, seen)


def _bars(
    ax: Axes, before: np.ndarray, after: np.ndarray, label: int, names: Sequence[str]
) -> None:
    """Draws two bars for each class; `before` and `after` are (L, C)."""
    weight = after.mean(axis=0)
    weight[label] = np.inf
    classes = np.sort(np.argsort(-weight, kind="stable")[:MOST_BARS])
    places = np.arange(len(classes))
    colors = [BEST if c == label else WORST for c in classes]
    for values, offset, tints, height in (
        (before[:, classes], -0.3, BEFORE, 0.22),
        (after[:, classes], 0.08, colors, 0.5),
    ):
        mean = values.mean(axis=0)
        ax.barh(places + offset, mean, height, color=tints, linewidth=0)
        if len(values) > 1:
            low, high = values.min(axis=0), values.max(axis=0)
            ax.hlines(places + offset, low, high, color=INK, linewidth=0.7)
    ax.set_yticks(places, [names[c] for c in classes], fontsize=7, color=INK)
    true = ax.get_yticklabels()[classes.tolist().index(label)]
    true.set(color=BEST, fontweight="bold")
    ax.set(xlim=(0.0, 1.01), ylim=(len(classes) - 0.4, -0.6))
    ax.set_xticks((0.0, 0.5, 1.0), ("0", "50", "100 %"), fontsize=7)
    ax.tick_params(length=0)
    ax.grid(axis="x", color=RULE, linewidth=0.7)
    ax.set_axisbelow(True)
    ax.spines[:].set_visible(False)


def _canvas(height: float) -> Figure:
    figure = style.canvas(height, style.PAGE)
    figure.set_layout_engine("constrained", wspace=0.04)
    return figure


# First-layer weights.


def weights(findings: Findings) -> Sketch:
    """Draws first-layer weights of the best and of the worst trial, a tile for a unit.

    Three channels are red, green and blue, with mid-grey for 0. The outermost 0.5 % of
    the weights are saturated.
    """
    kernels = stored_of(findings).kernels
    need(kernels, "the first layer has no weights to show")
    shape = findings.results.dataset(trials_of(findings)["best"])["input_shape"]
    shown, units = {}, {}
    for name, trial in _named(findings).items():
        if name in kernels and (some := tiles(kernels[name], shape)) is not None:
            about = _about(kernels[name], shape)
            shown[f"{name}: {plain(trial, 40)}\n{about}"] = some
            count = numbers.count(kernels[name].units, "unit")
            units[name] = f"{name}: {trial}, {count}"
    need(shown, "no first layer's weights lie on an image's pixels")
    limits = {t: float(np.quantile(np.abs(w), 0.995)) or 1.0 for t, w in shown.items()}
    if max(limits.values()) <= SHARED_SCALE * min(limits.values()):
        limits = dict.fromkeys(limits, max(limits.values()))
    mosaics = {title: _mosaic(w, 16 // len(shown)) for title, w in shown.items()}
    ratio = max(m.shape[0] / m.shape[1] for m in mosaics.values())
    columns = side_by_side(len(shown))
    rows, width = len(shown) // columns, area(0.0, style.PAGE)[0]
    figure = _canvas(rows * (ratio * (width / columns - 0.15) + 0.85))
    place = {"location": "bottom", "aspect": 80 // len(mosaics), "shrink": 0.7}
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for ax, (title, mosaic) in zip(panels, mosaics.items()):
        # Side by side equally high, so that both begin at the top.
        room = (round(ratio * mosaic.shape[1]) - len(mosaic)) * (rows == 1)
        mosaic = np.pad(mosaic, ((0, room), (0, 0), (0, 0)), constant_values=np.nan)
        limit = limits[title]
        norm, tints = Normalize(-limit, limit), matplotlib.colormaps["RdBu_r"]
        if mosaic.shape[-1] == 3:
            colors = np.clip(0.5 + mosaic / (2 * limit), 0.0, 1.0)
            ax.imshow(np.where(np.isnan(colors), 1.0, colors), interpolation="nearest")
            tints = matplotlib.colormaps["gray"]
        else:
            ax.imshow(mosaic[..., 0], cmap=tints, norm=norm, interpolation="nearest")
        ax.set_axis_off()
        ax.set_title(title, fontsize=8.5)
        ticks = {tick: f"{tick:.2g}" for tick in (-limit, 0.0, limit)}
        bar = style.color_bar(ax, (norm, tints), ticks, "", 7.5, (True, True), **place)
        bar.outline.set(visible=True, color=RULE, linewidth=0.5)
    what = f"First-layer weights of the {' and the '.join(units)} trial as images"
    rest = (
        ", of one seed each: a tile is a unit, a dot a weight. "
        f"{captions.by_validation(findings)}"
    )
    seen = f"{numbers.capital(', '.join(units.values()))}."
    return _sketch(findings, "weights", figure, what, rest, seen)


def _about(kernel: Kernel, input_shape: Sequence[int]) -> str:
    """Says which units are shown, and how their channels are drawn."""
    shown = kernel.values.shape[-1]
    some = f"first {shown} of {kernel.units}" if shown < kernel.units else f"{shown}"
    units = "unit" if kernel.units == 1 else "units"
    channels = kernel.values.shape[2] if kernel.values.ndim == 4 else input_shape[2]
    how = {1: "", 3: ", channels as red, green, blue"}
    mean = f", mean over {channels} channels"
    return f"{some} {units}{how.get(channels, mean)}"


def tiles(kernel: Kernel, input_shape: Sequence[int]) -> np.ndarray | None:
    """Returns weights as images, (U, H, W, D), D 1 or 3; None if they lie on no image.

    A dense layer's weights lie on the pixels that they multiply, a convolution's are
    its kernel. Other numbers of channels than three are averaged.
    """
    values = kernel.values
    if values.ndim == 2:
        if len(input_shape) != 3 or len(values) != math.prod(input_shape):
            return None
        values = values.reshape(*input_shape, -1)
    if values.shape[2] != 3:
        values = values.mean(axis=2, keepdims=True)
    return np.moveaxis(values, -1, 0)


def _mosaic(tiles: np.ndarray, most: int) -> np.ndarray:
    """Puts tiles into rows of up to `most`, NaN between them: (rows, columns, D).

    Rows are about equally full; few tiles are at most twice as large as many.
    """
    count, height, width, _ = tiles.shape
    rows = math.ceil(count / most)
    columns = max(math.ceil(count / rows), most // 2)
    zoom, gap = max(1, round(TILE / max(height, width))), 2
    tiles = tiles.repeat(zoom, axis=1).repeat(zoom, axis=2)
    room = ((0, rows * columns - count), (0, gap), (0, gap), (0, 0))
    tiles = np.pad(tiles, room, constant_values=np.nan)
    grid = tiles.reshape(rows, columns, *tiles.shape[1:]).swapaxes(1, 2)
    return grid.reshape(rows * tiles.shape[1], -1, tiles.shape[3])[:-gap, :-gap]


# Regions.


def regions(findings: Findings) -> Sketch:
    """Draws the data, and the plane coloured by the trials' predictions.

    Both features have the same scale unless one extends `MOST_STRETCHED` times as far
    as the other.
    """
    why = "it takes data with two features and a best trial"
    shown, trials = need(stored_of(findings).regions, why), trials_of(findings)
    which = {
        name: f"{called}\n{_own_accuracy(findings, trials[name])}"
        for name, called in _named(findings).items()
        if getattr(shown, name) is not None
    }
    features = _about_best(findings, "features") or FEATURES
    left, right, bottom, top = (float(end) for end in shown.extent)
    ratio = (top - bottom) / (right - left)
    ratio = ratio if 1 / MOST_STRETCHED <= ratio <= MOST_STRETCHED else 1.0
    columns = side_by_side(1 + len(which), 3, 1.8, 0.7)
    rows = math.ceil((1 + len(which)) / columns)
    wide = (area(0.0, style.PAGE)[0] - 0.7) / columns - 0.1
    figure = _canvas(rows * (ratio * wide + 0.85))
    titles = {"data": f"the data\n{len(shown.points):,} examples"}
    titles |= {name: f"{name}: {text}" for name, text in which.items()}
    panels = [figure.add_subplot(rows, columns, n + 1) for n in range(len(titles))]
    for ax, (name, title) in zip(panels, titles.items()):
        if name == "data":
            _scatter(ax, shown.points, shown.labels)
            ax.set_ylabel(plain(features[1]))
        else:
            _divide(ax, getattr(shown, name), (left, right, bottom, top))
            ax.tick_params(labelleft=False)
        ax.set(xlim=(left, right), ylim=(bottom, top), box_aspect=ratio)
        first, _, second = title.partition("\n")
        ax.set_title(f"{plain(first, 34)}\n{plain(second, 40)}", fontsize=8.5)
        ax.set_xlabel(plain(features[0]))
        ax.locator_params(nbins=5)
        ax.tick_params(color=MUTED, labelcolor=INK, length=3, labelsize=8)
        ax.spines[:].set(color=MUTED, linewidth=0.6)
    what = f"The data, and the plane coloured by the {' and the '.join(which)} trial"
    rest = (
        ", of one seed each: colours are classes, lines are where the predicted class "
        f"changes. {captions.by_validation(findings)}"
    )
    seen = "; ".join(f"{name}: {text}" for name, text in which.items())
    seen = numbers.capital(seen.replace("\n", ", ")) + "."
    return _sketch(findings, "regions", figure, what, rest, seen)


def _own_accuracy(findings: Findings, trial: int) -> str:
    """Returns the test accuracy of the seed that is shown, the first living one."""
    living = np.flatnonzero(findings.alive(trial))
    if "test_accuracy" not in findings.results.metrics or not living.size:
        return ""
    share = float(findings.final(trial, "test_accuracy")[living[0]])
    if math.isnan(share):
        return ""
    return f"test accuracy {numbers.percent(share)} (seed {living[0]})"


def _scatter(ax: Axes, points: np.ndarray, labels: np.ndarray) -> None:
    size = float(np.clip(12_000 / max(len(points), 1), 1.0, 12.0))
    colors = [FILLS[label % len(FILLS)] for label in labels]
    # As an image within the SVG: there may be twenty thousand.
    x, y = points.T
    ax.scatter(x, y, size, colors, linewidth=0, rasterized=True)


def _divide(
    ax: Axes, classes: np.ndarray, extent: tuple[float, float, float, float]
) -> None:
    """Colours the plane by class, with lines between cells of different classes."""
    ax.imshow(
        classes % len(FILLS),
        cmap=ListedColormap(list(FILLS)),
        vmin=-0.5,
        vmax=len(FILLS) - 0.5,
        extent=extent,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
    )
    rows, columns = classes.shape
    x, y = np.linspace(*extent[:2], columns + 1), np.linspace(*extent[2:], rows + 1)
    look: Look = {"colors": INK, "linewidths": 0.5, "rasterized": True}
    row, column = np.nonzero(classes[:, 1:] != classes[:, :-1])
    ax.vlines(x[column + 1], y[row], y[row + 1], **look)
    row, column = np.nonzero(classes[1:] != classes[:-1])
    ax.hlines(y[row + 1], x[column], x[column + 1], **look)
