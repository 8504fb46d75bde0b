# SPDX-License-Identifier: Apache-2.0
"""Which figures a report has; none of their panels is empty."""

import dataclasses

import drawn
import numpy as np
import pytest
import synthetic
from matplotlib.text import Text

from nnlab import study
from nnlab.report.figures import catalog
from nnlab.report.figures.drawing.captions import Lacking
from nnlab.results import pictures
from nnlab.study import Claim, Quantity

RATE = "optimizer.learning_rate"
RATES = [{RATE: r} for r in (0.01, 0.1, 1.0)]
ACTIVATIONS = ("relu", "tanh", "identity", "sigmoid")
SIZES = [{"model.depth": d, "model.hidden": (w,)} for d in (1, 2) for w in (8, 16)]


def product(count):
    """Returns a sweep of so many activations, each with three rates."""
    return [{"model.activation": a, **r} for a in ACTIVATIONS[:count] for r in RATES]


def draw(part, sweep, values=None, **options):
    """Returns the caption and the texts of a part's first figure."""
    found = synthetic.findings(values, sweep=sweep, **options)
    sketch, *_ = catalog.PARTS[part].sketches(found)
    texts = [text.get_text() for text in sketch.canvas.findobj(Text)]
    return sketch.caption, texts


def test_a_study_can_ask_for_every_part_by_its_name():
    assert (*catalog.PARTS,) == study.PARTS
    sections = {part.section for part in catalog.PARTS.values()}
    assert sections == {*catalog.SECTIONS, ""}  # costs are a table
    assert {*study.PICTURES} <= {*catalog.PARTS}


def test_the_parts_that_are_asked_for_are_stored_or_said_to_be_absent(tmp_path):
    asked = {"figures": ("final", "noise")}
    (figure,), absent = catalog.draw(synthetic.findings(fields=asked), tmp_path)
    assert (figure.part, figure.name) == ("final", "final_test_accuracy")
    assert {path.stem for path in tmp_path.iterdir()} == {figure.name}
    assert absent == {"noise": "the curves have no spread of batch losses"}


@pytest.mark.parametrize(
    ("part", "settings", "trees"), [("active_units", 2, 0), ("updates", 3, 3)]
)
def test_a_setting_without_a_value_has_no_panel_and_baselines_are_in_all(
    part, settings, trees
):
    shares = np.full((10, 3, 4), 0.5)
    shares[6:] = np.nan  # linear units and trees are not counted
    values = {"validation_active_share": shares}
    caption, texts = draw(part, [*product(3), drawn.TREES], values)
    assert [t for t in texts if t in ACTIVATIONS] == [*ACTIVATIONS[:settings]]
    assert texts.count("boosted trees") == trees
    assert ("Long dashes are" in caption) == bool(trees)


@pytest.mark.parametrize(("settings", "columns"), [(1, 1), (2, 2), (3, 2), (4, 2)])
def test_at_most_two_panels_stand_in_a_row(settings, columns):
    results = synthetic.results(sweep=product(settings), num_seeds=2, num_evaluations=3)
    panels = drawn.axes("updates", results)
    assert len(panels) == settings
    assert len({round(ax.get_position().x0, 3) for ax in panels}) == columns


@pytest.mark.parametrize("part", ["curves", "final"])
def test_where_only_baselines_ran_curves_can_be_drawn(part):
    assert draw(part, [{}, drawn.TREES], never_ran=[0])


@pytest.mark.parametrize(
    ("part", "sweep", "why"),
    [
        ("extremes", RATES[:1], "worst"),
        ("sizes", RATES, "fewer than two networks"),
        ("gradients", [drawn.TREES], "no gradient was measured"),
    ],
)
def test_what_a_part_lacks_is_said(part, sweep, why):
    with pytest.raises(Lacking, match=why):
        draw(part, sweep)


def test_extremes_are_the_best_and_the_worst_trial():
    accuracy = np.array([0.8, 0.9, 0.7])[:, None] + np.zeros(3)
    caption, texts = draw("extremes", RATES, accuracy, diverged={(2, 0): 2})
    assert {"best: 0.1", "worst: 1 (1 diverged)", "training", "loss"} <= {*texts}
    assert "Of 6 networks: 5 finished, 1 diverged" in caption


def test_sizes_are_drawn_along_all_that_differs():
    caption, texts = draw("sizes", [*SIZES, drawn.TREES])
    assert {"depth", "width", "parameters", "seconds of training"} <= {*texts}
    for words in ("against depth, width, parameters and seconds", "Long dashes"):
        assert words in caption
    for words in ("of one size", "not shown"):
        assert words not in caption
    rates = [{**size, **rate} for size in SIZES for rate in RATES[:2]]
    lost = {(t, seed): 2 for t in (0, 1) for seed in range(8)}
    caption, _ = draw("sizes", rates, diverged=lost)
    assert "networks of one size, the best" in caption
    assert "2 trials are not shown, since no network reached the end." in caption


def test_gradients_are_drawn_where_there_are_networks():
    zero = {"grad_norm_dense_0": np.zeros((2, 3, 4))}
    caption, texts = draw("gradients", [{}, drawn.TREES], zero)
    assert {"mlp", "layer", "output"} <= {*texts}
    assert "boosted trees" not in texts
    for words in ("Triangles at the foot", "Of 3 networks"):
        assert words in caption


def test_regions_name_the_features_and_tell_how_good_the_shown_seed_is(tmp_path):
    grid = np.zeros((5, 5), np.int64)
    arrays = {
        **{"best": np.array(0), "worst": np.array(1)},
        **{f"confusion_{t}": np.zeros((3, 10, 10), np.int64) for t in (0, 1)},
        **{"regions_extent": np.array([0.0, 1.0, 0.0, 1.0])},
        **{"regions_points": np.ones((2, 2), np.float32)},
        **{"regions_labels": np.array([0, 1]), "regions_best": grid},
    }
    accuracy = np.array([[0.9, 0.8, 0.7], [0.4, 0.6, 0.5]])
    options = {"features": ("longitude", "latitude"), "diverged": {(1, 0): 2}}
    path = tmp_path / pictures.FILE
    path.parent.mkdir(parents=True)
    for beside in ({}, {"regions_worst": grid}):
        path.write_bytes(pictures.encode({**arrays, **beside}))
        _, texts = draw("regions", RATES[:2], accuracy, workdir=tmp_path, **options)
        best = "best: 0.01\ntest accuracy 90.0 % (seed 0)"
        worst = "worst: 0.1\ntest accuracy 60.0 % (seed 1)"
        assert {"longitude", "latitude", "the data\n2 examples", best} <= {*texts}
        assert (worst in texts) == bool(beside)


BY_NORM = [{"model.batch_norm": norm} for norm in (True, False)]
NORM = Quantity(metric="grad_norm_dense_0")
EARLY = Quantity(metric="validation_accuracy", reduction="at_epoch", epoch=2)
LOSS, FINAL = Quantity(metric="validation_loss"), Quantity(metric="test_accuracy")


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        (FINAL, "final_test_accuracy"),
        (NORM, "gradients"),
        (LOSS, "curves_validation_loss"),
        (EARLY, "curves_validation_accuracy"),
        (Quantity(reduction="steps"), "curves_validation_accuracy"),  # has no figure
    ],
)
def test_the_leading_figure_shows_what_the_answer_measures(tmp_path, asked, name):
    claim = Claim(text="x", quantity=NORM, left=BY_NORM[0], right=BY_NORM[1])
    main = dataclasses.replace(claim, text="y", quantity=asked, main=True)
    options = {
        "sweep": BY_NORM,
        "fields": {"figures": ("curves", "gradients", "final")},
    }
    found = synthetic.findings(claims=[claim, main], **options)
    figures, _ = catalog.draw(found, tmp_path)
    assert catalog.telling(found, figures).name == name
    # Where no claim carries the answer, it is which trial is best.
    plain = synthetic.findings(claims=[claim], **options)
    assert catalog.telling(plain, figures).name == "final_test_accuracy"


def test_what_a_probe_measured_leads_where_the_answer_is_about_it():
    edge = Quantity(metric="sharpness_edge", reduction="at_step", step=2.0)
    sides = {"left": BY_NORM[0], "right": BY_NORM[1]}
    claim = Claim(text="x", quantity=edge, main=True, **sides)
    found = synthetic.findings(claims=[claim], sweep=BY_NORM)
    names = ("sharpness", "sharpness_edge", "distance")
    figures = [catalog.Figure("probes", f"probe_{name}", "", "") for name in names]
    assert catalog.telling(found, figures).name == "probe_sharpness_edge"


def test_a_single_trial_leads_with_its_curves_and_nothing_with_nothing(tmp_path):
    alone = synthetic.findings(num_trials=1)
    drawn_figures, _ = catalog.draw(alone, tmp_path)
    assert catalog.telling(alone, drawn_figures).part == "curves"
    assert catalog.telling(alone, ()) is None
