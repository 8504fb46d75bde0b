# SPDX-License-Identifier: Apache-2.0
"""The report says what the tables say, in words, safely, and without JAX."""

import html.parser
import re
import subprocess
import sys

import numpy as np
import pytest
import synthetic

from nnlab import report, results
from nnlab.study import Claim, Quantity

RATE = "optimizer.learning_rate"
RATES = [{RATE: r} for r in (0.02, 0.7, 3.0)]
EVIL = "<script>alert('x')</script> [a](http://evil.example) *b* `c` | $d$\n# e"


def _values(times, num_seeds=8, num_evaluations=10, low=0.5, high=0.96):
    """Accuracies (T, S, E) that step from low to high at an evaluation (from 1)."""
    values = np.full((len(times), num_seeds, num_evaluations), low)
    for trial, time in enumerate(times):
        values[trial, :, time - 1 :] = high
    noise = np.random.default_rng(0).normal(0, 1e-3, (len(times), num_seeds, 1))
    return values + noise


def _write(tmp_path, *args, **options):
    found = synthetic.results(*args, workdir=tmp_path / "run", **options)
    return found, report.write(found.workdir)


class _Page(html.parser.HTMLParser):
    """Collects tags, ids and links of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.links, self.text = set(), [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("href", "src", "xlink:href"):
                self.links.append(value)
            assert not name.startswith("on")

    def handle_data(self, data):
        self.text.append(data)


# The answer in words.


def test_answer_says_how_soon_the_target_is_reached():
    values = _values((9, 2, 5))
    values[2] = synthetic.CHANCE
    found = synthetic.results(
        values, sweep=RATES, target=0.9, at_chance=[(2, s) for s in range(8)]
    )
    said = report.answer(found)
    assert said[0] == (
        "Learning rate 0.7 reaches 90 % validation accuracy after a median of 2 "
        "epochs, 8 of 8 seeds; 0.02 after 9, 8 of 8; 3 never."
    )
    assert said[-1] == "At learning rate 3, 8 of 8 seeds end at chance."


def test_answer_counts_seeds_that_miss_the_target():
    values = _values((3, 2))
    values[0, :3] = 0.5
    values[1, :6] = 0.5
    found = synthetic.results(values, sweep=RATES[:2], target=0.9)
    assert report.answer(found)[0] == (
        "Learning rate 0.02 reaches 90 % validation accuracy after a median of 3 "
        "epochs, 5 of 8 seeds; 0.7 in 2 of 8."
    )
    values[:] = 0.5
    found = synthetic.results(values, sweep=RATES[:2], target=0.9)
    assert report.answer(found)[0] == "No trial reaches 90 % validation accuracy."


def test_answer_names_the_best_with_its_interval_and_what_is_not_resolved():
    values = np.full((3, 8, 2), 0.9)
    values += np.array([0.0, 0.05, 0.0501])[:, None, None]
    values[1:] += 0.001 * np.array([-1, 1] * 4)[:, None]
    values[2] = values[2][::-1]
    said = report.answer(synthetic.results(values, sweep=RATES, target=0.99))
    # 0.001 * sqrt(8/7) / sqrt(8) * t(0.975, 7) = 0.00089, one digit of it.
    assert said[1] == (
        "Best by validation accuracy is learning rate 3, with a test accuracy of "
        "95.01 % ± 0.09 (mean and 95 % interval, n = 8)."
    )
    assert said[2] == (
        "Not resolved from it: learning rate 0.7; 1 other is resolved to be worse."
    )


def test_answer_on_one_trial():
    said = report.answer(synthetic.results(_values((3,)), sweep=[{}], target=0.9))
    assert said[0] == (
        "Training reaches 90 % validation accuracy after a median of 3 epochs, "
        "8 of 8 seeds."
    )
    assert said[1].startswith("Test accuracy is ")
    assert len(said) == 2


def test_answer_on_many_trials_names_few():
    found = synthetic.results(
        num_trials=32,
        diverged={(t, s): 2 for t in range(26, 32) for s in range(4)},
        at_chance=[(31, 7)],
    )
    text = " ".join(report.answer(found))
    named = [t for t in found.trials if f" {t.label.split('=')[1]}" in text]
    assert len(named) <= 10
    assert re.search(r"the \d+ trials from|\d+ of the trials between", text)
    assert "24 of 48 seeds diverge and 1 ends at chance" in text


@pytest.mark.parametrize(("count", "said"), [(1, "seed diverges"), (3, "seeds div")])
def test_answer_knows_singular_and_plural(count, said):
    found = synthetic.results(
        num_trials=2, num_seeds=count, diverged={(1, s): 3 for s in range(count)}
    )
    assert f"{count} of {count} {said}" in report.answer(found)[-1]


@pytest.mark.parametrize(("num_seeds", "why"), [(1, "One seed"), (2, "Of two seeds")])
def test_answer_says_why_there_is_no_interval(num_seeds, why):
    said = report.answer(synthetic.results(num_seeds=num_seeds))
    assert "±" not in " ".join(said)
    assert any(s.startswith(why) for s in said)


def test_answer_on_an_interrupted_run():
    found = synthetic.results(unfinished={(1, 0): 3, (1, 1): 3}, never_ran=[2, 3])
    assert report.answer(found)[-1] == (
        "The run was interrupted: 2 of 4 trials have not run and 2 members did not "
        "finish."
    )


def test_a_diverged_study_has_no_best():
    lost = {(t, s): 1 for t in range(2) for s in range(4)}
    said = report.answer(synthetic.results(num_trials=2, num_seeds=4, diverged=lost))
    assert said[0].startswith("No trial can be called best")
    assert said[1] == "At learning rate 0.001 and 3.2, 4 of 4 seeds diverge each."


@pytest.mark.parametrize(
    ("mean", "high", "text"),
    [
        (0.97531, 0.97651, "97.53 ± 0.12"),
        (0.97531, 0.97571, "97.53 ± 0.04"),
        (0.97531, 0.98, "97.5 ± 0.5"),
        (0.6, 0.82, "60 ± 22"),
        (-0.0051, -0.0031, "−0.5 ± 0.2"),  # noqa: RUF001
        (0.97531, None, "97.5"),
        (None, None, "–"),  # noqa: RUF001
        (-1e-9, 0.001, "0.00 ± 0.10"),
    ],
)
def test_digits_are_those_that_the_interval_supports(mean, high, text):
    assert report.mean_text(mean, high) == text


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
    assert widths <= {9, 10}  # as wide as the headers of claims and comparison


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


def test_times_appear_only_under_how_it_was_run(tmp_path):
    texts = []
    for seconds in (0.01, 0.5):
        found = synthetic.results(num_trials=2, seconds={0: [seconds] * 3})
        sections = report.content(found).sections
        texts.append({s.anchor: s for s in sections})
    slow, fast = texts
    assert {a for a in slow if slow[a] != fast[a]} == {"how"}


def test_claims_come_with_verdict_effect_and_n(tmp_path):
    quantity = Quantity(metric="validation_accuracy")
    late = Quantity(metric="validation_accuracy", reduction="steps_to", target=0.9)
    claims = [
        Claim(text="higher", quantity=quantity, left={RATE: 0.7}, right={RATE: 0.02}),
        Claim(text="sooner", quantity=late, left={RATE: 0.7}, right={RATE: 0.02}),
        Claim(text="absent", quantity=quantity, left={RATE: 9.0}, right="chance"),
    ]
    values = _values((10, 2), high=0.95)
    values[1] += 0.02
    found, _ = _write(tmp_path, values, sweep=RATES[:2], claims=claims)
    (section,) = (s for s in report.content(found).sections if s.anchor == "claims")
    rows = [dict(zip(section.tables[0].header, r)) for r in section.tables[0].rows]
    assert [r["verdict"] for r in rows] == [
        "supported",
        "contradicted",
        "not tested in this run",
    ]
    points = 100 * (values[1, :, -1] - values[0, :, -1]).mean()
    assert rows[0]["difference (95 % interval)"].startswith(f"+{points:.2f} points (")
    assert (rows[0]["n"], rows[0]["p (Holm)"]) == ("8", "< 0.001")
    assert rows[1]["left"] == "0.7: 70 (100 %)"


def test_missing_says_where_members_diverged():
    found = synthetic.results(diverged={(3, 0): 2, (3, 5): 4}, never_ran=[1])
    section = report.content(found).sections[-1]
    assert "Not run: learning rate 0.015." in section.items
    ((trial, lost, steps, layers, norms),) = section.tables[0].rows
    assert (trial, lost) == ("3.2", "2 of 8")
    assert (steps, layers) == ("104 to 174", "dense_1 (2)")
    assert "dense_1 1e+08" in norms


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
