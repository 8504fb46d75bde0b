# SPDX-License-Identifier: Apache-2.0
"""The binary version of CIFAR-10: six files of fixed-length records, or their archive.

A record is one byte of label, then the image as red, green and blue planes of 32 rows
(https://www.cs.toronto.edu/~kriz/cifar.html). The archive is what is published, so its
digest is checked before anything in it is read. It is read in memory, by the exact
names and sizes of the six files, and never unpacked to disk.

Digests of the six files alone were not published. Their sizes, their labels, and that
all classes have equally many examples are checked instead.
"""

import hashlib
import math
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nnlab.data.published import Arrays, Publication, check_digest, check_labels
from nnlab.data.reading import reading

ARCHIVE = "cifar-10-binary.tar.gz"
TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST = "test_batch.bin"
FILES = (*TRAIN, TEST)
WANTED = f"{', '.join(FILES)}, or {ARCHIVE}"
DOWNLOADS = {ARCHIVE: ARCHIVE}

# The folder of the six files in the archive.
FOLDER = "cifar-10-batches-bin"


def find(folder: Path) -> dict[str, Path]:
    """Returns those of the six files that a folder holds, by name (of FILES).

    If some are missing, returns the archive alone. The folder may be missing.
    """
    found = {file: folder / file for file in FILES if (folder / file).is_file()}
    archive = folder / ARCHIVE
    return {ARCHIVE: archive} if missing(found) and archive.is_file() else found


def missing(found: Mapping[str, Path]) -> list[str]:
    """Returns the names of files that `find` did not find; none with the archive."""
    return [] if ARCHIVE in found else [file for file in FILES if file not in found]


def read_arrays(paths: Mapping[str, Path], publication: Publication) -> Arrays:
    """Reads and checks all of FILES, or ARCHIVE, by name; images are (N, 32, 32, 3).

    Damaged files and those that were not published are refused (ValueError).
    """
    batch = publication.num_train // len(TRAIN)
    counts = {file: batch for file in TRAIN} | {TEST: publication.num_test}
    record = 1 + math.prod(publication.image_shape)
    sizes = {file: count * record for file, count in counts.items()}
    archive = paths.get(ARCHIVE)
    if archive:
        contents = _read_archive(archive, sizes, publication)
    else:
        contents = {file: _read_file(paths[file], sizes[file]) for file in FILES}
    records: dict[str, np.ndarray] = {}
    for file, size in sizes.items():
        where = f"{FOLDER}/{file} in {archive}" if archive else str(paths[file])
        if len(contents[file]) != size:
            state = "cut short" if len(contents[file]) < size else "too long"
            raise ValueError(f"{where} is {state}: {size:,} bytes expected")
        records[file] = np.frombuffer(contents[file], np.uint8).reshape(-1, record)
        check_labels(records[file][:, 0], len(publication.class_names), where)
    train = np.concatenate([records[file] for file in TRAIN])
    shape = publication.image_shape
    return Arrays(*_decoded(train, shape), *_decoded(records[TEST], shape))


def _decoded(
    records: np.ndarray, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Splits records (N, 1 + C * H * W) into images (N, H, W, C) and labels (N,)."""
    height, width, channels = shape
    planes = records[:, 1:].reshape(-1, channels, height, width)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), records[:, 0]


def _read_file(path: Path, size: int) -> bytes:
    with reading(path), path.open("rb") as stream:
        return stream.read(size + 1)  # of a longer file no more


def _read_archive(
    path: Path, sizes: Mapping[str, int], publication: Publication
) -> dict[str, bytes]:
    """Reads the files in the archive, by name, if its digest is the published one."""
    name, contents = publication.name, {}
    with reading(path, "tar"), path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        check_digest(digest, publication.sha256[ARCHIVE], path, name, "its sha256")
        stream.seek(0)
        with tarfile.open(fileobj=stream, mode="r:gz") as archive:
            for member in archive:
                file = member.name.removeprefix(f"{FOLDER}/")
                # Links are skipped: they can point anywhere.
                if file in sizes and file != member.name and member.isreg():
                    content: Any = archive.extractfile(member)
                    contents[file] = content.read(sizes[file] + 1)
    if lacking := [file for file in FILES if file not in contents]:
        raise ValueError(f"{path} lacks files of {name}: {', '.join(lacking)}")
    return contents
