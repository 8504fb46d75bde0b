# SPDX-License-Identifier: Apache-2.0
import errno
import logging
import os
import pathlib

import numpy as np
import pytest
import tiny

from nnlab.machine.files import alone_in
from nnlab.runs import checkpoint
from nnlab.runs.checkpoint import (
    AnotherRunError,
    CheckpointError,
    Checkpoints,
    SaveError,
    filled,
    named,
)

VALUES = {
    "a/b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "c": np.bool_(True)[None],
}


@pytest.fixture
def store(tmp_path):
    found = Checkpoints(tmp_path, seconds=0.0)
    yield found
    found.close()


@pytest.fixture
def two(store):
    """A store with the checkpoints 0 and 1 of a part."""
    for number in range(2):
        store.save("part", {"some": {"x": np.full(3, number)}}, {"number": number})
    store.wait()
    return store


def folder(store) -> pathlib.Path:
    return store.folder / "part"


def files(path: pathlib.Path) -> list[str]:
    return sorted(
        p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()
    )


def test_what_is_saved_comes_back_exactly(store):
    about = {"nan": float("nan"), "tenth": 0.1, "list": [1, None, "ä"], "empty": {}}
    store.save("part", {"some": VALUES}, about)
    store.wait()
    saved = store.latest("part")
    assert np.isnan(saved.about["nan"])
    assert {k: saved.about[k] for k in ("tenth", "list", "empty")} == {
        k: about[k] for k in ("tenth", "list", "empty")
    }
    arrays = saved.arrays("some")
    assert list(arrays) == list(VALUES)
    for name, value in VALUES.items():
        assert arrays[name].dtype == value.dtype
        np.testing.assert_array_equal(arrays[name], value)


def test_a_part_without_arrays_has_none(store):
    assert store.latest("part") is None
    store.save("part", {"none": {}}, {"x": 1})
    store.wait()
    assert store.latest("part").arrays("none") == {}
    assert store.latest("part").arrays("other") == {}


def test_the_last_two_and_the_best_are_kept_over_several_runs(tmp_path):
    scores = iter([0.2, 0.9, 0.1, 0.3, 0.8, 0.4])
    for run in range(2):
        store = Checkpoints(tmp_path, seconds=0.0)
        for number in range(3):
            store.save(
                "part", {"some": VALUES}, {"number": 3 * run + number}, next(scores)
            )
        store.close()
    names = [str(n) for n in (1, 4, 5)]
    kept = [*names, *(f"{n}.sha256" for n in names)]
    assert sorted(os.listdir(tmp_path / "checkpoints" / "part")) == sorted(kept)
    assert store.latest("part").about["number"] == 5


def flip(path: pathlib.Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "a flipped bit": flip,
    "cut in half": lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]),
    "emptied": lambda p: p.write_bytes(b""),
    "removed": lambda p: p.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damaged_file_is_found_and_the_one_before_is_used(two, damage, caplog):
    sound = {p: p.read_bytes() for p in folder(two).rglob("*") if p.is_file()}
    damaged = [n for n in files(folder(two)) if n.startswith(("1/", "1.sha256"))]
    assert len(damaged) > 5
    for name in damaged:
        path = folder(two) / name
        if not sound[path] and damage != "removed":
            continue  # nothing in it to damage
        DAMAGES[damage](path)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert two.latest("part").about["number"] == 0, name
        assert "part/1" in caplog.text
        assert "going on without it" in caplog.text
        path.write_bytes(sound[path])
    assert two.latest("part").about["number"] == 1
    (folder(two) / "1" / "strange").write_bytes(b"x")
    assert two.latest("part").about["number"] == 0


def test_where_all_are_damaged_it_is_refused_by_name(two):
    for number in range(2):
        flip(folder(two) / str(number) / "about" / "metadata")
    with pytest.raises(CheckpointError, match=r"part/1 is damaged: about/metadata is"):
        two.latest("part")


def test_one_that_was_cut_off_counts_for_nothing_and_is_told(two, caplog):
    for number in range(2):
        (folder(two) / f"{number}.sha256").unlink()
    assert two.latest("part") is None
    assert caplog.text.count("has no digests, or not all: its saving was cut off") == 2


@pytest.mark.parametrize("left", ["nothing", "half", "a line", "zeros"])
def test_digests_that_were_cut_off_count_as_none(two, left):
    for number in (1, 0):
        path = folder(two) / f"{number}.sha256"
        content = path.read_bytes()
        lines = content.splitlines(keepends=True)
        kept = {
            "nothing": b"",
            "half": content[: len(content) // 2],
            "a line": lines[0],
        }
        path.write_bytes(kept.get(left, bytes(len(content))))
        found = two.latest("part")
        assert (found.about["number"] if found else None) == (0 if number else None)


def test_a_checkpoint_is_on_the_disk_before_its_digests(store, monkeypatch):
    synced, unsynced, fsync = set(), [], os.fsync

    def note(descriptor):
        fsync(descriptor)
        synced.add(os.fstat(descriptor).st_ino)

    def write(path, content):
        within = [path.with_suffix(""), *path.with_suffix("").rglob("*")]
        unsynced.extend(p for p in within if p.stat().st_ino not in synced)
        assert len(within) > 10

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(checkpoint, "write_atomic", write)
    store.save("part", {"some": VALUES}, {})
    store.wait()
    assert synced
    assert not unsynced


def test_what_killed_writers_left_is_removed_but_not_from_who_is_at_work(two):
    half = "7.orbax-checkpoint-tmp"
    for path in (".pulled/ab/part", f"part/{half}/state", f"other/{half}"):
        (folder(two).parent / path).mkdir(parents=True)
    with alone_in(folder(two).parent / "other"):
        two.remove_abandoned()
    assert sorted(os.listdir(folder(two).parent)) == ["other", "part"]
    assert half not in os.listdir(folder(two))
    assert half in os.listdir(folder(two).parent / "other")
    assert two.latest("part").about["number"] == 1


def test_what_is_unsound_is_dropped_and_numbers_go_on(two, tmp_path):
    flip(folder(two) / "1" / "about" / "metadata")
    two.drop_unsound("part", two.latest("part"))
    assert sorted(os.listdir(folder(two))) == ["0", "0.sha256"]
    again = Checkpoints(tmp_path, seconds=0.0)
    again.save("part", {"some": VALUES}, {"number": 7})
    again.close()
    assert sorted(os.listdir(folder(two))) == ["0", "0.sha256", "1", "1.sha256"]
    assert again.latest("part").about["number"] == 7


def test_a_save_that_fails_is_told_by_the_next_call(store, monkeypatch):
    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(checkpoint, "write_atomic", full)
    store.save("part", {"some": VALUES}, {})
    with pytest.raises(SaveError, match=r"cannot save a checkpoint in .*No space"):
        store.wait()
    assert store.latest("part") is None


def test_it_is_due_when_the_seconds_have_passed(tmp_path, monkeypatch):
    now = iter((100.0, 104.9, 105.0, 105.0, 109.9, 110.0))
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: next(now))
    store = Checkpoints(tmp_path, seconds=5.0)
    assert [store.is_due("part") for _ in range(3)] == [False, False, True]
    store.save("part", {"some": VALUES}, {})
    assert [store.is_due("part") for _ in range(2)] == [False, True]
    monkeypatch.undo()
    store.close()


def test_leaves_have_names_and_find_their_way_back():
    tree = {"params": {"dense": {"kernel": np.ones(2)}}, "none": None, "t": (1.0, [2])}
    leaves = named(tree)
    assert list(leaves) == ["params/dense/kernel", "t/0", "t/1/0"]
    found = filled(tree, {name: name for name in leaves})
    assert found["params"]["dense"]["kernel"] == "params/dense/kernel"
    assert found["none"] is None
    assert found["t"] == ("t/0", ["t/1/0"])
    with pytest.raises(KeyError):
        filled(tree, {})


@pytest.mark.parametrize(
    ("of", "message"),
    [
        ({"root_seed": 1, "data": "a"}, "of another run: root_seed is 0 there and 1 h"),
        ({"root_seed": 0}, "of another run: data is 'a' there and None here"),
        (
            {"root_seed": 0, "data": "a", "x": []},
            r"of another run: x is None there and \[\] here",
        ),
    ],
)
def test_what_is_of_something_else_is_refused_by_name(store, of, message):
    told = {"root_seed": 0, "data": "a"}
    store.save("part", {"some": VALUES}, {"of": told})
    store.wait()
    assert store.latest("part", told).about["of"] == told
    with pytest.raises(AnotherRunError, match=rf"part/0 is {message}"):
        store.latest("part", of)


@pytest.mark.parametrize("about", [{}, {"of": 1}, [], "text"])
def test_one_that_does_not_say_what_it_is_of_gives_way(store, about, caplog):
    for told in ({"of": {"x": 1}}, {"of": {"x": 2}}):
        store.save("part", {"some": VALUES}, told)
    store.wait()
    tiny.rewrite_about(folder(store) / "1", lambda _: about)
    assert store.latest("part", {"x": 1}).path.name == "0"
    assert "part/1 is damaged: it does not say what it is of" in caplog.text


def test_one_of_an_earlier_nnlab_is_refused(store):
    store.save(
        "part", {"some": VALUES}, {"arrays": {"some": {"a/b": [[10**18], "V8"]}}}
    )
    store.wait()
    with pytest.raises(
        AnotherRunError, match="was saved by an earlier nnlab; use anot"
    ):
        store.latest("part", {"x": 1})
    assert store.latest("part").arrays("some")["a/b"].shape == (2, 3)


def test_what_does_not_hold_what_is_read_is_one_line(two):
    saved = two.latest("part")
    refused = pytest.raises(CheckpointError, match="part/1 is damaged: lacks 'nothing'")
    with refused, saved.reading():
        saved.about["nothing"]
