# SPDX-License-Identifier: Apache-2.0
"""Draws the report of a run again; see `nnlab.commands.report`."""

from nnlab.commands import programs

if __name__ == "__main__":
    programs.run("report")
