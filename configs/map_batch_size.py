# SPDX-License-Identifier: Apache-2.0
"""Which batch size does a network on map coordinates need, and what does an epoch cost?

    python -m launch.train --config=configs/map_batch_size.py \
        --workdir=runs/map_batch_size

Six hidden layers of 16 ReLU units on 40,000 points of 20 regions, Adam at rate 0.001;
batches of 1, 16, 128 and 1024, up to 50 epochs. `max_steps` ends training after 400,000
updates: with one example a batch that is epoch 10, and the other sizes do not get
there. `python -m launch.describe --config=configs/map_batch_size.py --measure` tells
beforehand what each size costs; the costliest trains last.

Expect (n = 24 seeds; 213 s of CPU time on 2 cores, jax 0.10.2): batches of 128 end
best, at a test accuracy of 94.7 % (94.3 to 95.2); after ten epochs 1 and 16 are ahead
of 1024 by 9 points.

The lab report that is tested here trained batches of 1 for one epoch, of 16 for ten and
of 128 and 1024 for fifty, each once, and compared the ends: unequal numbers of epochs
and of updates. Here sizes are compared after equally many epochs and equally many
updates.
"""

from nnlab.commands.config import ConfigDict, default
from nnlab.study import Sweep, choose, sized, updates_an_epoch
from nnlab.study import claims as c

GROUPS = (("full", "smoke"),)
B = {size: {"batch_size": size} for size in (1, 16, 128, 1024)}
SCORE = "validation_accuracy"


def get_config(arg: str = "") -> ConfigDict:
    """The study; `arg` "smoke" shortens it to seconds."""
    (size,) = choose(arg, *GROUPS)
    config = default(__doc__)
    config.update(dataset="map", num_epochs=50, max_steps=400_000, num_seeds=24)
    config.model.update(hidden=(16,), depth=6)
    config.optimizer.update(name="adam", learning_rate=0.001)
    config.update(sized(size, smoke={"train_size": 2_048, "max_steps": 4_096}))
    # Epochs that all sizes train, and updates that all make.
    epoch = 2 if size == "smoke" else 10
    updates = config.num_epochs * updates_an_epoch("map", 1024, config.train_size)
    config.figures = ("curves", "updates", "seconds", "noise", "final", "costs")
    config.claims = c.answering(
        c.about(claims(epoch, updates), accuracy=0.02), "Epochs take longer"
    )
    config.notes = (
        "The lab report gave batches of 1, 16, 128 and 1024 one, ten, fifty and fifty "
        "epochs, so that batch size, epochs and updates changed together: with 40,000 "
        "points 40,000, 25,000, 15,600 and 1,950 updates. The final values here are "
        "after 10, 50, 50 and 50 epochs; the claims compare equal epochs and equal "
        "updates.",
    )
    return config


def claims(epoch: int, updates: int) -> c.Claims:
    """What the lab report says, after equal epochs and after equal updates."""
    fall, after = c.best_minus_final(SCORE), c.at_epoch(epoch, SCORE)
    for large, small in ((1024, 1), (1024, 16), (128, 1), (128, 16)):
        text = f"Batches of {large} are better than of {small} after {epoch} epochs"
        yield c.higher(text, after, B[large], B[small])
    for large in (1024, 128):
        text = f"Batches of {large} are better than of 1 after {updates:,} updates"
        yield c.higher(text, c.at_step(updates, SCORE), B[large], B[1])
    for small in (1, 16):
        text = f"Batches of {small} end further below their best than of 1024"
        yield c.higher(text, fall, B[small], B[1024])
    yield c.higher("Epochs take longer at 1 than at 1024", c.SECONDS, B[1], B[1024])


def sweep(arg: str = "") -> Sweep:
    """One trial for each batch size."""
    return B.values()
