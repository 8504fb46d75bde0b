# SPDX-License-Identifier: Apache-2.0
"""What a config's argument chooses: data, sizes and parts of a study; no JAX."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nnlab.data import num_training
from nnlab.words.spelling import nearest

DATASETS = ("digits", "mnist", "fashion_mnist")
"""Data sets that most studies of images take; the first comes with nnlab."""
SIZES = ("", "smoke", "full")
"""The usual size, one of seconds to see that it runs, and all data."""
SMOKE = {"train_size": 512, "num_epochs": 3, "num_seeds": 2}
"""What "smoke" changes, if a study says nothing else."""

Sweep = Iterable[dict[str, Any]]
"""What a config's ``sweep(arg)`` gives: flat override dicts, one for each trial."""


def choose(arg: str, *groups: Sequence[str]) -> tuple[str, ...]:
    """Splits a config's argument, such as "mnist,smoke", into one choice a group.

    Args:
      arg: comma-separated choices in any order.
      groups: the choices of each group; the first of a group is its default.

    Returns:
      One choice for each group.

    Raises:
      ValueError: an unknown choice, or two of one group.

    >>> choose("smoke", DATASETS, SIZES)
    ('digits', 'smoke')
    """
    words = dict.fromkeys(filter(None, arg.split(",")))
    known = list(filter(None, itertools.chain(*groups)))
    for word in words:
        if word not in known:
            raise ValueError(f"unknown config argument {word!r}{nearest(word, known)}")
    chosen = []
    for group in groups:
        first, *more = [word for word in words if word in group] or [group[0]]
        if more:
            both = f"{first!r} and {more[0]!r}"
            raise ValueError(f"config argument {arg!r} has both {both}")
        chosen.append(first)
    return tuple(chosen)


def sized(size: str, **sizes: Mapping[str, Any]) -> dict[str, Any]:
    """What a size, one of `SIZES` or of a config's own, changes in a config.

    `sizes` has for each size the fields that it sets; "smoke" begins with `SMOKE`.

    >>> sized("smoke", full={"train_size": 0})
    {'train_size': 512, 'num_epochs': 3, 'num_seeds': 2}
    >>> sized("", full={"train_size": 0})
    {}
    """
    return {**(SMOKE if size == "smoke" else {}), **sizes.get(size, {})}


def updates_an_epoch(dataset: str, batch_size: int, train_size: int = 0) -> int:
    """How many updates an epoch has.

    Args:
      dataset: the name of a data set whose size is known before it is there.
      batch_size: examples in an update; the short batch at the end is dropped.
      train_size: training examples used; 0 for all.

    >>> updates_an_epoch("mnist", 64)
    781
    """
    return (train_size or num_training(dataset)) // batch_size
