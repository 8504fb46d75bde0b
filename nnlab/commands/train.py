# SPDX-License-Identifier: Apache-2.0
"""Trains every trial of a study with every seed; writes tables, figures, report.

python -m launch.train --config=configs/quickstart.py --workdir=runs/first
python -m launch.train --config=learning_rate:smoke --workdir=runs/rates \\
    --sweep=optimizer.learning_rate=0.02,0.7 --config.batch_size=16 --seeds=4
python -m launch.train --workdir=runs/first --resume
"""

import collections
import contextlib
import dataclasses
import logging
import pathlib
import shlex
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from absl import flags
from rich.console import Console
from rich.logging import RichHandler

from nnlab import results
from nnlab.commands import config, report
from nnlab.machine import files
from nnlab.runs import search
from nnlab.statistics import sequential as planned
from nnlab.study import SAMPLERS, Study
from nnlab.watch import tensorboard, terminal, wandb
from nnlab.words import errors, numbers, spelling

if TYPE_CHECKING:
    from nnlab.runs.progress import Progress

FIRST_LOOK, MOST_SEEDS = 4, 32
"""Default seeds of --until_resolved: at the first look, and at most."""
MANY = ("coordinator", "processes", "process_index")
AUTO = "auto"
LOCAL, RAY = "local", "ray"
TENSORBOARD, WANDB = "tensorboard", "wandb"
"""What --log takes, and the folders of both in a workdir."""
_Log = tensorboard.EventFiles | wandb.Runs


def define_flags() -> None:
    """Defines the flags of this program."""
    define_run_flags()
    config.define_claims()
    flags.DEFINE_list(
        "rerun",
        None,
        "train one network of the workdir again, and compare; its trial's index and "
        "its seed, such as 3,0",
    )
    flags.DEFINE_bool(
        "seal",
        None,
        "write the study, its claims and its seeds with a digest before training, and "
        "hide all test scores until that plan is done; the report says what deviates",
    )
    flags.DEFINE_bool(
        "until_resolved",
        False,
        "begin with --seeds (4) and add seeds to trials that do not differ "
        "significantly from the best; twice as many at each look, until all do, have "
        "--max_seeds or need more examples, not seeds; p-values are corrected for the "
        "number of looks",
    )
    flags.DEFINE_integer(
        "max_seeds", None, f"with --until_resolved; default: {MOST_SEEDS}"
    )
    flags.DEFINE_enum(
        "search",
        None,
        ["optuna"],
        "how trials are chosen, in place of a sweep; needs the extra search",
    )
    flags.DEFINE_multi_string(
        "search_space",
        [],
        "what it chooses from, such as optimizer.learning_rate=log(1e-3,1); or "
        "optimizer.momentum=uniform(0,0.9), batch_size=int(8,64), or choices, such as "
        "model.hidden=(32,),(64,); may be repeated",
    )
    flags.DEFINE_integer(
        "search_trials", None, "how many trials it chooses; default 64"
    )
    flags.DEFINE_integer(
        "search_batch", None, "how many at once, which train together; default 16"
    )
    flags.DEFINE_string(
        "sampler", None, f"how it chooses; one of {', '.join(SAMPLERS)}; default tpe"
    )


def define_run_flags() -> None:
    """Defines the flags of `run`."""
    flags.DEFINE_string(
        "workdir", None, "folder for results and report; made, never overwritten"
    )
    flags.DEFINE_bool(
        "resume",
        False,
        "go on with the interrupted run in the workdir; or train the trials, seeds or "
        "epochs that were added to its study; without --config, the study is the "
        "workdir's",
    )
    flags.DEFINE_bool(
        "resume_anyway",
        False,
        "resume even if versions or the device have changed, which changes the numbers",
    )
    flags.DEFINE_float(
        "checkpoint_seconds",
        10.0,
        "seconds between two checkpoints of a program, at least",
        lower_bound=0.0,
    )
    config.define_exports()
    flags.DEFINE_string(
        "profile",
        None,
        "folder for a trace of each program's first steps; ui.perfetto.dev and "
        "TensorBoard open it",
    )
    flags.DEFINE_list(
        "log",
        [],
        "dashboards that see it train, too; tensorboard writes event files into "
        "WORKDIR/tensorboard for tensorboard --logdir, wandb sends a run for each "
        "trial to Weights & Biases or, with WANDB_MODE=offline, keeps them in "
        "WORKDIR/wandb; each needs the extra of its name; tensorboard,wandb is both",
    )
    flags.DEFINE_string(
        "coordinator",
        "",
        "address of the first of several processes, such as node1:1234; each process "
        "runs the same command, with --processes and --process_index. Slurm, Open MPI "
        "and TPU pods need none of the three; auto lets JAX look for any other cluster "
        "that it knows",
    )
    flags.DEFINE_string(
        "executor",
        LOCAL,
        "where training runs; local is this process, ray is Ray on this machine, "
        "ray:ADDRESS a Ray cluster, whose nodes all see the workdir or --storage; "
        "ray:auto finds the cluster of this machine",
    )
    flags.DEFINE_integer(
        "chunk_members",
        0,
        "with --executor=ray, networks of a chunk, at most; 0 makes chunks of a minute "
        "or two on two cores",
        lower_bound=0,
    )
    flags.DEFINE_string(
        "storage",
        None,
        "with --executor=ray, where checkpoints go if the nodes do not see the "
        "workdir, such as s3://bucket/runs/x; any URL that fsspec knows; s3 needs "
        "s3fs, gs needs gcsfs",
    )
    flags.DEFINE_integer("processes", 1, "how many processes there are", lower_bound=1)
    flags.DEFINE_integer(
        "process_index", 0, "index of this process, from 0", lower_bound=0
    )
    config.define_study_flags()


def main() -> None:
    """Runs the study of the flags.

    Raises:
      ValueError, FileNotFoundError, FileExistsError, ConnectionError: the user's
        mistakes, before anything is written.
      KeyboardInterrupt: after results and report of what is done have been written.
      config.Failure: some programs failed; the report has the others.
    """
    if not flags.FLAGS.workdir:
        raise config.UsageError("--workdir is missing: the folder for the results")
    if "://" in flags.FLAGS.workdir:
        raise config.UsageError(
            f"--workdir={flags.FLAGS.workdir!r} is no folder; a run needs one here; "
            "nodes of --executor=ray share it, such as a mounted file system, or get "
            "--storage=URL"
        )
    workdir = files.absolute(flags.FLAGS.workdir, "--workdir")
    console = terminal.Terminal()
    show_log(console)
    if flags.FLAGS.rerun is not None:
        _rerun(console, workdir)
        return
    run(console, _asked(), workdir)


def _asked() -> Study:
    study, given = _searched(config.study()), flags.FLAGS
    if given.seal is not None:
        study = dataclasses.replace(study, seal=given.seal)
    if study.search.space:
        search.spans_of(study)
    if not given.until_resolved:
        if given.max_seeds is not None:
            raise config.UsageError("--max_seeds goes with --until_resolved")
        return study
    if study.looks and not (given.config or given.config_json):
        return study  # a run's own, which goes on
    first = FIRST_LOOK if given.seeds is None else given.seeds
    most = MOST_SEEDS if given.max_seeds is None else given.max_seeds
    return planned.begin(study, planned.doubling(first, most))


def run(console: Console, study: Study, workdir: pathlib.Path) -> None:
    """Runs a study as the flags say, shows progress, and writes its report.

    Raises:
      As `main`.
    """
    config.need_no_output()
    resumes = flags.FLAGS.resume or flags.FLAGS.resume_anyway
    config.check_folder("profile")
    report.check_exports()
    elsewhere, address = _executor()
    if elsewhere and (study.search.space or study.looks or study.halving.factor):
        raise config.UsageError(
            "--executor=ray goes with a plain sweep: not with a search, with halving "
            "or with --until_resolved"
        )
    cache = config.start_jax()
    # They import JAX, so they come after the mistakes that can be found without it.
    from nnlab.machine import processes
    from nnlab.runs import checkpoint, experiment
    from nnlab.runs import run as runner

    if study.search.space and (flags.FLAGS.coordinator or processes.cluster()):
        raise config.UsageError("a search runs in one process, not as one of several")
    joined = _join()
    if joined:
        console.print(joined)
    elif not resumes:
        experiment.check_workdir(workdir)
    writes = not joined or processes.is_first()
    console.quiet = not writes
    logs = _logs(study, workdir) if writes else []

    def so_far() -> str:
        _report(console, results.load(workdir), logs)
        where = files.shown(workdir)
        return f"{where} holds the results so far; go on with {_command(workdir)}"

    nodes = None
    if elsewhere:
        from nnlab.cluster import ray

        nodes = ray.Ray(address, flags.FLAGS.chunk_members, flags.FLAGS.storage)
        console.print(f"joining Ray at {address}" if address else "starting Ray")
    start = time.monotonic()
    try:
        found = runner.run(
            study,
            workdir,
            resumes=resumes,
            observers=[*_observers(console, study), *logs],
            so_far=so_far,
            nodes=nodes,
            data_dir=flags.FLAGS.data_dir,
            lane_width=flags.FLAGS.lane_width,
            profile_dir=flags.FLAGS.profile,
            resume_anyway=flags.FLAGS.resume_anyway,
            checkpoint_seconds=flags.FLAGS.checkpoint_seconds,
        )
    except processes.ElsewhereError as error:
        raise config.Failure(str(error)) from None
    except Exception as error:
        if not (isinstance(error, checkpoint.SaveError) or errors.shortage(error)):
            raise
        line = errors.line_of(error)
        raise config.Failure(f"{line}; go on with {_command(workdir)}") from None
    finally:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the report is soon drawn
    console.print(f"trained in {time.monotonic() - start:,.1f} s; drawing the report")
    if writes:
        _report(console, found, logs)
    _tell_beside(console, logs, cache)
    if failures := found.config["failures"]:
        notes = (files.shown(workdir / f"failure_{index}.txt") for index in failures)
        raise config.Failure(
            f"{len(failures)} of {len(found.config['cohorts'])} programs failed; the "
            f"report has the others, and {', '.join(notes)} what happened"
        )


def _report(console: Console, found: results.Results, logs: list[_Log]) -> None:
    try:
        findings, said = report.write(console, found)
        for log in logs:
            log.finish(findings, said)
    finally:
        for log in logs:
            log.close()


def _tell_beside(
    console: Console, logs: list[_Log], cache: collections.Counter[str] | None
) -> None:
    """Says what the flags asked for beside the report, and where it is."""
    if cache is not None:
        hits, misses = cache["cache_hits"], cache["cache_misses"]
        told = f"{hits} programs found, {misses} compiled and added"
        console.print(f"compilation cache: {told}")
    for log in logs:
        console.print(log.where(), soft_wrap=True)
    if flags.FLAGS.profile:
        console.print(f"profile: {flags.FLAGS.profile}")


def _observers(
    console: Console, study: Study
) -> "list[contextlib.AbstractContextManager[Callable[[Progress], None]]]":
    """Returns what shows progress on the console."""
    remarks = () if study.search.space else study.remarks()
    heading = iter((study.question, _size(study), *remarks))

    def head(_: "Progress") -> None:
        for line in heading:  # once, when nothing can be refused any more
            console.print(line, style="bold", soft_wrap=not console.is_terminal)

    shown = terminal.live if console.is_terminal else terminal.lines
    return [contextlib.nullcontext(head), shown(console)]


def _logs(study: Study, workdir: pathlib.Path) -> list[_Log]:
    """Returns the dashboards of --log."""
    for name in flags.FLAGS.log:
        if name not in (TENSORBOARD, WANDB):
            hint = spelling.nearest(name, (TENSORBOARD, WANDB))
            raise config.UsageError(f"unknown --log={name!r}{hint}")
    trials = study.search.trials if study.search.space else len(study.trials())
    found: list[_Log] = []
    if TENSORBOARD in flags.FLAGS.log:
        found.append(tensorboard.EventFiles(workdir / TENSORBOARD, trials))
    if WANDB in flags.FLAGS.log:
        found.append(wandb.Runs(workdir, study, trials))
    return found


def _searched(study: Study) -> Study:
    asked = {
        "space": tuple(flags.FLAGS.search_space) or None,
        "trials": flags.FLAGS.search_trials,
        "batch": flags.FLAGS.search_batch,
        "sampler": flags.FLAGS.sampler,
    }
    given = {name: value for name, value in asked.items() if value is not None}
    if given:
        if not (flags.FLAGS.search or study.search.space):
            raise config.UsageError("a search needs --search=optuna")
        search = dataclasses.replace(study.search, **given)
        study = dataclasses.replace(study, search=search)
    if flags.FLAGS.search and not study.search.space:
        raise config.UsageError(
            "--search_space is missing, such as "
            "--search_space='optimizer.learning_rate=log(1e-3,1)'"
        )
    if flags.FLAGS.search and flags.FLAGS.sweep:
        raise config.UsageError("--search and --sweep are both given; one is enough")
    return study


def _size(study: Study) -> str:
    """Returns the population in words, or what is to be searched."""
    search = study.search
    if not search.space:
        return study.size()
    return (
        f"search by Optuna ({search.sampler}): "
        f"{numbers.count(search.trials, 'trial')}, {search.batch} at a time, x "
        f"{numbers.count(study.num_seeds, 'seed')}"
    )


def _executor() -> tuple[bool, str]:
    """Returns whether nodes of Ray train, and their cluster's address ("" for here)."""
    given = flags.FLAGS.executor
    kind, colon, address = given.partition(":")
    if kind not in (LOCAL, RAY) or (colon and (kind == LOCAL or not address)):
        hint = spelling.nearest(kind, (LOCAL, RAY))
        raise config.UsageError(f"unknown --executor={given!r}{hint}, {RAY}:ADDRESS")
    if kind == LOCAL:
        for flag in ("chunk_members", "storage"):
            if flags.FLAGS[flag].present:
                raise config.UsageError(f"--{flag} needs --executor=ray")
        return False, ""
    for flag in ("log", "profile", *MANY):
        if flags.FLAGS[flag].present:
            raise config.UsageError(f"--{flag} does not go with --executor={given}")
    return True, address


def _join() -> str:
    """Joins the processes that run this same command; "" if there are no others.

    Returns:
      Which of them this is, in words.
    """
    from nnlab.machine import processes

    coordinator, count = flags.FLAGS.coordinator, flags.FLAGS.processes
    given = [flag for flag in MANY if flags.FLAGS[flag].present]
    if coordinator == AUTO and given == ["coordinator"]:
        processes.start()
        coordinator = "JAX"
    elif given and len(given) < len(MANY):
        missing = next(flag for flag in MANY if flag not in given)
        raise config.UsageError(f"--{given[0]} needs --{missing}")
    elif coordinator:
        processes.start(coordinator, count, flags.FLAGS.process_index)
    elif cluster := processes.cluster():
        coordinator = cluster
        processes.start()
    else:
        return ""
    index, count = processes.index(), processes.count()
    return f"process {index + 1} of {count}, joined by {coordinator}"


def _command(workdir: pathlib.Path) -> str:
    folder = files.shown(workdir)
    parts = ["python", "-m", "launch.train", f"--workdir={folder}", "--resume"]
    if flags.FLAGS.data_dir:
        parts.append(f"--data_dir={flags.FLAGS.data_dir}")
    if flags.FLAGS.log:
        parts.append(f"--log={','.join(flags.FLAGS.log)}")
    for flag in ("executor", "chunk_members", "storage"):
        if flags.FLAGS[flag].present:
            parts.append(f"--{flag}={flags.FLAGS[flag].value}")
    storage = flags.FLAGS.storage or ""
    if storage == (shown := numbers.masked(storage)):
        return shlex.join(parts)
    parts[-1] = f"--storage={shown}"
    return f"{shlex.join(parts)} ({numbers.MASK} stands for the password)"


def _rerun(console: Console, workdir: pathlib.Path) -> None:
    config.check_alone("rerun", "workdir", "data_dir", "compilation_cache")
    given = flags.FLAGS.rerun
    try:
        trial, seed = map(int, given)
    except ValueError:
        raise config.UsageError(
            f"--rerun={','.join(given)!r} is not a trial's index and a seed, such as "
            "3,0"
        ) from None
    config.start_jax()
    from nnlab.runs import rerun

    found = rerun.rerun(workdir, trial, seed, data_dir=flags.FLAGS.data_dir)
    for note in found.notes:
        console.print(note, soft_wrap=True)
    if found.is_equal:
        console.print(
            f"trial {trial} ({found.label}), seed {seed}: identical, all "
            f"{found.num_rows} evaluations to the last bit",
            soft_wrap=True,
        )
        return
    raise config.Failure(
        f"trial {trial} ({found.label}), seed {seed}: {found.difference}"
    )


def show_log(console: Console) -> None:
    """Prints the library's log, such as of a download, above the bar."""
    plain = RichHandler(
        console=console, show_time=False, show_level=False, show_path=False
    )
    log = logging.getLogger("nnlab")
    log.addHandler(plain)
    log.setLevel(logging.INFO)
    log.propagate = False  # what JAX adds to the root would print it again
