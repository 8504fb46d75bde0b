# SPDX-License-Identifier: Apache-2.0
"""Which errors are the user's mistakes, and what they say in one line; no JAX."""

import errno
import traceback

from nnlab import texts

_MISTAKES = (
    ValueError,
    BlockingIOError,
    ConnectionError,
    FileExistsError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)
# Of paths, which have no class of their own.
_MISTAKEN_PATHS = (errno.EINVAL, errno.ELOOP, errno.ENAMETOOLONG, errno.EROFS)
_MOST_TEXT = 1_000
"""Characters of a line that is shown of a mistake."""

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Error numbers of a disk that is full or broken: no mistake of the user's."""


def status_of(error: ValueError | OSError) -> int | None:
    """The exit status of an error that our own code tells of, or the user's paths.

    Returns:
      2 for the user's mistake, 1 for a full disk or the like; None for a bug: another
      ValueError from below our code, as for all other errors.
    """
    if isinstance(error, _MISTAKES) and isinstance(error, OSError):
        return 2
    if isinstance(error, OSError) and error.errno in _MISTAKEN_PATHS:
        return 2
    if isinstance(error, OSError) and error.errno in DISK:
        return 1
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    module = frames[-1].f_globals.get("__name__", "").partition(".")[0]
    if module not in ("nnlab", "launch", "__main__"):
        return None
    if isinstance(error, ValueError):
        return 2
    return 1 if error.errno is None else None  # a checkpoint, in words of our own


def line_of(error: BaseException) -> str:
    """What an error says, as one line that a terminal can show."""
    text: object = error
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror
        if error.filename is not None:
            text = f"{error.strerror}: {error.filename}"
    while isinstance(text, AttributeError | KeyError) and text.args:
        text = text.args[0]  # a ConfigDict's holds a KeyError, whose str() has quotes
    line = texts.visible(" ".join(texts.without_secrets(str(text)).split()))
    if len(line) <= _MOST_TEXT:
        return line
    return f"{line[: _MOST_TEXT // 2]} ... {line[-_MOST_TEXT // 2 :]}"
