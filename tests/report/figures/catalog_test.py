# SPDX-License-Identifier: Apache-2.0
"""Which figures a report has; none of their panels is empty."""

import re

import numpy as np
import pytest
import synthetic

from nnlab import study
from nnlab.report.figures import catalog
from nnlab.results import pictures
from nnlab.statistics.findings import Findings

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
    made, absent = catalog.draw(Findings(found), tmp_path / "figures")
    texts = {
        figure.name: (tmp_path / "figures" / f"{figure.name}.svg").read_text()
        for figure in made
    }
    return texts, absent


def made(tmp_path, sweep, parts, values=None, **options):
    """Returns a study's figures by name, and the missing parts with reasons."""
    fields = {"figures": parts}
    found = synthetic.results(
        values, sweep=sweep, fields=fields, workdir=tmp_path / "run", **options
    )
    drawn, absent = catalog.draw(Findings(found), tmp_path / "figures")
    return {figure.name: figure for figure in drawn}, absent


def shown(tmp_path, name):
    """Returns all texts of a stored figure."""
    svg = (tmp_path / "figures" / f"{name}.svg").read_text()
    return re.findall(r">([^<>]+)</text>", svg)


def test_a_study_can_ask_for_every_part_by_its_name():
    assert tuple(catalog.PARTS) == study.PARTS
    sections = {part.section for part in catalog.PARTS.values()}
    assert sections == {*catalog.SECTIONS, ""}  # costs are a table
    assert {*study.PICTURES} <= {*catalog.PARTS}


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


TREES = {"model.name": "boosted_trees"}
SIZES = [{"model.depth": d, "model.hidden": (w,)} for d in (1, 2) for w in (8, 16)]


def test_baselines_are_in_every_panel_and_have_none_of_their_own(tmp_path):
    sweep = [
        {"model.activation": a, RATE: r}
        for a in ACTIVATIONS[:2]
        for r in (0.01, 0.1, 1.0)
    ]
    figures, _ = made(tmp_path, [*sweep, TREES], ("curves", "target"))
    texts = shown(tmp_path, "curves_validation_loss")
    assert [t for t in texts if t in ACTIVATIONS] == ["relu", "tanh"]
    assert texts.count("boosted trees") == 2
    assert "Long dashes are" in figures["curves_validation_loss"].caption
    assert "Long dashes" not in figures["epochs_to_target"].caption
    alone, _ = made(tmp_path / "alone", sweep, ("curves",))
    assert "Long dashes" not in alone["curves_validation_loss"].caption


def test_where_only_baselines_ran_curves_can_be_drawn(tmp_path):
    figures, _ = made(tmp_path, [{}, TREES], ("curves", "final"), never_ran=[0])
    assert len(figures) == 4


def test_extremes_are_the_best_and_the_worst_trial(tmp_path):
    rates = [{RATE: r} for r in (0.01, 0.1, 1.0)]
    accuracy = np.array([0.8, 0.9, 0.7])[:, None] + np.zeros(3)
    figures, _ = made(tmp_path, rates, ("extremes",), accuracy, diverged={(2, 0): 2})
    texts = shown(tmp_path, "extremes")
    assert {"best: 0.1", "worst: 1 (1 diverged)", "training", "loss"} <= set(texts)
    assert "Of 6 networks: 5 finished, 1 diverged" in figures["extremes"].caption
    _, absent = made(tmp_path / "one", rates[:1], ("extremes",))
    assert "worst" in absent["extremes"]


def test_sizes_are_drawn_along_all_that_differs(tmp_path):
    figures, _ = made(tmp_path, [*SIZES, TREES], ("sizes",))
    axes = {"depth", "width", "parameters", "seconds of training"}
    assert axes <= set(shown(tmp_path, "sizes"))
    caption = figures["sizes"].caption
    assert "against depth, width, parameters and seconds" in caption
    assert "Long dashes" in caption
    assert "of one size" not in caption
    rates = [{**size, RATE: r} for size in SIZES for r in (0.1, 0.2)]
    more, _ = made(tmp_path / "more", rates, ("sizes",))
    assert "networks of one size, the best" in more["sizes"].caption
    _, absent = made(tmp_path / "one", [{RATE: 0.1}, {RATE: 0.2}], ("sizes",))
    assert absent["sizes"].startswith("fewer than two networks")


def test_gradients_are_drawn_where_there_are_networks(tmp_path):
    zero = {"grad_norm_dense_0": np.zeros((2, 3, 4))}
    figures, _ = made(tmp_path, [{}, TREES], ("gradients",), zero)
    texts = shown(tmp_path, "gradients")
    assert {"mlp", "layer", "output", "gradient norm; grey: exactly 0"} <= set(texts)
    assert "boosted trees" not in texts
    assert "Triangles at the foot" in figures["gradients"].caption
    assert "Of 3 networks" in figures["gradients"].caption
    _, absent = made(tmp_path / "trees", [TREES], ("gradients",))
    assert absent == {"gradients": "no gradient was measured"}


def test_regions_name_the_features_and_tell_how_good_the_shown_seed_is(tmp_path):
    accuracy = np.array([[0.9, 0.8, 0.7], [0.4, 0.6, 0.5]])
    grid = np.zeros((5, 5), np.int64)
    arrays = {
        **{"best": np.array(0), "worst": np.array(1)},
        **{f"confusion_{t}": np.zeros((3, 10, 10), np.int64) for t in (0, 1)},
        **{"regions_extent": np.array([0.0, 1.0, 0.0, 1.0])},
        **{"regions_points": np.ones((2, 2), np.float32)},
        **{"regions_labels": np.array([0, 1]), "regions_best": grid},
    }
    rates, features = [{RATE: 0.1}, {RATE: 0.2}], ("longitude", "latitude")
    options = {"values": accuracy, "features": features, "diverged": {(1, 0): 2}}
    for beside in ({}, {"regions_worst": grid}):
        path = tmp_path / "run" / pictures.FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pictures.encode({**arrays, **beside}))
        figures, _ = made(tmp_path, rates, ("regions",), **options)
        texts = shown(tmp_path, "regions")
        assert {"longitude", "latitude", "the data", "best: 0.1"} <= set(texts)
        assert "test accuracy 90.0 % (seed 0)" in texts
        assert ("test accuracy 60.0 % (seed 1)" in texts) == bool(beside)
        assert figures["regions"].pictures
    path.unlink()
    _, absent = made(tmp_path, rates, ("regions",), **options)
    assert "two features" in absent["regions"]


def test_sizes_say_how_many_trials_no_member_survives_in(tmp_path):
    sweep = [{"model.hidden": (h,)} for h in (8, 16, 32)]
    lost = {(1, seed): 2 for seed in range(8)}
    figures, _ = made(tmp_path, sweep, ("sizes",), diverged=lost)
    said = figures["sizes"].caption
    assert "1 trial is not shown, since no network reached the end." in said
    figures, _ = made(tmp_path / "all", sweep, ("sizes",))
    assert "not shown" not in figures["sizes"].caption
