# SPDX-License-Identifier: Apache-2.0
"""Datasets as NumPy arrays in one canonical order, from any source."""

from nnlab.data.dataset import Dataset, Split
from nnlab.data.sources import load, num_training

__all__ = ["Dataset", "Split", "load", "num_training"]
