# SPDX-License-Identifier: Apache-2.0
"""A folder of images, with a folder for each class.

Either FOLDER/train/CLASS/*.png (and, optionally, FOLDER/test/CLASS/*.png) or
FOLDER/CLASS/*.png. Images end in .png, .jpg or .jpeg, in upper or lower case. Other
files and hidden ones are passed over, but nothing that somebody may have counted on: an
image in another format, one beside the folders of the classes or a folder in one of
them is an error.

Each image is turned upright as its camera noted, put on black where it is transparent,
and resized as a whole: one that is not square is distorted, not cropped.
"""

import logging
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from nnlab.data import cache
from nnlab.data.dataset import Dataset
from nnlab.names import nearest_file

if TYPE_CHECKING:  # takes a tenth of a second
    from PIL import Image

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

SIZE = 64
SMALLEST, LARGEST = 8, 512

_SUFFIXES = (".png", ".jpg", ".jpeg")
_OTHER_IMAGES = (".avif", ".bmp", ".gif", ".heic", ".jp2", ".tif", ".tiff", ".webp")
_GREY = {"1", "L", "LA"}
_MODES = {1: "L", 3: "RGB"}
# Of one image; Pillow's own limit, but a file of some kilobytes can claim that many.
_MOST_PIXELS = 89_478_485
_MOST_BYTES = 8 << 30


def read(folder: Path, *, name: str, size: int = SIZE) -> Dataset:
    """Reads a folder of images, from the cache if its files are unchanged.

    Images become RGB, or one channel if all of them are grey, and size x size pixels by
    Pillow's bilinear filter. Without a test folder the last fifth becomes the test set,
    as in `Dataset.from_arrays`.

    Args:
        folder: The folder.
        name: What tables and captions call the dataset.
        size: Height and width in pixels, from SMALLEST to LARGEST.

    Returns:
        The dataset; inputs are uint8 (N, size, size, 1 or 3), and the classes those of
        the folders, sorted by name.

    Raises:
        FileNotFoundError: There is no such folder, or something in it cannot be opened.
        ValueError: The folder is laid out otherwise; test and training classes differ;
            an image is damaged or claims too many pixels; a link leads out of the
            folder; all images together are too large.
    """
    if not SMALLEST <= size <= LARGEST:
        raise ValueError(
            f"{name}: size {size} is out of range; allowed: {SMALLEST} to {LARGEST} "
            "pixels"
        )
    if not folder.is_dir():
        state = (
            "is not a folder"
            if folder.exists()
            else f"does not exist{nearest_file(folder)}"
        )
        raise FileNotFoundError(f"image folder {folder} {state}")
    try:
        train, test = _find(folder)
        return _read(folder, train, test, name, size)
    except OSError as error:
        file = error.filename or folder
        raise FileNotFoundError(f"cannot read {file}: {error.strerror}") from error


def _find(
    folder: Path,
) -> tuple[Mapping[str, Sequence[Path]], Mapping[str, Sequence[Path]]]:
    """Finds the training and the test images of each class; of the latter maybe none.

    Classes are sorted by name, and so are the images of each.
    """
    root = Path(os.path.realpath(folder))
    parts = {path.name: path for path in _visible(folder, root) if path.is_dir()}
    if "train" not in parts:
        if "test" in parts:
            raise ValueError(f"{folder} has a folder named test, but none named train")
        return _classes(folder, root), {}
    if others := ", ".join(sorted(set(parts) - {"train", "test"})):
        _log.warning("%s: only train and test are read, not %s", folder, others)
    train = _classes(parts["train"], root)
    if "test" not in parts:
        return train, {}
    test = _classes(parts["test"], root)
    for label in [*train, *test]:
        for part, classes in (("train", train), ("test", test)):
            if label not in classes:
                raise ValueError(f"{parts[part]} lacks the class {label!r}")
    return train, test


def _classes(folder: Path, root: Path) -> dict[str, list[Path]]:
    """Lists the images of each class in a folder of class folders."""
    classes = {}
    for path in _visible(folder, root):
        if path.is_dir():
            if not path.name.isprintable():
                raise ValueError(
                    f"{folder} has a class that cannot be shown: {path.name!a}"
                )
            classes[path.name] = _images(path, root)
        elif path.suffix.lower() in _SUFFIXES:
            raise ValueError(f"{path} is not in the folder of a class")
    if len(classes) < 2:
        raise ValueError(
            f"{folder} has {'only the' if classes else 'no'} class folder"
            f"{''.join(f' {label}' for label in classes)}: at least 2 are needed, with "
            "images in each"
        )
    return classes


def _images(folder: Path, root: Path) -> list[Path]:
    """Lists the images of a class."""
    images = []
    for path in _visible(folder, root):
        suffix = path.suffix.lower()
        if path.is_dir():
            raise ValueError(f"{path} is a folder in the folder of a class")
        if suffix in _OTHER_IMAGES:
            raise ValueError(f"{path} is neither PNG nor JPEG: convert it")
        if suffix in _SUFFIXES:
            if not path.is_file():  # opening a pipe would wait for ever
                raise ValueError(f"{path} is not a regular file")
            images.append(path)
    if not images:
        raise ValueError(f"{folder} holds no image ({', '.join(_SUFFIXES)})")
    return images


def _visible(folder: Path, root: Path) -> list[Path]:
    """Lists what a folder holds but for hidden files, sorted by name.

    Links must stay below the root: whoever packed the folder could otherwise have any
    file of this machine read.
    """
    paths = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    for path in paths:
        if path.is_symlink():
            if not Path(os.path.realpath(path)).is_relative_to(root):
                raise ValueError(f"{path} is a link that leads out of {root}")
            if not path.exists():
                raise ValueError(f"{path} is a link that leads nowhere")
    return paths


def _read(
    folder: Path,
    train: Mapping[str, Sequence[Path]],
    test: Mapping[str, Sequence[Path]],
    name: str,
    size: int,
) -> Dataset:
    """Reads images from the cache, or from their files and then caches them."""
    import PIL

    train_files = [path for images in train.values() for path in images]
    test_files = [path for images in test.values() for path in images]
    files = [*train_files, *test_files]
    # Where each file stands tells its class, and a link can stand anywhere.
    places = [(str(f.relative_to(folder)), os.path.realpath(f)) for f in files]
    # Filters may change with Pillow's version.
    entry = cache.entry("folder", files, (places, size, PIL.__version__))
    class_names = tuple(train)
    dataset = cache.read(entry, name=name, class_names=class_names, digest=None)
    if dataset is not None:
        return dataset

    channels = 1 if {_mode(file) for file in files} <= _GREY else 3
    num_bytes = len(files) * size * size * channels
    if num_bytes > _MOST_BYTES:
        raise ValueError(
            f"{folder}: {len(files):,} images of {size} x {size} x {channels} take "
            f"{num_bytes / 2**30:.1f} GiB; allowed: {_MOST_BYTES >> 30} GiB, so choose "
            "a smaller size"
        )
    images = _decode(train_files, size, channels)
    test_images = _decode(test_files, size, channels) if test else None
    try:
        dataset = Dataset.from_arrays(
            images,
            _labels(train),
            test_inputs=test_images,
            test_labels=_labels(test) if test else None,
            name=name,
            class_names=class_names,
        )
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error
    cache.write(entry, dataset)
    return dataset


def _labels(classes: Mapping[str, Sequence[Path]]) -> np.ndarray:
    """Returns the label of each image, class after class: (N,)."""
    return np.repeat(np.arange(len(classes)), [len(i) for i in classes.values()])


def _mode(file: Path) -> str:
    """Returns the mode of an image, which must have 8 bits a channel at most."""
    mode = _open(file, lambda image: image.mode)
    if mode.startswith(("I", "F")):  # Pillow's conversion would clip them
        raise ValueError(
            f"{file} has more than 8 bits a channel (mode {mode}): convert it"
        )
    return mode


def _decode(files: Sequence[Path], size: int, channels: int) -> np.ndarray:
    """Decodes images: uint8 (N, size, size, channels)."""
    pixels = np.empty((len(files), size, size, channels), np.uint8)
    for number, file in enumerate(files):
        decoded = _open(file, lambda image: _resized(image, size, _MODES[channels]))
        pixels[number] = decoded.reshape(size, size, channels)
    return pixels


def _resized(image: "Image.Image", size: int, mode: str) -> np.ndarray:
    """Decodes an open image: uint8 (size, size) or (size, size, 3)."""
    from PIL import Image, ImageOps

    # JPEG alone can be decoded at half, a quarter or an eighth of its size: 4000 x 3000
    # pixels to 64 x 64 in 24 ms, not 153; the result differs by a few levels at most.
    image.draft(None, (2 * size, 2 * size))
    upright = ImageOps.exif_transpose(image)
    if upright.has_transparency_data:
        black = Image.new("RGBA", upright.size, "black")
        upright = Image.alpha_composite(black, upright.convert("RGBA"))
    square = upright.convert(mode).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(square)


def _open(file: Path, use: "Callable[[Image.Image], _T]") -> _T:
    """Opens an image, checks what its header claims, and uses it."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            # Of odd metadata, and of too many pixels, which are refused below.
            warnings.simplefilter("ignore")
            with Image.open(file, formats=("PNG", "JPEG")) as image:
                if image.width * image.height > _MOST_PIXELS:
                    raise Image.DecompressionBombError
                return use(image)
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
            f"{file} is damaged, or neither PNG nor JPEG: Pillow cannot read it "
            f"({type(error).__name__})"
        ) from error
