# SPDX-License-Identifier: Apache-2.0
"""Laws of tables: columns by name, labels as written, malformed rows by line."""

import csv
import io

import numpy as np
import pytest
from folders import assert_equal, refused

from nnlab.data import Dataset, load, tabular

ROWS = [(i, i % 3 + 0.5, "abc"[i % 3]) for i in range(12)]
HEADER = "height,width,label\n"
GOOD = HEADER + "".join(f"{a},{b},{c}\n" for a, b, c in ROWS)


@pytest.fixture
def table(tmp_path):
    """Writes a file; returns its path."""

    def write(content):
        path = tmp_path / "t.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def with_label(labels):
    """A table with one feature, the row's number, and these labels."""
    return "x,label\n" + "".join(f"{i},{label}\n" for i, label in enumerate(labels))


def named(data):
    """Class name by the value of the first feature, in all splits."""
    return {
        float(x[0]): data.class_names[y]
        for split in (data.train, data.validation, data.test)
        for x, y in zip(split.inputs, split.labels, strict=True)
    }


def test_columns_are_features_in_their_own_units(table):
    data = load(f"csv:{table(GOOD)}")
    assert_equal(
        data,
        Dataset.from_arrays(
            np.array([row[:2] for row in ROWS], np.float32), [row[2] for row in ROWS]
        ),
    )
    assert data.feature_names == ("height", "width")
    assert data.is_table
    assert data.name == f"csv:{table(GOOD)}"
    assert (data.scale, data.class_names) == (1.0, ("a", "b", "c"))
    assert named(data) == {float(a): c for a, _, c in ROWS}


@pytest.mark.parametrize(
    "content",
    [
        GOOD.encode("utf-8-sig"),
        GOOD.replace("\n", "\r\n"),
        GOOD.rstrip("\n"),
        GOOD + "\n \n\n",
        "\n" + GOOD.replace("\n", "\n\n"),
        GOOD.replace(",", ";"),
        GOOD.replace(",", "\t"),
        GOOD.replace(",", " , "),
        "".join(f'"{r}"\n'.replace(",", '", "') for r in GOOD.split()),
        "".join(
            ",".join(f'"{c}"' for c in r) + "\n" for r in csv.reader(io.StringIO(GOOD))
        ),
    ],
    ids=[
        "byte order mark",
        "CRLF",
        "no end of line",
        "blank at the end",
        "blank between",
        "semicolons",
        "tabs",
        "spaces",
        "quotes after spaces",
        "quotes",
    ],
)
def test_ways_to_write_the_same_table(table, content):
    same = tabular.read(table(content), name="t")
    assert_equal(same, tabular.read(table(GOOD), name="t"))
    assert same.feature_names == ("height", "width")


def test_any_column_can_be_the_label(table):
    path = table(GOOD.replace("width", '"the ""width"", cm:mm"').replace("c\n", "3\n"))
    content = path.read_text().replace(",a", ",1").replace(",b", ",2")
    data = load(f'csv:{table(content)}:the "width", cm:mm')
    assert data.feature_names == ("height", "label")
    assert data.class_names == ("0.5", "1.5", "2.5")
    assert named(data) == {float(a): str(b) for a, b, _ in ROWS}


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["10", "2", "-1"], ("-1", "2", "10")),
        (["10", "2", "x"], ("2", "10", "x")),
        (["0012", "12", "7"], ("7", "0012", "12")),
        (
            ["1234567890123456790", "1234567890123456789"],
            ("1234567890123456789", "1234567890123456790"),
        ),
        (["0.5", "1e2", "3"], ("0.5", "3", "1e2")),
        (["1", "1.0", "2"], ("1", "2")),
        (["1_0", "2", "3"], ("1_0", "2", "3")),
        (["+", "-"], ("+", "-")),
        (["é", "b", "a b"], ("a b", "b", "é")),
        (['"a\n b"', '"a,b"', "True"], ("True", "a b", "a,b")),
    ],
)
def test_labels_keep_their_text_and_numbers_their_order(table, labels, names):
    data = tabular.read(table(with_label(labels * 4)), name="t")
    assert data.class_names == names
    cells = [" ".join(label.strip('"').split()) for label in labels * 4]
    merged = {"1.0": "1"} if "1.0" in labels else {}
    expected = {float(i): merged.get(c, c) for i, c in enumerate(cells)}
    assert named(data) == expected


def row(line):
    """The good table with another third row, which is line 4."""
    lines = GOOD.splitlines(keepends=True)
    return "".join([*lines[:3], line + "\n", *lines[4:]])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (row("1,2"), ["line 4: 2 cells", "3 columns"]),
        (row("1,2,a,"), ["line 4: 4 cells"]),
        (row(",,"), ["line 4: column 'label' is empty"]),
        (row("1,,a"), ["line 4: '' in column 'width'", "finite"]),
        (row("1,2,\x1b[2J"), [r"line 4: '\x1b[2J' in column 'label' cannot be shown"]),
        (GOOD.replace("width", "\x00"), [r"line 1: the name of column 2", r"'\x00'"]),
        (row("tall,2,a"), ["line 4: 'tall' in column 'height'"]),
        (row("1,nan,a"), ["line 4: 'nan'"]),
        (row("1,-inf,a"), ["line 4: '-inf'"]),
        (row("1,1e39,a"), ["line 4: '1e39'"]),
        (row("1,1_000,a"), ["line 4: '1_000'"]),
        (row("x" * 900 + ",2,a"), ["line 4: 'xxx", "...", "'height'"]),
        (row("1,2, "), ["line 4: column 'label' is empty"]),
        (row('1,2,"a'), ["line 4: unexpected end"]),
        (row('1,2,"a"b'), ["line 4: ',' expected"]),
        (row('1,2,"a\nb"\n7,,a'), ["line 6: ''"]),
        ("\n\n" + row("1,,a"), ["line 6: ''"]),
        (row("1,2,é").encode("latin-1"), ["line 4: it is not UTF-8"]),
        (GOOD.encode("utf-16"), ["line 1: it is not UTF-8"]),
        ("", ["line 1: a header", "missing"]),
        ("\n\n", ["a header", "missing"]),
        (HEADER, ["header but no rows"]),
        ("a,,label\n", ["line 1: column 2 has no name"]),
        ("a,b,a ,label\n", ["line 1: 2 columns are named 'a'"]),
        ("label\n1\n", ["line 1: 'label' is the only column"]),
        (GOOD.replace("label", "Label"), ["csv:PATH:COLUMN", "did you mean 'Label'?"]),
        (",".join(f"c{i}" for i in range(785)), ["c0, c1", "c14, ..., c770", "c784"]),
        (HEADER + "1,2,a\n3,4,b\n" * 2, ["3 training examples are too few"]),
        (HEADER + "1,2,a\n" * 9, ["only the label 'a'", "2 classes"]),
        (with_label(["NA", "b", "c", "?"] * 4), ["8 of 16 labels", "'?', 'NA'"]),
        (with_label(range(20)), ["20 different labels", "'label'", "20 rows"]),
    ],
)
def test_malformed_table_is_refused_in_one_line(table, content, words):
    path = table(content)
    with refused(ValueError, path, *words):
        load(f"csv:{path}")


def test_missing_file_and_folder(tmp_path):
    with refused(FileNotFoundError, tmp_path / "absent", "does not exist"):
        load(f"csv:{tmp_path / 'absent'}:label")
    with refused(FileNotFoundError, tmp_path, "is not a file"):
        load(f"csv:{tmp_path}")


def test_a_column_named_by_the_user_must_exist(table):
    with refused(ValueError, "'widht'", "did you mean 'width'?", "height, width"):
        load(f"csv:{table(GOOD)}:widht")
