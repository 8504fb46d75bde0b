# SPDX-License-Identifier: Apache-2.0
"""The parts of a report: what each needs, how and where it is drawn.

A new figure has a function in a file of its own and a `Part` here. `study.SHOWN` has
the parts' names, by which a study asks for them, and says what each shows.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Iterable

from nnlab.report.figures import (
    best_and_worst,
    final,
    gradient_norms,
    images,
    learning,
    maps,
    rate_range,
    sizes,
    test_sets,
)
from nnlab.report.figures.drawing import style
from nnlab.report.figures.drawing.captions import Lacking, Sketch, need
from nnlab.statistics.findings import Findings
from nnlab.words import settings


@dataclasses.dataclass(frozen=True)
class Part:
    """Something that a report can show.

    Attributes:
      name: its name in a study's `figures`.
      section: one of `SECTIONS`; "" for a table.
      draw: makes its figures; raises `Lacking` with the reason where what it needs is
        missing.
      needs: columns of the curves that must have been measured.
      images: whether it holds pictures, whose colours a dark page must not invert.
    """

    name: str
    section: str
    draw: Callable[[Findings], Sketch | Iterable[Sketch]]
    needs: tuple[str, ...] = ()
    images: bool = False

    def sketches(self, findings: Findings) -> tuple[Sketch, ...]:
        """Draws its figures, or raises `Lacking`; stores nothing."""
        for column in self.needs:
            there = findings.is_measured(column)
            need(there, f"the curves have no {settings.words(column)}")
        with style.context():
            made = self.draw(findings)
            return (made,) if isinstance(made, Sketch) else tuple(made)


SECTIONS = {
    "curves": "Learning curves",
    "along": "Against {along}",
    "final": "Results against {swept}",
    "moved": "Moved and rotated images",
    "maps": "Maps",
    "models": "Looking at the models",
}
"""The report's sections with figures, in order, and their titles."""
_LEARNT, _TESTED = ("validation_accuracy",), ("test_accuracy",)
_PARTS = (
    Part("curves", "curves", learning.usual),
    Part("gap", "curves", learning.gap, ("train_accuracy", *_TESTED)),
    Part("extremes", "curves", best_and_worst.best_and_worst, _LEARNT),
    Part("noise", "curves", learning.noise, ("batch_loss_std",)),
    Part("updates", "along", learning.updates, _LEARNT),
    Part("seconds", "along", learning.seconds, _LEARNT),
    Part("final", "final", final.final, _TESTED),
    Part("target", "final", final.target, _LEARNT),
    Part("rates", "final", rate_range.rates, ("train_loss",)),
    Part("test_sets", "moved", test_sets.final_on_sets),
    Part("severity", "moved", test_sets.severity),
    Part("map", "maps", maps.metric_map, _TESTED),
    Part("sizes", "final", sizes.against_sizes, _TESTED),
    Part("divergence", "maps", maps.divergence_map),
    Part("active_units", "models", learning.active_units),
    Part("gradients", "models", gradient_norms.gradients),
    Part("costs", "", lambda findings: ()),  # a table, see `report.costs`
    Part("confusion", "models", images.confusion),
    Part("regions", "models", images.regions, images=True),
    Part("weights", "models", images.weights, images=True),
    Part("gallery", "models", images.gallery, images=True),
    Part("mistakes", "models", images.mistakes, images=True),
    Part("probabilities", "models", images.probabilities, images=True),
)
PARTS = {part.name: part for part in _PARTS}
"""All parts by their names, in the order of the report."""


@dataclasses.dataclass(frozen=True)
class Figure:
    """A stored figure.

    Attributes:
      part: name of its `Part`.
      name: of its files in ``figures/``, without suffix.
      alt: alternative text.
      caption: what the reader must know to read it.
    """

    part: str
    name: str
    alt: str
    caption: str

    @property
    def pictures(self) -> bool:
        """Whether it holds images, whose colours a dark page must not invert."""
        return PARTS[self.part].images

    @property
    def section(self) -> str:
        """Its section of the report, one of `SECTIONS`."""
        return PARTS[self.part].section


def draw(
    findings: Findings, folder: pathlib.Path
) -> tuple[tuple[Figure, ...], dict[str, str]]:
    """Draws and stores the figures that the study asks for and the results allow.

    Returns them, and the reason for each part that has none.
    """
    asked = findings.results.study.figures if findings.ran else ()
    drawn: list[Figure] = []
    absent: dict[str, str] = {}
    for part in (part for name, part in PARTS.items() if name in asked):
        try:
            for made in part.sketches(findings):
                style.save(made.canvas, folder / made.name)
                caption = " ".join(made.caption.split())
                drawn.append(Figure(part.name, made.name, made.alt, caption))
        except Lacking as reason:
            absent[part.name] = str(reason)
    return tuple(drawn), absent
