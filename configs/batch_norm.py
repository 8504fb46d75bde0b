# SPDX-License-Identifier: Apache-2.0
"""What does batch norm do for a network on map coordinates?

    python -m launch.train --config=configs/batch_norm.py --workdir=runs/batch_norm

Six hidden layers of 16 ReLU units on 40,000 points of 20 regions, Adam, batch 256, 50
epochs; with and without batch norm before each activation, at five learning rates.

Expect (n = 8 seeds; 134 s of CPU time on 2 cores, jax 0.10.2): test accuracies of 95.0
% with batch norm at its best rate, 0.0003, and 95.1 % without at 0.003, which is sooner
at 85 %. At 0.001 batch norm needs 0.6 times the updates to 85 % validation accuracy,
but ends at a higher validation loss.

The lab report that is tested here ran each network once, at rate 0.001.
"""

from nnlab.commands.config import ConfigDict, default
from nnlab.study import Sweep, choose, product, sized
from nnlab.study.claims import about, answering, best_minus_final, faster, higher, lower

GROUPS = (("full", "smoke"),)
RATES = (0.0003, 0.001, 0.003, 0.01, 0.03)
NORM, PLAIN = {"model.batch_norm": True}, {"model.batch_norm": False}
REPORTED = {"optimizer.learning_rate": 0.001}
EACH, BOTH = (NORM, PLAIN), (NORM | REPORTED, PLAIN | REPORTED)
TEST = "test_accuracy"
RISE = best_minus_final("validation_loss")
CLAIMS = (
    lower("Batch norm ends at a lower loss, at rate 0.001", "validation_loss", *BOTH),
    faster("Batch norm is faster to 85 %, at rate 0.001", 0.85, *BOTH),
    higher("Batch norm is more accurate, at rate 0.001", TEST, *BOTH),
    higher("Batch norm overfits less, at rate 0.001", RISE, *BOTH, margin=0.05),
    higher(
        "At its best rate batch norm is more accurate",
        *(TEST, *EACH),
        among="best",
        otherwise="At its best rate batch norm is no more accurate",
    ),
    faster(
        "At its best rate batch norm is faster to 85 %",
        *(0.85, *EACH),
        among="best",
        otherwise="At its best rate batch norm is no faster to 85 %",
    ),
)


def get_config(arg: str = "") -> ConfigDict:
    """The study; `arg` "smoke" shortens it to seconds."""
    (size,) = choose(arg, *GROUPS)
    config = default(__doc__)
    config.update(dataset="map", batch_size=256, num_epochs=50, num_seeds=8)
    config.model.update(hidden=(16,), depth=6)
    config.optimizer.name = "adam"
    config.update(sized(size, smoke={"train_size": 2_000}))
    config.target = 0.85
    config.figures = ("curves", "gap", "final", "target", "map", "noise")
    config.claims = answering(about(CLAIMS), "At its best rate")
    return config


def sweep(arg: str = "") -> Sweep:
    """With and without batch norm, at each rate."""
    axes = {"model.batch_norm": (True, False), "optimizer.learning_rate": RATES}
    return product(axes)
