# SPDX-License-Identifier: Apache-2.0
"""One of several processes that train small studies together, for processes_test.

Arguments: coordinator, number of processes, index, folder, names of `SETTINGS` joined
by commas, and after how many evaluations this process is interrupted (0 for never).
Each study's results go into a folder of its name.
"""

import dataclasses
import os
import sys

import numpy as np
import tiny

from nnlab.data import Dataset
from nnlab.machine import devices, processes
from nnlab.runs import experiment
from nnlab.study import Halving, Study

ADAM = {"optimizer.name": "adam"}
MOMENTUM = {"optimizer.momentum": 0.9}
CNN = {"model.name": "cnn", "model.channels": (4, 3), "model.kernel": 3}
SETTINGS = {
    "sgd": {},
    "momentum": MOMENTUM | {"optimizer.nesterov": True},
    "momentum_dropout": MOMENTUM | {"model.dropout_rate": 0.3},
    "adam": ADAM,
    "adam_decay": ADAM | {"optimizer.weight_decay": 1e-3, "schedule.name": "cosine"},
    "adamw": {"optimizer.name": "adamw", "optimizer.weight_decay": 0.1},
    "rmsprop": {"optimizer.name": "rmsprop"} | MOMENTUM,
    "batch_norm": MOMENTUM | {"model.batch_norm": True, "model.dropout_rate": 0.2},
    "batch_norm_adam": ADAM | {"model.batch_norm": True, "schedule.warmup_steps": 5},
    "early_stopping": ADAM | tiny.DEEP | {"early_stopping.patience": 3},
    "halving": ADAM | {"num_epochs": 8},
    "cnn": CNN | MOMENTUM,
    "cnn_batch_norm": CNN | ADAM | {"model.batch_norm": True, "augment_pixels": 1},
    "one_lane": ADAM | {"model.batch_norm": True},
}
"""Fields that a study sets beside its rates, by its name."""


def study(name: str) -> Study:
    """A study with lanes that fit no number of devices, and a diverging network."""
    fields = SETTINGS[name]
    epochs = {"num_epochs": 9} | fields
    if name == "one_lane":
        return tiny.study(num_seeds=1, **epochs)
    sweep = [*tiny.rates(0.01, 0.1, 0.3), {tiny.RATE: 1e6}]
    if name == "early_stopping":  # has a second program
        sweep.append({"batch_size": 13})
    made = tiny.study(sweep, num_seeds=5, **epochs)
    if name == "halving":
        made = dataclasses.replace(made, halving=Halving(factor=2, min_epochs=2))
    return made


def images() -> Dataset:
    """Draws bright squares at three places, in noise."""
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=120)
    pixels = rng.integers(90, size=(120, 8, 8, 1))
    for image, label in zip(pixels, labels):
        image[2 * label : 2 * label + 3, 2:5] += 120
    return Dataset.from_arrays(pixels.astype(np.uint8), labels)


def main() -> None:
    """Trains, and prints how each study ended."""
    coordinator, number, index, folder, names, stop_after = sys.argv[1:]
    devices.use_all_cores()
    if int(number) > 1:
        processes.start(coordinator, int(number), int(index))
    for name in names.split(","):
        left = int(stop_after)

        def tell(progress: experiment.Progress) -> None:
            nonlocal left
            left -= progress.evaluation is not None
            if left == 0:
                raise KeyboardInterrupt

        try:
            found = experiment.run(
                study(name),
                os.path.join(folder, name),
                dataset=images() if name.startswith("cnn") else tiny.dataset(),
                lane_width=1 if name == "one_lane" else 2,
                resume=True,
                on_progress=tell if int(stop_after) else None,
            )
        except KeyboardInterrupt:
            print("interrupted")
        else:
            print(f"{found.config['status']}, {len(found.curves)} evaluations")


if __name__ == "__main__":
    main()
