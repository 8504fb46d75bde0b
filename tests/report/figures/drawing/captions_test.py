# SPDX-License-Identifier: Apache-2.0
"""A caption counts the networks that a figure shows."""

import synthetic

from nnlab.report.figures.drawing import captions
from nnlab.statistics.findings import Findings


def test_caption_counts_members_by_status():
    text = captions.caption(
        Findings(
            synthetic.results(
                diverged={(0, 0): 2},
                stopped={(1, 0): 3},
                unfinished={(2, 0): 3},
                never_ran=[3],
                at_chance=[(2, 1)],
            )
        )
    )
    for part in (
        "Mean over 8 seeds with its 95 % Student-t interval",
        "1 stopped (small ticks; carried on at their best), 1 diverged",
        "1 unfinished",
        "8 did not run",
        "1 ended at chance",
        "2 CPU devices",
        "jax 0.10.2",
    ):
        assert part in text
    assert "no interval" not in text
    lost = {(0, s): 2 for s in range(6)}
    some = captions.caption(Findings(synthetic.results(diverged=lost)))
    assert "no interval where fewer than 3 survive" in some
    assert "no interval" in captions.caption(Findings(synthetic.results(num_seeds=2)))
