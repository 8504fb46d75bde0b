# SPDX-License-Identifier: Apache-2.0
"""Factors on layers and groups, and the maximal update parametrization."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from nnlab.data import Dataset
from nnlab.models.stack import LEAST_RUN
from nnlab.study import Hyperparameters, Study
from nnlab.training import groups, member, prepare

DRAW = np.random.default_rng(0)
DATA = Dataset.from_arrays(DRAW.normal(size=(200, 12)).astype("f4"), np.arange(200) % 4)
RATE = "optimizer.learning_rate"


def network(**settings):
    """Returns a prepared program, its first member, its traced values and a batch."""
    base = Hyperparameters().replace({"model.hidden": (8, 8), **settings})
    made = Study(base=base, num_seeds=1)
    (program,) = prepare.networks(made, dataset=DATA)
    traced = {k: jnp.float32(v[0]) for k, v in program.members.traced().items()}
    state = jax.jit(functools.partial(member.init_state, program.recipe))(
        traced, member.key(0)
    )
    split = program.fed.train
    return program.recipe, state, traced, (split.inputs[:64], split.labels[:64])


def trained(recipe, state, traced, batch, steps=1):
    step = jax.jit(functools.partial(member.train_step, recipe))
    for _ in range(steps):
        state = step(
            state,
            traced,
            member.key(1),
            *batch,
            sample=np.bool_(False),
            check=np.bool_(False),
        )
    return state.params


def moved(**settings):
    recipe, state, traced, batch = network(**settings)
    params = trained(recipe, state, traced, batch)
    return jax.tree.map(np.subtract, params, state.params)


FACTORS = {
    "dense_1": {("dense_1", "kernel"): 0.5, ("dense_1", "bias"): 0.5},
    "first": {("dense_0", "kernel"): 0.5, ("dense_0", "bias"): 0.5},
    "hidden": {("dense_1", "kernel"): 0.5, ("dense_1", "bias"): 0.5},
    "last": {("dense_2", "kernel"): 0.5, ("dense_2", "bias"): 0.5},
    "biases": {(f"dense_{i}", "bias"): 0.5 for i in range(3)},
    "kernels": {(f"dense_{i}", "kernel"): 0.5 for i in range(3)},
}


LAYERS = ("dense_0", "dense_1", "dense_2")


@pytest.mark.parametrize("name", FACTORS)
def test_a_factor_is_on_the_arrays_of_its_group_alone(name):
    tree = {
        layer: {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)} for layer in LAYERS
    }
    some = groups.scaled(tree, LAYERS, {}, {name: 0.5})
    for layer, arrays in some.items():
        for kind, value in arrays.items():
            wanted = FACTORS[name].get((layer, kind), 1.0)
            np.testing.assert_array_equal(value, np.full_like(value, wanted))


def test_a_rate_s_factors_are_on_what_the_optimizer_adds():
    adam = {"optimizer.name": "adam", RATE: 0.1}  # whose steps ignore the gradient's
    rates = {"optimizer.rate_of.last": 0.5, "optimizer.rate_of.biases": 0.0}
    plain, some = moved(**adam), moved(**adam, **rates)
    wanted = {"dense_1": 1.0, "dense_2": 0.5}
    for layer, factor in wanted.items():
        np.testing.assert_allclose(
            some[layer]["kernel"], factor * plain[layer]["kernel"], atol=1e-7
        )
        assert np.any(plain[layer]["bias"])
        assert not np.any(some[layer]["bias"])


def test_factors_of_initial_kernels_multiply_and_leave_biases():
    scales = {"model.scale_of.first": 3.0, "model.scale_of.dense_0": 2.0}
    plain, scaled = (network(**of)[1].params for of in ({}, scales))
    np.testing.assert_allclose(
        scaled["dense_0"]["kernel"], 6 * plain["dense_0"]["kernel"], rtol=1e-6
    )
    np.testing.assert_array_equal(
        scaled["dense_2"]["kernel"], plain["dense_2"]["kernel"]
    )


def test_stacked_layers_have_factors_of_their_own():
    deep = {"model.hidden": (8,), "model.depth": LEAST_RUN + 1, RATE: 0.1}
    deep["model.activation"] = "tanh"
    some = {"optimizer.rate_of.dense_3": 0.0}
    plain, one = moved(**deep), moved(**deep, **some)
    (run,) = (name for name in plain if "_to_" in name)
    kernels = (of[run]["dense_0"]["kernel"] for of in (plain, one))
    same = np.isclose(*kernels, rtol=1e-3).all((1, 2))
    np.testing.assert_array_equal(np.flatnonzero(~same), [2])  # the first is dense_1
    assert not np.any(one[run]["dense_0"]["kernel"][2])


def test_unused_factors_are_no_operations():
    recipe, state, *_ = network()
    assert groups.scaled(state.params, recipe.layers, recipe.runs, {}) is state.params


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer.rate_of.dens_0": 1.0}, "rate_of.dens_0 .*did you mean 'dense_0'"),
        (
            {"model.scale_of.x": 1.0},
            r"scale_of\.x is no layer or group; allowed: first",
        ),
        (
            {"model.parametrization": "mup", "optimizer.name": "lamb"},
            "no rule for optimizer.name='lamb'",
        ),
        (
            {"model.parametrization": "mup", "model.init": "normal"},
            "begins with lecun_ or he_, not 'normal'",
        ),
    ],
)
def test_what_does_not_fit_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        network(**settings)


def layers_of(params, x):
    """Returns the outputs of each layer of an MLP with ReLU."""
    found = []
    for name in sorted(params):
        x = x @ params[name]["kernel"] + params[name]["bias"][None]
        found.append(x)
        x = jax.nn.relu(x)
    return found


def changes(width, **settings):
    """Returns the mean change of each layer's outputs in 4 steps."""
    base = {"model.hidden": (width, width), "model.base_width": 32}
    recipe, state, traced, batch = network(**base, **settings)
    params = trained(recipe, state, traced, batch, steps=4)
    before, after = (layers_of(of, batch[0]) for of in (state.params, params))
    return np.array([np.abs(b - a).mean() for a, b in zip(before, after)])


@pytest.mark.slow
@pytest.mark.parametrize(
    "rule",
    [
        pytest.param({"optimizer.name": "sgd", RATE: 0.1}, id="sgd"),
        pytest.param(
            {"optimizer.name": "adam", RATE: 0.003}, id="adam", marks=pytest.mark.long
        ),
    ],
)
def test_with_mup_no_layer_s_change_grows_or_falls_with_the_width(rule):
    """The coordinate check of Yang et al. (2021), appendix D.1."""
    mup = {"model.parametrization": "mup", **rule}
    narrow, wide = changes(64, **mup), changes(512, **mup)
    assert np.all((wide / narrow > 0.6) & (wide / narrow < 1.6)), wide / narrow
    standard = changes(512, **rule) / changes(64, **rule)
    assert np.any((standard > 2) | (standard < 0.5))


def test_at_the_base_width_mup_is_the_standard():
    settings = {"model.base_width": 8, RATE: 0.1}
    one, other = (
        moved(**settings, **{"model.parametrization": name})
        for name in ("mup", "standard")
    )
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_mup_does_not_know_the_layers_of_a_module_of_ones_own():
    module = nn.Sequential([lambda x: x.reshape(len(x), -1), nn.Dense(3)])
    study = tiny.study(**{"model.parametrization": "mup"})
    with pytest.raises(ValueError, match="not of a module of yours"):
        prepare.networks(study, dataset=tiny.dataset(), module=module)
