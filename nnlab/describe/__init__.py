# SPDX-License-Identifier: Apache-2.0
"""What would run: gradients by layer, and networks by the million."""
