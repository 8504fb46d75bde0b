# SPDX-License-Identifier: Apache-2.0
"""Inputs of every kind become numbers here: none is missing, and none loses its value.

Networks and trees compute in float32. Where that cannot tell the values of a column
apart, as with seconds since 1970, an origin is taken from them first, in float64.
"""

from collections import Counter
from collections.abc import Sequence
from numbers import Number
from typing import Any

import numpy as np
import numpy.typing as npt

# float32 may round by a thousandth of a column's spread.
_MOST_SPREADS = 1e-3 * 2.0**24
_LARGEST = float(np.finfo(np.float32).max)
_SMALLEST = float(np.finfo(np.float32).tiny) * 2.0**24


def columns_of(inputs: Any) -> tuple[str, ...]:
    """Names the columns of a table of pandas or the like; none of anything else.

    Raises:
        ValueError: Several have one name.
    """
    if not (hasattr(inputs, "columns") and hasattr(inputs, "to_numpy")):
        return ()
    names = tuple(map(str, inputs.columns))
    if len(set(names)) < len(names):
        name, times = Counter(names).most_common(1)[0]
        raise ValueError(f"{times} columns are named {name!r}")
    return names


def by_name(inputs: Any, names: Sequence[str], what: str) -> Any:
    """Puts the columns of a table into the order of their names.

    Args:
        inputs: A table; anything else stays as it is.
        names: Of the columns that it must have, in order; none if they have no names.
        what: What a message calls the table.

    Raises:
        ValueError: It lacks columns, or has others.
    """
    found = columns_of(inputs)
    if not found or not names:
        return inputs
    for wanted, there, verb in ((names, found, "lack"), (found, names, "also have")):
        if odd := [name for name in wanted if name not in set(there)]:
            raise ValueError(
                f"{what} {verb} {', '.join(map(repr, odd[:9]))}; their columns must be "
                f"{', '.join(map(repr, names[:30]))}, in any order"
            )
    own = list(inputs.columns)  # need not be texts
    return inputs[[own[found.index(name)] for name in names]]


def check(inputs: npt.ArrayLike, what: str) -> np.ndarray:
    """Turns inputs into finite numbers.

    Args:
        inputs: Numbers in anything that NumPy can make an array of, a table of pandas
            or the like, or a sparse matrix.
        what: What a message calls them.

    Returns:
        An array of booleans, integers or floats.

    Raises:
        ValueError: A value is missing, infinite, or no number.
    """
    if columns_of(inputs):
        table: Any = inputs
        return np.column_stack(
            [check(table[name], f"column {name!r} of {what}") for name in table.columns]
        )
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
            f"{what} have dtype {array.dtype}; allowed: numbers (convert with .astype)"
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


def _of_objects(array: np.ndarray, what: str) -> np.ndarray:
    """An array of Python's objects as float64; NaN is what is missing."""
    import pandas as pd  # takes a third of a second

    filled = np.where(pd.isna(array), np.nan, array)
    for value in filled.flat:
        if not isinstance(value, Number | np.bool_):
            raise ValueError(
                f"{what} hold {str(value)[:30]!r} ({type(value).__name__}), which is "
                "no number: convert with .astype(float), or make texts columns of 0 "
                "and 1 with pandas.get_dummies"
            )
    try:
        return filled.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{what} do not fit into 64-bit floats: {error}") from error


def origin_of(
    numbers: np.ndarray, names: Sequence[str], what: str
) -> np.ndarray | None:
    """What to take from numbers so that float32 tells them apart.

    Args:
        numbers: (N, ...), as `check` returns them.
        names: Of the F columns of a table, for messages.
        what: What a message calls the numbers.

    Returns:
        float64 (F,) of numbers (N, F), 0 where nothing is to be taken; of others ();
        None if nothing is to be taken at all.

    Raises:
        ValueError: Whatever is taken, float32 cannot hold a column.
    """
    if numbers.dtype.kind == "f" and numbers.dtype.itemsize <= 4:
        return None
    axis = 0 if numbers.ndim == 2 else None
    ends = numbers.min(axis), numbers.max(axis)
    low, high = (np.asarray(end, np.float64) for end in ends)
    half = high / 2 - low / 2  # of the spread: the whole might overflow
    largest = np.maximum(abs(low), abs(high))
    lost = ((half > 0) & (half < _SMALLEST)) | (half > _LARGEST / 2)
    if numbers.dtype.kind in "iu":  # which float64 rounds, too
        least, most = (np.asarray(end).astype(np.uint64) for end in ends)
        half = (most - least) / 2.0  # exact, as differences wrap around
        lost |= (half > 0) & (largest > 2 * half * _MOST_SPREADS * 2.0**29)
    taken = (largest > 2 * half * _MOST_SPREADS) & ((half > 0) | (largest > _LARGEST))
    origin = np.where(taken, low + half, 0.0)
    if lost.any():
        place = int(np.argmax(lost))
        column = f"column {names[place]!r}" if names else f"column {place}"
        raise ValueError(
            f"{column if axis == 0 else 'the values'} of {what}: {low.flat[place]:g} "
            f"to {high.flat[place]:g} is a range that float32 cannot hold: give it in "
            "another unit, or from another origin"
        )
    return origin if origin.any() else None


def stored(numbers: np.ndarray, origin: np.ndarray | None, what: str) -> np.ndarray:
    """Numbers less their origin, as float32.

    Args:
        numbers: (N, ...), as `check` returns them.
        origin: As `origin_of` returns it, for these or others.
        what: What a message calls the numbers.

    Raises:
        ValueError: Some are too large.
    """
    if numbers.dtype == np.float32 and origin is None:
        return numbers
    found, taken = np.empty(numbers.shape, np.float32), 0 if origin is None else origin
    with np.errstate(over="ignore"):
        # Computed in float64, of which no whole array is made.
        np.subtract(numbers, taken, found, dtype=np.float64, casting="same_kind")
    if not np.isfinite(found).all():
        raise ValueError(f"{what} hold values that are not finite in float32")
    return found
