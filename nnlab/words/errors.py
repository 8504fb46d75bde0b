# SPDX-License-Identifier: Apache-2.0
"""Which errors are the user's mistakes, and what they say in one line; no JAX."""

import dataclasses
import errno
import math
import os
import resource
import traceback

from nnlab.words import numbers

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


@dataclasses.dataclass(frozen=True)
class Limit:
    """A limit that the shell sets its programs.

    Attributes:
      flag: of ulimit.
      number: of `resource`.
      what: it is of, in the unit of ulimit.
      unit: of ulimit, in that of `resource`.
      least: that a run needs, in the unit of ulimit; measured with small ones on two
        cores, rounded up.
      enough: for ulimit.
      signs: what an error says when the limit is reached.
    """

    flag: str
    number: int
    what: str
    unit: int
    least: int
    enough: str
    signs: tuple[str, ...]

    @property
    def allowed(self) -> float:
        """What it allows, in the unit of ulimit."""
        soft, _ = resource.getrlimit(self.number)
        return math.inf if soft == resource.RLIM_INFINITY else soft // self.unit

    def __str__(self) -> str:
        """What is allowed, and the remedy."""
        name = f"ulimit {self.flag}"
        return (
            f"{name} allows {self.allowed}; raise it, such as by '{name} {self.enough}'"
        )


_KIB, _ANY = 1024, "unlimited"
_MEMORY = (MemoryError.__name__, "RESOURCE_EXHAUSTED", os.strerror(errno.ENOMEM))
_THREADS = ("can't start new thread", os.strerror(errno.EAGAIN))
_FILES, _LARGE = (os.strerror(errno.EMFILE),), (os.strerror(errno.EFBIG),)
_DISK = tuple(map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EIO)))
LIMITS = (
    Limit("-n", resource.RLIMIT_NOFILE, "open files", 1, 64, "1024", _FILES),
    Limit("-v", resource.RLIMIT_AS, "KiB of addresses", _KIB, 4 << 20, _ANY, _MEMORY),
    Limit("-d", resource.RLIMIT_DATA, "KiB of data", _KIB, 1 << 20, _ANY, _MEMORY),
    Limit("-u", resource.RLIMIT_NPROC, "threads", 1, 64, "4096", _THREADS),
    Limit("-f", resource.RLIMIT_FSIZE, "KiB in a file", _KIB, 0, _ANY, _LARGE),
)


def shortage(error: BaseException) -> str:
    """What an error says there is too little of, such as "No space left on device".

    Libraries wrap what the system said in errors of theirs, so the text counts.

    Returns:
      The system's words; "" for an error of another kind.
    """
    text = f"{type(error).__name__}: {error}"
    signs = (*_DISK, *(sign for limit in LIMITS for sign in limit.signs))
    return next((sign for sign in signs if sign in text), "")


def status_of(error: Exception) -> int | None:
    """The exit status of an error that our own code tells of, or the user's paths.

    Returns:
      2 for the user's mistake, 1 for a full disk, too little memory or the like; None
      for a bug: another ValueError from below our code, as for all other errors.
    """
    if isinstance(error, _MISTAKES) and isinstance(error, OSError):
        return 2
    if isinstance(error, OSError) and error.errno in _MISTAKEN_PATHS:
        return 2
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    module = frames[-1].f_globals.get("__name__", "").partition(".")[0]
    is_ours = module in ("nnlab", "launch", "__main__")
    if is_ours and isinstance(error, ValueError):
        return 2
    if is_ours and isinstance(error, OSError) and error.errno is None:
        return 1  # a checkpoint, in words of our own
    return 1 if shortage(error) else None


def line_of(error: BaseException) -> str:
    """What an error says, as one line that a terminal can show, and the remedy."""
    text: object = error
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror
        if error.filename is not None:
            text = f"{error.strerror}: {error.filename}"
    while isinstance(text, AttributeError | KeyError) and text.args:
        text = text.args[0]  # a ConfigDict's holds a KeyError, whose str() has quotes
    line = " ".join(numbers.without_secrets(str(text)).split()) or type(error).__name__
    if sign := shortage(error):
        for limit in LIMITS:
            if sign in limit.signs and limit.allowed < math.inf:
                line += f"; {limit}" * (str(limit) not in line)
    line = numbers.visible(line)
    if len(line) <= _MOST_TEXT:
        return line
    return f"{line[: _MOST_TEXT // 2]} ... {line[-_MOST_TEXT // 2 :]}"
