# SPDX-License-Identifier: Apache-2.0
"""Alternative texts say what the figures show."""

import types

import numpy as np
import pytest
import synthetic

from nnlab.report.figures import final, gradient_norms, images, maps, test_sets
from nnlab.report.figures.drawing import captions


def levels(*means):
    values = np.array(means)[:, None] + np.zeros((1, 3))
    return synthetic.findings(values, sweep=synthetic.labelled(len(means)))


MANY = (
    "At the end from 80.0 % for trial 6 down to 20.0 % for 0; the median of 7 trials "
    "is 50.0 %."
)


@pytest.mark.parametrize(
    ("means", "trials", "wanted"),
    [
        ((0.5, 0.9, 0.7), None, "At the end: 90.0 % for trial 1, 70.0 % for 2, 50.0 %"),
        ((0.5, 0.9, 0.7), [0], "At the end: 50.0 %"),
        ((0.5,), None, "At the end: 50.0 %."),
        (np.linspace(0.2, 0.8, 7), None, MANY),
    ],
)
def test_few_trials_are_all_gone_through_and_of_many_ends_and_middle(
    means, trials, wanted
):
    said = captions.ends(levels(*means), "test_accuracy", trials)
    assert said.startswith(wanted)


def test_losses_are_no_percentages_and_nothing_is_said_of_nothing():
    found = synthetic.findings({"test_loss": [[0.25] * 3]}, sweep=[{}])
    assert captions.ends(found, "test_loss") == "At the end: 0.25."
    gone = synthetic.findings(num_trials=1, never_ran=[0])
    assert not captions.ends(gone, "test_loss")
    assert not captions.ends_of_each(gone, {"best": gone.best}, {"test": "test_loss"})


def test_targets_name_medians_and_who_is_late():
    values = np.full((3, 3, 6), 0.5)
    values[0, :, 3:] = values[1, :, 1:] = 0.95
    sweep = synthetic.labelled(3)
    found = synthetic.findings(values, sweep=sweep, target=0.9)
    said = final.medians_text(found)
    assert said == "Medians: 2 for 1, 4 for 0; 1 trial not in most seeds."
    never = synthetic.findings(values, sweep=sweep, target=0.99)
    assert final.medians_text(never).startswith("No trial reaches it")


def test_confusions_and_mistakes_are_named_and_counted():
    counts = np.array([[8, 2, 0], [0, 10, 0], [1, 0, 9]])
    said = images.confused(counts, ["cat", "dog", "owl"])
    assert said == (
        "90.0 % of the examples are right; most often cat is taken for dog, in 20.0 % "
        "of its examples."
    )
    assert "All examples" in images.confused(np.eye(3, dtype=int), "abc")
    wrong = {"labels": np.array([3, 4, 3]), "taken_for": np.array([5, 9, 5])}
    said = images.taken_for(types.SimpleNamespace(**wrong), "0123456789")
    assert said == "3 images: 2 of 3 taken for 5, 1 of 4 taken for 9."


def test_divergence_and_gradients_are_told_in_numbers():
    lost = {(3, 0): 2, (3, 1): 2, (0, 0): 1}
    found = synthetic.findings(num_seeds=4, diverged=lost)
    said = maps.losses(found)
    assert "Networks of 2 of 4 trials diverge, most with learning rate 3.2: 2" in said
    assert maps.losses(synthetic.findings()) == "No network diverges."
    shown = gradient_norms.collect(found)[:1]
    first, *_, last = shown[0].means[:, -1]
    said = gradient_norms.last_norms(shown)
    assert f"{first:.2g} in the first layer, {last:.2g} in the output layer" in said


@pytest.mark.parametrize(
    ("kind", "amount"), [("moved", "6 pixels"), ("rotated", "60 degrees")]
)
def test_severity_says_how_far_the_best_trial_falls(kind, amount):
    found = synthetic.findings(num_trials=2, num_seeds=3, severity=(kind,))
    assert f"falls when {kind} by {amount} from 9" in test_sets.falls(found)
