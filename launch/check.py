# SPDX-License-Identifier: Apache-2.0
"""Says by its exit status whether claims hold; see `nnlab.commands.check`."""

from nnlab.commands import check, config

if __name__ == "__main__":
    check.define_flags()
    config.run(check.main)
