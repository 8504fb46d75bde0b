# SPDX-License-Identifier: Apache-2.0
"""The cache returns what the source holds, and ignores damaged entries."""

import os
from pathlib import Path

import numpy as np
import pytest
from folders import assert_equal, entries, refused

from nnlab.data import cache, idx, load


def test_it_serves_what_the_source_holds(folder, tmp_path, monkeypatch):
    first = load("mnist", data_dir=folder)
    assert len(entries(tmp_path)) == 1
    monkeypatch.setattr(idx, "read_arrays", None)
    assert_equal(load("mnist", data_dir=folder), first)


def test_it_never_stands_in_for_a_source_that_changed_or_is_gone(folder):
    load("mnist", data_dir=folder)
    path = folder / f"{idx.TRAIN_IMAGES}.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with refused(ValueError, "damaged"):
        load("mnist", data_dir=folder)
    path.unlink()
    with refused(FileNotFoundError, idx.TRAIN_IMAGES):
        load("mnist", data_dir=folder)


DAMAGE = {
    "start": lambda good: good[:8] + bytes([good[8] ^ 1]) + good[9:],
    "middle": lambda good: good[:50_000] + bytes([good[50_000] ^ 1]) + good[50_001:],
    "end": lambda good: good[:-30] + bytes([good[-30] ^ 1]) + good[-29:],
    "cut": lambda good: good[: len(good) // 2],
    "empty": lambda good: b"",
}


@pytest.mark.parametrize("damage", [*DAMAGE, "pixel"])
def test_a_damaged_entry_is_ignored_and_written_again(folder, tmp_path, damage):
    first = load("mnist", data_dir=folder)
    (entry,) = entries(tmp_path)
    good = entry.read_bytes()
    if damage == "pixel":  # a whole entry: no checksum of the archive notices
        with np.load(entry, allow_pickle=False) as stored:
            arrays = dict(stored)
        arrays["test_inputs"][0, 0, 0, 0] ^= 1
        np.savez(entry, **arrays)
    else:
        entry.write_bytes(DAMAGE[damage](good))
    assert entry.read_bytes() != good
    assert_equal(load("mnist", data_dir=folder), first)
    assert entry.read_bytes()[-2000:] == good[-2000:]
    assert entries(tmp_path) == [entry]


def test_a_folder_that_cannot_be_written_is_no_error(folder, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("NNLAB_CACHE_DIR", str(tmp_path / "file"))
    load("mnist", data_dir=folder)


def test_an_interrupted_write_leaves_no_entry(folder, tmp_path, monkeypatch):
    def interrupted(stream, **arrays):
        stream.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load("mnist", data_dir=folder)
    assert entries(tmp_path) == []


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("NNLAB_CACHE_DIR", "/a", "/a"),
        ("XDG_CACHE_HOME", "/b", "/b/nnlab"),
        ("HOME", "/c", "/c/.cache/nnlab"),
    ],
)
def test_where_it_is(monkeypatch, variable, value, expected):
    for one in ("NNLAB_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(one, raising=False)
    monkeypatch.setenv(variable, value)
    assert cache.root() == Path(expected)


def test_without_a_home_it_goes_with_the_process(monkeypatch):
    for variable in ("NNLAB_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # no such user
    root = cache.root()
    assert root.is_absolute()
    assert root == cache.root()
    assert root.parent.is_dir()
