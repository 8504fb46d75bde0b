# SPDX-License-Identifier: Apache-2.0
"""All pairs once, each with its sum, in the shares that were asked for."""

import itertools

import numpy as np
from folders import splits

from nnlab.data import load


def test_every_pair_is_there_once_with_its_sum():
    data = load("modular_addition:11:0.3")
    assert (data.vocabulary, data.scale, data.num_classes) == (11, 1.0, 11)
    pairs = [tuple(map(int, pair)) for s in splits(data) for pair in s.inputs]
    labels = np.concatenate([s.labels for s in splits(data)])
    assert sorted(pairs) == [*itertools.product(range(11), repeat=2)]
    assert labels.tolist() == [(a + b) % 11 for a, b in pairs]
    assert [s.size for s in splits(data)] == [36, 43, 42]  # 0.3 of 121, and the rest
    for split in splits(data):
        assert split.inputs.dtype == np.int32
        assert np.ptp(np.bincount(split.labels)) <= 1


def test_half_of_the_pairs_are_for_training_unless_told_otherwise():
    assert [s.size for s in splits(load("modular_addition:97"))] == [4704, 2353, 2352]
