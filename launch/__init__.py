# SPDX-License-Identifier: Apache-2.0
"""Command-line programs: train, report, describe, bench."""

from launch import surroundings

surroundings.check()
