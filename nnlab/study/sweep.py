# SPDX-License-Identifier: Apache-2.0
"""Sweeps: axes to override dicts, and trials to cohorts (the traced/static split)."""

import ast
import dataclasses
import itertools
import math
import re
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from nnlab.study import MOST_TRIALS, PATHS, TRACED, TUPLES, Trial, digest_json
from nnlab.study.fields import coerced
from nnlab.words.spelling import near, nearest_path

_SPANS = ("log", "uniform", "int")
_RANGE = re.compile(r"(logspace|linspace)\(([^(),]+),([^(),]+),([^(),]+)\)")


@dataclasses.dataclass(frozen=True)
class Cohort:
    """Trials that share all static hyperparameters, hence one compiled program.

    Attributes:
      index: position among the study's cohorts.
      trials: its trials, in the order of the sweep.
      first_seed: the first of its seeds; above 0 where a study got more seeds later.
      num_seeds: how many it has.
      whole: trials and seeds of the cohort that it is a chunk of, which decide about
        the shape of its lanes; None for one that was not cut.
    """

    index: int
    trials: tuple[Trial, ...]
    first_seed: int
    num_seeds: int
    whole: tuple[int, int] | None = None

    @property
    def seeds(self) -> range:
        """Its seeds."""
        return range(self.first_seed, self.first_seed + self.num_seeds)

    @property
    def shape(self) -> tuple[int, int]:
        """T and S of what its lanes are cut from: itself, or what it is a chunk of."""
        return self.whole or (len(self.trials), self.num_seeds)

    def members(self) -> list[tuple[int, int]]:
        """Its members: trial's index and seed."""
        return [(trial.index, seed) for trial in self.trials for seed in self.seeds]

    def to_dict(self) -> dict[str, Any]:
        """The record in ``config.json``; see `from_dict`."""
        record = {
            "index": self.index,
            "trials": [trial.index for trial in self.trials],
            "first_seed": self.first_seed,
            "num_seeds": self.num_seeds,
        }
        return record | ({"whole": list(self.whole)} if self.whole else {})

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], trials: Sequence[Trial]) -> "Cohort":
        """A cohort from its record.

        Args:
          record: from `to_dict`; it may hold more.
          trials: all of the study.

        Raises:
          ValueError: it is of no members of the study, or not of one program.
        """
        try:
            index, first_seed, num_seeds = (
                coerced(record[name], int, name)
                for name in ("index", "first_seed", "num_seeds")
            )
            indices, whole = (
                coerced(some, tuple[int, ...], "trials")
                for some in (record["trials"], record.get("whole", ()))
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"the record of a program lacks {error}") from None
        name, known = f"program {index + 1}", {trial.index: trial for trial in trials}
        if strange := [i for i in indices if i not in known]:
            raise ValueError(f"{name} has trial {strange[0]}, which the study has not")
        some = tuple(known[i] for i in indices)
        found = cls(index, some, first_seed, num_seeds, whole or None)
        if index < 0 or len(alike(some)) != 1 or len({*indices}) < len(indices):
            raise ValueError(f"{name} has trials {indices}, which are not one program")
        most = min(trial.num_seeds for trial in some)
        if not 0 <= first_seed < first_seed + num_seeds <= most:
            raise ValueError(
                f"{name} has {num_seeds} seeds from {first_seed} on; its trials have "
                f"{most}"
            )
        if whole and not (
            len(whole) == 2
            and len(indices) <= whole[0] <= len(trials)
            and num_seeds <= whole[1] <= most
        ):
            raise ValueError(f"{name} is no chunk of {whole}")
        return found

    def traced(self) -> dict[str, np.ndarray]:
        """``{name: float32 (T,)}`` for every traced hyperparameter, by leaf name."""
        flats = [trial.hyperparameters.flat() for trial in self.trials]
        return {
            path.rpartition(".")[2]: np.array([f[path] for f in flats], np.float32)
            for path in TRACED
        }


def cohorts(trials: Sequence[Trial], num_seeds: int) -> tuple[Cohort, ...]:
    """Groups trials by their static hyperparameters, in the order of the sweep.

    Where some have more seeds than others, those are a cohort of their own.

    Args:
      trials: the trials.
      num_seeds: repetitions of each, at most.
    """
    found: list[Cohort] = []
    for group in alike(trials):
        first = 0
        for end in sorted({min(t.num_seeds, num_seeds) for t in group}):
            some = tuple(t for t in group if t.num_seeds >= end)
            found.append(Cohort(len(found), some, first, end - first))
            first = end
    return tuple(found)


def lacking(
    trials: Sequence[Trial], cohorts: Iterable[Cohort]
) -> dict[int, list[range]]:
    """The seeds of each trial, by its index, that no cohort has: runs of them.

    Raises:
      ValueError: two cohorts share an index or a member.
    """
    taken: dict[int, list[range]] = {trial.index: [] for trial in trials}
    indices = set()
    for cohort in cohorts:
        if cohort.index in indices:
            raise ValueError(f"two programs are number {cohort.index + 1}")
        indices.add(cohort.index)
        for trial in cohort.trials:
            taken[trial.index].append(cohort.seeds)
    found: dict[int, list[range]] = {}
    for trial in trials:
        first, found[trial.index] = 0, []
        end = range(trial.num_seeds, trial.num_seeds)
        for seeds in (*sorted(taken[trial.index], key=lambda s: s.start), end):
            if seeds.start < first:
                raise ValueError(
                    f"two programs have trial {trial.index} with seed {seeds.start}"
                )
            if seeds.start > first:
                found[trial.index].append(range(first, seeds.start))
            first = seeds.stop
    return found


def numbered(cohorts: Iterable[Cohort], taken: Collection[int]) -> tuple[Cohort, ...]:
    """The cohorts with the first indices that are not taken."""
    free = (index for index in itertools.count() if index not in taken)
    return tuple(
        dataclasses.replace(cohort, index=index) for index, cohort in zip(free, cohorts)
    )


def alike(trials: Sequence[Trial]) -> list[tuple[Trial, ...]]:
    """Trials in groups that share all static hyperparameters, in order."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        flat = trial.hyperparameters.flat()
        static = {path: v for path, v in flat.items() if path not in TRACED}
        groups.setdefault(digest_json(static), []).append(trial)
    return [tuple(group) for group in groups.values()]


def product(axes: Mapping[str, Sequence[Any]]) -> tuple[dict[str, Any], ...]:
    """Every combination of the axes' values as flat override dicts.

    Args:
      axes: ``{path: values}``; the last axis varies fastest.

    Raises:
      ValueError: no axis, an axis without values, or more than `MOST_TRIALS`
        combinations, which are counted before they are made.
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


def parse_axis(text: str) -> tuple[str, tuple[Any, ...]]:
    """Reads ``path=v1,v2``, ``path=logspace(1e-3,1,12)`` or ``path=linspace(0,0.9,4)``.

    Each value is read by `parse_value`; in quotes it may hold commas, as in
    ``dataset='csv:a, b.csv',digits``. The bounds of a range are its first and its
    last value; values are rounded to six significant digits, which labels show.

    Returns:
      The path and its values.

    Raises:
      ValueError: no such path, no values, or a malformed range.
    """
    path, equals, values = (part.strip() for part in text.partition("="))
    if not equals:
        raise ValueError(
            f"sweep {text!r} is not of the form path=v1,v2 "
            "(or path=logspace(1e-3,1,12), path=linspace(0,0.9,4))"
        )
    if path not in PATHS:
        hint = nearest_path(path, PATHS)
        raise ValueError(f"unknown field {path!r} in the sweep{hint}")
    if not values:
        raise ValueError(f"the sweep over {path!r} has no values: {text!r}")
    if ranged := _RANGE.fullmatch(values):
        return path, _range(text, *ranged.groups())
    parts = _split(path, values)
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
    """What a search may choose for a field.

    Attributes:
      kind: "log" or "uniform" (numbers), "int" (whole numbers), or "choices".
      low, high: ends of the numbers, both included.
      values: the choices.
    """

    kind: str
    low: float = math.nan
    high: float = math.nan
    values: tuple[Any, ...] = ()

    @property
    def ends(self) -> tuple[Any, ...]:
        """What has to be allowed for all of it to be: its ends, or every choice."""
        return self.values or (self.low, self.high)


def parse_space(text: str) -> tuple[str, Span]:
    """Reads ``path=log(1e-3,1)``, ``uniform(0,0.9)``, ``int(8,64)`` or choices.

    Choices are written as the values of an axis are, see `parse_axis`.

    Returns:
      The path and what may be chosen.

    Raises:
      ValueError: no such path, no values, or malformed bounds.
    """
    path, _, values = (part.strip() for part in text.partition("="))
    call = re.match(r"([a-z_]+)\(", values)
    if not call or not near(call[1], _SPANS) or _RANGE.fullmatch(values):
        path, choices = parse_axis(text)
        return path, Span("choices", values=tuple(dict.fromkeys(choices)))
    if path not in PATHS:
        hint = nearest_path(path, PATHS)
        raise ValueError(f"unknown field {path!r} in the search space{hint}")
    found = re.fullmatch(rf"({'|'.join(_SPANS)})\(([^(),]+),([^(),]+)\)", values)
    if not found:
        raise ValueError(
            f"search space {text!r}: numbers are from log(low,high), uniform(low,high) "
            "or int(low,high), which stands alone"
        )
    kind = found[1]
    try:
        low, high = (
            (int if kind == "int" else float)(bound) for bound in found.groups()[1:]
        )
    except ValueError:
        what = "whole numbers" if kind == "int" else "numbers"
        raise ValueError(f"search space {text!r}: bounds must be {what}") from None
    if not (np.isfinite([low, high]).all() and low < high):
        raise ValueError(f"search space {text!r}: needs finite bounds, low below high")
    if kind == "log" and low <= 0:
        raise ValueError(f"search space {text!r}: log needs bounds above 0")
    return path, Span(kind, low, high)


def parse_value(path: str, text: str) -> Any:
    """Reads a value from the command line; the study checks it against its field.

    Args:
      path: of its field; where that holds a tuple, ``64`` means ``(64,)``, and words
        are parted by commas: ``curves,map``.
      text: a number, true or false, a tuple in parentheses, or any other text.
    """
    value: Any
    if text.lower() in ("true", "false"):
        value = text.lower() == "true"
    else:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the parser, about "1if" or "'\\d'"
                value = ast.literal_eval(text)
        # The last three: {[]: 1}, a hundred brackets, a thousand minus signs.
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            value = text
    if path not in TUPLES or isinstance(value, list | tuple):
        return value
    return tuple(_split(path, value)) if isinstance(value, str) else (value,)


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


def _split(path: str, values: str) -> list[str]:
    """Splits at the commas that stand outside brackets and quotes.

    A quote opens where a value begins; within a word it is an apostrophe.

    Raises:
      ValueError: a quote that does not close.
    """
    parts, depth, quote, before = [""], 0, "", ","
    for character in values:
        if quote:
            quote = quote.strip(character)
        elif character in "'\"" and before in (",([{:" if depth else ","):
            quote = character
        else:
            depth += (character in "([{") - (character in ")]}")
        if character == "," and not (depth or quote):
            parts.append("")
        else:
            parts[-1] += character
        before = character if character.strip() else before
    if quote:
        raise ValueError(f"{path}={values}: the quote {quote} does not close")
    return [part.strip() for part in parts]
