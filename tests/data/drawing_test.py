# SPDX-License-Identifier: Apache-2.0
"""Every seed has parts of the published sizes, drawn from all examples."""

import numpy as np
import pytest

from nnlab import data
from nnlab.data.drawing import Drawing

PARTS = ("train", "validation", "test")


def rows(split):
    return {example.tobytes() for example in split.inputs}


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def test_each_seed_divides_the_whole_data_set_anew(digits):
    drawing = Drawing.of(digits, PARTS, root_seed=0)
    seen = [drawing.dataset(digits, seed) for seed in range(2)]
    every = set.union(*(rows(getattr(digits, name)) for name in PARTS))
    for some in seen:
        assert set.union(*(rows(getattr(some, name)) for name in PARTS)) == every
        for name in PARTS:
            split = getattr(some, name)
            assert split.size == getattr(digits, name).size
            assert not split.inputs.flags.writeable
    # Seeds share about a fifth of their test examples, as chance has it.
    assert len(rows(seen[0].test) & rows(seen[1].test)) < 120


def test_the_published_test_set_is_kept_and_never_trained_on(digits):
    drawing = Drawing.of(digits, PARTS[:2], root_seed=0)
    found = drawing.dataset(digits, 5)
    assert found.test is digits.test
    learnt = rows(found.train) | rows(found.validation)
    assert learnt == rows(digits.train) | rows(digits.validation)
    assert rows(found.train) != rows(digits.train)


def test_limits_take_the_first_of_each_part(digits):
    whole = Drawing.of(digits, PARTS, 0).indices(1)
    few = Drawing.of(digits, PARTS, 0, eval_size=40).limit(100)
    stacked = few.stacked("test", (0, 1))
    assert stacked.shape == (2, 40)
    assert np.array_equal(stacked[1], whole["test"][:40])
    labels = few.pool.labels[few.indices(1)["train"]]
    assert np.bincount(labels).tolist() == [10] * 10
