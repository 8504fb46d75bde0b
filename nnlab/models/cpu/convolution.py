# SPDX-License-Identifier: Apache-2.0
"""Convolution and max-pooling that are fast on CPUs, forward and backward.

XLA's own CPU convolution is slow, above all its gradient. Here a convolution is one
matrix product of the image's patches with the kernel, or sixteen smaller ones
(Winograd's). On GPUs and TPUs it is XLA's. The formulas are written so that the
gradients that JAX derives from them are fast too.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from nnlab.models.kind import pair

# Bytes of patches made at a time, to fit into the cache: the training step of a
# 32-64-channel network at batch 64 is 30 % faster than with all 14 MB at once; from
# 0.5 to 4 MiB it is equal within the noise of 5 %.
_PATCH_BYTES = 2 * 2**20

# Bounds the memory of large batches. Winograd is faster without chunks: with
# 8 MiB at a time the same step is a third slower.
_TILE_BYTES = 128 * 2**20


def conv_general_dilated(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    precision: Any = None,
) -> jax.Array:
    """Replaces `lax.conv_general_dilated`: `nn.Conv(conv_general_dilated=...)`.

    It is fast for plain 2-D channel-last convolutions on a CPU, also with dilated
    kernels. All others (another device, dilated images, groups, other layouts) go to
    `lax.conv_general_dilated`.
    """
    layout = lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    if (
        jax.default_backend() != "cpu"
        or layout != _CHANNELS_LAST
        or {*(lhs_dilation or ())} - {1}
        or feature_group_count != 1
    ):
        return lax.conv_general_dilated(
            lhs,
            rhs,
            window_strides,
            padding,
            lhs_dilation,
            rhs_dilation,
            dimension_numbers,
            feature_group_count,
            precision=precision,
        )
    apart = tuple(rhs_dilation or (1, 1))
    size, window = lhs.shape[1:3], rhs.shape[:2]
    if isinstance(padding, str):
        reach = [(taps - 1) * by + 1 for taps, by in zip(window, apart, strict=True)]
        padding = lax.padtype_to_pads(size, reach, window_strides, padding)
    axes = zip(size, window, window_strides, padding, apart, strict=True)
    (taps_down, rows), (taps_across, columns) = (_used(*axis) for axis in axes)
    zero = jnp.zeros((), lhs.dtype)
    padded = lax.pad(lhs, zero, ((0, 0, 0), (*rows, 0), (*columns, 0), (0, 0, 0)))
    kernel = rhs[taps_down, taps_across]
    return _convolve(padded, kernel, tuple(window_strides), apart, precision)


_CHANNELS_LAST = lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))


def _used(
    size: int, window: int, stride: int, padding: tuple[int, int], apart: int
) -> tuple[slice, tuple[int, int]]:
    """Returns the part of a kernel's axis that meets pixels, and the padding it needs.

    The axis has a weight for every `apart` pixels.

    For instance only the middle of a 3x3 kernel meets the pixel of a 1x1 image padded
    by 1: with 512 channels that takes 0.7 instead of 2.1 ms, forward and backward, at
    batch 32.
    """
    before, after = padding
    outputs = (size + before + after - (window - 1) * apart - 1) // stride + 1
    pixels = range(before, before + size)
    used = [
        tap
        for tap in range(window)
        if any(tap * apart + stride * output in pixels for output in range(outputs))
    ]
    if not used:
        return slice(window), padding
    first, last = used[0], used[-1]
    before -= first * apart
    needed = stride * (outputs - 1) + (last - first) * apart + 1
    return slice(first, last + 1), (before, needed - size - before)


def _convolve(
    x: jax.Array,
    kernel: jax.Array,
    strides: tuple[int, ...],
    apart: tuple[int, ...],
    precision: Any,
) -> jax.Array:
    """Convolves padded images, as many at a time as memory allows."""
    batch, channels = x.shape[0], kernel.shape[2:]
    height, width = (
        (size - (window - 1) * by - 1) // stride + 1
        for size, window, stride, by in zip(
            x.shape[1:3], kernel.shape[:2], strides, apart, strict=True
        )
    )
    # From 16 channels on, Winograd is faster forward and backward: 1.9 times at 128
    # channels of 8x8 and at 32 to 64 of 14x14, 1.2 times at 16 to 32 of 14x14, equally
    # fast at 4x4. With 8 channels it is no faster. It would lose accuracy in bfloat16.
    if (
        kernel.shape[:2] == (3, 3)
        and strides == apart == (1, 1)
        and min(channels) >= 16
        and min(height, width) >= 4
        and x.dtype in (jnp.float32, jnp.float64)
    ):
        method, values, budget = _winograd, 4 * sum(channels), _TILE_BYTES
    else:
        method, values, budget = _im2col, kernel.size // channels[1], _PATCH_BYTES
    whole = functools.partial(
        method,
        strides=strides,
        apart=apart,
        output_size=(height, width),
        precision=precision,
    )
    # The backward pass makes patches or tiles again: no slower than storing them.
    convolve = jax.checkpoint(whole, prevent_cse=False)
    fitting = max(1, budget // (height * width * values * x.dtype.itemsize))
    chunk = max(n for n in range(1, batch + 1) if batch % n == 0 and n <= fitting)
    if chunk == batch:
        return convolve(x, kernel)
    chunks = x.reshape(batch // chunk, chunk, *x.shape[1:])
    y = lax.map(lambda images: convolve(images, kernel), chunks)
    return y.reshape(batch, height, width, -1)


def _im2col(
    x: jax.Array,
    kernel: jax.Array,
    strides: tuple[int, ...],
    apart: tuple[int, ...],
    output_size: tuple[int, int],
    precision: Any,
) -> jax.Array:
    """Convolves by one product of all patches, (B, height, width, values).

    Each place in the window is a shifted view of the images. Views are quick to copy,
    and the gradient is a sum of views.
    """
    (down, right), (height, width) = strides, output_size
    rows, columns = (range(0, taps * by, by) for taps, by in zip(kernel.shape, apart))
    views = [
        x[:, i : i + down * height : down, j : j + right * width : right]
        for i in rows
        for j in columns
    ]
    patches = jnp.concatenate(views, axis=-1)
    return _product(patches, kernel.reshape(-1, kernel.shape[-1]), precision)


def _product(x: jax.Array, weights: jax.Array, precision: Any) -> jax.Array:
    # Two-dimensional: with more axes XLA copies the gradient into another layout, and
    # the whole training step takes more than twice as long.
    y = jnp.matmul(x.reshape(-1, x.shape[-1]), weights, precision=precision)
    return y.reshape(*x.shape[:-1], -1)


Matrix = tuple[tuple[float, ...], ...]

# Transforms of the input, the kernel and the output: B', G and A' in the paper.
_INPUT: Matrix = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
_KERNEL: Matrix = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))
_OUTPUT: Matrix = ((1, 1, 1, 0), (0, 1, -1, -1))


def _winograd(
    x: jax.Array,
    kernel: jax.Array,
    strides: tuple[int, ...],
    apart: tuple[int, ...],
    output_size: tuple[int, int],
    precision: Any,
) -> jax.Array:
    """Convolves with a 3x3 kernel at stride 1, with 4/9 of the multiplications.

    A tile of 2x2 output pixels takes 16 products instead of 4 times 9: one for each
    place of the transformed 4x4 input under it. Each place is an array of its own, (B,
    rows of tiles, columns of tiles, channels): stacking them would take longer than the
    transforms.

    Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2016),
    section 4.1, F(2x2, 3x3).
    """
    assert strides == apart == (1, 1)
    rows_odd, columns_odd = (size % 2 for size in output_size)
    odd = ((0, 0, 0), (0, rows_odd, 0), (0, columns_odd, 0), (0, 0, 0))
    x = lax.pad(x, jnp.zeros((), x.dtype), odd)
    # One axis after the other: with all 16 places at once the gradient's sum over
    # overlapping tiles is five times slower. The barrier keeps the axes apart in XLA.
    rows = lax.optimization_barrier(_combine(_INPUT, _places(x, 1, 4, 2)))
    tiles = [_combine(_INPUT, _places(row, 2, 4, 2)) for row in rows]
    weights = _transform(_KERNEL, [[kernel[i, j] for j in range(3)] for i in range(3)])
    products = [
        [_product(tile, weight, precision) for tile, weight in zip(*row, strict=True)]
        for row in zip(tiles, weights, strict=True)
    ]
    pixels = _transform(_OUTPUT, products)
    y = jnp.stack([jnp.stack(row, axis=3) for row in pixels], axis=2)
    batch, height, _, width, _, channels = y.shape
    y = y.reshape(batch, 2 * height, 2 * width, channels)
    return y[:, : output_size[0], : output_size[1]]


def _places(x: jax.Array, axis: int, window: int, stride: int) -> list[jax.Array]:
    """Returns the values at each place of the windows along an axis.

    The size of the axis is a multiple of the stride. Strided views are slower: with
    them a 3x3 pool at stride 2 of 32 images of 32x32x64 takes 7.2 instead of 3.4 ms.
    """
    groups = x.shape[axis] // stride
    split = x.reshape(*x.shape[:axis], groups, stride, *x.shape[axis + 1 :])
    parts = [
        part.squeeze(axis + 1) for part in lax.split(split, (1,) * stride, axis + 1)
    ]
    windows = groups - (window - 1) // stride
    return [
        lax.slice_in_dim(parts[k % stride], k // stride, k // stride + windows, 1, axis)
        for k in range(window)
    ]


def _combine(matrix: Matrix, arrays: Sequence[jax.Array]) -> list[jax.Array]:
    """Multiplies the matrix by a vector of arrays, without terms of factor 0."""
    terms = (
        [c * array for c, array in zip(row, arrays, strict=True) if c] for row in matrix
    )
    return [functools.reduce(jnp.add, row) for row in terms]


def _transform(
    matrix: Matrix, grid: Sequence[Sequence[jax.Array]]
) -> list[list[jax.Array]]:
    """Multiplies the matrix, the grid and the transposed matrix."""
    columns = [_combine(matrix, column) for column in zip(*grid, strict=True)]
    return [_combine(matrix, row) for row in zip(*columns, strict=True)]


Sides = int | Sequence[int]
"""A number for height and width, or two."""


def max_pool(
    x: jax.Array, window: Sides, stride: Sides, padding: int | str = 0
) -> jax.Array:
    """Returns the maximum over windows.

    Where several values of a window are its maximum, the first (row by row) gets the
    gradient, as in `nn.max_pool`. On a CPU the gradient of `nn.max_pool` is the slowest
    part of a CNN's training step, 4 to 12 times slower than this where windows overlap.

    `padding` is a number of pixels of minus infinity on each side, "same" or "valid".
    The height becomes (height + 2 padding - window) // stride + 1, and likewise the
    width.
    """
    windows, strides = pair(window), pair(stride)
    pads: Any = [(padding, padding)] * 2
    if isinstance(padding, str):
        pads = lax.padtype_to_pads(x.shape[1:3], windows, strides, padding.upper())
    if strides != windows or any(map(any, pads)):
        # Columns first, so that of equal values the first row by row is taken.
        across = _pool_along(x, 2, windows[1], strides[1], pads[1])
        return _pool_along(across, 1, windows[0], strides[0], pads[0])
    rows, columns = (size // by for size, by in zip(x.shape[1:3], windows))
    whole = x[:, : rows * windows[0], : columns * windows[1]]
    split = (len(x), rows, windows[0], columns, windows[1], x.shape[3])
    return _pool(whole.reshape(split))


def _pool_along(
    x: jax.Array, axis: int, window: int, stride: int, padding: tuple[int, int]
) -> jax.Array:
    """Returns the maximum over windows along one axis."""
    size, (before, after) = x.shape[axis], padding
    windows = (size + before + after - window) // stride + 1
    needed = stride * (windows + (window - 1) // stride)
    edges = [(0, 0, 0)] * x.ndim
    edges[axis] = (before, needed - size - before, 0)
    padded = lax.pad(x, jnp.array(-jnp.inf, x.dtype), edges)
    largest, *others = _places(padded, axis, window, stride)
    for other in others:
        largest = jnp.where((largest >= other) | jnp.isnan(largest), largest, other)
    return largest


def max_abs_pool(
    x: jax.Array, window: Sides, stride: Sides, padding: int | str = 0
) -> jax.Array:
    """Returns the value of largest magnitude, with its sign, over windows.

    Of a positive and a negative value of equal magnitude the positive one is taken. It
    also gets the gradient, as in `max_pool`. The output jumps where a positive and a
    negative value change places as the largest.
    """
    highest = max_pool(x, window, stride, padding)
    lowest = -max_pool(-x, window, stride, padding)
    return jnp.where(highest >= -lowest, highest, lowest)


@jax.custom_jvp
def _pool(windows: jax.Array) -> jax.Array:
    return windows.max(axis=(2, 4))


@_pool.defjvp
def _pool_jvp(
    primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    (windows,), (tangent,) = primals, tangents
    pooled = _pool(windows)
    rows, columns = windows.shape[2], windows.shape[4]
    place = jnp.arange(rows * columns).reshape(1, 1, rows, 1, columns, 1)
    is_maximum = windows == pooled[:, :, None, :, None]
    places = jnp.where(is_maximum, place, rows * columns)
    is_first = place == places.min(axis=(2, 4), keepdims=True)
    return pooled, jnp.where(is_first, tangent, 0).sum(axis=(2, 4))
