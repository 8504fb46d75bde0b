# SPDX-License-Identifier: Apache-2.0
"""Plans of seeds for claims keep their promise, and say where no seeds help."""

import numpy as np
import pytest
import synthetic

from nnlab.statistics import effects, plan, power
from nnlab.study import claims as c

LEFT, RIGHT = {"label": "0"}, {"label": "1"}
BETTER = c.higher("Better", "test_accuracy", LEFT, RIGHT, margin=0.01)
OPEN = c.higher("Better by anything", "test_accuracy", LEFT, RIGHT)
SAME = c.same_within("The same", 0.01, "test_accuracy", LEFT, RIGHT)
SOON = c.faster("Sooner", 0.9, LEFT, RIGHT)


def findings(values, *claims, **options):
    sweep = synthetic.labelled(len(values))
    return synthetic.findings(values, claims=claims, sweep=sweep, **options)


def accuracies(rng, seeds, shift=0.0, trials=2):
    values = rng.normal(0.9, 0.006, (trials, seeds))
    values[0] += shift
    return values


def decided(verdict):
    return verdict.verdict in ("supported", "contradicted")


def test_a_claim_is_planned_for_the_difference_that_it_is_about():
    values = accuracies(np.random.default_rng(0), 4, trials=3)
    (need,) = plan.needs(findings(values, BETTER))
    of = power.spread((values[0] - values[1])[:, None])
    assert need.seeds == power.seeds_needed(of, 0.01)
    assert need.trials == (0, 1)
    assert plan.seeds_of_trials([need], 3).tolist() == [need.seeds] * 2 + [3]


def test_a_larger_difference_of_the_pilot_needs_fewer_seeds():
    small, large = (
        plan.needs(findings(accuracies(np.random.default_rng(0), 4, shift), BETTER))[0]
        for shift in (0.0, 0.1)
    )
    assert large.seeds < small.seeds


@pytest.mark.slow
@pytest.mark.parametrize(
    ("claim", "shift"), [(BETTER, 0.0), (BETTER, 0.01), (SAME, 0.0)]
)
def test_a_plan_from_four_seeds_keeps_its_promise(claim, shift):
    rng, kept = np.random.default_rng(1), []
    for _ in range(60):
        pilot = findings(accuracies(rng, 4, shift), claim)
        seeds = plan.needs(pilot)[0].seeds
        (verdict,) = findings(accuracies(rng, seeds, shift), claim).verdicts
        kept.append(decided(verdict))
    assert np.mean(kept) >= 0.75


@pytest.mark.parametrize(("margin", "kind"), [(0.3, "seeds"), (0.04, "examples")])
def test_a_drop_between_sets_of_other_examples_is_planned(margin, kind):
    rng = np.random.default_rng(0)
    easy = {name: rng.random((1, 1, 100)) < 0.9 for name in ("validation", "test")}
    kept = rng.random((1, 4, 100)) < 0.95  # most of what is right is so in every seed
    correct = {name: of & kept for name, of in easy.items()}
    drop = c.drop("validation_accuracy")
    claim = c.same_within("Alike", margin, drop, {"label": "0"}, 0.0)
    found = synthetic.findings(
        correct=correct, sweep=synthetic.labelled(1), num_evaluations=1, claims=[claim]
    )
    (need,) = plan.needs(found)
    assert getattr(need, kind)
    assert found.verdicts[0].over == "seeds and examples"


def test_an_exact_test_is_planned_for_seeds_that_end_alike():
    at = np.array([[2, 2, 3, 2], [8, 9, 99, 8]])[:, :, None]
    values = np.where(np.arange(10) >= at, 0.95, 0.5)
    claims = (SOON, *[OPEN] * 5)  # so p is multiplied by up to 6
    need, *_ = plan.needs(findings(values, *claims))
    late, sooner = np.minimum(at[1, :, 0], 10.0), at[0, :, 0].astype(float)
    p = {
        n: effects.two_sided(effects.ordered(np.resize(sooner, n), np.resize(late, n)))
        for n in range(3, 9)
    }
    step = min(n for n in p if p[n] <= 0.05)
    assert step <= need.seeds <= min(n for n in p if 6 * p[n] <= 0.05)


def test_equal_sides_need_a_margin_and_absent_ones_are_told():
    values = np.full((2, 4), 0.9)
    absent = c.higher("Of others", "test_accuracy", {"label": "9"}, RIGHT)
    equal, other = plan.needs(findings(values, OPEN, absent))
    assert (equal.seeds, equal.examples, equal.reason) == (None, None, "")
    assert (other.seeds, other.trials) == (None, (1,))
    assert "left" in other.reason
