# SPDX-License-Identifier: Apache-2.0
"""The lines of errors, and the exit status of a program."""

import errno
import os
import resource

import pytest

from nnlab.words import errors


def of_system(number):
    return OSError(number, os.strerror(number), "curves.parquet")


@pytest.mark.parametrize(
    ("error", "flag"),
    [
        (of_system(errno.EMFILE), "-n"),
        (ImportError("libx.so: cannot open shared object: Too many open files"), "-n"),
        (MemoryError(), "-v"),
        (MemoryError("Unable to allocate 8.00 TiB for an array"), "-v"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes"), "-v"),
        (of_system(errno.ENOMEM), "-d"),
        (RuntimeError("can't start new thread"), "-u"),
        (of_system(errno.EFBIG), "-f"),
        (TypeError("OUT_OF_RANGE: Failed writing: File too large"), "-f"),
    ],
)
def test_what_ran_out_is_told_with_the_remedy(monkeypatch, error, flag):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1 << 30, 1 << 30))
    with pytest.raises(type(error)) as caught:
        raise error
    assert errors.status_of(caught.value) == 1
    assert f"raise it, such as by 'ulimit {flag} " in errors.line_of(error)


def test_without_a_limit_there_is_none_to_raise(monkeypatch):
    infinite = (resource.RLIM_INFINITY,) * 2
    monkeypatch.setattr(resource, "getrlimit", lambda _: infinite)
    assert errors.line_of(MemoryError()) == "MemoryError"
