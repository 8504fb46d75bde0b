# SPDX-License-Identifier: Apache-2.0
"""Lists the runs below a folder, from ``config.json`` and ``summary.csv`` alone."""

import contextlib
import csv
import dataclasses
import hashlib
import io
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from nnlab.machine.files import absolute, is_taken
from nnlab.results import CONFIG, cells, load_config
from nnlab.words import numbers

RUNNING = "running"
DEEPEST = 5
"""How many folders below the given one a run may lie."""
_OF_A_RUN = ("curves.parquet", "members.csv", "checkpoints")
"""What marks a workdir even if `CONFIG` was lost."""
_ENDS = ("mean", "high")


@dataclasses.dataclass(frozen=True)
class Listed:
    """A run in a list.

    Attributes:
      name: its folder, relative to the given one; "." for that one.
      question: of the study; "" for a broken run.
      status: "complete", "interrupted", "failed", "running", or "broken".
      broken: why the run cannot be read; "" if it can.
      networks: trials times seeds.
      best: the best trial by validation; "" if there is none.
      score: its test accuracy in percent, or its r2, with the interval.
      written: when the run last wrote, in seconds since the epoch.
    """

    name: str
    question: str = ""
    status: str = "broken"
    broken: str = ""
    networks: int = 0
    best: str = ""
    score: str = ""
    written: float = 0.0


def listed(folder: str | os.PathLike[str]) -> tuple[Listed, ...]:
    """Lists all runs in a folder and up to `DEEPEST` below it, the latest first.

    It follows no links and enters neither hidden folders nor those of a run. A run that
    cannot be read is listed with the reason. No such folder is a FileNotFoundError, a
    file a NotADirectoryError.
    """
    top = absolute(folder, "folder")
    if not top.exists():
        raise FileNotFoundError(f"no folder {str(top)!r}")
    if not top.is_dir():
        raise NotADirectoryError(f"{str(top)!r} is a file, not a folder")
    found = [_describe(path, top) for path in _workdirs(top, DEEPEST)]
    return tuple(sorted(found, key=lambda run: (-run.written, run.name)))


def status_of(workdir: pathlib.Path, config: Mapping[str, Any]) -> str:
    """Returns the status in a run's config, or "running" while a process is at work.

    The config of a running run says "interrupted", as if it were killed now.
    """
    return RUNNING if is_taken(workdir) else str(config["status"])


def _workdirs(folder: pathlib.Path, deep: int) -> Iterator[pathlib.Path]:
    """Yields folders that hold a run, this one or below it."""
    try:
        with os.scandir(folder) as entries:
            inner = sorted(entries, key=lambda entry: entry.name)
    except OSError:  # such as a folder of another user
        return
    names = {entry.name for entry in inner}
    if CONFIG in names or names & {*_OF_A_RUN}:
        yield folder
        return
    for entry in inner:
        is_folder = entry.is_dir(follow_symlinks=False)
        if deep and is_folder and not entry.name.startswith("."):
            yield from _workdirs(pathlib.Path(entry.path), deep - 1)


def _describe(workdir: pathlib.Path, top: pathlib.Path) -> Listed:
    name = str(workdir.relative_to(top))
    written = _written(workdir)
    try:
        config = load_config(workdir)
        study = config["study"]
        seeds = (item.get("num_seeds", study["num_seeds"]) for item in study["sweep"])
        found = Listed(
            name=name,
            question=str(study["question"]),
            status=status_of(workdir, config),
            networks=sum(map(int, seeds)),
            written=written,
        )
        if (trial := _best(workdir, config)) is None:
            return found
        of = "r2" if "test_r2_mean" in trial else "accuracy"
        mean, high = (float(trial[f"test_{of}_{part}"] or "nan") for part in _ENDS)
        score = f"{numbers.mean_text(mean, high)} %"
        if of == "r2":
            score = f"r2 {numbers.mean_text(mean, high, 1.0)}"
        best = cells.original(trial["label"])
        return dataclasses.replace(found, best=best, score=score)
    except (OSError, ValueError) as error:
        return Listed(name, broken=_reason(error, workdir), written=written)
    except (KeyError, TypeError, AttributeError) as error:
        reason = f"{CONFIG} or summary.csv lacks {error}"
        return Listed(name, broken=reason, written=written)


def _reason(error: Exception, workdir: pathlib.Path) -> str:
    """Returns an error's message without the folder, which the list names."""
    said = str(error)
    if isinstance(error, FileNotFoundError) and not error.errno:
        return f"no {CONFIG}"
    if isinstance(error, OSError) and error.strerror:
        said = f"{error.strerror}: {error.filename}"
    return said.replace(f"{workdir}{os.sep}", "")


def _best(workdir: pathlib.Path, config: Mapping[str, Any]) -> dict[str, str] | None:
    """Returns the best trial's row of ``summary.csv``; None if there is none."""
    content = (workdir / "summary.csv").read_bytes()
    if hashlib.sha256(content).hexdigest() != config["manifest"]["summary.csv"]:
        raise ValueError("summary.csv is damaged: its digest differs")
    try:
        rows = csv.DictReader(io.StringIO(content.decode(), newline=""))
        return next((row for row in rows if row["best"] == "true"), None)
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"summary.csv is damaged: {error}") from None


def _written(workdir: pathlib.Path) -> float:
    """Returns when a run last wrote results, or else when its folder changed."""
    times: list[float] = []
    for path in (workdir / CONFIG, workdir / "summary.csv", workdir):
        if path != workdir or not times:
            with contextlib.suppress(OSError):
                times.append(path.stat().st_mtime)
    return max(times, default=0.0)
