# SPDX-License-Identifier: Apache-2.0
"""Answers made up for tests: trials that are equal on the population of examples."""

import dataclasses

import numpy as np
from scipy import special


@dataclasses.dataclass(frozen=True)
class World:
    """Where networks are right on an example if a latent score is above a bound.

    The score is the sum of normal parts: how easy an example is (deviation 1), how well
    it suits the trial (`suits`), how able the network is (`ability`) and the network's
    luck with the example (`luck`). So all trials have one accuracy on the population,
    however they differ on the examples of one test set.

    Attributes:
      seeds, examples: their numbers.
      accuracies: of each trial, on the population.
    """

    seeds: int
    examples: int
    accuracies: tuple[float, ...] = (0.95, 0.95)
    suits: float = 0.5
    ability: float = 0.3
    luck: float = 0.7

    def name(self):
        parts = self.suits, self.ability, self.luck
        size = f"{len(self.accuracies)} x {self.seeds} x {self.examples}"
        return f"{size} {self.accuracies[0]:g} {parts}"

    def draw(self, rng, examples=0):
        """Returns which networks are right, bool (T, S, N)."""
        trials, size = len(self.accuracies), examples or self.examples
        scale = np.sqrt(1 + self.suits**2 + self.ability**2 + self.luck**2)
        score = np.reshape(special.ndtri(self.accuracies) * scale, (-1, 1, 1))
        score = score + rng.normal(size=size)
        score = score + self.suits * rng.normal(size=(trials, 1, size))
        score = score + self.ability * rng.normal(size=(trials, self.seeds, 1))
        return score + self.luck * rng.normal(size=(*score.shape[:2], size)) > 0


def split_differences(rng, seeds, size, ratio, edge=0.0):
    """Returns by how much one learner is right more often than another, (S,).

    Seeds draw training and test examples from one pool, so many of each as `ratio` test
    to training examples allow. The learners, of nearest means, see 5 features each,
    which tell two classes by 0.5 deviations, those of the first by `edge` more.
    """
    cut = round(size / (1 + ratio))
    labels = rng.integers(0, 2, size) * 2 - 1
    signal = np.repeat([0.5 + edge, 0.5], 5)
    features = signal * labels[:, None] + rng.normal(size=(size, 10))
    d = np.empty(seeds)
    for seed in range(seeds):
        order = rng.permutation(size)
        train, test = order[:cut], order[cut:]
        slope = labels[train] @ features[train]
        products = features[test] * slope * labels[test, None]
        left, right = (products[:, f].sum(axis=1) > 0 for f in (slice(5), slice(5, 10)))
        d[seed] = left.mean() - right.mean()
    return d
