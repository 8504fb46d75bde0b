# SPDX-License-Identifier: Apache-2.0
"""A spreadsheet computes no text of a table, and nnlab reads each back unchanged."""

import csv
import io

import pyarrow as pa
import pyarrow.csv
from hypothesis import given
from hypothesis import strategies as st

from nnlab.results import cells

FORMULAS = ("=1+1", "+A1", "-1+1", "@SUM(A1)", "\tx", "\r=1", "-")
FORMULAS += ("\uff1d1", "\uff0b1", "\uff0d1", "\uff20a")  # of East Asian keyboards
PLAIN = ("-0.5", "+3", "-1e-3", "'hello", "a=1", "", "é", "a,b", '"', " =1")


def written(*labels):
    table = pa.table({"label": labels, "-x": [-0.5] * len(labels)})
    content = cells.encoded(table)
    header, *rows = csv.reader(io.StringIO(content.decode(), newline=""))
    return table, content, header, [row[0] for row in rows]


def test_what_begins_like_a_formula_is_shown():
    _, _, header, found = written(*FORMULAS)
    assert found == [f"'{one}" for one in FORMULAS]
    assert header == ["label", "'-x"]


def test_other_tables_do_not_change_by_a_byte():
    table, _, _, _ = written(*PLAIN)
    table = table.rename_columns(["label", "x"])
    usual = io.BytesIO()
    pyarrow.csv.write_csv(table, usual)
    assert cells.encoded(table) == usual.getvalue()


@given(st.text("'=-@1.ae \t＝", max_size=6))  # noqa: RUF001
def test_a_text_is_read_as_it_was_written(text):
    table, content, _, (found,) = written(text)
    assert cells.original(found) == text
    if text:  # a table has no empty text
        read = pyarrow.csv.read_csv(
            io.BytesIO(content),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={"label": pa.string()}
            ),
        )
        assert cells.decoded(read).equals(table)
