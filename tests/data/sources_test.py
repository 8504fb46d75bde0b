# SPDX-License-Identifier: Apache-2.0
"""Names of datasets: which dataset, which folder, and which source comes first."""

import os
import re
import subprocess
import sys

import pytest
from folders import assert_equal, gzipped, refused, splits, write_files

from nnlab.data import idx, load, sources

REAL = os.environ.get("NNLAB_DATA_DIR")


def test_digits():
    data = load("digits")
    assert [len(split.labels) for split in splits(data)] == [1198, 239, 360]
    assert data.input_shape == (8, 8, 1)
    assert data.class_names == tuple("0123456789")
    assert data.train.inputs.max() * data.scale == 1.0
    # Pinned: a changed order or split would change every result on digits.
    assert data.digest.startswith("6b93153a7d3420a7")


@pytest.mark.skipif(REAL is None, reason="needs NNLAB_DATA_DIR")
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_real_data(name):
    data = load(name, data_dir=REAL)
    assert data.digest == sources.PUBLICATIONS[name].digest
    assert [len(s.labels) for s in splits(data)] == [50_000, 10_000, 10_000]
    assert_equal(load(name, data_dir=REAL), data)


NAMES = (
    "digits, mnist, fashion_mnist, cifar10, map, csv:PATH, parquet:PATH, hf:NAME, "
    "folder:PATH, real_or_generated:NAME, "
)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("mnits", "mnist"),
        ("digits:3", "digits"),
        ("cvs:a.csv", "csv:PATH"),
        ("paquet:a.csv", "parquet:PATH"),
        ("foldr:/a/b/c/d/e/f/g", "folder:PATH"),
        ("real_or_generated:mnits", "mnist"),
    ],
)
def test_unknown_name_offers_the_nearest(name, near):
    given = name.rpartition("generated:")[2]
    with refused(ValueError, repr(given), f"did you mean {near!r}", NAMES):
        load(name)


@pytest.mark.parametrize(
    "kind",
    ["csv:PATH", "parquet:PATH", "hf:NAME", "folder:PATH", "real_or_generated:NAME"],
)
def test_name_without_its_argument(kind):
    for end in ("", ":", "::"):
        name = kind.partition(":")[0] + end
        with refused(ValueError, repr(name), "argument", kind):
            load(name)


@pytest.mark.parametrize(
    ("argument", "path", "option"),
    [
        ("a:b", "a:b", "label"),
        ("a:b:c:d", "a:b", "c:d"),
        ("a:c", "a", "c"),
        ("~/a:c", "a", "c"),
    ],
)
def test_a_path_may_hold_colons_and_an_option_follows_it(
    tmp_path, monkeypatch, argument, path, option
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("a:b", "a"):
        (tmp_path / name).write_text("x,y\n1,2\n")
    with refused(ValueError, f"{tmp_path / path}, line 1: no column", repr(option)):
        load(f"csv:{argument}")
    for argument in ("x:c", "x"):
        with refused(FileNotFoundError, f"table {tmp_path / 'x'} does not exist"):
            load(f"csv:{argument}")


def test_importing_is_light():
    heavy = "{'jax', 'tensorflow_datasets', 'sklearn', 'requests', 'PIL', 'pyarrow'}"
    code = f"import sys, nnlab.data; sys.exit(bool({heavy} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_explicit_folder_hides_the_environment(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("NNLAB_DATA_DIR", str(tmp_path / "absent"))
    load("mnist", data_dir=folder)
    load("digits")
    with refused(FileNotFoundError, "NNLAB_DATA_DIR", tmp_path / "absent"):
        load("mnist")
    monkeypatch.setenv("NNLAB_DATA_DIR", str(folder))
    load("mnist")


@pytest.mark.parametrize("name", ["mnist", "digits", "csv:t.csv"])
def test_explicit_folder_must_exist_for_all_data(tmp_path, monkeypatch, mnist, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("x,label\n" + "1,a\n2,b\n" * 6)
    write_files(tmp_path / "data", gzipped(mnist))
    load(name, data_dir="data")
    with refused(FileNotFoundError, "data_dir absent does not exist"):
        load(name, data_dir="absent")
    with refused(FileNotFoundError, "t.csv is not a folder"):
        load(name, data_dir=tmp_path / "t.csv")


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


def test_tfrecord_directory_is_told_and_idx_read_instead(tmp_path, mnist, caplog):
    prepared = tmp_path / "data" / "mnist" / "3.0.1"
    write_files(prepared, {"dataset_info.json": b'{"fileFormat": "tfrecord"}'})
    with refused(FileNotFoundError, prepared, "tfrecord", "TensorFlow"):
        load("mnist", data_dir=tmp_path / "data")
    write_files(tmp_path / "data" / "mnist", gzipped(mnist))
    load("mnist", data_dir=tmp_path / "data")
    assert re.search("tfrecord.*TensorFlow.*published files", caplog.text)
