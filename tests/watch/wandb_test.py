# SPDX-License-Identifier: Apache-2.0
"""Runs at Weights & Biases, by the real library without a network."""

import contextlib
import json
import pathlib
import struct
import sys
import time

import numpy as np
import pytest
import synthetic
import tiny
from progressed import evaluation, progress

from nnlab.machine import network
from nnlab.runs import experiment
from nnlab.statistics.findings import Findings
from nnlab.study import Study
from nnlab.watch import wandb as watched

pytestmark = pytest.mark.usefixtures("compiled_fast")

STUDY = tiny.study(
    [{"optimizer.learning_rate": 0.1}, {"optimizer.learning_rate": 0.3}],
    num_seeds=3,
    num_epochs=2,
)
_BLOCK, _HEADER = 32_768, 7


@pytest.fixture
def library(monkeypatch, tmp_path):
    """The real library, which finds neither an account nor settings."""
    found = pytest.importorskip("wandb")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("API_KEY", "PROJECT", "ENTITY", "BASE_URL", "RUN_GROUP"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
    found.teardown()  # settings are read once
    yield found
    found.teardown()


def records(file: pathlib.Path):
    """Yields the records of a file of wandb: a log of blocks, as in LevelDB."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, parts = file.read_bytes(), _HEADER, b""
    while place + _HEADER <= len(data):
        if (left := _BLOCK - place % _BLOCK) < _HEADER:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + _HEADER])
        place += _HEADER + length
        parts += data[place - length : place]
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(parts)
            parts = b""


def values(items):
    return {
        item.key or ".".join(item.nested_key): json.loads(item.value_json)
        for item in items
    }


def sent(workdir: pathlib.Path):
    """Returns ``{id: run}`` of all that was sent: about, history by step, summary."""
    import wandb

    wandb.teardown()  # ends its process, which writes the files
    runs = {}
    for file in sorted(workdir.glob("wandb/offline-run-*/*.wandb")):
        found: dict = {"history": {}, "summary": {}}
        for record in records(file):
            if record.HasField("run"):
                run = record.run
                about = {"group": run.run_group, "name": run.display_name}
                config = values(run.config.update)
                found = runs.setdefault(run.run_id, found)
                found |= {"about": about, "config": config}
            if record.HasField("history"):
                row = values(record.history.item)
                found["history"][row.pop("_step")] = row
            found["summary"] |= values(record.summary.update)
            if record.HasField("exit"):
                found["exit"] = record.exit.exit_code
    return runs


def run(workdir, study: Study = STUDY, **options):
    with watched.Runs(workdir, study, len(study.trials())) as record:
        how = {"dataset": tiny.dataset(), "on_progress": record}
        found = experiment.run(study, workdir, **how, **options)
    record.finish(Findings(found), ["It does.", "By far."])
    return found


@pytest.mark.slow
def test_each_trial_is_a_run_with_what_the_tables_hold(library, tmp_path):
    found = run(tmp_path)
    findings, runs = Findings(found), sent(tmp_path)
    by_trial = sorted(runs.values(), key=lambda one: one["config"]["trial"])
    assert len(by_trial) == len(found.trials) == 2
    assert len({one["about"]["group"] for one in by_trial}) == 1
    curves = found.curves.to_pandas()
    for trial, one in zip(found.trials, by_trial, strict=True):
        assert one["about"]["name"] == trial.label
        for path, value in trial.overrides.items():
            assert one["config"][path] == value
        rows = curves[curves["trial"] == trial.index].groupby("step")
        wanted = rows["validation_accuracy"].mean().to_dict()
        history = one["history"]
        assert wanted == pytest.approx(
            {step: row["accuracy/validation"] for step, row in history.items()}
        )
        assert {row["networks/n"] for row in history.values()} == {3}
        for step, losses in rows["validation_loss"]:
            half = 4.302653 * losses.std() / np.sqrt(3)  # t of 2 degrees, 97.5 %
            ends = [
                history[step][f"spread/validation_loss_{e}"] for e in ("low", "high")
            ]
            assert ends == pytest.approx([losses.mean() - half, losses.mean() + half])
        summary, row = one["summary"], findings.rows[trial.index]
        for end in ("", "_low", "_high"):
            name = f"test_accuracy{end}"
            assert summary[f"result/{name}"] == row[name if end else f"{name}_mean"]
        assert (summary["result/n"], summary["answer"]) == (3, "It does.\nBy far.")
        assert (summary["verdict"] == "best by validation") == row["best"]
        assert one["exit"] == 0


def test_a_resumed_run_goes_on_in_the_same_runs(library, tmp_path):
    study = synthetic.results(num_trials=2).study
    for name, steps in (("a", (0, 10)), ("a", (10, 20)), ("b", (0,))):
        (tmp_path / name).mkdir(exist_ok=True)
        with (
            contextlib.suppress(ZeroDivisionError),
            watched.Runs(tmp_path / name, study, 2) as record,
        ):
            for step in steps:
                record(progress(evaluation=evaluation(step)))
            raise ZeroDivisionError
    first, other = sent(tmp_path / "a"), sent(tmp_path / "b")
    assert [list(one["history"]) for one in first.values()] == [[0, 10, 20]] * 2
    assert {one["exit"] for one in first.values()} == {1}
    assert not {*first} & {*other}  # the same study, in another workdir


def test_without_a_network_the_run_goes_on_and_is_kept(
    library, tmp_path, monkeypatch, caplog
):
    monkeypatch.delenv("WANDB_MODE")
    with pytest.raises(ValueError, match=r"no account .*`wandb login`.*offline"):
        watched.Runs(tmp_path, STUDY, 2)
    library.teardown()
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(network, "PROBE_SECONDS", 0.5)
    with watched.Runs(tmp_path, STUDY, 2) as record:
        record(progress(evaluation=evaluation(0)))
    record.finish(Findings(synthetic.results(num_trials=2)), [])
    assert "http://127.0.0.1:9 cannot be reached" in caplog.text
    assert "wandb sync" in record.where()
    assert [list(one["history"]) for one in sent(tmp_path).values()] == [[0], [0]]


def test_what_fails_at_wandb_costs_no_run(library, tmp_path, monkeypatch, caplog):
    def fails(**_):
        raise RuntimeError("the server\nis on fire")

    monkeypatch.setattr(library, "init", fails)
    with watched.Runs(tmp_path, STUDY, 2) as record:
        for step in (0, 10):
            record(progress(evaluation=evaluation(step)))
    record.finish(Findings(synthetic.results(num_trials=2)), [])
    assert caplog.messages == ["wandb: the server is on fire; the run goes on without"]
    assert "not whole" in record.where()


class Slow:
    """Stands for a run, which takes its time to end, or fails to."""

    def __init__(self, seconds, ended):
        self._seconds, self._ended = seconds, ended
        self.log = lambda *_, **__: None
        self.summary = {}

    def finish(self, exit_code):
        time.sleep(self._seconds)
        self._ended.append(exit_code)
        if exit_code:
            raise OSError("no such run")


@pytest.mark.parametrize("fails", [False, True])
def test_all_runs_are_ended_however_long_that_takes(
    library, tmp_path, monkeypatch, caplog, fails
):
    ended: list[int] = []
    monkeypatch.setattr(watched, "_PATIENCE", 1.0)
    monkeypatch.setattr(library, "init", lambda **_: Slow(0 if fails else 0.5, ended))
    with watched.Runs(tmp_path, STUDY, 3) as record:
        record(progress(evaluation=evaluation(0, trials=range(3))))
    if fails:
        record.close()
    record.finish(Findings(synthetic.results(num_trials=3)), [])
    assert ended == [int(fails)] * 3
    wanted = ["wandb: no such run; the run goes on without"] * fails
    assert caplog.messages == wanted


def test_to_say_where_it_is_writes_nothing(library, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    record = watched.Runs(tmp_path, STUDY, 2)
    assert "disabled" in record.where()
    assert not [*tmp_path.rglob("group")]


def test_without_wandb_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match=r'pip install "nnlab-jax\[wandb\]"'):
        watched.Runs(tmp_path, STUDY, 2)
