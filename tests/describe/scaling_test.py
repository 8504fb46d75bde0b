# SPDX-License-Identifier: Apache-2.0
"""Predictions for more networks on more devices."""

import dataclasses
import math

import jax
import pytest
import tiny

from nnlab.describe import scaling
from nnlab.describe.scaling import cost_of, predict
from nnlab.training.lane_width import Rates

RATES = Rates(1e6, 4e6, 3.0)


@pytest.fixture
def program():
    """8 trials x 16 seeds in lanes of 16, on all devices."""
    rates = tiny.rates(*(0.01 * (i + 1) for i in range(8)))
    return tiny.program(tiny.study(rates, num_seeds=16)).with_width(16)


def known(program):
    return {program.plan.lanes.width: RATES}


def by_name(lines):
    return {line.name: line for line in lines}


def test_the_study_itself_takes_what_describe_says_of_it(program):
    here = jax.device_count()
    found = cost_of(program, known(program), 128, here)
    assert program.plan.lanes.count * program.plan.lanes.width == 128  # no empty place
    assert found.train_seconds == pytest.approx(program.num_examples / 1e6)
    assert found.evaluation_seconds == pytest.approx(program.num_evaluated / 4e6)
    assert found.device_bytes * here == program.plan.total_bytes
    assert (found.lanes, found.chunks) == (8 // here, 1)
    assert found.rows == 128 * len(program.boundaries)


def test_twice_the_devices_take_half_the_time_and_twice_the_members_twice(program):
    one, many = (cost_of(program, known(program), 128 * 8, n) for n in (2, 16))
    assert one.train_seconds == pytest.approx(8 * many.train_seconds)
    double = cost_of(program, known(program), 128 * 16, 2)
    assert double.train_seconds == pytest.approx(2 * one.train_seconds)
    assert double.checkpoint_bytes == 2 * one.checkpoint_bytes
    kept = program.plan.member_bytes * 16 * (double.lanes - one.lanes)
    assert double.device_bytes - one.device_bytes == kept


def test_members_that_fill_no_lane_take_as_long_as_those_that_do(program):
    assert cost_of(program, known(program), 17, 1).train_seconds == pytest.approx(
        cost_of(program, known(program), 32, 1).train_seconds
    )


def test_what_memory_does_not_hold_runs_in_parts(program):
    plan = program.plan
    each = plan.device_bytes(3) / scaling.MOST_OF_MEMORY
    small = dataclasses.replace(plan, memory_bytes=math.ceil(each) * jax.device_count())
    found = cost_of(program.with_plan(small), known(program), 16 * 10, 1)
    assert (found.lanes, found.chunks) == (10, 4)
    assert found.device_bytes == plan.device_bytes(3)
    unknown = dataclasses.replace(plan, memory_bytes=0)
    assert cost_of(program.with_plan(unknown), known(program), 160, 1).chunks == 1


def test_what_was_never_measured_is_not_known(program):
    lines = by_name(predict([program], [{}], members=1000, devices=4, price=2.0))
    for name in ("training", "evaluation", "compiling", "all", "cost"):
        assert math.isnan(lines[name].value)
    sizes = ("memory a device", "memory of the host", "curves.parquet", "checkpoints")
    for name in sizes:
        assert lines[name].value > 0
    bases = {line.basis for line in lines.values()}
    assert bases == {"given", "measured", "modelled", "assumed"}


def test_programs_add_up_and_the_price_is_of_all_devices_all_the_time(program):
    one = by_name(
        predict([program], [known(program)], members=500, devices=4, price=2.0)
    )
    two = by_name(
        predict([program] * 2, [known(program)] * 2, members=1000, devices=4, price=2.0)
    )
    assert two["training"].value == pytest.approx(2 * one["training"].value)
    assert two["compiling"].value == 2 * one["compiling"].value == 6.0
    assert two["memory a device"].value == one["memory a device"].value
    parts = ("training", "evaluation", "compiling")
    assert one["all"].value == pytest.approx(sum(one[name].value for name in parts))
    assert one["cost"].value == pytest.approx(2.0 * 4 * one["all"].value / 3600)
    assert "cost" not in by_name(predict([program], [{}], members=500, devices=4))


@pytest.mark.parametrize(
    ("members", "devices", "said"), [(9, 0, "devices=0"), (1, 1, "members=1 must be")]
)
def test_sizes_that_cannot_be_are_refused(program, members, devices, said):
    with pytest.raises(ValueError, match=said):
        predict([program] * 2, [{}] * 2, members=members, devices=devices)
