# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C, a notebook's stop button, SIGTERM and SIGHUP: they end a run with what it
found.
"""

import contextlib
import signal
import sys
import threading
import types
from typing import Any


class Interrupt:
    """The first signal ends the run after its step, the next at once.

    Until the first `check` nothing is worth a wait, and the first ends at once too. Of
    SIGHUP only the first counts: a terminal that closes sends it, and its shell again.
    Under nohup, which has it ignored, it stays so.
    """

    def __init__(self) -> None:
        """Takes the signals; does nothing in another than the main thread."""
        self._asked = False
        self._training = False
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                before = signal.getsignal(number)
                if number != signal.SIGHUP or before != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._ask)

    def _ask(self, number: int, frame: types.FrameType | None) -> None:
        if number == signal.SIGHUP:
            signal.signal(number, signal.SIG_IGN)
            if self._asked:
                return
        if self._asked or not self._training:
            raise KeyboardInterrupt
        self._asked = True
        # Of a stream that is gone, or in the midst of another print.
        with contextlib.suppress(OSError, RuntimeError):
            print("stopping after this step; again to stop at once", file=sys.stderr)

    def check(self) -> None:
        """Raises KeyboardInterrupt if a signal came."""
        self._training = True
        if self._asked:
            raise KeyboardInterrupt

    def restore(self) -> None:
        """Gives the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
