# SPDX-License-Identifier: Apache-2.0
"""The host loop: from a `Study` to results on disk.

Each cohort trains as one population. The host visits it between segments: it hands in
the coming steps' examples, takes the metrics out, writes the tables, and tells a
callback how far it is.
"""

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

import flax.linen as nn
import jax

from nnlab.results import pictures
from nnlab.machine import devices, processes
from nnlab import results
from nnlab.study import cohorts as programs
from nnlab.study.cohorts import Cohort, numbered
from nnlab.study import sweep
from nnlab.training.backbone import Backbone
from nnlab.runs.checkpoint import FOLDER, Checkpoints, Saved
from nnlab.training.program import Baseline, Prepared
from nnlab.data import Dataset
from nnlab.machine.files import (
    absolute,
    alone_in,
    make_folder,
    refuse_links,
    remove_abandoned,
)
from nnlab.training.metrics import Metric
from nnlab.words.spelling import nearest_file
from nnlab.training.place import (Kept, place)
from nnlab.training.lane_width import (choose_lanes, profile)
from nnlab.training.prepare import load, own_of, prepare
from nnlab.runs.recorder import (Recorder)
from nnlab.runs.progress import (Progress)
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
from nnlab.runs.loop import (
    Position,
    backbone_for,
    grow,
    part_of,
    parts_of,
    train_cohort,
    with_backbone,
)

_log = logging.getLogger(__name__)


CHECKPOINT_SECONDS = 10.0
"""Between two checkpoints of a cohort, at least."""


@dataclasses.dataclass(frozen=True)
class Job:
    """What an executor is given to train; see `run`."""

    study: Study
    workdir: pathlib.Path
    data_dir: str | os.PathLike[str] | None
    lane_width: int
    checkpoint_seconds: float


class Executor(Protocol):
    """Who trains cohorts in other processes."""

    def cut(
        self, items: Sequence[Prepared | Baseline], lane_width: int
    ) -> Sequence[Cohort]:
        """Cuts cohorts that nobody has begun into those that are trained.

        Args:
          items: the cohorts.
          lane_width: members that run at once; 0 lets the plan choose.

        Returns:
          Cohorts with the same members; what they are numbered is of no account.
        """

    def train(
        self,
        job: Job,
        items: Sequence[Prepared | Baseline],
        recorder: Recorder,
        collect: Callable[[Prepared | Baseline], bool],
        fail: Callable[[Prepared | Baseline, Exception], None],
    ) -> None:
        """Has all cohorts trained.

        Args:
          job: what they are of.
          items: the cohorts.
          recorder: of the run; it is told where they are trained, and tells the
            callback.
          collect: takes up a cohort that is done; returns whether it is.
          fail: notes that one failed for good.
        """


@devices.pinned()
def run(
    study: Study,
    workdir: str | os.PathLike[str],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    dataset: Dataset | None = None,
    module: nn.Module | None = None,
    own_metrics: Mapping[str, Metric] = types.MappingProxyType({}),
    lane_width: int = 0,
    resume: bool = False,
    resume_anyway: bool = False,
    executor: Executor | None = None,
    kept: Kept | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    profile_dir: str | os.PathLike[str] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> results.Results:
    """Trains every trial of a study with every seed, and writes what it found.

    Args:
      study: what to run.
      workdir: a folder without results in it; made if missing.
      data_dir: where image data lie; see `nnlab.data.load`.
      dataset: a data set of one's own, in the place of the study's.
      module: a Linen module of one's own, in the place of the study's model; its
        ``__call__(self, x, train)`` returns logits (B, C).
      own_metrics: further metrics of one's own: ``{name: function}``, each from logits
        (B, C) and labels (B,) to a value for each example, (B,). Their means are the
        columns train_<name>, validation_<name> and test_<name>; trees have none.
      lane_width: members that run at once; 0 lets the plan choose.
      resume: whether to go on with the run in the workdir, if there is one: what it has
        trained stays. The study must be the run's, or more of it (see `nnlab.runs.resume`).
      resume_anyway: whether also under other versions or on another device, which
        change the numbers, or with a module or metrics of which it cannot be told
        whether they are the run's.
      executor: who trains, such as `nnlab.cluster.ray.Ray`; None for this process.
      kept: of runs of the same study before, with fewer trials or seeds; all else
        that is given must be the same.
      checkpoint_seconds: between two checkpoints of a cohort, at least.
      profile_dir: a folder for a trace of each cohort's first steps and evaluation,
        which Perfetto and TensorBoard open.
      on_progress: called after every visit of the host. A KeyboardInterrupt from it
        ends the run with a checkpoint of where it is.

    Returns:
      The results, as `results.load` reads them.

    Raises:
      ValueError: a setting that cannot run or be resumed, a link in the workdir, a
        checkpoint that is damaged with none before it; nothing has been written then.
      FileExistsError: the workdir holds results.
      FileNotFoundError, ConnectionError: data that are not there.
      BlockingIOError: another run is at work in the workdir.
      SaveError, OSError: a checkpoint or results could not be written; those before are
        there.
      KeyboardInterrupt: after the results so far have been written.
      Exception: what the first cohort failed with, if all of them did. If only some
        did, the others' results are returned, and `Results.config` has the "failures".
    """
    folder = absolute(workdir, "workdir")
    if data_dir is not None:
        data_dir = absolute(data_dir, "data_dir")
    if profile_dir is not None:
        profile_dir = absolute(profile_dir, "profile_dir")
    with contextlib.ExitStack() as stack:
        if executor and (dataset or module or own_metrics):
            raise ValueError(
                "a data set, a module or metrics of one's own stay in the process "
                "that made them: train in it (executor=None)"
            )
        past, begun, cohorts = None, 0, None
        doubts: list[str] = []
        loaded = kept.loaded if kept else {}
        data: dict[str, Any] = {
            "data_dir": data_dir,
            "dataset": dataset,
            "loaded": loaded,
        }
        handed: dict[str, Any] = {**data, "module": module, "own_metrics": own_metrics}
        left = any((folder / name).exists() for name in (results.CONFIG, FOLDER))
        if goes_on := processes.agreed(resume and left):
            processes.in_first(lambda: stack.enter_context(alone_in(folder)))
            with refusing(folder):
                check_links(folder)
            past, begun, study, cohorts = _continued(folder, study, data)
        else:
            processes.in_first(lambda: check_workdir(folder))
        if not (past and kept and loaded):  # else it is as before
            own = own_of(study, **handed)
            if past:
                with refusing(folder):
                    doubts = check_own(study.own, own)
            else:
                study = dataclasses.replace(study, own=own)
        settle = functools.partial(prepare, study, lane_width=lane_width, **handed)
        if executor:
            cohorts = cohorts or programs.cohorts(study.trials(), study.num_seeds)
            old, new = cohorts[:begun], cohorts[begun:]
            cut = executor.cut(settle(cohorts=new), lane_width)
            cohorts = (*old, *numbered(cut, {cohort.index for cohort in old}))
        if cohorts:
            cohorts = tuple(sorted(cohorts, key=lambda cohort: cohort.index))
        prepared = settle(cohorts=cohorts)
        if not goes_on:
            hint = "" if folder.exists() else nearest_file(folder)
            processes.in_first(lambda: stack.enter_context(_begun(folder)))
            if resume:
                _log.info("nothing to resume in %s: starting%s", folder, hint)
        writes = processes.is_first()
        checkpoints = Checkpoints(folder, checkpoint_seconds, read_only=not writes)
        stack.callback(checkpoints.close)
        recorder = Recorder(study, folder if writes else None, prepared, on_progress)
        saved: dict[int, Saved] = {}
        if goes_on:
            with refusing(folder):
                saved = _saved(
                    past,
                    study,
                    prepared,
                    recorder,
                    checkpoints,
                    doubts,
                    resume_anyway,
                )
        if writes:
            checkpoints.remove_abandoned()
            remove_abandoned(folder)
        processes.wait("all have read")
        recorder.write("interrupted")
        train = functools.partial(_train_here, profile_dir=profile_dir, kept=kept)
        if executor:
            job = Job(study, folder, data_dir, lane_width, checkpoint_seconds)
            train = functools.partial(_train_elsewhere, executor, job)
        return _run(study, folder, prepared, recorder, checkpoints, saved, train)


def _run(
    study: Study,
    folder: pathlib.Path,
    prepared: Sequence[Prepared | Baseline],
    recorder: Recorder,
    checkpoints: Checkpoints,
    saved: Mapping[int, Saved],
    train: Callable[..., list[Exception]],
) -> results.Results:
    """Trains the cohorts that are not done; see `run`."""
    try:
        failures = train(study, prepared, recorder, checkpoints, saved)
    except BaseException:  # Ctrl-C: keep what is there
        for keep in (
            checkpoints.wait,
            functools.partial(recorder.write, "interrupted"),
        ):
            with contextlib.suppress(OSError):
                keep()
        raise
    recorder.write("failed" if failures else "complete")
    if len(failures) == len(prepared):
        raise failures[0]
    if not processes.is_first():
        return recorder.results("failed" if failures else "complete")
    return results.load(folder)


def _train_here(
    study: Study,
    prepared: Sequence[Prepared | Baseline],
    recorder: Recorder,
    checkpoints: Checkpoints,
    saved: Mapping[int, Saved],
    *,
    profile_dir: str | os.PathLike[str] | None,
    kept: Kept | None,
) -> list[Exception]:
    """Trains one cohort after another; returns what some of them failed with."""
    failures: list[Exception] = []
    backbones: dict[str, Backbone] = {}
    # What takes longest comes last: if it is cut off, the others are done.
    for item in sorted(prepared, key=lambda item: item.work):
        known = saved.get(item.cohort.index)
        try:
            run_cohort(
                item, study, recorder, checkpoints, known, backbones, profile_dir, kept
            )
        except OSError:  # a full disk: nothing more can be kept
            raise
        except Exception as error:  # the others go on
            failures.append(error)
            recorder.fail(item, error)
            traceback.clear_frames(error.__traceback__)  # they hold its arrays
    return failures


def _train_elsewhere(
    executor: Executor,
    job: Job,
    study: Study,
    prepared: Sequence[Prepared | Baseline],
    recorder: Recorder,
    checkpoints: Checkpoints,
    saved: Mapping[int, Saved],
) -> list[Exception]:
    """Lets an executor train the cohorts; returns what some of them failed with."""
    failures: list[Exception] = []
    backbones: dict[str, Backbone] = {}

    def collect(item: Prepared | Baseline) -> bool:
        found = checkpoints.latest(part_of(item), recorder.identity(item.cohort.index))
        if not found:
            return False
        with found.reading():
            if not is_done(item, found):
                return False
            recorder.collect(item, found)
        run_cohort(item, study, recorder, checkpoints, found, backbones)  # for its note
        return True

    def fail(item: Prepared | Baseline, error: Exception) -> None:
        failures.append(error)
        recorder.fail(item, error)

    waiting = []
    for item in prepared:
        known = saved.get(item.cohort.index)
        if known and is_done(item, known):
            run_cohort(item, study, recorder, checkpoints, known, backbones)
        else:
            waiting.append(item)
    executor.train(job, waiting, recorder, collect, fail)
    return failures


def run_cohort(
    item: Prepared | Baseline,
    study: Study,
    recorder: Recorder,
    checkpoints: Checkpoints,
    saved: Saved | None,
    backbones: dict[str, Backbone],
    profile_dir: str | os.PathLike[str] | None = None,
    kept: Kept | None = None,
) -> None:
    """Trains a cohort from where it is; in narrower lanes if memory is too small.

    Args:
      item: the cohort.
      study: whose cohort it is.
      recorder: takes in what is measured.
      checkpoints: where to save.
      saved: where the cohort is; if that is its end, only its backbone is noted.
      backbones: by their source's key; its own is added.
      profile_dir: for a trace of its first steps; None for no trace.
      kept: of cohorts of the same study before; this one is added.
    """
    if isinstance(item, Baseline):
        if not saved:
            grow(item, study, recorder, checkpoints)
        return
    backbone = None
    if item.source:
        backbone = backbone_for(
            item, item.source, backbones, recorder, checkpoints, study
        )
    if saved and is_done(item, saved):
        return
    if backbone:
        item = with_backbone(item, backbone)
    if saved:
        item = item.with_width(saved.about["lane_width"])
    while True:
        placed = None
        try:
            placed, tuning_seconds = (
                (place(item, study, kept), 0.0)
                if saved
                else choose_lanes(item, study, kept)
            )
            if kept:
                kept.keep(placed, study)
            if profile_dir is not None:
                profile(placed, pathlib.Path(profile_dir))
            train_cohort(
                placed, study, recorder, checkpoints, tuning_seconds, backbone, saved
            )
            return
        except Exception as error:
            width = placed.width if placed else item.plan.lanes.width
            alone = processes.count() == 1  # others may have had memory enough
            if not (_is_out_of_memory(error) and width > 1 and alone):
                raise
            traceback.clear_frames(error.__traceback__)
        # Behind the handler: both would keep the arrays alive.
        placed = None
        if kept:
            kept.clear()
        recorder.out_of_memory(item, width)
        item, saved = item.with_width(width // 2), None


def _is_out_of_memory(error: Exception) -> bool:
    """Whether a device or the host had too little memory."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, jax.errors.JaxRuntimeError) and (
        "RESOURCE_EXHAUSTED" in str(error)
    )


@contextlib.contextmanager
def _begun(folder: pathlib.Path) -> Iterator[None]:
    """A new run's workdir, for itself."""
    make_folder(folder)
    with alone_in(folder):
        check_workdir(folder)  # another run may have been faster
        yield


def _continued(
    folder: pathlib.Path, study: Study, data: Mapping[str, Any]
) -> tuple[Mapping[str, Any] | None, int, Study, tuple[Cohort, ...]]:
    """With what a run goes on.

    Args:
      folder: its workdir.
      study: as which.
      data: what `load` takes beside.

    Returns:
      Its ``config.json``; None if that is lost. Then how many of the cohorts it has
      begun, the study, and the cohorts, those begun first.
    """

    def digest_of(h: Hyperparameters) -> str:
        if data["dataset"] is None and ":" not in h.dataset:
            return ""  # a source's own: nothing else is called so
        return load(h, study, **data)[0].digest

    with refusing(folder):
        try:
            past = results.load_config(folder)
        except (results.LostError, FileNotFoundError) as error:
            if not (records := _records(folder, study)):
                raise
            _log.warning("%s; going on from its checkpoints", error)
            return None, len(records), study, continued(study, records)
        old = Study.from_dict(past["study"], recorded=True)
        merged = merge(moved(old, study, past["datasets"], digest_of), study)
        records = past["cohorts"]
        return past, len(records), merged, continued(merged, records)


def _records(folder: pathlib.Path, study: Study) -> list[dict[str, Any]]:
    """The records of a study's cohorts that a workdir has checkpoints of."""
    found = []
    with contextlib.closing(Checkpoints(folder, math.inf, read_only=True)) as store:
        for path in sorted((folder / FOLDER).glob("program_*")):
            if saved := store.latest(path.name):
                with saved.reading():
                    record = dict(saved.about["known"]["record"])
                try:
                    Cohort.from_dict(record, study.trials())
                except ValueError as error:  # of more trials or seeds, it may be
                    _log.warning("%s is left alone: %s", path, error)
                else:
                    found.append(record)
    return found


def _saved(
    past: Mapping[str, Any] | None,
    study: Study,
    prepared: Sequence[Prepared | Baseline],
    recorder: Recorder,
    checkpoints: Checkpoints,
    doubts: Sequence[str],
    anyway: bool,
) -> dict[int, Saved]:
    """Takes up the checkpoints of a run so far, all of them looked at first."""
    noted = past["begun_otherwise"] if past else []
    changes = [*doubts]
    if past:
        changes += differences(past, recorder.config)
        check_data(past["datasets"], recorder.config["datasets"])
    found: dict[str, Saved | None] = {}
    for item in prepared:
        for part, of in parts_of(item, study, recorder).items():
            if part not in found:
                found[part] = checkpoints.latest(part, of)
    for one in filter(None, found.values()):
        with one.reading():
            told = differences(one.about, recorder.config)
        changes += [change for change in told if change not in noted]
    if changes and not anyway:
        raise ValueError(
            f"{'; '.join(dict.fromkeys(changes))} (--resume_anyway, in Python "
            "resume_anyway=True, does, with other numbers)"
        )
    taken: dict[int, Saved] = {}
    for item in prepared:
        index, saved = item.cohort.index, found[part_of(item)]
        if saved is None:
            if past and index in past["finished"]:
                _log.warning(
                    "program %d was finished, but it has no sound checkpoint; training "
                    "it again",
                    index + 1,
                )
            continue
        taken[index] = saved
        if isinstance(item, Prepared):
            with saved.reading():
                before, at = int(saved.about["num_steps"]), saved.about["position"]
                ended = saved.about["finished"] or int(at["step"]) == before
            _check_end(item, before, ended)
            with saved.reading():
                Position(**at).check(item.boundaries)
    recorder.note_beginning([*noted, *changes])
    # What a run that is killed leaves behind: not less than what it found.
    for item in prepared:
        if known := taken.get(item.cohort.index):
            with known.reading():
                recorder.take_up(item, known, is_done(item, known))
    for part, saved in found.items():
        checkpoints.drop_unsound(part, saved)
    return taken


def _check_end(item: Prepared, before: int, ended: bool) -> None:
    """Refuses a training so far of which this one is not more.

    Args:
      item: the cohort.
      before: updates that it was to have.
      ended: whether it has them, or ended before.

    Raises:
      ValueError: says what does not fit.
    """
    number = item.cohort.index + 1
    if before > item.num_steps:
        raise ValueError(
            f"program {number} was trained for {before} updates, and has "
            f"{item.num_steps} now: num_epochs may only grow"
        )
    if ended and before not in item.boundaries:
        raise ValueError(
            f"program {number} was evaluated at its end after {before} updates, which "
            "is no evaluation of the longer training: choose num_epochs a multiple of "
            "eval_every_epochs"
        )


def is_done(item: Prepared | Baseline, saved: Saved) -> bool:
    """Whether nothing is left to train of a cohort."""
    about = saved.about
    return bool(
        about["finished"]
        and (isinstance(item, Baseline) or about["num_steps"] == item.num_steps)
    )


def check_links(folder: pathlib.Path) -> None:
    """Refuses links in a workdir behind which a run would write or delete.

    Raises:
      ValueError: names the first one.
    """
    refuse_links(folder / FOLDER, (folder / pictures.FILE).parent)


def check_workdir(folder: pathlib.Path) -> None:
    """Refuses a workdir that holds results, or that is no folder.

    Raises:
      FileExistsError: names the folder.
      ValueError: a link in it; see `check_links`.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"workdir {str(folder)!r} is a file, not a folder")
    check_links(folder)
    if (folder / results.CONFIG).exists():
        raise FileExistsError(
            f"workdir {str(folder)!r} holds results; choose another, or go on with "
            "them (--resume)"
        )
    if (folder / FOLDER).exists():
        raise FileExistsError(
            f"workdir {str(folder)!r} holds checkpoints but no {results.CONFIG}; "
            "choose another, or go on with them (--resume)"
        )
