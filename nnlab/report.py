# SPDX-License-Identifier: Apache-2.0
"""The report of a run as Markdown and HTML, from its stored results alone; no JAX.

`content` gathers plain texts, two templates lay them out. Every text is escaped for the
format that it goes into. Times appear only under "How it was run".
"""

import dataclasses
import math
import os
import pathlib
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jinja2
import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from nnlab import figures, statistics
from nnlab.results import (
    DIVERGED,
    FINISHED,
    STOPPED,
    UNFINISHED,
    Results,
    load,
    write_atomic,
)
from nnlab.study import PATHS, TRACED, digest_json

NONE = "\u2013"  # an en dash: no value
FEW = 6  # up to here the answer goes through the trials one by one
CURVES = ("validation_accuracy", "validation_loss", "train_loss")
REPLAY = """\
import json
from nnlab import experiment, study

config = json.load(open("config.json"))
experiment.run(study.Study.from_dict(config["study"]), "again")"""


@dataclasses.dataclass(frozen=True)
class Figure:
    """A stored figure.

    Attributes:
      name: of its files in ``figures/``, without suffix.
      alt: what it shows, in a few words, for those who cannot see it.
      caption: what the reader must know to read it.
    """

    name: str
    alt: str
    caption: str


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
    drawn = _draw(results, folder / "figures")
    shown = content(results, drawn)
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
    start = re.sub(r'\s(width|height)="[^"]*"', "", start)
    label = jinja2.filters.escape(figure.alt)
    return Markup(f'{start} role="img" aria-label="{label}">{rest}')


# Numbers as text.


def percent(share: float, decimals: int = 1) -> str:
    """A share as a percentage, such as "97.5 %"."""
    return f"{_fixed(100 * share, decimals)} %"


def _fixed(value: float, decimals: int) -> str:
    text = f"{value:,.{decimals}f}"
    return (
        "0" + text[2:] if float(text.replace(",", "")) == 0 and text[0] == "-" else text
    )


def _decimals(half_width: float) -> int:
    """Decimals that an interval supports: two of its digits up to 0.19, else one."""
    if not half_width > 0 or not math.isfinite(half_width):
        return 1
    power = math.floor(math.log10(half_width))
    return min(max(-power + (half_width < 1.95 * 10.0**power), 0), 4)


def mean_text(mean: float | None, high: float | None, factor: float = 100.0) -> str:
    """A mean and the half-width of its interval, such as "97.53 ± 0.12".

    Args:
      mean: None for no value.
      high: upper end of the interval; None for no interval, and then one decimal.
      factor: 100 for shares in percent.
    """
    if mean is None or math.isnan(mean):
        return NONE
    if high is None or math.isnan(high):
        return _signless(_fixed(factor * mean, 1 if factor == 100 else 3))
    half = factor * (high - mean)
    decimals = _decimals(half)
    return f"{_signless(_fixed(factor * mean, decimals))} ± {_fixed(half, decimals)}"


def _signless(text: str) -> str:
    return text.replace("-", "−")  # noqa: RUF001 (a true minus sign)


def _p_text(p: float | None) -> str:
    if p is None or math.isnan(p):
        return NONE
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.0995 else f"{p:.2f}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _joined(names: Sequence[str]) -> str:
    """ "a, b and c"; semicolons where a name has a comma."""
    comma = "; " if any("," in n for n in names) else ", "
    return " and ".join(filter(None, (comma.join(names[:-1]), names[-1])))


def _epochs(epochs: float) -> str:
    """Two digits: a median of so few seeds supports no more."""
    return f"{epochs:.2g}" if epochs < 100 else f"{epochs:,.0f}"


# The answer in words.


def answer(results: Results) -> list[str]:
    """What the data say about the question, in sentences.

    Which trials reach the target how soon, which is best and how sure that is, what
    fails, and what is missing. Up to six trials are gone through one by one; of more,
    the best, the fastest and ranges are named.

    Returns:
      Plain sentences.
    """
    sentences = [
        *_speed(results),
        *_best(results),
        *_failures(results),
        *_interruption(results),
    ]
    return sentences or ["Nothing has run yet."]


def _named(results: Results, trial: int) -> str:
    """A trial's name where it is mentioned first: "learning rate 0.7"."""
    name = figures.trial_name(results, trial)
    sweep = figures.sweep_of(results)
    if results.study.sweep[trial].get("label") or not sweep.name:
        return f"trial {name}"
    return name if sweep.groups[trial] else f"{sweep.name} {name}"


def _several(results: Results, trials: Collection[int], most: int = 3) -> str:
    """Names a few trials; of more it gives the range, or some and how many others."""
    sweep = figures.sweep_of(results)
    order = sorted(range(len(results.trials)), key=lambda t: sweep.values[t])
    chosen = [t for t in order if t in trials]
    names = [figures.trial_name(results, t) for t in chosen]
    if len(chosen) <= most:
        return _joined([_named(results, chosen[0]), *names[1:]])
    if sweep.scale == "categories" or len(set(sweep.groups)) > 1:
        return f"{_joined([*names[:2], f'{len(names) - 2} others'])}"
    together = order.index(chosen[-1]) - order.index(chosen[0]) == len(chosen) - 1
    low, high = _named(results, chosen[0]), names[-1]
    if together:
        return f"the {len(chosen)} trials from {low} to {high}"
    return f"{len(chosen)} of the trials between {low} and {high}"


def _speed(results: Results) -> list[str]:
    """How soon which trials reach the target."""
    target = results.study.target or statistics.default_target(results)
    if math.isnan(target):
        return []
    times = {
        t.index: statistics.steps_to_target(results, t.index, target)
        for t in results.trials
    }
    times = {t: time for t, time in times.items() if time.n}
    goal = f"{100 * target:g} % validation accuracy"
    if not times:
        return []
    reached = {t: round(time.reached_share * time.n) for t, time in times.items()}
    order = sorted(times, key=lambda t: (times[t].median_epochs, -reached[t], t))
    first = order[0]
    if not any(reached.values()):
        return [f"No trial reaches {goal}."]

    def share(trial: int) -> str:
        return f"{reached[trial]} of {times[trial].n}"

    arrived = [t for t in order if math.isfinite(times[t].median_epochs)]
    late = [t for t in order if t not in arrived]
    if not arrived:
        return [
            f"{_capital(_named(results, first))} comes nearest to {goal}: in "
            f"{share(first)} seeds. No trial reaches it in more than half of them."
        ]
    median = times[first].median_epochs
    seeds = "seed" if times[first].n == 1 else "seeds"
    start = (
        f"reaches {goal} after {'a median of ' if times[first].n > 1 else ''}"
        f"{_epochs(median)} {'epoch' if _epochs(median) == '1' else 'epochs'}"
    )
    if len(results.trials) == 1:
        return [f"Training {start}, {share(first)} {seeds}."]
    if len(times) <= FEW:
        parts = [f"{_capital(_named(results, first))} {start}, {share(first)} {seeds}"]
        for trial in arrived[1:]:
            name = figures.trial_name(results, trial)
            parts.append(
                f"{name} after {_epochs(times[trial].median_epochs)}, {share(trial)}"
            )
        never = [figures.trial_name(results, t) for t in late if not reached[t]]
        for trial in (t for t in late if reached[t]):
            parts.append(f"{figures.trial_name(results, trial)} in {share(trial)}")
        if never:
            parts.append(f"{_joined(never)} never")
        return [f"{'; '.join(parts)}."]
    fastest = [t for t in arrived if times[t].median_epochs == median]
    said = [f"{_capital(_named(results, first))} {start}, {share(first)} {seeds}."]
    if len(fastest) > 1:
        verb = start.replace("reaches", "reach", 1)
        said = [f"{_capital(_several(results, fastest))} {verb}, the soonest."]
    slowest = arrived[-1]
    rest = f"{len(arrived)} of {len(times)} trials reach it in most of their seeds"
    if times[slowest].median_epochs > median:
        name = figures.trial_name(results, slowest)
        rest += f", the slowest ({name}) after {_epochs(times[slowest].median_epochs)}"
        rest += " epochs"
    return [*said, f"{rest}."]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:] if text[:1].isascii() else text


def _best(results: Results) -> list[str]:
    """Which trial is best, and which others cannot be told from it."""
    best = statistics.best_trial(results)
    ran = [t.index for t in results.trials if results.has_run(t.index)]
    if best is None or "test_accuracy" not in results.metrics:
        reason = "in each, members are unfinished or less than half of them survive"
        return [f"No trial can be called best: {reason}."] if ran else []
    values = _final(results, best, "test_accuracy")
    mean, _, high = (float(v) for v in statistics.mean_interval(values))
    n = int(np.isfinite(values).sum())
    spread = f"mean and 95 % interval, n = {n}" if n >= 3 else f"n = {n}, no interval"
    number = mean_text(mean, high).replace(" ±", " % ±")
    number += "" if "%" in number else " %"
    if len(ran) == 1:
        said = [f"Test accuracy is {number} ({spread})."]
    else:
        said = [
            f"Best by validation accuracy is {_named(results, best)}, with a test "
            f"accuracy of {number} ({spread})."
        ]
    if results.study.num_seeds < 3:
        return [*said, _no_interval(results)]
    others = [
        c for c in statistics.compare_to_best(results) if not math.isnan(c.p_holm)
    ]
    same = [c.trial for c in others if not c.resolved]
    above = [c.trial for c in others if c.resolved and c.mean > 0]
    below = [c.trial for c in others if c.resolved and c.mean < 0]
    if same:
        said.append(f"Not resolved from it: {_several(results, same, FEW - 1)}.")
    if above:
        said.append(f"Better than it on the test set: {_several(results, above)}.")
    if below and (same or above):
        verb = "other is" if len(below) == 1 else "others are"
        said[-1] = f"{said[-1][:-1]}; {len(below)} {verb} resolved to be worse."
    elif below:
        several = "Both" if len(below) == 2 else f"All {len(below)}"
        which = f"{several} others are" if len(below) > 1 else "The other trial is"
        said.append(f"{which} resolved to be worse.")
    return said


def _final(results: Results, trial: int, metric: str) -> np.ndarray:
    quantity = statistics.Quantity(metric=metric, reduction="final")
    return statistics.reduce_members(results, quantity, trial)


def _no_interval(results: Results) -> str:
    seeds = results.study.num_seeds
    if seeds == 1:
        return "One seed shows no spread: no interval is drawn and nothing is resolved."
    return (
        "Of two seeds a 95 % interval is 13 standard errors wide to each side and says "
        "nothing: none is drawn and nothing is resolved."
    )


def _failures(results: Results) -> list[str]:
    """Which trials diverge or stay at chance."""
    kinds = (("diverged", "diverge"), ("at_chance", "end at chance"))
    seeds = results.study.num_seeds
    counts = {
        t.index: statistics.status_counts(results, t.index) for t in results.trials
    }
    failing = [t for t, c in counts.items() if c["diverged"] or c["at_chance"]]
    if not failing:
        return []
    if len(failing) > 4:
        total: Counter[str] = Counter()
        for trial in failing:
            total.update(counts[trial])
        lost = _fates(total, kinds, len(failing) * seeds)
        return [f"Of {_several(results, failing)}, {lost}."]
    at = "with" if figures.sweep_of(results).scale == "categories" else "at"
    alike: dict[str, list[int]] = {}
    for trial in failing:
        alike.setdefault(_fates(counts[trial], kinds, seeds), []).append(trial)
    parts: list[str] = []
    for fate, trials in alike.items():
        names = [figures.trial_name(results, t) for t in trials]
        names[0] = names[0] if parts else _named(results, trials[0])
        each = " each" if len(trials) > 1 else ""
        where = f"{at} {_joined(names)}, " if len(results.trials) > 1 else ""
        parts.append(where + fate + each)
    return [f"{_capital('; '.join(parts))}."]


def _fates(
    counts: Mapping[str, int], kinds: Sequence[tuple[str, str]], total: int
) -> str:
    said: list[str] = []
    for key, verb in kinds:
        if counts[key]:
            singular = verb.replace("diverge", "diverges").replace("end ", "ends ")
            of = "" if said else f" of {_count(total, 'seed')}"
            said.append(f"{counts[key]}{of} {singular if counts[key] == 1 else verb}")
    return " and ".join(said)


def _interruption(results: Results) -> list[str]:
    """What an interrupted run lacks."""
    if results.config["status"] == "complete":
        return []
    absent = [t.index for t in results.trials if not results.has_run(t.index)]
    unfinished = sum(
        statistics.status_counts(results, t.index)[UNFINISHED] for t in results.trials
    )
    parts = []
    if absent:
        verb = "has" if len(absent) == 1 else "have"
        parts.append(f"{len(absent)} of {len(results.trials)} trials {verb} not run")
    if unfinished:
        parts.append(f"{_count(unfinished, 'member')} did not finish")
    said = " and ".join(parts) or "what is missing cannot be told"
    return [f"The run was interrupted: {said}."]


# The figures.


def _draw(results: Results, folder: pathlib.Path) -> tuple[Figure, ...]:
    """Draws and stores the figures that the results allow."""
    drawn: list[Figure] = []
    if not any(results.has_run(t.index) for t in results.trials):
        return ()
    sweep = figures.sweep_of(results)
    along = sweep.name or "trial"
    base = figures.caption(results)
    scheme = "Points are seeds; the ring marks the best trial by validation."
    with matplotlib.rc_context(figures.STYLE):
        for metric in (m for m in CURVES if m in results.metrics):
            name = f"curves_{metric}"
            figures.save(_curves(results, metric), folder / name)
            alt = f"{figures.words(metric)} along training, a line for each trial"
            drawn.append(Figure(name, _capital(alt), base))
        if "test_accuracy" in results.metrics:
            canvas, ax = _canvas(results)
            figures.final_metric(ax, results, "test_accuracy")
            figures.save(canvas, folder / "final_test_accuracy")
            alt = f"Final test accuracy against {along}"
            drawn.append(Figure("final_test_accuracy", alt, f"{scheme} {base}"))
        target = results.study.target or statistics.default_target(results)
        if "validation_accuracy" in results.metrics and not math.isnan(target):
            canvas, ax = _canvas(results)
            figures.steps_to_target(ax, results, target)
            figures.save(canvas, folder / "epochs_to_target")
            alt = f"Epochs to {100 * target:g} % validation accuracy against {along}"
            median = (
                "Large points are medians over all seeds, those that never reach it "
                "counted as last; none where most do not. Small points are seeds."
            )
            drawn.append(Figure("epochs_to_target", alt, median))
    return tuple(drawn)


def _canvas(results: Results) -> tuple[Canvas, Axes]:
    sweep = figures.sweep_of(results)
    rows = len(results.trials) if sweep.scale == "categories" else 0
    height = min(1.2 + 0.32 * rows, 9.0) if rows else 3.6
    canvas = Canvas(figsize=(7.2, height), layout="constrained")
    return canvas, canvas.add_subplot()


def _curves(results: Results, metric: str) -> Canvas:
    """Learning curves, with a panel for each setting of what else was swept."""
    groups = figures.sweep_of(results).groups
    ran = [t.index for t in results.trials if results.has_run(t.index)]
    settings = list(dict.fromkeys(groups[t] for t in ran))
    columns = min(len(settings), 3)
    lines = math.ceil(len(settings) / columns)
    size = (7.2, 3.9) if columns == 1 else (3.5 * columns, 2.8 * lines)
    canvas = Canvas(figsize=size, layout="constrained")
    for number, setting in enumerate(settings):
        ax = canvas.add_subplot(lines, columns, number + 1)
        trials = [t for t, g in enumerate(groups) if g == setting]
        figures.learning_curves(ax, results, metric, trials=trials)
        ax.set_title(figures.plain(setting), fontsize=9, loc="left")
        if number % columns:
            ax.set_ylabel("")
        if number < len(settings) - columns:
            ax.set_xlabel("")
    return canvas


# The sections.


def content(results: Results, drawn: Sequence[Figure] = ()) -> Content:
    """All that the report says.

    Args:
      results: what the study found.
      drawn: the stored figures.
    """
    curves = tuple(f for f in drawn if f.name.startswith("curves_"))
    others = tuple(f for f in drawn if not f.name.startswith("curves_"))
    name = figures.sweep_of(results).name or "the trials"
    sections = (
        _claims(results),
        Section("curves", "Learning curves", figures=curves),
        Section("final", f"Results against {name}", figures=others),
        _comparison(results),
        _how(results),
        _missing(results),
    )
    shown = (s for s in sections if s.paragraphs or s.items or s.tables or s.figures)
    return Content(results.study.question, tuple(answer(results)), tuple(shown))


def _claims(results: Results) -> Section:
    rows = tuple(
        (
            verdict.claim.text,
            verdict.verdict,
            _side(verdict, verdict.claim.left, verdict.left, verdict.left_reached),
            _side(verdict, verdict.claim.right, verdict.right, verdict.right_reached),
            _effect(verdict),
            str(verdict.n),
            _p_text(verdict.p_holm),
            verdict.reason,
        )
        for verdict in statistics.judge(results)
    )
    if not rows:
        return Section("claims", "Claims")
    difference = "difference (95 % interval)"
    header = ("claim", "verdict", "left", "right", difference, "n", "p (Holm)")
    note = (
        "Differences are left minus right, paired by seed (paired t; exact tests for "
        "shares); p is adjusted by Holm over the claims that were tested; p up to 0.05 "
        "decides. Accuracies and shares are in percent, their differences in points. "
        "Steps to a target are medians, with the share of seeds that reach it."
    )
    table = Table((*header, "remarks"), rows)
    return Section("claims", "Claims", (note,), tables=(table,))


def _factor(verdict: statistics.Verdict) -> float:
    """100 for what is shown in percent."""
    quantity = verdict.claim.quantity
    if quantity.reduction.endswith("_share"):
        return 100.0
    plain = quantity.reduction in ("steps_to", "seconds")
    return 100.0 if quantity.metric.endswith("accuracy") and not plain else 1.0


def _side(
    verdict: statistics.Verdict, selector: Any, value: float, reached: float
) -> str:
    """Which trials a side means, and what they come to: "0.7: 95.1 %"."""
    text = _side_value(verdict, value, reached)
    if isinstance(selector, Mapping):
        names = (figures.value_text(chosen) for chosen in selector.values())
        return f"{', '.join(names)}: {text}"
    return f"{selector}: {text}" if isinstance(selector, str) else text


def _side_value(verdict: statistics.Verdict, value: float, reached: float) -> str:
    if verdict.claim.quantity.reduction == "steps_to" and not math.isnan(reached):
        median = f"{value:,.0f}" if math.isfinite(value) else "not reached"
        return f"{median} ({percent(reached, 0)})"
    if not math.isfinite(value):
        return NONE
    factor = _factor(verdict)
    half = factor * (verdict.high - verdict.effect)
    text = f"{factor * value:.4g}"
    if math.isfinite(half) and half > 0:
        text = _fixed(factor * value, _decimals(half))
    unit = "%" if factor == 100 else verdict.unit
    return _signless(f"{text} {unit}".strip())


def _effect(verdict: statistics.Verdict) -> str:
    if math.isnan(verdict.effect):
        return NONE
    factor = _factor(verdict)
    unit = "points" if factor == 100 else verdict.unit
    ends = factor * verdict.low, factor * verdict.high
    if math.isnan(ends[0]):
        return _signless(f"{factor * verdict.effect:+.3g} {unit}".strip())
    decimals = _decimals((ends[1] - ends[0]) / 2)
    low, high = (_fixed(e, decimals) for e in ends)
    value = _fixed(factor * verdict.effect, decimals)
    sign = "" if value.startswith("-") or not float(value.replace(",", "")) else "+"
    return _signless(f"{sign}{value} {unit}".strip() + f" ({low} to {high})")


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
    accuracies = [
        m for m in ("validation_accuracy", "test_accuracy") if m in results.metrics
    ]
    compared = best is not None and len(ran) > 1 and "test_accuracy" in results.metrics
    labelled = any("label" in item for item in results.study.sweep)
    sweep = figures.sweep_of(results)
    grouped = any(sweep.groups)
    header = ["trial" if labelled or grouped else sweep.name or "trial"]
    header += [f"{figures.words(m)}, %" for m in accuracies]
    header += ["test, points to best", "p (Holm)", "resolved"] if compared else []
    header += [f"median epochs to {100 * target:g} %", "reached by"] if target else []
    header += [*fates, *(["parameters"] if sizes else [])]
    rows = []
    for row in ran:
        trial = row["index"]
        cells = [figures.trial_name(results, trial)]
        cells += [mean_text(row[f"{m}_mean"], row[f"{m}_high"]) for m in accuracies]
        difference = "test_accuracy_difference_"
        if compared and trial == best:
            cells += ["best", "", ""]
        elif compared:
            mean, high = row[f"{difference}mean"], row[f"{difference}high"]
            resolved = "yes" if row[f"{difference}resolved"] else "no"
            p = _p_text(row[f"{difference}p_holm"])
            cells += [mean_text(mean, high), p, resolved]
        if target:
            time = statistics.steps_to_target(results, trial, target)
            median = row["median_epochs_to_target"]
            cells.append("not reached" if median is None else _epochs(median))
            reached = round(time.reached_share * time.n) if time.n else 0
            cells.append(f"{reached} of {time.n}")
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
    if results.study.num_seeds < 3:
        notes.append(_no_interval(results))
    marked = next((i for i, row in enumerate(ran) if row["index"] == best), None)
    table = Table(tuple(header), tuple(rows), marked)
    return Section("comparison", "Comparison", tuple(notes), tables=(table,))


def _how(results: Results) -> Section:
    """Device, versions, data, program and times."""
    config = results.config
    study = results.study
    facts = [
        ("device", figures.device(results)),
        ("versions", figures.versions(config["versions"])),
        (
            "population",
            f"{_count(len(results.trials), 'trial')} x "
            f"{_count(study.num_seeds, 'seed')}, root seed {study.root_seed}",
        ),
    ]
    for name, data in config["datasets"].items():
        sizes = ", ".join(f"{data[p]:,} {p}" for p in ("validation", "test"))
        chance = f"chance {percent(data['chance'])}"
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

    training = total("train_seconds")
    rate = sum(
        (row["examples_per_second"] or 0.0) * row["train_seconds"] for row in timings
    )
    peak = max((row.get("peak_bytes") or 0 for row in timings), default=0)
    lanes = cohort["plan"]
    plan = (
        f"{lanes['lanes']} of {_count(lanes['lane_trials'], 'trial')} x "
        f"{_count(lanes['lane_seeds'], 'seed')}"
    )
    return (
        str(cohort["index"]),
        str(len(cohort["trials"])),
        f"{cohort['train_examples']:,}",
        f"{cohort['parameters']:,}",
        plan,
        f"{cohort['steps_per_epoch']:,}",
        f"{total('compile_seconds'):.1f}",
        f"{training:.1f}",
        f"{total('evaluation_seconds'):.1f}",
        f"{float(f'{rate / training:.3g}'):,.0f}" if training else NONE,
        f"{peak / 1e6:,.0f}" if peak else NONE,
    )


def _missing(results: Results) -> Section:
    """What did not run, did not finish, or diverged, and where."""
    items = _interruption(results)
    absent = [t.index for t in results.trials if not results.has_run(t.index)]
    if absent:
        items.append(f"Not run: {_several(results, absent, FEW)}.")
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
    if not items:
        items = ["Nothing: every member finished."]
    return Section("missing", "What is missing", items=tuple(items), tables=tables)
