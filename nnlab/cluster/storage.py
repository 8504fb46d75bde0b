# SPDX-License-Identifier: Apache-2.0
"""A run's checkpoints in storage, for nodes that do not share a folder.

Storage can be any file system that fsspec knows. Each run has a folder there. It holds
``checkpoints/PART/ATTEMPT/N``: the checkpoints of a part, as in a workdir, but each
attempt at the part writes into its own folder, because object stores have no locks. A
checkpoint's digests are written last; without them it is not complete. A node continues
a part from its most advanced sound checkpoint, of any attempt.
"""

import collections
import contextlib
import hashlib
import logging
import os
import pathlib
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from nnlab.machine.files import make_folder, refuse_links, sync, sync_tree, write_atomic
from nnlab.results import CONFIG
from nnlab.runs.checkpoint import (
    FOLDER,
    MOST_TEXT,
    PULLED,
    CheckpointError,
    Checkpoints,
    Saved,
    SaveError,
)
from nnlab.words import numbers

RUN = "storage_run"
"""The file beside a workdir's checkpoints that names the run's folder in storage."""

_DIGESTS = ".sha256"
_NOTE = re.compile("([0-9a-f]{12}) ([0-9a-f]{64})")

_log = logging.getLogger(__name__)


class StorageError(SaveError):
    """The storage failed during a run."""


class Storage:
    """A folder in storage; if it fails, methods raise `StorageError`.

    `check` raises ConnectionError instead, and `of_run` ValueError.

    Args:
      url: such as "s3://bucket/runs/x" or "file:///mnt/x".

    Attributes:
      url: the URL; nodes need it with its passwords.
      shown: the URL without passwords, for messages.

    Raises:
      ValueError: it is not a URL, lacks its password, or needs a missing package.
    """

    def __init__(self, url: str) -> None:
        self.url, self.shown = url, numbers.masked(url)
        if not url.partition("://")[2]:
            raise ValueError(
                f"storage {self.shown!r} is no URL of a folder, such as s3://bucket/runs/x"
            )
        if url == self.shown and numbers.MASK in url:
            raise ValueError(
                f"storage {url!r}: {numbers.MASK} stands for the password; write "
                "it there"
            )
        try:
            import fsspec
            from fsspec.implementations import local

            self._files, path = fsspec.url_to_fs(url)
            self._root = str(self._files._strip_protocol(path)).rstrip("/")
        except Exception as error:  # each file system raises its own errors
            line = self._line(error)
            raise ValueError(f"cannot use storage {self.shown!r}: {line}") from None
        self._has_folders = self._root.startswith("/")  # a bucket has none
        self.url = url.rstrip("/")
        if isinstance(self._files, local.LocalFileSystem):
            self.url = f"file://{self._root}"  # nodes have other current folders
        self.shown = numbers.masked(self.url)

    def check(self) -> None:
        """Writes, reads and removes a small file.

        Raises:
          ConnectionError: that failed.
        """
        path, content = f"{self._root}/.{secrets.token_hex(4)}", b"nnlab"
        try:
            self._make([self._root])
            self._files.pipe_file(path, content)
            found = self._files.cat_file(path)
            self._files.rm_file(path)
        except Exception as error:  # each file system raises its own errors
            line = self._line(error)
            raise ConnectionError(
                f"cannot use storage {self.shown!r}: {line}"
            ) from None
        if found != content:
            raise ConnectionError(
                f"storage {self.shown!r} does not give back what is written"
            )

    def of_run(self, workdir: pathlib.Path) -> "Storage":
        """Returns the subfolder of a workdir's run; the workdir keeps its name.

        Raises:
          ValueError: the run is half trained in another storage, or the workdir has
            links.
        """
        file = workdir / FOLDER / RUN
        own = hashlib.sha256(self.shown.encode()).hexdigest()  # passwords may change
        there = file.exists()
        note = _NOTE.fullmatch(file.read_text("utf-8", "replace")) if there else None
        if there and not note:
            _log.warning("%s is damaged: unfinished programs are trained again", file)
        name, known = note.groups() if note else (secrets.token_hex(6), own)
        if known != own:
            raise ValueError(
                f"what is half trained of {str(workdir)!r} is in another storage than "
                f"{self.shown!r} (remove {str(file)!r} to train it again)"
            )
        if not note:
            make_folder(file.parent)
            write_atomic(file, f"{name} {own}".encode())
        found = Storage(f"{self.url}/{name}")
        if found.url.startswith("file://"):
            refuse_links(pathlib.Path(found._root))
        return found

    def begin(self, workdir: pathlib.Path) -> None:
        """Writes the run's config here, by which nodes recognise the folder."""
        with self._telling():
            self._make([self._root])
            content = (workdir / CONFIG).read_bytes()
            self._files.pipe_file(f"{self._root}/{CONFIG}", content)

    def is_begun(self) -> bool:
        """Returns whether a run's config is here."""
        with self._telling():
            self._files.invalidate_cache()
            return bool(self._files.exists(f"{self._root}/{CONFIG}"))

    def push(
        self, part: str, workdir: pathlib.Path, attempt: str, there: set[str]
    ) -> None:
        """Makes an attempt's checkpoints of a part equal to those of a workdir.

        Nobody else writes into the folder `attempt`. `there` has the numbers of the
        checkpoints that are there, and is updated.
        """
        folder = workdir / FOLDER / part
        root = f"{self._root}/{FOLDER}/{part}/{attempt}"
        digests = {path.stem: path for path in folder.glob(f"*{_DIGESTS}")}
        for number in sorted(set(digests) - there, key=int):
            paths = [path for path in (folder / number).rglob("*") if path.is_file()]
            to = [f"{root}/{path.relative_to(folder).as_posix()}" for path in paths]
            with self._telling():
                self._make({path.rpartition("/")[0] for path in to})
                self._files.put([str(path) for path in paths], to)
                content = digests[number].read_bytes()
                self._files.pipe_file(f"{root}/{number}{_DIGESTS}", content)
            there.add(number)
        for number in there - set(digests):
            for name in (f"{number}{_DIGESTS}", number):
                self.remove(f"{FOLDER}/{part}/{attempt}/{name}")
            there.discard(number)

    def pull(
        self, part: str, workdir: pathlib.Path, of: Mapping[str, Any] | None = None
    ) -> list[str]:
        """Replaces a workdir's checkpoints of a part by the furthest attempt's.

        The workdir keeps its own if none here is sound. Returns all attempts found.

        Raises:
          AnotherRunError: some belong to another run than `of`; see
            `Checkpoints.latest`.
        """
        scratch = workdir / FOLDER / PULLED
        shutil.rmtree(scratch, ignore_errors=True)  # left by a killed process
        attempts = self._attempts(part)
        found = []
        try:
            for attempt, files in attempts.items():
                self._get(part, attempt, files, scratch / attempt)
                try:
                    store = Checkpoints(scratch / attempt, 0.0, read_only=True)
                    saved = store.latest(part, of)
                except CheckpointError as error:
                    _log.warning("in storage %s: %s", self.shown, error)
                    continue
                if saved:
                    found.append(saved)
            if found:
                best = max(found, key=_advance)
                shutil.rmtree(workdir / FOLDER / part, ignore_errors=True)
                sync_tree(best.path.parent)  # storage may delete its copy from now on
                os.replace(best.path.parent, workdir / FOLDER / part)
                sync(workdir / FOLDER)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return list(attempts)

    def remove(self, path: str = "") -> None:
        """Removes a file or folder in this one, or this one; it may be missing."""
        with self._telling(), contextlib.suppress(FileNotFoundError):
            self._files.invalidate_cache()
            self._files.rm(f"{self._root}/{path}".rstrip("/"), recursive=True)

    def end(self, workdir: pathlib.Path) -> None:
        """Removes the run's folder, and the workdir's note of it."""
        try:
            self.remove()
        except StorageError as error:  # harmless: the workdir has everything
            _log.warning("%s; the run's files stay there", error)
            return
        (workdir / FOLDER / RUN).unlink(missing_ok=True)

    def _attempts(self, part: str) -> dict[str, list[str]]:
        """Returns ``{attempt: paths within its folder}`` of a part's checkpoints."""
        root = f"{self._root}/{FOLDER}/{part}/"
        found = collections.defaultdict(list)
        with self._telling():
            self._files.invalidate_cache()
            for path in self._files.find(root.rstrip("/")):
                attempt, slash, name = path.removeprefix(root).partition("/")
                # An object's name could lead out of the folder it is copied into.
                if slash and ".." not in path.split("/"):
                    found[attempt].append(name)
        return found

    def _get(
        self, part: str, attempt: str, files: list[str], workdir: pathlib.Path
    ) -> None:
        """Copies an attempt's complete checkpoints into a folder."""
        root = f"{self._root}/{FOLDER}/{part}/{attempt}"
        folder = workdir / FOLDER / part
        for digests in files:
            number = digests.removesuffix(_DIGESTS)
            if number == digests or not number.isdecimal():
                continue
            names = [name for name in files if name.startswith(f"{number}/")]
            names.append(digests)
            for name in names:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with self._telling():
                try:
                    self._files.get(
                        [f"{root}/{name}" for name in names],
                        [str(folder / name) for name in names],
                    )
                except FileNotFoundError:  # just removed, as there is a later one
                    shutil.rmtree(folder / number, ignore_errors=True)
                    (folder / digests).unlink(missing_ok=True)

    def _make(self, folders: Iterable[str]) -> None:
        if self._has_folders:
            for folder in folders:
                self._files.makedirs(folder, exist_ok=True)

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Names the storage in errors."""
        try:
            yield
        except Exception as error:  # each file system raises its own errors
            raise StorageError(f"storage {self.shown}: {self._line(error)}") from None

    def _line(self, error: Exception) -> str:
        """Returns an error's message in one line, without the passwords."""
        is_plain = isinstance(error, ImportError | ValueError)
        text = str(error) if is_plain else f"{type(error).__name__}: {error}"
        return " ".join(numbers.without_secrets(text, self.url).split())[:MOST_TEXT]


class Pushed(Checkpoints):
    """Checkpoints in a private folder, each also copied to the run's storage.

    The first checkpoint of a part removes the earlier attempts at it, in `past`.
    """

    def __init__(
        self,
        storage: Storage,
        workdir: pathlib.Path,
        seconds: float,
        past: Mapping[str, Sequence[str]],
    ) -> None:
        super().__init__(workdir, seconds)
        self._storage, self._workdir = storage, workdir
        self._past = dict(past)
        self._attempt = secrets.token_hex(6)
        self._there: dict[str, set[str]] = collections.defaultdict(set)

    def _save(self, part: str, *saved: Any, **named: Any) -> None:
        super()._save(part, *saved, **named)
        self._storage.push(part, self._workdir, self._attempt, self._there[part])
        for attempt in self._past.pop(part, ()):  # what was useful is copied too
            self._storage.remove(f"{FOLDER}/{part}/{attempt}")


def _advance(saved: Saved) -> tuple[int, bool]:
    about = saved.about  # of trees and backbones it has neither
    return about.get("position", {}).get("step", 0), bool(about.get("finished"))
