# SPDX-License-Identifier: Apache-2.0
"""Draws a training, a validation and a test set for every seed, from one pool."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nnlab.data import splits
from nnlab.data.dataset import Dataset, Split, read_only


@dataclasses.dataclass(frozen=True, eq=False)
class Drawing:
    """How every seed draws examples of its own from the same pool.

    Attributes:
      pool: all examples that are drawn from; read-only.
      sizes: examples of each part that is drawn, "train", "validation" and perhaps
        "test": as many as there are in the data set's own split.
      root_seed: the root of every random key.
      train_size: training examples that are used; 0 for all.
      eval_size: most examples of each other part that are used; 0 for all.
    """

    pool: Split
    sizes: Mapping[str, int]
    class_names: Sequence[str]
    root_seed: int
    train_size: int = 0
    eval_size: int = 0
    _known: dict[int, dict[str, np.ndarray]] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(
        cls, dataset: Dataset, parts: Sequence[str], root_seed: int, eval_size: int = 0
    ) -> "Drawing":
        """Returns the drawing of a data set's `parts`; what else it has stays fixed."""
        drawn = {name: getattr(dataset, name) for name in parts}
        inputs, labels = (
            read_only(np.concatenate([getattr(part, field) for part in drawn.values()]))
            for field in ("inputs", "labels")
        )
        sizes = {name: part.size for name, part in drawn.items()}
        pool = Split(inputs, labels)
        return cls(pool, sizes, dataset.class_names, root_seed, eval_size=eval_size)

    @property
    def shared(self) -> tuple[str, ...]:
        """The parts that are not drawn: all seeds have the same."""
        every = ("train", "validation", "test")
        return tuple(name for name in every if name not in self.sizes)

    def limit(self, train_size: int) -> "Drawing":
        """Returns the drawing with so many training examples; 0 keeps all.

        They are stratified, too. The other parts stay as they are.
        """
        return dataclasses.replace(self, train_size=train_size, _known={})

    def indices(self, seed: int) -> dict[str, np.ndarray]:
        """Returns where in the pool a seed's parts are, int32, in random order.

        They depend on the data set, `root_seed` and `seed` alone.
        """
        if seed not in self._known:
            sizes = {**self.sizes, "train": self.train_size or self.sizes["train"]}
            parts = splits.drawn(
                self.pool.labels, sizes, self.class_names, self.root_seed, seed
            )
            most = self.eval_size or None
            self._known[seed] = {
                name: at if name == "train" else at[:most] for name, at in parts.items()
            }
        return self._known[seed]

    def stacked(self, part: str, seeds: Sequence[int]) -> np.ndarray:
        """Returns `indices` of one part for several seeds, int32 (S, N)."""
        return np.stack([self.indices(seed)[part] for seed in seeds])

    def dataset(
        self, dataset: Dataset, seed: int, pool: Split | None = None
    ) -> Dataset:
        """Returns a data set as a seed has it; parts that are not drawn stay.

        `pool` is what was made of the examples, in the order of the pool; None for the
        pool itself.
        """
        x, y = vars(pool or self.pool).values()
        drawn: dict[str, Any] = {
            name: Split(read_only(x[at]), read_only(y[at]))
            for name, at in self.indices(seed).items()
        }
        return dataclasses.replace(dataset, **drawn)
