# SPDX-License-Identifier: Apache-2.0
"""Sends a run to Weights & Biases while it trains: a run there for each trial.

All calls of wandb are made by a thread of their own, so that training waits for none.
Whatever fails there is said in one line, and the run goes on without it.
"""

import logging
import os
import pathlib
import queue
import shlex
import threading
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self

from nnlab.machine import network
from nnlab.machine.files import make_folder, shown, write_atomic
from nnlab.statistics.findings import Findings
from nnlab.study import Study, Trial
from nnlab.watch import points
from nnlab.watch.apart import Apart
from nnlab.words.errors import extra

if TYPE_CHECKING:
    from nnlab.runs.progress import Progress

_log = logging.getLogger(__name__)

PROJECT = "nnlab"
"""The project of the runs, unless WANDB_PROJECT names another."""
FOLDER = "wandb"
"""The folder in a workdir that wandb writes to."""
_PATIENCE = 60.0  # seconds for a server's answer, and for what is left at the end
_QUIET = {
    "silent": True,
    "console": "off",
    "save_code": False,
    "disable_git": True,
    "disable_code": True,
    "x_disable_stats": True,  # of the machine, for each trial again
    "init_timeout": _PATIENCE,
    "finish_timeout": _PATIENCE,
}


class Runs:
    """Sends evaluations and final numbers; a callback of `experiment.run`.

    The steps are updates. A trial has the numbers of `points.of_trial`, its settings as
    config and, in the end, as summary the final numbers, how it compares with the best,
    and the study's answer and verdicts. Of more than `points.MOST_TRIALS` trials, so
    many at even steps along the sweep get a run.

    All runs of a workdir have one group, whose name is in ``wandb/group``. A run's id
    is made of group and trial, so a resumed run goes on in the same runs.
    """

    def __init__(self, workdir: pathlib.Path, study: Study, num_trials: int) -> None:
        """Sends nothing yet.

        Args:
          workdir: of the run.
          study: what is run.
          num_trials: of the study, or of its search.

        Raises:
          ValueError: wandb is not installed, or knows no account and is not offline.
        """
        try:
            import wandb
        except ImportError:
            raise ValueError(f"--log=wandb needs wandb: {extra('wandb')}") from None
        self._workdir, self._question = workdir, study.question
        self._project = os.environ.get("WANDB_PROJECT", PROJECT)
        self._chosen = points.chosen(num_trials)
        self._settings = _QUIET | {"mode": wandb.setup().settings.mode}
        if self._settings["mode"] == "online":
            if not wandb.login(prompt=False, verify=False):
                raise ValueError(
                    "--log=wandb knows no account on this machine: log in by `wandb "
                    "login`, or set WANDB_MODE=offline, which needs none"
                )
            url = wandb.setup().settings.base_url
            if reason := network.unreachable(url):
                self._settings["mode"] = "offline"
                _log.warning(
                    "wandb: %s cannot be reached (%s); its runs are kept in %s: send "
                    "them later by wandb sync",
                    *(url, reason, shown(workdir / FOLDER)),
                )
        self._apart, self._group, self._is_ended = Apart("wandb"), "", False
        self._num_done = 0
        self._runs: dict[tuple[int, int], Any] = {}
        self._tasks: queue.Queue[tuple[Callable[..., None], Any] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Ends the runs as failed on an error; else `finish` or `close` ends them."""
        if kind is not None and issubclass(kind, Exception):
            self.close()

    def close(self) -> None:
        """Ends the runs as failed, unless they have been ended."""
        self._end(is_whole=False)

    def where(self) -> str:
        """Says how to look at it, in a line."""
        if self._settings["mode"] == "disabled":
            return "wandb: disabled by its settings, so nothing was sent or kept"
        if self._apart.is_broken:
            return "wandb: its runs are not whole, see above"
        if self._settings["mode"] == "offline":
            folder = shlex.quote(shown(self._workdir / FOLDER))
            return f"wandb runs, to be sent by: wandb sync {folder}/offline-run-*"
        if not self._group:
            return "wandb: nothing was sent"
        return f"wandb runs: group {self._group} of project {self._project}"

    def __call__(self, progress: "Progress") -> None:
        """Sends the evaluation if there was one since the last call."""
        found = progress.evaluation
        if found is None or self._apart.is_broken:
            return
        with self._apart:
            for t, trial in enumerate(found.trials):
                if trial.index in self._chosen:
                    given = trial, found.seeds, points.of_trial(found, t), found.step
                    self._tasks.put((self._send, given))

    def finish(self, findings: Findings, answer: Sequence[str]) -> None:
        """Sends final numbers, verdicts and answer, and ends the runs."""
        with self._apart:
            told = {
                "answer": "\n".join(answer),
                "claims": "\n".join(
                    f"{v.verdict}: {v.claim.text}" for v in findings.verdicts
                ),
            }
            for index in sorted(self._chosen.intersection(findings.ran)):
                how = {"verdict": points.verdict(findings, index), **told}
                final = points.final(findings, index) | how
                self._tasks.put((self._sum_up, (findings.results.trials[index], final)))
        self._end(findings.results.config["status"] == "complete")

    def _end(self, is_whole: bool) -> None:
        if self._is_ended:
            return
        self._is_ended = True
        self._tasks.put((self._end_runs, (is_whole,)))
        self._tasks.put(None)
        before = -1
        while self._thread.is_alive() and before < self._num_done:
            before = self._num_done  # whatever gets done gives the next its time
            self._thread.join(_PATIENCE)
        if self._thread.is_alive():
            _log.warning(
                "wandb: no answer for %.0f s; what it lacks is in %s: send it by wandb "
                "sync",
                *(_PATIENCE, shown(self._workdir / FOLDER)),
            )

    # In the thread.

    def _work(self) -> None:
        while task := self._tasks.get():
            do, given = task
            if not self._apart.is_broken or do == self._end_runs:
                with self._apart:
                    do(*given)
            self._num_done += 1

    def _send(
        self, trial: Trial, seeds: tuple[int, ...], values: Any, step: int
    ) -> None:
        self._run(trial, seeds).log(values, step=step)

    def _sum_up(self, trial: Trial, final: Any) -> None:
        self._run(trial, (0,)).summary.update(final)

    def _end_runs(self, is_whole: bool) -> None:
        for run in self._runs.values():
            with self._apart:
                run.finish(exit_code=0 if is_whole else 1)
            self._num_done += 1

    def _run(self, trial: Trial, seeds: tuple[int, ...]) -> Any:
        """Returns the run of a trial, opened on first use.

        Seeds that were added to a study have one of their own.
        """
        import wandb

        key = trial.index, seeds[0]
        if key not in self._runs:
            group = self._group = self._group or self._group_of_workdir()
            name, of = trial.label, f"{group.rpartition('-')[2]}-{trial.id}"
            if seeds[0]:
                name += f", seeds {seeds[0]}-{seeds[-1]}"
                of += f"-{seeds[0]}"
            about = {"trial": trial.index, "label": trial.label}
            self._runs[key] = wandb.init(
                project=self._project,
                group=group,
                id=of,
                name=name,
                notes=self._question,
                config={**about, "seeds": trial.num_seeds, **trial.settings()},
                dir=str(self._workdir),
                resume="allow",
                reinit="create_new",
                settings=self._settings,
            )
        return self._runs[key]

    def _group_of_workdir(self) -> str:
        """Returns the name of the runs' group, which is made once for a workdir."""
        path = self._workdir / FOLDER / "group"
        if not path.exists():
            make_folder(path.parent)
            name = f"{self._workdir.name}-{uuid.uuid4().hex[:8]}"
            write_atomic(path, name.encode())
        return path.read_text()
