# SPDX-License-Identifier: Apache-2.0
"""Which trials get more seeds, and how p-values pay for several looks."""

import dataclasses
import functools
import math

import numpy as np
import pytest
import synthetic
import tiny
from answered import World
from null import Null, draw, draw_answers, false_statements, most
from scipy import stats
from stopped import content, gone_on

import nnlab
from nnlab import report, results
from nnlab.report import answer
from nnlab.report.figures.drawing import captions
from nnlab.runs import experiment, rerun, resume
from nnlab.runs import sequential as looks
from nnlab.statistics import ranking
from nnlab.statistics import sequential as planned
from nnlab.statistics.findings import Findings
from nnlab.statistics.members import reduce_members, status_counts
from nnlab.study import Claim, Quantity, Study
from nnlab.study.members import by_program
from nnlab.training import place, plan
from nnlab.training.prepare import prepare

pytestmark = pytest.mark.usefixtures("compiled_fast")

LOOKS = (4, 8, 16)


def study(each, looks=LOOKS, **values):
    """A study whose trials have so many seeds each."""
    made = Study.from_dict({"sweep": synthetic.labelled(len(each)), **values})
    return dataclasses.replace(made.with_seeds(each), looks=looks)


def found(levels, noise=0.01, plan=LOOKS, **options):
    """Results of a run whose trials have all seeds of the last look."""
    rng = np.random.default_rng(0)
    seeds = plan[-1] if plan else 16
    values = np.array(levels)[:, None] + noise * rng.normal(size=(len(levels), seeds))
    made = synthetic.results(
        values, sweep=synthetic.labelled(len(levels)), num_evaluations=2, **options
    )
    return dataclasses.replace(made, study=dataclasses.replace(made.study, looks=plan))


# A trial has its own number of seeds.


def test_a_trial_may_have_fewer_seeds_than_the_others():
    made = study([4, 16, 8])
    assert [t.num_seeds for t in made.trials()] == [4, 16, 8]
    assert made.sweep[1] == synthetic.labelled(3)[1]  # as it was written
    assert made.size() == "3 trials x 4 to 16 seeds = 28 networks"
    assert Study.from_dict(made.to_dict()) == made
    plain = study([8, 8, 8])
    assert plain.size() == "3 trials x 8 seeds = 24 networks"
    assert [t.id for t in made.trials()] == [t.id for t in plain.trials()]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"looks": [4, 4]}, "each takes more seeds than the one before"),
        ({"looks": [4, 16]}, "num_seeds=8 is none of looks"),
        ({"looks": [4, 8], "sweep": [{"num_seeds": 5}]}, "num_seeds=5 is none of"),
        ({"looks": [4, 8], "halving": {"factor": 2}}, "does not go with halving"),
        (
            {"looks": [8], "search": {"space": ["batch_size=8,16"]}},
            "does not go with search",
        ),
        ({"sweep": [{"num_seeds": 0}]}, "0 of the sweep: num_seeds=0 must be 1 or"),
        ({"sweep": [{"num_seeds": "x"}]}, "num_seeds='x' is not a whole number"),
    ],
)
def test_numbers_of_seeds_that_make_no_sense_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Study.from_dict(values)


def test_a_trial_has_no_more_seeds_than_the_study():
    study = Study.from_dict({"sweep": [{"num_seeds": 9}], "num_seeds": 4})
    assert study.trials()[0].num_seeds == 4


def test_looks_double_up_to_the_most():
    assert planned.doubling(4, 32) == (4, 8, 16, 32)
    assert planned.doubling(3, 20) == (3, 6, 12, 20)
    with pytest.raises(ValueError, match="a test needs at least 3"):
        planned.doubling(2, 32)
    with pytest.raises(ValueError, match="at most 8 seeds are not more than the 8"):
        planned.doubling(8, 8)


def shapes(programs):
    """Returns the trials, the first seed and the number of seeds of each program."""
    records = [c if isinstance(c, dict) else c.to_dict() for c in programs]
    return [(c["trials"], c["first_seed"], c["num_seeds"]) for c in records]


def test_seeds_that_only_some_have_are_a_program_of_their_own():
    made = by_program(study([4, 16, 8]).trials(), 16)
    assert shapes(made) == [([0, 1, 2], 0, 4), ([1, 2], 4, 4), ([1], 8, 8)]


def test_a_run_goes_on_with_the_seeds_that_it_lacks():
    old = study([4, 4, 8])
    records = [c.to_dict() for c in by_program(old.trials(), 8)]
    new = resume.merge(old, study([4, 16, 16]))
    added = resume.continued(new, records)[len(records) :]
    assert shapes(added) == [([1], 4, 12), ([2], 8, 8)]


def test_a_run_with_looks_keeps_what_it_has_when_it_begins_again():
    old = study([4, 16, 8])
    assert resume.merge(old, study([4, 4, 4])) == old
    with pytest.raises(ValueError, match=r"looks was .* and is .* now: another study"):
        resume.merge(old, study([4, 4, 4], looks=(4, 16)))
    with pytest.raises(ValueError, match="num_seeds of '1' was 16 and is 8 now"):
        resume.merge(study([4, 16], ()), study([16, 8], ()))


def test_quantities_captions_and_counts_are_over_the_seeds_that_a_trial_has():
    whole = found([0.9, 0.8, 0.7], at_chance=[(2, 1), (2, 9)], diverged={(1, 0): 1})
    some = planned.restricted(whole, [16, 8, 4])
    counts = {k: n for k, n in status_counts(some, 1).items() if n}
    assert counts == {"finished": 7, "diverged": 1}
    assert status_counts(some, 2)["at_chance"] == 1
    for quantity in (
        Quantity(metric="test_accuracy"),
        Quantity(reduction="diverged_share"),
        Quantity(reduction="at_chance_share"),
        Quantity(reduction="steps"),
        Quantity(metric="test_accuracy", reduction="steps_to", target=0.99),
    ):
        before, after = (reduce_members(r, 2, quantity) for r in (whole, some))
        np.testing.assert_array_equal(after[:4], before[:4])
        assert np.isnan(after[4:]).all()
    told = captions.caption(Findings(some))
    assert told.startswith("Mean over 4 to 16 seeds")
    assert "Of 28 networks: 27 finished, 1 diverged" in told
    said = " ".join(answer.sentences(Findings(some)))
    assert "1 of 8 seeds diverges" in said
    assert "1 of 4 seeds stays at chance" in said


def test_trials_are_compared_over_the_seeds_that_both_have():
    whole = found([0.9, 0.87, 0.86, 0.85], plan=())
    some = planned.restricted(whole, [16, 16, 8, 4])
    compared = Findings(some).compared
    values = [
        reduce_members(whole, t, Quantity(metric="test_accuracy")) for t in (0, 2)
    ]
    assert compared[2].n == 8
    assert compared[2].p == stats.ttest_rel(values[1][:8], values[0][:8]).pvalue
    assert [c.n for c in compared] == [0, 16, 8, 4]
    # Of 4 pairs one may be lost; 12 more do not exist.
    cut = found([0.9, 0.87, 0.86, 0.85], plan=(), diverged={(3, 0): 1})
    (*_, last) = Findings(planned.restricted(cut, [16, 16, 8, 4])).compared
    assert last.n == 3
    assert not math.isnan(last.p)


def test_the_best_is_one_of_those_with_the_most_seeds():
    whole = found([0.9, 0.95, 0.8])
    assert ranking.best_trial(whole) == 1
    assert ranking.best_trial(planned.restricted(whole, [16, 8, 16])) == 0
    some = planned.restricted(whole, [16, 8, 4])
    assert ranking.best_trial(some, [1, 2]) == 1
    assert ranking.worst_trial(some) == 2
    assert ranking.expected_score(some, 1) == pytest.approx(0.95, abs=0.02)


def test_p_values_are_multiplied_by_the_number_of_looks():
    claim = Claim(
        text="x", quantity=Quantity(metric="test_accuracy"), left={}, right=0.887
    )
    options = {"claims": [claim], "fields": {"compare_trials": "yes"}}
    once, thrice = (
        Findings(found([0.9, 0.89], plan=p, **options)) for p in ((), LOOKS)
    )
    pairs = (once.compared[1], thrice.compared[1]), (*once.verdicts, *thrice.verdicts)
    for plain, looked in pairs:
        assert 0 < plain.p_holm < 0.3
        assert looked.p_holm == pytest.approx(3 * plain.p_holm)


def test_claims_are_judged_over_the_seeds_that_all_their_trials_have():
    claim = Claim(
        text="x",
        quantity=Quantity(metric="test_accuracy"),
        left={"label": "0"},
        right={"label": "1"},
    )
    whole = found([0.9, 0.8, 0.7], claims=[claim])
    (verdict,) = Findings(planned.restricted(whole, [16, 8, 4])).verdicts
    assert (verdict.n, verdict.left_out) == (8, 0)


# Who gets more seeds.


def test_those_told_from_the_best_get_no_more_seeds():
    taken = planned.history(found([0.9, 0.5, 0.88, 0.899]))
    assert [look.seeds for look in taken] == [4, 8, 16]
    assert taken[0].resolved == (1,)
    assert 2 in (*taken[1].resolved, *taken[2].resolved)
    assert 1 not in (*taken[1].resolved, *taken[2].resolved)  # each is reported once
    assert taken[-1].asks == {0, 3}
    assert taken[-1].each[0] == taken[-1].each[3] == 16
    assert taken[-1].each[1] == 4 < taken[-1].each[2]
    assert taken[-1].networks == sum(taken[-1].each)


def test_a_run_ends_when_all_are_resolved_and_asks_for_more_when_not():
    resolved = found([0.9, 0.5], noise=0.001)
    at_first = planned.restricted(resolved, [4, 4])
    (look,) = planned.history(at_first)
    assert (look.best, look.resolved, look.unresolved) == (0, (1,), ())
    assert planned.history(resolved) == (look,)  # further seeds change nothing
    assert planned.asked_next(at_first) is None
    open_ = planned.restricted(found([0.9, 0.5, 0.9]), [4, 4, 4])
    more = planned.asked_next(open_)
    assert [t.num_seeds for t in more.trials()] == [8, 4, 8]
    assert planned.asked_next(found([0.9, 0.9])) is None  # the last look
    assert planned.asked_next(found([0.9, 0.9], plan=())) is None


def answered(right, **fields):
    """Results with looks of networks that are right on these test examples."""
    options = {"correct": {"validation": right, "test": right}, "num_evaluations": 1}
    made = synthetic.results(
        sweep=synthetic.labelled(len(right)), fields=fields, **options
    )
    return dataclasses.replace(made, study=dataclasses.replace(made.study, looks=LOOKS))


def test_those_that_only_more_examples_tell_from_the_best_get_no_more_seeds():
    rng, right = np.random.default_rng(0), np.ones((3, 16, 200), bool)
    right[0, :, :10] = right[1, :, 10:22] = False  # whatever the seed
    for seed in range(16):
        right[(0, 1), seed, rng.integers(50, 200, 2)] = False
        right[2, seed, : rng.integers(0, 60)] = False
    made = answered(right)
    view = planned.restricted(made, [4, 4, 4])
    (look,) = planned.history(view)
    assert (look.best, look.unresolved, look.stuck) == (0, (1, 2), (1,))
    assert [t.num_seeds for t in planned.asked_next(view).trials()] == [8, 4, 8]
    alone = planned.restricted(answered(right[:2]), [4, 4])
    assert planned.asked_next(alone) is None
    told = " ".join(answer.sentences(Findings(alone)))
    assert "1 trial does not differ significantly from the best" in told
    assert "More seeds would not tell it apart, more examples may." in told
    sections = {s.anchor: s for s in report.content(Findings(alone)).sections}
    assert sections["looks"].tables[0].rows[0][-2:] == ("trial 1", "8")


def test_one_that_was_resolved_comes_back_if_the_best_changes():
    # At 4 seeds trial 0 is best and differs from 2; at 8 trial 1 is, as good as 2.
    values = np.full((3, 16), 0.8) + 0.001 * np.sin(np.arange(48)).reshape(3, 16)
    values[0, :4], values[2, :4] = 0.85 + 0.001 * np.arange(4), 0.8
    values[1, :4] = [0.85, 0.82, 0.83, 0.84]
    values[0, 4:8], values[1, 4:8] = 0.75, 0.83
    made = synthetic.results(values, sweep=synthetic.labelled(3), num_evaluations=2)
    made = dataclasses.replace(made, study=dataclasses.replace(made.study, looks=LOOKS))
    first, second, *_ = planned.history(made)
    assert (first.best, first.resolved, first.each) == (0, (2,), (4, 4, 4))
    assert (second.best, second.each) == (1, (8, 8, 4))
    assert 2 in second.unresolved
    more = planned.asked_next(planned.restricted(made, second.each))
    assert more.trials()[2].num_seeds == 16


def test_a_trial_that_mostly_diverges_gets_no_more_seeds():
    lost = {(1, s): 1 for s in (0, 1, 2)} | {(2, s): 1 for s in (0, 1)}
    taken = planned.history(found([0.9, 0.9, 0.9], diverged=lost))
    assert taken[0].untested == (1,)
    assert taken[0].unresolved == (2,)  # half of it survives, too few to be tested
    assert taken[1].each == (8, 4, 8)


def test_a_look_that_is_not_whole_has_not_been_taken():
    cut = found([0.9, 0.9], unfinished={(1, 6): 1})
    assert [look.seeds for look in planned.history(cut)] == [4]
    failed = planned.restricted(found([0.9, 0.9], failures={0: "x"}), [4, 4])
    assert planned.asked_next(failed) is None


def test_answer_and_report_say_how_it_went():
    whole = found([0.9, 0.5, 0.9])
    made = Findings(planned.restricted(whole, planned.history(whole)[-1].each))
    (told,) = (s for s in answer.sentences(made) if s.startswith("After 3 looks, at 4"))
    assert "36 of at most 48 networks" in told
    sections = {s.anchor: s for s in report.content(made).sections}
    (table,) = sections["looks"].tables
    first = [("1", "4", "3"), ("2", "8", "2"), ("3", "16", "2")]
    assert [row[:3] for row in table.rows] == first
    assert table.rows[0][4] == "trial 1"
    for name in ("looks", "comparison"):
        assert any("multiplied by 3" in p for p in sections[name].paragraphs)
    plain = report.content(Findings(found([0.9, 0.5, 0.9], plan=())))
    assert "looks" not in {s.anchor for s in plain.sections}
    assert not any("multiplied" in p for s in plain.sections for p in s.paragraphs)
    one = planned.restricted(found([0.9, 0.5], noise=0.001), [4, 4])
    said = " ".join(answer.sentences(Findings(one)))
    assert "After 1 look, at 4 seeds, all others differ significantly" in said


# Looking often does not make it err more often, and saves seeds.


def sequential(null, rng, plan, shift=()):
    """Returns the results and looks of a run that stops when all is significant."""
    whole = draw(null, rng, shift)
    asked = dataclasses.replace(whole.study, looks=plan)
    whole = dataclasses.replace(whole, study=asked)
    taken = planned.history(whole)
    return planned.restricted(whole, taken[-1].each), taken


NULLS = (
    *(Null(2, 16), Null(8, 16), Null(8, 16, own=1.0), Null(8, 16, "skewed")),
    *(Null(8, 16, "ties"), Null(8, 16, at_chance=0.3), Null(8, 16, diverged=0.1)),
)


def count_false(null, plan, runs):
    rng = np.random.default_rng(5)
    return sum(
        bool(false_statements(sequential(null, rng, plan)[0])) for _ in range(runs)
    )


@pytest.mark.slow
def test_where_no_trial_differs_less_than_one_run_in_20_says_so():
    """Over seven shapes, so few of 105 runs have a chance of 5 % at a rate of 5 %."""
    assert sum(count_false(null, LOOKS, 15) for null in NULLS) <= most(105)


@pytest.mark.long
@pytest.mark.parametrize(
    "null", [dataclasses.replace(n, seeds=32) for n in NULLS], ids=Null.name
)
def test_where_no_trial_differs_less_than_5_percent_of_runs_say_so(null):
    count = count_false(null, (4, 8, 16, 32), 1_000)
    print(f"{count} of 1,000 runs err")
    assert count <= most(1_000)


@pytest.mark.slow
@pytest.mark.parametrize("runs", [60, pytest.param(1_000, marks=pytest.mark.long)])
@pytest.mark.parametrize("parts", [(0.5, 0.3, 0.7), (0.7, 0.05, 0.3)])
def test_where_trials_are_equal_but_on_these_examples_few_runs_err(parts, runs):
    """Where trials suit the examples more than seeds differ, runs end early."""
    rng, world, taken = (
        np.random.default_rng(0),
        World(16, 300, (0.95,) * 4, *parts),
        [],
    )
    for _ in range(runs):
        made = draw_answers(world, rng)
        study = dataclasses.replace(made.study, looks=LOOKS)
        made = dataclasses.replace(made, study=study)
        last = planned.history(made)[-1]
        err = false_statements(planned.restricted(made, last.each))
        taken.append((bool(err), last.networks))
    err, networks = np.mean(taken, axis=0)
    print(f"{err:.1%} err, {networks:.0f} of 64 networks")
    assert err <= 0.05
    assert networks < 40 or parts[1] > 0.05


@pytest.mark.long
def test_without_the_correction_looking_often_errs_too_often():
    """Why the correction is needed: 7 uncorrected looks err in 15 % of cases."""
    plan, null = (4, 6, 8, 11, 16, 23, 32), Null(2, 32)

    def told_apart(whole, looks):
        plain = dataclasses.replace(whole.study, claims=(), looks=looks)
        whole = dataclasses.replace(whole, study=plain)
        views = (planned.restricted(whole, [n, n]) for n in plan)
        return any(c.resolved for v in views for c in Findings(v).compared)

    rng = np.random.default_rng(0)
    drawn = [draw(null, rng) for _ in range(150)]
    assert sum(told_apart(w, ()) for w in drawn) >= stats.binom.ppf(0.99, 150, 0.05)
    assert sum(told_apart(w, plan) for w in drawn) <= 0.05 * 150


def test_a_true_difference_is_found_with_fewer_seeds_than_a_fixed_design_takes():
    """A difference of 1.5 standard deviations over seeds, 0.75 points of accuracy."""
    rng = np.random.default_rng(11)
    runs = [sequential(Null(8, 32), rng, (4, 8, 16, 32), (1.5,)) for _ in range(25)]
    told = [taken[-1].best == 0 and not taken[-1].unresolved for _, taken in runs]
    networks = np.mean([taken[-1].networks for _, taken in runs])
    assert sum(told) >= 22
    assert networks < 0.6 * 8 * 32


# Runs.

STUDY = dataclasses.replace(
    tiny.study(tiny.rates(0.001, 0.03, 0.3, 0.35), num_seeds=4, num_epochs=4),
    looks=(4, 6, 9),
)
EACH = [6, 6, 9, 9]


def trained(workdir, study=STUDY, resume=False, on_progress=None, kept=None):
    def once(study, resume):
        return experiment.run(
            study,
            workdir,
            dataset=tiny.dataset(),
            lane_width=3,
            checkpoint_seconds=0.0,
            resume=resume,
            kept=kept,
            on_progress=on_progress,
        )

    return looks.run(study, once, resume)


KEPT = place.Kept()
"""Programs, compiled once for the tests that do not count compilations."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    workdir, visits = tmp_path_factory.mktemp("looks") / "run", []
    trained(workdir, on_progress=visits.append)
    return workdir, len(visits)


@pytest.mark.slow
def test_only_the_trials_that_need_them_get_more_seeds(whole):
    made = results.load(whole[0])
    assert [t.num_seeds for t in made.trials] == EACH
    members = made.members.to_pandas()
    assert members.groupby("trial").size().tolist() == EACH
    assert set(members["status"]) == {"finished"}
    wanted = [([0, 1, 2, 3], 0, 4), ([0, 1, 2, 3], 4, 2), ([2, 3], 6, 3)]
    assert shapes(made.config["cohorts"]) == wanted


def test_lanes_have_room_for_every_look_and_a_place_for_any_member():
    plans = [
        program.plan.lanes
        for each in ((4, 4, 4, 4), (4, 6, 6, 6), (4, 9, 9, 6))
        for program in prepare(STUDY.with_seeds(each), dataset=tiny.dataset())
    ]
    assert len({(lanes.count, lanes.seeds, lanes.trials) for lanes in plans}) == 1
    assert (plans[0].trials, plans[0].room) == (1, (4, 4))
    one = dataclasses.replace(STUDY, looks=(4,))
    (program,) = prepare(one, dataset=tiny.dataset())
    assert program.plan.lanes.room == (4, 4)


def test_room_that_memory_does_not_hold_is_not_taken(monkeypatch):
    def lanes(looks):
        of = dataclasses.replace(STUDY, looks=looks)
        (program,) = prepare(of, dataset=tiny.dataset())
        return program.plan.lanes

    monkeypatch.setattr(plan, "device_memory", lambda _: 16 << 20)
    assert lanes((4, 8)).room == (4, 4)
    assert lanes((4, 10_000)).room == (0, 0)


def compile_seconds(workdir):
    timings = results.load(workdir).timings.to_pandas()
    return timings.groupby("cohort")["compile_seconds"].sum().to_numpy()


@pytest.mark.slow
def test_replayed_from_its_record_one_look_after_another_compiles_once(whole, tmp_path):
    workdir, _ = whole
    record = Study.from_dict(results.load_config(workdir)["study"])
    trained(tmp_path / "again", record, kept=place.Kept())
    assert content(tmp_path / "again") == content(workdir)
    first, *more = compile_seconds(tmp_path / "again")
    assert first > 0 == max(more)
    assert compile_seconds(workdir).all()


@pytest.mark.slow
def test_interrupted_at_any_visit_it_ends_with_the_same_bytes(whole, tmp_path):
    workdir, visits = whole
    for visit in (visits // 3, 2 * visits // 3):
        # A report shows whatever is there by then.
        KEPT.loaded = {}  # data are checked in each run
        run = functools.partial(trained, kept=KEPT)
        own, *_ = gone_on(run, tmp_path, visit, report.write)
        assert content(own) == content(workdir)


@pytest.mark.slow
def test_a_finished_run_trains_nothing_more_but_its_members_alone(whole):
    workdir, _ = whole
    before, visits = content(workdir), []
    trained(workdir, resume=True, on_progress=visits.append)
    assert (content(workdir), visits) == (before, [])
    for seed in (3, 8):
        assert rerun.rerun(workdir, 2, seed, dataset=tiny.dataset()).is_equal
    with pytest.raises(ValueError, match="no trial 0 with seed 7"):
        rerun.rerun(workdir, 0, 7, dataset=tiny.dataset())


@pytest.mark.slow
def test_the_short_api_takes_looks_too(tmp_path):
    outcome = nnlab.run(
        STUDY,
        workdir=tmp_path / "run",
        dataset=tiny.dataset(),
        show=False,
        sweep={tiny.RATE: [1e-4, 0.3]},
        num_epochs=8,
    )
    assert "significantly from the best" in " ".join(outcome.answer)
    assert outcome.members().groupby("trial").size().max() > 3
