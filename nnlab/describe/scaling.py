# SPDX-License-Identifier: Apache-2.0
"""Predicts what a study would take with more networks on more devices; runs nothing.

Times come from earlier measurements on this machine, sizes from the network and the
plan. The host's time for writing the tables was not measured and is left out.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import jax

from nnlab.training import lane_width
from nnlab.training.program import NetworkProgram

MOST_OF_MEMORY = 0.9
"""Largest share of a device's memory that plans use."""
BYTES_A_VALUE = 4.0
"""Bytes of a compressed value in curves.parquet: the quickstart's 15 columns took 60
bytes a row with 41 evaluations and 41 to 50 with 6, for 1,000 to 64,000 networks."""
ROW_BYTES = 1_000
"""Most host memory for a row of the curves while tables are made: 940 bytes for 10
million rows of the quickstart's columns; half of it before."""
COPIES = 3
"""Most checkpoints of a program: the last two and the best."""


class Line(NamedTuple):
    """A number of the prediction, NaN if unknown.

    Its basis is that of its least certain factor.
    """

    name: str
    value: float
    unit: Literal["", "s", "bytes", "money"]
    basis: Literal["given", "measured", "modelled", "assumed"]
    how: str


@dataclasses.dataclass(frozen=True)
class Cost:
    """The cost of one program of networks; seconds are NaN if never measured.

    Attributes:
      lanes: on the device with the most of them.
      chunks: how often the program runs, each time with some of the networks, because
        the devices' memory does not hold all.
      rows: of the curves.
    """

    lanes: int
    chunks: int
    device_bytes: int
    train_seconds: float
    evaluation_seconds: float
    compile_seconds: float
    rows: int
    curve_bytes: int
    checkpoint_bytes: int


def cost_of(
    program: NetworkProgram,
    known: Mapping[int, lane_width.Rates],
    members: int,
    devices: int,
) -> Cost:
    """Estimates the cost of a program with that many networks and devices.

    `known` has the measured speeds of its lane widths. The devices are like those here,
    and each has its own lanes.
    """
    plan = program.plan
    width = min(plan.lanes.width, members)
    lanes = math.ceil(members / width / devices)
    most = lanes
    if plan.memory_bytes:
        memory = MOST_OF_MEMORY * plan.memory_bytes / jax.device_count()
        room = memory - plan.lane_bytes - plan.data_bytes
        most = max(1, min(lanes, int(room // (plan.member_bytes * plan.lanes.width))))
    # Empty places of the last lanes take as long as others.
    places = lanes * width * devices
    evaluation = compiling = training = math.nan
    if rates := known.get(plan.lanes.width):
        scale = devices / plan.lanes.devices
        examples = program.num_steps * program.batch_size * places
        training = examples / (rates.examples_per_second * scale)
        if rates.inferences_per_second:
            evaluated = program.num_evaluated / plan.lanes.members * places
            evaluation = evaluated / (rates.inferences_per_second * scale)
        compiling = rates.compile_seconds or math.nan
    rows = members * len(program.boundaries)
    columns = len(program.recipe.layers) + 2 * len(program.evaluated()) + 7
    return Cost(
        lanes=lanes,
        chunks=math.ceil(lanes / most),
        device_bytes=plan.device_bytes(most),
        train_seconds=training,
        evaluation_seconds=evaluation,
        compile_seconds=compiling,
        rows=rows,
        curve_bytes=round(rows * columns * BYTES_A_VALUE),
        checkpoint_bytes=members * plan.member_bytes // 2 * COPIES,
    )


def predict(
    programs: Sequence[NetworkProgram],
    known: Sequence[Mapping[int, lane_width.Rates]],
    *,
    members: int,
    devices: int,
    price: float = 0.0,
) -> list[Line]:
    """Predicts the cost of so many of a study's networks, as lines of a table.

    Each program gets the share of the networks that it has in the study; `known` has
    the measured speeds of its lane widths. Devices are like those here; `price` is that
    of one for an hour.

    Raises:
      ValueError: fewer networks than programs, or no device.
    """
    if devices < 1:
        raise ValueError(f"devices={devices} must be at least 1")
    if members < len(programs):
        raise ValueError(f"members={members} must be at least 1 for each program")
    have = [program.plan.lanes.members for program in programs]
    shares = [max(1, round(members * n / sum(have))) for n in have]
    found = [cost_of(*some, devices) for some in zip(programs, known, shares)]
    rows = sum(p.rows for p in found)
    training = sum(p.train_seconds for p in found)
    evaluation = sum(p.evaluation_seconds for p in found)
    compiling = sum(p.compile_seconds * p.chunks for p in found)
    wall = training + evaluation + compiling
    programs_run, lanes = sum(p.chunks for p in found), max(p.lanes for p in found)
    memory = max(p.device_bytes for p in found)
    curves = sum(p.curve_bytes for p in found)
    saved = sum(p.checkpoint_bytes for p in found)
    at_once = f"{programs[0].plan.lanes.width} networks at once in each"
    more = "more where memory does not hold all networks"
    parts = "states, one lane at work, data"
    each_value = f"{BYTES_A_VALUE:g} bytes a value"
    each_state = f"{COPIES} states of each network, at most"
    kept = f"{rows:,.0f} rows of the curves, until the end"
    rate = "this machine's rate, times devices"
    three = "the three; writing tables is not measured"
    lines = [
        Line("networks", members, "", "given", "--members"),
        Line("devices", devices, "", "given", "--devices, like those here"),
        Line("lanes a device", lanes, "", "modelled", at_once),
        Line("programs run", programs_run, "", "modelled", more),
        Line("memory a device", memory, "bytes", "modelled", parts),
        Line("memory of the host", rows * ROW_BYTES, "bytes", "modelled", kept),
        Line("training", training, "s", "modelled", rate),
        Line("evaluation", evaluation, "s", "modelled", rate),
        Line("compiling", compiling, "s", "measured", "here; once for each run"),
        Line("all", wall, "s", "modelled", three),
        Line("curves.parquet", curves, "bytes", "modelled", each_value),
        Line("checkpoints", saved, "bytes", "modelled", each_state),
    ]
    if price:
        cost = price * devices * wall / 3600
        how = f"{price:g} a device and hour, all devices all the time"
        lines.append(Line("cost", cost, "money", "assumed", how))
    return lines
