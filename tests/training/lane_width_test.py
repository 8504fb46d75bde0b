# SPDX-License-Identifier: Apache-2.0
"""Measured lane widths are kept for each network and machine, and do no harm."""

import dataclasses
from typing import Any

import flax.linen as nn
import numpy as np
import pytest
import tiny

from nnlab.data import Dataset
from nnlab.training import lane_width
from nnlab.training.lane_width import Rates
from nnlab.training.prepare import prepare


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Gives each test its own cache."""
    monkeypatch.setenv("NNLAB_CACHE_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def prepared():
    return tiny.program(tiny.study(tiny.rates(0.1, 0.2, 0.3, 0.4)))


def test_what_is_remembered_adds_up(prepared):
    lane_width.remember(prepared, {1: Rates(10.0), 2: Rates(20.0)})
    lane_width.remember(prepared, {2: Rates(25.0, 5.0, 3.0)})
    assert lane_width.recall(prepared) == {1: Rates(10.0), 2: Rates(25.0, 5.0, 3.0)}


@pytest.mark.parametrize(
    "text",
    ["", "[1]", "[" * 100_000, '{"x": {}}', '{"1": 2}', '{"1": {"speed": 2}}', "\xff"]
    + [f'{{"1": {{"examples_per_second": {x}}}}}' for x in ('"x"', "0", "NaN", "null")],
)
def test_a_damaged_file_counts_as_none(prepared, folder, text):
    lane_width.remember(prepared, {1: Rates(10.0)})
    (file,) = folder.rglob("*.json")
    file.write_text(text, encoding="latin-1")
    assert lane_width.recall(prepared) == {}
    lane_width.remember(prepared, {2: Rates(20.0)})
    assert lane_width.recall(prepared) == {2: Rates(20.0)}


def test_a_folder_that_cannot_be_made_is_done_without(prepared, folder, monkeypatch):
    (folder / "file").write_text("")
    monkeypatch.setenv("NNLAB_CACHE_DIR", str(folder / "file"))
    lane_width.remember(prepared, {1: Rates(10.0)})
    assert lane_width.recall(prepared) == {}


RATES = tiny.rates(0.1, 0.2, 0.3, 0.4)


class Mine(nn.Module):
    """A module whose name and attributes do not identify its code.

    Attributes:
      fields: what is behind its one layer.
    """

    fields: dict[str, Any]

    @nn.compact
    def __call__(self, x, train):
        return self.fields["behind"](nn.Dense(3)(x))

    def __repr__(self):
        return "Mine()"


def of(changes):
    """Prepares the program of a study with changes, each by its path or keyword."""
    own = {n: changes.pop(n) for n in ("module", "own_metrics") if n in changes}
    fields = {n: changes.pop(n) for n in ("figures", "question") if n in changes}
    made = tiny.study(changes.pop("sweep", RATES), **changes)
    made = dataclasses.replace(made, **fields)
    (found,) = prepare(made, dataset=tiny.dataset(), **own)
    return found


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 8},
        {"train_size": 100},
        {"model.activation": "tanh"},
        {"model.dropout_rate": 0.1},
        {"optimizer.momentum": 0.5},
        {"optimizer.name": "adam"},
        {"schedule.name": "cosine"},
        {"early_stopping.patience": 3},
        {"dtype": "bfloat16"},
        {"num_seeds": 3},
        {"figures": ("gradients",)},
        {"figures": ("active_units",)},
        {"own_metrics": {"top": lambda logits, labels: logits.max(axis=-1)}},
        {"module": Mine({"behind": nn.relu})},
    ],
    ids=",".join,
)
def test_what_changes_the_program_is_another_measurement(prepared, changes):
    lane_width.remember(prepared, {1: Rates(10.0)})
    assert lane_width.recall(of(dict(changes))) == {}


def test_a_module_is_known_by_its_program():
    lane_width.remember(of({"module": Mine({"behind": nn.relu})}), {1: Rates(10.0)})
    same, other = (of({"module": Mine({"behind": f})}) for f in (nn.relu, nn.tanh))
    assert lane_width.recall(same) == {1: Rates(10.0)}
    assert lane_width.recall(other) == {}


def test_shifted_images_are_another_measurement():
    rng = np.random.default_rng(0)
    images = Dataset.from_arrays(rng.random((60, 6, 6, 1)), np.arange(60) % 3)
    plain, moved = (
        prepare(tiny.study(RATES, augment_pixels=p), dataset=images)[0] for p in (0, 1)
    )
    lane_width.remember(plain, {1: Rates(10.0)})
    assert lane_width.recall(plain) == {1: Rates(10.0)}
    assert lane_width.recall(moved) == {}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_epochs": 9, "eval_every_epochs": 3.0},
        {"root_seed": 3, "question": "Which?"},
        {"model.init": "he_normal", "model.init_scale": 2.0},
        {"sweep": tiny.rates(1, 2, 3, 4)},
    ],
    ids=str,
)
def test_what_does_not_shares_a_measurement(prepared, changes):
    lane_width.remember(prepared, {1: Rates(10.0)})
    assert lane_width.recall(of(dict(changes))) == {1: Rates(10.0)}


def test_the_first_plan_wins_unless_another_is_clearly_faster(prepared):
    first, second = prepared.plans[0], prepared.plans[1]
    widths = [plan.lanes.width for plan in (first, second)]

    def chosen(*speeds):
        known = {w: Rates(s) for w, s in zip(widths, speeds) if s}
        return lane_width.fastest(prepared.plans, known)

    assert chosen(None, None) == chosen(100.0, 104.0) == chosen(100.0, 50.0) == first
    assert chosen(100.0, 106.0) == chosen(None, 1.0) == second
