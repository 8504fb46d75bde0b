# SPDX-License-Identifier: Apache-2.0
"""Chunks trained by Ray equal those of one process, whatever dies on the way."""

import collections
import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import pytest
import tiny

from nnlab import results
from nnlab.cluster import connect
from nnlab.cluster import ray as executor
from nnlab.cluster.connect import STORE_BYTES
from nnlab.cluster.storage import Storage
from nnlab.machine import files
from nnlab.runs import experiment, loop
from nnlab.study import Study
from nnlab.study.members import Members
from nnlab.training.prepare import prepare

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("compiled_fast"),
    # Ray's own warnings: it leaves files and sockets open until the process ends.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:.*RAY_ACCEL_ENV_VAR:FutureWarning"),
]

TABLES = ("curves.parquet", "members.csv", "summary.csv")
PICTURES, CORRECT = "artifacts/pictures.npz", "artifacts/correct.npz"
ROOT = pathlib.Path(__file__).parents[2]


def study(sweep, **fields):
    """A study of a few networks on digits, which a node loads by name."""
    small = {
        "dataset": "digits",
        "train_size": 320,
        "eval_size": 60,
        "batch_size": 32,
        "num_epochs": 3,
        "num_seeds": 4,
        "figures": ("curves", "confusion", "gallery"),
        "model": {"hidden": (8,)},
    }
    return Study.from_dict({**small, "sweep": sweep, **fields})


STUDY = study(
    [
        *tiny.rates(0.03, 0.3),
        {tiny.RATE: 0.1, "optimizer.momentum": 0.9},
        {tiny.RATE: 1e6, "model.activation": "identity", "label": "diverges"},
        {"model.hidden": (4,)},
        {"model.name": "boosted_trees", "model.num_trees": 2},
        {tiny.RATE: 1.0, "num_epochs": 12, "early_stopping.patience": 1},
    ],
    test_sets={"moved_pixels": 1},
)
LONGER = study(tiny.rates(0.03, 0.1, 0.3), num_epochs=300, num_seeds=2)


@pytest.fixture(autouse=True, scope="module")
def _own_ray():
    """Gives Ray a folder of its own, with a short name because of sockets."""
    folder = tempfile.mkdtemp(prefix="r", dir="/tmp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("PYTHONPATH", str(ROOT))
        yield
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def cluster(_own_ray):
    """A cluster of one node, for tests that do not damage it."""
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args=node())
    yield found.address
    found.shutdown()


def node(cores=2):
    return {
        "num_cpus": cores,
        "object_store_memory": STORE_BYTES,
        "include_dashboard": False,
    }


def train(of, folder, address=None, chunk_members=2, storage=None, **kwargs):
    """Runs by Ray, or in this process; lanes have two networks."""
    if address is None:
        return experiment.run(of, folder, lane_width=2, **kwargs)
    with executor.Ray(address, chunk_members, storage) as nodes:
        return experiment.run(of, folder, lane_width=2, executor=nodes, **kwargs)


def assert_equal(found, wanted, also=(PICTURES, CORRECT)):
    for name in (*TABLES, *also):
        first, other = (one.workdir / name for one in (found, wanted))
        assert first.read_bytes() == other.read_bytes(), name


def processes_below(pid):
    """Returns ``{pid: title}`` of all descendants of this process."""
    parents, titles = {}, {}
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            status = (path / "stat").read_text().rpartition(")")[2].split()
            titles[int(path.name)] = (path / "cmdline").read_bytes().decode()
            parents[int(path.name)] = int(status[1])
        except OSError:  # it has ended
            continue
    below = {pid}
    while more := {p for p, parent in parents.items() if parent in below} - below:
        below |= more
    return {p: titles[p] for p in below - {pid}}


def workers():
    """Returns the ids of the processes that train."""
    below = processes_below(os.getpid())
    return [p for p, title in below.items() if title.startswith("ray::chunk")]


@pytest.fixture
def hidden(tmp_path):
    """A workdir under a path that only this process can find, and a storage URL.

    The path goes through a file descriptor of this process.
    """
    folders = tmp_path / "drivers", tmp_path / "storage"
    for folder in folders:
        folder.mkdir()
    descriptor = os.open(folders[0], os.O_RDONLY)
    yield pathlib.Path(f"/proc/self/fd/{descriptor}/run"), f"file://{folders[1]}"
    os.close(descriptor)


def stored(url):
    """Returns RUN/checkpoints/PART/ATTEMPT/NUMBER.sha256 of all whole checkpoints."""
    folder = pathlib.Path(url.removeprefix("file://"))
    return [path.relative_to(folder) for path in folder.glob("*/*/*/*/*.sha256")]


def saved_in(workdir):
    """Returns the digests of all whole checkpoints of a workdir."""
    return [*workdir.glob("checkpoints/*/*.sha256")]


def gone_on(found):
    """Returns the parts of LONGER that another process resumed in the middle.

    A process that starts from the beginning also compiles the first evaluation.
    """
    return {
        f"program_{row['cohort']}"
        for row in found.timings.to_pylist()
        if row["compile_seconds"] > 0 and 10 < row["step"] < 3000
    }


def last(workdir, part):
    """Returns the number of a part's last checkpoint."""
    found = (workdir / "checkpoints" / part).glob("*.sha256")
    return max(int(path.stem) for path in found)


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    return train(STUDY, tmp_path_factory.mktemp("local") / "run")


@pytest.fixture(scope="module")
def local_longer(tmp_path_factory):
    return train(LONGER, tmp_path_factory.mktemp("longer") / "run")


@pytest.mark.long
def test_nodes_without_the_workdir_give_the_same_tables(
    cluster, local, hidden, monkeypatch
):
    run, url = hidden
    with pytest.raises(ValueError, match=r"does not see '/proc/self/fd/.*run'"):
        train(STUDY, run, cluster)
    kept, pulled, pull = [], [], Storage.pull

    def note(_):
        kept.append({path.parts[2] for path in stored(url)})

    def noted(storage, part, workdir):
        pulled.append(part)
        return pull(storage, part, workdir)

    monkeypatch.setattr(Storage, "pull", noted)
    found = train(STUDY, run, cluster, 2, url, resume=True, on_progress=note)
    assert found.config["status"] == "complete"
    assert_equal(found, local)
    parts = sorted(path.name for path in (run / "checkpoints").iterdir())
    number = len(found.config["cohorts"])
    assert parts == sorted(f"program_{index}" for index in range(number))
    assert not list(pathlib.Path(url.removeprefix("file://")).iterdir())
    assert set(pulled) == set(parts)
    # One is being trained and one collected; earlier ones are gone.
    assert max(map(len, kept)) <= 2
    # The workdir is whole: any executor can continue.
    more = dataclasses.replace(STUDY, num_seeds=5)
    assert train(more, run, resume=True).config["status"] == "complete"


@pytest.mark.long
@pytest.mark.parametrize("stores", [False, True])
def test_a_backbone_is_trained_once_for_all(
    cluster, hidden, tmp_path, monkeypatch, stores
):
    transfer = {"mode": "tuning", "source": "digits", "num_epochs": 1}
    of = study(tiny.rates(0.03, 0.1), num_seeds=2, transfer=transfer)
    local = train(of, tmp_path / "local")
    run, url = hidden if stores else (tmp_path / "ray", None)
    monkeypatch.setattr(loop, "_pretrain", None)  # fails here, not on the node
    found = train(of, run, cluster, storage=url)
    assert_equal(found, local)
    assert found.config["backbones"] == local.config["backbones"]
    assert len(list((run / "checkpoints").glob("backbone_*/[0-9]"))) == 1


@pytest.mark.long
@pytest.mark.parametrize("stores", [False, True])
def test_a_killed_process_is_replaced_and_goes_on(
    cluster, local_longer, hidden, tmp_path, caplog, stores
):
    run, url = hidden if stores else (tmp_path / "run", None)
    killed = []

    def kill(_):
        saved = stored(url) if stores else saved_in(run)
        found = {p.parts[-3 if stores else -2] for p in saved if p.stem != "0"}
        if len(killed) < 2 and (new := found - {*killed}) and (pids := workers()):
            killed.extend(new)
            os.kill(pids[0], signal.SIGKILL)

    seconds = {"checkpoint_seconds": 0.05, "on_progress": kill}
    found = train(LONGER, run, cluster, 2, url, **seconds)
    assert len(killed) == caplog.text.count("died; training it again") == 2
    assert_equal(found, local_longer)
    assert gone_on(found) == set(killed)
    assert not workers()


@pytest.mark.parametrize(
    "chunk_members", [4, pytest.param(100, marks=pytest.mark.long)]
)
def test_tables_are_those_of_one_process(cluster, local, tmp_path, chunk_members):
    told = []
    run = tmp_path / "run"
    found = train(STUDY, run, cluster, chunk_members, on_progress=told.append)
    assert_equal(found, local)
    assert "stopped" in local.members["status"].to_pylist()
    assert found.config["status"] == "complete"
    records = found.config["cohorts"]
    keys = [
        (trial, seed)
        for one in records
        for trial in one["trials"]
        for seed in range(one["first_seed"], one["first_seed"] + one["num_seeds"])
    ]
    assert sorted(keys) == [(t, s) for t in range(7) for s in range(4)]
    assert (told[0].program, told[-1].program) == (0, len(records))
    assert told[-1].done == told[-1].total
    assert {one.status for one in told} == {"elsewhere"}
    assert found.config["devices"] == local.config["devices"]


def test_programs_of_equal_chunks_are_compiled_once(cluster, tmp_path):
    of = study(tiny.rates(0.03, 0.1, 0.3, 1.0), num_seeds=1)
    found = train(of, tmp_path / "run", cluster)
    seconds = collections.Counter()
    for row in found.timings.to_pylist():
        seconds[row["cohort"]] += row["compile_seconds"]
    assert sorted(value > 0 for value in seconds.values()) == [False, True]


@pytest.mark.long
def test_a_run_goes_on_with_any_executor_and_more_seeds(cluster, tmp_path):
    begun, whole = dataclasses.replace(STUDY, num_seeds=2), tmp_path / "whole"
    train(begun, tmp_path / "run", cluster)
    more = train(STUDY, tmp_path / "run", resume=True)
    assert more.config["status"] == "complete"
    train(begun, whole)
    assert_equal(more, train(STUDY, whole, resume=True))
    again = train(STUDY, whole, cluster, resume=True)
    assert_equal(again, more)
    with pytest.raises(ValueError, match="batch_size was 32 and is 16 now"):
        train(
            study(STUDY.sweep, batch_size=16, test_sets={"moved_pixels": 1}),
            tmp_path / "run",
            cluster,
            resume=True,
        )


@pytest.mark.long
def test_a_chunk_that_fails_is_told_and_the_others_go_on(cluster, tmp_path):
    ruin = {"mode": "tuning", "source": "digits", "learning_rate": 1e30}
    of = study([*tiny.rates(0.1), {f"transfer.{k}": v for k, v in ruin.items()}])
    found = train(of, tmp_path / "run", cluster, 4)
    assert found.config["status"] == "failed"
    told = "FloatingPointError: the backbone diverged on digits at transfer.learning_ra"
    assert list(found.config["failures"]) == ["1"]
    assert found.config["failures"]["1"].startswith(told)
    text = (tmp_path / "run" / "failure_1.txt").read_text()
    assert "in backbone_for" in text  # of the process where it happened
    assert told in text
    statuses = found.members["status"].to_pylist()
    assert statuses == ["finished"] * 4


@pytest.mark.long
def test_what_always_dies_is_given_up(cluster, tmp_path):
    def kill(_):
        for pid in workers():
            os.kill(pid, signal.SIGKILL)

    of = study(tiny.rates(0.1), num_seeds=2, num_epochs=100_000)
    with pytest.raises(RuntimeError, match=r"given up after 4 attempts: node .* died"):
        train(of, tmp_path / "run", cluster, on_progress=kill)
    assert results.load(tmp_path / "run").config["status"] == "failed"


@pytest.fixture
def command():
    """Starts a run of LONGER by Ray; kills what a failing test leaves behind."""
    started = []

    def start(workdir, *arguments):
        file = workdir.with_suffix(".json")
        file.write_text(json.dumps(LONGER.to_dict()))
        given = [f"--config_json={file}", f"--workdir={workdir}", "--lane_width=2"]
        given += ["--executor=ray", "--chunk_members=2", "--checkpoint_seconds=0.1"]
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "launch.train", *given, *arguments],
                cwd=ROOT,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=60)


def wait_for(condition, seconds=120):
    """Waits until a condition holds, and returns its value."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


@pytest.mark.long
def test_a_killed_run_is_resumed_and_leaves_no_process(command, local_longer, tmp_path):
    workdir = tmp_path / "run"
    driver = command(workdir)
    wait_for(lambda: list(workdir.glob("checkpoints/program_1/*.sha256")))
    below = processes_below(driver.pid)
    assert any(title.startswith("ray::chunk") for title in below.values())
    driver.kill()
    driver.communicate(timeout=60)
    wait_for(lambda: not [p for p in below if pathlib.Path(f"/proc/{p}").exists()])
    assert results.load(workdir).config["status"] == "interrupted"
    text, _ = command(workdir, "--resume").communicate(timeout=300)
    assert "4/4 programs done | 100%" in text, text
    assert_equal(results.load(workdir), local_longer)


@pytest.mark.long
def test_an_interrupted_run_says_how_it_goes_on(command, tmp_path):
    workdir = tmp_path / "run"
    driver = command(workdir, f"--storage=file://{tmp_path}/storage?sig=hunter2")
    wait_for(lambda: list(workdir.glob("checkpoints/program_0/*")))
    driver.terminate()
    text, _ = driver.communicate(timeout=120)
    assert driver.returncode == 1
    told = " ".join(text.split())
    assert "--resume --executor=ray --chunk_members=2" in told
    assert "/storage?sig=***' (*** stands for the password)" in told
    assert "hunter2" not in text


def test_folders_of_killed_processes_are_removed_but_none_in_use(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    abandoned, held = (tmp_path / f"{executor.PRIVATE}{n}" for n in ("1", "2"))
    for folder in (abandoned, held):
        (folder / "checkpoints").mkdir(parents=True)
    with files.alone_in(held):
        executor.remove_abandoned()
    assert list(tmp_path.iterdir()) == [held]


class Here:
    """A class, an object of it, or its result, in this process in the place of Ray."""

    def __init__(self, made):
        self.made = made

    def __getattr__(self, name):
        return Here(getattr(self.made, name))

    def options(self, **_):
        return self

    def remote(self, *given):
        return Here(self.made(*given))


def test_a_process_removes_abandoned_folders_and_locks_its_own(tmp_path, monkeypatch):
    import ray

    temporary, seen, pull = tmp_path / "tmp", [], Storage.pull
    (temporary / f"{executor.PRIVATE}1").mkdir(parents=True)

    def noted(*given):
        seen.append([files.is_taken(folder) for folder in temporary.iterdir()])
        return pull(*given)

    keys = ("NodeID", "NodeManagerHostname", "NodeManagerAddress")
    here = {**dict.fromkeys(keys, "ab" * 28), "Alive": True, "Resources": {"CPU": 2}}
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr(Storage, "pull", noted)
    monkeypatch.setattr(connect, "connected", lambda *_: contextlib.nullcontext())
    for name, does in {
        "nodes": lambda: [here],
        "remote": Here,
        "wait": lambda tasks, timeout: (tasks, []),
        "get": lambda task: task.made,
        "kill": lambda process: None,
    }.items():
        monkeypatch.setattr(ray, name, does)
    tree = {"model.name": "boosted_trees", "model.num_trees": 1}
    of, storage = study([tree], num_seeds=1), f"file://{tmp_path}/storage"
    train(of, tmp_path / "run", "", storage=storage)
    assert seen == [[True], []]  # of the process, and of the run that collects


@pytest.mark.long
def test_a_storage_that_fails_ends_a_run_which_can_be_resumed(
    command, local_longer, tmp_path
):
    workdir, url = tmp_path / "run", f"file://{tmp_path}/storage"
    storage = f"--storage={url}"
    driver = command(workdir, storage)
    found = wait_for(lambda: [path for path in stored(url) if path.stem != "0"])[0]
    part = found.parts[2]
    folder = tmp_path / "storage" / found.parts[0] / "checkpoints"
    folder.rename(tmp_path / "kept")
    folder.write_text("no folder any more")
    text, _ = driver.communicate(timeout=120)
    told = " ".join(text.split())
    assert driver.returncode == 1
    assert f"error: storage {folder.parent.as_uri()}: " in told
    assert f"go on with python -m launch.train --workdir={workdir} --resume" in told
    assert f"--chunk_members=2 --storage={url}" in told
    assert results.load(workdir).config["status"] == "interrupted"
    folder.unlink()
    (tmp_path / "kept").rename(folder)
    text, _ = command(workdir, "--resume", storage).communicate(timeout=300)
    assert "4/4 programs done | 100%" in text, text
    assert_equal(results.load(workdir), local_longer)
    assert part in gone_on(results.load(workdir))
    assert not stored(url)


@pytest.mark.long
def test_what_a_run_here_has_saved_goes_on_through_storage(
    cluster, local_longer, hidden
):
    run, url = hidden

    def interrupt(progress):
        if (run / "checkpoints").exists() and list(run.glob("checkpoints/*/2")):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(LONGER, run, on_progress=interrupt, checkpoint_seconds=0.0)
    number = last(run, "program_0")
    found = train(LONGER, run, cluster, storage=url, resume=True)
    assert_equal(found, local_longer)
    assert last(run, "program_0") > number


@pytest.mark.long
def test_a_node_that_cannot_use_the_storage_is_left_out(cluster, tmp_path):
    told = "node .* does not see config.json in storage 'memory://run/[0-9a-f]*'"
    with pytest.raises(ValueError, match=told):
        train(study(tiny.rates(0.1)), tmp_path / "run", cluster, storage="memory://run")


def living(pids):
    """Returns the living processes, zombies left out."""
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):
            if pathlib.Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


LISTENING = "0A"  # of /proc/net/tcp


def listening(pids):
    """Returns the addresses at which some processes listen, in the kernel's form."""
    sockets = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for path in pathlib.Path(f"/proc/{pid}/fd").iterdir():
                sockets.add(os.readlink(path)[8:-1])
    rows = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in pathlib.Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    return [
        r[1].partition(":")[0] for r in rows if r[3] == LISTENING and r[9] in sockets
    ]


@pytest.mark.long  # beside other tests the end may take longer than promised
def test_a_ray_of_ones_own_is_open_to_nobody_and_ends_with_its_process(tmp_path):
    code = """
import os, sys
from nnlab.cluster import ray as executor
with executor.Ray(""):
    print([name for name in os.environ if "AUTH" in name], flush=True)
    sys.stdin.readline()
"""
    driver = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "HOME": str(tmp_path)},
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert driver.stdout.readline() == "[]\n"
    below = processes_below(driver.pid)
    found = listening([driver.pid, *below])
    assert len(found) >= 5
    assert {one[-8:] for one in found} == {"0100007F"}  # 127.0.0.1
    assert not list(tmp_path.rglob("auth_token"))
    driver.kill()
    driver.communicate()
    wait_for(lambda: not living(below), 10)


def test_a_cluster_gets_the_token_that_it_asks_for(cluster, monkeypatch, capfd):
    code = f"""
import sys
from ray.cluster_utils import Cluster
print(Cluster(initialize_head=True, head_node_args={node()}).address, flush=True)
sys.stdin.read()
"""
    token, environment = "a" * 64, dict(os.environ)
    head = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**environment, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token},
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    address = head.stdout.readline().strip()
    capfd.readouterr()
    for wrong in ("", "b" * 64):
        monkeypatch.setenv("RAY_AUTH_TOKEN", wrong)
        told = "token is missing or incorrect .a token is in RAY_AUTH_TOKEN, in the fil"
        with pytest.raises(ConnectionError, match=told), executor.Ray(address):
            pass
    assert capfd.readouterr() == ("", "")
    monkeypatch.setenv("RAY_AUTH_TOKEN", token)
    for each in (address, cluster, address):
        with executor.Ray(each) as nodes:
            assert nodes.cut([], 0) == ()
    assert "RAY_AUTH_MODE" not in os.environ
    head.communicate(timeout=60)


def test_refusals(cluster, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="chunk_members=-1 must be 0 or more"):
        executor.Ray("", -1)
    away = executor.Ray("localhost:1")
    with pytest.raises(ConnectionError, match="cannot join Ray at 'localhost:1'"):
        away.__enter__()
    with pytest.raises(ValueError, match="one's own stay in the process"):
        train(STUDY, tmp_path, cluster, dataset=tiny.dataset())
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"--executor=ray needs Ray 2\.52 or later"):
        executor.Ray("")


def test_chunks_are_the_same_for_any_number_of_devices():
    """By default a chunk's size depends on the study alone."""
    items = prepare(study(tiny.rates(0.1, 0.3), num_epochs=2_000, num_seeds=64))
    of = executor.Ray("").cut(items, 0)
    sizes = {len(one.pairs()) for one in of[:-1]}
    (size,) = sizes
    per_member = items[0].work / (2 * 64)
    assert size * per_member <= executor.WORK < (size + 2) * per_member
    assert isinstance(of[0], Members)


@pytest.mark.long
def test_nodes_that_join_and_deaths_of_a_process_and_a_node_change_nothing(
    tmp_path, caplog
):
    from ray.cluster_utils import Cluster

    of = study(tiny.rates(0.03, 0.3), num_epochs=200, num_seeds=32)
    wanted = train(of, tmp_path / "local")
    found = Cluster(initialize_head=True, head_node_args=node(0))
    nodes = [found.add_node(**node(1)) for _ in range(2)]
    done, seen = [], set()

    def change(progress):
        seen.update(now := workers())
        if not done and now:
            nodes.append(found.add_node(**node(1)))
            done.append("joined")
        elif len(done) == 1 and progress.program >= 8 and now:
            os.kill(now[0], signal.SIGKILL)
            done.append("process")
        elif len(done) == 2 and progress.program >= 16:
            found.remove_node(nodes[1], allow_graceful=False)
            done.append("node")

    ray = train(of, tmp_path / "run", found.address, 2, on_progress=change)
    found.shutdown()
    assert len(ray.config["cohorts"]) == 32
    assert_equal(ray, wanted)
    assert done == ["joined", "process", "node"]
    assert len(seen) >= 4  # three nodes, and what replaced the killed process
    assert caplog.text.count("training it again") == 2
