# SPDX-License-Identifier: Apache-2.0
"""Data sets that a function makes: a file for each, and in it a function of its name.

"NAME:A:B" calls it with the arguments A and B, in the function's order. Random numbers
have a fixed key, so equal arguments make equal arrays in every process.
"""

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any

from nnlab.data.dataset import Dataset

NAMES = tuple(module.name for module in pkgutil.iter_modules(__path__))

_KINDS = {int: "a whole number", float: "a number"}


def usage(name: str, full: bool = False) -> str:
    """Returns how a data set is asked for, `full` with all arguments it may have.

    >>> usage("modular_addition"), usage("modular_addition", full=True)
    ('modular_addition:P', 'modular_addition:P:TRAIN_SHARE')
    """
    taken = inspect.signature(_function(name)).parameters.values()
    asked = [p.name.upper() for p in taken if full or p.default is p.empty]
    return ":".join([name, *asked])


def make(asked: str) -> Dataset:
    """Makes a data set, such as "mnist1d" or "modular_addition:97".

    Raises:
      ValueError: too few or too many arguments, or one of the wrong kind or range.

    >>> make("modular_addition:7").train.inputs.dtype
    dtype('int32')
    """
    name, *texts = asked.split(":")
    taken = [*inspect.signature(_function(name)).parameters.values()]
    least = sum(p.default is p.empty for p in taken)
    write = f"write {' or '.join(dict.fromkeys([usage(name), usage(name, True)]))}"
    if not least <= len(texts) <= len(taken):
        lacks = "lacks its argument" if len(texts) < least else "has too many arguments"
        raise ValueError(f"dataset {asked!r} {lacks}: {write}")
    values: list[Any] = []
    for of, text in zip(taken, texts):
        try:
            values.append(of.annotation(text))
        except ValueError:
            raise ValueError(
                f"dataset {asked!r}: {of.name.upper()} must be "
                f"{_KINDS[of.annotation]}, not {text!r}; {write}"
            ) from None
    try:
        return dataclasses.replace(_function(name)(*values), name=asked)
    except ValueError as error:
        raise ValueError(f"dataset {asked!r}: {error}") from None


def _function(name: str) -> Callable[..., Dataset]:
    found: Callable[..., Dataset] = getattr(
        importlib.import_module(f"{__name__}.{name}"), name
    )
    return found
