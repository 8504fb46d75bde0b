# SPDX-License-Identifier: Apache-2.0
"""How much worse are 10 hidden ReLU units than 100, and how many are active?

    python -m launch.train --config=configs/relu_width.py:mnist --data_dir=DIR \
        --workdir=runs/relu_width

Flatten, dense 10 or dense 100, ReLU, dense 10; batch 64, momentum 0.1, the
demonstration's rate 0.1 and three higher ones. The same networks without the ReLU show
what is due to it and what to the width. Four epochs of all images are 200,000 examples,
what the browser of the lab report trains in two minutes at its 1,460 a second.

Expect of ":mnist" (50,000 training images, 4 epochs, n = 8 seeds; 133 s of CPU time on
2 cores, jax 0.10.2): at rate 0.1 test accuracies of 92.6 % with 10 ReLU units, 96.0 %
with 100 and 92.0 % with 10 linear ones; 75 and 58 % of the ReLU outputs are above 0. At
rate 3 all networks with ReLU end at chance, and from rate 1 on all linear ones diverge.

The lab report that is tested here trained each network once for two minutes in a
browser, and guessed that few ReLU units are active without counting them.
"""

from nnlab.commands.config import ConfigDict, default
from nnlab.study import DATASETS, SIZES, Sweep, choose, sized
from nnlab.study.claims import AT_CHANCE, about, answering, higher, lower, same_within

GROUPS = (DATASETS, SIZES)
ACTIVATIONS = {"relu": "ReLU", "identity": "linear"}
RATES = (0.1, 0.3, 1.0, 3.0)
TEN, HUNDRED = {"label": "10 ReLU, rate 0.1"}, {"label": "100 ReLU, rate 0.1"}
LINEAR, HIGH = {"label": "10 linear, rate 0.1"}, {"label": "10 ReLU, rate 3"}
TEST, ACTIVE = "test_accuracy", "validation_active_share"
CLAIMS = (
    same_within("10 ReLU units reach about 37 %", 0.05, TEST, TEN, 0.37),
    higher("100 ReLU units reach over 98 %", TEST, HUNDRED, 0.98),
    lower("10 ReLU units are less accurate than 100", TEST, TEN, HUNDRED),
    lower("The ReLU is to blame: 10 units are better without it", TEST, TEN, LINEAR),
    higher("At rate 3 more networks end at chance than at 0.1", AT_CHANCE, HIGH, TEN),
    lower(
        "Less than half of 10 ReLU units are active",
        *(ACTIVE, TEN, 0.5),
        otherwise="More than half of 10 ReLU units are active",
    ),
    lower(
        "Less than half of 100 ReLU units are active",
        *(ACTIVE, HUNDRED, 0.5),
        otherwise="More than half of 100 ReLU units are active",
    ),
)


def get_config(arg: str = "") -> ConfigDict:
    """The study; `arg` such as "mnist", "fashion_mnist,full" or "smoke"."""
    dataset, size = choose(arg, *GROUPS)
    config = default(__doc__)
    config.update(dataset=dataset, batch_size=64, num_seeds=8)
    config.update(num_epochs=4, eval_every_epochs=0.5, optimizer={"momentum": 0.1})
    full = {"num_epochs": 30, "eval_every_epochs": 1.0}
    if dataset == "digits":
        config.update(num_epochs=100, eval_every_epochs=10.0)
        full = {"num_epochs": 300, "eval_every_epochs": 10.0}
    config.update(sized(size, smoke={"eval_every_epochs": 1.0}, full=full))
    config.figures = ("curves", "active_units", "final")
    config.claims = answering(about(CLAIMS), "than 100", "Less than half")
    config.notes = (
        "A unit is active for an example if its output is above 0; the share is over "
        "units and validation examples. Linear units are not counted.",
        "The lab report does not say at which accuracy, of training or of test images, "
        "nor on which data it looked; the claims are about test images.",
    )
    return config


def sweep(arg: str = "") -> Sweep:
    """Both widths with and without ReLU, at each rate."""
    for activation, name in ACTIVATIONS.items():
        for units in (10, 100):
            network = {"model.activation": activation, "model.hidden": (units,)}
            for rate in RATES:
                label = {"label": f"{units} {name}, rate {rate:g}"}
                yield {**label, **network, "optimizer.learning_rate": rate}
