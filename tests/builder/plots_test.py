# SPDX-License-Identifier: Apache-2.0
"""Curves of a running training."""

import io

import matplotlib
import numpy as np
import pytest
from PIL import Image

from nnlab.builder import plots

EPOCHS = np.array([0.0, 1.0, 2.0])
ACCURACY = np.array([[0.1, 0.2, 0.3], [0.5, 0.6, np.nan], [0.7, 0.9, np.nan]])
BOTH = {"training": ACCURACY, "validation": ACCURACY / 2}


def words(ax):
    return [text.get_text() for text in ax.texts]


def test_lines_are_means_over_the_networks_that_are_left(ax):
    plots.curves(ax, EPOCHS, BOTH, chance=0.1)
    lines = [line for line in ax.lines if line.get_label() in BOTH]
    assert [line.get_label() for line in lines] == ["training", "validation"]
    for line, factor in zip(lines, (1, 0.5)):
        np.testing.assert_allclose(
            line.get_ydata(), factor * np.array([0.2, 0.55, 0.8])
        )
        np.testing.assert_allclose(line.get_xdata(), EPOCHS)
    assert len(ax.collections) == 2
    assert words(ax) == ["chance"]
    assert ax.get_ylim() == (0, 1.02)
    assert ax.get_xlim() == (0, 2)


@pytest.mark.parametrize("numbers", [(3, 4, 5, 6), (3, 7, 8, 12)])
def test_earlier_runs_are_paler_lines_of_their_own_length_and_colour(ax, numbers):
    longer = np.array([0.0, 5.0])
    earlier = [(n, longer, ACCURACY[:2] + n / 100) for n in numbers]
    plots.curves(ax, EPOCHS, BOTH, chance=0.1, earlier=earlier)
    lines = {line.get_label(): line for line in ax.lines}
    runs = [lines[f"run {n}"] for n in numbers]
    np.testing.assert_allclose(runs[0].get_ydata(), [0.23, 0.58])
    assert ax.get_xlim() == (0, 5)
    assert len({line.get_color() for line in [*runs, lines["training"]]}) == 5
    assert max(run.get_alpha() for run in runs) < lines["training"].get_alpha()
    named = [text.get_text() for text in ax.get_legend().get_texts()]
    assert named == [*BOTH, *(f"run {n}" for n in numbers)]


@pytest.mark.parametrize(("high", "scale"), [(20.0, "linear"), (2000.0, "log")])
def test_losses_that_go_over_decades_have_a_logarithmic_axis(ax, high, scale):
    losses = np.array([[high] * 3, [2.0] * 3, [1.0] * 3])
    plots.curves(ax, EPOCHS, {"training": losses})
    assert ax.get_yscale() == scale
    low, top = ax.get_ylim()
    assert low <= 1 < high <= top


def test_a_single_evaluation_is_a_dot(ax):
    plots.curves(ax, EPOCHS[:1], {"training": ACCURACY[:1]}, chance=0.1)
    assert "o" in [line.get_marker() for line in ax.lines]


def test_that_all_have_diverged_is_written(ax):
    lost = np.vstack([ACCURACY[:2], np.full((1, 3), np.nan)])
    plots.curves(ax, EPOCHS, {"training": lost, "validation": lost}, chance=0.1)
    assert "all networks have diverged" in words(ax)


def test_a_picture_is_a_png_whatever_the_users_settings_are(monkeypatch):
    monkeypatch.setenv("PATH", "")  # there is no LaTeX
    with matplotlib.rc_context({"text.usetex": True}):
        before = dict(matplotlib.rcParams)
        for chance in (0.1, None):
            picture = io.BytesIO(plots.picture(EPOCHS, BOTH, chance=chance))
            image = Image.open(picture)
            assert (image.format, image.size) == ("PNG", (616, 378))
            assert len(np.unique(np.array(image.convert("L")))) > 10
        assert dict(matplotlib.rcParams) == before
