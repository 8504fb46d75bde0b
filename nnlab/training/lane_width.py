# SPDX-License-Identifier: Apache-2.0
"""Measures lane widths and remembers how fast each was on this machine.

A program's speed depends on its lanes, the network, the batch and the machine. Each
such combination has a small JSON file in the user's cache folder. The file can be
deleted at any time; a damaged one is ignored.
"""

import dataclasses
import hashlib
import json
import math
import pathlib
import time
from collections.abc import Mapping, Sequence

import jax
import numpy as np

import nnlab
from nnlab.data import cache
from nnlab.machine import devices, processes
from nnlab.machine.devices import device_kind
from nnlab.study import Study
from nnlab.training.place import Kept, PlacedProgram, place
from nnlab.training.plan import Plan
from nnlab.training.population import SAMPLE_EVERY
from nnlab.training.program import NetworkProgram

TOLERANCE = 0.05
"""How much faster another plan must be to replace the first."""


@dataclasses.dataclass(frozen=True)
class Rates:
    """What was measured of a program, all members together.

    The last two are 0 if unknown.
    """

    examples_per_second: float
    inferences_per_second: float = 0.0
    compile_seconds: float = 0.0


def recall(program: NetworkProgram) -> dict[int, Rates]:
    """Returns the speeds remembered for a program: ``{lane width: rates}``."""
    if not (cache.root() / "rates").is_dir():  # else computes the name of the file
        return {}
    try:
        found = json.loads(_file(program).read_text())
        rates = {
            int(width): Rates(**{name: float(value) for name, value in values.items()})
            for width, values in found.items()
        }
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
    sound = all(0 < r.examples_per_second < math.inf for r in rates.values())
    return rates if sound else {}


def remember(program: NetworkProgram, rates: Mapping[int, Rates]) -> None:
    """Adds to the remembered speeds of a program, if the folder can be written."""
    known = recall(program)
    for width, found in rates.items():
        if not found.compile_seconds and width in known:
            seconds = known[width].compile_seconds
            found = dataclasses.replace(found, compile_seconds=seconds)
        known[width] = found
    values = {w: dataclasses.asdict(rates) for w, rates in sorted(known.items())}
    text = json.dumps(values) + "\n"
    cache.write_whole(_file(program), lambda stream: stream.write(text.encode()))


def fastest(plans: Sequence[Plan], known: Mapping[int, Rates]) -> Plan:
    """Returns the first plan that is about as fast as the fastest known one."""
    speeds = {
        plan: known[plan.lanes.width].examples_per_second
        for plan in plans
        if plan.lanes.width in known
    }
    if not speeds:
        return plans[0]
    enough = max(speeds.values()) / (1 + TOLERANCE)
    return next(plan for plan, speed in speeds.items() if speed >= enough)


def _file(program: NetworkProgram) -> pathlib.Path:
    """Returns the file of a program's speeds, named by all that they depend on."""
    recipe, lanes = program.recipe, program.plan.lanes
    settings = {
        name: value
        for name, value in vars(recipe).items()
        if isinstance(value, bool | int | str | tuple)
    }
    depends_on = (
        program.jaxpr,
        settings,
        program.demand.stops_early,
        program.fed.train.inputs.shape,
        (lanes.num_trials, lanes.num_seeds, lanes.room),
        (jax.default_backend(), device_kind(), jax.device_count()),
        (jax.__version__, nnlab.__version__),
    )
    key = hashlib.sha256(repr(depends_on).encode()).hexdigest()[:24]
    return cache.root() / "rates" / f"{key}.json"


TUNING_SHARE = 0.02
"""Share of the predicted training time that may be spent on measuring lane widths."""

CORE_SPEED = 1e11
"""Operations of `Program.work` per second on a fast CPU core, roughly."""

LEAST_COMPILE_SECONDS = 0.5
"""Least compile time of any training function."""


def choose_lanes(
    program: NetworkProgram, study: Study, kept: Kept | None = None
) -> tuple[PlacedProgram, float]:
    """Places a program with the lane width that trains it fastest.

    Unknown widths are measured while that costs less than `TUNING_SHARE` of the
    predicted training time. A program similar to one in `kept` gets the same lanes, if
    they are among its plans. Also returns the seconds spent on plans not taken.
    """
    if like := kept.like(program, study) if kept else None:
        for plan in program.plans:
            if plan.lanes.width == like.width:
                return place(program.with_plan(plan), study, kept), 0.0
    known = recall(program) if len(program.plans) > 1 else {}
    plan = fastest(program.plans, known)
    if processes.count() > 1:  # all must use the same plan, so nobody measures
        width = int(processes.agreed(plan.lanes.width))
        return place(program.with_width(width), study), 0.0
    placed = place(program.with_plan(plan), study)
    unknown = [
        plan
        for plan in program.plans
        if plan.lanes.width not in known and plan != placed.plan
    ]
    # For a short training, even timing the first plan costs too much.
    seconds = program.work / (CORE_SPEED * plan.lanes.devices)
    is_short = plan.on_cpu and TUNING_SHARE * seconds < LEAST_COMPILE_SECONDS
    if not unknown or is_short:
        return placed, 0.0
    start = time.perf_counter()
    speed_of = _Stopwatch(placed).speed
    rate = speed_of(0.1)
    # Another plan takes about as long to compile, and both are timed three times.
    compiling = placed.population.compile_seconds
    cost = compiling + 3 * (time.perf_counter() - start - compiling)
    measured = {placed.width: Rates(rate)}
    allowed, spent = TUNING_SHARE * program.num_examples / rate, 0.0
    for plan in unknown:
        if spent + cost > allowed:
            break
        start = time.perf_counter()
        other = place(program.with_plan(plan), study)
        speed_of_other = _Stopwatch(other).speed
        turns = [[speed_of(0.1), speed_of_other(0.1)] for _ in range(3)]
        speeds = np.median(turns, axis=0)
        spent += time.perf_counter() - start
        measured |= {
            each.width: Rates(float(speed))
            for each, speed in zip((placed, other), speeds)
        }
        if speeds[1] > speeds[0] * (1 + TOLERANCE):
            placed, speed_of = other, speed_of_other
        elif speeds[1] < 0.8 * speeds[0]:
            break  # widths further away are no faster
    if spent:
        remember(program, measured)
    return placed, spent


def probe_seconds(program: NetworkProgram, study: Study) -> float:
    """Returns the seconds that the probes of a training take, by their times at 0."""
    placed, spent = place(program, study), 0.0
    population, rows = placed.population, placed.probe_rows()
    state = population.init()
    for name, probed in placed.probed.items():
        begun = state if probed.asks_start else None
        for _ in range(2):  # the first compiles
            start = time.perf_counter()
            jax.block_until_ready(population.probe(name, state, rows, begun))
        spent += len(probed.steps) * (time.perf_counter() - start)
    return spent


class _Stopwatch:
    """Times training on states of zeros."""

    def __init__(self, placed: PlacedProgram) -> None:
        """Compiles the program if needed."""
        self._placed, population = placed, placed.population
        self._order = population.put(placed.order.take(0, placed.room, placed.room))
        self._state = population.zeros()
        self._steps, self._lanes = min(SAMPLE_EVERY, placed.room), 1
        self._timed(0, self._steps)
        self._idle = min(self._timed(0, self._steps) for _ in range(2))

    def _timed(self, lanes: int, steps: int) -> float:
        """Returns the seconds in which each device trains that many of its lanes."""
        population, start = self._placed.population, time.perf_counter()
        self._state = population.train(
            self._state, self._order, first_step=0, num_steps=steps, first_lanes=lanes
        )
        jax.block_until_ready(self._state)
        return time.perf_counter() - start

    def speed(self, seconds: float) -> float:
        """Returns examples per second of all members, measured in about `seconds`.

        If one stretch of all lanes takes longer, each device trains only its first
        lanes, and the others are assumed to take as long.
        """
        placed = self._placed
        lanes, room = placed.plan.lanes, placed.room
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
        return placed.batch_size * lanes.members / step


def profile(placed: PlacedProgram, folder: pathlib.Path) -> None:
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
    program: NetworkProgram, study: Study, seconds: float = 2.0
) -> dict[int, Rates]:
    """Times every lane width of a program, some seconds each; remembers the results.

    Only the fastest width has evaluation speeds too.
    """
    found: dict[int, Rates] = {}
    for plan in program.plans:
        placed = place(program.with_plan(plan), study)
        found[placed.width] = Rates(_Stopwatch(placed).speed(seconds))
    placed = place(program.with_plan(fastest(program.plans, found)), study)
    population = placed.population
    state = placed.train(population.init(), 0, 1)
    state, _ = jax.block_until_ready(population.evaluate(state, placed.batches))
    start = time.perf_counter()
    jax.block_until_ready(population.evaluate(state, placed.batches))
    evaluated = sum(placed.sizes.values()) * program.plan.lanes.members
    found[placed.width] = dataclasses.replace(
        found[placed.width],
        inferences_per_second=evaluated / (time.perf_counter() - start),
        compile_seconds=population.compile_seconds,
    )
    remember(program, found)
    return found
