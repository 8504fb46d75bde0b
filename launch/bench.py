# SPDX-License-Identifier: Apache-2.0
"""Measures training against the alternatives; see `nnlab.commands.bench.bench`."""

from nnlab.commands import programs

if __name__ == "__main__":
    programs.run("bench")
