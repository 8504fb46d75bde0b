# SPDX-License-Identifier: Apache-2.0
"""Shared by tests of data sources: a local server, expected errors, comparisons."""

import contextlib
import dataclasses
import functools
import gzip
import http.server
import io
import json
import threading
import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nnlab.data import Dataset, Split, sources


@contextlib.contextmanager
def refused(kind: type[Exception], *words: object) -> Iterator[None]:
    """Expects exactly this exception, in one line, with these words."""
    with pytest.raises(kind) as caught:
        yield
    assert caught.type is kind
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert str(word) in message


def assert_equal(a: Dataset, b: Dataset) -> None:
    """Expects equal datasets, read-only and contiguous."""
    for one, other in zip(splits(a), splits(b), strict=True):
        for field in ("inputs", "labels"):
            x, y = getattr(one, field), getattr(other, field)
            np.testing.assert_array_equal(x, y)
            assert x.dtype == y.dtype
            assert x.flags.c_contiguous
            assert not x.flags.writeable
    assert (a.digest, a.scale, a.class_names) == (b.digest, b.scale, b.class_names)


def splits(data: Dataset) -> tuple[Split, Split, Split]:
    """Returns training, validation and test examples."""
    return data.train, data.validation, data.test


def change(monkeypatch: pytest.MonkeyPatch, name: str, **changes: object) -> None:
    """Changes fields of a publication."""
    changed = dataclasses.replace(sources.PUBLICATIONS[name], **changes)
    monkeypatch.setitem(sources.PUBLICATIONS, name, changed)


def publish_at(monkeypatch: pytest.MonkeyPatch, name: str, port: int) -> None:
    """Redirects a download to a port of this machine."""
    change(monkeypatch, name, url=f"http://127.0.0.1:{port}/")


def write_files(root: Path, contents: Mapping[str, bytes]) -> Path:
    """Makes a folder of these files; returns it."""
    root.mkdir(parents=True, exist_ok=True)
    for file, content in contents.items():
        (root / file).write_bytes(content)
    return root


def gzipped(contents: Mapping[str, bytes]) -> dict[str, bytes]:
    """Compresses each file into an archive of its own."""
    return {f"{f}.gz": gzip.compress(c, mtime=0) for f, c in contents.items()}


@contextlib.contextmanager
def little_memory(most: int) -> Iterator[None]:
    """Expects at most so many bytes in memory at once."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files and prints nothing."""

    def log_message(self, format, *args):
        pass


def example(label: int, image: bytes | Image.Image) -> bytes:
    """Returns an example as TFDS stores it, of an image or of its file's bytes."""
    from tensorflow_datasets.proto import tf_example_pb2

    if isinstance(image, Image.Image):
        stream = io.BytesIO()
        image.save(stream, "PNG")
        image = stream.getvalue()
    found = tf_example_pb2.Example()
    found.features.feature["image"].bytes_list.value.append(image)
    found.features.feature["label"].int64_list.value.append(label)
    return found.SerializeToString()


def description(splits: Mapping[str, Sequence[bytes]]) -> dict[str, Any]:
    """Returns the description that TFDS writes beside MNIST."""
    template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    lengths = {split: [str(len(examples))] for split, examples in splits.items()}
    return {
        "name": "mnist",
        "version": "3.0.1",
        "fileFormat": "array_record",
        "splits": [
            {"name": split, "filepathTemplate": template, "shardLengths": found}
            for split, found in lengths.items()
        ],
    }


def prepare(
    monkeypatch: pytest.MonkeyPatch, root: Path, splits: Mapping[str, Sequence[bytes]]
) -> Path:
    """Makes a prepared directory of MNIST from examples; returns it."""
    from array_record.python.array_record_module import ArrayRecordWriter

    folder = root / "mnist" / "3.0.1"
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text(json.dumps(description(splits)))
    for split, examples in splits.items():
        file = folder / f"mnist-{split}.array_record-00000-of-00001"
        writer = ArrayRecordWriter(str(file), "group_size:1")
        for item in examples:
            writer.write(item)
        writer.close()
    counts = {f"num_{split}": len(examples) for split, examples in splits.items()}
    change(monkeypatch, "mnist", **counts, digest=None)
    return folder


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[int]:
    """Serves a folder on this machine; yields the port."""
    handler = functools.partial(QuietHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def entries(tmp_path: Path) -> list[Path]:
    """Returns the entries of the cache of arrays in tmp_path/cache."""
    return sorted((tmp_path / "cache" / "arrays").iterdir())
