# SPDX-License-Identifier: Apache-2.0
"""Figures of a run's results: `catalog` has each as a `Part`, by its name.

A function that makes a figure takes `Findings`, computes no statistic itself, and
returns a `Sketch`: what is drawn, its caption, and its alternative text. It uses no
pyplot, hence no global state; and no JAX.
"""
