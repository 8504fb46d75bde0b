# SPDX-License-Identifier: Apache-2.0
"""The best and the worst trial's curves are means of each split, on equal axes."""

import dataclasses

import drawn
import numpy as np
import pyarrow as pa
import synthetic

from nnlab.statistics.members import alive, carried_forward

SPLITS = ("train", "validation", "test")


def curves(ax):
    """Returns the mean curves."""
    return [line for line in drawn.solid(ax) if len(line.get_xdata())]


def test_curves_are_means_of_each_split_on_equal_axes():
    level = np.linspace(0.8, 0.7, 3)[:, None, None] + np.zeros((3, 8, 10))
    results = synthetic.results(level, diverged={(2, 1): 4}, stopped={(0, 2): 5})
    axes = drawn.axes("extremes", results)
    for number, ax in enumerate(axes):
        trial, kind = (0, 2)[number % 2], ("accuracy", "loss")[number // 2]
        for split, line in zip(SPLITS, curves(ax), strict=True):
            curve = carried_forward(results, trial, f"{split}_{kind}")
            kept = curve.values[alive(results, trial)]
            np.testing.assert_allclose(line.get_ydata(), kept.mean(axis=0))
    for best, worst in (axes[:2], axes[2:]):
        assert best.get_ylim() == worst.get_ylim()
        assert best.get_xlim() == worst.get_xlim() == (0, 10)
        assert len(drawn.crosses(worst)) == len(drawn.ticks(best)) == 3
    (legend,) = axes[0].figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["training", "validation", "test"]


def test_only_the_metrics_axis_is_shared_with_trees():
    axes = drawn.axes("extremes", synthetic.beside_trees(0.7, trees=0.9))
    assert axes[0].get_ylim() == axes[1].get_ylim()
    assert sorted(ax.get_xlim()[1] for ax in axes[2:]) == [6, synthetic.TREES[-1]]
    assert {ax.get_xlabel() for ax in axes[2:]} == {"epochs", "trees"}


def test_seeds_of_trees_stay_with_the_trees_that_they_keep():
    results = synthetic.beside_trees(0.9, trees=0.7)
    columns = (results.curves[name].to_numpy() for name in ("trial", "seed", "step"))
    trial, seed, step = columns
    kept = (trial == 0) | (seed > 0) | (step == 1) | (step == 50)
    fewer = dataclasses.replace(results, curves=results.curves.filter(pa.array(kept)))
    values = results.curve(1, "train_loss").values
    share = (10 - 1) / (50 - 1)
    values[0, 1] = (1 - share) * values[0, 0] + share * values[0, 2]
    values[0, 3] = values[0, 2]
    worst = curves(drawn.axes("extremes", fewer)[3])[0]
    np.testing.assert_allclose(worst.get_ydata(), values.mean(axis=0))
