# SPDX-License-Identifier: Apache-2.0
"""Groups trials into programs: those that share all static hyperparameters."""

import dataclasses
import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from nnlab.study import (
    TRACED,
    Trial,
    digest_json,
    every_path,
    is_argument,
    is_traced,
)
from nnlab.study.fields import coerced


@dataclasses.dataclass(frozen=True)
class Members:
    """The networks of one compiled program: trials that share static hyperparameters.

    Attributes:
      index: position among the study's programs.
      trials: its trials, in the order of the sweep.
      first_seed: the first of its seeds; above 0 where a study got more seeds later.
      num_seeds: number of seeds.
      whole: trials and seeds of the program that this is a chunk of. They decide the
        shape of its lanes. None if the program was not cut.
    """

    index: int
    trials: tuple[Trial, ...]
    first_seed: int
    num_seeds: int
    whole: tuple[int, int] | None = None

    @property
    def seeds(self) -> range:
        """The seeds of each trial."""
        return range(self.first_seed, self.first_seed + self.num_seeds)

    @property
    def shape(self) -> tuple[int, int]:
        """T and S that decide the shape of the lanes: those of `whole`, or its own."""
        return self.whole or (len(self.trials), self.num_seeds)

    def pairs(self) -> list[tuple[int, int]]:
        """The trial's index and the seed of each network."""
        return [(trial.index, seed) for trial in self.trials for seed in self.seeds]

    def to_dict(self) -> dict[str, Any]:
        """Returns the record for ``config.json``; see `from_dict`."""
        record = {
            "index": self.index,
            "trials": [trial.index for trial in self.trials],
            "first_seed": self.first_seed,
            "num_seeds": self.num_seeds,
        }
        return record | ({"whole": list(self.whole)} if self.whole else {})

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], trials: Sequence[Trial]) -> "Members":
        """Reads a record of `to_dict`; further entries are ignored.

        Raises:
          ValueError: its networks are not among the study's `trials`, or are not of one
            program.
        """
        try:
            index, first_seed, num_seeds = (
                coerced(record[name], int, name)
                for name in ("index", "first_seed", "num_seeds")
            )
            indices, whole = (
                coerced(some, tuple[int, ...], "trials")
                for some in (record["trials"], record.get("whole", ()))
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"the record of a program lacks {error}") from None
        name, known = f"program {index + 1}", {trial.index: trial for trial in trials}
        if strange := [i for i in indices if i not in known]:
            raise ValueError(f"{name} has trial {strange[0]}, which the study has not")
        some = tuple(known[i] for i in indices)
        found = cls(index, some, first_seed, num_seeds, whole or None)
        if index < 0 or len(alike(some)) != 1 or len({*indices}) < len(indices):
            raise ValueError(f"{name} has trials {indices}, which are not one program")
        most = min(trial.num_seeds for trial in some)
        if not 0 <= first_seed < first_seed + num_seeds <= most:
            raise ValueError(
                f"{name} has {num_seeds} seeds from {first_seed} on; its trials have "
                f"{most}"
            )
        if whole and not (
            len(whole) == 2
            and len(indices) <= whole[0] <= len(trials)
            and num_seeds <= whole[1] <= most
        ):
            raise ValueError(f"{name} is no chunk of {whole}")
        return found

    def traced(self) -> dict[str, np.ndarray]:
        """Returns ``{name: float32 (T,)}`` of the hyperparameters that are arguments.

        The name is the last part of its path; of one that is not declared, the path.
        """
        flats = [trial.hyperparameters.flat() for trial in self.trials]
        columns = {path: [flat[path] for flat in flats] for path in every_path(flats)}
        return {
            path.rpartition(".")[2] if path in TRACED else path: np.array(of, "f4")
            for path, of in columns.items()
            if is_argument(path, of)
        }


def by_program(trials: Sequence[Trial], num_seeds: int) -> tuple[Members, ...]:
    """Groups trials by their static hyperparameters, in the order of the sweep.

    Further seeds that only some trials have become a program of their own.
    """
    found: list[Members] = []
    for group in alike(trials):
        first = 0
        for end in sorted({min(t.num_seeds, num_seeds) for t in group}):
            some = tuple(t for t in group if t.num_seeds >= end)
            found.append(Members(len(found), some, first, end - first))
            first = end
    return tuple(found)


def lacking(
    trials: Sequence[Trial], programs: Iterable[Members]
) -> dict[int, list[range]]:
    """Returns the ranges of seeds that no program has, by index of the trial.

    Raises:
      ValueError: two programs share an index or a network.
    """
    taken: dict[int, list[range]] = {trial.index: [] for trial in trials}
    indices = set()
    for members in programs:
        if members.index in indices:
            raise ValueError(f"two programs are number {members.index + 1}")
        indices.add(members.index)
        for trial in members.trials:
            taken[trial.index].append(members.seeds)
    found: dict[int, list[range]] = {}
    for trial in trials:
        first, found[trial.index] = 0, []
        end = range(trial.num_seeds, trial.num_seeds)
        for seeds in (*sorted(taken[trial.index], key=lambda s: s.start), end):
            if seeds.start < first:
                raise ValueError(
                    f"two programs have trial {trial.index} with seed {seeds.start}"
                )
            if seeds.start > first:
                found[trial.index].append(range(first, seeds.start))
            first = seeds.stop
    return found


def numbered(
    programs: Iterable[Members], taken: Collection[int]
) -> tuple[Members, ...]:
    """Gives the programs the lowest indices that are not taken."""
    free = (index for index in itertools.count() if index not in taken)
    return tuple(
        dataclasses.replace(members, index=index)
        for index, members in zip(free, programs)
    )


def alike(trials: Sequence[Trial]) -> list[tuple[Trial, ...]]:
    """Groups trials that share all static hyperparameters, in order."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        flat = trial.hyperparameters.flat()
        # Which undeclared ones are traced is part of the program.
        static = {p: None if is_traced(p, v) else (v,) for p, v in flat.items()}
        groups.setdefault(digest_json(static), []).append(trial)
    return [tuple(group) for group in groups.values()]
