# SPDX-License-Identifier: Apache-2.0
"""Checks gradients, and predicts what a study would take at other sizes."""
