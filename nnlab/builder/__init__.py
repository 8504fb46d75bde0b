# SPDX-License-Identifier: Apache-2.0
"""The model builder of the notebook."""

from nnlab.builder.training import Settings
from nnlab.builder.widgets import ModelBuilder

__all__ = ["ModelBuilder", "Settings"]
