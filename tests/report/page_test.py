# SPDX-License-Identifier: Apache-2.0
"""The report says what the tables say, in words, safely, and without JAX."""

import base64
import dataclasses
import hashlib
import html.parser
import itertools
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
from shown import RATE, RATES, reaching, rows_of, section_of

from nnlab import report, results, study
from nnlab.results.pictures import FILE, Seen, choose, encode
from nnlab.statistics.findings import Findings
from nnlab.study import Claim, Quantity

SCRIPT = pathlib.Path(report.__file__).parent / "templates" / "report.js"
EVIL = "<script>alert('x')</script> [a](http://evil.example) *b* `c` | $d$\n# e"


def _write(tmp_path, *args, **options):
    found = synthetic.results(*args, workdir=tmp_path / "run", **options)
    return found, report.write(found.workdir)


class _Page(html.parser.HTMLParser):
    """Collects tags, ids and links of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.links, self.text = set(), [], [], []
        self.names = []
        self.feed(text)
        # The page has one script of its own, named by its policy.
        (own,) = re.findall(r"<script>(.*?)</script>", text, flags=re.S)
        assert own == SCRIPT.read_text()
        digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
        assert f"script-src 'sha256-{digest}';" in text
        assert text.count("<script") == 1
        self.tags.remove("script")

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
    assert report.escape_markdown(text) == escaped


def test_every_text_of_a_user_is_escaped(tmp_path):
    claim = Claim(
        text=EVIL,
        quantity=Quantity(metric="test_accuracy"),
        left={"label": EVIL},
        right=0.5,
    )
    sweep = [{RATE: 0.1, "label": EVIL}, {RATE: 0.2, "label": "</td></svg>--><img>"}]
    found, path = _write(tmp_path, sweep=sweep, question=EVIL, claims=[claim])
    page = _Page(path.read_text())
    assert not page.tags & {"script", "img", "iframe", "object", "embed", "link"}
    assert all(link.startswith("#") for link in page.links)
    assert EVIL.splitlines()[0] in "".join(page.text)
    markdown = (found.workdir / "report.md").read_text()
    assert not re.search(r"<script|<img|(?<!\\)\]\(http|^# e", markdown, flags=re.M)
    rows = [line for line in markdown.splitlines() if line.startswith("| ")]
    widths = {len(re.findall(r"(?<!\\)\|", r)) for r in rows if "script" in r}
    assert widths <= {10, 11}  # as wide as the headers of claims and of comparison


def test_text_in_a_figure_of_a_page_keeps_what_looks_like_code(tmp_path):
    label = 'url(#a) style="x" href="#b"'
    sweep = [{RATE: 0.1, "label": label}, {"batch_size": 8}]
    _, path = _write(tmp_path, sweep=sweep, fields={"figures": ("curves",)})
    text = path.read_text()
    assert re.search(r'<text[^>]*>url\(#a\) style="x"', text)
    assert label in "".join(_Page(text).text)


def test_page_stands_alone(tmp_path):
    _, path = _write(tmp_path, diverged={(3, 1): 2})
    text = path.read_text()
    page = _Page(text)
    assert "default-src 'none'" in text
    assert len(page.ids) == len(set(page.ids))
    targets = {f"#{name}" for name in page.ids}
    assert set(page.links) <= targets
    assert set(re.findall(r"url\((#[^)]*)\)", text)) <= targets
    assert text.count("<svg") == 5
    assert not re.search(r"@import|url\((?!#)", text)


# The files.


def test_report_needs_no_jax_and_little_time(tmp_path):
    found, _ = _write(tmp_path, num_trials=8, num_evaluations=20)
    code = (
        "import sys, time; from nnlab import report; report.write(sys.argv[1]);"
        "assert 'jax' not in sys.modules; print(time.process_time())"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(found.workdir)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) < 5


def test_figures_are_stored_and_shown(tmp_path):
    found, _ = _write(tmp_path)
    markdown = (found.workdir / "report.md").read_text()
    shown = re.findall(r"!\[[^\]]+\]\(figures/(\w+)\.png\)", markdown)
    assert shown[0] == "curves_validation_accuracy"
    stored = {p.name for p in (found.workdir / "figures").iterdir()}
    assert stored == {f"{name}{s}" for name in shown for s in (".png", ".svg")}


def test_writing_again_changes_no_byte(tmp_path):
    found, _ = _write(tmp_path, num_trials=2)
    files = sorted(p for p in found.workdir.rglob("*") if p.is_file())
    before = [p.read_bytes() for p in files]
    report.write(found.workdir)
    assert [p.read_bytes() for p in files] == before


def test_times_appear_only_under_costs_and_how_it_was_run():
    texts = []
    for seconds in (0.01, 0.5):
        found = synthetic.results(
            num_trials=2, seconds={0: [seconds] * 3}, fields={"figures": ("costs",)}
        )
        sections = report.content(Findings(found)).sections
        texts.append({s.anchor: s for s in sections})
    slow, fast = texts
    assert {a for a in slow if slow[a] != fast[a]} == {"costs", "how"}


def test_claims_come_with_verdict_effect_and_n():
    quantity = Quantity(metric="validation_accuracy")
    late = Quantity(metric="validation_accuracy", reduction="steps_to", target=0.9)
    claims = [
        Claim(text="higher", quantity=quantity, left={RATE: 0.7}, right={RATE: 0.02}),
        Claim(text="sooner", quantity=late, left={RATE: 0.7}, right={RATE: 0.02}),
        Claim(text="absent", quantity=quantity, left={RATE: 9.0}, right="chance"),
    ]
    values = reaching((10, 2), high=0.95)
    values[1] += 0.02
    found = synthetic.findings(values, sweep=RATES[:2], claims=claims)
    rows = rows_of(section_of(report.content(found), "claims"))
    verdicts = ["supported", "contradicted", "not tested in this run"]
    assert [r["verdict"] for r in rows] == verdicts
    points = 100 * (values[1, :, -1] - values[0, :, -1]).mean()
    assert rows[0]["difference (95 % interval)"].startswith(f"+{points:.2f} points (")
    assert (rows[0]["n"], rows[0]["p (adjusted)"]) == ("8", "< 0.001")
    assert rows[1]["left"] == "0.7: 70 (100 %)"


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"num_trials": 1, "num_seeds": 1, "num_evaluations": 1},
        {"diverged": {(t, s): s % 2 for t in range(4) for s in range(8)}},
        {"unfinished": {(0, s): 4 for s in range(8)}, "never_ran": [1, 2, 3]},
        {"never_ran": range(4)},
        {
            "sweep": [
                {"model.hidden": h, RATE: r}
                for h in ([8], [16, 16])
                for r in (0.1, 1.0)
            ]
        },
    ],
)
def test_every_shape_of_study_has_a_report(tmp_path, options):
    found, path = _write(tmp_path, **options)
    assert path == found.workdir / "report.html"
    for name in ("report.md", "report.html"):
        text = (found.workdir / name).read_text()
        assert not re.search(r"\bnan\b|\binf\b|None", text)


def test_a_damaged_run_is_refused(tmp_path):
    found, _ = _write(tmp_path, num_trials=1)
    (found.workdir / results.TABLES[0]).write_bytes(b"")
    with pytest.raises(ValueError, match=r"curves\.parquet"):
        report.write(found.workdir)


@pytest.mark.parametrize(
    ("num_seeds", "why"), [(1, "One seed shows"), (2, "With two seeds"), (3, "")]
)
def test_below_three_seeds_no_interval_is_drawn_and_the_report_says_why(
    tmp_path, num_seeds, why
):
    claim = Claim(
        text="x", quantity=Quantity(metric="test_accuracy"), left={RATE: 3.0}, right={}
    )
    found, _ = _write(tmp_path, sweep=RATES, num_seeds=num_seeds, claims=[claim])
    text = (found.workdir / "report.md").read_text()
    assert ("±" in text) == (not why)
    if why:
        assert text.count(why) == 2  # in the answer and beside the table
        assert f"n = {num_seeds}, and a test needs 3 pairs" in text
    for ax, kind in (
        (
            drawn.learning(Figure().add_subplot(), found, "test_accuracy"),
            PolyCollection,
        ),
        (drawn.axes("final", found)[0], LineCollection),
    ):
        assert any(isinstance(c, kind) for c in ax.collections) == (not why)


# The parts of a study.


def _all_parts(tmp_path):
    """A run of 2 x 2 trials with everything that a report can show."""
    rng = np.random.default_rng(0)
    shape = 4, 3, 5
    columns = {
        name: rng.uniform(0.3, 0.9, shape)
        for name in (
            *("batch_loss_std", "validation_active_share"),
            *("test_moved_accuracy", "test_rotated_accuracy"),
        )
    }
    found = synthetic.results(
        columns,
        sweep=[{"model.hidden": (h,), RATE: r} for h in (8, 16) for r in (0.1, 1.0)],
        fields={
            # No plane to colour: the data have more than two features.
            "figures": tuple(p for p in study.PARTS if p not in ("regions", "rates")),
            "test_sets": {
                "moved_pixels": 2,
                "rotated_degrees": 30,
                "along_curve": True,
                "severity": True,
            },
        },
    )
    severity = [
        {"trial": t, "seed": s, "transform": kind, "amount": a, "accuracy": 0.5 + t / 9}
        for kind in ("moved", "rotated")
        for t, s, a in itertools.product(range(4), range(3), (0.0, 3.0, 6.0))
    ]
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
    pictures = choose(seen, best, worst, images, labels, 10)
    files = {
        "curves.parquet": found.curves,
        "members.csv": found.members,
        "summary.csv": Findings(found).summary,
        "timings.csv": found.timings,
        "severity.csv": results.table(severity, results.SEVERITY),
        FILE: encode(pictures),
    }
    results.write(tmp_path, found.config, files)
    return results.load(tmp_path)


@pytest.mark.slow
def test_a_report_with_every_part_is_whole_and_safe(tmp_path):
    found = _all_parts(tmp_path)
    path = report.write(tmp_path)
    text = path.read_text()
    page = _Page(text)
    # Every figure says what can be seen, not only what it shows.
    assert all(re.search(r"\. .*(\d|No network).*\.$", name) for name in page.names), (
        page.names
    )
    assert len(page.names) == text.count("<figure") == len(set(page.names))
    assert len(page.ids) == len(set(page.ids))
    targets = {f"#{name}" for name in page.ids}
    others = set(page.links) - targets
    assert others
    assert all(link.startswith("data:image/png;base64,") for link in others)
    assert set(re.findall(r"url\((#[^)]*)\)", text)) <= targets
    assert "default-src 'none'" in text
    assert "img-src data:;" in text
    assert text.count('<figure class="pictures">') == 4
    assert len(text) < 3_000_000
    markdown = (tmp_path / "report.md").read_text()
    stored = {p.stem for p in (found.workdir / "figures").iterdir()}
    assert set(re.findall(r"!\[[^\]]+\]\(figures/(\w+)\.png\)", markdown)) == stored
    titles = re.findall("^## (.*)", markdown, flags=re.M)
    assert titles == [
        "Learning curves",
        "Against updates and seconds",
        "Results against hidden",
        "Moved and rotated images",
        "Maps",
        "Looking at the models",
        "Comparison",
        "Costs",
        "How it was run",
        "What is missing",
    ]
    assert markdown.rstrip().endswith("Nothing: every network finished.")
    assert stored >= {"gap", "noise", "severity", "map", "divergence", "gallery"}
    assert "curves_test_rotated_accuracy" in stored


def test_only_the_parts_that_are_named_are_shown(tmp_path):
    found, _ = _write(tmp_path, fields={"figures": ("updates", "final")})
    stored = {p.stem for p in (found.workdir / "figures").iterdir()}
    assert stored == {"updates", "final_test_accuracy"}
    assert section_of(report.content(Findings(found)), "costs") is None


@pytest.mark.parametrize(
    ("part", "why"),
    [
        ("map", "the trials are no grid of two hyperparameters"),
        ("gallery", "it takes images, and two trials to compare"),
        ("noise", "the curves have no spread of batch losses"),
        ("severity", "no image was moved or rotated by more"),
    ],
)
def test_a_part_that_is_asked_for_and_not_there_is_missing(tmp_path, part, why):
    fields = {"figures": ("target", part)}
    found, _ = _write(tmp_path, fields=fields)
    said = (found.workdir / "report.md").read_text().partition("## What is missing")[2]
    line = f"- Not shown: {study.PARTS[part]}, since {why}."
    assert said.strip() == report.escape_markdown(line).replace(r"\-", "-", 1)
    absent = {part: why}
    found = synthetic.findings(fields=fields, never_ran=[1])  # more may follow
    items = section_of(report.content(found, absent=absent), "missing").items
    assert not any("Not shown" in item for item in items)


def test_a_usual_part_that_is_not_there_is_left_out_silently(tmp_path):
    found, _ = _write(tmp_path, np.full((2, 3), synthetic.CHANCE))
    said = (found.workdir / "report.md").read_text()
    assert "epochs_to_target" not in said
    assert "Not shown" not in said


def test_missing_says_what_failed_and_how(tmp_path):
    sweep = [{"model.hidden": (h,)} for h in (8, 16)]
    found, path = _write(tmp_path, sweep=sweep, never_ran=[1], failures={1: EVIL})
    items = section_of(report.content(Findings(found)), "missing").items
    assert items == (f"Failed: hidden 16. The program said: {EVIL}",)
    page = _Page(path.read_text())
    assert not page.tags & {"script", "img"}
    assert EVIL.splitlines()[0] in "".join(page.text)
    assert "<script" not in (found.workdir / "report.md").read_text()
