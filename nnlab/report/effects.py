# SPDX-License-Identifier: Apache-2.0
"""Verdicts and interactions as sentences that answer a question; no matplotlib."""

import math
import re
from collections.abc import Iterator, Sequence
from typing import Literal, cast

import numpy as np

from nnlab.report.trials import trial_name, value_of
from nnlab.results import Results
from nnlab.statistics import interaction
from nnlab.statistics.findings import Findings
from nnlab.statistics.members import is_accuracy
from nnlab.statistics.verdicts import (
    CONTRADICTED,
    NOT_SIGNIFICANT,
    NOT_TESTED,
    SUPPORTED,
    Verdict,
)
from nnlab.study import ORDER, RATIO, Claim, Quantity
from nnlab.words import numbers
from nnlab.words.settings import value_text, words

MOST = 3  # sentences of an answer, so that it is one
FEW_VALUES = 4  # of a field, up to which all are named
_FALLS = ("best_minus_final", "drop_from_test")  # differences by themselves
_WHETHER = re.compile(
    r"(is|are|was|do|does|did|can|could|will|would|should|must|has|have)\b", re.I
)


def asks_whether(question: str) -> bool:
    """Whether a question wants yes or no, by its first word.

    >>> asks_whether("Does dropout help?"), asks_whether("Which rate helps?")
    (True, False)
    """
    return bool(_WHETHER.match(question.strip()))


def asks_which(question: str) -> bool:
    """Whether a question wants one of the trials, by its first word.

    >>> asks_which("Which rate helps?"), asks_which("What does dropout do?")
    (True, False)
    """
    return question.strip().lower().startswith("which ")


def is_share(quantity: Quantity) -> bool:
    """Whether a quantity is shown in percent."""
    plain = quantity.reduction in ("steps_to", "seconds")
    accuracy = is_accuracy(quantity.metric) and not plain
    return accuracy or quantity.reduction.endswith("_share")


def digits(value: float, count: int) -> str:
    """Returns a positive number with its first digits: "1,240", "0.0023", "2e+10".

    >>> digits(1240.2, 3), digits(0.00234, 2)
    ('1,240', '0.0023')
    """
    if 10**count <= value < 1e6:  # longer than its digits, and still readable
        return f"{value:,.0f}"
    return f"{value:.{count}g}"


def gain(value: float, unit: str) -> str:
    """Returns a difference with its sign and unit; of percentages, in points.

    >>> gain(1.234, "%"), gain(0.5, "nats")
    ('+1.23 points', '+0.5 nats')
    """
    unit = "points" if unit == "%" else unit
    return numbers.true_minus(f"{value:+.3g} {unit}".strip())


def claimed(findings: Findings) -> list[str]:
    """Says what became of the claims that answer the question, three at most.

    Of these, those that are decided come first.
    """
    results = findings.results
    whether = asks_whether(results.study.question)
    main = [v for v in findings.verdicts if v.claim.main][:MOST]
    main.sort(key=lambda v: v.verdict not in (SUPPORTED, CONTRADICTED))
    return [_claimed(results, v, whether) for v in main]


def _claimed(results: Results, verdict: Verdict, whether: bool) -> str:
    """Says yes, no or not decided in the claim's words; numbers come after."""
    claim, text = verdict.claim, verdict.claim.text.rstrip(" .")
    shown = "; ".join(["", *_evidence(results, verdict)])
    if verdict.verdict == SUPPORTED:
        # "The same" is no answer to whether one is better.
        yes = "Yes: " if whether and claim.relation != "same" else ""
        return f"{yes}{text}{shown}."
    if verdict.verdict == CONTRADICTED:
        if claim.otherwise:
            return f"{'No: ' * whether}{claim.otherwise.rstrip(' .')}{shown}."
        if is_opposite(verdict):
            opposite = f"the opposite of “{text}” holds{shown}."
            return f"No, {opposite}" if whether else numbers.capital(opposite)
        why = f"surely not by {margin_text(claim, verdict.unit)}"
        if claim.relation == "same":
            why = f"the difference is surely above {margin_text(claim, verdict.unit)}"
        return f"{'No: ' * whether}“{text}” does not hold, {why}{shown}."
    if verdict.verdict == NOT_SIGNIFICANT:
        seeds = verdict.enough_seeds
        would = max(seeds, verdict.n + 1) if seeds else 0
        more = f"; if it is as measured, {would:,} seeds would decide it" * (would > 0)
        return f"Not decided: {text}{shown}{more}."
    lead = "Not tested" if verdict.verdict == NOT_TESTED else "Not testable"
    reason = f"; {verdict.reason}" if verdict.reason else ""
    return f"{lead}: {text}{shown}{reason}."


def is_opposite(verdict: Verdict) -> bool:
    """Whether a claim of more or less is contradicted because the opposite holds.

    Else it is the claim's margin that contradicts it, or a claim of another kind.
    """
    relation, none = verdict.claim.relation, 1.0 if verdict.scale == RATIO else 0.0
    if verdict.verdict != CONTRADICTED or relation not in ("greater", "less"):
        return False
    if verdict.scale == ORDER or not verdict.claim.margin:
        return True
    return verdict.high < none if relation == "greater" else verdict.low > none


def is_small(verdict: Verdict) -> bool:
    """Whether a difference is significantly smaller than the claim's margin."""
    margin = verdict.claim.margin
    ends = (verdict.low, verdict.high)
    if verdict.scale == RATIO:
        margin, ends = math.log1p(margin), (math.log(ends[0]), math.log(ends[1]))
    return max(map(abs, ends)) < margin


def remark(verdict: Verdict) -> str:
    """Says how a claim's margin decided, or that the difference is smaller; or ""."""
    claim = verdict.claim
    if claim.relation == "same" or not claim.margin:
        return ""
    if verdict.verdict == CONTRADICTED and not is_opposite(verdict):
        return f"the difference is significantly smaller than {margin_text(claim)}"
    if verdict.verdict == SUPPORTED and is_small(verdict):
        return f"but by significantly less than {margin_text(claim)}"
    return ""


def margin_text(claim: Claim, unit: str = "") -> str:
    """Returns a claim's margin in words: "0.5 points", "25 %", "300 updates"."""
    if is_share(claim.quantity):
        return f"{100 * claim.margin:g} point{'' if claim.margin == 0.01 else 's'}"
    if claim.relation != "same" and claim.quantity.scale == RATIO:
        return f"{100 * claim.margin:g} %"
    return f"{claim.margin:g} {unit}".strip()


def _evidence(results: Results, verdict: Verdict) -> Iterator[str]:
    """Yields both sides' values, and the effect with its interval and n."""
    if math.isnan(verdict.left):
        return
    quantity, right = verdict.claim.quantity, verdict.claim.right
    of, is_paired = verdict.claim.right_quantity, isinstance(right, dict)
    once = is_paired and not of and verdict.left_trial is None  # its unit, on the right
    left = _value(results, verdict, "left", bare=once and math.isfinite(verdict.right))
    other = _value(results, verdict, "right")
    n = f"n = {verdict.n}{' segments' * (quantity.reduction == 'seconds')}"
    effect, ends = _effect(verdict)
    text = f"{_quantity(quantity)} {left}"
    if verdict.claim.beside:
        name = words(quantity.metric) or quantity.reduction.replace("_", " ")
        text = f"the gains in {name} are {left} and {other}, {effect}"
    elif is_paired:
        text += f" and {_quantity(of)} {other}" if of else f" against {other}"
        text += f", {effect}" if effect else ""
    yield f"{text} ({_inside(ends, n)})"
    if right == "chance":
        yield f"chance is {other}"


def _inside(ends: Sequence[str], n: str) -> str:
    """Returns an interval, if there is one, and n: "0.1 to 0.5, n = 8"."""
    return ", ".join(filter(None, (" to ".join(ends), n)))


def _quantity(quantity: Quantity) -> str:
    """Returns a quantity in a few words, up to its value: "test accuracy is"."""
    metric = words(quantity.metric)
    return {
        "at_epoch": f"at epoch {quantity.epoch or 0:g} the {metric} is",
        "at_step": f"after {quantity.step or 0:,.0f} updates the {metric} is",
        "best": f"best {metric} is",
        "best_minus_final": f"from its best the {metric} falls by",
        "drop_from_test": f"{metric} is below test accuracy by",
        "steps_to": "it takes a median of",
        "steps": "training takes",
        "diverged_share": "the share of seeds that diverge is",
        "at_chance_share": "the share of seeds at chance is",
        "seconds": "an epoch takes",
    }.get(quantity.reduction, f"{metric} is")


def _plain(verdict: Verdict, value: float) -> str:
    """Returns a side's value without its unit, such as "96.3" or "0.18"."""
    if not math.isfinite(value):
        return "not reached" if verdict.unit == "updates" else numbers.NONE
    if not is_share(verdict.claim.quantity):
        return numbers.true_minus(digits(value, 3) if value > 0 else f"{value:.3g}")
    half = 100 * (verdict.high - verdict.low) / 2
    return numbers.true_minus(
        numbers.fixed(100 * value, numbers.supported_decimals(half))
    )


def _value(
    results: Results,
    verdict: Verdict,
    side: Literal["left", "right"],
    bare: bool = False,
) -> str:
    """Returns a side's value, with the trial that stands for it if it was chosen.

    A `bare` one has no unit.
    """
    value, chosen = getattr(verdict, side), getattr(verdict, f"{side}_trial")
    quantity = verdict.claim.quantity
    unit = {"s/epoch": "s"}.get(verdict.unit, verdict.unit)
    if is_share(quantity):
        unit = "points" if quantity.reduction in _FALLS else "%"
    if verdict.claim.beside and verdict.scale == RATIO:
        return f"a factor of {digits(value, 3)}"
    if verdict.claim.beside:
        return gain(100 * value if is_share(quantity) else value, unit)
    unit *= math.isfinite(value) and not bare
    text = f"{_plain(verdict, value)} {unit}".strip()
    return text if chosen is None else f"{text} ({trial_name(results, chosen)})"


def _effect(verdict: Verdict) -> tuple[str, list[str]]:
    """Returns an effect, and the ends of its interval if there are any.

    Beside a number on the right the ends are those of the left side's own value.
    """
    known = not math.isnan(verdict.low)
    ends = [verdict.low, verdict.high] if known else []
    if not isinstance(verdict.claim.right, dict):
        by = verdict.right
        beside = [by * e if verdict.scale == RATIO else by + e for e in ends]
        return "", [_plain(verdict, end) for end in beside]
    if verdict.scale == RATIO:
        return (
            f"a factor of {digits(verdict.effect, 3)}",
            [digits(end, 3) for end in ends],
        )
    if verdict.scale == ORDER:
        return "", []
    texts = [_plain(verdict, value) for value in (verdict.effect, *ends)]
    unit = "points" if is_share(verdict.claim.quantity) else verdict.unit
    return f"{'+' * (verdict.effect > 0)}{texts[0]} {unit}".strip(), texts[1:]


# Two swept fields.


def depends(findings: Findings) -> list[str]:
    """Says whether what one of two swept fields gains depends on the other."""
    found = findings.interaction
    if found is None:
        return []
    results = findings.results
    first, last, _, above = found.trials
    gain = f"what {_setting(results, last, found.field)} gains over "
    gain += _setting(results, first, found.field)
    other = words(found.other)
    places = [_short(results, t, found.other) for t in (first, above)]
    half = 100 * (found.high - found.low) / 2
    decimals = max(numbers.supported_decimals(half), 1)  # where an end is near 0

    def points(value: float) -> str:
        return numbers.true_minus(numbers.fixed(100 * value, decimals))

    signed = [f"{'+' * (v > 0)}{points(v)}" for v in (*found.gains, found.effect)]
    shown = f"{signed[0]} points with {places[0]} and {signed[1]} with {places[1]}"
    ends = [points(end) for end in (found.low, found.high) if not math.isnan(end)]
    shown += f", a difference of {signed[2]} ({_inside(ends, f'n = {found.n}')})"
    if found.resolved:
        return [f"{numbers.capital(gain)} depends on the {other}: {shown}."]
    return [f"It is not decided whether {gain} depends on the {other}: {shown}."]


def _setting(results: Results, trial: int, path: str) -> str:
    """Returns a setting in words: "momentum 0.9", "no batch norm", "relu"."""
    value, name = value_of(results, trial, path), words(path)
    if isinstance(value, bool):
        return name if value else f"no {name}"
    return value if isinstance(value, str) else f"{name} {value_text(value)}"


def _short(results: Results, trial: int, path: str) -> str:
    """Returns a setting where its field was named: "0.9", "no batch norm"."""
    value = value_of(results, trial, path)
    is_flag = isinstance(value, bool)
    return _setting(results, trial, path) if is_flag else value_text(value)


def each_at_best(findings: Findings) -> list[str]:
    """Compares the values of one of two swept fields, each at its best of the other."""
    found = interaction.grid(findings)
    if found is None:
        return []
    field, other, trials = found
    results = findings.results
    best = [findings.best_of(row) for row in trials.tolist()]
    known = [trial for trial in best if trial is not None]
    if not 2 <= len(known) <= FEW_VALUES:
        return []
    parts: list[str] = []
    for trial in known:
        mean = float(np.nanmean(findings.final(trial, "test_accuracy")))
        at = _short(results, trial, other)
        of = _setting(results, trial, field)
        ends = "" if parts else " ends"
        parts.append(f"{of}{ends} at {numbers.percent(mean)} ({at})")
    told = [findings.compared[trial] for trial in known if trial != findings.best]
    said = f"At its best {words(other)} {numbers.joined(parts)}"
    apart = [_setting(results, c.trial, field) for c in told if c.resolved]
    if apart:
        best_of = _setting(results, cast(int, findings.best), field)
        do = "differs" if len(apart) == 1 else "differ"
        said += f"; {numbers.joined(apart)} {do} significantly from {best_of}"
    elif any(not math.isnan(c.p_holm) for c in told):
        said += "; these do not differ significantly"
    return [f"{said}."]
