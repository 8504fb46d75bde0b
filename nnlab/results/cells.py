# SPDX-License-Identifier: Apache-2.0
"""Writes tables as CSV that a spreadsheet shows without computing formulas.

A text that a spreadsheet would take for a formula gets an apostrophe before it, which
is removed on reading; no other text changes.
"""

import io
import re
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

_STARTS = r"[=+\-@\t\r\n＝＋－＠]"  # noqa: RUF001
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def encoded(table: pa.Table) -> bytes:
    """Returns a table as CSV; `original` restores its texts."""
    buffer = io.BytesIO()
    columns = [_changed(column, marked) for column in table.columns]
    names = [marked(name) for name in table.column_names]
    pyarrow.csv.write_csv(pa.table(columns, names), buffer)
    return buffer.getvalue()


def decoded(table: pa.Table) -> pa.Table:
    """Restores the texts of a table that was read from such a CSV."""
    columns = [_changed(column, original) for column in table.columns]
    return pa.table(columns, [original(name) for name in table.column_names])


def original(text: str) -> str:
    """Returns the text that `encoded` was given."""
    return text[1:] if text.startswith("'") and _computes(text) else text


def marked(text: str) -> str:
    """Returns a text with an apostrophe before it if it looks like a formula."""
    return f"'{text}" if _computes(text) else text


def _computes(text: str) -> bool:
    """Returns whether a text, without its first apostrophes, looks like a formula."""
    bare = text.lstrip("'")
    return bool(re.match(_STARTS, bare)) and not _NUMBER.fullmatch(bare)


def _changed(column: pa.ChunkedArray, change: Callable[[str], str]) -> pa.ChunkedArray:
    if not pa.types.is_string(column.type):
        return column
    if not pc.any(pc.match_substring_regex(column, f"^'*{_STARTS}")).as_py():
        return column  # the usual case
    texts = [None if one is None else change(one) for one in column.to_pylist()]
    return pa.chunked_array([pa.array(texts, column.type)])
