# SPDX-License-Identifier: Apache-2.0
"""Losses and metrics as sums over examples, and gradient norms by layer."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Softmax cross-entropy of each example, in nats.

    Args:
      logits: float32 (B, C).
      labels: int32 (B,), in 0..C-1.

    Returns:
      float32 (B,).
    """
    log_probabilities = jax.nn.log_softmax(logits)
    return -jnp.take_along_axis(log_probabilities, labels[:, None], axis=1)[:, 0]


def classification_sums(
    logits: jax.Array, labels: jax.Array, mask: jax.Array
) -> dict[str, jax.Array]:
    """Sums of loss and of right answers over the examples that count.

    Args:
      logits: float32 (B, C).
      labels: int32 (B,).
      mask: bool (B,), False for padding.

    Returns:
      ``{"loss": (), "accuracy": ()}``, float32: to be divided by the number of
      examples. The largest logit is the answer; the first one among equals.
    """
    right = jnp.argmax(logits, axis=1) == labels
    return {
        "loss": jnp.sum(jnp.where(mask, cross_entropy(logits, labels), 0.0)),
        "accuracy": jnp.sum(mask & right).astype(jnp.float32),
    }


def gradient_norms(gradients: Mapping[str, Any], layers: Sequence[str]) -> jax.Array:
    """Euclidean norm of each layer's gradient, weights and biases together.

    Args:
      gradients: ``{layer: tree of arrays}``.
      layers: the layers, in the order of the result.

    Returns:
      float32 (layers,).
    """

    def norm(layer: str) -> jax.Array:
        leaves = jax.tree.leaves(gradients[layer])
        largest = jnp.max(jnp.stack([jnp.max(jnp.abs(g)) for g in leaves]))
        # In float32 the square of 1e20 is infinite and that of 1e-25 is 0; exploding
        # and vanishing gradients reach both.
        unit = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1.0)
        squares = jnp.stack([jnp.sum(jnp.square(g / unit)) for g in leaves])
        return unit * jnp.sqrt(jnp.sum(squares))

    return jnp.stack([norm(layer) for layer in layers])
