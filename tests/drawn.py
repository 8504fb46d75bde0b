# SPDX-License-Identifier: Apache-2.0
"""Sweeps to draw, and what can be found on their Axes."""

import itertools

import numpy as np
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.colors import to_rgb
from matplotlib.transforms import Bbox

from nnlab.report.figures import catalog
from nnlab.report.figures.drawing import curves
from nnlab.statistics.findings import Findings

ACTIVATIONS = ("relu", "tanh", "sigmoid", "gelu", "elu")
TWO_PATHS = [
    {"model.activation": a, "optimizer.learning_rate": r}
    for a in ACTIVATIONS[:3]
    for r in (0.01, 0.1, 1.0)
]
TREES = {"model.name": "boosted_trees"}
FOREST = {"model.name": "random_forest", "label": "a forest"}
BESIDE = [*({"optimizer.learning_rate": r} for r in (0.01, 0.1, 1.0)), TREES, FOREST]
ROWS = [{"model.activation": "relu"}, TREES, {"model.activation": "tanh"}]


def learning(ax, results, metric, x="epoch", trials=None):
    """Draws curves on an Axes, and returns it."""
    curves.Curves(Findings(results), metric, x).draw(ax, trials)
    return ax


def axes(part, results):
    """Returns the Axes of a part's only figure."""
    (sketch,) = catalog.PARTS[part].sketches(Findings(results))
    sketch.canvas.draw_without_rendering()
    return sketch.canvas.axes


def contrast(one, other):
    """Returns the contrast ratio of two colours, as in WCAG 2.2."""
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def luminance(color):
    c = np.array(to_rgb(color))
    linear = np.where(c > 0.04045, ((c + 0.055) / 1.055) ** 2.4, c / 12.92)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def solid(ax):
    """Returns the mean curves: lines of full width."""
    return [line for line in ax.lines if line.get_linewidth() == 1.7]


def crosses(ax):
    return [line.get_xydata()[0] for line in ax.lines if line.get_marker() == "x"]


def ticks(ax):
    """Returns place, value and height of each tick where networks stopped."""
    marks = [line for line in ax.lines if line.get_marker() == "|"]
    return [(*line.get_xydata()[0], line.get_markersize()) for line in marks]


def dashed(ax):
    """Returns the heights of the baselines' lines across the axes."""
    lines = [line for line in ax.lines if line.get_linestyle() == "--"]
    across = [line for line in lines if list(line.get_xdata()) == [0, 1]]
    return [line.get_ydata()[0] for line in across]


class _Recorder(RendererAgg):
    """Notes where each text is drawn, from its baseline to its capitals."""

    def __init__(self, figure):
        width, height = map(int, figure.bbox.size)
        super().__init__(width, height, figure.dpi)
        self.texts = []

    def draw_text(self, gc, x, y, s, prop, angle, ismath=False, mtext=None):
        wide, _, _ = self.get_text_width_height_descent(s, prop, ismath)
        high = 0.7 * self.points_to_pixels(prop.get_size_in_points())
        x, y = float(x), self.height - float(y)
        box = (x, y, x + wide, y + high) if angle == 0 else (x - high, y, x, y + wide)
        if angle % 90 == 0:  # names that lean have no upright box
            self.texts.append((s, Bbox.from_extents(*box)))


def crowded(figure):
    """Returns the texts of a figure that are cut off, and the pairs that overlap."""
    renderer = _Recorder(figure)
    figure.draw(renderer)
    found = [(s, box) for s, box in renderer.texts if s.strip()]
    page = Bbox.from_extents(-1, -1, renderer.width + 1, renderer.height + 1)
    cut = [s for s, box in found if not all(page.contains(*p) for p in box.corners())]
    pairs = itertools.combinations(found, 2)
    return cut + [(s, t) for (s, a), (t, b) in pairs if a.overlaps(b)]
