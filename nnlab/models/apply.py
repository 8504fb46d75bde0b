# SPDX-License-Identifier: Apache-2.0
"""What each kind of layer computes: the JAX side of `layers.FIELDS`."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from nnlab.models.activations import ACTIVATIONS
from nnlab.models.cpu import convolution, dense
from nnlab.models.initializers import INITIALIZERS


@dataclasses.dataclass(frozen=True)
class Options:
    """How all layers of a module compute, see `stack.Stack`.

    Attributes:
      counts: whether to count active units in the collection "activity".
      fast_variance: whether batch norm computes its variance in one pass.
    """

    initializer: str
    dtype: Any
    param_dtype: Any
    train: bool
    counts: bool
    fast_variance: bool = True


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
    typed = {"dtype": options.dtype, "param_dtype": options.param_dtype}
    weighted: dict[str, Any] = {
        **typed,
        "kernel_init": INITIALIZERS[options.initializer],
        "use_bias": layer.get("bias", False),
        "name": layer["name"],
    }
    match layer["layer"]:
        case "flatten":
            return x.reshape(x.shape[0], -1)
        case "dense":
            product = dense.dot_general
            return nn.Dense(layer["units"], dot_general=product, **weighted)(x)
        case "conv":
            padding = layer["padding"]
            return nn.Conv(
                layer["channels"],
                (layer["kernel"], layer["kernel"]),
                strides=layer["stride"],
                padding=padding.upper() if isinstance(padding, str) else padding,
                conv_general_dilated=convolution.conv_general_dilated,
                **weighted,
            )(x)
        case "max_pool":
            padding = layer.get("padding", 0)
            return convolution.max_pool(x, layer["window"], layer["stride"], padding)
        case "max_abs_pool":
            return convolution.max_abs_pool(x, layer["window"], layer["stride"])
        case "average_pool":
            return x.mean(axis=(1, 2))
        case "batch_norm":
            return nn.BatchNorm(
                use_running_average=not options.train,
                momentum=0.9,
                use_fast_variance=options.fast_variance,
                name=layer["name"],
                **typed,
            )(x)
        case "dropout":
            if not options.train:
                return x
            rate = rate if layer["rate"] is None else layer["rate"]
            return dropout(module.make_rng("dropout"), x, rate)
        case activation:
            x = ACTIVATIONS[activation](x)
            if options.counts and activation != "identity":
                _count(module, layer["name"], x)
            return x


def _count(module: nn.Module, name: str, x: jax.Array) -> None:
    share = jnp.mean(x > 0, axis=range(1, x.ndim), dtype=jnp.float32)
    seen = {"share": share, "units": jnp.float32(math.prod(x.shape[1:]))}
    module.sow("activity", name, seen, lambda _, new: new, lambda: None)


def dropout(key: jax.Array, x: jax.Array, rate: jax.Array | float) -> jax.Array:
    """Sets a random share of the values to 0 and scales up the others.

    Unlike `nn.Dropout` it takes a traced rate. At rate 0 it returns `x`, bit for bit.
    """
    keep = jax.random.bernoulli(key, 1.0 - rate, x.shape)
    return jnp.where(keep, x / jnp.asarray(1.0 - rate, x.dtype), 0)
