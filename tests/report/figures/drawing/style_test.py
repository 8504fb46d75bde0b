# SPDX-License-Identifier: Apache-2.0
"""Colours are ordered and legible, and equal figures are equal files."""

import re

import drawn
import matplotlib
import numpy as np
import pytest
import synthetic
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from nnlab.report.figures.drawing import style
from nnlab.statistics.findings import Findings


@pytest.mark.parametrize("rates", [(0.01, 0.1, 1.0), (1.0, 0.01, 0.1)])
def test_colors_are_ordered_with_the_swept_value_and_legible(rates):
    results = synthetic.results(sweep=[{"optimizer.learning_rate": r} for r in rates])
    ordered = [
        color for _, color in sorted(zip(rates, style.colors(Findings(results))))
    ]
    assert ordered == sorted(ordered, key=drawn.luminance)
    assert drawn.contrast(ordered[-1], "white") >= 1.9


@pytest.mark.parametrize("color", [*style.CATEGORIES, *style.ordered_colors(8)])
def test_letters_are_dark_enough_and_keep_their_hue(color):
    assert drawn.contrast(style.legible(color), "white") >= 4.5
    letters = np.array(to_rgb(style.legible(color)))
    own = np.array(to_rgb(color))
    np.testing.assert_allclose(letters / letters.max(), own / own.max(), atol=0.02)


def test_equal_results_give_equal_bytes(tmp_path):
    """Whatever a matplotlibrc or a notebook has set."""
    files = []
    large = {"font.size": 30, "figure.dpi": 20, "savefig.bbox": "tight"}
    other = {"axes.grid": True, "lines.linewidth": 9, "axes.titlecolor": "red"}
    for name, of_user in (("a", {}), ("b", {"text.usetex": True, **large, **other})):
        with matplotlib.rc_context(of_user):
            with style.context():
                figure = Figure(layout="constrained")
                results = synthetic.results(diverged={(0, 1): 3})
                drawn.learning(figure.add_subplot(), results, "train_loss")
            saved = style.save(figure, tmp_path / name)
        files.append([path.read_bytes() for path in saved])
    assert files[0] == files[1]


def test_a_users_label_is_text_in_the_svg(ax, tmp_path):
    sweep = [{"label": "<script> $x^ & \u202e"}, {"label": "日本", "batch_size": 8}]
    drawn.learning(ax, synthetic.results(sweep=sweep), "train_loss")
    ax.set_title("\x1b[2J\u202e")
    _, path = style.save(ax.figure, tmp_path / "figure")
    svg = path.read_text(encoding="utf-8")
    assert re.search(r"<text[^>]*>&lt;script&gt; \$x\^ &amp;", svg)
    assert "<script" not in svg
    assert "日本" in svg
    assert r">\x1b[2J\u202e</text>" in svg
