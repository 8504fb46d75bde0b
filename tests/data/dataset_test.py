# SPDX-License-Identifier: Apache-2.0
"""Datasets: one order, splits, digests; unusable arrays are refused."""

import hashlib
import json

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from folders import assert_equal, refused, splits
from hypothesis import given, settings
from hypothesis import strategies as st

from nnlab.data import Dataset, labels, load

X, Y = np.zeros((12, 2)), np.arange(12) % 2
NUMBERS = np.random.default_rng(0).normal(size=(12, 2))
COUNTED = np.arange(30, dtype=np.uint8).reshape(-1, 1)
"""Examples that reveal their index."""


def lengths(data):
    return [len(split.labels) for split in splits(data)]


@given(seed=st.integers(0, 2**32 - 1), floats=st.booleans())
@settings(max_examples=20, deadline=None)
def test_order_of_the_examples_given_changes_nothing(seed, floats):
    rng = np.random.default_rng(seed)
    inputs = rng.integers(0, 3, (30, 2)).astype(np.float64 if floats else np.uint8)
    labels, shuffled = np.arange(30) % 3, rng.permutation(30)
    assert_equal(
        Dataset.from_arrays(inputs, labels),
        Dataset.from_arrays(inputs[shuffled], labels[shuffled]),
    )


def test_splits_have_each_class_in_order_of_the_sha256():
    """Of every class the first examples are for training, the last for the test."""
    inputs = np.arange(100, dtype=np.uint8).reshape(-1, 1)
    data = Dataset.from_arrays(inputs, inputs[:, 0] % 4)
    assert lengths(data) == [67, 13, 20]
    for split in splits(data):
        np.testing.assert_array_equal(split.inputs[:, 0] % 4, split.labels)
        keys = [sha256_of(x) for x in split.inputs[:, 0]]
        assert keys == sorted(keys)
        counts = np.bincount(split.labels)
        assert counts.max() - counts.min() <= 1
    everything = np.concatenate([split.inputs[:, 0] for split in splits(data)])
    assert sorted(everything) == list(range(100))
    for label in range(4):
        keys = [sha256_of(x) for x in everything if x % 4 == label]
        assert keys == sorted(keys)


def sha256_of(x):
    return hashlib.sha256(bytes([x, x % 4, 0, 0, 0])).digest()


def test_a_class_too_rare_for_every_set_is_refused():
    """With 3 examples it is in each; with a test set of one's own 2 are enough."""
    x, y = np.arange(60.0).reshape(-1, 1), np.array(["a"] * 57 + ["b"] * 3)
    assert all({*split.labels} == {0, 1} for split in splits(Dataset.from_arrays(x, y)))
    with refused(ValueError, "class 'b' has 2 examples", "add examples, or leave"):
        Dataset.from_arrays(x[:-1], y[:-1])
    Dataset.from_arrays(x[:-1], y[:-1], test_inputs=x, test_labels=y)
    with refused(ValueError, "class 'b' has 1 example", "a training and a validation"):
        Dataset.from_arrays(x[:-2], y[:-2], test_inputs=x, test_labels=y)


def test_validation_never_exceeds_10000():
    inputs = np.random.default_rng(0).normal(size=(100_000, 1))
    assert lengths(Dataset.from_arrays(inputs, inputs[:, 0] > 0))[1] == 10_000


def test_own_test_set_is_kept_whole_and_leaves_train_alone():
    x, y = np.random.default_rng(0).normal(size=(60, 3)), np.arange(60) % 2
    a = Dataset.from_arrays(x, y, test_inputs=x[:9], test_labels=y[:9])
    b = Dataset.from_arrays(x, y, test_inputs=x[9:20], test_labels=y[9:20])
    np.testing.assert_array_equal(a.train.inputs, b.train.inputs)
    assert lengths(a) == [50, 10, 9]


def test_limit_keeps_the_first_and_only_touches_train():
    data = load("digits")
    few = data.limit(100)
    np.testing.assert_array_equal(few.train.inputs, data.train.inputs[:100])
    assert few.validation is data.validation
    assert (few.test, few.digest) == (data.test, data.digest)
    assert data.limit(0) is data
    assert len(data.limit(1198).train.labels) == 1198
    for train_size in (-1, 1199):
        with refused(ValueError, train_size, "1198", "digits"):
            data.limit(train_size)


def test_digest_sees_every_array_and_its_shape():
    x, y = np.arange(24, dtype=np.uint8).reshape(12, 2), np.arange(12) % 2
    kinds = [(x, y), (x, 1 - y), (x[:, ::-1], y), (x[:, None, :], y), (x / 1.0, y)]
    assert len({Dataset.from_arrays(a, b).digest for a, b in kinds}) == len(kinds)


def test_the_users_arrays_stay_his_own():
    x = np.zeros((12, 2), np.float32)
    data = Dataset.from_arrays(x, Y)
    x[:] = 1
    assert data.train.inputs.sum() == 0
    with pytest.raises(ValueError, match="read-only"):
        data.train.inputs[:] = 1


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
    many = np.resize(np.asarray(labels), 30)
    data = Dataset.from_arrays(COUNTED, many)
    assert data.class_names == names
    assert data.train.labels.dtype == np.int32
    for x, code in zip(data.train.inputs[:, 0], data.train.labels, strict=True):
        assert data.class_values[code] == many[x]


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
    data = Dataset.from_arrays(COUNTED, many)
    text = json.dumps(labels.to_plain(data.class_values))
    values = labels.from_plain(json.loads(text), data.num_classes)
    assert values.dtype == given.dtype
    found = values[data.train.labels]
    np.testing.assert_array_equal(found, many[data.train.inputs[:, 0]])


def test_the_same_text_in_two_encodings_is_one_class():
    data = Dataset.from_arrays(COUNTED, ["e\u0301", "\xe9", "f"] * 10)
    assert data.class_names == ("f", "\xe9")
    tests = {"test_inputs": COUNTED[:2], "test_labels": [2**63 + 1, 7]}
    both = Dataset.from_arrays(COUNTED, [2**63, 7] * 15, **tests)
    assert both.class_values.tolist() == [7, 2**63, 2**63 + 1]


def test_class_absent_from_train_is_fine():
    tests = {"test_inputs": COUNTED[:1], "test_labels": [2]}
    data = Dataset.from_arrays(COUNTED[:12], Y, **tests, class_names="abcd")
    assert data.num_classes == 4
    assert data.test.labels.tolist() == [2]


def test_images_get_a_channel_axis_and_a_scale():
    images, labels = np.arange(192, dtype=np.uint8).reshape(32, 2, 3), np.arange(32) % 2
    data = Dataset.from_arrays(images, labels)
    assert (data.input_shape, data.scale) == ((2, 3, 1), 1 / 255)
    floats = Dataset.from_arrays(images / 255, labels)
    assert (floats.scale, floats.train.inputs.dtype) == (1.0, np.float32)
    assert_equal(data, Dataset.from_arrays(images[..., None], labels))


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
    found = np.concatenate([data.in_units(part.inputs) for part in splits(data)])
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


def test_feature_names_make_a_table_and_nothing_else():
    table = Dataset.from_arrays(X, Y, feature_names=["height", "width"])
    assert table.limit(3).feature_names == table.feature_names == ("height", "width")
    plain = Dataset.from_arrays(X, Y)
    assert_equal(table, plain)
    assert (table.is_table, plain.is_table) == (True, False)


MANY = np.resize(np.array(["a", "b"], object), 12)
FIRST = np.arange(12) < 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"labels": np.where(FIRST, None, MANY)}, ["3 of 12", "'None'", "leave"]),
        ({"labels": np.where(FIRST, "NA", MANY)}, ["3 of 12", "'NA'"]),
        ({"labels": np.where(FIRST, np.nan, Y)}, ["3 of 12", "'nan'"]),
        ({"labels": np.ma.masked_less(np.arange(12), 3)}, ["3 of 12", "'--'"]),
        ({"labels": pd.array([pd.NA, 0, 1] * 4, "Int64")}, ["4 of 12", "'nan'"]),
        ({"labels": np.eye(12)[:, :2]}, ["(12, 2)", "argmax"]),
        ({"labels": MANY.astype("S")}, ["|S1", ".astype"]),
        ({"labels": np.resize(np.array([1, "a"], object), 12)}, ["int, str", "all"]),
        ({"labels": [2**64, 1] * 6}, ["64 bits"]),
        ({"labels": [[1], [2, 3]] * 6}, ["labels"]),
        ({"labels": Y * 0}, ["2 classes"]),
        ({"labels": range(12)}, ["12 different labels", "task='regression'"]),
        ({"labels": np.full(12, np.inf)}, ["float64"]),
        ({"labels": np.eye(12)}, ["(12, 12)"]),
        ({"labels": Y, "class_names": ["a"]}, ["label 1 ", "0 to 0"]),
        ({"labels": Y - 1, "class_names": ["a", "b"]}, ["label -1 "]),
        ({"inputs": X.astype(int) + 9}, ["int64", "9 to 9", "np.uint8", "float"]),
        ({"inputs": X.astype(complex)}, ["complex128"]),
        ({"inputs": X + np.nan}, ["not finite"]),
        ({"inputs": X + [[0], [1e300]] * 6}, ["column 0", "1e+300", "float32"]),
        ({"inputs": X[:, 0]}, ["(12,)"]),
        ({"inputs": X[:11]}, ["11", "12"]),
        ({"inputs": np.ma.masked_greater(NUMBERS, 1)}, ["3 of 24", "masked", "[3, 0]"]),
        ({"inputs": np.where(NUMBERS > 1, -np.inf, NUMBERS)}, ["3 of 24", "-inf"]),
        ({"inputs": [[None, 1.0]] * 12}, ["12 of 24", "missing", "[0, 0]"]),
        ({"inputs": NUMBERS.astype(str)}, ["<U", ".astype"]),
        (
            {"inputs": np.full((12, 2), np.datetime64("2020"))},
            ["datetime64", ".astype"],
        ),
        ({"inputs": [[1], [2, 3]] * 6}, ["inputs", "array"]),
        ({"inputs": NUMBERS * 1e-40}, ["column 0", "float32"]),
        ({"inputs": (NUMBERS * 1e-40).astype(np.float32)}, ["column 0", "float32"]),
        ({"inputs": np.arange(24).reshape(12, 2) + 2**60}, ["column 0", "float32"]),
        (
            {"inputs": pd.DataFrame({"a": np.arange(12) + 2**60, "b": 0.5})},
            ["'a'", "float32"],
        ),
        (
            {"inputs": pd.DataFrame({"a": range(12), "b": "red"})},
            ["'red'", "'b'", "dummies"],
        ),
        ({"inputs": pd.DataFrame({"b": pd.array([1, None] * 6)})}, ["6 of 12", "'b'"]),
        ({"inputs": pd.DataFrame(NUMBERS, columns=["a", "a"])}, ["2 columns", "'a'"]),
        ({"inputs": X[:0], "labels": Y[:0]}, ["(0, 2)"]),
        ({"inputs": X[:5], "labels": Y[:5]}, ["4", "too few"]),
        ({"scale": 0.0}, ["scale 0.0"]),
        ({"scale": float("nan")}, ["scale nan"]),
        ({"feature_names": ["a"]}, ["1 feature_names", "(2,)", "(N, 1)"]),
        ({"inputs": X[:, None], "feature_names": "a"}, ["feature_names", "(1, 2, 1)"]),
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


def test_a_validation_set_of_ones_own_is_kept():
    x, y = np.arange(30.0).reshape(15, 2), np.arange(15) % 3
    named = ("", "validation_", "test_")
    given = {}
    for start, part in zip((0, 6, 9), named):
        some = slice(start, start + (6 if part != "validation_" else 3))
        given[f"{part}inputs"], given[f"{part}labels"] = x[some], y[some]
    data = Dataset.from_arrays(**given)
    for split, part in zip((data.train, data.validation, data.test), named):
        order = np.argsort(split.inputs[:, 0])
        np.testing.assert_array_equal(split.inputs[order], given[f"{part}inputs"])
        np.testing.assert_array_equal(split.labels[order], given[f"{part}labels"])
    for lacking in ("validation_inputs", "validation_labels", "test_inputs"):
        few = {name: one for name, one in given.items() if name != lacking}
        if lacking == "test_inputs":
            del few["test_labels"]
        with pytest.raises(ValueError, match="must be given together"):
            Dataset.from_arrays(**few)
