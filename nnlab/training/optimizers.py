# SPDX-License-Identifier: Apache-2.0
"""Optimizers that take traced hyperparameters.

An optimizer is built *inside* the traced training step from the learning rate of that
step, `peak * schedule(step)`. So one compiled program serves all rates, momenta and
weight decays, with Optax's own update rules.
"""

import jax
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
