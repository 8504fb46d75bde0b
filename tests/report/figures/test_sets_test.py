# SPDX-License-Identifier: Apache-2.0
"""Accuracies on moved and rotated images are those of the final networks."""

import drawn
import numpy as np
import pytest
import synthetic

MOVED = {
    "test_accuracy": [[[0.2, 0.9]] * 3, [[0.1, 0.8]] * 3],
    "test_moved_accuracy": [[[np.nan, 0.4]] * 3, [[np.nan, 0.3]] * 3],
    "test_rotated_accuracy": [[[np.nan, 0.7]] * 3, [[np.nan, 0.6]] * 3],
}


@pytest.mark.parametrize(
    ("sweep", "rows"),
    [
        ([{"batch_size": 8}, {"batch_size": 64}], False),
        ([{"model.activation": "relu"}, {"model.activation": "tanh"}], True),
    ],
)
def test_test_sets_draw_the_final_mean_of_each_set(sweep, rows):
    fields = {"test_sets": {"moved_pixels": 2, "rotated_degrees": 30}}
    results = synthetic.results(MOVED, sweep=sweep, fields=fields)
    (ax,) = drawn.axes("test_sets", results)
    means = [
        float((line.get_xdata() if rows else line.get_ydata())[0])
        for line in ax.lines
        if line.get_markersize() == 5.5 and len(line.get_xdata())
    ]
    assert means == pytest.approx([0.9, 0.8, 0.4, 0.3, 0.7, 0.6])
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["normal", "moved", "rotated"]  # chance is too far to be shown


def test_severity_draws_the_members_that_are_left():
    results = synthetic.results(
        num_trials=2, num_seeds=4, severity=("moved",), diverged={(1, 3): 2}
    )
    (ax,) = drawn.axes("severity", results)
    for trial, line in enumerate(drawn.solid(ax)):
        rows = [r for r in results.severity.to_pylist() if r["trial"] == trial]
        accuracies = np.reshape([r["accuracy"] for r in rows], ((4, 3)[trial], 7))
        np.testing.assert_allclose(line.get_xdata(), range(7))
        np.testing.assert_allclose(line.get_ydata(), accuracies.mean(axis=0))
    assert len(ax.collections) == 2  # the bands
    assert "pixels" in ax.get_xlabel()
