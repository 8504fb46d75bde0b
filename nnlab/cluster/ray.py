# SPDX-License-Identifier: Apache-2.0
"""Trains programs, cut into chunks, on the nodes of a Ray cluster.

Each node has one process that holds all its devices and trains one chunk at a time, as
`experiment.run` trains a program. The checkpoints go into the workdir, if all nodes
share it, or into storage, from which they are copied to the workdir when a chunk is
done. This process hands out the chunks, the longest first. It restores finished chunks
from their last checkpoint, as a resumed run does. If a chunk's process or node dies,
the chunk is handed out again and continues from its last checkpoint. Nodes that join
later get chunks too. No result depends on which node trains what.
"""

import collections
import contextlib
import dataclasses
import logging
import math
import pathlib
import re
import secrets
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from nnlab import results
from nnlab.cluster import chunks, connect
from nnlab.cluster.storage import Pushed, Storage
from nnlab.machine import devices, files
from nnlab.runs import experiment, loop, resume
from nnlab.runs.checkpoint import FOLDER, Checkpoints
from nnlab.runs.recorder import Recorder
from nnlab.study import Study
from nnlab.study.members import Members
from nnlab.training.place import Kept
from nnlab.training.prepare import prepare
from nnlab.training.program import Program

RETRIES = 3
"""How often a chunk is handed out again after its process or node died."""

WORK = 1e13
"""Floating-point operations of a chunk unless the user sets its number of members.

A minute or two on two cores of an Intel Xeon, at 60 to 150 GFLOP/s.
"""

_CACHE = (
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_persistent_cache_min_entry_size_bytes",
)
"""JAX's settings that each node takes over."""

PRIVATE = "nnlab-checkpoints-"
"""How the names of nodes' own folders begin."""
_POLL_SECONDS = 0.2
_NODES_SECONDS = 1.0
"""Time between two checks for new nodes."""
_PATIENCE_SECONDS = 30.0
"""Time without any working node until a message says so."""

_log = logging.getLogger(__name__)


class Ray:
    """Nodes of a Ray cluster as an `experiment.Executor`; use it as a context manager.

    Args:
      address: of a cluster, such as "10.0.0.1:6379", or "auto"; "" starts a Ray on this
        machine, which ends with the context.
      chunk_members: most members of a chunk; 0 makes chunks of about `WORK`.
      storage: URL of a folder for checkpoints, of any kind that fsspec knows, for nodes
        that do not see the workdir; None if all see it.

    Raises:
      ValueError: Ray is not installed or too old, a number is below 0, or the kind of
        storage is unknown.
      ConnectionError: when the context is entered, no cluster is at that address, or
        the storage cannot be used.
    """

    def __init__(
        self, address: str = "", chunk_members: int = 0, storage: str | None = None
    ) -> None:
        if chunk_members < 0:
            raise ValueError(f"chunk_members={chunk_members} must be 0 or more")
        self._ray = connect.load()
        self._address = address
        self._chunk_members = chunk_members
        self._storage = Storage(storage) if storage is not None else None

    def __enter__(self) -> "Ray":
        if self._storage:
            self._storage.check()
        in_main = threading.current_thread() is threading.main_thread()
        asked = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP)}
        if in_main:  # Ray's processes ignore a hangup: the run ends first, then Ray
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            with contextlib.ExitStack() as stack:
                stack.enter_context(connect.connected(self._ray, self._address))
                self._leave = stack.pop_all().close
        finally:
            for number in asked if in_main else ():  # Ray's handlers end us silently
                signal.signal(number, asked[number])
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    def cut(self, programs: Sequence[Program], lane_width: int) -> tuple[Members, ...]:
        """Cuts programs into chunks; see `experiment.Executor`."""
        found: list[Members] = []
        for program in programs:
            count = len(program.members.pairs())
            most = self._chunk_members or count
            if not self._chunk_members and program.work:
                most = max(1, math.floor(WORK / (program.work / count)))
            lane = (1, 1)
            if lane_width and program.lanes:
                if program.hyperparameters.early_stopping.patience:
                    most = max(most, program.lanes.width)  # any members share a lane
                else:
                    lane = program.lanes.trials, program.lanes.seeds
            found += chunks.cut(program.members, most, *lane)
        return tuple(found)

    def train(self, work: experiment.Work) -> None:
        """Trains all programs; see `experiment.Executor`.

        Raises:
          ValueError: no node can train.
          OSError: the storage failed on a node.
        """
        storage = self._storage.of_run(work.workdir) if self._storage else None
        done = not work.programs or _Round(self._ray, work, storage).run()
        if storage and done:
            storage.end(work.workdir)


@dataclasses.dataclass
class _Node:
    name: str
    process: Any
    """The actor on it."""
    task: Any
    """None if nothing is left to do."""
    program: Program | None = None
    """The chunk that it trains; None while it starts."""


class _Round:
    """Hands out all chunks of a run until they are done."""

    def __init__(self, ray: Any, work: experiment.Work, storage: Storage | None):
        self._ray, self._work, self._storage = ray, work, storage
        self._recorder = work.run.recorder
        # The longest first, so that the last ones to end are short.
        longest = sorted(work.programs, key=lambda program: -program.work)
        self._queue = collections.deque(longest)
        self._lost: collections.Counter[int] = collections.Counter()
        self._nodes: dict[str, _Node] = {}
        self._left_out: dict[str, str] = {}
        self._unbegun: collections.Counter[str] = collections.Counter()
        self._devices: dict[str, Mapping[str, Any]] = {}
        first_of = {one.hyperparameters.data: one for one in reversed(work.programs)}
        self._settings = {
            "study": work.run.study.to_dict(),
            "workdir": None if storage else str(work.workdir),
            "storage": storage.url if storage else None,
            "data_dir": str(work.data_dir) if work.data_dir else None,
            "lane_width": work.lane_width,
            "checkpoint_seconds": work.checkpoint_seconds,
            "cache": {name: getattr(jax.config, name) for name in _CACHE},
            "expected": {
                name: self._recorder.config[name]
                for name in ("versions", "settings", "datasets")
            },
            "first": [program.members.to_dict() for program in first_of.values()],
        }

    def run(self) -> bool:
        """Runs until all chunks are done or failed; returns whether all are done."""
        if self._storage:  # gets what the workdir has of the chunks
            self._storage.begin(self._work.workdir)
            for part in {part for one in self._queue for part in self._parts(one)}:
                self._storage.push(
                    part, self._work.workdir, secrets.token_hex(6), set()
                )
        looked, busy = -math.inf, time.monotonic()
        try:
            while self._queue or self._is_busy():
                now = time.monotonic()
                if now - looked > _NODES_SECONDS:
                    self._take_nodes()
                    looked = now
                for node in self._nodes.values():
                    if node.task is None:
                        self._hand_out(node)
                if self._is_busy():
                    busy = now
                elif now - busy > _PATIENCE_SECONDS:
                    _log.info("waiting for a node with all its processors free")
                    busy = math.inf
                working = {n.task: key for key, n in self._nodes.items() if n.task}
                if working:
                    done, _ = self._ray.wait([*working], timeout=_POLL_SECONDS)
                    for task in done:
                        self._settle(working[task])
                else:
                    time.sleep(_POLL_SECONDS)
                self._recorder.tell_elsewhere()
        finally:
            for node in self._nodes.values():
                self._ray.kill(node.process)
        return not self._work.failures

    def _is_busy(self) -> bool:
        return any(node.program for node in self._nodes.values())

    def _take_nodes(self) -> None:
        """Starts a process on each node that has none, also on nodes that joined."""
        there = {
            node["NodeID"]: node
            for node in self._ray.nodes()
            if node["Alive"] and node["Resources"].get("CPU", 0) >= 1
        }
        for key in there:
            if self._queue and key not in self._nodes and key not in self._left_out:
                self._begin(key, there[key])
        if there and not self._nodes and set(there) <= set(self._left_out):
            raise ValueError(next(self._left_out[key] for key in there))

    def _begin(self, key: str, node: Mapping[str, Any]) -> None:
        from ray.util import scheduling_strategies

        name = f"node {node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
        has = node["Resources"]
        on = scheduling_strategies.NodeAffinitySchedulingStrategy(key, soft=False)
        process = self._ray.remote(_Process).options(
            num_cpus=has["CPU"],  # the whole node, so no other task runs there
            num_gpus=has.get("GPU", 0),
            resources={"TPU": has["TPU"]} if "TPU" in has else None,
            scheduling_strategy=on,
            max_restarts=0,
        )
        started = process.remote(self._settings, int(has["CPU"]))
        self._nodes[key] = _Node(name, started, started.begin.remote())

    def _hand_out(self, node: _Node) -> None:
        """Gives a node the next chunk, if there is one."""
        node.program = self._queue.popleft() if self._queue else None
        node.task = None
        if node.program:
            members = node.program.members
            train = node.process.train.options(name=f"chunk {members.index}")
            node.task = train.remote(members.to_dict())

    def _settle(self, key: str) -> None:
        """Takes the result of a node's task."""
        from ray import exceptions

        node = self._nodes[key]
        program = node.program
        try:
            told = self._ray.get(node.task)
        except exceptions.RayTaskError as error:
            cause = _cause(error)
            if program is None:
                self._leave_out(key, f"{type(cause).__name__}: {cause}")
            # Such as a full disk: nothing can be saved.
            elif isinstance(cause, OSError):
                raise cause from None
            else:
                self._hand_out(node)
                self._work.fail(program, cause)
        except exceptions.RayError as error:  # the process or its node died
            del self._nodes[key]
            self._ray.kill(node.process)
            if program:
                self._again(program, f"{node.name} or its process died", error)
            elif (begun := self._unbegun[key]) >= RETRIES:
                self._left_out[key] = f"{node.name} cannot start: {_line(error)}"
                _log.warning("%s", self._left_out[key])
            else:
                self._unbegun[key] = begun + 1
        else:
            if program is None:
                if told["problem"]:
                    self._leave_out(key, told["problem"])
                    return
                self._devices[key] = told["devices"]
                self._recorder.note_devices(list(self._devices.values()))
            self._hand_out(node)  # first, so that the node works while we read
            if program:
                for width in told["out_of_memory"]:
                    self._recorder.out_of_memory(program, width)
                if not self._take_up(program):
                    self._again(program, "its checkpoint cannot be found", None)

    def _take_up(self, program: Program) -> bool:
        """Collects a chunk from its checkpoints; returns whether it is done."""
        if not self._storage:
            return self._work.collect(program)
        own = program.part
        for part, of in self._parts(program).items():
            if part == own or not (self._work.workdir / FOLDER / part).exists():
                self._storage.pull(part, self._work.workdir, of)
        if not self._work.collect(program):
            return False
        self._storage.remove(f"{FOLDER}/{own}")
        return True

    def _parts(self, program: Program) -> dict[str, dict[str, Any]]:
        return loop.parts_of(program, self._work.run.study, self._recorder)

    def _leave_out(self, key: str, problem: str) -> None:
        node = self._nodes.pop(key)
        self._ray.kill(node.process)
        self._left_out[key] = f"{node.name}: {problem}"
        _log.warning("%s; going on without it", self._left_out[key])

    def _again(self, program: Program, why: str, error: Exception | None) -> None:
        """Puts a chunk back as the next one; gives up after `RETRIES`."""
        index = program.index
        self._lost[index] += 1
        if self._lost[index] > RETRIES:
            line = f"given up after {RETRIES + 1} attempts: {why}"
            if error:
                line += f": {_line(error)}"
            self._work.fail(program, RuntimeError(line))
            return
        _log.warning("program %d: %s; training it again", index + 1, why)
        self._queue.appendleft(program)


def _cause(error: Any) -> Exception:
    """Returns the error of a task, with the traceback of its process as a note."""
    found = error.cause if isinstance(error.cause, Exception) else error
    text = re.sub(r"\x1b\[\d+m", "", str(error))
    found.add_note(text)
    return found


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


class _Process:
    """A node's process, which holds all its devices; an actor of Ray."""

    def __init__(self, settings: Mapping[str, Any], cores: int) -> None:
        """Prepares JAX, before its first use, with settings from `_Round`."""
        devices.use_all_cores(cores)
        for name, value in settings["cache"].items():
            jax.config.update(name, value)
        self._settings = settings
        self._study = Study.from_dict(settings["study"])
        self._trials = self._study.trials()
        self._storage: Storage | None = None
        self._kept = Kept()
        self._backbones: dict[str, Any] = {}

    def begin(self) -> dict[str, Any]:
        """Loads the data; returns under "problem" what is wrong, "" if nothing is."""
        if problem := self._find_run():
            return {"problem": problem}
        expected = self._settings["expected"]
        own = Recorder(self._study, None, self._prepare(self._settings["first"])).config
        try:
            run = {**expected, "devices": own["devices"]}
            if others := resume.differences(run, own):
                raise ValueError(f"its versions differ: {'; '.join(others)}")
            resume.check_data(expected["datasets"], own["datasets"])
        except ValueError as error:
            return {"problem": str(error)}
        return {"problem": "", "devices": own["devices"]}

    def _find_run(self) -> str:
        """Opens the storage if there is one; returns why the run is not visible."""
        url, workdir = self._settings["storage"], self._settings["workdir"]
        if not url:
            if (pathlib.Path(workdir) / results.CONFIG).exists():
                return ""
            return (
                f"it does not see {workdir!r}: the workdir must be on storage that all "
                "nodes share, or checkpoints go through --storage=URL"
            )
        remove_abandoned()
        try:
            self._storage = Storage(url)
            if not self._storage.is_begun():
                return f"it does not see {results.CONFIG} in {self._storage.shown!r}"
            self._storage.check()
        except (ValueError, OSError) as error:
            return str(error)
        return ""

    def train(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Trains a chunk to its end; `record` is that of the program."""
        (program,) = self._prepare([record])
        recorder = Recorder(self._study, None, [program])
        seconds = self._settings["checkpoint_seconds"]
        own, parts = program.part, loop.parts_of(program, self._study, recorder)
        with contextlib.ExitStack() as stack:
            stack.enter_context(devices.pinned())
            source = program.source
            folder = self._settings["workdir"] or stack.enter_context(
                tempfile.TemporaryDirectory(prefix=PRIVATE)
            )
            workdir = pathlib.Path(folder)
            if self._storage:
                stack.enter_context(files.alone_in(workdir))  # marks it as used
            # A process that was given up may still train it until it notices.
            stack.enter_context(_alone_with(workdir, own))
            if self._storage:
                is_known = source is not None and source.key in self._backbones
                past = {
                    part: self._storage.pull(part, workdir, of)
                    for part, of in parts.items()
                    if part == own or not is_known
                }
                checkpoints: Checkpoints = Pushed(self._storage, workdir, seconds, past)
            else:
                checkpoints = Checkpoints(workdir, seconds)
            stack.callback(checkpoints.close)
            saved = checkpoints.latest(own, parts[own])
            checkpoints.drop_unsound(own, saved)
            run = loop.Run(
                self._study,
                recorder,
                checkpoints,
                kept=self._kept,
                backbones=self._backbones,
            )
            if source:
                # The first process trains the backbone; the others wait and read it.
                # Without a shared folder several may train it, with equal results.
                with _alone_with(workdir, loop.backbone_part(source)):
                    loop.backbone_for(program, run)
                    checkpoints.wait()
            loop.train(program, run, saved)
        narrowed = recorder.config["out_of_memory"]
        return {"out_of_memory": narrowed.get(str(program.index), [])}

    def _prepare(self, records: Sequence[Mapping[str, Any]]) -> list[Program]:
        return prepare(
            self._study,
            data_dir=self._settings["data_dir"],
            lane_width=self._settings["lane_width"],
            members=[Members.from_dict(one, self._trials) for one in records],
            loaded=self._kept.loaded,
        )


def remove_abandoned() -> None:
    """Removes the folders of killed processes, which are not locked."""
    for folder in pathlib.Path(tempfile.gettempdir()).glob(f"{PRIVATE}*"):
        with contextlib.suppress(OSError), files.alone_in(folder):
            shutil.rmtree(folder)


def _alone_with(
    workdir: pathlib.Path, part: str
) -> contextlib.AbstractContextManager[None]:
    """Locks the checkpoints of a part; waits for other processes."""
    folder = workdir / FOLDER / part
    files.make_folder(folder)
    return files.alone_in(folder, waits=True)
