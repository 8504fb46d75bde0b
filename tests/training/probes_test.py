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

CNN = {"model.name": "cnn", "model.channels": (2,), "model.hidden": (3,)}
NORMED = {"model.batch_norm": True}
DROPS = {"model.dropout_rate": 0.5}


def network(size=48, steps=6, batch=None, **overrides):
    """Returns a network after some steps, its batch, and the program's recipe."""
    study = tiny.study(num_seeds=1, **overrides)
    program = tiny.program(study)
    recipe = program.recipe
    if batch:
        recipe = dataclasses.replace(recipe, probe_batch=batch)
    traced = {k: jnp.float32(v[0]) for k, v in program.members.traced().items()}
    key = member.stream_key(0, jnp.int32(0), "noise")
    first = state = member.init_state(recipe, traced, key)
    train = program.fed.train
    data = probes.Batch(*map(jnp.asarray, (train.inputs[:size], train.labels[:size])))
    step = functools.partial(member.train_step, recipe, sample=True, check=False)
    for _ in range(steps):
        state = step(state, traced, key, *data)
    return probes.Network(recipe, state, traced, key, lambda: first.params), data


def hessian(of, batch):
    flat, back = ravel_pytree(of.params)
    return jax.hessian(lambda w: of.loss(back(w), batch))(flat)


@pytest.mark.parametrize(
    "settings",
    [{}, NORMED, {"model.activation": "tanh", "model.init_scale": 4.0}, tiny.DEEP],
    ids=("relu", "batch norm", "tanh", "stacked"),
)
def test_sharpness_is_the_largest_eigenvalue_of_the_dense_hessian(settings):
    of, batch = network(**settings)
    largest = np.linalg.eigvalsh(np.float64(hessian(of, batch)))[-1]
    found = probes.sharpness(of, batch)
    assert float(found[""]) == pytest.approx(largest, rel=0.01)
    assert float(found["edge"]) == pytest.approx(0.1 * float(found[""]) / 2)


def test_sharpness_is_the_largest_not_that_of_largest_magnitude():
    of, _ = network()
    matrix = jnp.diag(jnp.concatenate([jnp.array([-9.0, 5.0]), jnp.linspace(0, 4, 80)]))
    turned = dataclasses.replace(of)
    like, back = ravel_pytree(of.params)
    matrix = matrix[: like.size, : like.size]
    if like.size > len(matrix):
        matrix = jnp.pad(matrix, (0, like.size - len(matrix)))
    object.__setattr__(turned, "hvp", lambda p, b, v: back(matrix @ ravel_pytree(v)[0]))
    found = probes.sharpness(turned, None)
    assert float(found[""]) == pytest.approx(5.0, rel=0.01)


def test_hessian_vector_products_pass_through_convolution_and_pooling():
    study = tiny.study(num_seeds=1, dataset="digits", train_size=32, **CNN)
    (program,) = prepare(study)
    traced = {k: jnp.float32(v[0]) for k, v in program.members.traced().items()}
    key = member.stream_key(0, jnp.int32(0), "init")
    state = member.init_state(program.recipe, traced, key)
    of = probes.Network(program.recipe, state, traced, key, lambda: state.params)
    train = program.fed.train
    batch = probes.Batch(*map(jnp.asarray, (train.inputs, train.labels)))
    flat, back = ravel_pytree(of.params)
    vector = jax.random.normal(key, flat.shape)
    product = ravel_pytree(of.hvp(of.params, batch, back(vector)))[0]
    gradient = jax.grad(lambda w: of.loss(back(w), batch))
    width = 1e-3
    ends = (gradient(flat + sign * width * vector) for sign in (1, -1))
    plain = jnp.subtract(*ends) / (2 * width)
    cosine = product @ plain / jnp.linalg.norm(product) / jnp.linalg.norm(plain)
    assert float(cosine) > 0.99


@pytest.mark.parametrize("batch", [16, 48])
def test_loss_and_gradient_are_means_over_batches_of_the_training(batch):
    of, data = network(batch=batch, **NORMED)
    parts = [probes.Batch(*(v[i : i + batch] for v in data)) for i in range(0, 48, 16)]
    parts = parts if batch == 16 else [data]
    args = of.state.batch_stats, of.traced
    losses, gradients = zip(
        *(
            jax.value_and_grad(
                lambda p, part=part: member.batch_loss(
                    of.recipe, p, *args, *part, of.key
                )[0]
            )(of.params)
            for part in parts
        )
    )
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
    found = {k: float(v) for k, v in probes.noise_scale(of, batch).items()}
    assert found["trace"] == pytest.approx(trace, rel=1e-3)
    assert found["square"] == pytest.approx(square, rel=1e-3)
    assert found[""] == pytest.approx(trace / square, rel=1e-3)


def test_norms_distance_and_descent_are_those_of_one_plain_step():
    of, batch = network(size=16, steps=0)
    after = member.train_step(
        of.recipe, of.state, of.traced, of.key, *batch, sample=True, check=False
    )
    moved = dataclasses.replace(of, state=after)
    norm = {
        layer: float(jnp.sqrt(sum(jnp.sum(v**2) for v in jax.tree.leaves(tree))))
        for layer, tree in jax.tree.map(jnp.subtract, after.params, of.params).items()
    }
    whole = float(np.sqrt(sum(v**2 for v in norm.values())))
    assert probes.update_norm(of, batch) == pytest.approx(norm, rel=1e-4)
    gradients = {k: v / 0.1 for k, v in norm.items()}
    assert probes.gradient_norm(of, batch) == pytest.approx(gradients, rel=1e-4)
    assert probes.distance(moved, batch) == pytest.approx({"": whole, **norm})
    assert set(map(float, probes.distance(of, batch).values())) == {0.0}
    weights = {
        layer: float(jnp.sqrt(sum(jnp.sum(v**2) for v in jax.tree.leaves(tree))))
        for layer, tree in of.params.items()
    }
    assert probes.weight_norm(of, batch) == pytest.approx(weights)
    losses = of.loss(of.params, batch), of.loss(after.params, batch)
    fall = float(losses[0] - losses[1])
    assert float(probes.descent(of, batch)) == pytest.approx(fall, rel=1e-3)
