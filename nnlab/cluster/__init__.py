# SPDX-License-Identifier: Apache-2.0
"""Other machines: Ray, chunks of a program, shared storage."""
