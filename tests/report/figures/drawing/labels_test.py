# SPDX-License-Identifier: Apache-2.0
"""Labels move apart, and no more than they must."""

import numpy as np
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


def test_names_that_differ_at_their_ends_are_told_apart():
    rates = [f"init + tanh + momentum + early stopping, rate {r}" for r in (0.1, 0.3)]
    short = [labels.plain(rate) for rate in rates]
    assert len({*short}) == 2
    assert {*map(len, short)} == {30}
    assert [text[-8:] for text in short] == ["rate 0.1", "rate 0.3"]


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
