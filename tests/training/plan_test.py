# SPDX-License-Identifier: Apache-2.0
"""Plans: lanes that fit into memory and keep the devices busy."""

import contextlib
import math
import types

import jax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnlab.models import layers
from nnlab.study.members import Members
from nnlab.training import plan

MLP = layers.check(layers.mlp((64,), 10), (28, 28, 1), 10)
SMALL = layers.check(layers.mlp((32,), 10), (8, 8, 1), 10)
CNN = layers.check(layers.cnn((4,), (8,), 10), (28, 28, 1), 10)
GPU = types.SimpleNamespace(platform="gpu", memory_stats=lambda: {"bytes_limit": 2**30})
CPU = jax.local_devices()[0]


def choose(
    rows=MLP,
    *,
    trials=8,
    seeds=8,
    devices=(CPU, CPU),
    lane_width=0,
    batch_size=64,
    stops_early=False,
):
    parameters = sum(row.parameters for row in rows)
    demand = plan.Demand(
        members=Members(0, tuple(range(trials)), 0, seeds),  # only counted
        rows=rows,
        parameters=parameters,
        state_bytes=4 * parameters,
        batch_size=batch_size,
        data_bytes=10_000_000,
        stops_early=stops_early,
    )
    return demand.plans(devices, lane_width)[0]


def test_an_accelerator_takes_as_many_members_at_once_as_it_holds():
    assert choose(devices=[GPU]).lanes.width == 64
    assert choose(seeds=100, devices=[GPU]).lanes.width < 800


def test_on_cpu_small_networks_share_a_lane_and_others_do_not():
    assert choose(SMALL, batch_size=32).lanes.width == 16
    assert choose(MLP).lanes.width == choose(CNN).lanes.width == 1


@pytest.mark.parametrize("lane_width", [0, 8])
def test_members_that_may_stop_early_share_no_row(lane_width):
    lanes = choose(SMALL, batch_size=32, stops_early=True, lane_width=lane_width).lanes
    assert (lanes.trials, lanes.seeds) == (1, lane_width or 16)
    assert choose(SMALL, batch_size=32, lane_width=lane_width).lanes.trials == 8


@pytest.mark.parametrize("device", [CPU, GPU], ids=["cpu", "gpu"])
def test_lanes_grow_narrower_until_they_fit_into_memory(device, monkeypatch):
    widths = []
    with contextlib.suppress(ValueError):  # at last nothing fits
        for memory in [2**40, *(2**26 * k for k in range(120, 0, -1))]:
            monkeypatch.setattr(plan, "device_memory", lambda _, m=memory: m)
            chosen = choose(devices=[device], batch_size=8192)
            assert chosen.total_bytes <= 0.9 * memory
            widths.append(chosen.lanes.width)
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] == 1
    assert widths[0] > 1 or device is CPU


def test_a_program_that_memory_cannot_hold_is_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(plan, "device_memory", lambda _: 2**25)
    with pytest.raises(ValueError, match="64 networks of 50,890 parameters") as caught:
        choose(batch_size=8192)
    assert "\n" not in str(caught.value)


def test_memory_of_this_machine_is_known():
    assert plan.device_memory(CPU) > 2**28
    assert plan.device_memory(GPU) == 2**30


def test_devices_of_a_cpu_share_its_memory_which_may_be_unknown(monkeypatch):
    monkeypatch.setattr(plan, "device_memory", lambda _: 2**30)
    assert choose(devices=[CPU] * 2).memory_bytes == 2**30
    assert choose(devices=[GPU] * 2).memory_bytes == 2**31
    monkeypatch.setattr(plan, "device_memory", lambda _: 0)
    assert choose(devices=[GPU]).lanes.width == 64


SIZES = st.tuples(st.integers(1, 24), st.integers(1, 16))


@settings(max_examples=100, deadline=None)
@given(SIZES, st.integers(1, 4), st.booleans())
def test_lanes_keep_devices_equally_busy(sizes, devices, shared):
    trials, seeds = sizes
    lanes = choose(
        SMALL,
        trials=trials,
        seeds=seeds,
        devices=[CPU] * devices,
        batch_size=32,
        stops_early=not shared,
    ).lanes
    assert shared or lanes.trials == 1
    assert lanes.width <= 16
    turns = lanes.count // lanes.devices
    least = math.ceil(trials * seeds / devices)
    assert least <= turns * lanes.width <= 1.34 * least


@settings(max_examples=50, deadline=None)
@given(SIZES, st.integers(1, 4), st.integers(1, 8))
def test_a_pinned_width_gives_the_same_lanes_on_any_devices(sizes, devices, width):
    trials, seeds = sizes
    width = min(width, trials * seeds)
    many, one = (
        choose(trials=trials, seeds=seeds, devices=[CPU] * d, lane_width=width).lanes
        for d in (devices, 1)
    )
    assert (many.trials, many.seeds) == (one.trials, one.seeds)
    assert width / 2 < many.width <= width


@pytest.mark.parametrize("width", [-1, 65])
def test_a_lane_width_out_of_range_is_refused(width):
    with pytest.raises(
        ValueError, match=rf"lane_width={width} .* program's 64 networks"
    ):
        choose(lane_width=width)


def test_the_record_counts_the_lanes_that_work():
    record = choose(trials=3, seeds=3, lane_width=1).to_dict()
    assert (record["lanes"], record["devices"], record["lane_width"]) == (9, 2, 1)
