# SPDX-License-Identifier: Apache-2.0
"""Runs that are stopped and resumed end with the same files."""

import pathlib
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from nnlab.runs.progress import Progress

FILES = ("config.json", "curves.parquet", "members.csv", "summary.csv")
"""The files of a run without its times."""


def content(workdir: pathlib.Path, files: Iterable[str] = FILES) -> dict[str, bytes]:
    """Returns the files of a workdir, by name."""
    return {name: (workdir / name).read_bytes() for name in files}


class Stop:
    """Follows a run, and interrupts it at a visit of the host."""

    def __init__(self, visit: int) -> None:
        """Takes the visit's number, counted from 1."""
        self._visit = visit
        self.told: list[Progress] = []

    def __call__(self, progress: Progress) -> None:
        self.told.append(progress)
        if len(self.told) == self._visit:
            raise KeyboardInterrupt


def gone_on(
    run: Callable[..., Any],
    folder: pathlib.Path,
    visit: int,
    between: Callable[[pathlib.Path], Any] = lambda workdir: None,
) -> tuple[pathlib.Path, list[Progress], list[Progress]]:
    """Interrupts a run at a visit of the host, and resumes it to its end.

    Args:
      run: trains in the folder that it is given; takes ``on_progress`` and ``resume``.
      folder: for its workdir.
      visit: at which it is interrupted.
      between: is handed the workdir before it resumes.

    Returns:
      The workdir, and the progress before the interruption and after it.
    """
    workdir, stop, after = folder / f"at_{visit}", Stop(visit), list[Progress]()
    with pytest.raises(KeyboardInterrupt):
        run(workdir, on_progress=stop)
    between(workdir)
    run(workdir, resume=True, on_progress=after.append)
    return workdir, stop.told, after
