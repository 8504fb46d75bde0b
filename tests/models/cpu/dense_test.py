# SPDX-License-Identifier: Apache-2.0
"""The fast product of dense layers equals XLA's in numbers and gradients."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from networks import distance, normal

from nnlab.models.cpu import dense
from nnlab.training.member import key

DENSE_SHAPES = [(32, 64, 64), (64, 84, 17), (256, 64, 10), (256, 2, 64), (5, 1, 1)]


def squared(product, kernel, x):
    y = product(x, kernel, (((x.ndim - 1,), (0,)), ((), ())))
    return (y.astype(jnp.float32) ** 2).sum()


@pytest.mark.parametrize("shape", DENSE_SHAPES)
def test_dense_products_and_their_gradients_are_xlas(shape):
    batch, inputs, units = shape
    arguments = normal(0, inputs, units), normal(1, batch, inputs)

    @functools.partial(jax.jit, static_argnums=0)
    def pulled(product):
        return jax.value_and_grad(squared, (1, 2))(product, *arguments)

    fast, exact = pulled(dense.dot_general), pulled(lax.dot_general)
    for one, other in zip(jax.tree.leaves(fast), jax.tree.leaves(exact), strict=True):
        assert distance(one, other) < 1e-6


@pytest.mark.parametrize("shape", [(64, 84, 17), (32, 60, 64)])
def test_dense_products_take_no_gradient_for_the_inputs(shape):
    batch, inputs, units = shape
    kernels, x = normal(0, 3, inputs, units), normal(1, batch, inputs)
    gradient = jax.grad(squared, 1)
    text = str(jax.make_jaxpr(gradient, 0)(dense.dot_general, kernels[0], x))
    assert text.count("dot_general[") == 2
    members = jax.vmap(gradient, (None, 0, None))
    text = str(jax.make_jaxpr(members, 0)(dense.dot_general, kernels, x))
    assert text.count("dot_general[") == 2
    assert f"3,{batch},{inputs}" not in text  # shared inputs stay shared


@pytest.mark.parametrize("batch", [(64,), (2, 3)])
def test_dense_products_in_bfloat16_and_of_more_axes(batch):
    module = nn.Dense(8, dtype=jnp.bfloat16, dot_general=dense.dot_general)
    x = normal(0, *batch, 20)
    variables = jax.jit(module.init)(key(0), x)

    @functools.partial(jax.jit, static_argnums=0)
    def gradient(module):
        def loss(v):
            return (module.apply(v, x).astype(jnp.float32) ** 2).sum()

        return jax.grad(loss)(variables)["params"]["kernel"]

    exact = gradient(module.clone(dot_general=None))
    assert gradient(module).dtype == exact.dtype == jnp.float32
    assert distance(gradient(module), exact) < 1e-2


def test_other_products_go_to_xla():
    x, kernel = normal(0, 2, 5, 3), normal(1, 5, 4)
    numbers = (((1,), (0,)), ((), ()))
    exact = lax.dot_general(x, kernel, numbers)
    np.testing.assert_array_equal(dense.dot_general(x, kernel, numbers), exact)
