# SPDX-License-Identifier: Apache-2.0
"""Means, intervals and verdicts from a run's stored tables; NumPy and SciPy, no JAX.

`intervals` and `effects` take plain arrays, `members` reads the results of a trial.
"""
