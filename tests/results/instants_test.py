# SPDX-License-Identifier: Apache-2.0
"""An instant at which a quantity has no value is named with those near by."""

import dataclasses
import math

import numpy as np
import pytest
import synthetic

from nnlab.results import instants, tables
from nnlab.statistics.members import reduce_members
from nnlab.study import Hyperparameters, Quantity, Study
from nnlab.study.claims import at_epoch, at_step, final, steps_to

TEST, BATCH, GONE = "test_accuracy", "batch_loss", "grad_norm_dense_0"


@pytest.mark.parametrize(
    ("epoch", "metric", "told"),
    [
        (0, TEST, ""),
        (0.5, TEST, ""),
        (4.1, TEST, "epoch 4.1: near it are epoch 4 and epoch 4.5"),
        (0.75, TEST, "near it are epoch 0.5 and epoch 1"),
        (5, TEST, ""),
        (6, TEST, "epoch 6: the last is epoch 5"),
        (0, BATCH, "the first is epoch 0.5"),
        (0, GONE, "the first is epoch 0.5"),
        (0.5, BATCH, ""),
    ],
)
def test_a_plan_tells_at_which_epochs_it_evaluates(epoch, metric, told):
    base = Hyperparameters(num_epochs=5, eval_every_epochs=0.5)
    (trial,) = Study(base=base).trials()
    found = instants.unplanned(trial, at_epoch(epoch, metric))
    assert bool(found) == bool(told)
    assert found.endswith(told)


def test_the_end_of_training_by_updates_is_not_known_beforehand():
    base = Hyperparameters(num_epochs=5, eval_every_epochs=2.0, max_steps=30)
    (trial,) = Study(base=base).trials()
    assert instants.unplanned(trial, at_epoch(1.5, TEST)) == ""


def test_the_last_evaluation_is_at_the_end_and_that_of_trees_is_not_planned():
    base = Hyperparameters(num_epochs=5, eval_every_epochs=2.0)
    (trial,) = Study(base=base).trials()
    assert instants.unplanned(trial, at_epoch(5, TEST)) == ""
    assert "epoch 4 and epoch 5" in instants.unplanned(trial, at_epoch(4.5, TEST))
    (trees,) = Study(sweep=[{"model.name": "boosted_trees"}]).trials()
    assert instants.unplanned(trees, at_epoch(3.3, TEST)) == ""


# The synthetic runs have 35 updates an epoch, and are evaluated after each.
@pytest.mark.parametrize(
    ("quantity", "told"),
    [
        (at_epoch(2, TEST), ""),
        (at_epoch(2.5, TEST), "near it are epoch 2 and epoch 3"),
        (at_epoch(0, TEST), "the first is epoch 1"),
        (at_epoch(11, TEST), "the last is epoch 10"),
        (at_epoch(2, BATCH), "near it are epoch 1 and epoch 3"),
        (at_step(70, TEST), ""),
        (at_step(50, TEST), ""),
        (at_step(50, BATCH), ""),
        (at_step(9, TEST), "update 9: the first is update 35"),
        (at_step(351, TEST), "update 351: the last is update 350"),
        (final(GONE), f"{GONE} is not measured of 0"),
        (steps_to(0.1, GONE), f"{GONE} is not measured of 0"),
        (Quantity(reduction="steps"), ""),
    ],
)
def test_a_run_tells_when_a_quantity_was_measured(quantity, told):
    values = {BATCH: np.ones((1, 4, 10)), GONE: np.full((1, 4, 10), np.nan)}
    values[BATCH][:, :, 1] = np.nan
    run = synthetic.results(values, sweep=synthetic.labelled(1))
    found = instants.unmeasured(run, 0, quantity)
    assert bool(found) == bool(told)
    assert found.endswith(told)


@pytest.mark.parametrize("every", [0.01, 0.06, 0.1, 0.3, 0.7, 1.0, 1.1])
@pytest.mark.parametrize("per_epoch", [1, 3, 7, 25, 35, 45, 1001])
def test_what_was_planned_is_measured(per_epoch, every):
    base = Hyperparameters(eval_every_epochs=every)
    run = synthetic.results(num_trials=1, num_seeds=1, num_evaluations=4, base=base)
    end, interval = 4 * per_epoch, max(1.0, every * per_epoch)  # as networks train
    steps = {*(round(i * interval) for i in range(math.ceil(end / interval))), end}
    at = {"trial": 0, "seed": 0, "examples": 0, TEST: 0.5}
    rows = [{**at, "step": s, "epoch": s / per_epoch} for s in sorted(steps)]
    (program,) = run.config["cohorts"]
    program = {**program, "steps_per_epoch": per_epoch, "num_steps": end}
    run = dataclasses.replace(
        run,
        curves=tables.table(rows, tables.CURVES),
        config={**run.config, "cohorts": [program]},
    )
    for epoch in (round(k * every, 9) for k in range(int(4 / every) + 1)):
        quantity = at_epoch(epoch, TEST)
        assert instants.unplanned(run.trials[0], quantity) == ""
        assert instants.unmeasured(run, 0, quantity) == ""
        assert reduce_members(run, 0, quantity).tolist() == [pytest.approx(0.5)]


def test_what_may_come_or_was_lost_is_not_called_unmeasured():
    for ended in ("unfinished", "diverged", "stopped"):
        some = {(0, seed): 3 for seed in range(8)}
        run = synthetic.results(sweep=synthetic.labelled(1), **{ended: some})
        assert instants.unmeasured(run, 0, at_epoch(9, TEST)) == ""
        assert instants.unmeasured(run, 0, at_epoch(11, TEST))
    # The seeds of trees end where each is best, before the last round.
    values = np.where(np.arange(4) < 3, 0.5, np.nan) * np.ones((1, 8, 1))
    run = synthetic.results({TEST: values}, sweep=[{"model.name": "boosted_trees"}])
    assert "the last is epoch 50" in instants.unmeasured(run, 0, at_epoch(99, TEST))
    run = synthetic.results(sweep=synthetic.labelled(2), never_ran=[1])
    assert instants.unmeasured(run, 1, at_epoch(99, TEST)) == ""
