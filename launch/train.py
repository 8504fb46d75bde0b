# SPDX-License-Identifier: Apache-2.0
"""Trains every trial of a study with every seed; writes tables, figures, report.

python -m launch.train --config=configs/quickstart.py --workdir=runs/first
python -m launch.train --config=learning_rate:smoke --workdir=runs/rates \\
    --sweep=optimizer.learning_rate=0.02,0.7 --config.batch_size=16 --seeds=4
python -m launch.train --workdir=runs/first --resume
"""

import contextlib
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

from launch import config, report
from nnlab import display, mistakes, names, results, tensorboard
from nnlab.interrupt import Interrupt

if TYPE_CHECKING:
    from nnlab import experiment

MANY = ("coordinator", "processes", "process_index")
LOCAL, RAY = "local", "ray"
EVENTS = "tensorboard"
"""The folder in a workdir with event files."""


def define_flags() -> None:
    """Defines the flags of this program."""
    flags.DEFINE_string(
        "workdir", None, "folder for results and report; made, never overwritten"
    )
    flags.DEFINE_bool(
        "resume",
        False,
        "go on with the interrupted run in the workdir; or train what is new of a "
        "study that has got more trials, seeds or epochs; without --config, the study "
        "is the workdir's",
    )
    flags.DEFINE_bool(
        "resume_anyway",
        False,
        "resume though versions or the device are others, which changes the numbers",
    )
    flags.DEFINE_float(
        "checkpoint_seconds",
        10.0,
        "seconds between two checkpoints of a program, at least",
        lower_bound=0.0,
    )
    flags.DEFINE_list(
        "rerun",
        None,
        "train one network of the workdir again, and compare; its trial's index and "
        "its seed, such as 3,0",
    )
    flags.DEFINE_string(
        "profile",
        None,
        "folder for a trace of each program's first steps; ui.perfetto.dev and "
        "TensorBoard open it",
    )
    flags.DEFINE_bool(
        "tensorboard",
        False,
        "write event files, too, into WORKDIR/tensorboard; for tensorboard --logdir, "
        "also while it trains; needs the extra tensorboard",
    )
    flags.DEFINE_string(
        "coordinator",
        "",
        "address of the first of several processes, such as node1:1234; each process "
        "runs the same command, with --processes and --process_index. Slurm and Open "
        "MPI tell it by themselves",
    )
    flags.DEFINE_string(
        "executor",
        LOCAL,
        "who trains; local is this process, ray a Ray on this machine, ray:ADDRESS the "
        "nodes of a Ray cluster, which all see the workdir; ray:auto finds a cluster "
        "that this machine is part of",
    )
    flags.DEFINE_integer(
        "chunk_members",
        0,
        "with --executor=ray, networks of a chunk, at most; 0 makes chunks of a minute "
        "or two on two cores",
        lower_bound=0,
    )
    flags.DEFINE_integer("processes", 1, "how many processes there are", lower_bound=1)
    flags.DEFINE_integer(
        "process_index", 0, "the how manieth of them this is; from 0", lower_bound=0
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
    workdir = pathlib.Path(flags.FLAGS.workdir)
    console = Console(highlight=False, markup=False)
    _show_log(console)
    if flags.FLAGS.rerun is not None:
        _rerun(console, workdir)
        return
    resumes = flags.FLAGS.resume or flags.FLAGS.resume_anyway
    config.check_folder("profile")
    elsewhere, address = _executor()
    study = config.study()
    cache = config.start_jax()
    # They import JAX, after the mistakes that need none.
    from nnlab import checkpoint, executor, experiment, processes

    if joined := _join():
        writes = processes.is_first()
        console.print(joined)
        console.quiet = not writes
    else:
        writes = True
        if not resumes:
            experiment.check_workdir(workdir)
    nodes: contextlib.AbstractContextManager[experiment.Executor | None]
    nodes = contextlib.nullcontext()
    if elsewhere:
        nodes = executor.Ray(address, flags.FLAGS.chunk_members)
        console.print(f"joining Ray at {address}" if address else "starting Ray")
    interrupt = Interrupt()
    events: contextlib.AbstractContextManager[Callable[[experiment.Progress], None]]
    events = contextlib.nullcontext(lambda _: None)
    if flags.FLAGS.tensorboard and writes:
        events = tensorboard.EventFiles(workdir / EVENTS, len(study.trials()))
    heading = iter(
        (
            study.question,
            study.size(),
        )
    )
    start = time.monotonic()
    shown = display.live if console.is_terminal else display.lines
    try:
        with nodes as trainer, shown(console) as show, events as record:

            def tell(progress: "experiment.Progress") -> None:
                for line in heading:  # once, when nothing can be refused any more
                    console.print(line, style="bold", soft_wrap=not console.is_terminal)
                show(progress)
                record(progress)
                interrupt.check()

            found = experiment.run(
                study,
                workdir,
                data_dir=flags.FLAGS.data_dir,
                lane_width=flags.FLAGS.lane_width,
                profile_dir=flags.FLAGS.profile,
                resume=resumes,
                other_versions=flags.FLAGS.resume_anyway,
                executor=trainer,
                checkpoint_seconds=flags.FLAGS.checkpoint_seconds,
                on_progress=tell,
            )
    except KeyboardInterrupt:
        if not writes:
            raise
        if not (workdir / results.CONFIG).exists():
            raise KeyboardInterrupt("nothing has been written") from None
        report.write(console, workdir)
        raise KeyboardInterrupt(
            f"{workdir} holds the results so far; go on with {_command(workdir)}"
        ) from None
    except processes.ElsewhereError as error:
        raise config.Failure(str(error)) from None
    except OSError as error:
        saving = isinstance(error, checkpoint.SaveError)
        if not saving and error.errno not in mistakes.DISK:
            raise
        line = str(error) if saving else f"{error.strerror}: {error.filename}"
        raise config.Failure(f"{line}; go on with {_command(workdir)}") from None
    finally:
        interrupt.restore()
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does
    console.print(f"trained in {time.monotonic() - start:,.1f} s; drawing the report")
    if cache:
        console.print(f"compilation cache: {cache}")
    if flags.FLAGS.tensorboard:
        command = shlex.join(["tensorboard", "--logdir", str(workdir / EVENTS)])
        console.print(f"event files: {command}", soft_wrap=True)
    if flags.FLAGS.profile:
        console.print(f"profile: {flags.FLAGS.profile}")
    if writes:
        report.write(console, workdir)
    if failures := found.config["failures"]:
        files = ", ".join(f"{workdir}/failure_{index}.txt" for index in failures)
        raise config.Failure(
            f"{len(failures)} of {len(found.config['cohorts'])} programs failed; the "
            f"report has the others, and {files} what happened"
        )


def _executor() -> tuple[bool, str]:
    """Whether nodes of Ray train, and the address of their cluster; "" for one here.

    Raises:
      UsageError: no such executor, or a flag that does not go with it.
    """
    given = flags.FLAGS.executor
    kind, colon, address = given.partition(":")
    if kind not in (LOCAL, RAY) or (colon and (kind == LOCAL or not address)):
        hint = names.nearest(kind, (LOCAL, RAY))
        raise config.UsageError(f"unknown --executor={given!r}{hint}, {RAY}:ADDRESS")
    if kind == LOCAL:
        if flags.FLAGS["chunk_members"].present:
            raise config.UsageError("--chunk_members needs --executor=ray")
        return False, ""
    for flag in ("tensorboard", "profile", *MANY):
        if flags.FLAGS[flag].present:
            raise config.UsageError(f"--{flag} does not go with --executor={given}")
    if "://" in flags.FLAGS.workdir:
        raise config.UsageError(
            f"--workdir={flags.FLAGS.workdir!r} is no folder: --executor=ray needs one "
            "that all nodes share, such as a mounted file system"
        )
    return True, address


def _join() -> str:
    """Joins the processes that run this same command, if there are others.

    Returns:
      Which one of them this is, in words; "" if it is alone.
    """
    from nnlab import processes

    coordinator, count = flags.FLAGS.coordinator, flags.FLAGS.processes
    given = [flag for flag in MANY if flags.FLAGS[flag].present]
    if given and len(given) < len(MANY):
        missing = next(flag for flag in MANY if flag not in given)
        raise config.UsageError(f"--{given[0]} needs --{missing}")
    if coordinator:
        processes.start(coordinator, count, flags.FLAGS.process_index)
    elif cluster := processes.cluster():
        coordinator = cluster
        processes.start()
    else:
        return ""
    index, count = processes.index(), processes.count()
    return f"process {index + 1} of {count}, joined by {coordinator}"


def _command(workdir: pathlib.Path) -> str:
    """What goes on with a run."""
    parts = ["python", "-m", "launch.train", f"--workdir={workdir}", "--resume"]
    if flags.FLAGS.data_dir:
        parts.append(f"--data_dir={flags.FLAGS.data_dir}")
    if flags.FLAGS.tensorboard:
        parts.append("--tensorboard")
    for flag in ("executor", "chunk_members"):
        if flags.FLAGS[flag].present:
            parts.append(f"--{flag}={flags.FLAGS[flag].value}")
    return shlex.join(parts)


def _rerun(console: Console, workdir: pathlib.Path) -> None:
    """Trains one member again and compares."""
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
    from nnlab import rerun

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


def _show_log(console: Console) -> None:
    """Prints what the library logs, such as a download, above the bar."""
    plain = RichHandler(
        console=console, show_time=False, show_level=False, show_path=False
    )
    log = logging.getLogger("nnlab")
    log.addHandler(plain)
    log.setLevel(logging.INFO)


if __name__ == "__main__":
    define_flags()
    config.run(main)
