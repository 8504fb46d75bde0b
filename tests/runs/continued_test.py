# SPDX-License-Identifier: Apache-2.0
"""Runs that are interrupted, resumed, extended, damaged, or short of memory."""

import dataclasses
import errno
import functools
import itertools
import os
import pathlib
import shutil
import subprocess
import time

import jax
import numpy as np
import pytest
import tiny
from stopped import FILES, content, gone_on

from nnlab import results
from nnlab.machine import files
from nnlab.results import answers, pictures, tables
from nnlab.runs import experiment, rerun, saved_network
from nnlab.runs.checkpoint import Checkpoints, SaveError
from nnlab.study import Study
from nnlab.training import place

pytestmark = pytest.mark.slow

STUDY = dataclasses.replace(
    tiny.study(
        [
            {tiny.RATE: 0.1},
            {tiny.RATE: 0.3},
            {"model.hidden": (4,)},
            {"model.name": "boosted_trees", "model.num_trees": 3},
        ],
        num_epochs=4,
    ),
    figures=("curves", "confusion"),
)
"""Three programs: two of networks, one of trees."""

SMALL = dataclasses.replace(STUDY, sweep=STUDY.sweep[2:], figures=("curves",))


KEPT = place.Kept()
"""Programs, compiled once for all tests."""


def run(workdir, study: Study = STUDY, **options):
    """Runs at fixed lane widths, so that equal runs are equal."""
    KEPT.loaded = {}  # data are checked in each run
    pinned = {"lane_width": 2, "checkpoint_seconds": 0.0, "kept": KEPT, **options}
    return experiment.run(study, workdir, **{"dataset": tiny.dataset()} | pinned)


def all_of(workdir) -> dict[str, bytes]:
    return content(workdir, (*FILES, pictures.FILE, answers.CORRECT))


def more(study: Study = STUDY, **changes) -> Study:
    """Returns the study with other fields, or `num_epochs`."""
    epochs = changes.pop("num_epochs", study.base.num_epochs)
    base = study.base.replace({"num_epochs": epochs})
    return dataclasses.replace(study, base=base, **changes)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted workdir, and its progress."""
    workdir, visits = tmp_path_factory.mktemp("whole") / "run", []
    run(workdir, on_progress=visits.append)
    return workdir, visits


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole[0], tmp_path / "copy")


# ---- Interrupted, finished and new runs.


@pytest.mark.parametrize("share", [0.1, 0.9])
def test_interrupted_it_ends_the_same_though_the_clock_jumps(
    whole, tmp_path, share, monkeypatch
):
    now, jumps = time.time, itertools.cycle([0.0, 86_400.0, 1.0, -7200.0])
    monkeypatch.setattr(time, "time", lambda: now() + next(jumps))
    workdir, visits = whole

    def check(own) -> None:
        assert results.load(own).config["status"] == "interrupted"

    own, before, after = gone_on(run, tmp_path, int(share * len(visits)), check)
    assert all_of(own) == all_of(workdir)
    if before[-1].status == "training":  # this checkpoint was saved
        assert after[0].done == before[-1].done
    assert (after[-1].done, after[-1].total) == (visits[-1].done, visits[-1].total)
    assert [p.done for p in after] == sorted(p.done for p in after)


def test_a_backbone_is_taken_from_its_checkpoint(tmp_path):
    """For probing and for tuning; one that was cut off is trained again."""
    sweep = [{"transfer.mode": mode} for mode in ("probing", "tuning")]
    settings = {"transfer.source": "digits", "transfer.num_epochs": 1, "num_epochs": 1}
    sizes = {"train_size": 64, "transfer.train_size": 64, "model.hidden": (4,)}
    study = tiny.study(sweep, dataset="digits", **settings, **sizes)
    study = dataclasses.replace(study, eval_size=50)
    train, visits = functools.partial(run, study=study, dataset=None), []
    train(tmp_path / "whole", on_progress=visits.append)
    states = [progress.status for progress in visits]
    for visit in (1 + states.index("pretraining"), len(visits) // 2):
        own, _, after = gone_on(train, tmp_path, visit)
        assert content(own) == content(tmp_path / "whole")
        again = "pretraining" in [progress.status for progress in after]
        assert again == (states[visit - 1] == "pretraining")
    assert rerun.rerun(own, 0, 1).is_equal
    (backbone,) = (own / "checkpoints").glob("backbone_*/0")
    of = {"root_seed": 1}
    tiny.rewrite_about(backbone, lambda about: {**about, "of": {**about["of"], **of}})
    with pytest.raises(ValueError, match=r"backbone_.*/0 is of another run: root_seed"):
        rerun.rerun(own, 0, 1)


def test_a_finished_run_trains_nothing_and_is_put_in_order(whole, copy, tmp_path):
    """Its workdir is reached by a link; writers were killed between its tables."""
    before = {p: p.stat().st_mtime_ns for p in (copy / "checkpoints").rglob("*")}
    left = (".members.csv.77.tmp", "checkpoints/program_0/.9.sha256.0a.tmp")
    for name in left:
        (copy / name).write_bytes(b"half")
    (copy / "members.csv").write_bytes(b"trial,seed\n")
    with pytest.raises(ValueError, match="mended by resuming it"):
        results.load(copy)
    (tmp_path / "link").symlink_to(copy)
    refused = pytest.raises(BlockingIOError, match="another run is at work in workdir")
    with files.alone_in(copy), refused:
        run(copy, resume=True)
    seen = []
    run(tmp_path / "link", resume=True, on_progress=seen.append)
    assert seen == []
    assert (tmp_path / "link").is_symlink()
    after = {p: p.stat().st_mtime_ns for p in (copy / "checkpoints").rglob("*")}
    assert {p: t for p, t in after.items() if p.is_file()} == {
        p: t for p, t in before.items() if p.is_file()
    }
    assert not any((copy / name).exists() for name in left)
    assert all_of(copy) == all_of(whole[0])


def test_a_new_run_is_alone_from_the_start(tmp_path, caplog):
    def second(progress) -> None:
        with pytest.raises(BlockingIOError, match="another run is at work"):
            run(tmp_path / "run", SMALL, resume=True)
        with pytest.raises(FileExistsError, match="holds results"):
            run(tmp_path / "run", SMALL)

    with caplog.at_level("INFO"):
        found = run(tmp_path / "run", SMALL, resume=True, on_progress=second)
    assert found.config["status"] == "complete"
    assert "nothing to resume" in caplog.text


def test_a_run_that_was_faster_is_not_written_over(tmp_path, monkeypatch):
    prepare = experiment.prepare

    def slow(study, **options):
        monkeypatch.undo()
        run(tmp_path / "run", SMALL)
        return prepare(study, **options)

    monkeypatch.setattr(experiment, "prepare", slow)
    with pytest.raises(FileExistsError, match="holds results"):
        run(tmp_path / "run", SMALL)


# ---- Extended runs.

ENDING = tiny.study(
    [{**tiny.DEEP, tiny.RATE: rate} for rate in (0.05, 5.0)],
    **{"early_stopping.patience": 2, "num_epochs": 5},
)
MOVED = Study.from_dict(
    {
        "batch_size": 400,
        "num_epochs": 1,
        "num_seeds": 2,
        "eval_size": 50,
        "test_sets": {"moved_pixels": 1, "severity": True},
    }
)
"""Has values at its last evaluation only."""
BY_ACCURACY = {
    "early_stopping.patience": 9,
    "early_stopping.metric": "validation_accuracy",
}


def grown(folder, study: Study, changes, **options) -> tuple[float, float]:
    """Extends a run in "own", trains all in "whole"; returns the examples of each."""
    run(folder / "own", study, **options)
    longer, parts = more(study, **changes), []
    for name in ("own", "whole"):
        told = []
        run(folder / name, longer, resume=True, on_progress=told.append, **options)
        parts.append(told[-1].done - told[0].done)
    return tuple(parts)


def assert_same(folder, names=FILES) -> None:
    assert content(folder / "own", names) == content(folder / "whole", names)


def test_more_epochs_are_those_of_a_whole_run(tmp_path):
    grown(tmp_path, SMALL, {"num_epochs": 7})
    assert_same(tmp_path)


def test_early_stopped_and_diverged_members_stay_ended(tmp_path):
    grown(tmp_path, ENDING, {"num_epochs": 30})
    status = results.load(tmp_path / "own").members["status"].to_pylist()
    assert {"diverged", "stopped"} <= set(status)
    assert_same(tmp_path)


@pytest.mark.parametrize(
    ("early", "epochs", "more_epochs"),
    [
        ({}, 1, 2),
        # The best evaluation is not the last, and another one in the longer run.
        ({tiny.RATE: 1.0, **BY_ACCURACY}, 2, 5),
    ],
)
def test_more_epochs_drop_what_only_the_last_ones_had(
    tmp_path, early, epochs, more_epochs
):
    base = MOVED.base.replace({**early, "num_epochs": epochs})
    moved = dataclasses.replace(MOVED, base=base)
    parts = grown(tmp_path, moved, {"num_epochs": more_epochs}, dataset=None)
    assert more_epochs * parts[0] == (more_epochs - epochs) * parts[1]
    assert_same(tmp_path, (*FILES, "severity.csv"))


def test_more_seeds_train_only_themselves_even_without_a_config(tmp_path):
    study, own = more(SMALL, num_seeds=3), tmp_path / "own"
    parts = grown(tmp_path, SMALL, {"num_seeds": 3}, lane_width=1)
    assert 3 * parts[0] == parts[1]
    assert_same(tmp_path, FILES[1:])
    before, seen = content(own), []
    (own / "config.json").write_bytes(b"")
    shutil.rmtree(own / "checkpoints" / "program_0")
    run(own, study, resume=True, on_progress=seen.append, lane_width=1)
    assert {progress.program for progress in seen} == {3}  # the last of four
    assert content(own) == before


def test_evaluations_that_would_fall_elsewhere_are_refused(tmp_path):
    base = SMALL.base.replace({"eval_every_epochs": 3.0})
    study = dataclasses.replace(SMALL, base=base, sweep=SMALL.sweep[:1])
    run(tmp_path / "run", study)
    with pytest.raises(
        ValueError, match=r"cannot resume .*multiple of eval_every_epoch"
    ):
        run(tmp_path / "run", more(study, num_epochs=6), resume=True)


def test_more_trials_leave_the_others_alone(copy):
    sweep = ({"model.hidden": (4,), "optimizer.learning_rate": 0.01}, *STUDY.sweep)
    before = results.load(copy).curves.to_pylist()
    found = run(copy, more(sweep=sweep), resume=True)
    assert found.config["status"] == "complete"
    assert found.study.sweep == (*STUDY.sweep, sweep[0])
    rows = found.curves.to_pylist()
    assert [row for row in rows if row["trial"] < 4] == before
    assert sum(row["trial"] == 4 for row in rows) == 10


def test_data_that_were_moved_are_the_same_data(tmp_path):
    def of(name, **values):
        return tiny.study(dataset=f"csv:{tmp_path / name}", num_epochs=1, **values)

    rows = "".join(f"{i},{i * i % 7},{'ab'[i % 2]}\n" for i in range(120))
    (tmp_path / "here.csv").write_text(f"x,y,label\n{rows}")
    experiment.run(of("here.csv"), tmp_path / "run")
    (tmp_path / "here.csv").rename(tmp_path / "there.csv")
    there = of("there.csv", num_seeds=3)
    found = experiment.run(there, tmp_path / "run", resume=True)
    assert found.study == there
    assert len(found.member(0, "status")) == 3
    (tmp_path / "other.csv").write_text(f"x,y,label\n{rows}0,1,a\n")
    with pytest.raises(ValueError, match=r"dataset was .*there.csv' and .*other.csv'"):
        experiment.run(of("other.csv", num_seeds=4), tmp_path / "run", resume=True)


# ---- Refusals. They change nothing.


def refuse(workdir, message, study: Study = STUDY, **options) -> None:
    before = all_of(workdir)
    with pytest.raises(ValueError, match=rf"cannot resume [^\n]*{message}"):
        run(workdir, study, resume=True, **options)
    assert all_of(workdir) == before


def test_another_study_and_other_data_are_refused(copy):
    refuse(copy, "root_seed was 0 and is 1 now", more(root_seed=1))
    refuse(copy, "it has a trial .* that the study", more(sweep=STUDY.sweep[1:]))
    data = tiny.dataset()
    inputs = data.test.inputs.copy()
    inputs[0, 0] += 1
    other = type(data).from_arrays(
        data.train.inputs,
        data.train.labels,
        test_inputs=inputs,
        test_labels=data.test.labels,
    )
    refuse(copy, "the data of 'digits' are not", dataset=other)


def test_other_versions_are_refused_but_for_the_asking(copy, monkeypatch):
    monkeypatch.setattr(jax, "__version__", "0.0.1")
    refuse(copy, r"jax was .* and is 0.0.1 now")
    found = run(copy, resume=True, resume_anyway=True)
    assert found.config["status"] == "complete"
    (told,) = found.config["begun_otherwise"]
    assert told.endswith("and is 0.0.1 now")


def checkpoints(part: pathlib.Path) -> list[pathlib.Path]:
    """Returns a program's checkpoints, the last one first."""
    found = (path for path in part.iterdir() if path.is_dir())
    return sorted(found, key=lambda path: -int(path.name))


@pytest.mark.parametrize("lost", ["digests", "all"])
def test_a_finished_program_whose_checkpoints_are_lost_is_trained_again(
    copy, lost, caplog
):
    before, folder = all_of(copy), copy / "checkpoints" / "program_0"
    for digests in folder.glob("*.sha256"):
        digests.write_bytes(b"")
    if lost == "all":
        shutil.rmtree(folder)
    run(copy, resume=True)
    assert "program 1 was finished, but it has no sound checkpoint" in caplog.text
    assert all_of(copy) == before


def test_a_finished_program_whose_checkpoints_are_damaged_is_refused(copy):
    for path in checkpoints(copy / "checkpoints" / "program_0"):
        (path / "about" / "metadata").write_bytes(b"other")
    refuse(copy, "program_0.* is damaged")


def test_programs_that_changed_places_are_refused(copy):
    one, two, away = (copy / "checkpoints" / n for n in ("program_0", "program_1", "x"))
    for source, target in ((one, away), (two, one), (away, two)):
        source.rename(target)
    refuse(copy, "program is 2 there and 1 here")


LINKS = ("checkpoints", "checkpoints/program_0", "checkpoints/program_0/9", "artifacts")


@pytest.mark.parametrize("name", LINKS)
def test_nothing_is_written_or_deleted_behind_a_link(copy, tmp_path, name):
    outside, link = tmp_path / "outside", copy / name
    if link.exists():
        link.rename(outside)
    (outside / "9").mkdir(parents=True)  # without digests it would be removed
    link.symlink_to(outside)
    before = {p: p.stat().st_mtime_ns for p in outside.rglob("*")}
    refuse(copy, f"{name}' is a link")
    assert {p: p.stat().st_mtime_ns for p in outside.rglob("*")} == before


def test_what_is_of_another_run_is_refused(copy, tmp_path):
    foreign, part = tmp_path / "foreign", pathlib.Path("checkpoints", "program_0")
    run(foreign, more(root_seed=1, num_epochs=1, sweep=STUDY.sweep[:2]))
    shutil.move(copy / part, tmp_path / "own")
    shutil.copytree(foreign / part, copy / part)
    told = r"program_0/\d+ is of another run: root_seed is 1 there and 0 here"
    refuse(copy, told)
    with pytest.raises(ValueError, match=told):
        saved_network.of_member(copy, 0, 0)
    shutil.rmtree(copy / part)
    shutil.move(tmp_path / "own", copy / part)
    shutil.copy(foreign / "config.json", copy)
    refuse(copy, "root_seed was 1 and is 0 now")
    refuse(copy, "root_seed is 0 there and 1 here", more(root_seed=1))
    with pytest.raises(ValueError, match="is not the file that the run wrote"):
        results.load(copy)


def test_a_checkpoint_of_another_form_is_one_line(copy):
    last = checkpoints(copy / "checkpoints" / "program_0")[0]
    told = last / "about" / "metadata"
    sound = told.read_text()
    for change in (
        {"known": {}},
        {"num_steps": "x"},
        {"position": {"step": 1, "steps": 2}},
        {"position": {"step": -5}},
        {"versions": None},
    ):
        tiny.rewrite_about(last, lambda about, change=change: {**about, **change})
        refuse(copy, r"program_0/\d+ is damaged: [^\n]+; remove it")
        told.write_text(sound)


# ---- Without config.json.


@pytest.mark.parametrize("left", [None, b"", b'{"study": {', b"\xff"])
def test_a_config_that_is_lost_is_made_again_from_checkpoints(
    whole, copy, left, caplog
):
    config = copy / "config.json"
    config.unlink() if left is None else config.write_bytes(left)
    seen = []
    if left is None:
        with pytest.raises(FileExistsError, match="holds checkpoints but no config"):
            run(copy)
    run(copy, resume=True, on_progress=seen.append)
    assert "going on from its checkpoints" in caplog.text
    assert seen == []
    assert all_of(copy) == all_of(whole[0])


def test_without_its_config_another_study_is_refused(copy):
    (copy / "config.json").write_bytes(b"")
    for changes in ({"root_seed": 1}, {"sweep": STUDY.sweep[::-1]}):
        refuse(copy, ".* is of another run: ", more(**changes))
    shutil.rmtree(copy / "checkpoints")
    refuse(copy, r".*config.json' is damaged: ")


# ---- Writes that fail, and too little memory.


def test_a_write_that_fails_once_is_blamed_on_no_program(tmp_path, monkeypatch):
    wait, failed = Checkpoints.wait, []

    def once(store) -> None:
        wait(store)
        if not failed:
            failed.append(True)
            raise SaveError("cannot save a checkpoint")

    monkeypatch.setattr(Checkpoints, "wait", once)
    with pytest.raises(SaveError):
        run(tmp_path / "run", SMALL)
    found = results.load_config(tmp_path / "run")
    assert (found["status"], found["failures"]) == ("interrupted", {})


def out_of_memory(monkeypatch, fits: int) -> list[int]:
    """Makes lanes wider than `fits` run out of memory; returns the widths tried."""
    tried: list[int] = []
    train = place.PlacedProgram.train

    def failing(program, state, start, count):
        tried.append(program.width)
        if program.width > fits:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return train(program, state, start, count)

    monkeypatch.setattr(place.PlacedProgram, "train", failing)
    return tried


def test_out_of_memory_halves_the_lanes_and_is_recorded(tmp_path, monkeypatch, caplog):
    study = tiny.study(tiny.rates(0.1, 0.2))
    run(tmp_path / "narrow", study, lane_width=1)
    tried, told = out_of_memory(monkeypatch, fits=1), []
    found = run(tmp_path / "run", study, lane_width=4, on_progress=told.append)
    assert {(p.program, p.num_programs) for p in told} == {(0, 1)}
    assert list(dict.fromkeys(tried)) == [4, 2, 1]
    assert found.config["status"] == "complete"
    assert found.config["out_of_memory"] == {"0": [4, 2]}
    assert "out of memory with 4 networks at once" in caplog.text
    files = FILES[1:]
    assert content(tmp_path / "run", files) == content(tmp_path / "narrow", files)


def test_out_of_memory_for_good_leaves_the_others_and_is_tried_again(
    tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        out_of_memory(patch, fits=0)
        found = run(tmp_path / "run", SMALL)
    assert found.config["status"] == "failed"
    assert list(found.config["failures"]) == ["0"]
    assert set(found.members["trial"].to_pylist()) == {0, 1}
    assert (tmp_path / "run" / "failure_0.txt").exists()
    found = run(tmp_path / "run", SMALL, resume=True)
    assert found.config["status"] == "complete"
    assert not (tmp_path / "run" / "failure_0.txt").exists()


def test_a_full_disk_under_the_tables_ends_a_run_which_can_be_resumed(
    tmp_path, monkeypatch
):
    write, seen = tables.write_atomic, []

    def full(path, some):
        if seen and path.suffix != ".json":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write(path, some)

    with monkeypatch.context() as patch:
        patch.setattr(tables, "write_atomic", full)
        with pytest.raises(OSError, match=r"\A.*No space left on device: .*\Z"):
            run(tmp_path / "run", SMALL, on_progress=seen.append)
    found = run(tmp_path / "run", SMALL, resume=True)
    assert found.config["status"] == "complete"


# Orbax writes that are still at work when another fails find their loop closed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_disk_that_is_full_in_earnest(whole, tmp_path):
    """A file system of 300 kB, too small for the checkpoints of all programs."""
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount")
    try:
        with pytest.raises(OSError, match="No space left on device"):
            run(small / "run")
        before = results.load(small / "run").curves.num_rows
        with pytest.raises(OSError, match="No space left on device"):
            run(small / "run", resume=True)
        assert results.load(small / "run").curves.num_rows >= before
        own = shutil.copytree(small / "run", tmp_path / "run")
    finally:
        subprocess.run(["umount", str(small)], check=True)
    run(own, resume=True)
    assert all_of(own) == all_of(whole[0])


# ---- One network trained again.


def test_one_member_trained_again_alone_is_the_same_to_the_last_bit(copy):
    again = rerun.rerun(copy, 0, 1, dataset=tiny.dataset())
    assert again.is_equal, again.difference
    assert (again.num_rows, again.notes) == (5, ())
    for trial, seed, message in (
        (4, 0, "no trial 4 with seed 0 in .*: trials are 0 to 3, seeds 0 to 1"),
        (0, -1, "no trial 0 with seed -1"),
        (3, 0, "trial 3 is no network"),
    ):
        with pytest.raises(ValueError, match=message):
            rerun.rerun(copy, trial, seed, dataset=tiny.dataset())
    found, config = results.load(copy), results.load_config(copy)
    rows = found.curves.to_pylist()
    changed = next(row for row in rows if (row["trial"], row["seed"]) == (0, 1))
    changed["train_loss"] = np.nextafter(changed["train_loss"], 9.0)
    del config["manifest"]
    kept = {name: (copy / name).read_bytes() for name in ("members.csv", "summary.csv")}
    written = {"curves.parquet": results.table(rows, results.CURVES), **kept}
    results.write(copy, config, {**written, "timings.csv": found.timings})
    again = rerun.rerun(copy, 0, 1, dataset=tiny.dataset())
    assert not again.is_equal
    assert "first at step 0: train_loss was" in again.difference
