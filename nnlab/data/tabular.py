# SPDX-License-Identifier: Apache-2.0
"""A user's own table: a text file with a header row, a label column and features.

pandas reads the cells. The csv module finds the rows and names the line of an error: it
knows where each row begins, even if quoted cells span lines.
"""

import csv
import functools
import hashlib
import itertools
import math
import re
import reprlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np

from nnlab.data import cache, labels
from nnlab.data.dataset import Dataset, Split, digest_of, read_only
from nnlab.data.numbers import one_line
from nnlab.data.reading import absent, reading
from nnlab.words.numbers import count as counted
from nnlab.words.spelling import nearest

LABEL = "label"
MISSING = ("refuse", "drop", "mean")

_LARGEST = float(np.finfo(np.float32).max)
_EXACT = 1 << 24  # up to it, float32 holds every whole number
# Characters of a line; a longer one is no line of a table.
_LONGEST_LINE = 1 << 24
# Of more columns, a message lists the first and the last.
_MOST_LISTED = 30
_DELIMITERS = ",;\t|"
_BLANK = " \t\r\n"
# Lines by which the delimiter is chosen; it must then fit all lines.
_SAMPLE = 100
# "sep=;": a first line that Excel writes and hides.
_SEPARATOR_LINE = re.compile(r'"?sep=([^\w"])\1*"?\s*', re.IGNORECASE)
# Cells that are read at a time.
_CHUNK = 1 << 21
# Most values of a text column; each becomes a feature.
_MOST_VALUES = 1_000
# Labels with fractions are a quantity if more than so many differ; whole numbers, if
# more than so many differ and each has fewer than so many examples.
_MOST_FRACTIONS, _MOST_WHOLE, _FEW = 20, 100, 10
_ID = re.compile(r"(?i:(.*[^a-z])?(id|index|key|no|nr|unnamed: \d+))|.*[a-z]I[dD]")
_WRITTEN_OTHERWISE = str.maketrans("", "", ",_' %$€£\u00a0\u202f")
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
    label: str = LABEL,
    missing: str = "refuse",
    ignore: Sequence[str] = (),
) -> Dataset:
    """Reads a table, from the cache if it has been read before.

    The file is UTF-8, with or without a byte order mark. Its first line names the
    columns. Cells are separated by commas, semicolons, tabs or vertical bars: whichever
    fits the lines best, or what a first line such as "sep=;" says. They may be quoted.
    Blank lines and a first column without a name are ignored. Labels may be any text,
    see `labels.parse`.

    A column of numbers is a feature. A column of texts becomes a feature for each of
    its values, such as "colour=red": 1 where a row has the value, else 0, as from
    `pandas.get_dummies(table, prefix_sep="=")`. `Dataset.notes` say what else was done.

    Args:
      name: the dataset's name in tables and captions.
      label: name of the label column.
      missing: what to do with rows with missing cells (`labels.MISSING`): "refuse";
        "drop" leaves the rows out; "mean" fills the cells with their column's mean over
        the training examples (a missing label is still refused).
      ignore: names of columns that are left out.

    Returns:
      The dataset; inputs are (N, F) in the units of the file.

    Raises:
      FileNotFoundError: there is no such file, or it cannot be opened.
      ValueError: the table is malformed (the message names the line), or its labels are
        no classes.
    """
    if missing not in MISSING:
        raise ValueError(
            f"csv.missing={missing!r} is not known{nearest(missing, MISSING)}"
        )
    if not path.is_file():
        raise absent(path, "table", "file")
    before = csv.field_size_limit(_LONGEST_LINE)  # 131,072 characters by default
    try:
        with reading(path):
            layout = _layout(path, one_line(label), [one_line(one) for one in ignore])
            with path.open("rb") as stream:
                content = hashlib.file_digest(stream, "sha256").hexdigest()
            entry = cache.entry("csv", [], (content, label, missing, *ignore))
            return cache.kept(entry, lambda: _read(layout, name, missing), name=name)
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
    for one in ignore:
        if one == label:
            raise ValueError(f"{where}: csv.ignore={one!r} is the label column")
        if one not in columns:
            hint = nearest(one, _ends([*filter(None, columns)]))
            raise ValueError(f"{where}: csv.ignore={one!r} is no column{hint}")
    left_out = {i for i, name in enumerate(columns) if name in ignore}
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
    for number, name in enumerate(columns, 1):
        if not name.isprintable():
            return f"the name of column {number} cannot be shown: {name!a}"
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
            f"{hint * any(map(_like_number, columns))}){nearest(label, _ends(columns))}"
        )
    for name, times in Counter(filter(None, kept)).items():
        if times > 1:
            return (
                f"{times} columns are named {name!r}: each needs a name of its own, or "
                "csv.ignore leaves them out"
            )
    return _only(label) if len(kept) == 1 else ""


def _only(label: str) -> str:
    return f"{label!r} is the only column, a table needs features, too"


def _ends(names: Sequence[str]) -> list[str]:
    half = _MOST_LISTED // 2
    if len(names) <= _MOST_LISTED:
        return list(names)
    return [*names[:half], "...", *names[-half:]]


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
        raise ValueError(f"{where}: {_only(layout.columns[layout.label])}")
    return layout, count


# What is in its cells.


@dataclass
class _Cells:
    """What was read of N rows.

    Attributes:
      numbers: (N, F), float32 if that holds every value exactly, else float64; NaN for
        a missing cell, and everywhere in a column of texts.
      labels: (N,), texts.
      texts: for each column of texts, by its index in F: codes (N,), -1 for a missing
        cell, and the values by code.
      marks: likewise, the texts of the column that stand for a missing cell.
      wrong: whether there is a cell that cannot be used at all.
    """

    numbers: np.ndarray
    labels: np.ndarray
    texts: dict[int, tuple[np.ndarray, list[str]]] = field(default_factory=dict)
    marks: dict[int, set[str]] = field(default_factory=dict)
    wrong: bool = False

    def missing(self) -> np.ndarray:
        """Which cells are missing, bool (N, F)."""
        gone = np.isnan(self.numbers)
        for i, (codes, _) in self.texts.items():
            gone[:, i] = codes < 0
        return gone

    def put(self, place: Any, numbers: np.ndarray) -> None:
        """Stores numbers, float64, at an index; widens `numbers` if it must."""
        with np.errstate(over="ignore"):
            narrow = numbers.astype(np.float32)
        if not np.array_equal(narrow, numbers, equal_nan=True):
            self.numbers = self.numbers.astype(np.float64, copy=False)
        self.numbers[place] = numbers


def _read(layout: _Layout, name: str, missing: str) -> Dataset:
    path = layout.path
    layout, count = _measured(layout)
    if not count:
        raise ValueError(f"{path} has a header but no rows")
    cells = _cells(layout, count)
    gone = cells.missing()
    rows, no_label = gone.any(axis=1), labels.missing(cells.labels)
    if (
        cells.wrong
        or (missing == "refuse" and rows.any())
        or (missing != "drop" and "" in cells.labels)
    ):
        raise _first_wrong(layout, cells, missing)
    notes = []
    if 0 in layout.left_out and not layout.columns[0]:
        notes.append("the first column, which has no name, is left out as an index")
    if missing == "drop" and (dropped := rows | no_label).any():
        if dropped.all():
            most = layout.names[int(gone.sum(axis=0).argmax())]
            raise ValueError(
                f"{path}: every row lacks a value, most of them in column {most!r}: "
                "csv.ignore leaves columns out"
            )
        kept = ~dropped
        cells.numbers, cells.labels = cells.numbers[kept], cells.labels[kept]
        cells.texts = {i: (codes[kept], v) for i, (codes, v) in cells.texts.items()}
        notes.append(
            f"rows that lack a value are left out: {dropped.sum():,} of {count:,}"
        )
    elif rows.any():
        some = [layout.names[i] for i in np.flatnonzero(gone.any(axis=0))]
        notes.append(
            "cells that were missing hold their column's mean over the training "
            f"examples: {gone.sum():,} in {', '.join(_ends(some))}"
        )
    del gone
    classes = _classes(layout, cells.labels.tolist())
    notes += _identifiers(layout, cells)
    columns, inputs, told = _encoded(layout, cells)
    try:
        dataset = _dataset(inputs, columns, classes, name)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return replace(dataset, notes=(*notes, *told))


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


def _cells(layout: _Layout, count: int) -> _Cells:
    """Reads the cells of features and labels of so many rows.

    Columns that pandas does not read as numbers are read again as texts: where a column
    holds both, the first pass keeps neither as it was written.
    """
    import pandas as pd

    places = layout.features
    cells = _Cells(
        np.full((count, len(places)), np.nan, np.float32), np.full(count, "", object)
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
        cells.labels[rows] = [*map(one_line, frame.pop(layout.label))]
        numbers = frame.select_dtypes("number")
        textual.update(set(places).difference(numbers.columns))
        cells.put(rows, numbers.reindex(columns=places).to_numpy(np.float64))
    cells.wrong = not all(text.isprintable() for text in set(cells.labels))
    if textual:
        frames = _frames(layout, sorted(textual), dtype=str, na_filter=False)
        frame = pd.concat(frames, ignore_index=True)
        for place in sorted(textual):
            codes, values = pd.factorize(frame[place])
            _put_texts(cells, places.index(place), codes, list(map(one_line, values)))
    low, high = np.fmin.reduce(cells.numbers, None), np.fmax.reduce(cells.numbers, None)
    cells.wrong |= bool(low < -_LARGEST or high > _LARGEST)
    return cells


def _put_texts(cells: _Cells, i: int, codes: np.ndarray, values: list[str]) -> None:
    """Stores a column that pandas did not read as numbers: as numbers, or as texts."""
    gone = labels.missing(np.array(values, object))
    known = {text for text, missing in zip(values, gone) if not missing}
    if 2 * sum(map(_like_number, known)) > len(known) or not known:
        column = np.array([_number(text) for text in values])
        cells.wrong |= bool((np.isnan(column) & ~gone).any())
        cells.put((slice(None), i), np.where(gone, np.nan, column)[codes])
        return
    cells.wrong |= not all(text.isprintable() for text in known)
    ordered = labels.in_order(known)
    places = {text: place for place, text in enumerate(ordered)}
    cells.texts[i] = np.array([places.get(text, -1) for text in values])[codes], ordered
    cells.marks[i] = set(values) - known
    cells.numbers[:, i] = np.nan  # of rows that held numbers


def _first_wrong(layout: _Layout, cells: _Cells, missing: str) -> ValueError:
    """Returns the error of the first cell that cannot be used."""
    label = layout.columns[layout.label]
    for line, row, _ in layout.rows():
        where = f"{layout.path}, line {line}"
        text = one_line(row[layout.label])
        if not text and missing != "drop":
            return ValueError(f"{where}: column {label!r} is empty")
        if not text.isprintable():
            return ValueError(f"{where}: {text!a} in column {label!r} cannot be shown")
        for i, place in enumerate(layout.features):
            name = layout.columns[place]
            if fault := _fault(cells, i, one_line(row[place]), name, missing):
                return ValueError(f"{where}: {fault}")
    return ValueError(f"{layout.path} has cells that cannot be used")


def _fault(cells: _Cells, i: int, text: str, name: str, missing: str) -> str:
    """Says what is wrong with a cell of the i-th feature, and the remedy, or ""."""
    is_text = i in cells.texts
    what = f"{reprlib.repr(text)} in column {name!r}"
    what_not = "is no value" if is_text else "is no finite number"
    if text in cells.marks.get(i, labels.MISSING):
        if missing != "refuse":
            return ""
        incomplete = int(cells.missing().any(axis=1).sum())
        return (
            f"{what} {what_not}; {incomplete:,} of {len(cells.labels):,} rows lack "
            "one: csv.missing=drop leaves them out, csv.missing=mean puts the column's "
            f"mean there, csv.ignore={name} leaves the column out"
        )
    if is_text:
        return "" if text.isprintable() else f"{what} cannot be shown"
    if math.isfinite(_number(text)):
        return ""
    hint = "are written such as 1234.5" * _like_number(text)
    return (
        f"{what} {what_not}; numbers {hint or 'are most of the column'}: mend it, or "
        f"leave the column out by csv.ignore={name}"
    )


def _classes(layout: _Layout, texts: list[str]) -> labels.Encoded:
    """Makes classes of the labels, and refuses a quantity."""
    path, label, count = layout.path, layout.columns[layout.label], len(texts)
    try:
        classes = labels.parse(texts, f"labels in column {label!r}")
    except ValueError as error:
        hint = "csv.missing=drop leaves them out"
        raise ValueError(f"{path}: {error} ({hint})") from error
    if label in classes.names and all(map(_like_number, layout.names)):
        raise ValueError(
            f"{path}, line {layout.line}: it looks like an example, not like a header "
            "that names the columns: write one above it"
        )
    number = len(classes.names)
    if number < 2:
        raise ValueError(
            f"{path} has only the label {classes.names[0]!r} in column {label!r}: at "
            "least 2 classes are needed"
        )
    found = (
        f"{path} has {number:,} different labels in column {label!r} of {count:,} rows"
    )
    kind = classes.values.dtype.kind
    if (kind == "f" and number > _MOST_FRACTIONS) or (
        kind in "iu" and number > _MOST_WHOLE and count < _FEW * number
    ):
        raise ValueError(
            f"{found}, all numbers: that would be regression, but nnlab learns "
            "classes; put the numbers into a few bins (pandas.cut) and give each a name"
        )
    if 2 * number > count:
        raise ValueError(f"{found}: a class needs two examples on average")
    return classes


def _identifiers(layout: _Layout, cells: _Cells) -> list[str]:
    """Returns a note for each column that seems to number the rows."""
    notes, count = [], len(cells.numbers)
    low = np.fmin.reduce(cells.numbers, axis=0)
    high = np.fmax.reduce(cells.numbers, axis=0)
    # Only these can hold as many different whole numbers as there are rows.
    for i in np.flatnonzero(high - low >= count - 1):
        name, column = layout.names[i], cells.numbers[:, i]
        if (column % 1).any() or len(np.unique(column)) < count:
            continue
        if _ID.fullmatch(name) or (low[i] in (0, 1) and high[i] - low[i] == count - 1):
            notes.append(
                f"column {name!r} seems to number the rows and is used as a feature: "
                f"csv.ignore={name} leaves it out"
            )
    return notes


def _encoded(layout: _Layout, cells: _Cells) -> tuple[list[str], np.ndarray, list[str]]:
    """Returns the features' names, the features (N, F), and notes."""
    if not cells.texts:
        return layout.names, cells.numbers, []
    count = len(cells.numbers)
    found, columns, told, many = [], [], [], {}
    for i, name in enumerate(layout.names):
        if i not in cells.texts:
            found.append(name)
            columns.append(cells.numbers[:, i : i + 1])
            continue
        codes, values = cells.texts[i]
        present = np.unique(codes[codes >= 0])  # rows may have been left out
        told.append(f"{name} ({len(present):,})")
        if 2 * len(present) > count or len(present) > _MOST_VALUES:
            many[name] = told[-1]
            continue
        found += [f"{name}={values[code]}" for code in present]
        one_hot = (codes[:, np.newaxis] == present).astype(cells.numbers.dtype)
        one_hot[codes < 0] = np.nan
        columns.append(one_hot)
    if many:
        raise ValueError(
            f"{layout.path}: columns of texts have a feature for each value, too many "
            f"here: {', '.join(many.values())} of {count:,} rows; names, dates and "
            f"the like are left out by csv.ignore={','.join(many)}"
        )
    name, times = Counter(found).most_common(1)[0]
    if times > 1:
        raise ValueError(
            f"{layout.path}: {times} features would be named {name!r}: rename a column"
        )
    return (
        found,
        np.hstack(columns),
        [f"texts have a feature, 0 or 1, for each value: {', '.join(_ends(told))}"],
    )


def _dataset(
    inputs: np.ndarray, columns: list[str], classes: labels.Encoded, name: str
) -> Dataset:
    """Makes a dataset of features (N, F), in which NaN stands for a column's mean.

    The mean is that of the training examples, which are known only after the split.
    Until then each gap holds the column's smallest value, which keeps the column's
    range, and further columns of 0 and 1 say where the gaps are.
    """
    low = np.fmin.reduce(inputs)
    if np.isnan(low).any():
        raise _empty(columns[int(np.isnan(low).argmax())])
    gone = np.isnan(inputs)
    filled = np.flatnonzero(gone.any(axis=0))
    if filled.size:
        inputs = np.hstack([np.where(gone, low, inputs), gone[:, filled]])
    del gone
    dataset = Dataset.from_arrays(
        inputs,
        classes.codes,
        name=name,
        class_names=classes.names,
        class_values=classes.values,
        feature_names=() if filled.size else columns,
        copy=False,
    )
    if not filled.size:
        return dataset
    count = len(columns)
    known = dataset.train.inputs[:, count:] == 0
    if not known.any(axis=0).all():
        raise _empty(columns[filled[int(known.any(axis=0).argmin())]])
    sums = np.where(known, dataset.train.inputs[:, filled], 0).sum(0, dtype=np.float64)
    means = sums / known.sum(axis=0)
    splits = []
    for split in (dataset.train, dataset.validation, dataset.test):
        values = split.inputs[:, :count].copy()
        missing = split.inputs[:, count:] != 0
        values[:, filled] = np.where(missing, means, values[:, filled])
        splits.append(Split(read_only(values), split.labels))
    train, validation, test = splits
    origin = None if dataset.origin is None else dataset.origin[:count]
    return replace(
        dataset,
        train=train,
        validation=validation,
        test=test,
        digest=digest_of(train, validation, test, origin),
        feature_names=tuple(columns),
        origin=origin,
    )


def _empty(column: str) -> ValueError:
    name = column.partition("=")[0]
    return ValueError(
        f"column {name!r} has no value in the training examples: csv.ignore={name} "
        "leaves it out"
    )


def _number(cell: str) -> float:
    """Returns the number in a cell; NaN if it holds none that float32 can hold."""
    try:
        value = float(cell)
    except ValueError:
        return math.nan
    # Python reads 12_34 as a number; in a table it is rather a name.
    return value if abs(value) <= _LARGEST and "_" not in cell else math.nan


def _like_number(text: str) -> bool:
    """Whether people would read a text as a number, such as 1,234.5, 1e400 or 12%."""
    try:
        float(text.translate(_WRITTEN_OTHERWISE))
    except ValueError:
        return re.fullmatch("0[xX][0-9a-fA-F]+", text) is not None
    return True


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
