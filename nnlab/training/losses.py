# SPDX-License-Identifier: Apache-2.0
"""What training minimises: a function for each loss, by the name in a study.

A loss takes outputs (B, C), float32, and targets: labels, int32 (B,) in 0..C-1, or what
each output should be, float32 (B, C): a share of every class, or the values of a
regression. It returns a value for each example, float32 (B,). Every public function
here whose arguments are outputs and targets is one.
"""

import inspect
import sys
from collections.abc import Callable

import jax
import jax.numpy as jnp

from nnlab.study.fields import FieldError
from nnlab.study.hyperparameters import AUTO
from nnlab.words.spelling import nearest

Loss = Callable[[jax.Array, jax.Array], jax.Array]
"""A loss, such as one of one's own."""


def softmax_cross_entropy(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Returns the cross-entropy of softmax in nats."""
    log_probabilities = jax.nn.log_softmax(outputs)
    if targets.ndim == outputs.ndim:
        return -jnp.sum(targets * log_probabilities, axis=1)
    return -jnp.take_along_axis(log_probabilities, targets[:, None], axis=1)[:, 0]


def squared_error(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Returns half the squared error, summed over the outputs.

    Labels are one-hot. The half is that of Cohen et al. 2021, "Gradient descent on
    neural networks typically occurs at the edge of stability": the gradient by an
    output is its error.
    """
    return 0.5 * jnp.sum((outputs - _each(outputs, targets)) ** 2, axis=1)


def hinge(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Returns by how much the right class leads the best other by less than 1.

    It is max(0, 1 + best other - right), the loss of Crammer and Singer 2001.
    """
    right = _each(outputs, targets)
    most = jnp.max(outputs + 1.0 - right, axis=1)
    return most - jnp.sum(outputs * right, axis=1)


def _each(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Returns what each output should be, (B, C), of labels or of just that."""
    if targets.ndim == outputs.ndim:
        return targets
    return jax.nn.one_hot(targets, outputs.shape[1], dtype=outputs.dtype)


def smoothed(labels: jax.Array, num_classes: int, smoothing: jax.Array) -> jax.Array:
    """Returns each label's shares of all classes, float32 (B, C), which sum to 1.

    `smoothing`, float32 (), is divided among all classes; the label has the rest, too,
    as in Szegedy et al. 2016, PyTorch and Keras.
    """
    right = jax.nn.one_hot(labels, num_classes, dtype=jnp.float32)
    return (1.0 - smoothing) * right + smoothing / num_classes


def find(name: str, regression: bool = False) -> Loss:
    """Returns the loss of a name; `AUTO` is the usual one of the task.

    Raises:
      FieldError: no loss has the name, or it needs classes; those that exist are told.
    """
    if name == AUTO:
        return squared_error if regression else softmax_cross_entropy
    known = {
        key: function
        for key, function in vars(sys.modules[__name__]).items()
        if inspect.isfunction(function)
        and [*inspect.signature(function).parameters] == ["outputs", "targets"]
        and not key.startswith("_")
    }
    if name not in known:
        raise FieldError("loss.name", f"={name!r} is no loss{nearest(name, known)}")
    if regression and known[name] in (softmax_cross_entropy, hinge):
        raise FieldError(
            "loss.name",
            f"={name!r} needs classes, and the targets are numbers: 'squared_error', "
            "or one of your own (loss=... in Python)",
        )
    return known[name]
