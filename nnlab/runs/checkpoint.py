# SPDX-License-Identifier: Apache-2.0
"""Checkpoints on disk: what they hold is known by digests; the only file with Orbax.

A workdir's ``checkpoints`` has a folder for each part of a run, with numbered
checkpoints and, beside each, ``N.sha256``: the digests of its files, written when all
of them are on the disk. A checkpoint without it, or with a part of it, was cut off
while it was saved; one whose files are not those of the digests is damaged. Neither is
ever read. Each says what it is of, see `resume.identity`: one of another run is
refused.
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
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from nnlab import results
from nnlab.machine.files import alone_in, make_folder, sync_tree, write_atomic
from nnlab.words import errors

if TYPE_CHECKING:
    import orbax.checkpoint

FOLDER = results.CHECKPOINTS
PULLED = ".pulled"
"""The folder in it for what comes out of storage, until it is known to be sound."""
MOST_TEXT = 300
"""Characters of what Orbax says."""
_OF_ANY_FORM = (LookupError, ValueError, TypeError, AttributeError, MemoryError)
"""What values of any form can lead to; the last one by a shape of 10^18."""
_CUT_OFF = "has no digests, or not all: its saving was cut off"
_DIGEST = re.compile(r"^([0-9a-f]{64})  (.+)\n", re.MULTILINE)

_log = logging.getLogger(__name__)


class CheckpointError(ValueError):
    """All checkpoints of a part are damaged."""


class AnotherRunError(ValueError):
    """A checkpoint is not of the run that it was taken for."""


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
        """The arrays that were saved as an item, by name; none if it has none.

        Raises:
          ValueError, LookupError, TypeError: they cannot be read; see `reading`.
        """
        path = (self.path / item).absolute()
        if not path.is_dir():
            return {}
        with _orbax().StandardCheckpointer(multiprocessing_options=_alone()) as reader:
            stored = reader.metadata(path).item_metadata
            if stored is None:
                raise ValueError(f"its {item} cannot be read")
            target = {n: np.zeros(a.shape, a.dtype) for n, a in stored.tree.items()}
            found: dict[str, np.ndarray] = reader.restore(path, target)
        return found

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Says that it is this checkpoint that does not hold what is read of it.

        Raises:
          CheckpointError: that.
        """
        try:
            yield
        except _OF_ANY_FORM as error:
            text = f"lacks {error}" if isinstance(error, KeyError) else str(error)
            line = " ".join(text.split())[:MOST_TEXT]
            raise CheckpointError(
                f"checkpoint {self.path} is damaged: {line}; remove it to go on "
                "without it"
            ) from None


class Checkpoints:
    """The checkpoints of a workdir, each part's last two and its best.

    They are saved by a thread while training goes on; one save waits for the other.

    Attributes:
      folder: where they are.
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
        self.folder = pathlib.Path(workdir).absolute() / FOLDER
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
          about: plain values, as JSON holds them (NaN too); `latest` compares its
            "of".
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
        self._pending = self._thread.submit(
            self._save, part, number, items, dict(about), score
        )

    def _save(
        self,
        part: str,
        number: int,
        items: Mapping[str, Mapping[str, np.ndarray]],
        about: dict[str, Any],
        score: float,
    ) -> None:
        folder = self.folder / part
        try:
            make_folder(folder)
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
            sync_tree(folder / str(number))
            text = "".join(
                f"{digest}  {name}\n"
                for name, digest in _digests(folder / str(number)).items()
            )
            write_atomic(folder / f"{number}.sha256", text.encode())
            for stray in folder.glob("*.sha256"):
                if not stray.with_suffix("").is_dir():
                    stray.unlink()
        except Exception as error:  # Orbax raises whatever its storage does
            line = errors.shortage(error) or f"{type(error).__name__}: {error}"
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

    def latest(self, part: str, of: Mapping[str, Any] | None = None) -> Saved | None:
        """The last sound checkpoint of a part, None if none was ever whole.

        What is said of those after it, cut off or damaged, goes to the log; they are
        removed, so that the ones to come are the last.

        Args:
          part: its name.
          of: what it must be of, see `resume.identity`; None for anything.

        Raises:
          CheckpointError: there are checkpoints that were whole, and all are damaged.
          AnotherRunError: it is of something else.
        """
        damaged = ""
        for number in sorted(self._numbers(part), reverse=True):
            path = self.folder / part / str(number)
            try:
                problem = _problem(path)
                about = {} if problem else _about(path)
            except OSError as error:
                problem = f"cannot be read: {error.strerror or error}"
            except ValueError as error:
                problem = f"cannot be read: {error}"
            if of is not None and not problem:
                problem = _check_of(path, about, of)
            if not problem:
                return Saved(path, about)
            _log.warning("checkpoint %s %s; going on without it", path, problem)
            if problem != _CUT_OFF:
                damaged = damaged or f"checkpoint {path} {problem}"
        if damaged:
            raise CheckpointError(
                f"{damaged}, and no sound one is before it; remove the folder "
                f"{self.folder / part} to train that part again"
            )
        return None

    def drop_unsound(self, part: str, kept: Saved | None) -> None:
        """Removes the checkpoints of a part after the one that is kept."""
        if self._read_only:
            return
        last = int(kept.path.name) if kept else -1
        for number in self._numbers(part):
            if number > last:
                path = self.folder / part / str(number)
                shutil.rmtree(path)
                path.with_name(f"{number}.sha256").unlink(missing_ok=True)

    def remove_abandoned(self) -> None:
        """Removes what writers left that were killed, but where one is at work."""
        shutil.rmtree(self.folder / PULLED, ignore_errors=True)
        for folder in self.folder.glob("[!.]*/"):
            with contextlib.suppress(BlockingIOError), alone_in(folder):
                for path in folder.glob("*.orbax-checkpoint-tmp*/"):
                    shutil.rmtree(path, ignore_errors=True)

    def _numbers(self, part: str) -> list[int]:
        folder = self.folder / part
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
        text = path.with_name(f"{path.name}.sha256").read_text("utf-8", "replace")
    except FileNotFoundError:
        return _CUT_OFF
    wanted = {name: digest for digest, name in _DIGEST.findall(text)}
    found = _digests(path)
    if not wanted or [*wanted] == [*found][: len(wanted)] != [*found]:
        return _CUT_OFF
    for name in sorted({*wanted, *found}):
        if name not in found:
            return f"lacks its file {name}"
        if name not in wanted:
            return f"has a file {name} that is not in its digests"
        if wanted[name] != found[name]:
            return f"is damaged: {name} is not the file that was written"
    return ""


def _check_of(path: pathlib.Path, about: Any, of: Mapping[str, Any]) -> str:
    """Refuses a checkpoint of something else; as `_problem` where it does not say."""
    told = about.get("of") if isinstance(about, dict) else None
    if not isinstance(told, dict):
        if isinstance(about, dict) and "arrays" in about:  # of their shapes
            raise AnotherRunError(
                f"checkpoint {path} was saved by an earlier nnlab; use another workdir"
            )
        return "is damaged: it does not say what it is of"
    for name in {**of, **told}:
        there, here = told.get(name), of.get(name)
        if there != here:
            raise AnotherRunError(
                f"checkpoint {path} is of another run: {name} is {there!r:.60} there "
                f"and {here!r:.60} here; put this run's own in its place, or use "
                "another workdir"
            )
    return ""


def _about(path: pathlib.Path) -> dict[str, Any]:
    """The plain values of a checkpoint, which are JSON."""
    ocp = _orbax()
    handler = ocp.JsonCheckpointHandler(multiprocessing_options=_alone())
    with ocp.Checkpointer(handler, multiprocessing_options=_alone()) as reader:
        found: dict[str, Any] = reader.restore(path / "about")
    return found
