# SPDX-License-Identifier: Apache-2.0
"""Moved and rotated copies of images, for test sets that differ from training.

Rotated digits are a test set of Larochelle et al. (2007), "An empirical evaluation of
deep architectures on problems with many factors of variation"; moved ones are in
MNIST-C (Mu and Gilmer, 2019).

The random draw of an image depends on its index alone, not on study, seed, amount or
number of images. A larger amount moves the same image further in the same direction,
so accuracies at two amounts can be compared.
"""

import math
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

# Pixel values computed at a time, so that temporary arrays fit into a CPU's cache.
_CHUNK_VALUES = 1 << 17


def moved(images: np.ndarray, pixels: int) -> np.ndarray:
    """Moves each image by whole pixels along both axes; vacated pixels become 0.

    The offsets of an image are uniform in -pixels..pixels, independent for the two
    axes; positive ones move it down and to the right. Images are (N, H, W, C), uint8 or
    float32, and so is the result.

    Raises:
      ValueError: these are not images, or pixels is negative or not whole.
    """
    _check_images(images)
    if not (pixels >= 0 and pixels % 1 == 0):
        raise ValueError(f"pixels {pixels} is not a whole number of 0 or more")
    share = _draws("moved", (len(images), 2))
    offsets = np.floor(share * (2 * pixels + 1)).astype(np.int64) - int(pixels)
    return _in_chunks(_shift, images, offsets)


def rotated(images: np.ndarray, degrees: float) -> np.ndarray:
    """Rotates each image about its centre; vacated pixels become 0.

    The angle of an image is uniform in [-degrees, degrees]; positive angles turn it
    counterclockwise, as numpy.rot90 does. Pixels are interpolated bilinearly, and
    rounded to the nearest level in 8-bit images. Images are (N, H, W, C), uint8 or
    float32, and so is the result.

    Raises:
      ValueError: these are not images, or degrees is negative or not finite.
    """
    _check_images(images)
    if not (degrees >= 0 and math.isfinite(degrees)):
        raise ValueError(f"degrees {degrees} is not a finite number of 0 or more")
    share = _draws("rotated", (len(images),))
    return _in_chunks(_rotate, images, (2 * share - 1) * degrees)


# Name -> the function of images and an amount (pixels or degrees).
TRANSFORMS: Mapping[str, Callable[[np.ndarray, Any], np.ndarray]] = {
    "moved": moved,
    "rotated": rotated,
}
# The amounts of a severity curve, and the most test examples that it is made of.
SEVERITIES: Mapping[str, tuple[int, ...]] = {
    "moved": (0, 1, 2, 3, 4, 5, 6),
    "rotated": (0, 10, 20, 30, 40, 50, 60),
}
SEVERITY_SIZE = 2_000


def _check_images(images: np.ndarray) -> None:
    if images.ndim != 4 or images.dtype not in (np.uint8, np.float32):
        raise ValueError(
            f"{images.dtype} of shape {images.shape} are not images; needed: uint8 or "
            "float32 of shape (N, height, width, channels)"
        )


def _draws(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Draws uniformly from [0, 1), one row for each image; more images append rows."""
    return np.random.default_rng(zlib.crc32(name.encode())).random(shape)


def _in_chunks(
    transform: Callable[[np.ndarray, np.ndarray], np.ndarray],
    images: np.ndarray,
    amounts: np.ndarray,
) -> np.ndarray:
    """Applies a transform to images (N, H, W, C) and amounts (N, ...), few at once."""
    out = np.empty(images.shape, images.dtype)
    step = max(1, _CHUNK_VALUES // max(1, math.prod(images.shape[1:])))
    for start in range(0, len(images), step):
        part = slice(start, start + step)
        out[part] = transform(images[part], amounts[part])
    return out


def _shift(images: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Moves images (N, H, W, C) down and right by whole offsets (N, 2)."""
    count, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (0, 1), (0, 1), (0, 0)))
    rows = np.arange(height) - offsets[:, :1]
    columns = np.arange(width) - offsets[:, 1:]
    # Pixels from outside are taken from the padding, at index height or width.
    rows = np.where((rows >= 0) & (rows < height), rows, height)
    columns = np.where((columns >= 0) & (columns < width), columns, width)
    which = np.arange(count)[:, None, None]
    return padded[which, rows[:, :, None], columns[:, None, :]]


def _rotate(images: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    """Rotates images (N, H, W, C) counterclockwise by angles (N,) in degrees."""
    count, height, width, channels = images.shape
    radians = np.deg2rad(degrees)[:, None, None]
    cos, sin = np.cos(radians), np.sin(radians)
    y = np.arange(height)[:, None] - (height - 1) / 2
    x = np.arange(width) - (width - 1) / 2
    # Where each pixel comes from: the inverse rotation, with rows counted downwards.
    row = np.clip(x * sin + y * cos + (height - 1) / 2, -1, height)
    column = np.clip(x * cos - y * sin + (width - 1) / 2, -1, width)
    top, left = np.floor(row), np.floor(column)
    down, right = (row - top).astype(np.float32), (column - left).astype(np.float32)
    # From -1 to one beyond the clipped end: neighbours outside are 0.
    padded = np.pad(images, ((0, 0), (1, 2), (1, 2), (0, 0)))
    pixels = padded.reshape(-1, channels)
    stride = width + 3
    first = np.arange(count)[:, None, None] * (height + 3) * stride
    corner = first + ((top + 1) * stride + left + 1).astype(np.int64)

    def weighted(shift: int, weight: np.ndarray) -> np.ndarray:
        return pixels[corner + shift] * weight[..., None]

    mixed = weighted(0, (1 - down) * (1 - right))
    mixed += weighted(1, (1 - down) * right)
    mixed += weighted(stride, down * (1 - right))
    mixed += weighted(stride + 1, down * right)
    return np.rint(mixed) if images.dtype == np.uint8 else mixed
