# SPDX-License-Identifier: Apache-2.0
"""Data of figures are what was measured, short, and never markup."""

import json

import drawn
import numpy as np
import pytest
import synthetic
from matplotlib.figure import Figure

from nnlab.report.figures import catalog
from nnlab.report.figures.drawing import chart
from nnlab.statistics.findings import Findings

MOST = 200  # points of a curve


def data_of(part, results):
    """Returns the data of a part's first figure."""
    sketch, *_ = catalog.PARTS[part].sketches(Findings(results))
    text = chart.data_of(sketch.canvas)
    return json.loads(text, parse_constant=pytest.fail) if text else None


def test_a_long_curve_keeps_measured_points_its_ends_and_its_stops():
    num = 1_000
    values = np.linspace(0.2, 0.9, num) + 0.001 * np.arange(3)[None, :, None]
    results = synthetic.results(values, stopped={(0, 1): 777})
    data = data_of("curves", results)
    (series,) = data["panels"][0]["series"]
    x = np.array(data["xs"][series["x"]])
    assert MOST // 2 < len(x) <= MOST + 1
    curve = results.curve(0, "validation_accuracy")
    assert {*x} <= {*curve.epochs}
    assert x[[0, -1]].tolist() == curve.epochs[[0, -1]].tolist()
    (stop,) = series["stops"]
    assert x[stop] == curve.epochs[776]
    at = np.searchsorted(curve.epochs, x[:stop])
    mean = curve.values[:, at].mean(axis=0)
    np.testing.assert_allclose(series["mean"][:stop], mean, atol=6e-5)
    assert series["n"] == 3


def test_what_is_missing_is_null_and_baselines_have_no_place():
    results = synthetic.results(sweep=drawn.BESIDE, num_seeds=3)
    data = data_of("final", results)
    looks = [one["look"] for one in data["panels"][0]["series"]]
    assert looks.count("across") == 2
    assert looks.count("point") == len(results.trials) - 2
    lost = synthetic.results(num_trials=2, diverged={(1, s): 3 for s in range(8)})
    (none,) = (
        one
        for one in data_of("final", lost)["panels"][0]["series"]
        if one["mean"] == [None]
    )
    assert (none["n"], none["fate"]) == (0, "8 diverged")


def test_names_cannot_end_the_element_that_holds_them():
    evil = "</script><!-- \u2028"
    sweep = [{"batch_size": 8, "label": evil}, {"batch_size": 16, "label": "b"}]
    (sketch,) = catalog.PARTS["final"].sketches(
        Findings(synthetic.results(sweep=sweep, num_seeds=3))
    )
    text = chart.data_of(sketch.canvas)
    assert "<" not in text
    assert text.isascii()
    names = {name for name, _ in json.loads(text)["groups"]}
    assert r"</script><!-- \u2028" in names


def test_a_figure_of_which_a_part_is_no_data_stays_an_image():
    results = synthetic.results(num_trials=2, num_seeds=3)
    assert data_of("gradients", results) is None  # it has maps
    assert chart.data_of(Figure()) == ""


def test_numbers_are_listed_in_their_order():
    rates = (0.3, 0.02, 10.0)
    sweep = [{"optimizer.learning_rate": rate} for rate in rates]
    data = data_of("curves", synthetic.results(sweep=sweep, num_seeds=3))
    assert [name for name, _ in data["groups"]] == ["0.02", "0.3", "10"]


@pytest.mark.parametrize(
    ("count", "rows"), [(1, [1]), (2, [2]), (3, [2, 1]), (4, [2, 2])]
)
def test_panels_leave_no_quarter_empty(count, rows):
    sweep = [
        {"model.activation": name, "optimizer.learning_rate": rate}
        for name in drawn.ACTIVATIONS[:count]
        for rate in (0.01, 0.1, 1.0)
    ]
    results = synthetic.results(sweep=sweep, num_seeds=3, num_evaluations=3)
    sketch, *_ = catalog.PARTS["curves"].sketches(Findings(results))
    sketch.canvas.draw_without_rendering()
    boxes = [ax.get_position() for ax in sketch.canvas.axes]
    tops = {round(box.y0, 2): [] for box in boxes}
    for box in boxes:
        tops[round(box.y0, 2)].append(box)
    assert [len(row) for row in tops.values()] == rows
    assert all(
        max(b.x1 for b in row) > 0.8 - 0.25 * (count > 1) for row in tops.values()
    )


def test_many_curves_are_thinned_more():
    results = synthetic.results(num_trials=80, num_seeds=1, num_evaluations=300)
    data = data_of("curves", results)
    assert len(data["groups"]) == len(data["panels"][0]["series"]) == 80
    (x,) = data["xs"]
    assert len(x) == 100
    assert {*x} <= {*results.curve(0, "validation_accuracy").epochs}


def told(*series, **kept):
    """Returns the data of a figure with one panel in which these were drawn."""
    canvas = Figure()
    of = chart.kept(canvas.add_subplot())
    of.series.extend(series)
    for key, value in kept.items():
        setattr(of, key, value)
    return json.loads(chart.data_of(canvas))


def point(name, x, mean=0.5):
    name = chart.Name(name, name)
    return chart.Series(name, "#123456", "point", x, mean, np.nan, np.nan)


def test_a_trial_without_evaluations_is_empty():
    data = told(point("none", np.empty(0), np.empty(0)), point("one", 1.0))
    none, one = data["panels"][0]["series"]
    assert data["xs"][none["x"]] == []
    assert data["xs"][one["x"]] == [1.0]


def test_places_are_exact_and_trials_stand_in_the_order_of_their_first_series():
    places = {"b": 1_234_567, "a": 123_456.0, "c": 1e-05 / 3}
    data = told(*(point(name, x) for name, x in [*places.items(), ("b", 8)]))
    series = data["panels"][0]["series"]
    shown = [data["xs"][one["x"]][0] for one in series]
    np.testing.assert_allclose(shown, [*places.values(), 8], rtol=1e-8)
    assert [name for name, _ in data["groups"]] == ["b", "a", "c"]


def test_moved_images_are_no_training_and_bands_say_what_they_hold():
    wide = {"bands": "simultaneous"}
    for part, fields, training, band in (
        ("severity", {}, False, None),
        ("curves", {}, True, None),
        ("curves", wide, True, "simultaneous band"),
    ):
        results = synthetic.results(
            num_trials=2, num_seeds=3, severity=("moved",), fields=fields
        )
        (panel,) = data_of(part, results)["panels"][:1]
        assert panel["training"] == training
        assert {one.get("band") for one in panel["series"]} == {band}
