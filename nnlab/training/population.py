# SPDX-License-Identifier: Apache-2.0
"""Trains many members at once: the only file that maps over members, and over devices.

The members of a program, (trial, seed), are placed into *lanes* that `vmap` batches: G
rows of W trials of one seed. A row shares each batch, so that its first layers are one
large matrix product. A device's lanes run one after another inside one compiled
function. Lanes are sharded over the devices, which never communicate. When members have
ended, the others move together, and empty lanes take no steps.
"""

import copy
import dataclasses
import functools
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from nnlab.data import Split
from nnlab.machine import processes
from nnlab.study import OWNED
from nnlab.study.members import Members
from nnlab.training import disturbances, member, metrics, probes
from nnlab.training.lanes import Lanes, Picks, Placement, flattened
from nnlab.training.member import Recipe, Traced, TrainState

SAMPLE_EVERY = 16
"""Steps between two samples of the gradient norms, and between two divergence checks;
each reads all gradients or parameters once more."""

_SUMS = ("loss_sum", "loss_square_sum", "norm_sum")

MEASURED = ("alive", "stopped", "step", "last_norms", *_SUMS)
"""Fields of the members' states that an evaluation returns."""

_LANES = PartitionSpec("lanes")
_SHARED = PartitionSpec()


class Population:
    """The compiled functions of a program, and the places of its members."""

    def __init__(
        self,
        recipe: Recipe,
        lanes: Lanes,
        members: Members,
        root_seed: int,
        train: Split,
        vary: Collection[str] = OWNED,
    ) -> None:
        """Puts `train`, or the pool that seeds draw from, on the devices.

        `vary` is that of the study.
        """
        devices = jax.devices()[: lanes.devices]
        mesh = jax.make_mesh(
            (len(devices),), ("lanes",), devices=devices, axis_types=(AxisType.Auto,)
        )
        self._by_lane = NamedSharding(mesh, _LANES)
        self._everywhere = NamedSharding(mesh, _SHARED)
        self._root_seed, self._vary = root_seed, vary
        self._take(lanes, members)
        self._data = self.put((flattened(train.inputs), train.labels))

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
        self._train = jit(_train_lanes, 5, 4)
        self._evaluate = jit(_evaluate_lanes, 2, 1)
        self._score = jit(_score_lanes, 2, 1, donate=False)
        self._predict = jit(_predict_lanes, 1, 1, donate=False)
        self._predict_picked = jit(_predict_picked_lanes, 2, 2, donate=False)
        self._probes = {
            name: jit(functools.partial(_probe_lanes, name), 6, 3, donate=False)
            for name in recipe.probes
        }
        self._compiled: dict[Any, Any] = {}

    def of_others(self, lanes: Lanes, members: Members) -> "Population":
        """Returns other members, on as many devices, that share compiled functions."""
        assert lanes.devices == self.lanes.devices
        other = copy.copy(self)
        other._take(lanes, members)
        return other

    def _take(self, lanes: Lanes, members: Members) -> None:
        self.lanes, self._traced_values = lanes, members.traced()
        self._first_seed = members.first_seed
        self.compile_seconds = 0.0
        self._settle(lanes.place(np.ones((lanes.num_trials, lanes.num_seeds), bool)))

    def _to_lanes(self, tree: Any) -> Any:
        return jax.tree.map(lambda leaf: processes.put(leaf, self._by_lane), tree)

    def _settle(self, placement: Placement) -> None:
        """Sets the lanes' arguments for where the members are."""
        self._placement = placement
        self._traced = self._to_lanes(
            {k: values[placement.trial] for k, values in self._traced_values.items()}
        )
        self._seeds = self._to_lanes(placement.seed)
        self._busy = self._to_lanes(placement.busy)
        self._keys = self._seed_keys("noise")

    def _seed_keys(self, stream: str) -> jax.Array:
        of_seed = functools.partial(member.stream_key, self._root_seed, stream=stream)
        seeds = jnp.asarray(self._placement.seed + self._first_seed)
        if stream not in self._vary:
            seeds = jnp.zeros_like(seeds)
        return self._to_lanes(jax.vmap(jax.vmap(of_seed))(seeds))

    def _call(self, program: Any, *arguments: Any) -> Any:
        """Runs a function, compiled once for each structure and shape of arguments."""
        leaves, structure = jax.tree.flatten(arguments)
        key = (id(program), structure, *map(jnp.shape, leaves))
        if key not in self._compiled:
            start = time.perf_counter()
            self._compiled[key] = program.lower(*arguments).compile()
            self.compile_seconds += time.perf_counter() - start
        return self._compiled[key](*arguments)

    @property
    def pool(self) -> Split:
        """The examples that it trains on, on the devices; inputs (N, values)."""
        return Split(*self._data)

    def put(self, tree: Any) -> Any:
        """Places a tree of arrays, such as batches or an order, on every device."""
        return jax.tree.map(lambda leaf: processes.put(leaf, self._everywhere), tree)

    def init(self) -> TrainState:
        """Initialises the members; leaves (N, G, W, ...)."""
        return self._call(self._init, self._seed_keys("init"), self._traced)

    def begin_at(
        self,
        state: TrainState,
        params: Mapping[str, Any],
        batch_stats: Mapping[str, Any],
    ) -> TrainState:
        """Gives all members the same values of some layers, ``{layer: arrays}``."""

        def given(tree: Any, values: Mapping[str, Any]) -> Any:
            wide = jax.tree.map(
                lambda leaf, value: np.broadcast_to(value, leaf.shape),
                {layer: tree[layer] for layer in values},
                dict(values),
            )
            return {**tree, **self._to_lanes(wide)}

        def begun(of: Any) -> Any:
            return dataclasses.replace(
                of,
                params=given(of.params, params),
                batch_stats=given(of.batch_stats, batch_stats),
            )

        # The best is a copy of its own, because both are donated.
        best = None if state.best is None else begun(state.best)
        return dataclasses.replace(begun(state), best=best)

    def zeros(self) -> TrainState:
        """Returns states of zeros, which take as long to train as any."""
        zeros = self._blank(self._placement.trial.shape)
        return self._to_lanes(dataclasses.replace(zeros, alive=~zeros.alive))

    def template(self) -> TrainState:
        """Returns states of zeros as `gather` returns them, leaves (T, S, ...)."""
        return self._blank(self._placement.home.shape)

    def _blank(self, leading: tuple[int, ...]) -> Any:
        shapes = jax.eval_shape(self._init, self._seed_keys("init"), self._traced)
        return jax.tree.map(
            lambda leaf: np.zeros(leading + leaf.shape[3:], leaf.dtype), shapes
        )

    def spread(self, members: TrainState, training: np.ndarray) -> TrainState:
        """Puts members, leaves (T, S, ...), into the lanes.

        Those that still train, bool (T, S), come side by side.
        """
        self._settle(self.lanes.place(training))
        return self._to_lanes(jax.tree.map(self._placement.scatter, members))

    @property
    def compile_count(self) -> int:
        """Functions compiled so far."""
        return len(self._compiled)

    def train(
        self,
        state: TrainState,
        order: jax.Array,
        *,
        first_step: int,
        num_steps: int,
        first_lanes: int | None = None,
    ) -> TrainState:
        """Trains members along `order`, see `Order.take`; donates `state`.

        For timing, `first_lanes` trains only that many lanes of each device.
        """
        busy = self._placement.busy
        if first_lanes is not None:
            of_device = self.lanes.count // self.lanes.devices
            busy = busy & (np.arange(self.lanes.count) % of_device < first_lanes)
        steps = np.where(busy, np.int32(num_steps), np.int32(0))
        return self._call(
            self._train,
            state,
            self._traced,
            self._keys,
            self._seeds,
            self._to_lanes(steps),
            order,
            self.put(np.int32(first_step)),
            *self._data,
        )

    def evaluate(
        self, state: TrainState, batches: dict[str, Any]
    ) -> tuple[TrainState, dict[str, Any]]:
        """Evaluates the members and resets the sums; donates `state`.

        It also decides who stops early, see `member.note_best`. Lanes whose members
        have all ended get metrics of 0.

        Returns:
          The state, and ``{"sums": {split: {metric: (N, G, W)}}, "best_step"}`` with
          the state's fields `MEASURED`; `gather` rearranges them into (T, S, ...).
        """
        lanes = self._scored(self._busy, batches)
        state, measured, _ = self._call(self._evaluate, state, lanes, batches)
        return state, measured

    def judge(self, state: TrainState, batches: dict[str, Any]) -> dict[str, Any]:
        """Returns all members' answers to all splits but "train", see `score`.

        The compiled function is that of `evaluate`, so that no answer can differ.
        """
        copy = self._to_lanes(jax.tree.map(_copied, state))  # which is donated
        lanes = self._scored(self._every(), batches)
        return self._call(self._evaluate, copy, lanes, batches)[2]

    def score(
        self, state: TrainState, batches: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Evaluates all members; stops nobody.

        Returns:
          The sums, ``{split: {metric: (N, G, W)}}``; and "accuracy" (and "loss", if the
          recipe asks for it) of each example, ``{split: {metric: (N, G, W, examples)}``
          with the padding, see `member.judge`.
        """
        lanes = self._scored(self._every(), batches)
        return self._call(self._score, state, lanes, batches)

    def _every(self) -> Any:
        return self._to_lanes(np.ones(self.lanes.count, bool))

    def _scored(self, busy: jax.Array, batches: dict[str, Any]) -> dict[str, Any]:
        """Returns which lanes are scored, with what else matters of them."""
        lanes = {"busy": busy}
        if any(isinstance(some, Picks) for some in batches.values()):
            lanes["seeds"] = self._seeds
        if "label_noise" in self._traced:
            lanes |= {"keys": self._keys, "share": self._traced["label_noise"]}
        return lanes

    def predict(self, state: TrainState, inputs: np.ndarray) -> jax.Array:
        """Returns class probabilities of stored inputs, float32 (N, G, W, B, C)."""
        return self._call(self._predict, state, self.put(inputs))

    def predict_picked(self, state: TrainState, rows: np.ndarray) -> jax.Array:
        """Returns the same of rows of the pool, int32 (S, B), for each seed its own."""
        picked = self._data[0], self.put(rows)
        return self._call(self._predict_picked, state, self._seeds, *picked)

    def probe(
        self,
        name: str,
        state: TrainState,
        rows: np.ndarray,
        start: TrainState | None,
    ) -> dict[str, Any]:
        """Returns the columns of a probe, ``{column: (N, G, W)}``; see `probes`.

        It sees the rows of the pool, int32 (S, n), for each seed its own. `start` are
        the members before the first update, if the probe needs them.
        """
        begun = None if start is None else start.params
        lanes = self._traced, self._keys, self._seeds, self._busy, begun
        shared = self.put(rows), *self._data
        return self._call(self._probes[name], state, *lanes, *shared)

    def gather(self, tree: Any) -> Any:
        """Copies a tree of lane results to the host, leaves (T, S, ...)."""
        return jax.tree.map(
            lambda leaf: self._placement.gather(processes.to_host(leaf)), tree
        )

    def end(self, state: TrainState, training: np.ndarray) -> TrainState:
        """Freezes the members that do not train any more."""
        ended = self._to_lanes(self._placement.scatter(~training))
        return dataclasses.replace(state, stopped=state.stopped | ended)

    def compact(self, state: TrainState, training: np.ndarray) -> TrainState:
        """Moves the members that still train together, if that frees a lane.

        Nothing is compiled anew: lanes that hold no such member just take no steps. The
        state is donated.
        """
        held = np.zeros(self._placement.trial.shape, bool)
        held.reshape(-1)[self._placement.home[training]] = True
        busy = np.any(held, axis=(1, 2))
        together = self.lanes.place(training)
        if self._turns(together.busy) >= self._turns(busy):
            self._placement = dataclasses.replace(self._placement, busy=busy)
            self._busy = self._to_lanes(busy)
            return state
        return self.spread(self.gather(state), training)

    def _turns(self, busy: np.ndarray) -> int:
        """Returns how many lanes the busiest device trains."""
        return int(busy.reshape(self.lanes.devices, -1).sum(1).max())


def _copied(leaf: jax.Array) -> np.ndarray:
    return np.array(processes.to_host(leaf))  # a copy of its own, also on CPU


def _map(function: Callable[..., Any], axes: Sequence[int | None]) -> Any:
    """Applies `jax.vmap` over leading axes; removes an axis of length 1 instead.

    XLA's CPU reductions over an axis behind one of length 1 take five times as long.
    """

    def mapped(*arguments: Any) -> Any:
        leaves = jax.tree.leaves(arguments[axes.index(0)])
        if len(leaves[0]) > 1:
            return jax.vmap(function, tuple(axes))(*arguments)
        first = [
            argument if axis is None else jax.tree.map(lambda leaf: leaf[0], argument)
            for axis, argument in zip(axes, arguments, strict=True)
        ]
        return jax.tree.map(lambda leaf: leaf[None], function(*first))

    return mapped


def _init_lanes(recipe: Recipe, keys: jax.Array, traced: Traced) -> TrainState:
    """Maps keys (N, G) and traced (N, G, W) to states (N, G, W), lane after lane."""
    of_trials = jax.vmap(functools.partial(member.init_state, recipe), (0, None))
    of_lane = jax.vmap(of_trials)
    return jax.lax.map(lambda lane: of_lane(*lane), (traced, keys))


def _train_lanes(
    recipe: Recipe,
    states: TrainState,
    traced: Traced,
    keys: jax.Array,
    seeds: jax.Array,
    num_steps: jax.Array,
    *shared: jax.Array,
) -> TrainState:
    lanes = (states, traced, keys, seeds, num_steps)
    return jax.lax.map(lambda lane: _train_lane(recipe, lane, shared), lanes)


def _train_lane(recipe: Recipe, lane: Any, shared: Any) -> TrainState:
    """Trains one lane, leaves (G, W, ...), for some steps.

    Steps run in stretches of `SAMPLE_EVERY`. Checking every step for divergence would
    cost a tenth to a fifth of the time, so a stretch runs unchecked. If anything is not
    finite after it, the lane goes back to the stretch's start and repeats it with each
    step checked. Both passes use the same compiled step, so a healthy member's numbers
    are the same bits.
    """
    state, traced, keys, seeds, num_steps = lane
    order, first_step, inputs, labels = shared

    def step(i: jax.Array, last: jax.Array, check: jax.Array, state: Any) -> Any:
        # Bound here, not passed: vmap would batch them and turn branches into selects.
        sample = (i == last) | recipe.every_norm
        flags: dict[str, Any] = {"sample": sample, "check": check}
        one: Callable[..., TrainState] = functools.partial(
            member.train_step, recipe, **flags
        )

        def of_seed(state: Any, traced: Any, key: Any, x: Any, y: Any) -> Any:
            step_key = jax.random.fold_in(key, first_step + i)
            of_trials = _map(one, (0, 0, None, None, None))
            return of_trials(state, traced, step_key, x, y)

        examples = order[seeds, 0 if recipe.full_batch else i]
        of_x = of_y = 0 if order.shape[-1] else None
        if order.shape[-1]:
            x, y = inputs[examples], labels[examples]
        else:  # all, of every seed
            x, y, examples = inputs, labels, jnp.arange(len(labels))
        if recipe.relabels:
            y, of_y = _drawn(recipe, (0, of_y, of_y))(keys, y, examples), 0
        of_seeds = _map(of_seed, (0, 0, 0, of_x, of_y))
        return of_seeds(state, traced, keys, x, y)

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

    carry = (jnp.int32(0), jnp.bool_(False), dataclasses.replace(state, best=None))
    after = jax.lax.while_loop(lambda c: c[0] < num_steps, stretch, carry)[2]
    return dataclasses.replace(after, best=state.best)


def _score_lanes(
    recipe: Recipe,
    states: TrainState,
    lanes: Mapping[str, jax.Array],
    batches: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sums the metrics of each split, and keeps some of each example but "train".

    `lanes` says which are "busy", bool (N,); for `Picks`, the "seeds" of their rows;
    and, with label noise, the "keys" of these and the members' "share". Training is
    then judged by the labels as trained, and beside them by the clean ones. Lanes that
    are not busy have zeros; see `Population.score`.
    """
    asked = {"accuracy": recipe.target_unit is None, "loss": recipe.example_losses}
    kept = [name for name, wanted in asked.items() if wanted]

    def one(state: Any, share: Any, inputs: Any, labels: Any, mask: Any) -> Any:
        as_trained = disturbances.as_trained(labels, share)
        judged = member.judge(recipe, state, inputs, as_trained)
        if as_trained is not labels:
            clean = member.judge(recipe, state, inputs, labels.clean)
            judged |= {f"clean_{name}": each for name, each in clean.items()}
        return metrics.sums(judged, mask), {name: judged[name] for name in kept}

    def of_split(state: TrainState, batches: Any, lane: Any, relabels: bool) -> Any:
        pool: list[jax.Array] = []
        if isinstance(batches, Picks):
            *pool, rows, mask = batches
            batches = mask, jnp.moveaxis(rows[lane["seeds"]], 0, 1)
        elif relabels:
            mask = batches.mask
            batches = *batches, jnp.arange(mask.size).reshape(mask.shape)

        def of_batch(state: TrainState, batch: Any) -> Any:
            of_inputs = of_labels = 0 if pool else None
            if pool:
                mask, examples = batch
                inputs, labels = (values[examples] for values in pool)
            else:
                inputs, labels, mask, *numbers = batch
                examples = numbers[0] if numbers else None
            if relabels:
                axes, of_labels = (0, of_inputs, of_inputs), 0
                labels = _drawn(recipe, axes)(lane["keys"], labels, examples)
            of_trials = _map(one, (0, 0, None, None, None))
            of_seeds = _map(of_trials, (0, 0, of_inputs, of_labels, None))
            return of_seeds(state, lane.get("share"), inputs, labels, mask)

        def add(sums: Any, batch: Any) -> Any:
            more, each = of_batch(state, batch)
            return jax.tree.map(jnp.add, sums, more), each

        def in_a_row(each: jax.Array) -> jax.Array:  # (batches, G, W, B)
            return jnp.moveaxis(each, 0, 2).reshape(*each.shape[1:3], -1)

        first = jax.tree.map(lambda leaf: leaf[0], batches)
        zeros, _ = _zeros(of_batch, state, first)
        sums, each = jax.lax.scan(add, zeros, batches)
        return sums, jax.tree.map(in_a_row, each)

    def of_lane(state: TrainState, lane: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        scored = {
            name: of_split(state, some, lane, bool(recipe.relabels) and name == "train")
            for name, some in batches.items()
        }
        sums = {split: sums for split, (sums, _) in scored.items()}
        each = {n: each for n, (_, each) in scored.items() if n != "train"}
        return sums, each

    def of_busy_lane(both: tuple[TrainState, Any]) -> dict[str, Any]:
        state, lane = both
        zeros = _zeros(of_lane, state, lane)
        return jax.lax.cond(lane["busy"], of_lane, lambda *_: zeros, state, lane)

    return jax.lax.map(of_busy_lane, (states, lanes))


def _drawn(recipe: Recipe, axes: Sequence[int | None] = (0, 0, 0)) -> Any:
    """Returns `disturbances.drawn` of keys (G,), labels and examples (G, B)."""
    draw = functools.partial(disturbances.drawn, num_classes=recipe.relabels)
    return jax.vmap(draw, tuple(axes))


def _zeros(function: Callable[..., Any], *arguments: Any) -> Any:
    """Returns zeros of the shapes and types that a function returns."""
    shape = jax.eval_shape(function, *arguments)
    return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shape)


def _predict_lanes(recipe: Recipe, states: TrainState, inputs: jax.Array) -> jax.Array:
    one = functools.partial(member.predict, recipe)
    of_lane = _map(_map(one, (0, None)), (0, None))
    return jax.lax.map(lambda state: of_lane(state, inputs), states)


def _predict_picked_lanes(
    recipe: Recipe,
    states: TrainState,
    seeds: jax.Array,
    inputs: jax.Array,
    rows: jax.Array,
) -> jax.Array:
    one = functools.partial(member.predict, recipe)
    of_lane = _map(_map(one, (0, None)), (0, 0))
    return jax.lax.map(
        lambda lane: of_lane(lane[0], inputs[rows[lane[1]]]), (states, seeds)
    )


def _probe_lanes(
    name: str,
    recipe: Recipe,
    states: TrainState,
    traced: Traced,
    keys: jax.Array,
    seeds: jax.Array,
    busy: jax.Array,
    starts: Any,
    rows: jax.Array,
    inputs: jax.Array,
    labels: jax.Array,
) -> dict[str, jax.Array]:
    """Measures the members of all busy lanes; the others have zeros."""

    def one(state: Any, traced: Any, start: Any, key: Any, x: Any, y: Any) -> Any:
        y = disturbances.as_trained(y, traced.get("label_noise"))
        of = recipe, state, traced, key, probes.Batch(x, y)
        return probes.measure(name, *of, lambda: start)

    def of_lane(lane: Any) -> dict[str, jax.Array]:
        state, traced, start, key, seeds = lane
        picked = rows[seeds]
        x, y = inputs[picked], labels[picked]
        if recipe.relabels:
            y = _drawn(recipe)(key, y, picked)
        of_trials = _map(one, (0, 0, 0, None, None, None))
        of_seeds = _map(of_trials, (0, 0, 0, 0, 0, 0))
        return of_seeds(state, traced, start, key, x, y)

    def of_busy_lane(lane: Any) -> dict[str, jax.Array]:
        lane, busy = lane
        zeros = _zeros(of_lane, lane)
        return jax.lax.cond(busy, of_lane, lambda _: zeros, lane)

    lanes = (states, traced, starts, keys, seeds)
    return jax.lax.map(of_busy_lane, (lanes, busy))


def _evaluate_lanes(
    recipe: Recipe,
    states: TrainState,
    lanes: Mapping[str, jax.Array],
    batches: Mapping[str, Any],
) -> tuple[TrainState, dict[str, Any], dict[str, Any]]:
    sums, each = _score_lanes(recipe, states, lanes, batches)
    if recipe.patience:
        note_best = functools.partial(member.note_best, recipe)
        states = jax.vmap(jax.vmap(jax.vmap(note_best)))(states, sums["validation"])
    measured = {name: getattr(states, name) for name in MEASURED}
    measured["best_step"] = states.best.step if states.best else states.step
    reset: dict[str, Any] = {name: jnp.zeros_like(measured[name]) for name in _SUMS}
    return dataclasses.replace(states, **reset), {"sums": sums, **measured}, each
