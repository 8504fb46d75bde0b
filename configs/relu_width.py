# SPDX-License-Identifier: Apache-2.0
"""How many hidden ReLU units does a network need, and how many of them are active?

    python -m launch.train --config=configs/relu_width.py:mnist --data_dir=DIR \
        --workdir=runs/relu_width

Flatten, dense 10 or dense 100, ReLU, dense 10; batch 64, momentum 0.1, the
demonstration's rate 0.1 and three higher ones. The same networks without the ReLU show
what is due to it and what to the width. Four epochs of all images are 200,000 examples,
what the browser of the report trains in two minutes at its 1,460 a second.

Expect of ":mnist" (50,000 training images, 4 epochs, n = 8 seeds; 55 s on a 2-core
CPU, jax 0.10.2): at rate 0.1 test accuracies of 92.6 % with 10 ReLU units, 96.0 % with
100 and 92.0 % with 10 linear ones; 75 and 57 % of the ReLU outputs are above 0. At rate
3 all networks with ReLU end at chance, and from rate 1 on all linear ones diverge.

The report that is tested here trained each network once for two minutes in a browser,
and guessed that few ReLU units are active without counting them.
"""

from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from nnlab.commands.config import choose, default

DATASETS = ("digits", "mnist", "fashion_mnist")
SIZES = ("", "smoke", "full")
GROUPS = (DATASETS, SIZES)
UNITS = (10, 100)
ACTIVATIONS = {"relu": "ReLU", "identity": "linear"}
RATES = (0.1, 0.3, 1.0, 3.0)


def get_config(arg: str = "") -> ConfigDict:
    """The study; `arg` such as "mnist", "fashion_mnist,full" or "smoke"."""
    dataset, size = choose(arg, *GROUPS)
    config = default()
    config.question = (
        "How many hidden ReLU units does a network need, and how many of them are "
        "active?"
    )
    config.dataset = dataset
    config.optimizer.momentum = 0.1
    config.batch_size = 64
    config.num_epochs = 100 if dataset == "digits" else 4
    config.eval_every_epochs = 10.0 if dataset == "digits" else 0.5
    config.num_seeds = 8
    if size == "smoke":
        config.train_size = 512
        config.num_epochs = 3
        config.eval_every_epochs = 1.0
        config.num_seeds = 2
    elif size == "full":
        config.num_epochs = 300 if dataset == "digits" else 30
        config.eval_every_epochs = 10.0 if dataset == "digits" else 1.0
    final = {"metric": "test_accuracy", "reduction": "final"}
    active = {"metric": "validation_active_share", "reduction": "final"}
    ten = {"label": "10 ReLU, rate 0.1"}
    hundred = {"label": "100 ReLU, rate 0.1"}
    config.figures = ("curves", "active_units", "final")
    config.claims = (
        {
            "text": "10 ReLU units reach about 37 % (within 5 points)",
            "quantity": final,
            "left": ten,
            "right": 0.37,
            "relation": "same",
            "margin": 0.05,
        },
        {
            "text": "100 ReLU units reach over 98 %",
            "quantity": final,
            "left": hundred,
            "right": 0.98,
            "relation": "greater",
        },
        {
            "text": "10 ReLU units are worse than 100",
            "quantity": final,
            "left": ten,
            "right": hundred,
            "relation": "less",
        },
        {
            "text": "The ReLU is to blame: 10 units are worse with it than without",
            "quantity": final,
            "left": ten,
            "right": {"label": "10 linear, rate 0.1"},
            "relation": "less",
        },
        {
            "text": "A high rate is to blame: more networks of 10 ReLU units end at "
            "chance at rate 3.0 than at 0.1",
            "quantity": {"reduction": "at_chance_share"},
            "left": {"label": "10 ReLU, rate 3"},
            "right": ten,
            "relation": "greater",
        },
        *(
            {
                "text": f"Few of {units} ReLU units are active: less than half of "
                "their outputs are above 0",
                "quantity": active,
                "left": trial,
                "right": 0.5,
                "relation": "less",
            }
            for units, trial in zip(UNITS, (ten, hundred))
        ),
    )
    config.notes = (
        "A unit is active for an example if its output is above 0; the share is over "
        "units and validation examples. Linear units are not counted.",
        "The report does not say at which accuracy, of training or of test images, "
        "nor on which data it looked; the claims are about test images.",
    )
    return config


def sweep(arg: str = "") -> Iterator[dict[str, Any]]:
    """Both widths with and without ReLU, at each rate."""
    for activation, name in ACTIVATIONS.items():
        for units in UNITS:
            for rate in RATES:
                yield {
                    "label": f"{units} {name}, rate {rate:g}",
                    "model.activation": activation,
                    "model.hidden": (units,),
                    "optimizer.learning_rate": rate,
                }
