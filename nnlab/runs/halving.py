# SPDX-License-Identifier: Apache-2.0
"""Successive halving: at each rung the worst trials end.

Source: Jamieson and Talwalkar, 2016, "Non-stochastic Best Arm Identification and
Hyperparameter Optimization". Here only the trials of one program, which train together,
compete with each other.
"""

import math
from collections.abc import Sequence

import numpy as np


def rungs(
    boundaries: Sequence[int], steps_per_epoch: int, min_epochs: float, factor: int
) -> frozenset[int]:
    """Returns the evaluations, as indices into `boundaries`, at which trials end.

    A rung is the first evaluation at or after `min_epochs`, `factor` times it, its
    square times it, and so on; never the last evaluation. A factor of 0 gives none.
    """
    found = set()
    step = min_epochs * steps_per_epoch
    while factor and step < boundaries[-1]:
        # Evaluations are at whole steps, up to half a step before their epoch.
        found.add(int(np.searchsorted(boundaries, step - 0.5)))
        step *= factor
    return frozenset(found - {len(boundaries) - 1})


def worst(
    values: np.ndarray, training: np.ndarray, least: float, factor: int
) -> np.ndarray:
    """Returns which trials end at a rung: all but the best 1/factor, bool (T,).

    A trial's score is its mean value over all its seeds, float (T, S); a diverged one,
    NaN, counts as `least`, see `ranking.of_lost`. Only those with members in training,
    bool (T, S), compete. At least one trial stays; of equal ones the first stay.
    """
    racing = np.flatnonzero(training.any(axis=1))
    scores = np.where(np.isnan(values), least, values).mean(axis=1)[racing]
    order = racing[np.argsort(-scores, kind="stable")]
    leaving = np.zeros(len(values), bool)
    leaving[order[math.ceil(len(racing) / factor) :]] = True
    return leaving
