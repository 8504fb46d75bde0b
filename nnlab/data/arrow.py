# SPDX-License-Identifier: Apache-2.0
"""Tables of Apache Arrow, as in Parquet files and from the Hugging Face hub.

They hold columns of numbers and texts, which follow the rules of `nnlab.data.table`, or
a column of images: the bytes of image files, plain or beside a path as Hugging Face
stores them.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nnlab.data import images, labels, table
from nnlab.data.dataset import Dataset
from nnlab.data.numbers import one_line
from nnlab.words.errors import line_of
from nnlab.words.numbers import count, joined
from nnlab.words.spelling import nearest

# Rows that are turned into texts at a time, to find the first that is wrong.
_AT_ONCE = 4096
_MOST_NAMED = 3
_FAULTS = (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError)
"""Errors that tell of data; lack of memory is another."""
_INDEX = "__index_level_"
"""How pandas names an index that it stores as a column."""


@dataclasses.dataclass(frozen=True)
class _Source:
    """One table of all parts, and what is to be made of it.

    Attributes:
      where: the source, for messages.
      rows: the rows of all parts, in the order of `table.PARTS`.
      ends: for each part that there is, the number of rows up to its end.
      classes: the names of the classes, of columns that hold codes.
      label: name of the label column.
      size: height and width of images; None to choose.
      left_out: names of columns that are not read.
      folders: where an image may lie whose path is stored instead of its bytes.
    """

    where: str
    rows: pa.Table
    ends: Mapping[str, int]
    classes: Mapping[str, list[str]]
    label: str
    size: int | None
    left_out: frozenset[str]
    folders: tuple[Path, ...]

    def place(self, row: int) -> str:
        """Says where a row is: "t.parquet, row 3 of test"."""
        start = 0
        for part, end in self.ends.items():
            if row < end:
                of = f" of {part}" if len(self.ends) > 1 else ""
                return f"{self.where}, row {row - start + 1:,}{of}"
            start = end
        raise IndexError(row)

    def parts(self) -> np.ndarray | None:
        """Returns which of `table.PARTS` each row belongs to; None for one part."""
        if len(self.ends) == 1:
            return None
        numbers = [table.PARTS.index(part) for part in self.ends]
        return np.repeat(numbers, np.diff([0, *self.ends.values()]))

    def is_unlabelled(self, part: str) -> bool:
        """Whether all labels of a part are missing."""
        codes, values = self.values(self.label)
        gone = labels.missing(np.array(values, object))[codes]
        start = max(
            (end for end in self.ends.values() if end < self.ends[part]), default=0
        )
        return bool(gone[start : self.ends[part]].all())

    def values(self, name: str) -> tuple[np.ndarray, list[str]]:
        """Returns the texts of a column as codes (N,) and values; "" for missing."""
        column = self.rows[name].combine_chunks()
        try:
            if not pa.types.is_dictionary(column.type):
                column = column.dictionary_encode()
            values = [self.text(name, one) for one in column.dictionary.to_pylist()]
        # Bytes that are no UTF-8, years beyond 9999, intervals.
        except (*_FAULTS, ValueError, OverflowError) as error:
            remedy = f": csv.ignore={name} leaves it out" * (name != self.label)
            raise ValueError(
                f"{self.where}: column {name!r} holds {self.rows[name].type}, which "
                f"cannot be read as texts ({line_of(error)[:80]}){remedy}"
            ) from error
        codes = column.indices.cast(pa.int64())  # of few values they are 8 bits
        return pc.fill_null(codes, len(values)).to_numpy(), [*values, ""]

    def text(self, name: str, value: object) -> str:
        """Returns a cell as a text file would hold it; "" for a missing one."""
        if value is None:
            return ""
        if isinstance(value, bytes):
            value = value.decode()
        if (names := self.classes.get(name)) and isinstance(value, int):
            return one_line(names[value]) if 0 <= value < len(names) else ""
        return one_line(value)


def read(
    parts: Mapping[str, pa.Table],
    *,
    where: str,
    kind: str,
    option: str,
    name: str,
    missing: str,
    ignore: Sequence[str],
    task: str,
    folders: tuple[Path, ...] = (),
) -> Dataset:
    """Makes a dataset of tables.

    Args:
      parts: by some of `table.PARTS`, "train" among them. Validation serves as test
        where there is no test set, or none with labels, as in competitions.
      where: the source, for messages.
      kind: how a name begins that says the label column: "parquet:PATH".
      option: "COLUMN", "SIZE" or "COLUMN:SIZE": the label column, else "label" or the
        only one of classes; and the height and width of images.
      name: the dataset's name in tables and captions.
      missing, ignore, task: as for `tabular.read`.
      folders: where an image may lie whose path is stored instead of its bytes.

    Raises:
      ValueError: there are no such columns, cells cannot be used, images are damaged,
        or the labels are no classes.
    """
    table.check_options(missing, task)
    source = _source(parts, where, kind, option, ignore, folders)
    notes = []
    for part, one in parts.items():
        if not one.num_rows:
            if part == "train":
                raise ValueError(f"{where}: the training set is empty")
            notes.append(f"the {part} set, which is empty, is left out")
    parts = {part: one for part, one in parts.items() if one.num_rows}
    if "test" in parts and source.is_unlabelled("test"):
        notes.append("the test set, which has no labels, is left out")
        parts = {part: one for part, one in parts.items() if part != "test"}
    if "test" not in parts and "validation" in parts:
        notes.append("the validation set serves as test set")
        parts = {"train": parts["train"], "test": parts["validation"]}
    if notes:
        source = _source(parts, where, kind, option, ignore, folders)
    pictures = [
        field.name
        for field in source.rows.schema
        if _is_image(field.type) and field.name not in (*source.left_out, source.label)
    ]
    if len(pictures) > 1:
        raise ValueError(
            f"{where} has {len(pictures)} columns of images, {joined(pictures)}: "
            "csv.ignore leaves all but one out"
        )
    if source.size is not None and not pictures:
        raise ValueError(
            f"{name}: size {source.size} is for images, and {where} has none"
        )
    made = (
        _of_images(source, pictures[0], name, missing, task)
        if pictures
        else _of_cells(source, name, missing, task)
    )
    return dataclasses.replace(made, notes=(*notes, *made.notes))


def joined_tables(where: object, tables: Mapping[str, pa.Table]) -> pa.Table:
    """Joins the rows of tables of the same columns; refuses what cannot be joined."""
    (name, first), *others = tables.items()
    for other, one in others:
        if odd := {*one.column_names} ^ {*first.column_names}:
            raise ValueError(
                f"{where}: {name} and {other} differ in the columns "
                f"{joined(sorted(odd))}"
            )
        named, others_named = _classes(first.schema), _classes(one.schema)
        for column in sorted({*named, *others_named}):
            if named.get(column) != others_named.get(column):
                raise ValueError(
                    f"{where}: {name} and {other} differ in the names of the classes "
                    f"in column {column!r}"
                )
    if not others:
        return first
    try:
        same = [one.select(first.column_names) for one in tables.values()]
        return pa.concat_tables(same, promote_options="permissive")
    except (*_FAULTS, KeyError) as error:
        raise ValueError(f"{where}: its parts differ: {error}") from None


def needed(schema: pa.Schema, option: str, ignore: Sequence[str]) -> list[str]:
    """Returns the names of the columns of a table whose cells `read` uses."""
    ignored = {*map(one_line, ignore)}
    names = [*map(one_line, schema.names)]
    label, _ = _label_and_size(names, option, _classes(schema))
    kept = [
        field
        for field, name in zip(schema, names)
        if name == label or not (name in ignored or name.startswith(_INDEX))
    ]
    used = [
        field.name
        for field in kept
        if one_line(field.name) == label or _is_image(field.type)
    ]
    return used if len(used) > 1 else [field.name for field in kept]


def _source(
    parts: Mapping[str, pa.Table],
    where: str,
    kind: str,
    option: str,
    ignore: Sequence[str],
    folders: tuple[Path, ...],
) -> _Source:
    parts = {part: parts[part] for part in table.PARTS if part in parts}
    classes = _classes(next(iter(parts.values())).schema)
    rows = joined_tables(where, parts)
    rows = rows.rename_columns([one_line(one) for one in rows.column_names])
    if fault := table.fault_of_name(rows.column_names):
        raise ValueError(f"{where}: {fault}")
    if not rows.num_rows:
        raise ValueError(f"{where} has no rows")
    names = rows.column_names
    label, size = _label_and_size(names, option, classes)
    if label not in names:
        hint = nearest(label, table.ends(names))
        raise ValueError(
            f"{where}: no column is named {label!r} (to name the label column, write "
            f"{kind}:COLUMN){hint}"
        )
    ignore = [one_line(one) for one in ignore]
    try:
        left_out = {names[i] for i in table.left_out(names, ignore, label)}
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    left_out |= {one for one in names if one.startswith(_INDEX)}
    kept = [one for one in names if one not in left_out]
    if fault := table.fault_of_names(kept, label):
        raise ValueError(f"{where}: {fault}")
    if "" in kept:
        raise ValueError(f"{where}: column {names.index('') + 1} has no name")
    if _is_nested(of := rows.schema.field(label).type):
        raise ValueError(
            f"{where}: column {label!r} holds {str(of)[:60]}, not labels (to name the "
            f"label column, write {kind}:COLUMN)"
        )
    ends = np.cumsum([one.num_rows for one in parts.values()]).tolist()
    if size is not None:
        images.check_size(size, where)
    return _Source(
        where,
        rows,
        dict(zip(parts, ends)),
        classes,
        label,
        size,
        frozenset(left_out),
        folders,
    )


def _classes(schema: pa.Schema) -> dict[str, list[str]]:
    """Returns the names of classes that Hugging Face stores beside a table."""
    try:
        about = json.loads((schema.metadata or {})[b"huggingface"])
        features = about["info"]["features"].items()
    except (KeyError, TypeError, AttributeError, ValueError):
        return {}
    return {
        one_line(column): list(map(str, of["names"]))
        for column, of in features
        if isinstance(of, dict)
        and of.get("_type") == "ClassLabel"
        and isinstance(of.get("names"), list)
    }


def _label_and_size(
    names: Sequence[str], option: str, classes: Mapping[str, object]
) -> tuple[str, int | None]:
    column, _, size = option.rpartition(":")
    if option in names or not (size.isascii() and size.isdecimal()):
        column, size = option, ""
    if not column:
        only = [*classes] if len(classes) == 1 else [table.LABEL]
        column = table.LABEL if table.LABEL in names else only[0]
    return one_line(column), int(size) if size else None


def _is_image(of: pa.DataType) -> bool:
    """Whether a column holds bytes, or bytes beside a path."""
    kinds = [pa.types.is_binary, pa.types.is_large_binary]
    if pa.types.is_struct(of) and (place := of.get_field_index("bytes")) >= 0:
        of = of.field(place).type
        kinds.append(pa.types.is_null)  # paths only
    return any(is_kind(of) for is_kind in kinds)


def _is_nested(of: pa.DataType) -> bool:
    return pa.types.is_nested(of) or isinstance(of, pa.BaseExtensionType)


# Numbers and texts.


def _of_cells(source: _Source, name: str, missing: str, task: str) -> Dataset:
    rows = source.rows
    names = [
        one
        for one in rows.column_names
        if one not in source.left_out and one != source.label
    ]
    for one in names:
        if _is_nested(of := rows.schema.field(one).type):
            raise ValueError(
                f"{source.where}: column {one!r} holds {str(of)[:60]}, not numbers or "
                f"texts: csv.ignore={one} leaves it out"
            )
    codes, values = source.values(source.label)
    cells = table.Cells(
        source.where,
        source.label,
        names,
        np.full((len(rows), len(names)), np.nan, np.float32),
        np.array(values, object)[codes],
        task=task,
    )
    for i, one in enumerate(names):
        column = rows[one]
        if one not in source.classes and _is_number(column.type):
            numbers = pc.cast(column, pa.float64(), safe=False)
            cells.put((slice(None), i), numbers.to_numpy())
        else:
            table.put_texts(cells, i, *source.values(one))

    def texts() -> Iterator[table.Row]:
        number = 0
        for batch in rows.select([*names, source.label]).to_batches(_AT_ONCE):
            for row in batch.to_pylist():
                some = [source.text(one, row[one]) for one in names]
                label = source.text(source.label, row[source.label])
                yield source.place(number), label, some
                number += 1

    found = table.dataset(
        cells, texts, name=name, missing=missing, parts=source.parts()
    )
    if any(one.startswith(_INDEX) for one in rows.column_names):
        note = "the index of pandas is left out"
        return dataclasses.replace(found, notes=(note, *found.notes))
    return found


def _is_number(of: pa.DataType) -> bool:
    kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    return any(is_kind(of) for is_kind in kinds)


# Images.


def _of_images(
    source: _Source, column: str, name: str, missing: str, task: str
) -> Dataset:
    codes, values = source.values(source.label)
    texts = np.array(values, object)[codes]
    stored = source.rows[column]
    gone = stored.is_null().to_numpy() | labels.missing(texts)
    notes, parts = [], source.parts()
    if gone.any():
        first = int(gone.argmax())
        if missing != "drop":
            what = repr(column if stored[first].as_py() is None else source.label)
            raise ValueError(
                f"{source.place(first)}: column {what} is empty; {gone.sum():,} of "
                f"{len(texts):,} rows lack an image or a label: csv.missing=drop "
                "leaves them out"
            )
        if gone.all():
            raise ValueError(f"{source.where}: every row lacks an image or a label")
        notes.append(
            "rows that lack an image or a label are left out: "
            f"{gone.sum():,} of {len(texts):,}"
        )
    kept = np.flatnonzero(~gone)
    texts, parts = texts[kept], table.parts_of(parts, kept, source.where)
    about = table.Cells(source.where, source.label, [], np.empty((0, 0)), texts)
    about.task = task
    classes = table.classes_of(about)
    notes += table.told_of(about, classes)
    sources = [_stored(source, stored, int(row)) for row in kept]
    try:
        pixels, odd = images.decode(sources, source.size, source.where)
    except ValueError as error:
        raise ValueError(
            f"{error}; csv.ignore={column} leaves the column out"
        ) from error
    try:
        made = table.from_parts(pixels, classes, parts, name=name)
    except ValueError as error:
        raise ValueError(f"{source.where}: {error}") from error
    unread = set(source.rows.column_names) - {column, source.label} - source.left_out
    if unread:
        notes.append(f"not read beside the images: {joined(sorted(unread))}")
    for what, some in odd.items():
        places = [str(one).removeprefix(f"{source.where}, ") for one in some]
        more = [f"{len(some) - _MOST_NAMED:,} more"] * (len(some) > _MOST_NAMED)
        named = joined([*places[:_MOST_NAMED], *more])
        notes.append(f"{what}: {count(len(some), 'image')} ({named})")
    return dataclasses.replace(made, notes=tuple(notes))


def _stored(source: _Source, column: pa.ChunkedArray, row: int) -> images.Stored:
    where = source.place(row)

    def content() -> bytes:
        value: Any = column[row].as_py()
        if isinstance(value, bytes):
            return value
        if value["bytes"] is not None:
            return bytes(value["bytes"])
        path = Path(value.get("path") or ".").resolve()
        if not any(path.is_relative_to(folder) for folder in source.folders):
            raise ValueError(
                f"{where} holds the path of an image, not the image: write the file "
                "with the images in it, or read their folder by folder:PATH"
            )
        return path.read_bytes()

    return images.Stored(where, content)
