# SPDX-License-Identifier: Apache-2.0
"""The benchmark: equal networks, honest counts, workers that may fail."""

import dataclasses
import io
import json
import time

import jax
import pytest
from absl.testing import flagsaver
from launched import launched
from rich.console import Console

from nnlab import data
from nnlab.commands.bench import bench, rivals, searches, tables
from nnlab.commands.bench.rivals import Contender, Network
from nnlab.machine import devices
from nnlab.models import layers
from nnlab.training import prepare

pytestmark = pytest.mark.usefixtures("compiled_fast")

TINY = Network("tiny", layers.mlp((3,), 2), (4,), 8, num_classes=2, num_examples=32)
IMAGES = rivals.SUITES["mlp"][1]
NETWORKS = [network for suite in rivals.SUITES.values() for network in suite]


@pytest.fixture
def short(monkeypatch):
    """Each contender has one short turn."""
    with flagsaver.flagsaver():
        bench.define_flags()
        bench.flags.FLAGS(["bench", "--repeats=1", "--seconds=0.02"])
        yield


def parameters(network):
    return sum(row.parameters for row in network.rows)


@pytest.mark.parametrize(
    ("network", "forward", "first"),
    [
        (IMAGES, 2 * (784 * 64 + 64 * 10), 2 * 784 * 64),
        (
            rivals.SUITES["cnn"][0],
            2 * (784 * 9 * 32 + 196 * 9 * 32 * 64 + 49 * 64 * 128 + 128 * 10),
            2 * 784 * 9 * 32,
        ),
    ],
    ids=["mlp", "cnn"],
)
def test_operations_are_counted_without_the_gradient_of_the_inputs(
    network, forward, first
):
    assert network.operations == 3 * forward - first


@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: f"{n.name}-{n.batch_size}")
def test_flax_trains_the_same_network(network):
    example = jax.ShapeDtypeStruct((1, *network.input_shape), "float32")
    module = rivals.stock_flax(network)
    shapes = jax.eval_shape(module.init, jax.random.key(0), example)
    sizes = [leaf.size for leaf in jax.tree.leaves(shapes["params"])]
    assert sum(sizes) == parameters(network)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: f"{n.name}-{n.batch_size}")
def test_pytorch_trains_the_same_network(network):
    torch = pytest.importorskip("torch")
    module = rivals.torch_module(network)
    assert sum(p.numel() for p in module.parameters()) == parameters(network)
    shape = network.input_shape
    batch = torch.zeros(2, *shape[2:], *shape[:2])
    assert module(batch).shape == (2, network.num_classes)


@pytest.mark.parametrize(
    ("channels_last", "strides"), [(False, (784, 784, 28, 1)), (True, (784, 1, 28, 1))]
)
def test_batches_of_pytorch_lie_as_they_are_said_to(channels_last, strides):
    torch = pytest.importorskip("torch")
    network = rivals.SUITES["cnn"][0]
    images, labels = rivals.torch_data(network, channels_last)
    assert images[torch.arange(64)].stride() == strides
    assert (images.shape, labels.shape) == ((16_384, 1, 28, 28), (16_384,))
    assert 0.99 < float(images.max()) <= 1


@pytest.mark.parametrize("count", [1, 2])
def test_a_flax_contender_does_at_least_the_steps(count):
    ready, turn = rivals.serve(TINY, Contender("", "flax", count), [17])
    assert ready["setup_seconds"] > 0
    assert turn["steps"] == 32  # two scans


ADAM = dataclasses.replace(TINY, optimizer="adam")


@pytest.mark.slow
@pytest.mark.parametrize("network", [TINY, ADAM], ids=lambda n: n.optimizer)
def test_nnlab_does_the_steps_by_the_rule_that_it_is_told(monkeypatch, network):
    asked, find = [], prepare.networks
    monkeypatch.setattr(
        prepare,
        "networks",
        lambda study, **more: asked.append(study) or find(study, **more),
    )
    contender = Contender("", "nnlab", 8)
    ready, first, second = rivals.serve(network, contender, [5, 3])
    assert [study.base.optimizer.name for study in asked] == [network.optimizer]
    assert ready["plan"]["lane_width"] <= 8
    assert (first["steps"], second["steps"]) == (5, 3)
    assert second["seconds"] > 0
    assert second["peak_bytes"] > 2**20


@pytest.mark.parametrize(
    ("module", "reason"),
    {
        "raise ModuleNotFoundError(\"No module named 'torch'\")": "No module named 't",
        "import os; os._exit(3)": "died with status 3",
        "import time; time.sleep(60)": "no answer within 1 s",
        "print('noise'); 1 / 0": "division by zero",
    }.items(),
)
def test_who_fails_is_left_out_by_name(tmp_path, monkeypatch, short, module, reason):
    (tmp_path / "torch.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    if "sleep" in module:
        monkeypatch.setattr(bench, "LIMIT_SECONDS", 1.0)
    console = Console(file=io.StringIO(), width=100)
    start = time.monotonic()
    assert bench.measure(console, [(TINY, Contender("PyTorch loop", "torch"))]) == []
    assert time.monotonic() - start < 30
    assert console.file.getvalue().startswith(f"left out: PyTorch loop ({reason}")


def test_who_enters():
    def names(network, cores=()):
        found = rivals.contenders(network, [1, 8], cores)
        return [contender.name for contender in found]

    assert names(IMAGES, cores=[1])[:5] == [
        "nnlab, 1 network",
        "nnlab, 1 network, 1 core",
        "nnlab, 8 networks",
        "nnlab, 8 networks, 1 core",
        "Flax, jitted scan",
    ]
    assert "scikit-learn" in names(IMAGES)
    for suite in ("deep", "cnn", "architectures"):
        assert "scikit-learn" not in names(rivals.SUITES[suite][0])
    assert "PyTorch, channels last" in names(rivals.SUITES["architectures"][1])
    assert "PyTorch, channels last" not in names(IMAGES)
    # The others have plain SGD.
    adam = names(rivals.SUITES["depth_width"][0])
    assert adam == ["nnlab, 1 network", "nnlab, 8 networks", "PyTorch loop"]


def test_pytorch_trains_with_the_rule_of_the_network(monkeypatch):
    torch = pytest.importorskip("torch")
    made = []

    def noted(rule):
        return lambda *a, **k: made.append(rule.__name__) or rule(*a, **k)

    for rule in (torch.optim.SGD, torch.optim.Adam):
        monkeypatch.setattr(torch.optim, rule.__name__, noted(rule))
    for network in (TINY, ADAM):
        list(rivals.serve(network, Contender("", "torch"), [1]))
    assert made == ["SGD", "Adam"]


@pytest.mark.slow
def test_a_run_prints_a_table_and_keeps_every_turn(monkeypatch, tmp_path):
    monkeypatch.setattr(rivals, "SUITES", {"mlp": [TINY]})
    file = tmp_path / "bench.json"
    short = ["--only=scikit", "--repeats=2", "--seconds=0.02"]
    status, out, _ = launched(bench, *short, f"--out={file}")
    assert status == 0
    assert max(map(len, out.splitlines())) <= 100
    assert "tiny, batch 8; matrix product: " in out
    ceiling, sklearn = json.loads(file.read_text())["entries"]
    (turn, _), (rate, _) = ceiling["turns"], ceiling["rates"]
    assert rate == turn["steps"] / turn["seconds"] > 1e9
    assert len(sklearn["turns"]) == 2
    assert sklearn["setup_seconds"] > 0
    turn = sklearn["turns"][0]
    assert sklearn["rates"][0] == turn["steps"] * 8 / turn["seconds"]
    assert turn["steps"] % 4 == 0  # whole epochs
    assert turn["peak_bytes"] > 2**20


def test_a_file_of_results_is_kept_until_there_are_others(monkeypatch, tmp_path):
    file = tmp_path / "bench.json"
    file.write_text("earlier")
    monkeypatch.setattr(bench, "measure", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        launched(bench, f"--out={file}")
    assert file.read_text() == "earlier"
    monkeypatch.setattr(bench, "measure_searches", lambda _: ["one"])
    monkeypatch.setattr(bench, "_check_search", lambda: None)
    with pytest.raises(ZeroDivisionError):
        launched(bench, "--suite=search,mlp", f"--out={file}")
    assert json.loads(file.read_text())["searches"] == ["one"]


def test_no_steps_are_none():
    waited = []
    run = rivals._repeated(lambda index: index, 4, waited.append)
    assert ([run(0), run(5)], waited) == ([0, 8], [1])


def entry(network, contender, rate, setup):
    """An entry with `rate` examples/s of all networks together in each turn."""
    steps = 1000
    seconds = steps * network.batch_size * contender.members / rate
    turns = [{"steps": steps, "seconds": seconds, "peak_bytes": 1}] * 3
    return tables.Entry(network, contender, {"setup_seconds": setup}, turns)


def printed(show, *given, **options):
    """Returns the lines that a function prints."""
    console = Console(file=io.StringIO(), width=200)
    show(console, *given, **options)
    return console.file.getvalue().strip().splitlines()


def test_a_study_takes_the_time_of_all_its_networks_and_seeds():
    """10 epochs of 32 examples for 8 seeds are 2,560 examples."""
    wide = dataclasses.replace(TINY, name="wide")
    loop, ours = Contender("PyTorch loop", "torch"), Contender("nnlab, 8", "nnlab", 8)
    few = Contender("nnlab, 1 network", "nnlab")
    of_tiny = [
        *(entry(TINY, tables.CEILING, 1e9, 0.0), entry(TINY, few, 640.0, 1.0)),
        *(entry(TINY, ours, 2560.0, 3.0), entry(TINY, loop, 128.0, 1.0)),
    ]
    of_wide = [entry(wide, ours, 1280.0, 4.0), entry(wide, loop, 64.0, 1.0)]
    assert printed(tables.show_study, of_tiny + of_wide, epochs=10) == [
        "2 networks x 8 seeds x 10 epochs, training with set-up: nnlab, 8 10 s; "
        "PyTorch loop 62 s",
        "nnlab, 8: 6.2 times as fast as one by one",
    ]
    # Without a contender on a network there is nothing to compare.
    assert printed(tables.show_study, of_tiny + of_wide[:1], epochs=10) == [
        "2 networks x 8 seeds x 10 epochs, training with set-up: nnlab, 8 10 s; "
        "PyTorch loop 21 s",
    ]


@pytest.mark.parametrize("entries", [[], [entry(TINY, tables.CEILING, 1e9, 0.0)]])
def test_a_study_that_nobody_trained_has_no_time(entries):
    assert printed(tables.show_study, entries) == []


@pytest.mark.slow
def test_a_population_may_have_fewer_cores(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "3")  # of all cores
    few = Contender("", "nnlab", 2, cores=1)
    worker = bench.Worker(str(tmp_path), rivals.serve, TINY, few)
    try:
        assert worker.answer()["device"] == f"{devices.LEAST_CPU_DEVICES} x cpu"
    finally:
        worker.close()


def test_the_parallel_efficiency_is_said(monkeypatch):
    monkeypatch.setattr(devices, "num_cores", lambda: 4)
    whole = entry(TINY, Contender("nnlab, 8 networks", "nnlab", 8), 3000.0, 1.0)
    few = Contender("nnlab, 8 networks, 1 core", "nnlab", 8, cores=1)
    of_few = entry(TINY, few, 1000.0, 1.0)
    assert printed(tables.show, TINY, [whole, of_few])[-1] == (
        "nnlab, 8 networks: 3.00 x nnlab, 8 networks, 1 core, a parallel efficiency of "
        "75%"
    )


@pytest.fixture
def race(monkeypatch):
    """A race with hardly a choice of settings."""
    monkeypatch.setattr(searches, "WIDTHS", (16,))
    monkeypatch.setattr(searches, "RATES", (0.1, 0.11))
    monkeypatch.setattr(searches, "MOST_MOMENTUM", 0.01)
    return searches.Race("", 1, "digits", None, 1, 12, 20, train_size=0)


@pytest.mark.slow
def test_searches_train_equal_networks(race):
    pytest.importorskip("optuna")
    found = [
        of(race, data.load("digits"))
        for of in (searches.by_population, searches.by_loop)
    ]
    for one in found:
        assert one["seconds"] > 0
        assert 0.9 < one["test"] < 1
    first, second = (one["validation"] for one in found)
    assert 0.9 < first == pytest.approx(second, abs=0.015)


def test_searches_are_compared_turn_by_turn():
    races = [
        searches.Race("loop", 0, "digits", None),
        searches.Race("ours", 8, "d", None),
    ]
    found = [
        {
            "race": dataclasses.asdict(dataclasses.replace(race, root_seed=turn)),
            "seconds": turn * seconds,
            "validation": 0.5 + 0.01 * turn,
            "test": 0.5,
        }
        for turn in (1, 2, 4)
        for race, seconds in zip(races, (10, 4))
    ]
    lines = printed(tables.show_searches, found)[-2:]
    cells = [[c.strip() for c in line.split("  ") if c.strip()] for line in lines]
    assert cells == [
        ["loop", "20.0", "10.0 to 40.0", "1.00", "52.33% ± 1.53", "50.00% ± 0.00"],
        ["ours", "8.0", "4.0 to 16.0", "0.40", "52.33% ± 1.53", "50.00% ± 0.00"],
    ]


def test_a_search_without_optuna_is_refused_before_it_begins(monkeypatch):
    monkeypatch.setattr(bench.importlib.util, "find_spec", lambda _: None)
    status, out, error = launched(bench, "--suite=search", "--dataset=digits")
    assert (status, out) == (2, "")
    assert error.startswith("error: --suite=search needs Optuna: pip install")
