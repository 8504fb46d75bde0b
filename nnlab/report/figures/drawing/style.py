# SPDX-License-Identifier: Apache-2.0
"""The common look of figures: colours, letters, axes, and files.

Colours follow the swept value, and are legible on white.
"""

import contextlib
import io
import itertools
import math
import pathlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Colormap, Normalize, to_hex, to_rgb
from matplotlib.figure import Figure

from nnlab.machine.files import write_atomic
from nnlab.report.trials import sweep_of
from nnlab.statistics.findings import Findings
from nnlab.words import numbers

Look = dict[str, Any]  # keyword arguments of matplotlib's functions
PAGE, PHONE = 6.4, 5.4
"""Inches: the width of a page, and that at which a phone still shows the letters."""
INK, MUTED, RULE = "#1f2328", "#68717a", "#e3e6ea"
# Okabe and Ito's palette without its yellow, which is illegible on white.
CATEGORIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", INK)
# Up to here the colour maps keep a contrast of 2 to white.
ENDS = {"plasma": 0.8, "viridis": 0.75}
MIN_CONTRAST = 4.5  # of letters
RING: Look = {
    "marker": "o",
    "markersize": 11,
    "markerfacecolor": "none",
    "markeredgecolor": INK,
    "zorder": 4,
}
"""Marker around the point of the best trial."""
AS_GOOD = "#9aa3ac"  # of the marks of those that are not significantly worse
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Helvetica", "Arial", "sans-serif"],
    "font.size": 9.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",  # a page's background shows through
    "svg.fonttype": "none",  # text stays text: searchable, and read aloud
    "svg.hashsalt": "nnlab",
}


@contextlib.contextmanager
def context() -> Iterator[None]:
    """Gives figures this look, whatever a matplotlibrc or a notebook has set."""
    with matplotlib.style.context(["default", _STYLE]):
        yield


def canvas(height: float, width: float = PHONE) -> Figure:
    """Makes an empty figure of so many inches; `PAGE` is for panels side by side."""
    return Figure(figsize=(width, height), layout="constrained")


def panel(figure: Figure, number: int, count: int) -> Axes:
    """Adds one of `count` panels, two in a row; a last one alone has the whole row.

    `number` counts from 0. Of three in a row a phone would show no letter.
    """
    columns = min(count, 2)
    wide = columns > 1 and count % 2 == 1 and number == count - 1
    return figure.add_subplot(
        math.ceil(count / columns), columns, (number + 1, number + 1 + wide)
    )


def colors(findings: Findings) -> tuple[str, ...]:
    """Returns a colour for each trial: ordered with a numeric sweep, else distinct.

    Baselines are dark and grey.
    """
    sweep = sweep_of(findings.results)
    values = {t: sweep.values[t] for t in findings.networks}
    distinct = sorted(set(values.values()))
    few = sweep.scale == "categories" and len(values) <= len(CATEGORIES)
    shades = CATEGORIES if few else ordered_colors(len(distinct))
    greys = itertools.cycle((INK, MUTED))
    return tuple(
        shades[distinct.index(values[t])] if t in values else next(greys)
        for t in range(len(sweep.values))
    )


def rings(findings: Findings) -> dict[int, Look]:
    """Returns the markers around the best trial and those not significantly worse."""
    marks = {t: {**RING, "markeredgecolor": AS_GOOD} for t in findings.as_good}
    return marks if findings.best is None else {**marks, findings.best: RING}


def ordered_colors(
    count: int, of: Literal["plasma", "viridis"] = "plasma"
) -> list[str]:
    """Returns colours from dark to light, all legible on white."""
    shades = matplotlib.colormaps[of](np.linspace(0, ENDS[of], max(count, 2)))
    return [to_hex(s) for s in shades[:count]]


def darker(color: str, factor: float = 0.75) -> str:
    """Multiplies a color's channels by a factor below 1."""
    red, green, blue = to_rgb(color)
    return to_hex((factor * red, factor * green, factor * blue))


def luminance(color: Any) -> float:
    """Returns how bright a colour is, from 0 to 1: WCAG 2.2's relative luminance."""
    channels = np.array(to_rgb(color))
    linear = np.where(
        channels > 0.04045, ((channels + 0.055) / 1.055) ** 2.4, channels / 12.92
    )
    return float(linear @ (0.2126, 0.7152, 0.0722))


def legible(color: str) -> str:
    """Darkens a color enough for letters on white: a contrast of at least 4.5."""
    factor = 0.75
    while 1.05 / (luminance(darker(color, factor)) + 0.05) < MIN_CONTRAST:
        factor *= 0.95
    return darker(color, factor)


def ink_on(color: Any) -> str:
    """Returns black or white, whichever has more contrast (at least 4.6 to 1)."""
    return "black" if (luminance(color) + 0.05) ** 2 > 0.05 * 1.05 else "white"


def dress(ax: Axes, grid: Literal["x", "y"] = "y") -> None:
    """Gives axes the common look: no box, a light grid along the metric."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(MUTED)
    ax.tick_params(color=MUTED, labelcolor=INK, length=3)
    ax.grid(axis=grid, color=RULE, linewidth=0.8)
    ax.set_axisbelow(True)


def color_bar(
    axes: Axes | Sequence[Axes],
    shades: tuple[Normalize, Colormap],
    ticks: Mapping[float, str],
    label: str,
    size: float = 8,
    beyond: tuple[bool, bool] = (False, False),
    **options: Any,
) -> Colorbar:
    """Draws a bar beside axes that says what their colours mean: no box, no marks.

    `ticks` is ``{value: text}``, `beyond` says whether there are values below the bar
    and above it, and `options` are `Figure.colorbar`'s.
    """
    figure = (axes if isinstance(axes, Axes) else axes[0]).figure
    extend = ("neither", "min", "max", "both")[beyond[0] + 2 * beyond[1]]
    places = {"aspect": 30, "pad": 0.02, "extend": extend, **options}
    bar = figure.colorbar(ScalarMappable(*shades), ax=axes, **places)
    bar.set_ticks(list(ticks), labels=list(ticks.values()))
    bar.ax.tick_params(length=0, labelsize=size)
    bar.ax.minorticks_off()
    bar.outline.set_visible(False)
    bar.set_label(label, fontsize=8, color=MUTED)
    return bar


def save(figure: Figure, path: str | pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """Writes a figure as PNG (150 dots an inch) and SVG; equal input, equal bytes.

    `path` has no suffix; its folder is made. Returns the paths of both files.
    """
    png, svg = (pathlib.Path(f"{path}{suffix}") for suffix in (".png", ".svg"))
    png.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(png, encoded(figure, ".png"), durable=False)
    write_atomic(svg, encoded(figure, ".svg"), durable=False)
    return png, svg


def encoded(figure: Figure, suffix: Literal[".png", ".svg"]) -> bytes:
    """Returns the bytes of the file that `save` writes."""
    buffer = io.BytesIO()
    with context(), warnings.catch_warnings():
        # A label in a script that the font lacks is drawn as boxes in the PNG.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(
            buffer,
            format=suffix[1:],
            dpi=150,
            metadata={"Software" if suffix == ".png" else "Date": None},
            facecolor="none" if suffix == ".svg" else "white",
        )
    figure.set_layout_engine("none")  # found once, kept for the next format
    if suffix == ".png":
        return buffer.getvalue()
    return numbers.visible(buffer.getvalue().decode()).encode()
