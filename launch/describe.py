# SPDX-License-Identifier: Apache-2.0
"""Describes what would run; see `nnlab.commands.describe`."""

from nnlab.commands import programs

if __name__ == "__main__":
    programs.run("describe")
