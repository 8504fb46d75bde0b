# SPDX-License-Identifier: Apache-2.0
"""Which signals end a run after its step, which at once, and which never."""

import contextlib
import importlib
import os
import signal
import sys
import textwrap

import pytest

from nnlab.machine.signals import Interrupt


@contextlib.contextmanager
def training():
    """Interrupts of a running run."""
    interrupt = Interrupt()
    try:
        interrupt.check()
        yield interrupt
    finally:
        interrupt.restore()


@pytest.fixture(autouse=True)
def _hangups_end_programs():
    """Works even if these tests run under nohup or the like."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_first_waits_for_the_step_and_the_second_does_not(first, second):
    with training() as interrupt:
        send(first)
        with pytest.raises(KeyboardInterrupt):
            send(second)
        with pytest.raises(KeyboardInterrupt):
            interrupt.check()


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_before_the_first_step_it_ends_at_once_or_if_that_is_lost_with_the_step(first):
    interrupt = Interrupt()
    try:
        with pytest.raises(KeyboardInterrupt):  # as if a library had swallowed it
            send(first)
        with pytest.raises(KeyboardInterrupt):
            interrupt.check()
    finally:
        interrupt.restore()


def test_no_import_is_cut_off(tmp_path, monkeypatch):
    # Within `_get_module_lock` an error leaves the lock of all imports held.
    body = "import os\nfor number in (1, 2, 15):\n    os.kill(os.getpid(), number)\n"
    (tmp_path / "importing.py").write_text(body + "done = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    interrupt = Interrupt()
    try:
        assert importlib.import_module("importing").done
        with pytest.raises(KeyboardInterrupt):
            interrupt.check()
    finally:
        interrupt.restore()
        sys.modules.pop("importing", None)


def test_a_script_that_is_imported_is_cut_off(tmp_path, monkeypatch):
    body = """
    import os
    from nnlab.machine.signals import Interrupt
    interrupt = Interrupt()
    try:
        os.kill(os.getpid(), 15)
    except KeyboardInterrupt:
        ended = True
    finally:
        interrupt.restore()
    """
    (tmp_path / "script.py").write_text(textwrap.dedent(body))
    monkeypatch.syspath_prepend(tmp_path)
    assert importlib.import_module("script").ended


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_terminal_that_closes_hurries_nobody(first, monkeypatch):
    dead = os.open("/dev/full", os.O_WRONLY)
    with os.fdopen(dead, "w") as stream, training() as interrupt:
        monkeypatch.setattr(sys, "stderr", stream)
        send(first)
        send(signal.SIGHUP)
        send(signal.SIGHUP)
        with pytest.raises(KeyboardInterrupt):
            interrupt.check()
        monkeypatch.undo()
        with contextlib.suppress(OSError):
            stream.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), dead)


def test_under_nohup_a_hangup_ends_nothing():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the fixture restores it
    with training() as interrupt:
        send(signal.SIGHUP)
        interrupt.check()
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
