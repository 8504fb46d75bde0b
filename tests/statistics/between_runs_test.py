# SPDX-License-Identifier: Apache-2.0
"""Best trials of several runs are compared where the runs are comparable."""

import dataclasses
import itertools

import numpy as np
import pyarrow as pa
import pytest
import synthetic
from null import Null, draw
from scipy import stats

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
