# SPDX-License-Identifier: Apache-2.0
"""ResNet-18 as a Flax Linen module."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from nnlab.models import layers
from nnlab.models.cpu import convolution, dense
from nnlab.models.initializers import INITIALIZERS
from nnlab.models.resnet_layers import BLOCKS, STEM_CHANNELS, STEMS, Block


class ResNet18(nn.Module):
    """The network of `resnet_layers.table`, for images of any size and channels.

    Its parameters lie flat in "params", an entry for each layer with parameters, named
    as in the table. Batch norm, and how active units are counted, are as in
    `stack.Stack`.

    Attributes:
      num_classes: number of classes; 0 for no head: the features come out.
      stem: one of `resnet_layers.STEMS`.
      initializer: of the kernels, one of `INITIALIZERS`; the head's bias starts at 0.
      dtype: type of the arithmetic.
      param_dtype: type of the parameters.
    """

    num_classes: int
    stem: str = "imagenet"
    initializer: str = "he_normal"
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        """Check the fields."""
        layers.choose("stem", self.stem, STEMS)
        layers.choose("initializer", self.initializer, INITIALIZERS)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Compute the logits.

        Args:
          x: scaled images, float, (B, height, width, channels).
          train: whether to normalise by this batch's own statistics.

        Returns:
          Logits, (B, C), float32, or float64 if that is the arithmetic's type; the
          features, (B, 512), without a head.
        """
        small = self.stem == "small"
        x = self._conv("conv1", x, STEM_CHANNELS, 3 if small else 7, 1 if small else 2)
        x = self._relu("relu", self._batch_norm("bn1", x, train))
        if not small:
            x = convolution.max_pool(x, 3, 2, padding=1)
        for block in BLOCKS:
            x = self._block(block, x, train)
        x = x.mean(axis=(1, 2))
        if self.num_classes:
            x = nn.Dense(
                self.num_classes,
                kernel_init=INITIALIZERS[self.initializer],
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                dot_general=dense.dot_general,
                name="fc",
            )(x)
        return x.astype(jnp.promote_types(x.dtype, jnp.float32))

    def _block(self, block: Block, x: jax.Array, train: bool) -> jax.Array:
        name, channels, stride = block
        y = self._conv(f"{name}_conv1", x, channels, 3, stride)
        y = self._relu(f"{name}_relu1", self._batch_norm(f"{name}_bn1", y, train))
        y = self._conv(f"{name}_conv2", y, channels, 3, 1)
        y = self._batch_norm(f"{name}_bn2", y, train)
        if stride != 1:
            x = self._conv(f"{name}_downsample_0", x, channels, 1, stride)
            x = self._batch_norm(f"{name}_downsample_1", x, train)
        return self._relu(f"{name}_relu2", y + x)

    def _conv(
        self, name: str, x: jax.Array, channels: int, kernel: int, stride: int
    ) -> jax.Array:
        return nn.Conv(
            channels,
            (kernel, kernel),
            strides=stride,
            padding=kernel // 2,
            use_bias=False,
            kernel_init=INITIALIZERS[self.initializer],
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            conv_general_dilated=convolution.conv_general_dilated,
            name=name,
        )(x)

    def _relu(self, name: str, x: jax.Array) -> jax.Array:
        x = nn.relu(x)
        if self.is_mutable_collection("activity") and not self.is_initializing():
            share = jnp.mean(x > 0, axis=(1, 2, 3), dtype=jnp.float32)
            seen = {"share": share, "units": math.prod(x.shape[1:])}
            self.sow("activity", name, seen, lambda _, new: new, lambda: None)
        return x

    def _batch_norm(self, name: str, x: jax.Array, train: bool) -> jax.Array:
        return nn.BatchNorm(
            use_running_average=not train,
            momentum=0.9,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name=name,
        )(x)
