# SPDX-License-Identifier: Apache-2.0
"""The range of rates that train, its edge over the seeds, and the fastest rate."""

import dataclasses
import math

import drawn
import numpy as np
import pyarrow as pa
import pytest
import synthetic
import tiny
from scipy import stats

import nnlab
from nnlab.report import answer
from nnlab.runs.rate_range import RATE, study_of
from nnlab.statistics import rate_range as statistics
from nnlab.statistics.findings import Findings
from nnlab.study import Study

pytestmark = pytest.mark.usefixtures("compiled_fast")

RATES = (0.01, 0.1, 1.0, 10.0)
START = 2.0


def found(final, *, rows=RATES, validation=None, **options):
    """Makes rates x seeds whose training loss falls from 2 to `final` (T, S)."""
    final = np.asarray(final, float)
    curve = np.stack([np.full_like(final, START), final], axis=-1)
    asked = final if validation is None else np.asarray(validation, float)
    loss = {"train_loss": curve, "validation_loss": np.stack([asked, asked], axis=-1)}
    loss["test_accuracy"] = loss["validation_accuracy"] = np.full(curve.shape, 0.5)
    fields = {"figures": ("rates",)}
    sweep = tiny.rates(*rows)
    return synthetic.results(loss, sweep=sweep, fields=fields, **options)


def test_the_range_is_that_in_which_every_seed_loses_a_tenth_of_its_loss():
    results = found([[1.9, 1.7, 1.7], [1.79, 1.0, 1.0], [1.0, 1.0, 1.0], [2.0] * 3])
    known = statistics.find(results)
    assert known.stable == (0.1, 1.0)
    assert known.start == START
    assert known.trains.tolist()[:2] == [[False, True, True], [True] * 3]


def test_rates_are_in_order_whatever_the_order_of_the_sweep():
    results = found([[1.0] * 3, [0.5] * 3, [2.0] * 3], rows=(1.0, 0.1, 0.01))
    known = statistics.find(results)
    assert known.order == (2, 1, 0)
    assert (known.fastest, known.stable) == (1, (0.1, 1.0))


def test_the_fastest_has_the_lowest_validation_loss_of_rates_that_all_train():
    train = [[1.5] * 3, [1.0] * 3, [0.5] * 3, [0.1, 0.1, 2.0]]
    validation = [[1.5] * 3, [0.9] * 3, [1.0] * 3, [0.1] * 3]
    assert statistics.find(found(train, validation=validation)).fastest == 1


def test_a_network_at_chance_does_not_train_whatever_its_loss():
    dead = [(3, s) for s in range(3)]
    results = found([[1.0] * 3] * 4, at_chance=dead)
    # The loss falls from 9 to ln 10, the loss of ten classes at chance.
    curves = results.curves.to_pandas()
    curves.loc[curves["step"] == curves["step"].min(), "train_loss"] = 9.0
    results = dataclasses.replace(results, curves=pa.Table.from_pandas(curves))
    known = statistics.find(results)
    assert known.stable == (0.01, 1.0)
    assert (known.edge.at_chance, known.edge.diverged, known.edge.stuck) == (3, 0, 0)


def test_the_edge_is_between_the_last_rate_that_trains_and_the_next():
    results = found([[1.0] * 3] * 4, diverged={(3, s): 1 for s in range(3)})
    edge = statistics.find(results).edge
    assert edge.value == pytest.approx(math.sqrt(10))
    # All seeds agree: the interval is the distance of the two rates.
    assert (edge.low, edge.high) == pytest.approx((1.0, 10.0))
    assert (edge.n, edge.beyond, edge.diverged) == (3, 0, 3)


def test_the_interval_of_the_edge_is_students_on_logarithms():
    lost = {(2, 0): 1, (3, 0): 1, (3, 1): 1, (3, 2): 1}
    edge = statistics.find(found([[1.0] * 3] * 4, diverged=lost)).edge
    below, above = np.log([0.1, 1.0, 1.0]), np.log([1.0, 10.0, 10.0])
    half = stats.t.ppf(0.975, 2) * below.std(ddof=1) / math.sqrt(3)
    assert edge.low == pytest.approx(math.exp(below.mean() - half))
    assert edge.high == pytest.approx(math.exp(above.mean() + half))
    assert edge.value == pytest.approx(math.exp((below.mean() + above.mean()) / 2))


def test_the_edge_is_the_first_failure_above_a_seeds_own_best_rate():
    # Seed 0 fails at 0.1, below its best, and by luck trains again at 10.
    final = [[1.5] * 3, [2.0, 1.0, 1.0], [0.5, 0.9, 0.9], [1.0, 2.0, 2.0]]
    lost = {(3, 1): 1, (3, 2): 1}
    edge = statistics.find(found(final, diverged=lost)).edge
    assert (edge.n, edge.beyond, edge.diverged) == (3, 1, 2)
    final[2][0], final[1][0] = 2.0, 0.5
    edge = statistics.find(found(final, diverged=lost)).edge
    assert (edge.beyond, edge.stuck) == (0, 1)


def test_where_a_seed_has_no_edge_order_statistics_bound_the_median():
    lost = {(3, s): 1 for s in range(7)} | {(2, 0): 1}
    edge = statistics.find(found(np.ones((4, 8)), diverged=lost)).edge
    # Edges: 1 in (0.1, 1), 6 in (1, 10), 1 above. Of 8 seeds, the extremes enclose the
    # median with 99 %, the second and the seventh with 93 %.
    assert (edge.low, edge.high) == (pytest.approx(0.1), math.inf)
    assert edge.value == pytest.approx(math.sqrt(10))
    few = statistics.find(found(np.ones((4, 5)), diverged={(3, 0): 1})).edge
    assert math.isinf(few.value)
    assert math.isnan(few.low)


def test_the_interval_of_the_median_covers_it():
    rng = np.random.default_rng(0)
    grid = np.geomspace(0.01, 100, 33)
    covered = 0
    for _ in range(400):
        true = np.exp(rng.normal(size=8))  # their median is 1
        row = np.searchsorted(grid, true)
        low, high = grid[row - 1], grid[np.minimum(row, 32)]
        _, least, most = statistics._median_interval(low, high)
        covered += least <= 1.0 <= most
    assert covered >= stats.binom.ppf(0.001, 400, 0.95)


def test_two_seeds_give_no_interval_and_seeds_that_never_train_are_counted():
    edge = statistics.find(found([[1.0] * 2] * 3 + [[2.0] * 2])).edge
    assert edge.value == pytest.approx(math.sqrt(10))
    assert math.isnan(edge.low)
    results = found([[2.0, 1.0, 1.0]] * 3 + [[2.0] * 3])
    known = statistics.find(results)
    assert (known.edge.n, known.stable, known.fastest) == (2, None, None)
    said = answer.sentences(Findings(results))
    assert said[0].startswith("At no learning rate between 0.01 and 10 do all")
    assert "1 of 3 seeds train at no rate" in said[1]


def test_unfinished_trials_are_left_out_and_other_sweeps_refused():
    results = found([[1.0] * 3] * 4, unfinished={(3, 0): 1})
    assert statistics.find(results).order == (0, 1, 2)
    other = synthetic.results(sweep=[{"batch_size": b} for b in (8, 16)])
    assert statistics.find(other) is None


def test_the_answer_and_the_figure_show_range_edge_and_fastest():
    final = [[1.9] * 3, [1.5] * 3, [1.0, 0.9, 1.1], [9.0] * 3]
    results = found(final, at_chance=[(3, 0), (3, 1)], diverged={(3, 2): 1})
    said = answer.sentences(Findings(results))
    assert said[0].startswith("From learning rate 0.1 to 1, all 3 seeds lose 10 % or")
    assert "is at 3.16 (geometric mean and 95 % interval, 1 to 10, n = 3)" in said[1]
    assert said[1].endswith("its edge 1 of 3 seeds diverges and 2 stay at chance.")
    assert said[2].startswith("The fastest rate is 1, with the lowest validation loss")
    assert len(said) == 3
    (ax,) = drawn.axes("rates", results)
    (span, band) = (p for p in ax.patches if p.get_height() == 1)
    assert (span.get_x(), span.get_width()) == pytest.approx((0.1, 0.9))
    assert (band.get_x(), band.get_width()) == pytest.approx((1.0, 9.0))
    assert any(
        line.get_xdata()[0] == Findings(results).rates.edge.value for line in ax.lines
    )
    assert ax.get_ylim()[1] < 9 < START * 5  # 9 is more than three times the start
    (strip,) = ax.child_axes
    heights = sorted(bar.get_height() / 0.9 for bar in strip.patches)
    np.testing.assert_allclose(heights, [1 / 3, 2 / 3])
    said = answer.sentences(Findings(found([[1.0] * 3] * 4)))
    assert said[1].startswith("No seed has an edge up to 10")


# The study that finds them.


def test_the_study_of_rates_is_the_first_trial_at_many_rates():
    base = Study.from_dict(
        {
            "num_epochs": 9,
            "schedule": {"name": "cosine", "warmup_steps": 5},
            "early_stopping": {"patience": 2},
            "test_sets": {"moved_pixels": 1},
            "target": 0.9,
            "sweep": [{"model.hidden": (8, 4), "batch_size": 16}, {"batch_size": 8}],
        }
    )
    made = study_of(base, low=0.01, high=10, count=4, seeds=3, steps=50)
    assert [t[RATE] for t in made.sweep] == [0.01, 0.1, 1.0, 10.0]
    trial = made.trials()[0].hyperparameters
    assert (trial.model.hidden, trial.batch_size) == ((8, 4), 16)
    assert (trial.max_steps, trial.schedule.name) == (50, "constant")
    assert (trial.early_stopping.patience, made.num_seeds) == (0, 3)
    assert made.figures == ("rates",)
    assert made.notes[0] == (
        "The study has 2 trials; the network is that of the first: hidden 8-4 and "
        "batch size 16."
    )
    assert "schedule" in made.notes[1]
    assert study_of(Study()).notes == ()
    assert len(study_of(Study(), low=1.0, high=1.1, count=400).sweep) == 400


@pytest.mark.parametrize(
    "fields",
    [
        {"looks": (8, 16)},
        {"halving": {"factor": 2}},
        {"search": {"space": ["batch_size=8,16"]}},
        {"sweep": [{RATE: 0.1}, {RATE: 0.2, "num_seeds": 4}]},
    ],
)
def test_all_rates_get_all_seeds_and_all_steps(fields):
    made = study_of(Study.from_dict(fields), count=3, seeds=5)
    plain = study_of(Study(), count=3, seeds=5)
    assert made == dataclasses.replace(plain, notes=made.notes)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"low": 0.0}, "low=0 and high=100"),
        ({"low": 3.0, "high": 1.0}, "low=3 and high=1"),
        ({"count": 2}, "count=2 must be from 3 to 10,000"),
        ({"steps": 0}, "steps=0 must be at least 1"),
        ({"seeds": 0}, "num_seeds=0"),
    ],
)
def test_what_makes_no_range_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        study_of(Study(), **options)


def test_trees_have_no_learning_rate():
    trees = Study.from_dict({"sweep": [{"model.name": "random_forest"}]})
    with pytest.raises(ValueError, match="not a network"):
        study_of(trees)


@pytest.mark.slow
def test_a_deep_linear_stack_is_found_to_diverge_where_it_does(tmp_path):
    outcome = nnlab.find_rate(
        tiny.study([tiny.DEEP]),
        **{"low": 1e-3, "high": 1e3, "count": 13, "seeds": 3, "steps": 60},
        dataset=tiny.dataset(),
        workdir=tmp_path / "run",
        show=False,
    )
    known = statistics.find(outcome.results)
    assert {c["num_steps"] for c in outcome.results.config["cohorts"]} == {60}
    assert len(outcome.results.config["cohorts"]) == 1  # one program
    assert known.edge.diverged == 3
    assert 0.1 < known.edge.low < 1.0 < known.edge.high * 2
    assert known.stable[0] < known.values[known.order.index(known.fastest)]
    page = outcome.report().path.read_text()
    assert "The edge, above which networks no longer train, is" in page
    assert "all seeds train" in page
    assert outcome.plot("rates").figure.axes
