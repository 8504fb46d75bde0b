# SPDX-License-Identifier: Apache-2.0
"""The gradients of automatic differentiation against central differences, in float64.

(L(w + eps) - L(w - eps)) / (2 eps) differs from L'(w) by eps^2 L'''(w) / 6 and higher
powers of eps where L is smooth, so that a tenth of eps leaves a hundredth of the error.
Where the interval crosses a kink, of a ReLU or of a max-pool that changes its choice,
the error is a part of the kink's and follows no such law until eps is too small to
reach it; a pool by absolute values even jumps there, from one sign to the other. Below
about 2^-52 L / eps the loss's own rounding is all that is seen.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from nnlab.machine import devices
from nnlab.models.layers import POOLS
from nnlab.models.resnet import ResNet18
from nnlab.models.stack import Stack, init_variables
from nnlab.training import member, metrics, own
from nnlab.training.program import NetworkProgram

EPSILONS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""Half-widths of the intervals. Of 20 weights of a pooled 5x5 convolution on MNIST,
18 crossed kinks from 1e-3 to 1e-4, 13 from 1e-4 to 1e-5 and none below."""

TOLERANCE = 1e-6
"""Largest relative difference of a weight that agrees, at the eps that suits it best.
The layers of 13 networks on MNIST had medians of 1e-7 at most, rounding apart."""

KINKED = {"relu", "leaky_relu", *POOLS.values()}
"""Layers whose outputs have kinks as functions of their inputs."""


@dataclasses.dataclass(frozen=True)
class Step:
    """How the weights of a layer do at one eps.

    Attributes:
      eps: half-width of the interval.
      largest: largest absolute difference of a weight's two derivatives.
      largest_relative: largest difference relative to the larger derivative, over the
        weights that are compared; NaN if none is.
      median_relative: likewise the median.
      order: power of eps by which the differences fell from the eps before, 2 where L
        is smooth: the median of the weights whose differences stand clear of rounding
        and are not irregular; NaN if there is none.
      irregular: weights whose difference fell by a power of less than 1 or more than 4
        from the eps before: their intervals cross kinks.
    """

    eps: float
    largest: float
    largest_relative: float
    median_relative: float
    order: float
    irregular: int


@dataclasses.dataclass(frozen=True)
class Row:
    """One layer.

    Attributes:
      layer: its name at the parameters' top level.
      checked: number of weights, biases among them.
      compared: those that change the loss by a hundred times its rounding or more; the
        others, as of pixels that are always 0, have nothing to compare.
      agreeing: those compared that differ by at most `TOLERANCE` and rounding, at any
        eps at which rounding is at most a hundredth of the derivative.
      kinked: those compared that are irregular at any eps.
      agrees: whether all that are compared agree or, in a network with kinks, more than
        half of each array's.
      steps: from the largest eps to the smallest.
    """

    layer: str
    checked: int
    compared: int
    agreeing: int
    kinked: int
    agrees: bool
    steps: tuple[Step, ...]


@devices.pinned()
def check(
    program: NetworkProgram,
    *,
    num_weights: int = 20,
    num_examples: int = 8,
    epsilons: Sequence[float] = EPSILONS,
) -> list[Row]:
    """Compares both derivatives of the mean cross-entropy of one batch in training.

    The weights are a fresh network's, of the first trial, with noise of 0.1 on all but
    kernels: at biases of 0 a black image stands exactly on a ReLU's kink. Dropout drops
    the same units every time. Few examples have few kinks. Draws are fixed, and the
    process's precision is left as it was.

    Args:
      program: the program; nothing of it is trained.
      num_weights: weights of each layer, shared evenly by its arrays.
      num_examples: size of the batch, the first of the training examples.
      epsilons: half-widths of the intervals, falling.

    Returns:
      A row for each layer, in the order of the network.

    Raises:
      ValueError: a module that does not compute in float64, or a loss that is not
        finite at the start.
    """
    with jax.enable_x64(True):
        return _check(program, num_weights, num_examples, np.asarray(epsilons))


def _check(
    program: NetworkProgram, num_weights: int, num_examples: int, epsilons: np.ndarray
) -> list[Row]:
    recipe, split = program.recipe, program.fed.train
    labels = jnp.asarray(split.labels[:num_examples])
    scaled = split.inputs[:num_examples] * np.float64(recipe.input_scale)
    x = (scaled - recipe.input_shift).reshape(len(labels), *recipe.input_shape)
    module = recipe.module
    exact = {"dtype": jnp.float64, "param_dtype": jnp.float64}
    if isinstance(module, Stack):
        module = module.clone(**exact, rolled=False)
    elif isinstance(module, ResNet18):
        module = module.clone(**exact)
    traced = {name: float(v[0]) for name, v in program.members.traced().items()}
    init = jax.jit(init_variables, static_argnums=0)
    variables = init(module, member.key(0), x, traced["init_scale"])
    params = variables.pop("params")
    rng = np.random.default_rng(0)
    weights = np.concatenate([np.ravel(v) for v in _moved(params, rng)])
    _, unravel = ravel_pytree(jax.tree.map(lambda v: v.astype(jnp.float64), params))
    places = _places(params, recipe.layers, num_weights, rng)
    variables["hyperparameters"] = {"dropout_rate": traced["dropout_rate"]}

    def loss(weights: jax.Array) -> jax.Array:
        logits, _ = module.apply(
            {**variables, "params": unravel(weights)},
            x,
            train=True,
            rngs={"dropout": member.key(1)},
            mutable=["batch_stats"],
        )
        return jnp.mean(metrics.cross_entropy(logits, labels))

    @jax.jit
    def quotients(weights: jax.Array, places: jax.Array, eps: jax.Array) -> jax.Array:
        def quotient(place: jax.Array) -> jax.Array:
            above, below = weights.at[place].add(eps), weights.at[place].add(-eps)
            return (loss(above) - loss(below)) / (2 * eps)

        return jax.lax.map(quotient, places)

    value, gradient = jax.jit(jax.value_and_grad(loss))(weights)
    if value.dtype != np.float64:
        raise ValueError(
            f"the gradient check needs a model that computes in float64; the loss of "
            f"{own.name_of(module)} is {value.dtype}"
        )
    if not math.isfinite(value):
        raise ValueError(f"the loss of the untrained network is {value}, not finite")
    rounding = np.finfo(np.float64).eps * max(1.0, float(value)) / epsilons
    smooth = program.rows and not any(
        row.layer["layer"] in KINKED for row in program.rows
    )
    needed = 1.0 if smooth else 0.5
    rows = []
    for layer in recipe.layers:
        some, arrays = places[layer]
        exact = np.asarray(gradient)[some]
        found = np.stack([quotients(weights, some, eps) for eps in epsilons], axis=1)
        rows.append(_row(layer, exact, found, epsilons, rounding, arrays, needed))
    return rows


def _moved(params: Any, rng: np.random.Generator) -> list[np.ndarray]:
    """The arrays in float64, with noise on all but kernels."""
    arrays = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        is_kernel = getattr(path[-1], "key", None) == "kernel"
        noise = 0.0 if is_kernel else 0.1 * rng.normal(size=leaf.shape)
        arrays.append(np.asarray(leaf, np.float64) + noise)
    return arrays


def _places(
    params: Any, layers: Sequence[str], num_weights: int, rng: np.random.Generator
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """For each layer, where some weights are among all, and the array of each."""
    shuffled: dict[str, list[np.ndarray]] = {layer: [] for layer in layers}
    starts = [0]
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        shuffled[path[0].key].append(starts[-1] + rng.permutation(leaf.size))
        starts.append(starts[-1] + leaf.size)
    places = {}
    for layer, arrays in shuffled.items():
        rounds = itertools.chain.from_iterable(itertools.zip_longest(*arrays))
        places_left = (place for place in rounds if place is not None)
        some = np.array(list(itertools.islice(places_left, num_weights)))
        places[layer] = some, np.searchsorted(starts, some, side="right")
    return places


def _row(
    layer: str,
    exact: np.ndarray,
    found: np.ndarray,
    epsilons: np.ndarray,
    rounding: np.ndarray,
    arrays: np.ndarray,
    needed: float,
) -> Row:
    """A layer's row, from derivatives (weights,) and quotients (weights, epsilons).

    Of each of the `arrays` (weights,) all must agree or more than the share `needed`.
    """
    errors = np.abs(found - exact[:, None])
    sizes = np.maximum(np.abs(found), np.abs(exact)[:, None])
    told = (rounding <= 0.01 * sizes) | (errors == 0)
    compared = rounding[0] <= 0.01 * sizes[:, 0]
    good = np.any(told & (errors <= TOLERANCE * sizes + rounding), axis=1)[compared]
    shares = [good[arrays[compared] == a].mean() for a in np.unique(arrays[compared])]
    seen, floor = errors[compared], 10 * rounding
    relative = np.divide(seen, sizes[compared], out=0 * seen, where=seen > 0)
    kinked = np.zeros(len(seen), bool)
    steps = []
    for i, eps in enumerate(epsilons):
        orders, irregular = np.array([]), kinked & False
        if i:
            # Below the floor a difference is rounding: it fell at least so far.
            old, new = seen[:, i - 1], np.maximum(seen[:, i], floor[i])
            falls = np.log(np.maximum(old, floor[i - 1]) / new)
            falls /= math.log(epsilons[i - 1] / eps)
            clear = seen[:, i] > floor[i]
            irregular = (old > floor[i - 1]) & ((clear & (falls < 1)) | (falls > 4))
            orders = falls[clear & (old > floor[i - 1]) & ~irregular]
        kinked |= irregular
        some = relative[:, i] if len(relative) else np.array([math.nan])
        steps.append(
            Step(
                eps=float(eps),
                largest=float(errors[:, i].max()),
                largest_relative=float(some.max()),
                median_relative=float(np.median(some)),
                order=float(np.median(orders)) if len(orders) else math.nan,
                irregular=int(irregular.sum()),
            )
        )
    return Row(
        layer=layer,
        checked=len(exact),
        compared=int(compared.sum()),
        agreeing=int(good.sum()),
        kinked=int(kinked.sum()),
        agrees=all(share == 1.0 or share > needed for share in shares),
        steps=tuple(steps),
    )
