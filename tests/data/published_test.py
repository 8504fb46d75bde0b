# SPDX-License-Identifier: Apache-2.0
"""Downloads: what is fetched, what is refused, and how long anybody waits."""

import socket
import threading
import time

import pytest
from folders import assert_equal, publish_at, refused

from nnlab.data import cifar, idx, load, published


def test_a_download_holds_what_files_hold(served, folder, tmp_path, capfd):
    from_files = load("mnist", data_dir=folder)
    assert_equal(load("mnist"), from_files)
    assert_equal(load("mnist", data_dir=tmp_path / "cache" / "data"), from_files)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "file"), [("mnist", f"{idx.TEST_LABELS}.gz"), ("cifar10", cifar.ARCHIVE)]
)
@pytest.mark.parametrize("answers", ["refuses", "hangs"])
def test_no_network_is_told_soon(monkeypatch, tmp_path, answers, name, file):
    monkeypatch.setattr(published, "_PROBE_SECONDS", 0.2)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if answers == "hangs":
            listener.listen()
        publish_at(monkeypatch, name, listener.getsockname()[1])
        began = time.perf_counter()
        with refused(ConnectionError, "127.0.0.1", "put ", file, "data_dir"):
            load(name)
    assert time.perf_counter() - began < 5
    assert not (tmp_path / "cache").exists()


def test_name_server_without_an_answer_is_not_waited_for(mnist, monkeypatch):
    released = threading.Event()

    def resolve(*args, **kwargs):
        released.wait(10)
        raise socket.gaierror

    monkeypatch.setattr(published, "_PROBE_SECONDS", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    began = time.perf_counter()
    with refused(ConnectionError, "storage.googleapis.com", "no answer"):
        load("mnist")
    released.set()
    assert time.perf_counter() - began < 5


def test_a_failed_download_is_told_and_fetched_again(served):
    path = served / f"{idx.TEST_LABELS}.gz"
    good = path.read_bytes()
    path.unlink()
    with refused(ConnectionError, "127.0.0.1", "data_dir"):
        load("mnist")
    path.write_bytes(good[:-20])
    with refused(ValueError, "127.0.0.1", "now deleted", "gzip"):
        load("mnist")
    path.write_bytes(good)
    load("mnist")
