# SPDX-License-Identifier: Apache-2.0
"""How large are the gradients of a very deep network, layer by layer?

    python -m launch.train --config=configs/gradient_norms.py \
        --workdir=runs/gradient_norms

100 hidden layers of 4 ReLU units on 40,000 points of 20 regions, Adam at rate 0.001,
batch 256, with and without batch norm. Every batch's gradient is measured; a value is
the mean of its Euclidean norm over the batches of an epoch.

Expect (n = 6 seeds; 29 s for the whole command on a 2-core CPU, jax 0.10.2): with batch
norm gradients explode towards the first layer, from 0.2 in the last hidden one to 2e10
in the first (epoch 1); without it all but the output layer's are exactly 0. Neither
learns: 11 and 10 % test accuracy.

The report that is tested here ran the network with batch norm once and drew layers 0,
30, 60, 90, 95 and 99.
"""

from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from nnlab.commands.config import choose, default

SIZES = ("full", "smoke")
GROUPS = (SIZES,)
DEPTH = 100
NAMES = {True: "batch norm", False: "no batch norm"}


def get_config(arg: str = "") -> ConfigDict:
    """The study; `arg` "smoke" shortens it to seconds."""
    (size,) = choose(arg, *GROUPS)
    config = default()
    config.question = (
        "How large are the gradients of a very deep network, layer by layer?"
    )
    config.dataset = "map"
    config.model.hidden = (4,)
    config.model.depth = DEPTH
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 0.001
    config.batch_size = 256
    config.num_epochs = 30
    config.num_seeds = 6
    if size == "smoke":
        config.train_size = 1_000
        config.num_epochs = 2
        config.num_seeds = 2
    end = config.num_epochs
    norm, plain = {"model.batch_norm": True}, {"model.batch_norm": False}

    def gradient(layer: int, epoch: int) -> dict[str, Any]:
        return {
            "metric": f"grad_norm_dense_{layer}",
            "reduction": "at_epoch",
            "epoch": epoch,
        }

    config.figures = ("curves", "gradients", "final")
    config.claims = (
        {
            "text": "With batch norm the last hidden layer has some gradient at first: "
            "more than 0.0001 in epoch 1",
            "quantity": gradient(99, 1),
            "left": norm,
            "right": 0.0001,
            "relation": "greater",
        },
        {
            "text": "With batch norm the last hidden layer's gradient is at first "
            "about 0.00175 (within as much)",
            "quantity": gradient(99, 1),
            "left": norm,
            "right": 0.00175,
            "relation": "same",
            "margin": 0.00175,
        },
        {
            "text": "With batch norm the last hidden layer's gradient falls: it is "
            "smaller at the end than in epoch 1",
            "quantity": gradient(99, end),
            "left": norm,
            "right": norm,
            "right_quantity": gradient(99, 1),
            "relation": "less",
        },
        {
            "text": "With batch norm the first layer's gradient is tiny: smaller than "
            "the last hidden one's in epoch 1",
            "quantity": gradient(0, 1),
            "left": norm,
            "right": norm,
            "right_quantity": gradient(99, 1),
            "relation": "less",
        },
        {
            "text": "Without batch norm the first layer's gradient vanishes: below a "
            "millionth in epoch 1",
            "quantity": gradient(0, 1),
            "left": plain,
            "right": 1e-6,
            "relation": "less",
        },
        {
            "text": "So deep a network does not learn, with batch norm either: its "
            "test accuracy is that of chance, within 5 points",
            "quantity": {"metric": "test_accuracy", "reduction": "final"},
            "left": norm,
            "right": "chance",
            "relation": "same",
            "margin": 0.05,
        },
    )
    config.notes = (
        "The report does not say which norm its peak of 0.00175 is; here it is the "
        "Euclidean norm of a layer's weights and biases together.",
    )
    return config


def sweep(arg: str = "") -> Iterator[dict[str, Any]]:
    """With and without batch norm."""
    for batch_norm, name in NAMES.items():
        yield {"label": name, "model.batch_norm": batch_norm}
