# SPDX-License-Identifier: Apache-2.0
"""A copied table holds the texts of the report, whatever is in them."""

import html
import io
import re

import pandas as pd
import pytest
import synthetic

from nnlab import report
from nnlab.report import copies
from nnlab.report.sections import Table
from nnlab.results import cells

HOSTILE = (
    "a|b & c_d # $x$ {y} ~z ^w \\v % u",
    "[0.1] <b>bold</b> *c* `d` https://e.example @f",
    "=1+1",
    "tab\there\nand a line",
    "−6 ± 3",  # noqa: RUF001
    "",
    "* a--b --- c-",
    '"a" and b',
    "+4.8 points (−1 to 3)",  # noqa: RUF001
    "−3",  # noqa: RUF001
)
TABLE = Table(("trial", "test accuracy, %"), tuple(zip(HOSTILE, HOSTILE[::-1])))
WANTED = [[" ".join(c.split()) for c in row] for row in (TABLE.header, *TABLE.rows)]


def test_markdown_reads_back():
    rows = copies.markdown(TABLE).splitlines()
    assert rows.pop(1) == "| --- | --- |"
    read = []
    for row in rows:
        inner = re.split(r"(?<!\\)\|", row)[1:-1]
        plain = (re.sub(r"\\([^A-Za-z0-9\s])", r"\1", text.strip()) for text in inner)
        read.append([re.sub(r"www\\\.", "www.", html.unescape(t)) for t in plain])
    assert read == WANTED


def test_tabs_read_back_and_nothing_is_computed():
    text = copies.tsv(TABLE)
    options = {"sep": "\t", "header": None, "keep_default_na": False}
    read = pd.read_csv(io.StringIO(text), **options)
    assert [[*map(cells.original, row)] for row in read.to_numpy()] == WANTED
    assert not re.search(r"(^|\t)[=@]", text, flags=re.MULTILINE)


FORMULAS = ("+1+1", "-1 SUM(A1)", "+1 cmd|' /C calc'!A0", "-2*A1", "+A1 points", "+1-a")
NUMBERS = ("+4.8 points", "+1.3 points (0.8 to 1.8)", "-0.5 nats", "+1,024 updates")


@pytest.mark.parametrize("text", [*FORMULAS, *NUMBERS])
def test_a_number_with_its_unit_is_no_formula(text):
    table = Table(("trial", "effect"), (("a", text),))
    sign = "'" if text in FORMULAS else ""
    assert copies.tsv(table).endswith(f"\t{sign}{text}\n")


LATEX = {
    r"\textbackslash{}": "\\",
    r"\textasciitilde{}": "~",
    r"\textasciicircum{}": "^",
    r"\textless{}": "<",
    r"\textgreater{}": ">",
    r"\textbar{}": "|",
    "{[}": "[",
    "{]}": "]",
    "{*}": "*",
    "-{}": "-",
    "$-$": "−",  # noqa: RUF001
    r"$\pm$": "±",
    **{f"\\{c}": c for c in "%&_#${}"},
}


def test_latex_is_a_tabular_whose_cells_read_back():
    top, rule, header, middle, *rows, bottom, end = copies.latex(TABLE).splitlines()
    assert (top, end) == (r"\begin{tabular}{ll}", r"\end{tabular}")
    assert (rule, middle, bottom) == (r"\toprule", r"\midrule", r"\bottomrule")
    spelt = re.compile("|".join(map(re.escape, LATEX)))
    read = []
    for row in (header, *rows):
        assert row.endswith(r" \\")
        parts = re.split(r"(?<!\\)&", row.removesuffix(r" \\"))
        for part in parts:  # what is left has no meaning to LaTeX
            assert not re.search(r"[%&_#$~^\\{}]", spelt.sub("", part))
            assert not part.startswith(("[", "*"))  # read with the row before
            assert "--" not in part  # a dash
        read.append([spelt.sub(lambda m: LATEX[m[0]], part).strip() for part in parts])
    assert read == WANTED


def test_numbers_are_flush_right_in_latex():
    rows = (("a", "97 ± 2", "no", "–"), ("b", "best", "yes", "< 0.001"))  # noqa: RUF001
    text = copies.latex(Table(("trial", "test", "significant", "p"), rows))
    assert text.startswith(r"\begin{tabular}{lrlr}")


def test_every_table_is_written_in_each_format(tmp_path):
    found = synthetic.findings(num_trials=3, target=0.9)
    sections = report.content(found).sections
    names = {s.anchor for s in sections if s.tables}
    folder = copies.write(sections, tmp_path, ("latex", "tsv"))
    stems = {path.stem for path in folder.iterdir()}
    assert {"comparison", "how"} <= names <= stems
    assert {path.suffix for path in folder.iterdir()} == {".tex", ".tsv"}
    with pytest.raises(ValueError, match="'latx'; did you mean 'latex'"):
        copies.write(sections, tmp_path, ("latx",))
