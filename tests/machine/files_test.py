# SPDX-License-Identifier: Apache-2.0
"""Files are written whole; leftovers of killed writers go, links stay."""

import errno
import os
import pathlib

import pytest

from nnlab.machine import files

LEFT = ".curves.parquet.12ab.tmp"


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("~", "home"),
        ("~/runs/x", "home/runs/x"),
        (pathlib.Path("~", "x"), "home/x"),
        (b"~/x", "home/x"),
        ("runs/x/", "here/runs/x"),
        ("a b/../c", "here/a b/../c"),
        ("./~x", "here/~x"),
        ("x~", "here/x~"),
        ("it costs 3$", "here/it costs 3$"),
        ("$HOME", "here/$HOME"),  # one of that name is there
    ],
)
def test_a_path_is_what_its_writer_means(given, meant, tmp_path, monkeypatch):
    (tmp_path / "here" / "$HOME").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    found = files.absolute(given)
    assert found == tmp_path / meant
    monkeypatch.chdir(tmp_path)
    assert files.absolute(found) == found


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("", "workdir='' is empty"),
        (" ", "is empty"),
        ("a\0b", "NUL"),
        ("file:///tmp/x", "is a URL"),
        ("s3://bucket/x", "is a URL"),
        ("~nobody-has-this-name/x", "no user's home folder"),
        ("$HOME/x", r"holds '\$HOME', which the shell left"),
        ("${HOME}x", "holds '\\${HOME', which the shell left"),
        (5, "workdir=5 is not a path"),
        (None, "workdir=None is not a path"),
        (["x"], "is not a path"),
    ],
)
def test_what_is_no_path_is_refused_in_a_line(given, problem):
    with pytest.raises(ValueError, match=problem):
        files.absolute(given, "workdir")


def test_a_current_folder_that_is_gone_is_told(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(FileNotFoundError, match="x='runs': the current folder has"):
        files.absolute("runs", "x")
    assert files.absolute(tmp_path) == tmp_path


def test_a_path_is_shown_from_the_current_folder_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert files.shown(tmp_path / "runs" / "x") == os.path.join("runs", "x")
    assert files.shown(tmp_path.parent) == str(tmp_path.parent)


def test_content_is_on_the_disk_before_its_name_is(tmp_path, monkeypatch):
    done, fsync, replace = [], os.fsync, os.replace

    def synced(descriptor):
        fsync(descriptor)
        done.append(os.path.samestat(os.fstat(descriptor), os.stat(tmp_path)))

    def replaced(old, new):
        assert pathlib.Path(old).read_bytes() == b"new"
        done.append(replace(old, new))

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    files.write_atomic(tmp_path / "table", b"new")
    assert done == [False, None, True]  # the file, its name, the folder
    files.write_atomic(tmp_path / "figure", b"new", durable=False)
    assert done[3:] == [None]


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "table"
    files.write_atomic(path, b"old")

    def fail(*_):
        raise OSError(errno.ENOSPC, "disk full")

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(OSError, match=r"disk full: '.*table'"):
        files.write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_synced_is_no_error(tmp_path, monkeypatch):
    def only_files(descriptor):
        if os.path.samestat(os.fstat(descriptor), os.stat(tmp_path)):
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", only_files)
    files.write_atomic(tmp_path / "table", b"new")
    assert (tmp_path / "table").read_bytes() == b"new"


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path):
    for name in (LEFT, "figures/.a.svg.0123.tmp", "notes.tmp", ".mine.tmp", "a.12.tmp"):
        files.make_folder((tmp_path / name).parent)
        (tmp_path / name).write_bytes(b"x")
    with files.replacing(tmp_path / "alive") as stream:
        stream.write(b"whole")
        files.remove_abandoned(tmp_path)
    found = {p.name for p in tmp_path.rglob("*") if p.is_file()}
    assert found == {"notes.tmp", ".mine.tmp", "a.12.tmp", "alive"}
    assert (tmp_path / "alive").read_bytes() == b"whole"


def test_nothing_abandoned_is_looked_for_behind_a_link(tmp_path):
    outside, folder = tmp_path / "outside", tmp_path / "run"
    for path in (outside, folder):
        path.mkdir()
    (outside / LEFT).write_bytes(b"mine")
    (folder / "figures").symlink_to(outside)
    (folder / LEFT).symlink_to(outside / LEFT)
    files.remove_abandoned(folder)
    assert os.listdir(folder) == ["figures"]
    assert (outside / LEFT).read_bytes() == b"mine"


@pytest.mark.parametrize("target", ["file", "folder", "nowhere", "link"])
@pytest.mark.parametrize("name", ["link", "folder/0/link"])
def test_links_are_refused_by_name(tmp_path, name, target):
    (tmp_path / "folder" / "0").mkdir(parents=True)
    (tmp_path / "file").touch()
    files.refuse_links(tmp_path / "folder", tmp_path / "file", tmp_path / "missing")
    (tmp_path / name).symlink_to(tmp_path / target)  # of "link" a loop
    with pytest.raises(ValueError, match=f"{name}' is a link; remove it"):
        files.refuse_links(tmp_path / "folder", tmp_path / "link")


@pytest.mark.parametrize("left", [0, 30, 64, 70])
def test_a_digest_is_whole_or_none(tmp_path, left):
    path = tmp_path / "search.log"
    assert files.read_digest(path) == ""
    files.write_digest(path, b"x")
    whole = files.digest_of(path).read_bytes()
    assert len(files.read_digest(path)) == 64
    files.digest_of(path).write_bytes(whole[:left])
    assert files.read_digest(path) == ""
