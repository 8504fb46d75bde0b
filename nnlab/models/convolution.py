# SPDX-License-Identifier: Apache-2.0
"""Convolution and max-pooling that are fast on CPUs, forward and backward.

XLA's own CPU convolution is slow, above all its gradient. Here a convolution is one
matrix product of the image's patches with the kernel, which runs at the speed of the
CPU's matrix products; on GPUs and TPUs it is XLA's own.
"""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

# Patches that are made at a time, so that they stay in the cache: the training step of
# a 32-64-channel network at batch 64 is 30 % faster than with all 14 MB of them at
# once; from 0.5 to 4 MiB it is equal within the noise of 5 %.
_PATCH_BYTES = 2 * 2**20


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
    """Drop-in for `lax.conv_general_dilated`: `nn.Conv(conv_general_dilated=...)`.

    Plain 2-D channel-last convolutions on a CPU take the fast way; all else (another
    device, dilation, groups, other layouts) goes to `lax.conv_general_dilated`.

    Args:
        lhs: Images, (B, height, width, channels).
        rhs: Kernel, (height, width, channels, output channels).
        window_strides: Vertical and horizontal stride, in pixels.
        padding: "SAME", "VALID", or pixels (before, after) for each of the two axes.
        lhs_dilation: As in `lax.conv_general_dilated`, as are those that follow.
        rhs_dilation: Ditto.
        dimension_numbers: Ditto.
        feature_group_count: Ditto.
        precision: Ditto.

    Returns:
        Images, (B, height, width, output channels).
    """
    layout = lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    dilated = {*(lhs_dilation or ()), *(rhs_dilation or ())} - {1}
    if (
        jax.default_backend() != "cpu"
        or layout != _CHANNELS_LAST
        or dilated
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
    if isinstance(padding, str):
        size, window = lhs.shape[1:3], rhs.shape[:2]
        padding = lax.padtype_to_pads(size, window, window_strides, padding)
    rows, columns = padding
    zero = jnp.zeros((), lhs.dtype)
    padded = lax.pad(lhs, zero, ((0, 0, 0), (*rows, 0), (*columns, 0), (0, 0, 0)))
    return _convolve(padded, rhs, tuple(window_strides), precision)


_CHANNELS_LAST = lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))


def _convolve(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], precision: Any
) -> jax.Array:
    """Convolve padded images, as many at a time as `_PATCH_BYTES` holds."""
    batch = x.shape[0]
    height, width = (
        (size - window) // stride + 1
        for size, window, stride in zip(x.shape[1:3], kernel.shape[:2], strides)
    )
    patch_size = kernel.size // kernel.shape[-1]
    image_bytes = height * width * patch_size * x.dtype.itemsize
    fitting = max(1, _PATCH_BYTES // image_bytes)
    chunk = max(n for n in range(1, batch + 1) if batch % n == 0 and n <= fitting)

    # Recomputing the patches backward costs no time and saves storing them all.
    @functools.partial(jax.checkpoint, prevent_cse=False)
    def product(images: jax.Array) -> jax.Array:
        patches = _patches(images, kernel.shape[:2], strides, (height, width))
        flat = patches.reshape(-1, patch_size)
        y = jnp.matmul(flat, kernel.reshape(patch_size, -1), precision=precision)
        return y.reshape(images.shape[0], height, width, -1)

    if chunk == batch:
        return product(x)
    y = lax.map(product, x.reshape(batch // chunk, chunk, *x.shape[1:]))
    return y.reshape(batch, height, width, -1)


def _patches(
    x: jax.Array,
    window: tuple[int, ...],
    strides: tuple[int, ...],
    output_size: tuple[int, int],
) -> jax.Array:
    """The patch under each output pixel, (B, height, width, window and channels).

    They are shifted views of the images side by side, one for each place in the window:
    quick to copy, and the gradient is a sum of views.
    """
    (down, right), (height, width) = strides, output_size
    views = [
        x[:, i : i + down * height : down, j : j + right * width : right]
        for i in range(window[0])
        for j in range(window[1])
    ]
    return jnp.concatenate(views, axis=-1)


def max_pool(x: jax.Array, window: int, stride: int) -> jax.Array:
    """Maximum over square windows, without padding.

    Where several values of a window are its maximum, the first (row by row) gets the
    gradient, as in `nn.max_pool`. Windows that do not overlap take a fast way: XLA's
    gradient of a pool is the slowest part of a CNN's training step on a CPU.

    Args:
        x: Images, (B, height, width, channels), at least as large as the window.
        window: Height and width of a window, in pixels.
        stride: Step from a window to the next, in pixels.

    Returns:
        Images, (B, (height - window) // stride + 1, likewise width, channels).
    """
    if stride != window:
        return nn.max_pool(x, (window, window), (stride, stride))
    height, width = (size // window * window for size in x.shape[1:3])
    return _pool(_windows(x[:, :height, :width], window))


def _windows(x: jax.Array, window: int) -> jax.Array:
    batch, height, width, channels = x.shape
    size = (batch, height // window, window, width // window, window, channels)
    return x.reshape(size)


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
