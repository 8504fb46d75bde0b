# SPDX-License-Identifier: Apache-2.0
"""Cuts cohorts into chunks of members, which may be trained apart; no JAX.

A chunk is a cohort: some of the trials with some of the seeds. How it is cut depends on
the study and on what is asked for only, so that any scheduler cuts it the same.
"""

import dataclasses

from nnlab.study import digest_json
from nnlab.study.cohorts import Cohort


def cut(cohort: Cohort, most: int, row: int = 1, rows: int = 1) -> tuple[Cohort, ...]:
    """Cuts a cohort by seeds, and by trials where one seed has too many.

    Only whole lanes are cut off: one that two chunks shared would be trained twice.

    Args:
      cohort: of T trials and S seeds.
      most: members of a chunk; a chunk has no less than a lane.
      row: trials in a row of a lane.
      rows: rows of a lane, which are of different seeds.

    Returns:
      Chunks, all under the cohort's index: seeds vary fastest. Only the cohort itself
      if it is small enough.
    """
    trials = len(cohort.trials)
    if trials > most:
        trials = min(trials, max(row, most // row * row))
    seeds = max(rows, most // trials // rows * rows)
    if trials == len(cohort.trials) and seeds >= cohort.num_seeds:
        return (cohort,)
    end = cohort.first_seed + cohort.num_seeds
    return tuple(
        dataclasses.replace(
            cohort,
            trials=cohort.trials[first : first + trials],
            first_seed=seed,
            num_seeds=min(seeds, end - seed),
            whole=cohort.shape,
        )
        for first in range(0, len(cohort.trials), trials)
        for seed in range(cohort.first_seed, end, seeds)
    )


def identity(cohort: Cohort) -> str:
    """A name that says what is trained: a digest of its trials' settings and seeds."""
    trials = [trial.id for trial in cohort.trials]
    return digest_json([trials, list(cohort.seeds)])[:12]
