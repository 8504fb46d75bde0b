# SPDX-License-Identifier: Apache-2.0
"""Makes a study that finds which learning rates a network can train with; no JAX.

Many rates with some seeds each train for a few updates, as one population. Each network
keeps one rate throughout, unlike in a test that raises the rate during one training. So
a result does not depend on lower rates tried before it, and seeds give it an interval.
"""

import dataclasses

import numpy as np

from nnlab.statistics.rate_range import RATE
from nnlab.study import (
    MOST_TRIALS,
    EarlyStopping,
    Halving,
    Hyperparameters,
    MovedSets,
    Schedule,
    Search,
    Study,
    Trial,
)
from nnlab.words import numbers, settings

LOW, HIGH, COUNT, SEEDS, STEPS = 1e-4, 100.0, 49, 8, 100
"""Eight rates a decade. After 100 updates the edge is where it is after 300."""
EVAL_SIZE = 1_000
"""Validation and test examples; enough to tell networks that train from others."""


def study_of(
    study: Study,
    *,
    low: float = LOW,
    high: float = HIGH,
    count: int = COUNT,
    seeds: int = SEEDS,
    steps: int = STEPS,
) -> Study:
    """Returns the study that tries learning rates on another study's network.

    The network is that of the other study's first trial. Its rate is constant, without
    warm-up. It is evaluated before training and at the end.

    Args:
      study: has the network; its claims and figures are left out.
      low, high: the lowest and the highest rate, above 0.
      count: number of rates, evenly spaced in their logarithm.
      seeds, steps: of each rate, and updates of each network.
    """
    first = study.trials()[0]
    _check(first, low, high, count, steps)
    base = first.hyperparameters
    values = np.geomspace(low, high, count)
    digits = 3 if len({f"{v:.3g}" for v in values}) == count else 17
    return dataclasses.replace(
        study,
        question=f"Which learning rates does this network bear? ({study.question})",
        claims=(),
        own=dataclasses.replace(study.own, metrics={}),
        base=dataclasses.replace(
            base,
            schedule=Schedule(),
            num_epochs=steps,  # enough, as an epoch has an update; max_steps ends it
            max_steps=steps,
            eval_every_epochs=float(steps),
            early_stopping=EarlyStopping(),
        ),
        sweep=tuple({RATE: float(f"{v:.{digits}g}")} for v in values),
        num_seeds=seeds,
        looks=(),
        halving=Halving(),
        search=Search(),
        eval_size=min(study.eval_size or EVAL_SIZE, EVAL_SIZE),
        target=0.0,
        test_sets=MovedSets(),
        figures=("rates",),
        notes=_notes(study, base),
    )


def _check(first: Trial, low: float, high: float, count: int, steps: int) -> None:
    if not (0 < low < high < np.inf):
        raise ValueError(
            f"low={low:g} and high={high:g}: the lowest rate must be above 0 and below "
            "the highest"
        )
    if not 3 <= count <= MOST_TRIALS:
        raise ValueError(f"count={count} must be from 3 to {MOST_TRIALS:,} rates")
    if steps < 1:
        raise ValueError(f"steps={steps} must be at least 1")
    model = first.hyperparameters.model
    if not model.is_network:
        raise ValueError(
            f"trial {first.label!r} is not a network: model.name={model.name!r} has no "
            "learning rate"
        )


def _notes(study: Study, base: Hyperparameters) -> tuple[str, ...]:
    """Says which settings of the study are left out."""
    notes = []
    if others := [path for path in study.swept() if path != RATE]:
        flat = base.flat()
        taken = (f"{settings.words(p)} {settings.value_text(flat[p])}" for p in others)
        notes.append(
            f"The study has {numbers.count(len(study.trials()), 'trial')}; the network "
            f"is that of the first: {numbers.joined([*taken])}."
        )
    if base.schedule != Schedule():
        notes.append(
            "The rate is constant here; the study's schedule and warm-up are left out."
        )
    return tuple(notes)
