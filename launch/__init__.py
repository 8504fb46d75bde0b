# SPDX-License-Identifier: Apache-2.0
"""Command-line programs: train, report, check, describe, find_rate, bench."""

import sys

try:
    import nnlab.commands  # noqa: F401 (it checks what a program needs)
except ImportError as error:
    if error.name != "nnlab":  # what is missing is a library, not part of the system
        raise
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)
