# SPDX-License-Identifier: Apache-2.0
"""Elementwise activation functions by name, for arrays of any shape."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from nnlab.models.kinds import elementwise


def lecun_tanh(x: jax.Array) -> jax.Array:
    """Returns 1.7159 tanh(2x/3), which maps 1 to 1 and -1 to -1.

    Source: LeCun, Bottou, Orr and Mueller, "Efficient BackProp" (1998), section 4.4.
    """
    return 1.7159 * jnp.tanh(x * (2 / 3))


def identity(x: jax.Array) -> jax.Array:
    """Returns the input itself, for deep linear networks."""
    return x


_OWN = {"tanh": jnp.tanh, "lecun_tanh": lecun_tanh, "identity": identity}

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    name: _OWN.get(name) or getattr(jax.nn, name) for name in elementwise.ACTIVATIONS
}
"""Name -> function; all but three are those of `jax.nn`."""

MONOTONE = frozenset(ACTIVATIONS) - elementwise.UNMOVED
"""Activations before which a max-pool may move: its choice is the same there."""
