# SPDX-License-Identifier: Apache-2.0
"""The figures of a report: those that a study asks for, stored with their captions.

`sketches` makes them; here the parts that `study.PARTS` names are drawn and get a place
in the workdir, or the reason why they cannot be drawn.
"""

import dataclasses
import math
import pathlib
from collections.abc import Callable

from nnlab.report.figures import gradient_norms, maps, sizes
from nnlab.report.figures.catalog import SKETCHES, active_column, extreme_trials
from nnlab.report.figures.drawing import style
from nnlab.report.figures.test_sets import moved_sets
from nnlab.results import Results
from nnlab.results.pictures import Stored, load
from nnlab.statistics import rate_range
from nnlab.statistics.members import is_measured, seconds_per_epoch
from nnlab.statistics.targets import target_of
from nnlab.study import PICTURES
from nnlab.words import settings


@dataclasses.dataclass(frozen=True)
class Figure:
    """A stored figure.

    Attributes:
      part: which of `study.PARTS` it belongs to.
      name: of its files in ``figures/``, without suffix.
      alt: what it shows and what can be seen in it, for those who cannot see it.
      caption: what the reader must know to read it.
    """

    part: str
    name: str
    alt: str
    caption: str

    @property
    def pictures(self) -> bool:
        """Whether it holds images, whose colours a dark page must not turn over."""
        return self.part in PICTURES and self.part != "confusion"


def draw(
    results: Results, folder: pathlib.Path
) -> tuple[tuple[Figure, ...], dict[str, str]]:
    """Draws and stores the figures that the study asks for and the results allow.

    Returns:
      The figures, and for each part that has none the reason.
    """
    drawn: list[Figure] = []
    absent: dict[str, str] = {}
    if not any(results.has_run(t.index) for t in results.trials):
        return (), {}
    stored = load(results.workdir)
    with style.context():
        for part, sketch in SKETCHES.items():
            if part not in results.study.figures:
                continue
            if reason := lacking(results, stored, part):
                absent[part] = reason
                continue
            for made in sketch(results, stored):
                style.save(made.canvas, folder / made.name)
                caption = " ".join(made.caption.split())
                drawn.append(Figure(part, made.name, made.alt, caption))
    return tuple(drawn), absent


def lacking(results: Results, stored: Stored | None, part: str) -> str:
    """What a part would need that is not there; "" if nothing."""
    columns = {
        "updates": ("validation_accuracy",),
        "seconds": ("validation_accuracy",),
        "gap": ("train_accuracy", "test_accuracy"),
        "extremes": ("validation_accuracy",),
        "noise": ("batch_loss_std",),
        "final": ("test_accuracy",),
        "target": ("validation_accuracy",),
        "rates": ("train_loss",),
        "map": ("test_accuracy",),
        "sizes": ("test_accuracy",),
    }
    for column in columns.get(part, ()):
        if not is_measured(results, column):
            return f"the curves have no {settings.words(column)}"
    no_grid = "the trials are no grid of two hyperparameters"
    # Each part's condition is looked at only where the study asks for that part.
    needs: dict[str, tuple[Callable[[], object], str]] = {
        "extremes": (
            lambda: len(extreme_trials(results)) == 2,
            "there is no best trial with a worst one beside it",
        ),
        "target": (
            lambda: not math.isnan(target_of(results)),
            "no trial is best, or it reaches no round accuracy",
        ),
        "rates": (
            lambda: rate_range.is_range(results),
            "the sweep is not of rates alone",
        ),
        "seconds": (lambda: _timed(results), "no segment was timed"),
        "map": (lambda: maps.axes_of(results), no_grid),
        "sizes": (
            lambda: len(sizes.shaped(sizes.sizes_of(results))) > 1,
            "fewer than two networks of a data set have a depth and one width",
        ),
        "divergence": (lambda: maps.axes_of(results), no_grid),
        "test_sets": (lambda: moved_sets(results), "no image was moved or rotated"),
        "severity": (
            lambda: len(results.severity) > 0,
            "no image was moved or rotated by more",
        ),
        "gradients": (
            lambda: gradient_norms.collect(results),
            "no gradient was measured",
        ),
        "active_units": (lambda: active_column(results), "no activation was watched"),
    }
    held: dict[str, tuple[object, str]] = {
        "confusion": (stored and stored.best is not None, "there is no best trial"),
        "regions": (
            stored and stored.regions,
            "it takes data with two features and a best trial",
        ),
        "weights": (
            stored and stored.kernels,
            "the first layer has no weights to show",
        ),
        "gallery": (
            stored and stored.gallery,
            "it takes images, and two trials to compare",
        ),
        "mistakes": (stored and stored.mistakes, "it takes images and a best trial"),
        "probabilities": (
            stored and stored.examples,
            "it takes images and a best trial",
        ),
    }
    if part in held:
        found, reason = held[part]
        return "" if found else reason
    there, reason = needs.get(part, (lambda: True, ""))
    return "" if there() else reason


def _timed(results: Results) -> bool:
    """Whether any program has a measured rate of training."""
    programs = (program["index"] for program in results.config["cohorts"])
    return any(seconds_per_epoch(results, c).size for c in programs)
