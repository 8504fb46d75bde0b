# SPDX-License-Identifier: Apache-2.0
"""Data sets of Hugging Face, by the real library without a network."""

import re
import shutil
import sys

import numpy as np
import pandas
import pytest
from folders import assert_equal, refused
from folders import splits as splits_of
from PIL import Image

from nnlab.data import Dataset, load
from nnlab.machine import network

NUMBERS = np.arange(60) + 0.5
CODES = np.arange(60) % 3
NAMES = ("cat", "dog", "eel")


@pytest.fixture
def library(monkeypatch, tmp_path):
    """The real library, with a cache of its own and a hub that does not answer."""
    found = pytest.importorskip("datasets")
    from huggingface_hub import constants

    monkeypatch.setattr(found.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(found.config, "HF_ENDPOINT", "http://127.0.0.1:9")
    for place in (found.config, constants):
        monkeypatch.setattr(place, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(network, "PROBE_SECONDS", 0.5)
    found.disable_progress_bars()
    return found


def features(library, **more):
    return library.Features(label=library.ClassLabel(names=[*NAMES]), **more)


def part(library, some=slice(None)):
    columns = {"x": NUMBERS[some], "label": CODES[some]}
    how = features(library, x=library.Value("float64"))
    return library.Dataset.from_dict(columns, features=how)


def test_a_saved_set_is_what_its_parquet_file_is(library, tmp_path):
    part(library).save_to_disk(tmp_path / "saved")
    part(library).to_parquet(tmp_path / "t.parquet")
    found = load(f"hf:{tmp_path / 'saved'}")
    wanted = Dataset.from_arrays(
        NUMBERS[:, None], CODES, class_names=NAMES, feature_names=["x"]
    )
    for one in (found, load(f"parquet:{tmp_path / 't.parquet'}")):
        assert one.digest == wanted.digest
        assert one.class_names == NAMES
        assert list(one.class_values) == [*NAMES]
    assert_equal(load(f"hf:{tmp_path / 'saved'}"), found)  # from the cache
    with refused(
        ValueError, "no column is named 'lable'", "hf:NAME:COLUMN", "'label'?"
    ):
        load(f"hf:{tmp_path / 'saved'}:lable")


@pytest.mark.parametrize(
    ("splits", "sizes", "notes"),
    [
        ({"full": 60}, (40, 8, 12), []),
        ({"train": 30, "test": 30}, (25, 5, 30), []),
        ({"train": 30, "validation": 18, "test": 12}, (30, 18, 12), []),
        ({"train": 30, "validation": 30}, (25, 5, 30), ["validation set serves"]),
        ({"train": 48, "extra": 12}, (32, 6, 10), ["not read: extra"]),
        (
            {"train": 30, "validation": 18, "test": -12},  # without labels
            (25, 5, 18),
            ["test set, which has no labels", "validation set serves"],
        ),
    ],
)
def test_splits_make_the_sets(library, tmp_path, splits, sizes, notes):
    parts, start = {}, 0
    for name, size in splits.items():
        one = part(library, slice(start, start + abs(size)))
        if size < 0:
            how = {"features": one.features, "load_from_cache_file": False}
            one = one.map(lambda row: {"label": -1}, **how)
        parts[name], start = one, start + abs(size)
    library.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    found = load(f"hf:{tmp_path / 'saved'}")
    every = (found.train, found.validation, found.test)
    assert tuple(len(one.labels) for one in every) == sizes
    assert len(found.notes) == len(notes)
    assert all(words in note for words, note in zip(notes, found.notes))
    for one in every:  # each example kept its label
        values = one.inputs[:, 0].astype(int)
        assert [found.class_names[code] for code in one.labels] == [
            NAMES[value % 3] for value in values
        ]


def test_sets_in_memory_are_told_apart(library, tmp_path, monkeypatch):
    monkeypatch.setattr(library.config, "IN_MEMORY_MAX_SIZE", 1 << 30)
    monkeypatch.chdir(tmp_path)
    for factor in (1, 2, 3):
        columns = {"x": NUMBERS * factor, "label": CODES}
        one = library.Dataset.from_dict(columns)
        one.save_to_disk(f"s{max(factor - 1, 1)}")  # the second replaces the first
        found = load(f"hf:s{max(factor - 1, 1)}")
        largest = max(part.inputs.max() for part in splits_of(found))
        assert largest == NUMBERS.max() * factor


def test_images_are_read_from_bytes_and_from_files(library, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (24, 10, 10), np.uint8)
    for number, pixels in enumerate(noise):
        folder = tmp_path / "images" / NAMES[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    wanted = load(f"folder:{tmp_path / 'images'}:10")
    columns = {
        "image": [Image.fromarray(pixels) for pixels in noise],
        "label": [number % 3 for number in range(24)],
    }
    how = features(library, image=library.Image())
    library.Dataset.from_dict(columns, features=how).save_to_disk(tmp_path / "saved")
    assert load(f"hf:{tmp_path / 'saved'}").digest == wanted.digest
    assert load(f"hf:{tmp_path / 'saved'}:label:8").input_shape == (8, 8, 1)
    # As the hub's cache has a folder of images: paths of files in the cache.
    inside = shutil.copytree(tmp_path / "images", tmp_path / "cache" / "images")
    built = library.load_dataset("imagefolder", data_dir=str(inside))
    shutil.copytree(
        next(tmp_path.glob("cache/imagefolder/default-*")),
        tmp_path / "cache" / "owner___name" / "default",
    )
    assert built["train"].num_rows == 24
    for file in tmp_path.glob("cache/owner___name/default/0.0.0/*/*.arrow"):
        file.rename(file.with_name("name-train.arrow"))
    assert load("hf:owner/name").digest == wanted.digest


def cached(library, tmp_path, config="default"):
    """Puts a set into the cache, as if it had come from the hub."""
    part(library).to_parquet(tmp_path / "name" / "train.parquet")
    library.load_dataset(str(tmp_path / "name"))
    shutil.move(
        tmp_path / "cache" / "name" / "default",
        tmp_path / "cache" / "owner___name" / config,
    )


def test_what_is_in_the_cache_needs_no_hub(library, tmp_path, caplog):
    caplog.set_level("INFO", logger="nnlab")
    (tmp_path / "name").mkdir()
    cached(library, tmp_path)
    found = load("hf:owner/name")
    assert found.class_names == NAMES
    assert "the hub cannot be reached (ConnectionError): as cached" in caplog.text
    assert_equal(load("hf:owner/name/default:label"), found)
    for name in ("owner/name/other", "owner/another", "another"):
        with refused(ConnectionError, f"hf:{name} is not in", "save_to_disk(FOLDER)"):
            load(f"hf:{name}")
    assert library.config.HF_HUB_OFFLINE is False  # as it was


def test_files_of_other_kinds_are_refused(library, tmp_path, monkeypatch):
    class Builder:
        def download_and_prepare(self):
            raise AssertionError("it reads what it must not")

    Builder.__module__ = "datasets.packaged_modules.pandas.pandas"
    monkeypatch.setattr(library, "load_dataset_builder", lambda *_: Builder())
    with refused(ValueError, "hf:owner/name", "does not read (pandas)"):
        load("hf:owner/name")
    pandas.DataFrame({"x": [1]}).to_csv(tmp_path / "t.csv")
    with refused(ValueError, tmp_path, "no folder that", "csv:PATH"):
        load(f"hf:{tmp_path}")
    for name in (f"{tmp_path}/name", f"{tmp_path}/name:label", "./name", "~/name"):
        with refused(FileNotFoundError, "data set ", "/name does not exist"):
            load(f"hf:{name}")


def test_without_the_library_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match=re.escape('pip install "nnlab-jax[hf]"')):
        load("hf:owner/name")


def test_versions_that_run_code_of_data_sets_are_refused(library, monkeypatch):
    monkeypatch.setattr(library, "__version__", "3.6.0")
    with refused(ValueError, "datasets 4 or later", "not 3.6.0", "nnlab-jax[hf]"):
        load("hf:owner/name")
