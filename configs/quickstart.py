# SPDX-License-Identifier: Apache-2.0
"""Which learning rate should a small network get?

    python -m launch.train --config=configs/quickstart.py --workdir=runs/quickstart

Eight rates x sixteen seeds of a 64-32-10 ReLU network on scikit-learn's 1,797 real
handwritten digits (8x8), plain SGD, batch 32, 40 epochs: 128 networks in one compiled
program. 9 s on a 2-core CPU (jax 0.10.2, median of 3 runs of the whole command).

Expect (n = 16 seeds): best by validation 0.1, test accuracy 95.7 % +- 0.2; 0.3 reaches
90 % validation accuracy after a median of 2 epochs, 0.01 after 29; at 3 and at 10 all
16 seeds stay at chance, at a finite loss.
"""

from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from nnlab.commands.config import choose, default

SIZES = ("", "smoke")
GROUPS = (SIZES,)
RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


def get_config(arg: str = "") -> ConfigDict:
    """The study; `arg` "smoke" shortens it to seconds."""
    (size,) = choose(arg, *GROUPS)
    config = default()
    config.question = "Which learning rate should a small network get?"
    config.dataset = "digits"
    config.model.hidden = (32,)
    config.batch_size = 32
    config.num_epochs = 3 if size == "smoke" else 40
    config.num_seeds = 3 if size == "smoke" else 16
    config.claims = (
        {
            "text": "A higher learning rate trains faster: 0.1 against 0.01",
            "quantity": {
                "metric": "validation_accuracy",
                "reduction": "steps_to",
                "target": 0.9,
            },
            "left": {"optimizer.learning_rate": 0.1},
            "right": {"optimizer.learning_rate": 0.01},
            "relation": "less",
        },
        {
            "text": "A learning rate can be too high: 10 ends below 0.1",
            "quantity": {"metric": "test_accuracy", "reduction": "final"},
            "left": {"optimizer.learning_rate": 10.0},
            "right": {"optimizer.learning_rate": 0.1},
            "relation": "less",
        },
        {
            "text": "Between 0.1 and 0.3 the rate matters little (1 point of accuracy)",
            "quantity": {"metric": "test_accuracy", "reduction": "final"},
            "left": {"optimizer.learning_rate": 0.1},
            "right": {"optimizer.learning_rate": 0.3},
            "relation": "same",
            "margin": 0.01,
        },
    )
    return config


def sweep(arg: str = "") -> Iterator[dict[str, Any]]:
    """One trial for each rate."""
    for rate in RATES:
        yield {"optimizer.learning_rate": rate}
