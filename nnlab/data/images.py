# SPDX-License-Identifier: Apache-2.0
"""Reads images of any format and size into one array.

Images are turned upright as their camera noted, laid over black where they are
transparent, and resized as a whole: one that is not square is distorted, not cropped.
"""

import collections
import contextlib
import functools
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

if TYPE_CHECKING:  # takes a tenth of a second
    from PIL import Image

SIZE = 64
SMALLEST, LARGEST = 8, 512

# Pillow opens these, but EPS would run another program, IPTC may hold a file of any
# format, and of MPEG only the size is read.
_NOT_READ = ("EPS", "IPTC", "MPEG")
_GREY = {"1", "L", "LA"}
_MODES = {1: "L", 3: "RGB"}
# Of one image, as in Pillow. A file of some kilobytes can claim more.
_MOST_PIXELS = 89_478_485
# Of all images together.
_MOST_BYTES = 8 << 30


class Stored(NamedTuple):
    """An image in memory, and where it comes from, for messages."""

    where: str
    content: Callable[[], bytes]

    def __str__(self) -> str:
        return self.where


Source = Path | Stored
_S = TypeVar("_S", Path, Stored)


def check_size(size: int, name: str) -> None:
    """Refuses a height and width that images cannot get (ValueError)."""
    if not SMALLEST <= size <= LARGEST:
        raise ValueError(
            f"{name}: size {size} is out of range; allowed: {SMALLEST} to {LARGEST} "
            "pixels"
        )


def decode(
    sources: Sequence[_S], size: int | None, where: object
) -> tuple[np.ndarray, dict[str, list[_S]]]:
    """Decodes images to RGB, or to one channel if all of them are grey.

    Args:
      sources: N images.
      size: height and width in pixels, by Pillow's bilinear filter; None for that of
        all images, if they are square and of one size from `SMALLEST` to `LARGEST`,
        else `SIZE`.
      where: what holds them, for messages.

    Returns:
      uint8 (N, size, size, 1 or 3), and for each oddity the images that have it.

    Raises:
      ValueError: an image is damaged, claims too many pixels or has more than 8 bits a
        channel; all images together are too large.
    """
    looks = {_look(source) for source in sources}
    if size is None:
        (width, height), *others = {shape for _, shape in looks}
        fits = not others and width == height and SMALLEST <= width <= LARGEST
        size = width if fits else SIZE
    channels = 1 if {mode for mode, _ in looks} <= _GREY else 3
    num_bytes = len(sources) * size * size * channels
    if num_bytes > _MOST_BYTES:
        raise ValueError(
            f"{where}: {len(sources):,} images of {size} x {size} x {channels} take "
            f"{num_bytes / 2**30:.1f} GiB; allowed: {_MOST_BYTES >> 30} GiB, so choose "
            "a smaller size"
        )
    odd: dict[str, list[_S]] = collections.defaultdict(list)
    pixels = np.empty((len(sources), size, size, channels), np.uint8)
    for number, source in enumerate(sources):
        with opened(source) as image:
            decoded, notes = _resized(image, size, _MODES[channels])
        pixels[number] = decoded.reshape(size, size, channels)
        if (pixels[number] == pixels[number, 0, 0]).all():
            notes.append("of one colour only")
        for note in notes:
            odd[note].append(source)
    return pixels, odd


def _look(source: Source) -> tuple[str, tuple[int, int]]:
    """Returns the mode of an image, of 8 bits a channel at most, and its size."""
    with opened(source) as image:
        mode, size = image.mode, image.size
    if mode.startswith(("I", "F")):  # Pillow's conversion would clip them
        raise ValueError(
            f"{source} has more than 8 bits a channel (mode {mode}): convert it to 8"
        )
    return mode, size


@functools.cache
def formats() -> tuple[str, ...]:
    """Returns the formats that Pillow decodes by itself."""
    from PIL import Image, ImageFile

    Image.init()
    return tuple(
        name
        for name, (opens, _) in Image.OPEN.items()
        if name not in _NOT_READ
        and not (isinstance(opens, type) and issubclass(opens, ImageFile.StubImageFile))
    )


def format_of(path: Path) -> str:
    """Returns the format that a file's name tells; "" for none."""
    from PIL import Image

    found = Image.registered_extensions().get(path.suffix.lower(), "")
    return "JPEG" if found == "MPO" else found


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
def opened(source: Source) -> "Iterator[Image.Image]":
    """Opens an image of the format that its content, or else its name, tells.

    Raises:
      ValueError: its header claims too many pixels; or it is damaged, which may show
        only when it is used.
    """
    from PIL import Image

    known = [name for name in formats() if Image.OPEN[name][1] is not None]
    stream: Path | io.BytesIO
    if isinstance(source, Path):
        stream, named = source, format_of(source)
        known += [named] if named in formats() else []
    else:
        stream = io.BytesIO(source.content())
    try:
        with warnings.catch_warnings():
            # Of odd metadata, and of too many pixels, which are refused here.
            warnings.simplefilter("ignore")
            with Image.open(stream, formats=known) as image:
                if image.width * image.height > _MOST_PIXELS:
                    raise Image.DecompressionBombError
                yield image
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"{source} claims more than {_MOST_PIXELS:,} pixels, which is refused"
        ) from error
    # On damaged files Pillow raises OSError, SyntaxError, struct.error and others;
    # errors of the operating system have a number, and lack of memory is no damage.
    except Exception as error:
        is_of_system = isinstance(error, OSError) and error.errno is not None
        if is_of_system or isinstance(error, MemoryError):
            raise
        raise ValueError(
            f"{source} is damaged, or no image that Pillow can read "
            f"({type(error).__name__}): convert it to PNG or JPEG, or remove it"
        ) from error
