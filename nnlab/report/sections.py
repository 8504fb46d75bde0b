# SPDX-License-Identifier: Apache-2.0
"""Sections of a report about findings: claims, comparison, and what is missing."""

import dataclasses
import functools
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import jinja2
import numpy as np

from nnlab.report import answer
from nnlab.report.answering import margin_text, remark
from nnlab.report.effects import decimals, digits, gain, is_share, order_text
from nnlab.report.figures import catalog
from nnlab.report.figures.drawing import captions
from nnlab.report.figures.test_sets import moved_sets, set_meaning
from nnlab.report.scores import score_of
from nnlab.report.trials import full_name, several, sweep_of, trial_name
from nnlab.results import DIVERGED, DROPPED, FINISHED, STOPPED, UNFINISHED, Results
from nnlab.statistics.examples import DATA, SEEDS
from nnlab.statistics.findings import Findings
from nnlab.statistics.members import is_accuracy
from nnlab.statistics.ranking import Comparison, num_families
from nnlab.statistics.verdicts import Verdict
from nnlab.study import DIFFERENCE, ORDER, RATIO, SHOWN, WATCHED, Claim, Quantity, Study
from nnlab.study.fitting import meant
from nnlab.words import numbers
from nnlab.words.settings import setting_text, words

MOST_CHIPS = 6  # so many verdicts have room beside a figure
MOST_COLUMNS = 8  # beside the first: so many of numbers fit into a page
FATES = {
    "finished": FINISHED,
    "stopped early": STOPPED,
    "diverged": DIVERGED,
    "dropped": DROPPED,
    "unfinished": UNFINISHED,
    "at chance": "at_chance",
}


@dataclasses.dataclass(frozen=True)
class Table:
    """Texts in rows.

    Attributes:
      header: of the columns.
      rows: as wide as the header.
      marked: index of the row to highlight, or None.
      caption: what it holds, where the section's title does not say it.
      folded: whether a page shows it only when its caption is clicked on.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    marked: int | None = None
    caption: str = ""
    folded: bool = False


def tabulated(rows: Iterable[Mapping[str, str]], **options: Any) -> Table:
    """Makes a table of one row or more, ``{header: text}``.

    All have the same headers; `options` are fields of `Table`.
    """
    found = list(rows)
    cells = tuple(tuple(row.values()) for row in found)
    return Table(tuple(found[0]), cells, **options)


def in_width(table: Table) -> tuple[Table, ...]:
    """Splits a table that is too wide for a page into some that are not.

    Each begins with the first column; the further ones are folded.
    """
    columns = range(1, len(table.header))
    parts = []
    for start in columns[::MOST_COLUMNS]:
        kept = 0, *columns[start - 1 : start - 1 + MOST_COLUMNS]
        every = table.header, *table.rows
        header, *rows = (tuple(row[column] for column in kept) for row in every)
        part = dataclasses.replace(table, header=header, rows=tuple(rows))
        if start > 1:
            caption = f"More: {', '.join(header[1:])}"
            part = dataclasses.replace(part, caption=caption, folded=True)
        parts.append(part)
    return tuple(parts)


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the report; empty parts are not shown."""

    anchor: str
    title: str
    paragraphs: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[catalog.Figure, ...] = ()
    code: str = ""


def environment(
    finalize: Callable[[Any], Any], autoescape: bool = False
) -> jinja2.Environment:
    """Returns what reads the report's templates; `finalize` escapes what they write."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("nnlab.report", "templates"),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=finalize,
        autoescape=autoescape,
    )


@functools.cache
def _notes() -> jinja2.Template:
    words = {"joined": numbers.joined, "count": numbers.count}
    plain = environment(finalize=str)  # page and report.md escape it
    return plain.get_template("notes.txt.j2", globals=words)


def notes(section: str, **facts: Any) -> tuple[str, ...]:
    """Returns the paragraphs of a macro of ``notes.txt.j2``."""
    for name, fact in facts.items():  # names of users may hold empty lines
        facts[name] = " ".join(fact.split()) if isinstance(fact, str) else fact
    text: str = getattr(_notes().module, section)(**facts)
    return tuple(" ".join(p.split()) for p in text.split("\n\n") if p.strip())


def number(value: int | None) -> str:
    """Returns a number with thousands separated; None, as of trees, is a dash."""
    return numbers.NONE if value is None else f"{value:,}"


def yes_or_no(resolved: bool, p: float | None) -> str:
    """Says whether a difference is significant, where it was tested."""
    if p is None or math.isnan(p):
        return "not tested"
    return "yes" if resolved else "no"


_P, _PS = "p (adjusted)", "p (over seeds alone)"

# Claims.


class Chip(NamedTuple):
    """A claim's verdict, the claim's words, and n."""

    verdict: str
    text: str
    n: int


def chips(findings: Findings) -> tuple[Chip, ...]:
    """Returns the verdicts that carry the answer, a few if none does."""
    carrying, _ = _by_weight(findings)
    return tuple(Chip(v.verdict, v.claim.text, v.n) for v in carrying[:MOST_CHIPS])


def _by_weight(findings: Findings) -> tuple[list[Verdict], list[Verdict]]:
    """Returns the claims that carry the answer, or all where none does; the others."""
    every = findings.verdicts
    carrying = [v for v in every if v.claim.main] or [*every]
    return carrying, [v for v in every if v not in carrying]


def claims(findings: Findings) -> Section:
    """Makes the tables of the study's claims: what became of them, and how tested."""
    if not findings.verdicts:
        return Section("claims", "Claims")
    results = findings.results
    widens = _overs(findings.verdicts) != {SEEDS}
    logs = any(v.scale != DIFFERENCE for v in findings.verdicts)
    effect = "difference, or ratio x" if logs else "difference"

    def decided(verdict: Verdict) -> dict[str, str]:
        size, interval = _effect(verdict)
        n = f" (n = {verdict.n})" if verdict.n else ""
        ends = {"interval (adjusted like p)": interval}
        told = {"verdict": f"{verdict.verdict}{n}"}
        return {"claim": verdict.claim.text, effect: size, **ends, **told}

    carrying, others = _by_weight(findings)
    tables = [tabulated(map(decided, carrying))]
    if others:
        caption = numbers.count(len(others), "more claim")
        tables.append(tabulated(map(decided, others), caption=caption, folded=True))
    tested = (
        {
            "claim": v.claim.text,
            "compared": _compared(v.claim),
            "left": _side(results, v, "left"),
            "right": _side(results, v, "right"),
            **(_reach(v) if widens else {"n": str(v.n), _P: numbers.p_text(v.p_holm)}),
            "remarks": "; ".join(filter(None, (v.reason, *_remedy(v)))),
        }
        for v in (*carrying, *others)
    )
    caption = "What was compared, with p and remarks"
    tables.append(tabulated(tested, caption=caption, folded=True))
    said = notes(
        "claims",
        families=num_families(results.study),
        looks=results.study.looks,
        over=_overs(findings.verdicts),
        logs=logs,
        margins=any(map(_least, (v.claim for v in findings.verdicts))),
    )
    measured = (v.claim.quantity.metric for v in findings.verdicts)
    some = filter(None, [captions.sampled(results, *measured)])
    return Section("claims", "Claims", (*said, *some), tables=tuple(tables))


def _overs(found: Iterable[Verdict | Comparison]) -> set[str]:
    """Returns of what p-values speak, each kind once."""
    return {one.over for one in found if not math.isnan(one.p_holm)}


def effect_text(verdict: Verdict) -> str:
    """Returns an effect with its interval: "+1.3 points (0.8 to 1.8)"."""
    size, interval = _effect(verdict)
    return size if interval == numbers.NONE else f"{size} ({interval})"


def _remedy(verdict: Verdict) -> Iterator[str]:
    """Says how a margin decided, or what a claim that is open would have shown."""
    yield from filter(None, [remark(verdict)])
    if math.isfinite(verdict.detectable):
        share = is_share(verdict.claim.quantity)
        factor, unit = (100, "points") if share else (1, verdict.unit)
        size = f"{digits(factor * verdict.detectable, 2)} {unit}".strip()
        kind = "difference"
        if verdict.scale == RATIO:
            kind, size = "ratio", f"{verdict.detectable:.3g}"
        yield f"a {kind} of {size} would show in 80 % of such runs"
    if seeds := verdict.enough_seeds:
        most = max(seeds, verdict.n + 1)
        yield f"if it is as measured, {most:,} seeds would decide it"
    elif verdict.over == DATA and math.isfinite(verdict.detectable):
        yield (
            "if it is as measured, no number of seeds would decide it: all split the "
            "same examples, and more of them are needed"
        )
    if examples := verdict.enough_examples:
        seeds = 2 * verdict.n
        yield (
            "if it is as measured, no number of seeds would decide it on these "
            f"examples, but {examples:,} examples and {seeds} seeds would"
        )


def _reach(verdict: Verdict) -> dict[str, str]:
    """Returns the cells of n and p where they tell seeds from examples."""
    over, p = verdict.over, numbers.p_text(verdict.p_holm)
    if verdict.claim.quantity.reduction == "seconds":
        over = "segments"
    elif over != SEEDS:
        p += f" ({numbers.p_text(verdict.p_seeds)})"
    return {"n, over": f"{verdict.n} {over}", _PS: p}


def _compared(claim: Claim) -> str:
    """Returns quantity and relation in words: "final test accuracy: left is less"."""
    quantity = claim.quantity
    relation = {
        "greater": "left is greater",
        "less": "left is less",
        "same": f"both are the same within {margin_text(claim)}",
        "different": "left and right differ",
    }[claim.relation]
    if least := _least(claim):
        relation += f"; less than {least} contradicts"
    what = _quantity(quantity)
    if claim.beside:
        what = f"gains in {what}"
    if claim.right_quantity:
        what += f" on the left, {_quantity(claim.right_quantity)} on the right"
    best = ", between the best trials of both sides" if claim.among == "best" else ""
    return f"{what}{best}: {relation}"


def _least(claim: Claim) -> str:
    """Returns the least difference that more or less is about; "" for any."""
    return margin_text(claim) if claim.relation != "same" and claim.margin else ""


def _quantity(quantity: Quantity) -> str:
    """Returns a quantity in words: "final test accuracy"."""
    metric, target = words(quantity.metric), quantity.target or 0.0
    goal = f"a {metric} of {target:g}"
    if is_accuracy(quantity.metric):
        goal = f"{100 * target:g} % {metric}"
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
        "at_chance_share": "share of seeds that stay at chance",
        "seconds": "seconds of training for an epoch",
    }[quantity.reduction]


def _side(results: Results, verdict: Verdict, which: Literal["left", "right"]) -> str:
    """Names a side's trials, with their value: "learning rate 0.7: 95.1 %"."""
    selector, best = getattr(verdict.claim, which), getattr(verdict, f"{which}_trial")
    text, claim = _side_value(verdict, which), verdict.claim
    if claim.beside:
        pair = claim.beside if which == "right" else claim.sides[:2]
        return f"{' over '.join(map(_chosen, pair))}: {text}"
    if best is not None:
        return f"{full_name(results, best)}: {text}"
    if isinstance(selector, Mapping):
        count = len(meant(results.trials, selector))
        is_mean = count > 1 and claim.among == "mean"
        mean = f" (mean of {count} trials)" if is_mean else ""
        return f"{_chosen(selector)}{mean}: {text}"
    return f"{selector}: {text}" if isinstance(selector, str) else text


def _chosen(selector: Mapping[str, Any]) -> str:
    return ", ".join(setting_text(*item) for item in selector.items())


def _side_value(verdict: Verdict, which: str) -> str:
    value, reached = getattr(verdict, which), getattr(verdict, f"{which}_reached")
    quantity = verdict.claim.quantity
    if quantity.reduction == "steps_to" and not math.isnan(reached):
        median = f"{value:,.0f}" if math.isfinite(value) else "not reached"
        return f"{median} ({numbers.percent(reached, 0)})"
    if not math.isfinite(value):
        return numbers.NONE
    factor, unit = (100, "%") if is_share(quantity) else (1, verdict.unit)
    if verdict.claim.beside:
        is_ratio = verdict.scale == RATIO
        return f"x {digits(value, 3)}" if is_ratio else gain(factor * value, unit)
    if verdict.scale != DIFFERENCE:
        return numbers.true_minus(f"{digits(value, 3)} {unit}".strip())
    half = factor * (verdict.high - verdict.effect)
    text = f"{factor * value:.4g}"
    if math.isfinite(half) and half > 0:
        text = numbers.fixed(factor * value, numbers.supported_decimals(half))
    return numbers.true_minus(f"{text} {unit}".strip())


def _effect(verdict: Verdict) -> tuple[str, str]:
    """Returns an effect and its interval: "+1.3 points", "0.8 to 1.8"."""
    if verdict.scale == ORDER:
        return order_text(verdict), numbers.NONE
    if math.isnan(verdict.effect):
        return numbers.NONE, numbers.NONE
    if verdict.scale == RATIO:
        return _ratio(verdict)
    share = is_share(verdict.claim.quantity)
    factor, unit = (100, "points") if share else (1, verdict.unit)
    effect, low, high = (
        factor * v for v in (verdict.effect, verdict.low, verdict.high)
    )
    if math.isnan(low):
        return numbers.true_minus(f"{effect:+.3g} {unit}".strip()), numbers.NONE
    count = decimals(verdict, factor)
    value, *ends = (numbers.fixed(v, count) for v in (effect, low, high))
    sign = "" if value.startswith("-") or not float(value.replace(",", "")) else "+"
    interval = numbers.true_minus(" to ".join(ends))
    return numbers.true_minus(f"{sign}{value} {unit}".strip()), interval


def _ratio(verdict: Verdict) -> tuple[str, str]:
    """Returns a ratio and its interval: "x 3.2", "2.1 to 4.8"."""
    ratio, low, high = verdict.effect, verdict.low, verdict.high
    if math.isnan(low):
        return numbers.true_minus(f"x {digits(ratio, 3)}"), numbers.NONE
    width = math.log10(max((high - low) / ratio, numbers.ROUNDING))
    count = math.ceil(min(max(2 - width, 2), 5))  # as the interval supports
    count = numbers.told_apart(digits, count, (low, high), 1.0)
    value, *ends = (digits(v, count) for v in (ratio, low, high))
    return numbers.true_minus(f"x {value}"), numbers.true_minus(" to ".join(ends))


# The comparison of trials; a row is one of `Findings.rows`.


def comparison(findings: Findings) -> Section:
    """Makes the table of trials: accuracies, differences to the best, and failures."""
    results = findings.results
    ran = [findings.rows[t] for t in findings.ran]
    if not ran:
        return Section("comparison", "Comparison")
    fates = {h: s for h, s in FATES.items() if any(row[f"n_{s}"] for row in ran)}
    sizes = len({row["parameters"] for row in ran}) > 1
    table = tabulated(
        (
            {
                **_values(findings, row, fates),
                **({"parameters": number(row["parameters"])} if sizes else {}),
            }
            for row in ran
        ),
        marked=next((i for i, row in enumerate(ran) if row["best"]), None),
    )
    tested = [row for row in ran if not (row["best"] or row["n_dropped"])]
    said = notes(
        "comparison",
        findings=findings,
        goal=score_of(results).goal(findings.target),
        families=num_families(results.study),
        shown=_is_compared(findings),
        tested=_is_compared(findings) and results.study.compares,
        over=_overs(findings.compared),
        untested=any(r.get(f"{_apart(results)}_p_holm") is None for r in tested),
        sets=moved_sets(findings),
        meaning=set_meaning(results),
        watched=_watched(results),
        older=not any("keeps_best" in p for p in results.config["cohorts"]),
        no_interval=answer.no_interval(results),
        few=any(row["n_finished"] + row["n_stopped"] in (1, 2) for row in ran),
    )
    return Section("comparison", "Comparison", said, tables=in_width(table))


def _is_compared(findings: Findings) -> bool:
    """Whether there are differences to the best trial."""
    several_ran = findings.best is not None and len(findings.ran) > 1
    results = findings.results
    return several_ran and score_of(results).of("test") in results.metrics


def _apart(results: Results) -> str:
    """Returns how the columns of differences to the best trial begin."""
    return f"{score_of(results).of('test')}_difference"


def _watched(results: Results) -> tuple[str, ...]:
    """Returns the metrics by which networks may stop early, in words."""
    rules = [t.hyperparameters.early_stopping for t in results.trials]
    by_loss = results.score == "r2"  # always, see `EarlyStopping`
    metrics = (WATCHED[0] if by_loss else r.metric for r in rules if r.patience)
    return tuple(dict.fromkeys(map(words, metrics)))


def _values(
    findings: Findings, row: Mapping[str, Any], fates: Mapping[str, str]
) -> dict[str, str]:
    """Returns cells of a trial: its name, accuracies, differences, times and fates.

    What most readers look for comes first, see `in_width`.
    """
    results, trial = findings.results, row["index"]
    sweep = sweep_of(results)
    labelled = any("label" in item for item in results.study.sweep)
    header = "" if labelled or any(sweep.groups) else sweep.title
    cells = {header or "trial": trial_name(results, trial)}
    more: dict[str, str] = {}

    def mean(column: str, factor: float = 100) -> str:
        ends = row[f"{column}_high"], row[f"{column}_low"]
        return numbers.mean_text(row[f"{column}_mean"], ends[0], factor, ends[1])

    score = score_of(results)
    for split in ("validation", "test"):
        if score.of(split) in results.metrics:
            cells[score.header(split)] = mean(score.of(split), score.factor)
    start, tested = _apart(results), results.study.compares
    if _is_compared(findings):
        header = f"test, {score.apart or score.name} to best "
        header += "(interval adjusted like p)" if tested else "(95 %)"
        cells[header] = "best" if row["best"] else mean(start, score.factor)
        more["pairs"] = "" if row["best"] else str(row[f"{start}_n"])
    if _is_compared(findings) and tested:
        p, alone = row[f"{start}_p_holm"], row[f"{start}_p_seeds"]
        significant = yes_or_no(row[f"{start}_resolved"], p)
        if (epochs := findings.dropped_after(trial)) is not None:
            significant = f"dropped at epoch {epochs:g}"
        is_best, header, told = row["best"], _P, numbers.p_text(p)
        if _overs(findings.compared) - {SEEDS}:
            header, told = _PS, f"{told} ({numbers.p_text(alone)})"
        cells["significant"] = "" if is_best else significant
        more[header] = "" if is_best else told
        shows = f"would show from{', ' * bool(score.apart)}{score.apart}"
        told = findings.compared[trial].detectable
        hidden = row["best"] or findings.compared[trial].resolved
        known = not hidden and math.isfinite(told)
        more[shows] = digits(score.factor * told, 2) if known else ""
    if not math.isnan(findings.target):
        time = findings.steps_to_target(trial, findings.target)
        epochs = row["median_epochs_to_target"]
        soon = "not reached" if epochs is None else numbers.median_text(epochs)
        goal = f"median epochs to {score.goal(findings.target)}"
        cells[goal] = soon if time.n else numbers.NONE
        reached = f"{time.reached} of {time.n}"
        cells["reached by"] = reached if time.n else numbers.NONE
    cells |= {header: str(row[f"n_{status}"]) for header, status in fates.items()}
    sets = {name: score.of(f"test_{name}") for name in moved_sets(findings)}
    unit, apart = (f", {text}" * bool(text) for text in (score.unit, score.apart))
    cells |= {f"{name}{unit}": mean(m, score.factor) for name, m in sets.items()}
    for name, metric in sets.items():
        cells[f"drop, {name}{apart}"] = mean(f"{metric}_drop", score.factor)
    for metric in (f"test_{name}" for name in results.study.further_metrics()):
        if metric in results.metrics and is_accuracy(metric):
            cells[f"{words(metric)}, %"] = mean(metric)
        elif metric in results.metrics:
            cells[words(metric)] = mean(metric, 1)
    cells |= more
    if _watched(results):
        kept = findings.alive(trial)
        for header, column in (("steps used", "steps"), ("best step", "best_step")):
            steps = results.member(trial, column)[kept].astype(float)
            median = f"{np.median(steps):,.0f}" if steps.size else numbers.NONE
            cells[f"median {header}"] = median
    return cells


# Seeds, look by look.


def looks(findings: Findings) -> Section:
    """Makes the table of how seeds were added, look by look."""
    title, taken, results = "Seeds, look by look", findings.looks, findings.results
    if not taken:
        return Section("looks", title)

    def names(trials: Collection[int]) -> str:
        return several(results, trials) if trials else numbers.NONE

    any_stuck = any(look.stuck for look in taken)
    table = tabulated(
        {
            "look": str(place),
            "seeds": str(look.seeds),
            "trials that have them": str(look.each.count(look.seeds)),
            "best by validation": numbers.NONE
            if look.best is None
            else trial_name(results, look.best),
            "now significantly different": names(look.resolved),
            "not significantly different": names(look.unresolved),
            **({"more seeds do not help": names(look.stuck)} if any_stuck else {}),
            "networks so far": f"{look.networks:,}",
        }
        for place, look in enumerate(taken, 1)
    )
    untested = taken[-1].untested
    said = notes(
        "looks",
        planned=results.study.looks,
        families=num_families(results.study),
        untested=several(results, untested) if untested else "",
    )
    return Section("looks", title, said, tables=(table,))


# What is missing.


def missing(findings: Findings, absent: Mapping[str, str]) -> Section:
    """Says what failed, did not run or finish, diverged and where, or is not drawn."""
    results = findings.results
    items = [*answer.interruption(findings), *_troubles(findings)]
    losses = [_losses(results, t) for t in findings.ran]
    tables: tuple[Table, ...] = ()
    if losses := [row for row in losses if row]:
        items.append(
            "Diverged networks are frozen at their first non-finite loss or gradient "
            "and left out of all means."
        )
        header = ("trial", "diverged", "at step", "first in layer (networks)")
        norm = "last finite gradient norm, median"
        caption = "Where networks diverged"
        tables = (Table((*header, norm), tuple(losses), caption=caption),)
    if results.config["status"] == "complete":
        usual = Study().figures  # of these the report says nothing
        for part in (p for p in absent if p not in usual):
            items.append(f"Not shown: {SHOWN[part]}, since {absent[part]}.")
    if not items:
        items = ["Nothing: every network finished."]
    return Section("missing", "What is missing", items=tuple(items), tables=tables)


def _troubles(findings: Findings) -> Iterable[str]:
    results = findings.results
    programs = {str(c["index"]): c["trials"] for c in results.config["cohorts"]}

    def named(trials: Collection[int]) -> str:
        return several(results, trials, answer.FEW)

    for index, message in results.config.get("failures", {}).items():
        yield f"Failed: {named(programs[index])}. The program said: {message}"
    for index, widths in results.config.get("out_of_memory", {}).items():
        tried = numbers.joined([str(width) for width in widths])
        yield (
            f"Out of memory with {tried} networks at once, begun again with half as "
            f"many: {named(programs[index])}."
        )
    for difference in results.config.get("begun_otherwise", ()):
        yield f"The run was begun elsewhere and resumed: {difference}."
    for epochs, gone in findings.dropped.items():
        yield f"Dropped by halving at epoch {epochs:g}: {named(gone)}."
    ran = {*findings.ran, *answer.failed_trials(results)}
    if never := [t.index for t in results.trials if t.index not in ran]:
        yield f"Not run: {named(never)}."


def _losses(results: Results, trial: int) -> tuple[str, ...]:
    """Returns how many networks diverged, when and where, as cells; () for none."""
    lost = results.member(trial, "status").astype(str) == DIVERGED
    if not lost.any():
        return ()
    steps = results.member(trial, "diverged_step")[lost].astype(float)
    first, last = np.nanmin(steps), np.nanmax(steps)
    where = Counter(results.member(trial, "diverged_layer")[lost].astype(str))
    start, norms = "last_grad_norm_", []
    for column in (c for c in results.members.column_names if c.startswith(start)):
        values = results.member(trial, column)[lost].astype(float)
        if np.isfinite(values).any():
            norms.append(f"{column.removeprefix(start)} {np.nanmedian(values):.2g}")
    return (
        trial_name(results, trial),
        f"{lost.sum()} of {lost.size}",
        f"{first:,.0f}" if first == last else f"{first:,.0f} to {last:,.0f}",
        ", ".join(f"{layer} ({n})" for layer, n in where.most_common()),
        ", ".join(norms),
    )
