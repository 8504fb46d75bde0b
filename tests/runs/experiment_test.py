# SPDX-License-Identifier: Apache-2.0
"""A study's run from end to end: its results, and what must not change them."""

import collections
import dataclasses
import gc
import itertools
import re
import weakref

import jax
import numpy as np
import optax
import pytest
import tiny
from stopped import Stop

from nnlab import data, report, results
from nnlab.results import answers, pictures
from nnlab.runs import experiment
from nnlab.runs import loop as training
from nnlab.runs.final import GRID
from nnlab.statistics.findings import Findings
from nnlab.study import Own, Study
from nnlab.study.claims import at_epoch, higher
from nnlab.training import lane_width, place, trees
from nnlab.training.population import Population

TABLES = ("config.json", "curves.parquet", "members.csv", "summary.csv")
BATCH_SIZE = "batch_size"
SWEEP = (
    {tiny.RATE: 0.1},
    {tiny.RATE: 100.0, "label": "too fast"},
    {tiny.RATE: 0.0, "model.init_scale": 0.0, "label": "dead"},
    {BATCH_SIZE: 13},
)
STUDY = tiny.study(SWEEP, **tiny.DEEP)


def run(of: Study, folder, **kwargs):
    return experiment.run(of, folder, dataset=tiny.dataset(), **kwargs)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The results of `STUDY`, and its calls of the callback."""
    told: list[experiment.Progress] = []
    folder = tmp_path_factory.mktemp("finished")
    return run(STUDY, folder, on_progress=told.append), told


@pytest.mark.slow
def test_no_number_depends_on_what_jax_is_set_to(tmp_path):
    changes = {"model.dropout_rate": 0.2, "num_epochs": 1}
    study = tiny.study(num_seeds=1, **changes)
    plain = run(study, tmp_path / "plain")
    for name, value in (("default_prng_impl", "rbg"), ("disable_jit", True)):
        with getattr(jax, name)(value):
            assert run(study, tmp_path / name).curves.equals(plain.curves)


def rows(found, trial, seed):
    table = found.curves.to_pylist()
    return [row for row in table if (row["trial"], row["seed"]) == (trial, seed)]


def members(found):
    table = found.members.to_pylist()
    return {(row["trial"], row["seed"]): row for row in table}


def scored(module, loop, split):
    """Returns loss and correctness of each example of a split."""
    variables = {"params": loop.params, "batch_stats": loop.batch_stats}
    data = getattr(tiny.dataset(), split)
    logits = module.apply(variables, data.inputs, train=False)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, data.labels)
    answers = np.argmax(np.asarray(logits), axis=1)
    return np.asarray(losses, np.float64), answers == data.labels


# ---- Results of a run.


@pytest.mark.slow
def test_every_member_has_a_row_for_each_evaluation_until_it_ends(finished):
    found, _ = finished
    steps = {key: [row["step"] for row in rows(found, *key)] for key in members(found)}
    for seed in range(2):
        assert steps[0, seed] == steps[2, seed] == [0, 8, 16, 24]
        assert steps[1, seed] == [0]
        assert steps[3, seed] == [0, 10, 20, 30]
    keys = [(r["trial"], r["seed"], r["step"]) for r in found.curves.to_pylist()]
    assert keys == sorted({(*key, step) for key in steps for step in steps[key]})
    assert set(steps) == {(t, s) for t in range(4) for s in range(2)}


@pytest.mark.slow
def test_curves_are_those_of_the_plain_loop(finished):
    found, _ = finished
    row = rows(found, 0, 1)[-1]
    plain = tiny.loop(tiny.DeepLinear(), optax.sgd(0.1), seed=1, num_steps=24)
    assert row["batch_loss"] == pytest.approx(plain.losses[16:].mean(), rel=1e-5)
    assert row["batch_loss_std"] == pytest.approx(plain.losses[16:].std(), rel=1e-3)
    assert rows(found, 0, 1)[0]["batch_loss_std"] is None
    norms = [row[f"grad_norm_dense_{i}"] for i in range(4)]
    np.testing.assert_allclose(norms, plain.norms[23], rtol=1e-4)
    for name, size in tiny.SIZES.items():
        losses, rights = scored(tiny.DeepLinear(), plain, name)
        assert len(rights) == size
        assert row[f"{name}_accuracy"] == rights.mean()
        assert row[f"{name}_loss"] == pytest.approx(losses.mean(), rel=1e-5)


def test_the_callback_hears_what_the_curves_hold(finished):
    found, told = finished
    heard = {}
    for evaluation in (p.evaluation for p in told if p.evaluation):
        places = np.ndindex(len(evaluation.trials), len(evaluation.seeds))
        for (t, s), name in itertools.product(places, evaluation.metrics):
            key = evaluation.trials[t].index, evaluation.seeds[s], evaluation.step
            heard[*key, name] = evaluation.metrics[name][t, s]
    metrics = [name for name in found.metrics if name.startswith(("train", "val"))]
    for row in found.curves.to_pylist():
        for name in metrics:
            key = row["trial"], row["seed"], row["step"], name
            assert heard.pop(key) == row[name]
    assert all(np.isnan(v) for (*_, n), v in heard.items() if n in metrics)
    labels = [trial.label for trial in found.trials]
    curves = {p.best_label: p.best_curve for p in told if p.best_curve}
    assert max(map(len, curves.values())) == 4
    for label, curve in curves.items():
        measured = found.curve(labels.index(label), "validation_accuracy")
        means = measured.values.mean(axis=0)
        np.testing.assert_allclose(curve, means[: len(curve)], rtol=1e-15)


def test_the_callback_can_ask_the_networks(tmp_path):
    test = tiny.dataset().test
    accuracies = []

    def ask(progress):
        if progress.predict and progress.evaluation:
            found = progress.predict(test.inputs)
            assert found.shape == (1, 2, len(test.labels), 3)
            right = found.argmax(axis=-1) == test.labels
            accuracies.append(right.mean(axis=-1)[0])

    found = run(tiny.study(num_epochs=2), tmp_path, on_progress=ask)
    stored = found.curve(0, "test_accuracy").values.T
    np.testing.assert_allclose(accuracies, stored, rtol=1e-6)
    assert stored[0].max() < stored[-1].min()


@pytest.mark.slow
def test_how_often_the_host_visits_changes_no_number(tmp_path, monkeypatch):
    study = tiny.study(tiny.rates(0.1, 100.0), batch_size=2, num_epochs=2, **tiny.DEEP)
    found, visits = [], []
    for seconds in (0.0, np.inf):
        monkeypatch.setattr(training, "SECONDS_OF_A_VISIT", seconds)
        told: list[experiment.Progress] = []
        ran = run(study, tmp_path / str(seconds), lane_width=2, on_progress=told.append)
        found.append([(ran.workdir / name).read_bytes() for name in TABLES])
        visits.append(len(told))
    assert found[0] == found[1]
    assert visits[0] >= visits[1] + 6  # 65 updates an epoch, 16 at a time


def test_every_member_says_how_it_ended(finished):
    found = members(finished[0])
    at_chance = [trial for trial, seed in found if found[trial, seed]["at_chance"]]
    assert at_chance == [2, 2]  # which answer the same to all
    statuses = [found[key]["status"] for key in sorted(found)]
    wanted = ["finished", "diverged", "finished", "finished"]
    assert statuses == [status for status in wanted for _ in range(2)]
    assert [found[t, 0]["steps"] for t in (0, 2, 3)] == [24, 24, 30]
    rule = optax.sgd(100.0)
    for seed in range(2):
        plain = tiny.loop(tiny.DeepLinear(), rule, seed)
        lost = found[1, seed]
        assert lost["steps"] == lost["diverged_step"] == plain.diverged_step
        norms = [lost[f"last_grad_norm_dense_{i}"] for i in range(4)]
        np.testing.assert_allclose(norms, plain.norms[-1], rtol=1e-3)
        assert lost["diverged_layer"] == f"dense_{np.argmax(norms)}"


def test_the_record_is_complete(finished):
    config = finished[0].config
    assert config["status"] == "complete"
    handed = Own(datasets={STUDY.base.dataset: tiny.dataset().digest})
    assert Study.from_dict(config["study"]) == dataclasses.replace(STUDY, own=handed)
    assert [c["trials"] for c in config["cohorts"]] == [[0, 1, 2], [3]]
    assert [t["cohort"] for t in config["trials"]] == [0, 0, 0, 1]
    assert [c["steps_per_epoch"] for c in config["cohorts"]] == [8, 10]
    (data,) = config["datasets"].values()
    assert [data[name] for name in tiny.SIZES] == list(tiny.SIZES.values())
    assert data["digest"] == tiny.dataset().digest
    files = {*TABLES, answers.CORRECT} - {"config.json"}
    assert set(config["manifest"]) == files
    assert len((finished[0].workdir / "summary.csv").read_text().splitlines()) == 5


def test_timings_have_a_row_for_each_program_and_segment(finished):
    timings = finished[0].timings.to_pylist()
    # The first program trains a network to its end.
    keys = [(row["cohort"], row["segment"], row["step"]) for row in timings]
    ends = [(0, 8 * i) for i in range(4)], [(1, 10 * i) for i in range(4)]
    wanted = [(c, i, step) for end in ends for i, (c, step) in enumerate(end)]
    assert keys == wanted
    assert all(row["compile_seconds"] > 0 for row in timings if row["segment"] == 0)
    assert all(row["compile_seconds"] == 0 for row in timings if row["segment"] > 1)


def test_progress_goes_from_nothing_to_all(finished):
    told = finished[1]
    total = 6 * 24 * 16 + 2 * 30 * 13
    done = [progress.done for progress in told]
    assert done == sorted(done)
    assert done[0] == 0
    # Steps that diverged networks leave out no longer count.
    assert told[0].total == total > told[-1].total == done[-1]
    programs = [progress.program for progress in told]
    assert programs == sorted(programs)
    assert {progress.num_programs for progress in told} == {max(programs) + 1} == {2}
    assert told[-1].diverged == 2


# ---- What must not change results.

MEASURED = [f"{split}_{m}" for split in tiny.SIZES for m in ("loss", "accuracy")]


def columns(found, names, steps):
    """Returns the first program's values by (trial, seed, step), as stored."""
    return {
        (row["trial"], row["seed"], row["step"]): [row[name] for name in names]
        for row in found.curves.to_pylist()
        if row["trial"] < 3 and row["step"] in steps
    }


def test_visits_and_evaluations_change_no_bit(finished, tmp_path, monkeypatch):
    """Other programs of the study change nothing."""
    monkeypatch.setattr(place, "STEPS_PER_CALL", 3)
    of = tiny.study(SWEEP[:3], eval_every_epochs=0.5, **tiny.DEEP)
    often, steps = run(of, tmp_path), (0, 8, 16, 24)
    assert len(rows(often, 0, 0)) == 7
    assert columns(often, MEASURED, steps) == columns(finished[0], MEASURED, steps)
    assert members(often)[1, 0]["steps"] == members(finished[0])[1, 0]["steps"]


@pytest.fixture
def compiled(caplog):
    """Counts the programs that JAX reports to have compiled."""

    def count():
        found = re.findall(r"Finished XLA compilation of (\S+)", caplog.text)
        caplog.clear()
        return collections.Counter(found)

    with jax.log_compiles():
        yield count


@pytest.mark.slow
def test_values_seeds_and_evaluations_add_no_compilation(tmp_path, compiled):
    """Each program compiles three, whatever is swept and however long it trains."""
    sweep = [
        {
            tiny.RATE: 0.1 * i,
            "optimizer.momentum": 0.1 * i,
            "optimizer.weight_decay": 0.01 * i,
            "model.init_scale": 1.0 + i,
            "model.dropout_rate": 0.1 * i,
        }
        for i in range(6)
    ]
    of = tiny.study(sweep, num_seeds=3, root_seed=7, num_epochs=5)
    tiny.population(of)  # the keys' own small programs
    compiled()
    run(of, tmp_path)
    counted = compiled()
    programs = ("_init_lanes", "_train_lanes", "_evaluate_lanes")
    assert {name: counted[f"jit({name})"] for name in programs} == dict.fromkeys(
        programs, 1
    )
    assert sum(counted.values()) == 3


# ---- Early ends.


def test_a_run_in_which_all_diverge_ends_early(tmp_path):
    told: list[experiment.Progress] = []
    of = tiny.study(tiny.rates(100.0, 1000.0), num_epochs=50, **tiny.DEEP)
    found = run(of, tmp_path, on_progress=told.append)
    assert {row["step"] for row in found.curves.to_pylist()} == {0}
    assert {row["status"] for row in members(found).values()} == {"diverged"}
    assert len(found.timings) == 2
    assert told[-1].done == told[-1].total
    assert found.config["status"] == "complete"


@pytest.mark.slow
def test_members_that_never_take_a_step_or_fail_after_the_last(tmp_path):
    """An initial scale that overflows, or a last update that does."""
    sweep = ({"model.init_scale": 1e12}, {tiny.RATE: 1e25}, {tiny.RATE: 0.1})
    of = tiny.study(sweep, train_size=16, num_epochs=1, **tiny.DEEP)
    found = run(of, tmp_path)
    said = ("status", "diverged_step", "diverged_layer")
    ends = {k: tuple(m[name] for name in said) for k, m in members(found).items()}
    for seed in range(2):
        assert ends[0, seed] == ("diverged", 0, None)
        assert ends[1, seed][:2] == ("diverged", 1)
        assert ends[2, seed] == ("finished", None, None)


@pytest.mark.parametrize("visits", [1, 4])
def test_an_interruption_leaves_results_that_can_be_read(tmp_path, visits):
    with pytest.raises(KeyboardInterrupt):
        run(tiny.study(num_epochs=5), tmp_path, on_progress=Stop(visits))
    found = results.load(tmp_path)
    assert found.config["status"] == "interrupted"
    assert {m["status"] for m in members(found).values()} == {"unfinished"}
    steps = sorted({row["step"] for row in found.curves.to_pylist()})
    assert steps == {1: [], 4: [0, 8, 16]}[visits]


def test_a_workdir_that_holds_results_or_is_a_file_is_left_alone(finished, tmp_path):
    folder = finished[0].workdir
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with pytest.raises(FileExistsError, match="holds results"):
        run(STUDY, folder)
    after = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert before == after
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match="is a file"):
        run(STUDY, tmp_path / "file")


@pytest.mark.parametrize(
    "kwargs", [{"batch_size": 131}, {"train_size": 500}, {"model.name": "cnn"}]
)
def test_a_study_that_cannot_run_writes_nothing(tmp_path, kwargs):
    with pytest.raises(ValueError, match="trial 'base'"):
        run(tiny.study(**kwargs), tmp_path / "new")
    with pytest.raises(ValueError, match="lane_width=9"):
        run(tiny.study(), tmp_path / "new", lane_width=9)
    early = higher("Early", at_epoch(0.3, "test_loss"), {}, 0.1)
    with pytest.raises(ValueError, match="'Early': test_loss has no value at epoch"):
        run(dataclasses.replace(tiny.study(), claims=(early,)), tmp_path / "new")
    assert not (tmp_path / "new").exists()


# ---- Other arguments.


@pytest.mark.slow
def test_a_module_of_ones_own_is_trained_and_named(tmp_path):
    """Evaluation uses batch norm's running statistics."""
    plain = tiny.Plain(batch_norm=True)
    found = run(tiny.study(), tmp_path, module=plain)
    loop = tiny.loop(plain, optax.sgd(0.1), seed=1, num_steps=24)
    losses, rights = scored(plain, loop, "validation")
    row = rows(found, 0, 1)[-1]
    assert row["validation_loss"] == pytest.approx(losses.mean(), rel=1e-5)
    assert row["validation_accuracy"] == rights.mean()
    page = report.write(tmp_path).with_name("report.md").read_text()
    facts = [line for line in page.splitlines() if line.startswith("| ")]
    (own,) = (line for line in facts if line.startswith("| module "))
    assert "rate=0.0); 99 parameters; digest of its code" in own
    assert 'nnlab.run("config.json", workdir="again", module=..., dataset=...)' in page
    assert any(line.startswith(f"| data set {tiny.dataset().name} ") for line in facts)
    (fixed,) = (line for line in facts if line.startswith("| held fixed"))
    assert "dataset=" not in fixed
    assert "model.hidden" not in fixed


def test_orders_go_on_across_calls_and_epochs():
    order = place.Order(root_seed=3, seeds=range(2), train_size=10, batch=3)
    whole = order.take(0, 7, 7)
    parts = [order.take(first, first + 1, 4)[:, :1] for first in range(7)]
    assert np.array_equal(whole, np.concatenate(parts, axis=1))
    epochs = whole[:, :6].reshape(2, 2, 9)
    assert all(len(set(epoch)) == 9 for seed in epochs for epoch in seed.tolist())
    assert not order.take(0, 2, 4)[:, 2:].any()


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 1e9])
def test_widths_are_measured_where_that_is_cheap_beside_training(
    share, tmp_path, monkeypatch
):
    monkeypatch.setattr(lane_width, "TUNING_SHARE", share)
    monkeypatch.setenv("NNLAB_CACHE_DIR", str(tmp_path / "cache"))
    of = tiny.study(tiny.rates(0.1, 0.2), num_seeds=4)
    program = tiny.program(of)
    timings = run(of, tmp_path / "run").timings.to_pylist()
    assert (timings[0]["tuning_seconds"] > 0) == bool(share)
    assert not any(row["tuning_seconds"] for row in timings[1:])
    widths = {plan.lanes.width for plan in program.plans}
    assert len(widths) > 1
    measured = set(lane_width.recall(program))
    assert measured == widths if share else len(measured) == 1


# ---- Evaluations of the final networks.

IMAGES = {
    "dataset": "digits",
    "train_size": 128,
    "batch_size": 32,
    "num_epochs": 3,
    "model": {"hidden": (8,)},
    "num_seeds": 2,
    "sweep": ({tiny.RATE: 0.1}, {tiny.RATE: 1e30, "label": "lost"}),
    "test_sets": {"moved_pixels": 1, "rotated_degrees": 30, "severity": True},
    "figures": ("confusion", "probabilities", "weights", "gallery", "costs"),
}


def of_images(folder, **changes):
    return experiment.run(Study.from_dict(IMAGES | changes), folder)


@pytest.fixture(scope="module")
def looked_at(tmp_path_factory):
    return of_images(tmp_path_factory.mktemp("looked_at"))


def severity(found, seed, transform, amount):
    (row,) = (
        row
        for row in found.severity.to_pylist()
        if (row["trial"], row["seed"]) == (0, seed)
        if (row["transform"], row["amount"]) == (transform, amount)
    )
    return row


@pytest.mark.slow
def test_moved_test_sets_are_scored_once_at_the_end(looked_at):
    for seed in range(2):
        *before, last = rows(looked_at, 0, seed)
        assert all(row["test_moved_accuracy"] is None for row in before)
        # The test set has fewer examples than the severities may have at most.
        moved, rotated = (severity(looked_at, seed, *at) for at in MOVED)
        assert last["test_moved_accuracy"] == moved["accuracy"]
        assert last["test_moved_loss"] == moved["loss"]
        assert moved["accuracy"] != last["test_accuracy"] != rotated["accuracy"]
        # 30 degrees are a severity, too.
        assert last["test_rotated_accuracy"] == rotated["accuracy"]
        for transform in ("moved", "rotated"):
            unmoved = severity(looked_at, seed, transform, 0)
            assert unmoved["accuracy"] == last["test_accuracy"]


MOVED = (("moved", 1), ("rotated", 30))


@pytest.mark.slow
def test_along_the_curve_they_end_with_the_same_values(looked_at, tmp_path):
    sets = IMAGES["test_sets"] | {"along_curve": True, "severity": False}
    found = of_images(tmp_path, test_sets=sets, figures=())
    assert not found.severity.num_rows
    for seed in range(2):
        *before, last = rows(found, 0, seed)
        assert all(0 <= row["test_moved_accuracy"] <= 1 for row in before)
        other = rows(looked_at, 0, seed)[-1]
        for metric in ("test_moved_accuracy", "test_rotated_loss"):
            assert last[metric] == pytest.approx(other[metric], rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("patience", "status"), [(2, "stopped"), (9, "finished")])
def test_with_patience_a_member_is_scored_as_it_was_at_its_best(
    tmp_path, patience, status
):
    metric = "validation_accuracy"
    early = {"early_stopping": {"patience": patience, "metric": metric}}
    rate = ({tiny.RATE: 3.0},)
    found = of_images(tmp_path, sweep=rate, figures=(), **early, num_epochs=9)
    ended = [key for key, m in members(found).items() if m["status"] == status]
    assert ended
    for key in ended:
        curve, member = rows(found, *key), members(found)[key]
        best = int(np.argmax([row[metric] for row in curve]))
        assert curve[-1]["step"] == member["steps"]
        assert status == "finished" or len(curve) - 1 - best == patience
        (row,) = (row for row in curve if row["test_moved_loss"])
        assert row["step"] == curve[best]["step"] == member["best_step"]
        unmoved = severity(found, key[1], "moved", 0)
        assert unmoved["loss"] == pytest.approx(row["test_loss"], rel=1e-6)


@pytest.mark.slow
def test_pictures_agree_with_the_curves(looked_at):
    stored = pictures.load(looked_at.workdir)
    last = [rows(looked_at, 0, seed)[-1] for seed in range(2)]
    for seed in range(2):
        confused = stored.confusion[0][seed]
        right = np.trace(confused) / confused.sum()
        assert right == pytest.approx(last[seed]["test_accuracy"], abs=1e-9)
    assert not stored.confusion[1].any()  # both of its members diverged
    assert "artifacts/pictures.npz" in looked_at.config["manifest"]
    assert looked_at.config["cohorts"][0]["flops"] == 2 * (64 * 8 + 8 * 10)


@pytest.mark.slow
def test_the_speed_of_one_network_stands_in_a_programs_last_row(looked_at):
    speeds = [
        row["inferences_per_second_batch_1"] for row in looked_at.timings.to_pylist()
    ]
    assert all(speed is None for speed in speeds[:-1])
    assert speeds[-1] > 0


@pytest.mark.slow
def test_a_share_of_active_units_is_measured_where_it_is_asked_for(finished, tmp_path):
    found = of_images(tmp_path, figures=("active_units",), test_sets={})
    for row in rows(found, 0, 0):
        assert 0 < row["test_active_share"] < 1
    assert "test_active_share" not in finished[0].metrics


# ---- Failing programs.


def failing(monkeypatch):
    """Makes the first program run out of memory at its second call."""
    train = place.PlacedProgram.train

    def fails(program, state, start, count):
        if program.index == 0 < start:
            raise MemoryError("out of memory, $5 <b>")
        return train(program, state, start, count)

    monkeypatch.setattr(place.PlacedProgram, "train", fails)


@pytest.mark.slow
def test_a_program_leaves_the_devices_when_it_ends(tmp_path, monkeypatch):
    """Otherwise the data of every program of a sweep would stay in memory."""
    made, alive = weakref.WeakSet(), {}
    init = Population.__init__

    def noted(self, *args, **kwargs):
        made.add(self)
        init(self, *args, **kwargs)

    def count(progress):
        gc.collect()
        alive[progress.program] = len(made)

    monkeypatch.setattr(Population, "__init__", noted)
    sweep = tuple({"model.hidden": (width,)} for width in (3, 4))
    run(tiny.study(sweep, num_epochs=1), tmp_path, on_progress=count)
    assert set(alive.values()) == {1}


@pytest.mark.slow
def test_a_program_that_fails_leaves_the_others_alone(monkeypatch, tmp_path, finished):
    failing(monkeypatch)
    found = run(STUDY, tmp_path)
    assert found.config["status"] == "failed"
    assert found.config["failures"] == {"0": "MemoryError: out of memory, $5 <b>"}
    assert "Traceback" in (tmp_path / "failure_0.txt").read_text()
    statuses = {key: row["status"] for key, row in members(found).items()}
    assert {statuses[3, 0], statuses[3, 1]} == {"finished"}
    assert statuses[0, 0] == "unfinished"
    assert [row["step"] for row in rows(found, 0, 0)] == [0, 8]  # before it failed
    for seed in range(2):
        assert rows(found, 3, seed) == rows(finished[0], 3, seed)
    page = report.write(tmp_path).read_text()
    assert "out of memory, $5 &lt;b&gt;" in page


def test_if_all_fail_it_says_why(monkeypatch, tmp_path):
    failing(monkeypatch)
    with pytest.raises(MemoryError, match="out of memory"):
        run(tiny.study(), tmp_path)
    assert set(results.load(tmp_path).config["failures"]) == {"0"}


# ---- Trees beside networks.

TREES = {"model.name": "boosted_trees", "model.num_trees": 12}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A network and boosted trees, on three clouds of points."""
    sweep = [{tiny.RATE: 0.1}, {**TREES, "label": "trees"}]
    study = dataclasses.replace(tiny.study(sweep), figures=("confusion", "costs"))
    return run(study, tmp_path_factory.mktemp("mixed"))


def test_trees_have_rows_in_the_same_tables(mixed):
    splits = {name: getattr(tiny.dataset(), name) for name in tiny.SIZES}
    for seed in range(2):
        fit = trees.fit(
            "boosted_trees", splits, 3, num_trees=12, depths=(3, 6, 9), seed=seed
        )
        of_seed = rows(mixed, 1, seed)
        assert [row["step"] for row in of_seed] == fit.trees.tolist()
        assert [row["epoch"] for row in of_seed] == fit.trees.tolist()
        for name in ("test_accuracy", "validation_loss", "train_accuracy"):
            assert [row[name] for row in of_seed] == fit.metrics[name].tolist()
        size = tiny.SIZES["train"]
        assert [row["examples"] for row in of_seed] == [size * n for n in fit.trees]
        member = members(mixed)[1, seed]
        assert (member["status"], member["steps"]) == ("finished", fit.trees[-1])
        assert member["best_step"] == fit.trees[-1]
        assert not member["at_chance"]
        assert of_seed[0]["batch_loss"] is None
        counts = pictures.load(mixed.workdir).confusion[1][seed]
        accuracy = of_seed[-1]["test_accuracy"]
        assert np.trace(counts) / counts.sum() == pytest.approx(accuracy)
    final = Findings(mixed).summary.to_pylist()[1]
    ends = [rows(mixed, 1, seed)[-1]["test_accuracy"] for seed in range(2)]
    assert final["test_accuracy_mean"] == pytest.approx(np.mean(ends))
    assert final["parameters"] is None
    text = report.write(mixed.workdir).with_suffix(".md").read_text()
    assert f"trees by {' '.join(trees.library('boosted_trees'))}" in text
    assert "Of trees an epoch is a round" in text


def test_each_fit_of_trees_is_timed(mixed):
    timed = [row for row in mixed.timings.to_pylist() if row["cohort"] == 1]
    assert [(row["segment"], row["members"]) for row in timed] == [(0, 1), (1, 1)]
    for seed, row in enumerate(timed):
        assert row["step"] == members(mixed)[1, seed]["steps"]
        examples = row["step"] * tiny.SIZES["train"]
        assert row["examples_per_second"] * row["train_seconds"] == pytest.approx(
            examples
        )
        assert row["inferences_per_second"] > 0


def test_trees_that_answer_the_same_to_all_are_at_chance(tmp_path):
    """Two classes of the same points, one twice as frequent as the other."""
    points = np.arange(300, dtype=np.float32)[:, None] // 3
    same = data.Dataset.from_arrays(np.tile(points, (1, 2)), np.arange(300) % 3 == 0)
    of = tiny.study([{**TREES, "model.num_trees": 1, "model.tree_depths": (1,)}])
    found = experiment.run(of, tmp_path, dataset=same)
    assert [member["at_chance"] for member in members(found).values()] == [True] * 2


def test_trees_are_scored_on_moved_images_as_networks_are(tmp_path):
    small = {**TREES, "model.num_trees": 3, "model.tree_depths": (2,)}
    sweep = ({**small, "label": "trees"},)
    found = of_images(tmp_path, sweep=sweep, root_seed=5, figures=("probabilities",))
    dataset = data.load("digits").limit(128)
    splits = {name: getattr(dataset, name) for name in tiny.SIZES}
    for seed in range(2):
        fit = trees.fit(
            "boosted_trees", splits, 10, num_trees=3, depths=(2,), seed=5 + seed
        )
        last = rows(found, 0, seed)[-1]
        assert last["test_loss"] == fit.metrics["test_loss"][-1]
        moved, rotated = (severity(found, seed, *at) for at in MOVED)
        for metric in ("accuracy", "loss"):
            still = severity(found, seed, "moved", 0)[metric]
            assert still == pytest.approx(last[f"test_{metric}"])
            assert moved[metric] == pytest.approx(last[f"test_moved_{metric}"])
            assert rotated[metric] == pytest.approx(last[f"test_rotated_{metric}"])
        shown = pictures.load(tmp_path).examples
        assert np.all(shown.before == np.float32(0.1))  # without trees, no opinion
        np.testing.assert_array_equal(shown.after[seed], fit.probabilities["test"][:6])


def test_what_takes_longest_trains_last(tmp_path):
    told: list[experiment.Progress] = []
    sweep = [{BATCH_SIZE: 1, "label": "long"}, TREES]
    run(tiny.study(sweep, num_epochs=1), tmp_path, on_progress=told.append)
    first = {p.program: p.best_label for p in told}
    assert "long" not in first[0]
    grown = [(p.status, p.epoch, p.num_epochs) for p in told if p.program == 0]
    assert grown == [("growing", n, 2) for n in range(3)]  # fits of two seeds
    assert told[-1].done == told[-1].total
    timings = results.load(tmp_path).timings["cohort"].to_pylist()
    assert timings == sorted(timings)


# ---- Further records.


def test_every_gradient_counts_where_gradients_are_asked_for(tmp_path):
    sweep = [{tiny.RATE: 0.1}]
    asked = dataclasses.replace(
        tiny.study(sweep, **tiny.DEEP), figures=("gradients",), num_seeds=1
    )
    row = rows(run(asked, tmp_path), 0, 0)[-1]
    plain = tiny.loop(tiny.DeepLinear(), optax.sgd(0.1), seed=0, num_steps=24)
    norms = [row[f"grad_norm_dense_{i}"] for i in range(4)]
    np.testing.assert_allclose(norms, plain.norms[16:].mean(axis=0), rtol=1e-4)


@pytest.mark.slow
def test_a_plane_is_predicted_cell_by_cell_in_the_units_of_the_table(tmp_path):
    """The first column is in seconds since 1970, more than float32 tells apart."""
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, [3, 9], size=(400, 2))
    labels = (points[:, 0] > 1).astype(int) + 2 * (points[:, 1] > 4)
    points += [1.7e9, 0]
    table = data.Dataset.from_arrays(points, labels, feature_names=("x", "y"))
    asked = dataclasses.replace(
        tiny.study([{tiny.RATE: 0.05}, TREES], num_epochs=60), figures=("regions",)
    )
    experiment.run(asked, tmp_path, dataset=table)
    seen = pictures.load(tmp_path).regions
    x0, x1, y0, y1 = seen.extent
    ends = [*points.min(axis=0), *points.max(axis=0)]
    np.testing.assert_allclose((x0, x1), ends[::2], rtol=1e-14)
    np.testing.assert_allclose((y0, y1), ends[1::2], rtol=1e-6)
    np.testing.assert_allclose(np.sort(seen.points[:, 0]), np.sort(points[:, 0]))
    cells = (np.arange(GRID) + 0.5) / GRID
    right, up = x0 + (x1 - x0) * cells > 1 + 1.7e9, y0 + (y1 - y0) * cells > 4
    truth = right[None, :] + 2 * up[:, None]
    for found in (seen.best, seen.worst):
        assert np.mean(found == truth) > 0.9


# ---- Tables.


@pytest.mark.slow
def test_one_table_read_in_two_ways_is_two_data_sets(tmp_path):
    lines = [f"p{i},{i % 7 if i % 9 else ''},{'xy'[i % 2]},{i % 2}" for i in range(99)]
    (tmp_path / "t.csv").write_text("\n".join(["id,n,who,label", *lines]))
    name = f"csv:{tmp_path / 't.csv'}"
    asked = {
        "dataset": name,
        "csv": {"ignore": ["id"]},
        "model": {"name": "random_forest"},
        "sweep": [{"csv.missing": how} for how in ("drop", "mean")],
        "num_seeds": 1,
        "figures": (),
    }
    found = experiment.run(Study.from_dict(asked), tmp_path / "run")
    keys = [f"{name} (csv.missing={h}, csv.ignore=id)" for h in ("drop", "mean")]
    assert list(found.config["datasets"]) == keys
    drop, mean = map(found.dataset, range(2))
    assert sum(drop[s] for s in ("train", "validation", "test")) == 88
    assert sum(mean[s] for s in ("train", "validation", "test")) == 99
    assert drop["digest"] != mean["digest"]
    page = report.write(tmp_path / "run").with_suffix(".md").read_text()
    for note in (*drop["notes"], *mean["notes"]):
        assert note in page.replace("\\", "")
    columns = [row["csv.missing"] for row in Findings(found).summary.to_pylist()]
    assert columns == ["drop", "mean"]
    again = experiment.run(found.study, tmp_path / "run", resume=True)
    assert again.curves == found.curves
