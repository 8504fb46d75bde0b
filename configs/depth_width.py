# SPDX-License-Identifier: Apache-2.0
"""How deep and how wide should a network on map coordinates be?

    python -m launch.train --config=configs/depth_width.py --workdir=runs/depth_width

Seven networks from one hidden layer of 16 units to six of 64, and ten of 16, on 40,000
points of 20 regions: ReLU, batch norm, Adam at rate 0.001, batch 256, 100 epochs.
Boosted trees, whose depth and number are chosen by validation, are a rival in the same
tables (XGBoost from the extra `boost`, else scikit-learn).

":grid" trains all products of five depths and four widths for 30 epochs and draws them
as a map.

Expect (n = 8 seeds; 175 s for the whole command on a 2-core CPU, jax 0.10.2: seven
programs, 41 s of compiling, 87 s of training networks, 20 s of growing trees): test
accuracy 90.4 % +- 0.3 with 1 x 16, 94.3 with 2 x 16 and 6 x 8, 95.1 with 6 x 16, 95.2
with 10 x 16, 95.5 with 6 x 32, 95.6 +- 0.5 with 6 x 64; boosted trees 98.5 +- 0.03.
":grid" was not run yet.

The report that is tested here ran each network once.
"""

from nnlab.commands.config import ConfigDict, default
from nnlab.study import Sweep, choose, product, sized
from nnlab.study import claims as c

GROUPS = (("", "grid"), ("full", "smoke"))
PAIRS = ((1, 16), (2, 16), (6, 16), (10, 16), (6, 8), (6, 32), (6, 64))
DEPTHS, WIDTHS = (1, 2, 4, 6, 10), (8, 16, 32, 64)
NET = {(d, w): {"model.depth": d, "model.hidden": (w,)} for d in DEPTHS for w in WIDTHS}
WORST, MIDDLE, DEEP, BEST = NET[1, 16], NET[6, 16], NET[10, 16], NET[6, 64]
TREES, TEST, SCORE = "boosted_trees", "test_accuracy", "validation_accuracy"


def get_config(arg: str = "") -> ConfigDict:
    """The study; `arg` such as "grid", "smoke" or "grid,smoke"."""
    kind, size = choose(arg, *GROUPS)
    config = default(__doc__)
    config.update(dataset="map", batch_size=256, num_epochs=100, num_seeds=8)
    config.model.update(batch_norm=True, tree_depths=(6, 9))
    config.optimizer.update(name="adam", learning_rate=0.001)
    config.figures = ("curves", "sizes", "extremes", "regions", "noise", "final")
    if kind == "grid":
        config.update(num_epochs=30, num_seeds=6, figures=("map", "sizes"))
    else:
        config.eval_every_epochs = 2.0
        config.notes = (
            "The report says that more width hurts accuracy, and that its widest "
            "network is the best: the two claims about 6 x 16 and 6 x 64 test both.",
        )
    config.figures += ("costs",)
    config.claims = c.claimed(_grid_claims() if kind == "grid" else _claims())
    config.update(sized(size, smoke={"train_size": 2_000, "num_epochs": 2}))
    if size == "smoke":
        config.model.num_trees = 10
    return config


def sweep(arg: str = "") -> Sweep:
    """Seven pairs of depth and width and the trees, or all pairs."""
    if "grid" in choose(arg, *GROUPS):
        return product({"model.depth": DEPTHS, "model.hidden": [(w,) for w in WIDTHS]})
    networks = ({"label": f"{d} x {w}", **NET[d, w]} for d, w in PAIRS)
    return (*networks, {"label": "boosted trees", "model.name": TREES})


def _grid_claims() -> c.Comparisons:
    deeper = {w: c.higher(TEST, NET[10, w], NET[2, w]) for w in WIDTHS}
    wider = {d: c.higher(TEST, NET[d, 64], NET[d, 16]) for d in DEPTHS}
    return {
        **{f"At width {w} ten layers are better than two": deeper[w] for w in WIDTHS},
        **{f"At depth {d} 64 units are better than 16": wider[d] for d in DEPTHS},
    }


def _claims() -> c.Comparisons:
    gap, trees = c.drop(SCORE), {"model.name": TREES}
    cost = c.higher(c.SECONDS, DEEP, WORST)
    return {
        "6 x 64 is the best: better than 6 x 32, the next": c.higher(
            SCORE, BEST, NET[6, 32]
        ),
        "1 x 16 is the worst: worse than 2 x 16, the next": c.lower(
            SCORE, WORST, NET[2, 16]
        ),
        "6 x 64 has a validation accuracy of 96.2 %, within 1 point": c.same_within(
            0.01, SCORE, BEST, 0.962
        ),
        "1 x 16 has a validation accuracy of 90.0 %, within 1 point": c.same_within(
            0.01, SCORE, WORST, 0.9
        ),
        "Depth helps: 6 x 16 is better than 1 x 16": c.higher(SCORE, MIDDLE, WORST),
        "Depth helps further: 10 x 16 is better than 6 x 16": c.higher(
            SCORE, DEEP, MIDDLE
        ),
        "Depth costs time: an epoch of 10 x 16 takes longer than one of 1 x 16": cost,
        "Width hurts accuracy: 6 x 64 is worse than 6 x 16": c.lower(
            SCORE, BEST, MIDDLE
        ),
        "Width helps accuracy: 6 x 64 is better than 6 x 16": c.higher(
            SCORE, BEST, MIDDLE
        ),
        "More width fluctuates more: the batch losses of 6 x 64 spread more than those "
        "of 6 x 8": c.higher("batch_loss_std", BEST, NET[6, 8]),
        "More width risks overfitting: the validation loss of 6 x 64 ends further "
        "above its lowest than that of 6 x "
        "8": c.lower(c.best_minus_final("validation_loss"), BEST, NET[6, 8]),
        "The best network generalises: its test and validation accuracies are the same "
        "within half a point": c.same_within(0.005, gap, BEST, 0.0),
        "The worst network generalises: likewise": c.same_within(
            0.005, gap, WORST, 0.0
        ),
        "Boosted trees have a very high accuracy: above 95 %": c.higher(
            TEST, trees, 0.95
        ),
        "A network is not worth its trade-offs: boosted trees are better than 6 x "
        "64": c.higher(TEST, trees, BEST),
    }
