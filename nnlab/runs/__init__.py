# SPDX-License-Identifier: Apache-2.0
"""How a run goes: the loop, its record, checkpoints, resuming, searching."""
