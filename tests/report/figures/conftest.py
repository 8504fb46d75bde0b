# SPDX-License-Identifier: Apache-2.0
"""Gives figures of tests the look of a report's."""

import pytest

from nnlab.report.figures.drawing import style


@pytest.fixture(autouse=True)
def _style():
    with style.context():
        yield
