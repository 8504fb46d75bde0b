# SPDX-License-Identifier: Apache-2.0
"""Puts a program and its data on the devices, by its plan."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from nnlab.data import Split
from nnlab.study import OWNED, Study, is_traced
from nnlab.training.handed import Loaded
from nnlab.training.lanes import Batches, Picks
from nnlab.training.member import TrainState, epoch_order
from nnlab.training.population import SAMPLE_EVERY, Population
from nnlab.training.program import NetworkProgram, Picked

STEPS_PER_CALL = 16 * SAMPLE_EVERY
"""Most steps between two visits of the host; slow programs are visited sooner."""


KEPT_SHARE = 0.1
"""Share of a device's memory that the data of finished programs may take in all."""

MOST_KEPT = 64
"""Most programs that are kept."""


class Order:
    """Gives the examples of coming steps, epoch after epoch, for every seed."""

    def __init__(
        self,
        root_seed: int,
        seeds: Sequence[int],
        train_size: int,
        batch: int,
        places: int = 0,
        vary: Collection[str] = OWNED,
        rows: np.ndarray | None = None,
        full: bool = False,
    ) -> None:
        """Loads no epoch yet. `places` is the least S of what `take` returns.

        `vary` is that of the study; `rows`, int32 (seeds, train_size), are the training
        examples of each seed, if they have their own. `full` puts all into each batch.
        """
        self._root_seed, self._rows, self._full = root_seed, rows, full
        self._seeds = seeds if "order" in vary else [0] * len(seeds)
        self.places = max(len(seeds), places)
        self._train_size = train_size
        self._batch = batch
        self._steps_per_epoch = train_size // batch
        self._epoch = -1
        self._current = np.empty((0, 0, 0), np.int32)

    def take(self, start: int, stop: int, room: int) -> np.ndarray:
        """Returns the examples of steps start..stop-1, int32 (S, room, B), 0-padded.

        Those of full batches are the same in every step: (S, 1, B), and B is 0 where
        seeds have no examples of their own.
        """
        if self._full:
            rows = self._rows
            rows = np.zeros((len(self._seeds), 0), np.int32) if rows is None else rows
            return np.pad(rows, ((0, self.places - len(rows)), (0, 0)))[:, None]
        taken = np.zeros((self.places, room, self._batch), np.int32)
        step = start
        while step < stop:
            epoch, first = divmod(step, self._steps_per_epoch)
            count = min(stop - step, self._steps_per_epoch - first)
            examples = self._of_epoch(epoch)[:, first : first + count]
            at = step - start
            taken[: len(self._seeds), at : at + count] = examples
            step += count
        return taken

    def _of_epoch(self, epoch: int) -> np.ndarray:
        if epoch != self._epoch:
            shape = (self._steps_per_epoch, self._batch)
            orders = [
                epoch_order(self._root_seed, seed, epoch, self._train_size)
                for seed in self._seeds
            ]
            if self._rows is not None:
                orders = [own[order] for own, order in zip(self._rows, orders)]
            self._current = np.stack([np.resize(order, shape) for order in orders])
            self._epoch = epoch
        return self._current


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class PlacedProgram(NetworkProgram):
    """A program of networks that has been put on the devices."""

    population: Population
    batches: dict[str, Any]  # the evaluation splits, on the devices
    sizes: dict[str, int]  # of them, in examples
    order: Order
    room: int  # most steps in one call

    @property
    def width(self) -> int:
        """The lane width."""
        return self.plan.lanes.width

    def train(self, state: TrainState, start: int, count: int) -> Any:
        """Trains steps start..start+count-1; donates `state`."""
        examples = self.population.put(self.order.take(start, start + count, self.room))
        return self.population.train(state, examples, first_step=start, num_steps=count)


class Kept:
    """Data and compiled programs that consecutive runs share.

    They serve the chunks, the trial batches or the looks of one study in one process,
    with the same data, module and metrics. So data are loaded once, into `loaded`, and
    programs of equal shapes are compiled once.
    """

    def __init__(self) -> None:
        self.loaded: Loaded = {}
        self._placed: dict[str, PlacedProgram] = {}

    def like(self, program: NetworkProgram, study: Study) -> PlacedProgram | None:
        """Returns a kept program with the same functions and data; None for none."""
        return self._placed.get(_functions_key(program, study))

    def keep(self, placed: PlacedProgram, study: Study) -> None:
        """Keeps a program; drops others that would take too much memory beside it."""
        key = _functions_key(placed, study)
        self._placed.pop(key, None)
        self._placed[key] = placed
        plan = placed.plan
        allowed = KEPT_SHARE * plan.memory_bytes / plan.lanes.devices
        while len(self._placed) > MOST_KEPT or (
            len(self._placed) > 1
            and allowed < sum(p.plan.data_bytes for p in self._placed.values())
        ):
            del self._placed[next(iter(self._placed))]

    def clear(self) -> None:
        """Drops all that is on the devices."""
        self._placed.clear()


_OF_MEMBERS = ("sweep", "num_seeds", "looks", "search", "claims")
"""Fields of a study that change who is trained, but no compiled function."""


def _functions_key(program: NetworkProgram, study: Study) -> str:
    """Returns what the functions and the data of a study's programs depend on."""
    of = {k: v for k, v in study.to_dict().items() if k not in _OF_MEMBERS}
    flat = program.hyperparameters.flat()
    static = {path: v for path, v in flat.items() if not is_traced(path, v)}
    traced, recipe = program.members.traced(), program.recipe
    used = {n: bool(v.any()) for n, v in traced.items()}
    if any(program.largest):  # the number of examples changes no more than these
        scales = (np.asarray(s) for s in (recipe.input_scale, recipe.input_shift))
        rate = getattr(recipe.schedule, "args", None), "warmup_steps" in traced
        steps = 0 if rate == (("constant",), False) else program.num_steps
        static["train_size"] = steps, *(s.tobytes() for s in scales)
    return repr((of, static, used))


def place(
    program: NetworkProgram, study: Study, kept: Kept | None = None
) -> PlacedProgram:
    """Puts a program and its data on the devices, by its plan.

    If `kept` has earlier programs of the same study, their data and functions are used.
    """
    plan, members, drawing = program.plan, program.members, program.drawing
    lanes, splits = plan.lanes, program.evaluated()
    like = kept.like(program, study) if kept else None
    if (
        like
        and like.plan.lanes.devices == lanes.devices
        and like.plan.evaluation_batch == plan.evaluation_batch
    ):
        population = like.population.of_others(lanes, members)
        batches = like.batches
    else:
        train = program.pool or program.fed.train
        population = Population(
            program.recipe, lanes, members, study.root_seed, train, study.vary
        )
        batches = {}
    # Other seeds have other examples, other sizes others for training.
    if drawing or any(program.largest) or not batches:
        batches = population.put(batches_of(program, splits, population))
    longest = max(int(np.diff(program.cuts).max()), program.largest[1])
    fields = {
        f.name: getattr(program, f.name) for f in dataclasses.fields(NetworkProgram)
    }
    return PlacedProgram(
        **fields,
        population=population,
        batches=batches,
        sizes=sizes_of(splits),
        order=Order(
            study.root_seed,
            members.seeds,
            len(program.fed.train.labels),
            program.batch_size,
            lanes.room[1],
            study.vary,
            drawing.stacked("train", members.seeds) if drawing else None,
            full=program.recipe.full_batch,
        ),
        room=min(STEPS_PER_CALL, longest),
    )


def batches_of(
    program: NetworkProgram,
    splits: Mapping[str, Split | Picked],
    population: Population,
) -> dict[str, Batches | Picks]:
    """Cuts splits into the batches in which a program evaluates them."""
    members, lanes = program.members, program.plan.lanes
    size, places = program.plan.evaluation_batch, max(members.num_seeds, lanes.room[1])

    def cut(split: Split | Picked, room: int) -> Batches | Picks:
        if isinstance(split, Split):
            return Batches.cut(split, size, room)
        pool = population.pool if split.pool is program.pool else split.pool
        return Picks.cut(pool, split.rows, size, places)

    rooms = {"train": program.largest[0]}
    return {name: cut(split, rooms.get(name, 0)) for name, split in splits.items()}


def sizes_of(splits: Mapping[str, Split | Picked]) -> dict[str, int]:
    """Returns the number of examples of each split."""
    return {name: split.size for name, split in splits.items()}
