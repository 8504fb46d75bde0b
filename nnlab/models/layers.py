# SPDX-License-Identifier: Apache-2.0
"""Layers as plain values: kinds, shapes and costs; no JAX.

A layer is a dict such as `{"layer": "dense", "units": 64}`; a bare name such as
`"relu"` stands for `{"layer": "relu"}`. `FIELDS` lists every kind of layer with its
fields and defaults, see `kinds`; every layer also takes a `"name"`. A stack reads
examples without their batch axis, images with the channels last, and ends in one logit
for each class: the loss applies the softmax.
"""

import collections
import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from keyword import iskeyword
from numbers import Integral, Real
from typing import Any

from nnlab.models.kind import INITIALIZERS as INITIALIZERS
from nnlab.models.kind import Field, Shape
from nnlab.models.kinds import KINDS
from nnlab.models.kinds.elementwise import ACTIVATIONS
from nnlab.words.spelling import nearest

BIASES = ("all", "first", "none")

POOLS = {"max": "max_pool", "max_abs": "max_abs_pool"}
"""What `cnn` keeps of a pooling window -> the layer that does it."""

INT_MAX = 2**31 - 1
"""The largest whole number of a setting: XLA counts in 32 bits."""

Layer = Mapping[str, Any] | str | Sequence[tuple[str, Any]]

FIELDS = {name: kind.fields for name, kind in KINDS.items()}
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
      parameters: number of trained values, of which `biases` are added to others.
      flops: operations of the matrix products of one example's forward pass, a
        multiply-add counted as 2; biases and elementwise layers count 0.
      inner: the layers of a block, which its numbers include.
    """

    name: str
    layer: dict[str, Any]
    input_shape: Shape
    output_shape: Shape
    parameters: int
    flops: int
    biases: int = 0
    inner: tuple["LayerRow", ...] = ()


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
    layers: Iterable[Layer],
    input_shape: Sequence[int],
    num_classes: int,
    vocabulary: int = 0,
) -> tuple[LayerRow, ...]:
    """Checks a stack before anything is compiled, and infers its shapes and costs.

    Inputs are tokens below `vocabulary`; at 0 they are numbers.

    Raises:
      LayerError: a layer is wrong. The message names it (its position counts from 0),
        the shape it got and what it needs.
      ValueError: there is no layer, or the input shape is none.

    >>> dense = {"layer": "dense", "units": 10}
    >>> [row.output_shape for row in check(["flatten", dense], (28, 28, 1), 10)]
    [(784,), (10,)]
    """
    rows: list[LayerRow] = []
    _check(rows, normalise(layers), input_shape, num_classes, vocabulary)
    return tuple(rows)


def rows_of(layers: Iterable[Layer], shape: Shape) -> tuple[LayerRow, ...]:
    """Infers shapes and costs as `check` does, of layers that may end in any shape."""
    rows: list[LayerRow] = []
    _infer(rows, normalise(layers), shape)
    return tuple(rows)


def leaves(rows: Iterable[LayerRow]) -> Iterator[LayerRow]:
    """Yields the rows of single layers, those of blocks in their place."""
    for row in rows:
        yield from leaves(row.inner) if row.inner else (row,)


def kinds_of(layers: Iterable[Layer]) -> Iterator[str]:
    """Yields the kinds of layers, and then those within each of them."""
    for layer in normalise(layers):
        yield layer["layer"]
        yield from kinds_of(layer["layers"]) if "layers" in layer else ()
        yield from ["dropout"] * bool(layer.get("dropout"))


@dataclass(frozen=True)
class Inspection:
    """What `inspect` found out about a stack: rows up to a layer that is wrong."""

    rows: tuple[LayerRow, ...]
    message: str = ""  # as `check` says it
    position: int | None = None  # of the layer that is wrong, from 0


def inspect(
    layers: Sequence[Layer],
    input_shape: Sequence[int],
    num_classes: int,
    vocabulary: int = 0,
) -> Inspection:
    """Checks a stack as `check` does, but returns what is wrong instead of raising."""
    rows: list[LayerRow] = []
    data = input_shape, num_classes, vocabulary
    try:
        _check(rows, normalise(layers), *data)
    except LayerError as error:
        if not rows and error.position:  # wrong in itself: look at those before it
            before = normalise(layers[: error.position])
            with contextlib.suppress(ValueError):
                _check(rows, before, *data)
        return Inspection(tuple(rows), str(error), error.position)
    except ValueError as error:
        return Inspection((), str(error))
    return Inspection(tuple(rows))


def _check(
    rows: list[LayerRow],
    layers: Sequence[dict[str, Any]],
    input_shape: Sequence[int],
    num_classes: int,
    vocabulary: int,
) -> None:
    """Appends a row for each of normalised layers, up to one that is wrong."""
    shape = tuple(int(size) for size in input_shape)
    if not shape or min(shape) < 1:
        raise ValueError(f"input shape {shape} needs sizes of at least 1")
    _check_tokens(layers, vocabulary)
    _infer(rows, layers, shape)
    if (last := rows[-1].output_shape) != (num_classes,):
        _refuse_ending(rows, last, num_classes)


def _infer(
    rows: list[LayerRow], layers: Sequence[dict[str, Any]], shape: Shape
) -> None:
    for position, layer in enumerate(layers):
        try:
            made = KINDS[layer["layer"]].infer(layer, shape)
        except ValueError as error:
            text = f"layer {position} ({layer['name']}): {error}"
            raise LayerError(position, text) from None
        costs = made.parameters, made.flops, made.biases, made.inner
        rows.append(LayerRow(layer["name"], layer, shape, made.shape, *costs))
        shape = made.shape


def _check_tokens(layers: Sequence[dict[str, Any]], vocabulary: int) -> None:
    """Refuses layers of numbers on tokens, and of tokens on numbers."""
    first = next((i for i, one in enumerate(layers) if one["layer"] != "flatten"), 0)
    for position, layer in enumerate(layers):
        text = ""
        if not KINDS[layer["layer"]].reads_tokens:
            if position == first and vocabulary:
                text = (
                    f"got tokens of {vocabulary} kinds, needs numbers; put an "
                    "embedding or a one_hot layer before it"
                )
            elif "layers" in layer:
                text = _inside(layer["layers"])
        elif position != first or not vocabulary:
            text = "got numbers, needs tokens; it can only be first, on tokens"
        elif layer["vocabulary"] < vocabulary:
            text = (
                f"vocabulary {layer['vocabulary']} must be at least the data's "
                f"{vocabulary}"
            )
        if text:
            raise LayerError(position, f"layer {position} ({layer['name']}): {text}")


def _inside(layers: Iterable[Layer]) -> str:
    """Returns what is wrong with layers inside a block, which gets numbers; or ""."""
    try:
        _check_tokens(normalise(layers), 0)
    except LayerError as error:
        return str(error)
    return ""


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
    if "window" in table and filled["stride"] is None:
        filled["stride"] = filled["window"]
    return filled


def _cast(name: str, field: Field, value: Any) -> Any:
    if field.type is tuple:
        try:
            return freeze(value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    if field.choices and isinstance(value, str) and value in field.choices:
        return value
    if field.pair and isinstance(value, list | tuple) and len(value) == 2:
        return tuple(_cast(name, field, one) for one in value)
    kinds = {int: Integral, float: Real, bool: bool}
    right_type = isinstance(value, kinds.get(field.type, ()))
    if isinstance(value, bool) and field.type is not bool:
        right_type = False
    in_range = right_type and (
        (field.minimum is None or value >= field.minimum)
        and (field.below is None or value < field.below)
    )
    if not in_range:
        raise ValueError(f"{name} {value!r} must be {field.allowed}")
    if field.type is int and value > INT_MAX:
        raise ValueError(f"{name} must be at most {INT_MAX:,}")
    return field.type(value)


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
