# SPDX-License-Identifier: Apache-2.0
"""Is a network with two hidden layers, or with ten, better than one with one?

    python -m launch.train --config=configs/depth.py:mnist --data_dir=DIR \
        --workdir=runs/depth

One hidden layer of 64 units (50,880 parameters on 28x28 images), two of 60 (51,300),
and ten of 64, with all tricks of the trade: 1.7159 tanh(2x/3), weights with standard
deviation 1/sqrt(fan-in), momentum 0.9, standardised inputs, a bias on the input only.
Batch 32, five evaluations an epoch; a network stops when its validation loss has not
improved in 50 of them. Three rates for each, since depth may want another.

Expect of ":mnist" (20,000 training images, at most 30 epochs, n = 5; 143 s on a 2-core
CPU, jax 0.10.2): at the report's rate 96.3 % with one layer, 95.9 % with two and 95.3 %
with ten; each at its best rate 96.3, 96.3 and 96.1 %.

The report that is tested here ran each network once, at rate 0.02.
"""

from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from nnlab.commands.config import choose, default

DATASETS = ("digits", "mnist", "fashion_mnist")
SIZES = ("", "smoke", "full")
GROUPS = (DATASETS, SIZES)
RATES = (0.002, 0.006, 0.02)
ONE, TWO, TEN = (64,), (60, 60), (64,) * 10
NAMES = {ONE: "1 x 64", TWO: "2 x 60", TEN: "10 x 64"}


def get_config(arg: str = "") -> ConfigDict:
    """The study; `arg` such as "mnist", "fashion_mnist,full" or "smoke"."""
    dataset, size = choose(arg, *GROUPS)
    config = default()
    config.question = (
        "Is a network with two hidden layers, or with ten, better than one with one?"
    )
    config.dataset = dataset
    config.standardize = True
    config.model.activation = "lecun_tanh"
    config.model.init = "lecun_normal"
    config.model.bias = "first"
    config.optimizer.momentum = 0.9
    config.batch_size = 32
    config.train_size = 0 if dataset == "digits" else 20_000
    config.num_epochs = 50 if dataset == "digits" else 30
    config.eval_every_epochs = 0.2
    config.early_stopping.patience = 50
    config.num_seeds = 5
    if size == "smoke":
        config.train_size = 512
        config.num_epochs = 3
        config.num_seeds = 2
    elif size == "full":
        config.train_size = 0
        config.num_epochs = 50
        config.num_seeds = 8
    reach = {"digits": 0.9, "mnist": 0.95, "fashion_mnist": 0.83}[dataset]
    faster = {
        "metric": "validation_accuracy",
        "reduction": "steps_to",
        "target": reach,
    }
    final = {"metric": "test_accuracy", "reduction": "final"}
    loss = {"metric": "test_loss", "reduction": "final"}
    reported = {"optimizer.learning_rate": 0.02}
    # Updates of an epoch of 20,000 images, or of all 1,198 digits.
    epoch = 37 if dataset == "digits" else 625
    config.target = reach
    config.figures = ("curves", "final", "target", "gap", "costs")
    config.claims = (
        {
            "text": "Two hidden layers with as many parameters are about as accurate "
            "as one (within half a point), at the report's rate",
            "quantity": final,
            "left": {"model.hidden": TWO, **reported},
            "right": {"model.hidden": ONE, **reported},
            "relation": "same",
            "margin": 0.005,
        },
        {
            "text": "Two hidden layers with as many parameters are about as accurate "
            "as one (within half a point), each at its best rate",
            "quantity": final,
            "left": {"model.hidden": TWO},
            "right": {"model.hidden": ONE},
            "among": "best",
            "relation": "same",
            "margin": 0.005,
        },
        {
            "text": f"Ten hidden layers are as fast as one to {reach:.0%} (within "
            f"{epoch} updates), at the report's rate",
            "quantity": faster,
            "left": {"model.hidden": TEN, **reported},
            "right": {"model.hidden": ONE, **reported},
            "relation": "same",
            "margin": epoch,
        },
        {
            "text": "Ten hidden layers end at a higher loss than one, at the report's "
            "rate",
            "quantity": loss,
            "left": {"model.hidden": TEN, **reported},
            "right": {"model.hidden": ONE, **reported},
            "relation": "greater",
        },
        {
            "text": "Ten hidden layers are less accurate than one, at the report's "
            "rate",
            "quantity": final,
            "left": {"model.hidden": TEN, **reported},
            "right": {"model.hidden": ONE, **reported},
            "relation": "less",
        },
        {
            "text": "Depth alone does not help: ten hidden layers are less accurate "
            "than one with each at its best rate, too",
            "quantity": final,
            "left": {"model.hidden": TEN},
            "right": {"model.hidden": ONE},
            "among": "best",
            "relation": "less",
        },
    )
    config.notes = (
        "On 28x28 images one hidden layer of 64 has 785 x 64 + 64 x 10 = 50,880 "
        "parameters and two of 60 have 785 x 60 + 60 x 60 + 60 x 10 = 51,300: about "
        "the same. Ten of 64 have nine times 64 x 64 more, 87,744.",
        "Faster means fewer updates. An update of ten layers takes longer; the costs "
        "are in the table below.",
    )
    return config


def sweep(arg: str = "") -> Iterator[dict[str, Any]]:
    """Each network at each rate."""
    for hidden, name in NAMES.items():
        for rate in RATES:
            yield {
                "label": f"{name}, rate {rate:g}",
                "model.hidden": hidden,
                "optimizer.learning_rate": rate,
            }
