# SPDX-License-Identifier: Apache-2.0
"""Programs are cut into chunks: every network once, in whole lanes."""

import collections

import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st

from nnlab.cluster import chunks
from nnlab.study.members import Members, numbered
from nnlab.training.lanes import Lanes


def block(trials, seeds, first_seed=0):
    rates = tiny.rates(*(0.1 + i / 1000 for i in range(trials)))
    of = tiny.study(rates, num_seeds=first_seed + seeds).trials()
    return Members(3, of, first_seed, seeds)


def members(some):
    return collections.Counter(member for one in some for member in one.pairs())


@given(
    trials=st.integers(1, 9),
    seeds=st.integers(1, 9),
    first=st.integers(0, 3),
    most=st.integers(1, 90),
    width=st.integers(1, 90),
)
def test_all_members_are_in_one_chunk_each(trials, seeds, first, most, width):
    whole = block(trials, seeds, first)
    width = min(width, trials * seeds)
    lanes = Lanes.of_width(trials, seeds, width, 1)
    found = chunks.cut(whole, most, lanes.trials, lanes.seeds)
    assert members(found) == members([whole])
    assert set(members(found).values()) == {1}
    of_chunks = [lanes.with_members(len(one.trials), one.num_seeds) for one in found]
    # No lane is split between two chunks and so trained twice.
    assert sum(one.used for one in of_chunks) == lanes.used
    largest = max(len(one.pairs()) for one in found)
    assert largest <= max(most, lanes.width)


@pytest.mark.parametrize(
    ("most", "sizes"),
    [(10, [(2, 5)]), (4, [(2, 2), (2, 2), (2, 1)]), (1, [(1, 1)] * 10)],
)
def test_a_program_is_cut_by_seeds_first(most, sizes):
    found = chunks.cut(block(2, 5), most)
    assert [(len(one.trials), one.num_seeds) for one in found] == sizes


def test_what_is_small_enough_stays_as_it_is():
    whole = block(2, 3)
    assert chunks.cut(whole, 6) == (whole,)
    assert all(one.whole == (2, 3) for one in chunks.cut(whole, 5))


def test_chunks_get_indices_that_no_program_has():
    chunked = numbered(chunks.cut(block(4, 3), 2), {0, 1, 3})
    assert [one.index for one in chunked] == [2, *range(4, 9)]


def test_a_record_gives_the_chunk_back():
    whole = block(4, 3, first_seed=2)
    for one in (whole, *chunks.cut(whole, 2)):
        assert Members.from_dict(one.to_dict(), whole.trials) == one
