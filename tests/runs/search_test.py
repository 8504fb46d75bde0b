# SPDX-License-Identifier: Apache-2.0
"""Optuna chooses batches, the population trains them, and a search resumes."""

import dataclasses
import math
import shutil
import sys

import numpy as np
import optuna
import pytest
import synthetic
import tiny
from launched import QUICKSTART, launched
from stopped import Stop, content

import nnlab
from nnlab import data, report, results
from nnlab.commands import train
from nnlab.machine import files
from nnlab.report import answer
from nnlab.runs import experiment, search
from nnlab.statistics.findings import Findings
from nnlab.study import SAMPLERS, Study
from nnlab.study.sweep import Span, parse_space
from nnlab.training import place

pytestmark = pytest.mark.usefixtures("compiled_fast")

RATE = "optimizer.learning_rate"
MOMENTUM = "optimizer.momentum"
SPACE = (f"{RATE}=log(1e-3,10)", "optimizer.momentum=uniform(0,0.9)")


def study(space=SPACE, **fields) -> Study:
    of = {"space": space, "trials": 10, "batch": 4, **fields}
    return dataclasses.replace(tiny.study(num_epochs=2), search=of)


class Trainer:
    """Returns made-up accuracies: the nearer the rate is to 0.3, the better."""

    def __init__(self, folder, fail_at=None, **fates):
        self.folder, self.fates, self.fail_at = folder, fates, fail_at
        self.calls = []

    def __call__(self, of: Study, resume: bool) -> results.Results:
        self.calls.append((len(of.sweep), resume))
        if len(self.calls) == self.fail_at:
            raise KeyboardInterrupt
        rates = [t.hyperparameters.optimizer.learning_rate for t in of.trials()]
        levels = 0.9 - 0.1 * np.abs(np.log10(np.array(rates) / 0.3))
        values = levels[:, None, None] + np.zeros((len(rates), of.num_seeds, 2))
        fates = {
            name: {key: v for key, v in fate.items() if np.ravel(key)[0] < len(rates)}
            for name, fate in self.fates.items()
        }
        return synthetic.results(
            values,
            sweep=of.sweep,
            base=of.base,
            fields={"search": of.search},
            workdir=self.folder,
            **fates,
        )


def told(folder):
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(folder / search.STORAGE))
    )
    return optuna.load_study(study_name="nnlab", storage=storage).trials


def searched(folder, of=None, resumes=False, **how):
    """Searches with made-up accuracies; returns the results and the trainer's calls."""
    train = Trainer(folder, **how)
    found = search.run(of or study(), folder, train, resumes=resumes)
    return found, train.calls


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The workdir of a whole search."""
    folder = tmp_path_factory.mktemp("search") / "run"
    searched(folder)
    return folder


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "copy")


def settings(folder):
    return [dict(item) for item in results.load(folder).study.sweep]


# ---- The space.


@pytest.mark.parametrize(
    ("text", "span"),
    [
        (f"{RATE}=log(1e-3,1)", Span("log", 1e-3, 1.0)),
        (f" {MOMENTUM} = uniform(0, 0.9)", Span("uniform", 0.0, 0.9)),
        ("batch_size=int(8,64)", Span("int", 8, 64)),
        ("model.hidden=(32,),(64,),32", Span("choices", values=((32,), (64,)))),
        (f"{RATE}=logspace(0.1,1,2)", Span("choices", values=(0.1, 1.0))),
        ("optimizer.name=sgd,adam", Span("choices", values=("sgd", "adam"))),
    ],
)
def test_a_space_is_read_as_it_is_written(text, span):
    path, found = parse_space(text)
    assert path == text.partition("=")[0].strip()
    for name, value in vars(span).items():
        own = getattr(found, name)
        assert own == value or (math.isnan(own) and math.isnan(value))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optimizer.learning_rte=log(1,2)", "unknown field .* did you mean"),
        (f"{RATE}=log(1)", "log.low,high., uniform"),
        (f"{RATE}=log(1,2),3", "which stands alone"),
        (f"{RATE}=logg(1,2)", "log.low,high., uniform"),
        (f"{RATE}=uniform(a,2)", "bounds must be numbers"),
        ("batch_size=int(1,2.5)", "bounds must be whole numbers"),
        (f"{RATE}=uniform(2,1)", "low below high"),
        (f"{RATE}=uniform(0,inf)", "finite bounds"),
        (f"{RATE}=log(0,1)", "log needs bounds above 0"),
        (f"{RATE}=", "has no values"),
        (RATE, "not of the form"),
    ],
)
def test_a_malformed_space_is_quoted(text, message):
    with pytest.raises(ValueError, match=message):
        parse_space(text)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"space": ()}, "a search needs a space"),
        ({"space": (SPACE[0], SPACE[0])}, "names 'optimizer.learning_rate' twice"),
        ({"space": (f"{MOMENTUM}=uniform(0,1)",)}, "momentum=1.0 must be below 1"),
        (
            {"space": ("optimizer.name=adam,adamw", f"{MOMENTUM}=uniform(0,0.9)")},
            "search over 'optimizer.momentum' changes nothing.*'sgd' or",
        ),
    ],
)
def test_a_space_that_cannot_be_leaves_nothing_behind(tmp_path, fields, message):
    train = Trainer(tmp_path / "run")
    with pytest.raises(ValueError, match=message):
        search.run(study(**fields), tmp_path / "run", train)
    assert not train.calls
    assert not (tmp_path / "run").exists()


def test_an_unknown_sampler_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'random'"):
        study(sampler="randm")


def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ValueError, match=r'needs Optuna: pip install .*\[search\]"'):
        search.run(study(), tmp_path / "run", Trainer(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


# ---- The loop.


def test_batches_are_asked_trained_together_and_told(tmp_path):
    found, calls = searched(tmp_path)
    assert calls == [(4, False), (8, True), (10, True)]
    assert len(found.trials) == 10
    for trial, known in zip(found.trials, told(tmp_path)):
        h = trial.hyperparameters.optimizer
        assert h.learning_rate == pytest.approx(known.params[RATE], rel=1e-5)
        assert h.momentum == pytest.approx(known.params[MOMENTUM], rel=1e-5)
        level = 0.9 - 0.1 * abs(math.log10(h.learning_rate / 0.3))
        assert known.value == pytest.approx(level)
    rates = [t.hyperparameters.optimizer.learning_rate for t in found.trials]
    assert len(set(rates)) == 10
    assert all(1e-3 <= rate <= 10 for rate in rates)
    text = (tmp_path / search.STORAGE).read_text("ascii")  # plain lines
    assert "cma" not in text
    assert [p.name for p in tmp_path.glob("*.log.*")] == ["search.log.sha256"]


def test_the_sampler_learns_from_what_it_is_told(tmp_path):
    def mean_distance(sampler):
        of = study((SPACE[0],), trials=48, batch=8, sampler=sampler)
        found, _ = searched(tmp_path / sampler, of)
        rates = [t.hyperparameters.optimizer.learning_rate for t in found.trials]
        return np.abs(np.log10(np.array(rates[24:]) / 0.3)).mean()

    assert mean_distance("tpe") < 0.8 * mean_distance("random")


def test_fields_are_drawn_apart(tmp_path):
    searched(tmp_path, study(trials=32, batch=32, sampler="random"))
    drawn = [(math.log10(t.params[RATE]), t.params[MOMENTUM]) for t in told(tmp_path)]
    assert abs(np.corrcoef(np.array(drawn).T)[0, 1]) < 0.5


def test_lost_seeds_count_as_chance_and_dropped_trials_are_pruned(tmp_path):
    """Four trials: one loses a seed, one all, one is dropped, one does not finish."""
    fates = {
        "diverged": {(0, 1): 0, (1, 0): 0, (1, 1): 0},
        "dropped": {2: 1},
        "unfinished": {(3, 0): 1},
    }
    of = dataclasses.replace(study(trials=4), halving={"factor": 2, "min_epochs": 0.5})
    of = dataclasses.replace(of, base=of.base.replace({"eval_every_epochs": 0.5}))
    found, _ = searched(tmp_path, of, **fates)
    states = [trial.state.name for trial in told(tmp_path)]
    assert states == ["COMPLETE", "COMPLETE", "PRUNED", "FAIL"]
    first, second, third, _ = told(tmp_path)
    level = found.curve(0, "validation_accuracy").values[0, -1]
    assert first.value == pytest.approx((level + synthetic.CHANCE) / 2)
    assert second.value == pytest.approx(synthetic.CHANCE)
    value = found.curve(2, "validation_accuracy").values[0, -1]
    assert third.intermediate_values == {1: pytest.approx(value)}


def test_what_was_tried_is_not_trained_again(tmp_path):
    space = (f"{RATE}=0.1,0.3", f"{MOMENTUM}=0,0.5")
    found, _ = searched(tmp_path, study(space, trials=12, sampler="random"))
    assert len(found.trials) == 4
    assert len(told(tmp_path)) == 12
    by_rate = {}
    for trial in told(tmp_path):
        by_rate.setdefault(trial.params[RATE], set()).add(round(trial.value, 6))
    assert all(len(values) == 1 for values in by_rate.values())


@pytest.mark.parametrize(
    ("sampler", "where", "at"),
    [
        ("tpe", "train", 2),
        ("qmc", "train", 2),
        ("qmc", "train", 3),
        ("tpe", "ask", 2 * 6),  # within the second batch's second trial
        ("tpe", "tell", 6),  # after the second batch's second trial
    ],
)
def test_interrupted_anywhere_it_ends_the_same(
    tmp_path, monkeypatch, sampler, where, at
):
    whole, own, of = tmp_path / "whole", tmp_path / "own", study(sampler=sampler)
    searched(whole, of)
    with monkeypatch.context() as patch:
        if where != "train":
            kind, name = {
                "ask": (optuna.trial.Trial, "suggest_float"),
                "tell": (optuna.Study, "tell"),
            }[where]
            plain, calls = getattr(kind, name), []

            def interrupted(*args, **how):
                calls.append(args)
                if where == "tell" or len(calls) < at:
                    found = plain(*args, **how)
                if len(calls) == at:
                    raise KeyboardInterrupt
                return found

            patch.setattr(kind, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            searched(own, of, fail_at=at if where == "train" else None)
    with (own / search.STORAGE).open("a") as log:
        log.write('{"op_code": 4, "work')  # killed while it wrote
    (own / f"{search.STORAGE}.lock").symlink_to("runs/search.log")  # Optuna's, held
    _, calls = searched(own, of, resumes=True)
    assert calls[-1] == (10, True)
    assert settings(own) == settings(whole)
    assert [t.value for t in told(own)] == [t.value for t in told(whole)]


DAMAGES = {
    "emptied": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "a line lost": lambda content: content[: content[:-1].rfind(b"\n") + 1],
    "a value changed": lambda content: content.replace(
        b'"values":[0.', b'"values":[1.'
    ),
    "binary": lambda content: bytes(range(256)),
    "other JSON": lambda content: b"[1]\n",
}


def refuse(folder, message, of=None):
    """Expects that a resumed search is refused and asks for nothing."""
    path = folder / search.STORAGE
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(ValueError, match=message):
        searched(folder, of or study(trials=14), resumes=True, fail_at=1)
    assert before is None or path.read_bytes() == before


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_storage_that_is_not_what_was_written_is_named(copy, damage):
    path = copy / search.STORAGE
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    refuse(copy, r"cannot resume .*search\.log is not what")
    files.write_digest(path, path.read_bytes())  # as if the run had written it
    if damage in ("binary", "other JSON"):
        refuse(copy, r"search\.log' is no storage of Optuna's")


def test_without_its_digest_a_storage_is_not_read(copy):
    path = copy / search.STORAGE
    files.digest_of(path).write_bytes(b"")
    refuse(copy, r"search\.log cannot be checked")
    files.write_digest(path, path.read_bytes())  # the content itself would do
    assert searched(copy, resumes=True)[1] == [(10, True)]


def test_two_searches_in_one_workdir_exclude_each_other(tmp_path):
    class Second(Trainer):
        def __call__(self, of, resume):
            with pytest.raises(BlockingIOError, match="another run is at work"):
                searched(tmp_path, resumes=True)
            return super().__call__(of, resume)

    train = Second(tmp_path)
    search.run(study(), tmp_path, train)
    assert len(train.calls) == 3


def test_a_storage_behind_a_link_is_left_alone(tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / search.STORAGE).symlink_to("mine")
    with pytest.raises(ValueError, match=r"search\.log' is a link"):
        searched(tmp_path)
    assert (tmp_path / "mine").read_text() == "mine"


def test_more_trials_go_on_where_it_ended(copy):
    before = settings(copy)
    _, calls = searched(copy, study(trials=14), resumes=True)
    assert calls == [(12, True), (14, True)]
    assert settings(copy)[:10] == before
    _, calls = searched(copy, study(trials=14), resumes=True)
    assert calls == [(14, True)]  # trains nothing


def test_root_seeds_search_apart_and_equal_ones_alike(whole, tmp_path):
    for name, seed in (("b", 0), ("c", 1)):
        searched(tmp_path / name, dataclasses.replace(study(), root_seed=seed))
    found = [settings(f) for f in (whole, tmp_path / "b", tmp_path / "c")]
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_searches(tmp_path, sampler):
    if sampler == "gp":
        pytest.importorskip("torch")
    of = study((*SPACE, "batch_size=16,32"), sampler=sampler, trials=12)
    found, _ = searched(tmp_path, of)
    assert len(found.trials) == 12
    assert len({t.hyperparameters.batch_size for t in found.trials}) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"space": SPACE[:1]}, "search.space was .* and is .* now: another study"),
        ({"sampler": "random"}, "search.sampler was 'tpe' and is 'random' now"),
    ],
)
def test_another_search_is_refused_before_it_asks(copy, change, message):
    refuse(copy, f"cannot resume .*{message}", study(**change))


def test_a_sweep_a_lost_storage_or_config_is_not_resumed(copy, tmp_path):
    Trainer(tmp_path / "sweep")(tiny.study(num_epochs=1), False)
    refuse(tmp_path / "sweep", "it is of no search")
    (copy / results.CHECKPOINTS).mkdir()
    config = (copy / "config.json").read_bytes()
    (copy / "config.json").unlink()
    refuse(copy, "a search does not go on without it")
    (copy / "config.json").write_bytes(config)
    (copy / search.STORAGE).unlink()
    refuse(copy, r"it has no search\.log")


def test_what_fails_before_anything_is_trained_leaves_nothing_behind(tmp_path):
    own = tmp_path / "own"
    with pytest.raises(KeyboardInterrupt):
        searched(own, fail_at=1)
    assert not own.exists()


def test_the_report_says_what_was_searched_and_that_the_best_is_one_of_many(copy):
    said = " ".join(answer.sentences(Findings(results.load(copy))))
    assert (
        "Optuna (tpe) chose the 10 trials, 4 at a time, from optimizer.learning_rate="
        "log(1e-3,10) and optimizer.momentum=uniform(0,0.9)."
        in said.replace("; ", " and ")
    )
    assert "The best of 10 was partly lucky" in said
    page = report.write(copy).with_suffix(".md").read_text()
    assert "Optuna, tpe, 10 trials, 4 at once" in page


# ---- Real runs.


@pytest.mark.slow
def test_the_command_line_searches_under_halving_and_goes_on_with_more(tmp_path):
    run = f"--workdir={tmp_path}/run"
    halved = ["--search=optuna", "--search_batch=3", "--halving=3"]
    asked = [*halved, f"--search_space={SPACE[0]}", "--search_trials=6"]
    status, out, err = launched(train, run, QUICKSTART, "--config.num_epochs=3", *asked)
    assert (status, err) == (0, "")
    assert "search by Optuna (tpe): 6 trials, 3 at a time, x 3 seeds" in out
    found = results.load(tmp_path / "run")
    assert [c["trials"] for c in found.config["cohorts"]] == [[0, 1, 2], [3, 4, 5]]
    states = [trial.state.name for trial in told(tmp_path / "run")]
    assert sorted(states) == ["COMPLETE"] * 2 + ["PRUNED"] * 4
    status, _, err = launched(train, run, "--resume", "--search_trials=7")
    assert (status, err) == (0, "")
    assert len(results.load(tmp_path / "run").trials) == 7


@pytest.mark.slow
def test_batches_share_programs_and_data_and_resume_to_the_same(tmp_path, monkeypatch):
    def run(folder, resumes=False, kept=None, visits=None):
        def train(of, resume):
            options = {"resume": resume, "kept": kept, "on_progress": visits}
            pinned = {"lane_width": 2, "checkpoint_seconds": 0.0}
            return experiment.run(of, folder, **options, **pinned)

        return search.run(of, folder, train, resumes=resumes)

    of = study((SPACE[0], "model.hidden=(4,),(8,)"), trials=6, batch=3)
    base = of.base.replace({"dataset": "digits", "train_size": 64, "num_epochs": 1})
    of = dataclasses.replace(of, base=base, eval_size=32, num_seeds=1)
    whole, own, seen = tmp_path / "whole", tmp_path / "own", []
    loads, load = [], data.load
    with monkeypatch.context() as patch:
        patch.setattr(data, "load", lambda *a, **k: (loads.append(a), load(*a, **k))[1])
        found = run(whole, kept=place.Kept(), visits=seen.append)
    assert loads == [("digits",)]
    assert [t.value for t in told(whole)] == [
        pytest.approx(found.curve(i, "validation_accuracy").values[:, -1].mean())
        for i in range(6)
    ]
    seconds = found.timings.to_pandas().groupby("cohort")["compile_seconds"].sum()
    widths = [
        found.trials[c["trials"][0]].hyperparameters.model.hidden
        for c in found.config["cohorts"]
    ]
    first = {widths.index(w) for w in widths}
    assert len(first) == 2 < len(widths)
    assert {i for i, value in enumerate(seconds) if value} == first
    with pytest.raises(KeyboardInterrupt):
        run(own, visits=Stop(len(seen) - 3))
    run(own, resumes=True)
    assert content(own) == content(whole)


@pytest.mark.slow
def test_from_python_a_search_is_a_field_of_the_study(tmp_path):
    options = {"workdir": tmp_path / "run", "dataset": tiny.dataset(), "show": False}
    for trials in (2, 3):
        of = {"space": SPACE[:1], "trials": trials, "batch": 2}
        options |= {"search": of, "resume": trials == 3, "lane_width": 1}
        found = nnlab.run(num_epochs=1, num_seeds=1, batch_size=16, **options)
        assert len(found.study.trials()) == len(told(tmp_path / "run")) == trials
