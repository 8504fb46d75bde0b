# SPDX-License-Identifier: Apache-2.0
"""What became of the claims, in words that answer a question; no matplotlib."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from nnlab.report import effects
from nnlab.report.effects import is_share, noun
from nnlab.report.trials import side_name
from nnlab.results import Results
from nnlab.statistics.findings import Findings
from nnlab.statistics.verdicts import (
    CONTRADICTED,
    NOT_SIGNIFICANT,
    NOT_TESTABLE,
    NOT_TESTED,
    SUPPORTED,
    Verdict,
)
from nnlab.study import ORDER, RATIO, Claim, grammar
from nnlab.words import numbers
from nnlab.words.settings import setting_text

MOST = 4  # claims whose numbers are told
_OPEN = {
    NOT_SIGNIFICANT: "it is open",
    NOT_TESTABLE: "it cannot be tested",
    NOT_TESTED: "it was not tested",
}
_HIGHER = {"greater": "higher", "less": "lower"}
_OPPOSITE = {"greater": "less", "less": "greater"}


def answered(findings: Findings) -> list[str]:
    """Says what became of the claims that answer the question.

    First all of them in one sentence, those that are decided before the others; then
    the numbers of each in a sentence, of `MOST` at most.
    """
    results = findings.results
    main = [v for v in findings.verdicts if v.claim.main]
    done = [v for v in main if v.verdict not in _OPEN]
    parts = [" ".join([stated(results, v), *_brief(v)]) for v in done]
    for verdict, lead in _OPEN.items():
        left = [_text(results, v.claim) for v in main if v.verdict == verdict]
        if left:
            whether = [f"whether {numbers.lower_first(text)}" for text in left]
            parts.append(f"{lead} {numbers.joined(whether)}")
    if not parts:
        return []
    told = "; ".join([parts[0], *map(numbers.lower_first, parts[1:])])
    yes = _yes(results, main)
    told = f"{yes}: {numbers.lower_first(told)}" if yes else numbers.capital(told)
    order = sorted(main, key=lambda v: v.verdict in _OPEN)[:MOST]
    shown = [_numbers(results, v, i == 0) for i, v in enumerate(order)]
    return [f"{told}.", *filter(None, shown)]


def _brief(verdict: Verdict) -> list[str]:
    effect = effects.brief(verdict)
    return [f"({effect})"] * bool(effect)


def _yes(results: Results, main: Sequence[Verdict]) -> str:
    """Returns yes or no where a question asks for it and all claims agree; or ""."""
    # "The same" is no answer to whether one is better.
    verdicts = {v.verdict for v in main if v.claim.relation != "same"}
    if len(verdicts) != 1 or not effects.asks_whether(results.study.question):
        return ""
    (verdict,) = verdicts
    return {SUPPORTED: "Yes", CONTRADICTED: "No"}.get(verdict, "")


def _numbers(results: Results, verdict: Verdict, first: bool) -> str:
    """Returns the numbers of a claim as a sentence, and what would decide it."""
    shown, seeds = [*effects.evidence(results, verdict, first)], verdict.enough_seeds
    if verdict.verdict in (NOT_TESTABLE, NOT_TESTED):
        shown += [verdict.reason] * bool(verdict.reason)
    if verdict.verdict == NOT_SIGNIFICANT and seeds:
        would = max(seeds, verdict.n + 1)
        shown.append(f"if it is as measured, {would:,} seeds would decide it")
    return f"{numbers.capital('; '.join(shown))}." if shown else ""


def stated(results: Results, verdict: Verdict) -> str:
    """Returns what is so if a verdict is right, in words.

    They are the claim's own where it has them: its text, or what holds otherwise.
    """
    claim = verdict.claim
    if verdict.verdict != CONTRADICTED:
        return ", ".join(filter(None, (_text(results, claim), remark(verdict))))
    if claim.otherwise:
        return claim.otherwise.rstrip(" .")
    return _instead(results, verdict) or f"“{claim.text.rstrip(' .')}” does not hold"


def _text(results: Results, claim: Claim) -> str:
    """Returns a claim in words; one without is its own formula."""
    said = ""
    if grammar.is_formula(claim.text):
        said = _compared(results, claim, claim.relation)
    return said or claim.text.rstrip(" .")


def _instead(results: Results, verdict: Verdict) -> str:
    """Returns what holds instead of a contradicted claim; "" if that is not known."""
    claim, relation = verdict.claim, verdict.claim.relation
    margin = margin_text(claim, verdict.unit)
    if relation in _OPPOSITE:
        if is_opposite(verdict):
            return _compared(results, claim, _OPPOSITE[relation])
        return _compared(results, claim, relation, f"not {margin} ")
    if relation == "same" and not math.isnan(verdict.effect):
        is_more = verdict.effect > (1.0 if verdict.scale == RATIO else 0.0)
        said = _compared(results, claim, "greater" if is_more else "less")
        return f"{said}, by more than {margin}" if said else ""
    return ""


def _compared(results: Results, claim: Claim, relation: str, by: str = "") -> str:
    """Returns "test accuracy is higher with A than with B"; "" of gains or columns."""
    if claim.beside or claim.right_quantity:
        return ""
    what, left = noun(claim.quantity), _side(results, claim.left)
    is_best = claim.among == "best"
    if isinstance(claim.right, dict):
        right = _side(results, claim.right) + ", each at its best" * is_best
        if relation not in _HIGHER:
            by = f"by {'less' if relation == 'same' else 'more'} than "
            by = f"{by}{margin_text(claim)} " * bool(claim.margin)
            return f"{what} differs {by}between {left} and {right}"
        return f"{what} is {by}{_HIGHER[relation]} with {left} than with {right}"
    left, right = left + " at its best" * is_best, "chance"
    if not isinstance(claim.right, str):
        is_percent = is_share(claim.quantity)
        right = f"{100 * claim.right:g} %" if is_percent else f"{claim.right:g}"
    if relation in _HIGHER:
        side = {"greater": "above", "less": "below"}[relation]
        return f"{what} is {by}{side} {right} with {left}"
    near = f"within {margin_text(claim)} of" if relation == "same" else "not"
    return f"{what} is {near} {right} with {left}"


def _side(results: Results, side: Mapping[str, Any]) -> str:
    """Returns the trials of a side in words: "learning rate 0.3", "relu"."""
    parts = [setting_text(path, value) for path, value in side.items()]
    return side_name(results, side) or numbers.joined(parts) or "all trials"


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
