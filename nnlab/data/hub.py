# SPDX-License-Identifier: Apache-2.0
"""Data sets of Hugging Face: from the hub, its cache, or a folder of `save_to_disk`.

Only their data are read: a data set's own code is never run, and nothing is unpickled.
"""

import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nnlab.data import arrow, cache, table
from nnlab.data.dataset import Dataset
from nnlab.data.targets import AUTO
from nnlab.machine import network
from nnlab.machine.files import shown
from nnlab.words.errors import extra, line_of
from nnlab.words.numbers import joined

_log = logging.getLogger(__name__)

# What reads files of tables and images. Others read texts, sounds, programs' own files.
_BUILDERS = ("parquet", "arrow", "csv", "json", "imagefolder", "cache")
_SAFE = 4
"""The first version of the library that runs no code of a data set."""
_SAVE = "datasets.load_dataset(NAME).save_to_disk(FOLDER)"


def read(
    path: Path | None,
    argument: str,
    *,
    name: str,
    missing: str = "refuse",
    ignore: Sequence[str] = (),
    task: str = AUTO,
) -> Dataset:
    """Reads a data set of Hugging Face, from nnlab's cache if it is unchanged.

    Its splits train, validation and test make these sets; one split alone is cut, see
    `Dataset.from_arrays`. Other splits are not read.

    Args:
      path: a folder that `save_to_disk` wrote; None for a data set on the hub.
      argument: what follows the path: see `arrow.read`; on the hub the data set's name
        before it, OWNER/NAME or OWNER/NAME/CONFIG, and a colon.
      name, missing, ignore, task: as for `arrow.read`.

    Returns:
      The dataset: a table in the units of its columns, or images, uint8.

    Raises:
      ValueError: the library is missing or too old, the data set cannot be read
        without code of its own, or `arrow.read` refuses what it holds.
      FileNotFoundError: there is no such data set or configuration.
      ConnectionError: it is not in the cache, and the hub cannot be reached.
    """
    try:
        import datasets
    except ImportError:
        raise ValueError(f"{name} needs datasets: {extra('hf')}") from None
    if int(datasets.__version__.partition(".")[0]) < _SAFE:
        raise ValueError(
            f"{name} needs datasets {_SAFE} or later, which runs no code of data sets, "
            f"not {datasets.__version__}: {extra('hf')}"
        )
    import PIL

    option = argument
    with _calm(datasets):
        if path is not None:
            found, folders = _saved(datasets, path), [path]
        else:
            where, _, option = argument.partition(":")
            found, folders = _on_hub(datasets, where)
    splits, notes = _splits(found, name)
    files = [
        Path(one["filename"]) for split in splits.values() for one in split.cache_files
    ]
    how = [[part, split._fingerprint] for part, split in splits.items()]
    entry = cache.entry(
        "hf", files, (how, str(path), argument, missing, task, *ignore, PIL.__version__)
    )

    def make() -> Dataset:
        return arrow.read(
            {part: split.with_format("arrow")[:] for part, split in splits.items()},
            where=name,
            kind="hf:NAME",
            option=option,
            name=name,
            missing=missing,
            ignore=ignore,
            task=task,
            folders=tuple(folder.resolve() for folder in folders),
        )

    # Without files, as in memory, nothing says whether the data have changed.
    made = cache.kept(entry, make, name=name) if files else make()
    return dataclasses.replace(made, notes=(*notes, *made.notes))


@contextlib.contextmanager
def _calm(datasets: Any) -> Iterator[None]:
    """Keeps the library from drawing bars and from asking an absent hub for 20 s."""
    from huggingface_hub import constants

    places = (datasets.config, constants)
    before = [place.HF_HUB_OFFLINE for place in places]
    shows, log = datasets.is_progress_bar_enabled(), datasets.logging.get_verbosity()
    try:
        datasets.disable_progress_bars()
        datasets.logging.set_verbosity_error()
        yield
    finally:
        for place, value in zip(places, before):
            place.HF_HUB_OFFLINE = value
        datasets.logging.set_verbosity(log)
        if shows:
            datasets.enable_progress_bars()


def _saved(datasets: Any, path: Path) -> Any:
    """Opens a folder that `save_to_disk` wrote."""
    try:
        return datasets.load_from_disk(str(path))
    except Exception as error:  # of many kinds
        raise ValueError(
            f"{path} is no folder that {_SAVE} wrote ({line_of(error)[:80]}); other "
            "files are read by parquet:PATH, csv:PATH and folder:PATH"
        ) from error


def _on_hub(datasets: Any, where: str) -> tuple[Any, list[Path]]:
    """Loads OWNER/NAME or OWNER/NAME/CONFIG from the hub, or from its cache.

    Returns:
      It, and the folders that files of its images may lie in.
    """
    from huggingface_hub import constants

    owner, _, rest = where.partition("/")
    known, _, config = rest.partition("/")
    reason = "HF_HUB_OFFLINE is set"
    if not constants.HF_HUB_OFFLINE:
        reason = network.unreachable(datasets.config.HF_ENDPOINT)
        places: tuple[Any, ...] = (datasets.config, constants) if reason else ()
        for place in places:
            place.HF_HUB_OFFLINE = True
    if not reason:
        kept = shown(Path(datasets.config.HF_DATASETS_CACHE))
        _log.info("hf:%s: from the hub, kept in %s", where, kept)
    try:
        builder = datasets.load_dataset_builder(
            f"{owner}/{known}" if known else owner, config or None
        )
        kind = type(builder).__module__.rpartition(".")[2]
        if kind in _BUILDERS:
            builder.download_and_prepare()
            found = builder.as_dataset()
    except Exception as error:  # of many kinds
        if reason:
            raise ConnectionError(
                f"hf:{where} is not in the cache of this machine, and the hub cannot "
                f"be reached ({reason}): where it can be, {_SAVE} makes a folder that "
                "hf:FOLDER reads anywhere"
            ) from error
        raise FileNotFoundError(f"hf:{where}: {line_of(error)}") from error
    if kind not in _BUILDERS:
        raise ValueError(
            f"hf:{where} is of files that nnlab does not read ({kind}); it reads "
            "tables and images"
        )
    caches = datasets.config.HF_DATASETS_CACHE, constants.HF_HUB_CACHE
    if reason:
        _log.info("hf:%s: the hub cannot be reached (%s): as cached", where, reason)
    return found, [Path(folder) for folder in caches]


def _splits(found: Any, name: str) -> tuple[dict[str, Any], list[str]]:
    """Returns the splits that are read, by their part, and notes on the others."""
    if not isinstance(found, Mapping):
        return {"train": found}, []
    if len(found) == 1:
        return {"train": next(iter(found.values()))}, []
    splits = {part: found[part] for part in table.PARTS if part in found}
    if "train" not in splits:
        raise ValueError(
            f"{name} has the splits {joined([*found])}, but none named train"
        )
    left = [part for part in found if part not in splits]
    return splits, [f"splits that are not read: {joined(left)}"] if left else []
