# SPDX-License-Identifier: Apache-2.0
"""How networks train: one network, a population of them, and a program ready to run."""
