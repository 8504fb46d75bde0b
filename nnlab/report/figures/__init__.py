# SPDX-License-Identifier: Apache-2.0
"""Figures of a study's results; every function that draws takes an Axes and returns it.

No pyplot, hence no global state; and no JAX. `panels` makes the figures of a report.
"""
