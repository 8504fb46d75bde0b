# SPDX-License-Identifier: Apache-2.0
"""Trains a study; see `nnlab.commands.train`."""

from nnlab.commands import config, train

if __name__ == "__main__":
    train.define_flags()
    config.run(train.main)
