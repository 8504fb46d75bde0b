# SPDX-License-Identifier: Apache-2.0
"""Reads sweeps and search spaces from the command line: axes, ranges and spans."""

import dataclasses
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nnlab.study.hyperparameters import MODULE, check_path
from nnlab.study.study import MOST_TRIALS
from nnlab.study.values import parse_value, split
from nnlab.words.spelling import near

_SPANS = ("log", "uniform", "int")
_RANGE = re.compile(r"(logspace|linspace)\(([^(),]+),([^(),]+),([^(),]+)\)")


def product(axes: Mapping[str, Sequence[Any]]) -> tuple[dict[str, Any], ...]:
    """Returns every combination of the axes' values as override dicts.

    Args:
      axes: ``{path: values}``; the last axis varies fastest.

    Raises:
      ValueError: no axis, an axis without values, or more than `MOST_TRIALS`
        combinations, which are counted before they are made.

    >>> product({"batch_size": [16, 64], "num_epochs": [5]})
    ({'batch_size': 16, 'num_epochs': 5}, {'batch_size': 64, 'num_epochs': 5})
    """
    for path, values in axes.items():
        if not len(values):
            raise ValueError(f"the sweep over {path!r} has no values")
    if not axes:
        raise ValueError("the sweep is empty: it needs at least one axis")
    count = math.prod(map(len, axes.values()))
    if count > MOST_TRIALS:
        raise ValueError(
            f"the sweep over {', '.join(axes)} has {count:,} trials; at most "
            f"{MOST_TRIALS:,} are allowed"
        )
    return tuple(
        dict(zip(axes, values)) for values in itertools.product(*axes.values())
    )


def over_modules(
    names: Sequence[str], items: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Returns the override dicts of a sweep with each of the modules of these names.

    A sweep that names some of them stays as it is.

    >>> over_modules(["A", "B"], [{"batch_size": 8}])[1]
    {'module.name': 'B', 'batch_size': 8}
    """
    if any(MODULE in item for item in items):
        return [*map(dict, items)]
    return [
        {MODULE: name, **item}
        | ({"label": f"{name}, {item['label']}"} if "label" in item else {})
        for name in names
        for item in items
    ]


def parse_axis(text: str) -> tuple[str, tuple[Any, ...]]:
    """Reads ``path=v1,v2``, ``path=logspace(1e-3,1,12)`` or ``path=linspace(0,0.9,4)``.

    `parse_value` reads each value. A value in quotes may hold commas:
    ``dataset='csv:a, b.csv',digits``. A range includes both bounds, and its values are
    rounded to the six significant digits that labels show.

    Returns:
      The path and its values.

    Raises:
      ValueError: no such path, no values, or a malformed range.

    >>> parse_axis("optimizer.learning_rate=logspace(0.01,1,3)")
    ('optimizer.learning_rate', (0.01, 0.1, 1.0))
    """
    path, equals, values = (part.strip() for part in text.partition("="))
    if not equals:
        raise ValueError(
            f"sweep {text!r} is not of the form path=v1,v2 "
            "(or path=logspace(1e-3,1,12), path=linspace(0,0.9,4))"
        )
    check_path(path, "the sweep")
    if not values:
        raise ValueError(f"the sweep over {path!r} has no values: {text!r}")
    if ranged := _RANGE.fullmatch(values):
        return path, _range(text, *ranged.groups())
    parts = split(values, f"{path}=")
    if not all(parts):
        raise ValueError(f"the sweep over {path!r} has an empty value: {text!r}")
    calls = (re.match(r"([a-z_]+)\(", part) for part in parts)
    if any(call and near(call[1], ("logspace", "linspace")) for call in calls):
        raise ValueError(
            f"sweep {text!r}: a range is logspace(first,last,count) or "
            "linspace(first,last,count), and stands alone"
        )
    return path, tuple(parse_value(path, part) for part in parts)


@dataclasses.dataclass(frozen=True)
class Span:
    """The values from which a search may choose for a field.

    Attributes:
      kind: "log" or "uniform" (numbers), "int" (whole numbers), or "choices".
      low, high: bounds of the numbers, both included.
      values: the choices.
    """

    kind: str
    low: float = math.nan
    high: float = math.nan
    values: tuple[Any, ...] = ()

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values to check: the bounds, or every choice."""
        return self.values or (self.low, self.high)


def parse_space(text: str) -> tuple[str, Span]:
    """Reads ``path=log(1e-3,1)``, ``uniform(0,0.9)``, ``int(8,64)`` or choices.

    Choices are written like the values of an axis, see `parse_axis`.

    Returns:
      The path and what may be chosen.

    Raises:
      ValueError: no such path, no values, or malformed bounds.

    >>> parse_space("batch_size=int(8,64)")[1].ends
    (8, 64)
    """
    path, _, values = (part.strip() for part in text.partition("="))
    call = re.match(r"([a-z_]+)\(", values)
    if not call or not near(call[1], _SPANS) or _RANGE.fullmatch(values):
        path, choices = parse_axis(text)
        return path, Span("choices", values=tuple(dict.fromkeys(choices)))
    check_path(path, "the search space")
    found = re.fullmatch(rf"({'|'.join(_SPANS)})\(([^(),]+),([^(),]+)\)", values)
    if not found:
        raise ValueError(
            f"search space {text!r}: numbers are from log(low,high), uniform(low,high) "
            "or int(low,high), which stands alone"
        )
    kind, read = found[1], int if found[1] == "int" else float
    try:
        low, high = read(found[2]), read(found[3])
    except ValueError:
        what = "whole numbers" if kind == "int" else "numbers"
        raise ValueError(f"search space {text!r}: bounds must be {what}") from None
    if not (np.isfinite([low, high]).all() and low < high):
        raise ValueError(f"search space {text!r}: needs finite bounds, low below high")
    if kind == "log" and low <= 0:
        raise ValueError(f"search space {text!r}: log needs bounds above 0")
    return path, Span(kind, low, high)


def _range(text: str, kind: str, first: str, last: str, count: str) -> tuple[Any, ...]:
    try:
        low, high, number = float(first), float(last), int(count)
    except ValueError:
        raise ValueError(
            f"sweep {text!r}: bounds must be numbers, the count a whole number"
        ) from None
    if not (np.isfinite([low, high]).all() and 1 <= number <= MOST_TRIALS):
        raise ValueError(
            f"sweep {text!r}: needs finite bounds and a count from 1 to {MOST_TRIALS}"
        )
    if kind == "logspace" and (low <= 0 or high <= 0):
        raise ValueError(f"sweep {text!r}: logspace needs bounds above 0")
    space = np.geomspace if kind == "logspace" else np.linspace
    return tuple(float(f"{v:.6g}") for v in space(low, high, number))
