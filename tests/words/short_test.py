# SPDX-License-Identifier: Apache-2.0
"""Short names tell apart what differs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnlab.words.short import LEAST, shortened

# Long beginnings and ends in common, and what differs anywhere between.
PARTS = st.lists(st.sampled_from(["batch norm, ", "0.1", "0.10", "no ", "…", " (2)"]))
NAMES = st.lists(st.one_of(st.text(), st.builds("".join, PARTS)), max_size=40)
LABEL = "batch norm, dropout rate 0.5, {}, learning rate 0.1, {} epochs"


@given(NAMES, st.integers(LEAST, 60))
def test_what_differs_stays_different_and_fits(names, most):
    short = shortened(names, most)
    assert len({*zip(names, short)}) == len({*names}) == len({*short})
    assert all(len(text) <= most for text in short)
    assert shortened(["a", *names, "a"], most)[-1] == "a"


@pytest.mark.parametrize(
    "names",
    [
        [LABEL.format("relu", n) for n in range(60)],
        [LABEL.format(name, 5) for name in ("relu", "leaky relu", "tanh", "sigmoid")],
        [f"csv:/a/long/path/to/{year}/of/tables/data.csv" for year in (2024, 2025)],
        [f"{'64-' * 20}{width}{'-64' * 20}" for width in (8, 16)],
        [LABEL.format(norm, 5) for norm in ("batch norm", "no batch norm")],
    ],
)
@pytest.mark.parametrize("most", [LEAST, 14, 26, 44])
def test_swept_names_are_told_apart_without_a_number_where_there_is_room(names, most):
    short = shortened(names, most)
    assert len({*short}) == len(names)
    assert most < 14 or not any("(" in text for text in short)
