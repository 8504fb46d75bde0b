# SPDX-License-Identifier: Apache-2.0
"""Published datasets: their download, and what each must hold from every source."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np

from nnlab.data.dataset import Dataset


class Arrays(NamedTuple):
    """Images, uint8 (N, H, W) or (N, H, W, C), and labels (N,), as published."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Publication:
    """A published dataset.

    Attributes:
      name: the same as in TFDS.
      reader: the module that reads its format, with the public names of
        `nnlab.data.idx`. (`WANTED` lists the files in messages; `DOWNLOADS` are the
        names of the publisher's files, by the keys of `read_arrays`.)
      url: the publisher's folder, ends in "/".
      folders: where its files may be below a data folder, best first.
      tfds_version: the version of the TFDS dataset with the same content.
      image_shape: height and width; with channels if there is more than one.
      num_train: number of training examples, validation included.
      sha256: digests by key; the reader says of what.
      digest: `Dataset.digest`, the same from every source; None where unknown.
      balanced: whether a split has equally many examples of each class.
    """

    name: str
    reader: ModuleType
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


def check_labels(labels: np.ndarray, num_classes: int, where: str) -> None:
    """Refuses (ValueError) the first label that is not in [0, num_classes)."""
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(wrong):
        raise ValueError(
            f"{where} holds label {labels[wrong[0]]} at position {wrong[0]}: allowed "
            f"are 0 to {num_classes - 1}"
        )


def check_digest(
    digest: str, expected: str | None, where: Path, name: str, what: str
) -> None:
    """Refuses (ValueError) content of another digest, if one is known."""
    if expected not in (None, digest):
        raise ValueError(
            f"{where} is damaged or not the real {name}: {what} is {digest}, expected "
            f"{expected}"
        )


def dataset(arrays: Arrays, publication: Publication, origin: Path) -> Dataset:
    """Checks arrays against a publication, and makes a dataset in canonical order.

    Whatever differs is refused (ValueError), with a message that begins with `origin`.
    """
    for split, images, labels in (("train", *arrays[:2]), ("test", *arrays[2:])):
        _check(images, labels, split, publication, origin)
    made = Dataset.from_arrays(
        arrays.train_images,
        arrays.train_labels,
        test_inputs=arrays.test_images,
        test_labels=arrays.test_labels,
        name=publication.name,
        class_names=publication.class_names,
    )
    known, what = publication.digest, "sha256 of its arrays"
    check_digest(made.digest, known, origin, publication.name, what)
    return made


def _check(
    images: np.ndarray,
    labels: np.ndarray,
    split: str,
    publication: Publication,
    origin: Path,
) -> None:
    """Refuses a split whose examples differ from the publication's."""
    name, classes = publication.name, publication.class_names
    count = publication.num_train if split == "train" else publication.num_test
    if len(labels) != count:
        raise ValueError(
            f"{origin} holds {len(labels):,} {split} examples, {name} has {count:,}"
        )
    if images.shape[1:] != publication.image_shape:
        raise ValueError(
            f"{origin} holds {split} images of {times(images.shape[1:])} pixels, "
            f"{name} has {times(publication.image_shape)}"
        )
    check_labels(labels, len(classes), f"{origin} ({split} examples)")
    counts, each = np.bincount(labels, minlength=len(classes)), count // len(classes)
    if publication.balanced and (counts != each).any():
        odd = int(np.argmax(counts != each))
        raise ValueError(
            f"{origin} is damaged or not the real {name}: {counts[odd]:,} {split} "
            f"examples are of class {classes[odd]}, expected {each:,}"
        )


def times(shape: Sequence[int]) -> str:
    """Returns a shape in words: "60,000 x 28 x 28"."""
    return " x ".join(f"{length:,}" for length in shape)
