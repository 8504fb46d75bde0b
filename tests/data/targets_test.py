# SPDX-License-Identifier: Apache-2.0
"""Which labels are a regression's targets, and how they are stored."""

import numpy as np
import pandas as pd
import pytest

from nnlab import data
from nnlab.data import Dataset, cache

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 3))
Y = 40 * X @ [1, 2, 3] + 7


def users(dataset, split):
    """Returns a split's targets as the user gave them."""
    return getattr(dataset, split).labels * dataset.target_unit + dataset.target_mean


def test_targets_keep_their_examples_and_are_standardized_by_the_training_ones():
    dataset = Dataset.from_arrays(X, np.stack([Y, -Y], axis=1))
    assert dataset.class_names == ("target_1", "target_2")
    assert (dataset.score, dataset.num_classes) == ("r2", 2)
    for split in ("train", "validation", "test"):
        inputs = getattr(dataset, split).inputs
        wanted = 40 * inputs @ np.array([1, 2, 3], np.float32) + 7
        found = users(dataset, split)
        np.testing.assert_allclose(found, np.stack([wanted, -wanted], 1), atol=1e-3)
    train = dataset.train.labels
    assert train.dtype == np.float32
    np.testing.assert_allclose(train.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(train.std(axis=0), 1, rtol=1e-6)


def test_only_fractions_or_the_task_make_a_regression():
    whole = np.resize([0.0, 1.0, 2.0], 90)
    assert not Dataset.from_arrays(X, whole).is_regression
    asked = Dataset.from_arrays(X, whole, task="regression")
    assert sorted({*np.round(users(asked, "train")[:, 0])}) == [0, 1, 2]
    with pytest.raises(ValueError, match="have fractions, such as"):
        Dataset.from_arrays(X, Y, task="classification")
    with pytest.raises(ValueError, match="task='regresion' is not known"):
        Dataset.from_arrays(X, Y, task="regresion")
    with pytest.raises(ValueError, match="1 of 90 labels are missing"):
        Dataset.from_arrays(X, np.where(np.arange(90) == 4, np.nan, Y))
    with pytest.raises(ValueError, match="targets that differ"):
        Dataset.from_arrays(X, np.full(90, 0.5))


def test_the_digest_covers_the_targets_units():
    one, other = (Dataset.from_arrays(X, y).digest for y in (Y, 2 * Y))
    assert one != other


def test_a_numeric_column_of_a_table_is_a_regression(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(cache, "root", lambda: tmp_path / "cache")
    table = pd.DataFrame(X, columns=["a", "b", "c"])
    table["price"], table["stars"] = Y, np.resize([1, 2, 3], 90)
    table.to_csv(tmp_path / "t.csv", index=False)
    table.to_parquet(tmp_path / "t.parquet")
    name = f"csv:{tmp_path}/t.csv"
    first, again, other = (
        data.load(f"{of}:price", csv={"ignore": ("stars",)})
        for of in (name, name, f"parquet:{tmp_path}/t.parquet")
    )
    assert first.class_names == ("price",)
    assert "csv.task=classification" in first.notes[0]
    assert first.digest == again.digest == other.digest
    assert np.array_equal(first.target_unit, again.target_unit)  # from the cache

    assert not data.load(f"{name}:stars").is_regression
    asked = data.load(f"{name}:stars", csv={"task": "regression"})
    assert asked.is_regression
    assert not asked.notes
    with pytest.raises(ValueError, match="leave out csv"):
        data.load(f"{name}:price", csv={"task": "classification"})
    table["price"] = np.resize(np.linspace(0.5, 9.5, 30), 90)
    table.to_csv(tmp_path / "t.csv", index=False)
    assert data.load(f"{name}:price").is_regression
    classes = data.load(f"{name}:price", csv={"task": "classification"})
    assert classes.num_classes == 30
