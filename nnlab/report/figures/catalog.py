# SPDX-License-Identifier: Apache-2.0
"""A figure for each part of a report: its canvas, what is drawn on it, its caption.

The other modules draw on Axes; here the parts that `study.PARTS` names get a canvas and
a description.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from nnlab.report import answer
from nnlab.report.figures import (
    alt_texts,
    gradient_norms,
    images,
    maps,
    rate_range,
    sizes,
    test_sets,
)
from nnlab.report.figures import (
    best_and_worst as extremes,
)
from nnlab.report.figures.drawing import captions, labels, points
from nnlab.report.figures.drawing.curves import gap_curves, learning_curves
from nnlab.report.figures.drawing.levels import level_of
from nnlab.report.trials import baselines, sweep_of, trial_name
from nnlab.results import STOPPED, Results
from nnlab.results.pictures import Stored
from nnlab.statistics import members
from nnlab.statistics.members import alive, is_measured, networks, status_counts
from nnlab.statistics.ranking import best_and_worst
from nnlab.statistics.targets import target_of
from nnlab.words import numbers
from nnlab.words.settings import words

CURVES = ("validation_accuracy", "validation_loss", "train_loss")
FEATURES = ("feature 1", "feature 2")  # where the data do not name them


@dataclasses.dataclass(frozen=True)
class Sketch:
    """A figure that is not stored yet; see `Figure`.

    Attributes:
      name, caption: as there.
      canvas: what is drawn.
      what: what it is of, in a few words.
      seen: what can be seen in it, in a sentence from `alt_texts`; may be "".
    """

    name: str
    canvas: Canvas
    what: str
    caption: str
    seen: str = ""

    @property
    def alt(self) -> str:
        """What the figure shows, in words, for those who cannot see it."""
        return f"{self.what}. {self.seen}".strip()


def active_column(results: Results) -> str:
    """The column with the share of active units, "" for none."""
    columns = (f"{s}_active_share" for s in ("validation", "test", "train"))
    return next((c for c in columns if is_measured(results, c)), "")


_Stored = Stored | None


def _curves(results: Results, stored: _Stored) -> Iterator[Sketch]:
    own = (f"validation_{name}" for name in results.study.own.metrics)
    for metric in (m for m in (*CURVES, *own) if is_measured(results, m)):
        yield learning(results, metric, f"curves_{metric}")


def _updates(results: Results, stored: _Stored) -> Iterator[Sketch]:
    yield learning(results, "validation_accuracy", "updates", x="step")


def _seconds(results: Results, stored: _Stored) -> Iterator[Sketch]:
    yield learning(results, "validation_accuracy", "seconds", x="seconds")


def _noise(results: Results, stored: _Stored) -> Iterator[Sketch]:
    yield learning(results, "batch_loss_std", "noise")


def _active_units(results: Results, stored: _Stored) -> Iterator[Sketch]:
    yield learning(results, active_column(results), "active_units")


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


def learning(results: Results, metric: str, name: str, x: Any = "epoch") -> Sketch:
    """Learning curves, with a panel for each setting of what else was swept.

    Args:
      results: what the study found.
      metric: a column of the curves.
      name: of the figure's files.
      x: what runs along the x axis: "epoch", "step" or "seconds".
    """

    def draw(ax: Axes, trials: Sequence[int]) -> None:
        learning_curves(ax, results, metric, x=x, trials=trials)

    canvas = _panels(results, draw, metric)
    along, passing = _ALONG[x]
    what = f"{numbers.capital(words(metric))} against {along}"
    meaning = next((t for m, t in _MEANINGS.items() if metric.endswith(m)), "")
    groups = sweep_of(results).groups
    lines = Counter(groups[t] for t in networks(results))
    thin = captions.thin_lines(results, max(lines.values()))
    each = f"{what}, a line for each trial."
    beside = captions.beside(results, metric)
    parts = (each, beside, meaning, passing, captions.error_scale(canvas), thin)
    caption = " ".join(filter(None, (*parts, captions.caption(results))))
    seen = alt_texts.ends(results, metric)
    return Sketch(name, canvas, each.rstrip("."), caption, seen)


def _gap(results: Results, stored: _Stored) -> Iterator[Sketch]:
    def draw(ax: Axes, trials: Sequence[int]) -> None:
        gap_curves(ax, results, trials=trials)

    canvas = _panels(results, draw, "test_accuracy")
    what = "Training accuracy (dashed) and test accuracy (solid) against epochs"
    beside = captions.beside(results, "test_accuracy")
    caption = (
        f"{what}. {beside} {captions.error_scale(canvas)} {captions.caption(results)}"
    )
    yield Sketch("gap", canvas, what, caption, alt_texts.gap(results))


def _extremes(results: Results, stored: _Stored) -> Iterator[Sketch]:
    trials = extreme_trials(results)
    kinds: tuple[Literal["accuracy", "loss"], ...] = ("accuracy", "loss")
    kinds = tuple(k for k in kinds if is_measured(results, f"validation_{k}"))
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
                handles, names = ax.get_legend_handles_labels()
    canvas.legend(
        handles,
        names,
        loc="outside upper left",
        ncols=len(names),
        frameon=False,
        fontsize=8,
        handlelength=1.2,
    )
    what = "Training, validation and test curves of the best and the worst trial"
    beside = set(baselines(results)) & set(trials.values())
    trees = " (of trees, against their number)" if beside else ""
    caption = (
        f"{what}, against epochs{trees}. {captions.by_validation(results)} "
        f"{captions.error_scale(canvas)} "
        f"{captions.caption(results, tuple(trials.values()))}"
    )
    measured = {
        f"{name} {kind}": f"{part}_{kind}"
        for kind in kinds
        for part, (name, _) in extremes.SPLITS.items()
        if is_measured(results, f"{part}_{kind}")
    }
    seen = alt_texts.ends_of_each(results, trials, measured)
    yield Sketch("extremes", canvas, what, caption, seen)


def extreme_trials(results: Results) -> dict[str, int]:
    """The best and the worst trial to look at, those that there are."""
    found = dict(zip(("best", "worst"), best_and_worst(results)))
    return {name: trial for name, trial in found.items() if trial is not None}


def _title(ax: Axes, results: Results, which: str, trial: int) -> None:
    """Writes above the axes which trial they show, and how its members ended."""
    stopped = status_counts(results, trial)[STOPPED]
    name = labels.plain(f"{which}: {trial_name(results, trial)}", 46)
    fate = labels.fate_of(results, trial, stopped)
    ax.set_title(f"{name} {fate}".strip(), fontsize=9, loc="left")


def _final(results: Results, stored: _Stored) -> Iterator[Sketch]:
    canvas, ax = _canvas(results)
    points.final_metric(ax, results, "test_accuracy")
    what = f"Final test accuracy against {_along(results)}"
    scheme = "Points are seeds; the ring marks the best trial by validation."
    if sweep_of(results).scale != "categories":
        scheme += f" {captions.beside(results, 'test_accuracy')}"
    caption = f"{scheme} {captions.error_scale(canvas)} {captions.caption(results)}"
    seen = alt_texts.ends(results, "test_accuracy")
    yield Sketch("final_test_accuracy", canvas, what, caption, seen)


def _to_target(results: Results, stored: _Stored) -> Iterator[Sketch]:
    canvas, ax = _canvas(results)
    target = target_of(results)
    points.steps_to_target(ax, results, target)
    goal = f"{100 * target:g} % validation accuracy"
    caption = (
        "Large points are medians over all seeds, those that never reach it counted as "
        "last; none where most do not. Small points are seeds. "
        f"{captions.source(results)}"
    )
    what = f"Epochs to {goal} against {_along(results)}"
    seen = alt_texts.targets(results, target)
    yield Sketch("epochs_to_target", canvas, what, caption, seen)


def _rates(results: Results, stored: _Stored) -> Iterator[Sketch]:
    canvas, ax = _canvas(results)
    found = rate_range.draw(ax, results)
    what = "Training loss at the end against the learning rate"
    updates = numbers.count(results.program(found.order[0])["num_steps"], "update")
    parts = [f"{what}, after {updates}. Points are seeds."]
    if found.stable:
        parts.append("The green range is that in which all seeds make progress.")
    if math.isfinite(found.edge.value):
        interval = ", the red band its 95 % interval" * math.isfinite(found.edge.low)
        parts.append(f"The red line is the edge above which they do not{interval}.")
    parts.append("The dotted line is the mean loss before training.")
    if ax.get_ylim()[1] < rate_range.highest(results, found):
        parts.append("What lies above the axes is not shown.")
    parts.append(captions.caption(results, found.order))
    seen = " ".join(answer.sentences(results)[:2])
    yield Sketch("rates", canvas, what, " ".join(parts), seen)


def _test_sets(results: Results, stored: _Stored) -> Iterator[Sketch]:
    canvas, ax = _canvas(results, row=0.42)
    test_sets.test_sets(ax, results)
    what = f"Final accuracy on the {_set_names(results)} test set, for each trial"
    caption = (
        f"{what}. Small dots are seeds. {captions.set_meaning(results)} "
        f"{captions.error_scale(canvas)} {captions.caption(results)}"
    )
    yield Sketch("test_sets", canvas, what, caption, alt_texts.test_sets(results))
    if results.study.test_sets.along_curve:
        for name in test_sets.moved_sets(results):
            metric = f"test_{name}_accuracy"
            yield learning(results, metric, f"curves_{metric}")


def _set_names(results: Results) -> str:
    return numbers.joined(
        ["normal", *(f"the {s}" for s in test_sets.moved_sets(results))]
    )


def _severity(results: Results, stored: _Stored) -> Iterator[Sketch]:
    kinds = results.severity["transform"].to_pylist()
    shown = [s for s in test_sets.SETS if s in kinds]
    canvas = Canvas(figsize=(7.2, 3.3 * len(shown)), layout="constrained")
    for number, name in enumerate(shown):
        test_sets.severity(canvas.add_subplot(len(shown), 1, number + 1), results, name)
    what = f"Test accuracy against how far the images are {' and '.join(shown)}"
    caption = (
        f"{what}, for the final networks of each trial. {captions.error_scale(canvas)} "
        f"{captions.thin_lines(results, len(results.trials))} "
        f"{captions.caption(results)}"
    )
    yield Sketch("severity", canvas, what, caption, alt_texts.severity(results))


def _map(results: Results, stored: _Stored) -> Iterator[Sketch]:
    canvas, ax = _map_canvas(results)
    maps.metric_map(ax, results, "test_accuracy")
    what = "Final test accuracy over the two hyperparameters that were swept"
    seen = alt_texts.ends(results, "test_accuracy")
    yield _sourced(results, "map", canvas, what, f". {maps.METRIC_NOTE}", seen)


def _divergence(results: Results, stored: _Stored) -> Iterator[Sketch]:
    canvas, ax = _map_canvas(results)
    maps.divergence_map(ax, results)
    what = "How many members diverge, when and where, over what was swept"
    rest = f". {maps.DIVERGENCE_NOTE}"
    seen = alt_texts.divergence(results)
    yield _sourced(results, "divergence", canvas, what, rest, seen)


def _sourced(
    results: Results, name: str, canvas: Canvas, what: str, rest: str, seen: str
) -> Sketch:
    """A figure that shows no means with intervals; its caption is `what` and `rest`."""
    return Sketch(name, canvas, what, f"{what}{rest} {captions.source(results)}", seen)


def _map_canvas(results: Results) -> tuple[Canvas, Axes]:
    grid = maps.axes_of(results)
    assert grid is not None
    canvas = Canvas(figsize=grid.size(), layout="constrained")
    return canvas, canvas.add_subplot()


def _sizes(results: Results, stored: _Stored) -> Iterator[Sketch]:
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
    what = f"Final test accuracy against {numbers.joined(along)}"
    known = [t for t in range(len(results.trials)) if _has_final(results, t)]
    if len(known) > len(compared):
        notes.append(
            "Of trials with networks of one size, the best by validation is shown."
        )
    dead = [t for t in range(len(results.trials)) if results.has_run(t)]
    dead = [t for t in dead if not alive(results, t).any()]
    if dead:
        verb = "is" if len(dead) == 1 else "are"
        count = numbers.count(len(dead), "trial")
        notes.append(f"{count} {verb} not shown, since no member reached the end.")
    notes += [captions.beside(results, "test_accuracy"), captions.error_scale(canvas)]
    caption = (
        f"{what}: a point is a trial, its line the 95 % interval, the ring marks the "
        f"best by validation. {' '.join(dict.fromkeys(notes))} "
        f"{captions.caption(results, [size.trial for size in compared])}"
    )
    seen = alt_texts.ends(results, "test_accuracy", [size.trial for size in compared])
    yield Sketch("sizes", canvas, what, caption, seen)


def _has_final(results: Results, trial: int) -> bool:
    return level_of(results, trial, "test_accuracy") is not None


def _gradients(results: Results, stored: _Stored) -> Iterator[Sketch]:
    shown = gradient_norms.collect(results)
    rows = len(shown)
    canvas = Canvas(figsize=(7.2, 0.8 + 2.5 * rows), layout="constrained")
    drawn = []
    for row, one in enumerate(shown):
        drawn.append(canvas.add_subplot(rows, 2, 2 * row + 1))
        gradient_norms.draw_map(drawn[-1], results, one, shown)
        lines = gradient_norms.draw_lines(
            canvas.add_subplot(rows, 2, 2 * row + 2), results, one, shown
        )
        if row + 1 < rows:
            drawn[-1].set_xlabel("")
            lines.set_xlabel("")
    gradient_norms.draw_color_bar(drawn, shown)
    what = "Gradient norm of each layer by epoch, as a map and as lines"
    dead = "Triangles at the foot are means of exactly 0." if _are_dead(shown) else ""
    caption = (
        f"{what}: a row of the map is a layer, the first at the top; the lines are of "
        "the layers that have a mark at its edge. Each value is the mean over the "
        "batches since the last evaluation of the Euclidean norm of the layer's "
        "gradient (weights and biases together); over the seeds it is the arithmetic "
        f"mean. {dead} {captions.caption(results, [one.trial for one in shown])}"
    )
    yield Sketch("gradients", canvas, what, caption, alt_texts.gradients(shown))


def _are_dead(shown: Sequence[gradient_norms.Norms]) -> bool:
    """Whether a line somewhere is exactly 0."""
    return any(bool(np.any(one.means[one.chosen] == 0)) for one in shown)


def _confusion(results: Results, stored: _Stored) -> Iterator[Sketch]:
    assert stored is not None
    assert stored.best is not None
    canvas = Canvas(figsize=(7.2, 5.4), layout="constrained")
    images.confusion(
        canvas.add_subplot(), stored, stored.best, _classes(results, stored)
    )
    what = "Which classes the best trial takes for which"
    rest = (
        f" ({trial_name(results, stored.best)}). A row is a true class "
        "and adds up to 100 %; the diagonal is right, the colours show the errors."
    )
    counts = stored.confusion[stored.best]
    seen = alt_texts.confusion(counts, _classes(results, stored))
    yield _sourced(results, "confusion", canvas, what, rest, seen)


def _classes(results: Results, stored: Stored) -> list[str]:
    """Names of the classes that the best trial tells apart."""
    assert stored.best is not None
    return list(results.dataset(stored.best)["classes"])


def _regions(results: Results, stored: _Stored) -> Iterator[Sketch]:
    assert stored is not None
    assert stored.best is not None
    which = {
        name: f"{trial_name(results, trial)}\n{_own_accuracy(results, trial)}"
        for name, trial in (("best", stored.best), ("worst", stored.worst))
        if trial is not None and getattr(stored.regions, name) is not None
    }
    features = results.dataset(stored.best).get("features") or FEATURES
    canvas = Canvas(figsize=(7.2, 3.0))
    images.regions(canvas, stored, which, features)
    what = f"The data, and the plane coloured by the {' and the '.join(which)} trial"
    rest = (
        ", of one seed each: colours are classes, lines are where the predicted class "
        f"changes. {captions.by_validation(results)}"
    )
    seen = "; ".join(f"{name}: {text}" for name, text in which.items())
    seen = numbers.capital(seen.replace("\n", ", ")) + "."
    yield _sourced(results, "regions", canvas, what, rest, seen)


def _own_accuracy(results: Results, trial: int) -> str:
    """The test accuracy of the seed that is shown, the first living one."""
    living = alive(results, trial)
    if "test_accuracy" not in results.metrics or not living.any():
        return ""
    seed = int(np.flatnonzero(living)[0])
    share = float(members.final(results, trial, "test_accuracy")[seed])
    if math.isnan(share):
        return ""
    return f"test accuracy {numbers.percent(share)} (seed {seed})"


def _weights(results: Results, stored: _Stored) -> Iterator[Sketch]:
    assert stored is not None
    which = {
        name: trial_name(results, trial)
        for name, trial in (("best", stored.best), ("worst", stored.worst))
        if trial is not None and name in stored.kernels
    }
    canvas = Canvas(figsize=(7.2, 4.0))
    assert stored.best is not None
    shape = results.dataset(stored.best)["input_shape"]
    images.weights(canvas, stored, which, shape)
    what = f"First-layer weights of the {' and the '.join(which)} trial as images"
    rest = ", of one seed each: a tile is a unit, a dot a weight."
    rest += f" {captions.by_validation(results)}"
    seen = ", ".join(
        f"{name}: {trial}, {numbers.count(stored.kernels[name].units, 'unit')}"
        for name, trial in which.items()
    )
    yield _sourced(results, "weights", canvas, what, rest, f"{numbers.capital(seen)}.")


def _gallery(results: Results, stored: _Stored) -> Iterator[Sketch]:
    assert stored is not None
    assert stored.best is not None
    assert stored.worst is not None
    assert stored.gallery is not None
    canvas = Canvas(figsize=(7.2, 4.0))
    names = (trial_name(results, t) for t in (stored.best, stored.worst))
    classes = _classes(results, stored)
    images.gallery(canvas, stored, classes, *names)
    what = "Test images that the best trial gets right and the worst wrong"
    rest = ", in more than half of their seeds; first those with the widest gap."
    rest += f" {captions.by_validation(results)}"
    seen = alt_texts.taken_for(stored.gallery, classes)
    yield _sourced(results, "gallery", canvas, what, rest, seen)


def _mistakes(results: Results, stored: _Stored) -> Iterator[Sketch]:
    assert stored is not None
    assert stored.mistakes is not None
    canvas = Canvas(figsize=(7.2, 4.0))
    classes = _classes(results, stored)
    images.mistakes(canvas, stored, classes)
    what = "The best trial's most confident mistakes"
    rest = ": test images that more than half of its seeds get wrong."
    seen = alt_texts.taken_for(stored.mistakes, classes)
    yield _sourced(results, "mistakes", canvas, what, rest, seen)


def _probabilities(results: Results, stored: _Stored) -> Iterator[Sketch]:
    assert stored is not None
    assert stored.examples is not None
    canvas = Canvas(figsize=(7.2, 4.0))
    images.probabilities(canvas, stored, _classes(results, stored))
    what = "Class probabilities of a few test images, before and after training"
    rest = ", from the best trial; the images are the first of the test set."
    seen = alt_texts.probabilities(stored.examples)
    yield _sourced(results, "probabilities", canvas, what, rest, seen)


SKETCHES: dict[str, Callable[[Results, _Stored], Iterator[Sketch]]] = {
    "curves": _curves,
    "gap": _gap,
    "extremes": _extremes,
    "noise": _noise,
    "updates": _updates,
    "seconds": _seconds,
    "final": _final,
    "target": _to_target,
    "rates": _rates,
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
    return sweep_of(results).name or "trial"


def _canvas(results: Results, row: float = 0.0) -> tuple[Canvas, Axes]:
    """A figure as high as its rows, if trials have rows.

    Args:
      results: what the study found.
      row: inches of a row where other settings are rows, too; 0 where they are lines.
    """
    sweep = sweep_of(results)
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
    groups = sweep_of(results).groups
    beside = baselines(results)
    shown = [
        t
        for t in networks(results)
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
        ax.set_title(labels.plain(setting), fontsize=9, loc="left")
        if number % columns:
            ax.set_ylabel("")
        if number < len(settings) - columns:
            ax.set_xlabel("")
    return canvas
