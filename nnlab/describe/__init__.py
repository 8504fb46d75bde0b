# SPDX-License-Identifier: Apache-2.0
"""What would run: a check of the gradients, and predictions for other sizes."""
