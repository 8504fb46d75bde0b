# SPDX-License-Identifier: Apache-2.0
"""From a run's stored tables to means, intervals and verdicts; NumPy and SciPy, no JAX.

`intervals` and `effects` know arrays alone, `members` reads the results of a trial.
"""
