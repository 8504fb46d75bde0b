# SPDX-License-Identifier: Apache-2.0
"""Holds the measurements of a program's members as arrays, for the tables; no JAX.

The curves have a row for each member and evaluation, which soon makes a million. They
are arrays over trials and seeds, never objects.
"""

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nnlab import results
from nnlab.results.tables import ACCURACIES
from nnlab.study.members import Members

_STATUSES = np.array(results.STATUSES)
FINISHED, STOPPED, DIVERGED, DROPPED, UNFINISHED = range(len(results.STATUSES))
"""Codes of the statuses, in the order of `results.STATUSES`."""

_BEST = "best_accuracy"
"""Column of a checkpoint with `Rows.best_score`."""


def no_members() -> np.ndarray:
    """Returns `Rows.counts` of no members."""
    return np.zeros(len(_STATUSES), np.int64)


class Grid:
    """Named values of a program's members; unknown ones are masked."""

    def __init__(self, shape: tuple[int, int]) -> None:
        """Begins without columns; `shape` is (T, S)."""
        self._shape = shape
        self._columns: dict[str, np.ma.MaskedArray] = {}

    def put(self, name: str, values: Any, where: np.ndarray) -> None:
        """Sets a column to values, (T, S) or one for all, for members, bool (T, S)."""
        if not where.any():
            return
        values = np.broadcast_to(values, self._shape)
        held: Any = self._columns.get(name, _unknown(self._shape, values.dtype))
        wide = np.promote_types(held.dtype, values.dtype)  # longer texts
        self._columns[name] = held.astype(wide, copy=False)
        self._columns[name][where] = values[where]

    def get(self, name: str, otherwise: Any) -> Any:
        """Returns a column, (T, S), or else `otherwise`; some values may be unknown."""
        return self._columns[name].data if name in self._columns else otherwise

    def forget(self, names: Callable[[str], bool], where: np.ndarray) -> None:
        """Masks some columns of some members, bool (T, S)."""
        for name in filter(names, self._columns):
            self._columns[name][where] = np.ma.masked

    def taken(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the columns, (R,) each, of some members, bool (T, S)."""
        return {name: held[rows] for name, held in self._columns.items()}


@dataclasses.dataclass
class _Evaluation:
    """The measurements after some steps, of the members `rows`, bool (T, S)."""

    epoch: float
    examples: int
    rows: np.ndarray
    values: Grid


class Rows:
    """The curves and the members of a program.

    Attributes:
      members: the members.
      status: a code such as `FINISHED` for each member, int8 (T, S).
      steps: at its last evaluation, or where it diverged, int64 (T, S).
      at_chance: whether it ended at chance, bool (T, S).
      best_score: the highest on validation data so far, float64 (T, S).
      more: columns of the members table that some members lack.
    """

    def __init__(self, members: Members) -> None:
        self.members = members
        self._trials = np.array([trial.index for trial in members.trials])
        self._seeds = np.array(members.seeds)
        self._shape = shape = len(self._trials), len(self._seeds)
        self.status = np.full(shape, UNFINISHED, np.int8)
        self.steps = np.zeros(shape, np.int64)
        self.at_chance = np.zeros(shape, bool)
        self.best_score = np.full(shape, -np.inf)
        self.more = Grid(shape)
        self._evaluations: dict[int, _Evaluation] = {}
        # The order of columns, which does not depend on the order of members' ends.
        self._names: tuple[dict[str, None], dict[str, None]] = {}, {}

    def counts(self) -> np.ndarray:
        """Counts the members with each status, int (statuses,)."""
        return np.bincount(self.status.reshape(-1), minlength=len(_STATUSES))

    def has_status(self, *statuses: int) -> np.ndarray:
        """Returns which members have one of the statuses, bool (T, S)."""
        return np.isin(self.status, statuses)

    def add(
        self,
        step: int,
        epoch: float,
        examples: int,
        values: Mapping[str, Any],
        rows: np.ndarray,
    ) -> None:
        """Adds the measurements at a step of the members `rows`, bool (T, S).

        `values` has columns by name, (T, S) each, or one value for all.
        """
        if not rows.any():
            return
        if step not in self._evaluations:
            nobody = np.zeros(self._shape, bool)
            self._evaluations[step] = _Evaluation(
                epoch, examples, nobody, Grid(self._shape)
            )
        found = self._evaluations[step]
        found.rows |= rows
        self._names[0].update(dict.fromkeys(values))
        for name, some in values.items():
            found.values.put(name, some, rows)

    def add_at(
        self, steps: np.ndarray, values: Mapping[str, Any], rows: np.ndarray
    ) -> None:
        """Adds columns, after all others, to existing rows, at a step (T, S) each."""
        self._names[1].update(dict.fromkeys(values))
        for step in np.unique(steps[rows]).tolist():
            for name, some in values.items():
                self._evaluations[step].values.put(name, some, rows & (steps == step))

    def forget_at(
        self, steps: np.ndarray, names: Callable[[str], bool], rows: np.ndarray
    ) -> None:
        """Undoes `add_at` for the columns that `names` accepts."""
        for step in np.unique(steps[rows]).tolist():
            self._evaluations[step].values.forget(names, rows & (steps == step))

    def end(self, members: np.ndarray, stopped: np.ndarray, chance: np.ndarray) -> None:
        """Notes that members ended with their training; all arrays are bool (T, S).

        Some of them `stopped` early, some are at `chance`.
        """
        self.status[members] = np.where(stopped, STOPPED, FINISHED)[members]
        self.at_chance[members] = chance[members]

    def diverge(
        self,
        lost: np.ndarray,
        steps: np.ndarray,
        norms: np.ndarray,
        layers: Sequence[str],
    ) -> None:
        """Notes at which steps, (T, S), the lost members, bool (T, S), diverged.

        A NaN spreads to every layer at once. So the layer that is named is the one with
        the largest last finite gradient. The norms of these are (T, S, layers), below 0
        for a member that never took a step.
        """
        self.status[lost] = DIVERGED
        self.at_chance[lost] = False
        self.steps[lost] = steps[lost]
        self.more.put("diverged_step", steps.astype(np.int64), lost)
        moved = lost & (norms.min(axis=-1) >= 0)
        self.more.put("diverged_layer", np.array(layers)[norms.argmax(axis=-1)], moved)
        for name, values in by_layer("last_grad_norm_", norms, layers).items():
            self.more.put(name, values, moved)

    def reopen(self) -> np.ndarray:
        """Lets finished members continue; returns which, bool (T, S)."""
        finished = self.has_status(FINISHED)
        self.status[finished] = UNFINISHED
        self.at_chance[finished] = False
        return finished

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Returns everything as named arrays, uint8 (N,) each, for `from_arrays`."""
        members = self._members()
        members = members.append_column(_BEST, [self.best_score.reshape(-1)])
        arrays = {"curves": _encoded(self._curves()), "members": _encoded(members)}
        names = json.dumps([list(some) for some in self._names]).encode()
        return {**arrays, "names": np.frombuffer(names, np.uint8)}

    @classmethod
    def from_arrays(cls, members: Members, arrays: Mapping[str, np.ndarray]) -> "Rows":
        """Restores the rows of the same members from `to_arrays`.

        Raises:
          KeyError: they are of other members, or an array is missing.
        """
        found = cls(members)
        codes = {name: code for code, name in enumerate(results.STATUSES)}
        for name, column in _columns(arrays["members"]).items():
            values = column.reshape(found._shape)
            if name == "status":
                found.status[:] = np.vectorize(codes.get)(values.data)
            elif name in ("steps", "at_chance"):
                getattr(found, name)[:] = values
            elif name == _BEST:
                found.best_score[:] = values
            elif name not in ("trial", "seed"):
                found.more.put(name, values.data, ~np.ma.getmaskarray(values))
        curves = _columns(arrays["curves"])
        place = {int(trial): t for t, trial in enumerate(found._trials)}
        keys = ("trial", "seed", "step", "epoch", "examples")
        trial, seed, steps, epochs, examples = (curves.pop(key).data for key in keys)
        at_trial = np.array([place[int(t)] for t in trial], int)
        for step in np.unique(steps).tolist():
            some = np.flatnonzero(steps == step)
            at = at_trial[some], seed[some] - members.first_seed
            rows = np.zeros(found._shape, bool)
            rows[at] = True
            found.add(step, float(epochs[some[0]]), int(examples[some[0]]), {}, rows)
            for name, column in curves.items():
                spread = _unknown(found._shape, column.dtype)
                spread[at] = column[some]
                known = ~np.ma.getmaskarray(spread)
                found._evaluations[step].values.put(name, spread.data, known)
        first, then = json.loads(arrays["names"].tobytes())
        found._names = dict.fromkeys(first), dict.fromkeys(then)
        return found

    def _curves(self) -> pa.Table:
        """Returns all rows of the curves, by step."""
        every = sorted(self._evaluations.items())
        none = np.empty(0, np.int64)
        at = [np.nonzero(one.rows) for _, one in every]
        sizes = [len(t) for t, _ in at]
        taken = [one.values.taken(one.rows) for _, one in every]
        columns = {
            "trial": np.concatenate([none, *(self._trials[t] for t, _ in at)]),
            "seed": np.concatenate([none, *(self._seeds[s] for _, s in at)]),
            "step": np.repeat([step for step, _ in every], sizes),
            "epoch": np.repeat([one.epoch for _, one in every], sizes),
            "examples": np.repeat([one.examples for _, one in every], sizes),
        }
        for name in dict.fromkeys([*self._names[0], *self._names[1]]):
            found = [some.get(name) for some in taken]
            of = [column.dtype for column in found if column is not None]
            if of:
                pieces = zip(found, sizes)
                columns[name] = np.ma.concatenate(
                    [_unknown(n, of[0]) if c is None else c for c, n in pieces]
                )
        return _table(columns, results.CURVES)

    def _members(self) -> pa.Table:
        t, s = np.indices(self._shape).reshape(2, -1)
        columns = {
            "trial": self._trials[t],
            "seed": self._seeds[s],
            "status": _STATUSES[self.status].reshape(-1),
            "at_chance": self.at_chance.reshape(-1),
            "steps": self.steps.reshape(-1),
        }
        columns |= self.more.taken(np.ones(self._shape, bool))
        return _table(columns, results.MEMBERS)


def means(
    sums: Mapping[str, Mapping[str, np.ndarray]], sizes: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """Divides sums by the sizes of their splits, into columns such as "test_loss".

    The sums are ``{split: {metric: (T, S)}}``.
    """
    return {
        f"{split}_{metric}": values.astype(np.float64) / sizes[split]
        for split, metrics in sums.items()
        for metric, values in metrics.items()
    }


def by_layer(
    prefix: str, values: np.ndarray, layers: Sequence[str]
) -> dict[str, np.ndarray]:
    """Splits values (T, S, layers) into a column for each layer, float64 (T, S)."""
    wide = values.astype(np.float64)
    return {f"{prefix}{name}": wide[..., i] for i, name in enumerate(layers)}


def plain_rows(
    values: Any, columns: Mapping[str, pa.DataType], *keys: str
) -> list[dict[str, Any]]:
    """Returns the rows of a table from plain values of unknown form.

    A row that lacks one of the keys, or has a value of another type, is refused
    (ValueError).
    """
    rows = [dict(row) for row in values]
    if any(results.table(rows, columns)[key].null_count for key in keys):
        raise ValueError(f"a row lacks {' or '.join(keys)}")
    return rows


def curves_table(
    parts: Iterable[Rows], columns: Mapping[str, pa.DataType] = results.CURVES
) -> pa.Table:
    """Returns the curves of several programs, sorted by trial, seed and step.

    The `columns` come first.
    """
    found = [part._curves() for part in parts]
    whole = _sorted(found, columns, "trial", "seed", "step")
    if "validation_r2" in whole.column_names:  # of a regression
        return whole.drop_columns([*ACCURACIES])
    return whole


def members_table(
    parts: Iterable[Rows], missing: Sequence[tuple[int, int]] = ()
) -> pa.Table:
    """Returns the members of several programs, sorted by trial and seed.

    Further members in `missing` (trial's index, seed) are unfinished.
    """
    trials, seeds = np.array(missing, np.int64).reshape(-1, 2).T
    nothing = {
        "trial": trials,
        "seed": seeds,
        "status": np.full(len(trials), results.UNFINISHED),
        "at_chance": np.zeros(len(trials), bool),
        "steps": np.zeros(len(trials), np.int64),
    }
    found = [*(part._members() for part in parts), _table(nothing, results.MEMBERS)]
    return _sorted(found, results.MEMBERS, "trial", "seed")


def _unknown(shape: int | tuple[int, ...], of: np.dtype[Any]) -> np.ma.MaskedArray:
    return np.ma.array(np.zeros(shape, of), mask=True)


def _table(
    columns: Mapping[str, np.ndarray], types: Mapping[str, pa.DataType]
) -> pa.Table:
    """Makes a table of columns (R,), masked where unknown; some have fixed types."""
    return pa.table({n: results.array(c, types.get(n)) for n, c in columns.items()})


def _sorted(
    parts: Iterable[pa.Table], types: Mapping[str, pa.DataType], *keys: str
) -> pa.Table:
    """Joins and sorts rows; what a part lacks is null there.

    The fixed columns come first, then the others in the order in which rows have them.
    """
    none = pa.schema(types.items()).empty_table()
    whole = pa.concat_tables([none, *parts], promote_options="default")
    whole = whole.sort_by([(key, "ascending") for key in keys])
    more = whole.column_names[len(types) :]
    first = {name: pc.index(whole[name].is_valid(), True).as_py() for name in more}
    others = sorted((name for name in more if first[name] >= 0), key=first.__getitem__)
    return whole.select([*types, *others]).combine_chunks()


def _columns(content: np.ndarray) -> dict[str, np.ma.MaskedArray]:
    """Returns the columns, (R,) each, that `_encoded` stored."""
    with pa.ipc.open_file(pa.BufferReader(content.tobytes())) as reader:
        table = reader.read_all()
    found = {}
    for name in table.column_names:
        column = table[name].combine_chunks()
        known = np.asarray(column.is_valid())
        is_text = pa.types.is_string(column.type)
        if column.null_count:
            column = column.fill_null(pa.scalar("" if is_text else 0, column.type))
        values = column.to_numpy(zero_copy_only=False)
        found[name] = np.ma.array(
            values.astype(str) if is_text else values, mask=~known
        )
    return found


def _encoded(table: pa.Table) -> np.ndarray:
    """Returns a table in Arrow's file format, uint8 (N,)."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return np.frombuffer(sink.getvalue(), np.uint8)
