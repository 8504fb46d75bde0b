# SPDX-License-Identifier: Apache-2.0
"""Says by its exit status whether claims hold; see `nnlab.commands.check`."""

from nnlab.commands import programs

if __name__ == "__main__":
    programs.run("check")
