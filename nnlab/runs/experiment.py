# SPDX-License-Identifier: Apache-2.0
"""Runs an experiment: from a `Study` to results on disk."""

import contextlib
import dataclasses
import functools
import logging
import math
import os
import pathlib
import traceback
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from nnlab import results
from nnlab.data import Dataset
from nnlab.machine import devices, processes
from nnlab.machine.files import (
    absolute,
    alone_in,
    make_folder,
    refuse_links,
    remove_abandoned,
)
from nnlab.results import pictures
from nnlab.results.asked import check_planned
from nnlab.runs import loop
from nnlab.runs.checkpoint import FOLDER, Checkpoints, Saved
from nnlab.runs.progress import Progress
from nnlab.runs.recorder import Recorder
from nnlab.runs.resume import (
    check_data,
    check_own,
    continued,
    differences,
    merge,
    moved,
    refusing,
)
from nnlab.study import Hyperparameters, Study
from nnlab.study.members import Members, by_program, numbered
from nnlab.training.handed import Handed
from nnlab.training.metrics import Metric
from nnlab.training.place import Kept
from nnlab.training.prepare import own_of, prepare
from nnlab.training.program import Program
from nnlab.words.spelling import nearest_file

_log = logging.getLogger(__name__)


CHECKPOINT_SECONDS = 10.0
"""Least time between two checkpoints of a program."""


@dataclasses.dataclass(eq=False)
class Work:
    """The programs of a run that are to be trained; each ends collected or failed."""

    programs: list[Program]
    run: loop.Run
    workdir: pathlib.Path
    data_dir: str | os.PathLike[str] | None
    lane_width: int
    checkpoint_seconds: float
    failures: list[Exception] = dataclasses.field(default_factory=list)

    def collect(self, program: Program) -> bool:
        """Takes over a program's results if it is done; returns whether it is."""
        recorder = self.run.recorder
        of = recorder.identity(program.index)
        found = self.run.checkpoints.latest(program.part, of)
        if not found:
            return False
        with found.reading():
            if not program.is_done(found.about):
                return False
            recorder.collect(program, found)
        loop.train(program, self.run, found)  # notes its backbone
        return True

    def fail(self, program: Program, error: Exception) -> None:
        """Notes that a program failed and is not tried again."""
        self.failures.append(error)
        self.run.recorder.fail(program, error)


class Executor(Protocol):
    """Trains programs in other processes."""

    def cut(self, programs: Sequence[Program], lane_width: int) -> Sequence[Members]:
        """Cuts programs that have not begun into smaller ones.

        Returns:
          Programs with the same members; their indices are ignored.
        """

    def train(self, work: Work) -> None:
        """Trains all programs."""


@devices.pinned()
def run(
    study: Study,
    workdir: str | os.PathLike[str],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    dataset: Dataset | None = None,
    module: Any = None,
    own_metrics: Mapping[str, Metric] = types.MappingProxyType({}),
    functions: Mapping[str, Callable[..., Any]] = types.MappingProxyType({}),
    lane_width: int = 0,
    resume: bool = False,
    resume_anyway: bool = False,
    executor: Executor | None = None,
    kept: Kept | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    profile_dir: str | os.PathLike[str] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> results.Results:
    """Trains every trial of a study with every seed, and writes the results.

    Args:
      study: what to run.
      workdir: a folder without results in it, unless it is resumed; made if missing.
      resume: whether to continue the run in the workdir, if there is one.
      resume_anyway: with `resume`, whether to continue also under other versions, on
        another device, or with a module or metrics that may have changed.
      data_dir, dataset, module, own_metrics, lane_width: as for `nnlab.run`.
      functions: further functions that `nnlab.run` takes, such as ``{"loss": loss}``.
      executor: trains the programs, such as `nnlab.cluster.ray.Ray`; None for this
        process.
      kept: data and programs of earlier runs of the same study, with fewer trials or
        seeds; all other arguments must be the same.
      checkpoint_seconds: least time between two checkpoints of a program.
      profile_dir: a folder for a trace of each program's first steps and evaluation,
        which Perfetto and TensorBoard open.
      on_progress: called between stretches of steps. If it raises KeyboardInterrupt,
        the run saves a checkpoint and ends.

    Returns:
      The results, as `results.load` reads them.

    Raises:
      ValueError, FileNotFoundError, ConnectionError: the study cannot run or be
        resumed, the workdir has a link, or data are missing; nothing was written.
      FileExistsError, BlockingIOError: the workdir holds results, or another run.
      SaveError, OSError: a checkpoint or results could not be written; earlier ones
        are there.
      KeyboardInterrupt: after the results so far have been written.
      Exception: the first program's error, if all programs failed. If only some did,
        the others' results are returned, and `Results.config` has the "failures".
    """
    if executor and (dataset or module or own_metrics or functions):
        raise ValueError(
            "a data set, a module, metrics or functions of one's own stay in the "
            "process that made them: train in it (executor=None)"
        )
    folder = absolute(workdir, "workdir")
    handed = Handed(
        data_dir=None if data_dir is None else absolute(data_dir, "data_dir"),
        dataset=dataset,
        module=module,
        own_metrics=own_metrics,
        functions=functions,
        loaded=kept.loaded if kept else {},
    )
    profile = None if profile_dir is None else absolute(profile_dir, "profile_dir")
    writes = processes.is_first()
    # Everything is checked before anything is written.
    with contextlib.ExitStack() as stack:  # holds the workdir's lock until the end
        left = any((folder / name).exists() for name in (results.CONFIG, FOLDER))
        goes_on = processes.agreed(resume and left)
        past = _Past(study)
        if goes_on:
            past = _taken_up(folder, study, handed, stack)
        else:
            processes.in_first(lambda: check_workdir(folder))
            check_planned(study)
        if not (past.config and kept and kept.loaded):  # else nothing has changed
            past = _with_own(past, handed, folder)
        programs = _settle(past, handed, lane_width, executor)
        if not goes_on:
            hint = "" if folder.exists() else nearest_file(folder)
            processes.in_first(lambda: stack.enter_context(_begun(folder)))
            if resume:
                _log.info("nothing to resume in %s: starting%s", folder, hint)
        checkpoints = Checkpoints(folder, checkpoint_seconds, read_only=not writes)
        stack.callback(checkpoints.close)
        to = folder if writes else None
        recorder = Recorder(past.study, to, programs, on_progress)
        this = loop.Run(past.study, recorder, checkpoints, kept, profile)
        saved: dict[int, Saved] = {}
        if goes_on:
            with refusing(folder):
                saved = _saved(past, programs, this, resume_anyway)
        if writes:
            checkpoints.remove_abandoned()
            remove_abandoned(folder)
        processes.wait("all have read")
        recorder.seal(past.config, bool(goes_on))
        recorder.write("interrupted")
        settings = folder, handed.data_dir, lane_width, checkpoint_seconds
        return _trained(Work([*programs], this, *settings), saved, executor)


@dataclasses.dataclass(frozen=True)
class _Past:
    """What a run starts from: nothing, or an earlier part of it in the workdir.

    Attributes:
      config: the ``config.json``; None if the run is new, or the file is lost.
      groups: those of the programs that have begun come first; None for a new run.
      doubts: reasons why the user's own module or metrics may have changed.
    """

    study: Study
    config: Mapping[str, Any] | None = None
    groups: tuple[Members, ...] | None = None
    num_begun: int = 0
    doubts: tuple[str, ...] = ()


@contextlib.contextmanager
def _begun(folder: pathlib.Path) -> Iterator[None]:
    """Makes and locks the workdir of a new run."""
    make_folder(folder)
    with alone_in(folder):
        check_workdir(folder)  # another run may have used it in the meantime
        yield


def _taken_up(
    folder: pathlib.Path, study: Study, handed: Handed, stack: contextlib.ExitStack
) -> _Past:
    """Reads what a workdir's run has, and merges it with the study.

    The workdir is locked until the stack is closed.
    """
    processes.in_first(lambda: stack.enter_context(alone_in(folder)))
    with refusing(folder):
        check_links(folder)
        return _past(folder, study, handed)


def _past(folder: pathlib.Path, study: Study, handed: Handed) -> _Past:

    def digest_of(h: Hyperparameters) -> str:
        if handed.dataset is None and ":" not in h.dataset:
            return ""  # a built-in source: no other data have its name
        return handed.data(h, study)[0].digest

    try:
        config = results.load_config(folder)
    except (results.LostError, FileNotFoundError) as error:
        if not (records := _records(folder, study)):
            raise
        _log.warning("%s; going on from its checkpoints", error)
        return _Past(study, None, continued(study, records), len(records))
    old = Study.from_dict(config["study"], recorded=True)
    merged = merge(moved(old, study, config["datasets"], digest_of), study)
    records = config["cohorts"]
    return _Past(merged, config, continued(merged, records), len(records))


def _records(folder: pathlib.Path, study: Study) -> list[dict[str, Any]]:
    """Returns the records of a study's programs from a workdir's checkpoints."""
    found = []
    with contextlib.closing(Checkpoints(folder, math.inf, read_only=True)) as store:
        for path in sorted((folder / FOLDER).glob("program_*")):
            if saved := store.latest(path.name):
                with saved.reading():
                    record = dict(saved.about["known"]["record"])
                try:
                    Members.from_dict(record, study.trials())
                except ValueError as error:  # such as of trials the study lacks
                    _log.warning("%s is left alone: %s", path, error)
                else:
                    found.append(record)
    return found


def _with_own(past: _Past, handed: Handed, folder: pathlib.Path) -> _Past:
    """Adds the record of the user's own module, metrics and data sets."""
    own = own_of(past.study, handed)
    if past.config:
        with refusing(folder):
            before, doubts = past.study.own, tuple(check_own(past.study.own, own))
        modules = {**own.modules, **before.modules}  # of trials that were added, too
        own = dataclasses.replace(before, modules=modules)
        past = dataclasses.replace(past, doubts=doubts)
    return dataclasses.replace(past, study=dataclasses.replace(past.study, own=own))


def _settle(
    past: _Past, handed: Handed, lane_width: int, executor: Executor | None
) -> list[Program]:
    """Prepares the programs of a run, in the order of their indices."""
    study, groups = past.study, past.groups
    settle = functools.partial(prepare, study, lane_width=lane_width, **vars(handed))
    if executor:
        groups = groups or by_program(study.trials(), study.num_seeds)
        old, new = groups[: past.num_begun], groups[past.num_begun :]
        cut = executor.cut(settle(members=new), lane_width)
        groups = (*old, *numbered(cut, {members.index for members in old}))
    if groups:
        groups = tuple(sorted(groups, key=lambda members: members.index))
    return settle(members=groups)


def _trained(
    work: Work, saved: Mapping[int, Saved], executor: Executor | None
) -> results.Results:
    """Trains all programs, and writes what they leave, also if it is interrupted."""
    recorder, checkpoints = work.run.recorder, work.run.checkpoints
    num_programs = len(work.programs)
    try:
        _train(work, saved, executor)
    except BaseException:  # Ctrl-C too: keep the results so far
        for keep in (checkpoints.wait, lambda: recorder.write("interrupted")):
            with contextlib.suppress(OSError):
                keep()
        raise
    status = "failed" if work.failures else "complete"
    recorder.write(status)
    if len(work.failures) == num_programs:
        raise work.failures[0]
    if processes.is_first():
        return results.load(work.workdir)
    return recorder.results(status)


def _train(work: Work, saved: Mapping[int, Saved], executor: Executor | None) -> None:
    """Trains all programs, by the executor if there is one."""
    run = work.run
    if executor:
        waiting = []
        for program in work.programs:
            known = saved.get(program.index)
            if known and program.is_done(known.about):
                loop.train(program, run, known)  # notes its backbone
            else:
                waiting.append(program)
        work.programs = waiting
        executor.train(work)
        return
    # The longest comes last: if it is interrupted, the others are done.
    for program in sorted(work.programs, key=lambda program: program.work):
        try:
            loop.train(program, run, saved.get(program.index))
        except OSError:  # such as a full disk: nothing more can be saved
            raise
        except Exception as error:  # the other programs continue
            work.fail(program, error)
            traceback.clear_frames(error.__traceback__)  # frees its arrays


def _saved(
    past: _Past, programs: Sequence[Program], run: loop.Run, anyway: bool
) -> dict[int, Saved]:
    """Returns the run's last checkpoints; all are checked before any is restored."""
    recorder, checkpoints = run.recorder, run.checkpoints
    if past.config:
        check_data(past.config["datasets"], recorder.config["datasets"])
    found: dict[str, Saved | None] = {}
    for program in programs:
        for part, of in loop.parts_of(program, run.study, recorder).items():
            if part not in found:
                found[part] = checkpoints.latest(part, of)
    _note_changes(past, recorder, [one for one in found.values() if one], anyway)
    taken: dict[int, Saved] = {}
    for program in programs:
        saved = found[program.part]
        if saved is None:
            if past.config and program.index in past.config["finished"]:
                _log.warning(
                    "program %d was finished, but it has no sound checkpoint; training "
                    "it again",
                    program.index + 1,
                )
            continue
        taken[program.index] = saved
        with saved.reading():
            lacking = program.lacks(saved.about)
        if lacking:
            raise ValueError(lacking)
    # Restored before training, so that a killed run leaves no less than it found.
    for program in programs:
        if known := taken.get(program.index):
            with known.reading():
                recorder.take_up(program, known, program.is_done(known.about))
    for part, saved in found.items():
        checkpoints.drop_unsound(part, saved)
    return taken


def _note_changes(
    past: _Past, recorder: Recorder, found: Sequence[Saved], anyway: bool
) -> None:
    """Refuses to continue where the numbers would change, unless asked to anyway."""
    noted, changes = [], [*past.doubts]
    if past.config:
        noted = past.config["begun_otherwise"]
        changes += differences(past.config, recorder.config)
    for one in found:
        with one.reading():
            told = differences(one.about, recorder.config)
        changes += [change for change in told if change not in noted]
    if changes and not anyway:
        raise ValueError(
            f"{'; '.join(dict.fromkeys(changes))} (--resume_anyway, in Python "
            "resume_anyway=True, continues with other numbers)"
        )
    recorder.note_beginning([*noted, *changes])


def check_links(folder: pathlib.Path) -> None:
    """Refuses links in a workdir, through which a run would write elsewhere."""
    refuse_links(folder / FOLDER, (folder / pictures.FILE).parent)


def check_workdir(folder: pathlib.Path) -> None:
    """Refuses a workdir that holds results or links, or that is not a folder."""
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"workdir {str(folder)!r} is a file, not a folder")
    check_links(folder)
    left = {results.CONFIG: "results", FOLDER: f"checkpoints but no {results.CONFIG}"}
    for name, what in left.items():
        if (folder / name).exists():
            raise FileExistsError(
                f"workdir {str(folder)!r} holds {what}; choose another, or go on with "
                "them (--resume)"
            )
