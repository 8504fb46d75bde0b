# SPDX-License-Identifier: Apache-2.0
"""The layer stack as a Flax Linen module, and the initialisation of any module.

A user's own Linen module stands in for `Stack` if it has the same
`__call__(self, x, train)`. It may read the trial's dropout rate as `Stack` does, from
the variable `dropout_rate` of the read-only collection `hyperparameters`, which the
caller of `apply` passes beside the parameters:
`module.apply({**variables, "hyperparameters": {"dropout_rate": rate}}, x, train=True,
rngs={"dropout": key}, mutable=["batch_stats"])`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from nnlab.models import convolution, dense
from nnlab.models import layers as layer_stack
from nnlab.models.activations import ACTIVATIONS, MONOTONE
from nnlab.models.initializers import INITIALIZERS


class Stack(nn.Module):
    """Layers one after another, as `layers.check` accepts them.

    Batch norm divides by the batch's own standard deviation (epsilon 1e-5) in training.
    For evaluation it keeps running means and variances in "batch_stats", moved by a
    tenth of the way (momentum 0.9) at each step; they belong to one member alone.

    Applied with `mutable=["activity"]`, it also returns how many units are active: the
    collection has, for each activation layer but identity, the "share" of its outputs
    that are above 0, float32 (B,), and the number of its "units"; see `active_share`.

    Attributes:
        layers: The layers; kept in the hashable form of `layers.freeze`.
        initializer: Of the kernels, one of `INITIALIZERS`; biases start at 0.
        dtype: Type of the arithmetic.
        param_dtype: Type of the parameters.
    """

    layers: Sequence[layer_stack.Layer]
    initializer: str = "lecun_normal"
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        """Check and freeze the fields; Flax clones modules, so twice is as once."""
        layer_stack.choose("initializer", self.initializer, INITIALIZERS)
        self.layers = layer_stack.freeze(self.layers)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Compute the logits.

        Args:
            x: Scaled examples, float, (B, *input_shape).
            train: Whether to drop and to normalise by this batch's own statistics.

        Returns:
            Logits, (B, C), float32, or float64 if that is the arithmetic's type.
        """
        trial_rate = self.get_variable("hyperparameters", "dropout_rate", 0.0)
        kernel_init = INITIALIZERS[self.initializer]
        ordered = layer_stack.normalise(self.layers)
        # `init` makes every collection; this one is of the data and no part of a model.
        counts = self.is_mutable_collection("activity") and not self.is_initializing()
        if not counts:  # whoever counts active units means those of the layers as given
            ordered = _pools_first(ordered)
        for layer in ordered:
            kind, name = layer["layer"], layer["name"]
            if kind == "flatten":
                x = x.reshape(x.shape[0], -1)
            elif kind == "dense":
                x = nn.Dense(
                    layer["units"],
                    use_bias=layer["bias"],
                    kernel_init=kernel_init,
                    dtype=self.dtype,
                    param_dtype=self.param_dtype,
                    dot_general=dense.dot_general,
                    name=name,
                )(x)
            elif kind == "conv":
                x = nn.Conv(
                    layer["channels"],
                    (layer["kernel"], layer["kernel"]),
                    strides=layer["stride"],
                    padding=layer["padding"].upper(),
                    use_bias=layer["bias"],
                    kernel_init=kernel_init,
                    dtype=self.dtype,
                    param_dtype=self.param_dtype,
                    conv_general_dilated=convolution.conv_general_dilated,
                    name=name,
                )(x)
            elif kind == "max_pool":
                x = convolution.max_pool(x, layer["window"], layer["stride"])
            elif kind == "max_abs_pool":
                x = convolution.max_abs_pool(x, layer["window"], layer["stride"])
            elif kind == "batch_norm":
                x = nn.BatchNorm(
                    use_running_average=not train,
                    momentum=0.9,
                    dtype=self.dtype,
                    param_dtype=self.param_dtype,
                    name=name,
                )(x)
            elif kind == "dropout":
                if train:
                    rate = trial_rate if layer["rate"] is None else layer["rate"]
                    x = dropout(self.make_rng("dropout"), x, rate)
            else:
                x = ACTIVATIONS[kind](x)
                if counts and kind != "identity":
                    share = jnp.mean(x > 0, axis=range(1, x.ndim), dtype=jnp.float32)
                    seen = {"share": share, "units": math.prod(x.shape[1:])}
                    self.sow("activity", name, seen, lambda _, new: new, lambda: None)
        return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def active_share(collection: Mapping[str, Any]) -> jax.Array:
    """The share of active units of each example, over all activation layers.

    A unit is an output of an activation, and active if it is above 0. A layer counts
    by its units.

    Args:
        collection: "activity", as `Stack` returns it.

    Returns:
        Shares, float32 (B,); NaN, (), without any activation.
    """
    if not collection:
        return jnp.float32(jnp.nan)
    units = sum(seen["units"] for seen in collection.values())
    shares = [seen["share"] * (seen["units"] / units) for seen in collection.values()]
    return sum(shares[1:], shares[0])


def _pools_first(layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Move max-pools before monotone activations, which then see fewer values.

    The numbers stay the same: the maximum of f(x) is f of the maximum. That of a pool
    by absolute values would not.
    """
    ordered: list[dict[str, Any]] = []
    for layer in layers:
        place = len(ordered)
        if layer["layer"] == "max_pool":
            while place and ordered[place - 1]["layer"] in MONOTONE:
                place -= 1
        ordered.insert(place, layer)
    return ordered


def dropout(key: jax.Array, x: jax.Array, rate: jax.Array | float) -> jax.Array:
    """Set a random share of the values to 0 and scale up the others.

    Unlike `nn.Dropout` it takes a traced rate. At rate 0 it returns `x`, bit for bit.

    Args:
        key: Random key.
        x: Values of any shape.
        rate: Probability that a value is dropped, in [0, 1); may be traced.

    Returns:
        The values kept, divided by `1 - rate`; shape and type of `x`.
    """
    keep = jax.random.bernoulli(key, 1.0 - rate, x.shape)
    return jnp.where(keep, x / jnp.asarray(1.0 - rate, x.dtype), 0)


def init_variables(
    module: nn.Module,
    key: jax.Array,
    sample_input: jax.Array,
    init_scale: jax.Array | float,
) -> dict[str, Any]:
    """Initialise a module, and scale its kernels.

    Args:
        module: A `Stack`, or any Linen module with `__call__(self, x, train)`.
        key: The member's key for its initialisation.
        sample_input: Array of the shape and type of a batch, (B, *input_shape).
        init_scale: Factor on every parameter that is named "kernel"; may be traced.

    Returns:
        The module's variables: "params" and, with batch norm, "batch_stats".
    """
    variables = dict(module.init({"params": key}, sample_input, train=False))

    def scaled(path: tuple[Any, ...], value: jax.Array) -> jax.Array:
        is_kernel = getattr(path[-1], "key", None) == "kernel"
        return value * init_scale if is_kernel else value

    variables["params"] = jax.tree_util.tree_map_with_path(
        scaled, variables.get("params", {})
    )
    return variables
