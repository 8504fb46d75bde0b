# SPDX-License-Identifier: Apache-2.0
"""Parquet files: what a text file or a folder of images would give, or one line."""

import datetime
import io
import json

import numpy as np
import pandas
import pyarrow as pa
import pyarrow.parquet
import pytest
from folders import assert_equal, refused, splits
from PIL import Image, ImageOps

from nnlab.data import Dataset, load, parquet

DRAWN = np.random.default_rng(0)
COUNT = 60
DAYS = ("2026-01-02", "2026-02-01")
TABLE = pandas.DataFrame(
    {
        "hours": DRAWN.normal(8, 2, COUNT).round(2),
        "missed": DRAWN.integers(0, 9, COUNT),
        "school": DRAWN.choice(["north", "south", "west 2"], COUNT),
        "away": DRAWN.choice([True, False], COUNT),
        "since": DRAWN.choice([*map(datetime.date.fromisoformat, DAYS)], COUNT),
        "label": np.arange(COUNT) % 3,
    }
)
GAPS = TABLE.assign(
    hours=TABLE["hours"].where(TABLE.index % 20 != 3),
    school=TABLE["school"].where(TABLE.index % 30 != 7),
)


def as_csv(folder, frame, options):
    frame.to_csv(folder / "t.csv", index=False)
    return load(f"csv:{folder / 't.csv'}", csv=options)


@pytest.mark.parametrize("missing", ["drop", "mean"])
@pytest.mark.parametrize("form", ["plain", "category", "strings", "decimal"])
def test_a_table_is_what_the_same_table_is_as_text(tmp_path, form, missing):
    frame = GAPS
    path, options = tmp_path / "t.parquet", {"missing": missing, "ignore": ["missed"]}
    stored = frame
    if form == "category":
        stored = frame.astype({"school": "category"})
    elif form == "strings":
        stored = frame.astype({"hours": str}).replace({"hours": {"nan": "NA"}})
        frame = stored
    table = pa.Table.from_pandas(stored, preserve_index=False)
    if form == "decimal":
        hours = table["hours"].cast(pa.decimal128(9, 2))
        table = table.set_column(0, "hours", hours)
    pyarrow.parquet.write_table(table, path)
    found = load(f"parquet:{path}", csv=options)
    wanted = as_csv(tmp_path, frame, options)
    assert_equal(found, wanted)
    assert found.feature_names == wanted.feature_names
    assert "school=west 2" in found.feature_names
    assert found.notes == wanted.notes
    np.testing.assert_array_equal(found.class_values, wanted.class_values)
    assert_equal(load(f"parquet:{path}", csv=options), found)  # from the cache


def write(path, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize(
    ("columns", "option", "words"),
    [
        (
            {"x": [1.0, None]},
            "",
            ["row 2: column 'x' is empty", "3 of 6 rows", "=mean"],
        ),
        ({"x": [1.0, np.inf]}, "", ["row 2: 'inf' in column 'x' is no finite number"]),
        ({"x": [1, 2]}, "", ["t.parquet: 4 training examples are too few"]),
        (
            {"y": [1, 2]},
            ":lab",
            ["no column is named 'lab'", "'label'?", "PATH:COLUMN"],
        ),
        ({"x": [1, 2]}, ":label:16", ["size 16 is for images"]),
        ({"x": [[1], [2]]}, "", ["column 'x' holds list<", "csv.ignore=x"]),
        ({"x": ["\x07", "b"]}, "", ["row 1: '\\x07' in column 'x' cannot be shown"]),
        ({}, "", ["'label' is the only column"]),
        ({"": [1, 2]}, "", ["column 1 has no name"]),
        ({"\x07": [1, 2]}, "", ["the name of column 1 cannot be shown: '\\x07'"]),
        ({"x": [1, 2], "y": [[1], [2]]}, ":y", ["'y' holds list<", "PATH:COLUMN"]),
        ({"x": [b"1", b"2"]}, "", ["row 1 is damaged, or no image", "csv.ignore=x"]),
        ({"x": [1, 2], "y": [b"\xff", b"a"]}, ":y", ["'y' holds binary", "decode"]),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_in_one_line(
    tmp_path, columns, option, words
):
    columns = {name: values * 3 for name, values in columns.items()}
    path = write(tmp_path / "t.parquet", **columns, label=["a", "b"] * 3)
    with refused(ValueError, path, *words):
        load(f"parquet:{path}{option}")


def test_odd_columns_are_refused_in_one_line(tmp_path):
    path = tmp_path / "t.parquet"
    label, grids = pa.array(["a", "b"] * 6), np.zeros((12, 2, 2))
    tensor = pa.FixedShapeTensorArray.from_numpy_ndarray(grids)
    for columns, names, words in (
        ([tensor, label], ["x", "label"], ["'x' holds extension<", "csv.ignore=x"]),
        ([label, label, label], ["x", "x", "label"], ["2 columns are named 'x'"]),
    ):
        pyarrow.parquet.write_table(pa.table(columns, names), path)
        with refused(ValueError, path, *words):
            load(f"parquet:{path}")


def test_dates_beyond_the_calendar_are_refused_with_their_column(tmp_path):
    days = pa.array([3_000_000, 4_000_000] * 6, pa.date32())
    path = write(tmp_path / "t.parquet", x=range(12), day=days, label=["a", "b"] * 6)
    for option, words in (("", "csv.ignore=day"), (":day", "as texts")):
        with refused(ValueError, path, "column 'day' holds date32", words):
            load(f"parquet:{path}{option}")


def test_a_dictionary_may_be_full_and_labels_may_be_bytes(tmp_path):
    codes = np.arange(384) % 128  # as many as 8 bits hold
    names = [f"n{code:03}" for code in range(128)]
    full = pa.DictionaryArray.from_arrays(pa.array(codes, pa.int8()), names)
    label = [b"a", b"b"] * 192
    path = write(tmp_path / "t.parquet", name=full, label=label)
    found = load(f"parquet:{path}")
    assert found.feature_names == tuple(f"name={one}" for one in names)
    assert found.class_names == ("a", "b")


def described(path, names, count=60, x=0.5, **more):
    """Writes a file beside whose codes Hugging Face stores the names of the classes."""
    features = {"label": {"_type": "ClassLabel", "names": names}, **more}
    about = json.dumps({"info": {"features": features}})
    rows = pa.table({"x": np.arange(count) + x, "label": np.arange(count) % 2})
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = rows.replace_schema_metadata({"huggingface": about})
    pyarrow.parquet.write_table(rows, path)
    return path


def test_names_of_classes_are_those_of_all_files(tmp_path):
    lists = [{"dtype": "int64", "_type": "Value"}]
    path = described(tmp_path / "t.parquet", ["cat", "dog"], other=lists)
    assert load(f"parquet:{path}").class_names == ("cat", "dog")
    for folder, first, second in (("a", "0", "1"), ("b", "train", "test")):
        described(tmp_path / folder / f"{first}.parquet", ["cat", "dog"])
        described(tmp_path / folder / f"{second}.parquet", ["dog", "cat"])
        with refused(ValueError, first, second, "classes in column 'label'"):
            load(f"parquet:{tmp_path / folder}")


@pytest.mark.parametrize("part", ["train", "test", "validation"])
def test_a_set_may_be_empty_but_not_be_emptied(tmp_path, part):
    names = ["cat", "dog"]
    for one in ("train", "test", "validation"):
        described(tmp_path / f"{one}.parquet", names, 0 if one == part else 60)
    if part == "train":
        with refused(ValueError, tmp_path, "the training set is empty"):
            load(f"parquet:{tmp_path}")
    else:
        (note, *_) = load(f"parquet:{tmp_path}").notes
        assert note == f"the {part} set, which is empty, is left out"
    described(tmp_path / f"{part}.parquet", names, x=np.nan)
    with refused(ValueError, tmp_path, f"every row of the {part} set lacks a value"):
        load(f"parquet:{tmp_path}", csv={"missing": "drop"})


def test_only_columns_that_are_needed_are_read(tmp_path):
    path = tmp_path / "t.parquet"
    more = [f"{number:0100}" for number in range(60)]
    for wanted, options in (
        ({"x": np.arange(60.0)}, {"ignore": ["more"]}),
        ({"image": pictures(60)}, {}),
    ):
        rows = pa.table({**wanted, "more": more, "label": [*"ab"] * 30})
        pyarrow.parquet.write_table(rows, path, compression="none")
        whole = load(f"parquet:{path}", csv=options)
        chunk = pyarrow.parquet.ParquetFile(path).metadata.row_group(0).column(1)
        content = bytearray(path.read_bytes())
        start, size = chunk.dictionary_page_offset, chunk.total_compressed_size
        content[start : start + size] = bytes(size)
        path.write_bytes(content)
        assert load(f"parquet:{path}", csv=options).digest == whole.digest
    with refused(ValueError, path, "damaged"):
        load(f"parquet:{path}:more")


def test_what_is_no_parquet_file_is_told(tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"x,label\n1,a\n")
    for path in (tmp_path / "t.parquet", tmp_path):
        with refused(ValueError, tmp_path / "t.parquet", "no Parquet file"):
            load(f"parquet:{path}")
    with refused(FileNotFoundError, "does not exist", "t.parquet'?"):
        load(f"parquet:{tmp_path / 't.parket'}")
    (tmp_path / "empty").mkdir()
    with refused(ValueError, "no file that ends in .parquet"):
        load(f"parquet:{tmp_path / 'empty'}")


def test_files_of_a_folder_are_parts_of_a_table_or_of_its_sets(tmp_path):
    x, label = np.arange(90.0), np.arange(90) % 3
    whole = Dataset.from_arrays(
        x[:, None], label, feature_names=["x"], class_values=[0, 1, 2]
    )
    for part in range(3):
        some = slice(part * 30, part * 30 + 30)
        write(tmp_path / f"a/part-{part}.parquet", x=x[some], label=label[some])
        write(tmp_path / f"d/{part}/0.parquet", x=x[some], label=label[some])
    assert load(f"parquet:{tmp_path / 'd'}").digest == whole.digest
    assert load(f"parquet:{tmp_path / 'a'}").digest == whole.digest
    for folder, names in (
        ("b", ("train-0", "test-0", "validation-0")),
        ("c", ("train/0", "test/0", "val/0")),
    ):
        for part, name in enumerate(names):
            some = slice(part * 30, part * 30 + 30)
            write(tmp_path / folder / f"{name}.parquet", x=x[some], label=label[some])
        found = load(f"parquet:{tmp_path / folder}")
        sets = [sorted(one.inputs[:, 0]) for one in (found.train, found.test)]
        assert sets == [[*x[:30]], [*x[30:60]]]
        assert sorted(found.validation.inputs[:, 0]) == [*x[60:]]
    write(tmp_path / "a/part-3.parquet", y=x, label=label)
    with refused(ValueError, "part-0.parquet and ", "the columns x and y"):
        load(f"parquet:{tmp_path / 'a'}")
    write(tmp_path / "b/more.parquet", x=x[:3], label=label[:3])
    with refused(ValueError, "more.parquet belongs to no set"):
        load(f"parquet:{tmp_path / 'b'}")


def png(seed, size=(12, 12), mode="L"):
    noise = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(stream, "png")
    return stream.getvalue()


def pictures(count, first=0, **how):
    return [png(first + number, **how) for number in range(count)]


def test_images_keep_their_size_or_get_one(tmp_path):
    stored, label = pictures(18), [*"ab"] * 9
    path = write(
        tmp_path / "t.parquet", image=stored, label=label, more=[*range(3)] * 6
    )
    found = load(f"parquet:{path}")
    assert found.input_shape == (12, 12, 1)
    for name in "ab":
        for number, code in enumerate(label):
            if code == name:
                folder = tmp_path / "images" / name
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"{number}.png").write_bytes(stored[number])
    assert found.digest == load(f"folder:{tmp_path / 'images'}:12").digest
    assert found.notes == ("not read beside the images: more",)
    assert load(f"parquet:{path}:8").input_shape == (8, 8, 1)
    more = load(f"parquet:{path}:more:8")
    assert (more.class_names, more.input_shape) == (("0", "1", "2"), (8, 8, 1))
    structs = [{"bytes": one, "path": "x.png"} for one in stored[:17]]
    structs.append({"bytes": png(99, (20, 10), "RGB"), "path": None})
    write(path, picture=structs, label=label)
    assert load(f"parquet:{path}").input_shape == (64, 64, 3)  # of several sizes


def test_images_that_cannot_be_used_are_refused_in_one_line(tmp_path):
    path, label = tmp_path / "t.parquet", [*"ab"] * 9
    good = pictures(17)
    write(path, image=pictures(18), label=["a", "\x07"] * 9)
    with refused(ValueError, path, "'\\x07' in column 'label' cannot be shown"):
        load(f"parquet:{path}")
    for bad, words in (
        (b"no image", ["row 18 is damaged, or no image"]),
        (None, ["row 18: column 'image' is empty", "csv.missing=drop"]),
    ):
        write(path, image=[*good, bad], label=label)
        with refused(ValueError, path, *words):
            load(f"parquet:{path}")
    kept = load(f"parquet:{path}", csv={"missing": "drop"})
    assert sum(len(split.labels) for split in splits(kept)) == 17
    (tmp_path / "x.png").write_bytes(png(0))
    paths = [{"bytes": None, "path": str(tmp_path / "x.png")}] * 18
    write(path, image=paths, label=label)
    with refused(ValueError, "row 1 holds the path of an image", "folder:PATH"):
        load(f"parquet:{path}")
    write(path, image=pictures(18), other=pictures(18), label=label)
    with refused(ValueError, "2 columns of images", "image and other", "csv.ignore"):
        load(f"parquet:{path}")
    assert load(f"parquet:{path}", csv={"ignore": ["other"]}).input_shape[0] == 12


@pytest.mark.parametrize(
    ("place", "name"),
    [(ImageOps, "exif_transpose"), (pyarrow.parquet.ParquetFile, "read")],
)
def test_little_memory_is_no_damage(tmp_path, monkeypatch, place, name):
    def fails(*_, **__):
        raise pa.ArrowMemoryError

    path = write(tmp_path / "t.parquet", image=pictures(18), label=[*"ab"] * 9)
    monkeypatch.setattr(place, name, fails)
    with pytest.raises(MemoryError):
        load(f"parquet:{path}")


def test_the_index_of_pandas_is_left_out(tmp_path):
    TABLE[TABLE["missed"] > 0].to_parquet(tmp_path / "t.parquet")
    found = parquet.read(tmp_path / "t.parquet", name="t")
    assert found.notes[0] == "the index of pandas is left out"
    assert not [name for name in found.feature_names if name.startswith("__")]
