# SPDX-License-Identifier: Apache-2.0
"""Kernel initialisers by name, at scale 1; `stack.init_variables` scales them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.nn import initializers


def uniform(
    key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32
) -> jax.Array:
    """Draws uniformly from [-1, 1); `jax.nn.initializers.uniform` is one-sided."""
    return jax.random.uniform(key, shape, dtype, minval=-1.0, maxval=1.0)


INITIALIZERS: dict[str, Callable[..., jax.Array]] = {
    "lecun_normal": initializers.lecun_normal(),
    "lecun_uniform": initializers.lecun_uniform(),
    "he_normal": initializers.he_normal(),
    "he_uniform": initializers.he_uniform(),
    "glorot_normal": initializers.glorot_normal(),
    "glorot_uniform": initializers.glorot_uniform(),
    "orthogonal": initializers.orthogonal(),
    "normal": initializers.normal(stddev=1.0),
    "uniform": uniform,
    "zeros": initializers.zeros,
}
"""Name -> initialiser; the same names as in `layers.INITIALIZERS`, which needs no JAX.

The variance of a kernel with fan-in i and fan-out o: lecun 1/i, he 2/i, glorot
2/(i + o), each as a truncated normal or a uniform distribution; orthogonal has
orthonormal columns (or rows); normal has standard deviation 1.
"""
