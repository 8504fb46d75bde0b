# SPDX-License-Identifier: Apache-2.0
"""Finds what was swept, and names trials by what differs."""

import re

import drawn
import numpy as np
import pytest
import synthetic

from nnlab.report import trials
from nnlab.report.figures.drawing import style
from nnlab.statistics.findings import Findings
from nnlab.study import Hyperparameters
from nnlab.study.sweep import product
from nnlab.words import settings

ABLATION = {
    "plain": {},
    "improved sigmoid": {"model.activation": "lecun_tanh"},
    "momentum 0.9": {"optimizer.momentum": 0.9, "model.init": "uniform"},
}
RATE, RATES = "optimizer.learning_rate", (0.02, 0.1, 0.5)
HIDDEN = ((64,), (60, 60), (64,) * 10)
CNN = {"model.name": "cnn", "model.hidden": (128,)}
BATCH = {"batch_size": 64}


@pytest.mark.parametrize(
    ("sweep", "scale", "groups"),
    [
        ([{RATE: r} for r in (1e-3, 1e-2, 0.1)], "log", 1),
        ([{"optimizer.momentum": m} for m in (0.0, 0.3, 0.6, 0.9)], "linear", 1),
        ([{"model.hidden": [h]} for h in (16, 64, 256)], "log", 1),
        ([{"model.activation": a} for a in drawn.ACTIVATIONS], "categories", 1),
        (drawn.TWO_PATHS, "log", 3),
        (
            [{RATE: i / 10, "optimizer.momentum": i / 10} for i in range(9)],
            "categories",
            1,
        ),
    ],
)
def test_the_axis_is_chosen_by_what_was_swept(sweep, scale, groups):
    found = trials.sweep_of(synthetic.results(sweep=sweep, num_evaluations=1))
    assert (found.scale, len(set(found.groups))) == (scale, groups)


@pytest.mark.parametrize(
    ("sweep", "groups"),
    [
        (drawn.TWO_PATHS, ["relu", "tanh", "sigmoid"]),
        (
            [{"batch_size": b, RATE: r} for b in (6, 70) for r in RATES],
            ["batch size 6", "batch size 70"],
        ),
        (
            [{"model.hidden": h, RATE: r} for h in HIDDEN for r in RATES],
            ["hidden 64", "hidden 60-60", "hidden 10 x 64"],
        ),
        (
            [
                {"label": f"{n}, rate {r}", RATE: r, **change}
                for n, change in ABLATION.items()
                for r in RATES
            ],
            list(ABLATION),
        ),
        ([{RATE: r, **c} for c in ({}, CNN) for r in RATES], ["mlp", "cnn"]),
        (
            [
                {RATE: r, **c}
                for c in ({"model.batch_norm": True}, BATCH)
                for r in RATES
            ],
            ["batch norm, batch size 32", "no batch norm, batch size 64"],
        ),
    ],
)
def test_groups_are_named_by_what_tells_them_apart(sweep, groups):
    found = trials.sweep_of(synthetic.results(sweep=sweep, num_evaluations=1))
    assert found.name == "learning rate"
    assert list(dict.fromkeys(found.groups)) == groups


@pytest.mark.parametrize(
    ("sweep", "texts"),
    [
        ([{"label": n, **c, "batch_size": 8} for n, c in ABLATION.items()], ABLATION),
        ([{}, CNN], ("mlp", "cnn")),
        (
            [{}, {"model.bias": "none", "model.hidden": (60, 60), "batch_size": 8}],
            ("all", "none"),
        ),
        (
            [{"model.hidden": (64,) * d, "label": f"{d} deep"} for d in (1, 2, 10)],
            ("1 deep", "2 deep", "10 deep"),
        ),
        (
            [{"model.hidden": (60, 60)}, {"model.hidden": (9, 9), "batch_size": 8}],
            ("hidden 60-60, batch size 32", "hidden 9-9, batch size 8"),
        ),
    ],
)
def test_trials_that_share_no_axis_are_categories_under_their_names(sweep, texts):
    found = trials.sweep_of(synthetic.results(sweep=sweep, num_evaluations=1))
    assert (found.scale, found.texts) == ("categories", tuple(texts))
    assert found.values == tuple(range(len(sweep)))


NORMS = ("model.batch_norm", (True, False))
CLOSE = (RATE, (0.1234567, 0.1234568, 0.2))
SWITCHES = ("standardize", (True, False))


@pytest.mark.parametrize(
    "axes",
    [
        [NORMS],
        [CLOSE],
        [NORMS, CLOSE],
        [NORMS, SWITCHES],
        [NORMS, ("model.bias", ("all", "none"))],
        [NORMS, ("model.hidden", ((), (8,), (8, 8), (8, 8, 8)))],
        [("early_stopping.patience", (0, 3)), ("batch_size", (3, 16))],
        [("model.activation", drawn.ACTIVATIONS), SWITCHES],
        [(RATE, [float(f"{r:.3g}") for r in np.geomspace(0.01, 1, 60)])],
    ],
)
def test_no_two_trials_have_the_same_name_and_no_value_is_bare(axes):
    sweep = product(dict(axes))
    results = synthetic.results(sweep=sweep, num_seeds=1, num_evaluations=1)
    names = [trials.named(results, t.index) for t in results.trials]
    assert len({*names}) == len(results.trials)
    for name in names:
        assert not re.search(r"True|False|trial (all|none|[\d.]+)\b", name)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0.1"),
        ((64,) * 10, "10 x 64"),
        ((60, 60), "60-60"),
        ((), "none"),
        ((64, 64, 64, 32), "64-64-64-32"),
        (
            ({"layer": "flatten"}, *[{"layer": "dense", "units": 9}] * 3),
            "flatten, 3 x dense 9",
        ),
        (
            (
                {"layer": "conv", "channels": 9, "stride": 2},
                {"layer": "dense", "units": 9, "bias": False},
            ),
            "conv 9 stride 2, dense 9 no bias",
        ),
    ],
)
def test_values_are_short_texts(value, text):
    assert settings.value_text(value) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("optimizer.learning_rate", "learning rate"),
        ("model.name", "model"),
        ("batch_loss_std", "spread of batch losses"),
        ("validation_active_share", "active share (validation)"),
        ("test_moved_accuracy", "moved test accuracy"),
        ("test_accuracy", "test accuracy"),
        ("grad_norm_dense_3", "gradient norm of dense 3"),
        ("model.depth", "depth"),
        ("transfer.learning_rate", "transfer learning rate"),
        ("model.num_trees", "number of trees"),
    ],
)
def test_columns_have_names_in_words(name, text):
    assert settings.words(name) == text


def test_all_training_examples_take_their_number_as_place():
    sweep = [{"train_size": n} for n in (0, 100, 300)]
    base = Hyperparameters(batch_size=10)
    found = trials.sweep_of(synthetic.results(sweep=sweep, base=base))
    assert found.values == (synthetic.EXAMPLES["train"], 100, 300)


def test_baselines_have_no_say_in_what_was_swept():
    more = {**drawn.TREES, "model.num_trees": 50}
    found = trials.sweep_of(synthetic.results(sweep=[*drawn.BESIDE, more], num_seeds=1))
    assert (found.name, found.scale) == ("learning rate", "log")
    assert found.places == [0.01, 0.1, 1.0]
    kinds = "boosted trees, number of trees"
    assert found.texts[3:] == (f"{kinds} 200", "a forest", f"{kinds} 50")
    results = synthetic.results(sweep=drawn.ROWS, num_seeds=1)
    rows = trials.sweep_of(results)
    assert (rows.scale, rows.name) == ("categories", "")
    assert rows.texts == ("relu", "boosted trees", "tanh")
    assert trials.paths(results) == ("model.activation",)
    assert style.colors(Findings(results))[1] == style.INK
    alone = trials.sweep_of(synthetic.results(sweep=[{}, drawn.TREES], num_seeds=1))
    assert alone.texts == ("mlp", "boosted trees")
