# SPDX-License-Identifier: Apache-2.0
"""Full batches: every update is made by the gradient of all training examples."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from nnlab.study import OWNED
from nnlab.training import member, place
from nnlab.training.prepare import networks

STEPS = 12


def plain(seed, inputs, labels):
    """Returns the parameters after gradient descent on all examples at once."""
    module, optimizer = tiny.Plain(), optax.sgd(0.3, 0.5)
    key = member.stream_key(0, jnp.int32(seed), "init")
    params = module.init({"params": key}, jnp.zeros((1, 6)), train=False)["params"]

    def loss(params):
        logits = module.apply({"params": params}, inputs, train=True)
        each = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return each.mean()

    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for _ in range(STEPS):
        params, state = step(params, state)
    return params


@pytest.mark.parametrize("drawn", [False, True])
def test_every_step_is_by_the_gradient_of_all_examples(drawn):
    settings = {"optimizer.momentum": 0.5, "full_batch": True, "num_epochs": STEPS}
    study = tiny.study(tiny.rates(0.1, 0.3), **settings)
    if drawn:
        study = dataclasses.replace(study, vary=(*OWNED, "split"))
    (program,) = networks(study, dataset=tiny.dataset())
    size = tiny.SIZES["train"]
    assert (program.steps_per_epoch, program.batch_size) == (1, size)
    assert program.num_examples == STEPS * size * 4
    placed = place.place(program, study)
    population = placed.population
    state = placed.train(population.init(), 0, 5)
    state = population.gather(placed.train(state, 5, STEPS - 5))
    split = program.pool if drawn else program.fed.train
    rows = program.drawing.indices(1)["train"] if drawn else np.arange(size)
    expected = plain(1, split.inputs[rows], split.labels[rows])
    for one, other in zip(
        jax.tree.leaves(state.params), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(one[1, 1], other, atol=2e-6)
