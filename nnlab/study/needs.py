# SPDX-License-Identifier: Apache-2.0
"""When a hyperparameter is read by a trial, that is, can change its result; no JAX.

Each field of the study declares its needs. They decide which sweeps are refused, which
settings are pointed out as unused, and which trials are equal in effect.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

OWN_MODULE = "own module"
"""Key in a trial's settings: whether its model is a module of one's own."""

Settings = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Need:
    """A condition under which a field is read.

    Attributes:
      words: the condition in words, such as "'cnn'" or "above 0".
      holds: whether a trial's settings meet it.
      path: the field that the words are about; "" where they stand alone.
    """

    words: str
    holds: Callable[[Settings], Any]
    path: str = ""

    def why(self, lacking: Iterable[Settings]) -> str:
        """Says what a field goes with, and what the trials have instead."""
        found = dict.fromkeys(f"{s[self.path]!r:.60}" for s in lacking if self.path)
        text = f"{self.path} {self.words}".strip()
        return f"{text}, not {', '.join(found)}" if found else text


def one_of(path: str, *values: Any) -> Need:
    """Needs a field to have one of the values."""
    words = " or ".join(map(repr, values))
    return Need(words, lambda settings: settings[path] in values, path)


def lacking(needs: Iterable[Need], settings: Settings) -> Need | None:
    """Returns the first need that a trial does not meet; None if it reads the field."""
    return next((need for need in needs if not need.holds(settings)), None)


def idle(needs: Sequence[Need], trials: Iterable[Settings]) -> str:
    """Says why none of the trials reads a field; "" if one does."""
    groups: dict[Need, list[Settings]] = {}
    for settings in trials:
        need = lacking(needs, settings)
        if need is None:
            return ""
        groups.setdefault(need, []).append(settings)
    return "; ".join(need.why(some) for need, some in groups.items())
