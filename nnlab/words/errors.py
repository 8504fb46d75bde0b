# SPDX-License-Identifier: Apache-2.0
"""Which errors are the user's mistakes, and their text in one line; no JAX."""

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
# Errors of paths that have no class of their own.
_MISTAKEN_PATHS = (errno.EINVAL, errno.ELOOP, errno.ENAMETOOLONG, errno.EROFS)
_MOST_TEXT = 1_000
"""Most characters of a line that shows a mistake."""


@dataclasses.dataclass(frozen=True)
class Limit:
    """A resource limit that the shell sets for its programs.

    Attributes:
      flag: its flag in ulimit.
      number: its number in `resource`.
      what: what it limits, with ulimit's unit.
      unit: ulimit's unit, in units of `resource`.
      least: the least that a run needs, in ulimit's unit; measured with small runs on
        two cores, rounded up.
      enough: a value to give to ulimit.
      signs: texts of errors when the limit is reached.
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
        """The limit that is set, in ulimit's unit."""
        soft, _ = resource.getrlimit(self.number)
        return math.inf if soft == resource.RLIM_INFINITY else soft // self.unit

    def __str__(self) -> str:
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


def extra(name: str) -> str:
    """Returns the command that installs one of nnlab's extras.

    >>> extra("search")
    'pip install "nnlab-jax[search]"'
    """
    return f'pip install "nnlab-jax[{name}]"'


def shortage(error: BaseException) -> str:
    """Returns what an error says has run out, such as "No space left on device", or "".

    Libraries wrap the system's errors in their own, so the text is searched.
    """
    text = f"{type(error).__name__}: {error}"
    signs = (*_DISK, *(sign for limit in LIMITS for sign in limit.signs))
    return next((sign for sign in signs if sign in text), "")


def status_of(error: Exception) -> int | None:
    """Returns an error's exit status; None for a bug.

    It is 2 for the user's mistake and 1 for a full disk, too little memory or the like.
    A ValueError that a library raised is a bug.
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
    """Returns an error's text and remedy as one line that a terminal can show."""
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
