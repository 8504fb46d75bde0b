# SPDX-License-Identifier: Apache-2.0
"""Trains every trial of a study with every seed, then writes tables, figures, report.

python -m launch.train --config=configs/quickstart.py --workdir=runs/quickstart
"""

import contextlib
import math
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from absl import flags
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from launch import config, report

if TYPE_CHECKING:
    from nnlab import experiment

SECONDS_BETWEEN_LINES = 15.0

_WORKDIR = flags.DEFINE_string(
    "workdir", None, "folder for tables, figures and report; made, never overwritten"
)
config.define_study_flags()


def main() -> None:
    """Runs the study of the flags.

    Raises:
      ValueError, FileNotFoundError, FileExistsError, ConnectionError: the user's
        mistakes, before anything is written.
      KeyboardInterrupt: after results and report of what is done have been written.
    """
    config.use_all_cores()
    if not _WORKDIR.value:
        raise config.UsageError("--workdir is missing: the folder for the results")
    study = config.study()
    from nnlab import experiment  # imports JAX, after the mistakes that need none

    console = Console(highlight=False)
    workdir = pathlib.Path(_WORKDIR.value)
    experiment.check_workdir(workdir)
    console.print(f"[bold]{study.question}[/bold]", markup=True)
    console.print(
        f"{len(study.trials())} trials x {study.num_seeds} seeds", style="dim"
    )
    start = time.monotonic()
    display = _live(console) if console.is_terminal else _lines(console)
    try:
        with display as show:
            experiment.run(
                study,
                workdir,
                data_dir=flags.FLAGS.data_dir,
                lane_width=flags.FLAGS.lane_width,
                on_progress=show,
            )
    except KeyboardInterrupt:
        if (workdir / "config.json").exists():
            report.write(console, workdir)
        raise
    console.print(f"trained in {time.monotonic() - start:.1f} s", style="dim")
    report.write(console, workdir)


@contextlib.contextmanager
def _live(console: Console) -> Iterator[Callable[["experiment.Progress"], None]]:
    """A bar with epoch, examples/s, time left, best so far and diverged so far."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[news]}"),
    )
    with Progress(*columns, console=console, expand=True) as bar:
        task = bar.add_task("loading", total=None, news="")

        def show(progress: "experiment.Progress") -> None:
            bar.update(
                task,
                description=_where(progress),
                total=progress.total,
                completed=progress.done,
                news=_news(progress),
            )

        yield show


@contextlib.contextmanager
def _lines(console: Console) -> Iterator[Callable[["experiment.Progress"], None]]:
    """A line now and then, for logs."""
    last = -math.inf

    def show(progress: "experiment.Progress") -> None:
        nonlocal last
        if time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            share = progress.done / progress.total
            console.print(f"{_where(progress)} ({share:.0%}) {_news(progress)}")

    yield show


def _where(progress: "experiment.Progress") -> str:
    if math.isnan(progress.examples_per_second):
        return progress.status
    program = f"program {progress.cohort + 1}/{progress.num_cohorts} "
    epoch = f"epoch {progress.epoch:.3g}/{progress.num_epochs}"
    return (program if progress.num_cohorts > 1 else "") + epoch


def _news(progress: "experiment.Progress") -> str:
    parts = []
    if not math.isnan(progress.examples_per_second):
        parts.append(f"{progress.examples_per_second:,.0f} examples/s")
    if not math.isnan(progress.best_accuracy):
        parts.append(f"best {progress.best_accuracy:.1%} ({progress.best_label})")
    if progress.diverged:
        parts.append(f"{progress.diverged} diverged")
    return " | ".join(parts)


if __name__ == "__main__":
    config.run(main)
