# SPDX-License-Identifier: Apache-2.0
"""Parts are stratified, apart, of the sizes asked for, and every seed's own."""

import numpy as np
import pytest
from folders import refused
from hypothesis import given
from hypothesis import strategies as st

from nnlab.data import splits

NAMES = ("a", "b", "c", "d", "e")
SIZES = {"train": 60, "validation": 12, "test": 28}
LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [7, 33, 60]))


def counts(labels, part):
    return np.bincount(labels[part], minlength=len(NAMES))


@given(
    classes=st.lists(st.integers(3, 40), min_size=2, max_size=5),
    shares=st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0)),
    seed=st.integers(0, 9),
)
def test_parts_are_apart_and_have_each_class_in_its_share(classes, shares, seed):
    whole, least = np.repeat(np.arange(len(classes)), classes), len(classes)
    spare = len(whole) - 3 * least
    test = least + int(shares[0] * spare)
    validation = least + int(shares[1] * (spare - (test - least)))
    sizes = {"train": len(whole) - validation - test}
    sizes |= {"validation": validation, "test": test}
    parts = splits.drawn(whole, sizes, NAMES, 0, seed)
    assert {name: len(part) for name, part in parts.items()} == sizes
    together = np.concatenate(list(parts.values()))
    assert np.array_equal(np.sort(together), np.arange(len(whole)))
    for name, part in parts.items():
        found = counts(whole, part)[:least]
        assert found.min() >= 1
        # A class that must be in every part may take others' places.
        if min(classes) * min(sizes.values()) >= 2 * len(whole):
            # Validation's shares are of what test has left: two roundings.
            assert abs(found - np.array(classes) * sizes[name] / len(whole)).max() < 2


def test_remainders_go_to_the_classes_that_lack_most():
    """The test set is 28 of 7, 33, 60 examples: 1.96, 9.24, 16.8 of 100."""
    part = splits.divided(LABELS, SIZES, NAMES)["test"]
    assert counts(LABELS, part)[:3].tolist() == [2, 9, 17]


def test_a_seed_draws_alike_every_time_and_seeds_draw_apart():
    of = [splits.drawn(LABELS, SIZES, NAMES, *key) for key in ((0, 0), (0, 1), (1, 0))]
    again = splits.drawn(LABELS, SIZES, NAMES, 0, 0)
    for name in SIZES:
        assert np.array_equal(of[0][name], again[name])
        for other in of[1:]:
            assert not np.array_equal(np.sort(of[0][name]), np.sort(other[name]))


def test_a_smaller_first_part_leaves_the_others_as_they_are():
    """So trials with fewer training examples have the same test examples."""
    whole = splits.drawn(LABELS, SIZES, NAMES, 0, 3)
    small = splits.drawn(LABELS, {**SIZES, "train": 20}, NAMES, 0, 3)
    assert np.array_equal(whole["test"], small["test"])
    assert np.array_equal(whole["validation"], small["validation"])
    assert np.isin(small["train"], whole["train"]).all()
    assert counts(LABELS, small["train"])[:3].tolist() == [1, 7, 12]


def test_a_part_is_in_random_order():
    """So the first examples of it are of all classes."""
    part = splits.drawn(np.sort(LABELS), SIZES, NAMES, 0, 0)["train"]
    assert (np.diff(part) < 0).any()
    assert set(np.sort(LABELS)[part[:20]]) == {0, 1, 2}


@pytest.mark.parametrize(
    ("labels", "sizes", "words"),
    [
        ([0] * 9 + [1] * 2, (7, 2, 2), ("class 'b' has 2 examples", "leave the class")),
        (
            [0] * 9 + [1] * 3,
            (9, 1, 2),
            ("validation set of 1 example", "all 2 classes"),
        ),
        ([0, 1, 2] * 5, (2, 5, 5), ("a training set of 2 examples", "needs 3")),
    ],
)
def test_what_cannot_have_every_class_is_refused(labels, sizes, words):
    with refused(ValueError, *words):
        splits.divided(np.array(labels), dict(zip(SIZES, sizes)), NAMES)


def test_a_class_without_examples_is_in_no_part():
    labels = np.repeat([0, 3], 6)
    parts = splits.divided(labels, {"train": 8, "test": 4}, NAMES)
    assert counts(labels, parts["test"]).tolist() == [2, 0, 0, 2, 0]
