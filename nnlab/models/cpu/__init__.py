# SPDX-License-Identifier: Apache-2.0
"""Layers that are fast on CPUs."""
