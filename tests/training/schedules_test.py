# SPDX-License-Identifier: Apache-2.0
"""Shapes of the learning rate."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from nnlab.study import Schedule
from nnlab.training import own, schedules
from nnlab.training.prepare import networks

STEPS = np.arange(45)
OTHERS = {"end": 0.05, "power": 2.0, "cycles": 2.0, "cooldown": 0.5, "start": 0.1}


def factors(name, total=40, warmup=0, **settings):
    """Returns the factors after 0 to 44 steps, by plain and by traced settings."""

    def one(step, warmup, settings):
        some = settings | {"warmup_steps": warmup}
        return schedules.factor(name, step, some, total_steps=total)

    over = jax.vmap(one, (0, None, None))
    traced = jax.jit(over)(STEPS, float(warmup), settings)
    plain = jax.jit(lambda steps: over(steps, warmup, settings))(STEPS)
    np.testing.assert_allclose(traced, plain, atol=5e-7)
    return np.asarray(plain)


def test_the_settings_of_shapes_are_fields_with_the_same_defaults():
    fields = vars(Schedule())
    for shape in schedules.SHAPES.values():
        _, _, *settings = inspect.signature(shape).parameters.values()
        for setting in settings:  # None stands for a default that changes nothing
            allowed = (fields[setting.name], None, setting.empty)
            assert setting.default in allowed


EXACT = {
    "constant": ({}, optax.constant_schedule(1.0)),
    "cosine": ({"end": 0.1}, optax.cosine_decay_schedule(1.0, 40, alpha=0.1)),
    "linear": ({"end": 0.1}, optax.linear_schedule(1.0, 0.1, 40)),
    "step": ({}, optax.piecewise_constant_schedule(1.0, {20: 0.1, 30: 0.1})),
    "polynomial": (
        {"end": 0.1, "power": 3.0},
        optax.polynomial_schedule(1.0, 0.1, 3.0, 40),
    ),
    "exponential": (
        {"end": 0.1},
        optax.exponential_decay(1.0, 40, 0.1, end_value=0.1),
    ),
    "one_cycle": (
        {"start": 0.04, "rise": 0.25, "end": 4e-6},
        optax.cosine_onecycle_schedule(40, 1.0, 0.25, 25.0, 1e4),
    ),
    "warmup_stable_decay": (
        {"cooldown": 0.25, "end": 0.1},
        optax.join_schedules(
            [optax.constant_schedule(1.0), optax.linear_schedule(1.0, 0.1, 10)], [30]
        ),
    ),
}


@pytest.mark.parametrize("name", schedules.SHAPES)
def test_schedules_are_optaxs(name):
    settings, exact = EXACT[name]
    expected = [float(exact(jnp.int32(step))) for step in STEPS]
    np.testing.assert_allclose(factors(name, **settings), expected, atol=5e-7)


def test_warm_restarts_are_optaxs():
    half = {"init_value": 1.0, "peak_value": 1.0, "warmup_steps": 0, "end_value": 0.1}
    exact = optax.sgdr_schedule([half | {"decay_steps": 20}] * 2)
    expected = jax.vmap(exact)(STEPS)
    got = factors("cosine", cycles=2.0, end=0.1)
    np.testing.assert_allclose(got[:40], expected[:40], atol=5e-7)
    np.testing.assert_allclose(got[40:], 0.1, rtol=1e-6)  # it ends at its end


def test_one_cycle_is_pytorchs():
    torch = pytest.importorskip("torch")
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        # PyTorch counts to the last of its steps, one less; its rise ends at
        # pct_start * total_steps - 1.
        *(optimizer, 1.0, 41),
        pct_start=11 / 41,
        div_factor=25,
        final_div_factor=1e4,
    )
    rates = []
    for _ in range(40):
        rates.append(cycle.get_last_lr()[0])
        optimizer.step()
        cycle.step()
    got = factors("one_cycle", start=0.04, rise=0.25, end=4e-6)[:40]
    np.testing.assert_allclose(got, rates, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", [*schedules.SHAPES][:-1])
def test_the_warm_up_climbs_to_the_peak_and_wastes_no_step(name):
    got = factors(name, warmup=8, **{"end": 0.05} | taken_of(name, "power"))
    np.testing.assert_allclose(got[:8], np.arange(1, 9) / 8, rtol=1e-6)
    assert got[8] == 1
    assert np.all(np.diff(got[8:]) <= 0)
    assert got.min() >= 0


def taken_of(name, *some):
    taken = inspect.signature(schedules.SHAPES[name]).parameters
    return {setting: OTHERS[setting] for setting in some if setting in taken}


@pytest.mark.parametrize("name", schedules.SHAPES)
def test_it_ends_at_its_end_and_stays_there(name):
    got = factors(name, **taken_of(name, *OTHERS))
    wanted = {"constant": 1.0, "step": 0.01}.get(name, OTHERS["end"])
    np.testing.assert_allclose(got[40:], wanted, rtol=1e-5)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (10, "warm-up of 10 steps must be .* below the 10 steps of training"),
        (-1, "warm-up of -1 steps must be at least 0"),
    ],
)
def test_warm_ups_that_cannot_be_are_refused(steps, message):
    with pytest.raises(ValueError, match=message):
        schedules.check(10, steps)


def test_a_name_that_is_none_is_told_before_data_are_loaded():
    study = tiny.study(**{"schedule.name": "cosin", "dataset": "csv:nowhere.csv"})
    with pytest.raises(ValueError, match=r"'cosin' is no schedule; did you mean 'cosi"):
        networks(study)


def test_a_schedule_of_ones_own_takes_the_place_of_the_study_s():
    falling = {"schedule": lambda done: 1 - done}
    (mine,) = networks(tiny.study(), dataset=tiny.dataset(), functions=falling)
    linear = tiny.study(**{"schedule.name": "linear"})
    (wanted,) = networks(linear, dataset=tiny.dataset())
    for step in (0, 3, mine.num_steps - 1):
        factors = (of.recipe.schedule(step, {}) for of in (mine, wanted))
        np.testing.assert_allclose(*factors, rtol=1e-6)
    with pytest.raises(ValueError, match=r"schedule\.name='linear' does not go with"):
        networks(linear, dataset=tiny.dataset(), functions=falling)


def test_a_schedule_of_ones_own_is_known_by_what_it_does():
    half, third, same = (
        own.check_schedule(of, tiny.dataset())
        for of in (lambda d: d / 2, lambda d: d / 3, lambda done: done / 2)
    )
    assert half == same != third
    with pytest.raises(ValueError, match=r"returns shape \(2,\)"):
        own.check_schedule(lambda done: jnp.stack([done, done]), tiny.dataset())
