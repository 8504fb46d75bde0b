# SPDX-License-Identifier: Apache-2.0
"""Clouds of points about random centres: which cloud is a point of?"""

import zlib

import numpy as np

from nnlab.data.dataset import Dataset

_KEY = zlib.crc32(b"gaussian_mixture")
_POINTS = 6_000


def gaussian_mixture(
    classes: int = 10, dimensions: int = 20, separation: float = 3.0
) -> Dataset:
    """Makes 6,000 points of a mixture of Gaussians, float32 (N, dimensions).

    The centre of each class lies at distance `separation` from 0, in a direction drawn
    uniformly; about it, each coordinate has variance 1. Classes are equally frequent.
    The best answer is the class of the nearest centre.
    """
    if not 2 <= classes <= 1_000:
        raise ValueError(f"CLASSES={classes} is out of range; allowed: 2 to 1,000")
    if not 1 <= dimensions <= 10_000:
        raise ValueError(
            f"DIMENSIONS={dimensions} is out of range; allowed: 1 to 10,000"
        )
    if not 0 <= separation <= 1_000:
        raise ValueError(f"SEPARATION={separation:g} must be from 0 to 1,000")
    draws = np.random.default_rng(_KEY)
    centres = draws.standard_normal((classes, dimensions))
    centres *= separation / np.linalg.norm(centres, axis=1, keepdims=True)
    labels = np.arange(_POINTS) % classes
    points = centres[labels] + draws.standard_normal((_POINTS, dimensions))
    names = tuple(map(str, range(classes)))
    return Dataset.from_arrays(points, labels, class_names=names)
