# SPDX-License-Identifier: Apache-2.0
"""A user's own table: a text file with a header row, a label column and numbers.

The csv module reads it, and not pyarrow, because it knows the line that each row
begins on, even where a quoted cell spans several.
"""

import csv
import math
import reprlib
from array import array
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import numpy as np

from nnlab.data import labels
from nnlab.data.dataset import Dataset
from nnlab.names import nearest, nearest_file

LABEL = "label"

_LARGEST = float(np.finfo(np.float32).max)
# Characters of a line: a file without line ends is no table.
_LONGEST_LINE = 1 << 24
# Of a table with hundreds of columns, a message lists the ends.
_MOST_LISTED = 30


def read(path: Path, *, name: str, label: str = LABEL) -> Dataset:
    """Reads a table; every column but the label's is a feature.

    The file is UTF-8, with or without a byte order mark. Its first line names the
    columns. Cells are separated by commas or, where the header has none, by semicolons
    or tabs; they may be quoted. Blank lines are passed over. Labels may be any text;
    if all are numbers they are classes in the order of the numbers, 2 before 10.

    Args:
        path: The file.
        name: What tables and captions call the dataset.
        label: The name of the label column.

    Returns:
        The dataset; inputs are float32 (N, F) in the units of the file.

    Raises:
        FileNotFoundError: There is no such file, or it cannot be opened.
        ValueError: The table is malformed (the message names the line), or is not one
            that classes can be learnt from.
    """
    if not path.is_file():
        state = (
            "is not a file" if path.exists() else f"does not exist{nearest_file(path)}"
        )
        raise FileNotFoundError(f"table {path} {state}")
    try:
        # newline="": line ends inside quoted cells are the csv module's to judge.
        with path.open(encoding="utf-8-sig", newline="") as stream:
            columns, inputs, texts = _read(stream, path, label)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}, line {_undecodable(path)}: it is not UTF-8"
        ) from error
    except OSError as error:
        raise FileNotFoundError(f"cannot read {path}: {error.strerror}") from error
    try:
        encoded = labels.parse(texts, f"labels in column {label!r}")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    codes, class_names = encoded.codes, encoded.names
    if len(class_names) < 2:
        raise ValueError(
            f"{path} has only the label {class_names[0]!r} in column {label!r}: at "
            "least 2 classes are needed"
        )
    if 2 * len(class_names) > len(codes):
        raise ValueError(
            f"{path} has {len(class_names):,} different labels in column {label!r} of "
            f"{len(codes):,} rows: a class needs two examples on average"
        )
    try:
        return Dataset.from_arrays(
            inputs,
            codes,
            name=name,
            class_names=class_names,
            feature_names=columns,
            class_values=encoded.values,
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _read(
    stream: TextIO, path: Path, label: str
) -> tuple[tuple[str, ...], np.ndarray, list[str]]:
    """Reads the feature names, the features (N, F) and the label of each row."""
    header = next((line for line in _lines(stream, path) if line.strip()), "")
    stream.seek(0)
    delimiter = next((mark for mark in ",;\t" if mark in header), ",")
    rows = _rows(stream, path, delimiter)
    line, cells = next(rows, (1, []))
    columns = [_one_line(cell) for cell in cells]
    place = _label_column(columns, f"{path}, line {line}", label)
    features = (*columns[:place], *columns[place + 1 :])
    numbers, texts = array("d"), []
    for line, cells in rows:
        if len(cells) != len(columns):
            raise ValueError(
                f"{path}, line {line}: {len(cells)} cells, the header has "
                f"{len(columns)} columns"
            )
        text = _one_line(cells.pop(place))
        if not text:
            raise ValueError(f"{path}, line {line}: column {label!r} is empty")
        if not text.isprintable():
            raise ValueError(
                f"{path}, line {line}: {text!a} in column {label!r} cannot be shown"
            )
        values = [_number(cell) for cell in cells]
        if any(map(math.isnan, values)):
            wrong = next(i for i, value in enumerate(values) if math.isnan(value))
            raise ValueError(
                f"{path}, line {line}: {reprlib.repr(cells[wrong])} in column "
                f"{features[wrong]!r} is no finite number"
            )
        numbers.extend(values)
        texts.append(text)
    if not texts:
        raise ValueError(f"{path} has a header but no rows")
    inputs = np.array(numbers).reshape(len(texts), len(features))
    return features, inputs, texts


def _rows(
    stream: TextIO, path: Path, delimiter: str
) -> Iterator[tuple[int, list[str]]]:
    """Yields the rows that are not blank, each with the line it begins on."""
    lines = _lines(stream, path)
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    line = 1
    try:
        for cells in reader:
            if len(cells) > 1 or "".join(cells).strip():
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{path}, line {line}: {error}") from error


def _lines(stream: TextIO, path: Path) -> Iterator[str]:
    """Yields the lines of a file, which must have an end."""
    number = 0
    while line := stream.readline(_LONGEST_LINE):
        number += 1
        if len(line) == _LONGEST_LINE:
            raise ValueError(
                f"{path}, line {number}: it has {_LONGEST_LINE:,} characters or more"
            )
        yield line


def _label_column(columns: list[str], where: str, label: str) -> int:
    """Checks the header, and returns the place of the label column."""
    if not columns:
        raise ValueError(f"{where}: a header that names the columns is missing")
    for number, name in enumerate(columns, 1):
        if not name:
            raise ValueError(f"{where}: column {number} has no name")
        if not name.isprintable():
            raise ValueError(
                f"{where}: the name of column {number} cannot be shown: {name!a}"
            )
    name, times = Counter(columns).most_common(1)[0]
    if times > 1:
        raise ValueError(f"{where}: {times} columns are named {name!r}")
    if label not in columns:
        half = _MOST_LISTED // 2
        listed = columns
        if len(columns) > _MOST_LISTED:
            listed = [*columns[:half], "...", *columns[-half:]]
        raise ValueError(
            f"{where}: no column is named {label!r} (to name the label column, write "
            f"csv:PATH:COLUMN){nearest(label, listed)}"
        )
    if len(columns) == 1:
        raise ValueError(
            f"{where}: {label!r} is the only column, a table needs features, too"
        )
    return columns.index(label)


def _one_line(cell: str) -> str:
    return " ".join(cell.split())


def _number(cell: str) -> float:
    """Returns the number that a cell holds, NaN for none that is finite in float32."""
    try:
        value = float(cell)
    except ValueError:
        return math.nan
    # Python reads 12_34 as a number; it is rather the name of something.
    return value if abs(value) <= _LARGEST and "_" not in cell else math.nan


def _undecodable(path: Path) -> int:
    """Returns the number of the first line that is not UTF-8."""
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 1
