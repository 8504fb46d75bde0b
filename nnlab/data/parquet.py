# SPDX-License-Identifier: Apache-2.0
"""Parquet files: a table, or images, in one file or in a folder of parts."""

import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from nnlab.data import arrow, cache, table
from nnlab.data.dataset import Dataset
from nnlab.data.reading import absent, reading
from nnlab.data.targets import AUTO
from nnlab.words.numbers import joined

# How files, or the folders that they are in, say their part.
_PARTS = {
    **dict(zip(table.PARTS, table.PARTS)),
    **dict.fromkeys(("valid", "val", "dev"), "validation"),
}


def read(
    path: Path,
    option: str = "",
    *,
    name: str,
    missing: str = "refuse",
    ignore: Sequence[str] = (),
    task: str = AUTO,
) -> Dataset:
    """Reads a Parquet file or a folder of them, from the cache if they are unchanged.

    Files of a folder are one table, in the order of their names. If names of files, or
    of the folders that they are in, begin with train, validation or test, as on the
    Hugging Face hub, they make these sets; data without a test set give up some of the
    training examples, see `Dataset.from_arrays`.

    Args:
      path: the file or the folder.
      option, name, missing, ignore, task: as for `arrow.read`.

    Returns:
      The dataset: a table in the units of the file, or images, uint8.

    Raises:
      FileNotFoundError: there is no such file, or it cannot be opened.
      ValueError: it is no Parquet file, or `arrow.read` refuses what it holds.
    """
    import PIL  # takes a tenth of a second

    if not path.exists():
        raise absent(path, "Parquet file", "file")
    with reading(path):
        parts = _parts(path)
        files = [file for some in parts.values() for file in some]
        how = [[*map(str, some)] for some in parts.values()]
        entry = cache.entry(
            "parquet",
            files,
            (how, [*parts], option, missing, task, *ignore, PIL.__version__),
        )
        return cache.kept(
            entry,
            lambda: arrow.read(
                {part: _table(some, option, ignore) for part, some in parts.items()},
                where=str(path),
                kind="parquet:PATH",
                option=option,
                name=name,
                missing=missing,
                ignore=ignore,
                task=task,
            ),
            name=name,
        )


def _parts(path: Path) -> dict[str, list[Path]]:
    """Returns the files of each part; all are "train" if none says its part."""
    if path.is_file():
        return {"train": [path]}
    files = sorted(file for file in path.rglob("*.parquet") if file.is_file())
    if not files:
        raise ValueError(f"{path} holds no file that ends in .parquet")
    parts: dict[str, list[Path]] = {}
    for file in files:
        parts.setdefault(_part(file.relative_to(path)), []).append(file)
    if [*parts] == [""]:
        return {"train": files}
    if other := parts.get(""):
        raise ValueError(
            f"{other[0]} belongs to no set, but other files say train, validation or "
            "test: put it elsewhere"
        )
    if "train" not in parts:
        raise ValueError(f"{path} has files of {joined([*parts])}, but none of train")
    return parts


def _part(file: Path) -> str:
    for name in reversed(file.parts):
        begins = re.match("[a-z]+", name.lower())
        if begins and begins[0] in _PARTS:
            return _PARTS[begins[0]]
    return ""


def _table(files: Sequence[Path], option: str, ignore: Sequence[str]) -> pa.Table:
    tables = {}
    for file in files:
        try:
            tables[str(file)] = _read(file, option, ignore)
        except (pa.ArrowException, OSError) as error:
            is_of_system = isinstance(error, OSError) and error.errno is not None
            if is_of_system or isinstance(error, MemoryError):
                raise
            line = str(error).partition("\n")[0]
            raise ValueError(
                f"{file} is damaged, or no Parquet file: {line}"
            ) from error
    return arrow.joined_tables(files[0].parent, tables)


def _read(file: Path, option: str, ignore: Sequence[str]) -> pa.Table:
    """Reads a file; columns that are not needed hold nothing."""
    with pyarrow.parquet.ParquetFile(file) as stored:
        schema = stored.schema_arrow
        needed = arrow.needed(schema, option, ignore)
        if len({*schema.names}) < len(schema) or len(needed) == len(schema):
            return stored.read()
        rows = stored.read(columns=needed)
        nothing = pa.nulls(stored.metadata.num_rows)
    columns = [rows[one] if one in needed else nothing for one in schema.names]
    return pa.table(columns, names=schema.names, metadata=schema.metadata)
