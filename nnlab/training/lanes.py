# SPDX-License-Identifier: Apache-2.0
"""Decides which lane trains which member, and cuts data into batches."""

import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np

from nnlab.data import Split
from nnlab.machine.devices import LEAST_CPU_DEVICES


@dataclasses.dataclass(frozen=True)
class Lanes:
    """How many lanes a program of T trials and S seeds has, and how large they are.

    A lane has G = `seeds` rows of W = `trials` places. A row trains members of one
    seed, which share its batches.

    Attributes:
      devices: number of devices that the lanes are spread over.
      room: least numbers of trials and seeds to have lanes for. Programs of different
        sizes then have equal shapes and are compiled once.
    """

    num_trials: int
    num_seeds: int
    trials: int
    seeds: int
    devices: int
    room: tuple[int, int] = (0, 0)

    @classmethod
    def of_width(
        cls,
        num_trials: int,
        num_seeds: int,
        width: int,
        devices: int,
        *,
        shared: bool = True,
        all_devices: bool = False,
        room: tuple[int, int] = (0, 0),
    ) -> "Lanes":
        """Returns lanes of at most `width` members, the same on any number of devices.

        A row holds as many trials of its seed as fit; one if it is not `shared`, so
        that each member that ends frees its place. With `all_devices` those without a
        lane hold an empty one, so that each of several processes has a part. The second
        device always does, because XLA compiles for one device differently; see
        `devices.LEAST_CPU_DEVICES`.
        """
        trials, places = 1, max(num_trials, room[0])
        if shared:
            trials = math.ceil(places / math.ceil(places / width))
        rows = max(num_seeds, room[1]) * math.ceil(places / trials)
        seeds = min(width // trials, rows)
        if not all_devices:
            devices = _sharing(devices, math.ceil(rows / seeds))
        return cls(num_trials, num_seeds, trials, seeds, devices, room)

    def with_members(self, num_trials: int, num_seeds: int) -> "Lanes":
        """Returns lanes of the same shape for other members, on no more devices."""
        lanes = dataclasses.replace(self, num_trials=num_trials, num_seeds=num_seeds)
        return dataclasses.replace(lanes, devices=_sharing(self.devices, lanes.used))

    @property
    def width(self) -> int:
        """Members that `vmap` batches together."""
        return self.trials * self.seeds

    @property
    def members(self) -> int:
        """Members of the program."""
        return self.num_trials * self.num_seeds

    @property
    def used(self) -> int:
        """Lanes that hold members at first."""
        return self._holding(self.num_trials, self.num_seeds)

    def _holding(self, num_trials: int, num_seeds: int) -> int:
        rows = num_seeds * math.ceil(num_trials / self.trials)
        return math.ceil(rows / self.seeds)

    @property
    def count(self) -> int:
        """N, the number of lanes: a multiple of `devices`, some of them empty."""
        most = self._holding(
            max(self.num_trials, self.room[0]), max(self.num_seeds, self.room[1])
        )
        return math.ceil(most / self.devices) * self.devices

    def place(self, training: np.ndarray) -> "Placement":
        """Puts members that still train, bool (T, S), into as few lanes as possible.

        The others fill the places that are left; a lane of such members costs nothing.
        """
        rows: list[tuple[int, list[int]]] = []
        live = [np.flatnonzero(training[:, seed]) for seed in range(self.num_seeds)]
        for start in range(0, self.num_trials, self.trials):
            for seed, trials in enumerate(live):
                if start < len(trials):
                    rows.append((seed, trials[start : start + self.trials].tolist()))
        shape = (self.count, self.seeds, self.trials)
        seed_of, trial_of = np.zeros(shape[:2], np.int32), np.zeros(shape, np.int32)
        taken, busy = np.zeros(shape, bool), np.zeros(self.count, bool)
        home = np.zeros((self.num_trials, self.num_seeds), np.int64)
        for i, (seed, some) in enumerate(rows):
            lane, row = divmod(i, self.seeds)
            turn, device = divmod(lane, self.devices)
            at = device * (self.count // self.devices) + turn, row
            busy[at[0]] = True
            seed_of[at] = seed
            trial_of[at] = some[-1]  # unused places repeat the last member
            trial_of[at][: len(some)] = some
            taken[at][: len(some)] = True
            first = np.ravel_multi_index((*at, 0), shape)
            home[some, seed] = first + np.arange(len(some))
        ended = np.argwhere(~training)
        spare = np.flatnonzero(~taken)[: len(ended)]
        home[ended[:, 0], ended[:, 1]] = spare
        trial_of.reshape(-1)[spare] = ended[:, 0]
        return Placement(seed_of, trial_of, home, busy)


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where each member is."""

    seed: np.ndarray  # of each row, int32 (N, G)
    trial: np.ndarray  # of each place, int32 (N, G, W)
    home: np.ndarray  # each member's place, a flat index into (N, G, W); int64 (T, S)
    busy: np.ndarray  # lanes with members that still train, bool (N,)

    def gather(self, values: np.ndarray) -> np.ndarray:
        """Rearranges values of the lanes, (N, G, W, ...), into (T, S, ...)."""
        return values.reshape(-1, *values.shape[3:])[self.home]

    def scatter(self, values: np.ndarray) -> np.ndarray:
        """Reverses `gather`; places without a member repeat another one."""
        owner = np.zeros(self.trial.size, np.int64)
        owner[self.home.reshape(-1)] = np.arange(self.home.size)
        members = values.reshape(-1, *values.shape[2:])
        return members[owner].reshape(*self.trial.shape, *values.shape[2:])


class Batches(NamedTuple):
    """A split cut into equal batches, the last one padded and masked."""

    inputs: np.ndarray  # as stored, (batches, B, values of an example)
    labels: np.ndarray  # int32 (batches, B), or float32 (batches, B, C)
    mask: np.ndarray  # bool (batches, B), False for padding

    @classmethod
    def cut(cls, split: Split, size: int, room: int = 0) -> "Batches":
        """Cuts a split into the fewest batches of at most `size` examples.

        A batch holds fewer if that saves padding: 288 examples make one batch of 288,
        not of 4,096. There is room for at least `room` examples in all.
        """
        inputs, labels = flattened(split.inputs), split.labels
        most = max(len(labels), room)
        count = math.ceil(most / size)
        size = math.ceil(most / count)
        padding = count * size - len(labels)
        mask = np.arange(count * size) < len(labels)
        return cls(
            np.pad(inputs, ((0, padding), (0, 0))).reshape(count, size, -1),
            np.pad(labels, ((0, padding), *((0, 0),) * (labels.ndim - 1))).reshape(
                count, size, *labels.shape[1:]
            ),
            mask.reshape(count, size),
        )


class Picks(NamedTuple):
    """Batches of examples that each seed picks from a pool."""

    inputs: Any  # of the pool, as stored, (N, values of an example)
    labels: Any  # of the pool, int32 (N,), or float32 (N, C)
    rows: np.ndarray  # of the pool, int32 (S, batches, B)
    mask: np.ndarray  # bool (batches, B), False for padding

    @classmethod
    def cut(cls, pool: Split, rows: np.ndarray, size: int, places: int) -> "Picks":
        """Cuts each seed's `rows` of a pool, int32 (S, n), as `Batches.cut` does.

        `pool` may be on the devices. `places` is the S of the batches, at least that of
        the rows.
        """
        more = ((0, places - len(rows)), (0, 0))
        cut = Batches.cut(Split(np.pad(rows, more).T, np.zeros(rows.shape[1])), size)
        picked = np.moveaxis(cut.inputs, 2, 0)
        return cls(flattened(pool.inputs), pool.labels, picked, cut.mask)


def flattened(inputs: np.ndarray) -> np.ndarray:
    """Reshapes inputs (N, ...) to (N, values)."""
    return inputs.reshape(len(inputs), -1)


def _sharing(devices: int, lanes: int) -> int:
    """Returns how many of the devices to spread the lanes over."""
    return min(devices, max(lanes, LEAST_CPU_DEVICES))
