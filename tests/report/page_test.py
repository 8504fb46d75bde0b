# SPDX-License-Identifier: Apache-2.0
"""The report says what the tables say, in words, safely, and without JAX."""

import base64
import dataclasses
import hashlib
import html.parser
import json
import pathlib
import re
import subprocess
import sys

import drawn
import numpy as np
import pytest
import synthetic
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from shown import RATE, RATES, reaching, rows_of, section_of, store_again

from nnlab import report, results
from nnlab.report import copies
from nnlab.report import page as pages
from nnlab.report.figures import catalog
from nnlab.results.pictures import FILE, Seen, choose, encode
from nnlab.statistics.findings import Findings
from nnlab.study.claims import higher, slower

TEMPLATES = pathlib.Path(report.__file__).parent / "templates"
NAMES = ("report.js", "copy.js", "chart.js")
SCRIPTS = [(TEMPLATES / name).read_text() for name in NAMES]
DATA = '<script type="application/json">'
FEW = ("curves", "final")
SMALL = {"num_trials": 2, "num_seeds": 3, "num_evaluations": 3}
GRID = [{"model.hidden": (h,), RATE: r} for h in (8, 16) for r in (0.1, 1.0)]
EVIL = "<script>alert('x')</script> [a](http://evil.example) *b* `c` | $d$\n# e"


def _write(tmp_path, *args, **options):
    found = synthetic.results(*args, workdir=tmp_path / "run", **options)
    return found, report.write(found.workdir)


class _Page(html.parser.HTMLParser):
    """Collects what a page shows, and checks that it stands alone."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.links, self.text = set(), [], [], []
        self.names = []
        self.feed(text)
        # The page has one script of its own, named by its policy, and figures' data.
        (own,) = re.findall(r"<script>(.*?)</script>", text, flags=re.S)
        self.data = [*map(json.loads, re.findall(f"{DATA}(.*?)</script>", text))]
        assert own == "".join(SCRIPTS[: 3 if self.data else 2])
        digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
        assert f"script-src 'sha256-{digest}';" in text
        assert "default-src 'none'" in text
        assert "img-src data:;" in text
        assert text.count("<script") == 1 + len(self.data)
        self.tags.remove("script")
        assert len(self.ids) == len(set(self.ids))
        targets = {f"#{name}" for name in self.ids}
        self.others = set(self.links) - targets
        assert all(link.startswith("data:image/png;base64,") for link in self.others)
        page = text.replace(own, "")
        assert set(re.findall(r"url\((#[^)]*)\)", page)) <= targets

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag == "svg":
            self.names.append(dict(attrs).get("aria-label", ""))
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("href", "src", "xlink:href"):
                self.links.append(value)
            assert not name.startswith("on")

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The folder of a run with its report, which no test changes."""
    fields = {"figures": ("curves",)}
    folder = tmp_path_factory.mktemp("plain")
    return _write(folder, **SMALL, diverged={(1, 1): 2}, fields=fields)[1].parent


def _markdown(path):
    return path.with_name("report.md").read_text()


# Safety.


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a*b_c", r"a\*b\_c"),
        ("<b> & |", r"&lt;b&gt; &amp; \|"),
        ("[x](http://e.org)", r"\[x\](http\://e.org)"),
        ("# no\nheading", r"\# no heading"),
        ("1. no list", r"1\. no list"),
        ("- no list", r"\- no list"),
        ("0.7 reaches 1.8", "0.7 reaches 1.8"),
        ("a \\ `b` $c$", r"a \\ \`b\` \$c\$"),
    ],
)
def test_markdown_is_shown_as_it_is(text, escaped):
    assert copies.escape_markdown(text) == escaped


def test_every_text_of_a_user_is_escaped(tmp_path):
    claim = higher(EVIL, "test_accuracy", {"label": EVIL}, 0.5)
    sweep = [{RATE: 0.1, "label": EVIL}, {RATE: 0.2, "label": "</td></svg>--><img>"}]
    options = {"sweep": [*sweep, {"model.hidden": (8,)}], "fields": {"figures": FEW}}
    options |= {"never_ran": [2], "failures": {1: f"failed {EVIL}"}, "num_seeds": 3}
    _, path = _write(tmp_path, **options, question=EVIL, claims=[claim])
    shown = _Page(path.read_text())
    assert not shown.tags & {"script", "img", "iframe", "object", "embed", "link"}
    assert not shown.others
    assert f"The program said: failed {EVIL}" in "".join(shown.text)
    markdown = _markdown(path)
    assert not re.search(r"<script|<img|(?<!\\)\]\(http|^# e", markdown, flags=re.M)
    rows = [line for line in markdown.splitlines() if line.startswith("| ")]
    widths = {len(re.findall(r"(?<!\\)\|", r)) for r in rows if "script" in r}
    assert widths <= {5, 8, 9}  # as wide as the headers of claims and of comparison


def test_text_in_a_figure_of_a_page_keeps_what_looks_like_code(tmp_path):
    label = 'url(#a) style="x" href="#b"'
    sweep = [{RATE: 0.1, "label": label}, {"batch_size": 8}]
    _, path = _write(tmp_path, sweep=sweep, fields={"figures": ("curves",)})
    assert re.search(r'<text[^>]*>url\(#a\) style="x"', path.read_text())


def test_page_stands_alone(plain):
    text = (plain / "report.html").read_text()
    assert len(_Page(text).names) == text.count("<figure") == 3
    assert not re.search(r"@import|url\((?!#)", text)


# The files.


def test_writing_again_needs_no_jax_and_little_time_and_changes_no_byte(plain):
    files = sorted(p for p in plain.rglob("*") if p.is_file())
    before = [p.read_bytes() for p in files]
    code = (
        "import sys, time; from nnlab import report; report.write(sys.argv[1]);"
        "assert 'jax' not in sys.modules; print(time.process_time())"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(plain)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) < 5
    assert [p.read_bytes() for p in files] == before


def test_figures_are_stored_and_shown(plain):
    markdown = (plain / "report.md").read_text()
    shown = re.findall(r"!\[[^\]]+\]\(figures/(\w+)\.png\)", markdown)
    assert len(shown) == 3
    stored = {p.name for p in (plain / "figures").iterdir()}
    assert stored == {f"{name}{s}" for name in shown for s in (".png", ".svg")}


def test_times_appear_only_under_costs_and_how_it_was_run():
    slow, fast = (
        report.content(
            synthetic.findings(
                num_trials=2,
                seconds={0: [each] * 3},
                fields={"figures": ("curves", "costs")},
            )
        ).sections
        for each in (0.5, 0.01)
    )
    assert {a.anchor for a, b in zip(slow, fast) if a != b} == {"costs", "how"}


def test_claims_come_with_verdict_effect_and_n():
    fast, slow = {RATE: 0.7}, {RATE: 0.02}
    claims = [
        higher("higher", "validation_accuracy", fast, slow),
        slower("sooner", 0.9, fast, slow),
        higher("absent", "validation_accuracy", {RATE: 9.0}, "chance"),
    ]
    values = reaching((10, 2), high=0.95)
    values[1] += 0.02
    found = synthetic.findings(values, sweep=RATES[:2], claims=claims)
    rows = rows_of(section_of(report.content(found), "claims"))
    verdicts = ["supported", "contradicted", "not tested in this run"]
    assert [r["verdict"].partition(" (")[0] for r in rows] == verdicts
    points = 100 * (values[1, :, -1] - values[0, :, -1]).mean()
    assert rows[0]["difference, or ratio x"].startswith(f"+{points:.2f} points")
    assert (rows[0]["n"], rows[0]["p (adjusted)"]) == ("8", "< 0.001")
    assert rows[1]["left"] == "learning rate 0.7: 70 (100 %)"


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"num_trials": 1, "num_seeds": 1, "num_evaluations": 1},
        {"diverged": {(t, s): s % 2 for t in range(2) for s in range(3)}, **SMALL},
        {"unfinished": {(0, s): 2 for s in range(3)}, "never_ran": [1], **SMALL},
        {"never_ran": range(4)},
        {"sweep": GRID, "num_seeds": 3, "num_evaluations": 3},
    ],
)
def test_every_shape_of_study_has_a_report(tmp_path, options):
    _, path = _write(tmp_path, **options)
    for text in (path.read_text(), _markdown(path)):
        assert not re.search(r"\bnan\b|\binf\b|None", text)


def test_a_damaged_run_is_refused(tmp_path):
    synthetic.results(num_trials=1, workdir=tmp_path)
    (tmp_path / results.TABLES[0]).write_bytes(b"")
    with pytest.raises(ValueError, match=r"curves\.parquet"):
        report.write(tmp_path)


@pytest.mark.parametrize(
    ("num_seeds", "why"), [(1, "One seed shows"), (2, "With two seeds"), (3, "")]
)
def test_below_three_seeds_no_interval_is_drawn_and_the_report_says_why(num_seeds, why):
    claim = higher("x", "test_accuracy", {RATE: 3.0}, {})
    found = synthetic.findings(sweep=RATES, num_seeds=num_seeds, claims=[claim])
    text = str(report.content(found))
    assert ("±" in text) == (not why)
    if why:
        assert text.count(why) == 2  # in the answer and beside the table
        assert f"n = {num_seeds}, and a test needs 3 pairs" in text
    curves = Figure().add_subplot()
    drawn.learning(curves, found.results, "test_accuracy")
    (final,) = drawn.axes("final", found.results)
    for ax, kind in ((curves, PolyCollection), (final, LineCollection)):
        assert any(isinstance(c, kind) for c in ax.collections) == (not why)


# The first screen.


class _Order(html.parser.HTMLParser):
    """Collects in order what stands on a page."""

    def __init__(self, text):
        super().__init__()
        self.seen = []
        self.feed(text[text.index("<main") :])

    def handle_starttag(self, tag, attrs):
        kind = dict(attrs).get("class", "").split(" ")[0]
        if tag in ("h1", "h2", "table", "figure") or kind in ("answer", "chips"):
            self.seen.append(kind if kind in ("answer", "chips") else tag)


def test_a_report_opens_with_question_answer_figure_and_verdicts(tmp_path):
    claim = higher("0.7 is better", "test_accuracy", {RATE: 0.7}, {RATE: 0.02})
    _, path = _write(tmp_path, sweep=RATES, claims=[claim], fields={"figures": FEW})
    order = _Order(path.read_text()).seen
    assert order[:4] == ["h1", "answer", "figure", "chips"]
    assert order.index("table") > order.index("h2") > 3
    assert order.count("figure") == 4  # the leading one stands in no section again
    markdown = _markdown(path)
    shown = re.findall(r"!\[[^\]]+\]\(figures/(\w+)\.png\)", markdown)
    assert shown[0] == "final_test_accuracy"
    assert len(shown) == len({*shown})
    places = [markdown.index(t) for t in ("![", "\n- ", "\n## ", "\n| ")]
    assert places == sorted(places)


def test_a_page_opens_with_three_sentences_and_loses_none(tmp_path):
    found = synthetic.findings(sweep=RATES, at_chance=[(2, 0)], diverged={(1, 0): 2})
    content = dataclasses.replace(
        report.content(found), answer=tuple(f"Sentence {n}." for n in range(5))
    )
    text = pages.lay_out(tmp_path, content).read_text()
    opening = text[text.index('class="answer"') : text.index("<ul")]
    assert re.findall(r"Sentence (\d)", opening) == ["0", "1", "2"]
    for written in (text, _markdown(tmp_path / "report.html")):
        assert re.findall(r"Sentence (\d)", written) == [*"01234"]


# The parts of a study.


def _many_parts(tmp_path):
    """A run of 2 x 2 trials with parts of every section, and every kind of figure."""
    rng = np.random.default_rng(0)
    measured = ("batch_loss_std", "test_moved_accuracy", "test_rotated_accuracy")
    parts = ("curves", "noise", "updates", "seconds", "final", "test_sets", "severity")
    parts += ("map", "divergence", "confusion", "gallery", "probabilities", "costs")
    changed = {"moved_pixels": 2, "rotated_degrees": 30}
    changed |= {"along_curve": True, "severity": True}
    found = synthetic.results(
        {name: rng.uniform(0.3, 0.9, (4, 3, 5)) for name in measured},
        sweep=GRID,
        fields={"figures": parts, "test_sets": changed},
        severity=("moved", "rotated"),
        workdir=tmp_path,
    )
    labels = np.arange(40) % 10
    right = Seen(
        prediction=np.tile(np.where(labels < 9, labels, 0), (3, 1)),
        confidence=np.full((3, 40), 0.9, np.float32),
        before=np.full((3, 6, 10), 0.1, np.float32),
        after=np.full((3, 6, 10), 0.1, np.float32),
        kernel=rng.normal(size=(64, 16)).astype(np.float32),
    )
    wrong = dataclasses.replace(right, prediction=(right.prediction + 1) % 10)
    images = rng.uniform(size=(40, 8, 8, 1)).astype(np.float32)
    best, worst = Findings(found).extremes
    seen = {t: right if t == best else wrong for t in range(4)}
    pictures = encode(choose(seen, best, worst, images, labels, 10))
    store_again(tmp_path, found.config, **{FILE: pictures})
    return tmp_path


@pytest.mark.slow
def test_a_report_with_every_section_is_whole_and_safe(tmp_path):
    path = report.write(_many_parts(tmp_path))
    text = path.read_text()
    page = _Page(text)
    # Every figure says what can be seen, not only what it shows.
    dumb = [n for n in page.names if not re.search(r"\. .*(\d|No network).*\.$", n)]
    assert not dumb
    assert len(page.names) == text.count("<figure") == len(set(page.names))
    assert page.others
    assert text.count('<figure class="pictures">') == 2
    assert len(text) < 3_000_000
    markdown = _markdown(path)
    stored = {p.stem for p in (tmp_path / "figures").iterdir()}
    assert set(re.findall(r"!\[[^\]]+\]\(figures/(\w+)\.png\)", markdown)) == stored
    titles = re.findall("^## (.*)", markdown, flags=re.M)
    assert titles == [
        *("Learning curves", "Against updates and seconds", "Results against hidden"),
        *("Moved and rotated images", "Maps", "Looking at the models", "Comparison"),
        *("Costs", "How it was run", "To cite", "What is missing"),
    ]
    assert markdown.rstrip().endswith("Nothing: every network finished.")
    assert stored >= {"noise", "severity", "map", "divergence", "gallery"}
    assert "curves_test_rotated_accuracy" in stored


def test_only_what_is_asked_for_is_shown_and_what_is_not_there_is_missing(tmp_path):
    why = {
        "noise": "the curves have no spread of batch losses",
        "severity": "no image was moved or rotated by more",
        "map": "the trials are no grid of two hyperparameters",
        "gallery": "it takes images, and two trials to compare",
    }
    fields = {"figures": ("updates", "final", *why)}
    found = synthetic.findings(**SMALL, fields=fields)
    drawn_figures, absent = catalog.draw(found, tmp_path)
    assert {f.name for f in drawn_figures} == {"updates", "final_test_accuracy"}
    assert absent == why
    content = report.content(found, drawn_figures, absent)
    assert section_of(content, "costs") is None
    missing = section_of(content, "missing").items
    assert all(item.startswith("Not shown: ") for item in missing)
    reasons = [item.rpartition(", since ")[2] for item in missing]
    assert reasons == [f"{reason}." for reason in why.values()]
    begun = synthetic.findings(fields=fields, never_ran=[1])  # more may follow
    dull = synthetic.findings(np.full((2, 3), synthetic.CHANCE))  # usual parts
    for some, lacking in ((begun, why), (dull, {"target": "no trial learns"})):
        items = section_of(report.content(some, absent=lacking), "missing").items
        assert not any("Not shown" in item for item in items)
