# SPDX-License-Identifier: Apache-2.0
"""Ends a run on Ctrl-C, a notebook's stop button, SIGTERM or SIGHUP; keeps results."""

import contextlib
import signal
import sys
import threading
import types
from typing import Any


class Interrupt:
    """Ends the run after its step on the first signal, at once on the second.

    Before the first `check` there is nothing to save, so the first signal ends it at
    once too, but never within an import: an error in there can leave Python's lock of
    imports held, and every other thread that imports would wait forever. A second
    SIGHUP is ignored, because a closing terminal sends one and its shell another. Under
    nohup, SIGHUP stays ignored.
    """

    def __init__(self) -> None:
        """Takes over the signals; does nothing outside the main thread."""
        self._asked = False
        self._training = False
        self._caller: types.FrameType | None = sys._getframe(1)
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
        at_once = (self._asked or not self._training) and not self._imports(frame)
        self._asked = True  # `check` ends the run even if a library swallows this:
        if at_once:
            raise KeyboardInterrupt
        # The stream may be closed, or in the middle of another print.
        with contextlib.suppress(OSError, RuntimeError):
            print("stopping after this step; again to stop at once", file=sys.stderr)

    def _imports(self, frame: types.FrameType | None) -> bool:
        """Returns whether a function below the caller of this object imports a module.

        The frames above it do not count: a script may run nnlab while it is imported.
        """
        while frame and frame is not self._caller:
            if frame.f_code.co_filename.startswith("<frozen importlib"):
                return True
            frame = frame.f_back
        return False

    def check(self) -> None:
        """Raises KeyboardInterrupt if a signal has come."""
        self._training = True
        if self._asked:
            raise KeyboardInterrupt

    def restore(self) -> None:
        """Restores the handlers that were there before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._caller = None  # it holds this object
