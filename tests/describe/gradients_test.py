# SPDX-License-Identifier: Apache-2.0
"""Gradients against central differences: their laws, and which errors show."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from nnlab.data import Dataset
from nnlab.describe import gradients
from nnlab.models.activations import ACTIVATIONS
from nnlab.training.prepare import prepare

ACTIVATION = "model.activation"


def checked(module=None, **overrides):
    return gradients.check(tiny.program(tiny.study(**overrides), module))


@jax.custom_jvp
def wrong(x):
    """Returns tanh with a derivative that is a thousandth too large."""
    return jnp.tanh(x)


@wrong.defjvp
def _(primals, tangents):
    (x,), (dx,) = primals, tangents
    return jnp.tanh(x), 1.001 * dx * (1 - jnp.tanh(x) ** 2)


@pytest.mark.slow
@pytest.mark.parametrize("batch_norm", [False, True])
def test_the_error_of_a_smooth_network_falls_like_eps_squared(batch_norm):
    traced = {"model.dropout_rate": 0.3, "model.init_scale": 2.0}
    rows = checked(
        **{ACTIVATION: "lecun_tanh", "model.batch_norm": batch_norm}, **traced
    )
    middle = ["batch_norm_0"] * batch_norm
    assert [row.layer for row in rows] == ["dense_0", *middle, "dense_1"]
    for row in rows:
        assert row.agrees
        assert row.agreeing == row.compared > 0
        assert row.checked == min(20, 16 if "norm" in row.layer else 20)
        assert (row.kinked, math.isnan(row.steps[0].order)) == (0, True)
        assert row.steps[1].order == pytest.approx(2, abs=0.02)
        assert row.steps[1].largest == pytest.approx(row.steps[0].largest / 100, rel=1)
        assert min(step.median_relative for step in row.steps) < 1e-8


def test_the_loss_is_that_of_training():
    rows = checked(**{ACTIVATION: "tanh", "model.batch_norm": True})
    assert rows[0].compared == 20 - 8  # the batch's mean cancels the biases
    assert rows[0].agrees


def test_a_black_image_with_biases_of_0_stands_on_no_kink():
    black = Dataset.from_arrays(np.zeros((60, 4, 4), np.uint8), np.arange(60) % 3)
    (program,) = prepare(tiny.study(), dataset=black)
    first, _ = gradients.check(program)
    assert (first.agrees, first.kinked, first.compared > 0) == (True, 0, True)


def test_nothing_is_left_changed_and_nothing_drawn_anew():
    program = tiny.program(tiny.study(**{ACTIVATION: "tanh"}))
    recipe = program.recipe
    first = gradients.check(program, num_weights=5, epsilons=(1e-3,))
    again = gradients.check(program, num_weights=5, epsilons=(1e-3,))
    assert repr(again) == repr(first)  # of one eps the order is NaN, which equals none
    assert [row.checked for row in first] == [5, 5]
    assert jnp.zeros(1).dtype == np.float32
    assert not jax.config.jax_enable_x64
    assert program.recipe is recipe


def test_kinks_are_counted_and_do_not_pass_for_mistakes():
    program = tiny.program(tiny.study(**{"model.hidden": (30, 30)}))
    rows = gradients.check(program, num_examples=64)
    assert all(row.agrees for row in rows)
    assert [row.kinked > 0 for row in rows] == [True, True, False]
    widest, narrowest = rows[0].steps[0], rows[0].steps[-1]
    assert widest.median_relative > 1e-3 > 1e-6 > narrowest.median_relative


def test_a_derivative_a_thousandth_too_large_is_noticed(monkeypatch):
    monkeypatch.setitem(ACTIVATIONS, "tanh", wrong)
    first, last = checked(**{ACTIVATION: "tanh"})
    assert (first.agrees, first.agreeing, first.compared) == (False, 0, 20)
    assert (last.agrees, last.agreeing) == (True, 20)  # it does not depend on tanh
    for step in first.steps[2:4]:
        assert step.median_relative == pytest.approx(1e-3, rel=0.01)


def test_all_must_agree_where_nothing_has_a_kink(monkeypatch):
    def often_right(x):  # seven units of eight
        return jnp.where(jnp.arange(x.shape[-1])[None] > 0, jnp.tanh(x), wrong(x))

    monkeypatch.setitem(ACTIVATIONS, "tanh", often_right)
    first, _ = checked(**{ACTIVATION: "tanh"})
    assert first.compared > first.agreeing > first.compared / 2
    assert not first.agrees


class Own(nn.Module):
    """A network in which only a bias has a wrong derivative."""

    @nn.compact
    def __call__(self, x, train):
        bias = self.param("bias", nn.initializers.zeros, (3,))
        return nn.Dense(3, use_bias=False, name="inner")(x) + wrong(bias)[None]


def test_a_mistake_in_few_of_the_weights_is_noticed():
    rows = {row.layer: row for row in checked(Own())}
    assert (rows["bias"].agrees, rows["inner"].agrees) == (False, True)

    class Outer(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            return Own(name="block")(x, train)

    (block,) = checked(Outer())
    assert (block.agreeing, block.compared, block.agrees) == (17, 20, False)


def test_a_module_that_stays_in_float32_is_refused():
    class Single(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            return nn.Dense(3, dtype=jnp.float32)(x)

    with pytest.raises(ValueError, match=r"needs a model .* of Single is float32"):
        checked(Single())


def test_a_loss_that_is_not_finite_is_refused():
    huge = {"model.hidden": (8,) * 9, "model.init_scale": 1e38}
    with pytest.raises(ValueError, match=r"the untrained network is (nan|inf), not"):
        checked(**huge)


EPS = np.array([1e-2, 1e-3, 1e-4])


def row(exact, found, needed=1.0, arrays=None):
    exact, found = np.asarray(exact, float), np.asarray(found, float)
    arrays = np.zeros(len(exact)) if arrays is None else np.asarray(arrays)
    return gradients.row_of("layer", exact, found, EPS, 1e-16 / EPS, arrays, needed)


def test_a_row_says_what_its_numbers_are():
    exact = np.array([1.0, -2.0, 0.5])
    found = exact[:, None] + np.array([[3.0], [-1.0], [2.0]]) * EPS**2
    got = row(exact, found)
    assert (got.checked, got.compared, got.agreeing, got.kinked) == (3, 3, 3, 0)
    assert [step.order for step in got.steps[1:]] == pytest.approx([2, 2])
    assert [step.largest for step in got.steps] == pytest.approx([*3 * EPS**2])
    relative = [2e-4 / 0.5002, 3e-4 / 1.0003, 1e-4 / 2.0001]
    assert got.steps[0].largest_relative == pytest.approx(relative[0])
    assert got.steps[0].median_relative == pytest.approx(relative[1])


def test_weights_without_effect_are_not_compared():
    found = np.array([[1.0] * 3, [0.0] * 3, [1e-13, 1e-14, 1e-14]])
    got = row([1.0, 0.0, 2e-13], found)
    assert (got.checked, got.compared, got.agreeing, got.agrees) == (3, 1, 1, True)
    still = row([0.0], [[0.0] * 3])
    assert (still.compared, still.agrees) == (0, True)
    assert math.isnan(still.steps[0].median_relative)


def test_rounding_excuses_no_small_derivative_that_is_wrong():
    small = 2e-12  # at the largest eps 200 roundings; at the smallest 2
    assert not row([small], [[1.4 * small] * 3]).agrees
    assert row([small], [[small + 5e-15, 1.4 * small, 1.4 * small]]).agrees


def test_what_does_not_fall_or_falls_off_is_a_kink():
    found = 1 + np.array([[1e-2, 1e-2, 1e-2], [1e-2, 1e-8, 1e-10], [1e-2, 1e-4, 1e-6]])
    got = row([1.0] * 3, found)
    assert [step.irregular for step in got.steps] == [0, 2, 1]
    assert got.kinked == 2
    dead = row([0.0], [[1e-3, 0.0, 0.0]])  # a ReLU that opens within the largest eps
    assert (dead.compared, dead.kinked, dead.agrees) == (1, 1, True)
    assert got.steps[1].order == pytest.approx(2)


def test_more_than_half_of_each_array_must_agree_where_there_are_kinks():
    found = np.array([[1.0] * 3] * 4 + [[1.1] * 3] * 2)
    assert row([1.0] * 6, found, needed=0.5).agrees
    assert not row([1.0] * 6, found).agrees
    assert not row([1.0] * 6, found, 0.5, arrays=[0, 0, 0, 1, 1, 1]).agrees


@pytest.mark.slow
def test_the_network_with_bfloat16_and_convolutions_is_checked_in_float64():
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(30, 8, 8)).astype(np.uint8)
    dataset = Dataset.from_arrays(images, rng.integers(3, size=30))
    cnn = {"model.name": "cnn", "model.channels": (16, 16), "model.pool": "max_abs"}
    study = tiny.study(**cnn, dtype="bfloat16", standardize=True)
    (program,) = prepare(study, dataset=dataset)
    rows = gradients.check(program, num_weights=6)
    assert [row.layer for row in rows] == ["conv_0", "conv_1", "dense_0", "dense_1"]
    assert all(row.agrees for row in rows)
