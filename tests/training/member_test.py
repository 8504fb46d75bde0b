# SPDX-License-Identifier: Apache-2.0
"""One network being trained."""

import dataclasses
import functools
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnlab.training import member as train
from nnlab.training import optimizers

KEY = jax.random.key(1)
RNG = np.random.default_rng(0)
INPUTS = RNG.integers(256, size=(5, 4)).astype(np.uint8)
LABELS = np.array([0, 2, 1, 1, 2], np.int32)
SCALE = 1 / 255


class Linear(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        return nn.Dense(3, name="linear")(x.reshape(x.shape[0], -1))


RECIPE = train.Recipe(
    module=Linear(),
    layers=("linear",),
    optimizer=functools.partial(optimizers.optimizer, "sgd"),
    schedule=lambda step, traced: 1.0,
    input_shape=(2, 2),
    input_scale=SCALE,
)
STEP = jax.jit(functools.partial(train.train_step, RECIPE))


def traced(**changes):
    values = {
        "learning_rate": 0.5,
        "momentum": 0.0,
        "weight_decay": 0.0,
        "init_scale": 1.0,
        "dropout_rate": 0.0,
        "average_decay": 0.75,
    }
    return {name: jnp.float32(value) for name, value in (values | changes).items()}


def init(**changes):
    return train.init_state(RECIPE, traced(**changes), KEY)


def step(state, inputs=INPUTS, *, sample=False, check=True, **changes):
    flags = {"sample": jnp.bool_(sample), "check": jnp.bool_(check)}
    key = jax.random.fold_in(KEY, 1)
    return STEP(state, traced(**changes), key, inputs, LABELS, **flags)


def equal(tree, other):
    pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def step_by_hand(params, rate):
    """Returns parameters, loss and gradient norm after a step of softmax regression."""
    kernel = np.asarray(params["linear"]["kernel"], np.float64)
    bias = np.asarray(params["linear"]["bias"], np.float64)
    x = INPUTS * SCALE
    exps = np.exp(x @ kernel + bias)
    probabilities = exps / exps.sum(axis=1, keepdims=True)
    loss = -np.log(probabilities[np.arange(5), LABELS]).mean()
    errors = (probabilities - np.eye(3)[LABELS]) / 5
    slopes = x.T @ errors, errors.sum(axis=0)
    norm = np.sqrt(sum((slope**2).sum() for slope in slopes))
    return kernel - rate * slopes[0], bias - rate * slopes[1], loss, norm


def test_one_step_of_sgd_is_the_arithmetic():
    before = init()
    after = step(before, sample=True)
    kernel, bias, loss, norm = step_by_hand(before.params, 0.5)
    np.testing.assert_allclose(after.params["linear"]["kernel"], kernel, atol=1e-6)
    np.testing.assert_allclose(after.params["linear"]["bias"], bias, atol=1e-7)
    np.testing.assert_allclose(after.loss_sum, loss, rtol=1e-6)
    np.testing.assert_allclose(after.norm_sum, [norm], rtol=1e-6)
    np.testing.assert_allclose(after.last_norms, [norm], rtol=1e-6)
    assert (int(after.step), bool(after.alive)) == (1, True)


def test_a_schedule_multiplies_the_rate():
    recipe = dataclasses.replace(RECIPE, schedule=lambda step, traced: 0.5)
    flags = {"sample": jnp.bool_(False), "check": jnp.bool_(False)}
    got = train.train_step(recipe, init(), traced(), KEY, INPUTS, LABELS, **flags)
    wanted = step(init(), learning_rate=0.25)
    got, wanted = got.params["linear"], wanted.params["linear"]
    np.testing.assert_allclose(got["kernel"], wanted["kernel"], atol=1e-7)


def test_the_average_is_of_the_weights_after_each_update():
    recipe = dataclasses.replace(RECIPE, averages=True, patience=1)
    flags = {"sample": jnp.bool_(False), "check": jnp.bool_(False)}
    state = train.init_state(recipe, traced(), KEY)
    wanted = state.params["linear"]["kernel"]
    for _ in range(3):
        state = train.train_step(recipe, state, traced(), KEY, INPUTS, LABELS, **flags)
        wanted = 0.75 * wanted + 0.25 * state.params["linear"]["kernel"]
    np.testing.assert_allclose(state.average["linear"]["kernel"], wanted, rtol=1e-6)
    judged = train.judge(recipe, state, INPUTS, LABELS)
    last = dataclasses.replace(state, params=state.average, average=None)
    alone = train.judge(recipe, last, INPUTS, LABELS)
    np.testing.assert_array_equal(judged["averaged_loss"], alone["loss"])
    np.testing.assert_array_equal(judged["averaged_accuracy"], alone["accuracy"])
    assert not equal(judged["loss"], alone["loss"])
    # Early stopping keeps the average of its best evaluation too.
    noted = train.note_best(recipe, state, {"loss": jnp.float32(1.0)})
    later = train.train_step(recipe, noted, traced(), KEY, INPUTS, LABELS, **flags)
    assert equal(train.kept(later).average, state.average)


BROKEN = {
    "loss": (np.full((5, 4), np.inf, np.float32), {}),
    # Both logits and their loss are finite, but not the kernel's gradient times 1e38.
    "update": (np.full((5, 4), 2550.0, np.float32), {"learning_rate": 3e38}),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_step_that_is_not_finite_freezes_the_member_as_it_was(what):
    inputs, changes = BROKEN[what]
    before = step(init())
    after = step(before, inputs, sample=True, **changes)
    assert not after.alive
    assert equal(dataclasses.replace(before, alive=after.alive), after)
    later = step(after, check=False)
    assert equal(after, later)  # good examples do not bring it back
    unchecked = step(before, inputs, check=False, **changes)
    assert unchecked.alive
    assert not train.all_finite(unchecked)  # the ruin shows, and stays
    assert not train.all_finite(step(unchecked, check=False))


def test_a_gradient_that_is_not_finite_shows_even_at_rate_0():
    inputs = np.full((5, 4), np.inf, np.float32)
    after = step(init(), inputs, check=False, learning_rate=0.0)
    without_loss = dataclasses.replace(after, loss_sum=jnp.float32(0.0))
    assert not train.all_finite(without_loss)


def test_a_loss_that_overflows_at_finite_gradients_freezes_too():
    """Logits of 2e38 and -2e38 are 4e38 apart, infinite in float32."""
    linear = {"kernel": jnp.zeros((4, 3)), "bias": jnp.array([2e38, -2e38, 0.0])}
    before = dataclasses.replace(init(), params={"linear": linear})
    assert not step(before).alive
    unchecked = step(before, check=False)
    assert np.isfinite(unchecked.params["linear"]["bias"]).all()
    assert not train.all_finite(unchecked)


def test_evaluation_counts_the_masked_in_examples_once():
    own = {"label": lambda x, labels: labels, "one": lambda x, y: jnp.ones_like(y)}
    recipe = dataclasses.replace(RECIPE, own_metrics=own)
    state, mask = init(), np.array([True, True, True, False, False])
    got = train.evaluate(recipe, state, INPUTS, LABELS, mask)
    p = np.asarray(train.predict(recipe, state, INPUTS), np.float64)[:3]
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-6)
    logits = Linear().apply({"params": state.params}, INPUTS[:3] * np.float32(SCALE), 0)
    np.testing.assert_allclose(p, jax.nn.softmax(logits), rtol=1e-5)
    losses = -np.log(p[np.arange(3), LABELS[:3]])
    np.testing.assert_allclose(got["loss"], losses.sum(), rtol=1e-5)
    assert got["accuracy"] == np.sum(np.argmax(p, axis=1) == LABELS[:3])
    assert (float(got["label"]), float(got["one"])) == (3.0, 3.0)


def test_keys_differ_by_root_seed_seed_and_stream():
    names = itertools.product((0, 1), (0, 1), ("init", "noise"))
    keys = [
        train.stream_key(root, jnp.int32(seed), stream) for root, seed, stream in names
    ]
    data = {tuple(np.asarray(jax.random.key_data(key)).tolist()) for key in keys}
    assert len(data) == 8


@given(st.integers(0, 2**31 - 1), st.integers(0, 99), st.integers(0, 99))
def test_an_epoch_visits_every_example_once(root_seed, seed, epoch):
    order = train.epoch_order(root_seed, seed, epoch, 50)
    assert np.array_equal(np.sort(order), np.arange(50))
    assert np.array_equal(order, train.epoch_order(root_seed, seed, epoch, 50))


def test_orders_differ_by_root_seed_seed_and_epoch():
    names = itertools.product((0, 1), (0, 1), (0, 1))
    orders = {tuple(train.epoch_order(*name, 50).tolist()) for name in names}
    assert len(orders) == 8


def test_augmentation_moves_what_is_trained_on_and_not_what_is_evaluated():
    recipe = dataclasses.replace(RECIPE, input_shape=(2, 2, 1), augment_pixels=1)
    flags = {"sample": jnp.bool_(False), "check": jnp.bool_(True)}
    mask = jnp.ones(len(LABELS), bool)
    state = init()

    def losses(recipe):
        after = train.train_step(recipe, state, traced(), KEY, INPUTS, LABELS, **flags)
        evaluated = train.evaluate(recipe, state, INPUTS, LABELS, mask)
        return float(after.loss_sum), float(evaluated["loss"])

    still = dataclasses.replace(recipe, augment_pixels=0)
    assert losses(recipe)[0] != losses(still)[0]
    assert losses(recipe)[1] == losses(still)[1]


def test_a_better_evaluation_is_better_by_min_delta():
    recipe = dataclasses.replace(RECIPE, patience=3, min_delta=0.5)
    state = train.init_state(recipe, traced(), KEY)
    values = []
    for loss in (4.0, 3.6, 3.4, 3.0):
        sums = {"loss": jnp.float32(loss)}
        state = train.note_best(recipe, state, sums)
        values.append(float(state.best.value))
    assert values == [4.0, 4.0, pytest.approx(3.4), pytest.approx(3.4)]
