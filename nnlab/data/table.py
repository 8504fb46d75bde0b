# SPDX-License-Identifier: Apache-2.0
"""Makes a dataset of a table's cells, by the same rules for every kind of file.

A column of numbers is a feature. A column of texts becomes a feature for each of its
values, such as "colour=red": 1 where a row has the value, else 0, as from
`pandas.get_dummies(table, prefix_sep="=")`. `Dataset.notes` say what else was done.
"""

import math
import re
import reprlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from nnlab.data import labels
from nnlab.data.dataset import Dataset, Split, digest_of, read_only
from nnlab.data.targets import AUTO, CLASSIFICATION, REGRESSION, TASKS
from nnlab.words.spelling import nearest

LABEL = "label"
MISSING = ("refuse", "drop", "mean")
PARTS = ("train", "validation", "test")

_LARGEST = float(np.finfo(np.float32).max)
# Of more columns, a message lists the first and the last.
_MOST_LISTED = 30
# Columns that a message offers to leave out.
_MOST_OFFERED = 9
# Most values of a text column; each becomes a feature.
_MOST_VALUES = 1_000
# Labels with fractions are a quantity if more than so many differ; whole numbers, if
# more than so many differ and each has fewer than so many examples.
_MOST_FRACTIONS, _MOST_WHOLE, _FEW = 20, 100, 10
_ID = re.compile(r"(?i:(.*[^a-z])?(id|index|key|no|nr|unnamed: \d+))|.*[a-z]I[dD]")
_WRITTEN_OTHERWISE = str.maketrans("", "", ",_' %$€£\u00a0\u202f")

Row = tuple[str, str, Iterable[str]]
"""Where a row is, its label, and its features' cells, as texts."""


@dataclass
class Cells:
    """What was read of a table's N rows.

    Attributes:
      where: the table, for messages.
      label: name of the label column.
      names: of the F columns that are features.
      numbers: (N, F), float32 if that holds every value exactly, else float64; NaN for
        a missing cell, and everywhere in a column of texts.
      labels: (N,), texts.
      texts: for each column of texts, by its index in F: codes (N,), -1 for a missing
        cell, and the values by code.
      marks: likewise, the texts of the column that stand for a missing cell.
      wrong: whether there is a cell that cannot be used at all.
      header: where a header may be missing, such as "t.csv, line 1"; "" if it cannot.
      task: what the labels are, one of `targets.TASKS`.
    """

    where: str
    label: str
    names: list[str]
    numbers: np.ndarray
    labels: np.ndarray
    texts: dict[int, tuple[np.ndarray, list[str]]] = field(default_factory=dict)
    marks: dict[int, set[str]] = field(default_factory=dict)
    wrong: bool = False
    header: str = ""
    task: str = AUTO

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


def put_texts(cells: Cells, i: int, codes: np.ndarray, values: list[str]) -> None:
    """Stores the i-th column, which may hold texts: as numbers, or as texts.

    Codes are (N,), values the texts by code, "" for a missing cell.
    """
    gone = labels.missing(np.array(values, object))
    known = {text for text, missing in zip(values, gone) if not missing}
    if 2 * sum(map(like_number, known)) > len(known) or not known:
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


def left_out(columns: Sequence[str], ignore: Sequence[str], label: str) -> set[int]:
    """Returns the indices of the columns that `ignore` names.

    Raises:
      ValueError: one is no column, or the label column.
    """
    for one in ignore:
        if one == label:
            raise ValueError(f"csv.ignore={one!r} is the label column")
        if one not in columns:
            hint = nearest(one, ends([*filter(None, columns)]))
            raise ValueError(f"csv.ignore={one!r} is no column{hint}")
    return {i for i, name in enumerate(columns) if name in ignore}


def fault_of_name(columns: Sequence[str]) -> str:
    """Says which of all columns has a name that cannot be shown, or ""."""
    for number, name in enumerate(columns, 1):
        if not name.isprintable():
            return f"the name of column {number} cannot be shown: {name!a}"
    return ""


def fault_of_names(kept: Sequence[str], label: str) -> str:
    """Says what is wrong with the names of the columns that are kept, or ""."""
    for name, times in Counter(filter(None, kept)).items():
        if times > 1:
            return (
                f"{times} columns are named {name!r}: each needs a name of its own, or "
                "csv.ignore leaves them out"
            )
    return only(label) if len(kept) == 1 else ""


def check_options(missing: str, task: str) -> None:
    """Refuses an unknown way to treat missing cells or labels (ValueError)."""
    for name, value, known in (("missing", missing, MISSING), ("task", task, TASKS)):
        if value not in known:
            raise ValueError(
                f"csv.{name}={value!r} is not known{nearest(value, known)}"
            )


def only(label: str) -> str:
    """Says that a label column is alone."""
    return f"{label!r} is the only column, a table needs features, too"


def ends(names: Sequence[str]) -> list[str]:
    """Shortens a long list of names, for messages."""
    half = _MOST_LISTED // 2
    if len(names) <= _MOST_LISTED:
        return list(names)
    return [*names[:half], "...", *names[-half:]]


def dataset(
    cells: Cells,
    rows: Callable[[], Iterable[Row]],
    *,
    name: str,
    missing: str,
    parts: np.ndarray | None = None,
) -> Dataset:
    """Makes a dataset of cells.

    Args:
      cells: of the table; they are changed.
      rows: yields the rows, to find the first that cannot be used.
      name: the dataset's name in tables and captions.
      missing: what to do with rows with missing cells: "refuse"; "drop" leaves the rows
        out; "mean" fills the cells with their column's mean over the training examples
        (a missing label is still refused).
      parts: which of `PARTS` each row belongs to, (N,); None if nnlab is to choose.

    Raises:
      ValueError: a cell cannot be used, or the labels are no classes.
    """
    low, high = np.fmin.reduce(cells.numbers, None), np.fmax.reduce(cells.numbers, None)
    cells.wrong |= bool(low < -_LARGEST or high > _LARGEST)
    cells.wrong |= not all(text.isprintable() for text in set(cells.labels))
    count = len(cells.labels)
    gone = cells.missing()
    some, no_label = gone.any(axis=1), labels.missing(cells.labels)
    if (
        cells.wrong
        or (missing == "refuse" and some.any())
        or (missing != "drop" and "" in cells.labels)
    ):
        raise _first_wrong(cells, rows, missing)
    notes = []
    if missing == "drop" and (dropped := some | no_label).any():
        if dropped.all():
            most = cells.names[int(gone.sum(axis=0).argmax())]
            raise ValueError(
                f"{cells.where}: every row lacks a value, most of them in column "
                f"{most!r}: csv.ignore leaves columns out"
            )
        kept = ~dropped
        cells.numbers, cells.labels = cells.numbers[kept], cells.labels[kept]
        cells.texts = {i: (codes[kept], v) for i, (codes, v) in cells.texts.items()}
        parts = parts_of(parts, kept, cells.where)
        notes.append(
            f"rows that lack a value are left out: {dropped.sum():,} of {count:,}"
        )
    elif some.any():
        filled = [cells.names[i] for i in np.flatnonzero(gone.any(axis=0))]
        notes.append(
            "cells that were missing hold their column's mean over the training "
            f"examples: {gone.sum():,} in {', '.join(ends(filled))}"
        )
    del gone
    classes = classes_of(cells)
    notes += told_of(cells, classes) + _identifiers(cells)
    columns, inputs, told = _encoded(cells)
    try:
        made = _dataset(inputs, columns, classes, name, parts)
    except ValueError as error:
        raise ValueError(f"{cells.where}: {error}") from error
    return replace(made, notes=(*notes, *told))


def _first_wrong(
    cells: Cells, rows: Callable[[], Iterable[Row]], missing: str
) -> ValueError:
    """Returns the error of the first cell that cannot be used."""
    for where, text, values in rows():
        if not text and missing != "drop":
            return ValueError(f"{where}: column {cells.label!r} is empty")
        if not text.isprintable():
            return ValueError(
                f"{where}: {text!a} in column {cells.label!r} cannot be shown"
            )
        for i, value in enumerate(values):
            if fault := _fault(cells, i, value, missing):
                return ValueError(f"{where}: {fault}")
    return ValueError(f"{cells.where} has cells that cannot be used")


def _fault(cells: Cells, i: int, text: str, missing: str) -> str:
    """Says what is wrong with a cell of the i-th feature, and the remedy, or ""."""
    is_text, name = i in cells.texts, cells.names[i]
    what = f"{reprlib.repr(text)} in column {name!r}"
    if text in cells.marks.get(i, labels.MISSING):
        if missing != "refuse":
            return ""
        gone = cells.missing()
        some = [cells.names[i] for i in np.flatnonzero(gone.any(axis=0))]
        said = f"{what} is no value" if text else f"column {name!r} is empty"
        return (
            f"{said}; {gone.any(axis=1).sum():,} of {len(gone):,} rows lack a value, "
            f"in {', '.join(ends(some))}: csv.missing=drop leaves such rows out, "
            "csv.missing=mean puts the column's mean there, "
            f"csv.ignore={','.join(some[:_MOST_OFFERED])} leaves columns out"
        )
    if is_text:
        return "" if text.isprintable() else f"{what} cannot be shown"
    if math.isfinite(_number(text)):
        return ""
    hint = "are written such as 1234.5" * like_number(text)
    return (
        f"{what} is no finite number; numbers {hint or 'are most of the column'}: mend "
        f"it, or leave the column out by csv.ignore={name}"
    )


def told_of(cells: Cells, classes: labels.Encoded) -> list[str]:
    """Returns a note where labels were taken for numbers without being asked."""
    if cells.task != AUTO or classes.values is not None:
        return []
    return [
        f"column {cells.label!r} holds many numbers, so this is a regression: "
        "csv.task=classification makes classes of them, if each has examples enough"
    ]


def classes_of(cells: Cells) -> labels.Encoded:
    """Makes classes of the labels, or targets if they are a quantity."""
    texts: list[str] = cells.labels.tolist()
    path, label, count = cells.where, cells.label, len(texts)
    for text in {*texts}:
        if not text.isprintable():
            raise ValueError(f"{path}: {text!a} in column {label!r} cannot be shown")
    try:
        classes = labels.parse(texts, f"labels in column {label!r}")
    except ValueError as error:
        hint = "csv.missing=drop leaves them out"
        raise ValueError(f"{path}: {error} ({hint})") from error
    if cells.header and label in classes.names and all(map(like_number, cells.names)):
        raise ValueError(
            f"{cells.header}: it looks like an example, not like a header "
            "that names the columns: write one above it"
        )
    number, kind = len(classes.names), classes.values.dtype.kind
    is_quantity = (kind == "f" and number > _MOST_FRACTIONS) or (
        kind in "iu" and number > _MOST_WHOLE and count < _FEW * number
    )
    if cells.task == REGRESSION or (cells.task == AUTO and is_quantity):
        if kind not in "iuf":
            raise ValueError(
                f"{path}: column {label!r} holds texts, such as {classes.names[0]!r}: "
                "csv.task=regression needs numbers"
            )
        numbers = classes.values[classes.codes].astype(np.float64)
        return labels.Encoded(numbers[:, np.newaxis], (label,), None)
    if number < 2:
        raise ValueError(
            f"{path} has only the label {classes.names[0]!r} in column {label!r}: at "
            "least 2 classes are needed"
        )
    found = (
        f"{path} has {number:,} different labels in column {label!r} of {count:,} rows"
    )
    if 2 * number > count:
        hint = "; leave out csv.task=classification to learn them as numbers"
        raise ValueError(
            f"{found}: a class needs two examples on average{hint * is_quantity}"
        )
    return classes


def _identifiers(cells: Cells) -> list[str]:
    """Returns a note for each column that seems to number the rows."""
    notes, count = [], len(cells.numbers)
    low = np.fmin.reduce(cells.numbers, axis=0)
    high = np.fmax.reduce(cells.numbers, axis=0)
    # Only these can hold as many different whole numbers as there are rows.
    for i in np.flatnonzero(high - low >= count - 1):
        name, column = cells.names[i], cells.numbers[:, i]
        if (column % 1).any() or len(np.unique(column)) < count:
            continue
        if _ID.fullmatch(name) or (low[i] in (0, 1) and high[i] - low[i] == count - 1):
            notes.append(
                f"column {name!r} seems to number the rows and is used as a feature: "
                f"csv.ignore={name} leaves it out"
            )
    return notes


def _encoded(cells: Cells) -> tuple[list[str], np.ndarray, list[str]]:
    """Returns the features' names, the features (N, F), and notes."""
    if not cells.texts:
        return list(cells.names), cells.numbers, []
    count = len(cells.numbers)
    found, columns, told, many = [], [], [], {}
    for i, name in enumerate(cells.names):
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
            f"{cells.where}: columns of texts have a feature for each value, too many "
            f"here: {', '.join(many.values())} of {count:,} rows; names, dates and "
            f"the like are left out by csv.ignore={','.join(many)}"
        )
    name, times = Counter(found).most_common(1)[0]
    if times > 1:
        raise ValueError(
            f"{cells.where}: {times} features would be named {name!r}: rename a column"
        )
    return (
        found,
        np.hstack(columns),
        [f"texts have a feature, 0 or 1, for each value: {', '.join(ends(told))}"],
    )


def _dataset(
    inputs: np.ndarray,
    columns: list[str],
    classes: labels.Encoded,
    name: str,
    parts: np.ndarray | None,
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
    dataset = from_parts(
        inputs,
        classes,
        parts,
        name=name,
        feature_names=() if filled.size else columns,
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
        digest=digest_of(
            *(train, validation, test, origin),
            target_mean=dataset.target_mean,
            target_unit=dataset.target_unit,
        ),
        feature_names=tuple(columns),
        origin=origin,
    )


def parts_of(
    parts: np.ndarray | None, kept: np.ndarray, where: str
) -> np.ndarray | None:
    """Returns the parts of the rows that are kept, of all parts that there were.

    Raises:
      ValueError: a part has lost all its rows.
    """
    if parts is None:
        return None
    for number in np.setdiff1d(parts, parts[kept]):
        raise ValueError(
            f"{where}: every row of the {PARTS[number]} set lacks a value: "
            "csv.ignore leaves columns out, or remove this set"
        )
    return np.asarray(parts[kept])


def from_parts(
    inputs: np.ndarray, classes: labels.Encoded, parts: np.ndarray | None, **more: Any
) -> Dataset:
    """Makes a dataset of examples (N, ...), cut as `parts` says; see `dataset`."""
    task = REGRESSION if classes.values is None else CLASSIFICATION
    about = {"class_names": classes.names, "class_values": classes.values, **more}
    about["task"] = task
    if parts is None:
        return Dataset.from_arrays(inputs, classes.codes, copy=False, **about)
    for number, part in enumerate(PARTS[1:], 1):
        if (here := parts == number).any():
            about[f"{part}_inputs"] = inputs[here]
            about[f"{part}_labels"] = classes.codes[here]
    here = parts == 0
    return Dataset.from_arrays(inputs[here], classes.codes[here], **about)


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


def like_number(text: str) -> bool:
    """Whether people would read a text as a number, such as 1,234.5, 1e400 or 12%."""
    try:
        float(text.translate(_WRITTEN_OTHERWISE))
    except ValueError:
        return re.fullmatch("0[xX][0-9a-fA-F]+", text) is not None
    return True
