# SPDX-License-Identifier: Apache-2.0
"""What happens when several linear layers stand in a row, without activations?

    python -m launch.train --config=configs/linear_stack.py:mnist --data_dir=DIR \
        --workdir=runs/linear_stack

Flatten, none to seven dense layers of 100 units, dense 10, without activations; batch
64, momentum 0.1 and the demonstration's rate 0.1 among six. A map shows which depths
and rates diverge, and the report says at which step, in which layer and with which
gradient norm. Multiplied out, every stack is one linear layer.

Expect of ":mnist" (20,000 training images, 5 epochs, n = 12 seeds of one and six
layers, 8 of others; 262 s of CPU time on 2 cores, jax 0.10.2): none of one layer
diverges, all of six at rate 0.7, 6 of 8 of eight layers at 0.1. At its best rate each
depth ends at 90.9 to 91.5 %.

The lab report that is tested here saw the accuracy plummet and the probabilities become
NaN in a browser, with an unknown number of layers, and gave no reason.
"""

from nnlab.commands.config import ConfigDict, default
from nnlab.study import DATASETS, SIZES, Sweep, choose, sized
from nnlab.study.claims import DIVERGED, about, answering, higher, lower, same_within

GROUPS = (DATASETS, SIZES)
HIDDEN = {layers: (100,) * (layers - 1) for layers in (1, 2, 3, 4, 6, 8)}
RATES = (0.01, 0.03, 0.1, 0.3, 0.7, 2.0)
ONE, SIX, EIGHT = ({"model.hidden": HIDDEN[layers]} for layers in (1, 6, 8))
DEMO, HIGH = {"optimizer.learning_rate": 0.1}, {"optimizer.learning_rate": 0.7}
TEST, SOME = "test_accuracy", 0.05  # "some" is more than this share
CLAIMS = (
    same_within(
        "At best rates six layers end within 1 point of one",
        0.01,
        TEST,
        SIX,
        ONE,
        among="best",
    ),
    higher(
        "At rate 0.1 some networks of eight layers diverge",
        DIVERGED,
        EIGHT | DEMO,
        SOME,
    ),
    lower("Six layers end below 50 % at rate 0.1", TEST, SIX | DEMO, 0.5),
    lower("Six layers end below one at rate 0.1", TEST, SIX | DEMO, ONE | DEMO),
    higher(
        "At rate 0.7 six layers diverge more often than one",
        DIVERGED,
        SIX | HIGH,
        ONE | HIGH,
    ),
)


def get_config(arg: str = "") -> ConfigDict:
    """The study; `arg` such as "mnist", "fashion_mnist,full" or "smoke"."""
    dataset, size = choose(arg, *GROUPS)
    config = default(__doc__)
    config.update(dataset=dataset, batch_size=64, num_seeds=12)
    config.update(train_size=20_000, num_epochs=5)
    config.model.activation = "identity"
    config.optimizer.momentum = 0.1
    if dataset == "digits":
        config.update(train_size=0, num_epochs=30)
    epochs = 60 if dataset == "digits" else 20
    config.update(sized(size, full={"train_size": 0, "num_epochs": epochs}))
    config.figures = ("map", "divergence", "curves")
    config.claims = answering(about(CLAIMS), "diverge", "best rates")
    config.notes = (
        "A stack of linear layers computes what one linear layer can, but its "
        "gradients are products of the other layers' weights: it is trained "
        "differently, and diverges at rates that one layer bears.",
        "The lab report does not say how many layers it stacked.",
    )
    return config


def sweep(arg: str = "") -> Sweep:
    """Each depth at each rate; fewer seeds of depths that no claim compares."""
    for layers, hidden in HIDDEN.items():
        for rate in RATES:
            label = f"{layers} layer{'s' * (layers > 1)}, rate {rate:g}"
            setting = {"model.hidden": hidden, "optimizer.learning_rate": rate}
            seeds = 12 if layers in (1, 6) else 8
            yield {"label": label, **setting, "num_seeds": seeds}
