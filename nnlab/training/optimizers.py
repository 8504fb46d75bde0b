# SPDX-License-Identifier: Apache-2.0
"""Optimizers and learning-rate schedules that take traced hyperparameters.

An optimizer is built *inside* the traced training step from the step's own learning
rate, `peak * schedule(step)`, so one compiled program serves every rate, momentum and
weight decay, and Optax's own update rules stay as they are.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from nnlab.study import OPTIMIZERS, SCHEDULES
from nnlab.words.spelling import nearest

Scalar = jax.Array | float


def optimizer(
    name: str,
    *,
    learning_rate: Scalar,
    momentum: Scalar,
    weight_decay: Scalar,
    nesterov: bool = False,
    uses_momentum: bool = True,
    uses_weight_decay: bool = True,
) -> optax.GradientTransformation:
    """An Optax optimizer from traced hyperparameters.

    Weight decay is coupled for sgd, adam and rmsprop: the gradient of an L2 penalty
    `weight_decay / 2 * |params|**2`, added to the gradient. For adamw it is decoupled:
    each step takes `learning_rate * weight_decay * params` off the parameters. It acts
    on every parameter, biases too. Adam and AdamW keep b1 = 0.9, b2 = 0.999.

    Args:
      name: "sgd", "adam", "adamw" or "rmsprop" (decay of the squares 0.9).
      learning_rate: rate of this step, at least 0; may be traced.
      momentum: share of the last step's velocity that is kept, in [0, 1), of sgd and
        rmsprop; adam and adamw do not read it. May be traced.
      weight_decay: at least 0; may be traced.
      nesterov: whether sgd and rmsprop look ahead by one step of momentum.
      uses_momentum: False leaves the velocity out of the state; for a population whose
        members all have momentum 0. The steps are the same but for rounding.
      uses_weight_decay: False leaves the decay out; for weight decays all 0.

    Returns:
      The transformation. Its state does not depend on the traced values, so an
      optimizer of another rate may take over at every step.

    Raises:
      ValueError: an unknown name.

    Source: Sutskever et al., "On the importance of initialization and momentum in deep
    learning" (2013); Kingma and Ba, "Adam" (2015); Loshchilov and Hutter, "Decoupled
    weight decay regularization" (2019); Tieleman and Hinton, "RMSProp" (2012).
    """
    velocity = momentum if uses_momentum else None
    match name:
        case "sgd":
            rule = optax.sgd(learning_rate, velocity, nesterov)
        case "adam":
            rule = optax.adam(learning_rate)
        case "adamw":
            decay = weight_decay if uses_weight_decay else 0.0
            return optax.adamw(learning_rate, weight_decay=decay)
        case "rmsprop":
            rule = optax.rmsprop(
                learning_rate, decay=0.9, momentum=velocity, nesterov=nesterov
            )
        case _:
            raise ValueError(f"unknown optimizer {name!r}{nearest(name, OPTIMIZERS)}")
    if not uses_weight_decay:
        return rule
    return optax.chain(optax.add_decayed_weights(weight_decay), rule)


def schedule(
    name: str, *, warmup_steps: int, total_steps: int
) -> Callable[[Scalar], jax.Array]:
    """The shape of a learning-rate schedule, to be multiplied by the peak rate.

    In the first `warmup_steps` steps the factor climbs linearly, 1/warmup_steps in the
    first step (a factor of 0 would waste it) to 1 in the last. After them it is, where
    p runs from 0 to 1 over the steps that remain:

    - constant: 1
    - cosine: (1 + cos(pi p)) / 2
    - linear: 1 - p
    - step: 1, from half of `total_steps` 0.1, from three quarters 0.01

    Args:
      name: "constant", "cosine", "linear" or "step".
      warmup_steps: number of steps of warm-up, from 0 to below `total_steps`.
      total_steps: number of steps of the whole training, at least 1.

    Returns:
      A function from the number of steps already taken, an integer scalar (may be
      traced), to the factor in [0, 1], float32. It ends at `total_steps` and keeps its
      last value beyond.

    Raises:
      ValueError: an unknown name, or numbers of steps out of range.

    Source: Loshchilov and Hutter, "SGDR" (2017), for the cosine; He et al., "Deep
    residual learning" (2016), for the step; Goyal et al., "Accurate, large minibatch
    SGD" (2017), for the warm-up.
    """
    if not 0 <= warmup_steps < total_steps:
        raise ValueError(
            f"warm-up of {warmup_steps} steps must be at least 0 and below the "
            f"{total_steps} steps of training"
        )
    shape = _SHAPES.get(name)
    if shape is None:
        raise ValueError(f"unknown schedule {name!r}{nearest(name, SCHEDULES)}")

    def factor(step: Scalar) -> jax.Array:
        taken = jnp.minimum(jnp.asarray(step, jnp.float32), total_steps)
        after = (taken - warmup_steps) / (total_steps - warmup_steps)
        main = shape(jnp.maximum(after, 0.0), taken / total_steps)
        return jnp.where(taken < warmup_steps, (taken + 1) / max(warmup_steps, 1), main)

    return factor


_SHAPES: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "constant": lambda after, _: jnp.ones_like(after),
    "cosine": lambda after, _: 0.5 * (1 + jnp.cos(jnp.pi * after)),
    "linear": lambda after, _: 1 - after,
    "step": lambda _, whole: 0.1 ** ((whole >= 0.5) * 1.0 + (whole >= 0.75)),
}
"""Factor as a function of the shares done: of the steps after the warm-up, of all."""
