# SPDX-License-Identifier: Apache-2.0
"""Layers, their shapes and messages, without JAX; the stack agrees with them."""

import math
import re

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from nnlab import study
from nnlab.models import layers, stack
from nnlab.models.initializers import INITIALIZERS
from nnlab.training.member import key

IMAGE = (28, 28, 1)


def test_the_names_are_those_of_the_functions():
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
    found = [(row.output_shape, row.flops // 2) for row in rows if row.parameters]
    convs = [((28, 28, 32), 784 * 9 * 32), ((14, 14, 64), 196 * 9 * 32 * 64)]
    assert found == [*convs, ((128,), 3136 * 128), ((10,), 1280)]


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
    denses = (
        {"layer": "dense", "units": 4, "name": "head"},
        {"layer": "dense", "units": 3},
    )
    rows = layers.check(["flatten", denses[0], "relu", denses[1]], (5,), 3)
    assert [row.name for row in rows] == ["flatten_0", "head", "relu_0", "dense_1"]


DENSE = {"layer": "dense", "units": 10}
CONV_2 = {"layer": "conv", "channels": 2}

MISTAKES = {
    "no flatten": (
        ["relu", "relu", DENSE],
        r"layer 2 \(dense_0\): got shape \(28, 28, 1\), needs a flat vector \(784,\)",
    ),
    "classes": (["flatten", {**DENSE, "units": 12}, "relu"], r"\(dense_0\): .*\(12,\)"),
    "image at the end": (["relu"], r"layer 0 \(relu_0\): gives .* \(10,\).*flatten"),
    "conv after flatten": (["flatten", CONV_2], r"layer 1 \(conv_0\): got .*\(784,\)"),
    "pool too large": ([{"layer": "max_pool", "window": 29}], "window of 29x29"),
    "absolute pool": (["flatten", "max_abs_pool"], r"layer 1 .* needs \(height, width"),
    "field of a pool": (
        [{"layer": "max_pool", "by": 3}],
        "'by'; .*: window, stride, padding, n",
    ),
    "kernel": ([{**CONV_2, "kernel": 29, "padding": "valid"}], "kernel of 29x29"),
    "softmax": (["flatten", DENSE, "softmax"], "layer 2: 'softmax' .* loss applies"),
    "misspelt layer": (["flaten"], "'flaten'; did you mean 'flatten'. allowed: "),
    "misspelt field": ([{"layer": "dense", "unit": 3}], "'unit'; did you mean 'units'"),
    "missing field": (["dense"], "needs 'units', a whole number of at least 1"),
    "size 0": ([{**DENSE, "units": 0}], "units 0 must be a whole number of at least"),
    "float size": ([{**DENSE, "units": 2.5}], "units 2.5 must be a whole number"),
    "bool size": ([{**DENSE, "units": True}], "units True must be a whole number"),
    "text for bool": ([{**DENSE, "bias": "no"}], "bias 'no' must be True or False"),
    "padding": ([{**CONV_2, "padding": "full"}], "'full' must be 'same' or 'valid'"),
    "rate 1": ([{"layer": "dropout", "rate": 1}], "at least 0 and below 1"),
    "rate nan": ([{"layer": "dropout", "rate": math.nan}], "rate nan must be"),
    "name twice": (["relu", {"layer": "tanh", "name": "relu_0"}], "already .* layer 0"),
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
def test_a_mistake_gets_one_clear_line_from_checking_and_inspecting(mistake):
    wrong, message = MISTAKES[mistake]
    with pytest.raises(ValueError, match=message) as raised:
        layers.check(wrong, IMAGE, 10)
    assert "\n" not in str(raised.value)
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
    # A wrong ending has a row for all layers. Of two mistakes the one that is no layer
    # at all is named first, as by `check`.
    assert layers.inspect(body, IMAGE, 10).rows == valid[:2]
    found = layers.inspect([DENSE, {**DENSE, "units": 0}], IMAGE, 10)
    assert (found.rows, found.position) == ((), 1)
    assert layers.inspect([*body, DENSE], IMAGE, 10) == layers.Inspection(valid)


@pytest.mark.parametrize("field", ["activation", "bias", "pool"])
def test_helpers_refuse_unknown_names(field):
    with pytest.raises(ValueError, match=f"unknown {field} 'rellu'.*allowed: "):
        layers.cnn((2,), [8], 10, **{field: "rellu"})


SMALL = st.integers(1, 4)
ELEMENTWISE = st.sampled_from(["batch_norm", "dropout", *layers.ACTIVATIONS])
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
