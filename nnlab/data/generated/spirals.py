# SPDX-License-Identifier: Apache-2.0
"""Spirals that wind about each other in the plane: which one is a point on?"""

import zlib

import numpy as np

from nnlab.data.dataset import Dataset

_KEY = zlib.crc32(b"spirals")
_POINTS = 3_000


def spirals(classes: int = 2, turns: float = 1.5, noise: float = 0.03) -> Dataset:
    """Makes 3,000 points of spirals with `classes` arms, float32 (N, 2).

    Arm k has the points r (cos t, sin t) with t = 2 pi (turns r + k / classes) and r
    uniform in [0, 1). Both coordinates have Gaussian noise, standard deviation `noise`.
    """
    if not 2 <= classes <= 100:
        raise ValueError(f"CLASSES={classes} is out of range; allowed: 2 to 100")
    if not (0 <= turns <= 100 and 0 <= noise <= 100):
        raise ValueError(f"TURNS={turns:g} and NOISE={noise:g} must be from 0 to 100")
    draws = np.random.default_rng(_KEY)
    radius, labels = draws.random(_POINTS), np.arange(_POINTS) % classes
    angle = 2 * np.pi * (turns * radius + labels / classes)
    points = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points += noise * draws.standard_normal(points.shape)
    names = [f"arm {arm}" for arm in range(1, classes + 1)]
    return Dataset.from_arrays(points, labels, class_names=names)
