# SPDX-License-Identifier: Apache-2.0
"""This machine: devices, processes, signals, files."""
