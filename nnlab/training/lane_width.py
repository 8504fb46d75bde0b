# SPDX-License-Identifier: Apache-2.0
"""What lane widths were measured to do on this machine, remembered between runs.

A cohort's program runs at a speed that depends on its lanes, the network, the batch and
the machine. Each such combination has a small JSON file in the user's cache folder; it
can be deleted at any time, and a damaged one counts as none.
"""

import dataclasses
import hashlib
import json
import math
import pathlib
from collections.abc import Mapping, Sequence

import jax

import nnlab
from nnlab.data import cache
from nnlab.training.plan import Plan, device_kind
from nnlab.training.program import Prepared

TOLERANCE = 0.05
"""How much faster another plan must be to be preferred to the first."""


@dataclasses.dataclass(frozen=True)
class Rates:
    """How fast a cohort ran.

    Attributes:
      examples_per_second: training examples of all members together.
      inferences_per_second: evaluated examples of all members together; 0 if unknown.
      compile_seconds: of all programs; 0 if unknown.
    """

    examples_per_second: float
    inferences_per_second: float = 0.0
    compile_seconds: float = 0.0


def recall(prepared: Prepared) -> dict[int, Rates]:
    """What is known of a cohort: ``{lane width: rates}``."""
    if not _folder().is_dir():  # spares a new machine the name of the file
        return {}
    try:
        found = json.loads(_file(prepared).read_text())
        rates = {
            int(width): Rates(**{name: float(value) for name, value in values.items()})
            for width, values in found.items()
        }
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
    sound = all(0 < r.examples_per_second < math.inf for r in rates.values())
    return rates if sound else {}


def remember(prepared: Prepared, rates: Mapping[int, Rates]) -> None:
    """Adds to what is known of a cohort; does without where nothing can be written."""
    known = recall(prepared)
    for width, found in rates.items():
        if not found.compile_seconds and width in known:  # compiled before
            seconds = known[width].compile_seconds
            found = dataclasses.replace(found, compile_seconds=seconds)
        known[width] = found
    values = {w: dataclasses.asdict(rates) for w, rates in sorted(known.items())}
    text = json.dumps(values) + "\n"
    cache.write_whole(_file(prepared), lambda stream: stream.write(text.encode()))


def fastest(plans: Sequence[Plan], known: Mapping[int, Rates]) -> Plan:
    """The first of the plans that is as fast as any that is known; else the first."""
    speeds = {
        plan: known[plan.lanes.width].examples_per_second
        for plan in plans
        if plan.lanes.width in known
    }
    if not speeds:
        return plans[0]
    enough = max(speeds.values()) / (1 + TOLERANCE)
    return next(plan for plan, speed in speeds.items() if speed >= enough)


def _folder() -> pathlib.Path:
    return cache.root() / "rates"


def _file(prepared: Prepared) -> pathlib.Path:
    """Where a cohort's rates are: named by all that they depend on."""
    recipe, lanes = prepared.recipe, prepared.plan.lanes
    settings = {
        name: value
        for name, value in vars(recipe).items()
        if isinstance(value, bool | int | str | tuple)
    }
    depends_on = (
        prepared.program,
        settings,
        prepared.stops_early,
        prepared.fed.train.inputs.shape,
        (lanes.num_trials, lanes.num_seeds, lanes.room),
        (jax.default_backend(), device_kind(), jax.device_count()),
        (jax.__version__, nnlab.__version__),
    )
    key = hashlib.sha256(repr(depends_on).encode()).hexdigest()[:24]
    return _folder() / f"{key}.json"
