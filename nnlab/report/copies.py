# SPDX-License-Identifier: Apache-2.0
"""Tables of a report as text for other documents: Markdown, LaTeX, tab-separated.

``templates/copy.js`` makes the same texts of the tables of a page.
"""

import pathlib
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from markupsafe import Markup

from nnlab.machine.files import make_folder, refuse_links, write_atomic
from nnlab.report.sections import Section, Table
from nnlab.results import cells
from nnlab.words import numbers
from nnlab.words.spelling import nearest

_LATEX = {
    **{c: f"\\{c}" for c in "%&_#${}"},
    **{
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
    },
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"},
    **{"[": "{[}", "]": "{]}"},  # at the start of a row they would be a length
    **{"−": "$-$", "±": r"$\pm$", "≤": r"$\leq$", "≥": r"$\geq$"},  # noqa: RUF001
    **{"–": "--", "…": r"\ldots{}"},  # noqa: RUF001
    **{"*": "{*}", "-": "-{}"},
}
"""What has a meaning in LaTeX, or no letter in its fonts."""
# A star has one behind the row before, and a hyphen before another, which is a dash.
_MEANING = re.compile(rf"^\*|-(?=-)|[{re.escape(''.join({*_LATEX} - {*'*-'}))}]")
_NUMBER = re.compile(r"(x |< |[+−]?)\d|[–]?$|best$")  # noqa: RUF001
_MEASURED = re.compile(
    r"[+-][\d,]*\.?\d+([eE][+-]?\d+)?( ([a-z]+|%))*"
    r"( \(([\d.,+−\-% ]|to)*\))?"  # noqa: RUF001
)
"""A number with its sign, its unit and its interval, which no spreadsheet computes."""


def markdown(table: Table) -> str:
    """Returns a table in GitHub's Markdown."""
    rows = [table.header, ("---",) * len(table.header), *table.rows]
    shown = (
        [escape_markdown(c) if n != 1 else c for c in row] for n, row in enumerate(rows)
    )
    return "".join(f"|{''.join(f' {cell} |' for cell in row)}\n" for row in shown)


def latex(table: Table) -> str:
    r"""Returns a table as LaTeX's tabular, which needs ``\usepackage{booktabs}``.

    Columns of numbers are set flush right.
    """
    header, *rows = (
        " & ".join(map(_escape_latex, row)) + r" \\"
        for row in (table.header, *table.rows)
    )
    columns = [*zip(*table.rows)][1:]
    sides = "".join("r" if all(map(_NUMBER.match, c)) else "l" for c in columns)
    top = rf"\begin{{tabular}}{{l{sides}}}"
    lines = (top, r"\toprule", header, r"\midrule", *rows, r"\bottomrule")
    return "\n".join((*lines, r"\end{tabular}", ""))


def tsv(table: Table) -> str:
    """Returns a table with tabs between cells, for spreadsheets.

    A cell that a spreadsheet would compute has an apostrophe before it, and one that
    begins with a quotation mark is quoted.
    """
    rows = (map(_cell, row) for row in (table.header, *table.rows))
    return "".join("\t".join(row) + "\n" for row in rows)


class Format(NamedTuple):
    """How tables are written, and the suffix of their files."""

    write: Callable[[Table], str]
    suffix: str


FORMATS = {
    "markdown": Format(markdown, "md"),
    "latex": Format(latex, "tex"),
    "tsv": Format(tsv, "tsv"),
}


def format_of(name: str) -> Format:
    """Returns the format of that name.

    Raises:
      ValueError: there is none.
    """
    if name not in FORMATS:
        raise ValueError(f"unknown format of tables {name!r}{nearest(name, FORMATS)}")
    return FORMATS[name]


def write(
    sections: Iterable[Section], folder: pathlib.Path, formats: Iterable[str]
) -> pathlib.Path:
    """Writes all tables of a report as ``tables/comparison.tex`` and the like.

    Further tables of a section are called ``comparison_2`` and so on. Returns the
    folder ``tables`` in `folder`.

    Raises:
      ValueError: an unknown format, or that folder is a link.
    """
    target = folder / "tables"
    refuse_links(target)
    chosen = [format_of(name) for name in formats]
    make_folder(target)
    for section in sections:
        for number, table in enumerate(section.tables, 1):
            name = f"{section.anchor}_{number}" if number > 1 else section.anchor
            for one in chosen:
                text = one.write(table).encode()
                write_atomic(target / f"{name}.{one.suffix}", text, durable=False)
    return target


def _line(text: str) -> str:
    return numbers.visible(" ".join(text.split()))


def _cell(text: str) -> str:
    line = _line(text)
    if line.startswith('"'):
        return '"' + line.replace('"', '""') + '"'
    return line if _MEASURED.fullmatch(line) else cells.marked(line)


def _escape_latex(text: str) -> str:
    return _MEANING.sub(lambda match: _LATEX[match[0]], _line(text))


def escape_markdown(value: Any) -> str:
    """Escapes a text so that Markdown (CommonMark with GitHub's tables) shows it as is.

    `Markup`, which a template asks for with ``| safe``, passes unchanged.
    """
    if isinstance(value, Markup):
        return numbers.visible(value)
    text = _line(str(value))
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\`*_\[\]|~$#@])", r"\\\1", text)
    text = text.replace("://", r"\://").replace("www.", r"www\.")  # no links of its own
    text = re.sub(r"^([-+=])", r"\\\1", text)  # no list, nor a line below a heading
    return re.sub(r"^(\d+)(?=[.)]\s)", r"\1\\", text)
