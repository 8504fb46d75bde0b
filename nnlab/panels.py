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

from nnlab import (
    answer,
    artifacts,
    extremes,
    figures,
    maps,
    norms,
    pictures,
    sizes,
    statistics,
    texts,
)
from nnlab.results import STOPPED, Results
from nnlab.study import PICTURES

CURVES = ("validation_accuracy", "validation_loss", "train_loss")
FEATURES = ("feature 1", "feature 2")  # where the data do not name them
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
        "extremes": ("validation_accuracy",),
        "noise": ("batch_loss_std",),
        "final": ("test_accuracy",),
        "target": ("validation_accuracy",),
        "map": ("test_accuracy",),
        "sizes": ("test_accuracy",),
    }
    for column in columns.get(part, ()):
        if not _measured(results, column):
            return f"the curves have no {figures.words(column)}"
    no_grid = "the trials are no grid of two hyperparameters"
    # Each part's condition is looked at only where the study asks for that part.
    needs: dict[str, tuple[Callable[[], object], str]] = {
        "extremes": (
            lambda: len(_best_and_worst(results)) == 2,
            "there is no best trial with a worst one beside it",
        ),
        "target": (
            lambda: not math.isnan(_target(results)),
            "no trial is best, or it reaches no round accuracy",
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
        "gradients": (lambda: norms.collect(results), "no gradient was measured"),
        "active_units": (lambda: _active(results), "no activation was watched"),
        "confusion": (
            lambda: stored and stored.best is not None,
            "there is no best trial",
        ),
        "regions": (
            lambda: stored and stored.regions,
            "it takes data with two features and a best trial",
        ),
        "weights": (
            lambda: stored and stored.kernels,
            "the first layer has no weights to show",
        ),
        "gallery": (
            lambda: stored and stored.gallery,
            "it takes images, and two trials to compare",
        ),
        "mistakes": (
            lambda: stored and stored.mistakes,
            "it takes images and a best trial",
        ),
        "probabilities": (
            lambda: stored and stored.examples,
            "it takes images and a best trial",
        ),
    }
    there, reason = needs.get(part, (lambda: True, ""))
    return "" if there() else reason


def _timed(results: Results) -> bool:
    """Whether any program has a measured rate of training."""
    cohorts = (cohort["index"] for cohort in results.config["cohorts"])
    return any(statistics.seconds_per_epoch(results, c).size for c in cohorts)


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
    groups = figures.sweep_of(results).groups
    lines = Counter(groups[t] for t in statistics.networks(results))
    thin = _thin(results, max(lines.values()))
    each = f"{what}, a line for each trial."
    beside = _beside(results, metric)
    parts = (each, beside, meaning, passing, _error_scale(canvas), thin)
    caption = " ".join(filter(None, (*parts, figures.caption(results))))
    return _Sketch(name, canvas, each.rstrip("."), caption)


def _beside(results: Results, metric: str) -> str:
    """What long dashes are, if there are any."""
    levels = (figures.level_of(results, t, metric) for t in figures.baselines(results))
    if not any(levels):
        return ""
    return "Long dashes are the final values of baselines."


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
    beside = _beside(results, "test_accuracy")
    caption = f"{what}. {beside} {_error_scale(canvas)} {figures.caption(results)}"
    yield _Sketch("gap", canvas, what, caption)


def _extremes(results: Results, stored: _Stored) -> Iterator[_Sketch]:
    trials = _best_and_worst(results)
    kinds: tuple[Literal["accuracy", "loss"], ...] = ("accuracy", "loss")
    kinds = tuple(k for k in kinds if _measured(results, f"validation_{k}"))
    canvas = Canvas(figsize=(7.2, 0.6 + 2.5 * len(kinds)), layout="constrained")
    for row, kind in enumerate(kinds):
        for column, (which, trial) in enumerate(trials.items()):
            place = row * len(trials) + column + 1
            ax = canvas.add_subplot(len(kinds), len(trials), place)
            extremes.draw(ax, results, kind, trial, tuple(trials.values()))
            if not row:
                _title(ax, results, which, trial)
            if row + 1 < len(kinds):
                ax.set_xlabel("")
            if column:
                ax.set_ylabel("")
                ax.tick_params(labelleft=False)
            if not row and not column:
                handles, labels = ax.get_legend_handles_labels()
    canvas.legend(
        handles,
        labels,
        loc="outside upper left",
        ncols=len(labels),
        frameon=False,
        fontsize=8,
        handlelength=1.2,
    )
    what = "Training, validation and test curves of the best and the worst trial"
    beside = set(figures.baselines(results)) & set(trials.values())
    trees = " (of trees, against their number)" if beside else ""
    caption = (
        f"{what}, against epochs{trees}. {_by_validation(results)} "
        f"{_error_scale(canvas)} {figures.caption(results, tuple(trials.values()))}"
    )
    yield _Sketch("extremes", canvas, what, caption)


def _by_validation(results: Results) -> str:
    """How the best and the worst trial were chosen, see `statistics.best_and_worst`."""
    left_out = len(statistics.networks(results)) in range(2, len(results.trials))
    among = ", among the networks" if left_out else ""
    return f"Best and worst are by validation accuracy{among}."


def _best_and_worst(results: Results) -> dict[str, int]:
    """The best and the worst trial to look at, those that there are."""
    found = dict(zip(("best", "worst"), statistics.best_and_worst(results)))
    return {name: trial for name, trial in found.items() if trial is not None}


def _title(ax: Axes, results: Results, which: str, trial: int) -> None:
    """Writes above the axes which trial they show, and how its members ended."""
    stopped = statistics.status_counts(results, trial)[STOPPED]
    name = figures.plain(f"{which}: {figures.trial_name(results, trial)}", 46)
    fate = figures.fate_of(results, trial, stopped)
    ax.set_title(f"{name} {fate}".strip(), fontsize=9, loc="left")


def _final(results: Results, stored: _Stored) -> Iterator[_Sketch]:
    canvas, ax = _canvas(results)
    figures.final_metric(ax, results, "test_accuracy")
    what = f"Final test accuracy against {_along(results)}"
    scheme = "Points are seeds; the ring marks the best trial by validation."
    if figures.sweep_of(results).scale != "categories":
        scheme += f" {_beside(results, 'test_accuracy')}"
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


def _sizes(results: Results, stored: _Stored) -> Iterator[_Sketch]:
    compared = sizes.sizes_of(results)
    along = sizes.panels(compared)
    rows = math.ceil(len(along) / 2)
    canvas = Canvas(figsize=(7.2, 0.3 + 2.7 * rows), layout="constrained")
    notes = []
    for number, name in enumerate(along):
        ax = canvas.add_subplot(rows, 2, number + 1)
        sizes.draw(ax, results, compared, name)
        if name == "seconds":
            notes.append(_ALONG[name][1])
        if name in ("parameters", "seconds"):
            crowded = len(ax.texts) < len(sizes.costing(compared, name))
            notes += ["Names without room are left out."] if crowded else []
        if number % 2:
            ax.set_ylabel("")
            ax.tick_params(labelleft=False)
    what = f"Final test accuracy against {texts.joined(along)}"
    known = [t for t in range(len(results.trials)) if _has_final(results, t)]
    if len(known) > len(compared):
        notes.append(
            "Of trials with networks of one size, the best by validation is shown."
        )
    notes += [_beside(results, "test_accuracy"), _error_scale(canvas)]
    caption = (
        f"{what}: a point is a trial, its line the 95 % interval, the ring marks the "
        f"best by validation. {' '.join(dict.fromkeys(notes))} "
        f"{figures.caption(results, [size.trial for size in compared])}"
    )
    yield _Sketch("sizes", canvas, what, caption)


def _has_final(results: Results, trial: int) -> bool:
    return figures.level_of(results, trial, "test_accuracy") is not None


def _gradients(results: Results, stored: _Stored) -> Iterator[_Sketch]:
    shown = norms.collect(results)
    rows = len(shown)
    canvas = Canvas(figsize=(7.2, 0.8 + 2.5 * rows), layout="constrained")
    drawn = []
    for row, one in enumerate(shown):
        drawn.append(canvas.add_subplot(rows, 2, 2 * row + 1))
        norms.draw_map(drawn[-1], results, one, shown)
        lines = norms.draw_lines(
            canvas.add_subplot(rows, 2, 2 * row + 2), results, one, shown
        )
        if row + 1 < rows:
            drawn[-1].set_xlabel("")
            lines.set_xlabel("")
    norms.draw_color_bar(drawn, shown)
    what = "Gradient norm of each layer by epoch, as a map and as lines"
    dead = "Triangles at the foot are means of exactly 0." if _are_dead(shown) else ""
    caption = (
        f"{what}: a row of the map is a layer, the first at the top; the lines are of "
        "the layers that have a mark at its edge. Each value is the mean over the "
        "batches since the last evaluation of the Euclidean norm of the layer's "
        "gradient (weights and biases together); over the seeds it is the arithmetic "
        f"mean. {dead} {figures.caption(results, [one.trial for one in shown])}"
    )
    yield _Sketch("gradients", canvas, what, caption)


def _are_dead(shown: Sequence[norms.Norms]) -> bool:
    """Whether a line somewhere is exactly 0."""
    return any(bool(np.any(one.means[one.chosen] == 0)) for one in shown)


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


def _regions(results: Results, stored: _Stored) -> Iterator[_Sketch]:
    assert stored is not None
    assert stored.best is not None
    which = {
        name: f"{figures.trial_name(results, trial)}\n{_own_accuracy(results, trial)}"
        for name, trial in (("best", stored.best), ("worst", stored.worst))
        if trial is not None and getattr(stored.regions, name) is not None
    }
    features = results.dataset(stored.best).get("features") or FEATURES
    canvas = Canvas(figsize=(7.2, 3.0))
    pictures.regions(canvas, stored, which, features)
    what = f"The data, and the plane coloured by the {' and the '.join(which)} trial"
    caption = (
        f"{what}, of one seed each: colours are classes, lines are where the predicted "
        f"class changes. {_by_validation(results)} {_source(results)}"
    )
    yield _Sketch("regions", canvas, what, caption)


def _own_accuracy(results: Results, trial: int) -> str:
    """The test accuracy of the seed that is shown, the first living one."""
    living = statistics.alive(results, trial)
    if "test_accuracy" not in results.metrics or not living.any():
        return ""
    seed = int(np.flatnonzero(living)[0])
    share = float(answer.final(results, trial, "test_accuracy")[seed])
    if math.isnan(share):
        return ""
    return f"test accuracy {texts.percent(share)} (seed {seed})"


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
        f"{alt}, of one seed each: a tile is a unit, a dot a weight. "
        f"{_by_validation(results)} {_source(results)}"
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
        f"{_by_validation(results)} {_source(results)}"
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
    "extremes": _extremes,
    "noise": _noise,
    "updates": _updates,
    "seconds": _seconds,
    "final": _final,
    "target": _to_target,
    "test_sets": _test_sets,
    "severity": _severity,
    "map": _map,
    "sizes": _sizes,
    "divergence": _divergence,
    "active_units": _active_units,
    "gradients": _gradients,
    "confusion": _confusion,
    "regions": _regions,
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

    Settings without any value of the metric have none; baselines are in all panels.
    """
    groups = figures.sweep_of(results).groups
    beside = figures.baselines(results)
    shown = [
        t
        for t in statistics.networks(results)
        if results.has_run(t) and np.isfinite(results.curve(t, metric).values).any()
    ]
    settings = list(dict.fromkeys(groups[t] for t in shown)) or [""]
    columns = 2 if len(settings) == 4 else min(len(settings), 3)
    lines = math.ceil(len(settings) / columns)
    size = (7.2, 3.9) if columns == 1 else (3.5 * columns, 2.8 * lines)
    canvas = Canvas(figsize=size, layout="constrained")
    for number, setting in enumerate(settings):
        ax = canvas.add_subplot(lines, columns, number + 1)
        draw(ax, [t for t, g in enumerate(groups) if g == setting or t in beside])
        ax.set_title(figures.plain(setting), fontsize=9, loc="left")
        if number % columns:
            ax.set_ylabel("")
        if number < len(settings) - columns:
            ax.set_xlabel("")
    return canvas
