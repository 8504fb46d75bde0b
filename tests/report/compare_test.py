# SPDX-License-Identifier: Apache-2.0
"""A comparison of runs says what their tables say, and overwrites nothing else."""

import contextlib
import csv
import fcntl
import json
import os
import re

import folders
import numpy as np
import pytest
import synthetic

from nnlab import results
from nnlab.report import compare
from nnlab.statistics.findings import Findings

RATE = "optimizer.learning_rate"


def make(folder, level=0.9, digest=None, **options):
    """A run of two trials and five seeds, with the best trial's final accuracy."""
    noise = np.random.default_rng(int(1e4 * level)).normal(0, 0.002, (2, 5))
    values = np.array([[level - 0.1], [level]]) + noise
    options = {"sweep": [{RATE: 0.1}, {RATE: 0.3}], "num_evaluations": 4, **options}
    found = synthetic.results(values, **options)
    if digest:
        found.config["datasets"]["digits"]["digest"] = digest
    tables = {"curves.parquet": found.curves, "members.csv": found.members}
    tables |= {"summary.csv": Findings(found).summary, "timings.csv": found.timings}
    results.write(folder, found.config, tables)
    return folder


def said(*workdirs):
    return " ".join(compare.sentences(compare.load(workdirs)))


def table_of(content, anchor):
    (section,) = (s for s in content.sections if s.anchor == anchor)
    (table,) = section.tables
    return [dict(zip(table.header, row)) for row in table.rows]


def content_of(*workdirs):
    return compare.content(compare.load(workdirs))


def test_it_says_which_best_is_better_by_how_much_and_how_sure(tmp_path):
    a, b = make(tmp_path / "a", 0.9), make(tmp_path / "b", 0.95)
    (found,) = compare.load([a, b]).differences
    assert found.resolved
    points = f"{-100 * found.mean:.1f} ± {100 * (found.high - found.mean):.1f}"
    text = said(a, b)
    assert "Best by validation accuracy is b (learning rate 0.3), with a" in text
    assert f"That is {points} points above that of a (learning rate 0.3)" in text
    assert "(paired over 5 seeds, p < 0.001)" in text
    assert ": significant over seeds (paired" in text
    # The same from the other side, and without a difference.
    assert said(b, a).replace(points, "") == text.replace(points, "")
    assert "That is equal to that of" in said(a, make(tmp_path / "copy", 0.9))
    (row,) = table_of(content_of(a, b), "bests")
    assert row["left minus right, points"] == f"\u2212{points}"
    assert (row["n"], row["compared"], row["significant"]) == ("5", "paired", "yes")


def test_the_best_by_validation_may_be_below_on_the_test_set(tmp_path):
    a = make(tmp_path / "a", 0.9)
    values = np.full((1, 5), 0.95) + np.arange(5) / 1_000
    found = synthetic.results(
        {"validation_accuracy": values, "test_accuracy": values - 0.1},
        sweep=[{RATE: 0.1}],
        workdir=tmp_path / "b",
    )
    text = said(a, found.workdir)
    assert "is b, with a test accuracy of 85.2 % ± 0.2" in text
    assert re.search(r"That is 4\.\d+ ± 0\.\d+ points below that of a", text)


def test_different_test_data_are_not_compared(tmp_path):
    a, b = make(tmp_path / "a"), make(tmp_path / "b", 0.95)
    c = make(tmp_path / "c", 0.99, digest="1" * 64)
    text = said(a, b, c)
    assert "Accuracies on different test data are not compared." in text
    assert "digest 000000), best by validation accuracy is b" in text
    assert "digest 111111), c (learning rate 0.3) has a test accuracy of 99." in text
    assert text.count("That is") == 1
    rows = table_of(content_of(a, b, c), "bests")
    assert [r["compared"] for r in rows] == ["paired", "no", "no"]
    page = compare.write(compare.load([a, b, c]), tmp_path / "all")
    drawn = {p.stem for p in (page.parent / "figures").glob("*.svg")}
    assert drawn == {
        *("best_validation_accuracy_1", "best_validation_loss_1"),
        *("all_test_accuracy_1", "all_test_accuracy_2"),
    }


def test_exactly_what_differs_is_listed(tmp_path):
    a = make(tmp_path / "a")
    b = make(tmp_path / "b", sweep=[{RATE: 0.1}, {RATE: 0.7}])
    c = make(tmp_path / "c", fields={"root_seed": 3}, question="Else?")
    path = make(tmp_path / "d") / "config.json"
    config = json.loads(path.read_text())
    del config["digest"]
    config["versions"]["jax"] = "9.9"
    config["devices"] = {"platform": "tpu", "kind": "TPU v5e", "count": 4}
    d = tmp_path / "d"
    tables = {n: (d / n).read_bytes() for n in (*results.TABLES, "timings.csv")}
    results.write(d, config, tables)

    def fields(*folders):
        return {
            row.pop("field"): tuple(row.values())
            for row in table_of(content_of(*folders), "studies")
        }

    found = fields(a, b)
    assert found.pop("trials")[0].startswith("2 (digest ")
    assert found == {RATE: ("0.1, 0.3", "0.1, 0.7")}
    assert fields(a, c) == {
        "question": ("How does the learning rate change training?", "Else?"),
        "root_seed": ("0", "3"),
    }
    assert fields(a, d) == {
        "version of jax": ("0.10.2", "9.9"),
        "device": ("2 CPU devices", "4 x TPU v5e"),
    }
    assert "differ in version of jax and device." in said(a, d)
    same = make(tmp_path / "same")
    assert "Studies, data, versions and devices are the same." in said(a, same)
    assert "a and same found the same, to the last byte." in said(a, same)
    assert not any(s.anchor == "studies" for s in content_of(a, same).sections)


def test_what_did_not_finish_is_told(tmp_path):
    a = make(tmp_path / "a")
    cut = make(tmp_path / "cut", never_ran=[1])
    programs = [{"model.hidden": (h,)} for h in (8, 16)]
    failed = make(tmp_path / "failed", sweep=programs, failures={0: "x"}, never_ran=[0])
    lost = {(t, s): 2 for t in range(2) for s in range(5)}
    nothing = make(tmp_path / "nothing", diverged=lost)
    text = said(a, cut, failed, nothing)
    assert "cut: The run was interrupted: 1 of 2 trials has not run; best" in text
    assert "failed: 1 of 2 trials is missing because its program failed" in text
    assert "nothing has no best trial, and is not compared." in text
    with at_work(cut):
        assert "cut: The run is still training" in said(a, cut)
        rows = table_of(content_of(a, cut), "runs")
    assert [row["status"] for row in rows] == ["complete", "running"]


@contextlib.contextmanager
def at_work(folder):
    """Holds the lock of a run, as `files.alone_in` does."""
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(descriptor)


def test_runs_of_one_name_get_names_that_differ(tmp_path):
    places = [tmp_path / p for p in ("x/a", "y/a", "y/z/a", "b")]
    names = compare.distinct_names(places)
    assert names == ["x/a", "y/a", "z/a", "b"]
    assert compare.distinct_names([tmp_path / "p/q/a", tmp_path / "r/q/a"]) == [
        "p/q/a",
        "r/q/a",
    ]


def test_the_comparison_is_written_with_its_tables(tmp_path):
    a, b = make(tmp_path / "a", 0.9), make(tmp_path / "b", 0.95)
    page = compare.write(compare.load([a, b]), tmp_path / "new" / "both")
    assert page == tmp_path / "new" / "both" / "report.html"
    text = page.read_text()
    assert "default-src 'none'" in text
    assert text.count("<svg") == text.count("<figure") == 3
    names = re.findall(r'role="img" aria-label="([^"]*)"', text)
    assert all("At the end: 9" in n or "loss" in n for n in names)
    assert not re.search(r"\bnan\b|\binf\b|None", text)
    markdown = (page.parent / "report.md").read_text()
    assert re.findall("^## (.*)", markdown, flags=re.M) == [
        "Best against best",
        "Learning curves of the best trials",
        "All trials",
        "The runs",
        "Costs",
    ]
    with (page.parent / compare.TRIALS).open() as lines:
        rows = list(csv.DictReader(lines))
    assert [(r["run"], r["index"], r["best"]) for r in rows] == [
        *(("a", "0", "false"), ("a", "1", "true")),
        *(("b", "0", "false"), ("b", "1", "true")),
    ]
    assert float(rows[3]["test_accuracy_mean"]) == pytest.approx(0.95, abs=0.003)
    with (page.parent / compare.BESTS).open() as lines:
        (row,) = csv.DictReader(lines)
    (found,) = compare.load([a, b]).differences
    assert float(row["mean"]) == pytest.approx(found.mean)
    assert (row["resolved"], row["method"], row["n"]) == ("true", "paired", "5")


def test_an_earlier_comparison_is_written_over_and_nothing_else(tmp_path):
    a, b, c = (make(tmp_path / n, 0.9 + i / 50) for i, n in enumerate("abc"))
    target = tmp_path / "both"
    before = compare.write(compare.load([a, b]), target).read_bytes()
    assert compare.write(compare.load([b, c]), target).read_bytes() != before
    assert compare.write(compare.load([a, b]), target).read_bytes() == before
    inner = {p: p.read_bytes() for p in c.rglob("*") if p.is_file()}
    with folders.refused(FileExistsError, "holds a run's results"):
        compare.write(compare.load([a, b]), c)
    assert inner == {p: p.read_bytes() for p in c.rglob("*") if p.is_file()}
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "report.html").write_text("mine")
    with folders.refused(FileExistsError, "no earlier comparison", "mine"):
        compare.write(compare.load([a, b]), mine)
    assert [p.name for p in mine.iterdir()] == ["report.html"]
    with folders.refused(FileExistsError, "is a file"):
        compare.write(compare.load([a, b]), mine / "report.html")
    (target / "figures").rename(tmp_path / "elsewhere")
    (target / "figures").symlink_to(tmp_path / "elsewhere")
    with folders.refused(ValueError, "is a link"):
        compare.write(compare.load([a, b]), target)


def test_mistakes_are_refused_in_a_line(tmp_path):
    a = make(tmp_path / "a")
    (tmp_path / "empty").mkdir()
    with folders.refused(ValueError, "takes two workdirs or more", "a"):
        compare.load([a])
    with folders.refused(ValueError, "is named twice"):
        compare.load([a, tmp_path / "empty" / ".." / "a"])
    with folders.refused(FileNotFoundError, "no folder"):
        compare.load([a, tmp_path / "b"])
    with folders.refused(FileNotFoundError, "holds no results", "empty"):
        compare.load([a, tmp_path / "empty"])


def test_texts_of_users_are_escaped(tmp_path):
    evil = "<script>alert(1)</script>"
    a = make(tmp_path / "<img src=x>", question=evil)
    b = make(tmp_path / "`b` | *b*", sweep=[{RATE: 1.0, "label": evil}, {RATE: 2.0}])
    page = compare.write(compare.load([a, b]), tmp_path / "both")
    text = page.read_text()
    assert text.count("<script") == 1
    assert "<img" not in text
    markdown = (page.parent / "report.md").read_text()
    assert "<script" not in markdown
    assert "<img" not in markdown
    rows = [line for line in markdown.splitlines() if line.startswith("| ")]
    first = [r for r in rows if r.startswith("| left |")]
    assert {len(re.findall(r"(?<!\\)\|", r)) for r in (*first, rows[2])} == {11}


def test_trees_and_many_runs_have_their_place(tmp_path):
    runs = [make(tmp_path / str(n), 0.9 + n / 500) for n in range(8)]
    trees = synthetic.beside_trees(0.9, trees=0.99, workdir=tmp_path / "trees")
    page = compare.write(compare.load([*runs, trees.workdir]), tmp_path / "all")
    text = page.read_text()
    assert '<h1 id="answer">Which of 9 runs is best?</h1>' in text
    assert "2 more stand in the table" in text
    rows = table_of(content_of(*runs, trees.workdir), "bests")
    assert len(rows) == 36
