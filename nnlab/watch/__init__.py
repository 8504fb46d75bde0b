# SPDX-License-Identifier: Apache-2.0
"""Shows a run while it trains: terminal, notebook, dashboards."""

from nnlab.watch import notebook as notebook
