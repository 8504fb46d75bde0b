# SPDX-License-Identifier: Apache-2.0
"""A folder of images, with a folder for each class.

Either FOLDER/train/CLASS/* (and, optionally, FOLDER/test/CLASS/*) or FOLDER/CLASS/*. A
file is an image if its content is one, whatever its name. A file named as an image must
be one. Errors are: such a file that cannot be read, an image beside the class folders,
and a folder in a class folder. The dataset's notes name and count what else is not
read.
"""

import dataclasses
import os
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnlab.data import cache, images, labels
from nnlab.data.dataset import Dataset
from nnlab.data.reading import absent, reading
from nnlab.words.numbers import count, joined

_Classes = Mapping[str, Sequence[Path]]
"""The images of each class."""

# Endings of images that are not read, unless the content has another format.
_OTHER_IMAGES = (
    *(".arw", ".cr2", ".cr3", ".dng", ".eps", ".heic", ".heif", ".jxl", ".nef"),
    *(".orf", ".ps", ".raf", ".raw", ".rw2", ".svg", ".svgz", ".xcf"),
)
# Left behind by archivers and file managers.
_LEFTOVERS = ("__macosx", "@eadir", "desktop.ini", "thumbs.db")
_PARTS = ("train", "test")
_LAYOUT = "images lie in FOLDER/CLASS, or in FOLDER/train/CLASS and FOLDER/test/CLASS"
_MOST_NAMED = 3


def read(folder: Path, *, name: str, size: int = images.SIZE) -> Dataset:
    """Reads a folder of images, from the cache if its files are unchanged.

    Images become RGB (one channel if all of them are grey) and size x size pixels, by
    Pillow's bilinear filter. Without a test folder the last fifth becomes the test set,
    as in `Dataset.from_arrays`.

    Args:
      name: the dataset's name in tables and captions.
      size: height and width in pixels, from `images.SMALLEST` to `LARGEST`.

    Returns:
      The dataset; inputs are uint8 (N, size, size, 1 or 3), the classes are the folders
      in natural order. Its notes name files that are not read, and images that are
      transparent, of one colour, or the first of several in a file.

    Raises:
      FileNotFoundError: there is no such folder, or something in it cannot be opened.
      ValueError: the folder has another layout; test and training classes differ; an
        image is damaged or claims too many pixels; a link leads out of the folder; all
        images together are too large.
    """
    images.check_size(size, name)
    if not folder.is_dir():
        raise absent(folder, "image folder", "folder")
    import PIL

    passed: list[Path] = []
    with reading(folder):
        train, test = _find(folder, passed)
        files = [f for some in (*train.values(), *test.values()) for f in some]
        # A file's place tells its class; the target of a link does not.
        places = [(str(f.relative_to(folder)), os.path.realpath(f)) for f in files]
        dataset = cache.kept(
            # Filters may change with Pillow's version.
            cache.entry("folder", files, (places, size, PIL.__version__)),
            lambda: _read(folder, train, test, name, size),
            name=name,
            class_names=tuple(train),
        )
        left = [f"not read: {_listed(folder, passed)}"] if passed else []
    return dataclasses.replace(dataset, notes=(*left, *dataset.notes))


def _find(folder: Path, passed: list[Path]) -> tuple[_Classes, _Classes]:
    """Finds the training and test images of each class; there may be no test images.

    Classes are in natural order, images are sorted by name. Files that are not read are
    added to `passed`.
    """
    root = Path(os.path.realpath(folder))
    hidden: list[Path] = []
    visible = _visible(folder, root, hidden)
    folders = [path for path in visible if path.is_dir()]
    named = [path for path in folders if path.name.lower() in _PARTS]
    # Beside other folders, a folder "train" of images is a class: train, bus, car.
    if len(named) < len(folders) and not any(
        below.is_dir() for path in named for below in path.iterdir()
    ):
        named = []
    parts = {path.name.lower(): path for path in named}
    if len(parts) < len(named):
        names = joined([path.name for path in named])
        raise ValueError(f"{folder} has the folders {names}: which one is meant?")
    if not parts:
        return _classes(folder, root, passed), {}
    if "train" not in parts:
        raise ValueError(
            f"{folder} has a folder named {named[0].name}, but none named train"
        )
    passed += [*hidden, *(path for path in visible if path not in named)]
    train = _classes(parts["train"], root, passed)
    if "test" not in parts:
        return train, {}
    test = _classes(parts["test"], root, passed)
    for part, classes, other in (("test", test, train), ("train", train, test)):
        for label in other:
            if label not in classes:
                raise ValueError(f"{parts[part]} lacks the class {label!r}")
    return train, test


def _classes(folder: Path, root: Path, passed: list[Path]) -> dict[str, list[Path]]:
    """Lists the images of each class in a folder of class folders."""
    classes: dict[str, list[Path]] = {}
    for path in _visible(folder, root, passed):
        if path.is_dir():
            if not path.name.isprintable():
                raise ValueError(
                    f"{folder} has a class that cannot be shown: {path.name!a}"
                )
            # An accented letter can be encoded in two ways.
            label = unicodedata.normalize("NFC", path.name)
            classes.setdefault(label, []).extend(_images(path, root, passed))
        elif _is_image(path):
            raise ValueError(f"{path} is not in the folder of a class: {_LAYOUT}")
        else:
            passed.append(path)
    if len(classes) < 2:
        raise ValueError(
            f"{folder} has {'only the' if classes else 'no'} class folder"
            f"{''.join(f' {label}' for label in classes)}: at least 2 are needed, with "
            "images in each"
        )
    return {label: classes[label] for label in labels.in_order(classes)}


def _images(folder: Path, root: Path, passed: list[Path]) -> list[Path]:
    found: list[Path] = []
    for path in _visible(folder, root, passed):
        if path.is_dir():
            raise ValueError(f"{path} is a folder in the folder of a class: {_LAYOUT}")
        (found if _is_image(path) else passed).append(path)
    if not found:
        raise ValueError(f"{folder} holds no image that can be read")
    return found


def _is_image(path: Path) -> bool:
    """Whether a file has the name or the content of an image.

    An image of a format that is not read is refused, and so is a pipe or a device with
    the name of an image.
    """
    from PIL import Image

    suffix = path.suffix.lower()
    is_named = images.format_of(path) in images.formats()
    if not path.is_file():  # opening a pipe would wait for ever
        if is_named:
            raise ValueError(f"{path} is not a regular file")
        return False
    if is_named:
        return True
    try:
        with images.opened(path):
            return True
    except ValueError as error:
        if isinstance(error.__cause__, Image.DecompressionBombError):
            return True  # is refused when it is read
    if suffix in _OTHER_IMAGES:
        raise ValueError(
            f"{path}: {suffix} images are not read; convert it to PNG or JPEG"
        )
    return False


def _visible(folder: Path, root: Path, passed: list[Path]) -> list[Path]:
    """Lists what a folder holds, sorted by name, without hidden files and leftovers.

    Links must stay below the root. Otherwise whoever packed the folder could have any
    file of this machine read.
    """
    paths = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name.lower() in _LEFTOVERS:
            passed.append(path)
            continue
        if path.is_symlink():
            if not Path(os.path.realpath(path)).is_relative_to(root):
                raise ValueError(f"{path} is a link that leads out of {root}")
            if not path.exists():
                raise ValueError(f"{path} is a link that leads nowhere")
        paths.append(path)
    return paths


def _listed(folder: Path, paths: Sequence[Path]) -> str:
    """Counts files and folders, and names some: folders first, hidden ones last."""
    paths = sorted(paths, key=lambda p: (p.name.startswith("."), not p.is_dir(), p))
    names = []
    for path in paths[:_MOST_NAMED]:
        inside = sum(some.is_file() for some in path.rglob("*"))
        about = f" with {count(inside, 'file')}" if inside else ""
        names.append(f"{path.relative_to(folder)}{about}")
    if more := len(paths) - len(names):
        names.append(f"{more:,} more")
    folders = sum(path.is_dir() for path in paths)
    parts = (len(paths) - folders, "file"), (folders, "folder")
    counts = joined([count(number, noun) for number, noun in parts if number])
    return f"{counts} ({joined(names)})"


def _read(
    folder: Path, train: _Classes, test: _Classes, name: str, size: int
) -> Dataset:
    """Reads the images of each class; there may be no test images."""
    sizes = [len(some) for some in (*train.values(), *test.values())]
    files = [path for some in (*train.values(), *test.values()) for path in some]
    pixels, odd = images.decode(files, size, folder)
    codes = np.repeat([*range(len(train)), *range(len(test))], sizes)
    count = sum(sizes[: len(train)])
    tests: dict[str, Any] = {}
    if test:
        tests = {"test_inputs": pixels[count:], "test_labels": codes[count:]}
    try:
        dataset = Dataset.from_arrays(
            pixels[:count],
            codes[:count],
            **tests,
            name=name,
            class_names=tuple(train),
            class_values=np.array(tuple(train)),
        )
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error
    notes = (f"{what}: {_listed(folder, paths)}" for what, paths in odd.items())
    return dataclasses.replace(dataset, notes=tuple(notes))
