# SPDX-License-Identifier: Apache-2.0
"""The programs: flags, help, messages; the one room that knows absl."""

from nnlab.commands import surroundings

surroundings.check()
