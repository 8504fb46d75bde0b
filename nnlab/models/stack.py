# SPDX-License-Identifier: Apache-2.0
"""The layer stack as a Flax Linen module, and the initialisation of any module.

A user's own Linen module can replace `Stack` if it has the same
`__call__(self, x, train)`. Like `Stack` it may read the trial's dropout rate from the
variable `dropout_rate` of the read-only collection `hyperparameters`, which the caller
of `apply` passes beside the parameters:
`module.apply({**variables, "hyperparameters": {"dropout_rate": rate}}, x, train=True,
rngs={"dropout": key}, mutable=["batch_stats"])`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from nnlab.models import layers as layer_stack
from nnlab.models.activations import ACTIVATIONS, MONOTONE
from nnlab.models.apply import apply, counts, in_sequence
from nnlab.models.initializers import INITIALIZERS
from nnlab.models.kind import Options

LEAST_RUN = 16
"""At least so many equal layers in sequence run as a loop over one layer.

With fewer a loop is slower: networks of six and of ten layers of 64 units train a fifth
slower (batch 256, batch norm), of ten layers of 16 a twentieth, and compile no faster.
"""


class Stack(nn.Module):
    """Layers in sequence, as `layers.check` accepts them.

    Batch norm divides by the batch's own standard deviation in training. For evaluation
    it keeps running means and variances in "batch_stats", moved by a tenth of the way
    at each step, if its momentum is 0.9. In a network with a loop the variance
    takes a second pass over the values. One pass subtracts the square of the mean from
    the mean of the squares, which leaves only rounding errors where a unit hardly
    varies: three of six networks of 100 layers of 4 units diverged to infinity by it.
    Networks of six layers, none of which did, are a fifth faster with one pass.

    At least `LEAST_RUN` equal hidden layers in sequence are a loop over one layer whose
    parameters are stacked, (repetitions, ...), see `runs`. The training step of 100
    layers of 4 units then compiles in 6 instead of 47 seconds, and its gradient takes
    4.6 instead of 12.9 ms (batch 256, 3 networks, 2 CPU cores).

    Applied with `mutable=["activity"]`, it also returns how many units are active: the
    collection has, for each activation layer but identity, the "share" of its outputs
    that are above 0, float32 (B,), and the number of its "units"; see `active_share`.

    Attributes:
      layers: the layers; kept in the hashable form of `layers.freeze`.
      initializer: of the kernels, one of `INITIALIZERS`; biases start at 0.
      dtype, param_dtype: types of the arithmetic and of the parameters.
      rolled: whether equal layers are a loop; else each has parameters of its own.
    """

    layers: Sequence[layer_stack.Layer]
    initializer: str = "lecun_normal"
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32
    rolled: bool = True

    def __post_init__(self) -> None:
        """Checks and freezes the fields, also those of Flax's clones."""
        layer_stack.choose("initializer", self.initializer, INITIALIZERS)
        self.layers = layer_stack.freeze(self.layers)
        super().__post_init__()

    @property
    def runs(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """Where the parameters of equal layers are, ``{run: {kind: names}}``.

        The leading axis of ``params[run][kind]`` holds the layers of these names.
        """
        found = {}
        for blocks in _runs(layer_stack.normalise(self.layers), self.rolled):
            if len(blocks) > 1:
                found[_run_name(blocks)] = {
                    kind: tuple(block[i]["name"] for block in blocks)
                    for i, kind in enumerate(_inner_names(blocks[0]))
                    if blocks[0][i]["layer"] in ("dense", "batch_norm")
                }
        return found

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Computes logits, (B, C), of scaled examples, (B, *input_shape).

        They are float32, or float64 if that is the arithmetic's type. In training
        dropout is on, and batch norm uses the batch's own statistics.
        """
        rate = self.get_variable("hyperparameters", "dropout_rate", 0.0)
        ordered = layer_stack.normalise(self.layers)
        if not counts(self):  # active units are those of the layers in their own order
            ordered = _pools_first(ordered)
        runs = _runs(ordered, self.rolled)
        options = Options(
            self.initializer,
            self.dtype,
            self.param_dtype,
            train,
            counts(self),
            fast_variance=all(len(blocks) == 1 for blocks in runs),
        )
        for blocks in runs:
            if len(blocks) == 1:
                for layer in blocks[0]:
                    x = apply(self, layer, x, options, rate)
                continue
            loop = nn.scan(
                _Turn,
                variable_axes={"params": 0, "batch_stats": 0, "activity": 0},
                split_rngs={"params": True, "dropout": True},
                in_axes=nn.broadcast,
                length=len(blocks),
            )
            inner = zip(blocks[0], _inner_names(blocks[0]))
            same = layer_stack.freeze({**layer, "name": name} for layer, name in inner)
            x, _ = loop(same, options, name=_run_name(blocks))(x, rate)
        return x.astype(jnp.promote_types(x.dtype, jnp.float32))


class _Turn(nn.Module):
    """One turn of a loop over equal layers."""

    layers: Sequence[layer_stack.Layer]
    options: Options

    @nn.compact
    def __call__(self, x: jax.Array, rate: jax.Array | float) -> tuple[jax.Array, None]:
        return in_sequence(self, self.layers, x, self.options, rate), None


Blocks = list[list[dict[str, Any]]]
"""Lists of layers; if there are several, they are equal but for their names."""


def _runs(ordered: Sequence[dict[str, Any]], rolled: bool) -> list[Blocks]:
    """Splits a stack into single blocks and runs of equal blocks.

    A block is a dense layer and all layers up to the next one. The blocks of a run have
    as many units as the block before them.
    """
    blocks: Blocks = []
    for layer in ordered:
        if layer["layer"] == "dense" or not blocks:
            blocks.append([])
        blocks[-1].append(layer)
    kept = {"dense", "batch_norm", "dropout", *ACTIVATIONS}
    plain = [[{**layer, "name": ""} for layer in block] for block in blocks]
    runs: list[Blocks] = []
    start = 0
    while start < len(blocks):
        stop = start + 1
        if (
            rolled
            and start
            and {layer["layer"] for layer in blocks[start]} <= kept
            and blocks[start - 1][0].get("units") == blocks[start][0]["units"]
        ):
            while stop < len(blocks) and plain[stop] == plain[start]:
                stop += 1
        stop = stop if stop - start >= LEAST_RUN else start + 1
        runs.append(blocks[start:stop])
        start = stop
    return runs


def _run_name(blocks: Blocks) -> str:
    return f"{blocks[0][0]['name']}_to_{blocks[-1][0]['name']}"


def _inner_names(block: Sequence[Mapping[str, Any]]) -> list[str]:
    kinds = [layer["layer"] for layer in block]
    return [f"{kind}_{kinds[:i].count(kind)}" for i, kind in enumerate(kinds)]


def active_share(collection: Mapping[str, Any]) -> jax.Array:
    """Returns each example's share of active units over all activation layers.

    `collection` is "activity", as `Stack` returns it. Shares are float32 (B,); NaN, (),
    without any activation.
    """
    if not collection:
        return jnp.float32(jnp.nan)
    active, units = jnp.float32(0.0), jnp.float32(0.0)
    is_layer: Callable[[Any], bool] = lambda tree: "share" in tree  # noqa: E731
    for seen in jax.tree.leaves(dict(collection), is_leaf=is_layer):
        # From a loop over equal layers both have a leading axis, one entry a layer.
        share = seen["share"].reshape(seen["units"].size, -1)
        active += jnp.sum(share * seen["units"].reshape(-1, 1), axis=0)
        units += jnp.sum(seen["units"])
    return active / units


def _pools_first(layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Moves max-pools before monotone activations, which then see fewer values.

    The numbers stay the same: the maximum of f(x) is f of the maximum. This does not
    hold for pools by absolute values.
    """
    ordered: list[dict[str, Any]] = []
    for layer in layers:
        place = len(ordered)
        if layer["layer"] == "max_pool":
            while place and ordered[place - 1]["layer"] in MONOTONE:
                place -= 1
        ordered.insert(place, layer)
    return ordered


def init_variables(
    module: Any,
    key: jax.Array,
    sample_input: jax.Array,
    init_scale: jax.Array | float,
) -> dict[str, Any]:
    """Initialises any module; scales every parameter that is named "kernel".

    Returns "params" and, with batch norm, "batch_stats".
    """
    variables = dict(module.init({"params": key}, sample_input, train=False))

    def scaled(path: tuple[Any, ...], value: jax.Array) -> jax.Array:
        return value * init_scale if _is_kernel(path) else value

    variables["params"] = jax.tree_util.tree_map_with_path(
        scaled, variables.get("params", {})
    )
    return variables


def kernels(params: Any) -> list[jax.Array]:
    """Returns all parameters that are named "kernel"."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    return [value for path, value in leaves if _is_kernel(path)]


def _is_kernel(path: tuple[Any, ...]) -> bool:
    return getattr(path[-1], "key", None) == "kernel"
