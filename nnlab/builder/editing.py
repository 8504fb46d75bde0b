# SPDX-License-Identifier: Apache-2.0
"""A stack that is being edited: plain values and functions to another stack. No JAX.

A stack is a tuple of layer dicts; see `nnlab.models.layers`. It need not be valid, and
no function here changes the one that it is given.
"""

import itertools
from collections.abc import Callable, Iterable
from typing import Any

from nnlab.models.layers import FIELDS, Layer, choose, cnn, mlp

Stack = tuple[dict[str, Any], ...]

SUGGESTED: dict[str, Any] = {"units": 100, "channels": 16, "rate": 0.5}
"""What a new layer gets in fields that have no value of their own."""


def stack_of(layers: Iterable[Layer]) -> Stack:
    """Layers as they may be given, as dicts of their own.

    Raises:
        ValueError: Something that is no layer, or one of an unknown kind.
    """
    found = []
    for layer in layers:
        try:
            fields = {"layer": layer} if isinstance(layer, str) else dict(layer)
        except (TypeError, ValueError):
            raise ValueError(f"{layer!r} is not a layer") from None
        choose("layer", fields.get("layer"), FIELDS)
        found.append(fields)
    return tuple(found)


def fresh(kind: str) -> dict[str, Any]:
    """A new layer of a kind, with every field that its kind has."""
    fields = FIELDS[kind].items()
    return {"layer": kind} | {
        name: SUGGESTED.get(name, field.default) for name, field in fields
    }


def insert(stack: Stack, position: int, layer: dict[str, Any]) -> Stack:
    """The stack with a layer before the one at a position, or at its end."""
    return (*stack[:position], layer, *stack[position:])


def edit(stack: Stack, position: int, field: str, value: Any) -> Stack:
    """The stack with one field of one layer changed."""
    changed = {**stack[position], field: value}
    return (*stack[:position], changed, *stack[position + 1 :])


def turn(stack: Stack, position: int, kind: str) -> Stack:
    """The stack with one layer of another kind, which keeps the fields that both have.

    A convolution's kernel goes, the bias of a dense layer stays.
    """
    old = stack[position]
    kept = {k: v for k, v in old.items() if k in FIELDS[kind]}
    changed = {**fresh(kind), **kept}
    return (*stack[:position], changed, *stack[position + 1 :])


def move(stack: Stack, position: int, by: int) -> Stack:
    """The stack with one layer moved by so many places, up (-) or down, at most."""
    rest = remove(stack, position)
    return insert(rest, max(0, min(position + by, len(rest))), stack[position])


def remove(stack: Stack, position: int) -> Stack:
    """The stack without one layer."""
    return (*stack[:position], *stack[position + 1 :])


def summary(stack: Stack) -> str:
    """The stack in a line, such as "flatten, 5 x dense 100, dense 10"."""
    sizes = ("units", "channels", "window", "rate")
    parts = (
        " ".join(str(layer[name]) for name in ("layer", *sizes) if layer.get(name))
        for layer in stack
    )
    groups = ((part, len(list(equal))) for part, equal in itertools.groupby(parts))
    return ", ".join(f"{n} x {part}" if n > 1 else part for part, n in groups)


def _without(kind: str, layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [layer for layer in layers if layer["layer"] != kind]


PRESETS: dict[str, Callable[[int], list[dict[str, Any]]]] = {
    "one linear layer": lambda count: mlp([], count),
    "100 ReLU units": lambda count: mlp([100], count),
    "10 ReLU units": lambda count: mlp([10], count),
    "six linear layers": lambda count: _without("relu", mlp([100] * 5, count)),
    "two convolutions": lambda count: cnn([8, 16], [], count),
    "dense on images (invalid)": lambda count: _without("flatten", cnn([8], [], count)),
}
"""What to begin with: name -> layers, given the number of classes."""
