# SPDX-License-Identifier: Apache-2.0
"""Progress of a made-up run."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from nnlab.runs.progress import Evaluation, Progress
from nnlab.study import Hyperparameters, Trial


def progress(rate: float = 2e6, **changes: Any) -> Progress:
    """Progress of 20 programs, in the middle of one of them."""
    values: dict[str, Any] = {
        "program": 0,
        "num_programs": 20,
        "epoch": 13.25,
        "num_epochs": 60,
        "done": 0,
        "total": 1000,
        "examples_per_second": rate,
        "inferences_per_second": rate,
        "best_curve": (0.1, 0.5, math.nan, 0.973),
        "best_score": 0.973,
        "best_label": "learning_rate=0.1, batch_size=16, activation=leaky_relu",
        "diverged": 0,
        "stopped": 0,
        "status": "training",
    }
    return Progress(**values | changes)


def evaluation(
    step: int,
    value: float = 0.5,
    trials: Iterable[int] = (0, 1),
    label: str = "rate=0.1",
) -> Evaluation:
    """An evaluation of two seeds of some trials with the same validation accuracy."""
    some = tuple(
        Trial(i, f"{i:012x}", label if not i else f"rate={i}", {}, Hyperparameters(), 3)
        for i in trials
    )
    shape = len(some), 2
    metrics = {"validation_accuracy": np.full(shape, value)}
    return Evaluation(some, (0, 1), step, step / 10, metrics, np.zeros(shape, bool))
