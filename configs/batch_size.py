# SPDX-License-Identifier: Apache-2.0
"""What do smaller batches do to accuracy and to training time?

    python -m launch.train --config=configs/batch_size.py:mnist --data_dir=DIR \
        --workdir=runs/batch_size

A 784-64-10 ReLU network, plain SGD at rate 0.7, pixels in [0, 1]; batches of 6, 9, 45,
70 and 140 as in the lab report, and of 10 and 20 from the number of classes on.
Compared after equally many epochs and after equally many updates, those that batch 140
makes in its whole training. ":mnist,map" tries five rates for each of the lab report's
batch sizes, since the two interact.

Expect of ":mnist" (20,000 training images, 20 epochs, n = 32 seeds of 70 and 140, 8 of
others; 326 s of CPU time on 2 cores, jax 0.10.2): test accuracies of 19 % for batch 6,
59 % for 9, 68 % for 10, 94.6 % for 20, 96.5 % for 45 and 96.8 % for 140; an epoch takes
6 three times as long as 45.

Expect of ":mnist,map" (20,000 training images, 10 epochs, n = 5; 115 s): with each at
its best rate 6 is as good as 140, and 45 no better than 6: 96.8 % at rate 0.07 against
96.6 % at 0.7 and 96.4 % at 0.2 (6 and 45 do not differ significantly).

The lab report that is tested here drew one run for each batch size, all at rate 0.7,
against epochs alone, and guessed that a batch as large as the number of classes (9 in
its data, 10 here) is what makes training stable. It does not describe its network.
"""

from nnlab.commands.config import ConfigDict, default
from nnlab.study import DATASETS, SIZES, Sweep, choose, product, sized, updates_an_epoch
from nnlab.study import claims as c

GROUPS = (DATASETS, ("", "map"), SIZES)
REPORTED = (6, 9, 45, 70, 140)
B6, B9, B45, B70, B140, B10 = ({"batch_size": n} for n in (*REPORTED, 10))
LOW, HIGH = {"optimizer.learning_rate": 0.07}, {"optimizer.learning_rate": 0.7}
TEST, SCORE, NOISE = "test_accuracy", "validation_accuracy", "batch_loss_std"
FALL, FIRST = c.best_minus_final(SCORE), c.at_epoch(1.0, SCORE)
_MAP_CLAIMS = (
    c.higher("At batch 6 rate 0.07 is better than 0.7", TEST, B6 | LOW, B6 | HIGH),
    c.higher("At batch 140 rate 0.7 is better", TEST, B140 | HIGH, B140 | LOW),
    c.same_within("6 at 0.07 ends like 45 at 0.7", 0.01, TEST, B6 | LOW, B45 | HIGH),
    c.higher("At rate 0.7 batch 45 is better than 6", TEST, B45 | HIGH, B6 | HIGH),
    c.higher("At best rates 45 is better than 6", TEST, B45, B6, among="best"),
    c.same_within("At best rates 6 is like 140", 0.01, TEST, B6, B140, among="best"),
)
MAP_CLAIMS = c.answering(c.about(_MAP_CLAIMS), "best")


def get_config(arg: str = "") -> ConfigDict:
    """The study; `arg` such as "mnist", "mnist,map" or "smoke"."""
    dataset, part, size = choose(arg, *GROUPS)
    config = default(__doc__)
    config.update(dataset=dataset, num_epochs=20, num_seeds=32, eval_every_epochs=0.5)
    config.model.hidden = (32,) if dataset == "digits" else (64,)
    config.optimizer.learning_rate = 0.7
    config.train_size = 0 if dataset == "digits" or size == "full" else 20_000
    if part == "map":
        config.update(num_epochs=10, eval_every_epochs=1.0, num_seeds=8)
    config.update(sized(size, full={"num_epochs": 20 if part == "map" else 50}))
    config.notes = (
        "The noise of SGD grows with the learning rate divided by the batch size: one "
        'rate for all favours the batch sizes that it suits. ":map" tunes the rate.',
        "A batch of 10 holds all ten classes with a probability of 0.04 %, one of 45 "
        "with 92 %.",
    )
    if part == "map":
        config.figures, config.claims = ("map", "final"), MAP_CLAIMS
        return config
    config.figures = ("curves", "updates", "seconds", "noise", "final", "costs")
    epoch = updates_an_epoch(dataset, 140, config.train_size)  # of the largest batch
    early, late = c.at_step(epoch, SCORE), c.at_step(config.num_epochs * epoch, TEST)
    claims = (
        c.lower("Batches of 9 end worse than of 45, after equal epochs", TEST, B9, B45),
        c.higher("Batch 6 ends further below its best than 45", FALL, B6, B45),
        c.higher("The losses of 6 spread more than those of 45", NOISE, B6, B45),
        c.higher("Batches of 6 end at chance more than of 45", c.AT_CHANCE, B6, B45),
        c.higher("With batches of 6 an epoch takes longer", c.SECONDS, B6, B45),
        c.same_within("Batches of 9 are large enough: like 45", 0.01, TEST, B9, B45),
        c.same_within("10, the number of classes, ends like 45", 0.01, TEST, B10, B45),
        c.higher("45 is better than 9 after equal updates", late, B45, B9),
        c.higher("70 is ahead of 140 after an epoch", FIRST, B70, B140, margin=0.02),
        c.same_within("70 is like 140 after equal updates", 0.02, early, B70, B140),
    )
    main = "after equal epochs", "takes", "at chance"
    config.claims = c.answering(c.about(claims), *main)
    return config


def sweep(arg: str = "") -> Sweep:
    """One trial for each batch size, or for each of them with each rate."""
    rates = {"optimizer.learning_rate": (0.02, 0.07, 0.2, 0.7, 2.0)}
    if "map" in choose(arg, *GROUPS):
        return product({"batch_size": REPORTED, **rates})
    sizes = product({"batch_size": (6, 9, 10, 20, 45, 70, 140)})
    return [t if t["batch_size"] >= 70 else {**t, "num_seeds": 8} for t in sizes]
