# SPDX-License-Identifier: Apache-2.0
"""Is a network with two hidden layers, or with ten, better than one with one?

    python -m launch.train --config=configs/depth.py:mnist --data_dir=DIR \
        --workdir=runs/depth

One hidden layer of 64 units (50,880 parameters on 28x28 images), two of 60 (51,300),
and ten of 64, with all tricks of the trade: 1.7159 tanh(2x/3), weights with standard
deviation 1/sqrt(fan-in), momentum 0.9, standardised inputs, a bias on the input only.
Batch 32, five evaluations an epoch; a network stops when its validation accuracy has
not improved in 50 of them. Three rates for each, since depth may want another.

Expect of ":mnist" (20,000 training images, at most 30 epochs, n = 6; 494 s of CPU time
on 2 cores, jax 0.10.2, alone 260 s): at the lab report's rate 96.5 % with one layer and
with two, 95.4 % with ten; each at its best rate 96.5, 96.5 and 96.6 %. One verdict
depends on what stops: by validation loss it is 96.3, 95.9 and 95.1 % (at best rates
96.3, 96.3 and 96.2 %), and whether two layers are like one at 0.02 is open.

The lab report that is tested here ran each network once, at rate 0.02.
"""

from nnlab.commands.config import ConfigDict, default
from nnlab.study import DATASETS, SIZES, Sweep, choose, sized, updates_an_epoch
from nnlab.study.claims import about, answering, higher, lower, same_within, steps_to

GROUPS = (DATASETS, SIZES)
RATES = (0.002, 0.006, 0.02)
NETWORKS = {"1 x 64": (64,), "2 x 60": (60, 60), "10 x 64": (64,) * 10}
ONE, TWO, TEN = ({"model.hidden": hidden} for hidden in NETWORKS.values())
REPORTED = {"optimizer.learning_rate": 0.02}
TEST, LOSS = "test_accuracy", "test_loss"


def get_config(arg: str = "") -> ConfigDict:
    """The study; `arg` such as "mnist", "fashion_mnist,full" or "smoke"."""
    dataset, size = choose(arg, *GROUPS)
    config = default(__doc__)
    config.update(dataset=dataset, standardize=True, batch_size=32, num_seeds=6)
    config.update(train_size=20_000, num_epochs=30, eval_every_epochs=0.2)
    config.model.update(activation="lecun_tanh", init="lecun_normal", bias="first")
    config.optimizer.momentum = 0.9
    config.early_stopping.patience = 50
    if dataset == "digits":
        config.update(train_size=0, num_epochs=50)
    epoch = updates_an_epoch(dataset, config.batch_size, config.train_size)
    config.update(sized(size, full={"train_size": 0, "num_epochs": 50}))
    goal = {"digits": 0.9, "mnist": 0.95, "fashion_mnist": 0.83}[dataset]
    one, two, ten = (network | REPORTED for network in (ONE, TWO, TEN))
    speed, config.target = steps_to(goal), goal
    config.figures = ("curves", "final", "target", "gap", "costs")
    claims = (
        same_within("Two layers are like one at rate 0.02", 0.005, TEST, two, one),
        same_within(
            "Two layers, at their best rate, end within half a point of one",
            *(0.005, TEST, TWO, ONE),
            among="best",
        ),
        same_within(f"Ten are as fast as one to {goal:.0%}", epoch, speed, ten, one),
        higher("Ten layers end at a higher loss than one, at 0.02", LOSS, ten, one),
        lower("Ten layers are less accurate than one, at 0.02", TEST, ten, one),
        higher(
            "Ten layers, at their best rate, are better than one",
            *(TEST, TEN, ONE),
            among="best",
            otherwise="Ten layers, at their best rate, are no better than one",
        ),
    )
    config.claims = answering(about(claims), "best rate")
    config.notes = (
        "On 28x28 images one hidden layer of 64 has 785 x 64 + 64 x 10 = 50,880 "
        "parameters and two of 60 have 785 x 60 + 60 x 60 + 60 x 10 = 51,300: about "
        "the same. Ten of 64 have nine times 64 x 64 more, 87,744.",
        "Faster means fewer updates. An update of ten layers takes longer; the costs "
        "are in the table below.",
    )
    return config


def sweep(arg: str = "") -> Sweep:
    """Each network at each rate."""
    for name, hidden in NETWORKS.items():
        for rate in RATES:
            label = {"label": f"{name}, rate {rate:g}", "model.hidden": hidden}
            yield {**label, "optimizer.learning_rate": rate}
