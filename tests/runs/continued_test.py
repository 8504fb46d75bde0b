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
from stopped import FILES, Stop, content, gone_on

from nnlab import results
from nnlab.machine import files
from nnlab.results import tables
from nnlab.runs import experiment, rerun, saved_network
from nnlab.runs.checkpoint import Checkpoints, SaveError
from nnlab.study import Study
from nnlab.training import place

pytestmark = pytest.mark.slow

STUDY = dataclasses.replace(
    tiny.study(
        [
            {"optimizer.learning_rate": 0.1, "model.hidden": (8,)},
            {"optimizer.learning_rate": 0.3, "model.hidden": (8,)},
            {"model.hidden": (4,)},
            {"model.name": "boosted_trees", "model.num_trees": 3},
        ],
        num_seeds=2,
        num_epochs=4,
    ),
    figures=("curves", "confusion"),
)
"""Three programs: two of networks, one of trees."""

WITH_PICTURES = (*FILES, "artifacts/pictures.npz")


def run(workdir, study: Study = STUDY, **options):
    """Runs at fixed lane widths, so that equal runs are equal."""
    pinned = {"lane_width": 2, "checkpoint_seconds": 0.0, **options}
    return experiment.run(study, workdir, dataset=tiny.dataset(), **pinned)


def all_of(workdir) -> dict[str, bytes]:
    return content(workdir, WITH_PICTURES)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted workdir, and how often the host was visited."""
    workdir, visits = tmp_path_factory.mktemp("whole") / "run", []
    run(workdir, on_progress=visits.append)
    return workdir, visits


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole[0], tmp_path / "copy")


def test_interrupted_at_every_third_visit_it_ends_the_same(whole, tmp_path):
    workdir, visits = whole
    rounds = 0

    def check(own) -> None:
        assert results.load(own).config["status"] == "interrupted"

    for visit in range(1, len(visits) + 1, 3):
        own, before, after = gone_on(run, tmp_path, visit, check)
        assert all_of(own) == all_of(workdir)
        if before[-1].status == "training":  # this checkpoint was saved
            assert after[0].done == before[-1].done
        assert (after[-1].done, after[-1].total) == (visits[-1].done, visits[-1].total)
        assert [p.done for p in after] == sorted(p.done for p in after)
        rounds += after[0].done > 0
    assert rounds > 3


def test_a_backbone_is_taken_from_its_checkpoint(tmp_path):
    """For probing and for tuning; one that was cut off is trained again."""
    sweep = [{"transfer.mode": mode} for mode in ("probing", "tuning")]
    settings = {"transfer.source": "digits", "transfer.num_epochs": 1, "num_epochs": 2}
    sizes = {"train_size": 64, "transfer.train_size": 64, "model.hidden": (4,)}
    study = tiny.study(sweep, dataset="digits", **settings, **sizes)
    study = dataclasses.replace(study, eval_size=50)
    options = {"lane_width": 2, "checkpoint_seconds": 0.0}
    train, visits = functools.partial(experiment.run, study, **options), []
    train(tmp_path / "whole", on_progress=visits.append)
    for visit in range(1, len(visits) + 1, 4):
        own, _, after = gone_on(train, tmp_path, visit)
        assert content(own) == content(tmp_path / "whole")
        again = "pretraining" in [progress.status for progress in after]
        assert again == (visits[visit - 1].status == "pretraining")
    for trial in range(2):
        assert rerun.rerun(tmp_path / "whole", trial, 1).is_equal
    (backbone,) = (tmp_path / "whole" / "checkpoints").glob("backbone_*/0")
    of = {"root_seed": 1}
    tiny.rewrite_about(backbone, lambda about: {**about, "of": {**about["of"], **of}})
    with pytest.raises(ValueError, match=r"backbone_.*/0 is of another run: root_seed"):
        rerun.rerun(tmp_path / "whole", 0, 1)


def test_what_is_done_is_not_trained_again(copy):
    before = {p: p.stat().st_mtime_ns for p in (copy / "checkpoints").rglob("*")}
    seen = []
    run(copy, resume=True, on_progress=seen.append)
    assert seen == []
    assert {
        p: p.stat().st_mtime_ns for p in (copy / "checkpoints").rglob("*")
    } == before


def test_nothing_to_resume_starts_and_says_so(tmp_path, caplog):
    with caplog.at_level("INFO"):
        found = run(tmp_path / "new", resume=True)
    assert found.config["status"] == "complete"
    assert "nothing to resume" in caplog.text


def more(**changes) -> Study:
    base = {k: v for k, v in changes.items() if k == "num_epochs"}
    rest = {k: v for k, v in changes.items() if k != "num_epochs"}
    base = dataclasses.replace(STUDY.base, **base)
    return dataclasses.replace(STUDY, base=base, **rest)


def trained(seen) -> int:
    return seen[-1].done - seen[0].done


def test_more_seeds_train_only_themselves_and_are_those_of_a_whole_run(copy, tmp_path):
    seen, all_seen, study = [], [], more(num_seeds=3)
    options = {"lane_width": 1}
    shutil.rmtree(copy)
    run(copy, **options)
    found = run(copy, study, resume=True, on_progress=seen.append, **options)
    run(tmp_path / "whole", study, on_progress=all_seen.append, **options)
    files = WITH_PICTURES[1:]
    assert content(copy, files) == content(tmp_path / "whole", files)
    assert trained(seen) == trained(all_seen) / 3
    parts = [(c["first_seed"], c["num_seeds"]) for c in found.config["cohorts"]]
    assert parts == 3 * [(0, 2)] + 3 * [(2, 1)]


def test_more_epochs_are_those_of_a_whole_run(copy, tmp_path):
    study, seen = more(num_epochs=7), []
    run(copy, study, resume=True, on_progress=seen.append)
    run(tmp_path / "whole", study)
    assert all_of(copy) == all_of(tmp_path / "whole")
    assert seen[0].done > 0


def test_more_epochs_drop_what_only_the_last_ones_had(tmp_path):
    def study(num_epochs: int) -> Study:
        return Study.from_dict(
            {
                "batch_size": 400,
                "num_epochs": num_epochs,
                "num_seeds": 2,
                "eval_size": 50,
                "test_sets": {"moved_pixels": 1, "severity": True},
            }
        )

    experiment.run(study(1), tmp_path / "longer")
    experiment.run(study(2), tmp_path / "longer", resume=True)
    experiment.run(study(2), tmp_path / "whole")
    files = (*FILES, "severity.csv")
    assert content(tmp_path / "longer", files) == content(tmp_path / "whole", files)


def test_early_stopped_and_diverged_members_stay_ended(tmp_path):
    def study(num_epochs: int) -> Study:
        sweep = [{**tiny.DEEP, tiny.RATE: rate} for rate in (0.05, 5.0)]
        stop = {"early_stopping.patience": 2}
        return tiny.study(sweep, num_epochs=num_epochs, **stop)

    run(tmp_path / "longer", study(5))
    run(tmp_path / "longer", study(30), resume=True)
    found = run(tmp_path / "whole", study(30))
    status = found.members["status"].to_pylist()
    assert {"diverged", "stopped"} <= set(status)
    assert content(tmp_path / "longer") == content(tmp_path / "whole")


def test_evaluations_that_would_fall_elsewhere_are_refused(tmp_path):
    study = dataclasses.replace(
        STUDY, base=dataclasses.replace(STUDY.base, eval_every_epochs=3.0)
    )
    run(tmp_path / "run", study)
    longer = dataclasses.replace(
        study, base=dataclasses.replace(study.base, num_epochs=6)
    )
    with pytest.raises(
        ValueError, match=r"cannot resume .*multiple of eval_every_epoch"
    ):
        run(tmp_path / "run", longer, resume=True)


def test_more_trials_leave_the_others_alone(copy):
    sweep = ({"model.hidden": (4,), "optimizer.learning_rate": 0.01}, *STUDY.sweep)
    before = results.load(copy).curves.to_pylist()
    found = run(copy, more(sweep=sweep), resume=True)
    assert found.config["status"] == "complete"
    assert found.study.sweep == (*STUDY.sweep, sweep[0])
    rows = found.curves.to_pylist()
    assert [row for row in rows if row["trial"] < 4] == before
    assert sum(row["trial"] == 4 for row in rows) == 10


@pytest.mark.parametrize("changes", [{"root_seed": 1}, {"sweep": STUDY.sweep[1:]}])
def test_another_study_is_refused_and_nothing_changes(copy, changes):
    before = all_of(copy)
    with pytest.raises(ValueError, match=r"cannot resume '.*copy': "):
        run(copy, more(**changes), resume=True)
    assert all_of(copy) == before


def test_other_data_are_refused(copy):
    data = tiny.dataset()
    inputs = data.test.inputs.copy()
    inputs[0, 0] += 1
    other = type(data).from_arrays(
        data.train.inputs,
        data.train.labels,
        test_inputs=inputs,
        test_labels=data.test.labels,
    )
    with pytest.raises(
        ValueError, match=r"cannot resume .* the data of 'digits' are not"
    ):
        experiment.run(STUDY, copy, dataset=other, resume=True)


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


def test_other_versions_are_refused_but_for_the_asking(copy, monkeypatch):
    monkeypatch.setattr(jax, "__version__", "0.0.1")
    before = all_of(copy)
    with pytest.raises(ValueError, match=r"jax was .* and is 0.0.1 now"):
        run(copy, resume=True)
    assert all_of(copy) == before
    found = run(copy, resume=True, resume_anyway=True)
    assert found.config["status"] == "complete"
    (told,) = found.config["begun_otherwise"]
    assert told.endswith("and is 0.0.1 now")


def interrupted(workdir: pathlib.Path, whole) -> pathlib.Path:
    """A run that was cut off in its last program, after some evaluations."""
    with pytest.raises(KeyboardInterrupt):
        run(workdir, on_progress=Stop(len(whole[1]) - 2))
    return workdir


def damage(path: pathlib.Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def last_checkpoints(workdir: pathlib.Path) -> dict[str, list[pathlib.Path]]:
    """Returns each program's checkpoints, the last one first."""
    return {
        part.name: sorted(
            (p for p in part.iterdir() if p.is_dir()), key=lambda p: -int(p.name)
        )
        for part in (workdir / "checkpoints").iterdir()
    }


def test_a_damaged_last_checkpoint_gives_way_to_the_one_before(whole, tmp_path, caplog):
    workdir = interrupted(tmp_path / "run", whole)
    parts = last_checkpoints(workdir)
    unfinished = max(parts.values(), key=lambda some: some[0].stat().st_mtime_ns)
    damage(unfinished[0] / "about" / "metadata")
    run(workdir, resume=True)
    assert "is damaged" in caplog.text
    assert all_of(workdir) == all_of(whole[0])


def test_a_finished_program_whose_checkpoints_were_changed_is_refused(copy):
    before = all_of(copy)
    for path in last_checkpoints(copy)["program_0"]:
        damage(path / "about" / "metadata")
    with pytest.raises(ValueError, match=r"program_0.* is damaged"):
        run(copy, resume=True)
    assert all_of(copy) == before


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


LINKS = ("checkpoints", "checkpoints/program_0", "checkpoints/program_0/9", "artifacts")


@pytest.mark.parametrize("name", LINKS)
def test_nothing_is_written_or_deleted_behind_a_link(copy, tmp_path, name):
    outside, link = tmp_path / "outside", copy / name
    if link.exists():
        link.rename(outside)
    (outside / "9").mkdir(parents=True)  # without digests it would be removed
    link.symlink_to(outside)
    before = {p: p.stat().st_mtime_ns for p in outside.rglob("*")}
    with pytest.raises(ValueError, match=f"cannot resume .*{name}' is a link"):
        run(copy, resume=True)
    assert {p: p.stat().st_mtime_ns for p in outside.rglob("*")} == before


def test_a_workdir_may_be_a_link(copy, tmp_path):
    (tmp_path / "link").symlink_to(copy)
    run(tmp_path / "link", resume=True)
    assert (tmp_path / "link").is_symlink()


def test_what_a_killed_writer_left_is_removed(copy):
    left = [
        copy / ".members.csv.77.tmp",
        copy / "checkpoints/program_0/.9.sha256.0a.tmp",
    ]
    for path in left:
        path.write_bytes(b"half")
    run(copy, resume=True)
    assert not any(path.exists() for path in left)


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """A run with another root seed."""
    workdir = tmp_path_factory.mktemp("foreign") / "run"
    run(workdir, more(root_seed=1))
    return workdir


def test_checkpoints_of_another_run_are_refused_and_nothing_changes(foreign, copy):
    part = pathlib.Path("checkpoints", "program_0")
    shutil.rmtree(copy / part)
    shutil.copytree(foreign / part, copy / part)
    before = all_of(copy)
    told = r"program_0/\d+ is of another run: root_seed is 1 there and 0 here"
    with pytest.raises(ValueError, match=rf"cannot resume .*{told}"):
        run(copy, resume=True)
    with pytest.raises(ValueError, match=told):
        saved_network.of_member(copy, 0, 0)
    assert all_of(copy) == before


def test_another_runs_config_is_refused(foreign, copy):
    shutil.copy(foreign / "config.json", copy)
    with pytest.raises(ValueError, match="root_seed was 1 and is 0 now"):
        run(copy, resume=True)
    with pytest.raises(ValueError, match="root_seed is 0 there and 1 here"):
        run(copy, more(root_seed=1), resume=True)
    with pytest.raises(ValueError, match="is not the file that the run wrote"):
        results.load(copy)


def test_programs_that_changed_places_are_refused(copy):
    one, two, away = (copy / "checkpoints" / n for n in ("program_0", "program_1", "x"))
    for source, target in ((one, away), (two, one), (away, two)):
        source.rename(target)
    with pytest.raises(ValueError, match="program is 2 there and 1 here"):
        run(copy, resume=True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("known", {}),
        ("num_steps", "x"),
        ("position", {"step": 1, "steps": 2}),
        ("position", {"step": -5}),
        ("versions", None),
    ],
)
def test_a_checkpoint_of_another_form_is_one_line(copy, name, value):
    (last,) = last_checkpoints(copy)["program_0"][:1]
    tiny.rewrite_about(last, lambda about: {**about, name: value})
    before = all_of(copy)
    with pytest.raises(
        ValueError, match=r"program_0/\d+ is damaged: [^\n]+; remove it"
    ):
        run(copy, resume=True)
    assert all_of(copy) == before


def lose(workdir: pathlib.Path, how: bytes | None) -> None:
    (workdir / "config.json").unlink()
    if how is not None:
        (workdir / "config.json").write_bytes(how)


@pytest.mark.parametrize("how", [None, b"", b'{"study": {', b"\xff"])
def test_a_config_that_is_lost_is_made_again_from_checkpoints(whole, copy, how, caplog):
    lose(copy, how)
    seen = []
    run(copy, resume=True, on_progress=seen.append)
    assert "going on from its checkpoints" in caplog.text
    assert seen == []
    assert all_of(copy) == all_of(whole[0])


def test_without_its_config_more_seeds_stay_and_what_is_missing_is_trained(copy):
    study = more(num_seeds=3)
    run(copy, study, resume=True)
    before = all_of(copy)
    lose(copy, b"")
    shutil.rmtree(copy / "checkpoints" / "program_1")
    seen = []
    run(copy, study, resume=True, on_progress=seen.append)
    assert {progress.program for progress in seen} == {5}
    assert all_of(copy) == before


def test_without_its_config_another_study_is_refused(copy):
    lose(copy, b"")
    for changes in ({"root_seed": 1}, {"sweep": STUDY.sweep[::-1]}):
        with pytest.raises(ValueError, match=r"cannot resume .* is of another run: "):
            run(copy, more(**changes), resume=True)
    assert not (copy / "config.json").read_bytes()


def test_without_config_and_checkpoints_there_is_nothing_to_go_on_from(copy):
    shutil.rmtree(copy / "checkpoints")
    lose(copy, b"")
    with pytest.raises(ValueError, match=r"config.json' is damaged: "):
        run(copy, resume=True)


def test_checkpoints_without_their_config_are_not_written_over(copy):
    (copy / "config.json").unlink()
    with pytest.raises(FileExistsError, match=r"holds checkpoints but no config.json"):
        run(copy)


def test_torn_tables_are_mended(whole, copy):
    """Simulates a kill between the tables and config.json."""
    (copy / "members.csv").write_bytes(b"trial,seed\n")
    with pytest.raises(ValueError, match="mended by resuming it"):
        results.load(copy)
    run(copy, resume=True)
    assert all_of(copy) == all_of(whole[0])


def test_two_runs_in_one_workdir_exclude_each_other(copy):
    refused = pytest.raises(BlockingIOError, match="another run is at work in workdir")
    with files.alone_in(copy), refused:
        run(copy, resume=True)
    run(copy, resume=True)


def test_the_lock_holds_for_a_new_run_too(tmp_path):
    def second(progress) -> None:
        with pytest.raises(BlockingIOError, match="another run is at work"):
            run(tmp_path / "run", resume=True)
        with pytest.raises(FileExistsError, match="holds results"):
            run(tmp_path / "run")

    run(tmp_path / "run", on_progress=second)


def test_a_run_that_was_faster_is_not_written_over(tmp_path, monkeypatch):
    prepare = experiment.prepare

    def slow(study, **options):
        monkeypatch.undo()
        run(tmp_path / "run")
        return prepare(study, **options)

    monkeypatch.setattr(experiment, "prepare", slow)
    with pytest.raises(FileExistsError, match="holds results"):
        run(tmp_path / "run")


def test_a_write_that_fails_once_is_blamed_on_no_program(tmp_path, monkeypatch):
    wait, failed = Checkpoints.wait, []

    def once(store) -> None:
        wait(store)
        if not failed:
            failed.append(True)
            raise SaveError("cannot save a checkpoint")

    monkeypatch.setattr(Checkpoints, "wait", once)
    with pytest.raises(SaveError):
        run(tmp_path / "run")
    found = results.load_config(tmp_path / "run")
    assert (found["status"], found["failures"]) == ("interrupted", {})


def out_of_memory(monkeypatch, fits: int, times: int = 10**9) -> list[int]:
    """Makes lanes wider than `fits` run out of memory; returns the widths tried."""
    tried: list[int] = []
    train = place.PlacedProgram.train

    def failing(program, state, start, count):
        tried.append(program.width)
        if program.width > fits and len(tried) <= times:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return train(program, state, start, count)

    monkeypatch.setattr(place.PlacedProgram, "train", failing)
    return tried


def test_out_of_memory_halves_the_lanes_and_is_recorded(tmp_path, monkeypatch, caplog):
    study = tiny.study(tiny.rates(0.1, 0.2, 0.3, 0.4), num_seeds=2)
    run(tmp_path / "narrow", study, lane_width=2)
    tried, told = out_of_memory(monkeypatch, fits=2), []
    found = run(tmp_path / "run", study, lane_width=8, on_progress=told.append)
    assert {(p.program, p.num_programs) for p in told} == {(0, 1)}
    assert list(dict.fromkeys(tried)) == [8, 4, 2]
    assert found.config["status"] == "complete"
    assert found.config["out_of_memory"] == {"0": [8, 4]}
    assert "out of memory with 8 networks at once" in caplog.text
    files = FILES[1:]
    assert content(tmp_path / "run", files) == content(tmp_path / "narrow", files)


def test_out_of_memory_for_good_leaves_the_other_programs(tmp_path, monkeypatch):
    sweep = [{"model.hidden": (4,)}, {"model.name": "boosted_trees"}]
    out_of_memory(monkeypatch, fits=0)
    found = run(tmp_path / "run", tiny.study(sweep))
    assert found.config["status"] == "failed"
    assert list(found.config["failures"]) == ["0"]
    assert set(found.members["trial"].to_pylist()) == {0, 1}


def test_what_failed_is_tried_again_when_resumed(tmp_path, monkeypatch):
    sweep = [{"model.hidden": (4,)}, {"model.name": "boosted_trees"}]
    study = tiny.study(sweep)
    with monkeypatch.context() as patch:
        out_of_memory(patch, fits=0)
        run(tmp_path / "run", study)
    assert (tmp_path / "run" / "failure_0.txt").exists()
    found = run(tmp_path / "run", study, resume=True)
    assert found.config["status"] == "complete"
    assert not (tmp_path / "run" / "failure_0.txt").exists()


def test_a_full_disk_ends_the_run_and_leaves_what_was_there(tmp_path, monkeypatch):
    write, seen = tables.write_atomic, []

    def full(path, some):
        if len(seen) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write(path, some)

    monkeypatch.setattr(tables, "write_atomic", full)
    with pytest.raises(OSError, match="No space left"):
        run(tmp_path / "run", on_progress=seen.append)
    monkeypatch.undo()
    found = run(tmp_path / "run", resume=True)
    assert found.config["status"] == "complete"


# Orbax writes that are still at work when another fails find their loop closed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_disk_that_is_full_in_earnest(tmp_path):
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
        whole = shutil.copytree(small / "run", tmp_path / "run")
    finally:
        subprocess.run(["umount", str(small)], check=True)
    run(whole, resume=True)
    run(tmp_path / "alone")
    assert all_of(whole) == all_of(tmp_path / "alone")


def test_a_clock_that_jumps_changes_no_result(whole, tmp_path, monkeypatch):
    now, jumps = time.time, itertools.cycle([0.0, 86_400.0, 1.0, -7200.0])
    monkeypatch.setattr(time, "time", lambda: now() + next(jumps))
    run(tmp_path / "run")
    assert all_of(tmp_path / "run") == all_of(whole[0])


def test_one_member_trained_again_alone_is_the_same_to_the_last_bit(whole):
    for trial, seed in ((0, 1), (2, 0)):
        again = rerun.rerun(whole[0], trial, seed, dataset=tiny.dataset())
        assert again.is_equal, again.difference
        assert (again.num_rows, again.notes) == (5, ())


def test_a_member_that_is_not_the_recorded_one_is_told(whole, tmp_path):
    workdir = tmp_path / "run"
    run(workdir)
    config = results.load_config(workdir)
    found = results.load(workdir)
    rows = found.curves.to_pylist()
    changed = next(row for row in rows if (row["trial"], row["seed"]) == (1, 1))
    changed["train_loss"] = np.nextafter(changed["train_loss"], 9.0)
    content = {
        "curves.parquet": results.table(rows, results.CURVES),
        "members.csv": found.members,
        "summary.csv": (workdir / "summary.csv").read_bytes(),
        "timings.csv": found.timings,
    }
    del config["manifest"]
    results.write(workdir, config, content)
    again = rerun.rerun(workdir, 1, 1, dataset=tiny.dataset())
    assert not again.is_equal
    assert "first at step 0: train_loss was" in again.difference
    assert rerun.rerun(workdir, 1, 0, dataset=tiny.dataset()).is_equal


@pytest.mark.parametrize(
    ("trial", "seed", "message"),
    [
        (4, 0, "no trial 4 with seed 0 in .*: trials are 0 to 3, seeds 0 to 1"),
        (0, -1, "no trial 0 with seed -1"),
        (3, 0, "trial 3 is no network"),
    ],
)
def test_there_must_be_such_a_network(whole, trial, seed, message):
    with pytest.raises(ValueError, match=message):
        rerun.rerun(whole[0], trial, seed, dataset=tiny.dataset())
