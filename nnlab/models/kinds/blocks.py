# SPDX-License-Identifier: Apache-2.0
"""Layers that are made of layers; their parameters lie below the block's name."""

from collections.abc import Mapping
from typing import Any

from nnlab.models.kind import BIAS, INIT, Field, Kind, Made, Options, Shape, positive
from nnlab.models.kinds.elementwise import ACTIVATIONS

SHORTCUTS = ("auto", "identity", "projection")


def shortcut(layer: Mapping[str, Any], shape: Shape, made: Shape) -> list[Any]:
    """Returns the layer, or none, through which a residual block's input is added.

    A projection has no bias: a dense layer, or for images a 1x1 convolution with the
    stride that makes their size. Source: He, Zhang, Ren and Sun, "Deep Residual
    Learning for Image Recognition" (2016), section 3.3, option B.
    """
    kind = layer["shortcut"]
    if shape == made and kind != "projection":
        return []
    if kind == "identity":
        raise ValueError(
            f"got shape {shape} and makes {made}, which an identity cannot add; use "
            'shortcut "projection"'
        )
    common = {"name": "shortcut", "bias": False, "init": layer["init"]}
    if len(shape) == len(made) == 3:
        stride = [-(-a // b) for a, b in zip(shape[:2], made[:2], strict=True)]
        sizes = [-(-a // by) for a, by in zip(shape[:2], stride, strict=True)]
        conv = {"layer": "conv", "kernel": 1, "stride": stride, "channels": made[2]}
        if tuple(sizes) == made[:2]:
            return [{**conv, **common}]
    elif shape[:-1] == made[:-1] and len(shape) < 3:
        return [{"layer": "dense", "units": made[-1], **common}]
    raise ValueError(
        f"got shape {shape} and makes {made}, which no projection of the input has; "
        'use padding "same" inside it, and no flatten'
    )


def _added(layer: Mapping[str, Any], shape: Shape) -> Made:
    from nnlab.models.layers import rows_of

    rows = rows_of(layer["layers"], shape)
    aside = shortcut(layer, shape, rows[-1].output_shape)
    if aside and aside[0]["name"] in [row.name for row in rows]:
        raise ValueError(
            f"the name {aside[0]['name']!r} inside it is that of the projection of its "
            "input; give that layer another"
        )
    return _sum(rows, rows_of(aside, shape) if aside else ())


def _sum(rows: Any, aside: Any = ()) -> Made:
    every = (*rows, *aside)
    parameters, flops, biases = (
        sum(getattr(row, name) for row in every)
        for name in ("parameters", "flops", "biases")
    )
    return Made(rows[-1].output_shape, parameters, flops, biases, every)


def _block(
    layers: Any, layer: Mapping[str, Any], x: Any, options: Options, rate: Any
) -> Any:
    from nnlab.models.apply import Block
    from nnlab.models.layers import freeze

    return Block(freeze(layers), options, name=layer["name"])(x, rate)


def _residual(module: Any, layer: Any, x: Any, options: Options, rate: Any) -> Any:
    from nnlab.models.apply import Residual

    made = Residual(
        layer["layers"], options, layer["shortcut"], layer["init"], name=layer["name"]
    )
    return made(x, rate)


def _parts(layer: Mapping[str, Any], shape: Shape) -> list[Any]:
    """Returns the two residual blocks of a transformer block."""
    heads = {name: layer[name] for name in ("heads", "causal")}
    common = {name: layer[name] for name in ("bias", "init")}
    wide, drop = layer["units"] or 4 * shape[-1], ["dropout"] * layer["dropout"]
    attention = ["layer_norm", {"layer": "self_attention", **heads, **common}, *drop]
    mlp = [
        "layer_norm",
        {"layer": "dense", "units": wide, **common},
        layer["activation"],
        {"layer": "dense", "units": shape[-1], **common},
        *drop,
    ]
    named = {"attention": attention, "mlp": mlp}
    return [
        {"layer": "residual", "name": name, "layers": some}
        for name, some in named.items()
    ]


def _transformed(layer: Mapping[str, Any], shape: Shape) -> Made:
    from nnlab.models.kind import need_sequence
    from nnlab.models.layers import rows_of

    need_sequence(shape)
    return _sum(rows_of(_parts(layer, shape), shape))


def _transformer(module: Any, layer: Any, x: Any, options: Options, rate: Any) -> Any:
    return _block(_parts(layer, x.shape[1:]), layer, x, options, rate)


KINDS = {
    "residual": Kind(
        _added,
        _residual,
        {
            "layers": Field(tuple, required=True),
            "shortcut": Field(str, "auto", choices=SHORTCUTS),
            "init": INIT,
        },
    ),
    "transformer_block": Kind(
        _transformed,
        _transformer,
        {
            "heads": positive(4),
            "units": positive(absent="4 x features"),
            "activation": Field(str, "gelu", choices=ACTIVATIONS),
            "causal": Field(bool, False),
            "dropout": Field(bool, False),
            "bias": BIAS,
            "init": INIT,
        },
    ),
}
