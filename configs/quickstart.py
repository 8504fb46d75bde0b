# SPDX-License-Identifier: Apache-2.0
"""Which learning rate should a small network get?

    python -m launch.train --config=configs/quickstart.py --workdir=runs/quickstart

Eight rates x sixteen seeds of a 64-32-10 ReLU network on scikit-learn's 1,797 real
handwritten digits (8x8), plain SGD, batch 32, 40 epochs: 128 networks in one compiled
program. 11 s on a 2-core CPU (jax 0.10.2, median of 4 runs of the whole command).

Expect (n = 16 seeds): best by validation 0.1, test accuracy 95.6 % (93.1 to 97.4 for
new seeds and images); 0.03, 0.3 and 1 do not differ significantly from it, on 360 test
images. 0.3 reaches 90 % validation accuracy after a median of 2 epochs, 0.01 after 29;
at 3 and at 10 all 16 seeds stay at chance, at a finite loss.
"""

from nnlab.commands.config import ConfigDict, default
from nnlab.study import Sweep, choose, product, sized
from nnlab.study.claims import faster, lower, same_within

GROUPS = (("", "smoke"),)
RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
SLOW, GOOD, QUICK, HIGH = (
    {"optimizer.learning_rate": rate} for rate in (0.01, 0.1, 0.3, 10.0)
)
CLAIMS = (
    faster("A higher learning rate trains faster: 0.1 against 0.01", 0.9, GOOD, SLOW),
    lower("A rate can be too high: 10 ends below 0.1", "test_accuracy", HIGH, GOOD),
    same_within("0.1 and 0.3 are about as good", 0.02, "test_accuracy", GOOD, QUICK),
)


def get_config(arg: str = "") -> ConfigDict:
    """The study; `arg` "smoke" shortens it to seconds."""
    (size,) = choose(arg, *GROUPS)
    config = default(__doc__)
    config.dataset = "digits"
    config.model.hidden = (32,)
    config.batch_size = 32
    config.num_epochs = 40
    config.num_seeds = 16
    config.update(sized(size, smoke={"train_size": 0, "num_seeds": 3}))
    config.compare_trials = "yes"
    config.claims = CLAIMS
    return config


def sweep(arg: str = "") -> Sweep:
    """One trial for each rate."""
    return product({"optimizer.learning_rate": RATES})
