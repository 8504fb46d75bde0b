# SPDX-License-Identifier: Apache-2.0
"""A folder of images, with a folder for each class.

Either FOLDER/train/CLASS/* (and, optionally, FOLDER/test/CLASS/*) or FOLDER/CLASS/*. A
file is an image if its content is one, whatever its name. A file named as an image must
be one. Errors are: such a file that cannot be read, an image beside the class folders,
and a folder in a class folder. The dataset's notes name and count what else is not
read.

Images are turned upright as their camera noted, laid over black where they are
transparent, and resized as a whole: one that is not square is distorted, not cropped.
"""

import collections
import contextlib
import dataclasses
import functools
import os
import unicodedata
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nnlab.data import cache, labels
from nnlab.data.dataset import Dataset
from nnlab.data.reading import absent, reading
from nnlab.words.numbers import count, joined

if TYPE_CHECKING:  # takes a tenth of a second
    from PIL import Image

_Classes = Mapping[str, Sequence[Path]]
"""The images of each class."""

SIZE = 64
SMALLEST, LARGEST = 8, 512

# Pillow opens these, but EPS would run another program, IPTC may hold a file of any
# format, and of MPEG only the size is read.
_NOT_READ = ("EPS", "IPTC", "MPEG")
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
_GREY = {"1", "L", "LA"}
_MODES = {1: "L", 3: "RGB"}
# Of one image, as in Pillow. A file of some kilobytes can claim more.
_MOST_PIXELS = 89_478_485
# Of all images together.
_MOST_BYTES = 8 << 30


def read(folder: Path, *, name: str, size: int = SIZE) -> Dataset:
    """Reads a folder of images, from the cache if its files are unchanged.

    Images become RGB (one channel if all of them are grey) and size x size pixels, by
    Pillow's bilinear filter. Without a test folder the last fifth becomes the test set,
    as in `Dataset.from_arrays`.

    Args:
      name: the dataset's name in tables and captions.
      size: height and width in pixels, from SMALLEST to LARGEST.

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
    if not SMALLEST <= size <= LARGEST:
        raise ValueError(
            f"{name}: size {size} is out of range; allowed: {SMALLEST} to {LARGEST} "
            "pixels"
        )
    if not folder.is_dir():
        raise absent(folder, "image folder", "folder")
    import PIL

    passed: list[Path] = []
    with reading(folder):
        train, test = _find(folder, passed)
        files = [f for images in (*train.values(), *test.values()) for f in images]
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
    images: list[Path] = []
    for path in _visible(folder, root, passed):
        if path.is_dir():
            raise ValueError(f"{path} is a folder in the folder of a class: {_LAYOUT}")
        (images if _is_image(path) else passed).append(path)
    if not images:
        raise ValueError(f"{folder} holds no image that can be read")
    return images


def _is_image(path: Path) -> bool:
    """Whether a file has the name or the content of an image.

    An image of a format that is not read is refused, and so is a pipe or a device with
    the name of an image.
    """
    from PIL import Image

    suffix = path.suffix.lower()
    is_named = _format(path) in _formats()
    if not path.is_file():  # opening a pipe would wait for ever
        if is_named:
            raise ValueError(f"{path} is not a regular file")
        return False
    if is_named:
        return True
    try:
        with _opened(path):
            return True
    except ValueError as error:
        if isinstance(error.__cause__, Image.DecompressionBombError):
            return True  # is refused when it is read
    if suffix in _OTHER_IMAGES:
        raise ValueError(
            f"{path}: {suffix} images are not read; convert it to PNG or JPEG"
        )
    return False


@functools.cache
def _formats() -> tuple[str, ...]:
    """Returns the formats that Pillow decodes by itself."""
    from PIL import Image, ImageFile

    Image.init()
    return tuple(
        name
        for name, (opens, _) in Image.OPEN.items()
        if name not in _NOT_READ
        and not (isinstance(opens, type) and issubclass(opens, ImageFile.StubImageFile))
    )


def _format(path: Path) -> str:
    """Returns the format that a file's name tells; "" for none."""
    from PIL import Image

    found = Image.registered_extensions().get(path.suffix.lower(), "")
    return "JPEG" if found == "MPO" else found


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
    files = [path for images in (*train.values(), *test.values()) for path in images]
    channels = 1 if {_mode(file) for file in files} <= _GREY else 3
    num_bytes = len(files) * size * size * channels
    if num_bytes > _MOST_BYTES:
        raise ValueError(
            f"{folder}: {len(files):,} images of {size} x {size} x {channels} take "
            f"{num_bytes / 2**30:.1f} GiB; allowed: {_MOST_BYTES >> 30} GiB, so choose "
            "a smaller size"
        )
    odd: dict[str, list[Path]] = collections.defaultdict(list)
    images, codes = _decode(train, size, channels, odd)
    tests: dict[str, Any] = {}
    if test:
        found = _decode(test, size, channels, odd)
        tests = dict(zip(("test_inputs", "test_labels"), found))
    try:
        dataset = Dataset.from_arrays(
            images,
            codes,
            **tests,
            name=name,
            class_names=tuple(train),
            class_values=np.array(tuple(train)),
        )
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error
    notes = (f"{what}: {_listed(folder, paths)}" for what, paths in odd.items())
    return dataclasses.replace(dataset, notes=tuple(notes))


def _mode(file: Path) -> str:
    """Returns the mode of an image, which must have 8 bits a channel at most."""
    with _opened(file) as image:
        mode = image.mode
    if mode.startswith(("I", "F")):  # Pillow's conversion would clip them
        raise ValueError(
            f"{file} has more than 8 bits a channel (mode {mode}): convert it to 8"
        )
    return mode


def _decode(
    classes: _Classes, size: int, channels: int, odd: dict[str, list[Path]]
) -> tuple[np.ndarray, np.ndarray]:
    """Decodes images, uint8 (N, size, size, channels), and their classes, (N,).

    `odd` collects odd images.
    """
    files = [file for images in classes.values() for file in images]
    pixels = np.empty((len(files), size, size, channels), np.uint8)
    for number, file in enumerate(files):
        with _opened(file) as image:
            decoded, notes = _resized(image, size, _MODES[channels])
        pixels[number] = decoded.reshape(size, size, channels)
        if (pixels[number] == pixels[number, 0, 0]).all():
            notes.append("of one colour only")
        for note in notes:
            odd[note].append(file)
    counts = [len(images) for images in classes.values()]
    return pixels, np.repeat(np.arange(len(classes)), counts)


def _resized(
    image: "Image.Image", size: int, mode: str
) -> tuple[np.ndarray, list[str]]:
    """Decodes an open image: uint8 (size, size) or (size, size, 3), and oddities."""
    from PIL import Image, ImageOps

    notes = []
    # An MPO is a JPEG of several pictures; the others are previews or depth maps.
    if getattr(image, "is_animated", False) and image.format != "MPO":
        notes.append("of several pictures the first is read")
    # A JPEG can be decoded at half, a quarter or an eighth of its size: 4000 x 3000
    # pixels become 64 x 64 in 24, not 153 ms, and differ by a few levels at most.
    image.draft(None, (2 * size, 2 * size))
    upright = ImageOps.exif_transpose(image)
    if upright.has_transparency_data:
        upright = upright.convert("RGBA")
        if (np.asarray(upright)[..., 3] < 255).any():
            notes.append("transparent, laid over black")
        black = Image.new("RGBA", upright.size, "black")
        upright = Image.alpha_composite(black, upright)
    square = upright.convert(mode).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(square), notes


@contextlib.contextmanager
def _opened(file: Path) -> "Iterator[Image.Image]":
    """Opens an image of the format that its content, or else its name, tells.

    Raises:
      ValueError: its header claims too many pixels; or it is damaged, which may show
        only when it is used.
    """
    from PIL import Image

    formats = [name for name in _formats() if Image.OPEN[name][1] is not None]
    if (named := _format(file)) in _formats():
        formats.append(named)
    try:
        with warnings.catch_warnings():
            # Of odd metadata, and of too many pixels, which are refused here.
            warnings.simplefilter("ignore")
            with Image.open(file, formats=formats) as image:
                if image.width * image.height > _MOST_PIXELS:
                    raise Image.DecompressionBombError
                yield image
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"{file} claims more than {_MOST_PIXELS:,} pixels, which is refused"
        ) from error
    # On damaged files Pillow raises OSError, SyntaxError, struct.error and others;
    # errors of the operating system have a number.
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ValueError(
            f"{file} is damaged, or no image that Pillow can read "
            f"({type(error).__name__}): convert it to PNG or JPEG, or remove it"
        ) from error
