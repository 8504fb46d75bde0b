# SPDX-License-Identifier: Apache-2.0
"""Rows and progress, from made-up measurements with known numbers."""

import types

import numpy as np
import pytest
import tiny

from nnlab import results
from nnlab.machine.devices import peak_bytes
from nnlab.runs import recorder as module
from nnlab.runs.provenance import chance_of
from nnlab.runs.recorder import Recorder
from nnlab.statistics import ranking
from nnlab.statistics.intervals import chance_bound

SIZES = {"train": 100, "validation": 25, "test": 50}
STEPS = 24


@pytest.fixture
def told():
    """Collects the calls of the callback."""
    return []


@pytest.fixture
def recorder(tmp_path, told):
    """A study of two trials and two seeds, 24 steps, evaluated every 8."""
    of = tiny.study(tiny.rates(0.1, 0.3))
    return Recorder(of, tmp_path, [tiny.program(of)], told.append)


def started(recorder, of, population=None):
    return recorder.start(tiny.program(of), SIZES, population)


@pytest.fixture
def record(recorder):
    return started(recorder, tiny.study(tiny.rates(0.1, 0.3)))


def measured(accuracy=0.5, loss=1.0, step=0, alive=((True, True), (True, True))):
    """Returns means of the metrics, (T, S) or for all, as sums over the examples."""
    grid = np.ones((2, 2))
    return {
        "sums": {
            split: {"loss": loss * size * grid, "accuracy": accuracy * size * grid}
            for split, size in SIZES.items()
        },
        "alive": np.array(alive),
        "stopped": np.zeros((2, 2), bool),
        "step": np.full((2, 2), step),
        "loss_sum": 12.0 * grid,
        "loss_square_sum": 50.0 * grid,
        "norm_sum": grid[..., None] * [6.0, 3.0],
        "last_norms": grid[..., None] * [2.0, 7.0],
    }


def add(recorder, record, evaluation, measured, num_steps, samples):
    with record.clock.evaluating():
        pass
    record.add(evaluation, measured, num_steps, samples)
    recorder.tell(record, "training")


def tables(recorder, tmp_path):
    recorder.write("complete")
    found = results.load(tmp_path)
    return found.curves.to_pylist(), found.members.to_pylist()


@pytest.fixture
def patient(tmp_path):
    """Records of a study with early stopping."""
    of = tiny.study(tiny.rates(0.1, 0.3), **{"early_stopping.patience": 1})
    recorder = Recorder(of, tmp_path, [tiny.program(of)])
    return recorder, started(recorder, of)


def test_a_member_that_stopped_ends_at_its_best_and_trains_no_more(patient, tmp_path):
    recorder, record = patient
    for evaluation, accuracy in enumerate((0.9, 0.2, 0.8)):
        found = measured(accuracy) | {"best_step": np.full((2, 2), 8 * evaluation)}
        if evaluation:  # trial 0, seed 1 was best at the start
            found["stopped"][0, 1], found["best_step"][0, 1] = True, 0
        add(recorder, record, evaluation, found, 8, 1)
    assert record.still_training.tolist() == [[True, False], [True, True]]
    curves, members = tables(recorder, tmp_path)
    steps = [row["step"] for row in curves if (row["trial"], row["seed"]) == (0, 1)]
    assert steps == [0, 8]
    ended = members[1]
    assert (ended["status"], ended["steps"], ended["best_step"]) == ("stopped", 8, 0)
    assert not ended["at_chance"]  # as the last accuracy of 0.2 would be
    assert [members[i]["status"] for i in (0, 2, 3)] == ["unfinished"] * 3


@pytest.mark.parametrize("loss", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_at_the_end_is_a_divergence(
    recorder, record, tmp_path, loss
):
    """After the last update no step would notice a divergence."""
    add(recorder, record, 0, measured(), 0, 0)
    end = measured(loss=np.array([[1.0, loss], [1.0, 1.0]]), step=STEPS)
    add(recorder, record, 3, end, 24, 2)
    curves, members = tables(recorder, tmp_path)
    statuses = [member["status"] for member in members]
    assert statuses == ["finished", "diverged", "finished", "finished"]
    assert members[1]["diverged_step"] == STEPS
    assert len(curves) == 7


def test_the_best_step_is_the_first_of_the_best(recorder, record, tmp_path):
    for evaluation, accuracy in enumerate((0.2, 0.6, 0.6, 0.4)):
        add(recorder, record, evaluation, measured(accuracy), 8, 1)
    _, members = tables(recorder, tmp_path)
    assert [member["best_step"] for member in members] == [8] * 4


def test_a_network_ends_at_chance_up_to_the_bound(recorder, record, tmp_path):
    chance = chance_of(tiny.dataset())
    assert chance == max(np.bincount(tiny.dataset().validation.labels)) / 26
    right = round(25 * chance_bound(chance, 25))
    accuracy = np.array([[0, right - 1], [right, right + 1]]) / 25
    add(recorder, record, 3, measured(accuracy), 24, 2)
    _, members = tables(recorder, tmp_path)
    assert [m["at_chance"] for m in members] == [True, True, True, False]


def test_the_best_trial_is_the_best_mean_by_now(recorder, record, told):
    add(recorder, record, 0, measured(np.array([[0.5, 0.5], [0.2, 0.7]])), 0, 0)
    assert (told[-1].best_score, told[-1].best_label) == (0.5, "learning_rate=0.1")
    chance = chance_of(tiny.dataset())
    accuracy = np.array([[0.4, 0.4], [chance, 0.9]])
    gone = measured(accuracy, alive=((True, True), (False, True)))
    add(recorder, record, 1, gone, 8, 1)
    assert told[-1].best_score == pytest.approx((chance + 0.9) / 2)  # as in a report
    assert (told[-1].best_label, told[-1].diverged) == ("learning_rate=0.3", 1)
    assert ranking.best_trial(recorder.results("interrupted"), so_far=True) == 1


def test_training_time_leaves_compilation_out(tmp_path, monkeypatch):
    """8 of 10 seconds of training, and 2 of 3 of evaluation, are compilation."""
    of, clock = tiny.study(tiny.rates(0.1, 0.3)), types.SimpleNamespace(now=0.0)
    population = types.SimpleNamespace(compile_seconds=0.0)
    recorder = Recorder(of, tmp_path, [tiny.program(of)])
    record = started(recorder, of, population)
    fake = types.SimpleNamespace(perf_counter=lambda: clock.now)
    monkeypatch.setattr("nnlab.runs.clock.time", fake)
    with record.training(8, 8):
        clock.now, population.compile_seconds = 10.0, 8.0
    with record.clock.evaluating():
        clock.now, population.compile_seconds = 13.0, 10.0
    record.add(1, measured(), 8, 1)
    recorder.write("complete")
    (row,) = results.load(tmp_path).timings.to_pylist()
    assert row["compile_seconds"] == 10.0
    assert (row["train_seconds"], row["evaluation_seconds"]) == (2.0, 1.0)
    assert row["examples_per_second"] == 8 * 64 / 2.0
    assert row["inferences_per_second"] == 175 * 4 / 1.0
    rates = record.clock.rates()
    assert rates.examples_per_second == 8 * 64 / 2.0
    assert (rates.inferences_per_second, rates.compile_seconds) == (700.0, 10.0)


def test_tables_are_not_written_more_often_than_they_may_take(
    recorder, record, monkeypatch
):
    now, written = [1000.0], []
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])

    def write(*_):
        written.append(now[0])
        now[0] += 3.0

    monkeypatch.setattr(module.results, "write", write)
    for evaluation in range(4):
        for _ in range(25):  # an evaluation a second
            add(recorder, record, evaluation, measured(step=8 * evaluation), 8, 1)
            recorder.write_if_due()
            now[0] += 1.0
    assert written == [1000.0, 1034.0, 1068.0, 1102.0]


def test_memory_has_a_peak():
    assert peak_bytes() > 2**26
