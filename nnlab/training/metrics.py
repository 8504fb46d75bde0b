# SPDX-License-Identifier: Apache-2.0
"""Losses and metrics as sums over examples, and gradient norms by layer."""

import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nnlab.data.dataset import R2
from nnlab.training.losses import Loss

Metric = Callable[[jax.Array, jax.Array], jax.Array]
"""A user's own metric: from logits (B, C), float32, and labels (B,), int32, to a value
for each example, (B,). Its mean over a split is reported."""


def judged(loss: Loss, logits: jax.Array, labels: jax.Array) -> dict[str, jax.Array]:
    """Returns "loss", float32 (B,), and "accuracy", bool (B,), of each example.

    Accuracy is whether the answer is right: the largest of the logits (B, C), the first
    of equal ones.
    """
    right = jnp.argmax(logits, axis=1) == labels
    return {"loss": loss(logits, labels), "accuracy": right}


def measured(
    loss: Loss, unit: np.ndarray, outputs: jax.Array, targets: jax.Array
) -> dict[str, jax.Array]:
    """Returns "loss", "mae" and "r2" of each example of a regression, float32 (B,).

    Outputs and targets (B, C) are in units of the training targets, of which each is
    `unit`, float32 (1, C), of the user's. "mae" is the absolute error in the user's
    units, the mean over the targets. "r2" is the sum of the squared errors, of which
    `explained` makes R2.
    """
    error = outputs - targets
    return {
        "loss": loss(outputs, targets),
        "mae": jnp.mean(jnp.abs(error) * unit, axis=1),
        R2: jnp.sum(error**2, axis=1),
    }


def explained(error: Any, variance: Any) -> Any:
    """Returns R2, the share of the variance of a split's targets that is explained.

    Args:
      error: mean over the split of the squared errors, summed over the targets.
      variance: of the split's targets, summed likewise; see `variance`. So every target
        counts in proportion to its variance.
    """
    return 1.0 - error / variance


def variance(targets: np.ndarray) -> np.ndarray:
    """Returns the variance of targets (..., N, C), summed over the targets, (...)."""
    return np.var(targets, axis=-2, dtype=np.float64).sum(axis=-1)


def sums(each: Mapping[str, jax.Array], mask: jax.Array) -> dict[str, jax.Array]:
    """Sums named values of examples, (B,), over all but padding, float32 ().

    The mask, bool (B,), is False for padding. Truth values are counted.
    """

    def over(values: jax.Array) -> jax.Array:
        if values.dtype == bool:
            return jnp.sum(mask & values).astype(jnp.float32)
        return jnp.sum(jnp.where(mask, values, 0.0), dtype=jnp.float32)

    return {name: over(values) for name, values in each.items()}


def gradient_norms(
    gradients: Mapping[str, Any],
    layers: Sequence[str],
    runs: Mapping[str, Mapping[str, Sequence[str]]] = types.MappingProxyType({}),
) -> jax.Array:
    """Returns the Euclidean norm of each layer's gradient, float32 (layers,).

    In `gradients`, ``{layer: tree of arrays}``, arrays of the layers in `runs` are
    stacked, see `models.stack.Stack.runs`.
    """
    names: list[str] = []
    norms: list[jax.Array] = []
    for name, tree in gradients.items():
        if name in runs:
            for kind, stacked in runs[name].items():
                names += stacked
                norms.append(jax.vmap(_norm)(tree[kind]))
        else:
            names.append(name)
            norms.append(_norm(tree)[None])
    order = np.array([names.index(layer) for layer in layers])
    return jnp.concatenate(norms)[order]


def _norm(tree: Any) -> jax.Array:
    leaves = jax.tree.leaves(tree)
    largest = jnp.max(jnp.stack([jnp.max(jnp.abs(g)) for g in leaves]))
    # In float32 the square of 1e20 is infinite and that of 1e-25 is 0. Exploding and
    # vanishing gradients reach both.
    unit = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1.0)
    squares = jnp.stack([jnp.sum(jnp.square(g / unit)) for g in leaves])
    return unit * jnp.sqrt(jnp.sum(squares))
