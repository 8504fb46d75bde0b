# SPDX-License-Identifier: Apache-2.0
"""Sections of a report about findings: claims, comparison, and what is missing."""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Literal

import numpy as np

from nnlab.report import answer
from nnlab.report.figures import catalog
from nnlab.report.figures.test_sets import moved_sets, set_meaning
from nnlab.report.trials import several, sweep_of, trial_name
from nnlab.results import DIVERGED, DROPPED, FINISHED, STOPPED, UNFINISHED, Results
from nnlab.statistics.findings import Findings
from nnlab.statistics.ranking import num_families
from nnlab.statistics.sequential import Look
from nnlab.statistics.verdicts import Verdict, matching
from nnlab.study import PARTS, Claim, Quantity, Study
from nnlab.words import numbers
from nnlab.words.settings import value_text, words

FATES = {
    "finished": FINISHED,
    "stopped early": STOPPED,
    "diverged": DIVERGED,
    "dropped": DROPPED,
    "unfinished": UNFINISHED,
    "at chance": "at_chance",
}
Columns = Mapping[str, Callable[[Any], str]]
"""The columns of a table: ``{header: text of a row's cell}``."""


@dataclasses.dataclass(frozen=True)
class Table:
    """Texts in rows.

    Attributes:
      header: of the columns.
      rows: as wide as the header.
      marked: index of the row to highlight, or None.
      caption: what it holds, where the section's title does not say it.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    marked: int | None = None
    caption: str = ""


def tabulated(rows: Iterable[Any], columns: Columns, **options: Any) -> Table:
    """Makes a table with a row for each item; `options` are fields of `Table`."""
    texts = tuple(tuple(cell(row) for cell in columns.values()) for row in rows)
    return Table(tuple(columns), texts, **options)


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


def number(value: int | None) -> str:
    """Returns a number with thousands separated; None, as of trees, is a dash."""
    return numbers.NONE if value is None else f"{value:,}"


def yes_or_no(resolved: bool, p: float | None) -> str:
    """Says whether a difference is significant, where it was tested."""
    if p is None or math.isnan(p):
        return "not tested"
    return "yes" if resolved else "no"


# Claims.


def claims(findings: Findings) -> Section:
    """Makes the table of the study's claims with their verdicts."""
    results = findings.results
    columns: Columns = {
        "claim": lambda v: v.claim.text,
        "verdict": lambda v: v.verdict,
        "compared": lambda v: _compared(v.claim),
        "left": lambda v: _side(results, v, "left"),
        "right": lambda v: _side(results, v, "right"),
        "difference (95 % interval)": _effect,
        "n": lambda v: str(v.n),
        "p (adjusted)": lambda v: numbers.p_text(v.p_holm),
        "remarks": lambda v: v.reason,
    }
    if not findings.verdicts:
        return Section("claims", "Claims")
    shared = num_families(results) > 1
    doubled = ", and doubled, because trials are tested against the best too" * shared
    note = (
        "Differences are left minus right, paired by seed (paired t; exact tests for "
        "shares and where many seeds stay at chance or miss a target; against a "
        "number, t corrected for skewness). p is adjusted by Holm over the claims that "
        f"were tested{doubled}{_times_looks(results)}; p up to 0.05 is significant. If "
        f"all claims were about equals, at most {2.5 if shared else 5:g} % of reports "
        "would support or contradict one. The intervals are not adjusted. Accuracies "
        "and shares are in percent, their differences in points. Steps to a target are "
        "medians, with the share of seeds that reach it. n counts the pairs or, where "
        "seconds are compared, the timed segments, which speak of this run on this "
        "device alone; fewer than 3 give neither an interval nor a test. Where a side "
        "means several trials, their mean stands for them, seed by seed; where best "
        "trials are compared, they are the best by validation accuracy, and p is "
        "multiplied by the number of trials on the side that had more to choose from."
    )
    table = tabulated(findings.verdicts, columns)
    return Section("claims", "Claims", (note,), tables=(table,))


def _times_looks(results: Results) -> str:
    """Says that p-values are corrected for several looks, if they are."""
    if not results.study.looks:
        return ""
    return f", and multiplied by {len(results.study.looks)}, the number of looks"


def _compared(claim: Claim) -> str:
    """Returns quantity and relation in words: "final test accuracy: left is less"."""
    quantity = claim.quantity
    accuracy = quantity.metric.endswith("accuracy")
    share = accuracy and quantity.reduction != "steps_to"
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
    """Returns a quantity in words: "final test accuracy"."""
    metric = words(quantity.metric)
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
        "at_chance_share": "share of seeds that stay at chance",
        "seconds": "seconds of training for an epoch",
    }[quantity.reduction]


def _factor(verdict: Verdict) -> float:
    """Returns 100 for what is shown in percent, else 1."""
    quantity = verdict.claim.quantity
    if quantity.reduction.endswith("_share"):
        return 100.0
    plain = quantity.reduction in ("steps_to", "seconds")
    return 100.0 if quantity.metric.endswith("accuracy") and not plain else 1.0


def _side(results: Results, verdict: Verdict, which: Literal["left", "right"]) -> str:
    """Names a side's trials, with their value: "0.7: 95.1 %"."""
    selector = getattr(verdict.claim, which)
    value, reached = getattr(verdict, which), getattr(verdict, f"{which}_reached")
    text = _side_value(verdict, value, reached)
    best = getattr(verdict, f"{which}_trial")
    if best is not None:
        return f"{trial_name(results, best)}: {text}"
    if isinstance(selector, Mapping):
        chosen = ", ".join(value_text(value) for value in selector.values())
        meant = len(matching(results, selector))
        is_mean = meant > 1 and verdict.claim.among == "mean"
        mean = f" (mean of {meant} trials)" if is_mean else ""
        return f"{chosen}{mean}: {text}"
    return f"{selector}: {text}" if isinstance(selector, str) else text


def _side_value(verdict: Verdict, value: float, reached: float) -> str:
    if verdict.claim.quantity.reduction == "steps_to" and not math.isnan(reached):
        median = f"{value:,.0f}" if math.isfinite(value) else "not reached"
        return f"{median} ({numbers.percent(reached, 0)})"
    if not math.isfinite(value):
        return numbers.NONE
    factor = _factor(verdict)
    half = factor * (verdict.high - verdict.effect)
    text = f"{factor * value:.4g}"
    if math.isfinite(half) and half > 0:
        text = numbers.fixed(factor * value, numbers.supported_decimals(half))
    unit = "%" if factor == 100 else verdict.unit
    return numbers.true_minus(f"{text} {unit}".strip())


def _effect(verdict: Verdict) -> str:
    if math.isnan(verdict.effect):
        return numbers.NONE
    factor = _factor(verdict)
    unit = "points" if factor == 100 else verdict.unit
    ends = factor * verdict.low, factor * verdict.high
    if math.isnan(ends[0]):
        return numbers.true_minus(f"{factor * verdict.effect:+.3g} {unit}".strip())
    decimals = numbers.supported_decimals((ends[1] - ends[0]) / 2)
    low, high = (numbers.fixed(e, decimals) for e in ends)
    value = numbers.fixed(factor * verdict.effect, decimals)
    sign = "" if value.startswith("-") or not float(value.replace(",", "")) else "+"
    return numbers.true_minus(f"{sign}{value} {unit}".strip() + f" ({low} to {high})")


# The comparison of trials; a row is one of `Findings.rows`.


def comparison(findings: Findings) -> Section:
    """Makes the table of trials: accuracies, differences to the best, and failures."""
    results = findings.results
    ran = [findings.rows[t] for t in findings.ran]
    if not ran:
        return Section("comparison", "Comparison")
    grouped = any(sweep_of(results).groups)
    labelled = any("label" in item for item in results.study.sweep)
    name = "trial" if labelled or grouped else sweep_of(results).name or "trial"
    fates = {h: s for h, s in FATES.items() if any(row[f"n_{s}"] for row in ran)}
    sizes = len({row["parameters"] for row in ran}) > 1
    columns: dict[str, Callable[[Any], str]] = {
        name: lambda row: trial_name(results, row["index"]),
        **_metric_columns(findings),
        **(_test_columns(findings) if _is_compared(findings) else {}),
        **({} if math.isnan(findings.target) else _target_columns(findings)),
        **(_stop_columns(findings) if _can_stop(results) else {}),
        **{header: _count(status) for header, status in fates.items()},
        **({"parameters": lambda row: number(row["parameters"])} if sizes else {}),
    }
    marked = next((i for i, row in enumerate(ran) if row["best"]), None)
    table = tabulated(ran, columns, marked=marked)
    notes = tuple(_notes(findings, ran))
    return Section("comparison", "Comparison", notes, tables=(table,))


def _is_compared(findings: Findings) -> bool:
    """Whether trials are tested against the best."""
    several_ran = findings.best is not None and len(findings.ran) > 1
    return several_ran and "test_accuracy" in findings.results.metrics


def _can_stop(results: Results) -> bool:
    return any(t.hyperparameters.early_stopping.patience for t in results.trials)


def _mean(column: str, factor: float = 100.0) -> Callable[[Any], str]:
    return lambda row: numbers.mean_text(
        row[f"{column}_mean"], row[f"{column}_high"], factor
    )


def _count(status: str) -> Callable[[Any], str]:
    return lambda row: str(row[f"n_{status}"])


def _metric_columns(findings: Findings) -> Columns:
    results = findings.results
    sets = {name: f"test_{name}_accuracy" for name in moved_sets(findings)}
    plain = [
        m for m in ("validation_accuracy", "test_accuracy") if m in results.metrics
    ]
    own = [f"test_{name}" for name in results.study.own.metrics]
    return {
        **{f"{words(m)}, %": _mean(m) for m in plain},
        **{f"{name}, %": _mean(m) for name, m in sets.items()},
        **{f"drop, {name}, points": _mean(f"{m}_drop") for name, m in sets.items()},
        **{words(m): _mean(m, 1) for m in own if m in results.metrics},
    }


def _test_columns(findings: Findings) -> Columns:
    start = "test_accuracy_difference"
    mean = _mean(start)

    def verdict(row: Any) -> str:
        epochs = findings.dropped_after(row["index"])
        if epochs is not None:
            return f"dropped at epoch {epochs:g}"
        return yes_or_no(row[f"{start}_resolved"], row[f"{start}_p_holm"])

    def unless_best(cell: Callable[[Any], str]) -> Callable[[Any], str]:
        return lambda row: "" if row["best"] else cell(row)

    return {
        "test, points to best": lambda row: "best" if row["best"] else mean(row),
        "pairs": unless_best(lambda row: str(row[f"{start}_n"])),
        "p (adjusted)": unless_best(lambda r: numbers.p_text(r[f"{start}_p_holm"])),
        "significant": unless_best(verdict),
    }


def _target_columns(findings: Findings) -> Columns:
    def median(row: Any) -> str:
        if not findings.steps_to_target(row["index"], findings.target).n:
            return numbers.NONE
        epochs = row["median_epochs_to_target"]
        return "not reached" if epochs is None else numbers.median_text(epochs)

    def share(row: Any) -> str:
        time = findings.steps_to_target(row["index"], findings.target)
        reached = round(time.reached_share * time.n) if time.n else 0
        return f"{reached} of {time.n}" if time.n else numbers.NONE

    return {
        f"median epochs to {100 * findings.target:g} %": median,
        "reached by": share,
    }


def _stop_columns(findings: Findings) -> Columns:
    """Columns of when training ended: medians over finished and stopped networks."""

    def median(column: str) -> Callable[[Any], str]:
        def cell(row: Any) -> str:
            trial = row["index"]
            values = findings.results.member(trial, column)[findings.alive(trial)]
            middle = np.median(values.astype(float)) if values.size else 0.0
            return f"{middle:,.0f}" if values.size else numbers.NONE

        return cell

    return {
        "median steps used": median("steps"),
        "median best step": median("best_step"),
    }


def _notes(findings: Findings, ran: list[dict[str, Any]]) -> Iterable[str]:
    results = findings.results
    yield (
        "Final values, mean and half-width of the 95 % Student-t interval over the "
        "seeds that finished or stopped early."
    )
    if _is_compared(findings):
        yield from _test_notes(findings, ran)
    if findings.dropped:
        race = results.study.halving
        yield (
            "Dropped seeds have no final values: at each rung, from epoch "
            f"{race.min_epochs:g} on and at {race.factor} times as many each, only the "
            f"best of {race.factor} trials that share a program went on, by mean "
            "validation accuracy over the seeds, a diverged one counting as chance."
        )
    yield (
        "All else is described, not tested: times to a target, drops, costs, and what "
        "figures show. Each interval holds by itself, not all of them together."
    )
    if sets := moved_sets(findings):
        yield (
            f"Under {numbers.joined(sets)} stands the accuracy on such images; a drop "
            "is that on the normal test set minus it, paired by seed. "
            f"{set_meaning(results)}"
        )
    if _can_stop(results):
        yield (
            "Steps used are the updates until a seed finished or stopped early; the "
            "best step is that of its best evaluation, to whose parameters a stopped "
            "seed goes back."
        )
    if not math.isnan(findings.target):
        yield (
            f"Reached by: seeds that get to {100 * findings.target:g} % validation "
            "accuracy; the median counts the others as last."
        )
    if results.study.num_seeds < 3:
        yield answer.no_interval(results)
    elif any(row["n_finished"] + row["n_stopped"] in (1, 2) for row in ran):
        yield "A trial with fewer than 3 such seeds has no interval."


def _test_notes(findings: Findings, ran: list[dict[str, Any]]) -> Iterable[str]:
    families = num_families(findings.results)
    doubled = ", and doubled, because the claims are tested too" * (families > 1)
    yield (
        "The best trial is chosen by validation accuracy, a diverged seed counting "
        "as chance. Differences to it are on the test set, over the pairs of seeds "
        "that survive in both (paired t; where a trial has more seeds at chance "
        "than the best, or fewer, by over a quarter of them, also a test of such "
        "counts). p is adjusted by Holm over all pairs of trials, because the data "
        f"chose the best{doubled}{_times_looks(findings.results)}; p up to 0.05 is "
        "significant over seeds. If no trial differed in truth, at most "
        f"{5 / families:g} % of reports would call a difference significant."
    )
    if any(
        row["test_accuracy_difference_p_holm"] is None and not row["n_dropped"]
        for row in ran
        if not row["best"]
    ):
        yield (
            "Not tested: where more than a quarter of the pairs, or all but two, "
            "have no value."
        )


# Seeds, look by look.


def looks(findings: Findings) -> Section:
    """Makes the table of how seeds were added, look by look."""
    title, taken, results = "Seeds, look by look", findings.looks, findings.results
    if not taken:
        return Section("looks", title)

    def names(trials: Collection[int]) -> str:
        return several(results, trials) if trials else numbers.NONE

    def best(look: Look) -> str:
        return numbers.NONE if look.best is None else trial_name(results, look.best)

    columns: Columns = {
        "look": lambda look: str(taken.index(look) + 1),
        "seeds": lambda look: str(look.seeds),
        "trials that have them": lambda k: str(sum(n == k.seeds for n in k.each)),
        "best by validation": best,
        "now significantly different": lambda look: names(look.resolved),
        "not significantly different": lambda look: names(look.unresolved),
        "networks so far": lambda look: f"{look.networks:,}",
    }
    planned = results.study.looks
    notes = [
        f"Planned beforehand: {numbers.count(len(planned), 'look')} at most, at "
        f"{numbers.joined([str(n) for n in planned])} seeds. After each, the best "
        "trial by validation accuracy and those that do not differ significantly from "
        "it on the test set get the seeds of the next look; the others keep theirs. "
        f"All p-values of this report are multiplied by {len(planned)}, the number of "
        "looks (Bonferroni): if nothing differed, at most "
        f"{5 / num_families(results):g} % of reports would call a difference "
        "significant at any look, whenever they end."
    ]
    if taken[-1].untested:
        notes.append(
            f"Not compared, since fewer than half of their seeds survive: "
            f"{several(results, taken[-1].untested)}."
        )
    return Section("looks", title, tuple(notes), tables=(tabulated(taken, columns),))


# What is missing.


def missing(findings: Findings, absent: Mapping[str, str]) -> Section:
    """Says what failed, did not run or finish, diverged and where, or is not drawn."""
    results = findings.results
    items = [*answer.interruption(findings), *_troubles(findings)]
    losses = [row for row in map(_losses(results), findings.ran) if row]
    tables: tuple[Table, ...] = ()
    if losses:
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
            items.append(f"Not shown: {PARTS[part]}, since {absent[part]}.")
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


def _losses(results: Results) -> Callable[[int], tuple[str, ...]]:
    """Makes cells of how many networks diverged, when and where; () for none."""
    start = "last_grad_norm_"
    columns = results.members.column_names
    layers = [c.removeprefix(start) for c in columns if c.startswith(start)]

    def row(trial: int) -> tuple[str, ...]:
        lost = results.member(trial, "status").astype(str) == DIVERGED
        if not lost.any():
            return ()
        steps = results.member(trial, "diverged_step")[lost].astype(float)
        first, last = np.nanmin(steps), np.nanmax(steps)
        where = Counter(results.member(trial, "diverged_layer")[lost].astype(str))
        norms = []
        for layer in layers:
            values = results.member(trial, f"{start}{layer}")[lost].astype(float)
            if np.isfinite(values).any():
                norms.append(f"{layer} {np.nanmedian(values):.2g}")
        return (
            trial_name(results, trial),
            f"{lost.sum()} of {lost.size}",
            f"{first:,.0f}" if first == last else f"{first:,.0f} to {last:,.0f}",
            ", ".join(f"{layer} ({n})" for layer, n in where.most_common()),
            ", ".join(norms),
        )

    return row
