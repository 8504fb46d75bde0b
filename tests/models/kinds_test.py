# SPDX-License-Identifier: Apache-2.0
"""Every kind of layer against Flax's own: outputs, gradients, second derivatives."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import evaluate, init, normal

from nnlab.models import layers, stack
from nnlab.models.kinds import KINDS, sequences
from nnlab.models.kinds.elementwise import ACTIVATIONS, UNMOVED

IMAGE, SEQUENCE = (9, 8, 4), (5, 8)


def conv(**fields):
    return {"layer": "conv", "channels": 6, **fields}


def attention(causal):
    def apply(params, x):
        mask = nn.make_causal_mask(x[..., 0]) if causal else None
        return nn.MultiHeadDotProductAttention(2).apply(
            {"params": params}, x, mask=mask
        )

    return {"layer": "self_attention", "heads": 2, "causal": causal}, SEQUENCE, apply


def of(module):
    return lambda params, x: module.apply({"params": params}, x)


def pool(function, *args, **kwargs):
    return lambda params, x: function(x, *args, **kwargs)


SAME = {"padding": "same"}
TABLE = {
    "dense": ({"layer": "dense", "units": 3}, (4,), of(nn.Dense(3))),
    "dense of a sequence": ({"layer": "dense", "units": 3}, SEQUENCE, of(nn.Dense(3))),
    "rectangular": (
        conv(kernel=[5, 3], stride=[2, 1]),
        IMAGE,
        of(nn.Conv(6, (5, 3), strides=(2, 1))),
    ),
    "dilated": (
        conv(dilation=[2, 3], stride=2),
        IMAGE,
        of(nn.Conv(6, (3, 3), strides=2, kernel_dilation=(2, 3))),
    ),
    "dilated, valid": (
        conv(dilation=2, padding="valid"),
        IMAGE,
        of(nn.Conv(6, (3, 3), kernel_dilation=2, padding="VALID")),
    ),
    "winograd": (
        {"layer": "conv", "channels": 16},
        (4, 5, 16),
        of(nn.Conv(16, (3, 3))),
    ),
    "padded": (conv(kernel=5, padding=1), IMAGE, of(nn.Conv(6, (5, 5), padding=1))),
    "max_pool": (
        {"layer": "max_pool", "window": [3, 2], "stride": 2, **SAME},
        IMAGE,
        pool(nn.max_pool, (3, 2), (2, 2), "SAME"),
    ),
    "avg_pool": ({"layer": "avg_pool"}, IMAGE, pool(nn.avg_pool, (2, 2), (2, 2))),
    "avg_pool, same": (
        {"layer": "avg_pool", "window": 3, "stride": 2, **SAME},
        IMAGE,
        pool(nn.avg_pool, (3, 3), (2, 2), "SAME", count_include_pad=False),
    ),
    "layer_norm": ("layer_norm", SEQUENCE, of(nn.LayerNorm())),
    "group_norm": ({"layer": "group_norm", "groups": 2}, IMAGE, of(nn.GroupNorm(2))),
    "glu": ("glu", (6,), pool(jax.nn.glu)),
    "attention": attention(False),
    "causal attention": attention(True),
}


@functools.partial(jax.jit, static_argnums=0)
def derivatives(function, params, x, tangents):
    """Returns outputs, gradients, and the product of Hessian and tangents."""

    def loss(params, x):
        y = function(params, x)
        return jnp.sum(jnp.sin(y) * jnp.cos(jnp.arange(y.size)).reshape(y.shape))

    gradient = jax.grad(loss, (0, 1))
    return function(params, x), jax.jvp(gradient, (params, x), tangents)


LONG = ("rectangular", "dilated, valid", "padded", "winograd", "causal attention")
"""Rows that take seconds to compile."""


@pytest.mark.parametrize(
    "row", [pytest.param(n, marks=[pytest.mark.slow] * (n in LONG)) for n in TABLE]
)
def test_a_layer_is_flax_own_with_all_derivatives_for_each_member(row):
    layer, shape, reference = TABLE[row]
    module = stack.Stack([layer])
    params = init(module, *shape)["params"]
    # Two members, of other parameters.
    params = jax.tree.map(lambda p: p[None] + normal(1, 2, *p.shape) / 3, params)
    name = layers.normalise([layer])[0]["name"]
    x = normal(0, 2, 8, *shape)  # with 3 XLA cannot compile so small a product
    tangents = jax.tree.map(lambda leaf: normal(2, *leaf.shape), (params, x))

    def ours(params, x):
        return module.apply({"params": params}, x, train=True)

    def flax_own(params, x):
        return reference(params.get(name, {}), x)

    got, want = (
        derivatives(jax.vmap(one), params, x, tangents) for one in (ours, flax_own)
    )
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        largest = max(1.0, np.abs(b).max())
        np.testing.assert_allclose(a, b, rtol=0, atol=3e-6 * largest)
    (made,) = layers.rows_of([layer], shape)
    assert made.output_shape == got[0].shape[2:]
    sizes = jax.tree.leaves(jax.tree.map(lambda p: p[0].size, params))
    assert made.parameters == sum(sizes)


BLOCK = {"layer": "transformer_block", "heads": 2, "units": 12}


def test_blocks_add_their_input_and_count_what_is_in_them():
    dense = {"layer": "dense", "units": 8}
    bodies = {
        "identity": ([dense, "tanh"], (8,), (8,), 72),
        "projected": ([dense, "tanh"], (6,), (8,), 7 * 8 + 6 * 8),
        "images": ([conv(stride=2), "batch_norm"], IMAGE, (5, 4, 6), 222 + 12 + 24),
    }
    for body, shape, made, parameters in bodies.values():
        layer = {"layer": "residual", "layers": body}
        module = stack.Stack([layer])
        variables, x = init(module, *shape), normal(0, 3, *shape)
        assert sum(p.size for p in jax.tree.leaves(variables["params"])) == parameters
        (row,) = layers.rows_of([layer], shape)
        assert (row.output_shape, row.parameters) == (made, parameters)
        inner = {
            kind: of["residual_0"]
            for kind, of in variables.items()
            if "residual_0" in of
        }
        inner["params"] = dict(inner["params"])
        aside = inner["params"].pop("shortcut", None)
        added = evaluate(stack.Stack(body), inner, x)
        if aside is None:
            added += x
        elif len(shape) == 1:
            added += x @ aside["kernel"]
        else:
            added += x[:, ::2, ::2] @ aside["kernel"][0, 0]
        np.testing.assert_allclose(evaluate(module, variables, x), added, atol=1e-5)


def test_a_transformer_block_is_two_residual_ones_of_flax_layers():
    module = stack.Stack([BLOCK])
    params, x = init(module, *SEQUENCE)["params"], normal(0, 3, *SEQUENCE)
    attends, thinks = (params["transformer_block_0"][n] for n in ("attention", "mlp"))
    norm, heads = of(nn.LayerNorm()), of(nn.MultiHeadDotProductAttention(2))
    first, second = attends["layer_norm_0"], thinks["layer_norm_0"]

    @jax.jit
    def by_hand(x):
        y = x + heads(attends["self_attention_0"], norm(first, x))
        hidden = nn.gelu(of(nn.Dense(12))(thinks["dense_0"], norm(second, y)))
        return y + of(nn.Dense(8))(thinks["dense_1"], hidden)

    found = evaluate(module, {"params": params}, x)
    np.testing.assert_allclose(found, by_hand(x), atol=1e-5)
    (row,) = layers.rows_of([BLOCK], SEQUENCE)
    assert row.parameters == sum(p.size for p in jax.tree.leaves(params))
    assert row.flops == 2 * 5 * (4 * 64 + 2 * 5 * 8) + 2 * 5 * 2 * 96


def test_tokens_are_looked_up_and_placed():
    chosen = [
        {"layer": "embedding", "vocabulary": 7, "features": 4},
        "positional_embedding",
    ]
    module, tokens = stack.Stack(chosen), np.array([[0, 3, 6], [1, 1, 2]])
    params = init(module, 3)["params"]
    places = params["positional_embedding_0"]["embedding"]
    want = params["embedding_0"]["embedding"][tokens] + places[None]
    np.testing.assert_array_equal(evaluate(module, {"params": params}, tokens), want)
    hot = stack.Stack([{"layer": "one_hot", "vocabulary": 7}])
    np.testing.assert_array_equal(evaluate(hot, {}, tokens), np.eye(7)[tokens])
    waves = np.array(sequences.sinusoids(4, 5))
    np.testing.assert_allclose(waves[3, :2], np.sin([3, 3 / 10_000 ** (1 / 3)]))
    np.testing.assert_allclose(waves[3, 3:], np.cos([3, 3 / 10_000 ** (1 / 3)]))


def test_a_layer_draws_from_its_own_initialiser():
    zero = {"layer": "dense", "units": 3, "init": "zeros"}
    params = init(stack.Stack([zero, {"layer": "dense", "units": 3}]), 4)["params"]
    drawn = [np.any(params[name]["kernel"]) for name in ("dense_0", "dense_1")]
    assert drawn == [False, True]


def test_batch_norm_has_its_momentum_and_epsilon():
    layer = {"layer": "batch_norm", "momentum": 0.5, "epsilon": 1.0}
    module, x = stack.Stack([layer]), normal(0, 9, 3)
    apply = functools.partial(module.apply, train=True, mutable=["batch_stats"])
    y, changed = jax.jit(apply)(init(module, 3), x)
    np.testing.assert_allclose(
        y, (x - x.mean(0)) / np.sqrt(x.var(0) + 1), rtol=1e-4, atol=1e-6
    )
    stats = changed["batch_stats"]["batch_norm_0"]
    np.testing.assert_allclose(stats["mean"], x.mean(0) / 2, rtol=1e-5)


def test_activations_are_all_of_jax_nn_that_keep_the_shape():
    """A static table, so that a study needs no JAX; it misses none."""
    x = jax.ShapeDtypeStruct((8,), np.float32)
    others = {"softmax", "log_softmax", "standardize", "log1mexp"}  # not one by one
    kept = set()
    for name in set(dir(jax.nn)) - others:
        try:
            made = jax.eval_shape(getattr(jax.nn, name), x)
            kept |= {name} if made.shape == x.shape else set()
        except (TypeError, ValueError, AttributeError):
            continue
    assert kept | {"lecun_tanh"} == set(ACTIVATIONS)
    assert UNMOVED < set(ACTIVATIONS) < set(KINDS)


LENET = [
    conv(kernel=5, padding=2),
    "tanh",
    "avg_pool",
    {"layer": "conv", "channels": 16, "kernel": 5, "padding": "valid"},
    "tanh",
    "avg_pool",
    "flatten",
    {"layer": "dense", "units": 120},
    "tanh",
    {"layer": "dense", "units": 84},
    "tanh",
    {"layer": "dense", "units": 10},
]


def test_lenet_5_has_its_61706_parameters():
    """In the common form: all maps connected, plain average pools, dense outputs.

    That of LeCun et al. 1998 connects some maps alone, and has 60,000.
    """
    rows = layers.check(LENET, (28, 28, 1), 10)
    assert sum(row.parameters for row in rows) == 61_706


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        ("global_avg_pool", (4,), r"\(4,\), needs images or sequences"),
        ({"layer": "group_norm", "groups": 3}, IMAGE, "4 channels .*groups=3; set"),
        ("self_attention", IMAGE, "needs a sequence"),
        ({"layer": "self_attention", "heads": 3}, SEQUENCE, "8 features .*heads=3"),
        ("glu", (3,), "even number"),
        (conv(kernel=[3, 12], padding="valid"), IMAGE, "kernel of 3x12"),
        (conv(kernel=3, dilation=5, padding="valid"), IMAGE, "kernel of 11x11"),
        (conv(kernel=[3, 4, 5]), IMAGE, "a whole number of at least 1, or two of them"),
        ({"layer": "max_pool", "padding": 2}, IMAGE, "padding 2 .*below its size"),
        (conv(init="he"), IMAGE, "init 'he' must be 'lecun_normal' or"),
        (
            {"layer": "residual", "layers": ["flatten"], "shortcut": "identity"},
            SEQUENCE,
            'identity cannot add; use shortcut "projection"',
        ),
        ({"layer": "residual", "layers": ["flatten"]}, SEQUENCE, "no projection"),
        (
            {
                "layer": "residual",
                "layers": [{"layer": "dense", "units": 5, "name": "shortcut"}],
            },
            (3,),
            "name 'shortcut' inside it is that of the projection",
        ),
        ({"layer": "residual", "layers": ["dens"]}, (3,), "layer 0: unknown .*'dense'"),
        ("residual", (3,), "needs 'layers', a list of layers"),
    ],
)
def test_what_does_not_fit_gets_one_line(layer, shape, message):
    with pytest.raises(ValueError, match=message) as raised:
        layers.rows_of([layer], shape)
    assert "\n" not in str(raised.value)


def test_tokens_and_numbers_are_not_mixed():
    def inside(layer):
        return {"layer": "residual", "layers": [layer]}

    embedding = {"layer": "embedding", "vocabulary": 7, "features": 4}
    hot = {"layer": "one_hot", "vocabulary": 7}
    ending = ["flatten", {"layer": "dense", "units": 2}]
    layers.check([embedding, *ending], (3,), 2, vocabulary=7)
    for chosen, vocabulary, message in (
        ([embedding, *ending], 8, "vocabulary 7 must be at least the data's 8"),
        ([embedding, *ending], 0, "got numbers, needs tokens"),
        ([inside(inside(embedding)), *ending], 0, r"embedding_0\): got numbers, needs"),
        (["flatten", inside(hot), ending[1]], 0, r"layer 1 \(.*one_hot_0\): got num"),
        ([ending[1]], 7, "got tokens of 7 kinds, needs numbers; put an embedding"),
    ):
        with pytest.raises(layers.LayerError, match=message):
            layers.check(chosen, (3,), 2, vocabulary)
