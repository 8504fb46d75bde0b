# SPDX-License-Identifier: Apache-2.0
"""Edits stacks: each function returns a new stack and leaves the old one; no JAX.

A stack is a tuple of layer dicts; see `nnlab.models.layers`. It need not be valid.
"""

import itertools
from collections.abc import Callable, Iterable
from typing import Any

from nnlab.models.layers import FIELDS, Layer, choose, cnn, mlp

Stack = tuple[dict[str, Any], ...]

SUGGESTED: dict[str, Any] = {
    **{"units": 100, "channels": 16, "rate": 0.5, "vocabulary": 10, "features": 64},
    "layers": [{"layer": "dense", "units": 100}, {"layer": "relu"}],
}
"""Initial values of a new layer's fields that have no default."""


def stack_of(layers: Iterable[Layer]) -> Stack:
    """Makes a stack of layers, given by name or as dicts, which are copied.

    Raises:
      ValueError: something is not a layer, or of an unknown kind.
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
    """Makes a new layer of a kind, with all fields of its kind."""
    values = {
        name: SUGGESTED.get(name) if field.required or name == "rate" else field.default
        for name, field in FIELDS[kind].items()
    }
    return {"layer": kind, **values}


def insert(stack: Stack, position: int, layer: dict[str, Any]) -> Stack:
    """Inserts a new layer at a position, before the layer that is there."""
    return (*stack[:position], layer, *stack[position:])


def edit(stack: Stack, position: int, field: str, value: Any) -> Stack:
    """Changes one field of one layer."""
    changed = {**stack[position], field: value}
    return insert(remove(stack, position), position, changed)


def turn(stack: Stack, position: int, kind: str) -> Stack:
    """Turns one layer into another kind; it keeps the fields that both kinds have.

    A convolution that becomes a dense layer keeps its bias and loses its kernel.
    """
    kept = {k: v for k, v in stack[position].items() if k in FIELDS[kind]}
    return insert(remove(stack, position), position, {**fresh(kind), **kept})


def move(stack: Stack, position: int, by: int) -> Stack:
    """Moves one layer up (-) or down (+), not beyond the ends."""
    rest = remove(stack, position)
    return insert(rest, max(0, min(position + by, len(rest))), stack[position])


def remove(stack: Stack, position: int) -> Stack:
    """Removes one layer."""
    return (*stack[:position], *stack[position + 1 :])


def summary(stack: Stack) -> str:
    """Describes the stack in a line, such as "flatten, 5 x dense 100, dense 10"."""
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
"""Preset stacks: name -> function from the number of classes to layers."""
