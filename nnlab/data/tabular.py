# SPDX-License-Identifier: Apache-2.0
"""A user's own table: a text file with a header row, a label column and features.

pandas reads the cells. The csv module finds the rows and names the line of an error: it
knows where each row begins, even if quoted cells span lines.
"""

import csv
import functools
import hashlib
import itertools
import re
import reprlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np

from nnlab.data import cache, labels, table
from nnlab.data.dataset import Dataset
from nnlab.data.numbers import one_line
from nnlab.data.reading import absent, reading
from nnlab.data.targets import AUTO
from nnlab.words.numbers import count as counted
from nnlab.words.spelling import nearest

# Characters of a line; a longer one is no line of a table.
_LONGEST_LINE = 1 << 24
_DELIMITERS = ",;\t|"
_BLANK = " \t\r\n"
# Lines by which the delimiter is chosen; it must then fit all lines.
_SAMPLE = 100
# "sep=;": a first line that Excel writes and hides.
_SEPARATOR_LINE = re.compile(r'"?sep=([^\w"])\1*"?\s*', re.IGNORECASE)
# Cells that are read at a time.
_CHUNK = 1 << 21
# How other files begin that people mistake for tables.
_OTHER_FILES = {
    b"\xff\xfe": " but UTF-16",
    b"\xfe\xff": " but UTF-16",
    b"\x1f\x8b": " but a gzip archive",
    b"PK": " but a zip archive or an Excel workbook",
}


@dataclass(frozen=True)
class _Layout:
    """The layout of a file.

    Attributes:
      columns: the columns' names; "" for those without.
      line: where the header begins.
      skipped: number of lines up to the end of the header.
      label: index of the label column.
      left_out: indices of columns that are no features.
    """

    path: Path
    delimiter: str
    columns: tuple[str, ...]
    line: int
    skipped: int
    label: int
    left_out: frozenset[int]

    @functools.cached_property
    def features(self) -> list[int]:
        """Indices of the columns that are features."""
        left_out = self.left_out | {self.label}
        return [i for i in range(len(self.columns)) if i not in left_out]

    @functools.cached_property
    def names(self) -> list[str]:
        """Names of the features."""
        return [self.columns[i] for i in self.features]

    def rows(self) -> "Iterator[_Row]":
        """Yields the rows below the header."""
        return _rows(self.path, self.delimiter, self.skipped)


class _Row(NamedTuple):
    """A row of a file, with the first and the last of its lines."""

    line: int
    cells: list[str]
    last: int


def read(
    path: Path,
    *,
    name: str,
    label: str = table.LABEL,
    missing: str = "refuse",
    ignore: Sequence[str] = (),
    task: str = AUTO,
) -> Dataset:
    """Reads a table, from the cache if it has been read before.

    The file is UTF-8, with or without a byte order mark. Its first line names the
    columns. Cells are separated by commas, semicolons, tabs or vertical bars: whichever
    fits the lines best, or what a first line such as "sep=;" says. They may be quoted.
    Blank lines and a first column without a name are ignored. Labels may be any text,
    see `labels.parse`. What becomes of the cells is in `nnlab.data.table`.

    Args:
      name: the dataset's name in tables and captions.
      label: name of the label column.
      missing: what to do with rows with missing cells (`labels.MISSING`), see
        `table.dataset`.
      ignore: names of columns that are left out.
      task: "classification" makes a class of each label, "regression" takes labels for
        numbers; "auto" does where many differ, see `table.classes_of`.

    Returns:
      The dataset; inputs are (N, F) in the units of the file.

    Raises:
      FileNotFoundError: there is no such file, or it cannot be opened.
      ValueError: the table is malformed (the message names the line), or its labels are
        no classes.
    """
    table.check_options(missing, task)
    if not path.is_file():
        raise absent(path, "table", "file")
    before = csv.field_size_limit(_LONGEST_LINE)  # 131,072 characters by default
    try:
        with reading(path):
            layout = _layout(path, one_line(label), [one_line(one) for one in ignore])
            with path.open("rb") as stream:
                content = hashlib.file_digest(stream, "sha256").hexdigest()
            entry = cache.entry("csv", [], (content, label, missing, task, *ignore))
            return cache.kept(
                entry, lambda: _read(layout, name, missing, task), name=name
            )
    except UnicodeDecodeError as error:
        raise ValueError(_undecodable(path)) from error
    finally:
        csv.field_size_limit(before)  # of the whole process, where others read, too


# How the file is laid out.


def _layout(path: Path, label: str, ignore: list[str]) -> _Layout:
    sample = list(itertools.islice(_lines(path), _SAMPLE))
    before = next((i for i, line in enumerate(sample) if line.strip()), 0)
    if sample and (told := _SEPARATOR_LINE.fullmatch(sample[before])):
        delimiter, before = told[1], before + 1
    else:
        delimiter = max(_DELIMITERS, key=lambda mark: _fit(sample, mark, label))
    header = next(_rows(path, delimiter, before), _Row(before + 1, [], before))
    columns = tuple(map(one_line, header.cells))
    where = f"{path}, line {header.line}"
    try:
        left_out = table.left_out(columns, ignore, label)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    if columns and not columns[0] and any(columns[1:]):
        left_out.add(0)
    kept = [name for i, name in enumerate(columns) if i not in left_out]
    if fault := _fault_of_header(columns, kept, label, delimiter):
        raise ValueError(f"{where}: {fault}")
    place = columns.index(label)
    return _Layout(
        path, delimiter, columns, header.line, header.last, place, frozenset(left_out)
    )


def _lines(path: Path, skipped: int = 0) -> Iterator[str]:
    """Yields the lines of a file after the first `skipped`; refuses endless ones."""
    with _opened(path) as stream:
        for number in itertools.count(1):
            line = stream.readline(_LONGEST_LINE)
            if len(line) == _LONGEST_LINE:
                raise ValueError(
                    f"{path}, line {number}: it has {_LONGEST_LINE:,} characters or "
                    "more"
                )
            if not line:
                return
            if number > skipped:
                yield line


def _opened(path: Path) -> TextIO:
    # newline="": the csv module itself finds line ends inside quoted cells.
    return path.open(encoding="utf-8-sig", newline="")


def _fit(sample: Sequence[str], delimiter: str, label: str) -> tuple[float, ...]:
    """Returns how well a delimiter fits lines; the largest fits best."""
    reader = csv.reader(sample, delimiter=delimiter, skipinitialspace=True)
    try:
        header, *rows = [row for row in reader if not _is_blank(row)]
    except (csv.Error, ValueError):
        return (0.0,)
    alike = sum(len(row) == len(header) for row in rows) / max(len(rows), 1)
    named = label in map(one_line, header)
    return (float(len(header) > 1), float(named), alike, float(len(header)))


def _is_blank(cells: Sequence[str]) -> bool:
    return len(cells) < 2 and not "".join(cells).strip(_BLANK)


def _rows(path: Path, delimiter: str, skipped: int) -> Iterator[_Row]:
    """Yields the rows after `skipped` lines, without blank ones."""
    lines = _lines(path, skipped)
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    line = skipped + 1
    try:
        for cells in reader:
            last = skipped + reader.line_num
            if not _is_blank(cells):
                yield _Row(line, cells, last)
            line = last + 1
    except csv.Error as error:
        raise ValueError(f"{path}, line {line}: {error}") from error


def _fault_of_header(
    columns: Sequence[str], kept: Sequence[str], label: str, delimiter: str
) -> str:
    """Says what is wrong with a header, some columns of which are kept, or ""."""
    if not columns:
        return "a header that names the columns is missing"
    if fault := table.fault_of_name(columns):
        return fault
    if label not in columns:
        if len(columns) == 1:
            return (
                f"{reprlib.repr(columns[0])} is a single cell; the first line must "
                "name the columns, separated by commas, semicolons, tabs or vertical "
                "bars"
            )
        hint = "; if this line is an example, write a header above it"
        return (
            f"no column is named {label!r} (to name the label column, write "
            f"csv:PATH:COLUMN; {delimiter!r} separates columns"
            f"{hint * any(map(table.like_number, columns))})"
            f"{nearest(label, table.ends(columns))}"
        )
    return table.fault_of_names(kept, label)


def _measured(layout: _Layout) -> tuple[_Layout, int]:
    """Counts the rows, each of which must have as many cells as the header.

    Columns without name and content, as from delimiters at line ends, are left out.
    """
    wanted, count = len(layout.columns), 0
    nameless = [i for i in layout.features if not layout.columns[i]]
    has_content = False
    for line, cells, _ in layout.rows():
        count += 1
        if len(cells) != wanted:
            more = (
                f" (if every line ends in {layout.delimiter!r} or begins with the name "
                "of its row, the header must, too)"
            )
            more *= len(cells) == wanted + 1
            raise ValueError(
                f"{layout.path}, line {line}: {counted(len(cells), 'cell')}, the "
                f"header has {counted(wanted, 'column')}, separated by "
                f"{layout.delimiter!r}{more}"
            )
        has_content = has_content or any(cells[i].strip() for i in nameless)
    where = f"{layout.path}, line {layout.line}"
    if nameless and (has_content or not count):
        raise ValueError(f"{where}: column {nameless[0] + 1} has no name")
    layout = replace(layout, left_out=layout.left_out.union(nameless))
    if not layout.features:
        raise ValueError(f"{where}: {table.only(layout.columns[layout.label])}")
    return layout, count


# What is in its cells.


def _read(layout: _Layout, name: str, missing: str, task: str) -> Dataset:
    layout, count = _measured(layout)
    if not count:
        raise ValueError(f"{layout.path} has a header but no rows")
    cells = replace(_cells(layout, count), task=task)
    found = table.dataset(cells, lambda: _texts(layout), name=name, missing=missing)
    if 0 not in layout.left_out or layout.columns[0]:
        return found
    note = "the first column, which has no name, is left out as an index"
    return replace(found, notes=(note, *found.notes))


def _texts(layout: _Layout) -> Iterator[table.Row]:
    for line, row, _ in layout.rows():
        values = (one_line(row[place]) for place in layout.features)
        yield f"{layout.path}, line {line}", one_line(row[layout.label]), values


def _frames(layout: _Layout, places: Sequence[int], **options: Any) -> Iterator[Any]:
    import pandas as pd  # takes a third of a second

    if pd.__version__.startswith(("2.", "3.0.")):  # later ones read numbers exactly
        options["float_precision"] = "round_trip"
    with _opened(layout.path) as stream:
        for _ in range(layout.skipped):
            stream.readline()
        with pd.read_csv(
            stream,
            sep=layout.delimiter,
            header=None,
            names=range(len(layout.columns)),
            index_col=False,
            usecols=places,
            skipinitialspace=True,
            keep_default_na=False,
            low_memory=False,
            chunksize=max(_CHUNK // len(layout.columns), 1),
            **options,
        ) as frames:
            yield from frames


def _cells(layout: _Layout, count: int) -> table.Cells:
    """Reads the cells of features and labels of so many rows.

    Columns that pandas does not read as numbers are read again as texts: where a column
    holds both, the first pass keeps neither as it was written.
    """
    import pandas as pd

    places = layout.features
    found = table.Cells(
        str(layout.path),
        layout.columns[layout.label],
        layout.names,
        np.full((count, len(places)), np.nan, np.float32),
        np.full(count, "", object),
        header=f"{layout.path}, line {layout.line}",
    )
    end = 0
    textual: set[int] = set()
    for frame in _frames(
        layout,
        [*places, layout.label],
        na_values=dict.fromkeys(places, sorted(labels.MISSING)),
        converters={layout.label: str},  # a dtype for one slows down all
    ):
        rows = slice(end, end := end + len(frame))
        if end > count:  # to the csv module such a line is blank, to pandas a row
            raise ValueError(f"{layout.path} has a line of blanks in quotes: remove it")
        found.labels[rows] = [*map(one_line, frame.pop(layout.label))]
        numbers = frame.select_dtypes("number")
        textual.update(set(places).difference(numbers.columns))
        found.put(rows, numbers.reindex(columns=places).to_numpy(np.float64))
    if textual:
        frames = _frames(layout, sorted(textual), dtype=str, na_filter=False)
        frame = pd.concat(frames, ignore_index=True)
        for place in sorted(textual):
            codes, values = pd.factorize(frame[place])
            texts = list(map(one_line, values))
            table.put_texts(found, places.index(place), codes, texts)
    return found


def _undecodable(path: Path) -> str:
    """Says where a file is not UTF-8, and its encoding, if known."""
    with path.open("rb") as stream:
        other = _OTHER_FILES.get(stream.read(2), "")
        stream.seek(0)
        number = 1
        for line in stream:
            try:
                line.decode()
            except UnicodeDecodeError:
                break
            number += 1
    return (
        f"{path}, line {number}: it is not UTF-8{other}: save the table as text in "
        "UTF-8 (Excel: CSV UTF-8)"
    )
