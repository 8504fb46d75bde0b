# SPDX-License-Identifier: Apache-2.0
"""What a kind of layer is: its fields, its shapes and costs, its computation; no JAX.

The kinds themselves are in `kinds`. What they compute imports JAX when it is called.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import flax.linen as nn
    import jax

INITIALIZERS = (
    *("lecun_normal", "lecun_uniform", "he_normal", "he_uniform"),
    *("glorot_normal", "glorot_uniform", "orthogonal", "normal", "uniform", "zeros"),
)

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Field:
    """One field of a layer: its type, its default and the values it allows.

    A `type` other than str may have `choices` beside its values; that of tuple holds
    layers.
    """

    type: type
    default: Any = None
    required: bool = False
    minimum: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    absent: str = ""
    """The meaning of None, the default."""
    pair: bool = False
    """Whether two numbers, for height and width, are allowed in the place of one."""

    @property
    def allowed(self) -> str:
        """The allowed values, in words."""
        text = " or ".join(map(repr, self.choices))
        if self.type is str:
            return text
        words = {int: "a whole number", float: "a number", bool: "True or False"}
        text += " or " * bool(text) + words.get(self.type, "a list of layers")
        if self.minimum is not None:
            text += f" of at least {self.minimum}"
        if self.below is not None:
            text += f" and below {self.below}"
        return text + ", or two of them" * self.pair


def positive(default: int | None = None, absent: str = "", pair: bool = False) -> Field:
    """Returns a field for a whole number above 0, required without a default."""
    required = default is None and not absent
    return Field(int, default, required, minimum=1, absent=absent, pair=pair)


INIT = Field(str, choices=INITIALIZERS, absent="the trial's")
"""The initialiser of a layer's kernels."""
BIAS = Field(bool, True)


class Made(NamedTuple):
    """What a layer makes of an example, and its costs.

    Attributes:
      shape: of the output, without the batch axis.
      parameters: number of trained values, of which `biases` are added to others.
      flops: operations of the matrix products of one example's forward pass, a
        multiply-add counted as 2.
      inner: rows of the layers of which it is made, see `layers.LayerRow`.
    """

    shape: Shape
    parameters: int = 0
    flops: int = 0
    biases: int = 0
    inner: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Options:
    """How all layers of a module compute, see `stack.Stack`.

    Attributes:
      counts: whether to count active units in the collection "activity".
      fast_variance: whether batch norm computes its variance in one pass.
    """

    initializer: str
    dtype: Any
    param_dtype: Any
    train: bool
    counts: bool
    fast_variance: bool = True

    @property
    def typed(self) -> dict[str, Any]:
        """The types of arithmetic and parameters, for a module of Flax."""
        return {"dtype": self.dtype, "param_dtype": self.param_dtype}

    def weighted(self, layer: Mapping[str, Any]) -> dict[str, Any]:
        """Returns what all modules of Flax with a kernel take."""
        from nnlab.models.initializers import INITIALIZERS

        return {
            **self.typed,
            "kernel_init": INITIALIZERS[layer.get("init") or self.initializer],
            "use_bias": layer.get("bias", False),
            "name": layer["name"],
        }


Compute = Callable[
    ["nn.Module", Mapping[str, Any], "jax.Array", Options, Any], "jax.Array"
]
"""Applies a layer as a submodule of the module that is being called.

It gets the module, the layer with its name and all fields, its inputs (B, *shape), the
options, and the trial's dropout rate.
"""


@dataclass(frozen=True)
class Kind:
    """One kind of layer.

    Attributes:
      infer: shape and costs, from the layer with all its fields and the shape of an
        example; a ValueError where they do not fit.
      compute: see `Compute`.
      fields: field -> type, default and range.
      reads_tokens: whether its inputs are whole numbers below its "vocabulary".
    """

    infer: Callable[[Mapping[str, Any], Shape], Made]
    compute: Compute
    fields: Mapping[str, Field] = field(default_factory=dict)
    reads_tokens: bool = False


def pair(value: Any) -> tuple[int, int]:
    """Returns a number for height and width, of one number or of two."""
    return (value, value) if isinstance(value, int) else tuple(value)


def same_shape(layer: Mapping[str, Any], shape: Shape) -> Made:
    """Infers a layer without parameters that keeps the shape."""
    return Made(shape)


def need_image(shape: Shape) -> None:
    """Refuses what is no image (height, width, channels)."""
    if len(shape) == 3:
        return
    if len(shape) == 1:
        mend = "put it before the flatten and dense layers"
    else:
        mend = "give the examples a channel axis"
    raise ValueError(f"got shape {shape}, needs (height, width, channels); {mend}")


def need_sequence(shape: Shape) -> None:
    """Refuses what is no sequence (length, features)."""
    if len(shape) != 2:
        raise ValueError(
            f"got shape {shape}, needs a sequence (length, features), such as an "
            "embedding of tokens"
        )
