# SPDX-License-Identifier: Apache-2.0
"""IDX files: their names and places, and every damage in one line."""

import gzip

import numpy as np
import pytest
from folders import gzipped, little_memory, refused, write_files

from nnlab.data import idx, load, sources


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("place", ["", "mnist"])
@pytest.mark.parametrize("dotted", [False, True])
def test_files_of_every_name_and_place(tmp_path, mnist, packed, place, dotted):
    contents = {f.replace("-idx", ".idx") if dotted else f: mnist[f] for f in mnist}
    write_files(tmp_path / "data" / place, gzipped(contents) if packed else contents)
    data = load("mnist", data_dir=tmp_path / "data")
    assert data.digest == sources.PUBLICATIONS["mnist"].digest
    assert data.train.inputs.shape == (50, 28, 28, 1)
    assert data.scale == 1 / 255


def test_missing_file_is_named(folder):
    (folder / f"{idx.TEST_LABELS}.gz").unlink()
    with refused(FileNotFoundError, folder, f"{idx.TEST_LABELS}[.gz]"):
        load("mnist", data_dir=folder)


def flipped(content):
    data = bytearray(gzip.compress(content, compresslevel=0))
    data[len(data) // 2] ^= 1
    return bytes(data)


def packed(change):
    return lambda content: gzip.compress(change(content))


def header(*numbers):
    return np.array(numbers, ">u4").tobytes()


@pytest.mark.parametrize(
    ("file", "damage", "words"),
    [
        (idx.TRAIN_IMAGES, lambda c: gzip.compress(c)[:-20], ["damaged", "gzip"]),
        (idx.TRAIN_IMAGES, flipped, ["damaged", "gzip"]),
        (idx.TRAIN_IMAGES, lambda c: c, ["damaged", "gzip"]),
        (idx.TRAIN_IMAGES, lambda c: b"", ["cut short"]),
        (idx.TRAIN_IMAGES, packed(lambda c: c[:9]), ["cut short"]),
        (idx.TRAIN_IMAGES, packed(lambda c: c[:-1]), ["cut short"]),
        (idx.TRAIN_IMAGES, packed(lambda c: c + b"."), ["longer"]),
        (
            idx.TRAIN_IMAGES,
            packed(lambda c: c[:-1] + bytes([c[-1] ^ 1])),
            ["not the real mnist", "sha256"],
        ),
        (
            idx.TEST_IMAGES,
            packed(lambda c: header(0x803, 2, 28, 28) + bytes(2 * 28 * 28)),
            ["2 x 28 x 28", "20 x 28 x 28"],
        ),
        (
            idx.TEST_LABELS,
            packed(lambda c: header(0x803, 20) + bytes(20)),
            ["magic", "0x00000803", "0x00000801"],
        ),
        (
            idx.TEST_LABELS,
            packed(lambda c: c[:-1] + b"\x0a"),
            ["label 10", "position 19", "0 to 9"],
        ),
    ],
)
def test_damaged_file_is_refused_in_one_line(folder, mnist, file, damage, words):
    path = folder / f"{file}.gz"
    path.write_bytes(damage(mnist[file]))
    with refused(ValueError, path, *words):
        load("mnist", data_dir=folder)


def test_an_archive_that_grows_is_not_unpacked(folder):
    path = folder / f"{idx.TRAIN_IMAGES}.gz"
    path.write_bytes(gzip.compress(bytes(50_000_000)))
    with little_memory(5_000_000), refused(ValueError, path, "magic"):
        load("mnist", data_dir=folder)
