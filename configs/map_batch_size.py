# SPDX-License-Identifier: Apache-2.0
"""Which batch size does a network on map coordinates need, and what does an epoch cost?

    python -m launch.train --config=configs/map_batch_size.py \
        --workdir=runs/map_batch_size

Six hidden layers of 16 ReLU units on 40,000 points of 20 regions, Adam at rate 0.001;
batches of 1, 16, 128 and 1024, up to 50 epochs. `max_steps` ends training after 400,000
updates: with one example a batch that is epoch 10, and the other sizes do not get
there. `python -m launch.describe --config=configs/map_batch_size.py --measure` tells
beforehand what each size costs; the costliest trains last.

Expect (n = 8 seeds; 54 s for the whole command on a 2-core CPU, jax 0.10.2): batches of
128 end best, at a test accuracy of 95.0 % +- 0.5; 90 % validation accuracy comes after
a median of 3 epochs with batches of 16, 4 with 1, 5.5 with 128 and 18 with 1024.

The report that is tested here trained batches of 1 for one epoch, of 16 for ten and of
128 and 1024 for fifty, each once, and compared the ends: unequal numbers of epochs and
of updates. Here sizes are compared after equally many epochs and equally many updates.
"""

from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from nnlab.commands.config import choose, default

SIZES = ("full", "smoke")
GROUPS = (SIZES,)
BATCHES = (1, 16, 128, 1024)


def get_config(arg: str = "") -> ConfigDict:
    """The study; `arg` "smoke" shortens it to seconds."""
    (size,) = choose(arg, *GROUPS)
    config = default()
    config.question = (
        "Which batch size does a network on map coordinates need, and what does an "
        "epoch cost?"
    )
    config.dataset = "map"
    config.model.hidden = (16,)
    config.model.depth = 6
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 0.001
    config.num_epochs = 50
    config.max_steps = 400_000
    config.num_seeds = 8
    # After epochs that all sizes train, and after updates that all do.
    epoch, updates = 10, 50 * (40_000 // 1024)
    if size == "smoke":
        config.train_size = 2_048
        config.num_epochs = 3
        config.max_steps = 4_096
        config.num_seeds = 2
        epoch, updates = 2, 6
    equal_epochs = {
        "metric": "validation_accuracy",
        "reduction": "at_epoch",
        "epoch": epoch,
    }
    equal_updates = {
        "metric": "validation_accuracy",
        "reduction": "at_step",
        "step": updates,
    }
    best_minus_final = {
        "metric": "validation_accuracy",
        "reduction": "best_minus_final",
    }
    config.figures = ("curves", "updates", "seconds", "noise", "final", "costs")
    config.claims = (
        *(
            {
                "text": f"Batches of {large} are better than batches of {small} after "
                f"{epoch} epochs of each",
                "quantity": equal_epochs,
                "left": {"batch_size": large},
                "right": {"batch_size": small},
                "relation": "greater",
            }
            for large in (1024, 128)
            for small in (1, 16)
        ),
        *(
            {
                "text": f"Batches of {large} are better than batches of 1 after "
                f"{updates:,} updates of each",
                "quantity": equal_updates,
                "left": {"batch_size": large},
                "right": {"batch_size": 1},
                "relation": "greater",
            }
            for large in (1024, 128)
        ),
        *(
            {
                "text": f"Batches of {small} are unstable: their accuracy ends further "
                "below its best than that of batches of 1024",
                "quantity": best_minus_final,
                "left": {"batch_size": small},
                "right": {"batch_size": 1024},
                "relation": "greater",
            }
            for small in (1, 16)
        ),
        {
            "text": "Small batches take longer for an epoch: 1 against 1024",
            "quantity": {"reduction": "seconds"},
            "left": {"batch_size": 1},
            "right": {"batch_size": 1024},
            "relation": "greater",
        },
    )
    config.notes = (
        "The report gave batches of 1, 16, 128 and 1024 one, ten, fifty and fifty "
        "epochs, so that batch size, epochs and updates changed together: with 40,000 "
        "points 40,000, 25,000, 15,600 and 1,950 updates. The final values here are "
        "after 10, 50, 50 and 50 epochs; the claims compare equal epochs and equal "
        "updates.",
    )
    return config


def sweep(arg: str = "") -> Iterator[dict[str, Any]]:
    """One trial for each batch size."""
    for batch_size in BATCHES:
        yield {"batch_size": batch_size}
