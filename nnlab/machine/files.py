# SPDX-License-Identifier: Apache-2.0
"""Writes files completely or not at all, even in a power cut, and locks folders.

Every path that a user gives passes through `absolute`. A file is on the disk before
anything is written that relies on it. A writer locks its temporary file; unlocked ones
belong to killed writers and are removed. Nothing below a workdir is written or deleted
through a link.
"""

import contextlib
import fcntl
import hashlib
import itertools
import os
import pathlib
import re
import secrets
from collections.abc import Iterator
from typing import IO

_URL = re.compile(r"[A-Za-z][\w+.-]+://")
_VARIABLE = re.compile(r"\$\{?[A-Za-z_]\w*")
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]+\.tmp")


def absolute(
    path: str | bytes | os.PathLike[str] | os.PathLike[bytes], name: str = "path"
) -> pathlib.Path:
    """Makes a user's path absolute, so that the current folder may change.

    ``~`` and ``~user`` become home folders; links and ``..`` stay. `name` is the option
    that gave it, for messages.

    Raises:
      ValueError: the path is empty, or invalid on this machine.
      FileNotFoundError: it is relative, and the current folder has been removed.
    """

    def refused(why: str) -> ValueError:
        return ValueError(f"{name}={path!r} {why}")

    try:
        text = os.fsdecode(path)
    except TypeError:
        raise refused("is not a path") from None
    if not text.strip():
        raise refused("is empty; '.' is the current folder")
    if "\0" in text:
        raise refused("holds a NUL character, which no path can")
    if _URL.match(text):
        raise refused("is a URL, not a path of this machine")
    if (found := _VARIABLE.search(text)) and not os.path.lexists(text):
        raise refused(
            f"holds {found[0]!r}, which the shell left unexpanded: check the quotes"
        )
    if text[0] == "~" and (text := os.path.expanduser(text))[0] == "~":
        raise refused("begins with no user's home folder; './~' begins with a name")
    try:
        return pathlib.Path(text).absolute()
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{name}={path!r}: the current folder has been removed"
        ) from None


def shown(path: pathlib.Path) -> str:
    """Shortens an absolute path for messages, if it is below the current folder."""
    with contextlib.suppress(ValueError, FileNotFoundError):
        return str(path.relative_to(pathlib.Path.cwd()))
    return str(path)


@contextlib.contextmanager
def replacing(path: pathlib.Path, *, durable: bool = True) -> Iterator[IO[bytes]]:
    """Opens a stream whose content replaces a file when the context ends.

    If the context ends with an error, the file stays as it was. A link is replaced, not
    followed. If `durable`, the content is on the disk when the context has ended. An
    OSError has the file's name, also on a full disk.
    """
    # Not by tempfile: only their owner can read its files, whatever the umask.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with _held(temporary) as stream:
            yield stream
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
            os.replace(temporary, path)
        if durable:
            sync(path.parent)
    except OSError as error:
        if error.errno and not error.filename:  # a full disk names no file
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_atomic(path: pathlib.Path, content: bytes, *, durable: bool = True) -> None:
    """Writes a file completely or not at all; see `replacing`."""
    with replacing(path, durable=durable) as stream:
        stream.write(content)


def write_digest(path: pathlib.Path, content: bytes) -> None:
    """Writes the SHA-256 of a file's content beside it, in the format of sha256sum."""
    digest = hashlib.sha256(content).hexdigest()
    write_atomic(digest_of(path), f"{digest}  {path.name}\n".encode())


def read_digest(path: pathlib.Path) -> str:
    """Returns the digest beside a file; "" if it is missing or incomplete."""
    try:
        text = digest_of(path).read_text("utf-8", "replace")
    except FileNotFoundError:
        return ""
    found = re.fullmatch(rf"([0-9a-f]{{64}})  {re.escape(path.name)}\n", text)
    return found[1] if found else ""


def digest_of(path: pathlib.Path) -> pathlib.Path:
    """Returns the path of a file's digest."""
    return path.with_name(f"{path.name}.sha256")


def _held(path: pathlib.Path) -> IO[bytes]:
    """Makes a file with a lock, which shows that its writer is alive."""
    while True:
        stream = path.open("xb")
        with contextlib.suppress(OSError):  # some file systems have no locks
            fcntl.flock(stream, fcntl.LOCK_EX)
        if os.fstat(stream.fileno()).st_nlink:
            return stream
        stream.close()  # another process removed it before it was locked


def remove_abandoned(folder: pathlib.Path) -> None:
    """Removes the temporary files of killed writers in a folder and below it."""
    for parent, _, names in os.walk(folder):
        for name in filter(_TEMPORARY.fullmatch, names):
            path = pathlib.Path(parent, name)
            with contextlib.suppress(OSError), path.open("r+b") as stream:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()


def make_folder(path: pathlib.Path) -> None:
    """Makes a missing folder and those above it, and syncs them."""
    if not path.exists():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        sync(path.parent)


def sync_tree(folder: pathlib.Path) -> None:
    """Waits until a folder with all its content is on the disk."""
    for parent, _, names in os.walk(folder):
        for name in names:
            sync(pathlib.Path(parent, name))
        sync(pathlib.Path(parent))


def sync(path: pathlib.Path) -> None:
    """Waits until a file, or a folder's list of names, is on the disk."""
    harmless = (OSError,) if path.is_dir() else ()  # some folders cannot be synced
    with contextlib.suppress(*harmless):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def refuse_links(*paths: pathlib.Path) -> None:
    """Refuses links in files or folders: their targets would be changed or deleted.

    The ValueError names the first link.
    """
    for path in paths:
        # Another run may remove its folders meanwhile; os.walk skips them.
        below = (
            os.path.join(folder, name)
            for folder, folders, names in os.walk(path)
            for name in (*folders, *names)
        )
        for one in map(str, itertools.chain([path], below)):
            if os.path.islink(one):
                raise ValueError(
                    f"{one!r} is a link; remove it (a workdir or data folder may "
                    "be a link, its parts may not)"
                )


@contextlib.contextmanager
def alone_in(path: pathlib.Path, *, waits: bool = False) -> Iterator[None]:
    """Locks a folder against other runs; the lock ends with the process at the latest.

    The path is a workdir, a folder within it, or a file in it, which is made if
    missing. If another run uses it, this waits, or else raises BlockingIOError.
    """
    is_folder = path.is_dir()
    folder = path if is_folder else path.parent
    mode = os.O_RDONLY if is_folder else os.O_RDWR | os.O_CREAT
    descriptor = os.open(path, mode, 0o666)
    try:
        how = fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB)
        try:
            try:
                fcntl.flock(descriptor, how)
            except BlockingIOError:
                raise
            except OSError:  # NFS can lock only files, and only writable ones
                file = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
                os.close(descriptor)
                descriptor = file
                fcntl.flock(descriptor, how)
        except BlockingIOError:
            raise BlockingIOError(
                f"another run is at work in workdir {str(folder)!r}; wait for its end, "
                "or choose another"
            ) from None
        yield
    finally:
        os.close(descriptor)


def is_taken(folder: pathlib.Path) -> bool:
    """Returns whether another run has locked a folder; see `alone_in`.

    It takes a shared lock and releases it at once.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
