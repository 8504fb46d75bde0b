# SPDX-License-Identifier: Apache-2.0
"""Sizes of figures for papers and slides, at which no text is cut or covered.

A figure is laid out for letters of 9 points along its axes, in an area that is as large
as the paper is then, and everything is scaled together when it is stored.
"""

import contextlib
import contextvars
import dataclasses
import itertools
import math
import textwrap
import warnings
from collections.abc import Iterator

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from nnlab.words.spelling import nearest

LETTERS = 9.0  # points along axes, for which figures are laid out
FORMATS = ("pdf", "svg", "png")
FONTS = ("sans", "serif")
SHARES = (1.0, 0.9, 0.8, 0.72, 0.64, 0.56, 0.48, 0.4, 0.33, 0.27)
"""Of the letters' size, in the order in which they are tried."""
LINE = 0.16  # of a line's height has no ink, above and below
SMALLEST = 0.9  # inches, of a panel's sides at `LETTERS`


@dataclasses.dataclass(frozen=True)
class Paper:
    """What figures are put on.

    Attributes:
      width: inches, of every figure.
      height: inches, at most; of every figure if `fills`.
      letters: points of the letters along axes, where all texts have room.
      fills: whether all figures are as high as that.
    """

    width: float
    height: float
    letters: float
    fills: bool = False

    @property
    def scale(self) -> float:
        """How many times larger a figure is stored than it is laid out."""
        return self.letters / LETTERS


PAPERS = {
    "column": Paper(3.35, 9.0, 8.0),
    "page": Paper(6.9, 9.0, 9.0),
    "slide": Paper(10.0, 5.6, 18.0, fills=True),
}
"""Of two columns one, the width of a page, and a slide of 16 to 9."""
_paper: contextvars.ContextVar[Paper | None] = contextvars.ContextVar("paper")


@dataclasses.dataclass(frozen=True)
class Export:
    """Files of figures for other documents.

    Attributes:
      size: one of `PAPERS`.
      formats: some of `FORMATS`.
      dpi: dots an inch, of PNG and of images in the others.
      font: one of `FONTS`.

    Raises:
      ValueError: a name that is not known, or dots that are not from 30 to 1,200.
    """

    size: str = "page"
    formats: tuple[str, ...] = ("pdf",)
    dpi: int = 300
    font: str = "sans"

    def __post_init__(self) -> None:
        for what, name, allowed in (
            ("size", self.size, PAPERS),
            ("font", self.font, FONTS),
            *(("format", name, FORMATS) for name in self.formats),
        ):
            if name not in allowed:
                hint = nearest(name, allowed)
                raise ValueError(f"unknown figure {what} {name!r}{hint}")
        if not 30 <= self.dpi <= 1_200:  # a page of more takes a gigabyte
            raise ValueError(f"dpi={self.dpi}: from 30 to 1,200 are allowed")

    @property
    def paper(self) -> Paper:
        """What it is put on."""
        return PAPERS[self.size]


@contextlib.contextmanager
def laid_out(paper: Paper | None) -> Iterator[None]:
    """Lays figures out for a paper; for a report if None."""
    token = _paper.set(paper)
    try:
        yield
    finally:
        _paper.reset(token)


def area(height: float, width: float) -> tuple[float, float]:
    """Returns width and height of a figure, in inches; the paper's where there is one.

    `height` is as high as it has to be, `width` as wide as it is in a report.
    """
    paper = _paper.get(None)
    if paper is None:
        return width, height
    most = paper.height / paper.scale
    return paper.width / paper.scale, most if paper.fills else min(height, most)


def tall(height: float, ratio: float = 0.72) -> float:
    """Returns the height of a panel as wide as the figure: less on a narrow paper."""
    return min(height, ratio * area(0.0, 100.0)[0])


def side_by_side(
    count: int, most: int = 2, least: float = 2.4, ratio: float = 1.35
) -> int:
    """Returns how many of `count` panels stand in a row.

    That is `most`, or fewer if a panel were narrower than `least` inches. On a slide it
    is as many as fill it with panels whose width is `ratio` times their height.
    """
    paper = _paper.get(None)
    if paper is not None and paper.fills:
        return max(1, round(math.sqrt(count * paper.width / paper.height / ratio)))
    return max(1, min(count, most, int(area(0.0, 100.0)[0] / least)))


def _folds_names(figure: Figure) -> bool:
    """Puts names that are longer than their axis into one line more, if any are."""
    folded = False
    for ax in figure.axes:
        for axis, side in ((ax.xaxis, "width"), (ax.yaxis, "height")):
            box, name = axis.label.get_window_extent(), axis.label.get_text()
            if getattr(box, side) > getattr(ax.bbox, side):
                line, *more = name.split("\n")
                half = textwrap.wrap(line, len(line) // 2 + 6)[0]  # in whole words
                at = line.find(" (") if " (" in line else len(half)
                lines = line[:at], line[at:].strip(), *more
                axis.set_label_text("\n".join(filter(None, lines)))
                folded = True
    return folded


def clashes(figure: Figure) -> int:
    """Returns how many texts are cut or cover another, and panels that are too small.

    The figure's layout is settled before, in which long names of axes are folded.
    """
    with warnings.catch_warnings():
        # Panels without any room are counted below.
        warnings.filterwarnings("ignore", message="constrained_layout not applied")
        figure.draw_without_rendering()
        if _folds_names(figure):
            figure.draw_without_rendering()
    unseen = {text for ax in figure.axes for text in _not_drawn(ax)}
    every = figure.findobj(Text)
    shown = [t for t in every if t.get_visible() and t.get_text() and t not in unseen]
    boxes = [_ink(text) for text in shown]
    page = figure.bbox.padded(1.0)
    cut = sum(not page.contains(x, y) for box in boxes for x, y in (box.p0, box.p1))
    pairs = itertools.combinations(zip(shown, boxes), 2)
    covered = sum(
        a.overlaps(b)
        for (text, a), (other, b) in pairs
        # Names that lean lie side by side where their boxes do not.
        if not (text.get_rotation() % 90 and other.get_rotation() % 90)
    )
    least = SMALLEST * figure.dpi
    panels = [ax.bbox for ax in figure.axes if ax.get_subplotspec() is not None]
    return cut + covered + sum(min(p.width, p.height) < least for p in panels)


def _not_drawn(ax: Axes) -> Iterator[Text]:
    """Yields the labels of ticks that are beyond the ends of their axis."""
    for axis in (ax.xaxis, ax.yaxis):
        low, high = sorted(axis.get_view_interval())
        air = 1e-6 * (high - low)
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
            if not (ax.axison and low - air <= tick.get_loc() <= high + air):
                yield from (tick.label1, tick.label2)


def _ink(text: Text) -> Bbox:
    """Returns the box of a text's letters, without the air above and below a line."""
    box = text.get_window_extent()
    air = LINE * float(text.get_fontsize()) * text.figure.dpi / 72
    return Bbox.from_extents(box.x0, box.y0 + air, box.x1, box.y1 - air)
