# SPDX-License-Identifier: Apache-2.0
"""The table of trials, ``summary.csv``."""

import itertools
import json
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from nnlab.results import table
from nnlab.study import SCORES, Quantity

if TYPE_CHECKING:
    from nnlab.statistics.findings import Findings


def summarize(findings: "Findings") -> pa.Table:
    """Returns the table of trials, ``summary.csv``: a row for each, run or not.

    Columns: index, id, label; every hyperparameter by its path (tuples as JSON text),
    without fields added later that have their default in all trials; parameters;
    n_<status> and n_at_chance; <metric>_mean, _low and _high of each final train,
    validation and test metric over the finished and stopped networks; for each further
    test set test_<set>_accuracy_drop_mean, _low and _high, the loss of accuracy against
    the normal set, paired by seed; target, reached_share, median_steps_to_target,
    median_epochs_to_target; best; and test_accuracy_difference_mean, _low, _high, _n
    (pairs), _p_holm, _p_seeds (the same over seeds alone), _resolved (significant) and
    _over (of what it speaks), against the best; see `ranking.Comparison`. P-values are
    null where the study does not ask for the comparison.

    Intervals are those of `examples.level`; that of a difference is adjusted like
    _p_holm, if there is one.

    What is not defined is null, and so is a swept setting that the trial does not read.
    """
    results = findings.results
    quantities = dict(_quantities(results.metrics))
    shown = {path for t in results.trials for path in t.hyperparameters.identity()}
    compared = {c.trial: c for c in findings.compared}
    compared_by = results.test_score
    rows = []
    for trial in results.trials:
        counts = findings.counts(trial.index)
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
            found = findings.level(trial.index, quantity)
            for name, value in zip(("mean", "low", "high"), found):
                row[f"{column}_{name}"] = _or_null(value)
        time = findings.steps_to_target(trial.index, findings.target)
        row["target"] = _or_null(findings.target)
        row["reached_share"] = _or_null(time.reached_share)
        row["median_steps_to_target"] = _or_null(time.median_steps)
        row["median_epochs_to_target"] = _or_null(time.median_epochs)
        row["best"] = trial.index == findings.best
        if difference := compared.get(trial.index):
            for name in ("mean", "low", "high", "p_holm", "p_seeds"):
                number = _or_null(getattr(difference, name))
                row[f"{compared_by}_difference_{name}"] = number
            row[f"{compared_by}_difference_n"] = difference.n
            row[f"{compared_by}_difference_resolved"] = difference.resolved
            row[f"{compared_by}_difference_over"] = difference.over
        rows.append(row)
    return table(rows)


def _quantities(metrics: tuple[str, ...]) -> Iterator[tuple[str, Quantity]]:
    for metric in metrics:
        if metric.startswith(("train_", "validation_", "test_")):
            yield metric, Quantity(metric=metric)
    pairs = itertools.product(("moved", "rotated"), SCORES)
    for kind, score in pairs:
        if {f"test_{score}", metric := f"test_{kind}_{score}"} <= {*metrics}:
            quantity = Quantity(metric=metric, reduction="drop_from_test")
            yield f"{metric}_drop", quantity


def _or_null(value: float) -> float | None:
    return value if math.isfinite(value) else None
