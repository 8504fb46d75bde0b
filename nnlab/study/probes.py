# SPDX-License-Identifier: Apache-2.0
"""Which probes a study asks for, and after which steps they measure; no JAX.

A probe is written NAME or NAME@WHEN. `nnlab.training.probes` has those that are built
in; whether a name is one of them is known when a program is prepared.
"""

import dataclasses
import itertools
from collections.abc import Sequence

from nnlab.study.fields import FieldError

LOG = "log"
_OF_OCTAVE = 4
"""Steps of the logarithmic schedule from any step to twice it."""
_WHEN = "a number of updates (@50), some steps (@0+10+100) or @log"


@dataclasses.dataclass(frozen=True)
class Probe:
    """A probe's name, and when it measures.

    Attributes:
      name: it begins the names of its columns.
      every: updates between two measurements; 0 for other schedules.
      chosen: the steps after which it measures; () for other schedules.
      log: whether it measures at steps that grow by a factor: 0, 1, 2, 3, 4, 5, 6, 7,
        8, 10, 11, 13, 16, 19, ...
    """

    name: str
    every: int = 0
    chosen: tuple[int, ...] = ()
    log: bool = False

    def steps(self, boundaries: Sequence[int]) -> tuple[int, ...]:
        """Returns its steps in a training that is evaluated after these.

        >>> parse("sharpness@4").steps((0, 10)), parse("sharpness").steps((0, 10))
        ((0, 4, 8), (0, 10))
        """
        last = boundaries[-1]
        if self.every:
            return tuple(range(0, last + 1, self.every))
        if self.chosen:
            return tuple(step for step in self.chosen if step <= last)
        if self.log:
            powers = (round(2 ** (k / _OF_OCTAVE)) for k in itertools.count())
            steps = itertools.takewhile(lambda step: step <= last, powers)
            return tuple(sorted({0, *steps}))
        return tuple(boundaries)

    def measures(self, column: str) -> bool:
        """Whether a column is of this probe, such as "distance_dense_0" of distance."""
        return column == self.name or column.startswith(f"{self.name}_")


def name_of(text: str) -> str:
    """Returns the name of a probe that is written with or without its schedule."""
    return text.partition("@")[0]


def parse(text: str) -> Probe:
    """Reads a probe.

    Raises:
      FieldError: no such schedule.

    >>> parse("distance@log"), parse("sharpness@0+10").chosen
    (Probe(name='distance', every=0, chosen=(), log=True), (0, 10))
    """
    name, at, when = text.partition("@")
    if not name.isidentifier():
        raise FieldError("probes", f"={text!r} is not written NAME or NAME@WHEN")
    if at and when == LOG:
        return Probe(name, log=True)
    steps = when.split("+") if at else []
    if not all(step.isascii() and step.isdecimal() for step in steps):
        raise FieldError("probes", f"={text!r}: after @ stands {_WHEN}")
    if len(steps) == 1:
        if not int(steps[0]):
            raise FieldError("probes", f"={text!r}: every 0 updates is no schedule")
        return Probe(name, every=int(steps[0]))
    return Probe(name, chosen=tuple(sorted({*map(int, steps)})))
