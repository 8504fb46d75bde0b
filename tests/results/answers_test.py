# SPDX-License-Identifier: Apache-2.0
"""What networks said of each example is stored and read as it was."""

import numpy as np
import pytest

from nnlab.results import answers, pictures
from nnlab.results.answers import Answers
from nnlab.study import Study
from nnlab.study.members import Members

SHAPE = T, S = 3, 4
SIZES = {"validation": 13, "test": 16}
STUDY = Study(sweep=[{"optimizer.learning_rate": 0.1 * k} for k in (1, 2, 3)])


def drawn(kind=bool, sizes=SIZES, shape=SHAPE, padding=3):
    """Values of examples, with some behind the last example, as devices pad them."""
    rng = np.random.default_rng(0)
    return {
        split: rng.integers(2, size=(*shape, n + padding)).astype(kind)
        for split, n in sizes.items()
    }


@pytest.fixture
def known():
    return np.random.default_rng(1).random(SHAPE) < 0.7


@pytest.mark.parametrize("kind", [bool, np.float32])
def test_a_file_gives_back_what_was_said(kind, known, tmp_path):
    each, path = drawn(kind), tmp_path / "file.npz"
    content = pictures.encode(Answers.of_program(each, SIZES, known).arrays())
    path.write_bytes(content)
    found = answers.load(path, SHAPE)
    assert pictures.encode(found.arrays()) == content
    np.testing.assert_array_equal(found.known, known)
    for split, size in SIZES.items():
        for trial in range(T):
            got = found.of(trial, split)
            wanted = np.where(known[trial, :, None], each[split][trial, :, :size], 0)
            assert got.dtype == kind
            np.testing.assert_array_equal(got, wanted)
    assert found.of(0, "test_moved") is None
    # A bit for each example, whole bytes for each network.
    assert kind is not bool or found.values["validation"].nbytes == T * S * 2


def test_programs_of_other_data_and_of_added_seeds_are_joined():
    first, *others = STUDY.trials()
    parts = [
        (Members(0, tuple(others), 1, 3), {"test": 16}),
        (Members(1, (first,), 0, 4), {"test": 9, "test_moved": 9}),
        (Members(2, tuple(others), 0, 1), {"test": 16}),
    ]
    said = []
    for members, sizes in parts:
        shape = len(members.trials), members.num_seeds
        each = drawn(sizes=sizes, shape=shape)
        of = Answers.of_program(each, sizes, np.ones(shape, bool))
        said.append((members, of, each))
    whole = answers.joined([(members, of) for members, of, _ in said], SHAPE)
    assert whole.known.all()
    for members, _, each in said:
        for t, trial in enumerate(members.trials):
            got = whole.of(trial.index, "test")[members.seeds]
            wanted = each["test"][t, :, : whole.sizes["test"][trial.index]]
            np.testing.assert_array_equal(got, wanted)
    assert whole.of(0, "test_moved").shape == (4, 9)
    assert whole.of(1, "test_moved") is None


def test_a_damaged_file_is_one_line_and_none_is_none(known, tmp_path):
    path = tmp_path / "correct.npz"
    assert answers.load(path, SHAPE) is None
    arrays = Answers.of_program(drawn(), SIZES, known).arrays()
    content = pictures.encode(arrays)
    wrong = [
        {**arrays, "known": arrays["known"].astype(np.int8)},
        {**arrays, "known": arrays["known"][:, 1:]},
        {**arrays, "test": arrays["test"][..., 1:]},
        {**arrays, "test": arrays["test"].astype(object)},
        {**arrays, "test_n": arrays["test_n"] + 8},
        {**arrays, "test_n": -arrays["test_n"]},
        {name: array for name, array in arrays.items() if name != "test_n"},
        {name: array for name, array in arrays.items() if name != "known"},
    ]
    for damaged in (b"", content[:-9], *map(pictures.encode, wrong)):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"correct.npz' is damaged: ") as error:
            answers.load(path, SHAPE)
        assert "\n" not in str(error.value)
