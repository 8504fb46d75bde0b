# SPDX-License-Identifier: Apache-2.0
"""Models: lists of layers, and the Flax Linen modules made from them.

`layers` describes and checks a stack without JAX, `resnet_layers` a ResNet-18. The
other modules need JAX; reading a study or drawing a report does not import them.
"""
