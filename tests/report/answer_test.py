# SPDX-License-Identifier: Apache-2.0
"""The answer says what the tables say, in words."""

import dataclasses
import re

import numpy as np
import pyarrow as pa
import pytest
import synthetic
from shown import RATE, RATES, reaching

from nnlab.report import answer, trials
from nnlab.statistics import ranking
from nnlab.statistics.findings import Findings
from nnlab.study.claims import higher

WIDTHS = [{"model.hidden": (h,)} for h in (8, 16, 32)]


def said(*args, **options):
    """Returns the answer on made-up results."""
    return answer.sentences(synthetic.findings(*args, **options))


def one_with(text, *args, **options):
    """Returns the one sentence of an answer that holds a text."""
    (found,) = (s for s in said(*args, **options) if text in s)
    return found


# How soon, and which is best.


def test_it_says_how_soon_the_target_is_reached_and_by_how_many():
    values = reaching((9, 2, 5))
    values[0, :3] = 0.5
    values[2] = 0.5
    first = said(values, sweep=RATES, target=0.9)[0]
    assert first == (
        "Learning rate 0.7 reaches 90 % validation accuracy after a median of 2 "
        "epochs (8 of 8 seeds); 0.02 after 9 (5 of 8); 3 never."
    )
    values[0, :6] = 0.5
    assert "0.02 only in 2 of 8 seeds" in said(values, sweep=RATES, target=0.9)[0]
    values[1, :5] = 0.5
    first = said(values, sweep=RATES, target=0.9)[0]
    assert re.search("No trial .* more than half .* learning rate 0.7 .* 3 of 8", first)
    values[:] = 0.5
    first = said(values, sweep=RATES, target=0.9)[0]
    assert first == "No trial reaches 90 % validation accuracy."


def test_of_one_trial_it_says_how_soon_and_how_good():
    how_soon, how_good = said(reaching((3,)), sweep=[{}], target=0.9)
    assert how_soon.startswith("Training reaches 90 % validation accuracy after")
    assert how_good.startswith("Test accuracy is ")


def test_it_names_the_best_with_its_interval_and_who_differs_from_it():
    values = np.full((3, 8, 2), 0.9)
    values += np.array([0.0, 0.05, 0.0501])[:, None, None]
    values[1:] += 0.001 * np.array([-1, 1] * 4)[:, None]
    values[2] = values[2][::-1]
    _, best, others = said(values, sweep=RATES, target=0.99)
    # 0.001 * sqrt(8/7) / sqrt(8) * t(0.975, 7) = 0.00089, one digit of it.
    assert best == (
        "Best by validation accuracy is learning rate 3, with a test accuracy of "
        "95.01 % ± 0.09 (mean and 95 % interval, n = 8)."
    )
    assert others == (
        "Learning rate 0.7 does not differ significantly from it (a difference of 0.25 "
        "points would show in 80 % of such runs); the other one is significantly worse "
        "over seeds."
    )


def test_others_may_be_better_on_the_test_set():
    test = np.random.default_rng(0).normal(0.9, 0.001, (5, 8))
    test[1:3] += 0.02
    test[3:] -= 0.02
    validation = np.array([0.95, 0.9, 0.9, 0.8, 0.8])[:, None] + np.zeros(8)
    columns = {"validation_accuracy": validation, "test_accuracy": test}
    sweep = [{RATE: r} for r in (0.1, 0.3, 1.0, 3.0, 9.0)]
    assert said(columns, sweep=sweep, target=0.99)[2] == (
        "On the test set learning rate 0.3 and 1 do significantly better; the other 2 "
        "are significantly worse over seeds."
    )
    only = {name: values[[0, 3, 4]] for name, values in columns.items()}
    assert "Both others are significantly worse over seeds." in said(only, sweep=RATES)


def test_of_many_trials_few_are_named():
    lost = {(t, s): 2 for t in range(26, 32) for s in range(4)}
    found = synthetic.findings(num_trials=32, diverged=lost, at_chance=[(31, 7)])
    text = " ".join(answer.sentences(found))
    named = [t for t in found.results.trials if f" {t.label.split('=')[1]}" in text]
    assert len(named) <= 10
    assert re.search(r"the \d+ trials from|\d+ of the trials between", text)
    assert "24 of 48 seeds diverge and 1 stays at chance" in text


# What is lost.


@pytest.mark.parametrize(
    ("count", "options", "text"),
    [
        (1, {"diverged": {(1, 0): 3}}, "the only seed diverges"),
        (3, {"diverged": {(1, s): 3 for s in range(3)}}, "all 3 seeds diverge"),
        (4, {"diverged": {(1, 2): 3}}, "1 of 4 seeds diverges"),
        (4, {"at_chance": [(1, 2), (1, 0)]}, "2 of 4 seeds stay at chance"),
        (2, {"at_chance": [(1, 0), (1, 1)]}, "both seeds stay at chance"),
    ],
)
def test_it_says_how_many_seeds_fail(count, options, text):
    failing = said(num_trials=2, num_seeds=count, **options)[-1]
    assert failing == f"At learning rate 3.2, {text}."


def test_trials_that_fail_alike_are_named_together():
    lost = {(t, s): 1 for t in range(2) for s in range(4)}
    first, *_, last = said(num_trials=2, num_seeds=4, diverged=lost)
    assert first.startswith("No trial can be called best")
    assert last == "At both learning rate 0.001 and 3.2, all 4 seeds diverge."
    lost = {(t, 0): 1 for t in range(3)}
    assert "At each of learning rate 0.001, " in said(diverged=lost)[-1]


def test_trials_that_lose_too_many_seeds_are_not_left_unsaid():
    text = one_with("Too few seeds survive", diverged={(0, s): 2 for s in range(3)})
    assert text.endswith("with learning rate 0.001.")
    assert not any("Too few" in s for s in said())
    lost = {(t, s): 2 for t in range(4) for s in range(2)}
    text = " ".join(said(num_seeds=4, diverged=lost))
    assert "(n = 2, no interval: fewer than 3 seeds survive)" in text
    assert "±" not in text


def test_an_interrupted_run_says_what_is_missing():
    cut = {"unfinished": {(1, 0): 3, (1, 1): 3}, "never_ran": [2, 3]}
    text = one_with("The run was interrupted", **cut)
    assert "2 of 4 trials have not run and 2 networks did not finish" in text
    assert "best so far is learning rate 0.0" in text
    best = one_with("best by validation accuracy", **cut)
    assert best.startswith("Of the 1 trial that trained to the end, ")


@pytest.mark.parametrize("end", [1, 4])
def test_the_best_so_far_is_named_with_its_seeds_and_epochs(end):
    accuracy = np.full((3, 4, 6), 0.5) + 0.01 * np.arange(6)
    accuracy[1, :, end - 1] = 0.9
    accuracy[2, 0, :] = 0.99  # one seed leads, and two of four are lost
    cut = {(t, s): end for t in range(3) for s in range(4)}
    lost = {(2, 1): 1, (2, 2): 1}
    unfinished = {member: at for member, at in cut.items() if member not in lost}
    found = synthetic.findings(accuracy, unfinished=unfinished, diverged=lost)
    first, *rest = answer.sentences(found)
    name = trials.named(found.results, 1)
    assert f"best so far is {name}, with a validation accuracy of 90.0 %" in first
    assert f"(mean of 4 seeds after {end} of 6 epochs)" in first
    assert not any("can be called best" in s for s in rest)
    assert (ranking.best_trial(found.results, so_far=True), found.best) == (1, None)


def test_a_program_that_failed_is_missing_and_not_an_interruption():
    *_, last = said(sweep=WIDTHS, never_ran=[1], failures={1: "OOM"})
    assert last.startswith("1 of 3 trials is missing")
    assert last.endswith("hidden 16.")
    assert "interrupted" not in last
    found = synthetic.results(sweep=WIDTHS, never_ran=[1, 2], failures={1: "OOM"})
    config = {**found.config, "status": "interrupted"}
    cut = Findings(dataclasses.replace(found, config=config))
    first, *_, last = answer.sentences(cut)
    assert first.startswith("The run was interrupted: 1 of 3 trials has not run;")
    assert last.startswith("1 of 3 trials is missing")


# Moved and rotated images, the start, claims and notes.


def moved(*, cnn_drop):
    """Two trials with test accuracies of 95 and 94 %, which drop on moved images."""
    spread = 0.001 * np.array([-1, 0, 1])
    test = np.array([0.95, 0.94])[:, None] + spread
    drop = np.array([0.3, cnn_drop])[:, None] + 2 * spread
    columns = {f"{part}_accuracy": test for part in ("validation", "test")}
    columns["test_moved_accuracy"] = test - drop
    return one_with(
        "moved",
        columns,
        sweep=[{"label": "mlp"}, {"model.activation": "tanh", "label": "cnn"}],
        fields={"test_sets": {"moved_pixels": 3}},
    )


def test_it_says_what_moved_images_cost_and_whom_least():
    # 0.002 / sqrt(3) * t(0.975, 2) = 0.00497.
    first, second = moved(cnn_drop=0.1).split(";")
    assert first.startswith(
        "On images moved by up to 3 pixels the accuracy of the best"
    )
    assert first.endswith("by 30.0 ± 0.5 points, to 65.0 % (n = 3)")
    assert "with trial cnn, by 10.0 ± 0.5 points, to 84.0 % (n = 3)." in second
    text = moved(cnn_drop=0.4)
    assert "30.0 ± 0.5" in text
    assert "cnn" not in text


@pytest.mark.parametrize(
    ("test", "drop", "end"),
    [
        # A trial that has learnt little has little to lose.
        (np.array([0.95, 0.2])[:, None] + 0.001 * np.array([-1, 0, 1]), 0.5, "47.5"),
        # Widely different seeds do not hide the best trial's drop.
        (np.array([[0.75, 0.95], [0.3, 0.3]]), 0.2, "68.0"),
    ],
)
def test_drops_are_of_trials_near_the_best(test, drop, end):
    columns = {f"{part}_accuracy": test for part in ("validation", "test")}
    columns["test_rotated_accuracy"] = test * (1 - drop)
    fields = {"test_sets": {"rotated_degrees": 40}}
    text = one_with("rotated", columns, sweep=RATES[:2], fields=fields)
    assert text.startswith("On images rotated by up to 40 degrees")
    assert text.endswith(f"to {end} % (n = {test.shape[1]}).")
    assert "least" not in text


def test_it_compares_untrained_networks_with_chance():
    values = np.full((2, 3, 4), 0.9)
    values[:, :, 0] = [[0.08, 0.09, 0.10], [0.11, 0.12, 0.13]]
    columns = {"test_accuracy": values, "test_loss": 25 * values}
    fields = {"figures": ("probabilities",)}
    found = synthetic.results(columns, sweep=RATES[:2], fields=fields)
    assert "Before" not in " ".join(answer.sentences(Findings(found)))  # from step 35
    curves = found.curves.to_pandas()
    curves["step"] -= curves["step"].min()
    curves = pa.Table.from_pandas(curves, found.curves.schema)
    started = Findings(dataclasses.replace(found, curves=curves))
    text = " ".join(answer.sentences(started))
    assert "test accuracy is 9.0 to 12.0 % (chance 11.0 %)" in text
    assert "the loss 2.25 to 3.00 (ln 10 = 2.30)" in text


def test_it_counts_claims_and_names_the_contradicted():
    fast, slow = {RATE: 0.7}, {RATE: 0.02}
    claims = [
        higher("true", "test_accuracy", fast, slow),
        higher("wrong, too", "test_accuracy", slow, fast),
        higher("absent", "test_accuracy", {RATE: 9.0}, "chance"),
    ]
    values = reaching((1, 1))
    values[1] += 0.01
    fields = {"notes": ("A note.", "Two.")}
    *_, counted, note, two = said(values, sweep=RATES[:2], claims=claims, fields=fields)
    assert counted == (
        "Of 3 claims, 1 is supported; 1 is contradicted (“wrong, too”) and 1 is not "
        "tested in this run."
    )
    assert (note, two) == ("A note.", "Two.")
