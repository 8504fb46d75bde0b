# SPDX-License-Identifier: Apache-2.0
"""Best trials of several runs are compared where the runs are comparable."""

import dataclasses
import itertools

import numpy as np
import pyarrow as pa
import pytest
import synthetic
from answered import World
from null import Null, draw
from scipy import stats

from nnlab.statistics import crossed, effects, examples, power
from nnlab.statistics.between_runs import compare_bests
from nnlab.statistics.effects import holm
from nnlab.statistics.findings import Findings


def run(values, root_seed=0, digest=None, **options):
    """A run whose trials have these final accuracies (T, S), on all three splits."""
    sweep, fields = synthetic.labelled(len(values)), {"root_seed": root_seed}
    options = {"num_evaluations": 3, "fields": fields, **options}
    found = synthetic.findings(values, sweep=sweep, **options)
    if digest:
        found.results.config["datasets"]["digits"]["digest"] = digest
    return found


def scattered(mean, num_seeds, seed, spread=0.004):
    """One trial's accuracies, (1, S)."""
    return np.random.default_rng(seed).normal(mean, spread, (1, num_seeds))


def test_runs_with_one_root_seed_are_compared_in_pairs():
    left, right = scattered(0.94, 8, 1), scattered(0.95, 8, 2)
    (found,) = compare_bests([run(left), run(right)])
    d = (left - right)[0]
    test = stats.ttest_1samp(d, 0)
    assert (found.left, found.right, found.method, found.n) == (0, 1, "paired", 8)
    assert found.p == pytest.approx(test.pvalue)
    interval = test.confidence_interval()
    assert (found.mean, found.low, found.high) == pytest.approx((d.mean(), *interval))
    assert found.p_holm == found.p
    assert found.resolved == (found.p <= 0.05)
    assert not found.reason


def test_runs_with_other_root_seeds_are_two_samples():
    left, right = scattered(0.94, 8, 1), scattered(0.95, 5, 2)
    (found,) = compare_bests([run(left), run(right, root_seed=7)])
    test = stats.ttest_ind(left[0], right[0], equal_var=False)
    assert (found.method, found.n) == ("unpaired", 13)
    assert found.p == pytest.approx(test.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(test.confidence_interval()))
    assert "Welch" in found.reason


def test_on_other_test_data_or_without_a_best_trial_nothing_is_compared():
    same = scattered(0.9, 8, 1)
    found = compare_bests([run(same), run(same - 0.2, digest="1" * 64), run(same)])
    assert [f.method for f in found] == ["", "paired", ""]
    assert [np.isnan(f.mean) for f in found] == [True, False, True]
    assert found[0].reason == "their test data are not the same"
    fewer = run(same)  # the first ones of the same data
    fewer.results.config["datasets"]["digits"]["test"] = 100
    (found,) = compare_bests([run(same), fewer])
    assert not found.method
    lost = {(0, s): 1 for s in range(8)}
    (found,) = compare_bests([run(same), run(same, unfinished=lost)])
    assert found.reason == "a run has no best trial"


def test_seeds_that_only_one_run_has_are_left_out_of_pairs():
    left, right = scattered(0.94, 8, 1), scattered(0.95, 5, 2)
    (found,) = compare_bests([run(left), run(right)])
    assert found.n == 5
    assert found.mean == pytest.approx((left[:, :5] - right).mean())
    assert "over the 5 seeds that both have" in found.reason


def test_p_knows_from_how_many_trials_the_best_was_chosen():
    levels = ((0.9, 3), (0.94, 1), (0.8, 4))
    left = np.concatenate([scattered(level, 8, seed) for level, seed in levels])
    right = scattered(0.945, 8, 2)
    (alone,) = compare_bests([run(left[1:2]), run(right)])
    (chosen,) = compare_bests([run(left), run(right)])
    assert chosen.mean == pytest.approx(alone.mean)
    assert chosen.p == pytest.approx(min(3 * alone.p, 1))
    assert "p times 3, since the best of 3 was chosen" in chosen.reason


def test_p_is_adjusted_over_all_pairs_of_runs():
    levels = (0.94, 0.945, 0.95, 0.955)
    runs = [run(scattered(m, 5, seed)) for seed, m in enumerate(levels)]
    found = compare_bests(runs)
    pairs = itertools.combinations(range(4), 2)
    assert [(f.left, f.right) for f in found] == list(pairs)
    adjusted = holm([f.p for f in found])
    np.testing.assert_allclose([f.p_holm for f in found], adjusted)
    assert any(f.p_holm > f.p for f in found)


@pytest.mark.parametrize("root_seed", [0, 1])
def test_counts_at_chance_decide_where_they_differ_much(root_seed):
    """Clusters mislead t; 4 of 4 against none have p = 2 / 256 by fair coins."""
    values = scattered(0.95, 4, 1)
    dead = run(values, root_seed, at_chance=[(0, seed) for seed in range(4)])
    (found,) = compare_bests([run(values), dead])
    assert found.p == pytest.approx(2 / 256)
    assert "counts decide" in found.reason


@pytest.mark.parametrize("root_seed", [0, 1])
def test_survivors_do_not_speak_for_those_that_diverged(root_seed):
    values = scattered(0.95, 8, 1)
    lost = {(0, s): 1 for s in range(3)}
    (found,) = compare_bests([run(values), run(values - 0.1, root_seed, diverged=lost)])
    assert np.isnan(found.p)
    assert not found.resolved
    assert "for a test" in found.reason
    few = values[:, :2]
    (found,) = compare_bests([run(few), run(few - 0.1, root_seed)])
    assert np.isnan(found.p)
    assert "a test needs 3" in found.reason


# Over new examples, and over new data.


def answering(right, root_seed=0, **fields):
    """A run of trials that are right on these test examples, (T, S, N)."""
    return synthetic.findings(
        correct={"validation": right, "test": right},
        sweep=synthetic.labelled(len(right)),
        num_evaluations=1,
        fields={"root_seed": root_seed, **fields},
    )


@pytest.fixture
def right():
    world = World(8, 300, (0.9, 0.89), suits=0.5, ability=0.1)
    return world.draw(np.random.default_rng(0))


def test_pairs_speak_of_new_examples_where_both_kept_their_answers(right):
    left, other = right[:1], right[1:, :6]
    (found,) = compare_bests([answering(left), answering(other)])
    d = left[0, :6] * 1.0 - other[0]
    effect, plain = crossed.crossed(d), effects.paired(d.mean(axis=1))
    assert (found.over, found.n, found.method) == (examples.EXAMPLES, 6, "paired")
    assert found.p == pytest.approx(effects.two_sided(effect))
    assert found.p_seeds == pytest.approx(effects.two_sided(plain))
    assert (found.low, found.high) == pytest.approx((effect.low, effect.high))
    assert not found.resolved
    assert found.detectable == power.detectable(effect)
    bare = answering(other)
    bare = Findings(dataclasses.replace(bare.results, each=None))
    (alone,) = compare_bests([answering(left), bare])
    assert (alone.over, alone.p) == (examples.SEEDS, pytest.approx(found.p_seeds))


def test_samples_speak_of_new_examples_too(right):
    left, other = right[:1], right[1:, :5]
    (found,) = compare_bests([answering(left), answering(other, root_seed=1)])
    effect = crossed.crossed_samples(left[0] * 1.0, other[0] * 1.0)
    assert (found.over, found.n, found.method) == (examples.EXAMPLES, 13, "unpaired")
    assert found.p == pytest.approx(effects.two_sided(effect))
    sides = [side[0].mean(axis=1) for side in (left, other)]
    welch = stats.ttest_ind(*sides, equal_var=False)
    assert found.p_seeds == pytest.approx(welch.pvalue)


def test_splits_of_each_seed_speak_of_new_data(right):
    ratio = synthetic.EXAMPLES["test"] / synthetic.EXAMPLES["train"]
    vary = {"vary": ("init", "split")}
    sides = [side.mean(axis=1) for side in right]
    one, other = (answering(right[t : t + 1], **vary) for t in (0, 1))
    (found,) = compare_bests([one, other])
    effect = crossed.resampled(sides[0] - sides[1], ratio)
    assert found.over == examples.DATA
    assert found.p == pytest.approx(effects.two_sided(effect))
    (found,) = compare_bests([one, answering(right[1:], root_seed=1, **vary)])
    wide = [side.var(ddof=1) * (1 / 8 + ratio) for side in sides]
    t = (sides[0].mean() - sides[1].mean()) / np.sqrt(sum(wide))
    freedom = sum(wide) ** 2 / sum(v**2 / 7 for v in wide)
    assert found.over == examples.DATA
    assert found.p == pytest.approx(2 * stats.t.sf(abs(t), freedom))


def test_the_interval_is_without_0_where_the_difference_is_significant():
    rng, seen = np.random.default_rng(0), set()
    for _ in range(6):
        world = World(8, 300, tuple(rng.uniform(0.8, 0.95, 5)), 0.1, 0.1)
        right = world.draw(rng)
        runs = [right[:2], right[2:3], right[3:]]
        for found in compare_bests([answering(r, n % 2) for n, r in enumerate(runs)]):
            assert (found.low <= 0 <= found.high) != found.resolved
            seen.add((found.method, found.resolved))
    assert len(seen) == 4


# Without any difference.


def equal_runs(null, trials, shared, rng):
    """Runs of a null study: with one root seed, and so paired, or with several."""
    if not shared:
        each = (draw(dataclasses.replace(null, trials=count), rng) for count in trials)
        return [
            dataclasses.replace(r, study=dataclasses.replace(r.study, root_seed=n))
            for n, r in enumerate(each)
        ]
    whole = draw(dataclasses.replace(null, trials=sum(trials)), rng)
    runs, first = [], 0
    for count in trials:
        own = range(first, first + count)
        columns = {
            metric: np.array([whole.curve(t, metric).values for t in own])
            for metric in ("validation_accuracy", "test_accuracy")
        }
        dead = [
            (t - first, int(s))
            for t in own
            for s in np.flatnonzero(whole.member(t, "at_chance").astype(bool))
        ]
        sweep = synthetic.labelled(count)
        runs.append(synthetic.results(columns, sweep=sweep, at_chance=dead))
        first += count
    return runs


NULLS = (
    *((Null(0, 3), (1, 1), True), (Null(0, 8, own=1.0), (8, 1), True)),
    *((Null(0, 5), (4, 4, 4), True), (Null(0, 5, own=1.0), (8, 1), False)),
    *((Null(0, 3, "skewed"), (1, 1), False), (Null(0, 5, "ties"), (8, 4), True)),
    (Null(0, 5, at_chance=0.4), (2, 2), True),
    (Null(0, 5, at_chance=0.4), (2, 2), False),
)


def compared(runs):
    return compare_bests([Findings(run) for run in runs])


def count_false(null, trials, shared, comparisons):
    """Counts the comparisons that call anything significant."""
    rng = np.random.default_rng(5)
    return sum(
        any(f.resolved for f in compared(equal_runs(null, trials, shared, rng)))
        for _ in range(comparisons)
    )


def count_examples(examples, root_seeds, comparisons):
    """Counts those in error over examples, and over seeds, of trials that are equal.

    They are on the population, but not on the test examples.
    """
    rng, errors = np.random.default_rng(5), np.zeros(2)
    world = World(5, examples, (0.95,) * 4, suits=0.7, ability=0.05, luck=0.3)
    for _ in range(comparisons):
        drawn = world.draw(rng)
        sides = drawn[:3], drawn[3:]
        runs = [answering(right, seed) for right, seed in zip(sides, root_seeds)]
        (found,) = compare_bests(runs)
        errors += found.resolved, found.p_seeds <= 0.05
    return errors


@pytest.mark.parametrize(
    "comparisons",
    [100, pytest.param(1_000, marks=(pytest.mark.slow, pytest.mark.long))],
)
@pytest.mark.parametrize("root_seeds", [(0, 0), (0, 1)])
@pytest.mark.parametrize("size", [100, 400])
def test_what_suits_these_examples_is_not_called_better(size, root_seeds, comparisons):
    both, alone = count_examples(size, root_seeds, comparisons)
    print(f"{both:g} of {comparisons:,} err, over seeds alone {alone:g}")
    assert both <= stats.binom.ppf(0.999, comparisons, 0.05)
    assert alone > 0.1 * comparisons


@pytest.mark.slow
def test_where_no_trial_differs_at_most_one_comparison_in_20_says_so():
    """At a rate of 10 % so few of 200 would be a chance of 1 in 100."""
    counts = [count_false(*shape, 25) for shape in NULLS]
    assert sum(counts) <= 200 / 20


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("shape", NULLS, ids=str)
def test_where_no_trial_differs_at_most_5_percent_of_comparisons_say_so(shape):
    """A bound that a rate of 5 % exceeds once in 1,000 times."""
    count = count_false(*shape, 1_000)
    print(f"{count} of 1,000 comparisons err")
    assert count <= stats.binom.ppf(0.999, 1_000, 0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("shared", "least"), [(True, 18), (False, 16)])
def test_a_true_difference_is_found(shared, least):
    """A difference of two standard deviations over seeds shows in 20 draws."""
    rng, count = np.random.default_rng(3), 0
    for _ in range(20):
        first, second = equal_runs(Null(0, 8), (4, 2), shared, rng)
        curves = first.curves.to_pandas()
        curves[["validation_accuracy", "test_accuracy"]] += 0.02
        curves = pa.Table.from_pandas(curves, first.curves.schema)
        first = dataclasses.replace(first, curves=curves)
        (found,) = compared([first, second])
        count += found.resolved and found.mean > 0
    assert count >= least
