# SPDX-License-Identifier: Apache-2.0
"""What was measured is remembered, per network and machine, and harms nothing."""

import pytest
import tiny

from nnlab import tuning
from nnlab.tuning import Rates


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A cache of each test's own."""
    monkeypatch.setenv("NNLAB_CACHE_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def prepared():
    return tiny.cohort(tiny.study(tiny.rates(0.1, 0.2, 0.3, 0.4)))


def test_what_is_remembered_adds_up(prepared):
    tuning.remember(prepared, {1: Rates(10.0), 2: Rates(20.0)})
    tuning.remember(prepared, {2: Rates(25.0, 5.0, 3.0)})
    assert tuning.recall(prepared) == {1: Rates(10.0), 2: Rates(25.0, 5.0, 3.0)}


@pytest.mark.parametrize(
    "text",
    ["", "[1]", "[" * 100_000, '{"x": {}}', '{"1": 2}', '{"1": {"speed": 2}}', "\xff"]
    + [f'{{"1": {{"examples_per_second": {x}}}}}' for x in ('"x"', "0", "NaN", "null")],
)
def test_a_damaged_file_counts_as_none(prepared, folder, text):
    tuning.remember(prepared, {1: Rates(10.0)})
    (file,) = folder.rglob("*.json")
    file.write_text(text, encoding="latin-1")
    assert tuning.recall(prepared) == {}
    tuning.remember(prepared, {2: Rates(20.0)})
    assert tuning.recall(prepared) == {2: Rates(20.0)}


def test_a_folder_that_cannot_be_made_is_done_without(prepared, folder, monkeypatch):
    (folder / "file").write_text("")
    monkeypatch.setenv("NNLAB_CACHE_DIR", str(folder / "file"))
    tuning.remember(prepared, {1: Rates(10.0)})
    assert tuning.recall(prepared) == {}


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 8},
        {"model.hidden": (9,)},
        {"model.activation": "tanh"},
        {"optimizer.momentum": 0.5},
        {"optimizer.name": "adam"},
        {"early_stopping.patience": 3},
        {"num_seeds": 3},
    ],
    ids=str,
)
def test_what_changes_the_program_is_another_measurement(prepared, changes):
    tuning.remember(prepared, {1: Rates(10.0)})
    sweep = tiny.rates(0.1, 0.2, 0.3, 0.4)
    assert tuning.recall(tiny.cohort(tiny.study(sweep))) == {1: Rates(10.0)}
    assert tuning.recall(tiny.cohort(tiny.study(sweep, **changes))) == {}


def test_traced_values_share_a_measurement(prepared):
    tuning.remember(prepared, {1: Rates(10.0)})
    other = tiny.cohort(tiny.study(tiny.rates(1, 2, 3, 4), num_epochs=9))
    assert tuning.recall(other) == {1: Rates(10.0)}


def test_the_first_plan_wins_unless_another_is_clearly_faster(prepared):
    first, second = prepared.plans[0], prepared.plans[1]
    widths = [plan.lanes.width for plan in (first, second)]

    def chosen(*speeds):
        known = {w: Rates(s) for w, s in zip(widths, speeds) if s}
        return tuning.fastest(prepared.plans, known)

    assert chosen(None, None) == chosen(100.0, 104.0) == chosen(100.0, 50.0) == first
    assert chosen(100.0, 106.0) == chosen(None, 1.0) == second
