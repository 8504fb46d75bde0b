# SPDX-License-Identifier: Apache-2.0
"""IDX files: the format in which MNIST and its relatives are published.

At most the published size is decompressed. Header, counts, labels and the sha256 of the
decompressed content must be the published ones. (The bytes of gzip differ between
mirrors, the content does not.)
"""

import gzip
import hashlib
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nnlab.data.published import Arrays, Publication, check_digest, check_labels, times
from nnlab.data.reading import reading

TRAIN_IMAGES = "train-images-idx3-ubyte"
TRAIN_LABELS = "train-labels-idx1-ubyte"
TEST_IMAGES = "t10k-images-idx3-ubyte"
TEST_LABELS = "t10k-labels-idx1-ubyte"
FILES = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)
WANTED = ", ".join(f"{file}[.gz]" for file in FILES)
DOWNLOADS = {file: f"{file}.gz" for file in FILES}

# Third byte: unsigned bytes; fourth: the number of axes.
_MAGIC = {3: 0x00000803, 1: 0x00000801}


def find(folder: Path) -> dict[str, Path]:
    """Returns those of the four files that a folder holds, by name (of FILES).

    They may be gzipped; the folder may be missing.
    """
    found: dict[str, Path] = {}
    for file in FILES:
        # Some mirrors and archivers turn "-idx3" into ".idx3".
        for stem in (file, file.replace("-idx", ".idx")):
            for path in (folder / stem, folder / f"{stem}.gz"):
                if path.is_file():
                    found.setdefault(file, path)
    return found


def missing(found: Mapping[str, Path]) -> list[str]:
    """Returns the names of the files that `find` did not find."""
    return [f"{file}[.gz]" for file in FILES if file not in found]


def read_arrays(paths: Mapping[str, Path], publication: Publication) -> Arrays:
    """Reads and checks the four files, by name (of FILES); images are (N, H, W).

    Damaged files and those that were not published are refused (ValueError).
    """
    return Arrays(*(_read_file(paths[file], file, publication) for file in FILES))


def _read_file(path: Path, file: str, publication: Publication) -> np.ndarray:
    train, images = file.startswith("train"), "images" in file
    count = publication.num_train if train else publication.num_test
    shape = (count, *publication.image_shape) if images else (count,)
    start = 4 * (1 + len(shape))
    size = start + math.prod(shape)
    opened = gzip.open if path.suffix == ".gz" else open
    with reading(path, "gzip"), opened(path, "rb") as stream:
        content = stream.read(size + 1)  # a small archive can hold gigabytes
    if len(content) < start:
        raise ValueError(f"{path} is cut short: {len(content)} bytes, {size} expected")
    magic, *found = np.frombuffer(content, ">u4", count=1 + len(shape)).tolist()
    if magic != _MAGIC[len(shape)]:
        raise ValueError(
            f"{path} is not an IDX file of {'images' if images else 'labels'}: magic "
            f"number {magic:#010x}, expected {_MAGIC[len(shape)]:#010x}"
        )
    if tuple(found) != shape:
        raise ValueError(
            f"{path} holds {times(found)} values, {publication.name} has "
            f"{times(shape)} here"
        )
    if len(content) != size:
        state = "cut short" if len(content) < size else "longer than its header says"
        raise ValueError(f"{path} is {state}: {size} bytes expected")
    array = np.frombuffer(content, np.uint8, offset=start).reshape(shape)
    if not images:
        check_labels(array, len(publication.class_names), str(path))
    digest, expected = hashlib.sha256(content).hexdigest(), publication.sha256[file]
    check_digest(digest, expected, path, publication.name, "sha256 of its content")
    return array
