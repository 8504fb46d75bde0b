# SPDX-License-Identifier: Apache-2.0
"""Empty folders for each test, and small copies of MNIST and of its server."""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
from folders import gzipped, publish_at, serving, write_files

from nnlab.data import idx, published, sources


@pytest.fixture(autouse=True)
def own_folders(monkeypatch, tmp_path):
    monkeypatch.setenv("NNLAB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("NNLAB_DATA_DIR", raising=False)
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def mnist(monkeypatch):
    """Replaces MNIST's publication by 80 random images; returns its IDX contents."""
    rng = np.random.default_rng(0)
    arrays = [
        rng.integers(0, 256, (60, 28, 28)),
        rng.integers(0, 10, 60),
        rng.integers(0, 256, (20, 28, 28)),
        rng.integers(0, 10, 20),
    ]
    arrays = published.Arrays(*(array.astype(np.uint8) for array in arrays))
    contents = {
        file: np.array([0x800 + a.ndim, *a.shape], ">u4").tobytes() + a.tobytes()
        for file, a in zip(idx.FILES, arrays, strict=True)
    }
    small = dataclasses.replace(
        sources.PUBLICATIONS["mnist"],
        num_train=60,
        num_test=20,
        sha256={f: hashlib.sha256(c).hexdigest() for f, c in contents.items()},
        digest=None,
    )
    digest = published.dataset(arrays, small, Path()).digest
    small = dataclasses.replace(small, digest=digest)
    monkeypatch.setitem(sources.PUBLICATIONS, "mnist", small)
    return contents


@pytest.fixture
def folder(tmp_path, mnist):
    """A data folder with the four small files, gzipped."""
    return write_files(tmp_path / "data", gzipped(mnist))


@pytest.fixture
def served(mnist, tmp_path, monkeypatch):
    """Publishes the four small files on a local server; returns its folder."""
    root = write_files(tmp_path / "served", gzipped(mnist))
    with serving(root) as port:
        publish_at(monkeypatch, "mnist", port)
        yield root
