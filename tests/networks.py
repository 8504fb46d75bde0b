# SPDX-License-Identifier: Apache-2.0
"""Shared by tests of models.

Whole functions are compiled, and random values come from NumPy: JAX compiles each
single operation anew for each shape, 50 ms each.
"""

import functools

import jax
import numpy as np

from nnlab.models import stack
from nnlab.training.member import key


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@functools.cache
def _init(module, input_shape, scale):
    x = np.zeros((2, *input_shape), np.float32)
    compiled = jax.jit(stack.init_variables, static_argnums=0)
    return compiled(module, key(0), x, scale)


def init(module, *input_shape, scale=1.0):
    """Initialises a module, once."""
    return jax.tree.map(lambda leaf: leaf, _init(module, input_shape, scale))


@functools.partial(jax.jit, static_argnums=0)
def evaluate(module, variables, x):
    return module.apply(variables, x, train=False)


def distance(a, b):
    """Returns the norm of the difference, relative to the norm of `b`."""
    return np.linalg.norm(np.subtract(a, b)) / np.linalg.norm(b)
