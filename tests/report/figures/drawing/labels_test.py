# SPDX-License-Identifier: Apache-2.0
"""Labels move apart, and no more than they must."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnlab.report.figures.drawing import labels, scales


@given(
    st.lists(st.floats(0, 1), max_size=12),
    st.floats(0.001, 0.2),
)
def test_spread_keeps_apart_in_order_and_in_bounds(places, gap):
    moved = labels.spread(places, gap, 0.0, 1.0)
    fits = min(gap, 1 / max(len(places) - 1, 1))
    order = np.argsort(places, kind="stable")
    assert np.all(np.diff(moved[order]) >= fits - 1e-9)
    assert np.all((moved >= -1e-9) & (moved <= 1 + 1e-9))


LONG = "init + tanh + momentum, {}, with early stopping and a rate of {}"


@pytest.mark.parametrize(
    "names",
    [
        [LONG.format("no dropout", rate) for rate in (0.1, 0.3)],
        [LONG.format(f"width {width}", 0.1) for width in range(60)],
    ],
)
@pytest.mark.parametrize("width", [10, 20, labels.WRAP])
def test_lines_that_are_too_long_still_tell_names_apart(names, width):
    shown = labels.wrapped(names, width)
    assert len({*shown}) == len(names)
    lines = [line for text in shown for line in text.split("\n")]
    assert max(map(len, lines)) <= width
    assert len(lines) <= 2 * len(names)


def test_a_row_is_named_in_full(ax):
    names = [f"batch norm, dropout rate 0.5, learning rate {r}" for r in (0.01, 0.1)]
    scales.set_rows(ax, names)
    shown = [label.get_text().replace("\n", " ") for label in ax.get_yticklabels()]
    assert shown == names


def test_spread_moves_no_more_than_needed():
    free = labels.spread([0.1, 0.5, 0.9], 0.1, 0.0, 1.0)
    np.testing.assert_allclose(free, [0.1, 0.5, 0.9])
    # Of three labels at one place the middle one stays, the others move equally far.
    np.testing.assert_allclose(
        labels.spread([0.5, 0.5, 0.5, 0.9], 0.1, 0.0, 1.0), [0.4, 0.5, 0.6, 0.9]
    )
