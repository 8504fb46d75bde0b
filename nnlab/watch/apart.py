# SPDX-License-Identifier: Apache-2.0
"""What keeps a dashboard that fails from costing a run, or another dashboard."""

import logging
from typing import Self

from nnlab.words.errors import line_of

_log = logging.getLogger(__name__)


class Apart:
    """Says the first error within ``with`` in one line, and swallows all of them.

    Attributes:
      is_broken: whether there was one.

    >>> apart = Apart("event files")
    >>> with apart:
    ...     raise OSError("no space")
    >>> apart.is_broken
    True
    """

    def __init__(self, what: str) -> None:
        """Takes the name of the dashboard, which begins the line."""
        self._what, self.is_broken = what, False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        if not isinstance(error, Exception):
            return False  # Ctrl-C ends the run
        if not self.is_broken:
            self.is_broken = True
            _log.warning("%s: %s; the run goes on without", self._what, line_of(error))
        return True
