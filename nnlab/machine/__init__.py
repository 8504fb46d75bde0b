# SPDX-License-Identifier: Apache-2.0
"""What this machine is and has: devices, processes, signals, files."""
