# SPDX-License-Identifier: Apache-2.0
"""Measures one network along its training: the probes, without a member axis.

A probe is a function of a `Network` and a `Batch`. It returns a number (); or several,
as a vector (k,) or a mapping of names to numbers. Its columns are "name"; "name_0",
"name_1", ...; and "name_KEY". `population` lifts it to many members.

>>> def curvature(network, batch):
...     along = network.gradient(network.params, batch)
...     bent = network.hvp(network.params, batch, along)
...     return inner(along, bent) / inner(along, along)
"""

import dataclasses
import functools
import inspect
import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.scipy.linalg import eigh_tridiagonal

from nnlab.study.fields import FieldError
from nnlab.training import member, metrics, modules, own
from nnlab.training.member import Recipe, Traced, TrainState
from nnlab.words.spelling import nearest

Probe = Callable[["Network", "Batch"], Any]
"""A probe; see above."""

TOLERANCE = 0.01
"""Largest relative error of the sharpness, as estimated from Lanczos' residual."""
ITERATIONS = 5
"""Iterations of Lanczos between two looks at the residual."""
MOST_ITERATIONS = 100
"""Iterations of Lanczos after which it ends in any case."""
SMALL_BATCHES = 64
"""Least number of small batches whose gradients the noise scale compares."""


class Batch(NamedTuple):
    """Training examples, the same ones at every step.

    Attributes:
      inputs: as they are stored, (n, values); the network scales them.
      labels: int32 (n,).
    """

    inputs: Any
    labels: Any


@dataclasses.dataclass(frozen=True)
class Network:
    """One network at one step of its training.

    Its loss is that which training minimises, dropout included: of the batch, cut into
    batches of at most the training's size, the mean. What is left over is left out.

    Attributes:
      recipe, state, traced: as in `nnlab.training.member`.
      key: random key of the seed, the same at every step.
      start: returns the parameters before the first update.
    """

    recipe: Recipe
    state: TrainState
    traced: Traced
    key: jax.Array
    start: Callable[[], Any]

    @property
    def params(self) -> Any:
        """The parameters, ``{layer: {name: array}}``."""
        return self.state.params

    @property
    def initial(self) -> Any:
        """The parameters before the first update."""
        return self.start()

    @property
    def learning_rate(self) -> jax.Array:
        """The learning rate of the next update, float32 ()."""
        return member.learning_rate(self.recipe, self.traced, self.state.step)

    def loss(self, params: Any, batch: Batch) -> jax.Array:
        """Returns the mean loss of a batch, float32 ()."""
        return self._mean(functools.partial(self._loss, params), batch)

    def gradient(self, params: Any, batch: Batch) -> Any:
        """Returns the gradient of the loss, a tree like `params`."""
        return self._mean(functools.partial(jax.grad(self._loss), params), batch)

    def hvp(self, params: Any, batch: Batch, vector: Any) -> Any:
        """Returns the Hessian of the loss times a vector, both trees like `params`."""

        def of(part: Batch) -> Any:
            slope = functools.partial(jax.grad(self._loss), batch=part)
            return jax.jvp(slope, (params,), (vector,))[1]

        return self._mean(of, batch)

    def outputs(self, params: Any, batch: Batch) -> Any:
        """Returns the outputs, float32 (n, C), as in evaluations."""
        variables = {"params": params, "batch_stats": self.state.batch_stats}
        x = member.scaled(self.recipe, batch.inputs)
        found: Any = self.recipe.module.apply(variables, x, train=False)
        return found

    def update(self, gradient: Any, loss: jax.Array | float = jnp.nan) -> Any:
        """Returns what the optimizer would add to the parameters, a tree like them.

        Few optimizers read the loss, such as polyak_sgd.
        """
        return member.update(self.recipe, self.state, self.traced, gradient, loss)[0]

    def by_layer(self, tree: Any) -> dict[str, jax.Array]:
        """Returns the Euclidean norm of each layer of a tree like `params`."""
        layers = self.recipe.layers
        norms = metrics.gradient_norms(tree, layers, self.recipe.runs)
        return dict(zip(layers, norms))

    def small_gradients(self, batch: Batch, size: int) -> tuple[Any, jax.Array]:
        """Returns the mean gradient of batches of a size, and that of its square ()."""

        def of(part: Batch) -> Any:
            gradient = jax.grad(self._loss)(self.params, part)
            return gradient, inner(gradient, gradient)

        found: tuple[Any, jax.Array] = self._mean(of, batch, size)
        return found

    def _loss(self, params: Any, batch: Batch) -> jax.Array:
        of = self.recipe, params, self.state.batch_stats, self.traced
        return member.batch_loss(*of, *batch, self.key)[0]

    def _mean(
        self, of: Callable[[Batch], Any], batch: Batch, size: int | None = None
    ) -> Any:
        """Returns the mean of a function over parts of a batch, one after another."""
        size = min(size or self.recipe.probe_batch, len(batch.inputs))
        count = len(batch.inputs) // size
        parts = jax.tree.map(
            lambda leaf: leaf[: count * size].reshape(count, size, *leaf.shape[1:]),
            batch,
        )
        first = of(jax.tree.map(lambda leaf: leaf[0], parts))
        if count == 1:
            return first
        rest = jax.tree.map(lambda leaf: leaf[1:], parts)
        total, _ = jax.lax.scan(
            lambda sums, part: (jax.tree.map(jnp.add, sums, of(part)), None),
            first,
            rest,
        )
        return jax.tree.map(lambda leaf: leaf / count, total)


def inner(one: Any, other: Any) -> jax.Array:
    """Returns the sum of the products of two trees' values, float32 ().

    >>> import jax.numpy as jnp
    >>> float(inner({"a": jnp.ones(2)}, {"a": jnp.full(2, 3.0)}))
    6.0
    """
    products = jax.tree.map(lambda a, b: jnp.sum(a * b), one, other)
    return sum(jax.tree.leaves(products), jnp.float32(0.0))


def sharpness(network: Network, batch: Batch) -> dict[str, jax.Array]:
    """Returns the largest eigenvalue of the Hessian of the loss, by Lanczos.

    "edge" is it times the learning rate, halved: above 1 plain gradient descent is
    unstable (Cohen et al. 2021). The three-term recurrence keeps no earlier vector;
    what rounding does to their orthogonality makes copies of the outer eigenvalues, and
    moves none (Paige 1980). It ends when the error of the largest is below `TOLERANCE`
    of it: at most its residual, and its square over the gap to the next (Parlett 1998,
    chapter 11).
    """
    of = functools.partial(network.hvp, network.params, batch)
    largest = _largest_eigenvalue(of, network.params, network.key)
    return {"": largest, "edge": largest * network.learning_rate / 2}


def _largest_eigenvalue(
    times: Callable[[Any], Any], like: Any, key: jax.Array
) -> jax.Array:
    leaves, structure = jax.tree.flatten(like)
    keys = jax.random.split(jax.random.fold_in(key, zlib.crc32(b"start")), len(leaves))
    draws = [
        jax.random.normal(k, leaf.shape, leaf.dtype) for k, leaf in zip(keys, leaves)
    ]
    begun = jax.tree.unflatten(structure, draws)
    none = jax.tree.map(jnp.zeros_like, like)
    zeros = jnp.zeros(MOST_ITERATIONS, jnp.float32)

    def step(i: jax.Array, carry: Any) -> Any:
        last, rest, beta, diagonal, off = carry
        now = jax.tree.map(lambda v: v / jnp.maximum(beta, jnp.finfo("f").tiny), rest)
        bent = times(now)
        alpha = inner(now, bent)
        rest = jax.tree.map(
            lambda b, n, o: b - alpha * n - jnp.where(i > 0, beta, 0.0) * o,
            *(bent, now, last),
        )
        beta = jnp.sqrt(inner(rest, rest))
        return now, rest, beta, diagonal.at[i].set(alpha), off.at[i].set(beta)

    def stretch(carry: Any) -> Any:
        start, state, _, _ = carry
        stop = start + ITERATIONS
        state = jax.lax.fori_loop(start, stop, step, state)
        *_, beta, diagonal, off = state
        # Rows that are not there yet repeat the first, and change no largest value.
        there = jnp.arange(MOST_ITERATIONS) < stop
        linked = jnp.where(there[1:], off[:-1], 0.0)
        # LAPACK's, of many matrices at once, wait for each other on a CPU of two cores.
        second, largest = eigh_tridiagonal(
            jnp.where(there, diagonal, diagonal[0]),
            linked,
            eigvals_only=True,
            select="i",
            select_range=(MOST_ITERATIONS - 2, MOST_ITERATIONS - 1),
        )
        residual = beta * _last_entry(diagonal, off, stop, largest)
        gap = jnp.maximum(largest - second, residual)
        return stop, state, largest, residual**2 / gap

    def goes_on(carry: Any) -> jax.Array:
        stop, _, value, error = carry
        return (stop < MOST_ITERATIONS) & (error > TOLERANCE * jnp.abs(value))

    state = none, begun, jnp.sqrt(inner(begun, begun)), zeros, zeros
    first = jnp.int32(0), state, jnp.float32(0.0), jnp.float32(jnp.inf)
    found: jax.Array = jax.lax.while_loop(goes_on, stretch, first)[2]
    return found


def _last_entry(
    diagonal: jax.Array, off: jax.Array, size: jax.Array, value: jax.Array
) -> jax.Array:
    """Returns the size of the last entry of a tridiagonal matrix's unit eigenvector.

    The matrix is the first `size` rows and columns. The recurrence runs from the last
    entry, which is small, to the first, and is scaled on its way.
    """

    def step(i: jax.Array, carry: Any) -> Any:
        row = size - 1 - i
        now, after, total, last = carry
        behind = jnp.where(row < size - 1, off[row], 0.0) * after
        before = ((value - diagonal[row]) * now - behind) / off[row - 1]
        scale = 1 / jnp.maximum(1.0, jnp.abs(before))
        before, now, last = before * scale, now * scale, last * scale
        return before, now, total * scale**2 + before**2, last

    one = jnp.float32(1.0)
    begun = one, jnp.float32(0.0), one, one
    *_, total, last = jax.lax.fori_loop(0, size - 1, step, begun)
    return last / jnp.sqrt(total)


def noise_scale(network: Network, batch: Batch) -> dict[str, jax.Array]:
    """Returns the simple gradient noise scale, the trace over the square below.

    "trace" is that of the covariance of a single example's gradient, "square" the
    squared norm of the mean gradient, both without bias: from the squared norms of the
    gradients of small batches and of all of them together (McCandlish et al. 2018,
    arXiv 1812.06162, appendix A.1).
    """
    total = len(batch.inputs)
    size = max(1, min(network.recipe.probe_batch, total // SMALL_BATCHES))
    used = total // size * size
    if used == size:
        raise modules.OwnError("probe 'noise_scale' needs 2 examples: see probe_size")
    mean, small = network.small_gradients(batch, size)
    big = inner(mean, mean)
    square = (used * big - size * small) / (used - size)
    trace = (small - big) / (1 / size - 1 / used)
    return {"": trace / square, "trace": trace, "square": square}


def weight_norm(network: Network, batch: Batch) -> dict[str, jax.Array]:
    """Returns the Euclidean norm of each layer's weights and biases."""
    del batch
    return network.by_layer(network.params)


def gradient_norm(network: Network, batch: Batch) -> dict[str, jax.Array]:
    """Returns the Euclidean norm of the gradient of each layer."""
    return network.by_layer(network.gradient(network.params, batch))


def update_norm(network: Network, batch: Batch) -> dict[str, jax.Array]:
    """Returns the norm of each layer's next update, if this were its batch."""
    gradient = network.gradient(network.params, batch)
    loss = network.loss(network.params, batch)
    return network.by_layer(network.update(gradient, loss))


def distance(network: Network, batch: Batch) -> dict[str, jax.Array]:
    """Returns the Euclidean distance from the start, in all and of each layer."""
    del batch
    moved = jax.tree.map(jnp.subtract, network.params, network.initial)
    return {"": jnp.sqrt(inner(moved, moved)), **network.by_layer(moved)}


def descent(network: Network, batch: Batch) -> jax.Array:
    """Returns how much the next update would lower the loss, if this were its batch.

    With a full batch it is what the update does; below 0 the loss rises.
    """
    params = network.params
    loss = network.loss(params, batch)
    update = network.update(network.gradient(params, batch), loss)
    after = network.loss(optax.apply_updates(params, update), batch)
    return loss - after


def built_in() -> dict[str, Probe]:
    """Returns nnlab's probes: the functions above of a network and a batch."""
    functions = {k: v for k, v in globals().items() if inspect.isfunction(v)}
    return {
        name: function
        for name, function in functions.items()
        if [*inspect.signature(function).parameters] == ["network", "batch"]
    }


def find(name: str) -> Probe:
    """Returns the probe of a name.

    Raises:
      FieldError: there is none; those that exist are told.
    """
    known = built_in()
    if name not in known:
        raise FieldError("probes", f": no {name!r}{nearest(name, known)}")
    return known[name]


def shapes(
    name: str,
    recipe: Recipe,
    state: TrainState,
    traced: Traced,
    key: jax.Array,
    batch: Batch,
) -> tuple[tuple[str, ...], bool, str]:
    """Returns a probe's columns, whether it reads the start, and its code's digest.

    All but the name and the recipe are shapes and types.

    Raises:
      ValueError: it fails, or returns something else.
    """
    asked = []

    def of(state: TrainState, traced: Any, key: Any, batch: Any) -> dict[str, Any]:
        def start() -> Any:
            asked.append(True)
            return state.params

        return measure(name, recipe, state, traced, key, batch, start)

    found, code = own.of_function(f"probe {name!r}", of, state, traced, key, batch)
    return tuple(found), bool(asked), code


def measure(
    name: str,
    recipe: Recipe,
    state: TrainState,
    traced: Traced,
    key: jax.Array,
    batch: Batch,
    start: Callable[[], Any],
) -> dict[str, jax.Array]:
    """Returns a probe's columns by name, float32 () each."""
    drawn = jax.random.fold_in(key, zlib.crc32(b"probe"))
    found = recipe.probes[name](Network(recipe, state, traced, drawn, start), batch)
    if not isinstance(found, Mapping):
        value = jnp.asarray(found)
        if value.ndim > 1:
            raise modules.OwnError(
                f"probe {name!r} returns shape {value.shape}: it needs (), (k,) or a "
                "mapping of names to numbers"
            )
        found = dict(enumerate(value)) if value.ndim else {"": value}
    columns = {}
    for key, v in found.items():
        column, value = name if key == "" else f"{name}_{key}", jnp.asarray(v)
        is_name = column.isidentifier() or key in recipe.layers
        if not is_name or column in columns:
            raise modules.OwnError(
                f"probe {name!r} returns the key {key!r}: each needs to be a name of "
                "its own of letters, digits and underscores, a layer or a whole number"
            )
        kinds = (jnp.integer, jnp.floating)
        if value.shape or not any(jnp.issubdtype(value.dtype, k) for k in kinds):
            raise modules.OwnError(
                f"probe {name!r} returns {value.dtype}{value.shape} as {column!r}, "
                "which needs to be a float or an integer"
            )
        columns[column] = value.astype(jnp.float32)
    return columns
