# SPDX-License-Identifier: Apache-2.0
"""What tests of data sources share: a local server, expected refusals, comparisons."""

import contextlib
import dataclasses
import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from nnlab.data import Dataset, sources


@contextlib.contextmanager
def refused(kind: type[Exception], *words: object) -> Iterator[None]:
    """Expects an exception of exactly this kind, in one line, with these words."""
    with pytest.raises(kind) as caught:
        yield
    assert caught.type is kind
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert str(word) in message


def assert_equal(a: Dataset, b: Dataset) -> None:
    """Expects equal datasets, read-only and contiguous."""
    for split in ("train", "validation", "test"):
        for field in ("inputs", "labels"):
            x, y = getattr(getattr(a, split), field), getattr(getattr(b, split), field)
            np.testing.assert_array_equal(x, y)
            assert x.dtype == y.dtype
            assert x.flags.c_contiguous
            assert not x.flags.writeable
    assert (a.digest, a.scale, a.class_names) == (b.digest, b.scale, b.class_names)


def change(monkeypatch: pytest.MonkeyPatch, name: str, **changes: object) -> None:
    """Changes what is known of a published dataset."""
    changed = dataclasses.replace(sources.PUBLICATIONS[name], **changes)
    monkeypatch.setitem(sources.PUBLICATIONS, name, changed)


def publish_at(monkeypatch: pytest.MonkeyPatch, name: str, port: int) -> None:
    """Lets a published dataset be downloaded from a port of this machine."""
    change(monkeypatch, name, url=f"http://127.0.0.1:{port}/")


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files and prints nothing."""

    def log_message(self, format, *args):
        pass


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[int]:
    """Serves a folder on this machine; gives the port."""
    handler = functools.partial(QuietHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def entries(tmp_path: Path) -> list[Path]:
    """The entries of the cache of arrays in tmp_path/cache."""
    return sorted((tmp_path / "cache" / "arrays").iterdir())
