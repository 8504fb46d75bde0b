# SPDX-License-Identifier: Apache-2.0
"""Makes names short, and keeps those apart that differ."""

import re
from collections.abc import Sequence
from itertools import takewhile

from nnlab.words.numbers import visible

LEAST = 8
"""Characters that tell thousands of names apart: a letter, and " (9999)"."""


def shortened(names: Sequence[str], most: int) -> list[str]:
    """Returns printable names of at most `most` characters, which are `LEAST` or more.

    Names that differ stay different. A long one is cut in its middle, since names often
    differ at their ends; of those that would then look alike, what they share is left
    out first, and if they still do, they are numbered.

    >>> shortened(["wide network, rate 0.1", "wide network, rate 0.3"], 12)
    ['wide n…e 0.1', 'wide n…e 0.3']
    >>> shortened(["sigmoid, dropout, bias", "sigmoid, a deep one, bias"], 14)
    ['sigmo…dropout…', 'si…a deep one…']
    """
    lines = {name: " ".join(visible(name).split()) for name in names}
    shown = {name: _cut(line, most) for name, line in lines.items()}
    alike: dict[str, list[str]] = {}
    for name, text in shown.items():
        alike.setdefault(text, []).append(name)
    for group in (group for group in alike.values() if len(group) > 1):
        shown |= zip(group, _differing([lines[name] for name in group], most))
    taken: set[str] = set()
    for name, line in lines.items():
        number = 2
        while shown[name] in taken:
            mark = f" ({number})"
            shown[name] = f"{_cut(line, most - len(mark))}{mark}"
            number += 1
        taken.add(shown[name])
    return [shown[name] for name in names]


def _cut(text: str, most: int) -> str:
    """Leaves out the middle of a long text."""
    if len(text) <= most:
        return text
    end = (most - 1) // 2
    return f"{text[: most - 1 - end].rstrip()}…{text[len(text) - end :].lstrip()}"


def _differing(lines: Sequence[str], most: int) -> list[str]:
    """Leaves out what lines share, whole words if that is enough, as little as fits."""
    start = _shared(lines)
    rest = [line[len(start) :] for line in lines]
    end = _shared([text[::-1] for text in rest])[::-1]
    longest = max(map(len, rest)) - len(end)
    whole = [re.sub(r"[\w.]*$", "", start), re.sub(r"^[\w.]*", "", end)]
    if longest + len(start) + len(end) - sum(map(len, whole)) <= most - 2:
        start, end = whole
    shown = []
    for line in lines:
        own = line[len(start) : len(line) - len(end)]
        own = f"{own.strip(', ')}{'…' * bool(end)}"
        room = most - 1 - len(own)
        own = f"{start[:room].rstrip()}…{own}" if start and room >= 0 else own
        shown.append(_cut(own, most))
    return shown


def _shared(lines: Sequence[str]) -> str:
    """Returns the letters that start all lines."""
    same = takewhile(lambda letters: len({*letters}) == 1, zip(*lines))
    return "".join(letters[0] for letters in same)
