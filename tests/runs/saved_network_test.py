# SPDX-License-Identifier: Apache-2.0
"""A network taken from a run predicts what the run measured, also after saving."""

import copy
import json
import pickle  # scan: allowed

import flax.linen as nn
import jax
import numpy as np
import orbax.checkpoint as ocp
import pandas as pd
import pytest
import safetensors.numpy
import tiny

import nnlab
from nnlab import data, results
from nnlab.data import Dataset
from nnlab.runs import experiment, saved_network

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("compiled_fast")]

TEST = tiny.dataset().test
SWEEP = (
    {tiny.RATE: 0.1},
    {tiny.RATE: 0.3, "model.dropout_rate": 0.2},
    {tiny.RATE: 0.1, "model.batch_norm": True, "standardize": True},
    {"model.name": "random_forest", "model.num_trees": 3},
)
STUDY = tiny.study(SWEEP, **{"model.hidden": (8,), "model.depth": 3})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("network") / "run"
    return experiment.run(STUDY, folder, dataset=tiny.dataset())


def accuracy_of(found):
    return np.mean(found.predict(TEST.inputs) == TEST.labels)


@pytest.mark.parametrize(("trial", "seed"), [(0, 0), (1, 1), (2, 0)])
def test_it_is_the_network_that_was_measured(finished, trial, seed):
    found = saved_network.of_member(finished.workdir, trial, seed)
    measured = finished.curve(trial, "test_accuracy").values[seed, -1]
    assert accuracy_of(found) == pytest.approx(measured, abs=1e-6)
    chances = found.probabilities(TEST.inputs)
    assert chances.shape == (len(TEST.labels), 3)
    loss = -np.log(chances[np.arange(len(chances)), TEST.labels]).mean()
    stored = finished.curve(trial, "test_loss").values[seed, -1]
    assert loss == pytest.approx(stored, rel=1e-5)
    assert found.about["label"] == finished.trials[trial].label
    assert found.num_parameters == finished.program(trial)["parameters"]


def test_pickled_copied_or_loaded_it_predicts_the_same(finished, tmp_path):
    found = saved_network.of_member(finished.workdir, 2, 1)
    chances = found.probabilities(TEST.inputs)  # compiled, which cannot be pickled
    names = ("net.safetensors", "checkpoint")
    for again in (
        pickle.loads(pickle.dumps(found)),  # scan: allowed
        copy.deepcopy(found),
        *(saved_network.load(found.save(tmp_path / "some" / name)) for name in names),
    ):
        np.testing.assert_array_equal(again.probabilities(TEST.inputs), chances)
        assert again.about == json.loads(json.dumps(found.about))


def test_other_programs_can_read_what_was_saved(finished, tmp_path):
    found = saved_network.of_member(finished.workdir, 0, 0)
    kernel = found.variables["params"]["dense_0"]["kernel"]
    arrays = safetensors.numpy.load_file(found.save(tmp_path / "net.safetensors"))
    np.testing.assert_array_equal(arrays["params/dense_0/kernel"], kernel)
    folder = found.save(tmp_path / "checkpoint")
    with ocp.StandardCheckpointer() as reader:
        stored = reader.restore(folder.absolute() / "arrays")
    np.testing.assert_array_equal(stored["params/dense_0/kernel"], kernel)
    with pytest.raises(FileExistsError, match="checkpoint' exists"):
        found.save(folder)


@pytest.mark.parametrize("status", [results.STOPPED, results.FINISHED])
def test_one_with_patience_is_at_its_best_whether_it_stopped_or_not(tmp_path, status):
    patience = {results.STOPPED: 2, results.FINISHED: 40}[status]
    early = {"early_stopping.patience": patience, "num_epochs": 40}
    study = tiny.study(tiny.rates(1.0), **early)
    found = experiment.run(study, tmp_path / "run", dataset=tiny.dataset())
    assert set(found.member(0, "status")) == {status}
    assert (found.member(0, "best_step") < found.member(0, "steps")).all()
    for seed in range(2):
        best = int(found.member(0, "best_step")[seed])
        curve = found.curve(0, "test_accuracy")
        measured = curve.values[seed, curve.steps.tolist().index(best)]
        one = saved_network.of_member(found.workdir, 0, seed)
        assert accuracy_of(one) == pytest.approx(measured, abs=1e-6)


def test_a_probed_network_holds_its_backbone(tmp_path):
    h = {"dataset": "digits", "model.hidden": (8,), "train_size": 200, "num_epochs": 2}
    h |= {"transfer.source": "digits", "transfer.num_epochs": 1}
    study = tiny.study([{"transfer.mode": m} for m in ("probing", "tuning")], **h)
    found = experiment.run(study, tmp_path / "run")
    test = data.load("digits").test
    for trial in (0, 1):
        one = saved_network.of_member(found.workdir, trial, 1)
        answers = saved_network.load(one.save(tmp_path / f"{trial}")).predict(
            test.inputs
        )
        measured = found.curve(trial, "test_accuracy").values[1, -1]
        assert np.mean(answers == test.labels) == pytest.approx(measured, abs=1e-6)


@pytest.fixture(scope="module")
def of_frame(tmp_path_factory):
    """A network that separates early and late seconds since 1970, and its examples."""
    late = np.arange(200) % 2
    rng = np.random.default_rng(0)
    when = 1.7e9 + 10 * late + rng.normal(size=200)
    frame = pd.DataFrame({"when": when, "noise": rng.normal(size=200)})
    names = np.array(["early", "late"])[late]
    study = tiny.study(**{tiny.RATE: 0.3}, num_epochs=10)
    folder = tmp_path_factory.mktemp("frame") / "run"
    own = Dataset.from_arrays(frame, names, name="frame")
    experiment.run(study, folder, dataset=own)
    return saved_network.of_member(folder, 0, 0), frame, names


def test_it_predicts_the_users_own_labels_from_columns_by_name(of_frame, tmp_path):
    found, frame, names = of_frame
    loaded = [
        saved_network.load(found.save(tmp_path / n)) for n in ("a.safetensors", "b")
    ]
    for one in (found, *loaded):
        assert one.predict(frame[["noise", "when"]]).tolist() == names.tolist()
        assert one.predict(frame.to_numpy()).tolist() == names.tolist()
        assert one.codes(frame).tolist() == (names == "late").tolist()
    for wrong, words in (
        (frame.drop(columns="when"), "lack 'when'"),
        (frame.assign(label=names), "also have 'label'"),
        (frame.assign(when=np.nan), "200 of 200 values of column 'when'"),
        (np.ma.masked_array(frame, mask=frame > 0), "masked"),
    ):
        with pytest.raises(ValueError, match=words):
            found.predict(wrong)


def rewritten(finished, tmp_path, change):
    """Returns a saved network, and its file with other plain values."""
    found = saved_network.of_member(finished.workdir, 0, 0)
    path = found.save(tmp_path / "net.safetensors")
    about = {"nnlab": json.dumps(change(dict(found.about)))}
    safetensors.numpy.save_file(safetensors.numpy.load_file(path), path, about)
    return found, path


def test_a_network_of_an_older_version_predicts_names(finished, tmp_path):
    def older(about):
        return {k: v for k, v in about.items() if k not in ("labels", "origin")}

    found, path = rewritten(finished, tmp_path, older)
    names = saved_network.load(path).predict(TEST.inputs)
    assert names.tolist() == found.predict(TEST.inputs).astype(str).tolist()


@pytest.mark.parametrize(
    "damage",
    [
        {"labels": {"dtype": "<i8", "values": [1]}},
        {"labels": {"dtype": "O", "values": [1, 2, 3]}},
        {"labels": {"dtype": "<i8", "values": [0, 1, 2**64]}},
        {"labels": {"dtype": "?!", "values": [0, 1, 2]}},
        {"labels": [0, 1, 2]},
        {"origin": [1.0, 2.0]},
        {"origin": "far"},
    ],
)
def test_damaged_labels_and_origins_are_refused(finished, tmp_path, damage):
    _, path = rewritten(finished, tmp_path, lambda about: about | damage)
    with pytest.raises(ValueError, match="no network that nnlab saved"):
        saved_network.load(path)


class Own(nn.Module):
    """A module of one's own."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        return nn.Dense(3)(nn.tanh(nn.Dense(5)(x)))


class Sigmoid(nn.Module):
    """Another one, with the parameters of `Own`."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        return nn.Dense(3)(nn.sigmoid(nn.Dense(5)(x)))


def test_a_module_of_ones_own_is_asked_for(tmp_path):
    study = tiny.study()
    run = experiment.run(study, tmp_path / "a", dataset=tiny.dataset(), module=Own())
    with pytest.raises(ValueError, match="a module of its own, 'Own': hand it in"):
        saved_network.of_member(run.workdir, 0, 0)
    found = saved_network.of_member(run.workdir, 0, 0, module=Own())
    measured = run.curve(0, "test_accuracy").values[0, -1]
    assert accuracy_of(found) == pytest.approx(measured, abs=1e-6)
    path = found.save(tmp_path / "own.safetensors")
    assert accuracy_of(saved_network.load(path, module=Own())) == accuracy_of(found)
    for other, message in (
        (tiny.DeepLinear(), "does not fit: Dense_0/bias of module 'DeepLinear' was"),
        (Sigmoid(), "does not fit: module was 'Own' and is 'Sigmoid' now"),
    ):
        with pytest.raises(ValueError, match=message):
            saved_network.load(path, module=other)


def test_images_may_come_without_their_channel(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(60, 4, 4), dtype=np.uint8)
    pictures = Dataset.from_arrays(images, np.arange(60) % 3)
    run = experiment.run(tiny.study(num_epochs=1), tmp_path / "a", dataset=pictures)
    found = saved_network.of_member(run.workdir, 0, 0)
    np.testing.assert_array_equal(
        found.probabilities(images), found.probabilities(images[..., None])
    )
    assert found.predict(images[:0]).shape == (0,)
    for wrong in (images[0], images[:, :3], 5):
        with pytest.raises(ValueError, match=r"takes numbers of shape \(N, 4, 4, 1\)"):
            found.predict(wrong)


@pytest.mark.slow
def test_tokens_outside_of_the_vocabulary_are_refused(tmp_path):
    found = nnlab.run(
        dataset="modular_addition:5",
        batch_size=4,
        num_epochs=1,
        num_seeds=1,
        show=False,
        workdir=tmp_path / "run",
    )
    network = found.network()
    assert network.predict([[3, 4]]).shape == (1,)
    for tokens in ([[3, 5]], [[-1, 0]], [[3, 1.5]]):
        with pytest.raises(ValueError, match="whole numbers from 0 to 4"):
            network.predict(tokens)


def test_what_is_no_network_is_refused(finished, tmp_path):
    for trial, seed, message in (
        (4, 0, "no trial 4 with seed 0 in .* trials are 0 to 3, seeds 0 to 1"),
        (0, 2, "no trial 0 with seed 2"),
        (3, 0, "is of trees, not a network"),
    ):
        with pytest.raises(ValueError, match=message):
            saved_network.of_member(finished.workdir, trial, seed)
    with pytest.raises(FileNotFoundError, match="no network"):
        saved_network.load(tmp_path / "none")
    safetensors.numpy.save_file({"a": np.zeros(1)}, tmp_path / "a.safetensors")
    (tmp_path / "b.safetensors").write_bytes(b"nothing")
    for name in ("a.safetensors", "b.safetensors", ""):
        with pytest.raises(ValueError, match="is no network that nnlab saved"):
            saved_network.load(tmp_path / name)


def test_a_run_that_was_cut_off_has_no_network_yet(tmp_path):
    def stop(progress):
        if progress.evaluation:
            raise KeyboardInterrupt

    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        experiment.run(tiny.study(), folder, dataset=tiny.dataset(), on_progress=stop)
    assert list((folder / "checkpoints" / "program_0").glob("*.sha256"))
    with pytest.raises(ValueError, match="has no checkpoint of its end"):
        saved_network.of_member(folder, 0, 0)
