# SPDX-License-Identifier: Apache-2.0
"""A regression from data to report, against NumPy and scikit-learn."""

import json

import numpy as np
import pytest
from sklearn import metrics

import nnlab
from nnlab.data import Dataset

RNG = np.random.default_rng(0)
X = RNG.normal(size=(240, 3)).astype(np.float32)
Y = np.stack([100 * X @ [1, 2, 3] + 9, X[:, 0] * X[:, 1]], axis=1) + 0.5
RATES = {"optimizer.learning_rate": [0.003, 0.1]}
FIGURES = "curves", "final", "target", "gap", "map", "extremes", "confusion"


@pytest.fixture(scope="module")
def data():
    return Dataset.from_arrays(X, Y, class_names=["price", "size"])


@pytest.fixture(scope="module")
def found(data, tmp_path_factory):
    return nnlab.run(
        dataset=data,
        sweep=RATES,
        num_seeds=3,
        num_epochs=12,
        claims=["test_r2(learning_rate=0.1) > chance"],
        figures=FIGURES,
        workdir=tmp_path_factory.mktemp("regression") / "run",
        show=False,
    )


@pytest.mark.slow
def test_metrics_are_those_of_scikit_learn_in_the_users_units(data, found):
    last = found.curves().groupby(["trial", "seed"]).tail(1)
    row = last[(last["trial"] == 1) & (last["seed"] == 2)].iloc[0]
    said = found.network(1, 2).predict(data.test.inputs)
    right = data.test.labels * data.target_unit + data.target_mean
    assert said.shape == (len(right), 2)
    mae = metrics.mean_absolute_error(right, said)
    assert row["test_mae"] == pytest.approx(mae, rel=1e-4)
    units = (right / data.target_unit, said / data.target_unit)
    r2 = metrics.r2_score(*units, multioutput="variance_weighted")
    assert row["test_r2"] == pytest.approx(r2, abs=1e-5)
    half = ((units[0] - units[1]) ** 2).sum(axis=1).mean() / 2
    assert row["test_loss"] == pytest.approx(half, rel=1e-4)
    assert not any("accuracy" in column for column in last)


@pytest.mark.slow
def test_the_report_speaks_of_numbers(found):
    assert found.best == 1
    (verdict,) = found.findings.verdicts
    assert (verdict.verdict, verdict.right) == ("supported", 0.0)
    page = found.report().path.read_text()
    assert "accuracy" not in page.partition("<main")[2].partition("held fixed")[0]
    drawn = {path.stem for path in (found.workdir / "figures").glob("*.svg")}
    assert {"final_test_r2", "curves_validation_r2", "curves_train_loss"} <= drawn
    record = json.loads((found.workdir / "config.json").read_text())
    (about,) = record["datasets"].values()
    assert (about["classes"], about["chance"]) == (["price", "size"], 0.0)


@pytest.mark.slow
def test_a_saved_network_predicts_in_the_users_units(data, found, tmp_path):
    found.network(1, 0).save(tmp_path / "network")
    again = nnlab.load_network(tmp_path / "network")
    said = found.network(1, 0).predict(data.test.inputs)
    np.testing.assert_array_equal(again.predict(data.test.inputs), said)


@pytest.mark.parametrize("model", ["boosted_trees", "random_forest"])
def test_trees_are_regressors(model, tmp_path):
    one = Dataset.from_arrays(X, Y[:, 0])
    trees = nnlab.run(
        dataset=one,
        num_seeds=1,
        workdir=tmp_path / "trees",
        show=False,
        **{"model.name": model, "model.num_trees": 20, "model.tree_depths": (4,)},
    )
    last = trees.curves().iloc[-1]
    assert 0.6 < last["test_r2"] < 1
    assert last["test_mae"] < Y[:, 0].std()
    assert "Test R² is" in trees.answer[0]


@pytest.mark.slow
def test_patience_halving_and_splits_go_by_the_loss(data, tmp_path):
    run = nnlab.run(
        dataset=data,
        sweep=RATES,
        num_seeds=2,
        num_epochs=6,
        vary=("init", "split"),
        workdir=tmp_path / "run",
        show=False,
        **{"early_stopping.patience": 2, "halving.factor": 2, "halving.min_epochs": 2},
    )
    best = run.curves().groupby(["trial", "seed"])["validation_loss"].idxmin()
    steps = run.curves().loc[best, "step"].to_numpy()
    kept = run.members()["best_step"].to_numpy()
    assert np.array_equal(steps, kept)
    facts = run.table("how")
    assert "early_stopping.metric" not in facts


def test_classes_alone_have_smoothed_labels_and_hinges(data, tmp_path):
    for name, value, said in [
        ("loss.label_smoothing", 0.1, "needs classes"),
        ("loss.name", "hinge", "needs classes.*squared_error"),
    ]:
        with pytest.raises(ValueError, match=said):
            nnlab.run(dataset=data, workdir=tmp_path, show=False, **{name: value})


@pytest.mark.parametrize("model", ["mlp", "boosted_trees"])
def test_targets_that_do_not_differ_are_refused(model, tmp_path):
    rng = np.random.default_rng(0)
    inputs, targets = rng.normal(size=(60, 3)), rng.normal(size=60)
    equal = (inputs, targets, inputs[:5], np.full(5, 0.5))
    with pytest.raises(ValueError, match="all test targets of arrays are equal"):
        nnlab.run(
            dataset=equal, model={"name": model}, show=False, workdir=tmp_path / "run"
        )


@pytest.mark.slow
def test_images_with_numbers_are_scored_on_moved_sets_too(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, size=(80, 6, 6, 1), dtype=np.uint8)
    targets = images[:, :3].mean(axis=(1, 2, 3)) - images[:, 3:].mean(axis=(1, 2, 3))
    found = nnlab.run(
        dataset=(images, targets),
        test_sets={"moved_pixels": 1},
        figures=("test_sets", "costs"),
        sweep={"optimizer.learning_rate": [0.01, 0.1]},
        num_seeds=3,
        num_epochs=3,
        show=False,
        workdir=tmp_path / "run",
    )
    assert "R²" in found.report().path.read_text()
    assert {"test_moved_r2_mean", "test_moved_r2_drop_mean"} <= {*found.summary()}
    assert found.plot() is not None
