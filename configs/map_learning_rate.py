# SPDX-License-Identifier: Apache-2.0
"""Which learning rate, and how many epochs, does a network on map coordinates need?

    python -m launch.train --config=configs/map_learning_rate.py \
        --workdir=runs/map_learning_rate

A network of six hidden layers of 16 ReLU units tells from longitude and latitude in
which of 20 regions a point lies; 40,000 points, Adam, batch 256. Four rates from 1 to
0.00001; the number of epochs is read off one curve of 100.

Expect (n = 8 seeds; 38 s for the whole command on a 2-core CPU, jax 0.10.2): test
accuracies of 95.4 % +- 0.5 at rate 0.001, 94.3 at 0.01, 47 at 0.00001; chance at 1.
85 % validation accuracy comes after a median of 1.5 epochs at 0.01 and 5 at 0.001.

The report that is tested here ran each rate once, for 50 epochs.
"""

from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from nnlab.commands.config import choose, default

SIZES = ("full", "smoke")
GROUPS = (SIZES,)
RATES = (1.0, 0.01, 0.001, 0.00001)


def get_config(arg: str = "") -> ConfigDict:
    """The study; `arg` "smoke" shortens it to seconds."""
    (size,) = choose(arg, *GROUPS)
    config = default()
    config.question = (
        "Which learning rate, and how many epochs, does a network on map coordinates "
        "need?"
    )
    config.dataset = "map"
    config.model.hidden = (16,)
    config.model.depth = 6
    config.optimizer.name = "adam"
    config.batch_size = 256
    config.num_epochs = 100
    config.num_seeds = 8
    if size == "smoke":
        config.train_size = 2_000
        config.num_epochs = 3
        config.num_seeds = 2
    last = config.num_epochs
    half, fifth, tenth = last / 2, last / 5, last / 10
    if size == "smoke":
        half, fifth, tenth = 2, 2, 1

    def at(epoch: float, metric: str = "validation_accuracy") -> dict[str, Any]:
        return {"metric": metric, "reduction": "at_epoch", "epoch": epoch}

    def rate(value: float) -> dict[str, Any]:
        return {"optimizer.learning_rate": value}

    steady = rate(0.001)
    config.target = 0.85
    config.figures = ("curves", "noise", "final", "target", "extremes", "regions")
    config.claims = (
        {
            "text": "At rate 1 nothing is learned: the accuracy after half of the "
            "epochs is that of chance, within 5 points",
            "quantity": at(half),
            "left": rate(1.0),
            "right": "chance",
            "relation": "same",
            "margin": 0.05,
        },
        {
            "text": "Rate 1 oscillates: its batch losses spread more than those of "
            "0.001",
            "quantity": at(half, "batch_loss_std"),
            "left": rate(1.0),
            "right": steady,
            "relation": "greater",
        },
        {
            "text": "0.01 is quick: sooner than 0.001 at 85 % validation accuracy",
            "quantity": {
                "metric": "validation_accuracy",
                "reduction": "steps_to",
                "target": 0.85,
            },
            "left": rate(0.01),
            "right": steady,
            "relation": "less",
        },
        {
            "text": "0.001 is steady: its batch losses spread less than those of 0.01",
            "quantity": at(half, "batch_loss_std"),
            "left": steady,
            "right": rate(0.01),
            "relation": "less",
        },
        {
            "text": "0.00001 is far too slow: less accurate than 0.001 after half of "
            "the epochs",
            "quantity": at(half),
            "left": rate(0.00001),
            "right": steady,
            "relation": "less",
        },
        *(
            {
                "text": f"Most is learned by epoch {epoch:g}: at 0.001 the accuracy "
                "at the end is the same within 3 points",
                "quantity": at(last),
                "left": steady,
                "right": steady,
                "right_quantity": at(epoch),
                "relation": "same",
                "margin": 0.03,
            }
            for epoch in (tenth, fifth)
        ),
        {
            "text": "Too many epochs overfit: at 0.001 the validation loss ends above "
            "its lowest by more than 0.05",
            "quantity": {
                "metric": "validation_loss",
                "reduction": "best_minus_final",
            },
            "left": steady,
            "right": -0.05,
            "relation": "less",
        },
        {
            "text": "Some runs fluctuate late: at 0.001 the accuracy ends more than "
            "half a point below its best",
            "quantity": {
                "metric": "validation_accuracy",
                "reduction": "best_minus_final",
            },
            "left": steady,
            "right": 0.005,
            "relation": "greater",
        },
    )
    config.notes = (
        "The report read the number of epochs off separate runs of 1 to 100; at a "
        "constant rate they are points of one curve.",
    )
    return config


def sweep(arg: str = "") -> Iterator[dict[str, Any]]:
    """One trial for each rate."""
    for value in RATES:
        yield {"optimizer.learning_rate": value}
