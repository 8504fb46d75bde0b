# SPDX-License-Identifier: Apache-2.0
"""Several machines: Ray, chunks of a program, shared storage."""
