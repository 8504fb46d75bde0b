# SPDX-License-Identifier: Apache-2.0
"""What does batch norm do for a network on map coordinates?

    python -m launch.train --config=configs/batch_norm.py --workdir=runs/batch_norm

Six hidden layers of 16 ReLU units on 40,000 points of 20 regions, Adam, batch 256, 50
epochs; with and without batch norm before each activation, at five learning rates.

Expect (n = 8 seeds; 64 s for the whole command on a 2-core CPU, jax 0.10.2): test
accuracies of 95.1 % +- 0.3 with batch norm at its best rate, 0.0003, and 94.9 +- 0.5
without at 0.001. At 0.001 batch norm reaches 85 % validation accuracy after a median of
3 epochs instead of 5, but ends at a higher validation loss.

The report that is tested here ran each network once, at rate 0.001.
"""

from nnlab.commands.config import ConfigDict, default
from nnlab.study import Sweep, choose, product, sized
from nnlab.study.claims import best_minus_final, claimed, faster, higher, lower

GROUPS = (("full", "smoke"),)
RATES = (0.0003, 0.001, 0.003, 0.01, 0.03)
NORM, PLAIN = {"model.batch_norm": True}, {"model.batch_norm": False}
REPORTED = {"optimizer.learning_rate": 0.001}


def get_config(arg: str = "") -> ConfigDict:
    """The study; `arg` "smoke" shortens it to seconds."""
    (size,) = choose(arg, *GROUPS)
    config = default(__doc__)
    config.update(dataset="map", batch_size=256, num_epochs=50, num_seeds=8)
    config.model.update(hidden=(16,), depth=6)
    config.optimizer.name = "adam"
    config.update(sized(size, smoke={"train_size": 2_000}))
    norm, plain = {**NORM, **REPORTED}, {**PLAIN, **REPORTED}
    config.target = 0.85
    config.figures = ("curves", "gap", "final", "target", "map", "noise")
    config.claims = claimed(
        {
            "With batch norm the validation loss ends lower, at rate 0.001": lower(
                "validation_loss", norm, plain
            ),
            "With batch norm 85 % validation accuracy comes much sooner, at rate "
            "0.001": faster(0.85, norm, plain),
            "With batch norm the test accuracy is higher, at rate 0.001": higher(
                "test_accuracy", norm, plain
            ),
            "Batch norm avoids overfitting: the validation loss ends less above its "
            "lowest, at rate 0.001": higher(
                best_minus_final("validation_loss"), norm, plain
            ),
            "With batch norm the test accuracy is higher with each at its best rate, "
            "too": higher("test_accuracy", NORM, PLAIN, among="best"),
            "With batch norm 85 % comes sooner with each at its best rate, too": faster(
                0.85, NORM, PLAIN, among="best"
            ),
        }
    )
    return config


def sweep(arg: str = "") -> Sweep:
    """With and without batch norm, at each rate."""
    axes = {"model.batch_norm": (True, False), "optimizer.learning_rate": RATES}
    return product(axes)
