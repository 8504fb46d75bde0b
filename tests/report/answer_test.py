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
from nnlab.study import product
from nnlab.study.claims import higher, lower

WIDTHS = [{"model.hidden": (h,)} for h in (8, 16, 32)]


def said(*args, **options):
    """Returns the answer on made-up results."""
    return answer.sentences(synthetic.findings(*args, **options))


def one_with(text, *args, **options):
    """Returns the one sentence of an answer that holds a text."""
    (found,) = (s for s in said(*args, **options) if text in s)
    return found


# The answer: which trial is best, and how soon.


def spread(levels, seeds=8):
    """Accuracies (T, S) at these levels, with other noise in each trial."""
    noise = np.random.default_rng(0).normal(0, 0.002, (len(levels), seeds))
    return np.array(levels)[:, None] + noise - noise.mean(axis=1, keepdims=True)


def test_it_says_how_soon_the_target_is_reached_and_by_how_many():
    def speed():
        return one_with("reach", values, sweep=RATES, target=0.9)

    values = reaching((9, 2, 5))
    values[0, :3] = 0.5
    values[2] = 0.5
    assert speed() == (
        "Learning rate 0.7 reaches 90 % validation accuracy after a median of 2 "
        "epochs (8 of 8 seeds); 0.02 after 9 (5 of 8); 3 never."
    )
    values[0, :6] = 0.5
    assert "0.02 only in 2 of 8 seeds" in speed()
    values[1, :5] = 0.5
    assert re.search(
        "No trial .* more than half .* learning rate 0.7 .* 3 of 8", speed()
    )
    values[:] = 0.5
    assert speed() == "No trial reaches 90 % validation accuracy."
    fields = {"figures": ("target",)}  # what is asked comes first
    first = said(reaching((9, 2, 5)), sweep=RATES, target=0.9, fields=fields)[0]
    assert first.startswith("Learning rate 0.7 reaches 90 %")


def test_of_one_trial_it_says_how_good_and_how_soon():
    how_good, how_soon = said(reaching((3,)), sweep=[{}], target=0.9)
    assert how_good.startswith("Test accuracy is ")
    assert how_soon.startswith("Training reaches 90 % validation accuracy after")


def test_it_names_the_best_with_its_interval_and_who_differs_from_it():
    values = np.full((3, 8, 2), 0.9)
    values += np.array([0.0, 0.05, 0.0501])[:, None, None]
    values[1:] += 0.001 * np.array([-1, 1] * 4)[:, None]
    values[2] = values[2][::-1]
    best, others, seen, *_ = said(values, sweep=RATES, target=0.99)
    # 0.001 * sqrt(8/7) / sqrt(8) * t(0.975, 7) = 0.00089, one digit of it.
    assert best == (
        "Learning rate 3 does best by validation, with a test accuracy of 95.01 % ± "
        "0.09 (mean and 95 % interval, n = 8); learning rate 0.7 (95.0 %) does not "
        "differ significantly."
    )
    assert others == "The other one is significantly worse over seeds."
    assert "0.25 points" in seen


def test_others_may_be_better_on_the_test_set():
    test = np.random.default_rng(0).normal(0.9, 0.001, (5, 8))
    test[1:3] += 0.02
    test[3:] -= 0.02
    validation = np.array([0.95, 0.9, 0.9, 0.8, 0.8])[:, None] + np.zeros(8)
    columns = {"validation_accuracy": validation, "test_accuracy": test}
    sweep = [{RATE: r} for r in (0.1, 0.3, 1.0, 3.0, 9.0)]
    first, second, *_ = said(columns, sweep=sweep, target=0.99)
    assert re.match("Learning rate 0.1 .* 0.3 and 1 .* do significantly better", first)
    assert second == "The other 2 are significantly worse over seeds."
    only = {name: values[[0, 3, 4]] for name, values in columns.items()}
    assert "Both others are significantly worse over seeds." in said(only, sweep=RATES)


@pytest.mark.parametrize("levels", [(0.9, 0.5, 0.9), (0.5, 0.9, 0.7), (0.9, 0.9, 0.9)])
def test_the_first_sentence_names_all_that_cannot_be_told_from_the_best(levels):
    found = synthetic.findings(spread(levels), sweep=RATES)
    first = answer.sentences(found)[0]
    alike = [c.trial for c in found.compared if not c.resolved]
    named = [t for t, rate in enumerate(RATES) if f" {rate[RATE]:g} " in first]
    assert named == alike
    for trial in named:
        mean = found.final(trial, "test_accuracy").mean()
        shown = map(float, re.findall(r"\d+\.\d+", first))
        assert min(abs(100 * mean - number) for number in shown) < 0.06


def test_what_counts_of_networks_at_chance_leave_open_is_not_called_alike():
    lost = [(1, s) for s in range(3)]
    found = synthetic.findings(spread((0.9, 0.9, 0.5), 4), sweep=RATES, at_chance=lost)
    assert not found.compared[1].resolved
    first, *rest = answer.sentences(found)
    assert "differ" not in first
    assert any(re.match("So few seeds .* rate 0.7 ", text) for text in rest)


def test_beside_a_baseline_the_best_network_is_named():
    found = Findings(synthetic.beside_trees(0.7, 0.8, trees=0.9))
    first = answer.sentences(found)[0]
    assert first.startswith("Trial t does best")
    assert "; of the networks 1 (80.0 %) is best" in first


# The answer: nothing is learnt.


@pytest.mark.parametrize(
    ("fates", "told"),
    [
        ({"diverged": 8}, "^All 8 networks diverge: .* below 0.02 may train"),
        ({"at_chance": 8}, "^All 8 networks stay at chance"),
        ({"diverged": 3, "at_chance": 5}, "of 8 networks 3 diverge and 5 stay at"),
    ],
)
def test_where_nothing_is_learnt_no_trial_is_best(fates, told):
    every = [(t, s) for t in range(2) for s in range(4)]
    lost = fates.get("diverged", 0)
    ends = {"diverged": dict.fromkeys(every[:lost], 1), "at_chance": every[lost:]}
    texts = said(spread((0.9, 0.9), 4), sweep=RATES[:2], **ends)
    assert re.search(told, texts[0])
    assert not any(re.search("best by|reach|called best", text) for text in texts)


# The answer: two swept fields, and what a figure shows.


@pytest.mark.parametrize("question", ["Does momentum help?", "Which momentum is best?"])
@pytest.mark.parametrize("gain", [0.0, 0.1])
def test_two_swept_fields_are_crossed(question, gain):
    momentum = "optimizer.momentum"
    sweep = product({momentum: (0.0, 0.9), RATE: (0.1, 0.3)})
    values = spread((0.7, 0.8, 0.75, 0.75 + gain))
    found = synthetic.findings(values, sweep=sweep, question=question)
    first, *rest = answer.sentences(found)
    whether = question.startswith("Does")
    assert first.startswith("At its best learning rate momentum 0 ends") == whether
    assert any("does best by validation" in text for text in (first, *rest))
    (text,) = (text for text in (first, *rest) if "momentum 0.9 gains over" in text)
    one = found.interaction
    assert text.startswith("What") == one.resolved
    shown = re.findall(
        r"(\d+\.\d+) points|(\d+\.\d+) with 0.3|difference of .(\S+)", text
    )
    gains = [float("".join(found)) for found in shown]
    assert gains == pytest.approx(
        [abs(100 * v) for v in (*one.gains, one.effect)], abs=0.06
    )


def test_a_first_figure_without_claims_asks_for_what_it_shows():
    fields = {"figures": ("gradients", "curves")}
    found = synthetic.findings(spread((0.9, 0.8)), sweep=RATES[:2], fields=fields)
    first = answer.sentences(found)[0]
    for trial in (0, 1):
        for layer in ("dense_1", "dense_0"):
            norm = np.median(found.final(trial, f"grad_norm_{layer}"))
            assert f"{norm:.2g}" in first
    times = {0: (0.2, 0.2, 0.2), 1: (0.05, 0.05, 0.05)}
    fields = {"figures": ("seconds",)}
    first = said(sweep=WIDTHS[:2], seconds=times, fields=fields)[0]
    assert (
        first
        == "An epoch takes a network 0.2 s with hidden 8 and 0.05 s with hidden 16."
    )


# Many trials.


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
    texts = said(num_trials=2, num_seeds=count, **options)
    assert f"At learning rate 3.2, {text}." in texts


def test_trials_that_fail_alike_are_named_together():
    lost = {(t, s): 1 for t in range(2) for s in range(4)}
    first, *rest = said(num_trials=3, num_seeds=4, diverged=lost)
    assert first.startswith("Learning rate 3.2 does best")
    assert "At both learning rate 0.001 and 0.056, all 4 seeds diverge." in rest
    lost = {(t, 0): 1 for t in range(3)}
    assert any("At each of learning rate 0.001, " in t for t in said(diverged=lost))


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
    best = one_with("does best by validation", **cut)
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
    texts = said(sweep=WIDTHS, never_ran=[1], failures={1: "OOM"})
    (told,) = (text for text in texts if "1 of 3 trials is missing" in text)
    assert told.endswith("hidden 16.")
    assert "interrupted" not in " ".join(texts)
    found = synthetic.results(sweep=WIDTHS, never_ran=[1, 2], failures={1: "OOM"})
    config = {**found.config, "status": "interrupted"}
    cut = Findings(dataclasses.replace(found, config=config))
    first, *rest = answer.sentences(cut)
    assert first.startswith("The run was interrupted: 1 of 3 trials has not run;")
    assert any(text.startswith("1 of 3 trials is missing") for text in rest)


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


def test_it_counts_claims_and_says_what_holds_instead_of_the_contradicted():
    fast, slow = {RATE: 0.7}, {RATE: 0.02}
    claims = [
        higher("true", "test_accuracy", fast, slow),
        *(lower(f"wrong {n}", "test_accuracy", fast, n / 10) for n in range(3)),
        higher("wrong", "test_accuracy", slow, fast, otherwise="Slow is worse"),
        higher("absent", "test_accuracy", {RATE: 9.0}, "chance"),
    ]
    values = reaching((1, 1))
    values[1] += 0.01
    fields = {"notes": ("A note.", "Two.")}
    *texts, note, two = said(values, sweep=RATES[:2], claims=claims, fields=fields)
    counts, instead = (t for t in texts if "claims" in t or "instead" in t)
    assert all(part in counts for part in ("6 claims, 1 is", "4 are", "1 is not"))
    assert "above 10 % with learning rate 0.7" in instead
    assert "1 more" in instead
    assert (note, two) == ("A note.", "Two.")
    values = spread((0.9, 0.95))
    texts = said(values, sweep=RATES[:2], claims=[claims[0], claims[4]])
    assert any(t.endswith("instead: Slow is worse.") for t in texts)
