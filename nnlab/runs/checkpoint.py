# SPDX-License-Identifier: Apache-2.0
"""Checkpoints on disk, protected by digests; the only file that uses Orbax.

A workdir's ``checkpoints`` has a folder for each part of a run. It holds numbered
checkpoints and, beside each, ``N.sha256``: the digests of its files, written when all
of them are on the disk. Without complete digests a checkpoint was cut off while it was
saved; with wrong ones it is damaged. Neither is ever read. Each checkpoint says which
run it belongs to, see `resume.identity`; that of another run is refused.
"""

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import logging
import operator
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
"""Subfolder for files from storage, until they have been checked."""
MOST_TEXT = 300
"""Most characters of a message of Orbax."""
_OF_ANY_FORM = (LookupError, ValueError, TypeError, AttributeError, MemoryError)
"""Errors that values of unknown form can raise; the last by a shape of 10^18."""
_CUT_OFF = "has no digests, or not all: its saving was cut off"
_DIGEST = re.compile(r"^([0-9a-f]{64})  (.+)\n", re.MULTILINE)

_log = logging.getLogger(__name__)


class CheckpointError(ValueError):
    """All checkpoints of a part are damaged."""


class AnotherRunError(ValueError):
    """A checkpoint is not of the run that it was taken for."""


class SaveError(OSError):
    """Saving a checkpoint failed."""


@dataclasses.dataclass(frozen=True)
class Saved:
    """A sound checkpoint: its folder, and the plain values that were saved with it."""

    path: pathlib.Path
    about: Mapping[str, Any]

    def arrays(self, item: str) -> dict[str, np.ndarray]:
        """Returns the arrays that were saved as an item, by name; {} without the item.

        Call it within `reading`, which explains all errors.
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
        """Names this checkpoint in errors about what it holds.

        Raises:
          CheckpointError: the checkpoint does not hold what is read of it.
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
    """The checkpoints of a workdir: the last two of each part, and its best.

    A thread saves them while training goes on; each save waits for the one before.
    """

    def __init__(
        self,
        workdir: str | os.PathLike[str],
        seconds: float,
        *,
        read_only: bool = False,
    ) -> None:
        """Touches nothing until something is saved.

        The seconds are the least time between two checkpoints of a part; `read_only`
        lets `save` and `drop_unsound` do nothing.
        """
        self._read_only = read_only
        self._seconds = seconds
        self._begun: dict[str, float] = {}
        self.folder = pathlib.Path(workdir).absolute() / FOLDER
        self._thread = concurrent.futures.ThreadPoolExecutor(1)
        self._pending: concurrent.futures.Future[None] | None = None
        self._managers: dict[str, orbax.checkpoint.CheckpointManager] = {}
        if not read_only:
            self._thread.submit(_orbax)  # takes a second, beside the compilation
        self._next: dict[str, int] = {}

    def is_due(self, part: str) -> bool:
        """Returns whether enough time has passed since a part's last checkpoint.

        Time counts from the first call on, so a short part has only one checkpoint.
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
          part: its file name.
          items: named arrays of each item; copies that nobody changes.
          about: plain values, as JSON holds them (NaN too); `latest` compares its
            "of".
          score: the checkpoint with the greatest score is kept.

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
            digests = _digests(folder / str(number)).items()
            text = "".join(f"{digest}  {name}\n" for name, digest in digests)
            write_atomic(folder / f"{number}.sha256", text.encode())
            for stray in folder.glob("*.sha256"):
                if not stray.with_suffix("").is_dir():
                    stray.unlink()
        except Exception as error:  # Orbax raises what its storage raises
            line = errors.shortage(error) or f"{type(error).__name__}: {error}"
            line = " ".join(line.split())[:MOST_TEXT]
            raise SaveError(f"cannot save a checkpoint in {folder}: {line}") from None

    def wait(self) -> None:
        """Waits until the last save has ended.

        Raises:
          SaveError: it failed.
        """
        pending, self._pending = self._pending, None
        if pending:
            pending.result()

    def close(self) -> None:
        """Waits, and ends the thread; `save` may not be called afterwards."""
        try:
            self.wait()
        finally:
            self._thread.shutdown()
            for manager in self._managers.values():
                with contextlib.suppress(Exception):  # already reported
                    manager.close()

    def latest(self, part: str, of: Mapping[str, Any] | None = None) -> Saved | None:
        """Returns the last sound checkpoint of a part; None if none was ever complete.

        Later ones that are cut off or damaged are logged. If `of` is given, it must be
        the identity of that checkpoint; see `resume.identity`.

        Raises:
          CheckpointError: all complete checkpoints are damaged.
          AnotherRunError: the checkpoint has another identity.
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
        """Removes a part's checkpoints after the one that is kept."""
        if self._read_only:
            return
        last = int(kept.path.name) if kept else -1
        for number in self._numbers(part):
            if number > last:
                path = self.folder / part / str(number)
                shutil.rmtree(path)
                path.with_name(f"{number}.sha256").unlink(missing_ok=True)

    def remove_abandoned(self) -> None:
        """Removes files of killed writers, unless another run is at work there."""
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
    """Returns a tree's leaves by their path, such as "params/dense_0/kernel"."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def filled(tree: Any, leaves: Mapping[str, Any]) -> Any:
    """Returns the tree with other leaves, by path, as from `named`; none may lack."""
    structure = jax.tree_util.tree_structure(tree)
    return jax.tree_util.tree_unflatten(structure, [leaves[n] for n in named(tree)])


def write_export(
    folder: pathlib.Path, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]
) -> None:
    """Writes named arrays and plain values as one Orbax checkpoint for other tools.

    ``orbax.checkpoint.StandardCheckpointer().restore(folder / "arrays")`` gives the
    arrays by name.
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
    """Returns the arrays and the plain values that `write_export` wrote."""
    ocp, path = _orbax(), folder.absolute()
    try:
        about = _about(path)
        with ocp.StandardCheckpointer() as reader:
            arrays = reader.restore(path / "arrays")
    except Exception as error:  # Orbax raises what its storage raises
        line = " ".join(f"{type(error).__name__}: {error}".split())[:MOST_TEXT]
        raise ValueError(line) from None
    return {name: np.asarray(array) for name, array in arrays.items()}, about


def _orbax() -> Any:
    """Imports Orbax, which takes more than a second."""
    import orbax.checkpoint

    # Orbax logs the errors that it raises; nnlab reports each once.
    logging.getLogger("absl").addFilter(_is_not_orbaxs)
    return orbax.checkpoint


def _is_not_orbaxs(record: logging.LogRecord) -> bool:
    return "orbax" not in record.pathname


def _alone() -> Any:
    """Returns options with which one of several processes saves or reads by itself.

    Without them Orbax waits for the other processes, which save nothing.
    """
    index = jax.process_index()
    return _orbax().options.MultiprocessingOptions(
        primary_host=index,
        active_processes={index} if jax.process_count() > 1 else None,
        barrier_sync_key_prefix=f"process_{index}",
    )


def _manager(folder: pathlib.Path) -> "orbax.checkpoint.CheckpointManager":
    ocp = _orbax()

    score = operator.itemgetter("score")
    policies = ocp.checkpoint_managers
    best = policies.BestN(get_metric_fn=score, n=1)
    kept = policies.AnyPreservationPolicy([policies.LatestN(2), best])
    options = ocp.CheckpointManagerOptions(
        enable_async_checkpointing=False,  # our own thread saves
        best_fn=score,  # without it, metrics are not stored for the next run
        preservation_policy=kept,
        cleanup_tmp_directories=True,
        create=False,
        multiprocessing_options=_alone(),
    )
    made: orbax.checkpoint.CheckpointManager
    made = ocp.CheckpointManager(folder, options=options)
    return made


def _digests(folder: pathlib.Path) -> dict[str, str]:
    """Returns ``{path within the folder: SHA-256}`` of all files, sorted."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    named = ((path.relative_to(folder).as_posix(), path.read_bytes()) for path in files)
    return {name: hashlib.sha256(content).hexdigest() for name, content in named}


def _problem(path: pathlib.Path) -> str:
    """Says what is wrong with a checkpoint, as text to follow its path; "" if sound."""
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
    """Refuses another run's checkpoint; returns a problem like `_problem`."""
    told = about.get("of") if isinstance(about, dict) else None
    if not isinstance(told, dict):
        if isinstance(about, dict) and "arrays" in about:  # checks their shapes
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
    """Returns the plain values of a checkpoint, stored as JSON."""
    ocp = _orbax()
    handler = ocp.JsonCheckpointHandler(multiprocessing_options=_alone())
    with ocp.Checkpointer(handler, multiprocessing_options=_alone()) as reader:
        found: dict[str, Any] = reader.restore(path / "about")
    return found
