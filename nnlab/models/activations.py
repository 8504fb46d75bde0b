# SPDX-License-Identifier: Apache-2.0
"""Elementwise activation functions by name, for arrays of any shape."""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def lecun_tanh(x: jax.Array) -> jax.Array:
    """Returns 1.7159 tanh(2x/3), which maps 1 to 1 and -1 to -1.

    Source: LeCun, Bottou, Orr and Mueller, "Efficient BackProp" (1998), section 4.4.
    """
    return 1.7159 * jnp.tanh(x * (2 / 3))


def identity(x: jax.Array) -> jax.Array:
    """Returns the input itself, for deep linear networks."""
    return x


ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": jax.nn.relu,
    "leaky_relu": jax.nn.leaky_relu,
    "elu": jax.nn.elu,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "lecun_tanh": lecun_tanh,
    "identity": identity,
}
"""Name -> function; the same names as in `layers.ACTIVATIONS`, which needs no JAX."""

MONOTONE = frozenset(ACTIVATIONS) - {"gelu", "silu"}
"""Activations that never fall: the largest input gives the largest output."""
