# SPDX-License-Identifier: Apache-2.0
"""Rows as arrays equal the tables of rows of dicts, in less memory."""

import numpy as np
import pyarrow as pa
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from nnlab import results
from nnlab.results import rows
from nnlab.study.members import Members

TRIALS = tiny.study(tiny.rates(*np.geomspace(0.1, 1.0, 21))).trials()
NAMES = ("train_loss", "batch_loss", "grad_norm_b", "grad_norm_a", "active_share")


def members(trials, first_seed=0, num_seeds=2):
    return Members(0, tuple(TRIALS[t] for t in trials), first_seed, num_seeds)


@st.composite
def measured(draw, first=0):
    """A program's rows, of trials from a first one on, and the same as dicts."""
    some = st.integers(first, first + 6)
    trials = sorted(draw(st.sets(some, min_size=1, max_size=3)))
    of = members(trials, draw(st.integers(0, 2)), draw(st.integers(1, 3)))
    shape = len(trials), of.num_seeds
    made, plain = rows.Rows(of), {}

    def some():
        cells = draw(st.lists(st.booleans(), min_size=9, max_size=9))
        return np.resize(np.array(cells), shape)

    for step in draw(st.lists(st.integers(0, 9), unique=True, max_size=4)):
        has, rng = some(), np.random.default_rng(step)
        names = NAMES[: draw(st.integers(0, len(NAMES)))]
        values = {name: rng.choice([0.5, -2.0, np.nan], shape) for name in names}
        made.add(step, step / 2, 10 * step, values, has)
        for t, s in np.argwhere(has).tolist():
            key = trials[t], of.first_seed + s, step
            plain[key] = dict(zip(("trial", "seed", "step"), key))
            plain[key] |= {"epoch": step / 2, "examples": 10 * step}
            plain[key] |= {name: float(values[name][t, s]) for name in names}
    return of, made, plain


def equal(found: pa.Table, wanted: pa.Table) -> bool:
    if found.schema != wanted.schema:
        return False
    of = [[repr(c.to_pylist()) for c in one.columns] for one in (found, wanted)]
    return of[0] == of[1]


@settings(max_examples=50, deadline=None)
@given(st.tuples(*map(measured, (0, 7, 14))), st.integers(0, 3))
def test_tables_are_those_of_rows_of_dicts(parts, count):
    plain = {key: row for _, _, some in parts[:count] for key, row in some.items()}
    wanted = results.table([plain[key] for key in sorted(plain)], results.CURVES)
    assert equal(rows.curves_table([made for _, made, _ in parts[:count]]), wanted)


@settings(max_examples=50, deadline=None)
@given(measured())
def test_rows_come_back_from_their_arrays(part):
    of, made, _ = part
    made.status[0, 0], made.steps[0, 0], made.at_chance[0, 0] = rows.DIVERGED, 7, True
    made.best_score[-1, -1] = 0.25
    here = np.zeros(made.status.shape, bool)
    here[0, 0] = True
    made.more.put("diverged_step", 7, here)
    made.more.put("diverged_layer", "output", here)
    arrays = made.to_arrays()
    assert {(a.dtype, a.ndim) for a in arrays.values()} == {(np.dtype(np.uint8), 1)}
    again = rows.Rows.from_arrays(of, arrays)
    assert equal(rows.curves_table([again]), rows.curves_table([made]))
    assert equal(rows.members_table([again]), rows.members_table([made]))
    assert np.array_equal(again.best_score, made.best_score)
    again.more.put("diverged_layer", "a_layer_of_a_longer_name", ~here)
    found = rows.members_table([again])["diverged_layer"].to_pylist()
    assert found[0] == "output"
    assert set(found[1:]) <= {"a_layer_of_a_longer_name"}


def test_members_that_are_missing_are_unfinished():
    table = rows.members_table([rows.Rows(members([1, 4]))], [(1, 2), (0, 0)])
    assert table.column_names == list(results.MEMBERS)
    pairs = zip(table["trial"].to_pylist(), table["seed"].to_pylist())
    assert [*pairs] == [(0, 0), (1, 0), (1, 1), (1, 2), (4, 0), (4, 1)]
    assert set(table["status"].to_pylist()) == {results.UNFINISHED}
    assert set(table["steps"].to_pylist()) == {0}
    assert table["best_step"].null_count == 6


def test_columns_are_added_to_each_members_own_row():
    made, everyone = rows.Rows(members([0, 1])), np.ones((2, 2), bool)
    for step in (0, 4):
        made.add(step, 0.0, 0, {"test_loss": float(step)}, everyone)
    steps = np.array([[0, 4], [4, 0]])
    kept = np.array([[True, True], [True, False]])
    values = {"test_moved_loss": np.array([[1.0, 2.0], [3.0, 4.0]])}
    made.add_at(steps, values, kept)

    def moved():
        found = rows.curves_table([made]).to_pylist()
        return {
            (row["trial"], row["seed"], row["step"]): row["test_moved_loss"]
            for row in found
            if row["test_moved_loss"] is not None
        }

    assert moved() == {(0, 0, 0): 1.0, (0, 1, 4): 2.0, (1, 0, 4): 3.0}
    first = np.array([[True, False], [False, False]])
    made.forget_at(steps, lambda name: name.startswith("test_moved_"), first)
    assert moved() == {(0, 1, 4): 2.0, (1, 0, 4): 3.0}
    assert rows.curves_table([made])["test_loss"].null_count == 0


def test_nothing_makes_empty_tables():
    assert rows.curves_table([]).schema == results.table([], results.CURVES).schema
    assert rows.members_table([]).schema == results.table([], results.MEMBERS).schema


def test_columns_have_one_order_however_a_program_is_cut():
    """A row's later columns come last, even if another network's came sooner."""

    def made(of, saved=False):
        found, shape = rows.Rows(of), (len(of.trials), of.num_seeds)
        everyone = np.ones(shape, bool)
        found.add(0, 0.0, 0, {"share": np.zeros(shape)}, everyone)
        later = {"share": np.zeros(shape), "grad_norm_a": np.zeros(shape)}
        found.add(8, 1.0, 8, later, everyone)
        if saved:
            found = rows.Rows.from_arrays(of, found.to_arrays())
        # Trial 0 is best at step 8, trial 1 at step 0.
        best = np.array([[8 * (trial.index == 0)] for trial in of.trials])
        found.add_at(best, {"active_share": np.zeros(shape)}, everyone)
        return rows.Rows.from_arrays(of, found.to_arrays()) if saved else found

    whole, parts = members([0, 1], 0, 1), [members([0], 0, 1), members([1], 0, 1)]
    names = rows.curves_table([made(whole)]).column_names
    assert names[-3:] == ["share", "grad_norm_a", "active_share"]
    for saved in (False, True):
        cut = [made(part, saved) for part in parts]
        assert rows.curves_table(cut).column_names == names
        assert rows.curves_table([made(whole, saved)]).column_names == names
