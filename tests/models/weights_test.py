# SPDX-License-Identifier: Apache-2.0
"""Weights from files, against a forward pass in plain NumPy, and refusals."""

import jax
import ml_dtypes
import numpy as np
import pytest
from networks import distance
from published_resnet import logits, random_weights, shapes
from safetensors.numpy import save_file

from nnlab.models.resnet import ResNet18
from nnlab.models.weights import load_resnet18, to_torchvision


@pytest.fixture
def saved(tmp_path):
    """Returns a function that saves tensors under torchvision's names."""

    def save(tensors):
        save_file(tensors, tmp_path / "resnet18.safetensors")
        return tmp_path / "resnet18.safetensors"

    return save


def evaluate(module, variables, images):
    """Logits of images (B, channels, height, width)."""
    apply = jax.jit(module.apply, static_argnames="train")
    return np.asarray(apply(variables, images.transpose(0, 2, 3, 1), train=False))


@pytest.mark.slow
def test_the_network_computes_what_the_weights_mean(saved):
    weights = random_weights(0, num_classes=10, stem=3)
    variables = load_resnet18(saved(weights), num_classes=10, stem="small")
    images = np.random.default_rng(1).normal(size=(1, 3, 9, 8)).astype(np.float32)
    expected = logits(weights, images)
    found = evaluate(ResNet18(10, "small"), variables, images)
    assert expected.shape == found.shape == (1, 10)
    assert distance(found, expected) < 1e-5


def test_the_way_back_is_exact(saved):
    weights = random_weights(0, num_classes=3)
    weights["bn1.num_batches_tracked"] = np.array(7)
    variables = load_resnet18(saved(weights))
    back = to_torchvision(variables)
    assert back.keys() == shapes(num_classes=3).keys()
    for name, value in back.items():
        np.testing.assert_array_equal(value, weights[name])
    again = load_resnet18(saved(back))  # in memory as the file needs it
    jax.tree.map(np.testing.assert_array_equal, again, variables)


def test_it_has_exactly_the_variables_of_the_module(saved):
    variables = load_resnet18(saved(random_weights(0, num_classes=3)))
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
    own = jax.eval_shape(
        lambda x: ResNet18(3).init(jax.random.key(0), x, train=False), images
    )
    assert jax.tree.map(lambda v: (v.shape, v.dtype), variables) == jax.tree.map(
        lambda v: (v.shape, v.dtype), own
    )


@pytest.mark.slow
def test_grey_images_count_as_red_green_and_blue(saved):
    """With the stem of ImageNet, at a height that is no multiple of its strides."""
    weights = random_weights(0, num_classes=4)
    grey = np.random.default_rng(1).normal(size=(2, 1, 33, 16)).astype(np.float32)
    found = evaluate(ResNet18(4), load_resnet18(saved(weights), channels=1), grey)
    assert distance(found, logits(weights, grey.repeat(3, axis=1))) < 1e-5


def test_a_file_for_one_channel_is_taken_as_it_is(saved):
    weights = random_weights(0, num_classes=0, channels=1)
    found = load_resnet18(saved(weights), channels=1)
    first = to_torchvision(found)["conv1.weight"]
    np.testing.assert_array_equal(first, weights["conv1.weight"])


@pytest.mark.parametrize("head", [0, 1000])
def test_a_backbone_needs_no_head_and_ignores_one(saved, head):
    path = saved(random_weights(0, num_classes=head))
    backbone = load_resnet18(path, num_classes=0)
    assert len(backbone["params"]) == 40
    assert "fc" not in backbone["params"]
    assert ("fc" in load_resnet18(path)["params"]) == bool(head)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_types_become_float32(saved, dtype):
    weights = random_weights(0, num_classes=0)
    stored = {name: value.astype(dtype) for name, value in weights.items()}
    found = to_torchvision(load_resnet18(saved(stored)))
    for name, value in found.items():
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, stored[name].astype(np.float32))


def without(*names):
    return lambda weights: [weights.pop(name) for name in names]


def with_shape(name, *shape):
    return lambda weights: weights.update({name: np.zeros(shape, np.float32)})


MISTAKES = {
    "one missing": (without("bn1.running_var"), {}, r"lacks 1 tensor \(bn1.running_v"),
    "no head": (
        without("fc.weight", "fc.bias"),
        {"num_classes": 4},
        r"it lacks 2 tensors \(fc.weight, fc.bias\)$",
    ),
    "another network": (
        lambda w: [w.update({f"net.{name}": w.pop(name)}) for name in list(w)],
        {},
        r"lacks 100 tensors \(conv1.weight, bn1.weight, bn1.bias, ...\) and has in "
        r"excess 102 tensors \(net.*, net.*, net.*, ...\)$",
    ),
    "one too many": (
        with_shape("conv3.weight", 2),
        {},
        r"excess 1 tensor \(conv3.weig",
    ),
    "other classes": (
        without(),
        {"num_classes": 10},
        r"fc.weight .* needs \(10, 512\)",
    ),
    "another head": (with_shape("fc.weight", 4, 2048), {}, r"2048\), needs \(4, 512\)"),
    "other stem": (
        without(),
        {"stem": "small"},
        r"conv1.weight .*needs \(64, 3, 3, 3\)",
    ),
    "other channels": (without(), {"channels": 4}, r"conv1.weight .* \(64, 4, 7, 7\)"),
    "scalar": (with_shape("conv1.weight"), {}, r"has shape \(\), needs \(64, 3, 7, 7"),
    "whole numbers": (
        lambda weights: weights.update({"bn1.bias": np.arange(64)}),
        {},
        "bn1.bias is of type I64; allowed: F16, BF16, F32, F64",
    ),
    "unknown stem": (without(), {"stem": "large"}, "unknown stem 'large'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_one_clear_line(saved, mistake):
    change, fields, message = MISTAKES[mistake]
    weights = random_weights(0, num_classes=4)
    change(weights)
    with pytest.raises(ValueError, match=message) as raised:
        load_resnet18(saved(weights), **fields)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "damaged",
    [
        lambda content: b"",
        lambda content: content[:1000],
        lambda content: content[:-1],
        lambda content: b"PK" + content,
        lambda content: b"<html>not found</html>",
    ],
)
def test_a_damaged_file_is_refused(saved, damaged):
    path = saved(random_weights(0, num_classes=0))
    path.write_bytes(damaged(path.read_bytes()))
    message = "resnet18.safetensors is no intact safetensors file: "
    with pytest.raises(ValueError, match=message) as raised:
        load_resnet18(path)
    assert "\n" not in str(raised.value)


def test_a_missing_file_is_named(tmp_path):
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"no file of weights {path}"):
            load_resnet18(path)
