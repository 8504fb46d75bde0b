# SPDX-License-Identifier: Apache-2.0
"""Baselines are lines across the axes at their final value."""

import drawn
import numpy as np
import pytest
import synthetic

from nnlab.report.figures.drawing import curves


@pytest.mark.parametrize(("x", "last"), [("epoch", 10), ("step", 350), ("seconds", 1)])
def test_baselines_lie_across_curves_at_their_final_value(ax, x, last):
    results = synthetic.results(sweep=drawn.BESIDE, seconds={0: (0.1,) * 3})
    drawn.learning(ax, results, "validation_accuracy", x=x)
    finals = [results.curve(t, "validation_accuracy").values[:, -1] for t in (3, 4)]
    np.testing.assert_allclose(drawn.dashed(ax), np.mean(finals, axis=1))
    assert len(drawn.solid(ax)) == 3
    assert ax.get_xlim() == pytest.approx((0, last))
    assert {"boosted trees", "a forest", "0.1"} <= {t.get_text() for t in ax.texts}


def test_of_a_baseline_the_gap_shows_the_test_accuracy_if_it_has_one(ax):
    found = synthetic.findings(sweep=drawn.BESIDE, never_ran=(4,))
    curves.Curves(found, "test_accuracy", dashed="train_accuracy").draw(ax)
    final = found.results.curve(3, "test_accuracy").values[:, -1]
    assert drawn.dashed(ax) == pytest.approx([final.mean()])
    other = ax.figure.add_subplot()
    drawn.learning(other, found.results, "grad_norm_dense_0")
    assert not drawn.dashed(other)


@pytest.mark.parametrize("count", [3, 14])
def test_baselines_are_named_beside_labels_and_beside_a_color_bar(ax, count):
    rates = np.geomspace(0.01, 1, count)
    sweep = [{"optimizer.learning_rate": float(r)} for r in rates]
    results = synthetic.results(sweep=[*sweep, drawn.TREES, drawn.FOREST], num_seeds=3)
    drawn.learning(ax, results, "test_accuracy")
    ax.figure.draw_without_rendering()
    names = [t for t in ax.texts if t.get_text() in ("boosted trees", "a forest")]
    assert not names[0].get_window_extent().overlaps(names[1].get_window_extent())
    assert len(ax.figure.axes) == (1 if count == 3 else 2)
