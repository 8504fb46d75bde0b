# SPDX-License-Identifier: Apache-2.0
"""Names of settings and columns in words, and their values as text."""

import itertools
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from nnlab.words.numbers import NONE

_GROUPS = ("early_stopping", "transfer")
"""Fields whose names alone say too little, such as patience."""
_SIZES = ("layer", "units", "channels")
"""Values of a layer that are known for what they are."""
_NUMBERS = {"r2": "R²", "mae": "absolute error"}
"""What is measured of a regression."""
_VAGUE = ("all", "auto", "none")
"""Names of values that do not say of what they are."""


def words(name: str) -> str:
    """Returns a column's name or a hyperparameter's path in words: "learning rate"."""
    parent, _, leaf = name.rpartition(".")
    if name == "batch_loss_std":
        return "spread of batch losses"
    if share := re.fullmatch(r"(\w+)_active_share", name):
        return f"active share ({share[1]})"
    if layer := re.fullmatch(r"grad_norm_(\w+)", name):
        return f"gradient norm of {layer[1]}".replace("_", " ")
    if count := re.fullmatch(r"num_(\w+)", leaf):
        leaf = f"number of {count[1]}"
    if averaged := re.fullmatch(r"(\w+)_averaged_(loss|accuracy|r2|mae)", name):
        return f"{words(f'{averaged[1]}_{averaged[2]}')} of averaged weights"
    if of_train := re.fullmatch(r"train_clean_(\w+)", name):
        return f"train {words(of_train[1])} by true labels"
    if further := re.fullmatch(r"test_(\w+)_(loss|accuracy|r2|mae)", name):
        return words(f"{further[1]}_test_{further[2]}")
    if number := re.fullmatch(r"(\w+_)?(r2|mae)", name):
        return f"{(number[1] or '').replace('_', ' ')}{_NUMBERS[number[2]]}"
    if parent in _GROUPS:
        leaf = f"{parent} {leaf}"
    return (parent if leaf == "name" and parent else leaf).replace("_", " ")


def value_text(value: Any) -> str:
    """Returns a hyperparameter's value as short text: "0.1", "60-60", "10 x 64"."""
    if value is None:  # it is not read
        return NONE
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        parts = [value_text(v) for v in value]
        runs = [(text, len(list(run))) for text, run in itertools.groupby(parts)]
        layers = any(isinstance(v, Mapping) for v in value)
        if layers or (len(runs) == 1 and runs[0][1] > 2):
            parts = []
            for text, count in runs:
                parts += [f"{count} x {text}"] if count > 2 else [text] * count
        return (", " if layers else "-").join(parts) or "none"
    if isinstance(value, Mapping):
        return " ".join(
            value_text(v) if name in _SIZES else setting_text(name, v)
            for name, v in value.items()
        )
    return str(value)


def value_texts(values: Sequence[Any]) -> list[str]:
    """Returns each value's `value_text`, in full where these hide a difference.

    >>> value_texts([0.1, 0.2]), value_texts([0.1234567, 0.1234568])
    (['0.1', '0.2'], ['0.1234567', '0.1234568'])
    """
    texts = [value_text(value) for value in values]
    hidden = len({*texts}) < len({*map(repr, values)})
    return [*map(repr, values)] if hidden else texts


def setting_text(path: str, value: Any, text: str = "") -> str:
    """Returns a setting that says of what it is: "momentum 0.9", "no batch norm".

    A name says it by itself: "relu". `text` is that of the value, if it is another.
    """
    if isinstance(value, bool):
        return ("" if value else "no ") + words(path)
    text = text or value_text(value)
    is_name = isinstance(value, str) and (value not in _VAGUE or path == "label")
    return text if is_name or path == "model.layers" else f"{words(path)} {text}"


def is_number(value: Any) -> bool:
    """Whether a hyperparameter's value can lie on a numeric axis."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_log_like(values: Collection[float]) -> bool:
    """Whether positive values are spaced more evenly in their logarithm."""
    distinct = np.unique(np.asarray(values, float))
    if distinct[0] <= 0 or distinct[-1] < 4 * distinct[0]:
        return False
    gaps, log_gaps = np.diff(distinct), np.diff(np.log(distinct))
    return bool(np.std(log_gaps) / log_gaps.mean() <= np.std(gaps) / gaps.mean())
