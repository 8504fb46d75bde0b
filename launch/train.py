# SPDX-License-Identifier: Apache-2.0
"""Trains a study; see `nnlab.commands.train`."""

from nnlab.commands import programs

if __name__ == "__main__":
    programs.run("train")
