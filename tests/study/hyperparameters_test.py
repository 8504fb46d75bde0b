# SPDX-License-Identifier: Apache-2.0
"""Hyperparameters that no dataclass declares: those of an optimizer, say."""

import numpy as np
import pytest

from nnlab import study
from nnlab.study import Hyperparameters, Study
from nnlab.study.members import by_program

LION = {"optimizer.name": "adam", "optimizer.b1": 0.9}


def test_undeclared_ones_have_paths_and_survive_json():
    rates = {"model.scale_of.dense_0": 2, "optimizer.rate_of.dense_0": 0.5}
    base = Hyperparameters().replace(LION | rates | {"module.width": 8})
    made = Study(base=base)
    assert Study.from_dict(made.to_dict()) == made
    assert made.to_dict()["optimizer"]["b1"] == 0.9
    assert base.flat()["optimizer.b1"] == 0.9
    assert base.flat()["model.scale_of.dense_0"] == 2.0
    assert base.flat()["optimizer.b2"] is None  # may be set, and is not


def test_unused_ones_leave_no_trace():
    text = str(Study().to_dict())
    assert not any(name in text for name in ("further", "rate_of", "module", "factors"))


def test_numbers_with_a_decimal_point_are_traced_and_others_make_programs():
    items = [LION | {"optimizer.b1": b1} for b1 in (0.9, 0.95)]
    items += [LION | {"optimizer.rank": 8, "optimizer.b1": 0.99}, {}]
    made = Study(sweep=tuple(items), num_seeds=1)
    programs = by_program(made.trials(), 1)
    assert [len(program.trials) for program in programs] == [2, 1, 1]
    np.testing.assert_allclose(programs[0].traced()["optimizer.b1"], [0.9, 0.95])
    assert "optimizer.b1" not in programs[2].traced()
    assert "optimizer.b1" in made.swept()


@pytest.mark.parametrize(
    "path", ["model.b1", "optimizer.b 1", "optimizer.rate_of", "rate_of.dense_0", "x"]
)
def test_other_paths_are_refused(path):
    assert not study.is_path(path)
    with pytest.raises(ValueError, match="unknown field"):
        Hyperparameters().replace({path: 1.0})


@pytest.mark.parametrize("value", [-1, float("nan"), "fast", None])
def test_factors_of_layers_are_numbers_of_at_least_0(value):
    with pytest.raises(ValueError, match=r"rate_of\.dense_0"):
        Hyperparameters().replace({"optimizer.rate_of.dense_0": value})
