# SPDX-License-Identifier: Apache-2.0
"""ResNet-18 as a Flax Linen module."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from nnlab.models.apply import apply, counts
from nnlab.models.kind import Options
from nnlab.models.resnet_layers import table


class ResNet18(nn.Module):
    """The network of `resnet_layers.table`, for images of any size and channels.

    Its parameters lie flat in "params", an entry for each layer that has any, named as
    in the table. All else is as in `stack.Stack`.

    Attributes:
      num_classes: number of classes; 0 for features without a head.
      stem: one of `resnet_layers.STEMS`.
    """

    num_classes: int
    stem: str = "imagenet"
    initializer: str = "he_normal"
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Computes logits (B, C), or without a head features (B, 512), of images.

        They are float32, or float64 if that is the arithmetic's type.
        """
        options = Options(
            self.initializer, self.dtype, self.param_dtype, train, counts(self)
        )
        skipping = x  # the input of a block, which is added to its output
        for row in table(x.shape[1:], self.num_classes, self.stem):
            if "_downsample_" in row.name:
                skipping = apply(self, row.layer, skipping, options)
                continue
            if row.name.endswith("_conv1"):
                skipping = x
            elif row.name.endswith("_relu2"):
                x = x + skipping
            x = apply(self, row.layer, x, options)
        return x.astype(jnp.promote_types(x.dtype, jnp.float32))
