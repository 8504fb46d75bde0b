# SPDX-License-Identifier: Apache-2.0
"""Tables as CSV that a spreadsheet shows and does not compute.

A text that a spreadsheet would take for a formula gets an apostrophe before it, which
is taken off when it is read here; no other text changes.
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
    """A table as CSV; `original` gives its texts back."""
    buffer = io.BytesIO()
    columns = [_changed(column, _marked) for column in table.columns]
    names = [_marked(name) for name in table.column_names]
    pyarrow.csv.write_csv(pa.table(columns, names), buffer)
    return buffer.getvalue()


def decoded(table: pa.Table) -> pa.Table:
    """A table that was read from such a CSV, with its own texts."""
    columns = [_changed(column, original) for column in table.columns]
    return pa.table(columns, [original(name) for name in table.column_names])


def original(text: str) -> str:
    """What `encoded` was given for this text."""
    return text[1:] if text.startswith("'") and _computes(text) else text


def _marked(text: str) -> str:
    return f"'{text}" if _computes(text) else text


def _computes(text: str) -> bool:
    """Whether a text, without apostrophes at its start, is like a formula."""
    bare = text.lstrip("'")
    return bool(re.match(_STARTS, bare)) and not _NUMBER.fullmatch(bare)


def _changed(column: pa.ChunkedArray, change: Callable[[str], str]) -> pa.ChunkedArray:
    if not pa.types.is_string(column.type):
        return column
    if not pc.any(pc.match_substring_regex(column, f"^'*{_STARTS}")).as_py():
        return column  # as nearly all
    texts = [None if one is None else change(one) for one in column.to_pylist()]
    return pa.chunked_array([pa.array(texts, column.type)])
