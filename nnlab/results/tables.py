# SPDX-License-Identifier: Apache-2.0
"""Writes and reads the tidy tables of a workdir, with their provenance; no JAX.

``config.json`` says what ran, ``curves.parquet`` has a row for each (trial, seed,
evaluation), ``members.csv`` a row for each network, ``timings.csv`` all measured times,
``probes.parquet`` a row for each (trial, seed, step) at which probes measured.
`summary.summarize` makes ``summary.csv`` from them.
"""

import csv
import dataclasses
import functools
import hashlib
import io
import json
import logging
import math
import os
import pathlib
import types
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from nnlab.machine.files import (
    absolute,
    make_folder,
    read_digest,
    write_atomic,
    write_digest,
)
from nnlab.results import answers, cells, pictures
from nnlab.results.answers import Answers
from nnlab.study import OF_TRIAL, SCORES, Quantity, Study, Trial, digest_json
from nnlab.study.hyperparameters import AUTO
from nnlab.study.members import Members, lacking
from nnlab.study.study import METRIC
from nnlab.words.spelling import nearest, nearest_file

_log = logging.getLogger(__name__)

FINISHED, STOPPED, DIVERGED, DROPPED, UNFINISHED = STATUSES = (
    "finished",
    "stopped",
    "diverged",
    "dropped",
    "unfinished",
)
"""How a member ended; "dropped" is by successive halving, at a rung."""
_KEYS = {"trial": pa.int32(), "seed": pa.int32()}
PROBES: dict[str, pa.DataType] = {
    **_KEYS,
    "step": pa.int64(),
    "epoch": pa.float64(),
    "examples": pa.int64(),
}
CURVES: dict[str, pa.DataType] = {
    **PROBES,
    **dict.fromkeys(("batch_loss", "batch_loss_std"), pa.float64()),
    **{
        f"{split}_{metric}": pa.float64()
        for split in ("train", "validation", "test")
        for metric in ("loss", "accuracy")
    },
}
ACCURACIES = {name for name in CURVES if name.endswith("accuracy")}
"""Columns of the curves that a regression does not have."""
MEMBERS: dict[str, pa.DataType] = {
    **_KEYS,
    "status": pa.string(),
    "at_chance": pa.bool_(),
    **dict.fromkeys(("steps", "best_step", "diverged_step"), pa.int64()),
    "diverged_layer": pa.string(),
}
TIMINGS: dict[str, pa.DataType] = {
    "cohort": pa.int32(),
    "segment": pa.int32(),
    "step": pa.int64(),
    "members": pa.int32(),
    "tuning_seconds": pa.float64(),
    "pretraining_seconds": pa.float64(),
    "compile_seconds": pa.float64(),
    "train_seconds": pa.float64(),
    "evaluation_seconds": pa.float64(),
    "scoring_seconds": pa.float64(),
    "examples_per_second": pa.float64(),
    "inferences_per_second": pa.float64(),
    "inferences_per_second_batch_1": pa.float64(),
    "peak_bytes": pa.int64(),
}
SEVERITY: dict[str, pa.DataType] = {
    **_KEYS,
    "transform": pa.string(),
    **dict.fromkeys(("amount", "accuracy", "loss"), pa.float64()),
}
_COLUMNS = {
    "curves.parquet": CURVES,
    "members.csv": MEMBERS,
    "timings.csv": TIMINGS,
    "severity.csv": SEVERITY,
    "probes.parquet": PROBES,
}
_WHOLE = {"trial", "seed", "step", "epoch", "examples", "status", "steps", "cohort"}
"""Columns in which every row has a value, none below 0."""
CONFIG = "config.json"
CHECKPOINTS = "checkpoints"
TIMINGS_FILE = "timings.csv"
TABLES = ("curves.parquet", "members.csv", "summary.csv")
OPTIONAL = (
    "severity.csv",
    "probes.parquet",
    pictures.FILE,
    answers.CORRECT,
    answers.LOSSES,
)
"""Files of a workdir that only some studies have."""


_KINDS = {
    **dict.fromkeys(("study", "datasets", "versions", "devices", "settings"), dict),
    **dict.fromkeys(("failures", "manifest"), dict),
    **dict.fromkeys(("trials", "cohorts", "finished", "begun_otherwise"), list),
}
"""The type of each entry of ``config.json``, for every run."""
_LATER: Mapping[str, Any] = {"settings": {}}
"""Entries that older workdirs lack, with their defaults."""


class LostError(ValueError):
    """The ``config.json`` exists, but its content is lost."""


@dataclasses.dataclass(frozen=True)
class Curve:
    """One metric of one trial along training.

    Attributes:
      steps: updates done at each evaluation, int64 (E,).
      epochs: likewise in passes over the training examples, float64 (E,).
      examples: likewise in examples, int64 (E,).
      values: float64 (S, E); NaN after a network ended.
    """

    steps: np.ndarray
    epochs: np.ndarray
    examples: np.ndarray
    values: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Results:
    """The results of a study.

    Attributes:
      workdir: the folder that holds them.
      config: the contents of ``config.json``: study, trials, programs ("cohorts"),
        datasets, versions, devices, status.
      study: the study that ran.
      curves, members, timings: the tables.
      probes: what the study's probes measured; without rows where it has none.
      severity: accuracy of the final networks on images that were moved or rotated ever
        further; without rows where the study does not ask for it.
      each: what is known of each example, by file, see `nnlab.results.answers`; None to
        read it from the workdir when it is asked for.
    """

    workdir: pathlib.Path
    config: Mapping[str, Any]
    study: Study
    curves: pa.Table
    members: pa.Table
    timings: pa.Table
    severity: pa.Table = dataclasses.field(
        default_factory=lambda: table([], SEVERITY), kw_only=True
    )
    probes: pa.Table = dataclasses.field(
        default_factory=lambda: table([], PROBES), kw_only=True
    )
    each: Mapping[str, Answers] | None = dataclasses.field(default=None, kw_only=True)

    @functools.cached_property
    def trials(self) -> tuple[Trial, ...]:
        """All trials of the study, run or not, in order of index."""
        return self.study.trials()

    @functools.cached_property
    def metrics(self) -> tuple[str, ...]:
        """Names of the measured columns of the curves, and of those of the probes."""
        curves, probes = self.curves.column_names, self.probes.column_names
        return tuple(c for c in (*curves, *probes) if c not in PROBES)

    @functools.cached_property
    def score(self) -> str:
        """What trials are compared by, 1 at best: "accuracy", or "r2" of a regression.

        Both have columns of each split, such as `test_score`. r2 is the share of the
        targets' variance that is explained.
        """
        numbers = any("targets" in about for about in self.config["datasets"].values())
        return SCORES[numbers]

    def idle(self) -> set[str]:
        """Returns the hyperparameters that no trial reads."""
        idle = {*self.study.idle()}
        return idle | ({METRIC} if self.score == SCORES[1] else set())

    @property
    def validation_score(self) -> str:
        """The column by which the best trial is chosen."""
        return f"validation_{self.score}"

    @property
    def test_score(self) -> str:
        """The column that is reported of the best trial."""
        return f"test_{self.score}"

    @property
    def in_nats(self) -> bool:
        """Whether all losses are cross-entropies."""
        return self.score == SCORES[0] and self._have_loss("softmax_cross_entropy")

    @property
    def in_squares(self) -> bool:
        """Whether all losses are squared errors of a regression."""
        return self.score == SCORES[1] and self._have_loss("squared_error")

    def _have_loss(self, name: str) -> bool:
        asked = {trial.hyperparameters.loss.name for trial in self.trials}
        return asked <= {AUTO, name} and "loss" not in self.study.own.functions

    @property
    def tested(self) -> Quantity:
        """The final `test_score`."""
        return Quantity(metric=self.test_score)

    @functools.cached_property
    def _curves(self) -> "_ByTrial":
        return _ByTrial(self.curves)

    @functools.cached_property
    def _probes(self) -> "_ByTrial":
        return _ByTrial(self.probes)

    @functools.cached_property
    def _members(self) -> "_ByTrial":
        return _ByTrial(self.members)

    def curve(self, trial: int, metric: str) -> Curve:
        """Returns a metric of a trial (by index), NaN where a network has no row.

        That of a probe has the steps at which it measured.

        Raises:
          ValueError: no such column.
        """
        if metric not in self.metrics:
            hint = nearest(metric, self.metrics)
            raise ValueError(f"no metric {metric!r} in the curves{hint}")
        probed = metric in self.probes.column_names
        of = self._probes if probed else self._curves
        measured = of.column(trial, metric)
        # Other probes may have measured at other steps.
        rows = ~np.isnan(measured) if probed else slice(None)
        seeds, every, epochs, examples = (
            of.column(trial, c)[rows] for c in ("seed", "step", "epoch", "examples")
        )
        steps, first, at = np.unique(every, return_index=True, return_inverse=True)
        values = np.full((self.study.num_seeds, len(steps)), np.nan)
        values[seeds, at] = measured[rows]
        return Curve(steps, epochs[first], examples[first], values)

    def member(self, trial: int, column: str) -> np.ndarray:
        """Returns a column of the members table for one trial, (S,), in order of seed.

        If the trial has fewer seeds than others, None or NaN stands for the missing
        ones.

        Raises:
          KeyError: the trial did not run (no rows), or no such column.
        """
        if not self.has_run(trial):
            raise KeyError(f"trial {trial} has not run")
        order = np.argsort(self._members.column(trial, "seed"), kind="stable")
        values = self._members.column(trial, column)[order]
        absent = self.study.num_seeds - len(values)
        if not absent:
            return values
        nothing = None if values.dtype == object else np.nan
        return np.append(values, [nothing] * absent)

    def correct(self, trial: int, split: str) -> np.ndarray | None:
        """Returns whether a trial's final networks were right, bool (S, N).

        Rows are in order of seed, those of networks that did not finish or stop are
        False. Columns are the examples of "validation", "test", "test_moved" or
        "test_rotated" in their order. None where the run has no answers, or lacks that
        of a network: the program still trains, or an earlier nnlab trained it.

        Raises:
          ValueError: the file is damaged.
        """
        return self._of_final(self._correct, trial, split)

    def losses(self, trial: int, split: str) -> np.ndarray | None:
        """Returns each example's loss, float32 (S, N); see `correct`.

        None, too, unless the study asks for them (`Study.example_losses`).
        """
        return self._of_final(self._losses, trial, split)

    @functools.cached_property
    def _correct(self) -> Answers | None:
        return self._held(answers.CORRECT)

    @functools.cached_property
    def _losses(self) -> Answers | None:
        return self._held(answers.LOSSES)

    def _held(self, file: str) -> Answers | None:
        if self.each is not None:
            return self.each.get(file)
        # Of the run: a view of it may have fewer seeds.
        shape = len(self.trials), int(self.config["study"]["num_seeds"])
        return answers.load(self.workdir / file, shape)

    def _of_final(
        self, held: Answers | None, trial: int, split: str
    ) -> np.ndarray | None:
        if held is None or not self.has_run(trial):
            return None
        living = np.isin(self.member(trial, "status"), (FINISHED, STOPPED))
        seeds = slice(len(living))  # a view of a run may have fewer
        found = held.of(trial, split)
        if found is None or (living & ~held.known[trial][seeds]).any():
            return None
        return np.where(living[:, None], found[seeds], found.dtype.type(0))

    def check_member(self, trial: int, seed: int) -> None:
        """Refuses (ValueError) a trial that has not run, or a seed that it lacks."""
        last = len(self.trials) - 1
        there = 0 <= trial <= last
        seeds = self.trials[trial].num_seeds if there else self.study.num_seeds
        if not (there and 0 <= seed < seeds):
            raise ValueError(
                f"no trial {trial} with seed {seed} in {str(self.workdir)!r}: trials "
                f"are 0 to {last}, seeds 0 to {seeds - 1}"
            )
        if not self.has_run(trial):
            raise ValueError(
                f"trial {trial} ({self.trials[trial].label}) has not begun in "
                f"{str(self.workdir)!r}"
            )

    def has_run(self, trial: int) -> bool:
        """Returns whether the members table has rows of this trial."""
        return trial in self._members.rows

    def program(self, trial: int) -> Mapping[str, Any]:
        """Returns the record of the trial's program in ``config.json``."""
        return next(c for c in self.config["cohorts"] if trial in c["trials"])

    def program_of(self, trial: int, seed: int) -> Mapping[str, Any]:
        """Returns the record of one seed's program; added seeds have their own."""
        return next(
            c
            for c in self.config["cohorts"]
            if trial in c["trials"] and 0 <= seed - c["first_seed"] < c["num_seeds"]
        )

    def dataset(self, trial: int) -> Mapping[str, Any]:
        """Returns the record of the trial's data (sizes, chance, classes, digest)."""
        return self.config["datasets"][self.trials[trial].hyperparameters.data]


class _ByTrial:
    """The columns of a table as arrays, by trial.

    Attributes:
      rows: indices of each trial's rows.
    """

    def __init__(self, of: pa.Table) -> None:
        self._columns = {
            name: of[name].to_numpy(zero_copy_only=False) for name in of.column_names
        }
        trials = self._columns["trial"]
        order = np.argsort(trials, kind="stable")
        found, first = np.unique(trials[order], return_index=True)
        self.rows = dict(zip(found.tolist(), np.split(order, first)[1:]))

    def column(self, trial: int, name: str) -> np.ndarray:
        return self._columns[name][self.rows.get(trial, np.empty(0, int))]


def table(
    rows: Sequence[Mapping[str, Any]],
    columns: Mapping[str, pa.DataType] = types.MappingProxyType({}),
) -> pa.Table:
    """Makes a table of dict rows; a row that lacks a column has a null there.

    The fixed `columns`, ``{name: type}``, come first. Others follow in the order in
    which rows have them, with inferred types (float64 if all are null).
    """
    names = dict.fromkeys(columns)
    for row in rows:
        names |= dict.fromkeys(row)
    arrays = {n: pa.array([r.get(n) for r in rows], columns.get(n)) for n in names}
    for name, array in arrays.items():
        if pa.types.is_null(array.type):
            arrays[name] = array.cast(pa.float64())
        elif pa.types.is_floating(array.type):
            arrays[name] = _with_one_nan(array)
    return pa.table(arrays)


def array(values: np.ndarray, of: pa.DataType | None = None) -> pa.Array:
    """Makes a column of values (N,), of their type or another; masked ones are null."""
    mask = np.ma.getmaskarray(values)
    if mask.all():
        return pa.nulls(len(mask), of or pa.float64())
    plain = np.ma.getdata(values)
    if of is not None and not pa.types.is_string(of):
        plain = plain.astype(of.to_pandas_dtype())
    found = pa.array(plain, of, mask=mask)
    return _with_one_nan(found) if pa.types.is_floating(found.type) else found


def _with_one_nan(array: pa.Array) -> pa.Array:
    """Makes all NaNs equal: a processor's may have a sign, that of JSON has none."""
    nan = pa.scalar(math.nan, array.type)
    return pc.if_else(pc.is_nan(array), nan, array)


def _encode(name: str, content: pa.Table) -> bytes:
    if not name.endswith(".parquet"):
        return cells.encoded(content)
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(content, buffer, compression="zstd")
    return buffer.getvalue()


def write(
    workdir: pathlib.Path,
    config: Mapping[str, Any],
    files: Mapping[str, pa.Table | bytes],
) -> None:
    """Writes tables or bytes by file name, then ``config.json`` with their digests.

    ``timings.csv`` has its digest in a file beside it instead, so that ``config.json``
    does not depend on the clock. ``config.json`` contains its own digest.
    """
    manifest = {}
    for name, content in files.items():
        encoded = content if isinstance(content, bytes) else _encode(name, content)
        make_folder((workdir / name).parent)
        write_atomic(workdir / name, encoded)
        if name in (*TABLES, *OPTIONAL):
            manifest[name] = hashlib.sha256(encoded).hexdigest()
        else:
            write_digest(workdir / name, encoded)
    values = json.loads(json.dumps({**config, "manifest": manifest}, allow_nan=False))
    text = json.dumps({**values, "digest": digest_json(values)}, indent=1)
    write_atomic(workdir / CONFIG, (text + "\n").encode())


def load_config(workdir: pathlib.Path) -> dict[str, Any]:
    """Reads a workdir's ``config.json``.

    Raises:
      FileNotFoundError: no such folder, or it holds no results.
      LostError: the file is damaged.
      ValueError: its content is not that of one run.
    """
    if not workdir.is_dir():
        raise FileNotFoundError(f"no folder {str(workdir)!r}{nearest_file(workdir)}")
    path = workdir / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"{str(workdir)!r} holds no results (no {CONFIG})")
    try:
        config = json.loads(path.read_bytes())
        digest = config.pop("digest")
    except (
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        raise LostError(f"{str(path)!r} is damaged: {error}") from None
    if digest != digest_json(config):
        raise LostError(f"{str(path)!r} is damaged: its digest differs")
    if problem := _misfit(config):
        raise ValueError(f"{str(path)!r} is not what a run wrote: {problem}")
    return {**config, "study": study_fields(config)}


def study_fields(found: Any) -> dict[str, Any]:
    """Returns the fields of a study, from a ``config.json`` or the study alone."""
    fields = found.get("study", found) if isinstance(found, dict) else found
    if not isinstance(fields, dict):
        raise ValueError(f"it is of type {type(fields).__name__}")
    name, metrics = found.get("module"), found.get("metrics")
    if "own" in fields or not (name or metrics):
        return fields
    # A run from before `Study.own` knows only the names.
    known = dict.fromkeys(metrics if isinstance(metrics, list) else [], "")
    module = {"name": name} if name else None
    return {**fields, "own": {"module": module, "metrics": known}}


def _misfit(config: Mapping[str, Any]) -> str:
    """Says what in ``config.json`` is inconsistent; "" if nothing is."""
    for name, kind in _KINDS.items():
        if not isinstance(config.get(name, _LATER.get(name)), kind):
            return f"its {name!r} is no {kind.__name__}"
    if config.get("study_digest") != digest_json(config["study"]):
        return "its study is not the one of its study_digest"
    try:
        trials = [record["overrides"] for record in config["trials"]]
        swept = [
            {k: v for k, v in item.items() if k not in OF_TRIAL}
            for item in config["study"]["sweep"]
        ]
    except (KeyError, TypeError, AttributeError):
        trials, swept = [], [{}]
    return "" if trials == swept else "its trials are not those of its study"


def load(workdir: str | os.PathLike[str]) -> Results:
    """Reads a workdir's results.

    Raises:
      FileNotFoundError: no such folder, or it holds no results.
      ValueError: a table is missing, damaged or not the one that was written.
    """
    folder = absolute(workdir, "workdir")
    config = load_config(folder)
    try:
        study = Study.from_dict(config["study"], recorded=True)
        trials = study.trials()
        programs = (Members.from_dict(record, trials) for record in config["cohorts"])
        for trial, seeds in lacking(trials, programs).items():
            if seeds:
                raise ValueError(f"no program has trial {trial}, seed {seeds[0].start}")
        manifest = dict(config["manifest"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{str(folder / CONFIG)!r} is damaged: {error}") from None
    if digest := read_digest(folder / TIMINGS_FILE):
        manifest[TIMINGS_FILE] = digest
    else:
        _log.warning(
            "%s cannot be checked, because its digest is missing or cut off: "
            "continuing without it (resuming the run writes both anew)",
            folder / TIMINGS_FILE,
        )
    read = {}
    for name in (*TABLES, *(n for n in (TIMINGS_FILE, *OPTIONAL) if n in manifest)):
        path = folder / name
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise ValueError(f"{str(path)!r} is missing") from None
        if hashlib.sha256(content).hexdigest() != manifest.get(name):
            raise ValueError(
                f"{str(path)!r} is not the file that the run wrote: its "
                "digest differs (a run that was killed while it wrote is mended by "
                "resuming it)"
            )
        if columns := _COLUMNS.get(name):
            try:
                read[name] = _decoded(name, content, columns, study)
            except (OSError, ValueError, csv.Error, pa.ArrowException) as error:
                line = " ".join(str(error).split())
                raise ValueError(f"{str(path)!r} is damaged: {line}") from None
    return Results(
        workdir=folder,
        config=config,
        study=study,
        curves=read["curves.parquet"],
        members=read["members.csv"],
        timings=read.get(TIMINGS_FILE, table([], TIMINGS)),
        severity=read.get("severity.csv", table([], SEVERITY)),
        probes=read.get("probes.parquet", table([], PROBES)),
    )


def _decoded(
    name: str, content: bytes, columns: Mapping[str, pa.DataType], study: Study
) -> pa.Table:
    """Reads a table from its file's content, and checks it against the study.

    Columns beside the fixed ones, such as norms by layer, are float64. Impossible
    values are refused (ValueError).
    """
    if name.endswith(".parquet"):
        found = pyarrow.parquet.read_table(pa.BufferReader(content))
    else:
        lines = io.TextIOWrapper(io.BytesIO(content), "utf-8", newline="")
        names = next(csv.reader(lines), [])
        options = pyarrow.csv.ConvertOptions(
            column_types={name: columns.get(name, pa.float64()) for name in names},
            strings_can_be_null=True,
            null_values=[""],
        )
        found = pyarrow.csv.read_csv(pa.BufferReader(content), convert_options=options)
        found = cells.decoded(found)
    kinds = {name: columns.get(name, pa.float64()) for name in found.column_names}
    needed = columns.keys() - (ACCURACIES if "validation_r2" in kinds else set())
    if found.schema.types != [*kinds.values()] or not needed <= kinds.keys():
        raise ValueError("its columns are not those that a run writes")
    ends = {"trial": len(study.sweep), "seed": study.num_seeds}
    for name in sorted(_WHOLE & columns.keys()):
        column = found[name]
        if name == "status":
            good = pc.is_in(column, value_set=pa.array(STATUSES))
        else:
            good = pc.and_(pc.greater_equal(column, 0), pc.is_finite(column))
        if name in ends:
            good = pc.and_(good, pc.less(column, ends[name]))
        if column.null_count or not pc.all(good, min_count=0).as_py():
            raise ValueError(f"its column {name!r} has an impossible value")
    if "status" in columns:
        pairs = found.group_by(["trial", "seed"]).aggregate([])
        if pairs.num_rows != found.num_rows:
            raise ValueError("it has a trial and seed twice")
    return found
