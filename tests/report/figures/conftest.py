# SPDX-License-Identifier: Apache-2.0
"""Figures of tests look as those of a report do."""

import pytest

from nnlab.report.figures.drawing import style


@pytest.fixture(autouse=True)
def _style():
    with style.context():
        yield
