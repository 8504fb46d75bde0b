# SPDX-License-Identifier: Apache-2.0
"""Measures training against the alternatives; see `nnlab.commands.bench.bench`."""
