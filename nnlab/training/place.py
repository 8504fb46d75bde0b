# SPDX-License-Identifier: Apache-2.0
"""Puts a cohort on the devices, in lanes whose width is measured where it pays."""

import dataclasses
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from nnlab.data import Dataset, Split
from nnlab.machine import devices, processes
from nnlab.study import TRACED, Study
from nnlab.training import lane_width
from nnlab.training import member as train
from nnlab.training.plan import Plan
from nnlab.training.population import SAMPLE_EVERY, Batches, Population
from nnlab.training.program import FurtherSets, Prepared

STEPS_PER_CALL = 16 * SAMPLE_EVERY
"""Steps between two visits of the host, at most; slow ones are visited sooner."""


TUNING_SHARE = 0.02
"""Of the predicted training time, what may be spent on measuring lane widths."""

CORE_SPEED = 1e11
"""Operations of `Prepared.work` in a second, about, on a CPU core that is fast."""

LEAST_COMPILE_SECONDS = 0.5
"""Of any program for training."""

KEPT_SHARE = 0.1
"""Of a device's memory, what the data of cohorts that are done may take in all."""

MOST_KEPT = 64
"""Cohorts whose programs are kept."""


class Order:
    """Hands out the examples of coming steps, epoch after epoch, for every seed."""

    def __init__(
        self,
        root_seed: int,
        seeds: Sequence[int],
        train_size: int,
        batch: int,
        places: int = 0,
    ) -> None:
        """Begins at no epoch; `take` may ask for any step.

        Args:
          root_seed: of the study.
          seeds: those of the members.
          train_size: training examples.
          batch: examples in an update.
          places: S of what `take` returns, if that is more than the seeds.
        """
        self._root_seed = root_seed
        self._seeds = seeds
        self._places = max(len(seeds), places)
        self._train_size = train_size
        self._batch = batch
        self._steps_per_epoch = train_size // batch
        self._epoch = -1
        self._current = np.empty((0, 0, 0), np.int32)

    def take(self, start: int, stop: int, room: int) -> np.ndarray:
        """Examples of steps start..stop-1, int32 (S, room, B), zeros behind them."""
        taken = np.zeros((self._places, room, self._batch), np.int32)
        step = start
        while step < stop:
            epoch, first = divmod(step, self._steps_per_epoch)
            count = min(stop - step, self._steps_per_epoch - first)
            at = slice(step - start, step - start + count)
            taken[: len(self._seeds), at] = self._of_epoch(epoch)[
                :, first : first + count
            ]
            step += count
        return taken

    def _of_epoch(self, epoch: int) -> np.ndarray:
        """Examples of an epoch, int32 (S, steps, B); the short batch is dropped."""
        if epoch != self._epoch:
            shape = (self._steps_per_epoch, self._batch)
            orders = (
                train.epoch_order(self._root_seed, seed, epoch, self._train_size)
                for seed in self._seeds
            )
            self._current = np.stack([np.resize(order, shape) for order in orders])
            self._epoch = epoch
        return self._current


@dataclasses.dataclass(frozen=True)
class Placed:
    """A cohort with its data on the devices.

    Attributes:
      prepared: the cohort.
      population: its programs and members.
      batches: the evaluation splits, on the devices.
      sizes: examples of each split.
      order: hands out the examples of the coming steps.
      room: steps of a call, at most.
    """

    prepared: Prepared
    population: Population
    batches: dict[str, Any]
    sizes: dict[str, int]
    order: Order
    room: int

    @property
    def width(self) -> int:
        """The lane width."""
        return self.prepared.plan.lanes.width

    def train(self, state: train.TrainState, start: int, count: int) -> Any:
        """Trains steps start..start+count-1; donates `state`."""
        examples = self.population.put_order(
            self.order.take(start, start + count, self.room)
        )
        return self.population.train(state, examples, first_step=start, num_steps=count)


class Kept:
    """Data and programs that one run after another need not make again.

    For the chunks, the batches of trials or the looks of one study in one process, on
    the same data, with the same module and metrics: data are loaded once, and programs
    of equal shapes compiled once.

    Attributes:
      loaded: data sets, for `prepare`.
    """

    def __init__(self) -> None:
        """Nothing is kept yet."""
        self.loaded: dict[str, tuple[Dataset, FurtherSets]] = {}
        self._placed: dict[str, Placed] = {}

    def like(self, prepared: Prepared, study: Study) -> Placed | None:
        """A cohort all of whose functions and data are the same, if one is kept."""
        return self._placed.get(_functions_key(prepared, study))

    def keep(self, placed: Placed, study: Study) -> None:
        """Keeps a cohort, and lets go those that take too much memory beside it."""
        key = _functions_key(placed.prepared, study)
        self._placed.pop(key, None)
        self._placed[key] = placed
        plan = placed.prepared.plan
        allowed = KEPT_SHARE * plan.memory_bytes / plan.lanes.devices
        while len(self._placed) > MOST_KEPT or (
            len(self._placed) > 1
            and allowed < sum(p.prepared.plan.data_bytes for p in self._placed.values())
        ):
            del self._placed[next(iter(self._placed))]

    def clear(self) -> None:
        """Lets go all that is on the devices."""
        self._placed.clear()


_OF_MEMBERS = ("sweep", "num_seeds", "looks", "search", "claims")
"""Fields of a study that change who is trained, and no function."""


def _functions_key(prepared: Prepared, study: Study) -> str:
    """What the functions and the data of a study's cohorts depend on."""
    of = {k: v for k, v in study.to_dict().items() if k not in _OF_MEMBERS}
    flat = prepared.hyperparameters.flat()
    static = {path: value for path, value in flat.items() if path not in TRACED}
    used = {n: bool(v.any()) for n, v in prepared.cohort.traced().items()}
    return repr((of, static, used))


def place(prepared: Prepared, study: Study, kept: Kept | None = None) -> Placed:
    """Puts a cohort and its data on the devices, by its plan.

    Args:
      prepared: the cohort.
      study: whose cohort it is.
      kept: of cohorts of the same study before.
    """
    h, dataset, plan = prepared.hyperparameters, prepared.fed, prepared.plan
    lanes, cohort = plan.lanes, prepared.cohort
    splits = prepared.evaluated()
    like = kept.like(prepared, study) if kept else None
    if like and _share(like.prepared.plan, plan):
        population = like.population.of_others(
            lanes, cohort.traced(), cohort.first_seed
        )
        batches = like.batches
    else:
        population = Population(
            prepared.recipe,
            lanes,
            traced=cohort.traced(),
            root_seed=study.root_seed,
            first_seed=cohort.first_seed,
            devices=jax.devices()[: lanes.devices],
            inputs=flattened(dataset.train.inputs),
            labels=dataset.train.labels,
        )
        batches = population.put(batches_of(prepared, splits))
    longest = int(np.diff(prepared.boundaries).max())
    return Placed(
        prepared=prepared,
        population=population,
        batches=batches,
        sizes=sizes_of(splits),
        order=Order(
            study.root_seed,
            cohort.seeds,
            len(dataset.train.labels),
            h.batch_size,
            lanes.room[1],
        ),
        room=min(STEPS_PER_CALL, longest),
    )


def _share(one: Plan, other: Plan) -> bool:
    """Whether the data of two plans lie on the same devices in the same batches."""
    return (one.lanes.devices, one.evaluation_batch) == (
        other.lanes.devices,
        other.evaluation_batch,
    )


def batches_of(prepared: Prepared, splits: Mapping[str, Split]) -> dict[str, Batches]:
    """Splits in the batches in which a cohort evaluates them."""
    size = prepared.plan.evaluation_batch
    return {
        name: Batches.cut(flattened(split.inputs), split.labels, size)
        for name, split in splits.items()
    }


def sizes_of(splits: Mapping[str, Split]) -> dict[str, int]:
    """Examples of each split."""
    return {name: len(split.labels) for name, split in splits.items()}


def flattened(inputs: np.ndarray) -> np.ndarray:
    """Inputs (N, ...) as (N, values)."""
    return inputs.reshape(len(inputs), -1)


def choose_lanes(
    prepared: Prepared, study: Study, kept: Kept | None = None
) -> tuple[Placed, float]:
    """Places a cohort with the lanes that train it the fastest, as far as is known.

    What is not known is measured while that costs less than `TUNING_SHARE` of the
    predicted training time.

    Args:
      prepared: the cohort.
      study: whose cohort it is.
      kept: of cohorts of the same study before; the lanes are those of one like it, if
        they are among the plans.

    Returns:
      The cohort and the seconds that were spent on plans that were not taken.
    """
    if like := kept.like(prepared, study) if kept else None:
        for plan in prepared.plans:
            if plan.lanes.width == like.width:
                return place(prepared.with_plan(plan), study, kept), 0.0
    known = lane_width.recall(prepared) if len(prepared.plans) > 1 else {}
    plan = lane_width.fastest(prepared.plans, known)
    if processes.count() > 1:  # they must take the same, whatever each would measure
        width = int(processes.agreed(plan.lanes.width))
        return place(prepared.with_width(width), study), 0.0
    placed = place(prepared.with_plan(plan), study)
    unknown = [
        plan
        for plan in prepared.plans
        if plan.lanes.width not in known and plan != placed.prepared.plan
    ]
    # For a short training even to time the first plan would be too much.
    seconds = prepared.work / (CORE_SPEED * plan.lanes.devices)
    is_short = plan.on_cpu and TUNING_SHARE * seconds < LEAST_COMPILE_SECONDS
    if not unknown or is_short:
        return placed, 0.0
    start = time.perf_counter()
    speed_of = _Stopwatch(placed).speed
    rate = speed_of(0.1)
    # Another program takes about as long to compile, and both are timed three times.
    compiling = placed.population.compile_seconds
    cost = compiling + 3 * (time.perf_counter() - start - compiling)
    measured = {placed.width: lane_width.Rates(rate)}
    allowed, spent = TUNING_SHARE * prepared.num_examples / rate, 0.0
    for plan in unknown:
        if spent + cost > allowed:
            break
        start = time.perf_counter()
        other = place(prepared.with_plan(plan), study)
        speed_of_other = _Stopwatch(other).speed
        turns = [[speed_of(0.1), speed_of_other(0.1)] for _ in range(3)]
        speeds = np.median(turns, axis=0)
        spent += time.perf_counter() - start
        measured |= {
            each.width: lane_width.Rates(float(speed))
            for each, speed in zip((placed, other), speeds)
        }
        if speeds[1] > speeds[0] * (1 + lane_width.TOLERANCE):
            placed, speed_of = other, speed_of_other
        elif speeds[1] < 0.8 * speeds[0]:
            break  # those further off will do no better
    if spent:
        lane_width.remember(prepared, measured)
    return placed, spent


class _Stopwatch:
    """Times training on states of zeros."""

    def __init__(self, placed: Placed) -> None:
        """Compiles the program if it is not yet."""
        self._placed, population = placed, placed.population
        self._order = population.put_order(
            placed.order.take(0, placed.room, placed.room)
        )
        self._state = population.zeros()
        self._steps, self._lanes = min(SAMPLE_EVERY, placed.room), 1
        self._timed(0, self._steps)
        self._idle = min(self._timed(0, self._steps) for _ in range(2))

    def _timed(self, lanes: int, steps: int) -> float:
        """Seconds in which each device trains so many of its lanes."""
        population, start = self._placed.population, time.perf_counter()
        self._state = population.train(
            self._state, self._order, first_step=0, num_steps=steps, first_lanes=lanes
        )
        jax.block_until_ready(self._state)
        return time.perf_counter() - start

    def speed(self, seconds: float) -> float:
        """Examples a second of all members together, from about so many seconds.

        Where a stretch of all lanes takes longer, each device trains only its first
        ones, and the others are reckoned to take as long.
        """
        placed = self._placed
        lanes, room = placed.prepared.plan.lanes, placed.room
        turns = lanes.count // lanes.devices
        while True:
            training = self._timed(self._lanes, self._steps) - self._idle
            if training >= seconds or (self._lanes, self._steps) == (turns, room):
                break
            if self._lanes < turns:
                self._lanes = min(2 * self._lanes, turns)
            else:
                self._steps = min(2 * self._steps, room)
        step = training * turns / (self._lanes * self._steps) + self._idle / room
        return placed.prepared.hyperparameters.batch_size * lanes.members / step


def profile(placed: Placed, folder: pathlib.Path) -> None:
    """Writes a trace of one stretch of steps and one evaluation, on states of zeros."""
    population, steps = placed.population, min(SAMPLE_EVERY, placed.room)

    def work() -> None:
        state = placed.train(population.zeros(), 0, steps)
        jax.block_until_ready(population.evaluate(state, placed.batches))

    work()  # compiles
    with jax.profiler.trace(str(folder), create_perfetto_trace=True):
        work()


@devices.pinned()
def measure(
    prepared: Prepared, study: Study, seconds: float = 2.0
) -> dict[int, lane_width.Rates]:
    """Times every lane width of a cohort, and remembers what it found.

    Args:
      prepared: the cohort.
      study: whose cohort it is.
      seconds: how long to train with each width.

    Returns:
      ``{lane width: rates}``; the fastest width has those of evaluation too.
    """
    found: dict[int, lane_width.Rates] = {}
    for plan in prepared.plans:
        placed = place(prepared.with_plan(plan), study)
        found[placed.width] = lane_width.Rates(_Stopwatch(placed).speed(seconds))
    placed = place(prepared.with_plan(lane_width.fastest(prepared.plans, found)), study)
    population = placed.population
    state = placed.train(population.init(), 0, 1)
    state, _ = jax.block_until_ready(population.evaluate(state, placed.batches))
    start = time.perf_counter()
    jax.block_until_ready(population.evaluate(state, placed.batches))
    evaluated = sum(placed.sizes.values()) * prepared.plan.lanes.members
    found[placed.width] = dataclasses.replace(
        found[placed.width],
        inferences_per_second=evaluated / (time.perf_counter() - start),
        compile_seconds=population.compile_seconds,
    )
    lane_width.remember(prepared, found)
    return found
