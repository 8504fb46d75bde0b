# SPDX-License-Identifier: Apache-2.0
"""What makes layers fast on CPUs."""
