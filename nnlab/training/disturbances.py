# SPDX-License-Identifier: Apache-2.0
"""What a network sees in training in the place of its examples, and of their labels.

All trials of a seed have the same random numbers, so that they compare in pairs.
"""

import zlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

_LEAST_SIGMA = 0.01
"""Below it a pixel's neighbours have the weight exp(-5000), which is 0."""


class Drawn(NamedTuple):
    """Labels of examples, (B,), and what may come in their place; see `drawn`."""

    clean: jax.Array  # int32
    above: jax.Array  # the share of random labels above which it is replaced, float32
    other: jax.Array  # the label that replaces it, int32


def drawn(
    key: jax.Array, labels: jax.Array, examples: jax.Array, num_classes: int
) -> Drawn:
    """Draws by what share of random labels an example's label is replaced, and by what.

    Both depend on the example's number, `examples` int32 (B,), and on `key` alone, that
    of the seed's "noise" stream. So the labels that a share replaces are among those of
    a larger one, and at a share of 1 all are random. The new label is uniform over all
    classes, and may be the old one.
    """
    of_labels = jax.random.fold_in(key, zlib.crc32(b"label_noise"))

    def of_example(example: jax.Array) -> jax.Array:
        return jax.random.uniform(jax.random.fold_in(of_labels, example), (2,))

    above, where = jax.vmap(of_example)(examples).T
    return Drawn(labels, above, (where * num_classes).astype(jnp.int32))


def as_trained(labels: jax.Array | Drawn, share: Any) -> jax.Array:
    """Returns labels, int32 (B,), of which a share in [0, 1] is random, if `Drawn`."""
    if not isinstance(labels, Drawn):
        return labels
    return jnp.where(labels.above < share, labels.other, labels.clean)


def shifted(key: jax.Array, images: jax.Array, pixels: int) -> jax.Array:
    """Moves each of the images (B, H, W, C) by up to `pixels` along both axes.

    Offsets are whole and uniform; pixels from outside the image are 0.
    """
    room = ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0))
    padded = jnp.pad(images, room)
    starts = jax.random.randint(key, (len(images), 2), 0, 2 * pixels + 1)

    def cut(image: jax.Array, start: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(image, (start[0], start[1], 0), images.shape[1:])

    return jax.vmap(cut)(padded, starts)


def flipped(key: jax.Array, images: jax.Array) -> jax.Array:
    """Mirrors each of the images (B, H, W, C), left to right, with probability 1/2."""
    mirrors = jax.random.bernoulli(key, 0.5, (len(images), 1, 1, 1))
    return jnp.where(mirrors, images[:, :, ::-1], images)


def blurred(images: jax.Array, sigma: jax.Array) -> jax.Array:
    """Blurs images, floats (B, H, W, C), by a Gaussian of `sigma` pixels.

    Near an edge the weights inside the image count, divided by their sum. At 0 the
    images stay, bit for bit.
    """

    def weights(size: int) -> jax.Array:
        apart = jnp.arange(size)[:, None] - jnp.arange(size)[None]
        found = jnp.exp(-0.5 * jnp.square(apart / jnp.maximum(sigma, _LEAST_SIGMA)))
        return found / found.sum(axis=1, keepdims=True)

    rows, columns = map(weights, images.shape[1:3])
    exact = jax.lax.Precision.HIGHEST
    return jnp.einsum("bhwc,gh,vw->bgvc", images, rows, columns, precision=exact)


def noisy(key: jax.Array, inputs: jax.Array, deviation: jax.Array) -> jax.Array:
    """Adds Gaussian noise of a standard deviation to inputs, float32 (B, ...)."""
    return inputs + deviation * jax.random.normal(key, inputs.shape, inputs.dtype)
