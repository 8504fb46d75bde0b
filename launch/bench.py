# SPDX-License-Identifier: Apache-2.0
"""Measures training against the alternatives; see `nnlab.commands.bench.bench`."""

from nnlab.commands import config
from nnlab.commands.bench import bench

if __name__ == "__main__":
    bench.define_flags()
    config.run(bench.main)
