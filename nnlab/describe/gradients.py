# SPDX-License-Identifier: Apache-2.0
"""Checks automatic differentiation against central differences, in float64.

Where L is smooth, (L(w + eps) - L(w - eps)) / (2 eps) differs from L'(w) by
eps^2 L'''(w) / 6 and higher powers of eps: a tenth of eps leaves a hundredth of the
error. ReLUs have kinks, and so have max-pools where their choice changes. If the
interval crosses a kink, the error follows this law only once eps is too small to reach
it; a pool by absolute values even jumps from one sign to the other. Errors below about
2^-52 L / eps are rounding of the loss.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from nnlab.machine import devices
from nnlab.models import layers
from nnlab.models.kinds import elementwise
from nnlab.models.resnet import ResNet18
from nnlab.models.stack import Stack, init_variables
from nnlab.training import member, modules
from nnlab.training.program import NetworkProgram

EPSILONS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""Half-widths of the intervals. Of 20 weights of a pooled 5x5 convolution on MNIST,
18 crossed kinks from 1e-3 to 1e-4, 13 from 1e-4 to 1e-5 and none below."""

TOLERANCE = 1e-6
"""Largest relative difference of a weight that agrees, at the eps that suits it best.
The layers of 13 networks on MNIST had medians of 1e-7 at most, rounding apart."""

KINKED = {*elementwise.KINKED, *layers.POOLS.values()}
"""Layers whose outputs have kinks."""


@dataclasses.dataclass(frozen=True)
class Step:
    """The weights of a layer at one eps, half the width of the interval.

    Attributes:
      largest: largest absolute difference of a weight's two derivatives.
      largest_relative, median_relative: of the differences relative to the larger
        derivative, over the weights that are compared; NaN if none is.
      order: power of eps by which the differences fell from the eps before, 2 where L
        is smooth: the median over the weights that are not irregular and whose
        differences are well above rounding; NaN if there is none.
      irregular: number of weights whose intervals cross kinks: their difference fell by
        a power below 1 or above 4 from the eps before.
    """

    eps: float
    largest: float
    largest_relative: float
    median_relative: float
    order: float
    irregular: int


@dataclasses.dataclass(frozen=True)
class Row:
    """The result for one layer.

    Attributes:
      layer: its name at the parameters' top level.
      checked: number of weights, biases included.
      compared: weights that change the loss by at least a hundred times its rounding;
        others, such as weights of pixels that are always 0, are not compared.
      agreeing: compared weights that differ by at most `TOLERANCE` and rounding, at any
        eps at which rounding is at most a hundredth of the derivative.
      kinked: compared weights that are irregular at any eps.
      agrees: whether all compared weights agree; in a network with kinks, whether more
        than half of each array's do.
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
    """Compares both derivatives of the mean cross-entropy of one training batch.

    The weights are those of an untrained network of the first trial, with noise of 0.1
    on all but kernels, because with biases of 0 a black image is exactly at a ReLU's
    kink. Dropout drops the same units every time. Few examples have few kinks. All
    random numbers are fixed, and JAX's precision is restored afterwards.

    Args:
      program: nothing of it is trained.
      num_weights: weights of each layer, shared evenly by its arrays.
      num_examples: size of the batch, the first of the training examples.
      epsilons: half-widths of the intervals, falling.

    Returns:
      A row for each layer, in the order of the network.

    Raises:
      ValueError: the module does not compute in float64, or the loss is not finite at
        the start.
    """
    with devices.setting("enable_x64", True):
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
        return jnp.mean(recipe.loss(logits, labels))

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
            f"{modules.name_of(module)} is {value.dtype}"
        )
    if not math.isfinite(value):
        raise ValueError(f"the loss of the untrained network is {value}, not finite")
    rounding = np.finfo(np.float64).eps * max(1.0, float(value)) / epsilons
    smooth = program.rows and not any(
        row.layer["layer"] in KINKED for row in layers.leaves(program.rows)
    )
    needed = 1.0 if smooth else 0.5
    rows = []
    for layer in recipe.layers:
        some, arrays = places[layer]
        exact = np.asarray(gradient)[some]
        found = np.stack([quotients(weights, some, eps) for eps in epsilons], axis=1)
        rows.append(row_of(layer, exact, found, epsilons, rounding, arrays, needed))
    return rows


def _moved(params: Any, rng: np.random.Generator) -> list[np.ndarray]:
    """Returns the arrays in float64, with noise on all but kernels."""
    arrays = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        is_kernel = getattr(path[-1], "key", None) == "kernel"
        noise = 0.0 if is_kernel else 0.1 * rng.normal(size=leaf.shape)
        arrays.append(np.asarray(leaf, np.float64) + noise)
    return arrays


def _places(
    params: Any, layers: Sequence[str], num_weights: int, rng: np.random.Generator
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Picks weights of each layer; returns their positions, and their arrays."""
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


def row_of(
    layer: str,
    exact: np.ndarray,
    found: np.ndarray,
    epsilons: np.ndarray,
    rounding: np.ndarray,
    arrays: np.ndarray,
    needed: float,
) -> Row:
    """Compares the derivatives of a layer's weights.

    Args:
      layer: for the table.
      exact: derivatives of W weights, (W,).
      found: difference quotients at E eps, (W, E).
      epsilons, rounding: the eps, and the loss's rounding divided by each, (E,).
      arrays: the array of each weight, (W,).
      needed: all weights of each array must agree, or more than this share.
    """
    errors = np.abs(found - exact[:, None])
    sizes = np.maximum(np.abs(found), np.abs(exact)[:, None])
    told = (rounding <= 0.01 * sizes) | (errors == 0)
    compared = rounding[0] <= 0.01 * sizes[:, 0]
    good = np.any(told & (errors <= TOLERANCE * sizes + rounding), axis=1)[compared]
    shares = [good[arrays[compared] == a].mean() for a in np.unique(arrays[compared])]
    seen, floor = errors[compared], 10 * rounding
    relative = np.divide(seen, sizes[compared], out=0 * seen, where=seen > 0)
    # From each eps to the next. A difference below the floor is rounding, so it fell at
    # least that far.
    old, new = seen[:, :-1], seen[:, 1:]
    falls = np.log(np.maximum(old, floor[:-1]) / np.maximum(new, floor[1:]))
    falls /= np.log(epsilons[:-1] / epsilons[1:])
    clear, known = new > floor[1:], old > floor[:-1]
    irregular = known & ((clear & (falls < 1)) | (falls > 4))
    regular = known & clear & ~irregular
    falls, irregular, regular = (
        np.pad(values, ((0, 0), (1, 0))) for values in (falls, irregular, regular)
    )
    steps = tuple(
        Step(
            eps=float(eps),
            largest=float(errors[:, i].max()),
            largest_relative=_or_nan(np.max, relative[:, i]),
            median_relative=_or_nan(np.median, relative[:, i]),
            order=_or_nan(np.median, falls[regular[:, i], i]),
            irregular=int(irregular[:, i].sum()),
        )
        for i, eps in enumerate(epsilons)
    )
    return Row(
        layer=layer,
        checked=len(exact),
        compared=int(compared.sum()),
        agreeing=int(good.sum()),
        kinked=int(irregular.any(axis=1).sum()),
        agrees=all(share == 1.0 or share > needed for share in shares),
        steps=steps,
    )


def _or_nan(reduce: Callable[[np.ndarray], Any], values: np.ndarray) -> float:
    return float(reduce(values)) if len(values) else math.nan
