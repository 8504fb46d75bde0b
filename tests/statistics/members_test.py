# SPDX-License-Identifier: Apache-2.0
"""How networks ended, and quantities of each of them."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
import synthetic

from nnlab.statistics import members
from nnlab.study import EarlyStopping, Hyperparameters, Quantity

FINAL = Quantity(metric="test_accuracy")


def test_stopped_members_are_carried_forward_at_their_best():
    accuracy = np.array([[[0.5, 0.9, 0.6, 0.7], [0.1, 0.2, 0.3, 0.4]]])
    found = synthetic.results(accuracy, stopped={(0, 0): 3}, diverged={(0, 1): 2})
    curve = members.carried_forward(found, 0, "test_accuracy")
    expected = [[0.5, 0.9, 0.6], [0.1, 0.2, np.nan]]
    np.testing.assert_array_equal(curve.values, expected)
    found = synthetic.results(np.tile(accuracy, (1, 2, 1)), stopped={(0, 0): 3})
    curve = members.carried_forward(found, 0, "test_accuracy")
    np.testing.assert_array_equal(curve.values[0], [0.5, 0.9, 0.6, 0.9])


def test_a_network_that_patience_did_not_stop_keeps_its_best_too():
    accuracy = np.array([[[0.5, 0.9, 0.6, 0.7], [0.1, 0.2, 0.3, 0.4]]])
    base = Hyperparameters(early_stopping=EarlyStopping(patience=3))
    patient = synthetic.results(accuracy, base=base)
    older = dataclasses.replace(
        patient,
        config=patient.config
        | {"cohorts": synthetic.results(accuracy).config["cohorts"]},
    )
    for found, final in ((patient, [0.9, 0.4]), (older, [0.7, 0.4])):
        assert members.reduce_members(found, 0, FINAL).tolist() == final
        curve = members.carried_forward(found, 0, "test_accuracy")
        np.testing.assert_array_equal(curve.values, accuracy[0])


def test_every_member_is_counted_once():
    found = synthetic.results(
        diverged={(0, 0): 3, (0, 1): 0},
        stopped={(0, 2): 5},
        unfinished={(0, 3): 2},
        at_chance=[(0, 4)],
        never_ran=[2],
    )
    counts = members.status_counts(found, 0)
    ended = {"diverged": 2, "dropped": 0, "unfinished": 1, "at_chance": 1}
    assert counts == {"finished": 4, "stopped": 1, **ended}
    assert members.alive(found, 0).tolist() == [*[False] * 2, True, False, *[True] * 4]
    assert set(members.status_counts(found, 2).values()) == {0}  # it never ran
    assert np.isnan(members.reduce_members(found, 2, FINAL)).all()


ACCURACY, LOSS, MOVED = "test_accuracy", "test_loss", "test_moved_accuracy"


@pytest.mark.parametrize(
    ("metric", "reduction", "more", "expected"),
    [
        (ACCURACY, "final", {}, [0.6, np.nan]),
        (ACCURACY, "best", {}, [0.9, np.nan]),
        (LOSS, "best", {}, [0.2, np.nan]),
        (ACCURACY, "best_minus_final", {}, [0.3, np.nan]),
        (LOSS, "best_minus_final", {}, [-0.4, np.nan]),
        (ACCURACY, "at_epoch", {"epoch": 2}, [0.9, 0.7]),
        (ACCURACY, "at_epoch", {"epoch": 9}, [np.nan] * 2),
        (ACCURACY, "at_step", {"step": 42}, [0.58, 0.54]),
        (ACCURACY, "at_step", {"step": 70}, [0.9, 0.7]),
        (ACCURACY, "at_step", {"step": 84}, [0.78, np.nan]),
        (ACCURACY, "at_step", {"step": 34}, [np.nan] * 2),
        (ACCURACY, "at_step", {"step": 106}, [np.nan] * 2),
        ("", "steps", {}, [105.0, np.nan]),
        (MOVED, "drop_from_test", {}, [0.2, np.nan]),
        ("", "diverged_share", {}, [0.0, 1.0]),
        ("", "at_chance_share", {}, [0.0, 0.0]),
        (ACCURACY, "steps_to", {"target": 0.9}, [70.0, np.inf]),
        (LOSS, "steps_to", {"target": 0.5}, [70.0, np.inf]),
        (ACCURACY, "steps_to", {"target": 0.7}, [70.0, np.inf]),
    ],
)
def test_reductions(metric, reduction, more, expected):
    values = {
        ACCURACY: [[[0.5, 0.9, 0.6], [0.5, 0.7, 0.6]]],
        MOVED: [[[0.1, 0.2, 0.4], [0.1, 0.2, 0.4]]],
        LOSS: [[[0.8, 0.2, 0.6], [0.8, 0.7, 0.6]]],
    }
    found = synthetic.results(values, diverged={(0, 1): 2})
    quantity = Quantity(metric=metric, reduction=reduction, **more)
    reduced = members.reduce_members(found, 0, quantity)
    np.testing.assert_allclose(reduced, expected, rtol=1e-12)


def test_a_stopped_member_is_worth_its_best_from_its_end_to_the_end_of_training():
    accuracy = np.array([[[0.5, 0.9, 0.6, 0.7, 0.1, 0.1]] * 2])
    found = synthetic.results(accuracy, stopped={(0, 0): 4, (0, 1): 3})

    def at(reduction, **more):
        quantity = Quantity(metric="test_accuracy", reduction=reduction, **more)
        return members.reduce_members(found, 0, quantity).tolist()

    assert at("final") == [0.9, 0.9]
    assert at("best_minus_final") == [0.0, 0.0]
    assert at("at_step", step=35 * 4) == [0.7, 0.9]
    assert at("at_step", step=35 * 6) == at("at_epoch", epoch=6) == [0.9, 0.9]
    assert np.isnan(at("at_step", step=35 * 6 + 1)).all()
    assert np.isnan(at("at_step", step=34)).all()
    steps = members.reduce_members(found, 0, Quantity(reduction="steps"))
    assert steps.tolist() == [35 * 4, 35 * 3]


def test_a_metric_of_the_kept_model_alone_is_its_final_value():
    accuracy = np.array([[[0.5, 0.9, 0.6, 0.7]] * 3])
    moved = np.full(accuracy.shape, np.nan)
    moved[0, 0, 1] = moved[0, 1, 1] = 0.4  # stopped, so in the row of the best step
    moved[0, 2, 3] = 0.3
    values = {f"{part}_accuracy": accuracy for part in ("validation", "test")}
    found = synthetic.results(
        {**values, "test_moved_accuracy": moved}, stopped={(0, 0): 3, (0, 1): 4}
    )
    expected = {"final": [0.4, 0.4, 0.3], "drop_from_test": [0.5, 0.5, 0.4]}
    expected |= {"best": [0.4, 0.4, 0.3], "best_minus_final": [0.0] * 3}
    for reduction, value in expected.items():
        quantity = Quantity(metric="test_moved_accuracy", reduction=reduction)
        reduced = members.reduce_members(found, 0, quantity)
        np.testing.assert_allclose(reduced, value, atol=1e-12)
    nothing = synthetic.results({"test_accuracy": moved * np.nan}, stopped={(0, 0): 3})
    assert np.isnan(members.reduce_members(nothing, 0, FINAL)).all()


def test_the_final_value_of_trees_is_that_of_the_number_each_seed_keeps():
    accuracy = np.tile([0.6, 0.7, 0.8, 0.9], (1, 3, 1))
    found = synthetic.results(accuracy, sweep=[{"model.name": "boosted_trees"}])
    kept = [1, 50, 200]  # trees of seeds 0, 1 and 2
    table = found.curves.to_pylist()
    few = [row for row in table if row["step"] <= kept[row["seed"]]]
    found = dataclasses.replace(
        found, curves=pa.Table.from_pylist(few, found.curves.schema)
    )
    final = members.reduce_members(found, 0, FINAL)
    np.testing.assert_allclose(final, [0.6, 0.8, 0.9])


def test_an_epoch_of_trees_is_a_round_over_all_training_examples():
    found = synthetic.beside_trees(0.8, trees=0.9, seconds={0: [0.2] * 3, 1: [0.5] * 3})
    for program, seconds in enumerate((0.2, 0.5)):
        each = members.seconds_per_epoch(found, program)
        np.testing.assert_allclose(each, seconds)


def test_segments_with_idle_lanes_do_not_count_in_seconds():
    found = synthetic.results(num_trials=2, seconds={0: [0.1, 0.2, 0.1, 0.1, 0.9, 0.9]})
    index = found.timings.column_names.index("members")
    for counts, expected in (
        ([16, 16, 16, 15, 4, 1], [0.1, 0.2, 0.1]),
        ([16, 9, 7, 7, 4, 1], [0.1, 0.2, 0.1, 0.1]),
    ):
        column = pa.array(counts, pa.int32())
        timings = found.timings.set_column(index, "members", column)
        some = dataclasses.replace(found, timings=timings)
        np.testing.assert_allclose(members.seconds_per_epoch(some, 0), expected)
