# SPDX-License-Identifier: Apache-2.0
"""Published datasets: what each must hold, whichever source it comes from."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from nnlab.data.dataset import Dataset


class Arrays(NamedTuple):
    """The arrays of a published dataset, in the order of publication.

    Attributes:
      train_images: (N, H, W) or (N, H, W, C), uint8.
      train_labels: (N,), integers.
      test_images: (M, H, W) or (M, H, W, C), uint8.
      test_labels: (M,), integers.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


class Reader(Protocol):
    """A module that reads the files of one format, such as `nnlab.data.idx`.

    Attributes:
      WANTED: the files that make up a dataset, as messages list them.
      DOWNLOADS: what a publisher serves instead: name below the URL by the key that
        `read_arrays` knows it by.
    """

    WANTED: str
    DOWNLOADS: dict[str, str]

    def find(self, folder: Path) -> dict[str, Path]:
        """Returns paths, by key, of the files that a folder (if it exists) holds."""

    def missing(self, found: Mapping[str, Path]) -> list[str]:
        """Returns the names of the files without which those found are not enough."""

    def read_arrays(
        self, paths: Mapping[str, Path], publication: "Publication"
    ) -> Arrays:
        """Reads and checks files; ValueError or FileNotFoundError in one line."""


@dataclasses.dataclass(frozen=True)
class Publication:
    """A published dataset.

    Attributes:
      name: the dataset's name, the same as in TFDS.
      reader: the module that reads the format it is published in.
      url: the folder that its publisher serves it from, ends in "/".
      folders: where its files are looked for below a data folder, best first.
      tfds_version: the version of the TFDS dataset with the same content.
      image_shape: height and width; with channels if there is more than one.
      num_train: number of training examples, validation included.
      num_test: number of test examples.
      class_names: C names in the order of the labels.
      sha256: digest of the content of files, by key; which ones the reader says.
      digest: `Dataset.digest` of the whole dataset, whichever source it came from; None
        where it is not known.
      balanced: whether all classes have equally many training examples, and equally
        many test examples.
    """

    name: str
    reader: Reader
    url: str
    folders: tuple[str, ...]
    tfds_version: str
    image_shape: tuple[int, ...]
    num_train: int
    num_test: int
    class_names: tuple[str, ...]
    sha256: Mapping[str, str]
    digest: str | None = None
    balanced: bool = False


def check(arrays: Arrays, publication: Publication, origin: Path) -> None:
    """Checks arrays against what is known of a dataset, digest aside.

    Args:
      arrays: what was read.
      publication: what they must be.
      origin: where they were read from, for the message.

    Raises:
      ValueError: shape or number of the examples, a label or the number of examples of
        a class is wrong.
    """
    name, num_classes = publication.name, len(publication.class_names)
    for split, count, images, labels in (
        ("train", publication.num_train, arrays.train_images, arrays.train_labels),
        ("test", publication.num_test, arrays.test_images, arrays.test_labels),
    ):
        if len(labels) != count:
            raise ValueError(
                f"{origin} holds {len(labels):,} {split} examples, {name} has {count:,}"
            )
        if images.shape[1:] != publication.image_shape:
            raise ValueError(
                f"{origin} holds {split} images of {times(images.shape[1:])} pixels, "
                f"{name} has {times(publication.image_shape)}"
            )
        wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
        if len(wrong):
            raise ValueError(
                f"{origin} holds label {labels[wrong[0]]} in its {split} examples: "
                f"allowed are 0 to {num_classes - 1}"
            )
        counts = np.bincount(labels, minlength=num_classes)
        each = count // num_classes
        if publication.balanced and (counts != each).any():
            odd = int(np.argmax(counts != each))
            raise ValueError(
                f"{origin} is damaged or not the real {name}: {counts[odd]:,} {split} "
                f"examples are of class {publication.class_names[odd]}, expected "
                f"{each:,}"
            )


def dataset(arrays: Arrays, publication: Publication, origin: Path) -> Dataset:
    """Makes the dataset of checked arrays.

    Args:
      arrays: what was read.
      publication: what they must be.
      origin: where they were read from, for the message.

    Returns:
      The dataset in canonical order.

    Raises:
      ValueError: the digest is known and differs.
    """
    made = Dataset.from_arrays(
        arrays.train_images,
        arrays.train_labels,
        test_inputs=arrays.test_images,
        test_labels=arrays.test_labels,
        name=publication.name,
        class_names=publication.class_names,
    )
    if publication.digest not in (None, made.digest):
        raise ValueError(
            f"{origin} is damaged or not the real {publication.name}: sha256 of its "
            f"arrays is {made.digest}, expected {publication.digest}"
        )
    return made


def times(shape: tuple[int, ...] | list[int]) -> str:
    """Words a shape: "60,000 x 28 x 28"."""
    return " x ".join(f"{length:,}" for length in shape)
