# SPDX-License-Identifier: Apache-2.0
"""Sections of a report on what was found: claims, comparison, and what is missing."""

import dataclasses
import math
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any, Literal

import numpy as np

from nnlab.report import answer
from nnlab.report.figures import panels
from nnlab.report.figures.drawing import captions
from nnlab.report.figures.test_sets import moved_sets
from nnlab.report.trials import several, sweep_of, trial_name
from nnlab.results import (
    DIVERGED,
    DROPPED,
    FINISHED,
    STOPPED,
    UNFINISHED,
    Results,
)
from nnlab.statistics import members
from nnlab.statistics import sequential as looks_lib
from nnlab.statistics.members import alive, dropped_after
from nnlab.statistics.ranking import num_families
from nnlab.statistics.summary import summarize
from nnlab.statistics.targets import steps_to_target
from nnlab.statistics.verdicts import Verdict, judge
from nnlab.study import PARTS, Claim, Quantity, Study, Trial
from nnlab.words import numbers
from nnlab.words.settings import value_text, words


@dataclasses.dataclass(frozen=True)
class Table:
    """Texts in rows.

    Attributes:
      header: of the columns.
      rows: as wide as the header.
      marked: the row to stand out, or None.
      caption: what it holds, where that is not what the section is called.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    marked: int | None = None
    caption: str = ""


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


def claims(results: Results) -> Section:
    """The study's claims with their verdicts."""
    rows = tuple(
        (
            verdict.claim.text,
            verdict.verdict,
            _compared(verdict.claim),
            _side(results, verdict, "left"),
            _side(results, verdict, "right"),
            _effect(verdict),
            str(verdict.n),
            numbers.p_text(verdict.p_holm),
            verdict.reason,
        )
        for verdict in judge(results)
    )
    if not rows:
        return Section("claims", "Claims")
    difference = "difference (95 % interval)"
    header = ("claim", "verdict", "compared", "left", "right", difference, "n")
    shared = num_families(results) > 1
    doubled = ", and doubled, because the comparison of trials tests, too" * shared
    doubled += _times_looks(results)
    note = (
        "Differences are left minus right, paired by seed (paired t; exact tests for "
        "shares and where many seeds end at chance or miss a target; against a number, "
        "t corrected for skewness). p is adjusted by Holm over the claims that were "
        f"tested{doubled}; p up to 0.05 decides. If all claims were about equals, at "
        f"most {2.5 if shared else 5:g} % of reports would support or contradict one. "
        "The intervals are not adjusted. Accuracies and shares are in percent, their "
        "differences in points. Steps to a target are medians, with the share of seeds "
        "that reach it. n counts the pairs, or the timed segments where seconds are "
        "compared, which speak of this run on this device alone; fewer than 3 give "
        "neither an interval nor a test. Where a side means several trials, their mean "
        "stands for them, seed by seed; where best trials are compared, they are those "
        "by validation accuracy, and p is multiplied by the number of trials on the "
        "side that had more to choose from."
    )
    table = Table((*header, "p (adjusted)", "remarks"), rows)
    return Section("claims", "Claims", (note,), tables=(table,))


def _times_looks(results: Results) -> str:
    """That p-values are corrected for looking more than once, if they are."""
    if not results.study.looks:
        return ""
    return f", and multiplied by {len(results.study.looks)}, for as many looks"


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
        "at_chance_share": "share of seeds that end at chance",
        "seconds": "seconds of training for an epoch",
    }[quantity.reduction]


def _factor(verdict: Verdict) -> float:
    """100 for what is shown in percent."""
    quantity = verdict.claim.quantity
    if quantity.reduction.endswith("_share"):
        return 100.0
    plain = quantity.reduction in ("steps_to", "seconds")
    return 100.0 if quantity.metric.endswith("accuracy") and not plain else 1.0


def _side(results: Results, verdict: Verdict, which: Literal["left", "right"]) -> str:
    """Which trials a side means, and what they come to: "0.7: 95.1 %"."""
    selector = getattr(verdict.claim, which)
    value, reached = getattr(verdict, which), getattr(verdict, f"{which}_reached")
    text = _side_value(verdict, value, reached)
    best = getattr(verdict, f"{which}_trial")
    if best is not None:
        return f"{trial_name(results, best)}: {text}"
    if isinstance(selector, Mapping):
        chosen = ", ".join(value_text(value) for value in selector.values())
        meant = sum(_is_meant(t, selector) for t in results.trials)
        is_mean = meant > 1 and verdict.claim.among == "mean"
        mean = f" (mean of {meant} trials)" if is_mean else ""
        return f"{chosen}{mean}: {text}"
    return f"{selector}: {text}" if isinstance(selector, str) else text


def _is_meant(trial: Trial, selector: Mapping[str, Any]) -> bool:
    """Whether a claim's side means the trial, as far as texts tell its values."""
    settings = {**trial.hyperparameters.flat(), "label": trial.label}
    return all(
        value_text(settings[path]) == value_text(value)
        for path, value in selector.items()
    )


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


def comparison(results: Results) -> Section:
    """Each trial's accuracies, difference to the best, time to target and fates."""
    summary = summarize(results).to_pylist()
    ran = [row for row in summary if results.has_run(row["index"])]
    if not ran:
        return Section("comparison", "Comparison")
    best = next((row["index"] for row in ran if row["best"]), None)
    target = ran[0]["target"]
    fates = {
        "finished": FINISHED,
        "stopped early": STOPPED,
        "diverged": DIVERGED,
        "dropped": DROPPED,
        "unfinished": UNFINISHED,
        "at chance": "at_chance",
    }
    fates = {h: s for h, s in fates.items() if any(row[f"n_{s}"] for row in ran)}
    sizes = len({row["parameters"] for row in ran}) > 1
    sets = moved_sets(results)
    accuracies = [
        m
        for m in (
            "validation_accuracy",
            "test_accuracy",
            *(f"test_{name}_accuracy" for name in sets),
        )
        if m in results.metrics
    ]
    own = [
        m
        for name in results.study.own.metrics
        for m in (f"test_{name}",)
        if m in results.metrics
    ]
    stops = any(t.hyperparameters.early_stopping.patience for t in results.trials)
    compared = best is not None and len(ran) > 1 and "test_accuracy" in results.metrics
    labelled = any("label" in item for item in results.study.sweep)
    sweep = sweep_of(results)
    grouped = any(sweep.groups)
    header = ["trial" if labelled or grouped else sweep.name or "trial"]
    header += [f"{words(m)}, %" for m in accuracies[: -len(sets) or None]]
    header += [*(f"{s}, %" for s in sets), *(f"drop, {s}, points" for s in sets)]
    header += [words(m) for m in own]
    tested = ["test, points to best", "pairs", "p (adjusted)", "resolved"]
    header += tested if compared else []
    header += [f"median epochs to {100 * target:g} %", "reached by"] if target else []
    header += ["median steps used", "median best step"] if stops else []
    header += [*fates, *(["parameters"] if sizes else [])]
    rows = []
    for row in ran:
        trial = row["index"]
        cells = [trial_name(results, trial)]
        cells += [
            numbers.mean_text(row[f"{m}_mean"], row[f"{m}_high"]) for m in accuracies
        ]
        for drop in (f"test_{name}_accuracy_drop" for name in sets):
            cells.append(numbers.mean_text(row[f"{drop}_mean"], row[f"{drop}_high"]))
        for metric in own:
            mean, high = row[f"{metric}_mean"], row[f"{metric}_high"]
            cells.append(numbers.mean_text(mean, high, 1))
        difference = "test_accuracy_difference_"
        if compared and trial == best:
            cells += ["best", "", "", ""]
        elif compared:
            mean, high = row[f"{difference}mean"], row[f"{difference}high"]
            resolved = "yes" if row[f"{difference}resolved"] else "no"
            adjusted = row[f"{difference}p_holm"]
            resolved = "not tested" if adjusted is None else resolved
            epochs = dropped_after(results, trial)
            if epochs is not None:
                resolved = f"dropped at epoch {epochs:g}"
            pairs = str(row[f"{difference}n"])
            cells += [numbers.mean_text(mean, high), pairs, numbers.p_text(adjusted)]
            cells.append(resolved)
        if target:
            time = steps_to_target(results, trial, target)
            median = row["median_epochs_to_target"]
            if time.n:
                never = median is None
                cells.append("not reached" if never else numbers.median_text(median))
                cells.append(f"{round(time.reached_share * time.n)} of {time.n}")
            else:
                cells += [numbers.NONE, numbers.NONE]
        if stops:
            cells += [_median_of(results, trial, c) for c in ("steps", "best_step")]
        cells += [str(row[f"n_{status}"]) for status in fates.values()]
        cells += [number(row["parameters"])] if sizes else []
        rows.append(tuple(cells))
    doubled = ", and doubled, because the claims are tests, too"
    doubled *= num_families(results) > 1
    doubled += _times_looks(results)
    others = [row for row in ran if row["index"] != best]
    notes = [
        "Final values, mean and half-width of the 95 % Student-t interval over the "
        "seeds that finished or stopped early."
    ]
    if compared:
        notes.append(
            "The best trial is chosen by validation accuracy, a diverged seed counting "
            "as chance. Differences to it are on the test set, over the pairs of seeds "
            "that survive in both (paired t; where a trial has more seeds at chance "
            "than the best, or fewer, by over a quarter of them, also a test of such "
            "counts). p is adjusted by Holm over all pairs of trials, because "
            f"the data chose the best{doubled}. Were no trial to differ in truth, at "
            f"most {5 / num_families(results):g} % of reports would resolve a "
            "difference."
        )
        if any(
            row.get("test_accuracy_difference_p_holm") is None and not row["n_dropped"]
            for row in others
        ):
            notes.append(
                "Not tested: where more than a quarter of the pairs, or all but two, "
                "have no value."
            )
    if members.dropped(results):
        race = results.study.halving
        notes.append(
            "Dropped seeds have no final values: at each rung, from epoch "
            f"{race.min_epochs:g} on and at {race.factor} times as many each, only the "
            f"best of {race.factor} trials that share a program went on, by mean "
            "validation accuracy over the seeds, a diverged one counting as chance."
        )
    notes.append(
        "All else is described, not tested: times to a target, drops, costs, and what "
        "figures show. Each interval holds by itself, not all of them together."
    )
    if sets:
        notes.append(
            f"Under {numbers.joined(sets)} stands the accuracy on such images; a drop "
            "is that on the normal test set minus it, paired by seed. "
            f"{captions.set_meaning(results)}"
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
    survivors = [row["n_finished"] + row["n_stopped"] for row in ran]
    if results.study.num_seeds < 3:
        notes.append(answer.no_interval(results))
    elif any(count in (1, 2) for count in survivors):
        notes.append("A trial with fewer than 3 such seeds has no interval.")
    marked = next((i for i, row in enumerate(ran) if row["index"] == best), None)
    table = Table(tuple(header), tuple(rows), marked)
    return Section("comparison", "Comparison", tuple(notes), tables=(table,))


def looks(results: Results) -> Section:
    """How seeds were added until the trials were resolved, look by look."""
    taken, planned = looks_lib.history(results), results.study.looks
    if not taken:
        return Section("looks", "Seeds, look by look")

    def names(trials: Collection[int]) -> str:
        return several(results, trials) if trials else numbers.NONE

    rows = []
    for number, look in enumerate(taken, 1):
        best = numbers.NONE
        if look.best is not None:
            best = trial_name(results, look.best)
        compared = sum(n == look.seeds for n in look.each)
        found = names(look.resolved), names(look.unresolved)
        counts = str(look.seeds), str(compared)
        rows.append((str(number), *counts, best, *found, f"{look.networks:,}"))
    header = (
        *("look", "seeds", "trials that have them", "best by validation"),
        *("told from it now", "not told from it", "networks so far"),
    )
    notes = [
        f"Planned beforehand: {numbers.count(len(planned), 'look')} at most, at "
        f"{numbers.joined([str(n) for n in planned])} seeds. After each, the best "
        "trial by validation accuracy and those that are not told from it on the test "
        "set get the seeds of the next look; the others keep theirs. All p-values of "
        f"this report are multiplied by {len(planned)}, the number of looks "
        "(Bonferroni), so that all of them together resolve a difference where there "
        f"is none in at most {5 / num_families(results):g} % of reports, whenever "
        "they end."
    ]
    if taken[-1].untested:
        notes.append(
            f"Not compared, since fewer than half of their seeds survive: "
            f"{several(results, taken[-1].untested)}."
        )
    table = Table(header, tuple(rows))
    title = "Seeds, look by look"
    return Section("looks", title, tuple(notes), tables=(table,))


def _median_of(results: Results, trial: int, column: str) -> str:
    """The median of a column over a trial's finished and stopped members."""
    values = results.member(trial, column)[alive(results, trial)]
    return f"{np.median(values.astype(float)):,.0f}" if values.size else numbers.NONE


def number(value: int | None) -> str:
    """With thousands parted; trees have no parameters to count."""
    return numbers.NONE if value is None else f"{value:,}"


def missing(results: Results, absent: Mapping[str, str]) -> Section:
    """What failed, did not run, did not finish, diverged and where, or is not drawn."""
    items = answer.interruption(results)
    for index, message in results.config.get("failures", {}).items():
        program = next(c for c in results.config["cohorts"] if str(c["index"]) == index)
        trials = several(results, program["trials"], answer.FEW)
        items.append(f"Failed: {trials}. The program said: {message}")
    for index, widths in results.config.get("out_of_memory", {}).items():
        program = next(c for c in results.config["cohorts"] if str(c["index"]) == index)
        trials = several(results, program["trials"], answer.FEW)
        tried = numbers.joined([str(width) for width in widths])
        items.append(
            f"Out of memory with {tried} networks at once, begun again with half as "
            f"many: {trials}."
        )
    for difference in results.config.get("begun_otherwise", ()):
        items.append(f"The run was begun elsewhere and resumed: {difference}.")
    for epochs, gone in members.dropped(results).items():
        who = several(results, gone, answer.FEW)
        items.append(f"Dropped by halving at epoch {epochs:g}: {who}.")
    failed = answer.failed_trials(results)
    never = [
        t.index
        for t in results.trials
        if t.index not in failed and not results.has_run(t.index)
    ]
    if never:
        items.append(f"Not run: {several(results, never, answer.FEW)}.")
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
                trial_name(results, trial),
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
        caption = "Where members diverged"
        tables = (Table((*header, norm), tuple(rows), caption=caption),)
    if results.config["status"] == "complete":
        usual = Study().figures  # of these the report says nothing
        for part in (p for p in absent if p not in usual):
            items.append(f"Not shown: {PARTS[part]}, since {absent[part]}.")
    if not items:
        items = ["Nothing: every member finished."]
    return Section("missing", "What is missing", items=tuple(items), tables=tables)
