# SPDX-License-Identifier: Apache-2.0
"""A caption counts the networks that a figure shows."""

import pytest
import synthetic

from nnlab.report.figures.drawing import captions
from nnlab.study import EarlyStopping, Hyperparameters

EVERY = {
    "diverged": {(0, 0): 2},
    "stopped": {(1, 0): 3},
    "unfinished": {(2, 0): 3},
    "never_ran": [3],
    "at_chance": [(2, 1)],
}
FATES = (
    "interval. Of 32 networks: 21 finished, 1 stopped (small ticks; carried on at "
    "their best), 1 diverged (left out of means, crosses), 1 unfinished (dashed if "
    "alone), 8 did not run; 1 ended at chance and count in the means. 2 CPU devices; "
    "nnlab 0.1.0, jax 0.10.2."
)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (EVERY, f"Mean over 8 seeds with its 95 % Student-t {FATES}"),
        ({"diverged": {(0, s): 2 for s in range(6)}}, "where fewer than 3 survive"),
        ({"num_seeds": 2}, "Mean over 2 seeds; fewer than 3 give no interval"),
        ({"num_seeds": 1}, "One seed, hence no interval"),
    ],
)
def test_a_caption_counts_networks_by_how_they_ended(options, wanted):
    said = captions.caption(synthetic.findings(**options))
    assert wanted in said
    assert ("no interval" in said) == (options is not EVERY)


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [({}, "point by point"), ({"bands": "simultaneous"}, "along the whole curve")],
)
def test_a_caption_of_curves_says_what_their_bands_cover(fields, wanted):
    found = synthetic.findings(fields=fields)
    assert wanted in captions.caption(found, curves=True)
    assert wanted not in captions.caption(found)


@pytest.mark.parametrize(("patience", "told"), [(0, False), (20, True)])
def test_a_caption_of_curves_says_that_final_values_are_the_best(patience, told):
    base = Hyperparameters(early_stopping=EarlyStopping(patience=patience))
    said = captions.caption(synthetic.findings(base=base), curves=True)
    assert ("of each network's best" in said) == told


@pytest.mark.parametrize(
    ("size", "metric", "told"),
    [(5001, "train_loss", True), (5000, "train_loss", False), (5001, "a_loss", False)],
)
def test_training_metrics_of_a_part_of_the_examples_say_so(size, metric, told):
    found = synthetic.results(base=Hyperparameters(train_size=size))
    said = captions.sampled(found, metric)
    assert bool(said) == ("first 5,000 training examples" in said) == told
