# SPDX-License-Identifier: Apache-2.0
"""Turns the labels of every source into codes, in one order and without loss.

A class has a code, which decides the order of examples and columns; a name, which
tables and figures show; and a value, the user's own label, which a network predicts.
"""

import dataclasses
import re
import unicodedata
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt

MISSING = {"", "?", "-", "None", "null", "NULL"}
MISSING |= {"NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NaT"}
"""Texts of an unknown label."""

_LARGEST = np.iinfo(np.int64).max
# A number as text. With a leading 0, as in 0012, it is a name.
_NUMBER = re.compile(r"[+-]?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?")


@dataclasses.dataclass(frozen=True, eq=False)
class Encoded:
    """Labels as codes.

    Attributes:
      codes: (N,), int32 in [0, C); of a regression the targets, (N, C), float64.
      names: C names, in NFC.
      values: (C,), the user's own labels; None for targets.
    """

    codes: np.ndarray
    names: tuple[str, ...]
    values: Any


def in_order(texts: Iterable[str]) -> list[str]:
    """Sorts names of classes, folders or layers as people do: "img2" before "img10".

    Numbers are sorted by size if all names are numbers.

    >>> in_order(["img10", "img2", "img1"])
    ['img1', 'img2', 'img10']
    """
    given = list(texts)
    numbers = {text: _number(text) for text in given}
    if None in numbers.values():
        return sorted(given, key=lambda text: (_pieces(text), text))
    return sorted(given, key=lambda text: (numbers[text], len(text), text))


def missing(labels: npt.ArrayLike) -> np.ndarray:
    """Returns which labels (N,) of any type are missing: bool (N,).

    Missing are masked values, NaN, None, pandas.NA and texts of `MISSING`; "-" is not
    missing where there is a "+".
    """
    array = np.asanyarray(labels)
    gone = np.ma.getmaskarray(array)
    if array.dtype.kind not in "biuU":
        import pandas as pd  # takes a third of a second

        gone = gone | pd.isna(np.asarray(array))
    if array.dtype.kind in "OTU":
        plain = np.asarray(array).tolist()
        texts = [t.strip() if isinstance(t, str) else None for t in plain]
        marks = MISSING - {"-"} if "+" in texts else MISSING
        gone = gone | np.array([text in marks for text in texts], bool)
    return np.asarray(gone)


def check(labels: npt.ArrayLike, what: str = "labels") -> np.ndarray:
    """Checks labels, (N,) or one column (N, 1); `what` is their name in messages.

    Allowed are integers, booleans, texts, and floats that are whole numbers; also as
    objects.

    Returns:
      (N,), of bool, int64, uint64 (where int64 is too small) or text.

    Raises:
      ValueError: they are of another type or shape, or some are missing.
    """
    try:
        # NumPy turns large numbers into floats, and mixed values into texts.
        listed = isinstance(labels, list | tuple)
        array = np.asanyarray(labels, object if listed else None)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"{what} cannot be made an array: {error}") from error
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(
            f"{what} have shape {array.shape}; needed: (N,); rows with a single 1 "
            "become labels by .argmax(axis=1)"
        )
    gone = missing(array)
    if gone.any():
        marks = sorted({repr(str(label)) for label in array[gone]})
        raise ValueError(
            f"{gone.sum():,} of {len(array):,} {what} are missing "
            f"({', '.join(marks[:5])}): leave these examples out, or rename the class "
            "if it really has this name"
        )
    plain = np.asarray(array)
    if plain.dtype.kind in "OT":
        plain = _of_objects(plain.astype(object), what)
    return _of_one_type(plain, what)


def _of_objects(array: np.ndarray, what: str) -> np.ndarray:
    listed = any(isinstance(label, list | tuple) for label in array)
    kinds = {"O"} if listed else {np.asarray(label).dtype.kind for label in array}
    if kinds <= {"i", "u", "O"} and all(isinstance(n, int | np.integer) for n in array):
        dtype = np.uint64 if max(array, default=0) > _LARGEST else np.int64
        try:  # NumPy by itself makes floats of a list of int64 and uint64
            return np.array([int(number) for number in array], dtype)
        except OverflowError as error:
            raise ValueError(
                f"{what} do not fit into 64 bits: make them texts, [str(n) for n in "
                f"{what}]"
            ) from error
    if kinds <= {"i", "f"} or kinds in ({"b"}, {"U"}):
        return np.array(array.tolist())
    types = ", ".join(sorted({type(label).__name__ for label in array}))
    raise ValueError(
        f"{what} are objects of {types}; allowed: all integers, all booleans or all "
        "texts (convert with .astype)"
    )


def _of_one_type(array: np.ndarray, what: str) -> np.ndarray:
    dtype = array.dtype
    if dtype.kind == "V" and np.can_cast(dtype, np.float32):  # bfloat16 and its like
        array = array.astype(np.float32)
    if array.dtype.kind == "f":
        if not np.isfinite(array).all() or (abs(array) > 2.0**62).any():
            raise ValueError(f"{what} of {dtype} do not all fit into 64 bits")
        if (fractions := array[array % 1 != 0]).size:
            raise ValueError(
                f"{what} of {dtype} have fractions, such as {fractions[0]:g}: make "
                "classes of them by np.digitize, or by .astype(str) if each value is a "
                "class"
            )
        return array.astype(np.int64)
    if array.dtype.kind in "iu":
        large = len(array) > 0 and array.max() > _LARGEST
        return array.astype(np.uint64 if large else np.int64)
    if array.dtype.kind not in "bU":
        raise ValueError(
            f"{what} have dtype {dtype}; allowed: integers, booleans, strings or "
            "floats that are whole numbers (convert with .astype)"
        )
    return array


def joined(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Concatenates labels, all as `check` returns them; refuses those of two kinds."""
    if {first.dtype.kind, second.dtype.kind} == {"i", "u"}:
        return check([*first.tolist(), *second.tolist()])  # whole numbers stay exact
    if first.dtype.kind != second.dtype.kind:
        raise ValueError(
            f"test_labels have dtype {second.dtype}, labels {first.dtype}: they must "
            "agree"
        )
    return np.concatenate([first, second])


def encode(labels: np.ndarray, dtype: Any = None) -> Encoded:
    """Turns the labels of arrays, as `check` returns them, into codes.

    Numbers keep their order and `dtype`, that of the user's own, in the class values;
    texts have the order of `in_order`. Two ways to encode one text in Unicode are one
    class.
    """
    if labels.dtype.kind == "U":
        return _grouped(labels.tolist(), _normal)
    values, codes = np.unique(labels, return_inverse=True)
    names = tuple(map(str, values))
    if isinstance(dtype, np.dtype) and dtype.kind in "iuf":
        values = values.astype(dtype)
    return Encoded(codes.astype(np.int32), names, values)


def parse(texts: Sequence[str], what: str = "labels") -> Encoded:
    """Turns the labels of a text file into codes, in the order of `in_order`.

    If all are numbers, equal ones such as 1 and 1.0 are one class, named by the
    shortest text, and the values are numbers where 64 bits hold them. A text such as
    0012 is a name, another class than 12. Missing labels are refused (ValueError);
    `what` is their name in messages.
    """
    check(np.array(texts, object), what)
    numbers = {text: _number(text) for text in dict.fromkeys(texts)}
    if None in numbers.values():
        return _grouped(texts, _normal)
    encoded = _grouped(texts, numbers.__getitem__)
    found: Any = [numbers[name] for name in encoded.names]
    whole = all(number == number.to_integral_value() for number in found)
    dtype = np.uint64 if max(found) > _LARGEST else np.int64
    try:
        values = (
            np.array(list(map(int, found)), dtype)
            if whole
            else np.array(list(map(float, found)))
        )
    except OverflowError:  # they stay texts
        return encoded
    return dataclasses.replace(encoded, values=values)


def to_plain(values: np.ndarray) -> dict[str, Any]:
    """Converts values of classes (C,) for JSON."""
    return {"dtype": values.dtype.str, "values": values.tolist()}


def from_plain(plain: Mapping[str, Any], num_classes: int) -> np.ndarray:
    """Converts values of classes (C,) back from `to_plain`.

    Damaged ones raise ValueError, KeyError or TypeError.
    """
    dtype = np.dtype(str(plain["dtype"]))
    try:
        values = np.array(plain["values"], dtype)
    except OverflowError as error:
        raise ValueError(str(error)) from None
    if dtype.kind not in "biufU" or values.shape != (num_classes,):
        raise ValueError(f"labels of {dtype} {values.shape} for {num_classes} classes")
    return values


def _grouped(texts: Sequence[str], identity: Callable[[str], Hashable]) -> Encoded:
    """Makes a class of all texts of one identity, named by the shortest."""
    shortest: dict[Hashable, str] = {}
    for text in sorted(set(texts), key=lambda text: (len(text), text)):
        shortest.setdefault(identity(text), text)
    values = {_normal(text): text for text in shortest.values()}
    names = in_order(values)
    places = {identity(name): code for code, name in enumerate(names)}
    codes = [places[identity(text)] for text in texts]
    return Encoded(
        np.array(codes, np.int32),
        tuple(names),
        np.array([values[name] for name in names]),
    )


def _normal(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _number(text: str) -> Decimal | None:
    """Returns the exact number that a text is; None if it is none."""
    return Decimal(text) if _NUMBER.fullmatch(text) else None


def _pieces(text: str) -> list[Any]:
    """Splits a text into alternating words and whole numbers, for sorting."""
    pieces: list[Any] = re.split(r"(\d+)", text)
    for place in range(1, len(pieces), 2):
        digits = pieces[place].lstrip("0")
        pieces[place] = (len(digits), digits)
    return pieces
