# SPDX-License-Identifier: Apache-2.0
"""Backbones: trained networks without their last layer, for transfer learning.

A backbone comes from another data set or from a file of weights. All members of a
program start from the same one; their seeds differ in the new last layer, the data
order and the noise.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from nnlab.models import layers
from nnlab.models.resnet import ResNet18
from nnlab.models.stack import Stack
from nnlab.training import modules
from nnlab.training.member import Recipe, scaled, shapes_of_variables

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
"""Of red, green and blue, in [0, 1], as in torchvision's transforms for its weights."""

FEATURES_AT_ONCE = 256
"""Examples in a batch whose features are computed."""


@dataclasses.dataclass(frozen=True, eq=False)
class Backbone:
    """A trained backbone: arrays of all layers but the last dense one, float32."""

    params: Mapping[str, Any]  # {layer: tree of arrays}
    batch_stats: Mapping[str, Any]
    about: Mapping[str, Any]  # plain values on its origin, for config.json
    seconds: float = 0.0


def backbone_of(module: nn.Module | modules.Called) -> nn.Module:
    """Returns a module without its last dense layer, which computes features (B, F).

    Raises:
      ValueError: the module is a user's own, or has no hidden layers.
    """
    if isinstance(module, ResNet18):
        return module.clone(num_classes=0)
    if not isinstance(module, Stack):
        raise ValueError(
            f"transfer needs a model of nnlab's own, not {modules.name_of(module)}"
        )
    kinds = [layer["layer"] for layer in layers.normalise(module.layers)]
    last = len(kinds) - 1 - kinds[::-1].index("dense")
    if not {"dense", "conv"} & set(kinds[:last]):
        raise ValueError("transfer needs a model with hidden layers")
    return module.clone(layers=module.layers[:last])


def layers_of(recipe: Recipe) -> dict[str, tuple[str, ...]]:
    """Returns the top-level names of a backbone's "params" and "batch_stats"."""
    variables = shapes_of_variables(backbone_of(recipe.module), recipe.input_shape)
    kinds = ("params", "batch_stats")
    return {kind: tuple(variables.get(kind, {})) for kind in kinds}


def head(module: nn.Module | modules.Called, num_classes: int) -> Stack:
    """Returns the last dense layer as a network of its own on features (B, F)."""
    dense = {"layer": "dense", "name": "head", "units": num_classes}
    fields = {f: getattr(module, f) for f in ("initializer", "dtype", "param_dtype")}
    return Stack((dense,), **fields)


def features(recipe: Recipe, backbone: Backbone, inputs: np.ndarray) -> np.ndarray:
    """Computes the features, float32 (N, F), of stored inputs (N, *input_shape).

    `recipe` is that of the whole network.
    """
    module = backbone_of(recipe.module)
    variables = jax.device_put(
        {"params": backbone.params, "batch_stats": backbone.batch_stats}
    )

    @jax.jit
    def of_batch(variables: Any, batch: jax.Array) -> Any:
        return module.apply(variables, scaled(recipe, batch), train=False)

    flat = inputs.reshape(len(inputs), -1)
    size = min(FEATURES_AT_ONCE, len(flat))
    found = []
    for start in range(0, len(flat), size):
        batch = flat[start : start + size]
        padded = np.resize(batch, (size, batch.shape[1]))  # one shape, one compilation
        found.append(np.asarray(of_batch(variables, padded))[: len(batch)])
    return np.concatenate(found)
