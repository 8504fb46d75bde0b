# SPDX-License-Identifier: Apache-2.0
"""The stack of layers: arithmetic, types, pools, active units, loops."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import distance, evaluate, init, normal

from nnlab.machine import devices
from nnlab.models import layers, stack
from nnlab.models.activations import ACTIVATIONS
from nnlab.models.cpu import convolution
from nnlab.training import metrics
from nnlab.training.member import key


class Own(nn.Module):
    """A user's own module, which does not use nnlab."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.relu(nn.Conv(3, (3, 3))(x)).reshape(x.shape[0], -1)
        return nn.Dense(4, bias_init=nn.initializers.ones)(nn.LayerNorm()(x))


@pytest.mark.parametrize(
    "module", [Own(), stack.Stack(layers.cnn([3], [5], 4, batch_norm=True))]
)
def test_the_traced_scale_multiplies_kernels_and_nothing_else(module):
    plain = init(module, 6, 6, 1)
    scaled = dict(jax.tree_util.tree_leaves_with_path(init(module, 6, 6, 1, scale=2.0)))
    for path, leaf in jax.tree_util.tree_leaves_with_path(plain):
        factor = 2 if "kernel" in str(path[-1]) else 1
        np.testing.assert_array_equal(scaled[path], factor * np.asarray(leaf))


def test_the_stack_is_the_arithmetic_it_says():
    module = stack.Stack(layers.mlp([5], 3, activation="tanh", bias="first"))
    params = init(module, 2, 2)["params"]
    params["dense_0"]["bias"] = normal(1, 5)
    x = normal(2, 4, 2, 2)
    first, last = params["dense_0"], params["dense_1"]
    hidden = np.tanh(x.reshape(4, 4) @ np.array(first["kernel"]) + first["bias"])
    logits = evaluate(module, {"params": params}, x)
    np.testing.assert_allclose(logits, hidden @ np.array(last["kernel"]), atol=1e-6)


def test_a_stack_is_hashable_and_equal_however_written():
    listed = stack.Stack(["flatten", {"layer": "dense", "units": 3}])
    frozen = stack.Stack(layers.freeze(listed.layers))
    assert hash(listed) == hash(frozen)
    assert listed == frozen != stack.Stack(["flatten", {"layer": "dense", "units": 4}])


def test_an_unknown_initializer_is_refused():
    with pytest.raises(ValueError, match="unknown initializer 'he'"):
        stack.Stack(["flatten"], initializer="he")


def test_bfloat16_keeps_parameters_and_logits_in_float32():
    module = stack.Stack(layers.cnn([4], [8], 3), dtype=jnp.bfloat16)
    variables = init(module, 6, 6, 1)
    x = normal(1, 4, 6, 6, 1)
    logits = evaluate(module, variables, x)
    exact = evaluate(module.clone(dtype=jnp.float32), variables, x)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(variables)} == {"float32"}
    assert logits.dtype == jnp.float32
    assert 1e-5 < distance(logits, exact) < 3e-2


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("pool", ["max_pool", "max_abs_pool"])
def test_where_a_pool_is_computed_changes_no_number(activation, pool):
    """Max-pools move before activations that never fall, and before no other."""
    x = normal(0, 4, 6, 6, 3)
    x[2:] = x[2:].round()  # ties

    @functools.partial(jax.jit, static_argnums=0)
    def pulled(function, x):
        y, pull = jax.vjp(function, x)
        return y, pull(jnp.cos(jnp.arange(y.size)).reshape(y.shape))[0]

    def as_written(x):
        return getattr(convolution, pool)(ACTIVATIONS[activation](x), 2, 2)

    module = stack.Stack([activation, pool])
    found = pulled(lambda x: module.apply({}, x, train=True), x)
    for one, other in zip(found, pulled(as_written, x), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


# Active units

COUNTED = stack.Stack(
    [
        "relu",
        "max_pool",
        "flatten",
        {"layer": "dense", "units": 3},
        "identity",
        "tanh",
        {"layer": "dense", "units": 2, "bias": False},
    ]
)


def test_active_units_are_counted_as_by_hand():
    variables, x = init(COUNTED, 4, 4, 2), normal(1, 5, 4, 4, 2)
    counted = functools.partial(COUNTED.apply, train=False, mutable=["activity"])
    logits, seen = jax.jit(counted)(variables, x)
    pooled = np.maximum(x, 0).reshape(5, 2, 2, 2, 2, 2).max((2, 4)).reshape(5, 8)
    first = variables["params"]["dense_0"]
    hidden = pooled @ np.array(first["kernel"]) + np.array(first["bias"])
    relus, tanhs = (x > 0).sum((1, 2, 3)), (hidden > 0).sum(1)
    assert set(seen["activity"]) == {"relu_0", "tanh_0"}
    np.testing.assert_allclose(seen["activity"]["relu_0"]["share"], relus / 32)
    np.testing.assert_allclose(seen["activity"]["tanh_0"]["share"], tanhs / 3)
    share = jax.jit(stack.active_share)(seen["activity"])
    assert (share.shape, share.dtype) == ((5,), np.float32)
    np.testing.assert_allclose(share, (relus + tanhs) / 35, rtol=1e-6)
    np.testing.assert_allclose(logits, evaluate(COUNTED, variables, x), atol=1e-6)


def test_active_units_cost_nothing_where_nobody_asks():
    variables, x = init(COUNTED, 4, 4, 2), normal(1, 5, 4, 4, 2)
    assert set(variables) == {"params"}
    text = str(jax.make_jaxpr(lambda v: COUNTED.apply(v, x, train=False))(variables))
    assert " gt " not in text
    linear = stack.Stack(["flatten", "identity"])
    _, seen = linear.apply({}, x, train=False, mutable=["activity"])
    assert np.isnan(stack.active_share(seen.get("activity", {})))


# Loops over equal layers

DEEP = stack.Stack(layers.mlp((5,) * 18, 3, batch_norm=True))


def unrolled(tree):
    """Returns each layer's own variables."""
    flat = {}
    for name, inner in tree.items():
        for kind, names in DEEP.runs.get(name, {}).items():
            for i, layer in enumerate(names):
                if inner_kind := inner.get(kind):
                    flat[layer] = jax.tree.map(lambda v, i=i: v[i], inner_kind)
        if name not in DEEP.runs:
            flat[name] = inner
    return flat


def test_equal_layers_are_a_loop_from_the_second_on():
    names = [f"dense_{i}" for i in range(1, 18)]
    norms = [f"batch_norm_{i}" for i in range(1, 18)]
    wanted = {"dense_0": tuple(names), "batch_norm_0": tuple(norms)}
    assert DEEP.runs == {"dense_1_to_dense_17": wanted}
    params = init(DEEP, 4)["params"]
    assert params["dense_1_to_dense_17"]["dense_0"]["kernel"].shape == (17, 5, 5)
    assert set(params) == {"dense_0", "batch_norm_0", *DEEP.runs, "dense_18"}
    kernels = unrolled(params)
    assert distance(kernels["dense_1"]["kernel"], kernels["dense_2"]["kernel"]) > 0.5


@pytest.mark.parametrize(
    "hidden", [(5,) * 16, (5, 6) * 20, (4, *(5,) * 15, 6, *(5,) * 15)]
)
def test_few_equal_layers_are_no_loop(hidden):
    assert stack.Stack(layers.mlp(hidden, 5)).runs == {}


@pytest.mark.slow
def test_a_loop_computes_what_its_layers_do_one_by_one():
    flat = DEEP.clone(rolled=False)
    variables, x = init(DEEP, 4), normal(1, 7, 4)
    plain = {name: unrolled(tree) for name, tree in variables.items()}
    assert jax.tree.map(jnp.shape, plain) == jax.tree.map(jnp.shape, init(flat, 4))

    def loss(module, variables, params):
        logits, updated = module.apply(
            {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
        )
        return jnp.sum(logits**2), updated["batch_stats"]

    both = []
    for module, some in ((DEEP, variables), (flat, plain)):
        step = jax.value_and_grad(functools.partial(loss, module, some), has_aux=True)
        both.append(jax.jit(step)(some["params"]))
    ((value, stats), gradients), ((other, other_stats), other_gradients) = both
    np.testing.assert_allclose(value, other, rtol=1e-5)
    compare = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5)
    jax.tree.map(compare, unrolled(stats), other_stats)
    names = [row.name for row in layers.check(DEEP.layers, (4,), 3) if row.parameters]
    norms = metrics.gradient_norms(gradients, names, DEEP.runs)
    wanted = metrics.gradient_norms(other_gradients, names)
    np.testing.assert_allclose(norms, wanted, rtol=1e-3)
    assert norms.shape == (37,)


def test_a_loop_counts_active_units_as_its_layers_do_one_by_one():
    variables, x = init(DEEP, 4), normal(1, 7, 4)
    plain = {name: unrolled(tree) for name, tree in variables.items()}
    shares = []
    for module, some in ((DEEP, variables), (DEEP.clone(rolled=False), plain)):
        _, seen = module.apply(some, x, train=False, mutable=["activity"])
        shares.append(stack.active_share(seen["activity"]))
    assert shares[0].shape == (7,)
    np.testing.assert_allclose(*shares, rtol=1e-6)


# float64


@pytest.mark.slow
def test_float64_is_kept_throughout_forward_and_backward():
    chosen = layers.cnn([3], [6], 3, activation="tanh")
    chosen.insert(1, {"layer": "batch_norm"})
    chosen.insert(2, {"layer": "max_abs_pool", "window": 1})
    single = stack.Stack(chosen)
    with devices.setting("enable_x64", True):
        double = single.clone(dtype=jnp.float64, param_dtype=jnp.float64)
        x = np.random.default_rng(0).normal(size=(2, 8, 8, 1))
        variables = jax.jit(stack.init_variables, static_argnums=0)(
            double, key(0), x, 1.0
        )

        @functools.partial(jax.jit, static_argnums=0)
        def loss(module, params):
            inputs = {**variables, "params": params}
            options = {"train": True, "mutable": ["batch_stats"]}
            return (module.apply(inputs, x, **options)[0] ** 2).sum()

        params = variables["params"]
        ahead, gradient = (
            jax.jvp(lambda p: loss(double, p), (params,), (params,))[1],
            jax.grad(lambda p: loss(double, p))(params),
        )
        assert {leaf.dtype.name for leaf in jax.tree.leaves(params)} == {"float64"}
        assert {leaf.dtype.name for leaf in jax.tree.leaves(gradient)} == {"float64"}
        back = sum(map(np.vdot, jax.tree.leaves(gradient), jax.tree.leaves(params)))
        assert ahead.dtype == np.float64
        np.testing.assert_allclose(ahead, back, rtol=1e-13)
        assert 1e-9 < distance(loss(single, params), loss(double, params)) < 1e-4
