# SPDX-License-Identifier: Apache-2.0
"""Layers, their shapes and messages, the stack, and the fast convolution."""

import functools
import math
import re
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from jax import lax

from nnlab import study
from nnlab.models import layers, stack
from nnlab.models.activations import ACTIVATIONS, MONOTONE
from nnlab.models.cpu import convolution, dense
from nnlab.models.initializers import INITIALIZERS
from nnlab.training import metrics
from nnlab.training.member import key

IMAGE = (28, 28, 1)


# Whole functions are compiled, and random values come from NumPy: JAX compiles each
# single operation anew for each shape, 50 ms a piece.
def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def init(module, *input_shape, scale=1.0):
    x = np.zeros((2, *input_shape), np.float32)
    compiled = jax.jit(stack.init_variables, static_argnums=0)
    return compiled(module, key(0), x, scale)


@functools.partial(jax.jit, static_argnums=0)
def evaluate(module, variables, x):
    return module.apply(variables, x, train=False)


def distance(a, b):
    """Norm of the difference, relative to the norm of `b`."""
    return np.linalg.norm(np.subtract(a, b)) / np.linalg.norm(b)


# Layers without JAX


def test_layers_need_no_jax():
    code = "import sys, nnlab.models.layers; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_names_are_those_of_the_functions():
    assert tuple(ACTIVATIONS) == layers.ACTIVATIONS
    assert tuple(INITIALIZERS) == layers.INITIALIZERS
    assert tuple(layers.POOLS) == study.POOLS


@pytest.mark.parametrize(
    ("hidden", "bias", "parameters"),
    [
        ([64], "first", 785 * 64 + 64 * 10),
        ([64], "none", 784 * 64 + 64 * 10),
        ([64], "all", 785 * 64 + 65 * 10),
        ([60, 60], "first", 51_300),
        ([], "all", 7_850),
    ],
)
def test_mlp_parameters(hidden, bias, parameters):
    rows = layers.check(layers.mlp(hidden, 10, bias=bias), IMAGE, 10)
    assert sum(row.parameters for row in rows) == parameters


def test_cnn_shapes_and_operations():
    rows = layers.check(layers.cnn([32, 64], [128], 10), IMAGE, 10)
    assert [row.output_shape for row in rows if row.parameters] == [
        (28, 28, 32),
        (14, 14, 64),
        (128,),
        (10,),
    ]
    assert [row.flops for row in rows if row.parameters] == [
        2 * 784 * 9 * 32,
        2 * 196 * 9 * 32 * 64,
        2 * 3136 * 128,
        2 * 1280,
    ]


def test_helpers_place_batch_norm_dropout_and_pool():
    kinds = [
        layer["layer"]
        for layer in layers.cnn([4], [8], 3, batch_norm=True, dropout=True)
    ]
    conv = ["conv", "batch_norm", "max_pool", "relu", "flatten"]
    assert kinds == [*conv, "dense", "batch_norm", "relu", "dropout", "dense"]
    absolute = layers.cnn([4], [8], 3, pool="max_abs", window=3, kernel=5)
    assert absolute[0] == {"layer": "conv", "channels": 4, "kernel": 5, "bias": True}
    assert absolute[1] == {"layer": "max_abs_pool", "window": 3}
    assert "pool" not in str(layers.cnn([4], [8], 3, window=1))


def test_names_count_each_kind():
    rows = layers.check(
        [
            "flatten",
            {"layer": "dense", "units": 4, "name": "head"},
            "relu",
            {"layer": "dense", "units": 3},
        ],
        (5,),
        3,
    )
    assert [row.name for row in rows] == ["flatten_0", "head", "relu_0", "dense_1"]


DENSE = {"layer": "dense", "units": 10}

MISTAKES = {
    "no flatten": (
        ["relu", "relu", DENSE],
        r"layer 2 \(dense_0\): got shape \(28, 28, 1\), needs a flat vector \(784,\); "
        "put a flatten layer before it",
    ),
    "wrong number of classes": (
        ["flatten", {**DENSE, "units": 12}, "relu"],
        r"layer 1 \(dense_0\): gives shape \(12,\), needs \(10,\), a value for each "
        "class; end with a dense layer of 10 units",
    ),
    "image at the end": (
        ["relu"],
        r"layer 0 \(relu_0\): gives shape \(28, 28, 1\), needs \(10,\), a value for "
        "each class; end with flatten and a dense layer of 10 units",
    ),
    "conv after flatten": (
        ["flatten", {"layer": "conv", "channels": 2}],
        r"layer 1 \(conv_0\): got shape \(784,\), needs \(height, width, channels\)",
    ),
    "pool too large": ([{"layer": "max_pool", "window": 29}], "window of 29x29"),
    "absolute pool": (
        ["flatten", {"layer": "max_abs_pool", "window": 3}],
        r"layer 1 \(max_abs_pool_0\): got shape \(784,\), needs \(height, width",
    ),
    "field of a pool": (
        [{"layer": "max_abs_pool", "by": 3}],
        r"layer 0 \(max_abs_pool_0\): unknown field 'by'; .*: window, stride, name",
    ),
    "kernel too large": (
        [{"layer": "conv", "channels": 2, "kernel": 29, "padding": "valid"}],
        "kernel of 29x29",
    ),
    "softmax": (["flatten", DENSE, "softmax"], "layer 2: 'softmax' .* loss applies"),
    "misspelt layer": (["flaten"], "'flaten'; did you mean 'flatten'. allowed: flat"),
    "misspelt field": (
        [{"layer": "dense", "unit": 3}],
        r"layer 0 \(dense_0\): unknown field 'unit'; did you mean 'units'",
    ),
    "missing field": (["dense"], "needs 'units', a whole number of at least 1"),
    "size 0": ([{**DENSE, "units": 0}], "units 0 must be a whole number of at least"),
    "float size": ([{**DENSE, "units": 2.5}], "units 2.5 must be a whole number"),
    "bool size": ([{**DENSE, "units": True}], "units True must be a whole number"),
    "text for bool": ([{**DENSE, "bias": "no"}], "bias 'no' must be True or False"),
    "padding": (
        [{"layer": "conv", "channels": 2, "padding": "full"}],
        "padding 'full' must be 'same' or 'valid'",
    ),
    "rate 1": ([{"layer": "dropout", "rate": 1}], "at least 0 and below 1"),
    "rate nan": ([{"layer": "dropout", "rate": math.nan}], "rate nan must be"),
    "name twice": (
        ["relu", {"layer": "tanh", "name": "relu_0"}],
        r"layer 1 \(relu_0\): the name is already that of layer 0",
    ),
    "name of a path": (
        [{"layer": "relu", "name": "a/b"}],
        "'a/b' is not an identifier",
    ),
    "no layer": ([7], "layer 0: 7 is not a layer"),
    "no kind": ([{"units": 7}], "is not a layer"),
    "kind of wrong type": ([{"layer": ["relu"]}], "unknown layer"),
    "one name": ("relu", "layers must be a list of layers, got 'relu'"),
    "nothing": ([], "at least one layer"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_one_clear_line(mistake):
    wrong, message = MISTAKES[mistake]
    with pytest.raises(ValueError, match=message) as raised:
        layers.check(wrong, IMAGE, 10)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_inspecting_says_what_checking_raises(mistake):
    wrong, message = MISTAKES[mistake]
    with pytest.raises(ValueError, match=message) as raised:
        layers.check(wrong, IMAGE, 10)
    found = layers.inspect(wrong, IMAGE, 10)
    assert found.message == str(raised.value)
    named = re.match(r"layer (\d+)", found.message)
    assert found.position == (int(named[1]) if named else None)


def test_inspecting_shows_the_rows_before_a_mistake():
    body = ["flatten", {"layer": "dense", "units": 12}]
    valid = layers.check([*body, DENSE], IMAGE, 10)
    for wrong in ({**DENSE, "units": 0}, {"layer": "conv", "channels": 2}):
        found = layers.inspect([*body, wrong, DENSE], IMAGE, 10)
        assert (found.rows, found.position) == (valid[:2], 2)
    # Of a wrong ending all layers have a row, and of two mistakes the one that is no
    # layer at all is named first, as by `check`.
    assert layers.inspect(body, IMAGE, 10).rows == valid[:2]
    found = layers.inspect([DENSE, {**DENSE, "units": 0}], IMAGE, 10)
    assert (found.rows, found.position) == ((), 1)
    assert layers.inspect([*body, DENSE], IMAGE, 10) == layers.Inspection(valid)


@pytest.mark.parametrize(
    "helper", [layers.mlp, lambda *a, **k: layers.cnn([4], *a, **k)]
)
@pytest.mark.parametrize("field", ["activation", "bias"])
def test_helpers_refuse_unknown_names(helper, field):
    with pytest.raises(ValueError, match=f"unknown {field} 'rellu'.* allowed: "):
        helper([8], 10, **{field: "rellu"})


def test_an_unknown_pool_is_refused():
    with pytest.raises(ValueError, match=r"unknown pool 'abs'.* allowed: max, max_abs"):
        layers.cnn([4], [8], 10, pool="abs")


SMALL = st.integers(1, 4)
ELEMENTWISE = st.sampled_from(["batch_norm", "dropout", *ACTIVATIONS])
CONV = st.fixed_dictionaries(
    {"layer": st.just("conv"), "channels": SMALL, "kernel": SMALL},
    optional={
        "stride": SMALL,
        "padding": st.sampled_from(["same", "valid"]),
        "bias": st.booleans(),
    },
)
POOL = st.fixed_dictionaries(
    {"layer": st.sampled_from(["max_pool", "max_abs_pool"]), "window": SMALL},
    optional={"stride": SMALL},
)
DENSES = st.fixed_dictionaries(
    {"layer": st.just("dense"), "units": SMALL}, optional={"bias": st.booleans()}
)
BODIES = st.tuples(
    st.lists(CONV | POOL | ELEMENTWISE, max_size=4),
    st.lists(DENSES | ELEMENTWISE, max_size=3),
)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(BODIES, st.tuples(st.integers(3, 12), st.integers(3, 12)))
def test_an_accepted_stack_has_the_real_shapes_and_parameters(bodies, size):
    chosen = [*bodies[0], "flatten", *bodies[1], {"layer": "dense", "units": 3}]
    try:
        rows = layers.check(chosen, (*size, 2), 3)
    except ValueError:
        reject()
    module = stack.Stack(chosen)
    images = jax.ShapeDtypeStruct((5, *size, 2), jnp.float32)
    variables = jax.eval_shape(
        lambda x: stack.init_variables(module, key(0), x, 1.0), images
    )
    logits = jax.eval_shape(
        lambda v, x: module.apply(v, x, train=False), variables, images
    )
    assert logits.shape == (5, 3)
    for row in rows:
        real = variables["params"].get(row.name, {})
        assert row.parameters == sum(leaf.size for leaf in real.values()), row
        assert row.biases == (real["bias"].size if "bias" in real else 0), row


# Activations and initialisers


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
    # 120,000 values: the variance is known to 0.4 %, the mean to 0.3 % of a deviation.
    np.testing.assert_allclose(kernel.var(), variance, rtol=0.02)
    assert abs(kernel.mean()) <= 0.015 * math.sqrt(variance)


def test_orthogonal_columns_are_orthonormal():
    draw = jax.jit(INITIALIZERS["orthogonal"], static_argnums=(1,))
    kernel = np.asarray(draw(key(0), (30, 20)))
    np.testing.assert_allclose(kernel.T @ kernel, np.eye(20), atol=1e-5)


# The stack


class Own(nn.Module):
    """A user's own module: it knows nothing of nnlab."""

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


def test_any_module_takes_the_hyperparameters_and_may_ignore_them():
    variables = init(Own(), 6, 6, 1)
    x = normal(1, 2, 6, 6, 1)
    beside = {**variables, "hyperparameters": {"dropout_rate": 0.3}}

    @jax.jit
    def train(variables):
        rngs = {"dropout": key(3)}
        options = {"train": True, "rngs": rngs, "mutable": ["batch_stats"]}
        return Own().apply(variables, x, **options)[0]

    np.testing.assert_array_equal(train(beside), train(variables))


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


@pytest.mark.parametrize("activation", sorted(MONOTONE))
def test_pooling_before_a_monotone_activation_changes_nothing(activation):
    x = normal(0, 4, 6, 6, 3)
    x[2:] = x[2:].round()  # ties
    module = stack.Stack([activation, "max_pool"])

    @functools.partial(jax.jit, static_argnums=0)
    def pulled(function, x):
        y, pull = jax.vjp(function, x)
        return y, pull(jnp.cos(jnp.arange(y.size)).reshape(y.shape))[0]

    def as_written(x):
        return convolution.max_pool(ACTIVATIONS[activation](x), 2, 2)

    moved = pulled(lambda x: module.apply({}, x, train=True), x)
    for one, other in zip(moved, pulled(as_written, x), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("activation", sorted({*ACTIVATIONS} - MONOTONE))
def test_the_other_activations_do_fall(activation):
    falling = np.linspace(-4, 0, 50, dtype=np.float32)
    assert np.diff(ACTIVATIONS[activation](falling)).min() < 0


def test_only_monotone_activations_let_a_pool_pass():
    written = ["tanh", "relu", "max_pool", "max_pool", "gelu", "max_pool", "relu"]
    ordered = stack._pools_first(layers.normalise(written))
    kinds = ["max_pool", "max_pool", "tanh", "relu", "gelu", "max_pool", "relu"]
    assert [layer["layer"] for layer in ordered] == kinds
    assert ordered[0]["name"] == "max_pool_0"


def test_a_pool_by_absolute_values_stays_where_it_stands():
    written = layers.normalise(["relu", "max_abs_pool", "tanh", "max_pool"])
    kinds = [layer["layer"] for layer in stack._pools_first(written)]
    assert kinds == ["relu", "max_abs_pool", "max_pool", "tanh"]
    x = normal(0, 2, 4, 4, 3)
    before, after = (
        stack.Stack(names).apply({}, x, train=False)
        for names in (["max_abs_pool", "relu"], ["relu", "max_abs_pool"])
    )
    relus = nn.max_pool(nn.relu(x), (2, 2), (2, 2))  # nothing is negative after it
    np.testing.assert_array_equal(after, relus)
    assert np.mean(before != after) > 0.2


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
    """Each layer's own variables."""
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


@pytest.mark.parametrize("pool", ["max", "max_abs"])
def test_float64_is_kept_throughout(pool):
    chosen = layers.cnn([16, 16], [6], 3, activation="tanh", pool=pool)  # Winograd's
    chosen.insert(1, {"layer": "batch_norm"})
    single = stack.Stack(chosen)
    with jax.enable_x64(True):
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


# Dense layers


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
    # 100,000 values: the share kept is known to 0.2 %. One mask twice would keep 0.7.
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


def test_batch_norm_of_a_member_sees_no_other_member():
    variables, x = init(NORMED, 3), normal(1, 16, 3)
    alone = train_normed(variables, x)
    together = jax.vmap(train_normed, (None, 0))(variables, np.stack([x, 1e3 * x]))
    for one, two in zip(jax.tree.leaves(alone), jax.tree.leaves(together)):
        np.testing.assert_allclose(two[0], one, rtol=1e-5, atol=1e-6)


# Convolution and pooling


FAST = {"conv_general_dilated": convolution.conv_general_dilated}

CHANNELS_LAST = ("NHWC", "HWIO", "NHWC")


def fast_and_xla(x, kernel, strides, padding):
    """The output and both gradients, of the fast convolution and of XLA's."""

    @functools.partial(jax.jit, static_argnums=0)
    def pulled(function, x, kernel):
        def convolve(x, kernel):
            numbers = {"dimension_numbers": CHANNELS_LAST}
            return function(x, kernel, strides, padding, **numbers)

        y, pull = jax.vjp(convolve, x, kernel)
        return y, *pull(jnp.sin(jnp.arange(y.size)).reshape(y.shape))

    fast = pulled(convolution.conv_general_dilated, x, kernel)
    return zip(fast, pulled(lax.conv_general_dilated, x, kernel))


@pytest.mark.parametrize(
    ("window", "strides", "padding"),
    [
        ((1, 1), (2, 3), "VALID"),
        ((2, 3), (2, 1), "SAME"),
        ((3, 3), (1, 1), "VALID"),
        ((3, 3), (2, 2), "SAME"),
        ((4, 4), (3, 2), "SAME"),
        ((5, 2), (4, 4), "VALID"),
        ((6, 6), (1, 2), "SAME"),
        ((7, 7), (2, 2), "SAME"),
        ((3, 3), (1, 1), ((2, 0), (1, 3))),
    ],
)
def test_convolution_and_its_gradients_are_xlas(window, strides, padding):
    x, kernel = normal(0, 4, 9, 8, 3), normal(1, *window, 3, 5)
    for fast, exact in fast_and_xla(x, kernel, strides, padding):
        assert fast.shape == exact.shape
        assert distance(fast, exact) < 1e-6


@pytest.mark.parametrize(
    ("size", "padding"),
    [
        ((4, 4), "SAME"),
        ((5, 8), "SAME"),
        ((11, 9), "VALID"),
        ((8, 6), "VALID"),
        ((8, 7), ((2, 0), (1, 3))),
    ],
)
def test_winograds_convolution_and_its_gradients_are_xlas(size, padding):
    x, kernel = normal(0, 3, *size, 16), normal(1, 3, 3, 16, 17)
    for fast, exact in fast_and_xla(x, kernel, (1, 1), padding):
        assert fast.shape == exact.shape
        assert distance(fast, exact) < 2e-6


@pytest.mark.parametrize("channels", [3, 16])
def test_convolution_and_its_gradients_keep_float64(channels):
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        x, kernel = (
            rng.normal(size=(3, 7, 6, channels)),
            rng.normal(size=(3, 3, channels, 16)),
        )
        for fast, exact in fast_and_xla(x, kernel, (1, 1), "SAME"):
            assert fast.dtype == np.float64
            assert distance(fast, exact) < 1e-14


@pytest.mark.parametrize(
    ("size", "channels", "strides", "dtype", "products"),
    [
        (4, (16, 16), (1, 1), jnp.float32, 16),
        (4, (16, 16), (1, 1), jnp.bfloat16, 1),
        (4, (16, 16), (1, 2), jnp.float32, 1),
        (4, (15, 16), (1, 1), jnp.float32, 1),
        (4, (16, 15), (1, 1), jnp.float32, 1),
        (3, (16, 16), (1, 1), jnp.float32, 1),
    ],
)
def test_winograd_serves_where_it_is_faster(size, channels, strides, dtype, products):
    x, kernel = jnp.ones((2, size, size, channels[0])), jnp.ones((3, 3, *channels))

    def convolve(x, kernel):
        numbers = {"dimension_numbers": CHANNELS_LAST}
        options = (strides, "SAME")
        return convolution.conv_general_dilated(x, kernel, *options, **numbers)

    text = str(jax.make_jaxpr(convolve)(x.astype(dtype), kernel.astype(dtype)))
    assert text.count("dot_general[") == products


def test_winograd_in_chunks_is_the_same(monkeypatch):
    monkeypatch.setattr(convolution, "_TILE_BYTES", 2 * 36 * 4 * 32 * 4)
    x, kernel = normal(0, 6, 6, 6, 16), normal(1, 3, 3, 16, 16)
    for fast, exact in fast_and_xla(x, kernel, (1, 1), "SAME"):
        assert distance(fast, exact) < 2e-6
    fast = functools.partial(
        convolution.conv_general_dilated,
        window_strides=(1, 1),
        padding="SAME",
        dimension_numbers=CHANNELS_LAST,
    )
    assert "length=3" in str(jax.make_jaxpr(fast)(x, kernel))


def test_convolution_in_chunks_is_the_same(monkeypatch):
    monkeypatch.setattr(convolution, "_PATCH_BYTES", 2 * 9 * 8 * 27 * 4)
    x, kernel = normal(0, 6, 9, 8, 3), normal(1, 3, 3, 3, 5)
    for fast, exact in fast_and_xla(x, kernel, (1, 1), "SAME"):
        assert distance(fast, exact) < 1e-6
    fast = functools.partial(
        convolution.conv_general_dilated,
        window_strides=(1, 1),
        padding="SAME",
        dimension_numbers=CHANNELS_LAST,
    )
    assert "length=3" in str(jax.make_jaxpr(fast)(x, kernel))


@pytest.mark.parametrize("axes", [(None, 0), (0, 0), (0, None)])
@pytest.mark.parametrize("channels", [2, 16])
def test_members_convolve_as_if_alone(axes, channels):
    conv = nn.Conv(16, (3, 3), use_bias=False, **FAST)

    @jax.jit
    def alone(x, kernel):
        return conv.apply({"params": {"kernel": kernel}}, x)

    x = normal(0, 2, 3, 6, 6, channels)
    kernel = normal(1, 2, 3, 3, channels, 16)
    together = jax.jit(jax.vmap(alone, axes))(
        x if axes[0] == 0 else x[0], kernel if axes[1] == 0 else kernel[0]
    )
    for member in range(2):
        own = (x[member * (axes[0] == 0)], kernel[member * (axes[1] == 0)])
        assert distance(together[member], alone(*own)) < 1e-6


@pytest.mark.parametrize(
    "fields",
    [
        {"kernel_dilation": 2},
        {"feature_group_count": 2},
        {"input_dilation": 2, "padding": 1},
    ],
)
def test_other_convolutions_go_to_xla(fields):
    x = normal(0, 2, 7, 7, 4)
    own = nn.Conv(6, (3, 3), **FAST, **fields)
    params = jax.jit(own.init)(key(0), x)
    xla = own.clone(conv_general_dilated=None)
    np.testing.assert_array_equal(
        jax.jit(own.apply)(params, x), jax.jit(xla.apply)(params, x)
    )


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "taps"),
    [
        ((1, 1), 3, 1, 1, (1, 1)),
        ((1, 1), 7, 2, 3, (1, 1)),
        ((2, 1), 3, 2, 1, (2, 1)),
        ((2, 2), 3, 1, 1, (3, 3)),
        ((1, 3), 5, 1, 2, (1, 5)),
        ((2, 3), 4, 3, 2, (2, 4)),
        ((1, 1), 1, 2, 1, (1, 1)),
    ],
)
def test_only_the_part_of_a_kernel_that_meets_pixels_is_multiplied(
    size, kernel, stride, padding, taps
):
    x, weights = normal(0, 2, *size, 3), normal(1, kernel, kernel, 3, 4)
    around = ((padding, padding),) * 2
    for fast, exact in fast_and_xla(x, weights, (stride, stride), around):
        assert fast.shape == exact.shape
        assert np.linalg.norm(np.subtract(fast, exact)) <= 1e-6 * np.linalg.norm(exact)
    function = functools.partial(
        convolution.conv_general_dilated,
        window_strides=(stride, stride),
        padding=around,
        dimension_numbers=CHANNELS_LAST,
    )
    assert f"f32[{3 * math.prod(taps)},4]" in str(jax.make_jaxpr(function)(x, weights))


@pytest.mark.parametrize(
    ("window", "stride", "padding"),
    [
        *[(1, 1, 0), (2, 2, 0), (3, 3, 0), (4, 4, 0), (2, 1, 0), (3, 2, 0), (2, 3, 0)],
        *[(3, 2, 1), (3, 1, 2), (2, 2, 1), (5, 3, 2), (3, 5, 1)],
    ],
)
def test_max_pool_and_its_gradient_are_flaxs_bit_for_bit(window, stride, padding):
    x = normal(0, 4, 9, 8, 2)
    x[2:] = x[2:].round()  # ties

    def ours(x):
        return convolution.max_pool(x, window, stride, padding)

    def flaxs(x):
        around = ((padding, padding),) * 2
        return nn.max_pool(x, (window, window), (stride, stride), around)

    @functools.partial(jax.jit, static_argnums=0)
    def pulled(pool, x):
        y, pull = jax.vjp(pool, x)
        # Whole numbers: their sums where windows overlap are exact in any order.
        return y, pull((jnp.arange(y.size) * 7 % 31 - 15.0).reshape(y.shape))

    pooled, (gradient,) = pulled(ours, x)
    expected, (exact,) = pulled(flaxs, x)
    np.testing.assert_array_equal(pooled, expected)
    np.testing.assert_array_equal(gradient, exact)


def naive_max_abs_pool(x, window, stride):
    """Window by window; of equal magnitudes the positive one."""
    down, right = ((size - window) // stride + 1 for size in x.shape[1:3])
    pooled = np.empty((len(x), down, right, x.shape[3]), x.dtype)
    for place in np.ndindex(pooled.shape):
        example, i, j, channel = place
        rows, columns = (slice(k * stride, k * stride + window) for k in (i, j))
        values = x[example, rows, columns, channel].ravel().tolist()
        pooled[place] = max(values, key=lambda v: (abs(v), v))
    return pooled


@pytest.mark.parametrize(
    ("window", "stride"), [(1, 1), (2, 2), (3, 3), (2, 1), (3, 2), (2, 3)]
)
def test_max_abs_pool_and_its_gradient_are_the_naive_ones(window, stride):
    with jax.enable_x64(True):
        x = np.random.default_rng(0).normal(size=(3, 7, 6, 2))
        pool = jax.jit(convolution.max_abs_pool, static_argnums=(1, 2))
        pooled, pull = jax.vjp(lambda x: pool(x, window, stride), x)
        np.testing.assert_array_equal(pooled, naive_max_abs_pool(x, window, stride))
        cotangent = np.random.default_rng(1).normal(size=pooled.shape)
        (gradient,) = pull(cotangent)
    assert gradient.dtype == np.float64
    for place in np.random.default_rng(2).permutation(list(np.ndindex(x.shape)))[:8]:
        step = np.zeros_like(x)
        step[tuple(place)] = 1e-6
        ends = [naive_max_abs_pool(x + sign * step, window, stride) for sign in (1, -1)]
        slope = ((ends[0] - ends[1]) * cotangent).sum() / 2e-6
        np.testing.assert_allclose(gradient[tuple(place)], slope, atol=1e-8)


def test_max_abs_pool_takes_the_positive_one_of_two_equals():
    x = np.array([[-3, 2], [3, -1], [1, -1], [1, -1], [0, -2], [1, -2]], np.float32)
    pooled, pull = jax.vjp(
        lambda x: convolution.max_abs_pool(x, 2, 2), x.reshape(1, 6, 2, 1)
    )
    assert np.ravel(pooled).tolist() == [3, 1, -2]
    (gradient,) = pull(np.array([1, 10, 100], np.float32).reshape(1, 3, 1, 1))
    assert np.ravel(gradient).tolist() == [0, 0, 1, 0, 10, 0, 0, 0, 0, 100, 0, 0]


@pytest.mark.parametrize("pool", [convolution.max_pool, convolution.max_abs_pool])
@pytest.mark.parametrize(
    ("window", "stride", "spoilt"), [(2, 2, [0]), (3, 1, [0, 1]), (1, 2, [])]
)
@pytest.mark.parametrize("beside", [-1.0, 1.0])
def test_a_pool_passes_on_a_nan(pool, window, stride, spoilt, beside):
    x = np.full((1, 4, 4, 1), beside, np.float32)
    x[0, 0, 1, 0] = np.nan
    pooled = np.ravel(jax.jit(pool, static_argnums=(1, 2))(x, window, stride))
    assert np.flatnonzero(np.isnan(pooled)).tolist() == spoilt


def test_the_cnn_can_be_differentiated_forward_as_well():
    chosen = layers.cnn([16, 16], [4], 3, activation="tanh")  # Winograd's, then dense
    module = stack.Stack(chosen)
    x, params = normal(1, 2, 8, 8, 1), init(module, 8, 8, 1)["params"]

    def loss(params):
        return (module.apply({"params": params}, x, train=True) ** 2).sum()

    forward = jax.jit(lambda p: jax.jvp(loss, (p,), (p,))[1])(params)
    gradient = jax.jit(jax.grad(loss))(params)
    reverse = sum(map(np.vdot, jax.tree.leaves(gradient), jax.tree.leaves(params)))
    np.testing.assert_allclose(forward, reverse, rtol=1e-5)
