# SPDX-License-Identifier: Apache-2.0
"""The answer says what the tables say, in words."""

import dataclasses
import re

import numpy as np
import pytest
import synthetic

from nnlab.report import answer, trials
from nnlab.statistics import ranking
from nnlab.study import Claim, Quantity

RATE = "optimizer.learning_rate"
RATES = [{RATE: r} for r in (0.02, 0.7, 3.0)]


def _values(times, num_seeds=8, num_evaluations=10, low=0.5, high=0.96):
    """Accuracies (T, S, E) that step from low to high at an evaluation (from 1)."""
    values = np.full((len(times), num_seeds, num_evaluations), low)
    for trial, time in enumerate(times):
        values[trial, :, time - 1 :] = high
    noise = np.random.default_rng(0).normal(0, 1e-3, (len(times), num_seeds, 1))
    return values + noise


def test_answer_says_how_soon_the_target_is_reached():
    values = _values((9, 2, 5))
    values[2] = synthetic.CHANCE
    found = synthetic.results(
        values, sweep=RATES, target=0.9, at_chance=[(2, s) for s in range(8)]
    )
    said = answer.sentences(found)
    assert said[0] == (
        "Learning rate 0.7 reaches 90 % validation accuracy after a median of 2 "
        "epochs, 8 of 8 seeds; 0.02 after 9, 8 of 8; 3 never."
    )
    assert said[-1] == "At learning rate 3, 8 of 8 seeds end at chance."


def test_answer_counts_seeds_that_miss_the_target():
    values = _values((3, 2))
    values[0, :3] = 0.5
    values[1, :6] = 0.5
    found = synthetic.results(values, sweep=RATES[:2], target=0.9)
    assert answer.sentences(found)[0] == (
        "Learning rate 0.02 reaches 90 % validation accuracy after a median of 3 "
        "epochs, 5 of 8 seeds; 0.7 in 2 of 8."
    )
    values[:] = 0.5
    found = synthetic.results(values, sweep=RATES[:2], target=0.9)
    assert answer.sentences(found)[0] == "No trial reaches 90 % validation accuracy."


def test_answer_names_the_best_with_its_interval_and_what_is_not_resolved():
    values = np.full((3, 8, 2), 0.9)
    values += np.array([0.0, 0.05, 0.0501])[:, None, None]
    values[1:] += 0.001 * np.array([-1, 1] * 4)[:, None]
    values[2] = values[2][::-1]
    said = answer.sentences(synthetic.results(values, sweep=RATES, target=0.99))
    # 0.001 * sqrt(8/7) / sqrt(8) * t(0.975, 7) = 0.00089, one digit of it.
    assert said[1] == (
        "Best by validation accuracy is learning rate 3, with a test accuracy of "
        "95.01 % ± 0.09 (mean and 95 % interval, n = 8)."
    )
    assert said[2] == (
        "Not resolved from it: learning rate 0.7; 1 other is resolved to be worse."
    )


def test_answer_on_one_trial():
    said = answer.sentences(synthetic.results(_values((3,)), sweep=[{}], target=0.9))
    assert said[0] == (
        "Training reaches 90 % validation accuracy after a median of 3 epochs, "
        "8 of 8 seeds."
    )
    assert said[1].startswith("Test accuracy is ")
    assert len(said) == 2


def test_answer_on_many_trials_names_few():
    found = synthetic.results(
        num_trials=32,
        diverged={(t, s): 2 for t in range(26, 32) for s in range(4)},
        at_chance=[(31, 7)],
    )
    text = " ".join(answer.sentences(found))
    named = [t for t in found.trials if f" {t.label.split('=')[1]}" in text]
    assert len(named) <= 10
    assert re.search(r"the \d+ trials from|\d+ of the trials between", text)
    assert "24 of 48 seeds diverge and 1 ends at chance" in text


@pytest.mark.parametrize(("count", "said"), [(1, "seed diverges"), (3, "seeds div")])
def test_answer_knows_singular_and_plural(count, said):
    found = synthetic.results(
        num_trials=2, num_seeds=count, diverged={(1, s): 3 for s in range(count)}
    )
    assert f"{count} of {count} {said}" in answer.sentences(found)[-1]


@pytest.mark.parametrize(("num_seeds", "why"), [(1, "One seed"), (2, "Of two seeds")])
def test_answer_says_why_there_is_no_interval(num_seeds, why):
    said = answer.sentences(synthetic.results(num_seeds=num_seeds))
    assert "±" not in " ".join(said)
    assert any(s.startswith(why) for s in said)


def test_answer_on_an_interrupted_run():
    found = synthetic.results(unfinished={(1, 0): 3, (1, 1): 3}, never_ran=[2, 3])
    first, *said = answer.sentences(found)
    assert first.startswith(
        "The run was interrupted: 2 of 4 trials have not run and 2 members did not "
        "finish; best so far is learning rate 0.0"
    )
    (best,) = (s for s in said if "best by validation accuracy" in s)
    assert best.startswith("Of the 1 trial that trained to the end, ")


@pytest.mark.parametrize("end", [1, 4])
def test_the_best_so_far_is_named_with_its_seeds_and_epochs(end):
    accuracy = np.full((3, 4, 6), 0.5) + 0.01 * np.arange(6)
    accuracy[1, :, end - 1] = 0.9
    accuracy[2, 0, :] = 0.99  # of which one seed leads, and two of four are lost
    cut = {(t, s): end for t in range(3) for s in range(4)}
    lost = {(2, 1): 1, (2, 2): 1}
    found = synthetic.results(
        accuracy,
        unfinished={member: at for member, at in cut.items() if member not in lost},
        diverged=lost,
    )
    said = answer.sentences(found)
    name = trials.named(found, 1)
    assert f"best so far is {name}, with a validation accuracy of 90.0 %" in said[0]
    assert re.search(rf"\(mean of 4 seeds after {end} of 6 epochs\)", said[0])
    assert not any("can be called best" in s for s in said)
    assert ranking.best_trial(found, so_far=True) == 1
    assert ranking.best_trial(found) is None


def test_a_diverged_study_has_no_best():
    lost = {(t, s): 1 for t in range(2) for s in range(4)}
    said = answer.sentences(synthetic.results(num_trials=2, num_seeds=4, diverged=lost))
    assert said[0].startswith("No trial can be called best")
    assert said[1] == "At learning rate 0.001 and 3.2, 4 of 4 seeds diverge each."


def test_trials_that_lose_too_many_seeds_are_not_left_unsaid():
    lost = {(0, s): 2 for s in range(3)}
    said = answer.sentences(synthetic.results(diverged=lost))
    assert "Too few seeds survive to compare it with learning rate 0.001." in said
    assert not any("Too few" in s for s in answer.sentences(synthetic.results()))


def test_the_best_of_two_survivors_has_no_interval_and_says_why():
    lost = {(t, s): 2 for t in range(4) for s in range(2)}
    said = " ".join(answer.sentences(synthetic.results(num_seeds=4, diverged=lost)))
    assert "(n = 2, no interval: fewer than 3 seeds survive)" in said
    assert "±" not in said


# Moved and rotated images, the start, claims, notes and failures.


def _moved(*, cnn_drop):
    """Two trials whose test accuracies are 95 and 94 %, and drop on moved images."""
    spread = 0.001 * np.array([-1, 0, 1])
    test = np.array([0.95, 0.94])[:, None] + spread
    drop = np.array([0.3, cnn_drop])[:, None] + 2 * spread
    return synthetic.results(
        {
            "validation_accuracy": test,
            "test_accuracy": test,
            "test_moved_accuracy": test - drop,
        },
        sweep=[{"label": "mlp"}, {"model.activation": "tanh", "label": "cnn"}],
        fields={"test_sets": {"moved_pixels": 3}},
    )


def test_answer_says_what_moved_images_cost_and_whom_least():
    # 0.002 / sqrt(3) * t(0.975, 2) = 0.00497.
    of_best = (
        "On images moved by up to 3 pixels the accuracy of the best trial falls by "
        "30.0 ± 0.5 points, to 65.0 % (n = 3)"
    )
    near = "of the trials within 5 points of it on the normal set (means, not tested)"
    said = answer.sentences(_moved(cnn_drop=0.1))
    assert (
        f"{of_best}; {near} it falls least with trial cnn, by 10.0 ± 0.5 points, to "
        "84.0 % (n = 3)."
    ) in said
    assert f"{of_best}, the least {near}." in answer.sentences(_moved(cnn_drop=0.4))


def test_a_trial_that_has_learnt_little_is_not_praised_for_losing_little():
    values = np.array([0.95, 0.2])[:, None] + 0.001 * np.array([-1, 0, 1])
    columns = {f"{part}_accuracy": values for part in ("validation", "test")}
    columns["test_rotated_accuracy"] = values * 0.5
    fields = {"test_sets": {"rotated_degrees": 40}}
    found = synthetic.results(columns, sweep=RATES[:2], fields=fields)
    (said,) = (s for s in answer.sentences(found) if "rotated" in s)
    assert said.startswith("On images rotated by up to 40 degrees")
    assert said.endswith("to 47.5 % (n = 3).")
    assert "least" not in said


def test_seeds_that_differ_widely_leave_the_best_trial_its_drop():
    test = np.array([[0.75, 0.95], [0.3, 0.3]])
    columns = {f"{part}_accuracy": test for part in ("validation", "test")}
    columns["test_moved_accuracy"] = test - 0.25
    fields = {"test_sets": {"moved_pixels": 1}}
    found = synthetic.results(columns, sweep=RATES[:2], fields=fields)
    (said,) = (s for s in answer.sentences(found) if "moved" in s)
    assert said.endswith("of the best trial falls by 25.0 points, to 60.0 % (n = 2).")


def test_answer_compares_untrained_networks_with_chance():
    values = np.full((2, 3, 4), 0.9)
    values[:, :, 0] = [[0.08, 0.09, 0.10], [0.11, 0.12, 0.13]]
    found = synthetic.results(
        {"test_accuracy": values, "test_loss": 25 * values},
        sweep=RATES[:2],
        fields={"figures": ("probabilities",)},
    )
    assert not any("Before" in s for s in answer.sentences(found))  # starts at step 35
    first = found.curves["step"].to_numpy().min()
    place = found.curves.column_names.index("step")
    steps = found.curves["step"].to_numpy() - first
    curves = found.curves.set_column(place, "step", [steps])
    assert (
        "Before training the test accuracy is 9.0 to 12.0 % (chance 11.0 %) and the "
        "loss 2.25 to 3.00 (ln 10 = 2.30), the trials' means over 3 seeds."
    ) in answer.sentences(dataclasses.replace(found, curves=curves))
    usual = dataclasses.replace(found.study, figures=("curves",))
    unasked = dataclasses.replace(found, curves=curves, study=usual)
    assert not any("Before" in s for s in answer.sentences(unasked))


def test_answer_counts_claims_and_names_the_contradicted():
    higher = Quantity(metric="test_accuracy")
    sides = {RATE: 0.7}, {RATE: 0.02}
    claims = [
        Claim(text="true", quantity=higher, left=sides[0], right=sides[1]),
        Claim(text="wrong, too", quantity=higher, left=sides[1], right=sides[0]),
        Claim(text="absent", quantity=higher, left={RATE: 9.0}, right="chance"),
    ]
    values = _values((1, 1))
    values[1] += 0.01
    found = synthetic.results(
        values, sweep=RATES[:2], claims=claims, fields={"notes": ("A note.", "Two.")}
    )
    assert answer.sentences(found)[-3:] == [
        "Of 3 claims, 1 is supported; 1 is contradicted (“wrong, too”) and 1 is not "
        "tested in this run.",
        "A note.",
        "Two.",
    ]


WIDTHS = [{"model.hidden": (h,)} for h in (8, 16, 32)]


def test_answer_says_how_many_trials_failed():
    found = synthetic.results(sweep=WIDTHS, never_ran=[1], failures={1: "OOM"})
    said = answer.sentences(found)
    assert said[-1] == (
        "1 of 3 trials is missing because its program failed: hidden 16."
    )
    assert not any("interrupted" in s for s in said)


def test_an_interruption_does_not_count_what_failed():
    found = synthetic.results(sweep=WIDTHS, never_ran=[1, 2], failures={1: "OOM"})
    config = {**found.config, "status": "interrupted"}
    said = answer.sentences(dataclasses.replace(found, config=config))
    assert said[-1].startswith("1 of 3 trials is missing")
    assert said[0].startswith("The run was interrupted: 1 of 3 trials has not run;")
