# SPDX-License-Identifier: Apache-2.0
"""A run's checkpoints in storage, for nodes that share no folder with each other.

It may be any that fsspec has a file system for. Each run has a folder there, which has
``checkpoints/PART/ATTEMPT/N``: the checkpoints of a part of a run lie as in a workdir,
but each attempt at the part has a folder that nobody else writes into, for object
stores have no locks. A checkpoint's digests are written last: without them it is not
whole. Who takes up a part takes its most advanced sound checkpoint, of any attempt.
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

import numpy as np

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
    """The storage failed while a run was at work."""


class Storage:
    """A folder in storage.

    Args:
      url: such as "s3://bucket/runs/x" or "file:///mnt/x".

    Attributes:
      url: the same; nodes need it whole.
      shown: the same without its passwords, for people.

    Raises:
      ValueError: it is no URL, lacks its password, or there is no package for it.
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
        except Exception as error:  # each file system has its own
            line = self._line(error)
            raise ValueError(f"cannot use storage {self.shown!r}: {line}") from None
        self._has_folders = self._root.startswith("/")  # a bucket has none
        self.url = url.rstrip("/")
        if isinstance(self._files, local.LocalFileSystem):
            self.url = f"file://{self._root}"  # others are at work in other folders
        self.shown = numbers.masked(self.url)

    def check(self) -> None:
        """Writes a small file, reads it and removes it.

        Raises:
          ConnectionError: says why it cannot.
        """
        path, content = f"{self._root}/.{secrets.token_hex(4)}", b"nnlab"
        try:
            self._make([self._root])
            self._files.pipe_file(path, content)
            found = self._files.cat_file(path)
            self._files.rm_file(path)
        except Exception as error:  # each file system has its own
            line = self._line(error)
            raise ConnectionError(
                f"cannot use storage {self.shown!r}: {line}"
            ) from None
        if found != content:
            raise ConnectionError(
                f"storage {self.shown!r} does not give back what is written"
            )

    def of_run(self, workdir: pathlib.Path) -> "Storage":
        """The folder within this one of a workdir's run; the workdir keeps its name.

        Raises:
          ValueError: what is half trained of the run is elsewhere, or there are links
            in the folder.
        """
        file = workdir / FOLDER / RUN
        own = hashlib.sha256(self.shown.encode()).hexdigest()  # a password may change
        there = file.exists()
        note = _NOTE.fullmatch(file.read_text("utf-8", "replace")) if there else None
        if there and not note:
            _log.warning("%s is damaged: what is half trained is trained again", file)
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
        """Puts the run's config here, by which a node knows that it sees this folder.

        Raises:
          StorageError: it cannot.
        """
        with self._telling():
            self._make([self._root])
            content = (workdir / CONFIG).read_bytes()
            self._files.pipe_file(f"{self._root}/{CONFIG}", content)

    def is_begun(self) -> bool:
        """Whether a run's config is here.

        Raises:
          StorageError: it cannot be known.
        """
        with self._telling():
            self._files.invalidate_cache()
            return bool(self._files.exists(f"{self._root}/{CONFIG}"))

    def push(
        self, part: str, workdir: pathlib.Path, attempt: str, there: set[str]
    ) -> None:
        """Makes an attempt's checkpoints those of a workdir.

        Args:
          part: whose checkpoints.
          workdir: holds them.
          attempt: the name of a folder that nobody else writes into.
          there: numbers of those that it has; is brought up to date.

        Raises:
          StorageError: it failed.
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
        """Makes a workdir's checkpoints those of the most advanced attempt.

        Args:
          part: whose checkpoints.
          workdir: keeps those that it has if none here is sound.
          of: what they must be of; see `Checkpoints.latest`.

        Returns:
          The attempts that there are.

        Raises:
          StorageError: it failed.
          AnotherRunError: some are of another run.
        """
        scratch = workdir / FOLDER / PULLED
        shutil.rmtree(scratch, ignore_errors=True)  # of a process that was killed
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
                sync_tree(best.path.parent)  # it may go from the storage now
                os.replace(best.path.parent, workdir / FOLDER / part)
                sync(workdir / FOLDER)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return list(attempts)

    def remove(self, path: str = "") -> None:
        """Removes a file or folder of this one, or itself; none is fine.

        Raises:
          StorageError: it failed.
        """
        with self._telling(), contextlib.suppress(FileNotFoundError):
            self._files.invalidate_cache()
            self._files.rm(f"{self._root}/{path}".rstrip("/"), recursive=True)

    def end(self, workdir: pathlib.Path) -> None:
        """Removes the run's folder, and the workdir's note of it."""
        try:
            self.remove()
        except StorageError as error:  # all is done, and in the workdir
            _log.warning("%s; what it holds of the run is left there", error)
            return
        (workdir / FOLDER / RUN).unlink(missing_ok=True)

    def _attempts(self, part: str) -> dict[str, list[str]]:
        """``{attempt: paths within its folder}`` of a part's checkpoints."""
        root = f"{self._root}/{FOLDER}/{part}/"
        found = collections.defaultdict(list)
        with self._telling():
            self._files.invalidate_cache()
            for path in self._files.find(root.rstrip("/")):
                attempt, slash, name = path.removeprefix(root).partition("/")
                # An object's name may lead out of the folder that it is copied into.
                if slash and ".." not in path.split("/"):
                    found[attempt].append(name)
        return found

    def _get(
        self, part: str, attempt: str, files: list[str], workdir: pathlib.Path
    ) -> None:
        """Copies an attempt's whole checkpoints into a folder."""
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
                except FileNotFoundError:  # just removed: there is a later one
                    shutil.rmtree(folder / number, ignore_errors=True)
                    (folder / digests).unlink(missing_ok=True)

    def _make(self, folders: Iterable[str]) -> None:
        if self._has_folders:
            for folder in folders:
                self._files.makedirs(folder, exist_ok=True)

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Says of an error which storage it is about."""
        try:
            yield
        except Exception as error:  # each file system has its own
            raise StorageError(f"storage {self.shown}: {self._line(error)}") from None

    def _line(self, error: Exception) -> str:
        """What an error says, in one line, without the passwords."""
        is_plain = isinstance(error, ImportError | ValueError)
        text = str(error) if is_plain else f"{type(error).__name__}: {error}"
        return " ".join(numbers.without_secrets(text, self.url).split())[:MOST_TEXT]


class Pushed(Checkpoints):
    """Checkpoints of a folder of one's own, each put into storage when it is saved.

    Args:
      storage: the run's.
      workdir: the folder.
      seconds: between two of a part, at least.
      past: attempts at each part that go away when this one has saved something.
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

    def _save(
        self,
        part: str,
        number: int,
        items: Mapping[str, Mapping[str, np.ndarray]],
        about: dict[str, Any],
        score: float,
    ) -> None:
        super()._save(part, number, items, about, score)
        self._storage.push(part, self._workdir, self._attempt, self._there[part])
        for attempt in self._past.pop(part, ()):  # what was of use has been pushed too
            self._storage.remove(f"{FOLDER}/{part}/{attempt}")


def _advance(saved: Saved) -> tuple[int, bool]:
    """How far a checkpoint is: its step, and whether it is the last.

    Those of trees and backbones have neither.
    """
    about = saved.about
    return about.get("position", {}).get("step", 0), bool(about.get("finished"))
