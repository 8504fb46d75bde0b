# SPDX-License-Identifier: Apache-2.0
"""Whether a quantity has a value, and at which instants near by it has one; no JAX."""

import numpy as np

from nnlab.results.tables import FINISHED, STATUSES, STOPPED, Results
from nnlab.study import Quantity, Trial

_OF_UPDATES = ("batch_", "grad_norm_")
"""Beginnings of columns that tell of the updates before: at epoch 0 there are none."""
_ROUNDING = 1e-6  # of epochs, which are written with few decimals


def unplanned(trial: Trial, quantity: Quantity) -> str:
    """Says when a trial will be evaluated, if not at the quantity's epoch; else "".

    Of updates (also of `max_steps`), and of trees, that is not known before they are
    trained.

    >>> from nnlab.study import Hyperparameters, Study, claims
    >>> (trial,) = Study(base=Hyperparameters(num_epochs=4)).trials()
    >>> unplanned(trial, claims.at_epoch(1.5, "test_loss"))
    'test_loss has no value at epoch 1.5: near it are epoch 1 and epoch 2'
    """
    h, epoch = trial.hyperparameters, quantity.epoch
    if epoch is None or h.max_steps or not h.model.is_network:
        return ""
    first = int(quantity.metric.startswith(_OF_UPDATES))
    place, every = int(epoch // h.eval_every_epochs), h.eval_every_epochs
    near = [min(max(k, first) * every, h.num_epochs) for k in (place, place + 1)]
    if np.abs(np.subtract(near, epoch)).min() <= _ROUNDING:
        return ""
    return _missed(quantity, np.array(near))


def unmeasured(results: Results, trial: int, quantity: Quantity) -> str:
    """Says when a quantity was measured of a trial, if never or at another time.

    It is "" where a network has a value, or may get one, or would if it had survived.
    """
    if not (quantity.metric and results.has_run(trial)):
        return ""
    curve = results.curve(trial, quantity.metric)
    known = curve.steps[~np.isnan(curve.values).all(axis=0)]
    status = results.member(trial, "status").astype(str)
    if not known.size:
        label = results.trials[trial].label
        ended = np.isin(status, (FINISHED, STOPPED)).any()
        return f"{quantity.metric} is not measured of {label}" if ended else ""
    program = results.program(trial)
    unit, at = 1, quantity.step
    if quantity.epoch is not None:
        unit = program["steps_per_epoch"]
        at = quantity.epoch * unit
        # Evaluations are between whole updates.
        if np.abs(known - at).min() <= 0.5 + _ROUNDING * unit:
            return ""
    elif at is None or known[0] <= at <= known[-1]:  # else on a straight line
        return ""
    ended_early = np.isin(status, [s for s in STATUSES if s != FINISHED]).any()
    if ended_early and known[-1] < at <= program["num_steps"]:
        return ""
    return _missed(quantity, known / unit)


def _missed(quantity: Quantity, known: np.ndarray) -> str:
    """Says which known instants, ascending, are near the one that is none of them."""
    if quantity.epoch is not None:
        at, form = quantity.epoch, "epoch {:g}"
    else:
        at, form = quantity.step or 0.0, "update {:g}"
    below, above = known[known < at], known[known > at]
    near = " and ".join(form.format(k) for k in (*below[-1:], *above[:1]))
    which = "near it are" if below.size and above.size else "the first is"
    which = which if above.size else "the last is"
    return f"{quantity.metric} has no value at {form.format(at)}: {which} {near}"
