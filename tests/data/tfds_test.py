# SPDX-License-Identifier: Apache-2.0
"""Prepared TFDS directories: what is read and refused."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from folders import assert_equal, change, example, prepare, refused
from PIL import Image

from nnlab.data import idx, load, sources

BLACK = Image.new("L", (28, 28))
GOOD = [example(i, BLACK) for i in range(10)]


@pytest.fixture
def prepared(mnist, monkeypatch, tmp_path):
    """A prepared directory of the small MNIST."""
    arrays = {
        file: np.frombuffer(content, np.uint8, offset=4 + 4 * content[3])
        for file, content in mnist.items()
    }

    def examples(images, labels):
        pairs = zip(arrays[images].reshape(-1, 28, 28), arrays[labels])
        return [example(int(y), Image.fromarray(x)) for x, y in pairs]

    splits = {
        "train": examples(idx.TRAIN_IMAGES, idx.TRAIN_LABELS),
        "test": examples(idx.TEST_IMAGES, idx.TEST_LABELS),
    }
    digest = sources.PUBLICATIONS["mnist"].digest
    made = prepare(monkeypatch, tmp_path / "own", splits)
    change(monkeypatch, "mnist", digest=digest)
    return made


def test_a_prepared_directory_comes_first_and_is_checked(
    prepared, folder, tmp_path, mnist
):
    root = tmp_path / "own"
    for file in mnist:
        (root / file).touch()
    assert_equal(load("mnist", data_dir=root), load("mnist", data_dir=folder))
    for file in prepared.glob("*train.array_record*"):
        file.write_bytes(file.read_bytes()[:20_000])
    with refused(ValueError, prepared, "damaged"):
        load("mnist", data_dir=root)


def test_a_prepared_directory_with_other_content_is_refused(prepared, monkeypatch):
    digest = sources.PUBLICATIONS["mnist"].digest
    for changes, words in (
        ({"digest": "0" * 64}, [digest, "not the real mnist"]),
        ({"num_train": 61}, ["60 train", "61"]),
        ({"num_test": 19}, ["20 test", "19"]),
        ({"image_shape": (28, 28, 3)}, ["28 x 28 pixels", "28 x 28 x 3"]),
        ({"class_names": tuple("012345678")}, ["label 9", "0 to 8"]),
    ):
        with monkeypatch.context() as patch:
            change(patch, "mnist", **changes)
            with refused(ValueError, prepared, *words):
                load("mnist", data_dir=prepared.parents[1])


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
    where = prepare(monkeypatch, root, {"train": GOOD, "test": GOOD})
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
