# SPDX-License-Identifier: Apache-2.0
"""Where no trial differs, at most 5 % of reports claim a difference."""

import re

import numpy as np
import pytest
from answered import World
from null import (
    Null,
    count_false,
    draw,
    draw_answers,
    false_over_seeds,
    false_statements,
    most,
)
from scipy import stats
from shown import rows_of, section_of

from nnlab import report
from nnlab.statistics.findings import Findings
from nnlab.statistics.verdicts import CONTRADICTED, SUPPORTED

ALONE = (
    *((2, 3, "norms"), (2, 8, "norms"), (8, 5, "norms"), (2, 8, "zeros")),
    *((8, 5, "zeros"), (2, 3, "normal"), (8, 8, "skewed"), (2, 8, "late")),
    *((8, 5, "late"), (8, 3, "ties")),
)
NULLS = (
    *(Null(2, 3), Null(2, 8), Null(8, 3), Null(8, 5), Null(8, 16), Null(30, 8)),
    *(Null(8, 8, own=1.0), Null(8, 5, seed_effect=0.0)),
    *(Null(2, 3, "skewed"), Null(8, 5, "skewed"), Null(8, 16, "skewed")),
    *(Null(2, 3, "ties"), Null(8, 5, "ties"), Null(8, 5, "untrained")),
    *(Null(2, 5, "late"), Null(8, 3, "late")),
    *(Null(2, 3, at_chance=0.4), Null(8, 3, at_chance=0.3), Null(8, 5, at_chance=0.4)),
    *(Null(8, 8, at_chance=0.4), Null(30, 3, at_chance=0.1)),
    *(Null(30, 5, at_chance=0.3), Null(8, 5, diverged=0.1)),
    *(Null(8, 8, diverged=0.15, at_chance=0.15), Null(2, 3, at_chance=0.5)),
    *(Null(n, s, k, compare="auto") for n, s, k in ALONE),
    *(Null(2, 5, at_chance=0.5, compare="auto"), Null(8, 3, "norms")),
)
FAST = (
    *(Null(2, 3), Null(2, 8), Null(8, 5), Null(8, 16, "skewed"), Null(8, 5, "ties")),
    *(Null(2, 5, "late"), Null(8, 3, at_chance=0.3), Null(8, 5, diverged=0.1)),
    *(Null(2, 8, "norms", compare="auto"), Null(8, 5, "zeros", compare="auto")),
)


@pytest.mark.slow
def test_where_no_trial_differs_at_most_one_report_in_20_says_so():
    """Detects a rate of 10 %, and tests at a level of 10 % in the place of 5 %.

    At a rate of 10 % so few of 200 would be a chance of 1 in 100. At a level of 5 % it
    is 8 reports, at one of 10 % it would be 12.
    """
    counts = [count_false(null, 20) for null in FAST]
    assert sum(counts) <= 200 / 20
    # A bound for one shape, which a rate of 5 % exceeds once in 1,000 times.
    assert max(counts) <= stats.binom.ppf(0.999, 20, 0.05)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("null", NULLS, ids=Null.name)
def test_where_no_trial_differs_less_than_5_percent_of_reports_say_so(null):
    """A rate of 5 % would pass with a probability of 5 %, for each shape."""
    count = count_false(null, 1_000)
    print(f"{count} of 1,000 reports err")
    assert count <= most(1_000)


# Reports use these functions, and find true differences.


def test_the_report_says_what_is_counted_here():
    rng = np.random.default_rng(0)
    seen = set()
    for shift in ((), (), (3.0,), (-3.0,), (3.0, 3.0)):
        found = Findings(draw(Null(4, 8), rng, shift))
        content = report.content(found)
        claims, trials = (
            rows_of(section_of(content, a)) for a in ("claims", "comparison")
        )
        verdicts = [v.verdict for v in found.verdicts]
        shown = [row["verdict"].partition(" (")[0] for row in claims]
        assert shown == verdicts
        resolved = any(c.resolved for c in found.compared)
        assert any(row["significant"] == "yes" for row in trials) == resolved
        said = " ".join(content.answer)
        assert bool(re.search("significantly (worse|better)", said)) == resolved
        assert ("contradicted" in said) == (CONTRADICTED in verdicts)
        seen.add(resolved)
    assert seen == {True, False}


def count_found(null, shift, reports):
    """Counts reports with all others significantly worse, and with claim 0 right."""
    rng = np.random.default_rng(11)
    counts = np.zeros(2, int)
    for _ in range(reports):
        drawn = Findings(draw(null, rng, (shift,)))
        others = drawn.compared[1:]
        counts[0] += all(c.resolved and c.mean < 0 for c in others)
        counts[1] += drawn.verdicts[0].verdict == SUPPORTED
    return counts


@pytest.mark.slow
@pytest.mark.parametrize(
    ("null", "shift"), [(Null(2, 8), 2.0), (Null(8, 8), 3.0), (Null(8, 5), 5.0)]
)
def test_a_true_difference_is_found(null, shift):
    """A difference in standard deviations over seeds, 0.5 points of accuracy."""
    assert count_found(null, shift, 20).min() >= 16


# Trials that are equal on the population, but not on this test set.

EQUAL = tuple(
    World(seeds, size, (0.95,) * trials, *parts)
    for trials, seeds, size in ((2, 3, 360), (2, 16, 360), (8, 5, 360), (8, 8, 360))
    for parts in ((0.5, 0.3, 0.7), (0.7, 0.05, 0.3))
)


def count_on_new_examples(world, reports):
    """Counts reports with a false statement, today's over seeds alone beside it."""
    rng, counts = np.random.default_rng(7), np.zeros(2, int)
    for _ in range(reports):
        drawn = draw_answers(world, rng)
        counts += bool(false_statements(drawn)), false_over_seeds(drawn)
    return counts


def test_luck_with_this_test_set_is_seldom_called_a_difference():
    both, seeds_only = count_on_new_examples(EQUAL[5], 40)
    assert both <= stats.binom.ppf(0.999, 40, 0.05)
    assert seeds_only > 15


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(
    "world", EQUAL, ids=lambda w: f"{len(w.accuracies)} x {w.name()}"
)
def test_luck_with_this_test_set_is_called_a_difference_in_less_than_5_percent(world):
    both, seeds_only = count_on_new_examples(world, 1_000)
    print(f"{both} of 1,000 reports err, over seeds alone {seeds_only}")
    assert both <= most(1_000)
