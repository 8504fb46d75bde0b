# SPDX-License-Identifier: Apache-2.0
"""Measures training against the alternatives, side by side in one run.

python -m launch.bench [--suite=mlp,cnn] [--members=1,64] [--out=bench.json]

Every contender trains the same network at the same batch size with plain SGD in float32
on data in memory, on all cores. Contenders take turns; a table shows medians over the
turns, with half the range as spread. Set-up holds data, compilation and two steps.
"""

import functools
import importlib.util
import json
import pathlib
import statistics
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from absl import flags
from rich.console import Console
from rich.table import Table

from launch import config

if TYPE_CHECKING:
    from launch.rivals import Contender, Network


def suites() -> dict[str, list["Network"]]:
    """The networks of each suite."""
    from launch.rivals import NUM_CLASSES, Network
    from nnlab.models import layers

    mlp = layers.mlp((64,), NUM_CLASSES)
    deep = layers.mlp((64,) * 6, NUM_CLASSES, batch_norm=True)
    cnn = layers.cnn((32, 64), (128,), NUM_CLASSES)
    image = (28, 28, 1)
    return {
        "mlp": [Network("MLP 784-64-10", mlp, image, size) for size in (32, 64, 256)],
        "deep": [Network("MLP 2-64x6-10, batch norm", deep, (2,), 256)],
        "cnn": [Network("CNN 32-64-128-10", cnn, image, 64)],
    }


def main() -> None:
    """Runs the suites of the flags."""
    config.use_all_cores()
    known = suites()
    for suite in flags.FLAGS.suite:
        if suite not in known:
            raise config.UsageError(
                f"unknown suite {suite!r}; allowed: {', '.join(known)}"
            )
    try:
        members = [int(text) for text in flags.FLAGS.members]
    except ValueError:
        raise config.UsageError(
            f"--members={','.join(flags.FLAGS.members)} must be whole numbers"
        ) from None
    console = Console(highlight=False)
    import jax

    from launch import rivals

    top = rivals.ceiling()
    device = f"{jax.device_count()} x {jax.devices()[0].device_kind}"
    console.print(
        f"{device}, jax {jax.__version__}; a large matrix product reaches "
        f"{top / 1e9:,.0f} GFLOP/s"
    )
    records = []
    for suite in flags.FLAGS.suite:
        for network in known[suite]:
            records.append(_measure(console, network, members))
            console.print(_table(network, records[-1], top))
    if flags.FLAGS.out:
        found = {"device": device, "ceiling": top, "runs": records}
        pathlib.Path(flags.FLAGS.out).write_text(json.dumps(found, indent=1) + "\n")


def _makers(
    network: "Network", members: list[int]
) -> dict[str, tuple[int, Callable[[], "Contender"]]]:
    """How to set up each contender, and how many networks it trains."""
    from launch import rivals

    ours = functools.partial(rivals.nnlab_population, network)
    makers: dict[str, tuple[int, Callable[[], Contender]]] = {}
    for count in members:
        name = f"nnlab, {count} member{'s' * (count != 1)}"
        width = min(flags.FLAGS.lane_width, count)
        makers[name] = count, functools.partial(ours, count, width)
    makers["Flax, jitted scan"] = 1, functools.partial(rivals.flax_loop, network)
    ensemble = flags.FLAGS.ensemble
    makers[f"Flax, {ensemble} under vmap"] = (
        ensemble,
        functools.partial(rivals.flax_loop, network, ensemble),
    )
    if importlib.util.find_spec("torch"):
        loop = functools.partial(rivals.torch_loop, network)
        makers["PyTorch loop"] = 1, loop
        makers["PyTorch loop, compiled"] = 1, functools.partial(loop, compiled=True)
        makers[f"torch.func, {ensemble}"] = (
            ensemble,
            functools.partial(rivals.torch_ensemble, network, ensemble),
        )
    kinds = {row.layer["layer"] for row in network.rows}
    if kinds <= {"flatten", "dense", "relu"}:
        makers["scikit-learn"] = 1, functools.partial(rivals.sklearn_loop, network)
    wanted = flags.FLAGS.only
    return {
        n: m for n, m in makers.items() if not wanted or any(w in n for w in wanted)
    }


def _measure(
    console: Console, network: "Network", members: list[int]
) -> dict[str, Any]:
    """Times every contender on one network, taking turns."""
    if not importlib.util.find_spec("torch"):
        console.print("left out: PyTorch (not installed; extra: bench)")
    contenders: dict[str, tuple[int, Contender]] = {}
    setup: dict[str, float] = {}
    steps: dict[str, int] = {}
    for name, (count, make) in _makers(network, members).items():
        start = time.perf_counter()
        try:
            run = make()
            run(2)
        except Exception as error:  # a rival that cannot do this network
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            console.print(f"left out: {name} ({reason[:70]})", markup=False)
            continue
        setup[name] = time.perf_counter() - start
        contenders[name] = count, run
        steps[name] = _calibrate(run)
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(flags.FLAGS.repeats):
        for name, (count, run) in contenders.items():
            start = time.perf_counter()
            done = run(steps[name])
            seconds = time.perf_counter() - start
            rates[name].append(done * network.batch_size * count / seconds)
    return {
        "network": network.name,
        "batch_size": network.batch_size,
        "operations_per_example": network.operations,
        "examples_per_second": rates,
        "setup_seconds": setup,
    }


def _calibrate(run: "Contender") -> int:
    """Steps that take about the wanted time."""
    steps = 2
    while True:
        start = time.perf_counter()
        done = run(steps)
        seconds = time.perf_counter() - start
        if seconds > flags.FLAGS.seconds / 4:
            return max(1, int(done * flags.FLAGS.seconds / seconds))
        steps = 2 * done


def _table(network: "Network", record: Mapping[str, Any], top: float) -> Table:
    rates = record["examples_per_second"]
    title = f"{network.name}, batch {network.batch_size}, n = {flags.FLAGS.repeats}"
    table = Table(title=title, title_justify="left", box=None)
    table.add_column("contender")
    medians = {name: statistics.median(values) for name, values in rates.items()}
    base = medians.get("PyTorch loop")
    columns = ("examples/s", "spread", "x PyTorch", "of ceiling", "set-up, s")
    for column in columns:
        table.add_column(column, justify="right")
    for name, median in medians.items():
        spread = (max(rates[name]) - min(rates[name])) / 2 / median
        table.add_row(
            name,
            f"{median:,.0f}",
            f"±{spread:.0%}",
            f"{median / base:.2f}" if base else "",
            f"{median * network.operations / top:.0%}",
            f"{record['setup_seconds'][name]:.1f}",
        )
    return table


if __name__ == "__main__":
    flags.DEFINE_list("suite", ["mlp"], "networks: mlp, deep, cnn")
    flags.DEFINE_list("members", ["1", "64"], "sizes of nnlab's populations")
    flags.DEFINE_integer("ensemble", 16, "networks in the rivals' ensembles")
    flags.DEFINE_integer("repeats", 5, "turns of each contender")
    flags.DEFINE_float("seconds", 2.0, "length of a turn")
    flags.DEFINE_integer("lane_width", 0, "members at once; 0 lets the plan choose")
    flags.DEFINE_list("only", [], "contenders whose names hold one of these")
    flags.DEFINE_string("out", None, "JSON file for all numbers")
    config.run(main)
