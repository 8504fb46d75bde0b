# SPDX-License-Identifier: Apache-2.0
"""Checkpoints on disk: what they hold is known by digests; the only file with Orbax.

A workdir's ``checkpoints`` has a folder for each part of a run, with numbered
checkpoints and, beside each, ``N.sha256``: the digests of its files, written when all
of them are there. A checkpoint without it was cut off while it was saved; one whose
files are not those of the digests is damaged. Neither is ever read.
"""

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import logging
import os
import pathlib
import re
import shutil
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from nnlab import mistakes
from nnlab.results import write_atomic

if TYPE_CHECKING:
    import orbax.checkpoint

FOLDER = "checkpoints"
MOST_TEXT = 300
"""Characters of what Orbax says."""

_log = logging.getLogger(__name__)


class CheckpointError(ValueError):
    """All checkpoints of a part are damaged."""


class SaveError(OSError):
    """A checkpoint could not be saved."""


@dataclasses.dataclass(frozen=True)
class Saved:
    """A sound checkpoint.

    Attributes:
      path: its folder.
      about: the plain values that were saved with it.
    """

    path: pathlib.Path
    about: Mapping[str, Any]

    def arrays(self, item: str) -> dict[str, np.ndarray]:
        """The arrays that were saved as an item, by name; none if it has none."""
        target = {
            name: np.zeros(shape, dtype)
            for name, (shape, dtype) in self.about["arrays"].get(item, {}).items()
        }
        if not target:
            return {}
        with _orbax().StandardCheckpointer(multiprocessing_options=_alone()) as reader:
            found: dict[str, np.ndarray] = reader.restore(
                (self.path / item).absolute(), target
            )
        return found


class Checkpoints:
    """The checkpoints of a workdir, each part's last two and its best.

    They are saved by a thread while training goes on; one save waits for the other.
    """

    def __init__(
        self,
        workdir: str | os.PathLike[str],
        seconds: float,
        *,
        read_only: bool = False,
    ) -> None:
        """Touches nothing until something is saved.

        Args:
          workdir: the folder whose `FOLDER` holds them.
          seconds: between two of a part, at least.
          read_only: whether `save` and `drop_unsound` do nothing.
        """
        self._read_only = read_only
        self._seconds = seconds
        self._begun: dict[str, float] = {}
        self._folder = pathlib.Path(workdir).absolute() / FOLDER
        self._thread = concurrent.futures.ThreadPoolExecutor(1)
        self._pending: concurrent.futures.Future[None] | None = None
        self._managers: dict[str, orbax.checkpoint.CheckpointManager] = {}
        if not read_only:
            self._thread.submit(_orbax)  # takes a second, while programs are compiled
        self._next: dict[str, int] = {}

    def is_due(self, part: str) -> bool:
        """Whether enough time has passed since the last checkpoint of a part.

        It is counted from the first question on, so that a short part has only one.
        """
        now = time.monotonic()
        return now - self._begun.setdefault(part, now) >= self._seconds

    def save(
        self,
        part: str,
        items: Mapping[str, Mapping[str, np.ndarray]],
        about: Mapping[str, Any],
        score: float = -1.0,
    ) -> None:
        """Saves a checkpoint of a part, in the background.

        Args:
          part: its name, a file name.
          items: named arrays by item; copies that nobody changes.
          about: plain values, as JSON holds them (NaN too); without the key "arrays".
          score: the greater, the better; the best one is kept.

        Raises:
          SaveError: the save before this one failed.
        """
        if self._read_only:
            return
        self.wait()
        self._begun[part] = time.monotonic()
        number = self._next.setdefault(part, 1 + max(self._numbers(part), default=-1))
        self._next[part] += 1
        shapes = {
            item: {n: [list(a.shape), a.dtype.name] for n, a in arrays.items()}
            for item, arrays in items.items()
        }
        about = {**about, "arrays": shapes}
        self._pending = self._thread.submit(
            self._save, part, number, items, about, score
        )

    def _save(
        self,
        part: str,
        number: int,
        items: Mapping[str, Mapping[str, np.ndarray]],
        about: dict[str, Any],
        score: float,
    ) -> None:
        folder = self._folder / part
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if part not in self._managers:
                self._managers[part] = _manager(folder)
            manager, ocp = self._managers[part], _orbax()
            saves: dict[str, Any] = {"about": ocp.args.JsonSave(about)}
            for item, arrays in items.items():
                if arrays:
                    saves[item] = ocp.args.StandardSave(dict(arrays))
            manager.save(
                number, args=ocp.args.Composite(**saves), metrics={"score": score}
            )
            manager.wait_until_finished()
            text = "".join(
                f"{digest}  {name}\n"
                for name, digest in _digests(folder / str(number)).items()
            )
            write_atomic(folder / f"{number}.sha256", text.encode())
            for stray in folder.glob("*.sha256"):
                if not stray.with_suffix("").is_dir():
                    stray.unlink()
        except Exception as error:  # Orbax raises whatever its storage does
            line = mistakes.shortage(error) or f"{type(error).__name__}: {error}"
            line = " ".join(line.split())[:MOST_TEXT]
            raise SaveError(f"cannot save a checkpoint in {folder}: {line}") from None

    def wait(self) -> None:
        """Waits for what is being saved.

        Raises:
          SaveError: it failed.
        """
        pending, self._pending = self._pending, None
        if pending:
            pending.result()

    def close(self) -> None:
        """Waits, and ends the thread; `save` may not be called after it."""
        try:
            self.wait()
        finally:
            self._thread.shutdown()
            for manager in self._managers.values():
                with contextlib.suppress(Exception):  # what failed has been told
                    manager.close()

    def latest(self, part: str) -> Saved | None:
        """The last sound checkpoint of a part, None if none was ever whole.

        What is said of those after it, cut off or damaged, goes to the log; they are
        removed, so that the ones to come are the last.

        Raises:
          CheckpointError: there are checkpoints that were whole, and all are damaged.
        """
        damaged = ""
        for number in sorted(self._numbers(part), reverse=True):
            path = self._folder / part / str(number)
            try:
                problem = _problem(path)
                about = {} if problem else _about(path)
            except OSError as error:
                problem = f"cannot be read: {error.strerror or error}"
            except ValueError as error:
                problem = f"cannot be read: {error}"
            if not problem:
                return Saved(path, about)
            _log.warning("checkpoint %s %s; going on without it", path, problem)
            if path.with_name(f"{number}.sha256").exists():
                damaged = damaged or f"checkpoint {path} {problem}"
        if damaged:
            raise CheckpointError(
                f"{damaged}, and no sound one is before it; remove the folder "
                f"{self._folder / part} to train that part again"
            )
        return None

    def drop_unsound(self, part: str, kept: Saved | None) -> None:
        """Removes the checkpoints of a part after the one that is kept."""
        if self._read_only:
            return
        last = int(kept.path.name) if kept else -1
        for number in self._numbers(part):
            if number > last:
                path = self._folder / part / str(number)
                shutil.rmtree(path)
                path.with_name(f"{number}.sha256").unlink(missing_ok=True)

    def _numbers(self, part: str) -> list[int]:
        folder = self._folder / part
        if not folder.is_dir():
            return []
        names = (path.name for path in folder.iterdir() if path.is_dir())
        return [int(name) for name in names if re.fullmatch(r"\d+", name)]


def named(tree: Any) -> dict[str, Any]:
    """The leaves of a tree of arrays by their path, such as "params/dense_0/kernel"."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def filled(tree: Any, leaves: Mapping[str, Any]) -> Any:
    """The reverse of `named`: the tree with those leaves in the place of its own.

    Raises:
      KeyError: a leaf that is missing.
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, _: leaves[jax.tree_util.keystr(path, simple=True, separator="/")],
        tree,
    )


def write_export(
    folder: pathlib.Path, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]
) -> None:
    """Writes named arrays and plain values as one Orbax checkpoint, for others to read.

    ``orbax.checkpoint.StandardCheckpointer().restore(folder / "arrays")`` gives the
    arrays by name.

    Raises:
      FileExistsError: the folder exists.
    """
    if folder.exists():
        raise FileExistsError(f"{str(folder)!r} exists; choose another folder")
    ocp = _orbax()
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as writer:
        writer.save(
            folder.absolute(),
            ocp.args.Composite(
                arrays=ocp.args.StandardSave(dict(arrays)),
                about=ocp.args.JsonSave(dict(about)),
            ),
        )


def read_export(
    folder: pathlib.Path,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and the plain values that `write_export` wrote.

    Raises:
      ValueError: the folder holds something else.
    """
    ocp, path = _orbax(), folder.absolute()
    try:
        about = _about(path)
        with ocp.StandardCheckpointer() as reader:
            arrays = reader.restore(path / "arrays")
    except Exception as error:  # Orbax raises whatever its storage does
        line = " ".join(f"{type(error).__name__}: {error}".split())[:MOST_TEXT]
        raise ValueError(line) from None
    return {name: np.asarray(array) for name, array in arrays.items()}, about


def _orbax() -> Any:
    """The package, which takes more than a second to import."""
    import orbax.checkpoint

    # It logs what it raises, with tracebacks; what is raised is told once.
    logging.getLogger("absl").addFilter(_is_not_orbaxs)
    return orbax.checkpoint


def _is_not_orbaxs(record: logging.LogRecord) -> bool:
    return "orbax" not in record.pathname


def _alone() -> Any:
    """Options of a process that saves or reads by itself, beside which others may be.

    Without them Orbax waits for the others, which save nothing.
    """
    index = jax.process_index()
    return _orbax().options.MultiprocessingOptions(
        primary_host=index,
        active_processes={index} if jax.process_count() > 1 else None,
        barrier_sync_key_prefix=f"process_{index}",
    )


def _manager(folder: pathlib.Path) -> "orbax.checkpoint.CheckpointManager":
    ocp = _orbax()

    def score(metrics: Mapping[str, float]) -> float:
        return metrics["score"]

    policies = ocp.checkpoint_managers
    best = policies.BestN(get_metric_fn=score, n=1)
    kept = policies.AnyPreservationPolicy([policies.LatestN(2), best])
    options = ocp.CheckpointManagerOptions(
        enable_async_checkpointing=False,  # a thread of ours saves
        best_fn=score,  # else metrics are not stored, and forgotten by the next run
        preservation_policy=kept,
        cleanup_tmp_directories=True,
        create=False,
        multiprocessing_options=_alone(),
    )
    manager: orbax.checkpoint.CheckpointManager = ocp.CheckpointManager(
        folder, options=options
    )
    return manager


def _digests(folder: pathlib.Path) -> dict[str, str]:
    """``{path within the folder: SHA-256}`` of all files, sorted."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(
            path.read_bytes()
        ).hexdigest()
        for path in files
    }


def _problem(path: pathlib.Path) -> str:
    """What is wrong with a checkpoint, in words that go behind its path; "" if none."""
    try:
        text = path.with_name(f"{path.name}.sha256").read_text("utf-8")
    except FileNotFoundError:
        return "has no digests: its saving was cut off"
    except UnicodeDecodeError:
        return "has damaged digests"
    wanted = {}
    for line in text.splitlines():
        digest, _, name = line.partition("  ")
        wanted[name] = digest
    found = _digests(path)
    for name in sorted({*wanted, *found}):
        if name not in found:
            return f"lacks its file {name}"
        if name not in wanted:
            return f"has a file {name} that is not in its digests"
        if wanted[name] != found[name]:
            return f"is damaged: {name} is not the file that was written"
    return "" if wanted else "has empty digests"


def _about(path: pathlib.Path) -> dict[str, Any]:
    """The plain values of a checkpoint, which are JSON."""
    ocp = _orbax()
    handler = ocp.JsonCheckpointHandler(multiprocessing_options=_alone())
    with ocp.Checkpointer(handler, multiprocessing_options=_alone()) as reader:
        found: dict[str, Any] = reader.restore(path / "about")
    return found
