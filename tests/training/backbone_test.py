# SPDX-License-Identifier: Apache-2.0
"""Backbones: how they are cut off and stored, and programs that start from them."""

import dataclasses
import hashlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import published_resnet
import pytest
import safetensors.numpy
import tiny

from nnlab import data, report
from nnlab.models.stack import LEAST_RUN, Stack
from nnlab.results import pictures
from nnlab.runs import experiment
from nnlab.study import Hyperparameters, MovedSets, Study
from nnlab.training import backbone as transfer
from nnlab.training import member, place, prepare
from nnlab.training.prepare import networks

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("compiled_fast")]

SOURCE = "real_or_generated:digits"
SMALL = {
    "dataset": "digits",
    "train_size": 64,
    "batch_size": 16,
    "num_epochs": 2,
    "model.hidden": (6,),
    "model.batch_norm": True,
    "optimizer.name": "adam",
    "transfer.source": SOURCE,
    "transfer.train_size": 320,
    "transfer.num_epochs": 2,
}


def study(*modes, rate=0.01, **overrides):
    sweep = tuple({"transfer.mode": m, tiny.RATE: rate} for m in modes)
    base = Hyperparameters().replace(SMALL | overrides)
    return Study(base=base, sweep=sweep, num_seeds=2)


ALL_MODES = dataclasses.replace(
    study("scratch", "probing", "tuning", standardize=True),
    test_sets=MovedSets(moved_pixels=1, severity=True),
    figures=("active_units", "confusion"),
)
SCRATCH, PROBING, TUNING = range(3)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """The results of `ALL_MODES`, its backbones, and the calls of its callback."""
    told, made = [], []
    keep = experiment.Recorder.add_backbone

    def noted(self, backbone):
        made.append(backbone)
        keep(self, backbone)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment.Recorder, "add_backbone", noted)
        folder = tmp_path_factory.mktemp("shared")
        found = experiment.run(ALL_MODES, folder, lane_width=2, on_progress=told.append)
    assert found.config["failures"] == {}
    return found, made, told


def rows(found, trial, seed):
    table = found.curves.to_pylist()
    return [row for row in table if (row["trial"], row["seed"]) == (trial, seed)]


# ---- The backbone.


def test_the_head_is_a_dense_layer_as_the_network_would_have_it():
    dense = {"layer": "dense", "units": 4}
    head = transfer.head(Stack([dense], initializer="zeros", dtype="bfloat16"), 7)
    (layer,) = head.layers
    assert {"layer": "dense", "name": "head", "units": 7}.items() <= dict(layer).items()
    assert (head.initializer, head.dtype) == ("zeros", "bfloat16")


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Dense(3), "model of nnlab's own, not Dense"),
        (Stack(["flatten", {"layer": "dense", "units": 3}]), "hidden layers"),
    ],
)
def test_what_has_no_backbone_is_refused(module, message):
    with pytest.raises(ValueError, match=message):
        transfer.backbone_of(module)


@pytest.mark.parametrize(
    ("count", "depth"), [(3, LEAST_RUN + 1), (transfer.FEATURES_AT_ONCE + 5, 1)]
)
def test_under_its_last_layer_features_are_the_networks_answers(count, depth):
    """In evaluation, by running statistics; also with equal layers in a loop."""
    hidden = {"model.hidden": (6,), "model.depth": depth}
    (program,) = networks(study("tuning", **hidden))
    recipe, last = program.recipe, program.recipe.layers[-1]
    traced = {k: jnp.float32(v[0]) for k, v in program.members.traced().items()}
    state = member.init_state(recipe, traced, jax.random.key(1))
    stats = jax.tree.map(lambda leaf: leaf + 0.5, state.batch_stats)
    params = {k: v for k, v in state.params.items() if k != last}
    backbone = transfer.Backbone(params, stats, {})
    inputs = program.dataset.train.inputs
    inputs = np.resize(inputs, (count, *inputs.shape[1:]))
    found = transfer.features(program.source.whole, backbone, inputs)
    assert (found.shape, found.dtype) == ((count, 6), np.float32)
    kernel, bias = (np.asarray(state.params[last][k]) for k in ("kernel", "bias"))
    wanted = recipe.module.apply(
        {"params": state.params, "batch_stats": stats},
        inputs / np.float32(16),
        train=False,
    )
    np.testing.assert_allclose(found @ kernel + bias, wanted, rtol=1e-4, atol=1e-5)


# ---- Programs.


def test_a_population_begins_at_given_layers_and_keeps_its_own_last_one():
    of = tiny.study(tiny.rates(0.1, 0.2), **{"model.batch_norm": True})
    members = tiny.population(of, patience=1)
    state = members.init()
    before = members.gather(state)
    given = {"dense_0": {"kernel": np.full((6, 8), 2.5), "bias": np.ones(8)}}
    stats = {"batch_norm_0": {"mean": np.full(8, 3.5), "var": np.full(8, 4.5)}}
    begun = members.begin_at(state, given, stats)
    after = members.gather(begun)
    for at, kept in ((after, before), (after.best, before.best)):
        assert at.params["dense_0"]["kernel"].shape == (2, 2, 6, 8)
        assert np.all(at.params["dense_0"]["kernel"] == 2.5)
        assert np.all(at.batch_stats["batch_norm_0"]["mean"] == 3.5)
        assert np.all(at.batch_stats["batch_norm_0"]["var"] == 4.5)
        np.testing.assert_array_equal(
            at.params["dense_1"]["kernel"], kept.params["dense_1"]["kernel"]
        )
    order = members.put(tiny.order(of, tiny.NUM_STEPS))
    members.train(begun, order, first_step=0, num_steps=1)  # donates both copies


@pytest.mark.parametrize("trial", [PROBING, TUNING])
def test_networks_begin_as_the_backbone_under_a_last_layer_of_their_seed(shared, trial):
    found, (backbone,), _ = shared
    program = networks(ALL_MODES)[trial]
    traced = {k: jnp.float32(v[0]) for k, v in program.members.traced().items()}
    examples = program.dataset.validation
    features = transfer.features(program.source.whole, backbone, examples.inputs)
    for seed in range(2):
        key = member.stream_key(ALL_MODES.root_seed, jnp.int32(seed), "init")
        params = member.init_state(program.recipe, traced, key).params
        last = params[program.recipe.layers[-1]]
        logits = features @ np.asarray(last["kernel"]) + np.asarray(last["bias"])
        losses = optax.softmax_cross_entropy_with_integer_labels(
            logits, examples.labels
        )
        first = rows(found, trial, seed)[0]
        assert first["step"] == 0
        assert first["validation_loss"] == pytest.approx(float(losses.mean()), rel=1e-5)


def test_a_backbone_does_not_depend_on_what_trials_scale_their_own_start_by():
    scales = ({"model.init_scale": 0.0}, {"model.init_scale": 3.0})
    alone = [networks(study("tuning", **scale))[0].source for scale in scales]
    assert alone[0].key == alone[1].key
    assert alone[0].training.hyperparameters.model.init_scale == 1


def test_probing_and_tuning_share_a_backbone_that_is_trained_once(shared):
    found, _, told = shared
    (about,) = found.config["backbones"]
    assert "seconds" not in about
    before = [p for p in told if p.status == "pretraining"]
    assert [(p.epoch, p.num_epochs) for p in before] == [(0, 2)]
    pretraining = found.timings["pretraining_seconds"].to_numpy()
    assert np.count_nonzero(pretraining) == 1
    parameters = {c["trials"][0]: c["parameters"] for c in found.config["cohorts"]}
    assert parameters[PROBING] == 7 * 10  # only the last layer
    whole = 65 * 6 + 12 + 70
    assert parameters[SCRATCH] == parameters[TUNING] == whole
    page = report.write(found.workdir).read_text()
    assert f"trained on 320 examples of {SOURCE}" in page


def test_the_backbone_is_what_a_study_of_its_source_trains(tmp_path, monkeypatch):
    """The same examples, order and number of steps; no dropout."""
    monkeypatch.setattr(place, "STEPS_PER_CALL", 3)
    asked = {"transfer.batch_size": 24, "transfer.learning_rate": 0.03}
    more = {"standardize": True, "model.dropout_rate": 0.5}
    tuning = dataclasses.replace(
        study("tuning", **asked, **more), root_seed=5, eval_size=300
    )
    tuned = experiment.run(tuning, tmp_path / "tuning", lane_width=1)
    (about,) = tuned.config["backbones"]
    small = {k: v for k, v in SMALL.items() if not k.startswith("transfer")}
    alone = {"dataset": SOURCE, "train_size": 320, "batch_size": 24, tiny.RATE: 0.03}
    base = Hyperparameters().replace(small | alone | {"standardize": True})
    source = Study(base=base, num_seeds=1, root_seed=5, eval_size=300)
    found = experiment.run(source, tmp_path / "source")
    last = found.curves.to_pylist()[-1]
    assert about["validation_accuracy"] == last["validation_accuracy"]
    assert about["test_accuracy"] == last["test_accuracy"]
    assert last["test_accuracy"] != last["validation_accuracy"]
    (used,) = found.config["datasets"].values()
    assert (about["dataset"], about["digest"]) == (SOURCE, used["digest"])
    plan = found.config["cohorts"][0]["plan"]
    for key, value in plan.items():
        assert about["lane_plan"][key] == value
    wanted = {"train_examples": 320, "num_epochs": 2, "batch_size": 24}
    assert {name: about[name] for name in wanted} == wanted
    assert about["learning_rate"] == 0.03


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Networks tuned from three backbones, of which the last diverges."""
    asked = (
        {"transfer.num_epochs": 1},
        {"transfer.num_epochs": 2},
        {"transfer.learning_rate": 1e38},
    )
    sweep = tuple({"transfer.mode": "tuning", **source} for source in asked)
    of = dataclasses.replace(study("tuning"), sweep=sweep, eval_size=50)
    return experiment.run(of, tmp_path_factory.mktemp("sources"), lane_width=1)


def test_sources_that_differ_have_backbones_of_their_own(sources):
    assert [b["num_epochs"] for b in sources.config["backbones"]] == [1, 2]
    assert np.count_nonzero(sources.timings["pretraining_seconds"].to_numpy()) == 2
    for seed in range(2):  # whose last layer is the same
        one, two = (rows(sources, trial, seed)[0]["train_loss"] for trial in range(2))
        assert one != two


def test_a_backbone_that_diverges_fails_those_alone_that_begin_at_it(sources):
    told = f"FloatingPointError: the backbone diverged on {SOURCE} at "
    told += "transfer.learning_rate=1e+38"
    assert sources.config["failures"] == {"2": told}
    found = sources.members.to_pylist()
    statuses = [(row["trial"], row["status"]) for row in found]
    assert statuses == [(t, "finished") for t in (0, 0, 1, 1)]


def test_a_backbone_that_its_last_update_ruins_is_told_too(tmp_path):
    """No later step would notice."""
    ruined = {"transfer.num_epochs": 1, "transfer.learning_rate": 1e38}
    whole = {"transfer.train_size": 64, "transfer.batch_size": 64}
    of = dataclasses.replace(study("tuning", **ruined, **whole), eval_size=50)
    with pytest.raises(FloatingPointError, match="the backbone diverged"):
        experiment.run(of, tmp_path)


def test_layers_behind_the_last_dense_one_are_not_the_backbones():
    layers = [
        {"layer": "dense", "units": 4, "name": "hidden"},
        {"layer": "dense", "units": 3, "name": "last"},
        {"layer": "batch_norm", "name": "behind"},
    ]
    (prepared,) = prepare.networks(
        tiny.study([{"model.name": "stack", "model.layers": layers}]),
        dataset=tiny.dataset(),
    )
    found = transfer.layers_of(prepared.recipe)
    assert found == {"params": ("hidden",), "batch_stats": ()}


def test_regions_of_a_probed_table_are_seen_through_the_backbone(tmp_path):
    """Also where there are as many features as columns."""
    overrides = {
        "dataset": "map",
        "transfer.source": "map",
        "transfer.train_size": 1_000,
        "train_size": 1_000,
        "model.hidden": (8, 2),
    }
    of = dataclasses.replace(
        study("probing", **overrides),
        num_seeds=1,
        eval_size=1_000,
        figures=("regions",),
    )
    found = experiment.run(of, tmp_path)
    stored = pictures.load(tmp_path).regions
    test = data.load("map").test
    x0, x1, y0, y1 = stored.extent
    side = len(stored.best)
    points = test.inputs[:1_000]
    column = ((points[:, 0] - x0) / (x1 - x0) * side).astype(int).clip(0, side - 1)
    row = ((points[:, 1] - y0) / (y1 - y0) * side).astype(int).clip(0, side - 1)
    seen = np.mean(stored.best[row, column] == test.labels[:1_000])
    assert seen == pytest.approx(rows(found, 0, 0)[-1]["test_accuracy"], abs=0.02)


def test_every_test_set_is_seen_through_the_backbone(shared):
    """Severity 0 is the test set itself, 1 pixel the moved one."""
    found, _, _ = shared
    stored = pictures.load(found.workdir)
    scores = {
        tuple(row[k] for k in ("trial", "seed", "transform", "amount")): row["accuracy"]
        for row in found.severity.to_pylist()
    }
    for trial in (PROBING, TUNING):
        for seed in range(2):
            last = rows(found, trial, seed)[-1]
            assert scores[trial, seed, "moved", 0] == last["test_accuracy"]
            assert scores[trial, seed, "moved", 1] == last["test_moved_accuracy"]
            confused = stored.confusion[trial][seed]
            accuracy = np.trace(confused) / confused.sum()
            assert accuracy == pytest.approx(last["test_accuracy"])
    assert rows(found, PROBING, 0)[-1]["test_active_share"] is None  # it has no units
    assert 0 < rows(found, TUNING, 0)[-1]["test_active_share"] < 1


# ---- Refusals.


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"transfer.source": "map"}, r"transfer.source='map' has examples of shape "
         r"\(2,\), the trial's data of \(8, 8, 1\): dense_0 does not fit both"),
        ({"transfer.source": "digit"}, "transfer.source='digit': .*'digits'"),
        ({"transfer.train_size": 10**6}, "train_size 1000000 is out of range"),
        ({"augment_pixels": 1}, "does not go with transfer.mode='probing'"),
        ({"transfer.source": "x.safetensors"}, "weights of a ResNet-18; model.name="),
        (
            {"transfer.source": "x.safetensors", "model.name": "resnet18"},
            r"no file of weights .*x\.safetensors",
        ),
    ],
)  # fmt: skip
def test_a_source_that_cannot_be_is_refused_in_one_line(overrides, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        networks(study("probing", **overrides))
    assert "\n" not in str(caught.value)


# ---- Weights from a file.


@pytest.mark.parametrize("channels", [1, 3])
def test_published_weights_see_images_as_in_their_own_training(tmp_path, channels):
    """Grey images less the colours' mean, divided by the mean of the deviations."""
    file = tmp_path / "resnet18.safetensors"
    shapes = published_resnet.shapes(channels=3).items()
    zeros = {name: np.zeros(shape, np.float32) for name, shape in shapes}
    safetensors.numpy.save_file(zeros, file)
    rng = np.random.default_rng(0)
    pixels = rng.integers(256, size=(60, 8, 12, channels)).astype(np.uint8)
    images = data.Dataset.from_arrays(pixels, np.arange(60) % 3)
    file_of = {"transfer.source": str(file), "model.name": "resnet18", "train_size": 0}
    (program,) = networks(study("tuning", **file_of), dataset=images)
    mean, deviation = transfer.IMAGENET_MEAN, transfer.IMAGENET_DEVIATION
    if channels == 1:
        mean, deviation = np.mean(mean), np.mean(deviation)
    inputs = program.dataset.train.inputs
    seen = member.scaled(program.recipe, inputs)
    wanted = (inputs / 255 - mean) / deviation
    np.testing.assert_allclose(seen, wanted, rtol=1e-4, atol=1e-5)


def test_weights_from_a_file_are_where_members_begin(tmp_path):
    tensors = published_resnet.random_weights(0, num_classes=5)
    file = tmp_path / "resnet18.safetensors"
    safetensors.numpy.save_file(tensors, file)
    of = study("probing", **{"transfer.source": str(file), "model.name": "resnet18"})
    (program,) = networks(of)
    source = program.source
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert (source.key, source.digest) == (str(file), digest)
    assert program.to_dict()["source"] == digest
    assert program.demand.parameters == 513 * 10  # the file's own head is left out
    kernel = tensors["layer4.1.conv2.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(
        source.variables["params"]["layer4_1_conv2"]["kernel"], kernel
    )
