# SPDX-License-Identifier: Apache-2.0
"""Several processes train the same as one, to the last bit."""

import os
import pathlib
import socket
import subprocess
import sys

import pytest
from one_of_several import SETTINGS

from nnlab import results
from nnlab.machine import processes

pytestmark = pytest.mark.slow

PROGRAM = pathlib.Path(__file__).parents[1] / "one_of_several.py"


def launch(command, number, **environment):
    """Starts processes with a coordinator; returns their results."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    started = [
        subprocess.Popen(
            [sys.executable, *command(f"localhost:{port}", index)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=PROGRAM.parent.parent,
            env=os.environ | environment,
        )
        for index in range(number)
    ]
    ended = [process.communicate(timeout=1200) for process in started]
    return [(p.returncode, *told) for p, told in zip(started, ended)]


def train(folder, names, number, devices=1, stop=(), stop_after=0):
    """Trains studies of `one_of_several`; returns what each process printed."""

    def command(coordinator, index):
        after = stop_after if index in stop else 0
        told = number, index, folder, ",".join(names), after
        return [str(PROGRAM), coordinator, *map(str, told)]

    done = launch(command, number, JAX_NUM_CPU_DEVICES=str(devices))
    assert [status for status, *_ in done] == [0] * number, done[0][2][-2000:]
    return [out.splitlines()[-len(names) :] for _, out, _ in done]


DEFAULT = ("batch_norm", "early_stopping", "cnn_batch_norm", "one_lane")
"""One setting of each kind that one device once computed differently."""
OTHERS = tuple(name for name in SETTINGS if name not in DEFAULT)
COUNTS = ((2, 1),)
"""Processes, and JAX_NUM_CPU_DEVICES of each."""
FURTHER_COUNTS = ((1, 3), (1, 4), (1, 8), (2, 2), (2, 4), (4, 1))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with the results of one process, which has at least two devices."""
    folder = tmp_path_factory.mktemp("processes")
    train(folder, DEFAULT, 1, devices=1)
    return folder


def assert_equal(folder, other, names):
    for name in names:
        for table in results.TABLES:
            one, two = folder / name / table, other / name / table
            assert one.read_bytes() == two.read_bytes(), f"{name}: {table}"


def assert_counts_change_nothing(whole, folder, names, counts):
    for number, devices in counts:
        run = folder / f"{number}x{devices}"
        first, *others = train(run, names, number, devices)
        assert others == [first] * (number - 1)
        assert all(told.startswith("complete, ") for told in first)
        assert_equal(run, whole, names)
        found = results.load(run / names[0]).config["devices"]
        expected = number * max(2, devices), number
        assert (found["count"], found["processes"]) == expected


@pytest.mark.long
def test_tables_of_several_processes_are_those_of_one(whole, tmp_path):
    assert_counts_change_nothing(whole, tmp_path, DEFAULT, COUNTS)


@pytest.mark.long
def test_no_count_of_devices_and_processes_changes_any_table(whole, tmp_path):
    """98 pairs, with those above: 14 settings, 7 counts."""
    assert len(SETTINGS) * len(COUNTS + FURTHER_COUNTS) == 98
    assert_counts_change_nothing(whole, tmp_path, DEFAULT, FURTHER_COUNTS)
    train(tmp_path / "two", OTHERS, 1, devices=2)
    every = COUNTS + FURTHER_COUNTS
    assert_counts_change_nothing(tmp_path / "two", tmp_path, OTHERS, every)


def test_an_interrupted_process_stops_all_and_one_can_go_on(whole, tmp_path):
    names = ("early_stopping",)
    told = train(tmp_path, names, 2, stop=(1,), stop_after=4)
    assert told == [["interrupted"]] * 2
    run = tmp_path / names[0]
    assert results.load(run).config["status"] == "interrupted"
    train(tmp_path, names, 1)
    assert_equal(tmp_path, whole, names)


def test_a_refusal_ends_all_processes_at_once(whole):
    workdir = str(whole / DEFAULT[0])

    def command(coordinator, index):
        flags = {
            "config": "configs/quickstart.py:smoke",
            "workdir": workdir,
            "coordinator": coordinator,
            "processes": "2",
            "process_index": str(index),
        }
        return ["-m", "launch.train", *(f"--{k}={v}" for k, v in flags.items())]

    (first, out, err), (second, _, other_err) = launch(command, 2)
    assert (first, second) == (2, 1)
    assert out.startswith("process 1 of 2, joined by localhost:")
    assert err.splitlines()[-1].startswith(f"error: workdir {workdir!r} holds resu")
    assert other_err.splitlines()[-1] == (
        "error: the first process ended, and says why"
    )


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, ""),
        ({"SLURM_NTASKS": "4"}, ""),  # a shell in an allocation, not a task
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "1", "SLURM_STEP_NODELIST": "n"}, "Slu"),
        ({"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_STEP_NODELIST": "n"}, ""),
        ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0"}, "Open"),
        ({"TPU_WORKER_HOSTNAMES": "a,b", "TPU_WORKER_ID": "1"}, "the TPU pod"),
        ({"TPU_WORKER_HOSTNAMES": "a", "TPU_WORKER_ID": "0"}, ""),
    ],
)
def test_what_started_the_processes(environment, found):
    assert processes.cluster(environment).startswith(found)
    assert bool(processes.cluster(environment)) == bool(found)


def test_no_cluster_is_said_in_a_line(tmp_path):
    def command(*_):
        flags = "--config=quickstart:smoke", "--coordinator=auto"
        return ["-m", "launch.train", f"--workdir={tmp_path / 'run'}", *flags]

    ((status, _, err),) = launch(command, 1)
    assert status == 2
    assert err.splitlines()[-1].startswith("error: JAX finds no cluster here: coord")
    assert not (tmp_path / "run").exists()


def test_numbers_that_make_no_sense_are_refused():
    with pytest.raises(
        ValueError, match="process 2 of 2: they are counted from 0 to 1"
    ):
        processes.start("localhost:1", 2, 2)


def test_one_process_alone_asks_nobody():
    assert processes.agreed(3.5) == 3.5
    assert processes.any_of(True)
    assert not processes.any_of(False)
    assert processes.in_first(lambda: 7) == 7
    with pytest.raises(ValueError, match="no"):
        processes.in_first(lambda: int("no"))
