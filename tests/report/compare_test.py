# SPDX-License-Identifier: Apache-2.0
"""A comparison of runs says what their tables say, and overwrites nothing else."""

import functools
import re

import folders
import numpy as np
import pandas as pd
import pytest
import synthetic
from answered import World
from shown import store_again

from nnlab import results
from nnlab.machine import files
from nnlab.report import compare
from nnlab.words import numbers

RATE = "optimizer.learning_rate"


PROGRAMS = [{"model.hidden": (h,)} for h in (8, 16)]
MADE = {
    "a": {},
    "same": {},
    "b": {"level": 0.95},
    "c": {"level": 0.99, "digest": "1" * 64},
    "rate": {"sweep": [{RATE: 0.1}, {RATE: 0.7}]},
    "else": {"fields": {"root_seed": 3}, "question": "Else?"},
    "cut": {"never_ran": [1]},
    "failed": {"sweep": PROGRAMS, "failures": {0: "x"}, "never_ran": [0]},
    "nothing": {"diverged": {(t, s): 2 for t in range(2) for s in range(5)}},
}


def make(folder, level=0.9, digest=None, **options):
    """A run of two trials and five seeds, with the best trial's final accuracy."""
    noise = np.random.default_rng(int(1e4 * level)).normal(0, 0.002, (2, 5))
    values = np.array([[level - 0.1], [level]]) + noise
    options = {"sweep": [{RATE: 0.1}, {RATE: 0.3}], "num_evaluations": 4, **options}
    config = synthetic.results(values, workdir=folder, **options).config
    if digest:
        config["datasets"]["digits"]["digest"] = digest
        store_again(folder, config)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Returns the folders of some of `MADE`, which no test changes."""
    root = tmp_path_factory.mktemp("runs")
    one = functools.cache(lambda name: make(root / name, **MADE[name]))
    return lambda *names: tuple(map(one, names))


def said(*workdirs):
    return " ".join(compare.sentences(compare.load(workdirs)))


def table_of(content, anchor):
    (section,) = (s for s in content.sections if s.anchor == anchor)
    (table,) = section.tables
    return [dict(zip(table.header, row)) for row in table.rows]


def content_of(*workdirs):
    return compare.content(compare.load(workdirs))


def test_it_says_which_best_is_better_by_how_much_and_how_sure(made):
    a, b, same = made("a", "b", "same")
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
    assert "That is equal to that of" in said(a, same)
    (row,) = table_of(content_of(a, b), "bests")
    assert row["left minus right, points"] == f"\u2212{points}"
    assert (row["n, over"], row["compared"]) == ("5 seeds", "paired")
    assert (row["p (adjusted)"], row["significant"]) == ("< 0.001", "yes")


def test_it_says_over_what_and_which_difference_would_show():
    runs = []
    for name, right in zip("ab", World(8, 300).draw(np.random.default_rng(0))):
        correct = {"validation": right[None], "test": right[None]}
        found = synthetic.findings(correct=correct, sweep=synthetic.labelled(1))
        found.results.config["manifest"] = {"curves.parquet": name, "members.csv": name}
        runs.append(compare.Run(name, found, "complete"))
    runs = compare.Runs(runs)
    content = compare.content(runs)
    assert "significant over seeds and examples (paired over 8" in content.answer[1]
    (row,) = table_of(content, "bests")
    (found,) = runs.differences
    assert row["n, over"] == "8 seeds and examples"
    both, alone = map(numbers.p_text, (found.p_holm, found.p_seeds))
    assert row["p (over seeds alone)"] == f"{both} ({alone})"
    shows = f"a difference of {100 * found.detectable:.2g} points would show in 80 %"
    assert shows in row["remarks"]


def test_the_best_by_validation_may_be_below_on_the_test_set(made, tmp_path):
    (a,) = made("a")
    values = np.full((1, 5), 0.95) + np.arange(5) / 1_000
    found = synthetic.results(
        {"validation_accuracy": values, "test_accuracy": values - 0.1},
        sweep=[{RATE: 0.1}],
        workdir=tmp_path / "b",
    )
    text = said(a, found.workdir)
    assert "is b, with a test accuracy of 85.2 % ± 0.2" in text
    assert re.search(r"That is 4\.\d+ ± 0\.\d+ points below that of a", text)


def test_different_test_data_are_not_compared(made, tmp_path):
    a, b, c = made("a", "b", "c")
    text = said(a, b, c)
    assert "Results on different test data are not compared." in text
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


def test_exactly_what_differs_is_listed(made, tmp_path):
    a, rate, other, same = made("a", "rate", "else", "same")
    d = make(tmp_path / "d")
    config = results.load(d).config
    config["versions"]["jax"] = "9.9"
    config["devices"] = {"platform": "tpu", "kind": "TPU v5e", "count": 4}
    store_again(d, config)

    def fields(*folders):
        return {
            row.pop("field"): tuple(row.values())
            for row in table_of(content_of(*folders), "studies")
        }

    found = fields(a, rate)
    assert found.pop("trials")[0].startswith("2 (digest ")
    assert found == {RATE: ("0.1, 0.3", "0.1, 0.7")}
    assert fields(a, other) == {
        "question": ("How does the learning rate change training?", "Else?"),
        "root_seed": ("0", "3"),
    }
    assert fields(a, d) == {
        "version of jax": ("0.10.2", "9.9"),
        "device": ("2 CPU devices", "4 x TPU v5e"),
    }
    assert "differ in version of jax and device." in said(a, d)
    assert "Studies, data, versions and devices are the same." in said(a, same)
    assert "a and same found the same, to the last byte." in said(a, same)
    assert not any(s.anchor == "studies" for s in content_of(a, same).sections)


def test_what_did_not_finish_is_told(made):
    a, cut, failed, nothing = made("a", "cut", "failed", "nothing")
    text = said(a, cut, failed, nothing)
    assert "cut: The run was interrupted: 1 of 2 trials has not run; best" in text
    assert "failed: 1 of 2 trials is missing because its program failed" in text
    assert "nothing has no best trial, and is not compared." in text
    with files.alone_in(cut):
        assert "cut: The run is still training" in said(a, cut)
        rows = table_of(content_of(a, cut), "runs")
    assert [row["status"] for row in rows] == ["complete", "running"]


@pytest.mark.parametrize(
    ("places", "names"),
    [
        (("x/a", "y/a", "y/z/a", "b"), ("x/a", "y/a", "z/a", "b")),
        (("p/q/a", "r/q/a"), ("p/q/a", "r/q/a")),
    ],
)
def test_runs_of_one_name_get_names_that_differ(tmp_path, places, names):
    assert compare.distinct_names([tmp_path / p for p in places]) == list(names)


def test_the_comparison_is_written_with_its_tables(made, tmp_path):
    a, b = made("a", "b")
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
        "The runs",
        "Costs",
    ]
    rows = pd.read_csv(page.parent / compare.TRIALS)
    assert rows[["run", "index", "best"]].values.tolist() == [
        *(["a", 0, False], ["a", 1, True]),
        *(["b", 0, False], ["b", 1, True]),
    ]
    assert rows["test_accuracy_mean"][3] == pytest.approx(0.95, abs=0.003)
    (row,) = pd.read_csv(page.parent / compare.BESTS).to_dict("records")
    (found,) = compare.load([a, b]).differences
    assert row["mean"] == pytest.approx(found.mean)
    assert (row["resolved"], row["method"], row["n"]) == (True, "paired", 5)


def test_an_earlier_comparison_is_written_over_and_nothing_else(made, tmp_path):
    a, b, c = made("a", "b", "c")
    target = tmp_path / "both"
    before = compare.write(compare.load([a, b]), target).read_bytes()
    assert compare.write(compare.load([b, c]), target).read_bytes() != before
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


def test_mistakes_are_refused_in_a_line(made, tmp_path):
    (a,) = made("a")
    (tmp_path / "empty").mkdir()
    with folders.refused(ValueError, "takes two workdirs or more", "a"):
        compare.load([a])
    with folders.refused(ValueError, "is named twice"):
        compare.load([a, a.parent / "b" / ".." / "a"])
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
    assert text.count("<script") == 1 + text.count('<script type="application/json">')
    assert "<img" not in text
    markdown = (page.parent / "report.md").read_text()
    assert "<script" not in markdown
    assert "<img" not in markdown
    rows = [line for line in markdown.splitlines() if line.startswith("| ")]
    first = [r for r in rows if r.startswith("| left |")]
    assert {len(re.findall(r"(?<!\\)\|", r)) for r in (*first, rows[2])} == {11}


def test_trees_and_many_runs_have_their_place(made, tmp_path):
    many = [make(tmp_path / str(n), 0.9 + n / 500) for n in range(6)]
    trees = synthetic.beside_trees(0.9, trees=0.99, workdir=tmp_path / "trees")
    content = content_of(*made("a", "b"), *many, trees.workdir)
    assert content.title == "Which of 9 runs is best?"
    assert "2 more stand in the table." in content.answer
    assert len(table_of(content, "bests")) == 36
