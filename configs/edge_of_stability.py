# SPDX-License-Identifier: Apache-2.0
"""Does gradient descent train at the edge of stability?

    python -m launch.train --config=configs/edge_of_stability.py \
        --workdir=runs/edge_of_stability

784-100-100-10 with tanh, half the squared error on one-hot labels, full batches of
1,000 Fashion-MNIST images less their mean, plain gradient descent for 2,000 steps. The
sharpness, the largest eigenvalue of the loss's Hessian, is measured every 50 steps;
`sharpness_edge` is it times the rate, halved: above 1 the quadratic model of the loss
is unstable (Cohen et al. 2021, arXiv 2103.00065).

Set-up and thresholds were fixed on root seed 1; root seed 0, the default, tests them.
It takes about 4 minutes on two cores of an AMD EPYC (n = 8 seeds, 16 networks).
At rate 0.1 the sharpness begins above the edge, at 1.5 of it, and falls to it within
200 steps; so only rate 0.05 shows the rise, which takes 1,500 steps.
"""

from nnlab.commands.config import ConfigDict, default
from nnlab.study import Sweep, choose, sized
from nnlab.study.claims import (
    Quantity,
    answering,
    at_step,
    best,
    higher,
    lower,
    same_within,
)

GROUPS = (("full", "smoke"),)
SLOW, FAST = ({"optimizer.learning_rate": rate} for rate in (0.05, 0.1))
EDGE = "sharpness_edge"
SMOKE = {"dataset": "digits", "probes": ("sharpness@1", "descent@1")}


def get_config(arg: str = "") -> ConfigDict:
    """The study; `arg` "smoke" shortens it to seconds."""
    (size,) = choose(arg, *GROUPS)
    config = default(__doc__)
    config.update(
        dataset="fashion_mnist",
        train_size=1_000,
        center=True,
        full_batch=True,
        num_epochs=2_000,
        eval_every_epochs=50,
        eval_size=1_000,
        num_seeds=8,
        probes=("sharpness@50", "descent@50"),
        figures=("curves",),
    )
    config.loss.name = "squared_error"
    config.model.update(hidden=(100, 100), activation="tanh")
    config.update(sized(size, smoke=SMOKE))
    steps = config.num_epochs

    def at(share: float, metric: str = EDGE) -> Quantity:
        return at_step(round(share * steps), metric)

    early = {"right_quantity": at(0.25, "train_loss")}
    claims = (
        higher("The sharpness rises", at(0.9), SLOW, SLOW, right_quantity=at(0.1)),
        same_within("At rate 0.05 it reaches 2/rate", 0.1, at(0.9), SLOW, 1.0),
        same_within("At rate 0.1 it is at 2/rate", 0.1, at(0.5), FAST, 1.0),
        same_within("At rate 0.1 it stays there", 0.1, at(1.0), FAST, 1.0),
        same_within("It goes as 1/rate", 0.1, at(0.9), SLOW, FAST),
        lower("The loss rises at some steps", best("descent"), FAST, 0.0),
        lower(
            "In the long run the loss falls", at(1, "train_loss"), FAST, FAST, **early
        ),
    )
    config.claims = answering(claims, "sharpness rises", "reaches", "stays there")
    return config


def sweep(arg: str = "") -> Sweep:
    """Two learning rates."""
    return SLOW, FAST
