# SPDX-License-Identifier: Apache-2.0
"""The parts of a report: what each needs, how and where it is drawn.

A new figure has a function in a file of its own and a `Part` here. `study.SHOWN` has
the parts' names, by which a study asks for them, and says what each shows.
"""

import contextlib
import dataclasses
import functools
import pathlib
import re
from collections.abc import Callable, Iterable, Sequence

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
from nnlab.report.figures.drawing import chart, style
from nnlab.report.figures.drawing.captions import Lacking, Sketch, need
from nnlab.report.figures.drawing.paper import SHARES, Export, clashes
from nnlab.statistics.findings import Findings
from nnlab.study import Quantity
from nnlab.words import settings


@dataclasses.dataclass(frozen=True)
class Part:
    """Something that a report can show.

    Attributes:
      name: its name in a study's `figures`.
      section: one of `SECTIONS`; "" for a table.
      draw: makes its figures; raises `Lacking` with the reason where what it needs is
        missing.
      needs: columns of the curves that must have been measured; a split stands for its
        accuracy, or r2.
      images: whether it holds pictures, whose colours a dark page must not invert.
      tells: what it shows, as a pattern that "final test_accuracy" or the like begins
        with, a reduction and a metric.
    """

    name: str
    section: str
    draw: Callable[[Findings], Sketch | Iterable[Sketch]]
    needs: tuple[str, ...] = ()
    images: bool = False
    tells: str = ""

    def sketches(self, findings: Findings) -> tuple[Sketch, ...]:
        """Draws its figures for a report, or raises `Lacking`; stores nothing."""
        with style.context():
            return self.drawn(findings)

    def drawn(self, findings: Findings) -> tuple[Sketch, ...]:
        """Draws its figures in the present `style.context`, or raises `Lacking`."""
        score = findings.results.score
        for name in self.needs:
            is_split = name in ("train", "validation", "test")
            column = f"{name}_{score}" if is_split else name
            there = findings.is_measured(column)
            need(there, f"the curves have no {settings.words(column)}")
        made = self.draw(findings)
        return (made,) if isinstance(made, Sketch) else tuple(made)


SECTIONS = {
    "curves": "Learning curves",
    "along": "Against {along}",
    "probes": "Measured along training",
    "final": "Results against {swept}",
    "moved": "Moved and rotated images",
    "maps": "Maps",
    "models": "Looking at the models",
}
"""The report's sections with figures, in order, and their titles."""
_LEARNT, _TESTED = ("validation",), ("test",)
_LAST = "(final|best) (test|validation)_(accuracy|r2)|at_chance|diverged"
_PARTS = (
    Part("curves", "curves", learning.usual, tells="(final|best|at_)"),
    Part("gap", "curves", learning.gap, ("train", *_TESTED)),
    Part("extremes", "curves", best_and_worst.best_and_worst, _LEARNT),
    Part("noise", "curves", learning.noise, ("batch_loss_std",), tells=".* batch_l"),
    Part("updates", "along", learning.updates, _LEARNT),
    Part("seconds", "along", learning.seconds, _LEARNT, tells="seconds"),
    Part("final", "final", final.final, _TESTED, tells=_LAST),
    Part("target", "final", final.target, _LEARNT, tells="steps_to"),
    Part("rates", "final", rate_range.rates, ("train_loss",), tells=_LAST),
    Part("test_sets", "moved", test_sets.final_on_sets, tells=".* test_[mr]o"),
    Part("severity", "moved", test_sets.severity),
    Part("map", "maps", maps.metric_map, _TESTED, tells=_LAST),
    Part("sizes", "final", sizes.against_sizes, _TESTED, tells=_LAST),
    Part("divergence", "maps", maps.divergence_map, tells="diverged"),
    Part("probes", "probes", learning.probes),
    Part("active_units", "models", learning.active_units, tells=".* .*active_share"),
    Part("gradients", "models", gradient_norms.gradients, tells=".*grad_norm"),
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
      data: what a page's script draws it from, as `chart.data_of`; "" for an image.
    """

    part: str
    name: str
    alt: str
    caption: str
    data: str = ""

    @property
    def pictures(self) -> bool:
        """Whether it holds images, whose colours a dark page must not invert."""
        return PARTS[self.part].images

    @property
    def section(self) -> str:
        """Its section of the report, one of `SECTIONS`."""
        return PARTS[self.part].section


def telling(findings: Findings, drawn: Sequence[Figure]) -> Figure | None:
    """Returns the figure that shows the answer; None for none.

    That is what the claims measure that carry it, else the final test accuracy. Of
    several such figures the last part is the most special.
    """
    study, trials = findings.results.study, findings.results.trials
    asked = [claim.quantity for claim in study.claims if claim.main]
    asked = asked or [Quantity(metric=findings.results.test_score)]
    for quantity in asked if len(trials) > 1 else ():
        own = (f for f in drawn if f.name == f"{learning.PROBE}_{quantity.metric}")
        if (probed := next(own, None)) is not None:
            return probed
        what = f"{quantity.reduction} {quantity.metric}"
        for part in reversed(PARTS.values()):
            shown = [figure for figure in drawn if figure.part == part.name]
            if shown and part.tells and re.match(part.tells, what):
                same = (f for f in shown if f.name.endswith(quantity.metric))
                return next(same, shown[0])
    return drawn[0] if drawn else None


def fitted(
    draw: Callable[[], tuple[Sketch, ...]], export: Export
) -> tuple[Sketch, ...]:
    """Draws figures for other documents, with letters as large as there is room for.

    `draw` makes them in the present `style.context`; it may raise `Lacking`.
    """
    best: dict[int, tuple[int, Sketch]] = {}
    for share in SHARES:
        on = dataclasses.replace(export.paper, letters=share * export.paper.letters)
        with style.context(on, export.font):
            for place, made in enumerate(draw()):
                found = clashes(made.canvas)
                width, height = made.canvas.get_size_inches()
                found += height / width > 1.001 * on.height / on.width
                if place not in best or found < best[place][0]:
                    best[place] = found, made
        if not any(found for found, _ in best.values()):
            break
    return tuple(made for _, made in best.values())


def _asked(findings: Findings) -> tuple[str, ...]:
    """Returns the parts that a study asks for; its probes are drawn in any case."""
    study = findings.results.study
    probes = ("probes",) if study.probed() and "probes" not in study.figures else ()
    return (*study.figures, *probes) if findings.ran else ()


def export(
    findings: Findings, folder: pathlib.Path, asked: Export
) -> pathlib.Path | None:
    """Stores the study's figures for other documents, in a folder named by their size.

    Returns that folder, in `folder`; None where there is none to store.
    """
    target, written = folder / asked.size, False
    names = _asked(findings)
    for part in (PARTS[name] for name in names):
        with contextlib.suppress(Lacking):
            for made in fitted(functools.partial(part.drawn, findings), asked):
                written |= bool(store(made, target, asked))
    return target if written else None


def store(made: Sketch, folder: pathlib.Path, asked: Export) -> list[pathlib.Path]:
    """Stores a figure that was `fitted`; returns the paths of its files."""
    return style.save(
        made.canvas,
        folder / made.name,
        asked.formats,
        asked.dpi,
        scale=asked.paper.width / made.canvas.get_figwidth(),
        font=asked.font,
    )


def draw(
    findings: Findings, folder: pathlib.Path
) -> tuple[tuple[Figure, ...], dict[str, str]]:
    """Draws and stores the figures that the study asks for and the results allow.

    Returns them, and the reason for each part that has none.
    """
    asked = _asked(findings)
    drawn: list[Figure] = []
    absent: dict[str, str] = {}
    for part in (part for name, part in PARTS.items() if name in asked):
        try:
            for made in part.sketches(findings):
                style.save(made.canvas, folder / made.name)
                caption = " ".join(made.caption.split())
                data = chart.data_of(made.canvas)
                drawn.append(Figure(part.name, made.name, made.alt, caption, data))
        except Lacking as reason:
            absent[part.name] = str(reason)
    return tuple(drawn), absent
