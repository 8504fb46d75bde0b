# SPDX-License-Identifier: Apache-2.0
"""What happens when several linear layers stand in a row, without activations?

    python -m launch.train --config=configs/linear_stack.py:mnist --data_dir=DIR \
        --workdir=runs/linear_stack

Flatten, none to seven dense layers of 100 units, dense 10, without activations; batch
64, momentum 0.1 and the demonstration's rate 0.1 among six. A map shows which depths
and rates diverge, and the report says at which step, in which layer and with which
gradient norm. Multiplied out, every stack is one linear layer.

Expect of ":mnist" (20,000 training images, 5 epochs, n = 8 seeds; 92 s on a 2-core CPU,
jax 0.10.2): 113 of 288 networks diverge, none of one layer; of eight layers 6 of 8 do
at rate 0.1, after some 18 updates. At its best rate each depth ends at 90.9 to 91.4 %.

The report that is tested here saw the accuracy plummet and the probabilities become
NaN in a browser, with an unknown number of layers, and gave no reason.
"""

from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from nnlab.commands.config import choose, default

DATASETS = ("digits", "mnist", "fashion_mnist")
SIZES = ("", "smoke", "full")
GROUPS = (DATASETS, SIZES)
LAYERS = (1, 2, 3, 4, 6, 8)
RATES = (0.01, 0.03, 0.1, 0.3, 0.7, 2.0)


def get_config(arg: str = "") -> ConfigDict:
    """The study; `arg` such as "mnist", "fashion_mnist,full" or "smoke"."""
    dataset, size = choose(arg, *GROUPS)
    config = default()
    config.question = (
        "What happens when several linear layers stand in a row, without activations?"
    )
    config.dataset = dataset
    config.model.activation = "identity"
    config.optimizer.momentum = 0.1
    config.batch_size = 64
    config.train_size = 0 if dataset == "digits" else 20_000
    config.num_epochs = 30 if dataset == "digits" else 5
    config.num_seeds = 8
    if size == "smoke":
        config.train_size = 512
        config.num_epochs = 3
        config.num_seeds = 2
    elif size == "full":
        config.train_size = 0
        config.num_epochs = 60 if dataset == "digits" else 20
    diverged = {"reduction": "diverged_share"}
    final = {"metric": "test_accuracy", "reduction": "final"}
    one, six, eight = ({"model.hidden": _hidden(layers)} for layers in (1, 6, 8))
    demo, high = {"optimizer.learning_rate": 0.1}, {"optimizer.learning_rate": 0.7}
    config.figures = ("map", "divergence", "curves")
    config.claims = (
        {
            "text": "Probabilities become NaN: at the demonstration's rate 0.1 some "
            "networks of eight linear layers diverge",
            "quantity": diverged,
            "left": {**eight, **demo},
            "right": 0.0,
            "relation": "greater",
        },
        {
            "text": "Accuracy plummets: at rate 0.1 six linear layers end below 50 %",
            "quantity": final,
            "left": {**six, **demo},
            "right": 0.5,
            "relation": "less",
        },
        {
            "text": "Several layers are worse than one: at rate 0.1 six end below one",
            "quantity": final,
            "left": {**six, **demo},
            "right": {**one, **demo},
            "relation": "less",
        },
        {
            "text": "At rate 0.7 six linear layers diverge more often than one",
            "quantity": diverged,
            "left": {**six, **high},
            "right": {**one, **high},
            "relation": "greater",
        },
        {
            "text": "A stack of linear layers is only one linear layer: six, at their "
            "best rate, end like one at its best (within 1 point)",
            "quantity": final,
            "left": six,
            "right": one,
            "among": "best",
            "relation": "same",
            "margin": 0.01,
        },
    )
    config.notes = (
        "A stack of linear layers computes what one linear layer can, but its "
        "gradients are products of the other layers' weights: it is trained "
        "differently, and diverges at rates that one layer bears.",
        "The report does not say how many layers it stacked.",
    )
    return config


def sweep(arg: str = "") -> Iterator[dict[str, Any]]:
    """Each depth at each rate."""
    for layers in LAYERS:
        for rate in RATES:
            yield {
                "label": f"{layers} layer{'s' * (layers > 1)}, rate {rate:g}",
                "model.hidden": _hidden(layers),
                "optimizer.learning_rate": rate,
            }


def _hidden(layers: int) -> tuple[int, ...]:
    """Units below the last layer."""
    return (100,) * (layers - 1)
