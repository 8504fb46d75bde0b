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
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jinja2
import numpy as np
from markupsafe import Markup

from nnlab import answer, figures, panels, statistics, texts
from nnlab.results import (
    DIVERGED,
    FINISHED,
    STOPPED,
    UNFINISHED,
    Results,
    load,
    write_atomic,
)
from nnlab.study import (
    PARTS,
    PATHS,
    PICTURES,
    TRACED,
    Claim,
    Quantity,
    Study,
    Trial,
    digest_json,
)

PAGE_WIDTH = 7.2  # inches of a figure as wide as the page
REPLAY = """\
import json
from nnlab import experiment, study

config = json.load(open("config.json"))
experiment.run(study.Study.from_dict(config["study"]), "again")"""


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
    figures: tuple[panels.Figure, ...] = ()
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
    drawn, absent = panels.draw(results, folder / "figures")
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


def _inline_svg(folder: pathlib.Path, figure: panels.Figure) -> Markup:
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


# The sections.


def content(
    results: Results,
    drawn: Sequence[panels.Figure] = (),
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
        "curves": ("Learning curves", ("curves", "gap", "extremes", "noise")),
        "along": (f"Against {' and '.join(along)}", along),
        "final": (f"Results against {main}", ("final", "target", "sizes")),
        "moved": ("Moved and rotated images", ("test_sets", "severity")),
        "maps": ("Maps", ("map", "divergence")),
        "models": (
            "Looking at the models",
            ("gradients", "active_units", *PICTURES),
        ),
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
        "best trials are compared, they are those by validation accuracy."
    )
    table = Table((*header, "p (Holm)", "remarks"), rows)
    return Section("claims", "Claims", (note,), tables=(table,))


def _compared(claim: Claim) -> str:
    """The quantity and the relation in words: "final test accuracy: left is less"."""
    quantity = claim.quantity
    accuracy = quantity.metric.endswith("accuracy")
    share = accuracy and quantity.reduction not in ("steps_to",)
    share = share or quantity.reduction.endswith("_share")
    points = f"{100 * claim.margin:g} point{'' if claim.margin == 0.01 else 's'}"
    margin = points if share else f"{claim.margin:g}"
    relation = {
        "greater": "left is greater",
        "less": "left is less",
        "same": f"both are the same within {margin}",
    }[claim.relation]
    what = _quantity(quantity)
    if claim.right_quantity:
        what += f" on the left, {_quantity(claim.right_quantity)} on the right"
    best = ", between the best trials of both sides" if claim.among == "best" else ""
    return f"{what}{best}: {relation}"


def _quantity(quantity: Quantity) -> str:
    """A quantity in words: "final test accuracy"."""
    metric = figures.words(quantity.metric)
    target = quantity.target or 0.0
    accuracy = quantity.metric.endswith("accuracy")
    goal = f"{100 * target:g} % {metric}" if accuracy else f"a {metric} of {target:g}"
    return {
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
    best = getattr(verdict, f"{which}_trial")
    if best is not None:
        return f"{figures.trial_name(results, best)}: {text}"
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
    sets = panels.moved_sets(results)
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
            if time.n:
                never = median is None
                cells.append("not reached" if never else texts.median_text(median))
                cells.append(f"{round(time.reached_share * time.n)} of {time.n}")
            else:
                cells += [texts.NONE, texts.NONE]
        if stops:
            cells += [_median_of(results, trial, c) for c in ("steps", "best_step")]
        cells += [str(row[f"n_{status}"]) for status in fates.values()]
        cells += [_number(row["parameters"])] if sizes else []
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
            f"{panels.set_meaning(results)}"
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
    metrics = [
        "test_accuracy",
        *(f"test_{s}_accuracy" for s in panels.moved_sets(results)),
    ]
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
        best = statistics.best_trial(results, cohort["trials"])
        cells = [
            _program(results, cohort["trials"]),
            _number(cohort["parameters"]),
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
    plans = [c["plan"] for c in cohorts if c.get("plan")]
    batches = sorted({plan.get("evaluation_batch", 0) for plan in plans})
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


def _number(value: int | None) -> str:
    """With thousands parted; trees have no parameters to count."""
    return texts.NONE if value is None else f"{value:,}"


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
    for backbone in config.get("backbones", ()):
        facts.append(("backbone", _backbone(backbone)))
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
    grown = any("library" in cohort for cohort in config["cohorts"])
    trees = (
        "Of trees an epoch is a round that grows one for each class (of a forest, one "
        "tree); depth and number are chosen by validation, seed by seed, and training "
        "is the time of all depths. "
    )
    note = (
        "A cohort is the trials that share one compiled program; a lane is the members "
        "that run at once on a device. Examples a second are "
        "training examples of all its members together, without compilation and "
        f"evaluation. {trees if grown else ''}The same study again, from the stored "
        "settings alone:"
    )
    return Section("how", "How it was run", (note,), tables=tuple(tables), code=REPLAY)


def _backbone(about: Mapping[str, Any]) -> str:
    """How a backbone came about."""
    if "weights" in about:
        return f"weights of {about['weights']}"
    return (
        f"trained on {about['train_examples']:,} examples of {about['dataset']}, "
        f"{texts.count(about['num_epochs'], 'epoch')} of Adam at rate "
        f"{about['learning_rate']:g}, batch {about['batch_size']}; there it has a test "
        f"accuracy of {texts.percent(about['test_accuracy'])}. All seeds begin at it"
    )


def _cohort(results: Results, cohort: Mapping[str, Any]) -> tuple[str, ...]:
    timings = [
        row for row in results.timings.to_pylist() if row["cohort"] == cohort["index"]
    ]

    def total(column: str) -> float:
        return sum(row.get(column) or 0.0 for row in timings)

    peak = max((row.get("peak_bytes") or 0 for row in timings), default=0)
    if lanes := cohort.get("plan"):
        plan = (
            f"{lanes['lanes']} of {texts.count(lanes['lane_trials'], 'trial')} x "
            f"{texts.count(lanes['lane_seeds'], 'seed')}"
        )
    else:
        plan = f"trees by {cohort['library']}"
    return (
        str(cohort["index"]),
        str(len(cohort["trials"])),
        f"{cohort['train_examples']:,}",
        _number(cohort["parameters"]),
        plan,
        f"{cohort['steps_per_epoch']:,}",
        f"{total('compile_seconds'):.1f}",
        f"{total('train_seconds'):.1f}",
        f"{total('evaluation_seconds') + total('scoring_seconds'):.1f}",
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
