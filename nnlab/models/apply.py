# SPDX-License-Identifier: Apache-2.0
"""Applies layers of any kind, and the modules that are made of layers."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax

from nnlab.models import layers as layer_stack
from nnlab.models.kind import Options
from nnlab.models.kinds import KINDS
from nnlab.models.kinds.blocks import shortcut


def counts(module: nn.Module) -> bool:
    """Whether the caller of a module wants its active units.

    `init` makes every collection, but "activity" is about data and no part of a model.
    """
    return module.is_mutable_collection("activity") and not module.is_initializing()


def apply(
    module: nn.Module,
    layer: Mapping[str, Any],
    x: jax.Array,
    options: Options,
    rate: jax.Array | float = 0.0,
) -> jax.Array:
    """Applies a layer as a submodule of the module that is being called.

    `layer` has its kind, name and all its fields, as in `layers.LayerRow`; `rate` is
    the trial's dropout rate.
    """
    return KINDS[layer["layer"]].compute(module, layer, x, options, rate)


def in_sequence(
    module: nn.Module,
    layers: Iterable[layer_stack.Layer],
    x: jax.Array,
    options: Options,
    rate: jax.Array | float,
) -> jax.Array:
    """Applies layers one after another."""
    for layer in layer_stack.normalise(layers):
        x = apply(module, layer, x, options, rate)
    return x


class Block(nn.Module):
    """Layers in sequence below one name."""

    layers: Sequence[layer_stack.Layer]
    options: Options

    @nn.compact
    def __call__(self, x: jax.Array, rate: jax.Array | float) -> jax.Array:
        """Returns the last layer's outputs."""
        return in_sequence(self, self.layers, x, self.options, rate)


class Residual(nn.Module):
    """Layers whose input is added to their output, see `kinds.blocks.shortcut`."""

    layers: Sequence[layer_stack.Layer]
    options: Options
    shortcut: str = "auto"
    initializer: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, rate: jax.Array | float) -> jax.Array:
        """Returns the sum."""
        made = in_sequence(self, self.layers, x, self.options, rate)
        fields = {"shortcut": self.shortcut, "init": self.initializer}
        aside = shortcut(fields, x.shape[1:], made.shape[1:])
        if aside:
            x = in_sequence(self, aside, x, self.options, rate)
        return x + made
