# SPDX-License-Identifier: Apache-2.0
"""Sweeps: axes to override dicts, and trials to cohorts (the traced/static split)."""

import dataclasses
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nnlab.study import PATHS, TRACED, Trial, digest_json, nearest

_RANGE = re.compile(r"(logspace|linspace)\(([^(),]+),([^(),]+),([^(),]+)\)")


@dataclasses.dataclass(frozen=True)
class Cohort:
    """Trials that share all static hyperparameters, hence one compiled program.

    Attributes:
      index: position among the study's cohorts.
      trials: its trials, in the order of the sweep.
    """

    index: int
    trials: tuple[Trial, ...]

    def traced(self) -> dict[str, np.ndarray]:
        """``{name: float32 (T,)}`` for every traced hyperparameter, by leaf name."""
        flats = [trial.hyperparameters.flat() for trial in self.trials]
        return {
            path.rpartition(".")[2]: np.array([f[path] for f in flats], np.float32)
            for path in TRACED
        }


def cohorts(trials: Sequence[Trial]) -> tuple[Cohort, ...]:
    """Groups trials by their static hyperparameters, in the order of the sweep."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        flat = trial.hyperparameters.flat()
        static = {path: v for path, v in flat.items() if path not in TRACED}
        groups.setdefault(digest_json(static), []).append(trial)
    return tuple(Cohort(i, tuple(group)) for i, group in enumerate(groups.values()))


def product(axes: Mapping[str, Sequence[Any]]) -> tuple[dict[str, Any], ...]:
    """Every combination of the axes' values as flat override dicts.

    Args:
      axes: ``{path: values}``; the last axis varies fastest.

    Raises:
      ValueError: no axis, or an axis without values.
    """
    for path, values in axes.items():
        if not len(values):
            raise ValueError(f"the sweep over {path!r} has no values")
    if not axes:
        raise ValueError("the sweep is empty: it needs at least one axis")
    return tuple(
        dict(zip(axes, values)) for values in itertools.product(*axes.values())
    )


def parse_axis(text: str) -> tuple[str, tuple[Any, ...]]:
    """Reads ``path=v1,v2``, ``path=logspace(1e-3,1,12)`` or ``path=linspace(0,0.9,4)``.

    A value is a number, true or false, a tuple in parentheses, or else a text. The
    bounds of logspace are the first and the last value; values are rounded to six
    significant digits, so that labels tell all of them.

    Returns:
      The path and its values.

    Raises:
      ValueError: no such path, no values, or a malformed range.
    """
    path, equals, values = text.partition("=")
    path = path.strip()
    if not equals:
        raise ValueError(
            f"sweep {text!r} is not of the form path=v1,v2 "
            "(or path=logspace(1e-3,1,12), path=linspace(0,0.9,4))"
        )
    if path not in PATHS:
        raise ValueError(f"unknown field {path!r} in sweep{nearest(path, PATHS)}")
    values = values.replace(" ", "")
    if not values:
        raise ValueError(f"the sweep over {path!r} has no values")
    ranged = _RANGE.fullmatch(values)
    if ranged:
        return path, _range(path, *ranged.groups())
    if re.match(r"\w*space\b", values):
        raise ValueError(
            f"sweep {text!r}: a range is logspace(first,last,count) or "
            "linspace(first,last,count)"
        )
    return path, tuple(_value(path, v) for v in _split(values))


def _range(path: str, kind: str, first: str, last: str, count: str) -> tuple[Any, ...]:
    text = f"{kind}({first},{last},{count})"
    try:
        low, high, number = float(first), float(last), int(count)
    except ValueError:
        raise ValueError(f"sweep {path}={text}: bounds must be numbers") from None
    if not (np.isfinite([low, high]).all() and 1 <= number <= 100_000):
        raise ValueError(
            f"sweep {path}={text}: needs finite bounds and a count from 1 to 100000"
        )
    if kind == "logspace" and (low <= 0 or high <= 0):
        raise ValueError(f"sweep {path}={text}: logspace needs bounds above 0")
    space = np.geomspace if kind == "logspace" else np.linspace
    return tuple(float(f"{v:.6g}") for v in space(low, high, number))


def _split(values: str) -> list[str]:
    """Splits at the commas that stand outside parentheses."""
    return re.findall(r"(?:\([^()]*\)|[^,()])+|(?<=,)(?=,|$)|^(?=,)", values)


def _value(path: str, text: str) -> Any:
    if not text:
        raise ValueError(f"the sweep over {path!r} has an empty value")
    if text.startswith("(") and text.endswith(")"):
        return tuple(_value(path, v) for v in text[1:-1].split(",") if v)
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text
