# SPDX-License-Identifier: Apache-2.0
"""What every final network said of every validation and test example; no JAX.

`CORRECT` holds whether it was right, a bit for each example, and `LOSSES`, where the
study asks for it, the loss of each, float32. Both are npz archives of `Answers.arrays`:
"known", and for each split its values under its name and their numbers as "<split>_n".
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from nnlab.results import pictures
from nnlab.study.members import Members

CORRECT, LOSSES = "artifacts/correct.npz", "artifacts/losses.npz"

SPLITS = ("validation", "test", "test_moved", "test_rotated")
"""Splits that a network is asked about; the moved and rotated where a study has them.
"""


@dataclasses.dataclass(frozen=True, eq=False)
class Answers:
    """A value for each member and example of some splits.

    Attributes:
      known: which members have them, bool (T, S): those that ended with a network.
      sizes: ``{split: (T,)}``, the examples of each trial's data, int64.
      values: ``{split: (T, S, ...)}``: float32 of the examples; or uint8, with the bit
        of an example in each byte's highest free place. Members that are not known, and
        places after a trial's last example, have 0.
    """

    known: np.ndarray
    sizes: Mapping[str, np.ndarray]
    values: Mapping[str, np.ndarray]

    @classmethod
    def of_program(
        cls,
        each: Mapping[str, np.ndarray],
        sizes: Mapping[str, int],
        known: np.ndarray,
    ) -> "Answers":
        """Stores values of examples, ``{split: (T, S, N or more)}``; bools as bits."""
        return cls(
            known,
            {split: np.full(len(known), sizes[split], np.int64) for split in each},
            {
                split: _stored(values[..., : sizes[split]], known)
                for split, values in each.items()
            },
        )

    def of(self, trial: int, split: str) -> np.ndarray | None:
        """Returns a trial's values, bool or float32 (S, N); None for no such split."""
        if split not in self.values or not self.sizes[split][trial]:
            return None
        values, size = self.values[split][trial], int(self.sizes[split][trial])
        if values.dtype == np.uint8:
            return np.unpackbits(values, axis=-1, count=size).view(bool)
        return values[:, :size]

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns everything as named arrays, for `from_arrays`."""
        sizes = {f"{split}_n": size for split, size in self.sizes.items()}
        return {"known": self.known, **self.values, **sizes}

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, np.ndarray], shape: tuple[int, int]
    ) -> "Answers":
        """Restores what `arrays` returned, for (T, S) members.

        Raises:
          ValueError: an array is missing, or has a wrong type or shape.
        """
        splits = [split for split in SPLITS if split in arrays]
        wanted: dict[str, tuple[type, tuple[int, ...]]] = {"known": (np.bool_, shape)}
        for split in splits:
            sizes = arrays.get(f"{split}_n", np.empty(0))
            packed, most = arrays[split].dtype == np.uint8, int(sizes.max(initial=0))
            wanted[f"{split}_n"] = np.int64, shape[:1]
            wanted[split] = (
                np.uint8 if packed else np.float32,
                (*shape, -(-most // 8) if packed else most),
            )
        for name, (kind, size) in wanted.items():
            if name not in arrays:
                raise ValueError(f"{name} is missing")
            found = arrays[name]
            if found.dtype != kind or found.shape != size:
                raise ValueError(f"{name} is {found.dtype} {found.shape}")
        return cls(
            arrays["known"],
            {split: arrays[f"{split}_n"] for split in splits},
            {split: arrays[split] for split in splits},
        )


def _stored(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    kept = np.where(known[..., None], values, values.dtype.type(0))
    return np.packbits(kept, axis=-1) if kept.dtype == bool else kept.astype(np.float32)


def joined(found: Sequence[tuple[Members, Answers]], shape: tuple[int, int]) -> Answers:
    """Joins the answers of programs, in a study of (T, S) members."""
    known = np.zeros(shape, bool)
    sizes = {n: np.zeros(shape[0], np.int64) for _, one in found for n in one.sizes}
    for members, one in found:
        for split, size in one.sizes.items():
            sizes[split][_trials(members)] = size
    values = {}
    for split in (split for split in SPLITS if split in sizes):
        some = [(m, one.values[split]) for m, one in found if split in one.values]
        width = max(of.shape[-1] for _, of in some)
        values[split] = np.zeros((*shape, width), some[0][1].dtype)
        for members, of in some:
            at = np.ix_(_trials(members), members.seeds, range(of.shape[-1]))
            values[split][at] = of
    for members, one in found:
        known[np.ix_(_trials(members), members.seeds)] = one.known
    return Answers(known, {split: sizes[split] for split in values}, values)


def _trials(members: Members) -> Sequence[int]:
    return [trial.index for trial in members.trials]


def load(path: pathlib.Path, shape: tuple[int, int]) -> Answers | None:
    """Reads a workdir's file, for (T, S) members; returns None if there is none.

    A damaged one is refused (ValueError), see `Answers.from_arrays`.
    """
    arrays = pictures.read(path)
    if arrays is None:
        return None
    try:
        return Answers.from_arrays(arrays, shape)
    except ValueError as error:
        raise ValueError(f"{str(path)!r} is damaged: {error}") from None
