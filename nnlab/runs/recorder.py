# SPDX-License-Identifier: Apache-2.0
"""Keeps the state of a run: a record for each program, tables on disk, progress."""

import logging
import math
import pathlib
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from nnlab import results
from nnlab.machine.files import write_atomic
from nnlab.results import Results, answers, pictures, seal
from nnlab.results.answers import Answers
from nnlab.results.rows import (
    DIVERGED,
    DROPPED,
    STOPPED,
    curves_table,
    members_table,
    no_members,
)
from nnlab.runs import provenance, resume
from nnlab.runs.checkpoint import Saved
from nnlab.runs.clock import Clock, Seconds
from nnlab.runs.progress import Progress
from nnlab.runs.record import Record
from nnlab.statistics import ranking
from nnlab.statistics.findings import Findings
from nnlab.study import DRAWN, Study
from nnlab.study.members import Members, lacking
from nnlab.training.backbone import Backbone
from nnlab.training.population import Population
from nnlab.training.program import NetworkProgram, Program
from nnlab.words import numbers

_log = logging.getLogger(__name__)

SECONDS_BETWEEN_WRITES = 10.0
SHARE_OF_WRITES = 0.1
"""Largest share of a run's time for writing tables in between; a million rows take
seconds."""
MAX_FAILURE = 300
"""Most characters of a failure's message."""


class Recorder:
    """The state of a run."""

    def __init__(
        self,
        study: Study,
        workdir: pathlib.Path | None,
        programs: Sequence[Program],
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        """Begins a run, which writes tables if there is a workdir."""
        self._study, self._workdir, self._programs = study, workdir, programs
        self._config = provenance.record(study, programs)
        self._on_progress = on_progress
        self._begun: set[int] = set()
        self._elsewhere_since: tuple[float, int] | None = None
        self._records: dict[int, Record] = {}
        self._finished: set[int] = set()
        self._pretraining = Seconds()
        self._pictures: bytes | None = None
        self._each: dict[str, Answers] | None = None
        self._written, self._write_seconds = -math.inf, 0.0

    @property
    def config(self) -> Mapping[str, Any]:
        """The record of the run so far, without its status."""
        found = {record["index"]: record for record in self._config["cohorts"]}
        found |= {index: record.about for index, record in self._records.items()}
        return {
            **self._config,
            "cohorts": [found[index] for index in sorted(found)],
            "finished": sorted(self._finished),
        }

    def identity(self, index: int) -> dict[str, Any]:
        """Returns the identity of a program's checkpoints, by the program's index."""
        if index in self._records:
            about = self._records[index].about
        else:
            every = self._config["cohorts"]
            about = next(one for one in every if one["index"] == index)
        return resume.identity(self._study, about, self._config)

    def start(
        self,
        program: Program,
        sizes: Mapping[str, int],
        population: Population | None = None,
        tuning_seconds: float = 0.0,
    ) -> Record:
        """Begins a program and returns its record; earlier measurements are dropped.

        `sizes` are those of the splits that are evaluated, `population` its compiled
        functions, if any; `tuning_seconds` were spent on lane widths that are not used.
        """
        index = program.index
        compiled = (lambda: population.compile_seconds) if population else lambda: 0.0
        tuning = Seconds(tuning_seconds)
        clock = Clock(index, compiled, tuning, self._pretraining)
        self._finished.discard(index)
        self._begun.add(index)
        self._records[index] = Record(program, clock, sizes)
        return self._records[index]

    def take_up(self, program: Program, saved: Saved, is_done: bool) -> None:
        """Restores a program of a resumed run; see `Saved.reading` for the errors."""
        index, about = program.index, saved.about["known"]["record"]
        if Members.from_dict(about, self._study.trials()) != program.members:
            raise ValueError("its record is of another program")
        record = Record(program, Clock(index))
        self._finished.discard(index)
        self._records[index] = record
        record.restore(saved)
        record.about = dict(about)
        if is_done:
            self._begun.add(index)
            self._finished.add(index)

    def collect(self, program: Program, saved: Saved) -> None:
        """Takes over a program that another process has trained to its end."""
        self.take_up(program, saved, is_done=True)
        self._end(program.index)
        self.write_if_due()

    def finish(self, record: Record) -> None:
        """Ends a program."""
        index = record.program.index
        self._finished.add(index)
        self._release(index)
        self._end(index)
        self.write("interrupted")

    def _release(self, index: int) -> None:
        """Drops what a program has on the devices; its measurements stay."""
        if record := self._records.get(index):
            plain = (one for one in self._programs if one.index == index)
            record.program = next(plain, record.program)
            record.clock.compiled = lambda: 0.0

    def _end(self, index: int) -> None:
        self._pictures = None  # the best or the worst trial may have changed
        self._each = None
        if self._workdir:  # the failure of an earlier attempt
            self._failure_file(index).unlink(missing_ok=True)

    def pretraining(self, training: NetworkProgram, step: int) -> None:
        """Reports how far the training of a backbone is."""
        epoch, number = step / training.steps_per_epoch, len(self._begun)
        self._tell("pretraining", (epoch, training.num_epochs), number)

    def add_backbone(self, backbone: Backbone) -> None:
        """Notes the origin of a backbone."""
        self._config["backbones"].append(dict(backbone.about))
        self._pretraining.seconds += backbone.seconds

    def tell_elsewhere(self) -> None:
        """Reports the progress of a run whose programs train in other processes."""
        now, done = time.monotonic(), self._num_done()
        self._elsewhere_since = self._elsewhere_since or (now, done)
        begun, before = self._elsewhere_since
        rate = (done - before) / (now - begun) if done > before else math.nan
        self._tell("elsewhere", (0, 0), len(self._finished), examples_per_second=rate)

    def tell(
        self,
        record: Record,
        status: str,
        predict: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        """Reports the progress of a program, the last one that began."""
        evaluation, record.evaluation = record.evaluation, None
        if evaluation and self._study.seal:
            evaluation = evaluation.without(seal.is_test)
        self._tell(
            status,
            record.position(),
            max(len(self._begun) - 1, 0),
            evaluation=evaluation,
            predict=predict,
            examples_per_second=record.clock.rate,
            inferences_per_second=record.clock.inference_rate,
        )

    def _num_done(self) -> int:
        return sum(record.done for record in self._records.values())

    def _tell(
        self, status: str, position: tuple[float, float], number: int, **more: Any
    ) -> None:
        """Calls the observer, if there is one; see `Progress`."""
        if self._on_progress is None:
            return
        records = self._records
        of = {trial: r for r in records.values() for trial in r.worths}
        worths = {t: w for t, r in of.items() if (w := r.worths[t]) is not None}
        best = ranking.leading(worths)
        counts = sum((r.rows.counts() for r in records.values()), no_members())
        planned = {program.index: program.num_examples for program in self._programs}
        planned |= {index: record.planned for index, record in records.items()}
        self._on_progress(
            Progress(
                program=number,
                num_programs=len(self._programs),
                epoch=position[0],
                num_epochs=position[1],
                done=self._num_done(),
                total=sum(planned.values()),
                score=self._programs[0].dataset.score,
                best_score=math.nan if best is None else worths[best],
                best_label="" if best is None else self._study.trials()[best].label,
                best_curve=() if best is None else of[best].curve(best),
                diverged=int(counts[DIVERGED]),
                stopped=int(counts[STOPPED]),
                dropped=int(counts[DROPPED]),
                status=status,
                **more,
            )
        )

    def fail(self, program: Program, error: Exception) -> None:
        """Notes that a program failed, and writes the traceback to a file."""
        index = program.index
        self._release(index)
        line = " ".join(f"{type(error).__name__}: {error}".split())
        line = line if len(line) <= MAX_FAILURE else f"{line[:MAX_FAILURE]}..."
        self._config["failures"][str(index)] = line
        _log.error("program %d of %d failed: %s", index + 1, len(self._programs), line)
        if self._workdir:
            text = numbers.visible("".join(traceback.format_exception(error)))
            write_atomic(self._failure_file(index), text.encode())
        self.write("interrupted")

    def _failure_file(self, index: int) -> pathlib.Path:
        assert self._workdir
        return self._workdir / f"failure_{index}.txt"

    def out_of_memory(self, program: Program, width: int) -> None:
        """Notes that a program's lanes of that width were too large for memory."""
        index = program.index
        self._release(index)
        self._config["out_of_memory"].setdefault(str(index), []).append(width)
        _log.warning(
            "program %d of %d: out of memory with %d networks at once; restarting it "
            "with %d",
            *(index + 1, len(self._programs), width, width // 2),
        )

    def note_devices(self, devices: Sequence[Mapping[str, Any]]) -> None:
        """Notes the devices of other processes; names all kinds if they differ."""
        every = [dict(one) for one in devices]
        names = ("platform", "kind")
        several = {n: " and ".join(sorted({one[n] for one in every})) for n in names}
        largest = max(every, key=lambda one: one["count"])
        self._config["devices"] = {**largest, **several}

    def seal(self, past: Mapping[str, Any] | None, goes_on: bool) -> None:
        """Writes the plan of a new run, or notes that a run goes on once it was seen.

        `past` is the earlier ``config.json``, if a run that goes on has it.
        """
        if not self._study.seal:
            return
        seen = bool(past and past.get("test_seen"))
        if past and not seal.is_closed(self._study, past["status"]):
            seen |= bool(past["failures"]) or past["study"] != self._config["study"]
        self._config["test_seen"] = seen
        if self._workdir and not goes_on:
            seal.write(self._workdir, self._study, self._config["datasets"])

    def note_beginning(self, differences: Sequence[str]) -> None:
        """Notes, in words, under which other versions or where the run began."""
        self._config["begun_otherwise"] = list(dict.fromkeys(differences))

    def results(self, status: str) -> Results:
        """Returns the results so far, as "interrupted", "failed" or "complete"."""
        records = [self._records[index] for index in sorted(self._records)]
        parts = [record.rows for record in records]
        # A trial that has begun gets all its seeds, some perhaps from later programs.
        begun = {trial.index for rows in parts for trial in rows.members.trials}
        left = lacking(self._study.trials(), (rows.members for rows in parts))
        missing = [
            (trial, seed)
            for trial in sorted(begun)
            for seeds in left[trial]
            for seed in seeds
        ]
        if self._each is None:
            self._each = self._join_each(records)
        timings = [row for record in records for row in record.clock.rows]
        severity = [row for record in records for row in record.severity]
        found = Results(
            workdir=self._workdir or pathlib.Path(),
            config={**self.config, "status": status},
            study=self._study,
            curves=curves_table(parts),
            probes=curves_table([record.probed for record in records], results.PROBES),
            members=members_table(parts, missing),
            timings=results.table(
                sorted(timings, key=lambda row: (row["cohort"], row["segment"])),
                results.TIMINGS,
            ),
            severity=results.table(
                sorted(severity, key=lambda row: (row["trial"], row["seed"])),
                results.SEVERITY,
            ),
            each=self._each,
        )
        closed = seal.is_closed(self._study, status)
        return seal.without_tests(found) if closed else found

    def _join_each(self, records: Sequence[Record]) -> dict[str, Answers]:
        """Joins what the final members of all programs said of each example."""
        shape = len(self._study.trials()), self._study.num_seeds
        found = {}
        for file in (answers.CORRECT, answers.LOSSES):
            parts = [(r.rows.members, r.each[file]) for r in records if file in r.each]
            if parts:
                found[file] = answers.joined(parts, shape)
        return found

    def write_if_due(self) -> None:
        """Writes all tables if the last write was long enough ago."""
        pause = max(SECONDS_BETWEEN_WRITES, self._write_seconds / SHARE_OF_WRITES)
        if time.monotonic() - self._written > pause:
            self.write("interrupted")

    def write(self, status: str) -> None:
        """Writes all tables; an interrupted run leaves those of its last write."""
        if self._workdir is None:
            return
        begin = time.monotonic()
        found = self.results(status)
        closed = seal.is_closed(self._study, status)
        if self._pictures is None and not closed:
            self._pictures = self._choose_pictures(found)
        files: dict[str, pa.Table | bytes] = {
            "curves.parquet": found.curves,
            "members.csv": found.members,
            "timings.csv": found.timings,
            "summary.csv": Findings(found).summary,
        }
        if found.probes.num_rows:
            files["probes.parquet"] = found.probes
        if found.severity.num_rows:
            files["severity.csv"] = found.severity
        if self._pictures and not closed:
            files[pictures.FILE] = self._pictures
        for file, each in (found.each or {}).items():
            files[file] = pictures.encode(each.arrays())
        results.write(self._workdir, found.config, files)
        self._written = time.monotonic()
        self._write_seconds = self._written - begin

    def _choose_pictures(self, found: Results) -> bytes | None:
        """Collects the pictures of the best and the worst trial so far."""
        best, worst = ranking.best_and_worst(found)
        parts: dict[int, list[pictures.Seen]] = {}
        for record in sorted(
            self._records.values(), key=lambda record: record.rows.members.first_seed
        ):
            for trial, seen in record.seen.items():
                parts.setdefault(trial, []).append(seen)
        if best not in parts:
            return None
        data_of = [trial.hyperparameters.data for trial in found.trials]
        alike = {
            trial: pictures.together(some)
            for trial, some in parts.items()
            if data_of[trial] == data_of[best]
        }
        dataset = next(
            program.dataset
            for program in self._programs
            if program.hyperparameters.data == data_of[best]
        )
        test, images = dataset.test, None
        if len(dataset.input_shape) == 3 and self._study.split != DRAWN[0]:
            images = test.inputs.astype(np.float32) * np.float32(dataset.scale)
        arrays = pictures.choose(
            alike,
            best,
            worst if worst in alike else None,
            images,
            test.labels,
            dataset.num_classes,
            pictures.plane_of(dataset),
        )
        return pictures.encode(arrays)
