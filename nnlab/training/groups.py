# SPDX-License-Identifier: Apache-2.0
"""Factors on single layers or groups of them: of the rate, and of initial kernels.

An array belongs to its layer by name, to the group "first", "hidden" or "last" of its
layer, and to "kernels" or "biases" by its own name. Factors of several multiply.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from nnlab.study.fields import FieldError
from nnlab.training.optimizers import is_kernel, name_of
from nnlab.words.spelling import nearest

GROUPS = ("first", "hidden", "last", "kernels", "biases")
"""Groups of arrays. The last layer counts as last, also if it is the only one."""
ADAMS = (
    *("adam", "adamw", "nadam", "nadamw", "amsgrad", "adamax", "adamaxw", "adabelief"),
    *("radam", "rmsprop", "lion", "sign_sgd"),
)
"""Optimizers whose steps do not depend on the gradient's scale: they have Adam's rules
of mup."""
FAN_IN = ("lecun_", "he_")
"""Beginnings of initialisers whose variance is a constant over the inputs."""

Runs = Mapping[str, Mapping[str, Sequence[str]]]
"""Layers whose arrays are stacked, see `models.stack.Stack.runs`."""
Factors = Mapping[Any, jax.Array | float]
"""Factors by layer, by group, or by a layer and "kernels" or "vectors"."""


def scaled(
    tree: Any, layers: Sequence[str], runs: Runs, of: Factors, only: str = ""
) -> Any:
    """Multiplies a tree of arrays, ``{layer: arrays}``, by their factors.

    Without factors it is returned as it is; with `only`, such as "kernels", arrays of
    other groups are.

    >>> tree = {"a": {"kernel": jnp.ones((1, 2)), "bias": jnp.ones(2)}}
    >>> scaled(tree, ("a",), {}, {"a": 3.0, "biases": 2.0})["a"]["bias"].tolist()
    [6.0, 6.0]
    """

    def one(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
        found = [_product(layer, path, leaf, layers, of, only) for layer in at(path)]
        if all(factor is None for factor in found):
            return leaf
        each = jnp.stack([jnp.float32(1 if f is None else f) for f in found])
        return leaf * each.reshape(-1, *[1] * (leaf.ndim - 1))

    def at(path: tuple[Any, ...]) -> Sequence[str]:
        """Returns the layers of an array: several where they are stacked."""
        top, *inner = (getattr(key, "key", "") for key in path)
        return runs[top][inner[0]] if top in runs else (top,)

    return jax.tree_util.tree_map_with_path(one, tree) if of else tree


def _product(
    layer: str,
    path: tuple[Any, ...],
    leaf: Any,
    layers: Sequence[str],
    of: Factors,
    only: str,
) -> Any:
    """Returns the product of the factors on an array of a layer; None for none."""
    groups = {*_groups(layer, path, leaf, layers)}
    found = [factor for name, factor in of.items() if name in groups]
    return math.prod(found) if found and (only in groups or not only) else None


def _groups(
    layer: str, path: tuple[Any, ...], leaf: Any, layers: Sequence[str]
) -> Iterator[Any]:
    place = "hidden"
    if layer == layers[-1]:
        place = "last"
    elif layer == layers[0]:
        place = "first"
    kernel = is_kernel(path, leaf)
    yield from (layer, place, (layer, "kernels" if kernel else "vectors"))
    if kernel:
        yield "kernels"
    elif name_of(path) == "bias":
        yield "biases"


def check(path: str, names: Iterable[str], layers: Sequence[str]) -> None:
    """Refuses a factor on a layer that a network does not have.

    Raises:
      FieldError: such a name, of the fields below `path`, such as "optimizer.rate_of".
    """
    for name in names:
        if name not in (known := (*GROUPS, *layers)):
            hint = nearest(name, known)
            raise FieldError(f"{path}.{name}", f" is no layer or group{hint}")


def mup(
    shapes: Mapping[str, Any],
    layers: Sequence[str],
    runs: Runs,
    *,
    base_width: int,
    optimizer: str,
) -> tuple[dict[Any, float], dict[Any, float]]:
    """Returns the factors of the maximal update parametrization, on rates and kernels.

    A network whose hidden layers have `base_width` units or channels has factors of 1.
    Of others, with the ratios n of a layer's inputs and m of its outputs to the base
    (1 for the data and the classes), the initial last kernel is divided by sqrt(n);
    the rate of kernels is multiplied by m / n with sgd and by 1 / n with Adam, that of
    biases and the like by m with sgd. Layers must stand in sequence.

    Args:
      shapes: the network's parameters, ``{layer: arrays or their shapes}``.
      layers, runs: as in `member.Recipe`.
      base_width: at least 1.
      optimizer: "sgd", or one of `ADAMS`.

    Source: Yang et al., "Tensor Programs V" (2021), table 3.

    Raises:
      FieldError: another optimizer, or layers inside layers.
    """
    if optimizer != "sgd" and optimizer not in ADAMS:
        raise FieldError(
            "model.parametrization",
            f"='mup' has no rule for optimizer.name={optimizer!r}, but for sgd, "
            + ", ".join(ADAMS),
        )
    outputs = _outputs(shapes, runs)
    last = [layer for layer in layers if layer in outputs][-1]
    rates: dict[Any, float] = {}
    n = m = 1.0
    for layer in layers:
        if layer in outputs:
            n, m = m, 1.0 if layer == last else outputs[layer] / base_width
        is_sgd = optimizer == "sgd"
        rates[layer, "kernels"] = m / n if is_sgd else 1 / n
        rates[layer, "vectors"] = m if is_sgd else 1.0
    return rates, {(last, "kernels"): n**-0.5}


def _outputs(shapes: Mapping[str, Any], runs: Runs) -> dict[str, int]:
    """Returns the outputs of each layer with a kernel."""
    found: dict[str, int] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(shapes):
        if is_kernel(path, leaf):
            top, inner, *_ = (getattr(key, "key", "") for key in path)
            if len(path) > 2 and top not in runs:
                raise FieldError(
                    "model.parametrization",
                    f"='mup' needs layers in sequence, and {top} has layers inside",
                )
            names = runs[top][inner] if top in runs else (top,)
            found |= dict.fromkeys(names, leaf.shape[-1])
    return found
