# SPDX-License-Identifier: Apache-2.0
"""The common look of figures: colours, letters, axes, and files.

Colours follow the swept value, and are legible on white.
"""

import contextlib
import io
import itertools
import math
import pathlib
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_mixed import MixedModeRenderer
from matplotlib.backends.backend_pdf import Op, PdfFile, RendererPdf
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Colormap, Normalize, to_hex, to_rgb
from matplotlib.figure import Figure

from nnlab.machine.files import write_atomic
from nnlab.report.figures.drawing import paper
from nnlab.report.trials import sweep_of
from nnlab.statistics.findings import Findings
from nnlab.words import numbers

Look = dict[str, Any]  # keyword arguments of matplotlib's functions
PAGE, PHONE = 6.4, 5.4
"""Inches: the width of a report, and that at which a phone still shows the letters."""
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
    "pdf.fonttype": 42,  # TrueType, which journals ask for
}
# The first comes with matplotlib and looks like Times, as LaTeX's texts do.
_SERIF = {"font.family": "serif", "font.serif": ["STIXGeneral", "DejaVu Serif"]}


@contextlib.contextmanager
def context(on: paper.Paper | None = None, font: str = "sans") -> Iterator[None]:
    """Gives figures this look, whatever a matplotlibrc or a notebook has set.

    They are laid out for a paper, or for a report if `on` is None.
    """
    look = _STYLE | (_SERIF if font == "serif" else {})
    with matplotlib.style.context(["default", look]), paper.laid_out(on):
        yield


def canvas(height: float, width: float = PHONE) -> Figure:
    """Makes an empty figure of so many inches; `PAGE` is for panels side by side.

    On paper it is as wide as the paper.
    """
    return Figure(figsize=paper.area(height, width), layout="constrained")


def panel(figure: Figure, number: int, count: int) -> Axes:
    """Adds one of `count` panels; a last one that is alone in its row has all of it.

    `number` counts from 0. In a report two stand in a row: of three a phone would show
    no letter.
    """
    columns = paper.side_by_side(count)
    alone = columns > 1 and count % columns == 1 and number == count - 1
    last = number + columns if alone else number + 1
    return figure.add_subplot(math.ceil(count / columns), columns, (number + 1, last))


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


def save(
    figure: Figure,
    path: str | pathlib.Path,
    formats: Sequence[str] = ("png", "svg"),
    dpi: int = 150,
    *,
    scale: float = 1.0,
    font: str = "sans",
) -> list[pathlib.Path]:
    """Writes a figure in some formats of `paper.FORMATS`; equal input, equal bytes.

    `path` has no suffix; its folder is made. Returns the paths of the files. `dpi` is
    dots an inch, of the figure as it is stored: `scale` times as large as laid out.
    """
    paths = [pathlib.Path(f"{path}.{suffix}") for suffix in formats]
    for file in paths:
        file.parent.mkdir(parents=True, exist_ok=True)
        with context(font=font):
            content = encoded(figure, file.suffix[1:], dpi, scale)
        write_atomic(file, content, durable=False)
    return paths


def encoded(figure: Figure, suffix: str, dpi: int = 150, scale: float = 1.0) -> bytes:
    """Returns the bytes of the file that `save` writes, in the present `context`."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A label in a script that the font lacks is drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        if suffix == "pdf":
            _print_pdf(figure, buffer, dpi, scale)
        else:
            figure.savefig(
                buffer,
                format=suffix,
                dpi=dpi * scale,
                metadata={"Software" if suffix == "png" else "Date": None},
                facecolor="none" if suffix == "svg" else "white",
            )
    figure.set_layout_engine("none")  # found once, kept for the next format
    if suffix != "svg":
        return buffer.getvalue()
    text = numbers.visible(buffer.getvalue().decode())
    if scale != 1:
        start, close, rest = text.partition("viewBox")

        def larger(match: re.Match[str]) -> str:
            return f"{scale * float(match[0]):.6g}"

        text = re.sub(r"[\d.]+(?=pt)", larger, start) + close + rest
    return text.encode()


def _print_pdf(figure: Figure, buffer: io.BytesIO, dpi: int, scale: float) -> None:
    """Writes a figure as a PDF of one page, `scale` times as large as it is laid out.

    matplotlib's own function has no such scale.
    """

    class Scaled(PdfFile):
        def newPage(self, width: float, height: float) -> None:
            super().newPage(scale * width, scale * height)
            self.width, self.height = width, height  # what is outside is left out
            self.output(scale, 0, 0, scale, 0, 0, Op.concat_matrix)

    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    before, figure.dpi = figure.dpi, 72  # points, PDF's unit
    file = Scaled(buffer, metadata={"CreationDate": None})
    width, height = figure.get_size_inches()
    file.newPage(width, height)
    inner = RendererPdf(file, dpi * scale, height, width)
    renderer = MixedModeRenderer(figure, width, height, dpi * scale, inner)
    figure.draw(renderer)  # type: ignore[arg-type]
    renderer.finalize()
    file.finalize()
    file.close()
    figure.dpi = before
