# SPDX-License-Identifier: Apache-2.0
"""How good is an untrained network, and how good and how fast is it after training?

    python -m launch.train --config=configs/model_builder.py:mnist --data_dir=DIR \
        --workdir=runs/model_builder

Three stacks of a model builder: flatten and dense 10; with 100 ReLU units between; two
convolutions (8 and 16 channels) and dense 10. Batch 64, rate 0.1, momentum 0.1, as in
the demonstration. Accuracy and loss before the first update, class probabilities of a
few test images before and after training, examples and inferences a second.

Expect of ":mnist" (20,000 training images, 5 epochs, n = 16 seeds; 291 s of CPU time on
2 cores, jax 0.10.2): untrained 9.9 % right (8.3 to 11.5; chance 11.2 %) at a loss of
2.34 (ln 10 = 2.30); trained 91.1, 94.3 and 97.8 %.

Expect of ":fashion_mnist" (likewise, 134 s): untrained 8.7 to 11.7 % right (chance
10.5 %) at a loss of 2.35 to 2.40; trained 82.1, 83.6 and 85.9 %.

The lab report that is tested here looked at one untrained network in a browser, and
gave two reasons for its errors: random weights, and few units. Its speeds (1,050 to
1,600 inferences a second, 1,460 examples a second) are those of that browser.
"""

import math

from nnlab.commands.config import ConfigDict, default
from nnlab.study import DATASETS, SIZES, Sweep, choose, sized, updates_an_epoch
from nnlab.study import claims as c

GROUPS = ((*DATASETS, "cifar10"), SIZES)
ONE, TWO = {"label": "dense 10"}, {"label": "dense 100, dense 10"}
BROWSER = 1_460  # examples a second in the lab report
TEST, UNTRAINED = "test_accuracy", c.at_epoch(0.0, "test_accuracy")
LOSS, LN10 = c.at_epoch(0.0, "test_loss"), math.log(10)  # all data have ten classes
CLAIMS = (
    c.same_within("An untrained network is at chance", 0.05, UNTRAINED, ONE, "chance"),
    c.higher("Untrained, 100 more units help", UNTRAINED, TWO, ONE, margin=0.05),
    c.same_within("Untrained, 100 more units change little", 0.05, UNTRAINED, TWO, ONE),
    c.higher("Untrained, the loss is above ln 10 = 2.303", LOSS, ONE, LN10),
    c.higher("Trained, 100 more units are right more often", TEST, TWO, ONE),
)


def get_config(arg: str = "") -> ConfigDict:
    """The study; `arg` such as "mnist", "cifar10,full" or "smoke"."""
    dataset, size = choose(arg, *GROUPS)
    config = default(__doc__)
    config.update(dataset=dataset, batch_size=64, num_seeds=16)
    config.update(train_size=20_000, num_epochs=5)
    config.optimizer.update(learning_rate=0.1, momentum=0.1)
    full = {"train_size": 0, "num_epochs": 20, "num_seeds": 8}
    if dataset == "digits":
        config.update(train_size=0, num_epochs=20)
        full["num_epochs"] = 50
    config.update(sized(size, full=full))
    config.figures = (
        *("curves", "final", "costs", "probabilities", "confusion", "mistakes"),
    )
    examples = updates_an_epoch(dataset, 1, config.train_size)
    text = f"Training is faster than a browser's {BROWSER:,} examples a second"
    faster = c.lower(text, c.SECONDS, TWO, examples / BROWSER)
    stated = (*c.about(CLAIMS), faster)
    config.claims = c.answering(stated, "An untrained", "Trained, 100", "faster")
    config.notes = (
        "The lab report counted 1,050 to 1,600 inferences and 1,460 examples a second "
        "in a browser. The speeds here are those of a compiled program that trains all "
        "networks together, and of one network with one example at a time.",
    )
    return config


def sweep(arg: str = "") -> Sweep:
    """Three stacks, layer by layer."""
    yield {**ONE, "model.hidden": ()}
    yield {**TWO, "model.hidden": (100,)}
    cnn = {"model.name": "cnn", "model.channels": (8, 16), "model.hidden": ()}
    yield {"label": "conv 8, conv 16, dense 10", **cnn}
