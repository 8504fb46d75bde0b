# SPDX-License-Identifier: Apache-2.0
"""Messages about unknown names: every one offers the nearest and lists the allowed."""

import difflib
from collections.abc import Iterable


def nearest(name: object, allowed: Iterable[str]) -> str:
    """Ends the message about an unknown name.

    Args:
      name: what was given.
      allowed: what there is.

    Returns:
      ``"; did you mean 'relu'? allowed: relu, elu"``, or ``"; allowed: relu, elu"``
      if nothing is near.
    """
    names = tuple(allowed)
    close = difflib.get_close_matches(str(name), names, n=1)
    return _hint(close) + (", ".join(names) or "none")


def nearest_path(path: str, allowed: Iterable[str]) -> str:
    """Likewise for a dotted path, whose last name alone is often the right one.

    Of some thirty paths it lists those that begin like the one given; if none does, it
    lists the top level, ``optimizer.*`` standing for all that begin so.
    """
    paths = tuple(allowed)
    group, dot, leaf = path.rpartition(".")
    listed = [p for p in paths if dot and p.startswith(group + ".")]
    same = [p for p in paths if p.rpartition(".")[2] == leaf]
    if same and not dot:
        close = same[:1]
    elif same:
        close = difflib.get_close_matches(path, same, n=1, cutoff=0.0)
    elif listed:  # what the paths have in common would make all of them near
        leaves = [p.removeprefix(group + ".") for p in listed]
        close = [group + "." + near for near in difflib.get_close_matches(leaf, leaves)]
    else:
        close = difflib.get_close_matches(path, paths)
    if not listed:
        tops = (p.partition(".") for p in paths)
        listed = list(dict.fromkeys(top + (dot and ".*") for top, dot, _ in tops))
    return _hint(close) + ", ".join(listed)


def _hint(close: list[str]) -> str:
    return f"; did you mean {close[0]!r}? allowed: " if close else "; allowed: "
