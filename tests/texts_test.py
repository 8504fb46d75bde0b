# SPDX-License-Identifier: Apache-2.0
"""Numbers as text show the digits that their intervals support."""

import pytest

from nnlab import texts


@pytest.mark.parametrize(
    ("mean", "high", "text"),
    [
        (0.97531, 0.97651, "97.53 ± 0.12"),
        (0.97531, 0.97571, "97.53 ± 0.04"),
        (0.97531, 0.98, "97.5 ± 0.5"),
        (0.6, 0.82, "60 ± 22"),
        (-0.0051, -0.0031, "−0.5 ± 0.2"),  # noqa: RUF001
        (0.97531, None, "97.5"),
        (None, None, "–"),  # noqa: RUF001
        (-1e-9, 0.001, "0.00 ± 0.10"),
        (0.952778, 0.952778 + 1e-16, "95.3 ± 0.0"),
    ],
)
def test_digits_are_those_that_the_interval_supports(mean, high, text):
    assert texts.mean_text(mean, high) == text
