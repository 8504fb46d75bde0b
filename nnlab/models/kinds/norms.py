# SPDX-License-Identifier: Apache-2.0
"""Layers that normalise; each has a factor and a shift for each channel."""

from collections.abc import Mapping
from typing import Any

from nnlab.models.kind import Field, Kind, Made, Options, Shape, positive


def _epsilon(default: float) -> Field:
    return Field(float, default, minimum=0)


def _normed(layer: Mapping[str, Any], shape: Shape) -> Made:
    return Made(shape, parameters=2 * shape[-1], biases=shape[-1])


def _grouped(layer: Mapping[str, Any], shape: Shape) -> Made:
    groups, channels = layer["groups"], shape[-1]
    if channels % groups:
        raise ValueError(
            f"got shape {shape}, whose {channels} channels are no multiple of "
            f"groups={groups}; set groups to a divisor of {channels}"
        )
    return _normed(layer, shape)


def _batch_norm(module: Any, layer: Any, x: Any, options: Options, rate: Any) -> Any:
    import flax.linen as nn

    made = nn.BatchNorm(
        use_running_average=not options.train,
        momentum=layer["momentum"],
        epsilon=layer["epsilon"],
        use_fast_variance=options.fast_variance,
        name=layer["name"],
        **options.typed,
    )
    return made(x)


def _layer_norm(module: Any, layer: Any, x: Any, options: Options, rate: Any) -> Any:
    import flax.linen as nn

    return nn.LayerNorm(layer["epsilon"], name=layer["name"], **options.typed)(x)


def _group_norm(module: Any, layer: Any, x: Any, options: Options, rate: Any) -> Any:
    import flax.linen as nn

    made = nn.GroupNorm(
        layer["groups"], epsilon=layer["epsilon"], name=layer["name"], **options.typed
    )
    return made(x)


KINDS = {
    "batch_norm": Kind(
        _normed,
        _batch_norm,
        {
            "momentum": Field(float, 0.9, minimum=0, below=1),
            "epsilon": _epsilon(1e-5),
        },
    ),
    "layer_norm": Kind(_normed, _layer_norm, {"epsilon": _epsilon(1e-6)}),
    "group_norm": Kind(
        _grouped, _group_norm, {"groups": positive(32), "epsilon": _epsilon(1e-6)}
    ),
}
