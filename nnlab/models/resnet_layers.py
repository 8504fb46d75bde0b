# SPDX-License-Identifier: Apache-2.0
"""ResNet-18 as plain values: its blocks, and the table of its layers; no JAX.

Layers have torchvision's names with "_" for ".". They pad all sides by the same number
of pixels, which their rows have as "padding"; at stride 2 "same" would pad more below
and to the right.

Source: He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition" (2016),
table 1, with projections (option B) where a block changes the shape.
"""

from collections.abc import Sequence
from typing import Any

from nnlab.models.kind import Shape
from nnlab.models.layers import LayerRow, choose, rows_of

STEMS = ("imagenet", "small")
"""How the network begins: with a 7x7 convolution and a max-pool, each at stride 2; or,
for small images, with a 3x3 convolution at stride 1."""

STEM_CHANNELS = 64

FEATURES = 512
"""Values of an example after the mean over its pixels, before the head."""


def table(
    input_shape: Sequence[int], num_classes: int, stem: str = "imagenet"
) -> tuple[LayerRow, ...]:
    """Infers the shapes and costs of all layers; a single pixel is enough.

    Without classes it is the backbone without its head. The last "relu" of a block
    follows the addition, and "avgpool" is the mean over all pixels; additions and that
    mean count no operations.

    Raises:
      ValueError: examples that are no images, a negative number of classes or an
        unknown stem.
    """
    choose("stem", stem, STEMS)
    if num_classes < 0:
        raise ValueError(f"num_classes={num_classes} must be at least 0")
    shape = tuple(int(size) for size in input_shape)
    if len(shape) != 3:
        raise ValueError(
            f"resnet18: got shape {shape}, needs images (height, width, channels)"
        )
    if min(shape) < 1:
        raise ValueError(f"input shape {shape} needs sizes of at least 1")
    small = stem == "small"
    first = _conv("conv1", shape, STEM_CHANNELS, 3 if small else 7, 1 if small else 2)
    shape = first.output_shape
    rows = [first, _row("batch_norm", "bn1", shape), _row("relu", "relu", shape)]
    if not small:
        fields = {"window": 3, "stride": 2, "padding": 1}
        rows.append(_row("max_pool", "maxpool", shape, **fields))
    for stage in range(4):
        for index in range(2):
            stride = 2 if stage and not index else 1
            name, channels = f"layer{stage + 1}_{index}", STEM_CHANNELS * 2**stage
            rows += _block(name, channels, stride, rows[-1].output_shape)
    rows.append(_row("global_avg_pool", "avgpool", rows[-1].output_shape))
    if num_classes:
        rows.append(_row("dense", "fc", (FEATURES,), units=num_classes))
    return tuple(rows)


def _block(name: str, channels: int, stride: int, shape: Shape) -> list[LayerRow]:
    """Returns two 3x3 convolutions, whose output is added to the block's input.

    If the stride of the first is not 1, the input goes through a 1x1 convolution of the
    same stride before.
    """
    first = _conv(f"{name}_conv1", shape, channels, 3, stride)
    inside = first.output_shape
    rows = [
        first,
        _row("batch_norm", f"{name}_bn1", inside),
        _row("relu", f"{name}_relu1", inside),
        _conv(f"{name}_conv2", inside, channels, 3, 1),
        _row("batch_norm", f"{name}_bn2", inside),
    ]
    if stride != 1:
        rows += [
            _conv(f"{name}_downsample_0", shape, channels, 1, stride),
            _row("batch_norm", f"{name}_downsample_1", inside),
        ]
    return [*rows, _row("relu", f"{name}_relu2", inside)]


def _row(kind: str, name: str, shape: Shape, **fields: Any) -> LayerRow:
    return rows_of([{"layer": kind, "name": name, **fields}], shape)[0]


def _conv(name: str, shape: Shape, channels: int, kernel: int, stride: int) -> LayerRow:
    fields = {"channels": channels, "kernel": kernel, "stride": stride}
    return _row("conv", name, shape, **fields, padding=kernel // 2, bias=False)
