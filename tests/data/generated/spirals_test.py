# SPDX-License-Identifier: Apache-2.0
"""Points of spirals lie where their definition says."""

import numpy as np
from folders import splits

from nnlab.data import load


def all_of(name):
    data = load(name)
    return (
        np.concatenate([getattr(split, field) for split in splits(data)])
        for field in ("inputs", "labels")
    )


def test_without_noise_the_angle_follows_the_radius_and_the_arm():
    points, labels = all_of("spirals:3:2:0")
    z = points[:, 0].astype(float) + 1j * points[:, 1]
    straight = z * np.exp(-2j * np.pi * (2 * abs(z) + labels / 3))
    np.testing.assert_allclose(straight, abs(z), atol=1e-5)
    assert np.bincount(labels).tolist() == [1000] * 3
    shares = [0.25, 0.5, 0.75]
    np.testing.assert_allclose(np.quantile(abs(z), shares), shares, atol=0.03)


def test_noise_has_the_standard_deviation_that_is_asked_for():
    """Without turns an arm lies on a line, so noise alone leaves it."""
    points, labels = all_of("spirals:2:0:0.2")
    assert np.bincount(labels).tolist() == [1500] * 2
    assert abs(points[:, 1].std() - 0.2) < 0.01  # four standard errors
