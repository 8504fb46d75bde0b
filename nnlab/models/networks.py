# SPDX-License-Identifier: Apache-2.0
"""Networks by name beside `layers.mlp` and `layers.cnn`, as lists of layers; no JAX."""

from collections.abc import Sequence
from typing import Any

from nnlab.models.layers import cnn


def resmlp(
    hidden: Sequence[int], num_classes: int, **fields: Any
) -> list[dict[str, Any]]:
    """Returns a dense network with skip connections.

    A dense layer of the first width comes first; then each of `hidden` is a residual
    block of batch norm (if asked for), activation, dense layer and dropout (likewise),
    in the order of He et al., "Identity Mappings in Deep Residual Networks" (2016).
    Where the width changes, the shortcut is a projection. `fields` are as in
    `layers.cnn`.

    >>> len(resmlp([64] * 6, 10))  # flatten, dense, 6 blocks, activation, logits
    10
    """
    first, *others = cnn((), hidden, num_classes, **fields)
    *within, last = others
    if not hidden:
        return [first, last]
    size = len(within) // len(hidden)  # dense, batch norm?, activation, dropout?
    blocks = [within[i : i + size] for i in range(0, len(within), size)]
    chosen = [first, dict(blocks[0][0])]
    for dense, *rest in blocks:
        norms = [dict(one) for one in rest if one["layer"] != "dropout"]
        drops = [dict(one) for one in rest if one["layer"] == "dropout"]
        dense = {**dense, "bias": fields.get("bias", "all") == "all"}
        chosen.append({"layer": "residual", "layers": [*norms, dense, *drops]})
    ends = [dict(one) for one in blocks[0][1:] if one["layer"] != "dropout"]
    return [*chosen, *ends, last]


def vgg(
    channels: Sequence[int],
    hidden: Sequence[int],
    num_classes: int,
    depth: int = 2,
    **fields: Any,
) -> list[dict[str, Any]]:
    """Returns a convolutional network with `depth` convolutions before each pool.

    `channels` are those of each group, and all else is as in `layers.cnn`. VGG-13 has
    channels (64, 128, 256, 512, 512), hidden (4096, 4096) and depth 2.

    Source: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale
    Image Recognition" (2015), table 1, column B.
    """
    each = [one for one in channels for _ in range(depth)]
    chosen = cnn(each, hidden, num_classes, **fields)
    found, pools = [], 0
    for layer in chosen:
        if "window" in layer:
            pools += 1
            if pools % depth:
                continue
        found.append(layer)
    return found


def transformer(
    shape: Sequence[int],
    num_classes: int,
    *,
    vocabulary: int,
    features: int,
    depth: int,
    heads: int,
    activation: str = "relu",
    dropout: bool = False,
) -> list[dict[str, Any]]:
    """Returns an encoder of token sequences (length,), or of (length, channels).

    Tokens are embedded, numbers go through a dense layer; then come learnt positions,
    `depth` transformer blocks, layer norm, the mean over the sequence, and logits. Each
    block normalises first, and its dense layers have 4 x `features` units.

    Raises:
      ValueError: examples of another shape, or heads that do not divide the features.
    """
    if len(shape) != (1 if vocabulary else 2):
        raise ValueError(
            f"transformer: got shape {tuple(shape)}, needs tokens (length,) or "
            "sequences of numbers (length, channels)"
        )
    first = {"layer": "dense", "units": features}
    if vocabulary:
        first = {"layer": "embedding", "vocabulary": vocabulary, "features": features}
    block = {"layer": "transformer_block", "heads": heads, "activation": activation}
    return [
        first,
        {"layer": "positional_embedding"},
        *({**block, "dropout": dropout} for _ in range(depth)),
        {"layer": "layer_norm"},
        {"layer": "global_avg_pool"},
        {"layer": "dense", "units": num_classes},
    ]
