# SPDX-License-Identifier: Apache-2.0
"""How figures are drawn: scales, labels, curves, points, style."""
