# SPDX-License-Identifier: Apache-2.0
"""Layers of sequences (length, features), and what makes them of tokens (length,)."""

import dataclasses
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
    need_sequence,
    positive,
)

POSITION_DEVIATION = 0.02
"""Standard deviation of learnt positions at the start, as in BERT (Devlin et al. 2019)
and Flax's examples."""

_OWN_INIT = "normal with deviation"


def _embedded(layer: Mapping[str, Any], shape: Shape) -> Made:
    features = layer["features"]
    return Made((*shape, features), layer["vocabulary"] * features)


def _embedding(module: Any, layer: Any, x: Any, options: Options, rate: Any) -> Any:
    import flax.linen as nn
    import jax.numpy as jnp

    own = {**options.typed, **_init_of(layer), "name": layer["name"]}
    made = nn.Embed(layer["vocabulary"], layer["features"], **own)
    return made(x.astype(jnp.int32))


def _init_of(layer: Mapping[str, Any]) -> dict[str, Any]:
    from nnlab.models.initializers import INITIALIZERS

    return {"embedding_init": INITIALIZERS[layer["init"]]} if layer["init"] else {}


def _hot(layer: Mapping[str, Any], shape: Shape) -> Made:
    return Made((*shape, layer["vocabulary"]))


def _one_hot(module: Any, layer: Any, x: Any, options: Options, rate: Any) -> Any:
    import jax
    import jax.numpy as jnp

    return jax.nn.one_hot(x.astype(jnp.int32), layer["vocabulary"], dtype=options.dtype)


def _placed(layer: Mapping[str, Any], shape: Shape) -> Made:
    need_sequence(shape)
    values = math.prod(shape) if layer["form"] == "learned" else 0
    return Made(shape, values, biases=values)


def _positions(module: Any, layer: Any, x: Any, options: Options, rate: Any) -> Any:
    import flax.linen as nn
    import jax.numpy as jnp

    length, features = x.shape[1:]
    if layer["form"] == "sinusoidal":
        return x + jnp.asarray([sinusoids(length, features)], x.dtype)
    usual = {"embedding_init": nn.initializers.normal(POSITION_DEVIATION)}
    own = {**usual, **options.typed, **_init_of(layer), "name": layer["name"]}
    made = nn.Embed(length, features, **own)
    return x + made(jnp.arange(length))[None]


def sinusoids(length: int, features: int) -> list[list[float]]:
    """Returns waves of positions, (length, features): sines, and then cosines.

    Their wavelengths grow from 2 pi to 20,000 pi, as in Vaswani et al., "Attention is
    all you need" (2017), section 3.5, where sines and cosines alternate.
    """
    half = -(-features // 2)
    angles = [[at / 10_000 ** (i / half) for i in range(half)] for at in range(length)]
    return [
        [*map(math.sin, row), *map(math.cos, row[: features - half])] for row in angles
    ]


def _attended(layer: Mapping[str, Any], shape: Shape) -> Made:
    need_sequence(shape)
    (length, features), heads = shape, layer["heads"]
    if features % heads:
        raise ValueError(
            f"got shape {shape}, whose {features} features are no multiple of "
            f"heads={heads}; set heads to a divisor of {features}"
        )
    products = 4 * features**2  # queries, keys, values, output
    biases = 4 * features if layer["bias"] else 0
    flops = 2 * length * (products + 2 * length * features)
    return Made(shape, products + biases, flops, biases)


def _attention(module: Any, layer: Any, x: Any, options: Options, rate: Any) -> Any:
    import flax.linen as nn

    from nnlab.models.cpu import dense

    made = nn.MultiHeadDotProductAttention(
        layer["heads"],
        qkv_dot_general=dense.dot_general,
        out_dot_general=dense.dot_general,
        deterministic=True,
        **options.weighted(layer),
    )
    mask = nn.make_causal_mask(x[..., 0]) if layer["causal"] else None
    return made(x, mask=mask)


KINDS = {
    "embedding": Kind(
        _embedded,
        _embedding,
        {
            "vocabulary": positive(),
            "features": positive(),
            "init": dataclasses.replace(INIT, absent=f"{_OWN_INIT} 1/sqrt(features)"),
        },
        reads_tokens=True,
    ),
    "one_hot": Kind(_hot, _one_hot, {"vocabulary": positive()}, reads_tokens=True),
    "positional_embedding": Kind(
        _placed,
        _positions,
        {
            "form": Field(str, "learned", choices=("learned", "sinusoidal")),
            "init": dataclasses.replace(
                INIT, absent=f"{_OWN_INIT} {POSITION_DEVIATION}"
            ),
        },
    ),
    "self_attention": Kind(
        _attended,
        _attention,
        {
            "heads": positive(4),
            "causal": Field(bool, False),
            "bias": BIAS,
            "init": INIT,
        },
    ),
}
