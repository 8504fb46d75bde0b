# SPDX-License-Identifier: Apache-2.0
"""Which learning rate, and how many epochs, does a network on map coordinates need?

    python -m launch.train --config=configs/map_learning_rate.py \
        --workdir=runs/map_learning_rate

A network of six hidden layers of 16 ReLU units tells from longitude and latitude in
which of 20 regions a point lies; 40,000 points, Adam, batch 256. Four rates from 1 to
0.00001; the number of epochs is read off one curve of 100.

Expect (n = 32 seeds at 0.001, 24 at 0.01 and 8 at others; 201 s of CPU time on 2 cores,
jax 0.10.2): test accuracies of 95.6 % +- 0.3 at rate 0.001, 94.8 at 0.01, 47 at
0.00001; chance at 1. 0.01 needs a third of the updates of 0.001 to 85 % validation
accuracy.

The lab report that is tested here ran each rate once, for 50 epochs.
"""

from nnlab.commands.config import ConfigDict, default
from nnlab.study import Sweep, choose, sized
from nnlab.study import claims as c

GROUPS = (("full", "smoke"),)
RATES = (1.0, 0.01, 0.001, 0.00001)
SCORE = "validation_accuracy"
HIGH, QUICK, STEADY, SLOW = ({"optimizer.learning_rate": rate} for rate in RATES)


def get_config(arg: str = "") -> ConfigDict:
    """The study; `arg` "smoke" shortens it to seconds."""
    (size,) = choose(arg, *GROUPS)
    config = default(__doc__)
    config.update(dataset="map", batch_size=256, num_epochs=100, num_seeds=32)
    config.model.update(hidden=(16,), depth=6)
    config.optimizer.name = "adam"
    config.update(sized(size, smoke={"train_size": 2_000}))
    config.target = 0.85
    config.figures = ("curves", "noise", "final", "target", "extremes", "regions")
    *early, half = (1, 2, 2) if size == "smoke" else (10, 20, 50)
    spread, score = c.at_epoch(half, "batch_loss_std"), c.at_epoch(half, SCORE)
    end = c.at_epoch(config.num_epochs, SCORE)
    stays = {
        f"After {n} epochs 0.001 is within 3 points of its end": c.at_epoch(n, SCORE)
        for n in early
    }
    fall, rise = c.best_minus_final(SCORE), c.best_minus_final("validation_loss")
    config.compare_trials = "yes"
    claims = (
        c.same_within("Rate 1 learns nothing", 0.05, score, HIGH, "chance"),
        c.higher("Losses spread more at 1 than at 0.001", spread, HIGH, STEADY),
        c.faster("0.01 is faster than 0.001 to 85 %", 0.85, QUICK, STEADY),
        c.lower("Losses spread less at 0.001 than at 0.01", spread, STEADY, QUICK),
        c.lower("0.00001 is less accurate than 0.001 half way", score, SLOW, STEADY),
        *(
            c.same_within(
                *(text, 0.03, end, STEADY, STEADY),
                right_quantity=then,
                otherwise=text.replace("is within", "is not within"),
            )
            for text, then in stays.items()
        ),
        c.lower("0.001 overfits: its loss rises by over 0.05", rise, STEADY, -0.05),
        c.higher("0.001 ends over half a point below its best", fall, STEADY, 0.005),
    )
    config.claims = c.answering(c.about(claims), "points of its end")
    config.notes = (
        "The lab report read the number of epochs off separate runs of 1 to 100; at a "
        "constant rate they are points of one curve.",
    )
    return config


def sweep(arg: str = "") -> Sweep:
    """One trial for each rate; fewer seeds of those that are plainly apart."""
    for trial in (HIGH, QUICK, STEADY, SLOW):
        seeds = 8 if trial in (HIGH, SLOW) else 24 if trial == QUICK else 32
        yield {**trial, "num_seeds": seeds}
