# SPDX-License-Identifier: Apache-2.0
"""Cuts programs into chunks of members, which can train separately; no JAX.

A chunk is a program: some of the trials with some of the seeds. The cut depends only on
the study and the options, so every scheduler makes the same one.
"""

import dataclasses

from nnlab.study.members import Members


def cut(
    members: Members, most: int, row: int = 1, rows: int = 1
) -> tuple[Members, ...]:
    """Cuts a program by seeds, and also by trials if one seed has too many.

    It never splits a lane, because two chunks would then both train it.

    Args:
      members: the program's.
      most: most members of a chunk; a chunk has at least one lane.
      row: trials in a row of a lane.
      rows: rows of a lane, each of another seed.

    Returns:
      Chunks under the program's index; seeds vary fastest.
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
