# SPDX-License-Identifier: Apache-2.0
"""What do smaller batches do to accuracy and to training time?

    python -m launch.train --config=configs/batch_size.py:mnist --data_dir=DIR \
        --workdir=runs/batch_size

A 784-64-10 ReLU network, plain SGD at rate 0.7, pixels in [0, 1]; batches of 6, 9, 45,
70 and 140 as in the report, and of 10 and 20 from the number of classes on. Compared
after equally many epochs and after equally many updates, those that batch 140 makes in
its whole training. ":mnist,map" tries five rates for each of the report's batch sizes,
since the two interact.

Expect of ":mnist" (20,000 training images, 20 epochs, n = 8 seeds; 100 s on a 2-core
CPU, jax 0.10.2): test accuracies of 19 % for batch 6, 59 % for 9, 68 % for 10, 94.5 %
for 20, 96.6 % for 45 and 96.8 % for 140; an epoch takes 6 four times as long as 45.

Expect of ":mnist,map" (20,000 training images, 10 epochs, n = 5; 115 s): with each at
its best rate 6 is as good as 140, and 45 no better than 6: 96.8 % at rate 0.07 against
96.6 % at 0.7 and 96.4 % at 0.2 (6 and 45 are not resolved from each other).

The report that is tested here drew one run for each batch size, all at rate 0.7,
against epochs alone, and guessed that a batch as large as the number of classes (9 in
its data, 10 here) is what makes training stable. It does not describe its network.
"""

from nnlab.commands.config import ConfigDict, default
from nnlab.data import num_training
from nnlab.study import DATASETS, SIZES, Sweep, choose, product, sized, updates_an_epoch
from nnlab.study import claims as c

GROUPS = (DATASETS, ("", "map"), SIZES)
RATES = (0.02, 0.07, 0.2, 0.7, 2.0)
BATCHES, FROM_CLASSES_ON = (6, 9, 45, 70, 140), (10, 20)
B6, B9, B45, B70, B140, B10 = ({"batch_size": n} for n in (*BATCHES, 10))
LOW, HIGH = {"optimizer.learning_rate": 0.07}, {"optimizer.learning_rate": 0.7}
ACCURACY, VALIDATION = "test_accuracy", "validation_accuracy"


def get_config(arg: str = "") -> ConfigDict:
    """The study; `arg` such as "mnist", "mnist,map" or "smoke"."""
    dataset, part, size = choose(arg, *GROUPS)
    config = default(__doc__)
    config.update(dataset=dataset, train_size=20_000, num_epochs=20, num_seeds=8)
    config.update(eval_every_epochs=0.5, optimizer={"learning_rate": 0.7})
    config.model.hidden = (32,) if dataset == "digits" else (64,)
    if dataset == "digits" or size == "full":
        config.train_size = num_training(dataset)
    if part == "map":
        config.update(num_epochs=10, eval_every_epochs=1.0, num_seeds=5)
    config.update(sized(size, full={"num_epochs": 20 if part == "map" else 50}))
    config.notes = (
        "Batch size and learning rate interact: the noise of SGD grows with the rate "
        "divided by the batch size, so a comparison at one rate favours the batch "
        'sizes which that rate suits. ":map" tunes the rate for each batch size.',
    )
    if part == "map":
        config.update(figures=("map", "final"), claims=c.claimed(MAP_CLAIMS))
        return config
    config.figures = ("curves", "updates", "seconds", "noise", "final", "costs")
    epoch = updates_an_epoch(dataset, 140, config.train_size)  # of the largest batch
    config.claims = c.claimed(_claims(epoch, config.num_epochs))
    config.notes += (
        "A batch of 9 from nine equally frequent classes holds all of them with a "
        "probability of 9!/9^9 = 0.1 %, a batch of 10 from ten with 0.04 %; one of 45 "
        "does so with 96 % and 92 %.",
        "The report does not describe its network. This one has ReLU units, which a "
        "step too large can switch off for good; sigmoid units survive higher rates.",
    )
    return config


def sweep(arg: str = "") -> Sweep:
    """One trial for each batch size, or for each of them with each rate."""
    if "map" in choose(arg, *GROUPS):
        return product({"batch_size": BATCHES, "optimizer.learning_rate": RATES})
    return product({"batch_size": sorted((*BATCHES, *FROM_CLASSES_ON))})


def _claims(epoch: int, num_epochs: int) -> c.Comparisons:
    return {
        "Batch 6 gets worse with time: it ends further below its best than "
        "45": c.higher(c.best_minus_final(VALIDATION), B6, B45),
        "The steps of batch 6 are noisy: its losses spread more than those of "
        "45": c.higher("batch_loss_std", B6, B45),
        "The large steps of batch 6 ruin networks: more of them end at chance than "
        "with 45": c.higher(c.AT_CHANCE, B6, B45),
        "Batch 6 takes very long: an epoch takes longer than with 45": c.higher(
            c.SECONDS, B6, B45
        ),
        "From 9 on training is stable: 9 ends like 45 within 1 point": c.same_within(
            0.01, ACCURACY, B9, B45
        ),
        "Stability begins at the number of classes, ten here: 10 ends like 45 within 1 "
        "point": c.same_within(0.01, ACCURACY, B10, B45),
        "45 is better than 9 after equally many epochs": c.higher(ACCURACY, B45, B9),
        "45 is better than 9 after equally many updates": c.higher(
            c.at_step(num_epochs * epoch, ACCURACY), B45, B9
        ),
        "70 is faster than 140 in epochs: it is ahead after the first": c.higher(
            c.at_epoch(1.0, VALIDATION), B70, B140
        ),
        "Because it updates more often: after equally many updates (the first epoch of "
        "140) 70 and 140 are alike within 1 "
        "point": c.same_within(0.01, c.at_step(epoch, VALIDATION), B70, B140),
    }


MAP_CLAIMS = {
    "The best rate grows with the batch size: at batch 6, 0.07 is better than "
    "0.7": c.higher(ACCURACY, {**B6, **LOW}, {**B6, **HIGH}),
    "The best rate grows with the batch size: at batch 140, 0.7 is better than "
    "0.07": c.higher(ACCURACY, {**B140, **HIGH}, {**B140, **LOW}),
    "The number of classes is no threshold: a batch of 6 at rate 0.07 ends like one of "
    "45 at 0.7 within 1 "
    "point": c.same_within(0.01, ACCURACY, {**B6, **LOW}, {**B45, **HIGH}),
    "At the report's rate 0.7, 45 is better than 6": c.higher(
        ACCURACY, {**B45, **HIGH}, {**B6, **HIGH}
    ),
    "45 is better than 6 with each at its best rate, too": c.higher(
        ACCURACY, B45, B6, among="best"
    ),
    "With each at its best rate, 6 and 140 end alike within 1 point": c.same_within(
        0.01, ACCURACY, B6, B140, among="best"
    ),
}
