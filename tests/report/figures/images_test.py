# SPDX-License-Identifier: Apache-2.0
"""Figures of networks show what was stored, with its numbers, and legibly."""

import dataclasses
import itertools

import numpy as np
import pytest
import synthetic
from matplotlib.colors import to_hex

from nnlab.report.figures import catalog, images
from nnlab.report.figures.drawing.captions import Lacking
from nnlab.results.pictures import Examples, Gallery, Kernel, Mistakes, Regions
from nnlab.statistics.findings import Findings

NAMES = ("T-shirt/top", "$x^2$", "Ankle boot")
IMAGES = np.linspace(0, 1, 7 * 4 * 4, dtype=np.float32).reshape(7, 4, 4, 1)
TRIALS = [{"label": "A"}, {"label": "$B", "batch_size": 8}]


@pytest.fixture
def draw(monkeypatch):
    """Draws a part of what is stored; returns its figure."""

    def draw(part, classes=NAMES, shape=(4, 6, 1), **stored):
        given = {"best": 0, "worst": 1} | stored
        found = dataclasses.replace(images.NOTHING, **given)
        monkeypatch.setattr(images.pictures, "load", lambda workdir: found)
        results = synthetic.results(sweep=TRIALS, num_seeds=1, num_evaluations=1)
        record = results.config["datasets"]["digits"]
        record |= {"classes": classes, "input_shape": shape}
        record |= {"features": ["east", "$north$"]}
        (sketch,) = catalog.PARTS[part].sketches(Findings(results))
        sketch.canvas.draw_without_rendering()
        return sketch.canvas

    return draw


def gallery(count=7, images=IMAGES, worst_seeds=4):
    labels, right = np.arange(count) % 3, (np.full(count, 4), np.full(count, 1))
    seeds = np.array(5), np.array(worst_seeds)
    return Gallery(images[:count], labels, (labels + 1) % 3, *right, *seeds)


def mistakes(count=7, seeds=5):
    labels, sure = np.arange(count) % 3, np.linspace(0.987, 0.5, count)
    wrong = np.full(count, 4), np.array(seeds)
    return Mistakes(IMAGES[:count], labels, (labels + 2) % 3, sure, *wrong)


def examples(count=3, seeds=4, classes=3):
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(classes), (2, seeds, count))
    return Examples(IMAGES[:count], np.arange(count) % classes, *probabilities)


def words(artists):
    return [artist.get_text() for artist in artists]


# The confusion matrix.

COUNTS = np.array(
    [[[6, 3, 1], [0, 10, 0], [0, 5, 15]], [[8, 2, 0], [0, 10, 0], [0, 0, 20]]]
)


def test_a_confusion_has_shares_of_the_true_class_over_all_seeds(draw):
    counts = np.concatenate([COUNTS, 0 * COUNTS[:1]])  # one diverged
    ax, _ = draw("confusion", confusion={0: counts}).axes
    cells = {t.get_position(): t.get_text() for t in ax.texts}
    diagonal = {(0, 0): "70.0", (1, 1): "100", (2, 2): "87.5"}
    assert cells == {**diagonal, (1, 0): "25.0", (2, 0): "5.0", (1, 2): "12.5"}
    assert "(2 seeds, 40 examples)" in ax.get_xlabel()
    (image,) = ax.images  # only errors are coloured, by the square root
    shades = image.get_array()
    assert np.ma.getmaskarray(shades).diagonal().all()
    assert shades.compressed().tolist() == [0.25, 0.05, 0, 0, 0, 0.125]
    assert [image.norm(0.25), image.norm(0.25 / 4)] == pytest.approx([1.0, 0.5])


@pytest.mark.parametrize("size", [2, 12, 20, 100])
def test_names_do_not_overlap_and_numbers_stay_in_their_cells(draw, size):
    counts = (10 + 700 * np.eye(size, dtype=int))[None]
    counts[0, 0, 1:] = 0  # three digits
    names = [f"a class of name {n}" for n in range(size)]
    ax, _ = draw("confusion", names, confusion={0: counts}).axes
    rows = sorted(
        t.get_window_extent().intervaly.tolist() for t in ax.get_yticklabels()
    )
    assert all(low[1] <= high[0] for low, high in itertools.pairwise(rows))
    # Slanted names are apart if their ends are further apart than a line is high.
    step = np.diff([t.get_window_extent().x1 for t in ax.get_xticklabels()])
    height = ax.get_xticklabels()[0].get_fontsize() * ax.figure.dpi / 72
    assert np.all(step * np.sqrt(0.5) > 0.95 * height)
    shown = size <= images.NAMED_CLASSES
    assert len(ax.texts) == (size**2 - (size - 1) if shown else 0)
    cell = ax.get_window_extent().width / size
    assert all(t.get_window_extent().width < cell for t in ax.texts)
    assert all(t.get_fontsize() > 5 for t in ax.texts)


def test_a_class_without_examples_says_so_and_no_errors_have_no_bar(draw):
    (ax,) = draw("confusion", confusion={0: np.diag([4, 0, 2])[None]}).axes
    assert words(ax.texts) == ["100", "none", "100"]


# Images.


def test_images_have_what_is_said_of_them(draw):
    figure = draw("gallery", gallery=gallery())
    assert len(figure.axes) == 7
    first, second = (words(ax.texts) for ax in figure.axes[:2])
    best, worst = "best: T-shirt/top (4/5)", r"worst: \$x^2\$ (1/4)"
    assert first == ["true: T-shirt/top", best, worst]
    assert second[2] == "worst: Ankle boot (1/4)"
    assert words(figure.legends[0].get_texts()) == ["best: A", r"worst: \$B"]
    shown = figure.axes[1].images[0].get_array()
    np.testing.assert_array_equal(shown, IMAGES[1, ..., 0])
    wrong = words(draw("mistakes", mistakes=mistakes()).axes[0].texts)
    sure = "98.7 % sure (4/5)"
    assert wrong == ["true: T-shirt/top", "taken for: Ankle boot", sure]


def test_images_are_large_and_their_texts_apart(draw):
    figure = draw("gallery", gallery=gallery())
    boxes = [ax.get_window_extent() for ax in figure.axes]
    assert min(b.width for b in boxes) > 1.1 * figure.dpi
    shown = [t for ax in figure.axes for t in ax.texts] + figure.legends + figure.texts
    extents = [*boxes, *(t.get_window_extent() for t in shown)]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(extents, 2))
    whole = figure.bbox.padded(1)
    assert all(whole.contains(*p) for box in extents for p in (box.p0, box.p1))


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_images_are_grey_or_in_colour(draw, channels):
    some = np.random.default_rng(0).random((2, 4, 6, channels), np.float32)
    ax, _ = draw("gallery", gallery=gallery(2, some)).axes
    (shown,) = ax.images
    expected = some[0] if channels == 3 else some[0].mean(axis=-1)
    np.testing.assert_allclose(shown.get_array(), expected)
    assert (shown.norm.vmin, shown.norm.vmax) == (0, 1)
    box = ax.get_window_extent()
    assert box.width / box.height == pytest.approx(6 / 4)


@pytest.mark.parametrize(
    ("part", "parts", "text"),
    [
        ("confusion", {"best": None}, "no best trial"),
        ("confusion", {"confusion": {0: 0 * COUNTS}}, "no network of the best"),
        ("gallery", {}, "two trials"),
        ("gallery", {"gallery": gallery(0)}, "no test image"),
        ("gallery", {"gallery": gallery(0, worst_seeds=0)}, "no network of the worst"),
        ("mistakes", {}, "takes images"),
        ("mistakes", {"mistakes": mistakes(0)}, "right on every image"),
        ("mistakes", {"mistakes": mistakes(0, seeds=0)}, "no network"),
        ("probabilities", {}, "takes images"),
        ("weights", {}, "no weights to show"),
        ("weights", {"kernels": {"best": Kernel(IMAGES[0, ..., 0], 4)}}, "pixels"),
        ("regions", {}, "two features"),
    ],
)
def test_where_there_is_nothing_to_show_it_says_why(draw, part, parts, text):
    with pytest.raises(Lacking, match=text):
        draw(part, **parts)


# Probabilities.


def test_bars_are_means_with_the_range_of_the_seeds(draw):
    shown = examples()
    image, ax = draw("probabilities", examples=shown).axes[2:4]
    assert image.get_title() == r"\$x^2\$"
    widths = [bar.get_width() for bar in ax.patches]
    both = np.concatenate([shown.before[:, 1], shown.after[:, 1]], axis=1)
    np.testing.assert_allclose(widths, both.mean(axis=0))
    ranges = [s[:, 0] for lines in ax.collections for s in lines.get_segments()]
    np.testing.assert_allclose(ranges, np.stack([both.min(0), both.max(0)], axis=1))
    colors = [to_hex(bar.get_facecolor()) for bar in ax.patches]
    other, true = images.WORST, images.BEST
    assert colors == [images.BEFORE] * 3 + [other, true, other]
    bold = [t.get_fontweight() for t in ax.get_yticklabels()]
    assert bold == ["normal", "bold", "normal"]


@pytest.mark.parametrize("count", [1, 3])
def test_every_example_has_its_image_and_bars_and_one_seed_no_range(draw, count):
    figure = draw("probabilities", examples=examples(count, seeds=1))
    assert len(figure.axes) == 2 * count
    assert figure.axes[-1].get_xticklabels()[-1].get_text() == "100 %"
    assert not any(ax.collections for ax in figure.axes)
    assert "one seed" in figure.get_supxlabel()


def test_of_many_classes_the_true_one_and_the_likeliest_are_shown(draw):
    shown = examples(count=1, classes=30)
    shown.after[..., 0] = 0.0
    _, ax = draw("probabilities", [*map(str, range(30))], examples=shown).axes
    names = [int(name) for name in words(ax.get_yticklabels())]
    likeliest = np.argsort(-shown.after[:, 0].mean(0))[: images.MOST_BARS - 1]
    assert names == sorted([0, *likeliest])


# Weights.


def kernel(*shape, scale=1.0, units=0):
    values = scale * np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return Kernel(values, units or shape[-1])


@pytest.fixture
def weights(draw):
    """Draws kernels; returns the axes that hold them."""

    def weights(kernels, shape=(4, 6, 1)):
        axes = draw("weights", shape=shape, kernels=kernels).axes
        return [ax for ax in axes if ax.images]

    return weights


def test_a_dense_layers_weights_lie_on_their_pixels(weights):
    best = kernel(24, 20, units=99)
    (ax,) = weights({"best": best})
    assert ax.get_title() == "best: A\nfirst 20 of 99 units"
    mosaic = ax.images[0].get_array()
    zoom = 4  # 6 pixels are then `TILE` dots wide
    assert mosaic.shape == (2 * 4 * zoom + 2, 10 * (6 * zoom + 2) - 2)
    for unit in range(20):
        row, column = divmod(unit, 10)
        top, left = row * (4 * zoom + 2), column * (6 * zoom + 2)
        tile = mosaic[top : top + 4 * zoom : zoom, left : left + 6 * zoom : zoom]
        np.testing.assert_array_equal(tile, best.values[:, unit].reshape(4, 6))
    assert np.ma.count_masked(mosaic) == mosaic.size - 20 * 4 * 6 * zoom**2


@pytest.mark.parametrize(("channels", "text"), [(1, ""), (2, "mean over 2 channels")])
def test_a_convolutions_kernels_are_averaged_over_channels(weights, channels, text):
    best = kernel(3, 3, channels, 8)
    (ax,) = weights({"best": best}, (4, 6, 9))
    tile = ax.images[0].get_array()[:24:8, :24:8]
    np.testing.assert_allclose(tile, best.values[..., 0].mean(axis=2), rtol=1e-6)
    assert ax.get_title().endswith(text or "8 units")


@pytest.mark.parametrize("dense", [True, False])
def test_three_channels_are_colours_around_grey(weights, dense):
    values = np.zeros((2, 2, 3, 4), np.float32)
    values[0, 0, :2] = np.array([[1.0], [0.5]])
    values[0, 1, 2] = -1.0
    given = Kernel(values.reshape(12, 4) if dense else values, 4)
    (ax,) = weights({"best": given}, (2, 2, 3))
    mosaic = ax.images[0].get_array()
    assert mosaic[0, 0].tolist() == [1.0, 0.75, 0.5]
    assert mosaic[0, 12].tolist() == [0.5, 0.5, 0.0]
    assert mosaic[0, 24].tolist() == [1.0, 1.0, 1.0]  # between two tiles
    assert "red, green, blue" in ax.get_title()


@pytest.mark.parametrize(("scale", "shared"), [(0.3, True), (3.0, True), (30.0, False)])
def test_scales_are_symmetric_and_shared_unless_far_apart(weights, scale, shared):
    kernels = {"best": kernel(24, 64), "worst": kernel(24, 64, scale=scale)}
    axes = weights(kernels)
    limits = [ax.images[0].norm for ax in axes]
    assert all(norm.vmin == -norm.vmax for norm in limits)
    assert (limits[0].vmax == limits[1].vmax) == shared
    bars = [
        words(ax.get_xticklabels())[-1] for ax in axes[0].figure.axes if not ax.images
    ]
    assert bars == [f"{norm.vmax:.2g}" for norm in limits]
    largest = max(np.quantile(np.abs(k.values), 0.995) for k in kernels.values())
    assert max(norm.vmax for norm in limits) == pytest.approx(largest, rel=1e-6)


@pytest.mark.parametrize(("units", "trials"), [(1, 1), (3, 2), (10, 1), (64, 2)])
def test_weights_fill_the_figure_and_stay_within(weights, units, trials):
    axes = weights(dict.fromkeys(("best", "worst")[:trials], kernel(24, units)))
    assert len(axes) == trials
    figure = axes[0].figure
    whole = figure.bbox.padded(0.01)
    for ax in figure.axes:
        box = ax.get_tightbbox()
        assert all(whole.contains(*corner) for corner in (box.p0, box.p1))
    assert axes[0].get_window_extent().width > 0.8 * figure.bbox.width / trials


@pytest.mark.parametrize("input_shape", [(24,), (5, 5, 1), (4, 6, 2)])
def test_weights_lie_on_no_image_of_another_size(input_shape):
    assert images.tiles(kernel(24, 4), input_shape) is None


def test_weights_that_are_all_zero_can_be_drawn(weights):
    (ax,) = weights({"worst": kernel(24, 4, scale=0.0)})
    assert ax.images[0].norm.vmax == 1.0


# Regions.


@pytest.fixture
def divided(draw):
    """Draws a plane of all classes; returns its data and its axes."""

    def divided(classes=3, extent=(0.0, 6.0, 10.0, 14.0), worst=True):
        points = np.random.default_rng(0).uniform(extent[::2], extent[1::2], (50, 2))
        grid, labels = np.arange(36).reshape(6, 6) % classes, np.arange(50) % classes
        other = grid[::-1] if worst else None
        shown = Regions(np.array(extent), points, labels, grid, other)
        return shown, draw("regions", regions=shown).axes

    return divided


def test_data_best_and_worst_are_alike_in_colours_place_and_size(divided):
    shown, axes = divided(24)
    data, *titles = (ax.get_title() for ax in axes)
    assert data == "the data\n50 examples"
    assert [title.partition("\n")[0] for title in titles] == ["best: A", r"worst: \$B"]
    assert all("\ntest accuracy" in title for title in titles)
    for ax in axes:
        assert (*ax.get_xlim(), *ax.get_ylim()) == tuple(shown.extent)
        assert ax.get_xlabel() == "east"
    assert axes[0].get_ylabel() == r"\$north\$"
    boxes = [ax.get_window_extent() for ax in axes]
    assert len({(round(b.width), round(b.height), round(b.y0)) for b in boxes}) == 1
    (cloud,) = axes[0].collections
    np.testing.assert_allclose(cloud.get_offsets(), shown.points)
    dots = [to_hex(color) for color in cloud.get_facecolors()]
    assert dots == [images.FILLS[label] for label in shown.labels]
    for ax, grid in zip(axes[1:], (shown.best, shown.worst)):
        (image,) = ax.images
        assert (image.origin, tuple(image.get_extent())) == ("lower", (0, 6, 10, 14))
        tints = image.cmap(image.norm(image.get_array()))
        cells = [to_hex(color) for color in tints.reshape(-1, 4)]
        assert cells == [images.FILLS[label] for label in grid.ravel()]


def test_a_line_is_wherever_the_class_changes(draw):
    extent = np.array([0.0, 2.0, 0.0, 2.0])
    points, labels = np.ones((1, 2), np.float32), np.zeros(1, int)
    shown = Regions(extent, points, labels, np.array([[0, 0], [0, 1]]))
    _, ax = draw("regions", regions=shown).axes
    lines = [s for c in ax.collections for s in c.get_segments()]
    segments = sorted(np.sort(line, axis=0).tolist() for line in lines)
    assert segments == [[[1, 1], [1, 2]], [[1, 1], [2, 1]]]


@pytest.mark.parametrize(
    ("extent", "ratio"), [((0, 1, 0, 2), 2.0), ((0, 1, 0, 3), 1.0), ((0, 5, 0, 1), 1.0)]
)
def test_features_share_a_scale_unless_they_are_far_apart(divided, extent, ratio):
    _, axes = divided(extent=extent)
    box = axes[-1].get_window_extent()
    assert box.height / box.width == pytest.approx(ratio, rel=1e-3)
    assert all(axes[0].figure.bbox.padded(1).containsy(y) for y in (box.y0, box.y1))


def test_a_plane_can_have_more_classes_than_colours_and_no_worst_trial(divided):
    _, axes = divided(30, worst=False)
    assert len(axes) == 2
