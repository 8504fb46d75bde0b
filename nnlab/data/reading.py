# SPDX-License-Identifier: Apache-2.0
"""Errors of files that cannot be read, each in one line that names the file."""

import contextlib
import gzip
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from nnlab.words.spelling import nearest_file


@contextlib.contextmanager
def reading(path: Path, tool: str = "") -> Iterator[None]:
    """Turns the errors of archives and of the system into one line.

    It names `path` unless the system names a file below it. `tool` is what unpacks it:
    "gzip" or "tar".

    Raises:
      ValueError: the archive is damaged.
      FileNotFoundError: the file cannot be opened or read.
    """
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error, tarfile.TarError) as error:
        raise ValueError(
            f"{path} is damaged, get it again: {tool} says {str(error).lower()!r}"
        ) from error
    except OSError as error:
        file = error.filename or path
        raise FileNotFoundError(f"cannot read {file}: {error.strerror}") from error


def absent(path: Path, what: str, kind: str) -> FileNotFoundError:
    """Returns the error of a path that is missing, or is no file or folder (`kind`).

    `what` begins the message, such as "table".
    """
    near = "" if path.exists() else nearest_file(path)
    state = f"is not a {kind}" if path.exists() else f"does not exist{near}"
    return FileNotFoundError(f"{what} {path} {state}")
