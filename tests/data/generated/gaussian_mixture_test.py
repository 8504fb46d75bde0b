# SPDX-License-Identifier: Apache-2.0
"""Clouds of variance 1 whose centres have the distance that is asked for."""

import math

import numpy as np
from folders import splits

from nnlab.data import load


def test_clouds_have_their_distance_from_0_and_variance_1():
    data = load("gaussian_mixture:4:5:10")
    points = np.concatenate([s.inputs for s in splits(data)]).astype(float)
    labels = np.concatenate([s.labels for s in splits(data)])
    assert np.bincount(labels).tolist() == [1500] * 4
    for label in range(4):
        cloud = points[labels == label]
        # The mean of 1,500 points is off by 1/sqrt(1500) = 0.026 along any direction.
        np.testing.assert_allclose(np.linalg.norm(cloud.mean(axis=0)), 10, atol=0.1)
        np.testing.assert_allclose(np.cov(cloud.T), np.eye(5), atol=0.15)


def test_the_nearest_centre_is_right_as_often_as_theory_says():
    """Of two classes: Phi(distance of the centres / 2)."""
    data = load("gaussian_mixture:2:3:1.5")
    points = np.concatenate([s.inputs for s in splits(data)]).astype(float)
    labels = np.concatenate([s.labels for s in splits(data)])
    centres = np.stack([points[labels == label].mean(axis=0) for label in (0, 1)])
    distances = np.linalg.norm(points[:, None] - centres, axis=2)
    apart = np.linalg.norm(centres[0] - centres[1])
    theory = 0.5 * (1 + math.erf(apart / 2 / math.sqrt(2)))
    assert abs((distances.argmin(axis=1) == labels).mean() - theory) < 0.015
