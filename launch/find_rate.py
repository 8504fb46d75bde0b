# SPDX-License-Identifier: Apache-2.0
"""Finds the learning rates that train; see `nnlab.commands.find_rate`."""

from nnlab.commands import programs

if __name__ == "__main__":
    programs.run("find-rate")
