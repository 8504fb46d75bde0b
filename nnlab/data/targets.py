# SPDX-License-Identifier: Apache-2.0
"""Tells a regression's targets, which are numbers, from the labels of classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nnlab.data import labels, numbers

AUTO, CLASSIFICATION, REGRESSION = TASKS = "auto", "classification", "regression"
"""What labels are; "auto" tells by their values."""


def check(given: npt.ArrayLike, what: str, task: str = AUTO) -> np.ndarray:
    """Checks labels or targets; `what` is their name in messages.

    With "auto", floats are targets if any has a fraction, all else labels of classes.

    Returns:
      Labels as from `labels.check`, or targets, float64 (N, C).

    Raises:
      ValueError: they can be neither, or `task` is unknown.

    >>> check([0.5, 1.0], "labels").shape, check([0.0, 1.0], "labels").dtype.name
    ((2, 1), 'int64')
    """
    if task not in TASKS:
        raise ValueError(f"task={task!r} is not known; allowed: {', '.join(TASKS)}")
    if task == CLASSIFICATION or (task == AUTO and not _are_targets(given)):
        return labels.check(given, what)
    try:
        array = np.asarray(given, np.float64)
    except (ValueError, TypeError):
        raise ValueError(f"{what} are no numbers, as a regression needs them") from None
    array = array[:, np.newaxis] if array.ndim == 1 else array
    if array.ndim != 2 or not array.size:
        raise ValueError(
            f"{what} of a regression have shape {array.shape}; needed: (N,) or (N, C)"
        )
    if (missing := ~np.isfinite(array).all(axis=1)).any():
        raise ValueError(
            f"{missing.sum():,} of {len(array):,} {what} are missing or not finite: "
            "leave these examples out"
        )
    return array


def _are_targets(given: npt.ArrayLike) -> bool:
    """Whether labels can only be numbers: they have fractions."""
    try:
        array = np.asarray(given)
    except ValueError:  # rows of different lengths
        return False
    if array.dtype.kind == "V" and np.can_cast(array.dtype, np.float32):  # bfloat16
        array = array.astype(np.float32)
    if array.dtype.kind != "f" or array.ndim not in (1, 2) or not array.size:
        return False
    return bool((array[np.isfinite(array)] % 1 != 0).any())


def encode(
    targets: np.ndarray, given: Any, names: Sequence[str] | None
) -> labels.Encoded:
    """Names targets, float64 (N, C): as asked, or as the columns that were given."""
    columns = numbers.columns_of(given)
    if not columns and (name := getattr(given, "name", None)):  # of a pandas.Series
        columns = (numbers.one_line(name),)
    count = targets.shape[1]
    usual = [f"target_{n}" for n in range(1, count + 1)] if count > 1 else ["target"]
    chosen = tuple(names or columns or usual)
    if len(chosen) != count:
        raise ValueError(f"{len(chosen)} names do not fit {count} targets")
    return labels.Encoded(targets, chosen, None)
