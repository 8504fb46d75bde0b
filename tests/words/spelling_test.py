# SPDX-License-Identifier: Apache-2.0
"""Mistyped names and names of other libraries find the name here."""

import pytest

from nnlab import study
from nnlab.models import layers
from nnlab.words import spelling

FLAGS = (
    *("--workdir", "--resume", "--resume_anyway", "--rerun"),
    *("--config", "--config_json", "--sweep", "--seeds", "--data_dir", "--lane_width"),
)
DATASETS = ("digits", "map", "mnist", "fashion_mnist", "cifar10", "csv:PATH")
CONFIGS = (
    *("batch_size", "depth", "depth_width", "gradient_norms", "learning_rate"),
    *("mlp_vs_cnn", "quickstart", "transfer", "tricks_of_the_trade"),
)
MEANT = [
    *((layers.ACTIVATIONS, pair) for pair in [
        ("rleu", "relu"), ("ReLU", "relu"), ("LeakyReLU", "leaky_relu"),
        ("leaky-relu", "leaky_relu"), ("lrelu", "leaky_relu"), ("gleu", "gelu"),
        ("softpuls", "softplus"), ("sigmod", "sigmoid"),
        ("sig", "sigmoid"), ("logistic", "sigmoid"), ("than", "tanh"),
        ("lecuntanh", "lecun_tanh"), ("linear", "identity"), ("maxout", None),
    ]),
    *((layers.INITIALIZERS, pair) for pair in [
        ("he", "he_normal"), ("HeNormal", "he_normal"), ("kaiming", "he_normal"),
        ("xavier_uniform", "glorot_uniform"), ("zero", "zeros"), ("orth", "orthogonal"),
        ("gaussian", "normal"), ("random", None),
    ]),
    *((layers.FIELDS, pair) for pair in [
        ("dens", "dense"), ("linear", "dense"), ("fc", "dense"), ("conv2d", "conv"),
        ("MaxPool", "max_pool"), ("pool", "max_pool"), ("bn", "batch_norm"),
        ("batch_nrom", "batch_norm"), ("droput", "dropout"), ("flaten", "flatten"),
        ("conv3d", "conv"), ("Convolution2D", "conv"), ("fully_connected", "dense"),
        ("MaxPooling2D", "max_pool"), ("lstm", None),
    ]),
    *((DATASETS, pair) for pair in [
        ("minst", "mnist"), ("MNIST", "mnist"), ("FashionMNIST", "fashion_mnist"),
        ("fmnist", "fashion_mnist"), ("cifar", "cifar10"), ("csv", "csv:PATH"),
        ("imagenet", None),
    ]),
    *((study.PARTS, pair) for pair in [
        ("curve", "curves"), ("mpa", "map"), ("confusion_matrix", "confusion"),
        ("probability", "probabilities"), ("loss", None), ("all", None),
    ]),
    *((CONFIGS, pair) for pair in [
        ("quick_start", "quickstart"), ("lr", "learning_rate"), ("depht", "depth"),
        ("learning-rate", "learning_rate"), ("tricks", "tricks_of_the_trade"),
        ("cnn", "mlp_vs_cnn"), ("grad_norms", "gradient_norms"), ("bs", "batch_size"),
    ]),
    *((FLAGS, pair) for pair in [
        ("--work_dir", "--workdir"), ("--out", "--workdir"), ("--seed", "--seeds"),
        ("--num_seeds", "--seeds"), ("--data", "--data_dir"),
        ("--lanes", "--lane_width"), ("--json", "--config_json"), ("--xyz", None),
    ]),
    *((study.MODELS, pair) for pair in [
        ("MLP", "mlp"), ("ccn", "cnn"), ("resnet-18", "resnet18"), ("dense", "mlp"),
        ("xgboost", "boosted_trees"), ("forest", "random_forest"), ("", None),
        ("conv2d", "cnn"), ("3d", None),
        ("-_-", None),
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("allowed", "pair"), MEANT, ids=lambda p: str(p)[:40])
def test_what_was_meant(allowed, pair):
    typed, meant = pair
    assert spelling.near(typed, allowed) == meant


PATHS = {
    "optimizer.learing_rate": "optimizer.learning_rate",
    "optimizer.lr": "optimizer.learning_rate",
    "optim.lr": "optimizer.learning_rate",
    "lr": "optimizer.learning_rate",
    "optimiser.learning_rate": "optimizer.learning_rate",
    "optimizer/learning-rate": "optimizer.learning_rate",
    "config.optimizer.learning_rate": "optimizer.learning_rate",
    "transfer.lr": "transfer.learning_rate",
    "optimizer": "optimizer.name",
    "optimzer": "optimizer.name",
    "model.units": "model.hidden",
    "model.width": "model.hidden",
    "layers": "model.layers",
    "model.dropout": "model.dropout_rate",
    "model.act": "model.activation",
    "bn": "model.batch_norm",
    "batch": "batch_size",
    "epochs": "num_epochs",
    "model.momentum": "optimizer.momentum",
    "optimizer.wd": "optimizer.weight_decay",
    "warmup": "schedule.warmup_steps",
    "patience": "early_stopping.patience",
    "earlystopping.patience": "early_stopping.patience",
    "dataset.name": "dataset",
    "train_sise": "train_size",
    "model.init_sclae": "model.init_scale",
    "transfer.modus": "transfer.mode",
    "xyzzy": None,
}


@pytest.mark.parametrize(("typed", "meant"), PATHS.items())
def test_which_field_was_meant(typed, meant):
    assert spelling.near_path(typed, study.PATHS) == meant


def test_a_message_lists_what_there_is():
    wanted = "; did you mean 'relu'? allowed: relu, elu"
    assert spelling.nearest("rleu", ("relu", "elu")) == wanted
    assert spelling.nearest("xyzzy", ("relu", "elu")) == "; allowed: relu, elu"
    assert spelling.nearest("xyzzy", ()) == "; allowed: none"
    of_group = spelling.nearest_path("optimizer.lr", study.PATHS)
    assert "optimizer.nesterov, optimizer.weight_decay" in of_group
    assert "allowed: dataset, " in spelling.nearest_path("xyzzy", study.PATHS)
    assert ", optimizer.*, " in spelling.nearest_path("xyzzy", study.PATHS)


def test_a_file_that_is_meant_lies_beside_or_in_a_folder_that_is(tmp_path):
    (tmp_path / "runs" / "quickstart").mkdir(parents=True)
    (tmp_path / "runs" / "quickstart" / "config.json").write_text("{}")
    runs = tmp_path / "runs"
    for typed, meant in {
        "quikstart": runs / "quickstart",
        "quickstart/confg.json": runs / "quickstart" / "config.json",
        "../rnus/quickstart/config.json": runs / "quickstart" / "config.json",
        "quikstart/config.json": runs / "quickstart" / "config.json",
        "xyzzy": None,
        "quikstart/other.json": None,
        "x" * 5000: None,
        "a\0b": None,
    }.items():
        hint = f"; did you mean {str(meant)!r}?" if meant else ""
        path = tmp_path / typed[3:] if typed.startswith("../") else runs / typed
        assert spelling.nearest_file(path) == hint
