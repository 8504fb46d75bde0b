# SPDX-License-Identifier: Apache-2.0
"""Boosted trees, by either library, and random forests."""

import subprocess
import sys
from unittest import mock

import numpy as np
import pytest

from nnlab.data import Split
from nnlab.training import trees

FITTERS = [
    ("boosted_trees", "xgboost"),
    ("boosted_trees", "scikit-learn"),
    ("random_forest", "scikit-learn"),
]


@pytest.fixture(scope="module", params=FITTERS, ids=" by ".join)
def name(request):
    """Each model with each library that can fit it."""
    model, library = request.param
    with pytest.MonkeyPatch.context() as patch:
        if library == "xgboost":
            pytest.importorskip("xgboost")
        elif model == "boosted_trees":
            patch.setitem(sys.modules, "xgboost", None)
        yield model


def split(count, label, seed=0, noise=0.0, num_classes=4):
    """Draws points of a lattice; a share `noise` of their labels is random.

    On a lattice XGBoost's splits, which lie at values of the training set, cannot go
    wrong between two values.
    """
    rng = np.random.default_rng(seed)
    inputs = (rng.integers(-5, 5, (count, 2)) + 0.5).astype(np.float32)
    random = rng.integers(0, num_classes, count)
    labels = np.where(rng.random(count) < noise, random, label(inputs))
    return Split(inputs, labels.astype(np.int32))


def quadrant(inputs):
    return 2 * (inputs[:, 0] > 0) + (inputs[:, 1] > 0)


def xor(inputs):
    return inputs[:, 0] * inputs[:, 1] > 0


def splits(label=quadrant, noise=0.0):
    """Draws splits of odd sizes; "test_moved" is a further split."""
    sizes = {"train": 301, "validation": 103, "test": 101, "test_moved": 37}
    return {
        name: split(size, label, seed, noise)
        for seed, (name, size) in enumerate(sizes.items())
    }


NOISY = splits(noise=0.3)


def fit(name, data, **changes):
    settings = {"num_trees": 12, "depths": (1, 3), "seed": 0, **changes}
    return trees.fit(name, data, settings.pop("num_classes", 4), **settings)


@pytest.fixture(scope="module")
def noisy(name):
    """A fit to noisy data; its training metrics are of the first 7 examples."""
    return fit(name, NOISY, train_evaluation_size=7)


@pytest.fixture
def scored(monkeypatch):
    """Records the numbers of scored examples, call by call."""
    calls, scores = [], trees.score

    def count(probabilities, labels, unit=None):
        calls.append(len(labels))
        return scores(probabilities, labels, unit)

    monkeypatch.setattr(trees, "score", count)
    return calls


def by_hand(probabilities, labels):
    right, loss = 0, 0.0
    for row, label in zip(probabilities.tolist(), labels):
        right += row.index(max(row)) == label
        loss -= np.log(max(row[label], 1e-7))
    return right / len(labels), loss / len(labels)


def test_the_record_names_what_fits_the_model(name, request):
    library, version = trees.library(name)
    assert library == request.node.callspec.params["name"][1]
    assert version.split(".")[0].isdigit()


def test_metrics_are_those_of_the_predictions(noisy):
    assert {key.rpartition("_")[0] for key in noisy.metrics} == set(NOISY)
    for part, examples in NOISY.items():
        count = 7 if part == "train" else len(examples.labels)
        inputs, labels = examples.inputs[:count], examples.labels[:count]
        accuracy, loss = by_hand(noisy.predict(inputs), labels)
        assert noisy.metrics[f"{part}_accuracy"][-1] == accuracy
        np.testing.assert_allclose(noisy.metrics[f"{part}_loss"][-1], loss, rtol=1e-9)


def test_probabilities_are_those_of_every_test_example(noisy):
    assert noisy.probabilities["test"].dtype == np.float32
    assert noisy.probabilities["test"].shape == (101, 4)
    np.testing.assert_allclose(noisy.probabilities["test"].sum(axis=1), 1, rtol=1e-5)
    one_by_one = [noisy.predict(row[None])[0] for row in NOISY["test"].inputs[:20]]
    np.testing.assert_array_equal(noisy.probabilities["test"][:20], one_by_one)


def test_a_seed_gives_the_same_bytes_on_any_number_of_cores(name, noisy, monkeypatch):
    monkeypatch.setattr(trees, "num_cores", lambda: 3)
    again, other = (
        fit(name, NOISY, seed=seed, train_evaluation_size=7) for seed in (0, 6)
    )
    assert (
        noisy.probabilities["test"].tobytes() == again.probabilities["test"].tobytes()
    )
    for key, values in noisy.metrics.items():
        assert values.tobytes() == again.metrics[key].tobytes()
    assert noisy.candidates == again.candidates
    assert not np.array_equal(noisy.probabilities["test"], other.probabilities["test"])


def test_boosting_of_little_data_leaves_cores_to_other_fits(monkeypatch):
    monkeypatch.setattr(trees, "num_cores", lambda: 3)
    little, much = (
        Split(np.zeros((count, 784), np.uint8), np.zeros(count, np.int32))
        for count in (1_000, 20_000)
    )
    found = [trees.at_once("boosted_trees", train) for train in (little, much)]
    assert found == [3, 1]
    assert trees.at_once("random_forest", little) == 1


def test_the_number_with_the_lowest_validation_loss_is_kept(name):
    found = fit(name, splits(noise=0.5), num_trees=60, depths=(4,))
    losses = found.metrics["validation_loss"]
    assert np.argmin(losses) == len(losses) - 1
    kept = found.trees[-1]
    assert found.trees.tolist() == [n for n in (1, 2, 5, 10, 20, 50) if n < kept] + [
        kept
    ]
    # The kept number does not depend on how many more there might be.
    again = fit(name, splits(noise=0.5), num_trees=int(kept), depths=(4,))
    assert again.trees[-1] == kept
    np.testing.assert_allclose(
        again.probabilities["test"], found.probabilities["test"], atol=1e-6
    )


def test_boosting_ends_when_validation_gets_no_better(name, scored):
    if name == "random_forest":
        pytest.skip("a forest grows whole")
    found = fit(name, splits(noise=1.0), num_trees=2_000, depths=(3,))
    assert found.trees[-1] + trees.PATIENCE <= len(scored) < 200


def test_curves_begin_with_the_first_tree(name):
    first = fit(name, NOISY, num_trees=1, depths=(3,))
    assert first.trees.tolist() == [1]
    found = fit(name, NOISY, num_trees=30, depths=(3,))
    assert len(found.trees) > 2
    for key, values in found.metrics.items():
        np.testing.assert_allclose(values[:1], first.metrics[key], rtol=1e-6)


def test_validation_chooses_the_depth(name):
    # Stumps add up functions of one feature each, which cannot separate XOR's classes.
    found = fit(name, splits(xor), depths=(1, 9), num_classes=2, num_trees=40)
    assert found.depth == 9
    assert found.candidates[1] < 0.7
    assert found.candidates[9] > 0.95
    assert found.candidates[9] == found.metrics["validation_accuracy"][-1]
    assert found.probabilities["test"].shape == (101, 2)


def test_of_equal_depths_the_smaller_is_chosen(name):
    # One split separates the classes of a single feature; there is no further one.
    line = {
        part: Split(
            examples.inputs[:, :1], (examples.inputs[:, 0] > 0).astype(np.int32)
        )
        for part, examples in splits().items()
    }
    found = fit(name, line, depths=(3, 1), num_classes=2)
    assert found.candidates == {1: 1, 3: 1}
    assert found.depth == 1


def test_a_class_that_is_not_trained_is_never_the_answer(name):
    data = splits()
    kept = data["train"].labels != 1
    data["train"] = Split(data["train"].inputs[kept], data["train"].labels[kept])
    found = fit(name, data)
    assert found.probabilities["test"].shape == (101, 4)
    assert 1 not in np.argmax(found.probabilities["test"], axis=1)
    others = np.mean(data["test"].labels != 1)
    assert found.metrics["test_accuracy"][-1] == others
    assert np.isfinite(found.metrics["test_loss"]).all()
    if trees.library(name)[0] == "scikit-learn":
        assert not found.probabilities["test"][:, 1].any()
        assert found.metrics["test_loss"][-1] > (1 - others) * -np.log(1e-7)
    alone = fit(name, {**data, "train": split(50, lambda inputs: 2)})
    assert (np.argmax(alone.probabilities["test"], axis=1) == 2).all()


def test_images_are_rows_of_pixels(name):
    rng = np.random.default_rng(0)
    images = {}
    for part in ("train", "validation", "test"):
        pixels = rng.integers(0, 256, (97, 3, 2, 1), dtype=np.uint8)
        images[part] = Split(pixels, (pixels[:, 2, 1, 0] > 99).astype(np.int32))
    found = fit(name, images, num_classes=2)
    assert found.metrics["test_accuracy"][-1] > 0.9
    np.testing.assert_array_equal(
        found.predict(images["test"].inputs), found.probabilities["test"]
    )


def test_fitting_is_timed_without_the_evaluation(name, scored, monkeypatch):
    monkeypatch.setattr(trees.time, "perf_counter", lambda: 9 + len(scored))
    found = fit(name, splits())
    # The choice scores validation; the training set, 301 examples, comes after.
    assert found.seconds == scored.index(301) > 0


@pytest.mark.parametrize(("features", "bins"), [(784, 64), (2, 256)])
def test_many_features_have_fewer_bins(features, bins, monkeypatch):
    xgboost = pytest.importorskip("xgboost")
    matrix = mock.Mock(wraps=xgboost.QuantileDMatrix)
    monkeypatch.setattr(xgboost, "QuantileDMatrix", matrix)
    some = Split(np.eye(8, features, dtype=np.float32), np.arange(8) % 4)
    fit("boosted_trees", dict.fromkeys(("train", "validation", "test"), some))
    assert {call.kwargs["max_bin"] for call in matrix.call_args_list} == {bins}


def test_the_first_of_equal_probabilities_is_the_answer():
    even = np.full((3, 2), 0.5, np.float32)
    got = trees.score(even, np.array([0, 1, 1], np.int32))
    np.testing.assert_allclose(got, (1 / 3, np.log(2)))


def test_importing_it_loads_no_library():
    heavy = "{'jax', 'sklearn', 'xgboost'}"
    code = (
        f"import sys, nnlab.training.trees; sys.exit(bool({heavy} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
