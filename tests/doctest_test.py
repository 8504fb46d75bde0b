# SPDX-License-Identifier: Apache-2.0
"""The examples in docstrings are true."""

import doctest
import importlib
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
FILES = [f for f in sorted(ROOT.glob("nnlab/**/*.py")) if ">>> " in f.read_text()]
"""Only these are imported, so that the examples load no more than they need."""


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_examples_say_what_comes_out(file):
    parts = file.relative_to(ROOT).with_suffix("").parts
    module = importlib.import_module(".".join(parts).removesuffix(".__init__"))
    failed, tried = doctest.testmod(module)
    assert tried
    assert not failed
