# SPDX-License-Identifier: Apache-2.0
"""IDX files: the format in which MNIST and its relatives are published.

Nothing is believed before it is checked: the size is bounded while decompressing, then
header, counts, labels and the sha256 of the decompressed content must be the
published ones. gzip bytes differ between mirrors, the content inside does not.
"""

import dataclasses
import gzip
import hashlib
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nnlab.data.dataset import Dataset

TRAIN_IMAGES = "train-images-idx3-ubyte"
TRAIN_LABELS = "train-labels-idx1-ubyte"
TEST_IMAGES = "t10k-images-idx3-ubyte"
TEST_LABELS = "t10k-labels-idx1-ubyte"
FILES = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)

# Third byte: unsigned bytes; fourth: the number of axes.
_MAGIC = {3: 0x00000803, 1: 0x00000801}


@dataclasses.dataclass(frozen=True)
class Publication:
    """What a dataset published as four IDX files must hold.

    Attributes:
        name: The dataset's name, the same as in TFDS.
        url: The folder that its publisher serves the gzipped files from, ends in "/".
        tfds_version: The version of the TFDS dataset with the same content.
        image_shape: Height and width.
        num_train: Number of training examples, validation included.
        num_test: Number of test examples.
        class_names: C names in the order of the labels.
        sha256: The digest of each decompressed file (keys: FILES).
        digest: `Dataset.digest` of the whole dataset, whichever source it came from.
    """

    name: str
    url: str
    tfds_version: str
    image_shape: tuple[int, int]
    num_train: int
    num_test: int
    class_names: tuple[str, ...]
    sha256: Mapping[str, str]
    digest: str

    def shape(self, file: str) -> tuple[int, ...]:
        """Returns the shape of the array in one of FILES."""
        count = self.num_train if file.startswith("train") else self.num_test
        return (count, *self.image_shape) if "images" in file else (count,)


def find(folder: Path) -> dict[str, Path]:
    """Looks for the four files, plain or gzipped, under their customary names.

    Args:
        folder: Where to look; need not exist.

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


def read(paths: Mapping[str, Path], publication: Publication) -> Dataset:
    """Reads and checks the four files.

    Args:
        paths: Path by name (of FILES).
        publication: What they must hold.

    Returns:
        The dataset in canonical order.

    Raises:
        FileNotFoundError: A file cannot be opened.
        ValueError: A file is damaged or not what was published.
    """
    return dataset(read_arrays(paths, publication), publication)


def read_arrays(
    paths: Mapping[str, Path], publication: Publication
) -> dict[str, np.ndarray]:
    """Reads and checks the four files, in the order of publication.

    Args:
        paths: Path by name (of FILES).
        publication: What they must hold.

    Returns:
        Array by name: images (N, H, W), labels (N,), all uint8.

    Raises:
        FileNotFoundError: A file cannot be opened.
        ValueError: A file is damaged or not what was published.
    """
    return {file: _read_file(paths[file], file, publication) for file in FILES}


def dataset(arrays: Mapping[str, np.ndarray], publication: Publication) -> Dataset:
    """Makes the dataset of the four arrays.

    Args:
        arrays: Array by name (of FILES): images (N, H, W) or (N, H, W, 1) of uint8,
            labels (N,) of integers.
        publication: What they are.

    Returns:
        The dataset in canonical order.

    Raises:
        ValueError: A label is out of range.
    """
    return Dataset.from_arrays(
        arrays[TRAIN_IMAGES],
        arrays[TRAIN_LABELS],
        test_inputs=arrays[TEST_IMAGES],
        test_labels=arrays[TEST_LABELS],
        name=publication.name,
        class_names=publication.class_names,
    )


def _read_file(path: Path, file: str, publication: Publication) -> np.ndarray:
    """Reads one IDX file as uint8 of the published shape."""
    shape = publication.shape(file)
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
            f"{path} holds {_times(found_shape)} values, "
            f"{publication.name} has {_times(shape)} here"
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


def _times(shape: tuple[int, ...] | list[int]) -> str:
    return " x ".join(f"{length:,}" for length in shape)
