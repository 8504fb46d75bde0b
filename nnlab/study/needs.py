# SPDX-License-Identifier: Apache-2.0
"""What a hyperparameter needs to change anything in a trial; no JAX.

Each field has its needs beside it in `study`, those of its group among them. All that
follows is from these alone: which sweeps are refused, which settings are pointed out,
and which trials are equal in effect.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

OWN_MODULE = "own module"
"""Beside a trial's settings by path: whether a module of one's own is its model."""

Settings = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Need:
    """What has to hold for a field to be read.

    Attributes:
      words: what it is, such as "'cnn'" or "above 0".
      holds: whether the settings of a trial have it.
      path: of the field that these words are about; "" where they say all.
    """

    words: str
    holds: Callable[[Settings], bool]
    path: str = ""

    def why(self, lacking: Iterable[Settings]) -> str:
        """With what a field goes, and what trials have instead."""
        found = dict.fromkeys(f"{s[self.path]!r:.60}" for s in lacking if self.path)
        text = f"{self.path} {self.words}".strip()
        return f"{text}, not {', '.join(found)}" if found else text


def one_of(path: str, *values: Any) -> Need:
    """That a field has one of the values."""
    words = " or ".join(map(repr, values))
    return Need(words, lambda settings: settings[path] in values, path)


def lacking(needs: Iterable[Need], settings: Settings) -> Need | None:
    """The first of a field's needs that a trial lacks; None for one that reads it."""
    return next((need for need in needs if not need.holds(settings)), None)


def idle(needs: Sequence[Need], trials: Iterable[Settings]) -> str:
    """Why none of the trials reads a field: what it goes with; "" if one does."""
    groups: dict[Need, list[Settings]] = {}
    for settings in trials:
        need = lacking(needs, settings)
        if need is None:
            return ""
        groups.setdefault(need, []).append(settings)
    return "; ".join(need.why(some) for need, some in groups.items())
