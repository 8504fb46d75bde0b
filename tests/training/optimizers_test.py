# SPDX-License-Identifier: Apache-2.0
"""Optimizers with traced hyperparameters."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nnlab.study import OPTIMIZERS
from nnlab.training.optimizers import optimizer
from nnlab.training.schedules import factor

START = np.array([1.0, -2.0, 0.5, 0.0], np.float32)
CURVATURE = np.array([1.0, 0.3, 2.0, 5.0], np.float32)


def gradient(params):
    return CURVATURE * params - 0.1


def train(name, rates, momentum, weight_decay, **settings):
    """Returns parameters after a step at each rate, each with a new optimizer."""
    settings |= {"momentum": momentum, "weight_decay": weight_decay}

    def build(rate):
        return optimizer(name, learning_rate=rate, **settings)

    def step(carry, rate):
        params, state = carry
        updates, state = build(rate).update(gradient(params), state, params)
        return (optax.apply_updates(params, updates), state), None

    params = jnp.asarray(START)
    return jax.lax.scan(step, (params, build(rates[0]).init(params)), rates)[0][0]


@functools.partial(jax.jit, static_argnums=0)
def train_with(make_rule):
    """Does the same with a rule of Optax with its own schedule or constant rate."""
    rule, params = make_rule(), jnp.asarray(START)
    state = rule.init(params)
    for _ in range(5):
        updates, state = rule.update(gradient(params), state, params)
        params = optax.apply_updates(params, updates)
    return params


def test_two_steps_of_sgd_are_the_arithmetic():
    rates = np.array([0.1, 0.05], np.float32)
    got = train("sgd", rates, 0.9, 0.01)
    velocity = gradient(START) + 0.01 * START
    params = START - 0.1 * velocity
    velocity = 0.9 * velocity + gradient(params) + 0.01 * params
    np.testing.assert_allclose(got, params - 0.05 * velocity, rtol=1e-6)


def decayed(weight_decay, rule):
    return optax.chain(optax.add_decayed_weights(weight_decay), rule)


OPTAX = {
    "sgd": lambda rate, m, w: decayed(w, optax.sgd(rate, m)),
    "adam": lambda rate, m, w: decayed(w, optax.adam(rate)),
    "adamw": lambda rate, m, w: optax.adamw(rate, weight_decay=w),
    "rmsprop": lambda rate, m, w: decayed(w, optax.rmsprop(rate, 0.9, momentum=m)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_members_of_one_program_equal_runs_at_constant_rates(name):
    rates, momenta, decays = np.float32([[0.01, 0.3], [0.0, 0.9], [0.1, 0.0]])
    together = jax.jit(
        jax.vmap(lambda rate, m, w: train(name, jnp.full(5, rate), m, w))
    )(rates, momenta, decays)
    for got, rate, m, w in zip(together, rates, momenta, decays):
        alone = train_with(lambda rate=rate, m=m, w=w: OPTAX[name](rate, m, w))
        np.testing.assert_allclose(got, alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_scheduled_rate_equals_optaxs_schedule(name):
    factors = [factor("cosine", step, {}, total_steps=5) for step in range(5)]
    got = jax.jit(lambda peak: train(name, peak * jnp.stack(factors), 0.9, 0.01))(0.1)
    rate = optax.cosine_decay_schedule(0.1, 5)
    alone = train_with(lambda: OPTAX[name](rate, 0.9, 0.01))
    np.testing.assert_allclose(got, alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_rate_0_moves_nothing(name):
    run = jax.jit(lambda m: train(name, jnp.zeros(3), m, 0.1, nesterov=True))
    np.testing.assert_array_equal(run(0.9), START)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_parts_left_out_are_no_loss_to_a_member_that_has_them_at_0(name):
    """Equal to a unit or two in the last place: the compiler fuses differently.

    On an AMD EPYC all are equal bit for bit, on an Intel Xeon rmsprop is not.
    """

    def run(uses):
        parts = {"uses_momentum": uses, "uses_weight_decay": uses}
        rates = jnp.full(5, 0.1)
        return jax.jit(lambda z: train(name, rates, z, z, nesterov=True, **parts))

    without = run(False)(0.0)
    np.testing.assert_array_max_ulp(run(True)(0.0), without, maxulp=4)
    assert not np.array_equal(without, START)


@pytest.mark.parametrize("name", ["sgd", "rmsprop"])
def test_momentum_left_out_frees_its_state(name):
    def floats(uses):
        zeros = {"learning_rate": 0.1, "momentum": 0.0, "weight_decay": 0.0}
        rule = optimizer(name, **zeros, uses_momentum=uses)
        return sum(leaf.size for leaf in jax.tree.leaves(rule.init(START)))

    assert floats(True) - floats(False) == START.size


def test_adamw_decays_apart_from_the_gradient_and_adam_through_it():
    def moved(name):
        rule = optimizer(name, learning_rate=0.1, momentum=0.0, weight_decay=0.01)
        return rule.update(jnp.zeros(4), rule.init(START), START)[0]

    np.testing.assert_allclose(moved("adamw"), -0.1 * 0.01 * START, rtol=1e-6)
    # Adam's first step has the size of the rate, whatever the gradient's.
    np.testing.assert_allclose(moved("adam"), -0.1 * np.sign(START), rtol=1e-4)
