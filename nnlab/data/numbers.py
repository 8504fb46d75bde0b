# SPDX-License-Identifier: Apache-2.0
"""Turns inputs of every kind into numbers, and refuses missing ones.

Networks and trees compute in float32. Where that cannot tell the values of a column
apart, as with seconds since 1970, an origin is subtracted first, in float64.
"""

import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from numbers import Number
from typing import Any

import numpy as np
import numpy.typing as npt

# float32 may round by at most a ten-thousandth of a column's spread.
_MOST_SPREADS = 1e-4 * 2.0**24
_LARGEST = float(np.finfo(np.float32).max)
_SMALLEST = float(np.finfo(np.float32).tiny) * 2.0**24


def columns_of(inputs: Any) -> tuple[str, ...]:
    """Returns the column names of a data frame; none for anything else.

    Several columns of one name are refused (ValueError).
    """
    if not (hasattr(inputs, "columns") and hasattr(inputs, "to_numpy")):
        return ()
    names = tuple(map(one_line, inputs.columns))
    if len(set(names)) < len(names):
        name, times = Counter(names).most_common(1)[0]
        raise ValueError(f"{times} columns are named {name!r}")
    return names


def one_line(text: object) -> str:
    """Returns a name or a cell without line ends and double spaces, in NFC."""
    return unicodedata.normalize("NFC", " ".join(str(text).split()))


def check(inputs: npt.ArrayLike, what: str, names: Sequence[str] = ()) -> np.ndarray:
    """Turns inputs into an array of finite booleans, integers or floats.

    Args:
      inputs: an array of numbers or what NumPy turns into one, a data frame of pandas
        or the like, or a sparse matrix.
      what: their name in messages.
      names: the features that a data frame must have, in order; empty for all its
        columns. "colour=red" is 1 where a column "colour" holds the text "red".

    Raises:
      ValueError: a value is missing, infinite, or no number; or a data frame lacks a
        column, or has others.
    """
    if columns_of(inputs):
        return _of_table(inputs, names, what)
    if hasattr(inputs, "toarray"):
        inputs = inputs.toarray()
    try:
        array = np.asanyarray(inputs)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"{what} cannot be made an array: {error}") from error
    mask, array = np.ma.getmask(array), np.asarray(array)
    if array.dtype == object:
        array = _of_objects(array, what)
    elif array.dtype.kind == "V" and np.can_cast(array.dtype, np.float32):
        array = array.astype(np.float32)  # bfloat16 and its like
    elif array.dtype.kind == "f" and array.dtype.itemsize > 8:
        with np.errstate(over="ignore"):  # what is too large is reported below
            array = array.astype(np.float64)
    elif array.dtype.kind not in "biuf":
        raise ValueError(
            f"{what} have dtype {array.dtype}, not numbers: convert with .astype"
        )
    finite = np.isfinite(array)
    if mask.any() or not finite.all():
        bad = mask | ~finite
        first = tuple(int(place) for place in np.argwhere(bad)[0])
        raise ValueError(
            f"{bad.sum():,} of {bad.size:,} values of {what} are missing or not "
            f"finite, the first ({'masked' if finite[first] else array[first]}) at "
            f"{list(first)}: leave such examples out, or put numbers in their place"
        )
    return array


def _of_table(table: Any, names: Sequence[str], what: str) -> np.ndarray:
    found = columns_of(table)
    own = dict(zip(found, table.columns, strict=True))  # which need not be texts
    sources = {name: _source_of(name, own) for name in names or found}
    lacking = [name for name, column in sources.items() if column not in own]
    further = [column for column in found if column not in set(sources.values())]
    for odd, verb in ((lacking, "lack"), (further, "also have")):
        if odd:
            raise ValueError(
                f"{what} {verb} {', '.join(map(repr, odd[:9]))}; the columns must be "
                f"{', '.join(map(repr, dict.fromkeys(sources.values())))}, in any order"
            )
    texts: dict[str, np.ndarray] = {}
    columns = []
    for name, column in sources.items():
        if name == column:
            whose = f"column {column!r} of {what}"
            columns.append(check(table[own[column]], whose))
            if not names:  # before whole numbers become floats beside other columns
                origin_of(columns[-1], (), whose)
            continue
        if column not in texts:
            cells = [f"{column}={one_line(cell)}" for cell in table[own[column]]]
            if unknown := sorted(set(cells) - set(sources)):
                raise ValueError(
                    f"{what} hold {', '.join(map(repr, unknown[:9]))}, which the "
                    f"training examples did not"
                )
            texts[column] = np.array(cells)
        columns.append(texts[column] == name)
    return np.column_stack(columns)


def _source_of(feature: str, columns: Collection[str]) -> str:
    """Returns the column that a feature comes from; itself if there is none."""
    if feature in columns:
        return feature
    heads = (feature[:i] for i, sign in enumerate(feature) if sign == "=")
    return next((head for head in heads if head in columns), feature)


def _of_objects(array: np.ndarray, what: str) -> np.ndarray:
    """Converts Python objects to float64, with NaN for missing ones."""
    import pandas as pd  # takes a third of a second

    filled = np.where(pd.isna(array), np.nan, array)
    for value in filled.flat:
        if not isinstance(value, Number | np.bool_):
            raise ValueError(
                f"{str(value)[:30]!r} ({type(value).__name__}) in {what} is no number: "
                "convert with .astype(float), or make columns of 0 and 1 with "
                "pandas.get_dummies"
            )
    try:
        return filled.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{what} do not fit into 64-bit floats: {error}") from error


def origin_of(
    numbers: np.ndarray, names: Sequence[str], what: str
) -> np.ndarray | None:
    """Returns what to subtract from numbers so that float32 can tell them apart.

    It is float64, (F,) for numbers (N, F), else (), with 0 where nothing is to be
    subtracted; None if that is so everywhere.

    Args:
      numbers: (N, ...), as `check` returns them.
      names: the F columns of a table, for messages.
      what: name of the numbers in messages.

    Raises:
      ValueError: float32 cannot hold a column, whatever is subtracted.
    """
    axis = 0 if numbers.ndim == 2 else None
    ends = numbers.min(axis), numbers.max(axis)
    low, high = (np.asarray(end, np.float64) for end in ends)
    half = high / 2 - low / 2  # half the spread: the whole might overflow
    largest = np.maximum(abs(low), abs(high))
    lost = ((half > 0) & (half < _SMALLEST)) | (half > _LARGEST / 2)
    if numbers.dtype.kind in "iu":  # float64 rounds large ones
        least, most = (np.asarray(end).astype(np.uint64) for end in ends)
        half = (most - least) / 2.0  # exact, as differences wrap around
        apart = np.maximum(2.0**53, 2 * half * _MOST_SPREADS * 2.0**29)
        lost |= (half > 0) & (largest > apart)
    taken = (largest > 2 * half * _MOST_SPREADS) & ((half > 0) | (largest > _LARGEST))
    origin = np.where(taken, low + half, 0.0)
    if lost.any():
        place = int(np.argmax(lost))
        column = f"column {names[place]!r}" if names else f"column {place}"
        raise ValueError(
            f"{column if axis == 0 else 'the values'} of {what}: {low.flat[place]:g} "
            f"to {high.flat[place]:g} is a range that float32 cannot hold: use another "
            "unit, subtract an offset, or leave it out"
        )
    return origin if origin.any() else None


def stored(numbers: np.ndarray, origin: np.ndarray | None, what: str) -> np.ndarray:
    """Returns numbers (N, ...), from `check`, less an `origin_of`, as float32.

    Those that are too large are refused (ValueError); the message calls them `what`.
    """
    if numbers.dtype == np.float32 and origin is None:
        return numbers
    found, taken = np.empty(numbers.shape, np.float32), 0 if origin is None else origin
    with np.errstate(over="ignore"):
        # Computed in float64, but without a whole array of it.
        np.subtract(numbers, taken, found, dtype=np.float64, casting="same_kind")
    if not np.isfinite(found).all():
        raise ValueError(f"{what} hold values that are not finite in float32")
    return found
