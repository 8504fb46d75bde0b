# SPDX-License-Identifier: Apache-2.0
"""Divides examples into parts, class by class: one split for all seeds, or one each.

A part has of every class its share of the examples, rounded by largest remainders, and
at least one example.
"""

import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from nnlab.words import numbers

_STREAM = zlib.crc32(b"split")
_SETS = {"train": "training"}


def divided(
    labels: np.ndarray, sizes: Mapping[str, int], class_names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Divides examples into parts, each stratified by class.

    Of every class the last part gets the last examples, and the first part the first
    ones. The parts are filled from the last to the first, so that a smaller first part
    leaves the others as they are.

    Args:
      labels: (N,), integers in [0, C). A class without examples is in no part.
      sizes: examples of each part by its name; in all at most N.
      class_names: C names, for messages.

    Returns:
      The indices of each part's examples, ascending, int64.

    Raises:
      ValueError: a class has fewer examples than there are parts, or a part is smaller
        than the number of classes.

    >>> divided(np.array([0, 1, 1, 0, 1, 1]), {"train": 4, "test": 2}, ("a", "b"))
    {'train': array([0, 1, 2, 4]), 'test': array([3, 5])}
    """
    there = np.bincount(labels, minlength=len(class_names))
    _check(there, sizes, class_names)
    by_class = np.argsort(labels, kind="stable")
    rank = np.empty(len(labels), np.int64)  # of an example within its class
    rank[by_class] = np.arange(len(labels)) - np.repeat(np.cumsum(there) - there, there)
    found, left = {}, there
    for later, (name, size) in reversed([*enumerate(sizes.items())]):
        counts = _shares(left, size, later)
        # What no part needs is left out between the first part and the second.
        start = left - counts if later else np.zeros_like(left)
        taken = (start[labels] <= rank) & (rank < (start + counts)[labels])
        found[name] = np.flatnonzero(taken)
        left = left - counts
    return {name: found[name] for name in sizes}


def _shares(there: np.ndarray, size: int, later: int) -> np.ndarray:
    """Returns how many examples of each class a part has, int64 (C,).

    Each class with examples, of which there are `there`, keeps one for every later part
    and has one here. In whole numbers, so that every machine rounds alike.
    """
    least, most = np.minimum(there, 1), np.maximum(there - later, 0)
    total = int(there.sum())
    counts = np.clip(there * size // total, least, most)
    while missing := size - int(counts.sum()):
        owed = there * size - counts * total
        if missing > 0:
            counts[np.where(counts < most, owed, -np.inf).argmax()] += 1
        else:
            counts[np.where(counts > least, owed, np.inf).argmin()] -= 1
    return counts


def _check(
    there: np.ndarray, sizes: Mapping[str, int], class_names: Sequence[str]
) -> None:
    called = {name: _SETS.get(name, name) for name in sizes}
    parts = numbers.joined([f"a {name}" for name in called.values()])
    for index in np.flatnonzero((there > 0) & (there < len(sizes))).tolist():
        raise ValueError(
            f"class {class_names[index]!r} has "
            f"{numbers.count(int(there[index]), 'example')}, but {parts} set need one "
            "each: add examples, or leave the class out"
        )
    classes = int((there > 0).sum())
    for name, size in sizes.items():
        if size < classes:
            raise ValueError(
                f"a {called[name]} set of {numbers.count(size, 'example')} cannot hold "
                f"all {classes} classes: it needs {classes} examples or more"
            )


def strata(labels: np.ndarray) -> np.ndarray:
    """Returns what parts are stratified by: the classes; 0 for a regression's targets.

    Labels are (N,), integers, or targets (N, C); the result is (N,), integers.
    """
    return labels if labels.ndim == 1 else np.zeros(len(labels), np.int32)


def drawn(
    labels: np.ndarray,
    sizes: Mapping[str, int],
    class_names: Sequence[str],
    root_seed: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """Draws a seed's parts at random, each stratified by class; see `divided`.

    Returns:
      The indices of each part's examples, int32, in random order.
    """
    generator = np.random.default_rng([root_seed, seed, _STREAM])
    order = generator.permutation(len(labels)).astype(np.int32)
    parts = divided(strata(labels)[order], sizes, class_names)
    return {name: order[part] for name, part in parts.items()}
