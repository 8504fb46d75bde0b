# SPDX-License-Identifier: Apache-2.0
"""Targets of a random network lie where its definition says."""

import numpy as np
from folders import splits

from nnlab.data import load


def test_a_teacher_of_one_unit_is_a_relu_of_a_straight_line():
    """Where the unit is on, targets are a linear function, else they are 0."""
    data = load("teacher:1:3")
    assert data.is_regression
    x = np.concatenate([split.inputs for split in splits(data)]).astype(float)
    y = np.concatenate([split.labels for split in splits(data)])[:, 0]
    y = y * data.target_unit + data.target_mean
    on = abs(y) > 1e-5
    assert 0.45 < on.mean() < 0.55
    slopes, *_ = np.linalg.lstsq(x[on], y[on])
    line = x @ slopes
    sign = np.sign(y[on][0])
    np.testing.assert_allclose(y, sign * np.maximum(sign * line, 0), atol=1e-5)


def test_on_a_line_many_units_add_up_to_two_slopes():
    """Each unit is linear on either side of 0."""
    data = load("teacher:50:1")
    x = np.concatenate([split.inputs for split in splits(data)])[:, 0].astype(float)
    y = np.concatenate([split.labels for split in splits(data)])[:, 0]
    y = y * data.target_unit + data.target_mean
    for side in (x > 0.1, x < -0.1):
        slopes = y[side] / x[side]
        np.testing.assert_allclose(slopes, slopes[0], atol=1e-4)
    assert abs(slopes[0]) > 0.01
