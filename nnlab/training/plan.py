# SPDX-License-Identifier: Apache-2.0
"""How a program will run: lanes, memory, evaluation batches."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax

from nnlab.machine.devices import device_memory
from nnlab.models.layers import LayerRow
from nnlab.training.lanes import Lanes


@dataclasses.dataclass(frozen=True)
class Plan:
    """The lane plan of a program on its devices.

    Attributes:
      lanes: how the members are cut.
      evaluation_batch: examples that a member evaluates at once.
      total_bytes: estimate for the whole program on all devices, data included.
      memory_bytes: what the devices have together; 0 if unknown.
      on_cpu: whether the devices are CPU cores.
      lane_bytes: of that, what a device needs for the lane that it trains.
      member_bytes: what it keeps of each place of its lanes.
      data_bytes: what it keeps of the data.
    """

    lanes: Lanes
    evaluation_batch: int
    total_bytes: int
    memory_bytes: int
    on_cpu: bool
    lane_bytes: int
    member_bytes: int
    data_bytes: int

    def device_bytes(self, lanes: int) -> int:
        """Estimate for a device that has so many lanes of this width."""
        kept = self.member_bytes * self.lanes.width * lanes
        return self.lane_bytes + kept + self.data_bytes

    def to_dict(self) -> dict[str, Any]:
        """The record in ``config.json``."""
        return {
            "lane_width": self.lanes.width,
            "lane_trials": self.lanes.trials,
            "lane_seeds": self.lanes.seeds,
            "lanes": self.lanes.used,
            "devices": self.lanes.devices,
            "evaluation_batch": self.evaluation_batch,
            "estimated_bytes": self.total_bytes,
        }


def candidates(
    rows: Sequence[LayerRow],
    *,
    parameters: int,
    state_bytes: int,
    num_trials: int,
    num_seeds: int,
    batch_size: int,
    data_bytes: int,
    devices: Sequence[jax.Device],
    stops_early: bool = False,
    lane_width: int = 0,
    room: tuple[int, int] = (0, 0),
    whole: tuple[int, int] | None = None,
) -> list[Plan]:
    """Lane plans that fit into memory, first the one that is likely the fastest.

    Args:
      rows: the layer table; empty for a module that is not a stack.
      parameters: trained values of a member.
      state_bytes: what a member keeps between steps.
      num_trials, num_seeds: T and S of the program.
      batch_size: examples in an update.
      data_bytes: of the data set as placed on each device.
      devices: those at hand.
      stops_early: whether members may end before the others and leave their lanes. A
        lane's row then holds one trial, which costs a small network a twentieth of its
        speed.
      lane_width: members at once; the only candidate then. 0 for a choice.
      room: trials and seeds to have lanes for, at least, so that programs have equal
        shapes.
      whole: T and S of the program of which this one is a chunk: lanes of a width have
        the same shape in both, so that a member's numbers are the same bits.

    Raises:
      ValueError: a lane width out of range, or a program that memory cannot hold.
    """
    members = num_trials * num_seeds
    of_trials, of_seeds = whole or (num_trials, num_seeds)
    most = max(of_trials, room[0]) * max(of_seeds, room[1])
    if not 0 <= lane_width <= most:
        raise ValueError(
            f"lane_width={lane_width} must be from 1 to the program's {most} members "
            "(0 chooses)"
        )
    on_cpu = devices[0].platform == "cpu"
    # Inputs, outputs and gradients of each layer; im2col copies a conv's input.
    activations = 4 * sum(_activation_values(row, on_cpu) for row in rows)
    # Gradients, updates and the copy from which a lane goes back, while it trains.
    training = 2 * state_bytes + 8 * parameters + batch_size * activations
    memory = device_memory(devices[0]) // (len(devices) if on_cpu else 1)
    total = memory * len(devices)

    def too_much(need: int) -> ValueError:
        return ValueError(
            f"{members:,} members of {parameters:,} parameters at batch_size="
            f"{batch_size} need about {_gib(need)}, the device has {_gib(total)}: use "
            "fewer trials or seeds, a smaller network or a smaller batch"
        )

    kept = 2 * state_bytes * members
    if memory and kept > total:  # said before lanes are cut for a billion seeds
        raise too_much(kept)
    shared = not stops_early
    if lane_width:
        widths = [lane_width]
    else:
        convolves = any(_is_conv(row) for row in rows)
        work = batch_size * sum(row.flops for row in rows)
        widths = [
            _balanced(
                max(num_trials, room[0]),
                max(num_seeds, room[1]),
                width,
                len(devices),
                shared,
            )
            for width in _widths(work, math.ceil(most / len(devices)), on_cpu)
            if width <= 4 or not (on_cpu and convolves)
        ]
    plans = {}
    for width in widths:
        lanes = Lanes.of_width(
            of_trials,
            of_seeds,
            width,
            len(devices),
            shared=shared,
            all_devices=jax.process_count() > 1,
            room=room,
        )
        if whole:
            lanes = lanes.with_members(num_trials, num_seeds)
        evaluation = _evaluation_batch(activations, lanes.width, on_cpu)
        made = Plan(
            lanes=lanes,
            evaluation_batch=evaluation,
            total_bytes=0,
            memory_bytes=total,
            on_cpu=on_cpu,
            lane_bytes=lanes.width * max(training, evaluation * activations),
            member_bytes=2 * state_bytes,
            data_bytes=data_bytes,
        )
        need = made.device_bytes(lanes.count // lanes.devices) * lanes.devices
        plans[lanes] = dataclasses.replace(made, total_bytes=need)
    fitting = [
        plan
        for plan in plans.values()
        if not memory or plan.total_bytes <= 0.9 * plan.memory_bytes
    ]
    if not fitting:
        raise too_much(min(plan.total_bytes for plan in plans.values()))
    return fitting


def _widths(work: int, largest: int, on_cpu: bool) -> list[int]:
    """Lane widths to consider, first the one that is likely the fastest.

    Args:
      work: operations of a member's forward pass over a batch.
      largest: members of a device.
      on_cpu: whether the device is a CPU.
    """
    if not on_cpu:  # the more the better, as far as memory goes
        return [max(1, largest >> k) for k in range(largest.bit_length())]
    widths = (1, 4, 16, 64) if work >= _WORK_OF_ITS_OWN else (16, 64, 4, 1)
    return list(dict.fromkeys(min(width, largest) for width in widths))


def _balanced(
    num_trials: int, num_seeds: int, width: int, devices: int, shared: bool
) -> int:
    """The width up to `width` that keeps devices equally busy.

    The busiest device has the fewest places to train, counting half a place for the
    fixed cost of each lane's step.
    """

    def busiest(width: int) -> float:
        lanes = Lanes.of_width(num_trials, num_seeds, width, devices, shared=shared)
        return lanes.count // lanes.devices * (lanes.width + 0.5)

    # At most 64 are tried: an accelerator may hold a million members.
    return min(range(width, max(0, width - 64), -1), key=busiest)


_WORK_OF_ITS_OWN = 1_500_000
"""Operations of a batch's forward pass above which a member fills a CPU core alone.

On an Intel Xeon one member at a time was 1.34 times as fast as four at 1.6 million (784
inputs, 32 units, batch 32), and 1.04 times at 0.8 million; at 1.0 million (10 units,
batch 64) four were 1.23 times as fast as one.
"""


def _is_conv(row: LayerRow) -> bool:
    return row.layer["layer"] == "conv"


def _activation_values(row: LayerRow, on_cpu: bool) -> int:
    """Values that a layer holds for an example, forward and backward."""
    values = 2 * math.prod(row.output_shape) + math.prod(row.input_shape)
    if _is_conv(row) and on_cpu:
        *spatial, channels = row.output_shape
        patch = row.flops // (2 * channels * math.prod(spatial))
        values += 2 * patch * math.prod(spatial)
    return values


def _evaluation_batch(activations: int, width: int, on_cpu: bool) -> int:
    """A power of two whose activations stay near 16 MiB on CPU, 1 GiB elsewhere."""
    budget = 2**24 if on_cpu else 2**30
    size = budget // max(1, activations * width)
    return min(4096, max(32, 1 << max(0, size.bit_length() - 1)))


def _gib(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB"
