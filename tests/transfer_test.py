# SPDX-License-Identifier: Apache-2.0
"""Backbones: how they are cut off and kept, and cohorts that begin at them."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
import tiny

from nnlab import data, experiment, report, results, train, transfer
from nnlab.models import weights
from nnlab.models.resnet import ResNet18
from nnlab.models.stack import Stack
from nnlab.prepare import networks
from nnlab.study import Hyperparameters, Study

SMALL = {
    "dataset": "digits",
    "train_size": 64,
    "batch_size": 16,
    "num_epochs": 2,
    "model.hidden": (12, 6),
    "model.batch_norm": True,
    "optimizer.name": "adam",
    "transfer.source": "real_or_generated:digits",
    "transfer.train_size": 320,
    "transfer.num_epochs": 2,
}


def study(*modes, rate=0.01, **overrides):
    sweep = tuple({"transfer.mode": m, tiny.RATE: rate} for m in modes)
    base = Hyperparameters().replace(SMALL | overrides)
    return Study(base=base, sweep=sweep, num_seeds=2)


def spy_on_backbones(monkeypatch):
    """The backbones that a run trains or reads."""
    made = []
    keep = experiment.Recorder.add_backbone
    monkeypatch.setattr(
        experiment.Recorder,
        "add_backbone",
        lambda self, backbone: (made.append(backbone), keep(self, backbone)),
    )
    return made


# ---- The backbone.


def test_the_backbone_is_all_but_the_last_dense_layer():
    units = [{"layer": "dense", "units": count} for count in (4, 3)]
    stack = Stack(["flatten", units[0], "relu", units[1]])
    x = np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float32)
    variables = stack.init(jax.random.key(0), x, train=False)
    backbone = transfer.backbone_of(stack)
    hidden = backbone.apply(
        {"params": {"dense_0": variables["params"]["dense_0"]}}, x, train=False
    )
    last = variables["params"]["dense_1"]
    logits = stack.apply(variables, x, train=False)
    np.testing.assert_allclose(
        hidden @ last["kernel"] + last["bias"][None], logits, rtol=1e-5
    )
    assert transfer.head(stack, 7).layers == (
        (("layer", "dense"), ("name", "head"), ("units", 7), ("bias", True)),
    )


def test_a_resnet_without_its_head_returns_features():
    backbone = transfer.backbone_of(ResNet18(10, stem="small"))
    assert (backbone.num_classes, backbone.stem) == (0, "small")


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


@pytest.mark.parametrize("count", [3, transfer.FEATURES_AT_ONCE + 5])
def test_features_are_those_of_the_backbone_in_evaluation(count):
    (item,) = networks(study("tuning"))
    recipe = item.source.whole
    traced = {k: jnp.float32(v[0]) for k, v in item.cohort.traced().items()}
    state = train.init_state(recipe, traced, jax.random.key(1))
    params = {k: v for k, v in state.params.items() if k != recipe.layers[-1]}
    backbone = transfer.Backbone(params, state.batch_stats, {})
    inputs = item.dataset.train.inputs
    inputs = np.resize(inputs, (count, *inputs.shape[1:]))
    found = transfer.features(recipe, backbone, inputs)
    wanted = transfer.backbone_of(recipe.module).apply(
        {"params": params, "batch_stats": state.batch_stats},
        inputs / np.float32(16),
        train=False,
    )
    assert (found.shape, found.dtype) == ((count, 6), np.float32)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


# ---- Cohorts.


def test_a_population_begins_at_given_layers_and_keeps_its_own_last_one():
    members = tiny.population(tiny.study(tiny.rates(0.1, 0.2)), patience=1)
    state = members.init()
    before = members.gather(state)
    kernel = np.full((6, 8), 2.5, np.float32)
    given = {"dense_0": {"kernel": kernel, "bias": np.ones(8, np.float32)}}
    begun = members.begin_at(state, given, {})
    after = members.gather(begun)
    for params in (after.params, after.best.params):
        assert params["dense_0"]["kernel"].shape == (2, 2, 6, 8)
        assert np.all(params["dense_0"]["kernel"] == kernel)
        np.testing.assert_array_equal(
            params["dense_1"]["kernel"], before.params["dense_1"]["kernel"]
        )
    order = members.put_order(tiny.order(tiny.study(), tiny.NUM_STEPS))
    members.train(begun, order, first_step=0, num_steps=1)  # donates both copies


def test_at_rate_0_tuning_keeps_the_backbone_and_scratch_has_another(
    tmp_path, monkeypatch
):
    made = spy_on_backbones(monkeypatch)
    states = []
    score = experiment._score
    monkeypatch.setattr(
        experiment,
        "_score",
        lambda placed, state, recorder: (
            states.append((placed.prepared, placed.population.gather(state.params))),
            score(placed, state, recorder),
        ),
    )
    experiment.run(study("scratch", "tuning", rate=0.0), tmp_path)
    (backbone,) = made
    by_mode = {p.hyperparameters.transfer.mode: params for p, params in states}
    for layer, tree in backbone.params.items():
        tuned, scratch = by_mode["tuning"][layer], by_mode["scratch"][layer]
        for name, value in tree.items():
            assert np.all(tuned[name] == value)
            if name == "kernel":
                assert not np.any(np.all(scratch[name] == value, axis=(0, 1)))
    assert set(by_mode["tuning"]) - set(backbone.params) == {"dense_2"}


def test_probing_and_tuning_share_a_backbone_that_is_trained_once(tmp_path):
    told = []
    found = experiment.run(
        study("scratch", "probing", "tuning"), tmp_path, on_progress=told.append
    )
    assert found.config["failures"] == {}
    (about,) = found.config["backbones"]
    assert about["dataset"] == "real_or_generated:digits"
    assert about["train_examples"] == 320
    assert 0.5 < about["validation_accuracy"] <= 1
    assert "seconds" not in about
    assert any(p.status == "pretraining" for p in told)
    pretraining = found.timings["pretraining_seconds"].to_numpy()
    assert np.count_nonzero(pretraining) == 1
    parameters = {c["trials"][0]: c["parameters"] for c in found.config["cohorts"]}
    assert parameters[1] == 7 * 10  # the last layer alone
    assert parameters[0] == parameters[2] == 65 * 12 + 24 + 13 * 6 + 12 + 70
    page = report.write(tmp_path).read_text()
    assert "trained on 320 examples of real_or_generated:digits" in page


def test_probing_trains_a_linear_classifier_on_features(tmp_path, monkeypatch):
    made = spy_on_backbones(monkeypatch)
    of = study("probing", rate=0.05, num_epochs=20)
    found = experiment.run(of, tmp_path)
    (item,) = networks(of)
    features = transfer.features(item.source.whole, made[0], item.dataset.train.inputs)
    again = experiment.run(
        study("scratch", rate=0.05, num_epochs=20, **{"model.hidden": ()}),
        tmp_path / "linear",
        dataset=dataclasses.replace(
            item.dataset,
            scale=1.0,
            **{
                name: data.Split(
                    transfer.features(
                        item.source.whole,
                        made[0],
                        getattr(item.dataset, name).inputs,
                    ),
                    getattr(item.dataset, name).labels,
                )
                for name in ("train", "validation", "test")
            },
        ),
    )
    assert features.shape == (64, 6)
    accuracy = [f.curves["train_accuracy"].to_numpy()[[20, 41]] for f in (found, again)]
    losses = [f.curves["train_loss"].to_numpy()[[20, 41]] for f in (found, again)]
    assert np.all(accuracy[0] > 0.3)
    # The two differ in the initialisation of the layer, whose name is another.
    np.testing.assert_allclose(*losses, rtol=0.2)


def test_a_study_with_transfer_repeats_byte_for_byte(tmp_path):
    for name in "ab":
        experiment.run(study("probing", "tuning"), tmp_path / name)
    for table in results.TABLES:
        first, second = ((tmp_path / name / table).read_bytes() for name in "ab")
        assert first == second


# ---- What is refused.


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
            "no file of weights x.safetensors",
        ),
    ],
)  # fmt: skip
def test_a_source_that_cannot_be_is_refused_in_one_line(overrides, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        networks(study("probing", **overrides))
    assert "\n" not in str(caught.value)


def test_a_backbone_that_diverges_is_told(tmp_path):
    of = study("tuning", **{"transfer.learning_rate": 1e38})
    with pytest.raises(FloatingPointError, match="diverged on real_or_generated"):
        experiment.run(of, tmp_path)


# ---- Weights from a file.


@pytest.mark.slow
def test_weights_from_a_file_are_where_members_begin(tmp_path):
    module = ResNet18(10)
    x = jnp.zeros((1, 8, 8, 3))
    variables = jax.jit(lambda key: module.init(key, x, train=False))(jax.random.key(3))
    file = tmp_path / "resnet18.safetensors"
    safetensors.numpy.save_file(weights.to_torchvision(variables), file)
    of = study("probing", **{"transfer.source": str(file), "model.name": "resnet18"})
    found = experiment.run(of, tmp_path / "run")
    assert found.config["backbones"] == [{"weights": str(file)}]
    assert found.config["cohorts"][0]["parameters"] == 513 * 10
    (item,) = networks(of)
    scale, shift = item.source.whole.input_scale, item.source.whole.input_shift
    assert scale.shape == shift.shape == (1, 64)
    mean, deviation = np.mean(transfer.IMAGENET_MEAN), np.mean(
        transfer.IMAGENET_DEVIATION
    )  # fmt: skip
    np.testing.assert_allclose(scale[0, 0] * 16 - shift[0, 0], (1 - mean) / deviation,
                               rtol=1e-5)  # fmt: skip
