# SPDX-License-Identifier: Apache-2.0
"""Runs programs as from a shell, but in this process."""

import contextlib
import io
import pathlib
import signal
from typing import Any, TextIO
from unittest import mock

import pytest
from absl.testing import flagsaver

from nnlab.commands import check, config, describe, find_rate, report, train
from nnlab.commands.bench import bench

PROGRAMS = {
    "train": train,
    "describe": describe,
    "report": report,
    "check": check,
    "bench": bench,
    "find_rate": find_rate,
}
ROOT = pathlib.Path(__file__).parent.parent
QUICKSTART = "--config=quickstart:smoke"
ONE = [QUICKSTART, "--sweep=batch_size=64", "--config.num_epochs=1", "--seeds=1"]
ONE += ["--config.figures=()"]
"""The smallest run."""


def launched(
    program: Any, *arguments: str, main: Any = None, out: TextIO | None = None
) -> tuple[int, str, str]:
    """Runs a program; returns its status, output and errors.

    Args:
      program: a module of `nnlab.commands`.
      arguments: of its command line.
      main: what is called in the place of the module's own; what it returns is no
        matter.
      out: a stream for the output, which is then not returned.
    """
    said, errors = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(signal, "signal"),  # later tests are interrupted as before
        mock.patch.object(train, "show_log"),
        flagsaver.flagsaver(),
        contextlib.redirect_stdout(out or said),
        contextlib.redirect_stderr(errors),
    ):
        program.define_flags()
        called = program.main if main is None else lambda: (main(), None)[1]
        with pytest.raises(SystemExit) as ended:
            config.run(called, ["program", *arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code, said.getvalue(), errors.getvalue()
