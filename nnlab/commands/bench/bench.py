# SPDX-License-Identifier: Apache-2.0
"""Measures training against the alternatives, side by side in one run.

python -m launch.bench --suite=mlp --members=1,8 --repeats=3 --seconds=1
python -m launch.bench --suite=mlp,cnn --out=bench.json
python -m launch.bench --suite=search --repeats=3 --data_dir=DIR

Every contender trains the same network at the same batch size in float32 on
data in memory, on all cores, in a process of its own, with plain SGD (the
suite depth_width, a whole study, with Adam). They take
turns, and so does a large matrix product, the ceiling. A table shows medians
over the turns, half the range as spread, and medians of the ratios within each
turn. Set-up is data, compilation and two steps; memory is the peak of the
whole process, on an accelerator of the device. The suite search times whole searches
for hyperparameters; see `nnlab.commands.bench.searches`.
"""

import collections
import contextlib
import dataclasses
import importlib.metadata
import importlib.util
import json
import math
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from absl import flags
from rich.console import Console
from rich.table import Table

from nnlab import data
from nnlab.commands import config
from nnlab.commands.bench import rivals, searches
from nnlab.commands.bench.rivals import Contender, Network
from nnlab.machine import devices, files
from nnlab.models import layers
from nnlab.watch import terminal
from nnlab.words import spelling

LIMIT_SECONDS = 600.0
"""For one answer of a contender; after that it hangs."""

ENVIRONMENT = {
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # contenders share an accelerator
    "JAX_ENABLE_COMPILATION_CACHE": "false",  # set-up is measured cold
    "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",
}
CEILING = Contender("matrix product", "matrix product")
LIBRARIES = ("jax", "flax", "torch", "scikit-learn", "numpy")

SUITES = (*rivals.SUITES, "scale", "search")

SCALE = layers.mlp((32,), 10)
SCALE_MEMBERS = [4**power for power in range(7)]
SCALE_EXAMPLES = [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000]


class WorkerError(RuntimeError):
    """A contender that cannot do a network, or no more."""


class Worker:
    """A contender in a process of its own; see `nnlab.commands.bench.rivals`."""

    def __init__(
        self, network: Network, contender: Contender, folder: pathlib.Path
    ) -> None:
        """Starts the process, which may leave files in `folder`."""
        job = {
            "network": dataclasses.asdict(network),
            "contender": dataclasses.asdict(contender),
        }
        log, name = tempfile.mkstemp(dir=folder)
        self._log = pathlib.Path(name)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "nnlab.commands.bench.rivals", json.dumps(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=pathlib.Path(__file__).parents[3],
            env=os.environ | ENVIRONMENT | {"NNLAB_CACHE_DIR": str(folder)},
        )
        os.close(log)

    def answer(self, steps: int | None = None) -> dict[str, Any]:
        """The answer to a number of steps; without it, that the contender is ready.

        Raises:
          WorkerError: it failed, died or took longer than `LIMIT_SECONDS`.
        """
        process, hangs = self._process, threading.Event()
        assert process.stdin is not None
        assert process.stdout is not None

        def stop() -> None:
            hangs.set()
            process.kill()

        timer = threading.Timer(LIMIT_SECONDS, stop)
        timer.daemon = True
        timer.start()
        line = ""
        with contextlib.suppress(BrokenPipeError):
            if steps is not None:
                process.stdin.write(f"{steps}\n")
                process.stdin.flush()
            line = process.stdout.readline()
        timer.cancel()
        if hangs.is_set():
            raise WorkerError(f"no answer within {LIMIT_SECONDS:g} s")
        if not line:
            last = self._log.read_text().strip().rpartition("\n")[2]
            raise WorkerError(f"died with status {process.wait()} {last}".strip())
        found: dict[str, Any] = json.loads(line)
        if "error" in found:
            raise WorkerError(found["error"])
        return found

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate()


@dataclasses.dataclass
class Entry:
    """What was measured of a contender on a network.

    Attributes:
      network, contender: who and what.
      ready: the worker's first answer.
      turns: its answers to the turns.
    """

    network: Network
    contender: Contender
    ready: dict[str, Any]
    turns: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    @property
    def rates(self) -> list[float]:
        """Examples a second of each turn; operations a second of the ceiling."""
        batch = self.network.batch_size * self.contender.members
        work = 1 if self.contender is CEILING else batch
        return [turn["steps"] * work / turn["seconds"] for turn in self.turns]

    @property
    def peak_bytes(self) -> int:
        """Peak memory up to the last turn."""
        return int(max(turn["peak_bytes"] for turn in self.turns))

    def against(self, other: "Entry") -> float:
        """Median over the turns of the ratio to another's rate."""
        return statistics.median(a / b for a, b in zip(self.rates, other.rates))

    def to_dict(self) -> dict[str, Any]:
        """Everything, for the JSON file."""
        contender = dataclasses.asdict(self.contender)
        network = dataclasses.asdict(self.network)
        network["operations_per_example"] = self.network.operations
        found = {"contender": contender, "network": network, "rates": self.rates}
        return {**found, **self.ready, "turns": self.turns}


def define_flags() -> None:
    """Defines the flags of this program."""
    suites = ", ".join(SUITES)
    flags.DEFINE_list("suite", ["mlp"], f"networks: {suites}")
    flags.DEFINE_list("members", ["1", "8", "64"], "sizes of nnlab's populations")
    flags.DEFINE_list("lane_widths", [], "lanes to try besides the plan's own choice")
    flags.DEFINE_list("cores", [], "CPU cores for nnlab's populations, too")
    flags.DEFINE_integer("ensemble", 16, "networks in the rivals' ensembles", 2)
    flags.DEFINE_integer("repeats", 5, "turns of each contender", 1)
    flags.DEFINE_float("seconds", 2.0, "length of a turn", 0.01)
    flags.DEFINE_list("only", [], "contenders whose names hold one of these")
    flags.DEFINE_string("dataset", "fashion_mnist", "of the suite search")
    flags.DEFINE_string("data_dir", None, "where the data of the suite search are")
    flags.DEFINE_string("out", None, "JSON file for all numbers")


def main() -> None:
    """Runs the suites of the flags."""
    wanted = flags.FLAGS.suite
    for suite in wanted:
        if suite not in SUITES:
            hint = spelling.nearest(suite, SUITES)
            raise config.UsageError(f"unknown suite {suite!r}{hint}")
    members = _whole_numbers("members")
    widths = _whole_numbers("lane_widths")
    cores = _cores()
    if "search" in wanted:
        if importlib.util.find_spec("optuna") is None:
            raise config.UsageError(
                "--suite=search needs Optuna: pip install -c constraints.txt -e "
                '".[search]"'
            )
        try:
            data.load(flags.FLAGS.dataset, data_dir=flags.FLAGS.data_dir)
        except (ValueError, OSError) as error:
            raise config.UsageError(str(error)) from None
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
        f"{about['processor']}, {about['cores']} cores, all used unless less are named "
        f"(PyTorch: {about['cores']} threads); load before the start "
        f"{about['load']:.1f}; {versions}; {turns}"
    )
    entries: list[Entry] = []

    def save() -> None:  # after each table: a later failure loses nothing
        if out:
            found = {**about, "entries": [entry.to_dict() for entry in entries]}
            out.write_text(json.dumps(found, indent=1) + "\n")

    if "search" in wanted:
        about["searches"] = measure_searches(console)
        save()
    for measured in _suites(console, wanted, members, widths, cores):
        entries += measured
        save()


def _suites(
    console: Console,
    wanted: Sequence[str],
    members: list[int],
    widths: list[int],
    cores: list[int],
) -> Iterator[list[Entry]]:
    """Measures and prints one table after another."""
    for suite in wanted:
        of_suite: list[Entry] = []
        for network in rivals.SUITES.get(suite, []):
            entered = rivals.contenders(
                network, members, widths, flags.FLAGS.ensemble, cores
            )
            chosen = [c for c in entered if _wanted(c.name)]
            entries = measure(console, [(network, c) for c in [CEILING, *chosen]])
            show(console, network, entries)
            of_suite += entries
            yield entries
        if suite == "depth_width":
            show_study(console, of_suite)
        if suite == "scale":
            by_members = Network("MLP 64-32-10", SCALE, (64,), 32)
            jobs = [(by_members, _population(count)) for count in SCALE_MEMBERS]
            yield (entries := measure(console, jobs))
            sizes = [entry.contender.members for entry in entries]
            show_scale(console, "members", sizes, entries)
            networks = [
                dataclasses.replace(by_members, num_examples=count)
                for count in SCALE_EXAMPLES
            ]
            jobs = [(network, _population(8)) for network in networks]
            yield (entries := measure(console, jobs))
            sizes = [entry.network.num_examples for entry in entries]
            show_scale(console, "examples", sizes, entries)


def _wanted(name: str) -> bool:
    """Whether a contender enters."""
    only = flags.FLAGS.only
    return not only or any(some in name for some in only)


def _population(count: int) -> Contender:
    # Lanes of one width: tuning would hold two populations at once.
    options = {"width": min(count, 8)}
    return Contender(f"nnlab, {count} members", "nnlab", count, options)


def _whole_numbers(flag: str) -> list[int]:
    texts = getattr(flags.FLAGS, flag)
    if not all(re.fullmatch("0*[1-9][0-9]*", text) for text in texts):
        raise config.UsageError(
            f"--{flag}={','.join(texts)} must be whole numbers of at least 1"
        )
    return [int(text) for text in texts]


def _cores() -> list[int]:
    """CPU cores to try, each less than there are."""
    asked, there = _whole_numbers("cores"), devices.num_cores()
    if any(some >= there for some in asked):
        raise config.UsageError(
            f"--cores={','.join(flags.FLAGS.cores)} must be below the {there} cores "
            "that all contenders have"
        )
    if asked and not hasattr(os, "sched_setaffinity"):
        raise config.UsageError("--cores needs Linux, where processes choose")
    return asked


def _about() -> dict[str, Any]:
    """The machine, the versions and the flags."""
    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        text = pathlib.Path("/proc/cpuinfo").read_text()
        if model := re.search(r"model name\s*:\s*(.+)", text):
            processor = model[1].strip()
    versions = {"python": platform.python_version()}
    for library in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[library] = importlib.metadata.version(library)
    given = ["suite", "members", "lane_widths", "cores", "ensemble"]
    given += ["repeats", "seconds", "dataset"]
    return {
        "processor": processor,
        "cores": devices.num_cores(),
        # PyTorch's loop lost 9 of 10 examples/s beside two busy processes on two cores.
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else math.nan,
        "versions": versions,
        "flags": {name: getattr(flags.FLAGS, name) for name in given},
    }


def measure(console: Console, jobs: Sequence[tuple[Network, Contender]]) -> list[Entry]:
    """Sets contenders up one after another, then times them in turns.

    Those that fail are left out, by name.
    """
    left_out: dict[str, list[str]] = collections.defaultdict(list)
    playing: list[tuple[Entry, Worker, int]] = []
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        status = stack.enter_context(console.status(""))  # in a terminal only
        for network, contender in jobs:
            status.update(f"setting up: {contender.name}")
            worker = Worker(network, contender, folder)
            stack.callback(worker.close)
            try:
                entry = Entry(network, contender, worker.answer())
                playing.append((entry, worker, _calibrate(worker)))
            except WorkerError as error:
                worker.close()
                left_out[str(error)].append(contender.name)
        for number in range(flags.FLAGS.repeats):
            status.update(f"turn {number + 1} of {flags.FLAGS.repeats}")
            for turn in list(playing):
                entry, worker, steps = turn
                try:
                    entry.turns.append(worker.answer(steps))
                except WorkerError as error:
                    playing.remove(turn)
                    left_out[str(error)].append(entry.contender.name)
    for reason, who in left_out.items():
        text = f"left out: {', '.join(who)} ({reason[:100]})"
        console.print(text, markup=False)
    return [entry for entry, _, _ in playing]


def _calibrate(worker: Worker) -> int:
    """Steps that take about the wanted time."""
    steps = 2
    while True:
        found = worker.answer(steps)
        if found["seconds"] > flags.FLAGS.seconds / 4:
            wanted = found["steps"] * flags.FLAGS.seconds / found["seconds"]
            return max(1, int(wanted))
        steps = 2 * found["steps"]


def show(console: Console, network: Network, entries: Sequence[Entry]) -> None:
    """Prints the table of a network, and what follows from it."""
    by_name = {entry.contender.name: entry for entry in entries}
    top = by_name.pop(CEILING.name, None)
    base = by_name.get("PyTorch loop")
    title = f"\n{network.name}, batch {network.batch_size}"
    if top:
        rate = statistics.median(top.rates) / 1e9
        title += f"; matrix product: {rate:,.0f} GFLOP/s on {top.ready['device']}"
    console.print(title)
    table = _columns("contender", "examples/s", "spread", "x PyTorch", "of ceiling")
    for name, entry in by_name.items():
        cells = [name, f"{statistics.median(entry.rates):,.0f}", _spread(entry)]
        cells.append(f"{entry.against(base):.2f}" if base else "")
        share = entry.against(top) * network.operations if top else math.nan
        cells.append(f"{share:.0%}" if top else "")
        table.add_row(*cells, f"{entry.ready['setup_seconds']:.1f}", _mebibytes(entry))
    console.print(table)
    _conclude(console, by_name)


def _conclude(console: Console, by_name: Mapping[str, Entry]) -> None:
    """The largest population against each rival; planned against fixed lanes."""
    ours = [e for e in by_name.values() if e.contender.kind == "nnlab"]
    planned = [e for e in ours if not (e.contender.options or e.contender.cores)]
    others = [entry for entry in by_name.values() if entry not in ours]
    if planned and others:
        largest = max(planned, key=lambda entry: entry.contender.members)
        ratios = [f"{largest.against(r):.2f} x {r.contender.name}" for r in others]
        console.print(f"{largest.contender.name}: {'; '.join(ratios)}")
    for entry in planned:
        members = entry.contender.members
        same = [e for e in ours if e.contender.members == members and e is not entry]
        # One network alone has nothing to spread over cores.
        for few in (e for e in same if e.contender.cores and members > 1):
            ratio, some = entry.against(few), few.contender.cores
            share = ratio * some / devices.num_cores()
            console.print(
                f"{entry.contender.name}: {ratio:.2f} x {few.contender.name}, a "
                f"parallel efficiency of {share:.0%}"
            )
        if fixed := [e for e in same if e.contender.options]:
            best = max(fixed, key=lambda e: statistics.median(e.rates))
            console.print(
                f"{entry.contender.name}: {best.against(entry):.2f} x the time of the "
                f"best fixed lane width, {best.contender.options['width']}"
            )


def show_study(console: Console, entries: Sequence[Entry], epochs: int = 100) -> None:
    """Prints how long a study of all networks takes, set-up included."""
    seconds: dict[str, list[float]] = collections.defaultdict(list)
    members = max((e.contender.members for e in entries), default=0)
    for entry in entries:
        name, network = entry.contender.name, entry.network
        if name == "PyTorch loop" or entry.contender.members == members:
            if entry.contender is CEILING or entry.contender.options:
                continue
            examples = epochs * network.steps_per_epoch * network.batch_size * members
            seconds[name].append(
                entry.ready["setup_seconds"] + examples / statistics.median(entry.rates)
            )
    if not seconds:
        return  # all were left out
    whole = {name: sum(some) for name, some in seconds.items()}
    networks = max(map(len, seconds.values()))
    console.print(
        f"\n{networks} networks x {members} seeds x {epochs} epochs, training with "
        f"set-up: {'; '.join(f'{name} {s:,.0f} s' for name, s in whole.items())}"
    )
    base = whole.pop("PyTorch loop", None)
    for name, found in whole.items():
        if base and len(seconds[name]) == len(seconds["PyTorch loop"]):
            console.print(f"{name}: {base / found:.1f} times as fast as one by one")


def measure_searches(console: Console) -> list[dict[str, Any]]:
    """Times searches in turns, each turn with seeds of its own, and prints a table."""
    name, folder = flags.FLAGS.dataset, flags.FLAGS.data_dir
    if folder is not None:  # the races run elsewhere
        folder = str(files.absolute(folder, "--data_dir"))
    races = [
        searches.Race("Flax loop, 1 at a time", 0, name, folder),
        searches.Race("nnlab, 1 at a time", 1, name, folder),
        searches.Race("nnlab, 8 at a time", 8, name, folder),
        searches.Race("nnlab, 16 at a time", 16, name, folder),
    ]
    chosen = [race for race in races if _wanted(race.name)]
    found: list[dict[str, Any]] = []
    with console.status("") as status:
        for turn in range(flags.FLAGS.repeats):
            for race in chosen:
                status.update(f"turn {turn + 1} of {flags.FLAGS.repeats}: {race.name}")
                job = dataclasses.asdict(dataclasses.replace(race, root_seed=turn))
                done = subprocess.run(
                    [
                        sys.executable,
                        "-m",
                        "nnlab.commands.bench.searches",
                        json.dumps(job),
                    ],
                    cwd=pathlib.Path(__file__).parents[3],
                    env=os.environ | ENVIRONMENT,
                    capture_output=True,
                    text=True,
                )
                if done.returncode:
                    last = done.stderr.strip().rpartition("\n")[2]
                    console.print(f"{race.name} failed: {last}", markup=False)
                    continue
                found.append({"race": job, **json.loads(done.stdout)})
    show_searches(console, found)
    return found


def show_searches(console: Console, found: Sequence[Mapping[str, Any]]) -> None:
    """Prints what each contender took, and how good what it chose is."""
    turns: dict[str, list[Mapping[str, Any]]] = collections.defaultdict(list)
    for one in found:
        turns[one["race"]["name"]].append(one)
    if not turns:
        return
    race = found[0]["race"]
    console.print(
        f"\nsearch of {race['dataset']}: {race['trials']} trials x "
        f"{race['seeds']} seeds, "
        f"{race['epochs']} epochs of {race['train_size']:,} examples, TPE"
    )
    table = Table(box=None)
    table.add_column("contender", no_wrap=True)
    columns = ("s", "range", "of the loop", "validation", "test of the best")
    for column in columns:
        table.add_column(column, justify="right")
    of_loop = {
        one["race"]["root_seed"]: one["seconds"]
        for one in found
        if not one["race"]["batch"]
    }
    for name, some in turns.items():
        seconds = [one["seconds"] for one in some]
        cells = [f"{statistics.median(seconds):.1f}"]
        cells.append(f"{min(seconds):.1f} to {max(seconds):.1f}")
        share = [
            one["seconds"] / of_loop[one["race"]["root_seed"]]
            for one in some
            if one["race"]["root_seed"] in of_loop
        ]
        cells.append(f"{statistics.median(share):.2f}" if share else "")
        for key in ("validation", "test"):
            values = [one[key] for one in some]
            cells.append(f"{statistics.mean(values):.2%}")
            if len(values) > 1:
                cells[-1] += f" ± {100 * statistics.stdev(values):.2f}"
        table.add_row(name, *cells)
    console.print(table)


def show_scale(
    console: Console, what: str, sizes: Sequence[int], entries: Sequence[Entry]
) -> None:
    """Prints how an epoch's time and the memory grow with members or examples."""
    if len(entries) < 3:
        return  # the others were left out
    title = f"\n{entries[0].network.name}, batch {entries[0].network.batch_size}"
    if what == "examples":
        title += f", {entries[0].contender.members} members"
    console.print(title)
    table = _columns(what, "examples/s", "spread", "epoch, s")
    seconds = []
    for size, entry in zip(sizes, entries):
        network, rate = entry.network, statistics.median(entry.rates)
        examples = network.steps_per_epoch * network.batch_size
        seconds.append(examples * entry.contender.members / rate)
        setup = f"{entry.ready['setup_seconds']:.1f}"
        cells = [f"{size:,}", f"{rate:,.0f}", _spread(entry), f"{seconds[-1]:.3g}"]
        table.add_row(*cells, setup, _mebibytes(entry))
    console.print(table)
    half, memory = len(sizes) // 2, [entry.peak_bytes for entry in entries]
    each = (memory[-1] - memory[0]) / (sizes[-1] - sizes[0]) / 1024
    console.print(
        f"{sizes[half]:,} to {sizes[-1]:,} {what}: log-log slope of time "
        f"{slope(sizes[half:], seconds[half:]):.2f}, of peak memory "
        f"{slope(sizes[half:], memory[half:]):.2f} (linear: 1, wanted: at most 1.05); "
        f"{each:.1f} KiB for each of the {what}"
    )


def slope(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Slope of the least-squares line through the logarithms."""
    logs = [list(map(math.log, some)) for some in (sizes, values)]
    return statistics.linear_regression(*logs).slope


def _columns(first: str, *others: str) -> Table:
    table = Table(box=None)
    table.add_column(first, justify="left" if first == "contender" else "right")
    for column in (*others, "set-up, s", "peak MiB"):
        table.add_column(column, justify="right")
    return table


def _spread(entry: Entry) -> str:
    half = (max(entry.rates) - min(entry.rates)) / 2
    return f"±{half / statistics.median(entry.rates):.0%}"


def _mebibytes(entry: Entry) -> str:
    return f"{entry.peak_bytes / 2**20:,.0f}"


if __name__ == "__main__":
    define_flags()
    config.run(main)
