# SPDX-License-Identifier: Apache-2.0
"""The table of trials, ``summary.csv``."""

import json
import math
from typing import Any

import numpy as np
import pyarrow as pa

from nnlab.results import Results, table
from nnlab.statistics.intervals import mean_interval
from nnlab.statistics.members import is_accuracy, reduce_members, status_counts
from nnlab.statistics.ranking import Comparison, best_trial, compare_to_best
from nnlab.statistics.targets import StepsToTarget, steps_to_target, target_of
from nnlab.study import Quantity


def summarize(results: Results) -> pa.Table:
    """The table of trials, ``summary.csv``: a row for each, run or not.

    Columns: index, id, label; every hyperparameter by its path (tuples as JSON text),
    but for those added later that all trials have at their default;
    parameters; n_<status> and n_at_chance; <metric>_mean, _low and _high of each final
    train, validation and test metric over the finished and stopped members; for each
    further test set test_<set>_accuracy_drop_mean, _low and _high, by how much its
    accuracy is below that on the normal set, paired by seed; target, reached_share,
    median_steps_to_target, median_epochs_to_target; best; and
    test_accuracy_difference_mean, _low, _high, _n (pairs), _p_holm and _resolved, to
    the best.
    What is not defined is null, and so is a setting that was swept and that the trial
    does not read.
    """
    best = best_trial(results)
    target = target_of(results)
    compared: tuple[Comparison, ...] = ()
    if "test_accuracy" in results.metrics:
        compared = compare_to_best(results)
    parts = ("train_", "validation_", "test_")
    metrics = [m for m in results.metrics if m.startswith(parts)]
    quantities = {m: Quantity(metric=m, reduction="final") for m in metrics}
    if "test_accuracy" in metrics:
        quantities |= {
            f"{m}_drop": Quantity(metric=m, reduction="drop_from_test")
            for m in metrics
            if m.startswith("test_") and is_accuracy(m) and m != "test_accuracy"
        }
    shown = {path for t in results.trials for path in t.hyperparameters.identity()}
    rows = []
    for trial in results.trials:
        counts = status_counts(results, trial.index)
        row: dict[str, Any] = {
            "index": trial.index,
            "id": trial.id,
            "label": trial.label,
            **{
                p: json.dumps(v) if isinstance(v, list | tuple) else v
                for p, v in trial.settings().items()
                if p in shown
            },
            "parameters": results.program(trial.index)["parameters"],
            **{f"n_{status}": count for status, count in counts.items()},
        }
        for column, quantity in quantities.items():
            values = reduce_members(results, quantity, trial.index)
            for name, value in zip(("mean", "low", "high"), mean_interval(values)):
                row[f"{column}_{name}"] = _or_null(float(value))
        time = StepsToTarget(target, 0, np.nan, np.nan, np.nan)
        if not math.isnan(target):
            time = steps_to_target(results, trial.index, target)
        row["target"] = _or_null(target)
        row["reached_share"] = _or_null(time.reached_share)
        row["median_steps_to_target"] = _or_null(time.median_steps)
        row["median_epochs_to_target"] = _or_null(time.median_epochs)
        row["best"] = trial.index == best
        for difference in (c for c in compared if c.trial == trial.index):
            for name in ("mean", "low", "high", "p_holm"):
                number = _or_null(getattr(difference, name))
                row[f"test_accuracy_difference_{name}"] = number
            row["test_accuracy_difference_n"] = difference.n
            row["test_accuracy_difference_resolved"] = difference.resolved
        rows.append(row)
    return table(rows)


def _or_null(value: float) -> float | None:
    return value if math.isfinite(value) else None
