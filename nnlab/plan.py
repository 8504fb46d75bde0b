# SPDX-License-Identifier: Apache-2.0
"""How a cohort will run: lanes, memory, evaluation batches."""

import dataclasses
import math
import os
from collections.abc import Sequence
from typing import Any

import jax

from nnlab.models.layers import LayerRow
from nnlab.population import Lanes


@dataclasses.dataclass(frozen=True)
class Plan:
    """The lane plan of a cohort on its devices.

    Attributes:
      lanes: how the members are cut.
      evaluation_batch: examples that a member evaluates at once.
      total_bytes: estimate for the whole cohort on all devices, data included.
      memory_bytes: what the devices have together; 0 if unknown.
    """

    lanes: Lanes
    evaluation_batch: int
    total_bytes: int
    memory_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """The record in ``config.json``."""
        return {
            "lane_width": self.lanes.width,
            "lane_trials": self.lanes.trials,
            "lane_seeds": self.lanes.seeds,
            "lanes": int(self.lanes.busy.sum()),
            "devices": self.lanes.devices,
            "evaluation_batch": self.evaluation_batch,
            "estimated_bytes": self.total_bytes,
        }


def choose(
    rows: Sequence[LayerRow],
    *,
    parameters: int,
    state_bytes: int,
    num_trials: int,
    num_seeds: int,
    batch_size: int,
    data_bytes: int,
    devices: Sequence[jax.Device],
    lane_width: int = 0,
) -> Plan:
    """Chooses lanes that fit into memory.

    On CPU dense layers want lanes of 4 to 8 trials of one seed, whose first layer is
    one large product and whose parameters stay in the cache, and convolutions want one
    member after another. Accelerators want as many members at once as memory holds.

    Args:
      rows: the layer table; empty for a module that is not a stack.
      parameters: trained values of a member.
      state_bytes: what a member keeps between steps.
      num_trials, num_seeds: T and S of the cohort.
      batch_size: examples in an update.
      data_bytes: of the data set as placed on each device.
      devices: those at hand.
      lane_width: members at once, as many trials of a seed as go; the same lanes then
        on any number of devices. 0 to choose.

    Raises:
      ValueError: a lane width out of range, or a cohort that memory cannot hold.
    """
    members = num_trials * num_seeds
    if not 0 <= lane_width <= members:
        raise ValueError(
            f"lane_width={lane_width} must be from 1 to the cohort's {members} members "
            "(0 chooses)"
        )
    on_cpu = devices[0].platform == "cpu"
    # Inputs, outputs and gradients of each layer; im2col copies a conv's input.
    activations = 4 * sum(_activation_values(row, on_cpu) for row in rows)
    # Gradients, updates and the copy from which a lane goes back, while it trains.
    training = 2 * state_bytes + 8 * parameters + batch_size * activations
    memory = device_memory(devices[0]) // (len(devices) if on_cpu else 1)
    widths = (
        [lane_width] if lane_width else _candidates(rows, parameters, members, on_cpu)
    )
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
    plans = []
    for width in widths:
        if lane_width:
            trials = min(width, num_trials)
            seeds = min(width // trials, num_seeds)
            busy = min(len(devices), num_trials * num_seeds)
            lanes = Lanes(num_trials, num_seeds, trials, seeds, busy)
        else:
            lanes = _cut(num_trials, num_seeds, width, len(devices))
        evaluation = _evaluation_batch(activations, lanes.width, on_cpu)
        lane = lanes.width * max(training, evaluation * activations)
        resident = 2 * state_bytes * lanes.width * lanes.count // lanes.devices
        plans.append(
            Plan(
                lanes=lanes,
                evaluation_batch=evaluation,
                total_bytes=(lane + resident + data_bytes) * lanes.devices,
                memory_bytes=total,
            )
        )
    fitting = [p for p in plans if not memory or p.total_bytes <= 0.9 * p.memory_bytes]
    if not fitting:
        raise too_much(min(plan.total_bytes for plan in plans))
    return fitting[0]


def _candidates(
    rows: Sequence[LayerRow], parameters: int, members: int, on_cpu: bool
) -> list[int]:
    """Lane widths from the preferred one downwards."""
    if not on_cpu:
        preferred = members
    elif any(_is_conv(row) for row in rows):
        preferred = 1
    else:
        # 784-64-10 at batch 64, 4 trials x 8 seeds: 720,000 examples/s in lanes of 4,
        # 689,000 of 8, 661,000 of 16; 64-32-10 at batch 32 is fastest in lanes of 8.
        preferred = min(members, 8 if 8 * 4 * parameters <= 2**20 else 4)
    return [max(1, preferred >> k) for k in range(preferred.bit_length())]


def _cut(num_trials: int, num_seeds: int, width: int, devices: int) -> Lanes:
    """Lanes of at most `width` members that keep the devices equally busy.

    The trials of a seed come first into a lane because they share their batches. Of
    the cuts in reach, it takes the one whose busiest device has the fewest members to
    train, counting half a member for the fixed cost of each lane's step.
    """
    devices = min(devices, num_trials * num_seeds)
    best: tuple[float, int, Lanes] | None = None
    for pieces in range(1, num_trials + 1):
        trials = math.ceil(num_trials / pieces)
        if trials > width or (best and trials < min(width, num_trials) / 4):
            continue
        largest = max(1, min(width // trials, math.ceil(num_seeds / devices)))
        for seeds in {1, largest}:
            lanes = Lanes(num_trials, num_seeds, trials, seeds, devices)
            turns = lanes.count // devices
            candidate = (turns * (lanes.width + 0.5), seeds, lanes)
            if best is None or candidate[:2] < best[:2]:
                best = candidate
    assert best is not None
    return best[2]


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


def device_memory(device: jax.Device) -> int:
    """Bytes of memory of a device; of the whole machine for a CPU; 0 if unknown."""
    if device.platform == "cpu":
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int((device.memory_stats() or {}).get("bytes_limit", 0))


def _gib(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB"
