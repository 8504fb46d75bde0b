# SPDX-License-Identifier: Apache-2.0
"""At each rung the worst trials end, and do not count as finished."""

import dataclasses
import functools
import math
import shutil

import drawn
import numpy as np
import pytest
import synthetic
import tiny
from stopped import content, gone_on

from nnlab import report, results
from nnlab.report import answer
from nnlab.report.figures.drawing import captions
from nnlab.runs import experiment, halving, rerun, saved_network
from nnlab.statistics import members, ranking, targets, verdicts
from nnlab.statistics.findings import Findings
from nnlab.study import Claim, Quantity, Study
from nnlab.training import place

pytestmark = pytest.mark.usefixtures("compiled_fast")

RATES = (1e-4, 0.01, 0.03, 0.1, 0.2, 0.3, 0.4, 0.05, 100.0)
STUDY = dataclasses.replace(
    tiny.study(tiny.rates(*RATES), num_epochs=5, **tiny.DEEP),
    halving={"factor": 3, "min_epochs": 1},
)
"""Nine trials; the last diverges at once."""


KEPT = place.Kept()
"""Programs, compiled once for all tests."""


def run(of: Study, folder, **kwargs):
    KEPT.loaded = {}  # data are checked in each run
    pinned = {"lane_width": 1, "dataset": tiny.dataset(), "kept": KEPT, **kwargs}
    return experiment.run(of, folder, **pinned)


def without(of: Study) -> Study:
    return dataclasses.replace(of, halving={})


# ---- The rule.


@pytest.mark.parametrize(
    ("boundaries", "min_epochs", "factor", "at"),
    [
        (range(0, 271, 10), 1, 3, {1, 3, 9}),  # not at the end, 27
        (range(0, 281, 10), 1, 3, {1, 3, 9, 27}),
        (range(0, 271, 10), 2, 2, {2, 4, 8, 16}),
        ((0, 50, 100, 150), 1, 3, {1, 2}),  # at the first evaluation after it
        ((0, 33, 67, 100), 10 / 3, 2, {1, 2}),  # at whole steps
        ((0, 50, 100), 5.1, 2, ()),
        ((0, 10), 1, 3, ()),
        (range(0, 271, 10), 1, 0, ()),
    ],
)
def test_rungs_are_evaluations_at_epochs_that_grow(boundaries, min_epochs, factor, at):
    assert halving.rungs(tuple(boundaries), 10, min_epochs, factor) == set(at)


def test_the_best_third_stays_and_a_diverged_seed_counts_as_chance():
    nan = math.nan
    accuracy = np.array([[0.5, 0.5], [nan, 0.9], [0.6, 0.6], [0.8, 0.1], [nan, nan]])
    training = ~np.isnan(accuracy)
    leaves = halving.worst(accuracy, training, 0.1, 3)
    assert leaves.tolist() == [False, True, False, True, False]
    # At a chance of 0.35 the second trial, with 0.625, is ahead of all.
    leaves = halving.worst(accuracy, training, 0.35, 3)
    assert leaves.tolist() == [True, False, False, True, False]


def test_a_diverged_network_of_a_regression_is_no_better_than_the_living():
    scores = np.array([[math.nan, -1.0], [-0.6, -0.6]])
    least = ranking.of_lost("r2", 0.0, scores)
    assert halving.worst(scores, ~np.isnan(scores), least, 2).tolist() == [True, False]


def test_of_equal_trials_the_first_stay_and_never_none():
    def stays(count, factor, ended=0):
        training = np.arange(count)[:, None] >= ended  # others do not compete
        leaves = halving.worst(np.full((count, 1), 0.5), training, 0.1, factor)
        return np.flatnonzero(training[:, 0] & ~leaves).tolist()

    assert stays(4, 2) == [0, 1]
    assert stays(4, 9) == [0]
    assert stays(40, 2) == list(range(20))
    assert stays(4, 9, ended=1) == [1]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"factor": 1}, "factor=1 drops no trial"),
        ({"factor": -1}, "must be at least 0"),
        ({"factor": 3, "min_epochs": 0}, "must be above 0"),
        ({"factor": 3, "min_epochs": 5}, "min_epochs=5 leaves no evaluation before"),
        ({"fraction": 3}, "unknown field"),
    ],
)
def test_a_race_that_cannot_be_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(STUDY, halving=fields)


def test_a_study_keeps_its_race_as_data():
    assert Study.from_dict(STUDY.to_dict()) == STUDY
    assert STUDY.to_dict()["halving"] == {"factor": 3, "min_epochs": 1.0}
    old = without(STUDY).to_dict()
    del old["halving"]  # of a version that had none
    assert Study.from_dict(old) == without(STUDY)


# ---- A run.


@pytest.fixture(scope="module")
def raced(tmp_path_factory):
    """Runs with and without halving, and the progress of the rungs."""
    folder, told = tmp_path_factory.mktemp("raced"), []
    found = run(STUDY, folder / "race", on_progress=told.append)
    return found, run(without(STUDY), folder / "whole"), told


def expected(whole: results.Results) -> dict[int, int]:
    """Returns the step at which each trial ends, computed from the full run."""
    curves = [whole.curve(t, "validation_accuracy") for t in range(len(RATES))]
    chance = whole.dataset(0)["chance"]
    racing = [t for t, c in enumerate(curves) if not np.isnan(c.values[:, -1:]).all()]
    racing = [t for t in racing if RATES[t] < 100]
    left = {}
    for evaluation in (1, 3):
        score = {
            t: np.nan_to_num(curves[t].values[:, evaluation], nan=chance).mean()
            for t in racing
        }
        order = sorted(racing, key=lambda t: (-score[t], t))
        kept = order[: math.ceil(len(order) / 3)]
        left |= {t: int(curves[t].steps[evaluation]) for t in order[len(kept) :]}
        racing = kept
    return left


@pytest.mark.slow
def test_those_behind_end_at_their_rung(raced):
    found, whole, _ = raced
    left = expected(whole)
    assert sorted(left.values()) == [8] * 5 + [24] * 2
    for trial in range(len(RATES)):
        status = set(found.member(trial, "status"))
        steps = set(found.member(trial, "steps").tolist())
        if trial in left:
            assert (status, steps) == ({"dropped"}, {left[trial]})
        else:
            assert status == {"diverged" if RATES[trial] == 100 else "finished"}
    assert not found.members["at_chance"].to_numpy(zero_copy_only=False).any()


@pytest.mark.slow
def test_all_are_up_to_their_end_what_they_would_be_without(raced):
    found, whole, _ = raced
    left = expected(whole)
    rows = whole.curves.to_pylist()
    kept = [row for row in rows if row["step"] <= left.get(row["trial"], 1000)]
    assert found.curves.to_pylist() == kept
    assert len(kept) < len(rows)


@pytest.mark.slow
def test_what_is_spared_is_not_trained_nor_counted(raced):
    found, _, told = raced
    steps = [sum(found.member(t, "steps").tolist()) for t in range(8)]
    lost = 2 * 8  # diverged before the first rung
    assert told[-1].done == told[-1].total == 16 * (sum(steps) + lost)
    assert told[-1].dropped == 2 * 7
    assert found.timings["members"].to_pylist() == [18, 18, 6, 6, 2, 2]


@pytest.mark.slow
def test_a_dropped_network_is_that_of_its_rung(tmp_path):
    """A trial ends even in a lane beside others that go on."""
    found = run(STUDY, tmp_path, lane_width=4)
    data = tiny.dataset().test
    gone = [t for some in members.dropped(found).values() for t in some]
    assert len(gone) == 7
    for trial in gone:
        one = saved_network.of_member(found.workdir, trial, 1)
        right = one.predict(data.inputs) == data.labels
        curve = found.curve(trial, "test_accuracy")
        assert right.mean() == pytest.approx(curve.values[1, -1])


@pytest.mark.slow
def test_a_dropped_member_is_trained_again_up_to_its_rung(raced):
    found, whole, _ = raced
    for trial in {step: trial for trial, step in expected(whole).items()}.values():
        again = rerun.rerun(found.workdir, trial, 1, dataset=tiny.dataset())
        assert again.is_equal


@pytest.mark.slow
def test_trials_race_with_those_of_their_program_only(tmp_path):
    sweep = [
        *tiny.rates(0.01, 0.1, 0.3),
        *({tiny.RATE: rate, "model.hidden": (2,)} for rate in (0.001, 0.1)),
        {"batch_size": 13},
    ]
    found = run(dataclasses.replace(tiny.study(sweep), halving={"factor": 2}), tmp_path)
    counts = [members.status_counts(found, t)["dropped"] > 0 for t in range(6)]
    assert sum(counts[:3]) == 2  # 3 to 2 at epoch 1, 2 to 1 at epoch 2
    assert counts[3:] == [True, False, False]


@pytest.mark.slow
def test_interrupted_after_a_rung_it_ends_the_same(tmp_path):
    """Works with early stopping, and with networks that share lanes."""
    sweep = [*tiny.rates(0.01, 0.3, 1.0, 3.0), {"model.hidden": (4,)}]
    rule = {"early_stopping.patience": 3, "early_stopping.metric": "validation_loss"}
    stop = rule | {"num_epochs": 12}
    study = tiny.study(sweep, num_seeds=3, **stop)
    study = dataclasses.replace(study, halving={"factor": 2, "min_epochs": 3})
    options, visits = {"lane_width": 3, "checkpoint_seconds": 0.0}, []
    train = functools.partial(run, study, **options)
    whole = train(tmp_path / "whole", on_progress=visits.append)
    fates = set(whole.members["status"].to_pylist())
    assert fates == {"stopped", "dropped", "finished"}
    own, _, (*_, told) = gone_on(train, tmp_path, 2 * len(visits) // 3)
    assert content(own) == content(tmp_path / "whole")
    assert (told.done, told.total) == (visits[-1].done, visits[-1].total)


@pytest.mark.slow
def test_only_trials_may_be_added_and_they_race_among_themselves(raced, tmp_path):
    shutil.copytree(raced[0].workdir, tmp_path / "run")
    before = raced[0].members.to_pylist()
    more = (*STUDY.sweep, *tiny.rates(1e-6, 1e-5, 1e-3))
    found = run(dataclasses.replace(STUDY, sweep=more), tmp_path / "run", resume=True)
    assert found.members.to_pylist()[: len(before)] == before
    fates = [set(found.member(t, "status")) for t in range(9, 12)]
    assert sorted(map(str, fates)) == ["{'dropped'}", "{'dropped'}", "{'finished'}"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_seeds": 3}, "num_seeds was 2 and is 3 now: trials have been dropped"),
        ({"num_epochs": 9}, "num_epochs was 5 and is 9 now: trials have been dropped"),
        ({"halving": {}}, "halving.factor was 3 and is 0 now: another study"),
    ],
)
def test_a_race_is_not_resumed_as_another(raced, changes, message):
    values = {**STUDY.to_dict(), **changes}
    with pytest.raises(ValueError, match=message):
        run(Study.from_dict(values), raced[0].workdir, resume=True)


# ---- Reports on dropped trials.

LEVELS = np.array([0.9, 0.8, 0.99, 0.7])[:, None, None] + np.zeros((4, 4, 10))


@pytest.fixture
def found():
    """Four trials; the leader and the last were dropped after 3 of 10 epochs."""
    rng = np.random.default_rng(0)
    noisy = LEVELS + 0.003 * rng.standard_normal(LEVELS.shape)
    claims = [
        Claim(
            text="2 beats 0",
            quantity=Quantity(**quantity),
            left={"label": "2"},
            right={"label": "0"},
        )
        for quantity in (
            {"metric": "test_accuracy"},
            {"metric": "test_accuracy", "reduction": "at_epoch", "epoch": 2},
            {"metric": "validation_accuracy", "reduction": "steps_to", "target": 0.995},
        )
    ]
    return synthetic.results(
        noisy,
        sweep=synthetic.labelled(4),
        dropped={2: 3, 3: 1},
        stopped={(2, 0): 2},
        fields={
            "halving": {"factor": 2, "min_epochs": 1},
            "compare_trials": "yes",
        },
        claims=claims,
    )


def test_a_dropped_trial_has_no_final_value_not_even_of_a_seed_that_stopped(found):
    assert (ranking.best_trial(found), ranking.worst_trial(found)) == (0, 1)
    assert ranking.expected_score(found, 2) is None
    assert [members.dropped_after(found, t) for t in (2, 0)] == [3, None]
    final = Quantity(metric="test_accuracy", reduction="final")
    assert np.isnan(members.reduce_members(found, 2, final)).all()
    assert np.isfinite(members.reduce_members(found, 0, final)).all()
    row = Findings(found).summary.to_pylist()[2]
    assert (row["n_dropped"], row["n_stopped"], row["n_finished"]) == (3, 1, 0)
    assert row["test_accuracy_mean"] is None
    share = Quantity(reduction="diverged_share")
    assert np.isnan(members.reduce_members(found, 2, share)).sum() == 3


def test_it_is_compared_as_far_as_it_trained(found):
    compared = Findings(found).compared
    assert [math.isnan(c.p_holm) for c in compared] == [True, False, True, True]
    final, early, late = Findings(found).verdicts
    for verdict in (final, late):
        assert verdict.verdict == verdicts.NOT_TESTED
        assert verdict.reason == "2 was dropped at epoch 3"
    assert early.verdict == verdicts.SUPPORTED
    assert early.n == 4


def test_steps_to_a_target_that_some_seeds_reached_in_time_say_nothing(found):
    assert targets.steps_to_target(found, 2, 0.5).reached_share == 1
    steps = Quantity(metric="validation_accuracy", reduction="steps_to", target=0.993)
    curve = members.carried_forward(found, 2, "validation_accuracy")
    some = (curve.values >= 0.993).any(axis=1)
    assert 0 < some.sum() < 4
    assert np.isnan(members.reduce_members(found, 2, steps)).all()
    assert targets.steps_to_target(found, 2, 0.993).n == 0


@pytest.mark.slow
def test_the_report_says_who_was_dropped_when_and_what_it_spared(found, tmp_path):
    said = " ".join(answer.sentences(Findings(found)))
    assert "Of the 2 trials that trained to the end, " in said
    assert "The other trial is significantly worse over seeds." in said
    # Of 160 epochs: 2 x 40, 3 x 3 and 2 of the one that stopped by itself, 4 x 1.
    spared = 3 * 7 + 4 * 9
    trained = 80 + 9 + 2 + 4
    share = f"{100 * trained / (trained + spared):.0f} %"
    dropped = "Successive halving dropped 2 of 4 trials (1 at epoch 1 and 1 at epoch 3)"
    assert f"{dropped}, and so trained on {share} of the examples" in said
    assert "Too few seeds" not in said
    synthetic._written(dataclasses.replace(found, workdir=tmp_path), tmp_path)
    page = report.write(tmp_path).with_suffix(".md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| 2 ")]
    assert any("dropped at epoch 3" in row for row in rows)
    assert "Dropped by halving at epoch 3: trial 2." in page
    assert "every network finished" not in page


def test_figures_show_them_as_far_as_they_go(ax, found):
    drawn.learning(ax, found, "validation_accuracy")
    ends = {
        (line.get_linestyle(), float(line.get_xdata()[-1])) for line in drawn.solid(ax)
    }
    assert ends == {("-", 10.0), ("--", 3.0), ("--", 1.0)}
    assert ax.get_xscale() == "linear"  # though one ends ten times as early
    assert "2 (1 stopped, 3 dropped)" in " ".join(text.get_text() for text in ax.texts)
    text = captions.caption(Findings(found))
    assert "Of 16 networks: 8 finished, 1 stopped" in text
    assert "7 dropped by halving (dashed as far as they go)" in text
    sweep = [{tiny.RATE: r, "optimizer.momentum": m} for r in (1, 2) for m in (0, 0.5)]
    cells, _ = drawn.axes("map", synthetic.results(LEVELS, sweep=sweep, dropped={2: 3}))
    shown = [text.get_text() for text in cells.texts]
    assert shown == ["90.0", "80.0", "dropped", "epoch 3", "70.0"]


# ---- Benefits.


@pytest.mark.long
def test_on_a_grid_of_64_it_keeps_a_winner_at_a_third_of_the_work(tmp_path):
    """Compares the winners' accuracies with and without it, on ten root seeds."""
    gaps = []
    for root_seed in range(10):
        study = grid(root_seed)
        race = experiment.run(study, tmp_path / f"race_{root_seed}")
        whole = experiment.run(without(study), tmp_path / f"whole_{root_seed}")
        steps = [sum(found.members["steps"].to_pylist()) for found in (race, whole)]
        assert 3 * steps[0] <= steps[1]
        kept, best = (
            ranking.expected_score(whole, ranking.best_trial(found))
            for found in (race, whole)
        )
        gaps.append(best - kept)
    assert np.mean(gaps) < 0.005


def grid(root_seed: int) -> Study:
    """64 trials x 3 seeds of a 64-32-10 network, 27 epochs."""
    sweep = [
        {tiny.RATE: float(f"{rate:.3g}"), "optimizer.momentum": momentum}
        for rate in np.geomspace(0.01, 3, 8)
        for momentum in (0.0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95)
    ]
    return Study.from_dict(
        {
            "model": {"hidden": (32,)},
            "num_epochs": 27,
            "num_seeds": 3,
            "root_seed": root_seed,
            "sweep": sweep,
            "halving": {"factor": 3, "min_epochs": 3},
            "figures": (),
        }
    )
