# SPDX-License-Identifier: Apache-2.0
"""Measures training against the alternatives, side by side.

python -m launch.bench --suite=mlp --members=1,8 --repeats=3 --seconds=1
python -m launch.bench --suite=mlp,cnn --out=bench.json
python -m launch.bench --suite=search --repeats=3 --data_dir=DIR

Every contender trains the same network at the same batch size in float32 on data in
memory, on all cores, in its own process, with plain SGD (the suite depth_width, a whole
study, with Adam). Contenders take turns; so does a large matrix product, the ceiling. A
table shows medians over the turns, half the range as spread, and medians of the ratios
within each turn. Set-up is data, compilation and two steps. Memory is the peak of the
whole process, or of the accelerator. The suite search times whole searches for
hyperparameters; see `nnlab.commands.bench.searches`.
"""

import collections
import contextlib
import dataclasses
import importlib.metadata
import importlib.util
import itertools
import json
import math
import multiprocessing
import os
import platform
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from absl import flags
from rich.console import Console

from nnlab import data
from nnlab.commands import config
from nnlab.commands.bench import rivals, searches, tables
from nnlab.commands.bench.rivals import Answer, Contender, Network
from nnlab.commands.bench.tables import CEILING, Entry
from nnlab.machine import devices, files
from nnlab.watch import terminal
from nnlab.words import errors, spelling

LIMIT_SECONDS = 600.0
"""Longest time for one answer; a slower contender counts as hanging."""
ENVIRONMENT = {
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # contenders share an accelerator
    "JAX_ENABLE_COMPILATION_CACHE": "false",  # set-up is measured cold
    "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",
}
_SPAWN = multiprocessing.get_context("spawn")
LIBRARIES = ("jax", "flax", "torch", "scikit-learn", "numpy")

SUITES = (*rivals.SUITES, "search")


class WorkerError(RuntimeError):
    """A failed contender."""


class Worker:
    """A process that answers, one after another; see `rivals.work`."""

    def __init__(
        self, folder: str, answers: Callable[..., Iterator[Answer]], *given: object
    ) -> None:
        self._pipe, there = _SPAWN.Pipe()
        job = (there, {**ENVIRONMENT, "NNLAB_CACHE_DIR": folder}, answers, *given)
        self._process = _SPAWN.Process(target=rivals.work, args=job, daemon=True)
        self._process.start()
        there.close()

    def answer(self, steps: int | None = None, seconds: float | None = None) -> Answer:
        """Returns the answer to a number of steps, or the first one.

        Raises:
          WorkerError: it failed, died or took longer than so many seconds.
        """
        try:
            if steps is not None:
                self._pipe.send(steps)
            if not self._pipe.poll(seconds):
                raise WorkerError(f"no answer within {seconds:g} s")
            found: Answer = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            status = self._process.exitcode
            raise WorkerError(f"died with status {status}") from None
        if "error" in found:
            raise WorkerError(found["error"])
        return found

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.join()


def define_flags() -> None:
    """Defines the flags of this program."""
    suites = ", ".join(SUITES)
    flags.DEFINE_list("suite", ["mlp"], f"networks: {suites}")
    flags.DEFINE_list("members", ["1", "8", "64"], "sizes of nnlab's populations")
    flags.DEFINE_list("cores", [], "CPU cores to try besides all of them")
    flags.DEFINE_integer("repeats", 5, "turns of each contender", 1)
    flags.DEFINE_float("seconds", 2.0, "seconds of a turn", 0.01)
    flags.DEFINE_list("only", [], "only contenders whose names contain one of these")
    flags.DEFINE_string("dataset", "fashion_mnist", "data set of the suite search")
    flags.DEFINE_string("data_dir", None, "folder of the data of the suite search")
    flags.DEFINE_string("out", None, "JSON file for all numbers")


def main() -> None:
    """Runs the suites of the flags."""
    wanted = flags.FLAGS.suite
    for suite in wanted:
        if suite not in SUITES:
            hint = spelling.nearest(suite, SUITES)
            raise config.UsageError(f"unknown suite {suite!r}{hint}")
    sizes = {n: _whole_numbers(n) for n in ("members", "cores")}
    _check_cores(sizes["cores"])
    if "search" in wanted:
        _check_search()
    out = files.absolute(flags.FLAGS.out, "--out") if flags.FLAGS.out else None
    if out and not out.parent.is_dir():
        raise config.UsageError(f"--out={str(out)!r}: no folder {str(out.parent)!r}")
    if out:
        config.need_no_output()
    console = terminal.Terminal(None if sys.stdout.isatty() else 100)
    about = _about()
    versions = ", ".join(f"{name} {v}" for name, v in about["versions"].items())
    turns = f"median of n = {flags.FLAGS.repeats} turns"
    if set(wanted) != {"search"}:
        turns += f" of {flags.FLAGS.seconds:g} s"
    console.print(
        f"{about['processor']}, {about['cores']} cores, all used unless a row names "
        f"fewer (PyTorch: {about['cores']} threads); load before the start "
        f"{about['load']:.1f}; {versions}; {turns}"
    )
    entries: list[Entry] = []
    tables_done = _suites(console, wanted, sizes)
    if "search" in wanted:
        about["searches"] = measure_searches(console)
        tables_done = itertools.chain([[]], tables_done)
    for measured in tables_done:
        entries += measured
        if out:  # after each table: a later failure loses nothing
            found = {**about, "entries": [entry.to_dict() for entry in entries]}
            out.write_text(json.dumps(found, indent=1) + "\n")


def _check_search() -> None:
    if importlib.util.find_spec("optuna") is None:
        raise config.UsageError(
            f"--suite=search needs Optuna: {errors.extra('search')}"
        )
    try:
        data.load(flags.FLAGS.dataset, data_dir=flags.FLAGS.data_dir)
    except (ValueError, OSError) as error:
        raise config.UsageError(str(error)) from None


def _suites(
    console: Console, wanted: Sequence[str], sizes: dict[str, list[int]]
) -> Iterator[list[Entry]]:
    for suite in wanted:
        of_suite: list[Entry] = []
        for network in rivals.SUITES.get(suite, []):
            entered = rivals.contenders(network, **sizes)
            chosen = [c for c in entered if _wanted(c.name)]
            entries = measure(console, [(network, c) for c in [CEILING, *chosen]])
            tables.show(console, network, entries)
            of_suite += entries
            yield entries
        if suite == "depth_width":
            tables.show_study(console, of_suite)


def _wanted(name: str) -> bool:
    only = flags.FLAGS.only
    return not only or any(some in name for some in only)


def _whole_numbers(flag: str) -> list[int]:
    texts = getattr(flags.FLAGS, flag)
    if not all(re.fullmatch("0*[1-9][0-9]*", text) for text in texts):
        raise config.UsageError(
            f"--{flag}={','.join(texts)} must be whole numbers of at least 1"
        )
    return [int(text) for text in texts]


def _check_cores(asked: Sequence[int]) -> None:
    there = devices.num_cores()
    if any(some >= there for some in asked):
        raise config.UsageError(
            f"--cores={','.join(flags.FLAGS.cores)} must be below the {there} cores "
            "that all contenders have"
        )
    if asked and not hasattr(os, "sched_setaffinity"):
        raise config.UsageError("--cores needs Linux: elsewhere cores cannot be chosen")


def _about() -> dict[str, Any]:
    versions = {"python": platform.python_version()}
    for library in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[library] = importlib.metadata.version(library)
    given = ["suite", "members", "cores", "repeats", "seconds", "dataset"]
    return {
        "processor": devices.processor(),
        "cores": devices.num_cores(),
        # With two other busy processes on two cores, PyTorch's loop lost nine tenths
        # of its examples/s.
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else math.nan,
        "versions": versions,
        "flags": {name: getattr(flags.FLAGS, name) for name in given},
    }


def measure(console: Console, jobs: Sequence[tuple[Network, Contender]]) -> list[Entry]:
    """Sets up contenders one after another, then times them in turns.

    Those that fail are named and left out.
    """
    left_out: dict[str, list[str]] = collections.defaultdict(list)
    playing: list[tuple[Entry, Worker, int]] = []
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        status = stack.enter_context(console.status(""))  # in a terminal only
        for network, contender in jobs:
            status.update(f"setting up: {contender.name}")
            worker = Worker(folder, rivals.serve, network, contender)
            stack.callback(worker.close)
            try:
                ready = worker.answer(seconds=LIMIT_SECONDS)
                entry = Entry(network, contender, ready)
                playing.append((entry, worker, _calibrate(worker)))
            except WorkerError as error:
                worker.close()
                left_out[str(error)].append(contender.name)
        for number in range(flags.FLAGS.repeats):
            status.update(f"turn {number + 1} of {flags.FLAGS.repeats}")
            for turn in list(playing):
                entry, worker, steps = turn
                try:
                    entry.turns.append(worker.answer(steps, LIMIT_SECONDS))
                except WorkerError as error:
                    playing.remove(turn)
                    left_out[str(error)].append(entry.contender.name)
    for reason, who in left_out.items():
        text = f"left out: {', '.join(who)} ({reason[:100]})"
        console.print(text, markup=False)
    return [entry for entry, _, _ in playing]


def _calibrate(worker: Worker) -> int:
    """Returns the number of steps that takes about the wanted time."""
    steps = 2
    while True:
        found = worker.answer(steps, LIMIT_SECONDS)
        if found["seconds"] > flags.FLAGS.seconds / 4:
            wanted = found["steps"] * flags.FLAGS.seconds / found["seconds"]
            return max(1, int(wanted))
        steps = 2 * found["steps"]


def measure_searches(console: Console) -> list[dict[str, Any]]:
    """Times searches in turns, each with its own root seed, and prints a table."""
    name, folder = flags.FLAGS.dataset, flags.FLAGS.data_dir
    if folder is not None:  # the races run elsewhere
        folder = str(files.absolute(folder, "--data_dir"))
    races = [
        searches.Race(f"{who}, {max(batch, 1)} at a time", batch, name, folder)
        for who, batch in (("Flax loop", 0), ("nnlab", 1), ("nnlab", 8), ("nnlab", 16))
    ]
    chosen = [race for race in races if _wanted(race.name)]
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, console.status("") as status:
        for turn in range(flags.FLAGS.repeats):
            for race in chosen:
                status.update(f"turn {turn + 1} of {flags.FLAGS.repeats}: {race.name}")
                one = dataclasses.replace(race, root_seed=turn)
                worker = Worker(folder, searches.serve, one)
                try:
                    found.append({"race": dataclasses.asdict(one), **worker.answer()})
                except WorkerError as error:
                    console.print(f"{race.name} failed: {error}", markup=False)
                finally:
                    worker.close()
    tables.show_searches(console, found)
    return found
