# SPDX-License-Identifier: Apache-2.0
"""Probes against closed forms, dense Hessians and plain loops over examples."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from jax.flatten_util import ravel_pytree

from nnlab.training import member, probes
from nnlab.training.prepare import prepare

CNN = {"model.name": "cnn", "model.channels": (2,), "model.activation": "tanh"}
NORMED = {"model.batch_norm": True}


def network(size=48, batch=None, *, sample=None, **overrides):
    """Returns a network before its first update, and a batch."""
    study = tiny.study(num_seeds=1, **overrides)
    (program,) = [tiny.program(study)] if sample is None else prepare(study)
    recipe = program.recipe
    if batch:
        recipe = dataclasses.replace(recipe, probe_batch=batch)
    traced = {k: jnp.float32(v[0]) for k, v in program.members.traced().items()}
    key = member.stream_key(0, jnp.int32(0), "noise")
    state = jax.jit(functools.partial(member.init_state, recipe))(traced, key)
    train = program.fed.train
    data = probes.Batch(*map(jnp.asarray, (train.inputs[:size], train.labels[:size])))
    return probes.Network(recipe, state, traced, key, lambda: state.params), data


def measured(name, of, batch):
    """Returns what a probe measures, as plain numbers."""
    found = jax.jit(
        lambda state: getattr(probes, name)(dataclasses.replace(of, state=state), batch)
    )(of.state)
    return jax.tree.map(float, found)


def hessian(of, batch):
    flat, back = ravel_pytree(of.params)
    return jax.jit(jax.hessian(lambda w: of.loss(back(w), batch)))(flat)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [NORMED, {"model.activation": "tanh", "model.init_scale": 4.0}, tiny.DEEP],
    ids=("batch norm", "tanh", "stacked"),
)
def test_sharpness_is_the_largest_eigenvalue_of_the_dense_hessian(settings):
    of, batch = network(**settings)
    largest = np.linalg.eigvalsh(np.float64(hessian(of, batch)))[-1]
    found = measured("sharpness", of, batch)
    assert found[""] == pytest.approx(largest, rel=0.01)
    assert found["edge"] == pytest.approx(0.1 * found[""] / 2)


def test_sharpness_is_the_largest_eigenvalue_not_that_of_largest_magnitude():
    class Turned(probes.Network):
        def hvp(self, params, batch, vector):
            flat, back = ravel_pytree(vector)
            values = jnp.linspace(0, 4, flat.size).at[:2].set(jnp.array([-9.0, 5.0]))
            return back(values * flat)

    of, batch = network()
    found = measured("sharpness", Turned(**vars(of)), batch)
    assert found[""] == pytest.approx(5.0, rel=0.01)


def test_hessian_vector_products_pass_through_convolution_and_pooling():
    of, batch = network(size=32, sample="digits", dataset="digits", **CNN)
    flat, back = ravel_pytree(of.params)
    vector = jax.random.normal(jax.random.key(3), flat.shape)
    gradient = jax.jit(jax.grad(lambda w: of.loss(back(w), batch)))
    product = jax.jit(lambda v: of.hvp(of.params, batch, back(v)))(vector)
    width = 1e-4  # few windows have another largest value so near
    plain = gradient(flat + width * vector) - gradient(flat - width * vector)
    difference = ravel_pytree(product)[0] - plain / (2 * width)
    assert jnp.linalg.norm(difference) < 0.02 * jnp.linalg.norm(plain / (2 * width))


@pytest.mark.parametrize("batch", [16, 48])
def test_loss_and_gradient_are_means_over_batches_of_the_training(batch):
    of, data = network(batch=batch, **NORMED)
    parts = [probes.Batch(*(v[i : i + batch] for v in data)) for i in range(0, 48, 16)]
    parts = parts if batch == 16 else [data]
    others = of.state.batch_stats, of.traced

    @jax.jit
    def one(params, part):
        return member.batch_loss(of.recipe, params, *others, *part, of.key)[0]

    losses = [one(of.params, part) for part in parts]
    gradients = [jax.grad(one)(of.params, part) for part in parts]
    assert float(of.loss(of.params, data)) == pytest.approx(float(np.mean(losses)))
    mean = jax.tree.map(lambda *leaves: sum(leaves) / len(leaves), *gradients)
    found = of.gradient(of.params, data)
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-6), found, mean)


def test_the_noise_scale_is_that_of_each_examples_gradient():
    of, batch = network(size=120)

    def gradient(x, y):
        return ravel_pytree(of.gradient(of.params, probes.Batch(x[None], y[None])))[0]

    each = np.float64(jax.vmap(gradient)(*batch))  # size 120 // 64 = 1 each
    trace = each.var(axis=0, ddof=1).sum()
    square = (each.mean(axis=0) ** 2).sum() - trace / len(each)
    found = measured("noise_scale", of, batch)
    assert found["trace"] == pytest.approx(trace, rel=1e-3)
    assert found["square"] == pytest.approx(square, rel=1e-3)
    assert found[""] == pytest.approx(trace / square, rel=1e-3)


def norms(tree):
    """Returns the norm of each layer."""
    flat = {layer: ravel_pytree(one)[0] for layer, one in tree.items()}
    return {layer: float(jnp.linalg.norm(one)) for layer, one in flat.items()}


def test_norms_distance_and_descent_are_those_of_one_plain_step():
    of, batch = network(size=16)
    step = functools.partial(member.train_step, of.recipe, sample=True, check=False)
    after = jax.jit(step)(of.state, of.traced, of.key, *batch)
    moved = norms(jax.tree.map(jnp.subtract, after.params, of.params))
    whole = float(np.linalg.norm([*moved.values()]))
    assert measured("update_norm", of, batch) == pytest.approx(moved, rel=1e-4)
    gradients = {layer: norm / 0.1 for layer, norm in moved.items()}
    assert measured("gradient_norm", of, batch) == pytest.approx(gradients, rel=1e-4)
    later = dataclasses.replace(of, state=after)
    assert measured("distance", later, batch) == pytest.approx({"": whole, **moved})
    assert {*measured("distance", of, batch).values()} == {0.0}
    assert measured("weight_norm", of, batch) == pytest.approx(norms(of.params))
    fall = of.loss(of.params, batch) - of.loss(after.params, batch)
    assert measured("descent", of, batch) == pytest.approx(float(fall), rel=1e-3)
