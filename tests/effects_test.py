# SPDX-License-Identifier: Apache-2.0
"""Holm's adjustment keeps the order of the tests."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as some

from nnlab.statistics import effects


def test_holm_by_hand():
    adjusted = effects.holm([0.01, 0.04, np.nan, 0.03, 0.5])
    np.testing.assert_allclose(adjusted, [0.04, 0.09, np.nan, 0.09, 0.5], rtol=1e-12)


@given(some.lists(some.floats(0.0, 1.0), max_size=12), some.randoms())
def test_holm_keeps_order_and_does_not_depend_on_it(p, random):
    adjusted = effects.holm(p)
    assert np.all(adjusted >= p)
    assert np.all(adjusted <= 1.0)
    assert np.all(np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0.0)
    order = random.sample(range(len(p)), len(p))
    np.testing.assert_array_equal(effects.holm(np.take(p, order)), adjusted[order])
