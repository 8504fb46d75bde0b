# SPDX-License-Identifier: Apache-2.0
"""The best and the worst trial's curves are means of each split, on equal axes."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
import synthetic
from matplotlib.figure import Figure

from nnlab.report.figures import best_and_worst
from nnlab.statistics.findings import Findings
from nnlab.statistics.members import alive, carried_forward

SPLITS = ("train", "validation", "test")
TREES = {"model.name": "boosted_trees"}


def _axes(count=2):
    figure = Figure(figsize=(7.2, 3.0), layout="constrained")
    return [figure.add_subplot(1, count, n + 1) for n in range(count)]


def _curves(ax):
    """Returns the three mean curves."""
    return [n for n in ax.lines if n.get_linewidth() == 1.7 and len(n.get_xdata())]


@pytest.mark.parametrize("kind", ["accuracy", "loss"])
def test_curves_are_means_of_each_split_on_equal_axes(kind):
    results = synthetic.results(num_trials=3, diverged={(2, 1): 4}, stopped={(0, 2): 5})
    axes = _axes()
    for ax, trial in zip(axes, (0, 2)):
        assert best_and_worst.draw(ax, Findings(results), kind, trial, (0, 2)) is ax
        for split, line in zip(SPLITS, _curves(ax)):
            curve = carried_forward(results, trial, f"{split}_{kind}")
            kept = curve.values[alive(results, trial)]
            np.testing.assert_allclose(line.get_ydata(), kept.mean(axis=0))
    assert axes[0].get_ylim() == axes[1].get_ylim()
    assert axes[0].get_xlim() == axes[1].get_xlim() == (0, 10)
    labels = axes[0].get_legend_handles_labels()[1]
    assert labels == ["training", "validation", "test"]
    assert sum(line.get_marker() == "x" for line in axes[1].lines) == 3
    assert sum(line.get_marker() == "|" for line in axes[0].lines) == 3


def test_only_the_metrics_axis_is_shared_with_trees():
    results = synthetic.results(sweep=[{}, TREES])
    axes = _axes()
    for trial, ax in enumerate(axes):
        best_and_worst.draw(ax, Findings(results), "accuracy", trial, (0, 1))
    assert axes[0].get_ylim() == axes[1].get_ylim()
    assert [ax.get_xlim()[1] for ax in axes] == [10, synthetic.TREES[-1]]
    assert [ax.get_xlabel() for ax in axes] == ["epochs", "trees"]


def test_seeds_of_trees_stay_with_the_trees_that_they_keep():
    results = synthetic.results(sweep=[{}, TREES], num_seeds=3)
    columns = (results.curves[name].to_numpy() for name in ("trial", "seed", "step"))
    trial, seed, step = columns
    kept = (trial == 0) | (seed > 0) | (step == 1) | (step == 50)
    fewer = dataclasses.replace(results, curves=results.curves.filter(pa.array(kept)))
    (ax,) = _axes(1)
    best_and_worst.draw(ax, Findings(fewer), "loss", 1, (0, 1))
    values = results.curve(1, "train_loss").values
    share = (10 - 1) / (50 - 1)
    values[0, 1] = (1 - share) * values[0, 0] + share * values[0, 2]
    values[0, 3] = values[0, 2]
    np.testing.assert_allclose(_curves(ax)[0].get_ydata(), values.mean(axis=0))


def test_a_metric_that_is_not_there_is_refused():
    (ax,) = _axes(1)
    with pytest.raises(ValueError, match="the curves have no error"):
        best_and_worst.draw(ax, Findings(synthetic.results()), "error", 0, (0, 1))
