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

from nnlab.commands.config import ConfigDict, default
from nnlab.study import Sweep, choose, product, sized
from nnlab.study import claims as c

GROUPS = (("full", "smoke"),)
RATES = (1.0, 0.01, 0.001, 0.00001)
HIGH, QUICK, STEADY, SLOW = ({"optimizer.learning_rate": rate} for rate in RATES)


def get_config(arg: str = "") -> ConfigDict:
    """The study; `arg` "smoke" shortens it to seconds."""
    (size,) = choose(arg, *GROUPS)
    config = default(__doc__)
    config.update(dataset="map", batch_size=256, num_epochs=100, num_seeds=8)
    config.model.update(hidden=(16,), depth=6)
    config.optimizer.name = "adam"
    config.update(sized(size, smoke={"train_size": 2_000}))
    last = config.num_epochs
    tenth, fifth, half = (1, 2, 2) if size == "smoke" else (10.0, 20.0, 50.0)
    accuracy = "validation_accuracy"
    spread, at_half = c.at_epoch(half, "batch_loss_std"), c.at_epoch(half, accuracy)
    config.target = 0.85
    config.figures = ("curves", "noise", "final", "target", "extremes", "regions")
    claims = {
        "At rate 1 nothing is learned: the accuracy after half of the epochs is that "
        "of chance, within 5 points": c.same_within(0.05, at_half, HIGH, "chance"),
        "Rate 1 oscillates: its batch losses spread more than those of 0.001": c.higher(
            spread, HIGH, STEADY
        ),
        "0.01 is quick: sooner than 0.001 at 85 % validation accuracy": c.faster(
            0.85, QUICK, STEADY
        ),
        "0.001 is steady: its batch losses spread less than those of 0.01": c.lower(
            spread, STEADY, QUICK
        ),
        "0.00001 is far too slow: less accurate than 0.001 after half of the "
        "epochs": c.lower(at_half, SLOW, STEADY),
    }
    for epoch in (tenth, fifth):
        text = f"Most is learned by epoch {epoch:g}: at 0.001 the accuracy at the end "
        claims[f"{text}is the same within 3 points"] = c.same_within(
            *(0.03, c.at_epoch(last, accuracy), STEADY, STEADY),
            right_quantity=c.at_epoch(epoch, accuracy),
        )
    claims |= {
        "Too many epochs overfit: at 0.001 the validation loss ends above its lowest "
        "by more than 0.05": c.lower(
            c.best_minus_final("validation_loss"), STEADY, -0.05
        ),
        "Some runs fluctuate late: at 0.001 the accuracy ends more than half a point "
        "below its best": c.higher(c.best_minus_final(accuracy), STEADY, 0.005),
    }
    config.claims = c.claimed(claims)
    config.notes = (
        "The report read the number of epochs off separate runs of 1 to 100; at a "
        "constant rate they are points of one curve.",
    )
    return config


def sweep(arg: str = "") -> Sweep:
    """One trial for each rate."""
    return product({"optimizer.learning_rate": RATES})
