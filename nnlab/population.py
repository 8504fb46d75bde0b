# SPDX-License-Identifier: Apache-2.0
"""Lifts one member to a population: the only file that knows vmap and meshes.

The members of a cohort, (trial, seed), are cut into *lanes*: G seeds x W trials that
`vmap` batches. The trials of a seed share each batch, so their first layer is one large
matrix product. A device's lanes run one after another inside one compiled program, and
lanes are sharded over the devices, which never talk to each other.
"""

import dataclasses
import functools
import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from nnlab import train as member
from nnlab.train import Recipe, Traced, TrainState

SAMPLE_EVERY = 16
"""Steps between two samples of the gradient norms, and between two checks for
divergence: each reads all gradients or parameters once more."""

_LANES = PartitionSpec("lanes")
_SHARED = PartitionSpec()


@dataclasses.dataclass(frozen=True)
class Lanes:
    """How a cohort's members are cut into lanes.

    Attributes:
      num_trials, num_seeds: T and S of the cohort.
      trials, seeds: W and G of a lane; the last lane along an axis is filled up with
        repetitions whose results are dropped.
      devices: over how many devices the lanes are spread.
    """

    num_trials: int
    num_seeds: int
    trials: int
    seeds: int
    devices: int

    @property
    def width(self) -> int:
        """Members that `vmap` batches."""
        return self.trials * self.seeds

    @functools.cached_property
    def _blocks(self) -> list[tuple[int, int]]:
        """First (seed, trial) of each lane that holds members."""
        return list(
            itertools.product(
                range(0, self.num_seeds, self.seeds),
                range(0, self.num_trials, self.trials),
            )
        )

    @property
    def count(self) -> int:
        """N, the number of lanes; a multiple of `devices`. The last may be idle."""
        return math.ceil(len(self._blocks) / self.devices) * self.devices

    @functools.cached_property
    def busy(self) -> np.ndarray:
        """Lanes that hold members, bool (N,)."""
        return np.arange(self.count) < len(self._blocks)

    @functools.cached_property
    def seed_index(self) -> np.ndarray:
        """Seed of each place, int32 (N, G)."""
        return self._index(0, self.seeds, self.num_seeds)

    @functools.cached_property
    def trial_index(self) -> np.ndarray:
        """Trial of each place, int32 (N, W)."""
        return self._index(1, self.trials, self.num_trials)

    def _index(self, axis: int, size: int, limit: int) -> np.ndarray:
        starts = np.zeros(self.count, np.int32)
        starts[: len(self._blocks)] = [block[axis] for block in self._blocks]
        return np.minimum(starts[:, None] + np.arange(size, dtype=np.int32), limit - 1)

    def gather(self, values: np.ndarray) -> np.ndarray:
        """Brings lane results (N, G, W, ...) into (T, S, ...)."""
        shape = (self.num_trials, self.num_seeds, *values.shape[3:])
        members = np.empty(shape, values.dtype)
        for lane in np.flatnonzero(self.busy):
            trials, seeds = self.trial_index[lane], self.seed_index[lane]
            members[trials[:, None], seeds] = np.moveaxis(values[lane], 0, 1)
        return members


@dataclasses.dataclass(frozen=True)
class Batches:
    """A split cut into equal batches, the last one padded and masked.

    Attributes:
      inputs: (batches, B, values of an example), as stored.
      labels: int32 (batches, B).
      mask: bool (batches, B), False for padding.
    """

    inputs: np.ndarray
    labels: np.ndarray
    mask: np.ndarray

    @classmethod
    def cut(cls, inputs: np.ndarray, labels: np.ndarray, size: int) -> "Batches":
        """Cuts flat inputs (N, values) and labels (N,) into the fewest batches.

        They hold at most `size` examples, and less if that saves padding: 288 examples
        make one batch of 288, not of 4,096.
        """
        count = math.ceil(len(labels) / size)
        size = math.ceil(len(labels) / count)
        padding = count * size - len(labels)
        mask = np.arange(count * size) < len(labels)
        return cls(
            np.pad(inputs, ((0, padding), (0, 0))).reshape(count, size, -1),
            np.pad(labels, (0, padding)).reshape(count, size),
            mask.reshape(count, size),
        )


class Population:
    """The compiled programs of a cohort and where its members live.

    Args:
      recipe: the static part of every member.
      lanes: how the members are cut.
      traced: ``{name: float32 (T,)}``.
      root_seed: root of the random keys.
      devices: the devices of the lanes, `lanes.devices` of them.
      inputs: training inputs as stored, flat, (examples, values).
      labels: int32 (examples,).
    """

    def __init__(
        self,
        recipe: Recipe,
        lanes: Lanes,
        *,
        traced: Mapping[str, np.ndarray],
        root_seed: int,
        devices: Sequence[jax.Device],
        inputs: np.ndarray,
        labels: np.ndarray,
    ) -> None:
        self.lanes = lanes
        self._recipe = recipe
        mesh = jax.make_mesh(
            (len(devices),), ("lanes",), devices=devices, axis_types=(AxisType.Auto,)
        )
        self._by_lane = NamedSharding(mesh, _LANES)
        self._everywhere = NamedSharding(mesh, _SHARED)
        self._traced = self._to_lanes(
            {name: values[lanes.trial_index] for name, values in traced.items()}
        )
        self._keys = self._seed_keys(root_seed, "dropout")
        self._init_keys = self._seed_keys(root_seed, "init")
        self._data = jax.device_put((inputs, labels), self._everywhere)

        def jit(
            function: Callable[..., Any], sharded: int, shared: int, donate: bool = True
        ) -> Any:
            specs = (_LANES,) * sharded + (_SHARED,) * shared
            mapped = jax.shard_map(
                functools.partial(function, recipe),
                mesh=mesh,
                in_specs=specs,
                out_specs=_LANES,
                check_vma=False,
            )
            return jax.jit(mapped, donate_argnums=(0,) if donate else ())

        self._init = jit(_init_lanes, 2, 0, donate=False)
        self._train = jit(_train_lanes, 5, 3)
        self._evaluate = jit(_evaluate_lanes, 1, 1)
        self._compiled: dict[Any, Any] = {}
        self.compile_seconds = 0.0

    def _to_lanes(self, tree: Any) -> Any:
        return jax.device_put(tree, self._by_lane)

    def _seed_keys(self, root_seed: int, stream: str) -> jax.Array:
        of_seed = functools.partial(member.stream_key, root_seed, stream=stream)
        seeds = jnp.asarray(self.lanes.seed_index)
        return self._to_lanes(jax.vmap(jax.vmap(of_seed))(seeds))

    def _call(self, program: Any, *arguments: Any) -> Any:
        """Runs a program, compiled once for each shape of its arguments."""
        shapes = tuple(jnp.shape(leaf) for leaf in jax.tree.leaves(arguments))
        key = (id(program), shapes)
        if key not in self._compiled:
            start = time.perf_counter()
            self._compiled[key] = program.lower(*arguments).compile()
            self.compile_seconds += time.perf_counter() - start
        return self._compiled[key](*arguments)

    def put(self, batches: Mapping[str, Batches]) -> dict[str, Any]:
        """Places evaluation data on every device."""
        trees = {n: (b.inputs, b.labels, b.mask) for n, b in batches.items()}
        return jax.device_put(trees, self._everywhere)

    def put_order(self, order: np.ndarray) -> jax.Array:
        """Places the examples of coming steps, int32 (S, steps, B), with the lanes."""
        return self._to_lanes(order[self.lanes.seed_index])

    def init(self) -> TrainState:
        """The members before their first step; leaves (N, G, W, ...)."""
        return self._call(self._init, self._init_keys, self._traced)

    @property
    def compile_count(self) -> int:
        """Programs compiled so far."""
        return len(self._compiled)

    def train(
        self,
        state: TrainState,
        order: jax.Array,
        *,
        first_step: int,
        num_steps: int,
    ) -> TrainState:
        """Trains `num_steps` steps along `order`; donates `state`.

        Args:
          state: the members, after `first_step` steps.
          order: from `put_order`.
          first_step, num_steps: traced numbers; they add no compilation.
        """
        steps = np.where(self.lanes.busy, np.int32(num_steps), np.int32(0))
        return self._call(
            self._train,
            state,
            self._traced,
            self._keys,
            order,
            self._to_lanes(steps),
            jax.device_put(np.int32(first_step), self._everywhere),
            *self._data,
        )

    def evaluate(
        self, state: TrainState, batches: dict[str, Any]
    ) -> tuple[TrainState, dict[str, Any]]:
        """Metrics of every member, as lanes; resets the sums; donates `state`.

        Returns:
          The state, and ``{"sums": {split: {metric: (N, G, W)}}, "alive", "step",
          "loss_sum", "norm_sum", "last_norms"}``, which `gather` brings into
          (T, S, ...).
        """
        return self._call(self._evaluate, state, batches)

    def gather(self, tree: Any) -> Any:
        """Brings a tree of lane results to the host, leaves (T, S, ...)."""
        return jax.tree.map(lambda leaf: self.lanes.gather(np.asarray(leaf)), tree)


def _init_lanes(recipe: Recipe, keys: jax.Array, traced: Traced) -> TrainState:
    """Keys (N, G) and traced (N, W) to states (N, G, W), lane after lane."""
    of_trials = jax.vmap(functools.partial(member.init_state, recipe), (0, None))
    of_lane = jax.vmap(of_trials, (None, 0))
    return jax.lax.map(lambda lane: of_lane(*lane), (traced, keys))


def _train_lanes(
    recipe: Recipe,
    states: TrainState,
    traced: Traced,
    keys: jax.Array,
    orders: jax.Array,
    num_steps: jax.Array,
    first_step: jax.Array,
    inputs: jax.Array,
    labels: jax.Array,
) -> TrainState:
    lanes = (states, traced, keys, orders, num_steps)
    train_lane = functools.partial(_train_lane, recipe, first_step, inputs, labels)
    return jax.lax.map(lambda lane: train_lane(*lane), lanes)


def _train_lane(
    recipe: Recipe,
    first_step: jax.Array,
    inputs: jax.Array,
    labels: jax.Array,
    state: TrainState,
    traced: Traced,
    keys: jax.Array,
    order: jax.Array,
    num_steps: jax.Array,
) -> TrainState:
    """Trains one lane, leaves (G, W, ...), for `num_steps` steps.

    Steps go in stretches of `SAMPLE_EVERY`. Checking every step for divergence would
    cost a tenth to a fifth of the time, so a stretch runs unchecked, and if anything
    is not finite after it, the lane goes back to its start and runs it once more with
    each step checked. It is the same compiled step, so a healthy member's numbers are
    the same bits in both passes.
    """

    def step(i: jax.Array, last: jax.Array, check: jax.Array, state: Any) -> Any:
        # Bound here, not passed: vmap would batch them and make the branch a select.
        flags: dict[str, Any] = {"sample": i == last, "check": check}
        one: Callable[..., TrainState] = functools.partial(
            member.train_step, recipe, **flags
        )

        def of_seed(state: Any, key: Any, x: Any, y: Any) -> Any:
            step_key = jax.random.fold_in(key, first_step + i)
            of_trials = jax.vmap(one, (0, 0, None, None, None))
            return of_trials(state, traced, step_key, x, y)

        examples = order[:, i]
        return jax.vmap(of_seed)(state, keys, inputs[examples], labels[examples])

    def stretch(carry: Any) -> Any:
        start, check, before = carry
        stop = jnp.minimum(start + SAMPLE_EVERY, num_steps)
        body = functools.partial(lambda last, i, s: step(i, last, check, s), stop - 1)
        after = jax.lax.fori_loop(start, stop, body, before)
        back = ~check & ~member.all_finite(after)
        return jax.lax.cond(
            back,
            lambda: (start, True, before),
            lambda: (stop, False, after),
        )

    carry = (jnp.int32(0), jnp.bool_(False), state)
    return jax.lax.while_loop(lambda c: c[0] < num_steps, stretch, carry)[2]


def _evaluate_lanes(
    recipe: Recipe, states: TrainState, batches: Mapping[str, Any]
) -> tuple[TrainState, dict[str, Any]]:
    def of_batch(state: TrainState, batch: Any) -> Any:
        one = functools.partial(member.evaluate, recipe)
        of_trials = jax.vmap(one, (0, None, None, None))
        return jax.vmap(of_trials, (0, None, None, None))(state, *batch)

    def of_split(state: TrainState, batches: Any) -> Any:
        shape = jax.eval_shape(
            of_batch, state, jax.tree.map(lambda leaf: leaf[0], batches)
        )
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shape)

        def add(sums: Any, batch: Any) -> Any:
            return jax.tree.map(jnp.add, sums, of_batch(state, batch)), None

        return jax.lax.scan(add, zeros, batches)[0]

    def of_lane(state: TrainState) -> dict[str, Any]:
        return {split: of_split(state, batches[split]) for split in batches}

    measured = {
        "sums": jax.lax.map(of_lane, states),
        "alive": states.alive,
        "step": states.step,
        "loss_sum": states.loss_sum,
        "norm_sum": states.norm_sum,
        "last_norms": states.last_norms,
    }
    reset = dataclasses.replace(
        states,
        loss_sum=jnp.zeros_like(states.loss_sum),
        norm_sum=jnp.zeros_like(states.norm_sum),
    )
    return reset, measured
