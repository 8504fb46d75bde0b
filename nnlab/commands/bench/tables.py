# SPDX-License-Identifier: Apache-2.0
"""The tables of the benchmark, and the ratios that follow from them."""

import collections
import dataclasses
import itertools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from nnlab.commands.bench.rivals import Contender, Network
from nnlab.machine import devices

CEILING = Contender("matrix product", "matrix product")
LOOP = "PyTorch loop"


@dataclasses.dataclass
class Entry:
    """What was measured of a contender: its first answer, and those to its turns."""

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
    def rate(self) -> float:
        """The median of `rates`."""
        return statistics.median(self.rates)

    def against(self, other: "Entry") -> float:
        """Returns the median over the turns of the ratio to another's rate."""
        return statistics.median(a / b for a, b in zip(self.rates, other.rates))

    def to_dict(self) -> dict[str, Any]:
        """Returns everything, for the JSON file."""
        contender = dataclasses.asdict(self.contender)
        network = dataclasses.asdict(self.network)
        network["operations_per_example"] = self.network.operations
        found = {"contender": contender, "network": network, "rates": self.rates}
        return {**found, **self.ready, "turns": self.turns}

    def cells(self, *middle: str) -> list[str]:
        """Returns a row's cells: rate, spread, further ones, set-up and memory."""
        spread = (max(self.rates) - min(self.rates)) / 2 / self.rate
        setup = f"{self.ready['setup_seconds']:.1f}"
        memory = max(turn["peak_bytes"] for turn in self.turns) / 2**20
        shown = f"{self.rate:,.0f}", f"±{spread:.0%}"
        return [*shown, *middle, setup, f"{memory:,.0f}"]


def _print(
    console: Console, columns: Sequence[str], rows: Iterable[Sequence[str]]
) -> None:
    table = Table(box=None)
    for name in columns:
        is_name = name == "contender"
        table.add_column(name, justify="left" if is_name else "right", no_wrap=is_name)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def show(console: Console, network: Network, entries: Sequence[Entry]) -> None:
    """Prints the table of a network, and what follows from it."""
    by_name = {entry.contender.name: entry for entry in entries}
    top, base = by_name.pop(CEILING.name, None), by_name.get(LOOP)
    title = f"\n{network.name}, batch {network.batch_size}"
    if top:
        title += (
            f"; matrix product: {top.rate / 1e9:,.0f} GFLOP/s on {top.ready['device']}"
        )
    console.print(title)
    rows = []
    for name, entry in by_name.items():
        of_loop = f"{entry.against(base):.2f}" if base else ""
        of_top = f"{entry.against(top) * network.operations:.0%}" if top else ""
        rows.append([name, *entry.cells(of_loop, of_top)])
    columns = ("examples/s", "spread", "x PyTorch", "of ceiling")
    _print(console, ("contender", *columns, "set-up, s", "peak MiB"), rows)
    _conclude(console, by_name)


def _conclude(console: Console, by_name: Mapping[str, Entry]) -> None:
    """Compares the largest population with each rival, and all cores with fewer."""
    ours = [e for e in by_name.values() if e.contender.kind == "nnlab"]
    whole = [entry for entry in ours if not entry.contender.cores]
    others = [entry for entry in by_name.values() if entry not in ours]
    if whole and others:
        largest = max(whole, key=lambda entry: entry.contender.members)
        ratios = [f"{largest.against(r):.2f} x {r.contender.name}" for r in others]
        console.print(f"{largest.contender.name}: {'; '.join(ratios)}")
    for entry, few in itertools.product(whole, ours):
        some, members = few.contender.cores, entry.contender.members
        if some and members == few.contender.members > 1:
            ratio = entry.against(few)
            console.print(
                f"{entry.contender.name}: {ratio:.2f} x {few.contender.name}, a "
                f"parallel efficiency of {ratio * some / devices.num_cores():.0%}"
            )


def show_study(console: Console, entries: Sequence[Entry], epochs: int = 100) -> None:
    """Prints how long a study of all networks takes, set-up included."""
    seconds: dict[str, list[float]] = collections.defaultdict(list)
    members = max((e.contender.members for e in entries), default=0)
    for entry in entries:
        contender, network = entry.contender, entry.network
        if contender.name != LOOP and contender.members != members:
            continue
        if contender is not CEILING:
            examples = epochs * network.steps_per_epoch * network.batch_size * members
            training = examples / entry.rate
            seconds[contender.name].append(entry.ready["setup_seconds"] + training)
    if not seconds:
        return  # all were left out
    whole = {name: sum(some) for name, some in seconds.items()}
    networks = max(map(len, seconds.values()))
    console.print(
        f"\n{networks} networks x {members} seeds x {epochs} epochs, training with "
        f"set-up: {'; '.join(f'{name} {s:,.0f} s' for name, s in whole.items())}"
    )
    base = whole.pop(LOOP, None)
    for name, found in whole.items():
        if base and len(seconds[name]) == len(seconds[LOOP]):
            console.print(f"{name}: {base / found:.1f} times as fast as one by one")


def show_searches(console: Console, found: Sequence[Mapping[str, Any]]) -> None:
    """Prints how long each search took, and how good its chosen trial is."""
    if not found:
        return
    race = found[0]["race"]
    console.print(
        f"\nsearch of {race['dataset']}: {race['trials']} trials x {race['seeds']} "
        f"seeds, {race['epochs']} epochs of {race['train_size']:,} examples, TPE"
    )
    all_of = pd.json_normalize(list(found)).set_index("race.root_seed")
    loops = all_of["seconds"][all_of["race.batch"] == 0]
    all_of["share"] = all_of["seconds"] / loops.reindex(all_of.index)
    rows = []
    for name, some in all_of.groupby("race.name", sort=False):
        seconds, share = some["seconds"], some["share"].median()
        cells = [
            f"{seconds.median():.1f}",
            f"{seconds.min():.1f} to {seconds.max():.1f}",
        ]
        cells.append("" if math.isnan(share) else f"{share:.2f}")
        for values in (some["validation"], some["test"]):
            spread = f" ± {100 * values.std():.2f}" if len(values) > 1 else ""
            cells.append(f"{values.mean():.2%}{spread}")
        rows.append([str(name), *cells])
    columns = ("s", "range", "of the loop", "validation", "test of the best")
    _print(console, ("contender", *columns), rows)
