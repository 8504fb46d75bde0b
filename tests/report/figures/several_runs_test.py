# SPDX-License-Identifier: Apache-2.0
"""Several runs on one Axes look as in their own reports."""

import numpy as np
import synthetic
from matplotlib.collections import PolyCollection

from nnlab.report.figures import several_runs
from nnlab.statistics.findings import Findings


def chosen(name, level, num_seeds=4, **options):
    values = np.linspace(0.3, level, 5) + np.zeros((1, num_seeds, 1))
    values = values + np.random.default_rng(0).normal(0, 0.003, (1, num_seeds, 1))
    found = synthetic.findings(values, sweep=[{}], **options)
    return several_runs.Chosen(name, found, 0)


def test_each_run_has_its_mean_its_band_its_name_and_its_fate(ax):
    trees = Findings(synthetic.beside_trees(0.7, trees=0.9))
    lost = chosen("b", 0.7, num_seeds=6, diverged={(0, 1): 2})
    runs = [chosen("a", 0.8), lost, chosen("c", 0.6, 2)]
    runs.append(several_runs.Chosen("trees", trees, 1))
    several_runs.best_curves(ax, runs, "validation_accuracy")
    bands = [c for c in ax.collections if isinstance(c, PolyCollection)]
    assert len(bands) == 2  # two seeds have none
    ends = {round(float(line.get_ydata()[-1]), 2) for line in ax.lines}
    assert {0.8, 0.7, 0.6, 0.9} <= ends  # trees lie across
    names = [" ".join(text.get_text().split()) for text in ax.texts]
    assert {"a", "b (1 diverged)", "c", "trees"} <= {*names}
    assert names.count("chance") <= 1


def test_all_trials_are_drawn_and_the_best_is_ringed(ax):
    many = several_runs.Chosen("many", synthetic.findings(num_trials=5), 3)
    several_runs.all_finals(ax, [many, chosen("one", 0.8)], "test_accuracy")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["many", "one"]
    points = [len(line.get_xdata()) for line in ax.lines]
    assert points.count(5) == 1
    rings = [line for line in ax.lines if line.get_markersize() == 11]
    assert [line.get_ydata()[0] for line in rings] == [0, 1]


def test_many_runs_have_colours_of_their_own():
    assert [len(set(several_runs.colors(count))) for count in (7, 12)] == [7, 12]
