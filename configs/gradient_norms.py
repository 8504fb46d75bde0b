# SPDX-License-Identifier: Apache-2.0
"""How large are the gradients of a very deep network, layer by layer?

    python -m launch.train --config=configs/gradient_norms.py \
        --workdir=runs/gradient_norms

100 hidden layers of 4 ReLU units on 40,000 points of 20 regions, Adam at rate 0.001,
batch 256, with and without batch norm. Every batch's gradient is measured; a value is
the mean of its Euclidean norm over the batches of an epoch.

Expect (n = 8 seeds; 107 s of CPU time on 2 cores, jax 0.10.2): with batch norm
gradients explode towards the first layer, from 0.18 in the last hidden one to 1e10 in
the first (geometric means, epoch 1); without it all but the output layer's are exactly
0. Neither learns: 10 % test accuracy.

The lab report that is tested here ran the network with batch norm once and drew layers
0, 30, 60, 90, 95 and 99.
"""

from nnlab.commands.config import ConfigDict, default
from nnlab.study import Sweep, choose, sized
from nnlab.study.claims import (
    Quantity,
    about,
    answering,
    at_epoch,
    higher,
    lower,
    same_within,
)

GROUPS = (("full", "smoke"),)
NORM, PLAIN = {"model.batch_norm": True}, {"model.batch_norm": False}
TEST = "test_accuracy"


def gradient(layer: int, epoch: int) -> Quantity:
    """The gradient norm of a dense layer after so many epochs."""
    return at_epoch(epoch, f"grad_norm_dense_{layer}")


def get_config(arg: str = "") -> ConfigDict:
    """The study; `arg` "smoke" shortens it to seconds."""
    (size,) = choose(arg, *GROUPS)
    config = default(__doc__)
    config.update(dataset="map", batch_size=256, num_epochs=30, num_seeds=8)
    config.model.update(hidden=(4,), depth=100)
    config.optimizer.update(name="adam", learning_rate=0.001)
    config.update(sized(size, smoke={"train_size": 1_000, "num_epochs": 2}))
    first, last, end = gradient(0, 1), gradient(99, 1), gradient(99, config.num_epochs)
    than_last = {"right_quantity": last}
    config.figures = ("curves", "gradients", "final")
    claims = (
        higher("With batch norm the last layer has some gradient", last, NORM, 1e-4),
        same_within(
            "The last layer's gradient is about 0.00175", 0.00175, last, NORM, 0.00175
        ),
        lower("The last layer's gradient falls", end, NORM, NORM, **than_last),
        higher(
            "With batch norm gradients grow towards the first layer",
            first,
            NORM,
            NORM,
            **than_last,
        ),
        lower(
            "Without batch norm the first layer's gradient vanishes", first, PLAIN, 1e-6
        ),
        same_within(
            "With batch norm the network does not learn", 0.05, TEST, NORM, "chance"
        ),
    )
    main = "gradients grow", "Without batch norm", "not learn"
    config.claims = answering(about(claims), *main)
    config.notes = (
        "The lab report does not say which norm its peak of 0.00175 is; here it is the "
        "Euclidean norm of a layer's weights and biases together.",
    )
    return config


def sweep(arg: str = "") -> Sweep:
    """With and without batch norm."""
    return {"label": "batch norm", **NORM}, {"label": "no batch norm", **PLAIN}
