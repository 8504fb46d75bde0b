# SPDX-License-Identifier: Apache-2.0
"""Laws of nnlab.data: one order, equal arrays from every source, one-line refusals."""

import dataclasses
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from folders import (
    assert_equal,
    change,
    entries,
    example,
    prepare,
    publish_at,
    refused,
    serving,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nnlab.data import Dataset, idx, labels, load, published, sources, tfds

REAL = os.environ.get("NNLAB_DATA_DIR")
NUM_TRAIN, NUM_TEST = 60, 20


@pytest.fixture(autouse=True)
def _own_folders(monkeypatch, tmp_path):
    monkeypatch.setenv("NNLAB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("NNLAB_DATA_DIR", raising=False)
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def mnist(monkeypatch):
    """Replaces mnist's publication by 80 random images; returns its IDX contents."""
    rng = np.random.default_rng(0)
    arrays = {
        file: rng.integers(0, 10 if "labels" in file else 256, shape).astype(np.uint8)
        for file, shape in (
            (idx.TRAIN_IMAGES, (NUM_TRAIN, 28, 28)),
            (idx.TRAIN_LABELS, (NUM_TRAIN,)),
            (idx.TEST_IMAGES, (NUM_TEST, 28, 28)),
            (idx.TEST_LABELS, (NUM_TEST,)),
        )
    }
    contents = {file: idx_bytes(array) for file, array in arrays.items()}
    small = dataclasses.replace(
        sources.PUBLICATIONS["mnist"],
        num_train=NUM_TRAIN,
        num_test=NUM_TEST,
        sha256={f: hashlib.sha256(c).hexdigest() for f, c in contents.items()},
    )
    unknown = dataclasses.replace(small, digest=None)
    made = published.dataset(published.Arrays(*arrays.values()), unknown, Path())
    small = dataclasses.replace(small, digest=made.digest)
    monkeypatch.setitem(sources.PUBLICATIONS, "mnist", small)
    return contents


@pytest.fixture
def folder(tmp_path, mnist):
    """A data folder with the four small files, gzipped."""
    return write_files(tmp_path / "data", mnist)


@pytest.fixture
def served(mnist, tmp_path, monkeypatch):
    """Publishes the four small files on a local server; returns its folder."""
    root = write_files(tmp_path / "served", mnist)
    with serving(root) as port:
        publish_at(monkeypatch, "mnist", port)
        yield root


def idx_bytes(array, magic=None):
    magic = 0x800 + array.ndim if magic is None else magic
    return np.array([magic, *array.shape], ">u4").tobytes() + array.tobytes()


def write_files(root, contents, suffix=".gz"):
    root.mkdir(parents=True, exist_ok=True)
    for file, content in contents.items():
        data = gzip.compress(content, mtime=0) if suffix == ".gz" else content
        (root / f"{file}{suffix}").write_bytes(data)
    return root


# Order, splits, from_arrays


@given(seed=st.integers(0, 2**32 - 1), floats=st.booleans())
@settings(max_examples=20, deadline=None)
def test_order_of_the_examples_given_changes_nothing(seed, floats):
    rng = np.random.default_rng(seed)
    inputs = rng.integers(0, 3, (30, 2)).astype(np.float64 if floats else np.uint8)
    labels = np.arange(30) % 3
    shuffled = rng.permutation(30)
    assert_equal(
        Dataset.from_arrays(inputs, labels),
        Dataset.from_arrays(inputs[shuffled], labels[shuffled]),
    )


def test_splits_partition_the_examples():
    inputs = np.arange(100, dtype=np.uint8).reshape(-1, 1)
    data = Dataset.from_arrays(inputs, inputs[:, 0] % 4)
    splits = (data.train, data.validation, data.test)
    assert [len(split.labels) for split in splits] == [67, 13, 20]
    everything = np.concatenate([split.inputs[:, 0] for split in splits])
    assert sorted(everything) == list(range(100))
    for split in splits:
        np.testing.assert_array_equal(split.inputs[:, 0] % 4, split.labels)


def test_order_is_by_sha256_of_bytes_and_label():
    inputs = np.arange(24, dtype=np.float32).reshape(12, 2)
    labels = np.arange(12) % 2
    data = Dataset.from_arrays(inputs, labels, test_inputs=inputs, test_labels=labels)
    keys = [
        hashlib.sha256(
            x.astype("<f4").tobytes() + int(y).to_bytes(4, "little")
        ).digest()
        for x, y in zip(data.test.inputs, data.test.labels, strict=True)
    ]
    assert keys == sorted(keys)


def test_validation_never_exceeds_10000():
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(100_000, 1))
    data = Dataset.from_arrays(inputs, inputs[:, 0] > 0)
    assert len(data.validation.labels) == 10_000


def test_own_test_set_is_kept_whole_and_leaves_train_alone():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 3)), np.arange(60) % 2
    a = Dataset.from_arrays(x, y, test_inputs=x[:9], test_labels=y[:9])
    b = Dataset.from_arrays(x, y, test_inputs=x[9:20], test_labels=y[9:20])
    np.testing.assert_array_equal(a.train.inputs, b.train.inputs)
    assert [len(s.labels) for s in (a.train, a.validation, a.test)] == [50, 10, 9]


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["cat", "dog", "ant"], ("ant", "cat", "dog")),
        (["img10", "img2", "b 7"], ("b 7", "img2", "img10")),
        (["10", "2", "-1"], ("-1", "2", "10")),
        (["e\u0301", "f"], ("f", "\xe9")),
        (np.array([2**63 + 1, 2**63], np.uint64), (f"{2**63}", f"{2**63 + 1}")),
        (np.array([2**63 + 1, 7], object), ("7", f"{2**63 + 1}")),
        ([30, 7, -1], ("-1", "7", "30")),
        (np.array(["b", "c", "a"], dtype=object), ("a", "b", "c")),
        ([2.0, 0.0, 1.0], ("0", "1", "2")),
        ([True, False, True], ("False", "True")),
    ],
)
def test_labels_become_codes_in_sorted_order(labels, names):
    inputs = np.arange(30, dtype=np.uint8).reshape(-1, 1)
    many = np.resize(np.asarray(labels), 30)
    data = Dataset.from_arrays(inputs, many)
    assert data.class_names == names
    assert data.train.labels.dtype == np.int32
    for x, code in zip(data.train.inputs[:, 0], data.train.labels, strict=True):
        assert data.class_values[code] == many[x]


MANY = np.resize(np.array(["a", "b"], object), 12)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.where(np.arange(12) < 3, None, MANY), ["3 of 12", "'None'", "leave"]),
        (np.where(np.arange(12) < 3, "NA", MANY), ["3 of 12", "'NA'"]),
        (np.where(np.arange(12) < 3, np.nan, np.arange(12) % 2), ["3 of 12", "'nan'"]),
        (np.ma.masked_less(np.arange(12), 3), ["3 of 12", "'--'"]),
        (pd.array([pd.NA, 0, 1] * 4, "Int64"), ["4 of 12", "'nan'"]),
        (np.linspace(0, 1, 12), ["no regression", "np.digitize"]),
        (np.eye(12)[:, :2], ["(12, 2)", "argmax"]),
        (MANY.astype("S"), ["|S1", ".astype"]),
        (np.resize(np.array([1, "a"], object), 12), ["int, str", "all"]),
        ([2**64, 1] * 6, ["64 bits"]),
        ([[1], [2, 3]] * 6, ["labels"]),
    ],
)
def test_labels_that_are_none_are_refused_in_one_line(labels, words):
    with refused(ValueError, *words):
        Dataset.from_arrays(np.zeros((12, 2)), labels)


@pytest.mark.parametrize(
    "given",
    [
        np.array([3, 1, 2], np.int32),
        np.array([2**63 + 1, 7], np.uint64),
        np.array([1.0, 3.0], np.float32),
        np.array([True, False]),
        np.array(["e\u0301", "b"]),
    ],
    ids=lambda given: given.dtype.name,
)
def test_values_of_classes_are_the_users_own_as_json_too(given):
    many = np.resize(given, 30)
    inputs = np.arange(30, dtype=np.uint8).reshape(-1, 1)
    data = Dataset.from_arrays(inputs, many)
    text = json.dumps(labels.to_plain(data.class_values))
    values = labels.from_plain(json.loads(text), data.num_classes)
    assert values.dtype == given.dtype
    found = values[data.train.labels]
    np.testing.assert_array_equal(found, many[data.train.inputs[:, 0]])


def test_the_same_text_in_two_encodings_is_one_class():
    inputs = np.arange(30, dtype=np.uint8).reshape(-1, 1)
    data = Dataset.from_arrays(inputs, ["e\u0301", "\xe9", "f"] * 10)
    assert data.class_names == ("f", "\xe9")
    both = Dataset.from_arrays(
        inputs, [2**63, 7] * 15, test_inputs=inputs[:2], test_labels=[2**63 + 1, 7]
    )
    assert both.class_values.tolist() == [7, 2**63, 2**63 + 1]


def test_class_absent_from_train_is_fine():
    x = np.arange(12, dtype=np.uint8).reshape(-1, 1)
    data = Dataset.from_arrays(
        x, np.arange(12) % 2, test_inputs=x[:1], test_labels=[2], class_names="abcd"
    )
    assert data.num_classes == 4
    assert data.test.labels.tolist() == [2]


def test_images_get_a_channel_axis_and_a_scale():
    images = np.arange(32 * 6, dtype=np.uint8).reshape(32, 2, 3)
    labels = np.arange(32) % 2
    data = Dataset.from_arrays(images, labels)
    assert data.input_shape == (2, 3, 1)
    assert data.scale == 1 / 255
    assert Dataset.from_arrays(images / 255, labels).scale == 1.0
    assert Dataset.from_arrays(images / 255, labels).train.inputs.dtype == np.float32
    assert_equal(data, Dataset.from_arrays(images[..., None], labels))


def test_the_users_arrays_stay_his_own():
    x, y = np.zeros((12, 2), np.float32), np.arange(12) % 2
    data = Dataset.from_arrays(x, y)
    x[:] = 1
    assert data.train.inputs.sum() == 0
    with pytest.raises(ValueError, match="read-only"):
        data.train.inputs[:] = 1


X, Y = np.zeros((12, 2)), np.arange(12) % 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"inputs": X.astype(int) + 9}, ["int64", "9 to 9", "np.uint8", "float"]),
        ({"inputs": X.astype(complex)}, ["complex128"]),
        ({"inputs": X + np.nan}, ["not finite"]),
        ({"inputs": X + [[0], [1e300]] * 6}, ["column 0", "1e+300", "float32"]),
        ({"inputs": X[:0], "labels": Y[:0]}, ["(0, 2)"]),
        ({"inputs": X[:, 0]}, ["(12,)"]),
        ({"inputs": X[:11]}, ["11", "12"]),
        ({"inputs": X[:5], "labels": Y[:5]}, ["4", "too few"]),
        ({"labels": Y * 0}, ["2 classes"]),
        ({"labels": Y / 2}, ["float64"]),
        ({"labels": range(12)}, ["12 different labels", "no regression"]),
        ({"labels": np.full(12, np.inf)}, ["float64"]),
        ({"labels": np.eye(12)}, ["(12, 12)"]),
        ({"labels": Y, "class_names": ["a"]}, ["label 1 ", "0 to 0"]),
        ({"labels": Y - 1, "class_names": ["a", "b"]}, ["label -1 "]),
        ({"scale": 0.0}, ["scale 0.0"]),
        ({"scale": float("nan")}, ["scale nan"]),
        ({"feature_names": ["a"]}, ["1 feature_names", "(2,)", "(N, 1)"]),
        (
            {"inputs": X[:, None], "feature_names": ["a"]},
            ["feature_names", "(1, 2, 1)"],
        ),
        ({"test_inputs": X}, ["test_labels"]),
        ({"test_inputs": X[:3], "test_labels": Y[:2]}, ["3", "2"]),
        ({"test_inputs": X[:, :1], "test_labels": Y}, ["(1,)", "(2,)"]),
        ({"test_inputs": X.astype(np.uint8), "test_labels": Y}, ["uint8", "float32"]),
        ({"test_inputs": X, "test_labels": Y.astype(str)}, ["<U21", "int64"]),
    ],
)
def test_unusable_arrays_are_refused_in_one_line(arguments, words):
    with refused(ValueError, *words):
        Dataset.from_arrays(**{"inputs": X, "labels": Y, **arguments})


NUMBERS = np.random.default_rng(0).normal(size=(12, 2))


class Tensor:
    """An array of another library."""

    def __array__(self, dtype=None, copy=None):
        return NUMBERS


@pytest.mark.parametrize(
    "inputs",
    [
        NUMBERS.astype(np.longdouble),
        NUMBERS.astype(">f8"),
        NUMBERS.astype(object),
        NUMBERS.tolist(),
        np.asfortranarray(NUMBERS),
        np.ma.masked_array(NUMBERS),
        scipy.sparse.csr_matrix(NUMBERS),
        Tensor(),
        pd.DataFrame(NUMBERS, columns=["b", "a"]),
    ],
    ids=lambda inputs: type(inputs).__name__,
)
def test_numbers_of_every_kind_are_the_same_numbers(inputs):
    assert_equal(Dataset.from_arrays(inputs, Y), Dataset.from_arrays(NUMBERS, Y))


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (np.ma.masked_greater(NUMBERS, 1), ["3 of 24", "masked", "[3, 0]"]),
        (np.where(NUMBERS > 1, -np.inf, NUMBERS), ["3 of 24", "-inf"]),
        ([[None, 1.0]] * 12, ["12 of 24", "missing", "[0, 0]"]),
        (NUMBERS.astype(str), ["<U", ".astype"]),
        (np.full((12, 2), np.datetime64("2020")), ["datetime64", ".astype"]),
        ([[1], [2, 3]] * 6, ["inputs", "array"]),
        (NUMBERS * 1e-40, ["column 0", "float32"]),
        ((NUMBERS * 1e-40).astype(np.float32), ["column 0", "float32"]),
        (np.arange(24).reshape(12, 2) + 2**60, ["column 0", "float32"]),
        (pd.DataFrame({"a": np.arange(12) + 2**60, "b": 0.5}), ["'a'", "float32"]),
        (pd.DataFrame({"a": range(12), "b": "red"}), ["'red'", "'b'", "dummies"]),
        (pd.DataFrame({"b": pd.array([1, None] * 6)}), ["6 of 12", "'b'"]),
        (pd.DataFrame(NUMBERS, columns=["a", "a"]), ["2 columns", "'a'"]),
    ],
)
def test_what_is_no_number_is_refused_by_name(inputs, words):
    with refused(ValueError, *words):
        Dataset.from_arrays(inputs, Y)


def test_whole_numbers_are_pixels_only_where_that_is_clear():
    images = np.arange(12 * 9).reshape(12, 3, 3) * 2
    pixels = Dataset.from_arrays(images, Y)
    assert_equal(pixels, Dataset.from_arrays(images.astype(np.uint8), Y))
    dark = Dataset.from_arrays(images, Y, test_inputs=images // 9, test_labels=Y)
    assert dark.test.inputs.dtype == np.uint8
    for numbers in (images[:, 0] - 1, images[:, 0] > 9, images[:, 0] * 9):
        same = Dataset.from_arrays(numbers.astype(float), Y)
        assert_equal(Dataset.from_arrays(numbers, Y), same)


@pytest.mark.parametrize("start", [1.7e9, 2024 - 1e-5, 123456789012, -1e15])
@pytest.mark.parametrize("names", [(), ("when", "what")])
def test_float32_tells_values_apart_far_from_zero(start, names):
    steps = 10 * np.arange(12) * abs(np.spacing(start))
    values = np.stack([start + steps, steps], axis=1)
    data = Dataset.from_arrays(values, Y, feature_names=names)
    parts = (data.train, data.validation, data.test)
    found = np.concatenate([data.in_units(part.inputs) for part in parts])
    np.testing.assert_allclose(np.sort(found, axis=0), values, rtol=1e-15, atol=1e-20)
    assert data.train.inputs.dtype == np.float32
    moved = Dataset.from_arrays(values - data.origin, Y, feature_names=names)
    assert moved.origin is None
    assert moved.digest != data.digest


def test_columns_of_two_tables_are_matched_by_name():
    frame = pd.DataFrame(NUMBERS, columns=["b", "a\u0301"])
    given = {"inputs": frame, "labels": Y, "test_labels": Y}
    data = Dataset.from_arrays(**given, test_inputs=frame[frame.columns[::-1]])
    assert data.feature_names == ("b", "\xe1")
    assert_equal(data, Dataset.from_arrays(**given, test_inputs=NUMBERS))
    for test, words in (
        (frame.drop(columns="b"), ["test_inputs lack 'b'"]),
        (frame.assign(c=1), ["test_inputs also have 'c'", "'b'"]),
    ):
        with refused(ValueError, *words):
            Dataset.from_arrays(**given, test_inputs=test)


def test_limit_keeps_the_first_and_only_touches_train():
    data = load("digits")
    few = data.limit(100)
    np.testing.assert_array_equal(few.train.inputs, data.train.inputs[:100])
    assert few.validation is data.validation
    assert few.test is data.test
    assert few.digest == data.digest
    assert data.limit(0) is data
    assert len(data.limit(1198).train.labels) == 1198


@pytest.mark.parametrize("train_size", [-1, 1199])
def test_limit_out_of_range(train_size):
    with refused(ValueError, train_size, "1198", "digits"):
        load("digits").limit(train_size)


def test_digest_sees_every_array_and_its_shape():
    x, y = np.arange(24, dtype=np.uint8).reshape(12, 2), np.arange(12) % 2
    kinds = [(x, y), (x, 1 - y), (x[:, ::-1], y), (x[:, None, :], y), (x / 1.0, y)]
    assert len({Dataset.from_arrays(a, b).digest for a, b in kinds}) == len(kinds)


def test_feature_names_make_a_table_and_nothing_else():
    table = Dataset.from_arrays(X, Y, feature_names=["height", "width"])
    assert table.feature_names == ("height", "width")
    assert table.is_table
    assert table.limit(3).feature_names == table.feature_names
    assert_equal(table, Dataset.from_arrays(X, Y))
    assert not Dataset.from_arrays(X, Y).is_table


# The names


def test_digits():
    data = load("digits")
    splits = (data.train, data.validation, data.test)
    assert [len(s.labels) for s in splits] == [1198, 239, 360]
    assert data.input_shape == (8, 8, 1)
    assert data.class_names == tuple("0123456789")
    assert data.train.inputs.max() * data.scale == 1.0
    # Pinned: a changed order or split would change every result on digits.
    assert data.digest.startswith("73a0e481a9e8d59e")


def test_unknown_name_offers_the_nearest():
    names = (
        "digits, mnist, fashion_mnist, cifar10, map, csv:PATH, folder:PATH, "
        "real_or_generated:NAME"
    )
    for name, near in (
        ("mnits", "mnist"),
        ("digits:3", "digits"),
        ("cvs:a.csv", "csv:PATH"),
        ("foldr:/a/b/c/d/e/f/g", "folder:PATH"),
        ("real_or_generated:mnits", "mnist"),
    ):
        given = name.rpartition("generated:")[2]
        with refused(ValueError, repr(given), f"did you mean {near!r}", names):
            load(name)


@pytest.mark.parametrize("kind", ["csv:PATH", "folder:PATH", "real_or_generated:NAME"])
@pytest.mark.parametrize("end", ["", ":", "::"])
def test_name_without_its_argument(kind, end):
    name = kind.partition(":")[0] + end
    with refused(ValueError, repr(name), "argument", kind):
        load(name)


def test_a_path_may_hold_colons_and_an_option_follows_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a:b").touch()
    (tmp_path / "a").touch()
    for argument, path, option in (
        ("a:b", tmp_path / "a:b", ""),
        ("a:b:c:d", tmp_path / "a:b", "c:d"),
        ("a:c", tmp_path / "a", "c"),
        ("~/a:c", tmp_path / "a", "c"),
        ("x:c", tmp_path / "x", "c"),
        ("x", tmp_path / "x", ""),
    ):
        found = sources._path_and_option(argument)
        assert (found[0].absolute(), found[1]) == (path, option)


def test_explicit_folder_must_exist_for_a_table_too(tmp_path):
    (tmp_path / "t.csv").write_text("x,label\n" + "1,a\n2,b\n" * 6)
    load(f"csv:{tmp_path / 't.csv'}", data_dir=tmp_path)
    with refused(FileNotFoundError, "data_dir", tmp_path / "absent"):
        load(f"csv:{tmp_path / 't.csv'}", data_dir=tmp_path / "absent")


def test_importing_is_light():
    heavy = "{'jax', 'tensorflow_datasets', 'sklearn', 'requests', 'PIL'}"
    code = f"import sys, nnlab.data; sys.exit(bool({heavy} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)


# Sources: equal arrays


@pytest.mark.parametrize("suffix", [".gz", ""])
@pytest.mark.parametrize("place", ["", "mnist"])
@pytest.mark.parametrize("dotted", [False, True])
def test_idx_files_of_every_name_and_place(tmp_path, mnist, suffix, place, dotted):
    contents = {f.replace("-idx", ".idx") if dotted else f: mnist[f] for f in mnist}
    write_files(tmp_path / "data" / place, contents, suffix)
    data = load("mnist", data_dir=tmp_path / "data")
    assert data.digest == sources.PUBLICATIONS["mnist"].digest
    assert data.train.inputs.shape == (50, 28, 28, 1)
    assert data.scale == 1 / 255


def test_download_prepares_what_idx_files_hold(served, folder, tmp_path, capfd):
    from_idx = load("mnist", data_dir=folder)
    downloaded = load("mnist")
    assert_equal(downloaded, from_idx)
    root = tmp_path / "cache" / "data"
    assert (root / "mnist" / "3.0.1" / "features.json").is_file()
    shutil.rmtree(tmp_path / "cache" / "arrays")
    assert_equal(load("mnist", data_dir=root), from_idx)
    assert capfd.readouterr() == ("", "")


def test_prepared_directory_comes_first_and_is_checked(served, tmp_path, mnist):
    load("mnist")
    root = shutil.copytree(tmp_path / "cache" / "data", tmp_path / "own")
    write_files(root, {file: b"" for file in mnist})
    load("mnist", data_dir=root)
    for file in (root / "mnist" / "3.0.1").glob("*train.array_record*"):
        file.write_bytes(file.read_bytes()[:20_000])
    with refused(ValueError, root / "mnist" / "3.0.1", "damaged"):
        load("mnist", data_dir=root)


def test_prepared_directory_with_other_content_is_refused(
    served, tmp_path, monkeypatch
):
    load("mnist")
    publication = sources.PUBLICATIONS["mnist"]
    root = shutil.copytree(tmp_path / "cache" / "data", tmp_path / "own")
    for changes, words in (
        ({"digest": "0" * 64}, [publication.digest, "not the real mnist"]),
        ({"num_train": 61}, ["60 train", "61"]),
        ({"num_test": 19}, ["20 test", "19"]),
        ({"image_shape": (28, 28, 3)}, ["28 x 28 pixels", "28 x 28 x 3"]),
        ({"class_names": tuple("012345678")}, ["label 9", "0 to 8"]),
    ):
        with monkeypatch.context() as patch:
            change(patch, "mnist", **changes)
            with refused(ValueError, root / "mnist", *words):
                load("mnist", data_dir=root)


BLACK = Image.new("L", (28, 28))
GOOD = [example(i, BLACK) for i in range(10)]


def bomb():
    """60,000 x 60,000 pixels in a few bytes, as the header says."""
    stream = io.BytesIO()
    BLACK.save(stream, "PNG")
    content = bytearray(stream.getvalue())
    content[16:24] = struct.pack(">II", 60_000, 60_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


def jpeg():
    stream = io.BytesIO()
    BLACK.save(stream, "JPEG")
    return stream.getvalue()


@pytest.mark.parametrize(
    "wrong",
    [
        *(b"", b"garbage", GOOD[0][:-9], GOOD[0].replace(b"label", b"lapel")),
        *(GOOD[0].replace(b"image", b"imago"), example(10, BLACK), example(-1, BLACK)),
        *(example(1, content) for content in (b"", b"garbage", jpeg(), bomb())),
        example(1, Image.new("L", (28, 29))),
        *(
            example(1, Image.new(mode, (28, 28)))
            for mode in ("P", "1", "I;16", "RGB", "RGBA")
        ),
    ],
    ids=lambda wrong: f"{len(wrong)}_bytes",  # of their own order in each process
)
def test_a_wrong_example_in_a_prepared_directory_is_refused(
    tmp_path, monkeypatch, wrong
):
    splits = {"train": GOOD, "test": [*GOOD, wrong]}
    where = prepare(monkeypatch, tmp_path / "data", splits)
    with refused(ValueError, where):
        load("mnist", data_dir=tmp_path / "data")


def test_a_wrong_file_in_a_prepared_directory_is_refused(tmp_path, monkeypatch):
    root = tmp_path / "data"
    where = prepare(monkeypatch, root, {"train": GOOD, "test": GOOD})
    load("mnist", data_dir=root)
    shard = where / "mnist-test.array_record-00000-of-00001"
    good = shard.read_bytes()
    for content in (b"", b"garbage", good[:-70_000], bytes(len(good)), good[1:]):
        shard.write_bytes(content)
        with refused(ValueError, where, "damaged"):
            load("mnist", data_dir=root)
    shard.write_bytes(good)
    second = shard.with_name(shard.name.replace("-00000-", "-00001-"))
    second.symlink_to(shard)
    with refused(ValueError, where, "20 test examples, mnist has 10"):
        load("mnist", data_dir=root)
    second.unlink()
    shard.unlink()
    with refused(ValueError, where, "0 test examples, mnist has 10"):
        load("mnist", data_dir=root)
    os.mkfifo(shard)
    with refused(ValueError, where, "damaged"):
        load("mnist", data_dir=root)


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, "7", " " * (2 << 20) + "{}"])
def test_a_damaged_description_of_a_prepared_directory_is_named(tmp_path, text):
    file = tmp_path / "mnist" / "3.0.1" / "dataset_info.json"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    with refused(ValueError, file, "cannot be read"):
        load("mnist", data_dir=tmp_path)


@pytest.mark.skipif(REAL is None, reason="needs NNLAB_DATA_DIR")
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_real_data(name):
    data = load(name, data_dir=REAL)
    assert data.digest == sources.PUBLICATIONS[name].digest
    splits = (data.train, data.validation, data.test)
    assert [len(s.labels) for s in splits] == [50_000, 10_000, 10_000]
    assert_equal(load(name, data_dir=REAL), data)


# Which folder


def test_explicit_folder_hides_the_environment(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("NNLAB_DATA_DIR", str(tmp_path / "absent"))
    load("mnist", data_dir=folder)
    load("digits")
    with refused(FileNotFoundError, "NNLAB_DATA_DIR", tmp_path / "absent"):
        load("mnist")
    monkeypatch.setenv("NNLAB_DATA_DIR", str(folder))
    load("mnist")
    with refused(FileNotFoundError, "data_dir", tmp_path / "absent"):
        load("mnist", data_dir=tmp_path / "absent")


def test_explicit_folder_must_exist_even_for_built_in_data(tmp_path):
    with refused(FileNotFoundError, "data_dir", tmp_path / "absent", "does not exist"):
        load("digits", data_dir=tmp_path / "absent")
    (tmp_path / "file").touch()
    with refused(FileNotFoundError, "is not a folder"):
        load("digits", data_dir=tmp_path / "file")


@pytest.mark.parametrize("explicit", [True, False])
def test_nothing_is_downloaded_into_the_users_folder(
    served, tmp_path, monkeypatch, explicit
):
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("NNLAB_DATA_DIR", str(empty))
    with refused(FileNotFoundError, empty, idx.TEST_LABELS, "--data_dir"):
        load("mnist", data_dir=empty if explicit else None)
    assert not any(empty.iterdir())
    assert not (tmp_path / "cache").exists()


def test_missing_file_is_named(folder):
    (folder / f"{idx.TEST_LABELS}.gz").unlink()
    with refused(FileNotFoundError, folder, f"{idx.TEST_LABELS}[.gz]"):
        load("mnist", data_dir=folder)


def test_tfrecord_directory_is_told_and_idx_read_instead(tmp_path, mnist, caplog):
    prepared_folder = tmp_path / "data" / "mnist" / "3.0.1"
    prepared_folder.mkdir(parents=True)
    (prepared_folder / "dataset_info.json").write_text('{"fileFormat": "tfrecord"}')
    with refused(FileNotFoundError, prepared_folder, "tfrecord", "TensorFlow"):
        load("mnist", data_dir=tmp_path / "data")
    write_files(tmp_path / "data" / "mnist", mnist)
    load("mnist", data_dir=tmp_path / "data")
    assert re.search("tfrecord.*TensorFlow.*published files", caplog.text)


# Damage


def truncated_gzip(content):
    return gzip.compress(content)[:-20]


def flipped_gzip(content):
    data = bytearray(gzip.compress(content, compresslevel=0))
    data[len(data) // 2] ^= 1
    return bytes(data)


def relabelled(content):
    return gzip.compress(content[:-1] + b"\x0a")


def other_pixel(content):
    return gzip.compress(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize(
    ("file", "damage", "words"),
    [
        (idx.TRAIN_IMAGES, truncated_gzip, ["damaged", "gzip"]),
        (idx.TRAIN_IMAGES, flipped_gzip, ["damaged", "gzip"]),
        (idx.TRAIN_IMAGES, lambda c: c, ["damaged", "gzip"]),
        (idx.TRAIN_IMAGES, lambda c: b"", ["cut short"]),
        (idx.TRAIN_IMAGES, lambda c: gzip.compress(c[:9]), ["cut short"]),
        (idx.TRAIN_IMAGES, lambda c: gzip.compress(c[:-1]), ["cut short"]),
        (idx.TRAIN_IMAGES, lambda c: gzip.compress(c + b"."), ["longer"]),
        (idx.TRAIN_IMAGES, other_pixel, ["not the real mnist", "sha256"]),
        (
            idx.TEST_IMAGES,
            lambda c: gzip.compress(idx_bytes(np.zeros((2, 28, 28), np.uint8))),
            ["2 x 28 x 28", "20 x 28 x 28"],
        ),
        (
            idx.TEST_LABELS,
            lambda c: gzip.compress(idx_bytes(np.zeros(20, np.uint8), 0x803)),
            ["magic", "0x00000803", "0x00000801"],
        ),
        (idx.TEST_LABELS, relabelled, ["label 10", "position 19", "0 to 9"]),
    ],
)
def test_damaged_file_is_refused_in_one_line(folder, mnist, file, damage, words):
    path = folder / f"{file}.gz"
    path.write_bytes(damage(mnist[file]))
    with refused(ValueError, path, *words):
        load("mnist", data_dir=folder)


def test_an_archive_that_grows_is_not_unpacked(folder, monkeypatch):
    path = folder / f"{idx.TEST_LABELS}.gz"
    with gzip.open(path, "wb") as stream:
        stream.write(bytes(50_000_000))
    limits = []
    decompress = idx._decompress
    monkeypatch.setattr(
        idx,
        "_decompress",
        lambda path, limit: limits.append(limit) or decompress(path, limit),
    )
    with refused(ValueError, "magic"):
        idx._read_file(path, idx.TEST_LABELS, sources.PUBLICATIONS["mnist"])
    assert limits == [8 + NUM_TEST + 1]
    assert len(decompress(path, limits[0])) == limits[0]


# Network


@pytest.mark.parametrize("answers", ["refuses", "hangs"])
def test_no_network_is_told_soon(mnist, monkeypatch, tmp_path, answers):
    monkeypatch.setattr(tfds, "_PROBE_SECONDS", 0.2)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if answers == "hangs":
            listener.listen()
        publish_at(monkeypatch, "mnist", listener.getsockname()[1])
        began = time.perf_counter()
        with refused(ConnectionError, "127.0.0.1", f"{idx.TEST_LABELS}.gz", "data_dir"):
            load("mnist")
    assert time.perf_counter() - began < 5
    assert not (tmp_path / "cache").exists()


def test_name_server_without_an_answer_is_not_waited_for(mnist, monkeypatch):
    released = threading.Event()

    def resolve(*args, **kwargs):
        released.wait(10)
        raise socket.gaierror

    monkeypatch.setattr(tfds, "_PROBE_SECONDS", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    began = time.perf_counter()
    with refused(ConnectionError, "storage.googleapis.com", "no answer"):
        load("mnist")
    released.set()
    assert time.perf_counter() - began < 5


def test_network_that_fails_in_the_middle(served, tmp_path):
    (served / f"{idx.TEST_LABELS}.gz").unlink()
    with refused(ConnectionError, "127.0.0.1", "data_dir"):
        load("mnist")


def test_damaged_download_is_refused_and_fetched_again(served, mnist):
    path = served / f"{idx.TEST_LABELS}.gz"
    good = path.read_bytes()
    path.write_bytes(relabelled(mnist[idx.TEST_LABELS]))
    with refused(ValueError, "127.0.0.1", "label 10"):
        load("mnist")
    path.write_bytes(good)
    load("mnist")


def test_nothing_is_deleted_behind_a_link(served, tmp_path):
    mine, root = tmp_path / "mine" / "mnist", tmp_path / "cache" / "data"
    for path in (mine, root):
        path.mkdir(parents=True)
    (root / "downloads").symlink_to(mine.parent)
    with refused(ValueError, root / "downloads", "is a link"):
        load("mnist")
    assert mine.is_dir()


# Cache


def test_cache_serves_what_the_source_holds(folder, tmp_path, monkeypatch):
    first = load("mnist", data_dir=folder)
    assert len(entries(tmp_path)) == 1
    with monkeypatch.context() as patch:
        patch.setattr(idx, "read_arrays", None)
        assert_equal(load("mnist", data_dir=folder), first)


def test_cache_never_stands_in_for_a_source_that_changed_or_is_gone(folder, tmp_path):
    load("mnist", data_dir=folder)
    path = folder / f"{idx.TRAIN_IMAGES}.gz"
    path.write_bytes(truncated_gzip(b"0" * 1000))
    with refused(ValueError, "damaged"):
        load("mnist", data_dir=folder)
    path.unlink()
    with refused(FileNotFoundError, idx.TRAIN_IMAGES):
        load("mnist", data_dir=folder)


@pytest.mark.parametrize("place", ["start", "middle", "end", "cut", "empty", "other"])
def test_damaged_cache_is_ignored_and_written_again(folder, tmp_path, place):
    first = load("mnist", data_dir=folder)
    (entry,) = entries(tmp_path)
    good = entry.read_bytes()
    bad = bytearray(good)
    if place in ("start", "middle", "end"):
        bad[{"start": 8, "middle": len(bad) // 2, "end": -30}[place]] ^= 1
    if place == "cut":
        del bad[len(bad) // 2 :]
    if place == "empty":
        bad.clear()
    entry.write_bytes(bad)
    if place == "other":
        # A whole entry with one pixel changed: no CRC notices, the digest does.
        with np.load(entry, allow_pickle=False) as stored:
            arrays = dict(stored)
        arrays["test_inputs"][0, 0, 0, 0] ^= 1
        np.savez(entry, **arrays)
    assert entry.read_bytes() != good
    assert_equal(load("mnist", data_dir=folder), first)
    assert entry.read_bytes()[-2000:] == good[-2000:]
    assert entries(tmp_path) == [entry]


def test_cache_folder_that_cannot_be_written_is_no_error(folder, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("NNLAB_CACHE_DIR", str(tmp_path / "file"))
    load("mnist", data_dir=folder)


def test_interrupted_write_leaves_no_entry(folder, tmp_path, monkeypatch):
    def interrupted(stream, **arrays):
        stream.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load("mnist", data_dir=folder)
    assert entries(tmp_path) == []


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"NNLAB_CACHE_DIR": "/a"}, "/a"),
        ({"XDG_CACHE_HOME": "/b"}, "/b/nnlab"),
        ({"HOME": "/c"}, "/c/.cache/nnlab"),
    ],
)
def test_cache_root(monkeypatch, variables, expected):
    for variable in ("NNLAB_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    assert sources.cache.root() == Path(expected)


def test_without_a_home_the_cache_goes_with_the_process(monkeypatch):
    for variable in ("NNLAB_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # no such user
    root = sources.cache.root()
    assert root.is_absolute()
    assert root == sources.cache.root()
    assert root.parent.is_dir()
