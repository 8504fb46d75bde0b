# SPDX-License-Identifier: Apache-2.0
"""How deep and how wide should a network on map coordinates be?

    python -m launch.train --config=configs/depth_width.py --workdir=runs/depth_width

Seven networks from one hidden layer of 16 units to six of 64, and ten of 16, on 40,000
points of 20 regions: ReLU, batch norm, Adam at rate 0.001, batch 256, 100 epochs.
Boosted trees, whose depth and number are chosen by validation, are a rival in the same
tables (XGBoost from the extra `boost`, else scikit-learn).

":grid" trains all products of five depths and four widths for 30 epochs and draws them
as a map.

Expect (n = 12 seeds; 504 s of CPU time on 2 cores, jax 0.10.2: seven programs): test
accuracy 90.2 % +- 0.5 with 1 x 16, 94.3 with 6 x 8, 94.5 with 2 x 16, 95.1 with 6 x 16
and 10 x 16, 95.6 +- 0.4 with 6 x 32 and 6 x 64; boosted trees 98.4 +- 0.2. ":grid" was
measured with 6 seeds: 6 x 32 is best, with 94.9 % +- 0.6.

The lab report that is tested here ran each network once.
"""

import itertools

from nnlab.commands.config import ConfigDict, default
from nnlab.study import Sweep, choose, sized
from nnlab.study import claims as c

GROUPS = (("", "grid"), ("full", "smoke"))
PAIRS = ((1, 16), (2, 16), (6, 16), (10, 16), (6, 8), (6, 32), (6, 64))
DEPTHS, WIDTHS = (1, 2, 4, 6, 10), (8, 16, 32, 64)
NET = {(d, w): {"model.depth": d, "model.hidden": (w,)} for d in DEPTHS for w in WIDTHS}
WORST, MIDDLE, DEEP, BEST = NET[1, 16], NET[6, 16], NET[10, 16], NET[6, 64]
TREES, NO_MORE = {"model.name": "boosted_trees"}, "Ten layers are no better than six"
TEST, SCORE, SPREAD = "test_accuracy", "validation_accuracy", "batch_loss_std"
RISE, GAP = c.best_minus_final("validation_loss"), c.drop(SCORE)
CLAIMS = (
    c.higher("6 x 64 is the best: better than 6 x 32", SCORE, BEST, NET[6, 32]),
    c.lower("1 x 16 is the worst: worse than 2 x 16", SCORE, WORST, NET[2, 16]),
    c.same_within("6 x 64 reaches 96.2 % (within 1 point)", 0.01, SCORE, BEST, 0.962),
    c.same_within("1 x 16 reaches 90.0 % (within 1 point)", 0.01, SCORE, WORST, 0.9),
    c.higher("Depth helps: 6 x 16 beats 1 x 16", SCORE, MIDDLE, WORST),
    c.higher("Ten layers beat six", SCORE, DEEP, MIDDLE, otherwise=NO_MORE),
    c.higher("An epoch of 10 x 16 takes longer than of 1 x 16", c.SECONDS, DEEP, WORST),
    c.lower("Width hurts: 6 x 64 is worse than 6 x 16", SCORE, BEST, MIDDLE),
    c.higher("Width helps: 6 x 64 is better than 6 x 16", SCORE, BEST, MIDDLE),
    c.higher("Losses of 6 x 64 spread more than of 6 x 8", SPREAD, BEST, NET[6, 8]),
    c.lower("Width overfits: its loss rises more", RISE, BEST, NET[6, 8], margin=0.05),
    c.same_within("6 x 64 generalises (within half a point)", 0.005, GAP, BEST, 0.0),
    c.same_within("1 x 16 generalises (within half a point)", 0.005, GAP, WORST, 0.0),
    c.higher("Boosted trees are above 95 %", TEST, TREES, 0.95),
    c.higher("Boosted trees are better than 6 x 64", TEST, TREES, BEST),
)
DEEPER = {w: (NET[10, w], NET[2, w]) for w in WIDTHS}
WIDER = {d: (NET[d, 64], NET[d, 16]) for d in DEPTHS}
GRID_CLAIMS = (
    *(c.higher(f"At width {w} depth 10 beats 2", TEST, *DEEPER[w]) for w in WIDTHS),
    *(c.higher(f"At depth {d} width 64 beats 16", TEST, *WIDER[d]) for d in DEPTHS),
)


def get_config(arg: str = "") -> ConfigDict:
    """The study; `arg` such as "grid", "smoke" or "grid,smoke"."""
    kind, size = choose(arg, *GROUPS)
    config = default(__doc__)
    config.update(dataset="map", batch_size=256, num_epochs=100, num_seeds=12)
    config.model.update(batch_norm=True, tree_depths=(6, 9))
    config.optimizer.update(name="adam", learning_rate=0.001)
    figures = ("curves", "sizes", "extremes", "regions", "noise", "final", "costs")
    config.claims = tuple(c.about(GRID_CLAIMS if kind == "grid" else CLAIMS))
    if kind == "grid":
        config.update(num_epochs=30, num_seeds=10, compare_trials="yes")
        config.figures = ("map", "sizes", "costs")
    else:
        config.update(eval_every_epochs=2.0, figures=figures)
        config.claims = c.answering(config.claims, " helps", "Ten layers")
        config.notes = ("The lab report says that width hurts, and that it helps.",)
    config.update(sized(size, smoke={"train_size": 2_000, "num_epochs": 2}))
    if size == "smoke":
        config.model.num_trees = 10
    return config


def sweep(arg: str = "") -> Sweep:
    """Seven pairs of depth and width and the trees, or all pairs."""
    if "grid" in choose(arg, *GROUPS):
        claimed = [*itertools.chain(*DEEPER.values(), *WIDER.values())]
        return [n if n in claimed else {**n, "num_seeds": 3} for n in NET.values()]
    networks = ({"label": f"{d} x {w}", **NET[d, w]} for d, w in PAIRS)
    return (*networks, {"label": "boosted trees", **TREES})
