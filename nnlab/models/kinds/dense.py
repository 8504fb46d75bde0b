# SPDX-License-Identifier: Apache-2.0
"""Dense layers, and what stands between them."""

import math
from collections.abc import Mapping
from typing import Any

from nnlab.models.kind import (
    BIAS,
    INIT,
    Field,
    Kind,
    Made,
    Options,
    Shape,
    positive,
    same_shape,
)


def _flat(layer: Mapping[str, Any], shape: Shape) -> Made:
    return Made((math.prod(shape),))


def _flatten(module: Any, layer: Any, x: Any, options: Options, rate: Any) -> Any:
    return x.reshape(x.shape[0], -1)


def _products(layer: Mapping[str, Any], shape: Shape) -> Made:
    if len(shape) not in (1, 2):
        raise ValueError(
            f"got shape {shape}, needs a flat vector ({math.prod(shape)},); put a "
            "flatten layer before it"
        )
    products, units = shape[-1] * layer["units"], layer["units"]
    biases = units if layer["bias"] else 0
    flops = 2 * math.prod(shape[:-1]) * products
    return Made((*shape[:-1], units), products + biases, flops, biases)


def _dense(module: Any, layer: Any, x: Any, options: Options, rate: Any) -> Any:
    import flax.linen as nn

    from nnlab.models.cpu import dense

    made = nn.Dense(
        layer["units"], dot_general=dense.dot_general, **options.weighted(layer)
    )
    return made(x)


def dropout(key: Any, x: Any, rate: Any) -> Any:
    """Sets a random share of the values to 0 and scales up the others.

    Unlike `nn.Dropout` it takes a traced rate. At rate 0 it returns `x`, bit for bit.
    """
    import jax
    import jax.numpy as jnp

    keep = jax.random.bernoulli(key, 1.0 - rate, x.shape)
    return jnp.where(keep, x / jnp.asarray(1.0 - rate, x.dtype), 0)


def _dropout(module: Any, layer: Any, x: Any, options: Options, rate: Any) -> Any:
    if not options.train:
        return x
    rate = rate if layer["rate"] is None else layer["rate"]
    return dropout(module.make_rng("dropout"), x, rate)


KINDS = {
    "flatten": Kind(_flat, _flatten),
    "dense": Kind(_products, _dense, {"units": positive(), "bias": BIAS, "init": INIT}),
    "dropout": Kind(
        same_shape,
        _dropout,
        {"rate": Field(float, minimum=0, below=1, absent="the trial's dropout rate")},
    ),
}
