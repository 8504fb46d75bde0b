# SPDX-License-Identifier: Apache-2.0
"""Reads claims that are written in a line; no JAX, and nothing is executed.

    LEFT > RIGHT margin MARGIN    also < and !=; the margin may be left out
    LEFT == RIGHT within MARGIN

A side is a quantity of some trials, as the functions of `nnlab.study.claims` have it,
or on one side a number or "chance"; `HELP` has the whole grammar.

>>> claim = parse("test_accuracy(depth=6) > test_accuracy(depth=1) margin 1 %")
>>> claim.quantity.metric, claim.left, claim.right, claim.margin
('test_accuracy', {'model.depth': 6}, {'model.depth': 1}, 0.01)
"""

import dataclasses
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from nnlab.study import claims as made
from nnlab.study.claims import RATIO, Claim, Quantity
from nnlab.study.hyperparameters import path_of, setting
from nnlab.study.values import masked, parse_value, split
from nnlab.words.spelling import nearest

HELP = """\
Claims, --claim='LEFT > RIGHT', are tested on the results; may be repeated:
  test_accuracy(dropout_rate=0.5) > test_accuracy(dropout_rate=0) margin 1 point
  steps_to(90 %, batch_size=6) < steps_to(90 %, batch_size=45)
  Both end alike: test_loss("plain") == test_loss("batch norm") within 0.01
Words before a colon are the claim's text. One side may be a number, 95 % or
chance. Of four sides A - B > C - D compares differences (of losses, norms,
times and steps A / B > C / D). A margin after >, < and != is the least that
matters: what is surely smaller contradicts, unless it is surely there. Sides:
  test_accuracy(TRIALS)              at the end; so any column, as test_loss
  best(COLUMN, TRIALS)               its best value
  at_epoch(3, COLUMN, TRIALS)        after 3 epochs; at_step(500, ..): updates
  steps_to(0.9, TRIALS)              updates until validation_accuracy is there;
                                     steps_to(0.1, COLUMN, ..): another column
  drop(COLUMN, TRIALS)               test accuracy minus it, at the end
  best_minus_final(COLUMN, TRIALS)   its best value minus the last
  diverged(TRIALS)                   share that does; at_chance(..) likewise
  seconds(TRIALS)                    training an epoch; steps(..): all updates
Trials of a side; of several the mean over them counts, seed by seed:
  depth=6, activation=relu           with these settings: paths or last parts
  "batch norm"                       with this label
  best of depth=6                    the best by validation, on both sides
"""
"""The grammar on one screen."""
_SIGNS = {">": "greater", "<": "less", "==": "same", "!=": "different"}
_TURNED = {">": "<", "<": ">"}
_LIKE = {"=": "==", "\u2248": "==", "\u2260": "!=", "<>": "!="}
_LIKE |= dict.fromkeys((">=", "=>", "\u2265"), ">")
_LIKE |= dict.fromkeys(("<=", "=<", "\u2264"), "<")
"""Signs that others write -> the sign here."""
_PLAIN = {
    "seconds": made.SECONDS,
    "steps": made.STEPS,
    "diverged": made.DIVERGED,
    "at_chance": made.AT_CHANCE,
}
_MADE: Mapping[str, tuple[Callable[..., Quantity], int]] = {
    "final": (made.final, 0),
    "best": (made.best, 0),
    "at_epoch": (made.at_epoch, 1),
    "at_step": (made.at_step, 1),
    "steps_to": (made.steps_to, 1),
    "best_minus_final": (made.best_minus_final, 0),
    "drop": (made.drop, 0),
}
"""What makes a quantity of so many numbers and a column."""
QUANTITIES = (*_MADE, *_PLAIN)
"""The names of quantities that are no columns."""
_USUAL = ("test_accuracy", "validation_accuracy", "train_accuracy", "test_loss")
_MARGINS = {">": "margin", "<": "margin", "!=": "margin", "==": "within"}
_SHARES = ("%", "point", "points")


@dataclasses.dataclass(frozen=True)
class _Side:
    """A quantity of trials; `best` of whether the best of them counts."""

    quantity: Quantity
    trials: dict[str, Any]
    best: bool


def parse(text: str) -> Claim:
    """Reads a claim; `HELP` has the grammar.

    Raises:
      ValueError: it is none. The message quotes the claim and names what is wrong, what
        is allowed, and what could be meant.

    >>> parse("Six learn: test_accuracy(depth=6) > chance").text
    'Six learn'
    """
    source = " ".join(text.split())
    problems: dict[int, ValueError] = {}
    for start in [0, *(colon.end() for colon in re.finditer(":", source))]:
        try:
            plain, fields = _fields(source[start:].strip())
        except ValueError as error:
            problems[start] = error
        else:
            return made.higher(source[:start].rstrip(": ") or plain, **fields)
    try:
        last = masked(source).rfind(":") + 1
    except ValueError:  # a quote that does not close
        last = 0
    is_open = source.count("(") != source.count(")")
    hint = "; its brackets do not match" if is_open else ""
    raise ValueError(f"claim {source!r}: {problems[last]}{hint}")


def is_formula(text: str) -> bool:
    """Whether a claim's text is the line that `parse` reads, without words of its own.

    >>> is_formula("test_accuracy(depth=6) > chance"), is_formula("Six learn")
    (True, False)
    """
    try:
        return parse(text).text == text
    except ValueError:
        return False


def answer(text: str) -> Claim:
    """Reads a claim that carries the answer to the study's question; see `parse`."""
    return dataclasses.replace(parse(text), main=True)


def _fields(text: str) -> tuple[str, dict[str, Any]]:
    """Returns a claim with its number on the right, and its fields but for the text."""
    sign, (left, right), margin = _parted(text)
    if _side(left) is None and _side(right):
        left, right, sign = right, left, _TURNED.get(sign, sign)
        text = f"{left} {sign} {right}" + f" {_MARGINS[sign]} {margin}" * bool(margin)
    relation, gains = _SIGNS[sign], [_gain(side) for side in (left, right)]
    if gains[0] and gains[1]:
        fields = _interaction(gains[0], gains[1], relation)
    elif any(gains):
        raise ValueError(
            "a difference of two quantities is compared with another one; with a "
            "number it is LEFT > RIGHT margin MARGIN"
        )
    else:
        fields = _comparison(left, right)
    if margin:
        is_ratio = fields["quantity"].scale == RATIO
        units = ("%",) * (relation != "same") if is_ratio else _SHARES
        if sign == "==" and not units and margin.endswith(_SHARES):
            raise ValueError(
                f"'within' takes a number in the quantity's own unit, not {margin!r}"
            )
        fields["margin"] = _number(margin, units)
    return text, {**fields, "relation": relation}


def _comparison(left: str, right: str) -> dict[str, Any]:
    """Returns what two sides are; a number stands on the right."""
    one, other = _side(left), _side(right)
    if one is None:
        named = next(filter(str.isidentifier, (left, right)), "test_accuracy")
        raise ValueError(
            f"{left!r} and {right!r} name no trials: a side is a quantity of some, "
            f"such as {named}(depth=6), or of all, {named}()"
        )
    fields = {"quantity": one.quantity, "left": one.trials}
    fields["among"] = "best" if one.best else "mean"
    if other is None:
        units = () if one.quantity.scale == RATIO else _SHARES
        number = right if right == "chance" else _number(right, units)
        return {**fields, "right": number}
    if other.best != one.best:
        raise ValueError("'best of' stands on both sides or on none")
    if other.quantity != one.quantity:
        fields["right_quantity"] = other.quantity
    return {**fields, "right": other.trials}


def _gain(text: str) -> tuple[_Side, str, _Side] | None:
    """Reads ``quantity(trials) - quantity(trials)``, or / between them."""
    found = re.search(r"(?<=\))\s*([-/\u2212])", masked(text))
    if not found:
        return None
    parts = (text[: found.start()], text[found.end() :])
    first, second = (_side(part.strip()) for part in parts)
    if first is None or second is None:
        raise ValueError(f"{text!r} is no difference of two quantities of trials")
    return first, "/" if found[1] == "/" else "-", second


def _interaction(
    gain: tuple[_Side, str, _Side], other: tuple[_Side, str, _Side], relation: str
) -> dict[str, Any]:
    """Returns the fields of a claim about two gains."""
    sides = [gain[0], gain[2], other[0], other[2]]
    quantity = sides[0].quantity
    if any(side.quantity != quantity or side.best for side in sides):
        raise ValueError("all four are of one quantity, and none has 'best of'")
    # What is the same within a margin is so by its difference.
    sign = "/" if quantity.scale == RATIO and relation != "same" else "-"
    if {gain[1], other[1]} != {sign}:
        what = "the ratio" if sign == "/" else "the difference"
        raise ValueError(f"of this quantity {what} is compared: write {sign}")
    left, right, *beside = (side.trials for side in sides)
    return {"quantity": quantity, "left": left, "right": right, "beside": beside}


def _parted(text: str) -> tuple[str, tuple[str, str], str]:
    """Parts a comparison into its sign, its sides and its margin; "" for none."""
    shown = masked(text)
    found = [*re.finditer("[<>=!\u2248\u2260\u2264\u2265]+", shown)]
    if len(found) != 1 or found[0][0] not in _SIGNS:
        has = " and ".join(repr(one[0]) for one in found) or "none"
        like = [_LIKE[one[0]] for one in found if one[0] in _LIKE]
        hint = f"; did you mean {like[0]!r}?" if len(found) == 1 and like else ""
        hint = "; write two claims" if len(found) > 1 and not like else hint
        raise ValueError(
            f"one of {', '.join(_SIGNS)} stands between its sides, outside of "
            f"brackets; here is {has}{hint}"
        )
    sign, (start, end) = found[0][0], found[0].span()
    word = _MARGINS[sign]
    tail = re.search(r"\b(margin|within|by)\b", shown[end:])
    if (tail[1] if tail else word) != word or (sign == "==" and not tail):
        raise ValueError(f"after {sign} a margin is written '{word} 0.01'")
    cut, after = (end + at for at in (tail.span() if tail else (len(text),) * 2))
    margin = text[after:].strip()
    if tail and not margin:
        raise ValueError(f"'{word}' needs a margin, such as '{word} 0.01'")
    return sign, (text[:start].strip(), text[end:cut].strip()), margin


def _side(text: str) -> _Side | None:
    """Reads ``quantity(trials)``; None for anything else, such as a number."""
    if not re.fullmatch(r"[\w ]+\)", masked(text)):
        return None
    name, _, inside = text[:-1].partition("(")
    arguments = split(inside) if inside.strip() else []
    if "" in arguments:
        raise ValueError(f"{text!r} has an empty place between commas")
    quantity = _quantity(name.strip(), arguments)
    return _Side(quantity, *_trials(arguments))


def _quantity(name: str, arguments: list[str]) -> Quantity:
    """Reads a quantity, and takes away those of its arguments that are no trials."""
    if name in _PLAIN:
        return _PLAIN[name]
    if name not in _MADE:
        takes_column = any(map(str.isidentifier, arguments))
        is_column = name.isidentifier() and (
            not takes_column or made.final(name).kind in made.KINDS
        )
        if not is_column:
            hint = nearest(name.replace(" ", "_"), (*QUANTITIES, *_USUAL))
            raise ValueError(f"unknown quantity {name!r}{hint}, or another column")
        return made.final(name)
    make, count = _MADE[name]
    numbers, arguments[:count] = arguments[:count], []
    is_named = bool(arguments) and arguments[0].isidentifier()
    columns = [arguments.pop(0)] if is_named else []
    if len(numbers) < count or not (columns or name == "steps_to"):
        needs = ", ".join([*["NUMBER"] * count, "COLUMN"])
        raise ValueError(f"{name} is written {name}({needs}, TRIALS)")
    is_share = name == "steps_to" and (not columns or columns[0].endswith(made.SCORES))
    units = _SHARES if is_share else ()
    return make(*(_number(text, units) for text in numbers), *columns)


def _trials(arguments: Sequence[str]) -> tuple[dict[str, Any], bool]:
    """Reads which trials are meant, and whether the best of them."""
    best = bool(arguments) and re.fullmatch(r"best of\b(.*)", arguments[0], re.DOTALL)
    if best:  # "best of all" as well
        first = best[1].strip()
        arguments = [first, *arguments[1:]] if first not in ("", "all") else []
    found: dict[str, Any] = {}
    for argument in arguments:
        name, equals, value = (part.strip() for part in argument.partition("="))
        if label := re.fullmatch(r"(?:label *= *)?(['\"])(.*)\1", argument, re.DOTALL):
            path, read = "label", label[2]
        elif equals and value and name == "label":
            raise ValueError(f'a label needs quotes: "{value}"')
        elif equals and value:
            path = path_of(name)
            read = setting(path, parse_value(path, value))
        else:
            raise ValueError(
                f"{argument!r} names no trials: write NAME=VALUE, or a label in quotes"
            )
        if path in found:
            raise ValueError(f"{path} is there twice on one side")
        found[path] = read
    return found, bool(best)


def _number(text: str, units: Collection[str]) -> float:
    """Reads ``0.95``, ``95 %`` or ``0.5 points``, if it may have such a unit."""
    plain = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
    typed = text.replace("\N{MINUS SIGN}", "-")  # as reports have it
    found = re.fullmatch(rf"({plain})\s*(%|points?)?", typed)
    if not found:
        raise ValueError(
            f"{text!r} is neither a number such as 0.95 or 95 %, nor chance, nor a "
            "quantity such as test_accuracy(depth=6)"
        )
    if not found[2]:
        return float(found[1])
    if found[2] not in units:
        raise ValueError(
            f"{text!r} goes with accuracies and shares; here is a plain number"
        )
    return float(f"{float(found[1]) / 100:.12g}")
