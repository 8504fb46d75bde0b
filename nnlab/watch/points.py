# SPDX-License-Identifier: Apache-2.0
"""What dashboards show of a run: the numbers, and their names, for all of them alike.

A name is "metric/set", such as "accuracy/validation", since dashboards sort cards by
what is before the slash: accuracies come first, then losses, then all else.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from nnlab.statistics.findings import Findings
from nnlab.statistics.intervals import mean_interval

if TYPE_CHECKING:
    from nnlab.runs.progress import Evaluation

MOST_TRIALS = 64
"""Trials with a run of their own; each keeps a file or a connection open."""


def chosen(num_trials: int) -> set[int]:
    """Returns the indices of the trials that get a run, at even steps of the sweep."""
    count = min(num_trials, MOST_TRIALS)
    return {*np.linspace(0, num_trials - 1, count).round().astype(int).tolist()}


def name_of(metric: str) -> str:
    """Returns a column's name on a dashboard.

    >>> name_of("validation_accuracy"), name_of("test_moved_loss")
    ('accuracy/validation', 'loss/test_moved')
    >>> name_of("train_own_score")
    'own_score/train'
    """
    for ending in ("accuracy", "loss"):
        if metric.endswith(f"_{ending}"):
            return f"{ending}/{metric.removesuffix(f'_{ending}')}"
    split, _, rest = metric.partition("_")
    return f"{rest}/{split}"


def of_trial(found: "Evaluation", trial: int) -> dict[str, float]:
    """Returns the points of an evaluation's trial, by its place there.

    These are the means over the networks that still train, their number, the share
    that diverged, the epoch, and Student's 95 % intervals from three networks on.
    """
    metrics = {name: values[trial] for name, values in found.metrics.items()}
    points = common(metrics, found.diverged[trial], found.epoch)
    for name, values in metrics.items():
        _, low, high = map(float, mean_interval(_living(values)))
        if math.isfinite(low):
            points |= {f"spread/{name}_low": low, f"spread/{name}_high": high}
    return points


def common(
    metrics: Mapping[str, np.ndarray], diverged: np.ndarray, epoch: float
) -> dict[str, float]:
    """Returns the points that trials and populations share, of networks (N,) each."""
    points = {}
    n = 0
    for name, values in metrics.items():
        living = _living(values)
        if living.size:
            points[name_of(name)] = float(living.mean())
        n = max(n, living.size)
    return points | {
        "networks/n": float(n),
        "networks/diverged_share": float(diverged.mean()),
        "progress/epoch": epoch,
    }


def _living(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)]


def final(findings: Findings, trial: int) -> dict[str, float]:
    """Returns a trial's final numbers, as in ``summary.csv``, and their n.

    They are mean, low and high of each metric of the final networks and, against the
    best trial, of the difference in test accuracy.
    """
    points = {"result/n": float(findings.alive(trial).sum())}
    for column, value in findings.rows[trial].items():
        if column.endswith(("_mean", "_low", "_high")) and value is not None:
            points[f"result/{column.removesuffix('_mean')}"] = value
    return points


def verdict(findings: Findings, trial: int) -> str:
    """Says how a trial's final test accuracy compares with that of the best."""
    if trial == findings.best:
        return "best by validation"
    row = findings.rows[trial]
    if row.get("test_accuracy_difference_p_holm") is None:
        return "not compared with the best"
    if not row["test_accuracy_difference_resolved"]:
        return "not significantly different from the best"
    worse = row["test_accuracy_difference_mean"] < 0
    return f"significantly {'worse' if worse else 'better'} than the best"
