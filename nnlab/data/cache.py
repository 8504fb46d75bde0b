# SPDX-License-Identifier: Apache-2.0
"""A cache of canonical arrays, so that a dataset is decoded and sorted only once.

The key is made of the source's files (path, size, time of change) or of a digest of
their content, so a changed source has another entry. The cache can be deleted at any
time. A damaged entry is ignored.
"""

import contextlib
import functools
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np

from nnlab.data.dataset import Dataset, Split, digest_of, read_only
from nnlab.machine.files import absolute, remove_abandoned, replacing

# To be raised when the canonical order, the split or the layout of an entry changes.
_FORMAT = 4
# Fields of a dataset that are stored as JSON; the others are arrays or None.
_ABOUT = ("class_names", "scale", "feature_names", "notes")
_ARRAYS = ("class_values", "origin", "target_mean", "target_unit")
_SPLITS = ("train", "validation", "test")


def root() -> Path:
    """Returns the user's cache folder for nnlab, which need not exist.

    It is NNLAB_CACHE_DIR if that is set, else nnlab/ in XDG_CACHE_HOME or ~/.cache.
    """
    if own := os.environ.get("NNLAB_CACHE_DIR"):
        return absolute(own, "NNLAB_CACHE_DIR")
    caches = os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    if not os.path.isabs(caches):  # there is no home: deleted when the process ends
        caches = _temporary().name
    return Path(caches) / "nnlab"


@functools.cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="nnlab-cache-")


def entry(name: str, files: Iterable[Path], settings: Iterable[Any] = ()) -> Path:
    """Returns the path of a dataset's cache entry, which need not exist.

    `files` are what the dataset is read from; they must exist. `settings` are JSON
    values of whatever else its arrays depend on.
    """
    states = []
    for file in files:
        status = file.stat()
        states.append((str(file.resolve()), status.st_size, status.st_mtime_ns))
    key = hashlib.sha256(
        json.dumps([name, _FORMAT, sorted(states), *settings]).encode()
    )
    return root() / "arrays" / f"{name}-{key.hexdigest()[:16]}.npz"


def kept(path: Path, make: Callable[[], Dataset], **known: Any) -> Dataset:
    """Returns an entry's dataset, see `read`; makes and writes it if there is none."""
    dataset = read(path, **known)
    if dataset is None:
        dataset = make()
        write(path, dataset)
    return dataset


def read(
    path: Path,
    *,
    name: str,
    class_names: tuple[str, ...] | None = None,
    digest: str | None = None,
) -> Dataset | None:
    """Reads an entry; None if it is absent or damaged.

    Class names and digest are those in the entry if None; the arrays must have the
    digest.
    """
    try:
        # Opened here: np.load would not close a damaged archive.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            parts = [
                [read_only(stored[f"{split}_{part}"]) for part in ("inputs", "labels")]
                for split in _SPLITS
            ]
            about = json.loads(str(stored["about"]))
            arrays: dict[str, Any] = {
                n: read_only(stored[n]) for n in _ARRAYS if n in stored
            }
            expected = digest or str(stored["digest"])
        train, validation, test = (Split(*part) for part in parts)
        known = {name: arrays.get(name) for name in _ARRAYS[1:]}
        if digest_of(train, validation, test, **known) != expected:
            return None
        return Dataset(
            name,
            train,
            validation,
            test,
            class_names=class_names or tuple(about["class_names"]),
            scale=float(about["scale"]),
            digest=expected,
            feature_names=tuple(about["feature_names"]),
            notes=tuple(about["notes"]),
            **arrays,
        )
    # A flipped bit can make zipfile and NumPy raise nearly anything (bad CRC, unknown
    # compression, a header that asks for terabytes). The source is then read again.
    except Exception:
        return None


def write(path: Path, dataset: Dataset) -> None:
    """Writes the entry of a dataset, see `write_whole`."""
    about = {name: getattr(dataset, name) for name in _ABOUT}
    arrays: dict[str, Any] = {
        "about": np.array(json.dumps(about)),
        "digest": np.array(dataset.digest),
    }
    for name in _ARRAYS:
        if (array := getattr(dataset, name)) is not None:
            arrays[name] = array
    for split in _SPLITS:
        examples: Split = getattr(dataset, split)
        arrays[f"{split}_inputs"] = examples.inputs
        arrays[f"{split}_labels"] = examples.labels
    write_whole(path, lambda stream: np.savez(stream, **arrays))


def write_whole(path: Path, fill: Callable[[IO[bytes]], object]) -> None:
    """Writes a file of the cache, whole or not at all.

    A folder that cannot be written is no error; a missing one is made. `fill` writes
    the content to a binary stream.
    """
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(path.parent)
        with replacing(path, durable=False) as stream:
            fill(stream)
