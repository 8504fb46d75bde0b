# SPDX-License-Identifier: Apache-2.0
"""What a study would take with more members on more devices; runs nothing.

Every number is measured (here, before), modelled (computed from what is known of the
network and the plan), assumed, or given.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import jax
import numpy as np

from nnlab.runs.recorder import SECONDS_BETWEEN_WRITES, SHARE_OF_WRITES
from nnlab.training import lane_width
from nnlab.training.program import NetworkProgram

MOST_OF_MEMORY = 0.9
"""Of a device's memory, what is used at most; see `plan.candidates`."""
BYTES_A_VALUE = 4.0
"""Of a value in curves.parquet: of the quickstart's 15 columns, 60 bytes a row with 41
evaluations and 41 to 50 with 6, for 1,000 to 64,000 networks."""
ROW_BYTES = 1_000
"""Memory of the host for a row of the curves while the tables are made, at most: 940 of
10 million rows of the quickstart's columns; half of it before."""
COPIES = 3
"""Checkpoints of a program that are kept, at most: the last two and the best."""
ROW_SECONDS, WRITE_SECONDS = 0.2e-6, 0.75e-6
TRIAL_SECONDS, MEMBER_SECONDS = 1.2e-3, 18e-6
"""Of one process: taking in a row of the curves; writing one with all tables; comparing
a trial, and each of its members, when they are written. On a 2-core AMD EPYC, for
16,000 to 256,000 networks with 41 evaluations; half as much or twice as much is
possible."""

Basis = Literal["given", "measured", "modelled", "assumed"]


@dataclasses.dataclass(frozen=True)
class Line:
    """A number of the prediction.

    Attributes:
      name: what it is.
      value: the number; NaN if it is not known.
      unit: "", "s", "bytes" or "money".
      basis: where it comes from; of a product, its least certain factor.
      how: in a few words.
    """

    name: str
    value: float
    unit: str
    basis: Basis
    how: str


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one program of networks takes.

    Attributes:
      members: of it.
      lanes: on the device that has the most of them.
      chunks: how often it runs, one part of the members after the other, because the
        devices hold no more.
      device_bytes: of memory on a device.
      train_seconds, evaluation_seconds, compile_seconds: NaN if never measured.
      rows: of the curves.
      curve_bytes: of those on disk.
      checkpoint_bytes: at most.
      host_seconds: of one process that takes in the rows and writes the tables: twice
        at the end, and now and then before.
    """

    members: int
    lanes: int
    chunks: int
    device_bytes: int
    train_seconds: float
    evaluation_seconds: float
    compile_seconds: float
    rows: int
    curve_bytes: int
    checkpoint_bytes: int
    host_seconds: float


def cost_of(
    program: NetworkProgram,
    known: Mapping[int, lane_width.Rates],
    members: int,
    devices: int,
) -> Cost:
    """What a program would take with so many members on so many devices.

    Args:
      program: with the plan that it would run by.
      known: what was measured of its lane widths.
      members: at least 1.
      devices: like those at hand; each has its own lanes, and they never talk.
    """
    plan, h = program.plan, program.hyperparameters
    width = min(plan.lanes.width, members)
    lanes = math.ceil(members / width / devices)
    most = lanes
    if plan.memory_bytes:
        memory = MOST_OF_MEMORY * plan.memory_bytes / jax.device_count()
        room = memory - plan.lane_bytes - plan.data_bytes
        most = max(1, min(lanes, int(room // (plan.member_bytes * plan.lanes.width))))
    rates = known.get(plan.lanes.width)
    here = plan.lanes.devices
    # Empty places of the last lanes take as long as others.
    places = lanes * width * devices
    examples = program.num_steps * h.batch_size * places
    evaluated = program.num_evaluated / plan.lanes.members * places
    evaluation = compiling = training = math.nan
    if rates:
        scale = devices / here
        training = examples / (rates.examples_per_second * scale)
        if rates.inferences_per_second:
            evaluation = evaluated / (rates.inferences_per_second * scale)
        compiling = rates.compile_seconds or math.nan
    rows = members * len(program.boundaries)
    busy = np.nansum([training, evaluation, rows * ROW_SECONDS])
    trials = members / program.num_seeds
    summing = trials * TRIAL_SECONDS + members * MEMBER_SECONDS
    write = rows * WRITE_SECONDS + summing
    # In between the tables are half full on the average.
    between = min(len(program.boundaries), busy / SECONDS_BETWEEN_WRITES)
    between *= rows / 2 * WRITE_SECONDS + summing
    writing = 2 * write + min(between, SHARE_OF_WRITES * busy)
    further = len(program.recipe.layers) + 2 * len(program.evaluated()) + 7
    return Cost(
        members=members,
        lanes=lanes,
        chunks=math.ceil(lanes / most),
        device_bytes=plan.device_bytes(most),
        train_seconds=training,
        evaluation_seconds=evaluation,
        compile_seconds=compiling,
        rows=rows,
        curve_bytes=round(rows * further * BYTES_A_VALUE),
        checkpoint_bytes=members * plan.member_bytes // 2 * COPIES,
        host_seconds=rows * ROW_SECONDS + writing,
    )


def predict(
    programs: Sequence[NetworkProgram],
    known: Sequence[Mapping[int, lane_width.Rates]],
    *,
    members: int,
    devices: int,
    price: float = 0.0,
) -> list[Line]:
    """What a study's networks would take, as lines of a table.

    Args:
      programs: its programs, each with the plan that it would run by.
      known: for each, what was measured of its lane widths.
      members: of all programs, shared out as the study shares them.
      devices: like those at hand.
      price: of a device for an hour, in any currency; 0 for none.

    Raises:
      ValueError: fewer members than programs, or no device.
    """
    if devices < 1:
        raise ValueError(f"devices={devices} must be at least 1")
    if members < len(programs):
        raise ValueError(f"members={members} must be at least 1 for each program")
    have = [program.plan.lanes.members for program in programs]
    shares = [max(1, round(members * n / sum(have))) for n in have]
    found = [cost_of(*some, devices) for some in zip(programs, known, shares)]

    def total(name: str) -> float:
        return float(sum(getattr(p, name) for p in found))

    chunks = int(total("chunks"))
    compiling = sum(p.compile_seconds * p.chunks for p in found)
    host = total("host_seconds")
    wall = total("train_seconds") + total("evaluation_seconds") + compiling + host
    rate = "this machine's rate, times devices"
    lines = [
        Line("networks", members, "", "given", "--members"),
        Line("devices", devices, "", "given", "--devices, like those here"),
        Line(
            *("lanes a device", max(p.lanes for p in found), "", "modelled"),
            f"{programs[0].plan.lanes.width} networks at once in each",
        ),
        Line("programs run", chunks, "", "modelled", "more where memory holds no more"),
        Line(
            *("memory a device", max(p.device_bytes for p in found), "bytes"),
            *("modelled", "states, one lane at work, data"),
        ),
        Line(
            *("memory of the host", total("rows") * ROW_BYTES, "bytes", "modelled"),
            f"{total('rows'):,.0f} rows of the curves, until the end",
        ),
        Line("training", total("train_seconds"), "s", "modelled", rate),
        Line("evaluation", total("evaluation_seconds"), "s", "modelled", rate),
        Line("compiling", compiling, "s", "measured", "here; once for each run"),
        Line(
            *("host", host, "s", "modelled"),
            "rows taken in and written by one process",
        ),
        Line("all", wall, "s", "modelled", "one after the other"),
        Line(
            *("curves.parquet", total("curve_bytes"), "bytes", "modelled"),
            f"{BYTES_A_VALUE:g} bytes a value",
        ),
        Line(
            *("checkpoints", total("checkpoint_bytes"), "bytes", "modelled"),
            f"{COPIES} states of each network, at most",
        ),
    ]
    if price:
        cost = price * devices * wall / 3600
        how = f"{price:g} a device and hour, all devices all the time"
        lines.append(Line("cost", cost, "money", "assumed", how))
    return lines
