# SPDX-License-Identifier: Apache-2.0
"""Door for config files of your own that import from here."""

from nnlab.commands.config import default, load
from nnlab.study import choose

__all__ = ["choose", "default", "load"]
