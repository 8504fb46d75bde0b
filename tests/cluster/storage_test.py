# SPDX-License-Identifier: Apache-2.0
"""A storage returns whole checkpoints, and the most advanced one."""

import pathlib
import secrets
import sys
import traceback

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from nnlab.cluster.storage import Pushed, Storage, StorageError
from nnlab.runs import checkpoint
from nnlab.runs.checkpoint import FOLDER, Checkpoints
from nnlab.words import numbers

PART = "program_0"


@pytest.fixture
def store():
    found = Storage(f"memory://bucket/{secrets.token_hex(4)}")
    yield found
    found.remove()


@pytest.fixture
def node(tmp_path, store):
    """Resumes from the storage and writes checkpoints, as a node does."""
    made = []

    def make(name):
        workdir = tmp_path / name
        past = {PART: store.pull(PART, workdir)}
        made.append(Pushed(store, workdir, 0.0, past))
        return made[-1]

    yield make
    for one in made:
        one.close()


def save(checkpoints, step, finished=False, score=-1.0):
    checkpoints.save(
        PART,
        {"state": {"x": np.full(3, step)}},
        {"position": {"step": step}, "finished": finished},
        score,
    )
    checkpoints.wait()


def step_of(workdir):
    """Returns the step of the last sound checkpoint in a folder; None for none."""
    saved = Checkpoints(workdir, 0.0, read_only=True).latest(PART)
    if saved is None:
        return None
    step = saved.about["position"]["step"]
    assert (saved.arrays("state")["x"] == step).all()
    return step


MEMORY = fsspec.filesystem("memory")


def held(store):
    """Paths of all files in the storage."""
    root = store.url.removeprefix("memory:/")
    return [file.removeprefix(f"{root}/") for file in MEMORY.find(root)]


def at(store, name):
    """The whole path of a file in the storage whose path ends with this name."""
    (found,) = (path for path in held(store) if path.endswith(f"/{name}"))
    return f"{store.url.removeprefix('memory:/')}/{found}"


def files(folder: pathlib.Path):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_nothing_in_storage_is_written_outside_a_workdirs_checkpoints(
    tmp_path, store, node
):
    save(node("node"), 1)
    root = at(store, "0.sha256").removesuffix(".sha256")
    MEMORY.pipe_file(f"{root}/{'../' * 7}evil", b"x")
    store.pull(PART, tmp_path / "a" / "here")
    assert step_of(tmp_path / "a" / "here") == 1
    assert not list(tmp_path.rglob("evil"))


def test_a_workdir_gets_what_a_node_has(tmp_path, store, node):
    first = node("node")
    for step, score in ((1, 0.9), (2, 0.1), (3, 0.2), (4, 0.3)):
        save(first, step, score=score)
    here, there = (tmp_path / name / FOLDER / PART for name in ("here", "node"))
    assert len(store.pull(PART, tmp_path / "here")) == 1
    assert files(here) == files(there)
    assert sorted(p.name for p in here.glob("*.sha256")) == [
        f"{number}.sha256" for number in (0, 2, 3)
    ]
    assert sorted(p.name for p in (tmp_path / "here" / FOLDER).iterdir()) == [PART]
    # Superseded ones are gone from the storage, too.
    assert len(held(store)) == len(files(there))


def test_nothing_in_storage_leaves_what_a_workdir_has(tmp_path, store):
    mine = Checkpoints(tmp_path, 0.0)
    save(mine, 1)
    mine.close()
    assert store.pull(PART, tmp_path) == []
    assert step_of(tmp_path) == 1


def test_who_takes_over_goes_on_and_drops_what_was_before(tmp_path, store, node):
    save(node("dead"), 5)
    heir = node("heir")
    assert step_of(tmp_path / "heir") == 5
    save(heir, 7)
    assert len({path.split("/")[2] for path in held(store)}) == 1  # attempt
    assert sorted(p.stem for p in (tmp_path / "heir").rglob("*.sha256")) == ["0", "1"]


def test_two_at_the_same_chunk_do_no_harm_and_the_further_one_counts(
    tmp_path, store, node
):
    slow = node("slow")
    save(slow, 2)
    fast = node("fast")
    for step in (3, 4, 5):
        save(slow, step)  # given up, but still alive
    save(fast, 9)
    save(slow, 6)
    store.pull(PART, tmp_path / "here")
    assert step_of(tmp_path / "here") == 9
    save(fast, 9, finished=True)
    save(slow, 9)
    store.pull(PART, tmp_path / "here")
    saved = Checkpoints(tmp_path / "here", 0.0, read_only=True).latest(PART)
    assert saved.about["finished"]


@pytest.mark.parametrize("missing", ["digests", "file", "bytes"])
def test_half_a_checkpoint_is_never_read(tmp_path, store, node, missing, caplog):
    """The upload was cut off: before the digests, or in a storage that lost some."""
    first = node("node")
    save(first, 1)
    save(first, 2)
    file = at(store, "1.sha256" if missing == "digests" else "1/about/metadata")
    if missing == "bytes":
        MEMORY.pipe_file(file, b"{}")
    else:
        MEMORY.rm_file(file)
    store.pull(PART, tmp_path / "here")
    assert step_of(tmp_path / "here") == 1
    assert ("going on without it" in caplog.text) == (missing != "digests")


def test_where_all_are_damaged_there_is_nothing(tmp_path, store, node, caplog):
    first = node("node")
    save(first, 1)
    MEMORY.rm_file(at(store, "about/metadata"))
    store.pull(PART, tmp_path / "here")
    assert step_of(tmp_path / "here") is None
    assert "lacks its file about/metadata" in caplog.text


def test_what_is_removed_while_it_is_read_is_passed_over(
    tmp_path, store, node, monkeypatch
):
    first = node("node")
    save(first, 1)
    save(first, 2)
    get_file = MemoryFileSystem.get_file

    def gone(self, path, *arguments, **kwargs):
        if "/0/" in path:
            raise FileNotFoundError(path)
        get_file(self, path, *arguments, **kwargs)

    monkeypatch.setattr(MemoryFileSystem, "get_file", gone)
    store.pull(PART, tmp_path / "here")
    assert step_of(tmp_path / "here") == 2
    names = sorted(p.name for p in (tmp_path / "here" / FOLDER / PART).iterdir())
    assert names == ["1", "1.sha256"]


def test_the_digests_are_put_last(store, node, monkeypatch):
    put = []
    pipe_file = MemoryFileSystem.pipe_file

    def note(self, path, *arguments, **kwargs):
        put.append((path.rpartition("/")[2], len(held(store))))
        pipe_file(self, path, *arguments, **kwargs)

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", note)
    save(node("node"), 1)
    assert put == [("0.sha256", len(held(store)) - 1)]


def test_a_storage_that_fails_is_told_with_its_name(tmp_path, store, node, monkeypatch):
    def fails(*_, **__):
        raise OSError("Please reduce your request rate")

    first = node("node")
    save(first, 1)
    monkeypatch.setattr(MemoryFileSystem, "put_file", fails)
    told = rf"storage {store.url}: OSError: Please reduce your request rate"
    with pytest.raises(StorageError, match=told) as caught:
        save(first, 2)
    assert isinstance(caught.value, checkpoint.SaveError)
    monkeypatch.setattr(MemoryFileSystem, "get_file", fails)
    with pytest.raises(StorageError, match=told):
        store.pull(PART, tmp_path / "here")
    assert not list((tmp_path / "here").rglob("*.sha256"))
    monkeypatch.setattr(MemoryFileSystem, "rm", fails)
    store.end(tmp_path)  # a finished run no longer fails


def test_a_run_has_a_folder_of_its_own(tmp_path, store):
    one, other = tmp_path / "one", tmp_path / "other"
    for workdir in (one, other):
        workdir.mkdir()
        (workdir / "config.json").write_text(workdir.name)
    first, second = store.of_run(one), store.of_run(other)
    assert store.of_run(one).url == first.url != second.url
    with pytest.raises(ValueError, match=r"half trained of .* is in another storage"):
        Storage(f"{store.url}/other").of_run(one)
    first.begin(one)
    assert first.is_begun()
    assert not second.is_begun()
    second.begin(other)
    first.end(one)
    assert not first.is_begun()
    assert second.is_begun()
    assert not list(one.glob(f"{FOLDER}/*"))
    assert store.of_run(one).url != first.url


@pytest.mark.parametrize(
    "note",
    ["", "cut off", "../other {own}", ". {own}", "x::reference:// {own}", "0" * 78],
)
def test_a_damaged_note_of_the_folder_gives_a_new_one(tmp_path, store, note, caplog):
    first = store.of_run(tmp_path)
    file = tmp_path / FOLDER / "storage_run"
    file.write_text(note.format(own=file.read_text().split()[1]))
    again = store.of_run(tmp_path)
    assert f"{file} is damaged" in caplog.text
    assert again.url.rpartition("/")[0] == store.url
    assert store.of_run(tmp_path).url == again.url != first.url


def test_a_link_in_local_storage_is_refused(tmp_path):
    local = Storage(f"file://{tmp_path}/storage")
    own = pathlib.Path(local.of_run(tmp_path).url.removeprefix("file://"))
    (tmp_path / "mine" / PART).mkdir(parents=True)
    own.mkdir(parents=True)
    (own / FOLDER).symlink_to(tmp_path / "mine")
    with pytest.raises(ValueError, match=f"{FOLDER}' is a link"):
        local.of_run(tmp_path)


def test_a_check_leaves_nothing(store):
    store.check()
    assert held(store) == []


def test_refusals(tmp_path, monkeypatch):
    for url in ("", "runs/x", "/mnt/x", "s3:/bucket", "file://"):
        with pytest.raises(ValueError, match=f"storage '{url}' is no URL of a folder"):
            Storage(url)
    with pytest.raises(ValueError, match=r"'gold://x': Protocol not known: gold"):
        Storage("gold://x")
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ValueError, match="'s3://x/y': Install s3fs to access S3"):
        Storage("s3://x/y")
    (tmp_path / "file").write_text("")
    told = r"cannot use storage 'file:///.*/file/x': NotADirectoryError"
    with pytest.raises(ConnectionError, match=told):
        Storage(f"file://{tmp_path}/file/x").check()
    monkeypatch.setattr(MemoryFileSystem, "cat_file", lambda *_: b"other")
    with pytest.raises(ConnectionError, match="does not give back what is written"):
        Storage("memory://odd").check()


def test_a_relative_folder_means_the_same_to_all(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Storage("file://runs/x/").url == f"file://{tmp_path}/runs/x"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://me:hunter2@127.0.0.1:1/x",  # nobody listens there
        "ftp://me:hun%74er2@127.0.0.1:1/x",
        "ftp://me:hunter2/hunter2@127.0.0.1/x",
        "simplecache::ftp://me:hunter2@127.0.0.1:1/x",
        "webhdfs://127.0.0.1:1/x?token=hunter2",
        "none://me:hunter2@host/x",
        "me:hunter2@host",
    ],
)
def test_no_error_tells_a_password(url):
    with pytest.raises((ValueError, ConnectionError), match=r"\*\*\*") as caught:
        Storage(url).check()
    told = "".join(traceback.format_exception(caught.value))
    assert "hunter2" not in told
    with pytest.raises(ValueError, match=r"\*\*\* stands for the password|is no URL"):
        Storage(numbers.masked(url))


def test_a_run_goes_on_with_another_password(tmp_path):
    (tmp_path / FOLDER).mkdir()
    found = [
        Storage(f"memory://bucket?key={word}").of_run(tmp_path)
        for word in ("old", "new")
    ]
    assert found[0].shown == found[1].shown
    with pytest.raises(ValueError, match="is in another storage than 'memory://other'"):
        Storage("memory://other").of_run(tmp_path)
