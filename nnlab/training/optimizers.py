# SPDX-License-Identifier: Apache-2.0
"""Optimizers and learning-rate schedules that take traced hyperparameters.

An optimizer is built *inside* the traced training step from the learning rate of that
step, `peak * schedule(step)`. So one compiled program serves all rates, momenta and
weight decays, with Optax's own update rules.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

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
    """Makes an Optax optimizer from traced hyperparameters.

    For sgd, adam and rmsprop weight decay is coupled: the gradient of an L2 penalty
    `weight_decay / 2 * |params|**2` is added to the gradient. For adamw it is not:
    each step subtracts `learning_rate * weight_decay * params` from the parameters. It
    acts on every parameter, biases too. Adam and AdamW use b1 = 0.9, b2 = 0.999.

    Args:
      name: "sgd", "adam", "adamw" or "rmsprop" (decay of the squares 0.9).
      learning_rate: rate of this step.
      momentum: share of the last velocity that sgd and rmsprop keep; adam and adamw
        ignore it.
      weight_decay: at least 0.
      nesterov: whether sgd and rmsprop use Nesterov momentum.
      uses_momentum: False, for a population whose momenta are all 0, leaves the
        velocity out of the state. The steps are the same except for rounding.
      uses_weight_decay: likewise for weight decays that are all 0.

    The state does not depend on the traced values, so that these may change at every
    step.

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
            raise ValueError(f"unknown optimizer {name!r}")
    if not uses_weight_decay:
        return rule
    return optax.chain(optax.add_decayed_weights(weight_decay), rule)


def schedule(
    name: str, *, warmup_steps: int, total_steps: int
) -> Callable[[Scalar], jax.Array]:
    """Returns the shape of a learning-rate schedule, a factor on the peak rate.

    In the first `warmup_steps` steps the factor rises linearly, from 1/warmup_steps in
    the first step (0 would waste it) to 1 in the last. After them, with p from 0 to 1
    over the steps that remain, it is:

    - constant: 1
    - cosine: (1 + cos(pi p)) / 2
    - linear: 1 - p
    - step: 1, from half of `total_steps` 0.1, from three quarters 0.01

    The shape is a function of the number of steps already taken (may be traced). It
    returns the factor in [0, 1], float32, and is constant from `total_steps` on.

    Source: Loshchilov and Hutter, "SGDR" (2017), for the cosine; He et al., "Deep
    residual learning" (2016), for the step; Goyal et al., "Accurate, large minibatch
    SGD" (2017), for the warm-up.
    """
    if not 0 <= warmup_steps < total_steps:
        raise ValueError(
            f"warm-up of {warmup_steps} steps must be at least 0 and below the "
            f"{total_steps} steps of training"
        )
    shape = _SHAPES[name]

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
"""Factor from the shares in [0, 1] of the steps after the warm-up, and of all steps."""
