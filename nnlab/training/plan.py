# SPDX-License-Identifier: Apache-2.0
"""Plans how a program will run: lanes, memory, evaluation batches."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax

from nnlab.machine.devices import device_memory
from nnlab.models.layers import LayerRow, leaves
from nnlab.study.members import Members
from nnlab.training.lanes import Lanes


@dataclasses.dataclass(frozen=True)
class Plan:
    """The lane plan of a program on its devices, and what a device needs for it."""

    lanes: Lanes
    evaluation_batch: int  # examples that a member evaluates at once
    memory_bytes: int  # of all devices together; 0 if unknown
    on_cpu: bool
    lane_bytes: int  # for the lane that it trains
    member_bytes: int  # for each place of its lanes
    data_bytes: int

    def device_bytes(self, lanes: int) -> int:
        """Estimates the memory of a device with that many lanes of this width."""
        kept = self.member_bytes * self.lanes.width * lanes
        return self.lane_bytes + kept + self.data_bytes

    @property
    def total_bytes(self) -> int:
        """Estimated memory of the whole program on all devices."""
        lanes = self.lanes
        return self.device_bytes(lanes.count // lanes.devices) * lanes.devices

    def to_dict(self) -> dict[str, Any]:
        """Returns the record for ``config.json``."""
        return {
            "lane_width": self.lanes.width,
            "lane_trials": self.lanes.trials,
            "lane_seeds": self.lanes.seeds,
            "lanes": self.lanes.used,
            "devices": self.lanes.devices,
            "evaluation_batch": self.evaluation_batch,
            "estimated_bytes": self.total_bytes,
        }


@dataclasses.dataclass(frozen=True)
class Demand:
    """What a program asks of the devices.

    Attributes:
      members: the trials and seeds. Lanes of a chunk have the shape of the whole
        program's, so that a member's numbers are the same bits.
      rows: the layer table; empty for a user's own module.
      parameters: number of trained values of a member.
      state_bytes: memory that a member keeps between steps.
      stops_early: whether members may end before the others and leave their lanes. A
        lane's row then holds one trial, which costs a small network a twentieth of its
        speed.
      room: least numbers of trials and seeds to have lanes for, so that programs have
        equal shapes.
    """

    members: Members
    rows: Sequence[LayerRow]
    parameters: int
    state_bytes: int
    batch_size: int
    data_bytes: int
    stops_early: bool = False
    room: tuple[int, int] = (0, 0)

    @property
    def most(self) -> int:
        """Number of members that there are lanes for."""
        return math.prod(map(max, self.members.shape, self.room))

    def plans(self, devices: Sequence[jax.Device], lane_width: int = 0) -> list[Plan]:
        """Returns the lane plans that fit into memory, the likely fastest one first.

        A `lane_width` of members at once leaves only that plan; 0 leaves the choice.

        Raises:
          ValueError: the lane width is out of range, or memory is too small.
        """
        try:
            return self._plans(devices, lane_width)
        except ValueError:  # perhaps only the extra room does not fit
            if self.room == (0, 0):
                raise
            return dataclasses.replace(self, room=(0, 0)).plans(devices, lane_width)

    def _plans(self, devices: Sequence[jax.Device], lane_width: int) -> list[Plan]:
        if not 0 <= lane_width <= self.most:
            raise ValueError(
                f"lane_width={lane_width} must be from 1 to the program's {self.most} "
                "networks (0 chooses)"
            )
        on_cpu = devices[0].platform == "cpu"
        memory = device_memory(devices[0]) // (len(devices) if on_cpu else 1)
        total = memory * len(devices)
        kept = 2 * self.state_bytes * len(self.members.trials) * self.members.num_seeds
        if memory and kept > total:  # checked before lanes are cut for a billion seeds
            raise self._too_much(kept, total)
        widths = [lane_width] if lane_width else self._widths(len(devices), on_cpu)
        lanes = dict.fromkeys(self._lanes(width, len(devices)) for width in widths)
        plans = [self._plan(some, on_cpu, total) for some in lanes]
        fitting = [p for p in plans if not memory or p.total_bytes <= 0.9 * total]
        if not fitting:
            raise self._too_much(min(plan.total_bytes for plan in plans), total)
        return fitting

    def _lanes(self, width: int, devices: int) -> Lanes:
        lanes = Lanes.of_width(
            *self.members.shape,
            width,
            devices,
            shared=not self.stops_early,
            all_devices=jax.process_count() > 1,
            room=self.room,
        )
        if self.members.whole:
            lanes = lanes.with_members(len(self.members.trials), self.members.num_seeds)
        return lanes

    def _plan(self, lanes: Lanes, on_cpu: bool, memory_bytes: int) -> Plan:
        # Inputs, outputs and gradients of each layer; im2col copies a conv's input.
        activations = 4 * sum(
            _activation_values(row, on_cpu) for row in leaves(self.rows)
        )
        # While it trains: gradients, updates, and the copy to which a lane goes back.
        changes = 2 * self.state_bytes + 8 * self.parameters
        training = changes + self.batch_size * activations
        evaluation = _evaluation_batch(activations, lanes.width, on_cpu)
        return Plan(
            lanes=lanes,
            evaluation_batch=evaluation,
            memory_bytes=memory_bytes,
            on_cpu=on_cpu,
            lane_bytes=lanes.width * max(training, evaluation * activations),
            member_bytes=2 * self.state_bytes,
            data_bytes=self.data_bytes,
        )

    def _widths(self, devices: int, on_cpu: bool) -> list[int]:
        """Returns the lane widths to consider, the likely fastest one first."""
        largest = math.ceil(self.most / devices)
        if not on_cpu:  # as wide as memory allows
            widths = [max(1, largest >> k) for k in range(largest.bit_length())]
        else:
            work = self.batch_size * sum(row.flops for row in self.rows)
            some = (1, 4, 16, 64) if work >= _WORK_OF_ITS_OWN else (16, 64, 4, 1)
            convolves = any(_is_conv(row) for row in leaves(self.rows))
            widths = list(dict.fromkeys(min(width, largest) for width in some))
            widths = [width for width in widths if width <= 4 or not convolves]
        return [self._balanced(width, devices) for width in widths]

    def _balanced(self, width: int, devices: int) -> int:
        """Returns the width up to `width` that keeps the devices equally busy.

        It minimises the places that the busiest device trains, plus half a place for
        the fixed cost of each lane's step.
        """
        sizes = len(self.members.trials), self.members.num_seeds
        trials, seeds = map(max, sizes, self.room)

        def busiest(width: int) -> float:
            shared = not self.stops_early
            lanes = Lanes.of_width(trials, seeds, width, devices, shared=shared)
            return lanes.count // lanes.devices * (lanes.width + 0.5)

        # At most 64 are tried, because an accelerator may hold a million members.
        return min(range(width, max(0, width - 64), -1), key=busiest)

    def _too_much(self, need: int, there: int) -> ValueError:
        count = len(self.members.trials) * self.members.num_seeds
        return ValueError(
            f"{count:,} networks of {self.parameters:,} parameters at batch_size="
            f"{self.batch_size} need about {_gib(need)}, the device has {_gib(there)}: "
            "use fewer trials or seeds, a smaller network or a smaller batch"
        )


_WORK_OF_ITS_OWN = 1_500_000
"""Operations of a batch's forward pass above which a member fills a CPU core alone.

On an Intel Xeon one member at a time was 1.34 times as fast as four at 1.6 million (784
inputs, 32 units, batch 32), and 1.04 times at 0.8 million; at 1.0 million (10 units,
batch 64) four were 1.23 times as fast as one.
"""


def _is_conv(row: LayerRow) -> bool:
    return row.layer["layer"] == "conv"


def _activation_values(row: LayerRow, on_cpu: bool) -> int:
    """Returns the number of values a layer holds for an example, both passes."""
    values = 2 * math.prod(row.output_shape) + math.prod(row.input_shape)
    if _is_conv(row) and on_cpu:
        *spatial, channels = row.output_shape
        patch = row.flops // (2 * channels * math.prod(spatial))
        values += 2 * patch * math.prod(spatial)
    return values


def _evaluation_batch(activations: int, width: int, on_cpu: bool) -> int:
    """Returns a power of two; its activations take about 16 MiB on CPU, else 1 GiB."""
    budget = 2**24 if on_cpu else 2**30
    size = budget // max(1, activations * width)
    return min(4096, max(32, 1 << max(0, size.bit_length() - 1)))


def _gib(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB"
