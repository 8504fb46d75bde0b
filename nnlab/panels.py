# SPDX-License-Identifier: Apache-2.0
"""The figures of a report: which ones a study asks for, their captions, their files.

`figures`, `maps` and `pictures` draw on Axes; here the parts that `study.PARTS` names
get a canvas, a description and a place in the workdir.
"""

import dataclasses
import math
import pathlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from nnlab import artifacts, figures, maps, pictures, statistics, texts
from nnlab.results import Results
from nnlab.study import PICTURES

CURVES = ("validation_accuracy", "validation_loss", "train_loss")
SETS: tuple[Literal["moved", "rotated"], ...] = ("moved", "rotated")


@dataclasses.dataclass(frozen=True)
class Figure:
    """A stored figure.

    Attributes:
      part: which of `study.PARTS` it belongs to.
      name: of its files in ``figures/``, without suffix.
      alt: what it shows, in a few words, for those who cannot see it.
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


@dataclasses.dataclass(frozen=True)
class _Sketch:
    """A figure that is not stored yet; see `Figure`."""

    name: str
    canvas: Canvas
    alt: str
    caption: str


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
    stored = artifacts.load(results.workdir)
    with matplotlib.rc_context(figures.STYLE):
        for part, sketch in _SKETCHES.items():
            if part not in results.study.figures:
                continue
            if reason := _lacking(results, stored, part):
                absent[part] = reason
                continue
            for made in sketch(results, stored):
                figures.save(made.canvas, folder / made.name)
                caption = " ".join(made.caption.split())
                drawn.append(Figure(part, made.name, made.alt, caption))
    return tuple(drawn), absent


def _lacking(results: Results, stored: artifacts.Stored | None, part: str) -> str:
    """What a part would need that is not there; "" if nothing."""
    columns = {
        "updates": ("validation_accuracy",),
        "seconds": ("validation_accuracy",),
        "gap": ("train_accuracy", "test_accuracy"),
        "noise": ("batch_loss_std",),
        "final": ("test_accuracy",),
        "target": ("validation_accuracy",),
        "map": ("test_accuracy",),
    }
    for column in columns.get(part, ()):
        if not _measured(results, column):
            return f"the curves have no {figures.words(column)}"
    cohorts = [c["index"] for c in results.config["cohorts"]]
    kept = {
        "confusion": bool(stored and stored.best is not None),
        "weights": bool(stored and stored.kernels),
        "gallery": bool(stored and stored.gallery),
        "mistakes": bool(stored and stored.mistakes),
        "probabilities": bool(stored and stored.examples),
    }
    grid = (
        maps.axes_of(results) is not None,
        "the trials are no grid of two hyperparameters",
    )
    reasons = {
        "target": (
            not math.isnan(_target(results)),
            "no trial is best, or it reaches no round accuracy",
        ),
        "seconds": (
            any(statistics.seconds_per_epoch(results, c).size for c in cohorts),
            "no segment was timed",
        ),
        "map": grid,
        "divergence": grid,
        "test_sets": (bool(moved_sets(results)), "no image was moved or rotated"),
        "severity": (
            len(results.severity) > 0,
            "no image was moved or rotated by more",
        ),
        "active_units": (bool(_active(results)), "no activation was watched"),
        "confusion": (kept["confusion"], "there is no best trial"),
        "weights": (kept["weights"], "the first layer has no weights to show"),
        "gallery": (kept["gallery"], "it takes images, and two trials to compare"),
        "mistakes": (kept["mistakes"], "it takes images and a best trial"),
        "probabilities": (kept["probabilities"], "it takes images and a best trial"),
    }
    there, reason = reasons.get(part, (True, ""))
    return "" if there else reason


def _measured(results: Results, column: str) -> bool:
    """Whether a column of the curves has any value."""
    if column not in results.metrics:
        return False
    values = results.curves[column].drop_null().to_numpy()
    return bool(np.isfinite(values).any())


def moved_sets(results: Results) -> list[str]:
    """Which of `SETS` were measured."""
    return [s for s in SETS if _measured(results, f"test_{s}_accuracy")]


def _active(results: Results) -> str:
    """The column with the share of active units, "" for none."""
    columns = (f"{s}_active_share" for s in ("validation", "test", "train"))
    return next((c for c in columns if _measured(results, c)), "")


def _target(results: Results) -> float:
    return results.study.target or statistics.default_target(results)


_Stored = artifacts.Stored | None


def _curves(results: Results, stored: _Stored) -> Iterator[_Sketch]:
    for metric in (m for m in CURVES if _measured(results, m)):
        yield _learning(results, metric, f"curves_{metric}")


def _updates(results: Results, stored: _Stored) -> Iterator[_Sketch]:
    yield _learning(results, "validation_accuracy", "updates", x="step")


def _seconds(results: Results, stored: _Stored) -> Iterator[_Sketch]:
    yield _learning(results, "validation_accuracy", "seconds", x="seconds")


def _noise(results: Results, stored: _Stored) -> Iterator[_Sketch]:
    yield _learning(results, "batch_loss_std", "noise")


def _active_units(results: Results, stored: _Stored) -> Iterator[_Sketch]:
    yield _learning(results, _active(results), "active_units")


_ALONG = {
    "epoch": ("epochs", ""),
    "step": ("updates", ""),
    "seconds": (
        "seconds",
        "Seconds are a network's share of the time that its program took to train all "
        "its networks, without compilation and evaluation.",
    ),
}
_MEANINGS = {
    "batch_loss_std": (
        "Standard deviation of the losses of the batches since the evaluation before; "
        "where the loss falls quickly, its fall is part of it."
    ),
    "active_share": "Share of the activation layers' outputs that are above 0.",
}


def _learning(results: Results, metric: str, name: str, x: Any = "epoch") -> _Sketch:
    """Learning curves, with a panel for each setting of what else was swept."""

    def draw(ax: Axes, trials: Sequence[int]) -> None:
        figures.learning_curves(ax, results, metric, x=x, trials=trials)

    canvas = _panels(results, draw, metric)
    along, passing = _ALONG[x]
    what = f"{texts.capital(figures.words(metric))} against {along}"
    meaning = next((t for m, t in _MEANINGS.items() if metric.endswith(m)), "")
    groups = Counter(figures.sweep_of(results).groups)
    thin = _thin(results, max(groups.values()))
    lines = f"{what}, a line for each trial."
    parts = (lines, meaning, passing, _error_scale(canvas), thin)
    caption = " ".join(filter(None, (*parts, figures.caption(results))))
    return _Sketch(name, canvas, lines.rstrip("."), caption)


def _error_scale(canvas: Canvas) -> str:
    """What the error's log scale is, if an axis has it."""
    labels = (ax.get_xlabel() + ax.get_ylabel() for ax in canvas.axes)
    if any("error on log scale" in text for text in labels):
        return "On the error's log scale equal distances are equal ratios of the error."
    return ""


def _thin(results: Results, lines: int) -> str:
    """What thin lines are, if so many lines leave room for them."""
    few = 1 < results.study.num_seeds <= figures.FEW_SEEDS and lines <= 8
    return "Thin lines are single seeds." if few else ""


def _source(results: Results) -> str:
    """Seeds, device and versions, for figures that show no means with intervals."""
    seeds = texts.count(results.study.num_seeds, "seed")
    main = {
        name: version
        for name, version in results.config["versions"].items()
        if name in figures.MAIN_PACKAGES
    }
    return f"{seeds} a trial. {figures.device(results)}; {figures.versions(main)}."


def _gap(results: Results, stored: _Stored) -> Iterator[_Sketch]:
    def draw(ax: Axes, trials: Sequence[int]) -> None:
        figures.gap_curves(ax, results, trials=trials)

    canvas = _panels(results, draw, "test_accuracy")
    what = "Training accuracy (dashed) and test accuracy (solid) against epochs"
    caption = f"{what}. {_error_scale(canvas)} {figures.caption(results)}"
    yield _Sketch("gap", canvas, what, caption)


def _final(results: Results, stored: _Stored) -> Iterator[_Sketch]:
    canvas, ax = _canvas(results)
    figures.final_metric(ax, results, "test_accuracy")
    what = f"Final test accuracy against {_along(results)}"
    scheme = "Points are seeds; the ring marks the best trial by validation."
    caption = f"{scheme} {_error_scale(canvas)} {figures.caption(results)}"
    yield _Sketch("final_test_accuracy", canvas, what, caption)


def _to_target(results: Results, stored: _Stored) -> Iterator[_Sketch]:
    canvas, ax = _canvas(results)
    target = _target(results)
    figures.steps_to_target(ax, results, target)
    goal = f"{100 * target:g} % validation accuracy"
    caption = (
        "Large points are medians over all seeds, those that never reach it counted as "
        f"last; none where most do not. Small points are seeds. {_source(results)}"
    )
    alt = f"Epochs to {goal} against {_along(results)}"
    yield _Sketch("epochs_to_target", canvas, alt, caption)


def _test_sets(results: Results, stored: _Stored) -> Iterator[_Sketch]:
    canvas, ax = _canvas(results, row=0.42)
    figures.test_sets(ax, results)
    what = f"Final accuracy on the {_set_names(results)} test set, for each trial"
    marks = f"Small dots are seeds. {set_meaning(results)} {_error_scale(canvas)}"
    caption = f"{what}. {marks} {figures.caption(results)}"
    yield _Sketch("test_sets", canvas, what, caption)
    if results.study.test_sets.along_curve:
        for name in moved_sets(results):
            metric = f"test_{name}_accuracy"
            yield _learning(results, metric, f"curves_{metric}")


def _set_names(results: Results) -> str:
    return texts.joined(["normal", *(f"the {s}" for s in moved_sets(results))])


def set_meaning(results: Results) -> str:
    """How the images of the further test sets were made."""
    sets = results.study.test_sets
    made = []
    if sets.moved_pixels:
        pixels = texts.count(sets.moved_pixels, "pixel")
        made.append(f"moved by up to {pixels} along both axes")
    if sets.rotated_degrees:
        made.append(f"rotated by up to {sets.rotated_degrees:g} degrees to both sides")
    return (
        "The further sets hold the images of the normal one, "
        f"{' or '.join(made)}, each by an amount drawn once for all networks."
    )


def _severity(results: Results, stored: _Stored) -> Iterator[_Sketch]:
    kinds = results.severity["transform"].to_pylist()
    shown = [s for s in SETS if s in kinds]
    canvas = Canvas(figsize=(7.2, 3.3 * len(shown)), layout="constrained")
    for number, name in enumerate(shown):
        figures.severity(canvas.add_subplot(len(shown), 1, number + 1), results, name)
    what = f"Test accuracy against how far the images are {' and '.join(shown)}"
    caption = (
        f"{what}, for the final networks of each trial. {_error_scale(canvas)} "
        f"{_thin(results, len(results.trials))} {figures.caption(results)}"
    )
    yield _Sketch("severity", canvas, what, caption)


def _map(results: Results, stored: _Stored) -> Iterator[_Sketch]:
    canvas, ax = _map_canvas(results)
    maps.metric_map(ax, results, "test_accuracy")
    what = "Final test accuracy over the two hyperparameters that were swept"
    caption = f"{what}. {maps.METRIC_NOTE} {_source(results)}"
    yield _Sketch("map", canvas, what, caption)


def _divergence(results: Results, stored: _Stored) -> Iterator[_Sketch]:
    canvas, ax = _map_canvas(results)
    maps.divergence_map(ax, results)
    what = "How many members diverge, when and where, over what was swept"
    caption = f"{what}. {maps.DIVERGENCE_NOTE} {_source(results)}"
    yield _Sketch("divergence", canvas, what, caption)


def _map_canvas(results: Results) -> tuple[Canvas, Axes]:
    grid = maps.axes_of(results)
    assert grid is not None
    canvas = Canvas(figsize=grid.size(), layout="constrained")
    return canvas, canvas.add_subplot()


def _confusion(results: Results, stored: _Stored) -> Iterator[_Sketch]:
    assert stored is not None
    assert stored.best is not None
    canvas = Canvas(figsize=(7.2, 5.4), layout="constrained")
    pictures.confusion(
        canvas.add_subplot(), stored, stored.best, _classes(results, stored)
    )
    alt = "Which classes the best trial takes for which"
    caption = (
        f"{alt} ({figures.trial_name(results, stored.best)}). A row is a true class "
        "and adds up to 100 %; the diagonal is right, the colours show the errors. "
        f"{_source(results)}"
    )
    yield _Sketch("confusion", canvas, alt, caption)


def _classes(results: Results, stored: artifacts.Stored) -> list[str]:
    """Names of the classes that the best trial tells apart."""
    assert stored.best is not None
    return list(results.dataset(stored.best)["classes"])


def _weights(results: Results, stored: _Stored) -> Iterator[_Sketch]:
    assert stored is not None
    which = {
        name: figures.trial_name(results, trial)
        for name, trial in (("best", stored.best), ("worst", stored.worst))
        if trial is not None and name in stored.kernels
    }
    canvas = Canvas(figsize=(7.2, 4.0))
    assert stored.best is not None
    shape = results.dataset(stored.best)["input_shape"]
    pictures.weights(canvas, stored, which, shape)
    alt = f"First-layer weights of the {' and the '.join(which)} trial as images"
    caption = (
        f"{alt}, of one seed each: a tile is a unit, a dot a weight. Best and worst "
        f"are by validation accuracy. {_source(results)}"
    )
    yield _Sketch("weights", canvas, alt, caption)


def _gallery(results: Results, stored: _Stored) -> Iterator[_Sketch]:
    assert stored is not None
    assert stored.best is not None
    assert stored.worst is not None
    canvas = Canvas(figsize=(7.2, 4.0))
    names = (figures.trial_name(results, t) for t in (stored.best, stored.worst))
    pictures.gallery(canvas, stored, _classes(results, stored), *names)
    alt = "Test images that the best trial gets right and the worst wrong"
    caption = (
        f"{alt}, in more than half of their seeds; first those with the widest gap. "
        f"Best and worst are by validation accuracy. {_source(results)}"
    )
    yield _Sketch("gallery", canvas, alt, caption)


def _mistakes(results: Results, stored: _Stored) -> Iterator[_Sketch]:
    assert stored is not None
    canvas = Canvas(figsize=(7.2, 4.0))
    pictures.mistakes(canvas, stored, _classes(results, stored))
    alt = "The best trial's most confident mistakes"
    caption = (
        f"{alt}: test images that more than half of its seeds get wrong. "
        f"{_source(results)}"
    )
    yield _Sketch("mistakes", canvas, alt, caption)


def _probabilities(results: Results, stored: _Stored) -> Iterator[_Sketch]:
    assert stored is not None
    canvas = Canvas(figsize=(7.2, 4.0))
    pictures.probabilities(canvas, stored, _classes(results, stored))
    alt = "Class probabilities of a few test images, before and after training"
    caption = (
        f"{alt}, from the best trial; the images are the first of the test set. "
        f"{_source(results)}"
    )
    yield _Sketch("probabilities", canvas, alt, caption)


_SKETCHES: dict[str, Callable[[Results, _Stored], Iterator[_Sketch]]] = {
    "curves": _curves,
    "gap": _gap,
    "noise": _noise,
    "updates": _updates,
    "seconds": _seconds,
    "final": _final,
    "target": _to_target,
    "test_sets": _test_sets,
    "severity": _severity,
    "map": _map,
    "divergence": _divergence,
    "active_units": _active_units,
    "confusion": _confusion,
    "weights": _weights,
    "gallery": _gallery,
    "mistakes": _mistakes,
    "probabilities": _probabilities,
}
"""How each part is drawn, in the order of the report."""


def _along(results: Results) -> str:
    return figures.sweep_of(results).name or "trial"


def _canvas(results: Results, row: float = 0.0) -> tuple[Canvas, Axes]:
    """A figure as high as its rows, if trials have rows.

    Args:
      results: what the study found.
      row: inches of a row where other settings are rows, too; 0 where they are lines.
    """
    sweep = figures.sweep_of(results)
    rows = sweep.scale == "categories" or (row > 0 and any(sweep.groups))
    height = 1.2 + (row or 0.32) * len(results.trials) if rows else 3.6
    height = min(height, 12.0 if row else 9.0)
    canvas = Canvas(figsize=(7.2, height), layout="constrained")
    return canvas, canvas.add_subplot()


def _panels(
    results: Results, draw: Callable[[Axes, Sequence[int]], None], metric: str
) -> Canvas:
    """A panel for each setting of what was swept besides the main axis.

    Settings without any value of the metric have none.
    """
    groups = figures.sweep_of(results).groups
    shown = [
        t.index
        for t in results.trials
        if results.has_run(t.index)
        and np.isfinite(results.curve(t.index, metric).values).any()
    ]
    settings = list(dict.fromkeys(groups[t] for t in shown))
    columns = 2 if len(settings) == 4 else min(len(settings), 3)
    lines = math.ceil(len(settings) / columns)
    size = (7.2, 3.9) if columns == 1 else (3.5 * columns, 2.8 * lines)
    canvas = Canvas(figsize=size, layout="constrained")
    for number, setting in enumerate(settings):
        ax = canvas.add_subplot(lines, columns, number + 1)
        draw(ax, [t for t, g in enumerate(groups) if g == setting])
        ax.set_title(figures.plain(setting), fontsize=9, loc="left")
        if number % columns:
            ax.set_ylabel("")
        if number < len(settings) - columns:
            ax.set_xlabel("")
    return canvas
