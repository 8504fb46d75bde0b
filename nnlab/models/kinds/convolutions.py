# SPDX-License-Identifier: Apache-2.0
"""Convolutions and pools of images (height, width, channels)."""

import math
from collections.abc import Mapping
from typing import Any

from nnlab.models.kind import (
    BIAS,
    INIT,
    Field,
    Kind,
    Made,
    Options,
    Shape,
    need_image,
    pair,
    positive,
)

SAME, VALID = "same", "valid"


def _padding(default: str) -> Field:
    return Field(int, default, minimum=0, choices=(SAME, VALID))


def _sides(
    layer: Mapping[str, Any], shape: Shape, extents: Shape, what: str
) -> tuple[int, int]:
    """Returns height and width after windows of an extent, called `what`."""
    padding, sizes = layer["padding"], shape[:2]
    if padding != SAME:
        pixels = 0 if padding == VALID else padding
        sizes = tuple(
            size + 2 * pixels - extent + 1 for size, extent in zip(sizes, extents)
        )
    if min(sizes) < 1:
        padded = f" (padded by {padding})" if padding not in (SAME, VALID) else ""
        raise ValueError(
            f"got shape {shape}{padded}, smaller than its {what} of "
            f'{_times(extents)}; use a smaller {what} or padding "same"'
        )
    height, width = (-(-size // by) for size, by in zip(sizes, pair(layer["stride"])))
    return height, width


def _times(sizes: Shape) -> str:
    return "x".join(map(str, sizes))


def _products(layer: Mapping[str, Any], shape: Shape) -> Made:
    need_image(shape)
    kernel, channels = pair(layer["kernel"]), layer["channels"]
    reaches = zip(kernel, pair(layer["dilation"]), strict=True)
    extents = tuple((taps - 1) * apart + 1 for taps, apart in reaches)
    most = 2 * max(shape[:2]) - 1
    if layer["padding"] == SAME and max(extents) > most:
        raise ValueError(
            f"got shape {shape}, on which a kernel of {_times(extents)} covers no more "
            f"than one of {most}x{most}; use at most that size"
        )
    height, width = _sides(layer, shape, extents, "kernel")
    weights = math.prod(kernel) * shape[2] * channels
    biases = channels if layer["bias"] else 0
    flops = 2 * height * width * weights
    return Made((height, width, channels), weights + biases, flops, biases)


def _conv(module: Any, layer: Any, x: Any, options: Options, rate: Any) -> Any:
    import flax.linen as nn

    from nnlab.models.cpu import convolution

    made = nn.Conv(
        layer["channels"],
        pair(layer["kernel"]),
        strides=pair(layer["stride"]),
        padding=_flax_padding(layer["padding"]),
        kernel_dilation=pair(layer["dilation"]),
        conv_general_dilated=convolution.conv_general_dilated,
        **options.weighted(layer),
    )
    return made(x)


def _flax_padding(padding: Any) -> Any:
    return padding.upper() if isinstance(padding, str) else [(padding, padding)] * 2


def _pooled(layer: Mapping[str, Any], shape: Shape) -> Made:
    need_image(shape)
    window, padding = pair(layer["window"]), layer["padding"]
    if padding not in (SAME, VALID) and padding >= min(window):
        raise ValueError(
            f"padding {padding} of a window of {_times(window)} must be below its size"
        )
    if padding == VALID and any(a > b for a, b in zip(window, shape)):
        raise ValueError(
            f"got shape {shape}, smaller than its window of {_times(window)}; use a "
            "smaller window or fewer pools before it"
        )
    return Made((*_sides(layer, shape, window, "window"), shape[2]))


def _max_pool(module: Any, layer: Any, x: Any, options: Options, rate: Any) -> Any:
    from nnlab.models.cpu import convolution

    pool = getattr(convolution, layer["layer"])
    return pool(x, layer["window"], layer["stride"], layer["padding"])


def _avg_pool(module: Any, layer: Any, x: Any, options: Options, rate: Any) -> Any:
    import flax.linen as nn

    window, stride = pair(layer["window"]), pair(layer["stride"])
    if window == stride and layer["padding"] in (VALID, 0):
        # A mean over views of the same memory: faster forward and backward.
        (down, across), (height, width) = window, x.shape[1:3]
        rows, columns = height // down, width // across
        whole = x[:, : rows * down, : columns * across]
        split = whole.reshape(len(x), rows, down, columns, across, x.shape[3])
        return split.mean(axis=(2, 4))
    padding = _flax_padding(layer["padding"])
    return nn.avg_pool(x, window, stride, padding, count_include_pad=False)


def _mean_shape(layer: Mapping[str, Any], shape: Shape) -> Made:
    if len(shape) < 2:
        raise ValueError(
            f"got shape {shape}, needs images or sequences, with the channels last; "
            "put it before the flatten layer"
        )
    return Made(shape[-1:])


def _mean(module: Any, layer: Any, x: Any, options: Options, rate: Any) -> Any:
    return x.mean(axis=tuple(range(1, x.ndim - 1)))


_POOL = {
    "window": positive(2, pair=True),
    "stride": positive(absent="the window", pair=True),
    "padding": _padding(VALID),
}

KINDS = {
    "conv": Kind(
        _products,
        _conv,
        {
            "channels": positive(),
            "kernel": positive(3, pair=True),
            "stride": positive(1, pair=True),
            "padding": _padding(SAME),
            "dilation": positive(1, pair=True),
            "bias": BIAS,
            "init": INIT,
        },
    ),
    "max_pool": Kind(_pooled, _max_pool, _POOL),
    "max_abs_pool": Kind(_pooled, _max_pool, _POOL),
    "avg_pool": Kind(_pooled, _avg_pool, _POOL),
    "global_avg_pool": Kind(_mean_shape, _mean),
}
