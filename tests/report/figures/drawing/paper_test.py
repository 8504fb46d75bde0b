# SPDX-License-Identifier: Apache-2.0
"""Figures for papers and slides are whole, legible, and of the size that was asked."""

import io
import re
import xml.etree.ElementTree as ET

import drawn
import matplotlib.image
import pytest
import synthetic

from nnlab.report.figures import catalog
from nnlab.report.figures.drawing import style
from nnlab.report.figures.drawing.paper import PAPERS, Export, clashes

RATE, ACTED = "optimizer.learning_rate", "model.activation"
LONG = "init + tanh + momentum, {} of dropout, with early stopping and {} bias"
LABELLED = [
    {"label": LONG.format(d, b), "model.dropout_rate": d, "model.bias": b}
    for d in (0.0, 0.2, 0.3, 0.5)
    for b in ("all", "none")
]
SWEEPS = {
    "rates": [{RATE: r} for r in (0.01, 0.1, 1.0)],
    "labels": LABELLED,
    "groups": drawn.TWO_PATHS,
    "sizes": [{"model.hidden": (w,) * d} for d in (1, 2) for w in (8, 16)],
    "many": [{"batch_size": b} for b in range(20, 40)],
    "lost": [  # a strip of four rows leaves large letters no room
        {"label": f"{w} {a}, rate {r:g}", "model.hidden": (w,), RATE: r} | {ACTED: a}
        for a in ("relu", "identity")
        for w in (10, 100)
        for r in (0.1, 0.3, 1.0, 3.0)
    ],
}
LOST = {"diverged": {(0, 1): 3, (1, 0): 4}, "at_chance": [(2, 1)], "num_seeds": 4}


def fitted(part, sweep, asked):
    found = synthetic.findings(sweep=sweep, **LOST)
    sketches = catalog.fitted(lambda: catalog.PARTS[part].drawn(found), asked)
    assert sketches
    return sketches


def scale_of(canvas, size):
    return PAPERS[size].width / canvas.get_figwidth()


@pytest.mark.parametrize("size", ["column", "slide"])  # a page is like a report
@pytest.mark.parametrize(
    ("part", "sweep"),
    [
        ("final", "labels"),
        ("final", "many"),
        ("final", "lost"),
        pytest.param("gap", "groups", marks=pytest.mark.slow),
        pytest.param("extremes", "labels", marks=pytest.mark.slow),
        pytest.param("sizes", "sizes", marks=pytest.mark.slow),
        ("map", "groups"),
    ],
)
def test_no_text_is_cut_or_covered_at_any_size(size, part, sweep):
    for made in fitted(part, SWEEPS[sweep], Export(size)):
        canvas, paper = made.canvas, PAPERS[size]
        with style.context():
            assert not drawn.crowded(canvas)
        high = scale_of(canvas, size) * canvas.get_figheight()
        assert high <= paper.height + 0.01
        assert not paper.fills or high == pytest.approx(paper.height)


@pytest.mark.parametrize(
    ("size", "letters"), [("column", 8), ("page", 9), ("slide", 18)]
)
def test_letters_are_as_large_as_said_where_there_is_room(size, letters):
    (made,) = fitted("final", SWEEPS["rates"], Export(size))
    name = made.canvas.axes[0].xaxis.label
    assert name.get_fontsize() * scale_of(made.canvas, size) == pytest.approx(letters)


def test_what_is_cut_or_covered_is_found():
    with style.context():
        canvas = style.canvas(2.0, 3.0)
        ax = canvas.add_subplot()
        assert clashes(canvas) == 0
        ax.text(0.5, 0.5, "here")
        assert clashes(canvas) == 0
        ax.text(0.55, 0.5, "there")
        assert clashes(canvas) == 1
        canvas.text(0.9, 0.99, "beyond")
        assert clashes(canvas) == 2


@pytest.mark.parametrize("font", ["sans", "serif"])
def test_each_format_opens_with_its_size_its_letters_and_its_fonts(tmp_path, font):
    asked = Export("column", ("pdf", "svg", "png"), 200, font)
    (made,) = fitted("final", SWEEPS["rates"], asked)
    files = [path.read_bytes() for path in catalog.store(made, tmp_path, asked)]
    again = [path.read_bytes() for path in catalog.store(made, tmp_path, asked)]
    assert files == again
    pdf, svg, png = files
    width = PAPERS["column"].width
    high = width / made.canvas.get_figwidth() * made.canvas.get_figheight()
    assert pdf.startswith(b"%PDF-")
    (box,) = re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", pdf)
    assert [*map(float, box)] == pytest.approx([72 * width, 72 * high], abs=0.01)
    assert b"/FontFile2" in pdf  # TrueType, embedded
    assert b"/Type3" not in pdf
    name = {"sans": "DejaVuSans", "serif": "STIXGeneral"}[font].encode()
    assert re.search(rb"/BaseFont /[A-Z]{6}\+%b" % name, pdf)
    root = ET.fromstring(svg)
    sides = [float(root.get(side).removesuffix("pt")) for side in ("width", "height")]
    assert sides == pytest.approx([72 * width, 72 * high], abs=0.01)
    texts = {"".join(element.itertext()) for element in root.iter(f"{SVG}text")}
    assert {"learning rate", "0.01", "0.1", "1"} <= texts
    pixels = matplotlib.image.imread(io.BytesIO(png))
    assert pixels.shape[:2] == pytest.approx((200 * high, 200 * width), abs=1)


SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"size": "colum"}, "did you mean 'column'"),
        ({"formats": ("jpg",)}, "allowed: pdf, svg, png"),
        ({"font": "times"}, "allowed: sans, serif"),
        ({"dpi": 3}, "from 30 to 1,200"),
    ],
)
def test_what_is_not_known_is_refused_with_what_is_allowed(given, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        Export(**given)


@pytest.mark.parametrize("names", [("gallery", "final"), ("gallery",)])
def test_a_folder_is_told_only_if_a_figure_was_stored_in_it(tmp_path, names):
    fields = {"figures": names}
    findings = synthetic.findings(num_trials=2, num_seeds=3, fields=fields)
    folder = catalog.export(findings, tmp_path, Export("slide", ("svg",)))
    stored = {path.parent for path in tmp_path.rglob("*.svg")}
    assert stored == ({folder} if "final" in names else set())
    assert (folder is None) == (not stored)
