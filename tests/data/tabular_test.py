# SPDX-License-Identifier: Apache-2.0
"""Tables: columns by name, labels as written, malformed rows by line."""

import csv
import gzip
import os

import numpy as np
import pandas
import pytest
from folders import assert_equal, refused, splits

from nnlab.data import Dataset, load, tabular

ROWS = [(i, i % 3 + 0.5, "abc"[i % 3]) for i in range(12)]
HEADER = "height,width,label\n"
GOOD = HEADER + "".join(f"{a},{b},{c}\n" for a, b, c in ROWS)
WIDE = ",".join(["label", *map("c{}".format, range(1_233))]) + "\na"


@pytest.fixture
def table(tmp_path):
    """Writes a table; returns its path."""

    def write(content):
        path = tmp_path / "t.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.fixture
def read(table):
    return lambda content, **how: tabular.read(table(content), name="t", **how)


def rows_of(header, cell, count):
    """Returns a table of rows, with the labels a and b in turns."""
    rows = (f"{cell(i)},{'ab'[i % 2]}\n" for i in range(count))
    return f"{header},label\n{''.join(rows)}"


def with_label(labels):
    """Makes a table with one feature, the row's number, and these labels."""
    return "x,label\n" + "".join(f"{i},{label}\n" for i, label in enumerate(labels))


def named(data):
    """Returns the class name by the value of the first feature, in all splits."""
    return {
        float(x[0]): data.class_names[y]
        for split in splits(data)
        for x, y in zip(split.inputs, split.labels, strict=True)
    }


def test_numbers_are_read_to_the_last_bit(read):
    number = "1.5139239430427553"  # a hair from the middle of two of float32
    data = read(rows_of("x", lambda i: number if i % 3 else i, 12))
    assert float(np.float32(number)) in named(data)


def test_columns_are_features_in_their_own_units(table):
    data = load(f"csv:{table(GOOD)}")
    numbers = np.array([row[:2] for row in ROWS], np.float32)
    assert_equal(data, Dataset.from_arrays(numbers, [row[2] for row in ROWS]))
    assert (data.is_table, data.feature_names) == (True, ("height", "width"))
    assert (data.name, data.scale) == (f"csv:{table(GOOD)}", 1.0)
    assert named(data) == {float(a): c for a, _, c in ROWS}


SAME = {
    "byte order mark": GOOD.encode("utf-8-sig"),
    "CRLF": GOOD.replace("\n", "\r\n"),
    "no end of line": GOOD.rstrip("\n"),
    "blank at the end": GOOD + "\n \n\n",
    "blank between": "\n" + GOOD.replace("\n", "\n\n"),
    "semicolons": GOOD.replace(",", ";"),
    "tabs": GOOD.replace(",", "\t"),
    "vertical bars": GOOD.replace(",", "|"),
    "sep=": "sep=;\n" + GOOD.replace(",", ";"),
    "sep= in quotes": '"SEP=|"\r\n' + GOOD.replace(",", "|").replace("\n", "\r\n"),
    "a delimiter at each end": GOOD.replace("\n", ",\n"),
    "index without a name": "".join(
        f"{i or ''},{line}\n" for i, line in enumerate(GOOD.splitlines())
    ),
    "CR": GOOD.replace("\n", "\r"),
    "spaces": GOOD.replace(",", " , "),
    "quotes after spaces": "".join(
        f'"{r}"\n'.replace(",", '", "') for r in GOOD.split()
    ),
    "quotes": "".join(f'"{r}"\n'.replace(",", '","') for r in GOOD.split()),
}


@pytest.mark.parametrize("way", SAME)
def test_ways_to_write_the_same_table(read, way):
    same = read(SAME[way])
    assert_equal(same, read(GOOD))
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
def test_labels_keep_their_text_and_numbers_their_order(read, labels, names):
    data = read(with_label(labels * 4))
    assert data.class_names == names
    cells = [" ".join(label.strip('"').split()) for label in labels * 4]
    merged = {"1.0": "1"} if "1.0" in labels else {}
    expected = {float(i): merged.get(c, c) for i, c in enumerate(cells)}
    assert named(data) == expected


def row(line):
    """Returns the good table with another third row, line 4."""
    lines = GOOD.splitlines(keepends=True)
    return "".join([*lines[:3], line + "\n", *lines[4:]])


def named_rows(*names):
    """Returns a table with a column of alternating texts."""
    return rows_of("n,who", lambda i: f"{(i + 1) % 5},{names[i % len(names)]}", 12)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (row("1,2"), ["line 4: 2 cells", "3 columns"]),
        (row("1,2,a,"), ["line 4: 4 cells"]),
        (row(",,"), ["line 4: column 'label' is empty"]),
        (row("1,,a"), ["line 4: column 'width' is empty", "csv.ignore=width leaves"]),
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
        (row('1,2,"a\nb"\n7,,a'), ["line 6: column 'width' is empty"]),
        ("\n\n" + row("1,,a"), ["line 6: column 'width' is empty"]),
        (row("1,2,é").encode("latin-1"), ["line 4: it is not UTF-8"]),
        (GOOD.encode("utf-16"), ["line 1: it is not UTF-8"]),
        ("", ["line 1: a header", "missing"]),
        ("\n\n", ["a header", "missing"]),
        (HEADER, ["header but no rows"]),
        ("a,,label\n", ["line 1: column 2 has no name"]),
        ("a,b,a ,label\n", ["line 1: 2 columns are named 'a'"]),
        ("label\n1\n", ["line 1: 'label' is the only column"]),
        ("sep=,\nlabel\n1,2\n", ["line 2: 'label' is the only column"]),
        (GOOD.replace("label", "Label"), ["csv:PATH:COLUMN", "did you mean 'Label'?"]),
        (",".join(f"c{i}" for i in range(785)), ["c0, c1", "c14, ..., c770", "c784"]),
        ("# made by me\n" + GOOD, ["line 1: '# made by me' is a single cell"]),
        ("a, b, c;lab\n" + "1;x\n" * 9, ["';' separates columns"]),
        (GOOD + '" "\n', ["a line of blanks in quotes"]),
        (GOOD + "# more\n", ["line 14: 1 cell, the header has 3 columns"]),
        (WIDE + ",1" * 1_234 + "\n", ["2: 1,235 cells, the header has 1,234 col"]),
        (GOOD[len(HEADER) :], ["line 1: no column", "write a header above it"]),
        (GOOD.replace(",", " "), ["line 1", "commas, semicolons, tabs or vertical"]),
        (HEADER + GOOD[len(HEADER) :].replace("\n", ",\n"), ["line 2", "ends in ','"]),
        (
            gzip.compress(GOOD.encode(), mtime=0),
            ["line 1: it is not UTF-8 but a gzip archive"],
        ),
        (GOOD.encode("utf-16"), ["but UTF-16: save the table"]),
        (row("1,?,a"), ["1 of 12 rows", "csv.missing=drop", "csv.missing=mean"]),
        (row('1,"2,5",a'), ["line 4: '2,5'", "written such as 1234.5"]),
        (row("1,0x10,a"), ["line 4: '0x10' in column 'width' is no finite number"]),
        (row("1,1e400,a"), ["line 4: '1e400'"]),
        (named_rows("x", ""), ["line 3: column 'who' is empty"]),
        (named_rows("\x07", "x"), ["line 2: '\\x07' in column 'who' cannot be shown"]),
        (named_rows(*"abcdefgh"), ["who (8) of 12 rows", "csv.ignore=who"]),
        (named_rows("x").replace("n,who", "who=x,who"), ["2 features", "'who=x'"]),
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


def test_what_is_named_must_exist(table, tmp_path):
    with refused(FileNotFoundError, tmp_path / "absent", "does not exist"):
        load(f"csv:{tmp_path / 'absent'}:label")
    with refused(FileNotFoundError, tmp_path, "is not a file"):
        load(f"csv:{tmp_path}")
    with refused(ValueError, "'widht'", "did you mean 'width'?", "height, width"):
        load(f"csv:{table(GOOD)}:widht")
    with refused(ValueError, "line 1", "looks like an example"):
        load(f"csv:{table(GOOD[len(HEADER) :])}:a")


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (GOOD.replace(",", ";").replace("height", '"height, cm"'), "height, cm"),
        (GOOD.replace(",", "\t").replace("height", "height, cm"), "height, cm"),
        (GOOD.replace(",", "|").replace("height", "a;b;c"), "a;b;c"),
        (GOOD.replace(",", ";").replace("a\n", '"a,b,c"\n'), "height"),
    ],
)
def test_the_delimiter_fits_all_lines_not_the_header_alone(read, content, names):
    assert read(content).feature_names == (names, "width")


def first_column(data):
    """Returns the first column in the units of the file, over all splits."""
    return np.concatenate([data.in_units(s.inputs)[:, 0] for s in splits(data)])


def test_numbers_are_those_of_the_file(read):
    values = [1.7e9 + 0.1 * i for i in range(20)]
    found = first_column(read(rows_of("x", lambda i: repr(values[i]), 20)))
    # What is subtracted is exact; the rest is float32.
    np.testing.assert_allclose(sorted(found), values, rtol=0, atol=1e-6)


def test_a_table_may_be_wide(read):
    wide = np.arange(40)[:, None] * np.arange(130) % 251
    header = ",".join(f"c{j}" for j in range(130))
    data = read(rows_of(header, lambda i: ",".join(map(str, wide[i])), 40))
    assert_equal(data, Dataset.from_arrays(wide.astype(np.float32), [*"ab"] * 20))


def test_texts_become_a_feature_for_each_value(table, caplog):
    data = load(f"csv:{table(named_rows('img10', 'img2', 'img2', ' True'))}")
    assert data.feature_names == ("n", "who=True", "who=img2", "who=img10")
    for split in splits(data):
        assert (split.inputs[:, 1:].sum(axis=1) == 1).all()
    (note,) = data.notes
    assert "who (3)" in note
    assert note in caplog.text


def test_columns_are_left_out_by_name(table):
    path = table(named_rows(*"abcdefgh").replace("n,who", '"n, m",who'))
    data = load(f"csv:{path}", csv={"ignore": ("who",)})
    assert data.feature_names == ("n, m",)
    for name, words in (("wo", "did you mean 'who'?"), ("label", "the label column")):
        with refused(ValueError, path, f"csv.ignore={name!r}", words):
            load(f"csv:{path}", csv={"ignore": (name,)})
    with refused(ValueError, "'label' is the only column"):
        load(f"csv:{path}", csv={"ignore": ("who", "n, m")})


def test_cells_of_a_column_that_is_left_out_may_be_long(read):
    long = "x" * 200_000
    content = rows_of("a,b", lambda i: f'{i},"{long}"', 12)
    before = csv.field_size_limit()
    assert_equal(read(content, ignore=["b"]), read(rows_of("a", str, 12)))
    assert csv.field_size_limit() == before  # other readers of the process


GAPS = rows_of("n,who", lambda i: f"{i * i % 7 if i % 5 else 'NA'},{'xy?'[i % 3]}", 60)


def test_rows_that_lack_a_value_are_left_out_where_asked(read):
    data = read(GAPS + "1,x,\n2,y,null\n", missing="drop")
    kept = [r for r in GAPS.split() if "NA" not in r and "?" not in r]
    assert_equal(data, read("\n".join(kept)))
    assert "30 of 62" in data.notes[0]


def test_a_missing_cell_becomes_the_mean_over_the_training_examples(read):
    data = read(GAPS, missing="mean")
    assert data.feature_names == ("n", "who=x", "who=y")
    assert "32 in n, who" in data.notes[0]
    train, test = data.train.inputs, data.test.inputs
    for column in range(3):
        whole = train[train[:, column] % 1 == 0, column]
        (mean,) = {float(v) for v in [*train[:, column], *test[:, column]] if v % 1}
        assert mean == np.float32(whole.mean(dtype=np.float64))
    for missing, words in (("refuse", "line 2: 'NA'"), ("median", "'median'")):
        with refused(ValueError, words, "mean"):
            read(GAPS, missing=missing)


def test_a_gap_leaves_the_other_numbers_as_they_are(read):
    cells = [str(1_700_000_000 + i % 4) if i % 9 else "" for i in range(40)]
    data = read(rows_of("x", cells.__getitem__, 40), missing="mean")
    expected, found = {float(cell) for cell in cells if cell}, {*first_column(data)}
    assert expected <= found
    assert len(found) == len(expected) + 1


@pytest.mark.parametrize("missing", ["drop", "mean"])
def test_a_column_without_a_value_is_refused(table, missing):
    path = table(named_rows("?", "").replace("b\n", "c\n"))
    with refused(ValueError, path, "'who'", "csv.ignore"):
        tabular.read(path, name="t", missing=missing)


def test_hundreds_of_classes_are_classes(read):
    data = read(with_label([i % 300 for i in range(3_000)]))
    assert data.class_names == tuple(map(str, range(300)))


@pytest.mark.parametrize(
    ("name", "value", "is_one"),
    [
        ("x", lambda i: i, True),
        ("x", lambda i: 12 - i, True),
        ("user_id", lambda i: 7 * i, True),
        ("Unnamed: 0", lambda i: 100 + i, True),
        ("x", lambda i: 7 * i, False),
        ("grid", lambda i: 7 * i, False),
        ("id", lambda i: i // 2, False),
        ("id", lambda i: i / 2, False),
    ],
)
def test_what_numbers_the_rows_is_pointed_out(read, name, value, is_one):
    data = read(rows_of(f"{name},y", lambda i: f"{value(i)},{i % 5}", 12))
    assert any(f"csv.ignore={name}" in note for note in data.notes) == is_one


def test_names_meet_however_they_are_written(table):
    path = table(GOOD.replace("label", "e\u0301").replace("width", "i\u0308"))
    data = load(f"csv:{path}:\u00e9", csv={"ignore": ("i\u0308",)})
    assert data.feature_names == ("height",)


def test_a_table_is_read_once_and_again_when_it_changes(table, read, monkeypatch):
    first = read(GAPS, missing="mean")
    with monkeypatch.context() as patch:
        patch.setattr(pandas, "read_csv", None)
        again = read(GAPS, missing="mean")
    assert_equal(again, first)
    assert (again.feature_names, again.notes) == (first.feature_names, first.notes)
    status = table(GAPS).stat()
    path = table(GAPS.replace(",a\n", ",c\n"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert tabular.read(path, name="t", missing="mean").class_names == ("b", "c")
    assert tabular.read(path, name="t", missing="drop").digest != first.digest
