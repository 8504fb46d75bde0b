# SPDX-License-Identifier: Apache-2.0
"""Writes TensorBoard's event files of a run while it trains; without TensorFlow.

    with tensorboard.EventFiles("runs/mine/tensorboard", len(study.trials())) as record:
        experiment.run(study, "runs/mine", on_progress=record)

``tensorboard --logdir runs/mine/tensorboard`` shows a curve for each trial and one for
all networks of each program. Trees have no updates and are in the report only.
"""

import logging
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from nnlab.machine.files import absolute
from nnlab.words import errors, numbers

if TYPE_CHECKING:
    from nnlab.runs.progress import Evaluation, Progress

_log = logging.getLogger(__name__)

MOST_TRIALS = 64  # with a curve of their own; each keeps a file open
QUANTILES = {"quantile_10": 0.1, "median": 0.5, "quantile_90": 0.9}
MOST_NAME = 60  # characters of a trial's label in a file name: 240 of 255 bytes


class EventFiles:
    """Writes each evaluation as an event; a callback of `experiment.run`.

    The x axis is updates; the scalar "epoch" has the epoch. A trial has the mean of
    each column of the curves over the seeds that still train, such as
    "validation_accuracy/mean", and the share of its networks that diverged. A program
    ("population") has the same over all its networks, and their `QUANTILES`.

    A resumed run writes into the same folder. Its new files say from which step on the
    older files no longer count, so TensorBoard shows each point once.
    """

    def __init__(self, folder: str | os.PathLike[str], num_trials: int) -> None:
        """Opens no file yet.

        Args:
          folder: where to write; made if missing.
          num_trials: of the study. Of more than `MOST_TRIALS`, so many at even steps
            along the sweep get a curve; the population has all.

        Raises:
          ValueError: tensorboardX is not installed.
        """
        try:
            import tensorboardX.event_file_writer  # noqa: F401
        except ImportError:
            raise ValueError(
                "event files for TensorBoard need tensorboardX: "
                f"{errors.extra('tensorboard')}"
            ) from None
        self._folder = absolute(folder, "folder")
        count = min(num_trials, MOST_TRIALS)
        self._chosen = {*np.linspace(0, num_trials - 1, count).round().astype(int)}
        self._writers: dict[str, Any] = {}
        self._step = -1
        if count < num_trials:
            _log.info(
                "TensorBoard gets a run for each of %d of the %d trials, and their "
                "population",
                count,
                num_trials,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes all files."""
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def __call__(self, progress: "Progress") -> None:
        """Writes the evaluation if there was one since the last call."""
        found = progress.evaluation
        if found is None:
            return
        runs = dict(self._runs(found))
        if set(runs) != set(self._writers):  # another program
            self.close()
        # At the start, after a checkpoint, or again in narrower lanes.
        begins = not self._writers or found.step <= self._step
        self._step = found.step
        for name, values in runs.items():
            self._write(name, found, values, begins)

    def _runs(self, found: "Evaluation") -> Iterator[tuple[str, dict[str, float]]]:
        """Yields the name and the finite scalars of each curve."""
        seeds = ""
        if found.seeds[0]:  # seeds added to a study that has some already
            seeds = f"_seeds_{found.seeds[0]}-{found.seeds[-1]}"
        name = f"population_{_range_text([trial.index for trial in found.trials])}"
        yield name + seeds, _scalars(found.metrics, found.diverged, QUANTILES)
        for t, trial in enumerate(found.trials):
            if trial.index in self._chosen:
                metrics = {name: values[t] for name, values in found.metrics.items()}
                name = f"{trial.index:03d}_{safe(trial.label)}"
                yield name + seeds, _scalars(metrics, found.diverged[t], {})

    def _write(
        self, name: str, found: "Evaluation", values: Mapping[str, float], begins: bool
    ) -> None:
        """Writes and flushes an event, so that an interrupted run leaves all of them.

        tensorboardX's `SummaryWriter` would need two threads for each trial, and its
        flush does not wait for them.
        """
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.proto.summary_pb2 import Summary

        if name not in self._writers:
            folder = self._folder / name
            folder.mkdir(parents=True, exist_ok=True)
            # Names contain whole seconds only; a file could replace the last one.
            suffix = f".{time.time_ns()}"
            self._writers[name] = EventsWriter(str(folder / "events"), suffix)
        writer, now = self._writers[name], time.time()
        if begins:  # points from this step on in older files do not count
            start = SessionLog(status=SessionLog.START)
            writer.write_event(Event(wall_time=now, step=found.step, session_log=start))
        summary = Summary(
            value=[
                Summary.Value(tag=numbers.visible(tag), simple_value=value)
                for tag, value in {**values, "epoch": found.epoch}.items()
            ]
        )
        writer.write_event(Event(wall_time=now, step=found.step, summary=summary))
        writer.flush()


def safe(label: str) -> str:
    """Makes a trial's label fit for a file name: "hidden=60,60,learning_rate=0.1"."""
    text = re.sub(r",?[()\[\]{}'\"]", "", label).replace(", ", ",")
    return re.sub(r"[^\w.,=+-]", "_", text)[:MOST_NAME]


def _scalars(
    metrics: Mapping[str, np.ndarray],
    diverged: np.ndarray,
    quantiles: Mapping[str, float],
) -> dict[str, float]:
    found = {"diverged_share": float(diverged.mean())}
    for name, values in metrics.items():
        living = values[np.isfinite(values)]
        if living.size:
            found[f"{name}/mean"] = float(living.mean())
            for word, share in quantiles.items():
                found[f"{name}/{word}"] = float(np.quantile(living, share))
    return found


def _range_text(indexes: Sequence[int]) -> str:
    """Names a program by its trials: "trials_0-7"; the first trial makes it unique."""
    first, last, count = indexes[0], indexes[-1], len(indexes)
    if count == 1:
        return f"trial_{first}"
    if last - first + 1 == count:
        return f"trials_{first}-{last}"
    return f"trial_{first}_and_{count - 1}_more"
