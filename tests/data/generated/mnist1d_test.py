# SPDX-License-Identifier: Apache-2.0
"""MNIST-1D equals the published data, of which some numbers stand here."""

import numpy as np
import pytest
from folders import splits

from nnlab.data import load

# Of the published training and test set: examples of each digit; of the first example
# its label, first and last values; sums over all examples of every 13th value.
TRAIN = (
    [398, 396, 411, 394, 394, 402, 401, 404, 402, 398],
    2,
    [-0.3320057, -0.4719104, -0.7786971, -1.0097408, -0.8823526],
    [-0.7167305, -0.9619583, -0.8901664],
    [87.3849, -71.0086, -45.3956, 154.2098],
)
TEST = (
    [102, 104, 89, 106, 106, 98, 99, 96, 98, 102],
    2,
    [-0.0787708, -0.2107317, -0.0917514, 0.2826711, 0.3260582],
    [1.1341626, 0.8463298, 0.3461329],
    [62.3248, 2.7905, 36.767, 33.0617],
)


@pytest.mark.parametrize("published", [TRAIN, TEST])
def test_it_is_the_published_data(published):
    train, validation, test = splits(load("mnist1d"))
    found = (test,) if published is TEST else (train, validation)
    inputs = np.concatenate([split.inputs for split in found])
    labels = np.concatenate([split.labels for split in found])
    counts, label, begins, ends, sums = published
    assert np.bincount(labels).tolist() == counts
    first = np.abs(inputs[:, :5] - begins).sum(axis=1).argmin()
    assert labels[first] == label
    np.testing.assert_allclose(inputs[first, :5], begins, atol=1e-6)
    np.testing.assert_allclose(inputs[first, -3:], ends, atol=1e-6)
    np.testing.assert_allclose(inputs.sum(axis=0, dtype=float)[::13], sums, atol=1e-3)
