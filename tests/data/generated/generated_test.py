# SPDX-License-Identifier: Apache-2.0
"""Data sets made by functions: how they are asked for, and that they never change."""

import re
import subprocess
import sys

import numpy as np
import pytest
from folders import assert_equal, refused, splits

from nnlab.data import generated, load


def test_each_is_the_same_in_every_process_and_on_a_second_call():
    usages = map(generated.usage, generated.NAMES)
    asked = [re.sub("[A-Z_]+$", "7", usage) for usage in usages]
    code = (
        "import sys, nnlab.data as d; print(*(d.load(n).digest for n in sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, *asked]
    other = subprocess.run(command, check=True, capture_output=True, text=True)
    digests = other.stdout.split()
    for name, digest in zip(asked, digests, strict=True):
        data = load(name)
        assert (data.name, data.digest) == (name, digest)
        assert_equal(load(name), data)
        for split in splits(data) if data.train.labels.dtype.kind == "i" else ():
            assert {*np.unique(split.labels)} == {*range(data.num_classes)}


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("modular_addition", ("lacks its argument", "write modular_addition:P or")),
        ("modular_addition:x", ("P must be a whole number, not 'x'",)),
        ("modular_addition:2", ("P=2 is out of range", "3 to 1,000")),
        ("modular_addition:7:1", ("TRAIN_SHARE=1 must be above 0 and below 1",)),
        ("modular_addition:7:0.1", ("a training set of 5 examples", "7 classes")),
        ("mnist1d:3", ("too many arguments: write mnist1d",)),
        ("spirals:2:3:nan", ("NOISE=nan must be from 0 to 100",)),
        ("gaussian_mixture:2:0", ("DIMENSIONS=0 is out of range",)),
        ("gaussian_mixture:1", ("CLASSES=1 is out of range",)),
    ],
)
def test_arguments_that_do_not_fit_are_refused_in_a_line(asked, words):
    with refused(ValueError, repr(asked), *words):
        load(asked)


def test_a_misspelt_one_is_offered():
    near = {"modulr_addition:97": "modular_addition:P", "mnist1": "mnist1d"}
    for wrong, right in near.items():
        with refused(ValueError, f"did you mean {right!r}"):
            load(wrong)
