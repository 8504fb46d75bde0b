# SPDX-License-Identifier: Apache-2.0
"""Event files hold what the tables hold, each point once, in few files."""

import dataclasses
import math
import pathlib
import struct
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import synthetic
import tiny
from progressed import evaluation, progress
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

from nnlab.runs import experiment
from nnlab.statistics.findings import Findings
from nnlab.study import Study
from nnlab.watch import points, tensorboard

pytestmark = pytest.mark.usefixtures("compiled_fast")


def read(run: pathlib.Path) -> dict[str, dict[int, float]]:
    """Returns ``{tag: {step: value}}`` of a run, as TensorBoard reads it.

    A record is a length, its checksum, an event, its checksum. An event with START
    voids what was read of its step and later.
    """
    found: dict[str, dict[int, float]] = {}
    for event in events(run):
        if event.session_log.status == SessionLog.START:
            found = {
                tag: {step: v for step, v in values.items() if step < event.step}
                for tag, values in found.items()
            }
        for value in event.summary.value:
            points = found.setdefault(value.tag, {})
            assert event.step not in points, f"{value.tag} is there twice"
            points[event.step] = value.simple_value
    return found


def events(run: pathlib.Path) -> Iterator[Event]:
    for file in sorted(run.iterdir()):
        data = file.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            yield Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]


def runs(folder: pathlib.Path) -> dict[str, dict[str, dict[int, float]]]:
    return {run.name: read(run) for run in sorted(folder.iterdir())}


SWEEP = [
    {"optimizer.learning_rate": 0.1, "model.hidden": (8,)},
    {"optimizer.learning_rate": 1e30, "model.hidden": (4,)},  # diverges
    {"optimizer.learning_rate": 0.3, "model.hidden": (8,)},
]
STUDY = tiny.study(SWEEP, num_seeds=2, num_epochs=3)


def run(folder, study: Study = STUDY, wrap=lambda record: record, **options):
    with tensorboard.EventFiles(folder / "events", len(study.trials())) as record:
        how = {"dataset": tiny.dataset(), "lane_width": 2, "on_progress": wrap(record)}
        return experiment.run(study, folder / "run", **how, **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A whole run: its results, and what its event files hold."""
    folder = tmp_path_factory.mktemp("whole")
    return run(folder), runs(folder / "events")


@pytest.mark.slow
def test_event_files_hold_what_the_curves_hold(whole):
    found, written = whole
    labels = [tensorboard.safe(trial.label) for trial in found.trials]
    trials = {f"{index:03d}_{label}": [index] for index, label in enumerate(labels)}
    trials["population_trial_0_and_1_more"] = [0, 2]
    trials["population_trial_1"] = [1]
    assert list(written) == list(trials)
    for run in written.values():  # TensorBoard sorts cards by what is before the slash
        heads = dict.fromkeys(tag.partition("/")[0] for tag in sorted(run))
        assert list(heads)[:2] == ["accuracy", "loss"]
    curves = found.curves.to_pandas()
    names = [n for n in curves if n.startswith(("train_", "validation_"))]
    assert len(names) == 4
    for name, indexes in trials.items():
        rows = curves[curves["trial"].isin(indexes)].groupby("step")
        epochs = rows["epoch"].first().to_dict()
        reached = written[name]["progress/epoch"]
        assert {step: reached[step] for step in epochs} == epochs
        population = name.startswith("population")
        for metric in names:
            wanted = {points.name_of(metric): rows[metric].mean()}
            for word, share in tensorboard.QUANTILES.items() if population else ():
                wanted[f"spread/{metric}_{word}"] = rows[metric].quantile(share)
            for tag, values in wanted.items():
                found = written[name][tag]
                assert found == pytest.approx(values.to_dict(), rel=1e-6)
    shares = {
        name: {*run["networks/diverged_share"].values()}
        for name, run in written.items()
    }
    assert shares["population_trial_0_and_1_more"] == {0.0}
    assert {0.0, 1.0} <= shares["population_trial_1"]


@pytest.mark.slow
def test_a_resumed_run_goes_on_in_the_same_runs(tmp_path, whole):
    calls = iter(range(7))

    def wrap(record):
        def interrupt(progress):
            record(progress)
            if next(calls) == 6:
                raise KeyboardInterrupt

        return interrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, wrap=wrap)
    before = runs(tmp_path / "events")  # all of it is on the disk
    run(tmp_path, resume=True)
    assert runs(tmp_path / "events") == whole[1] != before
    assert any(len(list(r.iterdir())) == 2 for r in (tmp_path / "events").iterdir())


def accuracies(folder):
    """Returns the validation accuracies of the population in a folder."""
    (run,) = folder.glob("population_*")
    return read(run)["accuracy/validation"]


def test_seeds_added_to_a_study_are_runs_of_their_own(tmp_path):
    more = dataclasses.replace(evaluation(0), seeds=(2, 3))
    with tensorboard.EventFiles(tmp_path, 2) as record:
        for found in (evaluation(10), more):
            record(progress(evaluation=found))
    names = [run.name.partition("_seeds_")[2] for run in sorted(tmp_path.iterdir())]
    assert names == ["", "2-3"] * 3


def test_what_is_trained_again_is_there_once(tmp_path):
    with tensorboard.EventFiles(tmp_path, 2) as record:
        for step in (0, 10, 20):
            record(progress(evaluation=evaluation(step, value=0.25)))
        record(progress(evaluation=None))
        # Out of memory: the program starts again, in narrower lanes.
        for step in (0, 10):
            record(progress(evaluation=evaluation(step, value=0.5)))
        assert accuracies(tmp_path) == {0: 0.5, 10: 0.5}  # flushed, not closed
    # Killed, and resumed from a checkpoint older than the last evaluation.
    with tensorboard.EventFiles(tmp_path, 2) as record:
        for step in (10, 20):
            record(progress(evaluation=evaluation(step, value=0.75)))
    assert accuracies(tmp_path) == {0: 0.5, 10: 0.75, 20: 0.75}


def test_members_that_ended_have_no_say_and_none_leaves_a_gap(tmp_path):
    first = evaluation(0, value=0.5)
    first.metrics["validation_accuracy"][:, 0] = 0.75, math.nan
    first.diverged[1, 0] = True
    last = evaluation(10, value=math.nan)
    with tensorboard.EventFiles(tmp_path, 2) as record:
        for found in (first, last):
            record(progress(evaluation=found))
    (population,) = tmp_path.glob("population_*")
    written = read(population)
    living = [0.75, 0.5, 0.5]
    assert written["accuracy/validation"] == {0: pytest.approx(1.75 / 3)}
    wanted = np.quantile(living, 0.9)
    assert written["spread/validation_accuracy_quantile_90"] == {
        0: pytest.approx(wanted)
    }
    assert written["networks/diverged_share"] == {0: 0.25, 10: 0.0}
    (second,) = tmp_path.glob("001_*")
    assert read(second)["accuracy/validation"] == {0: 0.5}
    assert read(second)["networks/diverged_share"] == {0: 0.5, 10: 0.0}


def test_of_many_trials_some_have_runs_and_few_files_are_open(tmp_path, caplog):
    caplog.set_level("INFO", logger="nnlab")
    folder = pathlib.Path("/proc/self/fd")
    before = len(list(folder.iterdir())) if folder.exists() else 0
    with tensorboard.EventFiles(tmp_path, 300) as record:
        for first in (0, 100, 200):  # three programs
            for step in (0, 10):
                found = evaluation(step, trials=range(first, first + 100))
                record(progress(evaluation=found))
            if folder.exists():
                assert len(list(folder.iterdir())) - before <= 35
    names = sorted(run.name[:3] for run in tmp_path.iterdir())
    assert names.count("pop") == 3
    assert (len(names), names[0], names[63]) == (64 + 3, "000", "299")
    assert [r.getMessage() for r in caplog.records] == [
        "TensorBoard gets a run for each of 64 of the 300 trials, and their population"
    ]


@pytest.mark.parametrize(
    ("label", "wanted"),
    [
        ("learning_rate=0.1, hidden=(60, 60)", "learning_rate=0.1,hidden=60,60"),
        ("hidden=(64,), batch_norm=True", "hidden=64,batch_norm=True"),
        ("csv:/data/my table.csv", "csv__data_my_table.csv"),
        ("../../etc/passwd", ".._.._etc_passwd"),
        ("a\\b\x00c\nd <b>", "a_b_c_d__b_"),
        ("größer, als", "größer,als"),
        ("日" * 300, "日" * 60),
    ],
)
def test_a_trials_run_has_a_readable_and_safe_name(tmp_path, label, wanted):
    assert tensorboard.safe(label) == wanted
    found = evaluation(0, label=label)
    with tensorboard.EventFiles(tmp_path / "events", 2) as record:
        record(progress(evaluation=found))
    names = sorted(run.name for run in (tmp_path / "events").iterdir())
    assert names[0] == f"000_{wanted}"
    assert len(names) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["events"]


def settings_of(run):
    """Returns the settings and the metrics that a run has in TensorBoard's HPARAMS."""
    settings, metrics = {}, []
    for event in events(run):
        for value in event.summary.value:
            if value.metadata.plugin_data.plugin_name == "hparams":
                data = HParamsPluginData.FromString(value.metadata.plugin_data.content)
                metrics += [one.name.tag for one in data.experiment.metric_infos]
                for name, one in data.session_start_info.hparams.items():
                    settings[name] = getattr(one, one.WhichOneof("kind"))
    return settings, metrics


def test_hparams_hold_each_trials_settings_and_final_numbers_once(tmp_path):
    accuracies = [[0.9, 0.92, 0.94], [0.7, 0.75, 0.8]]
    results = synthetic.results(accuracies, diverged={(1, 1): 0})
    findings = Findings(results)
    for _ in range(2):  # the second time as after --resume
        with tensorboard.EventFiles(tmp_path, 2) as record:
            record.finish(findings, ["an answer"])
    for trial, run in zip(results.trials, sorted(tmp_path.iterdir()), strict=True):
        settings, metrics = settings_of(run)
        assert settings["trial"] == trial.label
        assert {k: settings[k] for k in trial.overrides} == trial.overrides
        row, written = findings.rows[trial.index], read(run)
        step = results.program(trial.index)["num_steps"] + 1
        for name in {*metrics} - {"result/n"}:
            column = name.removeprefix("result/") + "_mean"
            assert written[name] == {step: pytest.approx(row[column], rel=1e-6)}
        assert "result/test_accuracy" in metrics
        assert written["result/n"] == {step: 3.0 - trial.index}


def test_a_folder_that_cannot_be_written_costs_no_run(tmp_path, caplog):
    (tmp_path / "events").write_text("a file")
    with tensorboard.EventFiles(tmp_path / "events", 2) as record:
        for step in (0, 10):
            record(progress(evaluation=evaluation(step)))
    (told,) = caplog.messages
    assert "the run goes on" in told
    assert "not whole" in record.where()


def test_whatever_fails_costs_no_run(tmp_path, monkeypatch, caplog):
    def fails(*_):
        raise ArithmeticError("of another library")

    findings = Findings(synthetic.results(num_trials=2))
    with tensorboard.EventFiles(tmp_path, 2) as record:
        monkeypatch.setattr(points, "final", fails)
        record.finish(findings, [])
        monkeypatch.setattr(points, "of_trial", fails)
        record(progress(evaluation=evaluation(0)))
    with tensorboard.EventFiles(tmp_path, 2) as record:
        record(progress(evaluation=evaluation(0)))
    told = "event files: of another library; the run goes on without"
    assert caplog.messages == [told, told]


def test_without_tensorboardx_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX.event_file_writer", None)
    with pytest.raises(ValueError, match=r'pip install "nnlab-jax\[tensorboard\]"'):
        tensorboard.EventFiles(tmp_path, 2)
