# SPDX-License-Identifier: Apache-2.0
"""Command-line programs: train, report, describe, find_rate, bench."""
