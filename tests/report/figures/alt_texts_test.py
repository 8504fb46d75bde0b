# SPDX-License-Identifier: Apache-2.0
"""Alternative texts say what the figures show."""

import types

import numpy as np
import pytest
import synthetic

from nnlab.report.figures import final, gradient_norms, images, maps, test_sets
from nnlab.report.figures.drawing import captions
from nnlab.statistics.findings import Findings


def levels(*means, **options):
    values = np.array(means)[:, None] + np.zeros((1, 3))
    return synthetic.results(values, sweep=synthetic.labelled(len(means)), **options)


def test_few_trials_are_all_gone_through_from_the_highest_on():
    found = levels(0.5, 0.9, 0.7)
    said = captions.ends(Findings(found), "test_accuracy")
    assert said == "At the end: 90.0 % for trial 1, 70.0 % for 2, 50.0 % for 0."
    assert captions.ends(Findings(found), "test_accuracy", [0]).startswith(
        "At the end: 50.0 %"
    )
    assert (
        captions.ends(Findings(levels(0.5)), "test_accuracy") == "At the end: 50.0 %."
    )


def test_of_many_trials_the_ends_and_the_middle_are_named():
    said = captions.ends(Findings(levels(*np.linspace(0.2, 0.8, 7))), "test_accuracy")
    assert said == (
        "At the end from 80.0 % for trial 6 down to 20.0 % for 0; the median of 7 "
        "trials is 50.0 %."
    )


def test_losses_are_no_percentages_and_nothing_is_said_of_nothing():
    found = synthetic.results({"test_loss": [[0.25] * 3]}, sweep=[{}])
    assert captions.ends(Findings(found), "test_loss") == "At the end: 0.25."
    gone = synthetic.results(num_trials=1, never_ran=[0])
    assert not captions.ends(Findings(gone), "test_loss")
    best = {"best": Findings(gone).best}
    assert not captions.ends_of_each(Findings(gone), best, {"test": "test_loss"})


def test_targets_name_medians_and_who_is_late():
    values = np.full((3, 3, 6), 0.5)
    values[0, :, 3:] = values[1, :, 1:] = 0.95
    sweep = synthetic.labelled(3)
    found = synthetic.results(values, sweep=sweep, target=0.9)
    said = final.medians_text(Findings(found))
    assert said == "Medians: 2 for 1, 4 for 0; 1 trial not in most seeds."
    never = synthetic.results(values, sweep=sweep, target=0.99)
    assert final.medians_text(Findings(never)).startswith("No trial reaches it")


def test_the_worst_confusion_is_named():
    counts = np.array([[[8, 2, 0], [0, 10, 0], [1, 0, 9]]])
    said = images.confused(counts, ["cat", "dog", "owl"])
    assert said == (
        "90.0 % of the examples are right; most often cat is taken for dog, in 20.0 % "
        "of its examples."
    )
    all_right = np.array([np.eye(3, dtype=int)])
    assert "All examples" in images.confused(all_right, "abc")


def test_mistakes_are_counted_by_their_kind():
    found = types.SimpleNamespace(
        labels=np.array([3, 4, 3]), taken_for=np.array([5, 9, 5])
    )
    said = images.taken_for(found, "0123456789")
    assert said == "3 images: 2 of 3 taken for 5, 1 of 4 taken for 9."


def test_divergence_and_gradients_are_told_in_numbers():
    found = synthetic.results(num_seeds=4, diverged={(3, 0): 2, (3, 1): 2, (0, 0): 1})
    said = maps.losses(Findings(found))
    assert "Networks of 2 of 4 trials diverge, most with learning rate 3.2: 2" in said
    assert maps.losses(Findings(synthetic.results())) == "No network diverges."
    shown = gradient_norms.collect(Findings(found))[:1]
    first, *_, last = shown[0].means[:, -1]
    said = gradient_norms.last_norms(shown)
    assert f"{first:.2g} in the first layer, {last:.2g} in the output layer" in said


@pytest.mark.parametrize("kind", ["moved", "rotated"])
def test_severity_says_how_far_the_best_trial_falls(kind):
    found = synthetic.results(num_trials=2, num_seeds=3, severity=(kind,))
    said = test_sets.falls(Findings(found))
    amount = {"moved": "6 pixels", "rotated": "60 degrees"}[kind]
    assert f"falls when {kind} by {amount} from 9" in said
