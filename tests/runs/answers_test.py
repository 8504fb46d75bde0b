# SPDX-License-Identifier: Apache-2.0
"""What final networks said of each example agrees with the tables."""

import dataclasses
import pathlib
import shutil

import pytest
import tiny

import nnlab
from nnlab import results
from nnlab.results import answers
from nnlab.runs import experiment
from nnlab.statistics.findings import Findings
from nnlab.study import Study

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("compiled_fast")]

POINTS = tiny.study(
    [
        *({tiny.RATE: rate, "early_stopping.patience": 2} for rate in (0.1, 0.3, 3.0)),
        {tiny.RATE: 1e30, "label": "lost"},
        {"model.dropout_rate": 0.3, "model.batch_norm": True},
        {"model.name": "boosted_trees", "model.num_trees": 3},
        {"model.name": "random_forest", "model.num_trees": 3},
    ],
    num_seeds=3,
    num_epochs=12,
)
IMAGES = {
    "dataset": "digits",
    "train_size": 96,
    "eval_size": 50,
    "batch_size": 32,
    "num_epochs": 2,
    "num_seeds": 2,
    "figures": ("active_units",),
    "test_sets": {"moved_pixels": 1, "rotated_degrees": 30},
    "example_losses": True,
}
NETWORKS = [
    {"model.hidden": (8, 8), "model.batch_norm": True},
    {"model.name": "cnn"},
    {"model.name": "boosted_trees", "model.num_trees": 2},
]


def check(found: results.Results, *splits: str) -> int:
    """Compares means over examples with the tables; returns how many networks."""
    compared = 0
    for trial in (t.index for t in found.trials):
        status = found.member(trial, "status")
        patience = found.trials[trial].hyperparameters.early_stopping.patience
        steps = found.member(trial, "best_step" if patience else "steps")
        for split in splits:
            right, losses = found.correct(trial, split), found.losses(trial, split)
            accuracy, loss = (found.curve(trial, f"{split}_{m}") for m in METRICS)
            assert right.dtype == bool
            for seed, ended in enumerate(status):
                if ended not in (results.FINISHED, results.STOPPED):
                    assert not right[seed].any()
                    continue
                at = accuracy.steps == steps[seed]
                assert right[seed].mean() == accuracy.values[seed][at]
                compared += split == splits[0]
                if losses is not None:
                    mean = losses[seed].mean(dtype=float)
                    assert mean == pytest.approx(*loss.values[seed][at], rel=1e-5)
    return compared


METRICS = ("accuracy", "loss")


@pytest.mark.parametrize("width", [2, 3])
def test_means_are_those_of_the_tables(width, tmp_path):
    """For networks that finished, stopped, diverged; batch norm, dropout and trees."""
    found = experiment.run(POINTS, tmp_path, dataset=tiny.dataset(), lane_width=width)
    ends = found.members["status"].to_pylist()
    assert {results.STOPPED, results.DIVERGED, results.FINISHED} == set(ends)
    assert check(found, "validation", "test") == 18
    assert found.losses(0, "test") is None
    summary = Findings(found).summary.to_pylist()
    for trial in (0, 4, 5):
        mean = found.correct(trial, "test").mean(axis=1).mean()
        assert mean == pytest.approx(summary[trial]["test_accuracy_mean"], abs=1e-15)
    assert answers.CORRECT in found.config["manifest"]
    assert not (tmp_path / answers.LOSSES).exists()


@pytest.mark.parametrize("along", [False, True])
def test_means_on_moved_images_and_losses_are_those_of_the_tables(along, tmp_path):
    sets = {**IMAGES["test_sets"], "along_curve": along}
    study = Study.from_dict({**IMAGES, "sweep": NETWORKS, "test_sets": sets})
    found = experiment.run(study, tmp_path)
    assert check(found, *answers.SPLITS) == 6
    for trial in found.trials:
        assert found.losses(trial.index, "test_rotated").shape == (2, 50)
    still, moved = (found.correct(2, split) for split in ("test", "test_moved"))
    assert (still != moved).any()
    assert {answers.CORRECT, answers.LOSSES} <= set(found.config["manifest"])


@pytest.mark.long
def test_means_of_a_resnet_are_those_of_the_tables(tmp_path):
    study = Study.from_dict({**IMAGES, "model": {"name": "resnet18"}})
    assert check(experiment.run(study, tmp_path), *answers.SPLITS) == 2


def test_added_seeds_trials_and_epochs_leave_the_bytes_of_one_run(tmp_path):
    """A program that went on and a new one, beside seeds in a program of their own."""

    def run(folder: str, rates, **changes) -> results.Results:
        study = tiny.study(tiny.rates(*rates), **changes)
        made = dataclasses.replace(study, example_losses=True)
        options = {"dataset": tiny.dataset(), "lane_width": 1}
        return experiment.run(made, tmp_path / folder, resume=True, **options)

    run("grown", [0.1])
    run("grown", [0.1], num_epochs=5)
    grown = run("grown", [0.1, 0.3], num_epochs=5, num_seeds=3)
    whole = run("whole", [0.1, 0.3], num_epochs=5, num_seeds=3)
    assert check(grown, "validation", "test") == 6
    for file in (answers.CORRECT, answers.LOSSES):
        first, other = (one.workdir / file for one in (grown, whole))
        assert first.read_bytes() == other.read_bytes()


def test_runs_of_an_earlier_nnlab_have_none_and_go_on(tmp_path):
    """Their checkpoints, too, lack them; a network without its own hides a trial's."""
    options = {"dataset": tiny.dataset(), "lane_width": 2}
    experiment.run(tiny.study(), tmp_path, **options)
    forget_answers(tmp_path)
    assert results.load(tmp_path).correct(0, "test") is None
    more = tiny.study(({tiny.RATE: 0.1}, {tiny.RATE: 0.3}), num_seeds=3)
    found = experiment.run(more, tmp_path, resume=True, **options)
    assert found.correct(0, "test") is None
    assert found.correct(1, "test").shape == (3, tiny.SIZES["test"])
    with pytest.raises(
        ValueError, match=r"all networks of .*an earlier nnlab began it"
    ):
        nnlab.load(tmp_path).correct("test")


def forget_answers(workdir: pathlib.Path) -> None:
    """Leaves what a run left before there were answers."""
    (workdir / answers.CORRECT).unlink()
    config = results.load_config(workdir)
    names = [*results.TABLES, results.TIMINGS_FILE]
    files = {name: (workdir / name).read_bytes() for name in names}
    results.write(workdir, {k: v for k, v in config.items() if k != "manifest"}, files)
    path = max((workdir / "checkpoints" / "program_0").glob("[0-9]"))
    shutil.rmtree(path / "correct")
    tiny.rewrite_about(path, lambda about: about)
