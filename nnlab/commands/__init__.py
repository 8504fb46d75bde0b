# SPDX-License-Identifier: Apache-2.0
"""The programs: flags, help and messages; the only room that uses absl."""

from nnlab.commands import surroundings

surroundings.check()
