# SPDX-License-Identifier: Apache-2.0
"""Shows a run while it trains: terminal, notebook, TensorBoard."""

from nnlab.watch import notebook as notebook
