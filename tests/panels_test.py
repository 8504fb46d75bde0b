# SPDX-License-Identifier: Apache-2.0
"""Which figures a report has, and that none of their panels is empty."""

import re

import numpy as np
import pytest
import synthetic

from nnlab import panels

RATE = "optimizer.learning_rate"
ACTIVATIONS = ("relu", "tanh", "identity", "sigmoid")


def drawn(tmp_path, values, activations, **fields):
    """The figures of a study of activations and rates, and their texts by name."""
    sweep = [
        {"model.activation": a, RATE: r} for a in activations for r in (0.01, 0.1, 1.0)
    ]
    found = synthetic.results(
        values, sweep=sweep, fields=fields, workdir=tmp_path / "run"
    )
    made, absent = panels.draw(found, tmp_path / "figures")
    texts = {
        figure.name: (tmp_path / "figures" / f"{figure.name}.svg").read_text()
        for figure in made
    }
    return texts, absent


def titles(svg):
    return [a for a in ACTIVATIONS if re.search(rf">{a}</text>", svg)]


def test_a_setting_without_a_value_has_no_panel(tmp_path):
    shares = np.full((9, 3, 4), 0.5)
    shares[6:] = np.nan  # linear units are not counted
    values = {"validation_active_share": shares}
    asked = ("active_units", "curves")
    texts, absent = drawn(tmp_path, values, ACTIVATIONS[:3], figures=asked)
    assert not absent
    assert titles(texts["active_units"]) == ["relu", "tanh"]
    assert titles(texts["curves_validation_accuracy"]) == ["relu", "tanh", "identity"]


@pytest.mark.parametrize(("settings", "columns"), [(2, 2), (3, 3), (4, 2)])
def test_panels_stand_in_rows_that_are_full(tmp_path, settings, columns):
    shape = np.full((3 * settings, 3, 4), 0.5)
    values = {"train_loss": shape}
    texts, _ = drawn(tmp_path, values, ACTIVATIONS[:settings], figures=("curves",))
    svg = texts["curves_train_loss"]
    places = re.findall(
        rf'translate\(([\d.]+) ([\d.]+)\)">(?:{"|".join(ACTIVATIONS)})</text>', svg
    ) or re.findall(
        rf'x="([\d.]+)" y="([\d.]+)"[^>]*>(?:{"|".join(ACTIVATIONS)})<', svg
    )
    assert len(places) == settings
    assert len({round(float(x)) for x, _ in places}) == columns


def test_only_the_parts_that_are_asked_for_are_drawn(tmp_path):
    texts, absent = drawn(tmp_path, None, ACTIVATIONS[:2], figures=("final", "noise"))
    assert set(texts) == {"final_test_accuracy"}
    assert set(absent) == {"noise"}
