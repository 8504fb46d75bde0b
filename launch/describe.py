# SPDX-License-Identifier: Apache-2.0
"""Describes what would run; see `nnlab.commands.describe`."""

from nnlab.commands import config, describe

if __name__ == "__main__":
    describe.define_flags()
    config.run(describe.main)
