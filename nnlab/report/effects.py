# SPDX-License-Identifier: Apache-2.0
"""The numbers of verdicts and interactions, in sentences; no matplotlib."""

import math
import re
from collections.abc import Iterator
from typing import cast

import numpy as np

from nnlab.report.scores import score_of
from nnlab.report.trials import full_name, side_name, value_of
from nnlab.results import Results
from nnlab.statistics import interaction
from nnlab.statistics.findings import Findings
from nnlab.statistics.members import is_accuracy
from nnlab.statistics.verdicts import Verdict
from nnlab.study import ORDER, RATIO, Quantity
from nnlab.study.claims import FALLS
from nnlab.words import numbers
from nnlab.words.settings import setting_text, value_text, words

FEW_VALUES = 4  # of a field, up to which all are named
_BY = {"steps": ("more updates", "fewer updates"), "seconds": ("longer", "shorter")}
_BY["steps_to"] = _BY["steps"]
_WHETHER = re.compile(
    r"(is|are|was|do|does|did|can|could|will|would|should|must|has|have)\b", re.I
)
_WHICH = re.compile(r"which\b|(what|how)\b.*\bshould\b", re.I | re.S)


def asks_whether(question: str) -> bool:
    """Whether a question wants yes or no, by its first word.

    >>> asks_whether("Does dropout help?"), asks_whether("Which rate helps?")
    (True, False)
    """
    return bool(_WHETHER.match(question.strip()))


def asks_which(question: str) -> bool:
    """Whether a question wants one of the trials, by its words.

    >>> asks_which("Which rate helps?"), asks_which("What does dropout do?")
    (True, False)
    >>> asks_which("How deep should a network be?")
    True
    """
    return bool(_WHICH.match(question.strip()))


def is_share(quantity: Quantity) -> bool:
    """Whether a quantity is shown in percent."""
    plain = quantity.reduction in ("steps_to", "seconds")
    is_part = is_accuracy(quantity.metric) or quantity.kind.endswith("share")
    return (is_part and not plain) or quantity.reduction.endswith("_share")


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


def evidence(results: Results, verdict: Verdict, first: bool = True) -> Iterator[str]:
    """Yields both sides' values, and the effect with its interval and n.

    The `first` of several says what the interval and n are.
    """
    if math.isnan(verdict.left):
        return
    quantity, right = verdict.claim.quantity, verdict.claim.right
    of, sides = verdict.claim.right_quantity, ("left", "right")
    left, other = (_value(verdict, getattr(verdict, side)) for side in sides)
    names = _names(results, verdict)
    what = "segments" if quantity.reduction == "seconds" else "seeds"
    effect, ends = _effect(verdict)
    named = first or not isinstance(right, dict)
    known = ["interval " * named + " to ".join(ends)] * bool(ends)
    known.append(f"n = {verdict.n}" + f" {what}" * (first or what != "seeds"))
    text = f"{noun(quantity)} is {left}"
    if verdict.claim.beside:
        text = f"the gains in {noun(quantity)} are {left} and {other}, {effect}"
    elif of:
        text += f" and {noun(of)} is {other}, {effect}".rstrip(", ")
    elif isinstance(right, dict):
        one, two = (f" ({name})" * bool(name) for name in names)
        by_seed = "seed by seed " * (quantity.reduction == "steps_to" and bool(effect))
        text += f"{one} against {other}{two}, {by_seed}{effect}".rstrip(", ")
    else:
        known = [*filter(None, names[:1]), *known]
    yield f"{text} ({', '.join(known)})"
    if right == "chance":
        yield f"chance is {other}"


def brief(verdict: Verdict) -> str:
    """Returns an effect alone, or beside a number the value: "+1.2 points", "75 %"."""
    if math.isnan(verdict.left) or verdict.claim.beside:
        return ""
    effect, _ = _effect(verdict)
    is_pair = isinstance(verdict.claim.right, dict)
    return effect if is_pair else _value(verdict, verdict.left)


def noun(quantity: Quantity) -> str:
    """Returns a quantity in a few words: "test accuracy at epoch 3"."""
    metric = words(quantity.metric)
    further = re.fullmatch(r"test_(\w+)_accuracy", quantity.metric)
    target = quantity.target or 0.0
    share = f"{100 * target:g} %"
    goal = share if is_accuracy(quantity.metric) else f"{target:g}"
    return {
        "at_epoch": f"{metric} at epoch {quantity.epoch or 0:g}",
        "at_step": f"{metric} after {quantity.step or 0:,.0f} updates",
        "best": f"the best {metric}",
        "best_minus_final": f"the fall of {metric} from its best",
        "drop_from_test": f"the accuracy lost on {further[1]} images"
        if further
        else f"test accuracy minus {metric}",
        "steps_to": f"the median number of updates to {goal} {metric}",
        "steps": "the number of updates until training ends",
        "diverged_share": "the share of networks that diverge",
        "at_chance_share": "the share of networks at chance",
        "seconds": "the time of an epoch",
    }.get(quantity.reduction, metric)


def _plain(verdict: Verdict, value: float) -> str:
    """Returns a side's value without its unit, such as "96.3" or "0.18"."""
    if not math.isfinite(value):
        return "not reached" if verdict.unit == "updates" else numbers.NONE
    if not is_share(verdict.claim.quantity):
        return numbers.true_minus(digits(value, 3) if value > 0 else f"{value:.3g}")
    return numbers.true_minus(numbers.fixed(100 * value, decimals(verdict, 100)))


def decimals(verdict: Verdict, factor: float = 1.0) -> int:
    """Returns the decimals of an effect that is shown `factor` times.

    They are those that the interval supports, or more where an end would look like 0.
    """
    low, high = factor * verdict.low, factor * verdict.high
    least = numbers.supported_decimals((high - low) / 2)
    return numbers.told_apart(numbers.fixed, least, (low, high))


def order_text(verdict: Verdict) -> str:
    """Says on what an order rests: "148 against 1,073 updates, less in 16 of 16"."""
    if not verdict.n:
        return numbers.NONE
    sides = " against ".join(_plain(verdict, v) for v in (verdict.left, verdict.right))
    unit = f" {verdict.unit}" * (verdict.unit != "" and math.isfinite(verdict.right))
    counts = {"greater": verdict.greater, "less": verdict.less}
    told = [f"{name} in {count}" for name, count in counts.items() if count]
    of = numbers.joined(told or [f"equal in {verdict.n}"])
    return f"{sides}{unit}, {of} of {verdict.n}"


def _names(results: Results, verdict: Verdict) -> list[str]:
    """Returns the names of both sides' trials, "" where there is none."""
    claim = verdict.claim
    chosen = verdict.left_trial, verdict.right_trial
    return [
        full_name(results, trial)
        if trial is not None
        else side_name(results, side)
        if isinstance(side, dict)
        else ""
        for trial, side in zip(chosen, (claim.left, claim.right))
    ]


def _value(verdict: Verdict, value: float) -> str:
    """Returns a side's value with its unit, or what it gains."""
    claim, quantity, unit = verdict.claim, verdict.claim.quantity, verdict.unit
    if is_share(quantity):
        unit = "points" if quantity.reduction in FALLS else "%"
    if claim.beside and verdict.scale == RATIO:
        return f"a factor of {digits(value, 3)}"
    if claim.beside:
        return gain(100 * value if is_share(quantity) else value, unit)
    unit = {"s/epoch": "s", "updates": ""}.get(unit, unit) * math.isfinite(value)
    return f"{_plain(verdict, value)} {unit}".strip()


def _effect(verdict: Verdict) -> tuple[str, list[str]]:
    """Returns an effect, and the ends of its interval if there are any.

    Beside a number on the right the ends are those of the left side's own value. A
    ratio below 1 is told the other way round.
    """
    known = not math.isnan(verdict.low)
    ends = [verdict.low, verdict.high] if known else []
    if not isinstance(verdict.claim.right, dict):
        by = verdict.right
        beside = [by * e if verdict.scale == RATIO else by + e for e in ends]
        return "", [_plain(verdict, end) for end in beside]
    if verdict.scale == RATIO:
        effect, lead = verdict.effect, ""
        if known and not ends[0] <= 1 <= ends[1]:
            reduction = verdict.claim.quantity.reduction
            more, less = _BY.get(reduction, ("higher", "lower"))
            lead = f"{more if effect > 1 else less} by "
        if lead and effect < 1:
            effect, ends = 1 / effect, [1 / end for end in reversed(ends)]
        count = numbers.told_apart(digits, 3, ends, 1.0)
        return f"{lead}a factor of {digits(effect, count)}", [
            digits(end, count) for end in ends
        ]
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
    score = score_of(results)
    ends = (score.factor * found.low, score.factor * found.high)
    least = max(numbers.supported_decimals((ends[1] - ends[0]) / 2), 1)
    least = numbers.told_apart(numbers.fixed, least, ends)

    def points(value: float) -> str:
        return numbers.true_minus(numbers.fixed(score.factor * value, least))

    signed = [f"{'+' * (v > 0)}{points(v)}" for v in (*found.gains, found.effect)]
    shown = f"{signed[0]} {score.apart} with ".replace("  ", " ")
    shown += f"{places[0]} and {signed[1]} with {places[1]}"
    known = [points(end) for end in (found.low, found.high) if not math.isnan(end)]
    interval = [f"interval {' to '.join(known)}"] * bool(known)
    shown += f", a difference of {signed[2]} "
    shown += f"({', '.join([*interval, f'n = {found.n} seeds'])})"
    if found.resolved:
        return [f"{numbers.capital(gain)} depends on the {other}: {shown}."]
    return [f"It is not decided whether {gain} depends on the {other}: {shown}."]


def _setting(results: Results, trial: int, path: str) -> str:
    """Returns a setting in words: "momentum 0.9", "no batch norm", "relu"."""
    return setting_text(path, value_of(results, trial, path))


def _short(results: Results, trial: int, path: str) -> str:
    """Returns a setting where its field was named: "0.9", "no batch norm"."""
    value = value_of(results, trial, path)
    return setting_text(path, value) if isinstance(value, bool) else value_text(value)


def each_at_best(findings: Findings) -> list[str]:
    """Compares the values of one of two swept fields, each at its best of the other."""
    found = interaction.grid(findings)
    if found is None:
        return []
    field, other, trials = found
    results = findings.results
    score = score_of(results)
    best = [findings.best_of(row) for row in trials.tolist()]
    known = [trial for trial in best if trial is not None]
    if not 2 <= len(known) <= FEW_VALUES:
        return []
    parts: list[str] = []
    for trial in known:
        mean = float(np.nanmean(findings.final(trial, score.of("test"))))
        at = _short(results, trial, other)
        of = _setting(results, trial, field)
        ends = "" if parts else " ends"
        parts.append(f"{of}{ends} at {score.text(mean)} ({at})")
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
