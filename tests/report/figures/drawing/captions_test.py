# SPDX-License-Identifier: Apache-2.0
"""A caption counts the networks that a figure shows."""

import pytest
import synthetic

from nnlab.report.figures.drawing import captions

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
