# SPDX-License-Identifier: Apache-2.0
"""Finds the learning rates that train; see `nnlab.commands.find_rate`."""

from nnlab.commands import config, find_rate

if __name__ == "__main__":
    find_rate.define_flags()
    config.run(find_rate.main)
