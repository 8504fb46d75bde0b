# SPDX-License-Identifier: Apache-2.0
"""Cuts programs into chunks of members, which may be trained apart; no JAX.

A chunk is a program: some of the trials with some of the seeds. How it is cut depends
on the study and on what is asked for only, so that any scheduler cuts it the same.
"""

import dataclasses

from nnlab.study import digest_json
from nnlab.study.members import Members


def cut(
    members: Members, most: int, row: int = 1, rows: int = 1
) -> tuple[Members, ...]:
    """Cuts a program by seeds, and by trials where one seed has too many.

    Only whole lanes are cut off: one that two chunks shared would be trained twice.

    Args:
      members: of T trials and S seeds.
      most: members of a chunk; a chunk has no less than a lane.
      row: trials in a row of a lane.
      rows: rows of a lane, which are of different seeds.

    Returns:
      Chunks, all under the program's index: seeds vary fastest. Only the program itself
      if it is small enough.
    """
    trials = len(members.trials)
    if trials > most:
        trials = min(trials, max(row, most // row * row))
    seeds = max(rows, most // trials // rows * rows)
    if trials == len(members.trials) and seeds >= members.num_seeds:
        return (members,)
    end = members.first_seed + members.num_seeds
    return tuple(
        dataclasses.replace(
            members,
            trials=members.trials[first : first + trials],
            first_seed=seed,
            num_seeds=min(seeds, end - seed),
            whole=members.shape,
        )
        for first in range(0, len(members.trials), trials)
        for seed in range(members.first_seed, end, seeds)
    )


def identity(members: Members) -> str:
    """A name that says what is trained: a digest of its trials' settings and seeds."""
    trials = [trial.id for trial in members.trials]
    return digest_json([trials, list(members.seeds)])[:12]
