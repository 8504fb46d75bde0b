# SPDX-License-Identifier: Apache-2.0
"""What is kept of earlier programs: the same data and no more than fits."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
import tiny

from nnlab.study import OWNED
from nnlab.study.members import Members
from nnlab.training import lane_width, place
from nnlab.training.prepare import networks


def placed(study, kept=None, **memory):
    """Places a study's only program; `memory` goes to its plan."""
    (program,) = networks(study, dataset=tiny.dataset(), lane_width=1)
    program = program.with_plan(dataclasses.replace(program.plan, **memory))
    return place.place(program, study, kept)


def kept_with(*studies, **memory):
    kept = place.Kept()
    for study in studies:
        kept.keep(placed(study, **memory), study)
    return kept


STUDY = tiny.study(tiny.rates(0.1, 0.2), num_seeds=1)


@pytest.mark.parametrize(
    "other",
    [
        tiny.study(tiny.rates(0.3, 0.4), num_seeds=1),
        tiny.study(tiny.rates(0.1, 0.2, 0.3), num_seeds=1),
        tiny.study(tiny.rates(0.1, 0.2), num_seeds=2),
    ],
    ids=["rates", "trials", "seeds"],
)
def test_other_members_share_data_and_functions(other):
    kept = kept_with(STUDY)
    found = placed(other, kept)
    assert found.batches is kept.like(found, other).batches
    assert found.population.lanes == found.plan.lanes
    assert found.population.init().alive.size >= found.population.lanes.members


@pytest.mark.parametrize(
    "other",
    [
        tiny.study(tiny.rates(0.1, 0.2), num_seeds=1, root_seed=1),
        tiny.study(tiny.rates(0.1, 0.2), num_seeds=1, batch_size=8),
        dataclasses.replace(
            STUDY, sweep=({"optimizer.momentum": 0.9}, {"optimizer.momentum": 0.5})
        ),
        dataclasses.replace(STUDY, figures=("gradients",)),
        dataclasses.replace(STUDY, eval_size=20),
    ],
    ids=["root_seed", "batch_size", "momentum", "figures", "eval_size"],
)
def test_what_changes_data_or_functions_shares_nothing(other):
    kept = kept_with(STUDY)
    found = placed(other, kept)
    assert kept.like(found, other) is None


def test_added_seeds_are_placed_with_examples_of_their_own():
    """By the functions that the first seeds were compiled for."""
    study = tiny.study(tiny.rates(0.1), num_seeds=4)
    study = dataclasses.replace(study, vary=(*OWNED, "split"), looks=(2, 4))
    groups = [Members(0, study.trials(), first, 2) for first in (0, 2)]
    kept, found = place.Kept(), []
    for members in groups:
        (program,) = networks(
            study, dataset=tiny.dataset(), members=[members], lane_width=1
        )
        found.append(place.place(program, study, kept))
        kept.keep(found[-1], study)
        state = found[-1].population.init()
        found[-1].population.evaluate(state, found[-1].batches)
    assert found[1].population.compile_count == found[0].population.compile_count == 2
    drawing = found[1].drawing
    for seed, rows, steps in zip(
        (2, 3), found[1].batches["test"].rows, found[1].order.take(0, 8, 8)
    ):
        own = drawing.indices(seed)
        size = tiny.SIZES["test"]
        assert np.array_equal(np.ravel(rows)[:size], own["test"])
        assert np.isin(steps, own["train"]).all()


def trained(placed):
    """Returns parameters and sums of metrics of the trained members."""
    population, at = placed.population, 0
    state = population.init()
    while at < placed.num_steps:
        count = min(placed.room, placed.num_steps - at)
        state, at = placed.train(state, at, count), at + count
    state, measured = population.evaluate(state, placed.batches)
    return population.gather((state.params, measured["sums"]))


@pytest.mark.parametrize(
    ("settings", "compiles"),
    [
        ({"num_epochs": 6}, [True, False, False]),
        pytest.param(
            *({"max_steps": 12, "schedule.name": "cosine"}, [True, False, False]),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *({"num_epochs": 6, "schedule.name": "cosine"}, [True, True, True]),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["constant rate", "equal steps", "other rates"],
)
def test_numbers_of_training_examples_share_all_compiled_functions(settings, compiles):
    """If the rate's shape agrees; each size has the numbers that it has alone."""
    settings = {"num_epochs": 99} | settings
    study = tiny.study([{"train_size": size} for size in (40, 100, 0)], **settings)
    kept, found, placed = place.Kept(), [], []
    for program in networks(study, dataset=tiny.dataset(), lane_width=1):
        placed.append(place.place(program, study, kept))
        kept.keep(placed[-1], study)
        found.append(trained(placed[-1]))
    assert [one.population.compile_seconds > 0 for one in placed] == compiles
    assert {one.population.compile_count for one in placed} == {3}

    alone = tiny.study(train_size=40, **settings)
    (program,) = networks(alone, dataset=tiny.dataset(), lane_width=1)
    params, sums = trained(place.place(program, alone))
    jax.tree.map(np.testing.assert_array_equal, found[0][0], params)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-6)
    jax.tree.map(close, found[0][1], sums)


def test_other_evaluation_batches_are_placed_anew():
    kept = kept_with(STUDY)
    found = placed(STUDY, kept, evaluation_batch=8)
    assert found.batches is not kept.like(found, STUDY).batches


def test_the_first_is_let_go_where_memory_is_small_or_many_are_kept(monkeypatch):
    others = [
        tiny.study(tiny.rates(0.1), num_seeds=1, **{"model.hidden": (units,)})
        for units in (3, 4, 5)
    ]

    def left(**memory):
        kept = kept_with(*others, **memory)
        return [kept.like(placed(study), study) is not None for study in others]

    assert left(data_bytes=10, memory_bytes=600) == [True, True, True]  # two devices
    assert left(data_bytes=10, memory_bytes=599) == [False, True, True]
    assert left(data_bytes=10, memory_bytes=0) == [False, False, True]
    monkeypatch.setattr(place, "MOST_KEPT", 2)
    assert left() == [False, True, True]


def test_a_short_training_is_not_timed_beforehand(monkeypatch):
    monkeypatch.setattr(lane_width, "_Stopwatch", None)
    (program,) = networks(tiny.study(tiny.rates(0.1, 0.2), num_seeds=4))
    study = tiny.study(tiny.rates(0.1, 0.2), num_seeds=4)
    found, seconds = lane_width.choose_lanes(program, study)
    assert (found.plan, seconds) == (program.plan, 0.0)
    monkeypatch.setattr(lane_width, "CORE_SPEED", 1.0)
    with pytest.raises(TypeError):
        lane_width.choose_lanes(program, study)


def test_a_width_that_is_not_among_the_plans_is_not_taken():
    kept = kept_with(tiny.study(tiny.rates(0.1, 0.2, 0.3), num_seeds=2))
    few = tiny.study(tiny.rates(0.1), num_seeds=3)
    (program,) = networks(few, dataset=tiny.dataset(), lane_width=3)
    assert kept.like(program, few)
    found, _ = lane_width.choose_lanes(program, few, kept)
    assert found.width == 3
