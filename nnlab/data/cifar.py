# SPDX-License-Identifier: Apache-2.0
"""The binary version of CIFAR-10: six files of fixed-length records, or their archive.

A record is one byte of label and the image as three planes, red, green and blue, of
32 rows (https://www.cs.toronto.edu/~kriz/cifar.html). The archive is what is published,
so its digest is checked before anything in it is read. It is never unpacked to disk:
the six files are read in memory, by their exact names and sizes.

The digests of the six files alone were not published. What can be checked is: sizes,
labels, and that every class has equally many examples.
"""

import gzip
import hashlib
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nnlab.data.published import Arrays, Publication, check

ARCHIVE = "cifar-10-binary.tar.gz"
TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST = "test_batch.bin"
FILES = (*TRAIN, TEST)
WANTED = f"{', '.join(FILES)}, or {ARCHIVE}"
DOWNLOADS = {ARCHIVE: ARCHIVE}

# Where the archive keeps the six files.
FOLDER = "cifar-10-batches-bin"


def find(folder: Path) -> dict[str, Path]:
    """Looks for the six files and, if they are not all there, for the archive.

    Args:
      folder: where to look; need not exist.

    Returns:
      Path by name of the files (of FILES) that are there, or of the archive alone.
    """
    found = {file: folder / file for file in FILES if (folder / file).is_file()}
    archive = folder / ARCHIVE
    if missing(found) and archive.is_file():
        return {ARCHIVE: archive}
    return found


def missing(found: Mapping[str, Path]) -> list[str]:
    """Names the files that `find` did not find; none if it found the archive."""
    return [] if ARCHIVE in found else [file for file in FILES if file not in found]


def read_arrays(paths: Mapping[str, Path], publication: Publication) -> Arrays:
    """Reads and checks the six files or the archive, in the order of publication.

    Args:
      paths: path by name: all of FILES, or ARCHIVE.
      publication: what they must hold; its `sha256` has that of ARCHIVE.

    Returns:
      The arrays; images are (N, 32, 32, 3).

    Raises:
      FileNotFoundError: a file cannot be opened.
      ValueError: a file is damaged or not what was published.
    """
    if ARCHIVE in paths:
        origin = paths[ARCHIVE]
        contents = _read_archive(origin, publication)
        names = {file: f"{FOLDER}/{file} in {origin}" for file in FILES}
    else:
        origin = paths[TEST].parent
        contents = {f: _read_file(paths[f], _size(f, publication) + 1) for f in FILES}
        names = {file: str(paths[file]) for file in FILES}
    train_images, train_labels = _decode(TRAIN, contents, names, publication)
    test_images, test_labels = _decode((TEST,), contents, names, publication)
    arrays = Arrays(train_images, train_labels, test_images, test_labels)
    check(arrays, publication, origin)
    return arrays


def _records(file: str, publication: Publication) -> int:
    """Returns how many records a file holds."""
    if file == TEST:
        return publication.num_test
    return publication.num_train // len(TRAIN)


def _size(file: str, publication: Publication) -> int:
    """Returns the size of a file in bytes."""
    return _records(file, publication) * (1 + int(np.prod(publication.image_shape)))


def _read_file(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(limit)
    except OSError as error:
        raise FileNotFoundError(f"cannot read {path}: {error.strerror}") from error


def _read_archive(path: Path, publication: Publication) -> dict[str, bytes]:
    """Reads the six files in the archive; whatever else it holds is passed over."""
    expected = publication.sha256[ARCHIVE]
    sizes = {f"{FOLDER}/{file}": _size(file, publication) for file in FILES}
    contents: dict[str, bytes] = {}
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            if digest != expected:
                raise ValueError(
                    f"{path} is damaged or not the real {publication.name}: its sha256 "
                    f"is {digest}, expected {expected}"
                )
            stream.seek(0)
            with tarfile.open(fileobj=stream, mode="r:gz") as archive:
                for member in archive:
                    # Links are passed over too: they can point anywhere.
                    size = sizes.get(member.name)
                    if size is None or not member.isreg():
                        continue
                    content = archive.extractfile(member)
                    assert content is not None  # only for what is no file
                    contents[member.name.removeprefix(f"{FOLDER}/")] = content.read(
                        size + 1
                    )
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(
            f"{path} is damaged, get it again: tar says {str(error).lower()!r}"
        ) from error
    except OSError as error:
        raise FileNotFoundError(f"cannot read {path}: {error.strerror}") from error
    absent = [file for file in FILES if file not in contents]
    if absent:
        raise ValueError(
            f"{path} lacks files of {publication.name}: {', '.join(absent)}"
        )
    return contents


def _decode(
    files: tuple[str, ...],
    contents: Mapping[str, bytes],
    names: Mapping[str, str],
    publication: Publication,
) -> tuple[np.ndarray, np.ndarray]:
    """Turns the contents of files into images (N, H, W, C) and labels (N,)."""
    height, width, channels = publication.image_shape
    num_classes = len(publication.class_names)
    counts = [_records(file, publication) for file in files]
    images = np.empty((sum(counts), height, width, channels), np.uint8)
    labels = np.empty(sum(counts), np.uint8)
    start = 0
    for file, count in zip(files, counts, strict=True):
        content, size = contents[file], _size(file, publication)
        if len(content) != size:
            state = "cut short" if len(content) < size else "too long"
            raise ValueError(f"{names[file]} is {state}: {size:,} bytes expected")
        records = np.frombuffer(content, np.uint8).reshape(count, -1)
        wrong = np.flatnonzero(records[:, 0] >= num_classes)
        if len(wrong):
            raise ValueError(
                f"{names[file]} holds label {records[wrong[0], 0]} at position "
                f"{wrong[0]}: allowed are 0 to {num_classes - 1}"
            )
        part = slice(start, start + count)
        planes = records[:, 1:].reshape(count, channels, height, width)
        images[part] = planes.transpose(0, 2, 3, 1)
        labels[part] = records[:, 0]
        start += count
    return images, labels
