# SPDX-License-Identifier: Apache-2.0
"""IDX files: the format in which MNIST and its relatives are published.

Nothing is believed before it is checked: the size is bounded while decompressing, then
header, counts, labels and the sha256 of the decompressed content must be the
published ones. gzip bytes differ between mirrors, the content inside does not.
"""

import gzip
import hashlib
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nnlab.data.published import Arrays, Publication, times

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
    """Looks for the four files, plain or gzipped, under their customary names.

    Args:
      folder: where to look; need not exist.

    Returns:
      Path by name (of FILES) of those that are there.
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
    """Names the files that `find` did not find."""
    return [f"{file}[.gz]" for file in FILES if file not in found]


def read_arrays(paths: Mapping[str, Path], publication: Publication) -> Arrays:
    """Reads and checks the four files, in the order of publication.

    Args:
      paths: path by name (of FILES).
      publication: what they must hold; its `sha256` has that of the decompressed
        content of each file.

    Returns:
      The arrays; images are (N, H, W).

    Raises:
      FileNotFoundError: a file cannot be opened.
      ValueError: a file is damaged or not what was published.
    """
    return Arrays(*(_read_file(paths[file], file, publication) for file in FILES))


def _shape(file: str, publication: Publication) -> tuple[int, ...]:
    """Returns the shape of the array in one of FILES."""
    train = file.startswith("train")
    count = publication.num_train if train else publication.num_test
    return (count, *publication.image_shape) if "images" in file else (count,)


def _read_file(path: Path, file: str, publication: Publication) -> np.ndarray:
    """Reads one IDX file as uint8 of the published shape."""
    shape = _shape(file, publication)
    header_size = 4 * (1 + len(shape))
    size = header_size + int(np.prod(shape))
    content = _decompress(path, limit=size + 1)
    if len(content) < header_size:
        raise ValueError(f"{path} is cut short: {len(content)} bytes, {size} expected")
    magic, *found_shape = np.frombuffer(content, ">u4", count=1 + len(shape)).tolist()
    if magic != _MAGIC[len(shape)]:
        kind = "images" if len(shape) == 3 else "labels"
        raise ValueError(
            f"{path} is not an IDX file of {kind}: magic number {magic:#010x}, "
            f"expected {_MAGIC[len(shape)]:#010x}"
        )
    if tuple(found_shape) != shape:
        raise ValueError(
            f"{path} holds {times(found_shape)} values, "
            f"{publication.name} has {times(shape)} here"
        )
    if len(content) != size:
        state = "cut short" if len(content) < size else "longer than its header says"
        raise ValueError(f"{path} is {state}: {size} bytes expected")
    array = np.frombuffer(content, np.uint8, offset=header_size).reshape(shape)
    num_classes = len(publication.class_names)
    if len(shape) == 1 and array.max() >= num_classes:
        raise ValueError(
            f"{path} holds label {array.max()} at position {array.argmax()}: "
            f"allowed are 0 to {num_classes - 1}"
        )
    digest = hashlib.sha256(content).hexdigest()
    if digest != publication.sha256[file]:
        raise ValueError(
            f"{path} is damaged or not the real {publication.name}: sha256 of its "
            f"content is {digest}, expected {publication.sha256[file]}"
        )
    return array


def _decompress(path: Path, limit: int) -> bytes:
    """Returns at most limit bytes of content: a small archive can hold gigabytes."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            return stream.read(limit)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(
            f"{path} is damaged, get it again: gzip says {str(error).lower()!r}"
        ) from error
    except OSError as error:
        raise FileNotFoundError(f"cannot read {path}: {error.strerror}") from error
