# SPDX-License-Identifier: Apache-2.0
"""Dataclasses that cast and check their fields by annotations and rules; no JAX."""

import contextlib
import dataclasses
import decimal
import enum
import fractions
import functools
import math
import operator
import os
import types
import typing
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from nnlab.models.layers import INT_MAX
from nnlab.words.spelling import nearest

FLOAT32_MAX = 3.4028234e38
DEEPEST = 20
"""Levels of nested lists and mappings in a field of any type."""
_BOUNDS = {
    "minimum": (operator.ge, "at least"),
    "maximum": (operator.le, "at most"),
    "above": (operator.gt, "above"),
    "below": (operator.lt, "below"),
}


class FieldError(ValueError):
    """A field's bad value or unknown name, with the field's path."""

    def __init__(self, path: str, problem: str, before: str = "") -> None:
        super().__init__(f"{before}{path}{problem}")
        self._parts = (path, problem, before)

    def within(self, parent: str) -> "FieldError":
        """Returns the same error with `parent` in front of its path."""
        path, problem, before = self._parts
        return FieldError(f"{parent}.{path}" if parent else path, problem, before)


@functools.cache
def hints(cls: Any) -> dict[str, Any]:
    """Returns ``{field: type}`` of a dataclass."""
    return typing.get_type_hints(cls)


def field(default: Any = dataclasses.MISSING, **rules: Any) -> Any:
    """Declares a dataclass field with rules.

    `choices`, `minimum`, `maximum`, `above` and `below` bound the value. `among` lists
    the allowed elements of a tuple. `traced` marks an argument of the compiled program.
    `needs` says when the field is read, see `nnlab.study.needs`. `later` marks a field
    added after trials or checkpoints had ids, see `study.Hyperparameters.identity` and
    `runs.resume.identity`. `opened` marks the field that holds all names that the
    dataclass does not declare, as pairs of name and value, and is the values' type.
    """
    return dataclasses.field(default=default, metadata=rules)


class Checked:
    """Casts and checks each field of a dataclass by its type and its rules."""

    def __post_init__(self) -> None:
        cls: Any = type(self)
        for field in dataclasses.fields(cls):
            name, hint, rules = field.name, hints(cls)[field.name], field.metadata
            value = getattr(self, name)
            if of := rules.get("opened"):
                value = tuple((n, checked(v, of, rules, n)) for n, v in value)
            else:
                value = checked(value, hint, rules, name)
            object.__setattr__(self, name, value)


def checked(value: Any, hint: Any, rules: Mapping[str, Any], name: str) -> Any:
    """Returns `value` cast to the type `hint`; a FieldError if it breaks the rules."""
    try:
        value = coerced(value, hint, name)
    except FieldError:
        if choices := rules.get("choices"):
            raise _unknown(value, choices, name) from None
        raise
    _check_rules(value, rules, name)
    return value


def coerced(value: Any, hint: Any, name: str) -> Any:
    """Returns `value` cast to the type `hint`; a FieldError names the field.

    >>> coerced([64, 32.0], tuple[int, ...], "hidden")
    (64, 32)
    """
    value = _pythons(value)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        for option in args:
            with contextlib.suppress(ValueError):
                return coerced(value, option, name)
    if dataclasses.is_dataclass(hint):
        if isinstance(value, typing.cast(type, hint)):
            return value
        if isinstance(value, Mapping):
            return from_mapping(typing.cast(type, hint), value, name)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(coerced(v, args[0], f"{name}[{i}]") for i, v in enumerate(value))
    if hint is Any or (origin is dict and isinstance(value, Mapping)):
        return _plain(value, name)
    if hint is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, bool):
        if hint is float and isinstance(value, int | float):
            with contextlib.suppress(OverflowError):
                return float(value) + 0.0  # -0.0 becomes 0.0, which is the same setting
            raise FieldError(name, " is too large for a number")
        if hint is int and isinstance(value, int):
            return _int(value, name)
        if hint is str and isinstance(value, str):
            return _text(value, name)
    if hint in (bool, types.NoneType) and isinstance(value, hint):
        return value
    raise FieldError(name, f"={value!r} is not {_type_name(hint)}")


def _pythons(value: Any) -> Any:
    """Turns values of NumPy, JAX, enums and the like into Python's own."""
    if isinstance(value, type):  # a class, such as np.float32, is no value
        return value
    if isinstance(value, enum.Enum):
        return _pythons(value.value)
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, decimal.Decimal | fractions.Fraction):
        return float(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return list(value) if isinstance(value, range) else value


def _int(value: int, name: str) -> int:
    if abs(value) > INT_MAX:
        # Python refuses to print one of 5,000 digits.
        shown = f"={value}" if abs(value) < 10**30 else ""
        raise FieldError(name, f"{shown} is too large: at most {INT_MAX:,} is allowed")
    return value


def _text(value: str, name: str) -> str:
    """Checks that UTF-8 can hold a text and a terminal can show it."""
    for character in value:
        # "Cc": control characters; "Cs": surrogates, which UTF-8 cannot hold.
        kind = unicodedata.category(character)
        if kind in ("Cc", "Cs") and character not in "\t\n\r":
            raise FieldError(name, f" holds {character!a}, which cannot be shown")
    return value


def _type_name(hint: Any) -> str:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type_name(a) for a in args)
    if origin is tuple:
        return "a tuple such as (64, 32)" if args[0] is int else "a tuple"
    words = {int: "a whole number", float: "a number", str: "a text"}
    words |= {bool: "true or false", types.NoneType: "None"}
    return words.get(hint, "a mapping of fields")


def _unknown(value: Any, choices: Iterable[str], name: str) -> FieldError:
    return FieldError(name, f"={value!r} is not known{nearest(value, choices)}")


def _check_rules(value: Any, rules: Mapping[str, Any], name: str) -> None:
    if "choices" in rules and value not in rules["choices"]:
        raise _unknown(value, rules["choices"], name)
    values = value if isinstance(value, tuple) else (value,)
    for v in values if "among" in rules else ():
        if v not in rules["among"]:
            hint = nearest(v, rules["among"])
            raise FieldError(name, f" holds {v!r}, which is not known{hint}")
    for v in values:
        if isinstance(v, int | float) and (problem := _out_of_bounds(v, rules)):
            raise FieldError(name, f"={value!r} {problem}")


def _out_of_bounds(value: float, rules: Mapping[str, Any]) -> str:
    if not math.isfinite(value):
        return "is not finite"
    if "traced" in rules and value > FLOAT32_MAX:
        return "is too large for float32"
    for rule, (holds, words) in _BOUNDS.items():
        if rule in rules and not holds(value, rules[rule]):
            return f"must be {words} {rules[rule]:g}"
    if "traced" in rules and np.float32(value) >= rules.get("below", math.inf):
        return f"must be below {rules['below']:g} in float32 too"
    return ""


def from_mapping(cls: type, values: Mapping[str, Any], name: str) -> Any:
    """Makes a dataclass from values; a FieldError names the path below `name`."""
    fields = dataclasses.fields(typing.cast(Any, cls))
    allowed = [f.name for f in fields if "opened" not in f.metadata]
    opened = next((f.name for f in fields if "opened" in f.metadata), "")
    further = [key for key in values if key not in allowed]
    for key in further:
        if not (opened and str(key).isidentifier()):
            hint = nearest(key, allowed)
            raise FieldError(str(key), f"'{hint}", "unknown field '").within(name)
    if further:
        pairs = tuple(sorted((key, values[key]) for key in further))
        values = {k: v for k, v in values.items() if k in allowed} | {opened: pairs}
    none = dataclasses.MISSING
    needed = (f.name for f in fields if f.default is none is f.default_factory)
    missing = [field for field in needed if field not in values]
    if missing:
        raise FieldError(name, f" lacks {', '.join(missing)}")
    try:
        return cls(**values)
    except FieldError as error:
        raise error.within(name) from None


def to_mapping(of: Any) -> dict[str, Any]:
    """Returns a dataclass as nested dicts, which `from_mapping` reads.

    The names that it does not declare stand beside those that it does.
    """
    found: dict[str, Any] = {}
    for one in dataclasses.fields(of):
        value = getattr(of, one.name)
        if "opened" in one.metadata:
            found |= dict(value)
        elif not isinstance(value, Checked):
            found[one.name] = value
        elif inner := to_mapping(value):  # empty where it declares no name
            found[one.name] = inner
    return found


def _plain(value: Any, name: str, level: int = 0) -> Any:
    """Turns mappings into dicts, lists into tuples, NumPy's values into Python's."""
    if level > DEEPEST:
        raise FieldError(name, f" is nested too deeply: at most {DEEPEST} levels")
    value = _pythons(value)
    if isinstance(value, Mapping):
        return {
            _text(str(k), name): _plain(v, name, level + 1) for k, v in value.items()
        }
    if isinstance(value, list | tuple):
        return tuple(_plain(v, name, level + 1) for v in value)
    if isinstance(value, str):
        return _text(value, name)
    if isinstance(value, float) and not math.isfinite(value):
        raise FieldError(name, f" holds {value!r}, which is not finite")
    if isinstance(value, int):
        return _int(value, name) if not isinstance(value, bool) else value
    if value is not None and not isinstance(value, float):
        raise FieldError(
            name, f" holds {value!r}, which is no number, text, list or mapping"
        )
    return value
