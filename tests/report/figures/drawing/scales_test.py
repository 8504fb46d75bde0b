# SPDX-License-Identifier: Apache-2.0
"""The data decide the scale of an axis, its limits and its ticks."""

import drawn
import numpy as np
import pytest
import synthetic


def ticks(ax):
    ax.figure.draw_without_rendering()
    return {label.get_text() for label in ax.get_yticklabels()}


@pytest.mark.parametrize(("spread", "scale"), [(1.1, "linear"), (100.0, "log")])
def test_loss_is_on_a_log_axis_where_that_helps(ax, spread, scale):
    values = np.geomspace(spread, 1.0, 5) * np.ones((2, 3, 1))
    drawn.learning(ax, synthetic.results({"train_loss": values}), "train_loss")
    assert ax.get_yscale() == scale


def test_an_accuracy_of_one_is_in_view_on_the_error_scale(ax):
    results = synthetic.results(np.full((2, 4, 3), 1.0))
    drawn.learning(ax, results, "validation_accuracy")
    bottom, top = ax.get_ylim()
    assert all(bottom < y < top for y in drawn.solid(ax)[0].get_ydata())
    assert "100 %" in ticks(ax)


def test_a_share_is_drawn_in_percent(ax):
    values = np.full((2, 3, 4), 0.93) * [[[1.0, 0.5, 0.2, 0.1]]]
    results = synthetic.results({"test_active_share": values})
    drawn.learning(ax, results, "test_active_share")
    assert ax.get_yscale() == "linear"
    assert {"20 %", "80 %"} <= ticks(ax)


def test_of_crowded_values_those_with_room_are_ticks():
    sweep = [{"batch_size": b} for b in (6, 9, 10, 45, 140)]
    (ax,) = drawn.axes("final", synthetic.results(sweep=sweep))
    assert ax.get_xticks().tolist() == [6, 9, 45, 140]
