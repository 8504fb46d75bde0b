# SPDX-License-Identifier: Apache-2.0
"""Activations: the functions of `jax.nn` by name, and two more."""

import math
from collections.abc import Mapping
from typing import Any

from nnlab.models.kind import Kind, Made, Options, Shape, same_shape

ACTIVATIONS = (
    *("relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "sigmoid", "tanh"),
    *("lecun_tanh", "identity", "celu", "hard_sigmoid", "hard_silu", "hard_swish"),
    *("hard_tanh", "log_sigmoid", "mish", "relu6", "selu", "soft_sign", "sparse_plus"),
    *("sparse_sigmoid", "squareplus", "swish"),
)
"""Functions of one value; see `nnlab.models.activations`."""

UNMOVED = {
    *("gelu", "silu", "swish", "hard_silu", "hard_swish", "mish"),
    *("relu6", "hard_sigmoid", "hard_tanh", "sparse_sigmoid"),
}
"""Those that fall somewhere, or end in a kink: max-pools move before all others.

Above the kink of the latter all outputs are equal, and the pool's choice is another.
"""

KINKED = {
    *("relu", "leaky_relu", "relu6", "selu", "hard_sigmoid", "hard_silu"),
    *("hard_swish", "hard_tanh", "sparse_sigmoid"),
}
"""Those whose slope jumps."""


def _activation(module: Any, layer: Any, x: Any, options: Options, rate: Any) -> Any:
    from nnlab.models.activations import ACTIVATIONS

    x = ACTIVATIONS[layer["layer"]](x)
    if options.counts and layer["layer"] != "identity":
        _count(module, layer["name"], x)
    return x


def _count(module: Any, name: str, x: Any) -> None:
    import jax.numpy as jnp

    share = jnp.mean(x > 0, axis=range(1, x.ndim), dtype=jnp.float32)
    seen = {"share": share, "units": jnp.float32(math.prod(x.shape[1:]))}
    module.sow("activity", name, seen, lambda _, new: new, lambda: None)


def _halved(layer: Mapping[str, Any], shape: Shape) -> Made:
    if shape[-1] % 2:
        raise ValueError(f"got shape {shape}, needs an even number of channels")
    return Made((*shape[:-1], shape[-1] // 2))


def _glu(module: Any, layer: Any, x: Any, options: Options, rate: Any) -> Any:
    import jax

    return jax.nn.glu(x)


KINDS = {
    "glu": Kind(_halved, _glu),
    **{name: Kind(same_shape, _activation) for name in ACTIVATIONS},
}
