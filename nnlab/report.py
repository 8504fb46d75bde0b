# SPDX-License-Identifier: Apache-2.0
"""The report of a run as Markdown and HTML, from its stored results alone; no JAX.

`content` gathers plain texts, two templates lay them out. Every text is escaped for the
format that it goes into. Times appear only under "Costs" and "How it was run", and in
the figures that a study asks for by the name of "seconds".
"""

import dataclasses
import math
import os
import pathlib
import re
import types
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import jinja2
import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from nnlab import answer, artifacts, figures, maps, pictures, statistics, texts
from nnlab.results import (
    DIVERGED,
    FINISHED,
    STOPPED,
    UNFINISHED,
    Results,
    load,
    write_atomic,
)
from nnlab.study import PARTS, PATHS, TRACED, Claim, Study, Trial, digest_json

CURVES = ("validation_accuracy", "validation_loss", "train_loss")
SETS: tuple[Literal["moved", "rotated"], ...] = ("moved", "rotated")
PAGE_WIDTH = 7.2  # inches of a figure as wide as the page
LOOKS = ("confusion", "weights", "gallery", "mistakes", "probabilities")
REPLAY = """\
import json
from nnlab import experiment, study

config = json.load(open("config.json"))
experiment.run(study.Study.from_dict(config["study"]), "again")"""


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
        return self.part in LOOKS and self.part != "confusion"


@dataclasses.dataclass(frozen=True)
class Table:
    """Texts in rows.

    Attributes:
      header: of the columns.
      rows: as wide as the header.
      marked: the row to stand out, or None.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    marked: int | None = None


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the report; empty parts are not shown."""

    anchor: str
    title: str
    paragraphs: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    code: str = ""


@dataclasses.dataclass(frozen=True)
class Content:
    """All that the report says, as plain text.

    Attributes:
      title: the study's question.
      answer: sentences computed from the data.
      sections: in order.
    """

    title: str
    answer: tuple[str, ...]
    sections: tuple[Section, ...]


def write(workdir: str | os.PathLike[str]) -> pathlib.Path:
    """Draws the figures and writes report.md and report.html from stored results.

    Args:
      workdir: a folder that a run wrote.

    Returns:
      The path of report.html, which holds its figures and needs no other file.

    Raises:
      FileNotFoundError: no such folder, or it holds no results.
      ValueError: its tables are missing or damaged.
    """
    results = load(workdir)
    folder = results.workdir
    drawn, absent = _draw(results, folder / "figures")
    shown = content(results, drawn, absent)
    templates = jinja2.PackageLoader("nnlab", "templates")
    markdown = jinja2.Environment(
        loader=templates,
        finalize=escape_markdown,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    text = markdown.get_template("report.md.j2").render(content=shown)
    write_atomic(folder / "report.md", text.encode())
    html = jinja2.Environment(
        loader=templates,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    html.globals["svg"] = lambda figure: _inline_svg(folder, figure)
    html.globals["verdicts"] = statistics.VERDICTS
    page = html.get_template("report.html.j2").render(content=shown)
    write_atomic(folder / "report.html", page.encode())
    return folder / "report.html"


def escape_markdown(value: Any) -> str:
    """A text that Markdown (CommonMark with GitHub's tables) shows as it is.

    `Markup`, which a template asks for with ``| safe``, passes unchanged.
    """
    if isinstance(value, Markup):
        return str(value)
    text = " ".join(str(value).split())
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\`*_\[\]|~$#@])", r"\\\1", text)
    text = text.replace("://", r"\://").replace("www.", r"www\.")  # no links of its own
    return re.sub(r"^([-+=]|\d+(?=[.)]\s))", _escape_start, text)


def _escape_start(match: re.Match[str]) -> str:
    """What would start a list or underline a heading at the beginning of a line."""
    start = match[1]
    return f"{start}\\" if start.isdigit() else f"\\{start}"


def _inline_svg(folder: pathlib.Path, figure: Figure) -> Markup:
    """The stored SVG as an element of a page, its ids made unique to the figure."""
    text = (folder / "figures" / f"{figure.name}.svg").read_text(encoding="utf-8")
    element = text[text.index("<svg") :]
    element = re.sub(
        r"<metadata>.*?</metadata>|<style.*?</style>", "", element, flags=re.S
    )
    element = re.sub(r'(\sid="|href="#|url\(#)', rf"\g<1>{figure.name}-", element)
    start, rest = element.split(">", 1)
    width = re.search(r'\swidth="([\d.]+)pt"', start)
    # Small figures stay small, so that all have letters of one size.
    share = min(float(width[1]) / (72 * PAGE_WIDTH), 1.0) if width else 1.0
    start += f' style="max-width: {100 * share:.3g}%"'
    start = re.sub(r'\s(width|height)="[^"]*"', "", start)
    label = jinja2.filters.escape(figure.alt)
    return Markup(f'{start} role="img" aria-label="{label}">{rest}')


# The figures.


@dataclasses.dataclass(frozen=True)
class _Sketch:
    """A figure that is not stored yet; see `Figure`."""

    name: str
    canvas: Canvas
    alt: str
    caption: str


def _draw(
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
        "test_sets": (bool(_moved_sets(results)), "no image was moved or rotated"),
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


def _moved_sets(results: Results) -> list[str]:
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

    canvas = _panels(results, draw)
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

    canvas = _panels(results, draw)
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
    marks = f"Small dots are seeds. {_set_meaning(results)} {_error_scale(canvas)}"
    caption = f"{what}. {marks} {figures.caption(results)}"
    yield _Sketch("test_sets", canvas, what, caption)
    if results.study.test_sets.along_curve:
        for name in _moved_sets(results):
            metric = f"test_{name}_accuracy"
            yield _learning(results, metric, f"curves_{metric}")


def _set_names(results: Results) -> str:
    return texts.joined(["normal", *(f"the {s}" for s in _moved_sets(results))])


def _set_meaning(results: Results) -> str:
    """How the images of the further test sets were made."""
    sets = results.study.test_sets
    made = []
    if sets.moved_pixels:
        pixels = texts.count(sets.moved_pixels, "pixel")
        made.append(f"moved by up to {pixels} along both axes")
    if sets.rotated_degrees:
        made.append(f"rotated by up to {sets.rotated_degrees:g} degrees to both sides")
    return (
        f"The images of the normal test set were {texts.joined(made)}, each by an "
        "amount drawn once for all networks."
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
        if trial is not None
    }
    canvas = Canvas(figsize=(7.2, 4.0))
    shape = next(iter(results.config["datasets"].values()))["input_shape"]
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


def _panels(results: Results, draw: Callable[[Axes, Sequence[int]], None]) -> Canvas:
    """A panel for each setting of what was swept besides the main axis."""
    groups = figures.sweep_of(results).groups
    ran = [t.index for t in results.trials if results.has_run(t.index)]
    settings = list(dict.fromkeys(groups[t] for t in ran))
    columns = min(len(settings), 3)
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


# The sections.


def content(
    results: Results,
    drawn: Sequence[Figure] = (),
    absent: Mapping[str, str] = types.MappingProxyType({}),
) -> Content:
    """All that the report says.

    Args:
      results: what the study found.
      drawn: the stored figures.
      absent: for each part (of `study.PARTS`) that could not be drawn, the reason.
    """
    along = [p for p in ("updates", "seconds") if any(f.part == p for f in drawn)]
    main = figures.sweep_of(results).name or "the trials"
    titles = {
        "curves": ("Learning curves", ("curves", "gap", "noise")),
        "along": (f"Against {' and '.join(along)}", along),
        "final": (f"Results against {main}", ("final", "target")),
        "moved": ("Moved and rotated images", ("test_sets", "severity")),
        "maps": ("Maps", ("map", "divergence")),
        "models": ("Looking at the models", ("active_units", *LOOKS)),
    }
    sections = (
        _claims(results),
        *(
            Section(
                anchor,
                title,
                _time_notes(results)
                if anchor == ("along" if along else "curves")
                else (),
                figures=tuple(f for f in drawn if f.part in parts),
            )
            for anchor, (title, parts) in titles.items()
        ),
        _comparison(results),
        _costs(results),
        _how(results),
        _missing(results, absent),
    )
    shown = (s for s in sections if s.items or s.tables or s.figures)
    said = tuple(answer.sentences(results))
    return Content(results.study.question, said, tuple(shown))


def _time_notes(results: Results) -> tuple[str, ...]:
    """What the time along learning curves is counted in."""
    batches = {t.hyperparameters.batch_size for t in results.trials}
    note = (
        "An epoch is a pass over the training examples, an update a step on one batch"
    )
    if len(batches) > 1:
        note += (
            "; the batches are of different sizes, so equal epochs are no equal updates"
        )
    return (f"{note}.",)


def _claims(results: Results) -> Section:
    rows = tuple(
        (
            verdict.claim.text,
            verdict.verdict,
            _compared(verdict.claim),
            _side(results, verdict, "left"),
            _side(results, verdict, "right"),
            _effect(verdict),
            str(verdict.n),
            texts.p_text(verdict.p_holm),
            verdict.reason,
        )
        for verdict in statistics.judge(results)
    )
    if not rows:
        return Section("claims", "Claims")
    difference = "difference (95 % interval)"
    header = ("claim", "verdict", "compared", "left", "right", difference, "n")
    note = (
        "Differences are left minus right, paired by seed (paired t; exact tests for "
        "shares); p is adjusted by Holm over the claims that were tested; p up to 0.05 "
        "decides. Accuracies and shares are in percent, their differences in points. "
        "Steps to a target are medians, with the share of seeds that reach it. n "
        "counts the pairs, or the timed segments where seconds are compared. Where a "
        "side means several trials, their mean stands for them, seed by seed; where "
        "best trials are compared, the remarks name them."
    )
    table = Table((*header, "p (Holm)", "remarks"), rows)
    return Section("claims", "Claims", (note,), tables=(table,))


def _compared(claim: Claim) -> str:
    """The quantity and the relation in words: "final test accuracy: left is less"."""
    quantity = claim.quantity
    metric = figures.words(quantity.metric)
    target = quantity.target or 0.0
    accuracy = quantity.metric.endswith("accuracy")
    goal = f"{100 * target:g} % {metric}" if accuracy else f"a {metric} of {target:g}"
    what = {
        "final": f"final {metric}",
        "best": f"best {metric}",
        "at_epoch": f"{metric} at epoch {quantity.epoch or 0:g}",
        "at_step": f"{metric} at {quantity.step or 0:,.0f} updates",
        "steps_to": f"updates to {goal}",
        "steps": "updates until training ended",
        "best_minus_final": f"best {metric} minus the final one",
        "drop_from_test": f"test accuracy minus {metric}, both final",
        "diverged_share": "share of seeds that diverge",
        "at_chance_share": "share of seeds that end at chance",
        "seconds": "seconds of training for an epoch",
    }[quantity.reduction]
    share = accuracy and quantity.reduction not in ("steps_to",)
    share = share or quantity.reduction.endswith("_share")
    points = f"{100 * claim.margin:g} point{'' if claim.margin == 0.01 else 's'}"
    margin = points if share else f"{claim.margin:g}"
    relation = {
        "greater": "left is greater",
        "less": "left is less",
        "same": f"both are the same within {margin}",
    }[claim.relation]
    best = ", between the best trials of both sides" if claim.among == "best" else ""
    return f"{what}{best}: {relation}"


def _factor(verdict: statistics.Verdict) -> float:
    """100 for what is shown in percent."""
    quantity = verdict.claim.quantity
    if quantity.reduction.endswith("_share"):
        return 100.0
    plain = quantity.reduction in ("steps_to", "seconds")
    return 100.0 if quantity.metric.endswith("accuracy") and not plain else 1.0


def _side(
    results: Results, verdict: statistics.Verdict, which: Literal["left", "right"]
) -> str:
    """Which trials a side means, and what they come to: "0.7: 95.1 %"."""
    selector = getattr(verdict.claim, which)
    value, reached = getattr(verdict, which), getattr(verdict, f"{which}_reached")
    text = _side_value(verdict, value, reached)
    if isinstance(selector, Mapping):
        chosen = ", ".join(figures.value_text(value) for value in selector.values())
        meant = sum(_is_meant(t, selector) for t in results.trials)
        several = meant > 1 and verdict.claim.among == "mean"
        mean = f" (mean of {meant} trials)" if several else ""
        return f"{chosen}{mean}: {text}"
    return f"{selector}: {text}" if isinstance(selector, str) else text


def _is_meant(trial: Trial, selector: Mapping[str, Any]) -> bool:
    """Whether a claim's side means the trial, as far as texts tell its values."""
    settings = {**trial.hyperparameters.flat(), "label": trial.label}
    return all(
        figures.value_text(settings[path]) == figures.value_text(value)
        for path, value in selector.items()
    )


def _side_value(verdict: statistics.Verdict, value: float, reached: float) -> str:
    if verdict.claim.quantity.reduction == "steps_to" and not math.isnan(reached):
        median = f"{value:,.0f}" if math.isfinite(value) else "not reached"
        return f"{median} ({texts.percent(reached, 0)})"
    if not math.isfinite(value):
        return texts.NONE
    factor = _factor(verdict)
    half = factor * (verdict.high - verdict.effect)
    text = f"{factor * value:.4g}"
    if math.isfinite(half) and half > 0:
        text = texts.fixed(factor * value, texts.supported_decimals(half))
    unit = "%" if factor == 100 else verdict.unit
    return texts.true_minus(f"{text} {unit}".strip())


def _effect(verdict: statistics.Verdict) -> str:
    if math.isnan(verdict.effect):
        return texts.NONE
    factor = _factor(verdict)
    unit = "points" if factor == 100 else verdict.unit
    ends = factor * verdict.low, factor * verdict.high
    if math.isnan(ends[0]):
        return texts.true_minus(f"{factor * verdict.effect:+.3g} {unit}".strip())
    decimals = texts.supported_decimals((ends[1] - ends[0]) / 2)
    low, high = (texts.fixed(e, decimals) for e in ends)
    value = texts.fixed(factor * verdict.effect, decimals)
    sign = "" if value.startswith("-") or not float(value.replace(",", "")) else "+"
    return texts.true_minus(f"{sign}{value} {unit}".strip() + f" ({low} to {high})")


def _comparison(results: Results) -> Section:
    """Each trial's accuracies, difference to the best, time to target and fates."""
    summary = statistics.summarize(results).to_pylist()
    ran = [row for row in summary if results.has_run(row["index"])]
    if not ran:
        return Section("comparison", "Comparison")
    best = next((row["index"] for row in ran if row["best"]), None)
    target = ran[0]["target"]
    fates = {
        "finished": FINISHED,
        "stopped early": STOPPED,
        "diverged": DIVERGED,
        "unfinished": UNFINISHED,
        "at chance": "at_chance",
    }
    fates = {h: s for h, s in fates.items() if any(row[f"n_{s}"] for row in ran)}
    sizes = len({row["parameters"] for row in ran}) > 1
    sets = _moved_sets(results)
    accuracies = [
        m
        for m in (
            "validation_accuracy",
            "test_accuracy",
            *(f"test_{name}_accuracy" for name in sets),
        )
        if m in results.metrics
    ]
    stops = any(t.hyperparameters.early_stopping.patience for t in results.trials)
    compared = best is not None and len(ran) > 1 and "test_accuracy" in results.metrics
    labelled = any("label" in item for item in results.study.sweep)
    sweep = figures.sweep_of(results)
    grouped = any(sweep.groups)
    header = ["trial" if labelled or grouped else sweep.name or "trial"]
    header += [f"{figures.words(m)}, %" for m in accuracies[: -len(sets) or None]]
    header += [*(f"{s}, %" for s in sets), *(f"drop, {s}, points" for s in sets)]
    header += ["test, points to best", "p (Holm)", "resolved"] if compared else []
    header += [f"median epochs to {100 * target:g} %", "reached by"] if target else []
    header += ["median steps used", "median best step"] if stops else []
    header += [*fates, *(["parameters"] if sizes else [])]
    rows = []
    for row in ran:
        trial = row["index"]
        cells = [figures.trial_name(results, trial)]
        cells += [
            texts.mean_text(row[f"{m}_mean"], row[f"{m}_high"]) for m in accuracies
        ]
        for drop in (f"test_{name}_accuracy_drop" for name in sets):
            cells.append(texts.mean_text(row[f"{drop}_mean"], row[f"{drop}_high"]))
        difference = "test_accuracy_difference_"
        if compared and trial == best:
            cells += ["best", "", ""]
        elif compared:
            mean, high = row[f"{difference}mean"], row[f"{difference}high"]
            resolved = "yes" if row[f"{difference}resolved"] else "no"
            p = texts.p_text(row[f"{difference}p_holm"])
            cells += [texts.mean_text(mean, high), p, resolved]
        if target:
            time = statistics.steps_to_target(results, trial, target)
            median = row["median_epochs_to_target"]
            cells.append("not reached" if median is None else texts.median_text(median))
            reached = round(time.reached_share * time.n) if time.n else 0
            cells.append(f"{reached} of {time.n}")
        if stops:
            cells += [_median_of(results, trial, c) for c in ("steps", "best_step")]
        cells += [str(row[f"n_{status}"]) for status in fates.values()]
        cells += [f"{row['parameters']:,}"] if sizes else []
        rows.append(tuple(cells))
    notes = [
        "Final values, mean and half-width of the 95 % Student-t interval over the "
        "seeds that finished or stopped early."
    ]
    if compared:
        notes.append(
            "The best trial is chosen by validation accuracy, a diverged seed counting "
            "as chance. Differences to it are paired by seed; p is adjusted by Holm "
            "over all pairs of trials, because the data chose the best."
        )
    if sets:
        notes.append(
            f"Under {texts.joined(sets)} stands the accuracy on such images; a drop is "
            "that on the normal test set minus it, paired by seed. "
            f"{_set_meaning(results)}"
        )
    if stops:
        notes.append(
            "Steps used are the updates until a seed finished or stopped early; the "
            "best step is that of its best evaluation, to whose parameters a stopped "
            "seed goes back."
        )
    if target:
        notes.append(
            f"Reached by: seeds that get to {100 * target:g} % validation accuracy; "
            "the median counts the others as last."
        )
    if results.study.num_seeds < 3:
        notes.append(answer.no_interval(results))
    marked = next((i for i, row in enumerate(ran) if row["index"] == best), None)
    table = Table(tuple(header), tuple(rows), marked)
    return Section("comparison", "Comparison", tuple(notes), tables=(table,))


def _median_of(results: Results, trial: int, column: str) -> str:
    """The median of a column over a trial's finished and stopped members."""
    values = results.member(trial, column)[statistics.alive(results, trial)]
    return f"{np.median(values.astype(float)):,.0f}" if values.size else texts.NONE


def _costs(results: Results) -> Section:
    """What each program costs and what its best trial achieves."""
    cohorts = [
        c
        for c in results.config["cohorts"]
        if any(results.has_run(t) for t in c["trials"])
    ]
    if "costs" not in results.study.figures or not cohorts:
        return Section("costs", "Costs")
    metrics = ["test_accuracy", *(f"test_{s}_accuracy" for s in _moved_sets(results))]
    header = [
        "program",
        "parameters",
        "operations an example",
        "training examples/s",
        "training, s an epoch",
        "training, s in all",
        "inferences/s",
        "inferences/s, batch 1",
        *(f"{figures.words(m)}, %" for m in metrics),
    ]
    shares = any(len(c["trials"]) > 1 for c in cohorts)
    header += ["accuracies of"] if shares else []
    rows = []
    for cohort in cohorts:
        best = _best_of(results, cohort["trials"])
        cells = [
            _program(results, cohort["trials"]),
            f"{cohort['parameters']:,}",
            _operations(cohort.get("flops", 0)),
            *_speeds(results, cohort),
        ]
        for metric in metrics:
            values = (
                np.empty(0) if best is None else answer.final(results, best, metric)
            )
            mean, _, high = (float(v) for v in statistics.mean_interval(values))
            cells.append(texts.mean_text(mean, high))
        if shares:
            cells.append(
                texts.NONE if best is None else figures.trial_name(results, best)
            )
        rows.append(tuple(cells))
    of_best = ", for the program's best trial by validation" if shares else ""
    batches = sorted({c["plan"].get("evaluation_batch", 0) for c in cohorts})
    sizes = texts.joined([f"{b:,}" for b in batches if b]) or "one size"
    notes = (
        "A program is compiled for the trials that share all settings but those that "
        "enter it as numbers, such as the learning rate. Operations are those of a "
        "forward pass over one example; a multiplication with its addition counts two.",
        "Training examples/s and inferences/s are of all networks of the program "
        f"together, the latter in batches of {sizes}. At batch 1, one network answers "
        "one example at a time inside a compiled program. Seconds of training are a "
        "network's share of the program's time, without compilation and evaluation; in "
        "all, they are a mean over its networks, which may have ended early.",
        "Accuracies are of the final networks, mean and half-width of the 95 % "
        f"interval over the seeds{of_best}.",
    )
    return Section("costs", "Costs", notes, tables=(Table(tuple(header), tuple(rows)),))


def _program(results: Results, trials: Sequence[int]) -> str:
    """What the trials of a program are called together."""
    if len(trials) == 1:
        return figures.trial_name(results, trials[0])
    groups = {figures.sweep_of(results).groups[t] for t in trials}
    shared = groups.pop() if len(groups) == 1 else ""
    if shared:
        return f"{shared} ({len(trials)} trials)"
    return answer.several(results, trials)


def _best_of(results: Results, trials: Sequence[int]) -> int | None:
    """The trial with the highest mean of the final validation accuracies."""
    means = {}
    for trial in trials:
        values = answer.final(results, trial, "validation_accuracy")
        if np.isfinite(values).any():
            means[trial] = float(np.nanmean(values))
    return max(means, key=lambda t: (means[t], -t), default=None)


def _operations(count: int) -> str:
    """A number of operations with three digits: "814", "102 k", "2.1 M"."""
    if not count:
        return texts.NONE
    for factor, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= factor:
            return f"{float(f'{count / factor:.3g}'):g}{unit}"
    return f"{count}"


def _speeds(results: Results, cohort: Mapping[str, Any]) -> list[str]:
    """Examples/s, seconds an epoch and in all, inferences/s in batches and singly."""
    index = cohort["index"]
    timings = [r for r in results.timings.to_pylist() if r["cohort"] == index]
    members = len(cohort["trials"]) * results.study.num_seeds
    training = sum(row["train_seconds"] or 0.0 for row in timings)
    an_epoch = statistics.seconds_per_epoch(results, index)

    def median(column: str) -> float:
        values = [row[column] for row in timings if row.get(column)]
        return float(np.median(values)) if values else 0.0

    return [
        _rate(_examples_per_second(timings)),
        _seconds_text(float(an_epoch.mean()) if an_epoch.size else 0.0),
        _seconds_text(training / members),
        _rate(median("inferences_per_second")),
        _rate(median("inferences_per_second_batch_1")),
    ]


def _examples_per_second(timings: Sequence[Mapping[str, Any]]) -> float:
    """Mean rate over the time of training; 0 where nothing was timed."""
    seconds = sum(row["train_seconds"] or 0.0 for row in timings)
    examples = sum(
        (row["examples_per_second"] or 0.0) * (row["train_seconds"] or 0.0)
        for row in timings
    )
    return examples / seconds if seconds else 0.0


def _rate(value: float) -> str:
    return f"{float(f'{value:.3g}'):,.0f}" if value else texts.NONE


def _seconds_text(value: float) -> str:
    return (
        f"{value:.2g}" if 0 < value < 10 else f"{value:,.0f}" if value else texts.NONE
    )


def _how(results: Results) -> Section:
    """Device, versions, data, program and times."""
    config = results.config
    study = results.study
    facts = [
        ("device", figures.device(results)),
        ("versions", figures.versions(config["versions"])),
        (
            "population",
            f"{texts.count(len(results.trials), 'trial')} x "
            f"{texts.count(study.num_seeds, 'seed')}, root seed {study.root_seed}",
        ),
    ]
    for name, data in config["datasets"].items():
        sizes = ", ".join(f"{data[p]:,} {p}" for p in ("validation", "test"))
        chance = f"chance {texts.percent(data['chance'])}"
        digest = f"digest {str(data['digest'])[:12]}"
        name = data.get("name", name)
        facts.append((f"data set {name}", f"{sizes}; {chance}; {digest}"))
    unread = set(study.swept())
    if config.get("module"):
        facts.append(("module", str(config["module"])))
        unread |= {p for p in PATHS if p.startswith("model.") and p not in TRACED}
    if any(data.get("name", name) != name for name, data in config["datasets"].items()):
        unread.add("dataset")
    fixed = [
        f"{path}={figures.value_text(value)}"
        for path, value in study.base.flat().items()
        if path not in unread and value != ()
    ]
    facts.append(("held fixed", ", ".join(fixed)))
    facts.append(("study", f"digest {digest_json(config['study'])[:12]}"))
    if config.get("git_commit"):
        facts.append(("git commit", str(config["git_commit"])))
    tables = [Table(("what", "value"), tuple(facts))]
    cohorts = tuple(_cohort(results, cohort) for cohort in config["cohorts"])
    header = (
        "cohort",
        "trials",
        "training examples",
        "parameters",
        "lanes",
        "steps an epoch",
        "compiling, s",
        "training, s",
        "evaluating, s",
        "examples/s",
        "peak, MB",
    )
    tables.append(Table(header, cohorts))
    note = (
        "A cohort is the trials that share one compiled program; a lane is the members "
        "that run at once on a device. Examples a second are "
        "training examples of all its members together, without compilation and "
        "evaluation. The same study again, from the stored settings alone:"
    )
    return Section("how", "How it was run", (note,), tables=tuple(tables), code=REPLAY)


def _cohort(results: Results, cohort: Mapping[str, Any]) -> tuple[str, ...]:
    timings = [
        row for row in results.timings.to_pylist() if row["cohort"] == cohort["index"]
    ]

    def total(column: str) -> float:
        return sum(row.get(column) or 0.0 for row in timings)

    peak = max((row.get("peak_bytes") or 0 for row in timings), default=0)
    lanes = cohort["plan"]
    plan = (
        f"{lanes['lanes']} of {texts.count(lanes['lane_trials'], 'trial')} x "
        f"{texts.count(lanes['lane_seeds'], 'seed')}"
    )
    return (
        str(cohort["index"]),
        str(len(cohort["trials"])),
        f"{cohort['train_examples']:,}",
        f"{cohort['parameters']:,}",
        plan,
        f"{cohort['steps_per_epoch']:,}",
        f"{total('compile_seconds'):.1f}",
        f"{total('train_seconds'):.1f}",
        f"{total('evaluation_seconds'):.1f}",
        _rate(_examples_per_second(timings)),
        f"{peak / 1e6:,.0f}" if peak else texts.NONE,
    )


def _missing(results: Results, absent: Mapping[str, str]) -> Section:
    """What failed, did not run, did not finish, diverged and where, or is not drawn."""
    items = answer.interruption(results)
    for index, message in results.config.get("failures", {}).items():
        cohort = next(c for c in results.config["cohorts"] if str(c["index"]) == index)
        trials = answer.several(results, cohort["trials"], answer.FEW)
        items.append(f"Failed: {trials}. The program said: {message}")
    failed = answer.failed_trials(results)
    never = [
        t.index
        for t in results.trials
        if t.index not in failed and not results.has_run(t.index)
    ]
    if never:
        items.append(f"Not run: {answer.several(results, never, answer.FEW)}.")
    names = [
        c.removeprefix("last_grad_norm_")
        for c in results.members.column_names
        if c.startswith("last_grad_norm_")
    ]
    rows = []
    for trial in (t.index for t in results.trials if results.has_run(t.index)):
        lost = results.member(trial, "status").astype(str) == DIVERGED
        if not lost.any():
            continue
        steps = results.member(trial, "diverged_step")[lost].astype(float)
        layers = Counter(results.member(trial, "diverged_layer")[lost].astype(str))
        norms = []
        for name in names:
            values = results.member(trial, f"last_grad_norm_{name}")[lost].astype(float)
            if np.isfinite(values).any():
                norms.append(f"{name} {np.nanmedian(values):.2g}")
        first, last = np.nanmin(steps), np.nanmax(steps)
        rows.append(
            (
                figures.trial_name(results, trial),
                f"{lost.sum()} of {lost.size}",
                f"{first:,.0f}" if first == last else f"{first:,.0f} to {last:,.0f}",
                ", ".join(f"{layer} ({n})" for layer, n in layers.most_common()),
                ", ".join(norms),
            )
        )
    tables: tuple[Table, ...] = ()
    if rows:
        items.append(
            "Diverged members are frozen at their first non-finite loss or gradient "
            "and left out of all means."
        )
        header = ("trial", "diverged", "at step", "first in layer (members)")
        norm = "last finite gradient norm, median"
        tables = (Table((*header, norm), tuple(rows)),)
    if results.config["status"] == "complete":
        usual = Study().figures  # of these the report says nothing
        for part in (p for p in absent if p not in usual):
            items.append(f"Not shown: {PARTS[part]}, since {absent[part]}.")
    if not items:
        items = ["Nothing: every member finished."]
    return Section("missing", "What is missing", items=tuple(items), tables=tables)
