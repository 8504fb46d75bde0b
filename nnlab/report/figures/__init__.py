# SPDX-License-Identifier: Apache-2.0
"""Figures of a run's results: `catalog` has each as a `Part`, by its name.

A function that makes a figure takes `Findings`, computes no statistic itself, and
returns a `Sketch`. It uses no JAX and no pyplot, hence no global state.
"""
