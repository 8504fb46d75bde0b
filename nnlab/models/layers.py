# SPDX-License-Identifier: Apache-2.0
"""Layers as plain values: kinds, shapes and costs; no JAX.

A layer is a dict such as `{"layer": "dense", "units": 64}`; a bare name such as
`"relu"` stands for `{"layer": "relu"}`. `FIELDS` lists every kind of layer with its
fields and defaults; every layer also takes a `"name"`. A stack reads examples without
their batch axis, images with the channels last, and ends in one logit for each class:
the loss applies the softmax.
"""

import collections
import contextlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from keyword import iskeyword
from numbers import Integral, Real
from typing import Any

from nnlab.words.spelling import nearest

ACTIVATIONS = (
    *("relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "sigmoid", "tanh"),
    *("lecun_tanh", "identity"),
)

INITIALIZERS = (
    *("lecun_normal", "lecun_uniform", "he_normal", "he_uniform"),
    *("glorot_normal", "glorot_uniform", "orthogonal", "normal", "uniform", "zeros"),
)

BIASES = ("all", "first", "none")

POOLS = {"max": "max_pool", "max_abs": "max_abs_pool"}
"""What `cnn` keeps of a pooling window -> the layer that does it."""

INT_MAX = 2**31 - 1
"""The largest whole number of a setting: XLA counts in 32 bits."""

Layer = Mapping[str, Any] | str | Sequence[tuple[str, Any]]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Field:
    """One field of a layer: its type, its default and the values it allows."""

    type: type
    default: Any = None
    required: bool = False
    minimum: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    absent: str = ""
    """The meaning of None, the default."""

    @property
    def allowed(self) -> str:
        """The allowed values, in words."""
        if self.choices:
            return " or ".join(map(repr, self.choices))
        words = {int: "a whole number", float: "a number", bool: "True or False"}
        text = words[self.type]
        if self.minimum is not None:
            text += f" of at least {self.minimum}"
        if self.below is not None:
            text += f" and below {self.below}"
        return text


def _positive(default: int | None = None, absent: str = "") -> Field:
    required = default is None and not absent
    return Field(int, default, required, minimum=1, absent=absent)


_WINDOW = {"window": _positive(2), "stride": _positive(absent="the window")}

FIELDS: dict[str, dict[str, Field]] = {
    "flatten": {},
    "dense": {"units": _positive(), "bias": Field(bool, True)},
    "conv": {
        "channels": _positive(),
        "kernel": _positive(3),
        "stride": _positive(1),
        "padding": Field(str, "same", choices=("same", "valid")),
        "bias": Field(bool, True),
    },
    "max_pool": _WINDOW,
    "max_abs_pool": _WINDOW,
    "batch_norm": {},
    "dropout": {
        "rate": Field(float, minimum=0, below=1, absent="the trial's dropout rate")
    },
} | {name: {} for name in ACTIVATIONS}
"""Kind of layer -> field -> type, default and range."""


class LayerError(ValueError):
    """A layer that is wrong in itself or in its place, at a position from 0."""

    def __init__(self, position: int, message: str) -> None:
        super().__init__(message)
        self.position = position


@dataclass(frozen=True)
class LayerRow:
    """One layer of a checked stack.

    Attributes:
      name: the given name, or the layer's kind and a running index of that kind, such
        as "dense_0"; used in the model, in columns of results and in messages.
      layer: the layer with its name and all defaults filled in.
      input_shape, output_shape: of one example, without the batch axis.
      parameters: number of trained values.
      flops: operations of the matrix products of one example's forward pass, a
        multiply-add counted as 2; biases and elementwise layers count 0.
    """

    name: str
    layer: dict[str, Any]
    input_shape: Shape
    output_shape: Shape
    parameters: int
    flops: int

    @property
    def biases(self) -> int:
        """The number of parameters that are added; the others multiply."""
        if self.layer["layer"] == "batch_norm":
            return self.parameters // 2
        return self.output_shape[-1] if self.layer.get("bias") else 0


def mlp(
    hidden: Sequence[int],
    num_classes: int,
    *,
    activation: str = "relu",
    batch_norm: bool = False,
    dropout: bool = False,
    bias: str = "all",
) -> list[dict[str, Any]]:
    """Returns a fully connected network: flatten, hidden layers, logits.

    `hidden` are the units of each hidden layer, none for a linear classifier; all
    other arguments are as in `cnn`.

    >>> rows = check(mlp([64], 10), (28, 28, 1), 10)
    >>> [row.name for row in rows], sum(row.parameters for row in rows)
    (['flatten_0', 'dense_0', 'relu_0', 'dense_1'], 50890)
    """
    return cnn(
        (),
        hidden,
        num_classes,
        activation=activation,
        batch_norm=batch_norm,
        dropout=dropout,
        bias=bias,
    )


def cnn(
    channels: Sequence[int],
    hidden: Sequence[int],
    num_classes: int,
    *,
    activation: str = "relu",
    kernel: int = 3,
    pool: str = "max",
    window: int = 2,
    batch_norm: bool = False,
    dropout: bool = False,
    bias: str = "all",
) -> list[dict[str, Any]]:
    """Returns a convolutional network: convolutions and pools, then dense layers.

    The pool stands before the activation, which then works on `window**2` times fewer
    values. For a max-pool and a monotone activation (all but gelu and silu) the numbers
    are the same as with the pool after it. For the largest absolute value they are not:
    where that value is negative, a ReLU after the pool gives 0 even if there are
    positive values in the window. (After a ReLU the two kinds of pools agree.)

    Args:
      channels: channels of each convolution (stride 1, padding "same").
      hidden: units of each hidden dense layer after the convolutions.
      activation: one of `ACTIVATIONS`, after every convolution and hidden layer.
      kernel: height and width of the kernels, in pixels.
      pool: what a window keeps: "max", its largest value, or "max_abs", the value of
        largest magnitude.
      window: window and stride of the pools, in pixels; 1 leaves them out.
      batch_norm: whether to normalise after each convolution and hidden layer.
      dropout: whether to drop after each hidden dense layer's activation, at the
        trial's dropout rate.
      bias: "all" layers, only the "first", or "none"; batch norm keeps its shift.

    Returns:
      The layers, for `check` and for `stack.Stack`.

    Raises:
      ValueError: an unknown activation, pool or bias.
    """
    choose("activation", activation, ACTIVATIONS)
    choose("pool", pool, POOLS)
    choose("bias", bias, BIASES)
    norm = [{"layer": "batch_norm"}] * batch_norm
    drop = [{"layer": "dropout"}] * dropout
    pools = [{"layer": POOLS[pool], "window": window}] * (window != 1)
    chosen: list[dict[str, Any]] = []
    for count in channels:
        conv = {"layer": "conv", "channels": count, "kernel": kernel}
        chosen += [conv, *norm, *pools, {"layer": activation}]
    chosen.append({"layer": "flatten"})
    for units in hidden:
        chosen += [{"layer": "dense", "units": units}, *norm, {"layer": activation}]
        chosen += drop
    chosen.append({"layer": "dense", "units": num_classes})
    chosen = [dict(layer) for layer in chosen]  # each its own
    biased = [layer for layer in chosen if "bias" in FIELDS[layer["layer"]]]
    for index, layer in enumerate(biased):
        layer["bias"] = bias == "all" or (bias == "first" and index == 0)
    return chosen


def check(
    layers: Iterable[Layer], input_shape: Sequence[int], num_classes: int
) -> tuple[LayerRow, ...]:
    """Checks a stack before anything is compiled, and infers its shapes and costs.

    Raises:
      LayerError: a layer is wrong. The message names it (its position counts from 0),
        the shape it got and what it needs.
      ValueError: there is no layer, or the input shape is none.

    >>> dense = {"layer": "dense", "units": 10}
    >>> [row.output_shape for row in check(["flatten", dense], (28, 28, 1), 10)]
    [(784,), (10,)]
    """
    rows: list[LayerRow] = []
    _check(rows, normalise(layers), input_shape, num_classes)
    return tuple(rows)


@dataclass(frozen=True)
class Inspection:
    """What `inspect` found out about a stack: rows up to a layer that is wrong."""

    rows: tuple[LayerRow, ...]
    message: str = ""  # as `check` says it
    position: int | None = None  # of the layer that is wrong, from 0


def inspect(
    layers: Sequence[Layer], input_shape: Sequence[int], num_classes: int
) -> Inspection:
    """Checks a stack as `check` does, but returns what is wrong instead of raising."""
    rows: list[LayerRow] = []
    try:
        _check(rows, normalise(layers), input_shape, num_classes)
    except LayerError as error:
        if not rows and error.position:  # wrong in itself: look at those before it
            before = normalise(layers[: error.position])
            with contextlib.suppress(ValueError):
                _check(rows, before, input_shape, num_classes)
        return Inspection(tuple(rows), str(error), error.position)
    except ValueError as error:
        return Inspection((), str(error))
    return Inspection(tuple(rows))


def _check(
    rows: list[LayerRow],
    layers: Sequence[dict[str, Any]],
    input_shape: Sequence[int],
    num_classes: int,
) -> None:
    """Appends a row for each of normalised layers, up to one that is wrong."""
    shape = tuple(int(size) for size in input_shape)
    if not shape or min(shape) < 1:
        raise ValueError(f"input shape {shape} needs sizes of at least 1")
    for position, layer in enumerate(layers):
        try:
            output_shape, parameters, flops = _SHAPES[layer["layer"]](layer, shape)
        except ValueError as error:
            text = f"layer {position} ({layer['name']}): {error}"
            raise LayerError(position, text) from None
        row = LayerRow(layer["name"], layer, shape, output_shape, parameters, flops)
        rows.append(row)
        shape = output_shape
    if shape != (num_classes,):
        _refuse_ending(rows, shape, num_classes)


def normalise(layers: Iterable[Layer]) -> list[dict[str, Any]]:
    """Fills in names and defaults, and checks each layer by itself.

    Layers may be dicts, bare names, or tuples of pairs from `freeze`; dicts with kind,
    name and all fields come back.

    Raises:
      LayerError: an unknown layer or field, a value out of range, a name used twice.
      ValueError: there is no layer.

    >>> normalise(["relu"])
    [{'layer': 'relu', 'name': 'relu_0'}]
    """
    if isinstance(layers, str | Mapping):
        raise ValueError(f"layers must be a list of layers, got {layers!r}")
    normal: list[dict[str, Any]] = []
    counts: collections.Counter[str] = collections.Counter()
    positions: dict[str, int] = {}
    for position, layer in enumerate(layers):
        where = f"layer {position}"
        try:
            fields = _as_dict(layer)
            kind = fields.pop("layer")
            name = fields.pop("name", f"{kind}_{counts[kind]}")
            counts[kind] += 1
            if not (isinstance(name, str) and name.isidentifier()) or iskeyword(name):
                raise ValueError(
                    f"name {name!r} is not an identifier: use letters, digits and "
                    "underscores"
                )
            where += f" ({name})"
            if name in positions:
                raise ValueError(
                    f"the name is already that of layer {positions[name]}; give one of "
                    "them another"
                )
            positions[name] = position
            normal.append({"layer": kind, "name": name, **_filled(kind, fields)})
        except ValueError as error:
            raise LayerError(position, f"{where}: {error}") from None
    if not normal:
        raise ValueError("a stack needs at least one layer, got none")
    return normal


def freeze(layers: Iterable[Layer]) -> tuple[tuple[tuple[str, Any], ...], ...]:
    """Returns the normalised layers as nested tuples, which can be hashed."""
    return tuple(tuple(layer.items()) for layer in normalise(layers))


def choose(what: str, value: Any, allowed: Iterable[str]) -> None:
    """Refuses a value that is not one of the allowed names."""
    if value not in (allowed := tuple(allowed)):
        raise ValueError(f"unknown {what} {value!r}{nearest(value, allowed)}")


def _as_dict(layer: Layer) -> dict[str, Any]:
    """Returns a layer, however written, as a dict with a known kind."""
    if isinstance(layer, str):
        layer = {"layer": layer}
    try:
        fields = dict(layer)
        kind = fields["layer"]
    except (TypeError, ValueError, KeyError):
        raise ValueError(
            f"{layer!r} is not a layer; write it as "
            '{"layer": "dense", "units": 64} or, without fields, as "relu"'
        ) from None
    if kind in ("softmax", "log_softmax"):
        raise ValueError(
            f"{kind!r} is not a layer: the loss applies it, so end the stack with a "
            "dense layer of one unit for each class"
        )
    choose("layer", kind, FIELDS)
    return fields


def _filled(kind: str, given: dict[str, Any]) -> dict[str, Any]:
    """Returns all fields of a layer, with their defaults."""
    table = FIELDS[kind]
    for name in given:
        if name not in table:
            raise ValueError(f"unknown field {name!r}{nearest(name, (*table, 'name'))}")
    filled: dict[str, Any] = {}
    for name, field in table.items():
        value = given.get(name)
        if value is None and field.required:
            raise ValueError(f"needs {name!r}, {field.allowed}")
        filled[name] = field.default if value is None else _cast(name, field, value)
    if kind in POOLS.values() and filled["stride"] is None:
        filled["stride"] = filled["window"]
    return filled


def _cast(name: str, field: Field, value: Any) -> Any:
    kinds = {int: Integral, float: Real, bool: bool, str: str}
    right_type = isinstance(value, kinds[field.type])
    if isinstance(value, bool) and field.type is not bool:
        right_type = False
    in_range = right_type and (
        (not field.choices or value in field.choices)
        and (field.minimum is None or value >= field.minimum)
        and (field.below is None or value < field.below)
    )
    if not in_range:
        raise ValueError(f"{name} {value!r} must be {field.allowed}")
    if field.type is int and value > INT_MAX:
        raise ValueError(f"{name} must be at most {INT_MAX:,}")
    return field.type(value)


def _dense(layer: dict[str, Any], shape: Shape) -> tuple[Shape, int, int]:
    if len(shape) != 1:
        raise ValueError(
            f"got shape {shape}, needs a flat vector ({math.prod(shape)},); put a "
            "flatten layer before it"
        )
    products = shape[0] * layer["units"]
    biases = layer["units"] if layer["bias"] else 0
    return (layer["units"],), products + biases, 2 * products


def _conv(layer: dict[str, Any], shape: Shape) -> tuple[Shape, int, int]:
    _need_image(shape)
    kernel, channels = layer["kernel"], layer["channels"]
    if kernel > (most := 2 * max(shape[:2]) - 1):
        raise ValueError(
            f"got shape {shape}, on which a kernel of {kernel}x{kernel} covers no more "
            f"than one of {most}x{most}; use at most that size"
        )
    if layer["padding"] == "valid" and kernel > min(shape[:2]):
        raise ValueError(
            f"got shape {shape}, smaller than its kernel of {kernel}x{kernel}; use a "
            'smaller kernel or padding "same"'
        )
    extra = kernel - 1 if layer["padding"] == "valid" else 0
    height, width = (-(-(size - extra) // layer["stride"]) for size in shape[:2])
    weights = kernel * kernel * shape[2] * channels
    biases = channels if layer["bias"] else 0
    return (height, width, channels), weights + biases, 2 * height * width * weights


def _pool(layer: dict[str, Any], shape: Shape) -> tuple[Shape, int, int]:
    _need_image(shape)
    window = layer["window"]
    if window > min(shape[:2]):
        raise ValueError(
            f"got shape {shape}, smaller than its window of {window}x{window}; use a "
            "smaller window or fewer pools before it"
        )
    height, width = ((size - window) // layer["stride"] + 1 for size in shape[:2])
    return (height, width, shape[2]), 0, 0


def _need_image(shape: Shape) -> None:
    if len(shape) == 3:
        return
    if len(shape) == 1:
        mend = "put it before the flatten and dense layers"
    else:
        mend = "give the examples a channel axis"
    raise ValueError(f"got shape {shape}, needs (height, width, channels); {mend}")


_SHAPES: dict[str, Callable[[dict[str, Any], Shape], tuple[Shape, int, int]]] = {
    "flatten": lambda _, shape: ((math.prod(shape),), 0, 0),
    "dense": _dense,
    "conv": _conv,
    "batch_norm": lambda _, shape: (shape, 2 * shape[-1], 0),
    **dict.fromkeys(POOLS.values(), _pool),
    **dict.fromkeys(("dropout", *ACTIVATIONS), lambda _, shape: (shape, 0, 0)),
}
"""Kind of layer -> its output shape, parameters and operations, from its input's."""


def _refuse_ending(rows: Sequence[LayerRow], shape: Shape, num_classes: int) -> None:
    last, remedy = len(rows) - 1, f"a dense layer of {num_classes} units"
    if len(shape) != 1:
        remedy = f"flatten and {remedy}"
    else:
        while last > 0 and rows[last].layer["layer"] not in ("dense", "flatten"):
            last -= 1
    raise LayerError(
        last,
        f"layer {last} ({rows[last].name}): gives shape {shape}, needs "
        f"({num_classes},), a value for each class; end with {remedy}",
    )
