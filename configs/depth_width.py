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

from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from nnlab.commands.config import choose, default

KINDS = ("", "grid")
SIZES = ("full", "smoke")
GROUPS = (KINDS, SIZES)
PAIRS = ((1, 16), (2, 16), (6, 16), (10, 16), (6, 8), (6, 32), (6, 64))
DEPTHS, WIDTHS = (1, 2, 4, 6, 10), (8, 16, 32, 64)
TREES = "boosted trees"


def get_config(arg: str = "") -> ConfigDict:
    """The study; `arg` such as "grid", "smoke" or "grid,smoke"."""
    kind, size = choose(arg, *GROUPS)
    config = default()
    config.question = "How deep and how wide should a network on map coordinates be?"
    config.dataset = "map"
    config.model.batch_norm = True
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 0.001
    config.batch_size = 256
    config.model.tree_depths = (6, 9)
    config.num_epochs = 30 if kind else 100
    config.num_seeds = 6 if kind else 8
    if not kind:
        config.eval_every_epochs = 2.0
    if size == "smoke":
        config.train_size = 2_000
        config.num_epochs = 2
        config.num_seeds = 2
        config.model.num_trees = 10
    config.figures = (
        ("map", "sizes", "costs")
        if kind
        else ("curves", "sizes", "extremes", "regions", "noise", "final", "costs")
    )
    config.claims = _grid_claims() if kind else _claims()
    if not kind:
        config.notes = (
            "The report says that more width hurts accuracy, and that its widest "
            "network is the best: the two claims about 6 x 16 and 6 x 64 test both.",
        )
    return config


def _pair(depth: int, width: int) -> dict[str, Any]:
    return {"model.depth": depth, "model.hidden": (width,)}


def _claims() -> tuple[dict[str, Any], ...]:
    validation = {"metric": "validation_accuracy", "reduction": "final"}
    final = {"metric": "test_accuracy", "reduction": "final"}
    noise = {"metric": "batch_loss_std", "reduction": "final"}
    rise = {"metric": "validation_loss", "reduction": "best_minus_final"}
    gap = {"metric": "validation_accuracy", "reduction": "drop_from_test"}
    best, worst = _pair(6, 64), _pair(1, 16)
    trees = {"model.name": "boosted_trees"}

    def claim(
        text: str, quantity: Any, left: Any, relation: str, right: Any, margin: Any = 0
    ) -> dict[str, Any]:
        return {
            "text": text,
            "quantity": quantity,
            "left": left,
            "right": right,
            "relation": relation,
            "margin": float(margin),
        }

    return (
        claim(
            "6 x 64 is the best: better than 6 x 32, the next",
            *(validation, best, "greater", _pair(6, 32)),
        ),
        claim(
            "1 x 16 is the worst: worse than 2 x 16, the next",
            *(validation, worst, "less", _pair(2, 16)),
        ),
        claim(
            "6 x 64 has a validation accuracy of 96.2 %, within 1 point",
            *(validation, best, "same", 0.962, 0.01),
        ),
        claim(
            "1 x 16 has a validation accuracy of 90.0 %, within 1 point",
            *(validation, worst, "same", 0.9, 0.01),
        ),
        claim(
            "Depth helps: 6 x 16 is better than 1 x 16",
            *(validation, _pair(6, 16), "greater", worst),
        ),
        claim(
            "Depth helps further: 10 x 16 is better than 6 x 16",
            *(validation, _pair(10, 16), "greater", _pair(6, 16)),
        ),
        claim(
            "Depth costs time: an epoch of 10 x 16 takes longer than one of 1 x 16",
            *({"reduction": "seconds"}, _pair(10, 16), "greater", worst),
        ),
        claim(
            "Width hurts accuracy: 6 x 64 is worse than 6 x 16",
            *(validation, best, "less", _pair(6, 16)),
        ),
        claim(
            "Width helps accuracy: 6 x 64 is better than 6 x 16",
            *(validation, best, "greater", _pair(6, 16)),
        ),
        claim(
            "More width fluctuates more: the batch losses of 6 x 64 spread more than "
            "those of 6 x 8",
            *(noise, best, "greater", _pair(6, 8)),
        ),
        claim(
            "More width risks overfitting: the validation loss of 6 x 64 ends further "
            "above its lowest than that of 6 x 8",
            *(rise, best, "less", _pair(6, 8)),
        ),
        claim(
            "The best network generalises: its test and validation accuracies are the "
            "same within half a point",
            *(gap, best, "same", 0.0, 0.005),
        ),
        claim(
            "The worst network generalises: likewise",
            *(gap, worst, "same", 0.0, 0.005),
        ),
        claim(
            "Boosted trees have a very high accuracy: above 95 %",
            *(final, trees, "greater", 0.95),
        ),
        claim(
            "A network is not worth its trade-offs: boosted trees are better than "
            "6 x 64",
            *(final, trees, "greater", best),
        ),
    )


def _grid_claims() -> tuple[dict[str, Any], ...]:
    final = {"metric": "test_accuracy", "reduction": "final"}
    return tuple(
        {
            "text": f"At width {width} ten layers are better than two",
            "quantity": final,
            "left": _pair(10, width),
            "right": _pair(2, width),
            "relation": "greater",
        }
        for width in WIDTHS
    ) + tuple(
        {
            "text": f"At depth {depth} 64 units are better than 16",
            "quantity": final,
            "left": _pair(depth, 64),
            "right": _pair(depth, 16),
            "relation": "greater",
        }
        for depth in DEPTHS
    )


def sweep(arg: str = "") -> Iterator[dict[str, Any]]:
    """Seven pairs of depth and width and the trees, or all pairs."""
    kind, _ = choose(arg, *GROUPS)
    pairs = [(d, w) for d in DEPTHS for w in WIDTHS] if kind else PAIRS
    for depth, width in pairs:
        label = {} if kind else {"label": f"{depth} x {width}"}
        yield {**label, **_pair(depth, width)}
    if not kind:
        yield {"label": TREES, "model.name": "boosted_trees"}
