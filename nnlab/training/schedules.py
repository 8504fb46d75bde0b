# SPDX-License-Identifier: Apache-2.0
"""Shapes of the learning rate over training: factors on the peak rate.

A shape is a function of the share of training that is done and of its settings, plain
numbers or traced ones. A new shape is a function in `SHAPES`.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from nnlab.study.fields import FieldError
from nnlab.words.spelling import nearest

Scalar = jax.Array | float


def factor(
    name: str, step: Scalar, settings: Mapping[str, Scalar], *, total_steps: int
) -> jax.Array:
    """Returns the factor on the peak rate after some steps, float32 ().

    In the first of the `settings`, "warmup_steps", steps it rises linearly, from
    1/warmup_steps in the first step (0 would waste it) to 1 in the last. The shape is
    then one of `SHAPES`, with those of the settings that it takes; others are ignored.
    From `total_steps` on it is constant.

    Source: Goyal et al., "Accurate, large minibatch SGD" (2017), for the warm-up.

    >>> float(factor("linear", 75, {}, total_steps=100))
    0.25
    """
    shape, warmup_steps = find(name), settings.get("warmup_steps", 0)
    taken = jnp.minimum(jnp.asarray(step, jnp.float32), total_steps)
    after = (taken - warmup_steps) / (total_steps - warmup_steps)
    _, _, *names = inspect.signature(shape).parameters
    own = {name: settings[name] for name in names if name in settings}
    main = shape(jnp.maximum(after, 0.0), taken / total_steps, **own)
    risen = (taken + 1) / jnp.maximum(warmup_steps, 1)
    return jnp.where(taken < warmup_steps, risen, main)


def _constant(after: jax.Array, done: jax.Array) -> jax.Array:
    """Returns 1."""
    del done
    return jnp.ones_like(after)


def _linear(after: jax.Array, done: jax.Array, end: Scalar = 0.0) -> jax.Array:
    """Falls evenly from 1 to `end`."""
    del done
    return _between(1 - after, end)


def _cosine(
    after: jax.Array, done: jax.Array, end: Scalar = 0.0, cycles: Scalar | None = None
) -> jax.Array:
    """Falls along half a cosine from 1 to `end`; `cycles` times, each from 1 again.

    Source: Loshchilov and Hutter, "SGDR" (2017).
    """
    del done
    if cycles is not None:
        after = jnp.where(after < 1, after * cycles % 1, 1.0)
    return _between(0.5 * (1 + jnp.cos(jnp.pi * after)), end)


def _polynomial(
    after: jax.Array, done: jax.Array, end: Scalar = 0.0, power: Scalar = 1.0
) -> jax.Array:
    """Falls from 1 to `end` as a power of the share of steps that is left."""
    del done
    return _between((1 - after) ** power, end)


def _exponential(after: jax.Array, done: jax.Array, end: Scalar) -> jax.Array:
    """Falls from 1 to `end`, above 0, by the same factor in each step."""
    del done
    return jnp.asarray(end) ** after


def _step(after: jax.Array, done: jax.Array) -> jax.Array:
    """Returns 1, from half of all steps 0.1, from three quarters 0.01.

    Source: He et al., "Deep residual learning" (2016).
    """
    del after
    return 0.1 ** ((done >= 0.5) * 1.0 + (done >= 0.75))


def _warmup_stable_decay(
    after: jax.Array, done: jax.Array, end: Scalar = 0.0, cooldown: Scalar = 0.2
) -> jax.Array:
    """Returns 1 until the last `cooldown` of all steps, which fall evenly to `end`.

    Source: Hu et al., "MiniCPM" (2024); Hägele et al., "Scaling laws and compute-
    optimal training beyond fixed training durations" (2024).
    """
    del after
    return _between(jnp.minimum((1 - done) / cooldown, 1.0), end)


def _one_cycle(
    after: jax.Array,
    done: jax.Array,
    start: Scalar = 0.04,
    rise: Scalar = 0.3,
    end: Scalar = 0.0,
) -> jax.Array:
    """Rises from `start` to 1 in the first `rise` of all steps, then falls to `end`.

    Both along half a cosine, as optax.cosine_onecycle_schedule with div_factor 1/start
    and final_div_factor start/end.

    Source: Smith and Topin, "Super-convergence" (2018).
    """
    del after
    up, down = done / rise, (done - rise) / (1 - rise)
    rising = _between(0.5 * (1 - jnp.cos(jnp.pi * up)), start)
    falling = _between(0.5 * (1 + jnp.cos(jnp.pi * down)), end)
    return jnp.where(done < rise, rising, falling)


def _between(share: jax.Array, end: Scalar) -> jax.Array:
    """Maps a share from 1 to 0 to a factor from 1 to `end`."""
    if isinstance(end, int | float) and end == 0:
        return share
    return end + (1 - end) * share


SHAPES: Mapping[str, Callable[..., jax.Array]] = {
    "constant": _constant,
    "linear": _linear,
    "cosine": _cosine,
    "polynomial": _polynomial,
    "exponential": _exponential,
    "step": _step,
    "warmup_stable_decay": _warmup_stable_decay,
    "one_cycle": _one_cycle,
}
"""Factors from the share of the steps after the warm-up that is done, and of all."""


def find(name: str) -> Callable[..., jax.Array]:
    """Returns the shape of a name.

    Raises:
      FieldError: there is none; those that exist are told.
    """
    if name not in SHAPES:
        hint = nearest(name, SHAPES)
        raise FieldError("schedule.name", f"={name!r} is no schedule{hint}")
    return SHAPES[name]


def check(total_steps: int, warmup_steps: Any) -> None:
    """Refuses a warm-up that does not end before training does.

    Raises:
      ValueError: such a warm-up.
    """
    if not 0 <= warmup_steps < total_steps:
        raise ValueError(
            f"warm-up of {warmup_steps:g} steps must be at least 0 and below the "
            f"{total_steps} steps of training"
        )
