# SPDX-License-Identifier: Apache-2.0
"""Writes TensorBoard's event files of a run while it trains; without TensorFlow.

    with tensorboard.EventFiles("runs/mine/tensorboard", len(study.trials())) as record:
        experiment.run(study, "runs/mine", on_progress=record)

``tensorboard --logdir runs/mine/tensorboard`` shows a curve for each trial and one for
all networks of each program. Its tab HPARAMS compares the trials' final numbers.
"""

import logging
import os
import re
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from nnlab.machine.files import absolute, shown
from nnlab.statistics.findings import Findings
from nnlab.study import Trial
from nnlab.watch import points
from nnlab.watch.apart import Apart
from nnlab.words import numbers
from nnlab.words.errors import extra

if TYPE_CHECKING:
    from tensorboardX.proto.summary_pb2 import Summary

    from nnlab.runs.progress import Evaluation, Progress

_log = logging.getLogger(__name__)

QUANTILES = {"quantile_10": 0.1, "median": 0.5, "quantile_90": 0.9}
MOST_NAME = 60  # characters of a trial's label in a file name: 240 of 255 bytes


class EventFiles:
    """Writes each evaluation as an event; a callback of `experiment.run`.

    What fails, as on a full disk, ends the writing, not the run.

    The x axis is updates. A trial has the numbers of `points.of_trial`. A program
    ("population") has the same means over all its networks, and their `QUANTILES`.

    A resumed run writes into the same folder. Its new files say from which step on the
    older files no longer count, so TensorBoard shows each point once.
    """

    def __init__(self, folder: str | os.PathLike[str], num_trials: int) -> None:
        """Opens no file yet.

        Args:
          folder: where to write; made if missing.
          num_trials: of the study. Of more than `points.MOST_TRIALS`, so many at even
            steps along the sweep get a curve; the population has all.

        Raises:
          ValueError: tensorboardX is not installed.
        """
        try:
            import tensorboardX.event_file_writer  # noqa: F401
        except ImportError:
            raise ValueError(
                f"event files for TensorBoard need tensorboardX: {extra('tensorboard')}"
            ) from None
        self._folder = absolute(folder, "folder")
        self._chosen = points.chosen(num_trials)
        self._writers: dict[str, Any] = {}
        self._step, self._apart = -1, Apart("event files")
        if len(self._chosen) < num_trials:
            _log.info(
                "TensorBoard gets a run for each of %d of the %d trials, and their "
                "population",
                len(self._chosen),
                num_trials,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes all files."""
        for writer in self._writers.values():
            with self._apart:
                writer.close()
        self._writers = {}

    def where(self) -> str:
        """Says how to look at it, in a line."""
        if self._apart.is_broken:
            return "event files: not whole, see above"
        command = ["tensorboard", "--logdir", shown(self._folder)]
        return f"event files: {shlex.join(command)}"

    def __call__(self, progress: "Progress") -> None:
        """Writes the evaluation if there was one since the last call."""
        if progress.evaluation is not None and not self._apart.is_broken:
            with self._apart:
                self._add(progress.evaluation)

    def _add(self, found: "Evaluation") -> None:
        runs = dict(self._runs(found))
        if set(runs) != set(self._writers):  # another program
            self.close()
        # At the start, after a checkpoint, or again in narrower lanes.
        begins = not self._writers or found.step <= self._step
        self._step = found.step
        for name, values in runs.items():
            self._write(name, found.step, [_scalars(values)], begins)

    def finish(self, findings: Findings, _: Sequence[str]) -> None:
        """Writes the trials' settings and final numbers, for the tab HPARAMS.

        They come a step after the last evaluation, and replace earlier ones.
        """
        if not self._apart.is_broken:
            with self._apart:
                self._sum_up(findings)
        self.close()

    def _sum_up(self, findings: Findings) -> None:
        from tensorboardX.summary import hparams

        results = findings.results
        paths = {path: None for trial in results.trials for path in trial.overrides}
        for index in sorted(self._chosen.intersection(findings.ran)):
            trial, found = results.trials[index], points.final(findings, index)
            given = trial.settings()
            settings = {path: _plain(given[path]) for path in paths}
            settings["trial"] = trial.label
            means = [name for name in found if not name.endswith(("_low", "_high"))]
            told = hparams(settings, dict.fromkeys(means))
            step = results.program(index)["num_steps"] + 1
            self._write(_name(trial), step, [_scalars(found), *told], begins=True)
            self.close()

    def _runs(self, found: "Evaluation") -> Iterator[tuple[str, dict[str, float]]]:
        """Yields the name and the finite scalars of each curve."""
        seeds = ""
        if found.seeds[0]:  # seeds added to a study that has some already
            seeds = f"_seeds_{found.seeds[0]}-{found.seeds[-1]}"
        name = f"population_{_range_text([trial.index for trial in found.trials])}"
        yield name + seeds, _of_population(found)
        for t, trial in enumerate(found.trials):
            if trial.index in self._chosen:
                yield _name(trial) + seeds, points.of_trial(found, t)

    def _write(
        self, name: str, step: int, summaries: "Sequence[Summary]", begins: bool
    ) -> None:
        """Writes and flushes events, so that an interrupted run leaves all of them.

        tensorboardX's `SummaryWriter` would need two threads for each trial, and its
        flush does not wait for them.
        """
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        if name not in self._writers:
            folder = self._folder / name
            folder.mkdir(parents=True, exist_ok=True)
            # Names contain whole seconds only; a file could replace the last one.
            suffix = f".{time.time_ns()}"
            self._writers[name] = EventsWriter(str(folder / "events"), suffix)
        writer, now = self._writers[name], time.time()
        if begins:  # points from this step on in older files do not count
            start = SessionLog(status=SessionLog.START)
            writer.write_event(Event(wall_time=now, step=step, session_log=start))
        for summary in summaries:
            writer.write_event(Event(wall_time=now, step=step, summary=summary))
        writer.flush()


def _name(trial: Trial) -> str:
    return f"{trial.index:03d}_{safe(trial.label)}"


def safe(label: str) -> str:
    """Makes a trial's label fit for a file name: "hidden=60,60,learning_rate=0.1"."""
    text = re.sub(r",?[()\[\]{}'\"]", "", label).replace(", ", ",")
    return re.sub(r"[^\w.,=+-]", "_", text)[:MOST_NAME]


def _of_population(found: "Evaluation") -> dict[str, float]:
    values = points.common(found.metrics, found.diverged, found.epoch)
    for name, some in found.metrics.items():
        living = some[np.isfinite(some)]
        for word, share in QUANTILES.items() if living.size else ():
            values[f"spread/{name}_{word}"] = float(np.quantile(living, share))
    return values


def _scalars(values: Mapping[str, float]) -> "Summary":
    from tensorboardX.proto.summary_pb2 import Summary

    return Summary(
        value=[
            Summary.Value(tag=numbers.visible(tag), simple_value=value)
            for tag, value in values.items()
        ]
    )


def _plain(value: Any) -> Any:
    """Returns a setting as TensorBoard holds one: a number, a boolean or a text."""
    return value if isinstance(value, bool | int | float) else str(value)


def _range_text(indexes: Sequence[int]) -> str:
    """Names a program by its trials: "trials_0-7"; the first trial makes it unique."""
    first, last, count = indexes[0], indexes[-1], len(indexes)
    if count == 1:
        return f"trial_{first}"
    if last - first + 1 == count:
        return f"trials_{first}-{last}"
    return f"trial_{first}_and_{count - 1}_more"
