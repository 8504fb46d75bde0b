# SPDX-License-Identifier: Apache-2.0
"""Activations, initialisers, dropout and batch norm, each alone."""

import functools
import math

import jax
import numpy as np
import pytest
from networks import evaluate, init, normal

from nnlab.models import stack
from nnlab.models.activations import ACTIVATIONS
from nnlab.models.initializers import INITIALIZERS
from nnlab.training.member import key


@pytest.mark.parametrize(
    ("name", "at_minus_1", "at_2"),
    [
        ("relu", 0, 2),
        ("leaky_relu", -0.01, 2),
        ("elu", math.expm1(-1), 2),
        ("silu", -1 / (1 + math.e), 2 / (1 + math.exp(-2))),
        ("softplus", math.log1p(math.exp(-1)), math.log1p(math.exp(2))),
        ("sigmoid", 1 / (1 + math.e), 1 / (1 + math.exp(-2))),
        ("tanh", math.tanh(-1), math.tanh(2)),
        ("lecun_tanh", -1, 1.7159 * math.tanh(4 / 3)),
        ("identity", -1, 2),
        ("gelu", -0.1588, 1.9546),
    ],
)
def test_activations_have_their_closed_forms(name, at_minus_1, at_2):
    got = jax.jit(ACTIVATIONS[name])(np.array([-1.0, 2.0], np.float32))
    np.testing.assert_allclose(got, [at_minus_1, at_2], atol=5e-5)


@pytest.mark.parametrize(
    ("name", "variance"),
    [
        ("lecun_normal", 1 / 400),
        ("lecun_uniform", 1 / 400),
        ("he_normal", 2 / 400),
        ("he_uniform", 2 / 400),
        ("glorot_normal", 2 / 700),
        ("glorot_uniform", 2 / 700),
        ("orthogonal", 1 / 400),
        ("normal", 1),
        ("uniform", 1 / 3),
        ("zeros", 0),
    ],
)
def test_initializers_have_mean_0_and_their_variance(name, variance):
    draw = jax.jit(INITIALIZERS[name], static_argnums=(1,))
    kernel = np.asarray(draw(key(0), (400, 300)))
    # 120,000 values: the variance is exact to 0.4 %, the mean to 0.3 % of a deviation.
    np.testing.assert_allclose(kernel.var(), variance, rtol=0.02)
    assert abs(kernel.mean()) <= 0.015 * math.sqrt(variance)


def test_orthogonal_columns_are_orthonormal():
    draw = jax.jit(INITIALIZERS["orthogonal"], static_argnums=(1,))
    kernel = np.asarray(draw(key(0), (30, 20)))
    np.testing.assert_allclose(kernel.T @ kernel, np.eye(20), atol=1e-5)


# Dropout

DROPPING = stack.Stack(["dropout", "dropout"])


@functools.partial(jax.jit, static_argnames=("module", "train"))
def drop(x, rate, seed=0, module=DROPPING, train=True):
    return module.apply(
        {"hyperparameters": {"dropout_rate": rate}},
        x,
        train=train,
        rngs={"dropout": key(seed)},
    )


def test_rate_0_is_the_identity_bit_for_bit():
    x = normal(1, 50, 40)
    np.testing.assert_array_equal(drop(x, 0.0), x)
    np.testing.assert_array_equal(drop(x, 0.5, train=False), x)


def test_dropout_keeps_the_mean_and_each_layer_draws_its_own_mask():
    kept = np.asarray(drop(np.ones((400, 250), np.float32), 0.3))
    # 100,000 values: the kept share is exact to 0.2 %. One mask twice would keep 0.7.
    np.testing.assert_allclose(np.mean(kept > 0), 0.7**2, atol=0.008)
    np.testing.assert_allclose(np.unique(kept), [0, 1 / 0.7**2], rtol=1e-6)
    np.testing.assert_allclose(kept.mean(), 1, atol=0.016)


def test_members_of_one_program_drop_at_their_own_rates():
    x = np.ones((100, 100), np.float32)
    rates = np.array([0.0, 0.2, 0.6], np.float32)
    together = jax.jit(jax.vmap(drop, (None, 0, 0)))(x, rates, np.arange(3))
    for member, rate in enumerate(rates):
        np.testing.assert_array_equal(together[member], drop(x, rate, member))


def test_a_layer_with_a_rate_does_not_follow_the_trial():
    fixed = stack.Stack([{"layer": "dropout", "rate": 0.5}])
    x = np.ones((100, 100), np.float32)
    dropped = np.asarray(drop(x, 0.0, module=fixed))
    np.testing.assert_array_equal(drop(x, 0.9, module=fixed), dropped)
    assert 0.45 < np.mean(dropped == 0) < 0.55


# Batch norm

NORMED = stack.Stack(["batch_norm"])


def train_normed(variables, x):
    apply = functools.partial(NORMED.apply, train=True, mutable=["batch_stats"])
    return jax.jit(apply)(variables, x)


def test_running_statistics_are_the_average_of_the_batches():
    variables = init(NORMED, 3)
    x = 5 + 2 * normal(1, 64, 3)
    got = train_normed(variables, x)[1]["batch_stats"]["batch_norm_0"]
    np.testing.assert_allclose(got["mean"], 0.1 * x.mean(0), rtol=1e-5)
    np.testing.assert_allclose(got["var"], 0.9 + 0.1 * x.var(0), rtol=1e-5)


def test_evaluation_uses_the_running_statistics_alone():
    variables = init(NORMED, 3)
    stats = {"mean": np.full(3, 4.0, "f"), "var": np.full(3, 0.25, "f")}
    variables["batch_stats"] = {"batch_norm_0": stats}
    x = normal(1, 8, 3)
    together = evaluate(NORMED, variables, x)
    np.testing.assert_allclose(together, (x - 4) / math.sqrt(0.25 + 1e-5), rtol=1e-5)
    np.testing.assert_array_equal(evaluate(NORMED, variables, x[:1]), together[:1])
