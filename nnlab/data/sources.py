# SPDX-License-Identifier: Apache-2.0
"""Finds a dataset by its name and reads it from the first source that has it."""

import functools
import logging
import os
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nnlab.data import (
    cache,
    cifar,
    generated,
    idx,
    image_folder,
    images,
    imitations,
    published,
    table,
    tabular,
    tfds,
)
from nnlab.data import regions as region_map
from nnlab.data.dataset import Dataset, validation_size
from nnlab.data.published import Publication
from nnlab.data.reading import absent
from nnlab.machine.files import absolute, shown
from nnlab.words.spelling import nearest

_log = logging.getLogger(__name__)

_ENVIRONMENT = "NNLAB_DATA_DIR"
_DIGITS = tuple("0123456789")
TABLES = ("csv", "parquet", "hf")
"""Kinds of datasets that `csv` says how to read."""


def _by_file(*digests: str) -> dict[str, str]:
    return dict(zip(idx.FILES, digests, strict=True))


_IDX = functools.partial(
    Publication,
    reader=idx,
    tfds_version="3.0.1",
    image_shape=(28, 28),
    num_train=60_000,
    num_test=10_000,
)
_MNIST = _IDX(
    name="mnist",
    url="https://storage.googleapis.com/cvdf-datasets/mnist/",
    folders=("mnist", "."),
    class_names=_DIGITS,
    sha256=_by_file(
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    digest="bbb503b01cf2421df844869c4d65a81693e1961155674c3fa1d5a629773ecc54",
)
_FASHION_MNIST = _IDX(
    name="fashion_mnist",
    url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    folders=("fashion_mnist", "."),
    class_names=(
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    sha256=_by_file(
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
    digest="39d2dd94e6cedf243cb7b5da11ffba3fd6d4f85093bec89dc406b4d01c28b470",
)
_CIFAR10 = Publication(
    name="cifar10",
    reader=cifar,
    url="https://www.cs.toronto.edu/~kriz/",
    folders=(f"cifar10/{cifar.FOLDER}", cifar.FOLDER, "cifar10", "."),
    tfds_version="3.0.2",
    image_shape=(32, 32, 3),
    num_train=50_000,
    num_test=10_000,
    class_names=(
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    ),
    # From the checksums that come with TFDS.
    sha256={
        cifar.ARCHIVE: (
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
        )
    },
    balanced=True,
)
# `digest` was computed from the published files; every other source must give the same.
# That of CIFAR-10 is not known yet.
PUBLICATIONS = {known.name: known for known in (_MNIST, _FASHION_MNIST, _CIFAR10)}


def load(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    csv: Mapping[str, Any] = types.MappingProxyType({}),
) -> Dataset:
    """Loads a dataset by name; the arrays are equal from every source.

    "digits" and "map" are built in.

    "mnist", "fashion_mnist" and "cifar10" come from the first of these that is there: a
    prepared TFDS directory (DIR/mnist/3.0.1, DIR/cifar10/3.0.2, array_record format);
    the published files; a download with TFDS. "mnist" and "fashion_mnist" are four
    files in IDX format (gzipped or not, in DIR/mnist or in DIR). "cifar10" are the six
    files of the binary version (in DIR/cifar10, in DIR or in cifar-10-batches-bin in
    one of them), or cifar-10-binary.tar.gz (in the same places).

    "csv:PATH" is a table of your own, whose column "label" is the class;
    "csv:PATH:COLUMN" names another (see `tabular.read`). "parquet:PATH" is a Parquet
    file or a folder of its parts (`parquet.read`), "hf:OWNER/NAME" or
    "hf:OWNER/NAME/CONFIG" a data set on the Hugging Face hub, "hf:PATH" one that
    `save_to_disk` wrote (`hub.read`); both are tables or images, and ":COLUMN",
    ":SIZE" or ":COLUMN:SIZE" may follow, as for csv and folder. "folder:PATH" is a
    folder of images, resized to 64 x 64 pixels; "folder:PATH:SIZE" to another size
    (`image_folder.read`). PATH is relative to the current folder, not to DIR.
    "real_or_generated:NAME" has two classes: the images of dataset NAME, and imitations
    of them (`imitations.real_or_generated`). Those of
    `nnlab.data.generated` are made by functions, such as "modular_addition:97".

    Args:
      name: one of SOURCES or of `generated`; or one of WITH_ARGUMENT, a colon and its
        argument.
      data_dir: DIR, where the data is, by default NNLAB_DATA_DIR; it is never written
        to. Without either, data is kept in the user's cache folder and downloaded if
        needed.
      csv: how a table is read: `missing` and `ignore`, see `tabular.read`.

    Raises:
      ValueError: the name is unknown or lacks its argument; the data is damaged or not
        the published one; or the user's own data is no classification.
      FileNotFoundError: the folder does not exist, or does not hold the dataset.
      ConnectionError: a download was needed and failed.

    >>> digits = load("digits")
    >>> digits.train.inputs.shape, digits.test.inputs.shape
    ((1198, 8, 8, 1), (360, 8, 8, 1))
    """
    kind, colon, argument = name.partition(":")
    if kind in WITH_ARGUMENT:
        if not argument.strip(":"):
            raise ValueError(
                f"dataset {name!r} lacks its argument: write {_shown(kind)}"
            )
    elif kind not in generated.NAMES and name not in SOURCES:
        made = map(generated.usage, generated.NAMES)
        names = [*SOURCES, *map(_shown, WITH_ARGUMENT), *made]
        # No name is near to a path, but one may be near to what is before it.
        known = nearest(_shown(kind) if colon else name, names)
        raise ValueError(f"unknown dataset {name!r}{known}")
    given = None if data_dir is None else _existing(data_dir, "data_dir")
    if name in SOURCES:
        dataset = SOURCES[name](name, given)
    elif kind in generated.NAMES:
        dataset = generated.make(name)
    else:
        options = csv if kind in TABLES else {}
        dataset = WITH_ARGUMENT[kind](name, argument, given, **options)
    for note in dataset.notes:
        _log.warning("%s: %s", name, note)
    return dataset


def num_training(name: str) -> int:
    """Returns how many training examples a dataset has, without validation.

    A published dataset is not loaded for this.

    >>> num_training("mnist")
    50000
    """
    if name not in PUBLICATIONS:
        return len(load(name).train.labels)
    examples = PUBLICATIONS[name].num_train
    return examples - validation_size(examples)


def _digits(name: str, _: Path | None) -> Dataset:
    """Returns scikit-learn's 1,797 8x8 digits, grey levels 0 to 16."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = digits.images.astype(np.uint8)
    return Dataset.from_arrays(
        images, digits.target, name=name, class_names=_DIGITS, scale=1 / 16
    )


def _table(name: str, argument: str, _: Path | None, **how: Any) -> Dataset:
    path, column = _path_and_option(argument)
    return tabular.read(path, name=name, label=column or table.LABEL, **how)


def _parquet(name: str, argument: str, _: Path | None, **how: Any) -> Dataset:
    from nnlab.data import parquet  # takes a tenth of a second

    path, option = _path_and_option(argument)
    return parquet.read(path, option, name=name, **how)


def _hugging_face(name: str, argument: str, _: Path | None, **how: Any) -> Dataset:
    from nnlab.data import hub  # takes a tenth of a second

    path, option = _path_and_option(argument)
    if path.is_dir():
        return hub.read(path, option, name=name, **how)
    if argument.startswith(("/", ".", "~")):  # no name on the hub
        raise absent(path, "data set", "folder")
    return hub.read(None, argument, name=name, **how)


def _image_folder(name: str, argument: str, _: Path | None) -> Dataset:
    path, size = _path_and_option(argument)
    if not size:
        return image_folder.read(path, name=name)
    if not (size.isascii() and size.isdecimal()):
        raise ValueError(
            f"size {size!r} of dataset {name!r} is not a whole number of pixels; write "
            f"{_shown('folder')} or {_shown('folder')}:{images.SIZE}"
        )
    return image_folder.read(path, name=name, size=int(size))


def _real_or_generated(name: str, argument: str, data_dir: Path | None) -> Dataset:
    """Returns the images of the dataset named by the argument, and imitations."""
    if argument.partition(":")[0] == "real_or_generated":
        raise ValueError(
            f"dataset {name!r} asks for imitations of imitations: name a dataset of "
            "images, such as digits or folder:PATH"
        )
    return imitations.real_or_generated(load(argument, data_dir=data_dir), name=name)


def _path_and_option(argument: str) -> tuple[Path, str]:
    """Splits "PATH:OPTION"; of paths with colons, the longest there is meant."""
    parts = argument.split(":")
    for count in range(len(parts), 0, -1):
        path = absolute(":".join(parts[:count]))
        if os.path.exists(path):
            return path, ":".join(parts[count:])
    name, _, option = argument.rpartition(":")
    return absolute(name or option), option if name else ""


def _shown(kind: str) -> str:
    """Returns what a name with an argument looks like: "csv:PATH"."""
    return f"{kind}:{'NAME' if kind in ('hf', 'real_or_generated') else 'PATH'}"


def _published(name: str, data_dir: Path | None) -> Dataset:
    publication = PUBLICATIONS[name]
    if data_dir is None and (variable := os.environ.get(_ENVIRONMENT)):
        data_dir = _existing(variable, _ENVIRONMENT)
    root = data_dir or cache.root() / "data"
    try:
        files, read = _find(root, publication)
    except FileNotFoundError:
        # TFDS would neither read nor overwrite what it finds in another format.
        if (
            data_dir
            or tfds.file_format(root / name / publication.tfds_version) is not None
        ):
            raise
        _log.info("downloading %s to %s", name, root)
        tfds.download(root, publication)
        files, read = _find(root, publication)
    return cache.kept(
        cache.entry(name, files),
        read,
        name=name,
        class_names=publication.class_names,
        digest=publication.digest,
    )


def _existing(given: str | os.PathLike[str], origin: str) -> Path:
    """Returns a folder that must exist: a misspelling would start a download."""
    path = absolute(given, origin)
    if not os.path.isdir(path):
        raise absent(Path(shown(path)), origin, "folder")
    return path


def _find(
    root: Path, publication: Publication
) -> tuple[list[Path], Callable[[], Dataset]]:
    """Finds a dataset in a data folder: its files and how to read them."""
    name, reader = publication.name, publication.reader
    folder = root / name / publication.tfds_version
    file_format = tfds.file_format(folder)
    if file_format == "array_record":
        files = sorted(path for path in folder.iterdir() if path.is_file())
        return files, lambda: tfds.read(folder, publication)

    found = [(p, reader.find(p)) for p in (root / f for f in publication.folders)]
    # The first place that lacks fewest files is probably the one that was meant.
    place, paths = min(found, key=lambda item: len(reader.missing(item[1])))
    missing = reader.missing(paths)
    unreadable = (
        f"{folder} is in {file_format!r} format, which cannot be read without "
        "TensorFlow (prepare it with file_format='array_record')"
    )
    if not missing:
        if file_format is not None:
            _log.warning("%s: reading the published files in %s", unreadable, place)
        return sorted(paths.values()), lambda: published.dataset(
            reader.read_arrays(paths, publication), publication, place
        )
    if paths:
        raise FileNotFoundError(f"{place} lacks files of {name}: {', '.join(missing)}")
    if file_format is not None:
        raise FileNotFoundError(unreadable)
    below = ", ".join(f"{f}/" for f in publication.folders if f != ".")
    raise FileNotFoundError(
        f"no {name} in {root}: looked for {name}/{publication.tfds_version}/ (TFDS, "
        f"array_record) and, there and in {below}, for {reader.WANTED}; to download "
        f"it, leave out --data_dir and unset {_ENVIRONMENT}"
    )


# By name: the function that loads it, given the name and the data_dir (or None).
SOURCES: dict[str, Callable[[str, Path | None], Dataset]] = {
    "digits": _digits,
    "mnist": _published,
    "fashion_mnist": _published,
    "cifar10": _published,
    "map": lambda name, _: region_map.load(name),
}

# By name before the colon: likewise; the argument after the colon comes second.
WITH_ARGUMENT: dict[str, Callable[..., Dataset]] = {
    "csv": _table,
    "parquet": _parquet,
    "hf": _hugging_face,
    "folder": _image_folder,
    "real_or_generated": _real_or_generated,
}
