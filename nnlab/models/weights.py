# SPDX-License-Identifier: Apache-2.0
"""Weights of ResNet-18 in safetensors files, in torchvision's names and layouts."""

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from nnlab.models import resnet_layers
from nnlab.models.kind import Shape
from nnlab.models.layers import LayerRow
from nnlab.words.spelling import nearest_file

Variables = dict[str, dict[str, dict[str, np.ndarray]]]
"""Collection -> layer -> name of an array -> the array, as `resnet.ResNet18` has it."""

# ml_dtypes, which JAX needs too, makes bfloat16 known to NumPy.
_TYPES = {
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F32": np.float32,
    "F64": np.float64,
}

# Name of an array in Flax -> in torchvision.
_NAMES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}

# Number of axes -> torchvision's order of Flax's axes. A convolution is (height, width,
# inputs, outputs) in Flax, a dense layer (inputs, outputs).
_TO_TORCHVISION = {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}


def load_resnet18(
    path: str | os.PathLike[str],
    *,
    num_classes: int | None = None,
    channels: int = 3,
    stem: str = "imagenet",
) -> Variables:
    """Reads the variables of a `resnet.ResNet18`; every name and shape is checked.

    The counters of batch norm, "num_batches_tracked", are ignored.

    Args:
      path: a safetensors file of float16, bfloat16, float32 or float64.
      num_classes: classes of the head; 0 for the backbone alone, whether the file has a
        head or not; None for the head of the file, if it has one.
      channels: channels of the images. If it is 1 and the file's first kernel has 3,
        the kernel is summed over them: a grey image is equally red, green and blue.
      stem: one of `resnet_layers.STEMS`.

    Returns:
      "params" and "batch_stats", float32.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is damaged or no safetensors file, lacks tensors, has others,
        or has one of another shape or type.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file of weights {path}{nearest_file(path)}")
    try:
        with safe_open(path, framework="numpy") as file:
            return _read(file, path, num_classes, channels, stem)
    except SafetensorError as error:
        raise ValueError(f"{path} is no intact safetensors file: {error}") from None


def to_torchvision(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns a `resnet.ResNet18`'s variables in torchvision's names and layouts.

    They are ready for `safetensors.numpy.save_file`; the counters of batch norm,
    "num_batches_tracked", are left out.
    """
    return {
        _name(layer, array): np.ascontiguousarray(
            np.transpose(value, _TO_TORCHVISION[value.ndim])
        )
        for collection in ("params", "batch_stats")
        for layer, arrays in variables[collection].items()
        for array, value in arrays.items()
    }


def _read(
    file: Any, path: Path, num_classes: int | None, channels: int, stem: str
) -> Variables:
    # Only the header is read first: a large file of another kind is refused unread.
    names = file.keys()
    tensors = {
        name: file.get_slice(name)
        for name in names
        if not name.endswith(".num_batches_tracked")
        and not (num_classes == 0 and name.startswith("fc."))
    }
    shapes = {name: tuple(tensor.get_shape()) for name, tensor in tensors.items()}
    if num_classes is None:
        num_classes = (shapes.get("fc.weight") or (0,))[0]
    is_grey = channels == 1 and shapes.get("conv1.weight", ())[1:2] == (3,)
    image = (1, 1, 3 if is_grey else channels)
    rows = resnet_layers.table(image, num_classes, stem)
    needed = {
        _name(row.name, array): tuple(size[axis] for axis in _TO_TORCHVISION[len(size)])
        for row in rows
        for (_, array), size in _arrays(row).items()
    }
    _check_names(path, shapes, needed)
    for name, shape in needed.items():
        if shapes[name] != shape:
            raise ValueError(f"{path}: {name} has shape {shapes[name]}, needs {shape}")
        if (kind := tensors[name].get_dtype()) not in _TYPES:
            raise ValueError(
                f"{path}: {name} is of type {kind}; allowed: {', '.join(_TYPES)}"
            )
    found: Variables = {"params": {}, "batch_stats": {}}
    for row in rows:
        for collection, array in _arrays(row):
            value = file.get_tensor(_name(row.name, array)).astype(np.float32)
            ordered = value.transpose(np.argsort(_TO_TORCHVISION[value.ndim]))
            arrays = found[collection].setdefault(row.name, {})
            arrays[array] = np.ascontiguousarray(ordered)
    if is_grey:
        first = found["params"]["conv1"]
        first["kernel"] = first["kernel"].sum(axis=2, keepdims=True)
    return found


def _name(layer: str, array: str) -> str:
    return f"{layer.replace('_', '.')}.{_NAMES[array]}"


def _arrays(row: LayerRow) -> dict[tuple[str, str], Shape]:
    """Returns collection and name of a layer's arrays, and their shapes in Flax."""
    layer, inputs = row.layer, row.input_shape[-1]
    if layer["layer"] == "conv":
        kernel = (layer["kernel"], layer["kernel"], inputs, layer["channels"])
        return {("params", "kernel"): kernel}
    if layer["layer"] == "dense":
        units = layer["units"]
        return {("params", "kernel"): (inputs, units), ("params", "bias"): (units,)}
    if layer["layer"] == "batch_norm":
        arrays = ("params", "scale"), ("params", "bias")
        statistics = ("batch_stats", "mean"), ("batch_stats", "var")
        return dict.fromkeys((*arrays, *statistics), (inputs,))
    return {}


def _check_names(path: Path, given: Collection[str], needed: Collection[str]) -> None:
    faults = []
    for what, some, others in (
        ("lacks", needed, given),
        ("has in excess", given, needed),
    ):
        if names := [name for name in some if name not in others]:
            first = ", ".join([*names[:3], "..."] if len(names) > 3 else names)
            plural = "s" * (len(names) != 1)
            faults.append(f"{what} {len(names)} tensor{plural} ({first})")
    if faults:
        raise ValueError(
            f"{path} is no ResNet-18 in torchvision's names: it {' and '.join(faults)}"
        )
