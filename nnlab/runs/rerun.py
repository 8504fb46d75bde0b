# SPDX-License-Identifier: Apache-2.0
"""Trains one network of a run again and compares it with its record."""

import contextlib
import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from nnlab import results
from nnlab.machine import devices
from nnlab.runs.checkpoint import Checkpoints
from nnlab.runs.loop import Run, backbone_for, train_program, with_backbone
from nnlab.runs.recorder import Recorder
from nnlab.runs.resume import check_data, check_own, continued, differences
from nnlab.training.handed import Handed
from nnlab.training.place import place
from nnlab.training.prepare import own_of, prepare
from nnlab.training.program import networks_of
from nnlab.words.settings import words


@dataclasses.dataclass(frozen=True)
class Rerun:
    """How a repeated training compares with its record.

    Attributes:
      label: of the trial.
      num_rows: number of evaluations in the record.
      difference: the first difference, in words; "" if there is none.
      notes: possible reasons for a difference: other versions, another device.
    """

    label: str
    num_rows: int
    difference: str
    notes: tuple[str, ...]

    @property
    def is_equal(self) -> bool:
        """Whether both are equal to the last bit."""
        return not self.difference


@devices.pinned()
def rerun(
    workdir: str | os.PathLike[str], trial: int, seed: int, **given: Any
) -> Rerun:
    """Trains one network of a run again and compares; writes nothing.

    Its lanes have the shape of the record's, filled with copies of it. `given` are
    fields of `Handed`, such as the run's own data set and module.

    Raises:
      ValueError: no such network, or other data.
    """
    found = results.load(workdir)
    found.check_member(trial, seed)
    study = found.study
    groups = [
        dataclasses.replace(members, index=0)
        for members in continued(study, found.config["cohorts"])
        if (trial, seed) in members.pairs()
    ]
    handed = Handed(**given)
    doubts = check_own(study.own, own_of(study, handed))
    programs = prepare(study, members=groups, **vars(handed))
    if not (networks := networks_of(programs)):
        raise ValueError(f"trial {trial} is no network: trees are not trained again")
    recorder = Recorder(study, None, programs)
    check_data(found.config["datasets"], recorder.config["datasets"])
    record = found.program_of(trial, seed)
    program = networks[0].with_width(record["plan"]["lane_width"])
    checkpoints = Checkpoints(found.workdir, math.inf, read_only=True)
    with contextlib.closing(checkpoints):
        run = Run(study, recorder, checkpoints)
        if backbone := backbone_for(program, run):
            program = with_backbone(program, backbone)
        program = program.alone(trial, seed)
        if found.member(trial, "status")[seed] == results.DROPPED:  # alone it continues
            last = int(found.member(trial, "steps")[seed])
            boundaries = tuple(step for step in program.boundaries if step <= last)
            program = dataclasses.replace(program, boundaries=boundaries)
        train_program(place(program, study), run, backbone)

    def of_network(table: pa.Table) -> list[dict[str, Any]]:
        is_this = pc.and_(
            pc.equal(table["trial"], trial), pc.equal(table["seed"], seed)
        )
        return list(table.filter(is_this).to_pylist())

    again = recorder.results("complete")
    rows = of_network(found.curves)
    pairs = (
        (rows, of_network(again.curves)),
        tuple(of_network(of.probes) for of in (found, again)),
    )
    return Rerun(
        label=study.trials()[trial].label,
        num_rows=len(rows),
        difference=next(filter(None, (_difference(*pair) for pair in pairs)), ""),
        notes=(*doubts, *differences(found.config, recorder.config)),
    )


def _difference(
    rows: Sequence[Mapping[str, Any]], again: Sequence[Mapping[str, Any]]
) -> str:
    """Says what differs between two records of a network; "" if nothing does."""
    if len(rows) != len(again):
        return f"{len(again)} measurements in the place of {len(rows)}"
    for before, after in zip(rows, sorted(again, key=lambda row: row["step"])):
        for name in before:
            old, new = before[name], after.get(name)
            if old != new and not (_is_nan(old) and _is_nan(new)):
                of = "test_loss" if "test_loss" in before else name
                both = [(r[of], a[of]) for r, a in zip(rows, again)]
                worst = max(abs(r - a) for r, a in both if None not in (r, a))
                return (
                    f"differs from its record, first at step {before['step']}: {name} "
                    f"was {old!r} and is {new!r} now; the {words(of)} by at most "
                    f"{worst:.2g}"
                )
    return ""


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)
