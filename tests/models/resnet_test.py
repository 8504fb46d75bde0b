# SPDX-License-Identifier: Apache-2.0
"""ResNet-18: its table equals the published architecture, its module the table."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import distance, evaluate, init, normal
from published_resnet import shapes

from nnlab.machine import devices
from nnlab.models import stack
from nnlab.models.resnet import ResNet18
from nnlab.models.resnet_layers import table

TINY = (8, 8, 1)  # with the stem of ImageNet 2x2 after the pool, then 1x1
SMALL = ResNet18(3, initializer="lecun_normal")


# The table


def test_it_has_the_published_parameters():
    rows = table((224, 224, 3), 1000)
    published = shapes()
    assert len(published) == 102  # 20 convolutions, 20 batch norms of 4, the head
    trained = {n: s for n, s in published.items() if "running" not in n}
    counts = {}
    for name, shape in trained.items():
        layer = name.rpartition(".")[0].replace(".", "_")
        counts[layer] = counts.get(layer, 0) + math.prod(shape)
    ours = {row.name: row.parameters for row in rows if row.parameters}
    assert list(ours.items()) == list(counts.items())
    assert sum(ours.values()) == 11_689_512
    assert sum(row.biases for row in rows) == 4_800 + 1_000


def test_it_has_the_published_shapes_and_operations():
    rows = {row.name: row for row in table((224, 224, 3), 1000)}
    names = ["conv1", "maxpool", *(f"layer{stage}_1_relu2" for stage in (1, 2, 3, 4))]
    assert [rows[name].output_shape for name in [*names, "avgpool", "fc"]] == [
        (112, 112, 64),
        (56, 56, 64),
        (56, 56, 64),
        (28, 28, 128),
        (14, 14, 256),
        (7, 7, 512),
        (512,),
        (1000,),
    ]
    stem = 112**2 * 147 * 64
    first = 4 * 56**2 * 9 * 64**2
    # Each later stage: 4 times the products of 3x3 at a quarter of the pixels, the
    # first one from half the channels, and a 1x1 convolution.
    later = 3 * (3.5 * 56**2 * 9 * 64**2 + 56**2 * 64**2 / 2)
    assert sum(r.flops for r in rows.values()) == 2 * (stem + first + later + 512_000)
    assert sum(r.flops for r in rows.values()) == 3_628_146_688


def test_the_layers_fit_onto_one_another():
    rows = table((30, 45, 3), 7, "small")
    assert [row.name for row in rows[:4]] == ["conv1", "bn1", "relu", "layer1_0_conv1"]
    for row, before in zip(rows[1:], rows, strict=False):
        if "downsample_0" not in row.name and "relu2" not in row.name:
            assert row.input_shape == before.output_shape, row
    sizes = {row.output_shape[:2] for row in rows if len(row.output_shape) == 3}
    assert sizes == {(30, 45), (15, 23), (8, 12), (4, 6)}
    assert len({row.name for row in rows}) == len(rows) == 59


def test_a_backbone_ends_in_features_and_one_pixel_is_enough():
    rows = table((1, 1, 1), 0)
    assert rows[-1].output_shape == (512,)
    assert {row.output_shape[:2] for row in rows[:-1]} == {(1, 1)}
    assert sum(row.parameters for row in rows) == 11_689_512 - 513_000 - 2 * 49 * 64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((784,), 10), r"got shape \(784,\), needs images \(height, width, channels\)"),
        (((28, 28), 10), r"resnet18: got shape \(28, 28\), needs images"),
        (((28, 0, 1), 10), r"input shape \(28, 0, 1\) needs sizes of at least 1"),
        (((28, 28, 1), -1), "num_classes=-1 must be at least 0"),
        (((28, 28, 1), 10, "imagnet"), "unknown stem 'imagnet'; did you mean 'imagen"),
    ],
)
def test_a_mistake_gets_one_clear_line(arguments, message):
    with pytest.raises(ValueError, match=message) as raised:
        table(*arguments)
    assert "\n" not in str(raised.value)


# The module


@pytest.mark.parametrize(
    ("stem", "shape", "classes"),
    [
        ("imagenet", (33, 64, 3), 10),
        ("imagenet", (9, 17, 2), 0),
        ("small", (8, 8, 1), 2),
    ],
)
def test_the_module_is_that_of_the_table(stem, shape, classes):
    module, rows = ResNet18(classes, stem), table(shape, classes, stem)
    images = jax.ShapeDtypeStruct((5, *shape), np.float32)
    init = functools.partial(module.init, train=False)
    variables = jax.eval_shape(init, jax.random.key(0), images)
    sizes = {
        layer: sum(math.prod(leaf.shape) for leaf in arrays.values())
        for layer, arrays in variables["params"].items()
    }
    assert sizes == {row.name: row.parameters for row in rows if row.parameters}
    normed = {row.name for row in rows if row.layer["layer"] == "batch_norm"}
    assert variables["batch_stats"].keys() == normed
    apply = functools.partial(
        module.apply, train=False, capture_intermediates=True, mutable=["intermediates"]
    )
    out, seen = jax.eval_shape(apply, variables, images)
    assert (out.shape, out.dtype) == ((5, classes or 512), np.float32)
    found = {
        name: layer["__call__"][0].shape[1:]
        for name, layer in seen["intermediates"].items()
        if isinstance(layer, dict)
    }
    assert found == {row.name: row.output_shape for row in rows if row.parameters}


@pytest.mark.slow
def test_its_kernels_have_the_variance_of_the_initializer():
    params = init(SMALL, *TINY)["params"]
    deviations = {
        name: np.std(layer["kernel"]) * math.sqrt(np.prod(layer["kernel"].shape[:-1]))
        for name, layer in params.items()
        if "kernel" in layer
    }
    # The first kernel has the fewest, 3,136: their deviation is exact to 1.3 %.
    assert len(deviations) == 21
    np.testing.assert_allclose(list(deviations.values()), 1, rtol=0.05)


@pytest.mark.slow
def test_training_normalises_by_the_batch_and_moves_the_running_statistics():
    variables, x = dict(init(SMALL, *TINY)), normal(1, 8, *TINY)
    start = jax.tree.map(np.zeros_like, variables["batch_stats"])
    apply = functools.partial(SMALL.apply, train=True, mutable=["batch_stats"])
    logits, updated = jax.jit(apply)({**variables, "batch_stats": start}, x)
    # From 0 they move a tenth of the way to those of the batch.
    batch = jax.tree.map(lambda leaf: 10 * leaf, updated["batch_stats"])
    assert all(np.asarray(leaf).any() for leaf in jax.tree.leaves(batch))
    alike = evaluate(SMALL, {**variables, "batch_stats": batch}, x)
    assert distance(logits, alike) < 1e-4
    assert distance(evaluate(SMALL, variables, x), alike) > 0.1


@pytest.mark.long
def test_a_member_is_as_if_alone():
    apply = functools.partial(SMALL.apply, train=True, mutable=["batch_stats"])
    first, x = init(SMALL, *TINY), normal(1, 8, *TINY)
    second = jax.tree.map(lambda leaf: 0.7 * leaf[..., ::-1], first)
    both = jax.tree.map(lambda *leaves: np.stack(leaves), first, second)
    together = jax.jit(jax.vmap(apply, (0, None)))(both, x)
    alone = jax.jit(apply)(second, x)
    for one, all_of in zip(*map(jax.tree.leaves, (alone, together)), strict=True):
        assert distance(all_of[1], one) < 1e-4


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_it_computes_in_other_types(dtype):
    with devices.setting("enable_x64", True):
        kept = jnp.dtype("float32" if dtype == "bfloat16" else "float64")
        module = SMALL.clone(dtype=dtype, param_dtype=kept)
        x = jax.ShapeDtypeStruct((2, *TINY), kept)
        variables = jax.eval_shape(
            functools.partial(module.init, train=False), jax.random.key(0), x
        )
        apply = functools.partial(module.apply, train=True, mutable=["batch_stats"])
        logits, updated = jax.eval_shape(apply, variables, x)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables["params"])} == {kept}
    assert logits.dtype == kept
    assert jax.tree.structure(updated["batch_stats"]) == jax.tree.structure(
        variables["batch_stats"]
    )


def test_active_units_are_counted_layer_by_layer():
    variables, x = init(SMALL, *TINY), normal(1, 5, *TINY)
    backbone = SMALL.clone(num_classes=0)

    @jax.jit
    def counted(variables):
        options = {"train": False, "mutable": ["activity"]}
        features, seen = backbone.apply(variables, x, **options)
        return features, seen["activity"], stack.active_share(seen["activity"])

    features, seen, shares = counted(variables)
    rows = [row for row in table(TINY, 0) if row.layer["layer"] == "relu"]
    units = {name: int(layer["units"]) for name, layer in seen.items()}
    assert units == {row.name: math.prod(row.output_shape) for row in rows}
    assert set(variables) == {"params", "batch_stats"}
    last = seen["layer4_1_relu2"]["share"]  # of one pixel: the features
    np.testing.assert_allclose(last, np.mean(features > 0, axis=1), rtol=1e-6)
    assert shares.shape == (5,)
    assert np.all((shares > 0.1) & (shares < 0.9))
