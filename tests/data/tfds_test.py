# SPDX-License-Identifier: Apache-2.0
"""Prepared TFDS directories: what is read, refused, and downloaded."""

import io
import os
import shutil
import socket
import struct
import threading
import time
import zlib

import pytest
from folders import assert_equal, change, example, prepare, publish_at, refused
from PIL import Image

from nnlab.data import cifar, idx, load, sources
from nnlab.machine import network

BLACK = Image.new("L", (28, 28))
GOOD = [example(i, BLACK) for i in range(10)]


def test_download_prepares_what_idx_files_hold(served, folder, tmp_path, capfd):
    from_idx = load("mnist", data_dir=folder)
    assert_equal(load("mnist"), from_idx)
    root = tmp_path / "cache" / "data"
    assert (root / "mnist" / "3.0.1" / "features.json").is_file()
    shutil.rmtree(tmp_path / "cache" / "arrays")
    assert_equal(load("mnist", data_dir=root), from_idx)
    assert capfd.readouterr() == ("", "")


def test_prepared_directory_comes_first_and_is_checked(served, tmp_path, mnist):
    load("mnist")
    root = shutil.copytree(tmp_path / "cache" / "data", tmp_path / "own")
    for file in mnist:
        (root / file).touch()
    load("mnist", data_dir=root)
    for file in (root / "mnist" / "3.0.1").glob("*train.array_record*"):
        file.write_bytes(file.read_bytes()[:20_000])
    with refused(ValueError, root / "mnist" / "3.0.1", "damaged"):
        load("mnist", data_dir=root)


def test_prepared_directory_with_other_content_is_refused(
    served, tmp_path, monkeypatch
):
    load("mnist")
    digest = sources.PUBLICATIONS["mnist"].digest
    root = shutil.copytree(tmp_path / "cache" / "data", tmp_path / "own")
    for changes, words in (
        ({"digest": "0" * 64}, [digest, "not the real mnist"]),
        ({"num_train": 61}, ["60 train", "61"]),
        ({"num_test": 19}, ["20 test", "19"]),
        ({"image_shape": (28, 28, 3)}, ["28 x 28 pixels", "28 x 28 x 3"]),
        ({"class_names": tuple("012345678")}, ["label 9", "0 to 8"]),
    ):
        with monkeypatch.context() as patch:
            change(patch, "mnist", **changes)
            with refused(ValueError, root / "mnist", *words):
                load("mnist", data_dir=root)


def encoded(image, form):
    stream = io.BytesIO()
    image.save(stream, form)
    return stream.getvalue()


def bomb():
    """Returns a few bytes whose header claims 60,000 x 60,000 pixels."""
    content = bytearray(encoded(BLACK, "PNG"))
    content[16:24] = struct.pack(">II", 60_000, 60_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


IMAGES = [b"", b"garbage", encoded(BLACK, "JPEG"), bomb(), Image.new("L", (28, 29))]
IMAGES += [Image.new(mode, (28, 28)) for mode in ("P", "1", "I;16", "RGB", "RGBA")]


@pytest.mark.parametrize(
    "wrong",
    [
        *(b"", b"garbage", GOOD[0][:-9], GOOD[0].replace(b"label", b"lapel")),
        *(GOOD[0].replace(b"image", b"imago"), example(10, BLACK), example(-1, BLACK)),
        *(example(1, image) for image in IMAGES),
    ],
    ids=lambda wrong: f"{len(wrong)}_bytes",  # of their own order in each process
)
def test_a_wrong_example_is_refused(tmp_path, monkeypatch, wrong):
    splits = {"train": GOOD, "test": [*GOOD, wrong]}
    where = prepare(monkeypatch, tmp_path / "data", splits)
    with refused(ValueError, where):
        load("mnist", data_dir=tmp_path / "data")


def test_a_wrong_file_is_refused(tmp_path, monkeypatch):
    root = tmp_path / "data"
    where = prepare(monkeypatch, root, {"train": [*GOOD, *GOOD], "test": GOOD})
    load("mnist", data_dir=root)
    shard = where / "mnist-test.array_record-00000-of-00001"
    good = shard.read_bytes()
    for content in (b"", b"garbage", good[:-70_000], bytes(len(good)), good[1:]):
        shard.write_bytes(content)
        with refused(ValueError, where, "damaged"):
            load("mnist", data_dir=root)
    shard.write_bytes(good)
    second = shard.with_name(shard.name.replace("-00000-", "-00001-"))
    second.symlink_to(shard)
    with refused(ValueError, where, "20 test examples, mnist has 10"):
        load("mnist", data_dir=root)
    second.unlink()
    shard.unlink()
    with refused(ValueError, where, "0 test examples, mnist has 10"):
        load("mnist", data_dir=root)
    os.mkfifo(shard)
    with refused(ValueError, where, "damaged"):
        load("mnist", data_dir=root)


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, "7", " " * (2 << 20) + "{}"])
def test_a_damaged_description_is_named(tmp_path, text):
    file = tmp_path / "mnist" / "3.0.1" / "dataset_info.json"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    with refused(ValueError, file, "cannot be read"):
        load("mnist", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("name", "file"),
    [("mnist", f"{idx.TEST_LABELS}.gz"), ("cifar10", cifar.ARCHIVE)],
)
@pytest.mark.parametrize("answers", ["refuses", "hangs"])
def test_no_network_is_told_soon(monkeypatch, tmp_path, answers, name, file):
    monkeypatch.setattr(network, "PROBE_SECONDS", 0.2)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if answers == "hangs":
            listener.listen()
        publish_at(monkeypatch, name, listener.getsockname()[1])
        began = time.perf_counter()
        with refused(ConnectionError, "127.0.0.1", "put ", file, "data_dir"):
            load(name)
    assert time.perf_counter() - began < 5
    assert not (tmp_path / "cache").exists()


def test_name_server_without_an_answer_is_not_waited_for(mnist, monkeypatch):
    released = threading.Event()

    def resolve(*args, **kwargs):
        released.wait(10)
        raise socket.gaierror

    monkeypatch.setattr(network, "PROBE_SECONDS", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    began = time.perf_counter()
    with refused(ConnectionError, "storage.googleapis.com", "no answer"):
        load("mnist")
    released.set()
    assert time.perf_counter() - began < 5


def test_a_failed_download_is_told_and_fetched_again(served):
    path = served / f"{idx.TEST_LABELS}.gz"
    good = path.read_bytes()
    path.unlink()
    with refused(ConnectionError, "127.0.0.1", "data_dir"):
        load("mnist")
    path.write_bytes(good[:-20])
    with refused(ValueError, "127.0.0.1", "now deleted", "gzip"):
        load("mnist")
    path.write_bytes(good)
    load("mnist")


def test_nothing_is_deleted_behind_a_link(served, tmp_path):
    mine, root = tmp_path / "mine" / "mnist", tmp_path / "cache" / "data"
    for path in (mine, root):
        path.mkdir(parents=True)
    (root / "downloads").symlink_to(mine.parent)
    with refused(ValueError, root / "downloads", "is a link"):
        load("mnist")
    assert mine.is_dir()
