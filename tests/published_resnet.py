# SPDX-License-Identifier: Apache-2.0
"""torchvision's ResNet-18 in plain NumPy: names, shapes and forward pass."""

import functools

import numpy as np


def shapes(num_classes=1000, channels=3, stem=7):
    """Returns names and shapes of the state dict, without the counters of batch norm.

    They follow the published architecture, stage by stage, without nnlab.
    """
    found = {"conv1.weight": (64, channels, stem, stem), **_norm("bn1", 64)}
    inputs = 64
    for stage, outputs in enumerate((64, 128, 256, 512), 1):
        for index in (0, 1):
            block = f"layer{stage}.{index}"
            found |= {
                f"{block}.conv1.weight": (outputs, inputs, 3, 3),
                **_norm(f"{block}.bn1", outputs),
                f"{block}.conv2.weight": (outputs, outputs, 3, 3),
                **_norm(f"{block}.bn2", outputs),
            }
            if inputs != outputs:
                found |= {
                    f"{block}.downsample.0.weight": (outputs, inputs, 1, 1),
                    **_norm(f"{block}.downsample.1", outputs),
                }
            inputs = outputs
    if num_classes:
        found |= {"fc.weight": (num_classes, 512), "fc.bias": (num_classes,)}
    return found


def _norm(name, channels):
    arrays = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{array}": (channels,) for array in arrays}


def random_weights(seed, **fields):
    """Draws kernels of He's variance, and scales, shifts and running statistics."""
    return dict(_drawn(seed, tuple(shapes(**fields).items())))


@functools.cache
def _drawn(seed, shapes):
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in shapes:
        if len(shape) > 1:
            value = rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:]))
        elif name.endswith(("weight", "running_var")):
            value = rng.uniform(0.5, 1.5, shape)
        else:
            value = 0.3 * rng.normal(size=shape)
        weights[name] = value.astype(np.float32)
    return weights


def logits(weights, x):
    """The forward pass with running statistics: x is (B, channels, height, width)."""
    is_large = weights["conv1.weight"].shape[2] == 7
    stride, padding = (2, 3) if is_large else (1, 1)
    x = _normed(weights, "bn1", _conv(weights, "conv1", x, stride, padding))
    x = np.maximum(x, 0)
    if is_large:
        x = np.max([view for _, _, view in _views(x, 3, 2, 1, -np.inf)], axis=0)
    for stage in (1, 2, 3, 4):
        for index in (0, 1):
            block = f"layer{stage}.{index}"
            stride = 2 if stage > 1 and index == 0 else 1
            y = _conv(weights, f"{block}.conv1", x, stride, 1)
            y = np.maximum(_normed(weights, f"{block}.bn1", y), 0)
            y = _conv(weights, f"{block}.conv2", y, 1, 1)
            y = _normed(weights, f"{block}.bn2", y)
            if f"{block}.downsample.0.weight" in weights:
                x = _conv(weights, f"{block}.downsample.0", x, 2, 0)
                x = _normed(weights, f"{block}.downsample.1", x)
            x = np.maximum(x + y, 0)
    features = x.mean(axis=(2, 3))
    return features @ weights["fc.weight"].T + weights["fc.bias"]


def _conv(weights, name, x, stride, padding):
    kernel = weights[f"{name}.weight"]
    return sum(
        np.einsum("oc,bchw->bohw", kernel[:, :, i, j], view, optimize=True)
        for i, j, view in _views(x, kernel.shape[2], stride, padding, 0)
    )


def _views(x, window, stride, padding, fill):
    """Returns for each place in the window the values there, (B, C, rows, columns).

    All four sides are padded by the same number of pixels.
    """
    edges = ((0, 0), (0, 0), (padding, padding), (padding, padding))
    padded = np.pad(x, edges, constant_values=fill)
    rows, columns = ((size - window) // stride + 1 for size in padded.shape[2:])
    for i in range(window):
        for j in range(window):
            down = slice(i, i + stride * rows, stride)
            across = slice(j, j + stride * columns, stride)
            yield i, j, padded[:, :, down, across][:, :, :rows, :columns]


def _normed(weights, name, x):
    scale, shift, mean, variance = (
        weights[f"{name}.{array}"][:, None, None]
        for array in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) / np.sqrt(variance + 1e-5) * scale + shift
