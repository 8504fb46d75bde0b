# SPDX-License-Identifier: Apache-2.0
"""Trains one program to its end, from wherever it is: networks, backbones, trees."""

import concurrent.futures
import dataclasses
import functools
import hashlib
import math
import pathlib
import time
import traceback
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from nnlab.machine import processes
from nnlab.runs import final, halving, saved_network
from nnlab.runs.checkpoint import Checkpoints, Saved, filled, named
from nnlab.runs.record import Record
from nnlab.runs.recorder import Recorder
from nnlab.study import PICTURES, TRAIN_EVALUATION_SIZE, Study
from nnlab.training import lane_width, member, trees
from nnlab.training.backbone import Backbone, features, layers_of
from nnlab.training.place import (
    STEPS_PER_CALL,
    Kept,
    PlacedProgram,
    place,
    sizes_of,
)
from nnlab.training.population import SAMPLE_EVERY
from nnlab.training.program import (
    NetworkProgram,
    Position,
    Program,
    Source,
    TreeProgram,
)

SECONDS_OF_A_VISIT = 1.0
"""Approximate time between two visits of the host, and so until a stop takes effect."""


@dataclasses.dataclass(frozen=True)
class Run:
    """What all programs of a run share.

    Attributes:
      kept: earlier programs of the same study; None to keep none.
      profile_dir: for traces of each program's first steps; None for no traces.
      backbones: those loaded or trained already, by the key of their source.
    """

    study: Study
    recorder: Recorder
    checkpoints: Checkpoints
    kept: Kept | None = None
    profile_dir: pathlib.Path | None = None
    backbones: dict[str, Backbone] = dataclasses.field(default_factory=dict)

    @property
    def has_pictures(self) -> bool:
        """Whether the study shows pictures of its final members."""
        return bool(set(PICTURES) & set(self.study.figures))

    def origin(self, of: Mapping[str, Any]) -> dict[str, Any]:
        """Returns what a checkpoint says about its origin."""
        under = ("versions", "devices", "settings")
        return {"of": of, **{name: self.recorder.config[name] for name in under}}


def parts_of(
    program: Program, study: Study, recorder: Recorder
) -> dict[str, dict[str, Any]]:
    """Returns the names and identities of all checkpoints that a program needs.

    Its own come first; then those of its backbone, if that is trained.
    """
    found = {program.part: recorder.identity(program.index)}
    if program.source and program.source.training:
        found[backbone_part(program.source)] = {
            "the digest of its settings": program.source.key,
            "the digest of its data": program.source.digest[:12],
            "root_seed": study.root_seed,
            "eval_size": study.eval_size,
        }
    return found


@functools.singledispatch
def train(program: Program, run: Run, saved: Saved | None = None) -> None:
    """Trains a program to its end, in narrower lanes if memory is too small.

    It begins where `saved` is. For a finished program only its backbone is noted.
    """
    raise NotImplementedError(type(program))


@train.register(NetworkProgram)
def _(program: NetworkProgram, run: Run, saved: Saved | None = None) -> None:
    backbone = backbone_for(program, run)
    if saved and program.is_done(saved.about):
        return
    if backbone:
        program = with_backbone(program, backbone)
    if saved:
        program = program.with_width(saved.about["lane_width"])
    while width := _too_wide(program, run, backbone, saved):
        if run.kept:
            run.kept.clear()
        run.recorder.out_of_memory(program, width)
        program, saved = program.with_width(width // 2), None


def _too_wide(
    program: NetworkProgram, run: Run, backbone: Backbone | None, saved: Saved | None
) -> int:
    """Trains a program; returns the lane width if memory was too small, else 0.

    Its arrays have been freed when it returns.
    """
    placed = None
    try:
        if saved:
            placed, seconds = place(program, run.study, run.kept), 0.0
        else:
            placed, seconds = lane_width.choose_lanes(program, run.study, run.kept)
        if run.kept:
            run.kept.keep(placed, run.study)
        if run.profile_dir:
            lane_width.profile(placed, run.profile_dir)
        train_program(placed, run, backbone, saved, seconds)
    except Exception as error:
        width = (placed or program).plan.lanes.width
        alone = processes.count() == 1  # others may have had enough memory
        if not (_is_out_of_memory(error) and width > 1 and alone):
            raise
        traceback.clear_frames(error.__traceback__)
        return width
    return 0


def _is_out_of_memory(error: Exception) -> bool:
    """Returns whether an error says that a device or the host lacked memory."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, jax.errors.JaxRuntimeError) and (
        "RESOURCE_EXHAUSTED" in str(error)
    )


def train_program(
    program: PlacedProgram,
    run: Run,
    backbone: Backbone | None = None,
    saved: Saved | None = None,
    tuning_seconds: float = 0.0,
) -> None:
    """Trains networks to their last step, and evaluates the final members.

    The backbone initialises all members, or computes their features. Training begins
    where `saved` is; `tuning_seconds` were spent on choosing the lanes.
    """
    recorder, race = run.recorder, run.study.halving
    population, sizes = program.population, program.sizes
    record = recorder.start(program, sizes, population, tuning_seconds)
    training = _Training(program, run, record, backbone, saved)
    rungs = halving.rungs(
        program.boundaries, program.steps_per_epoch, race.min_epochs, race.factor
    )
    for evaluation in range(training.at.evaluation, len(program.boundaries)):
        if not record.still_training.any():
            break
        training.reach(evaluation)
        training.evaluate(evaluation)
        if evaluation in rungs:
            training.drop_worst(race.factor)
        training.compact()
        training.visit()
    if training.at.step and not saved and processes.is_first():
        lane_width.remember(program, {program.width: record.clock.rates()})
    training.look()
    training.save(finished=True)
    run.checkpoints.wait()
    recorder.finish(record)


class _Training:
    """A program of networks during its training; `at` says how far it is."""

    state: Any

    def __init__(
        self,
        program: PlacedProgram,
        run: Run,
        record: Record,
        backbone: Backbone | None,
        saved: Saved | None,
    ) -> None:
        self._program, self._run, self._backbone = program, run, backbone
        self._record = record
        self._paced = SAMPLE_EVERY  # until the duration of a step is known
        self._before: np.ndarray | None = None
        self.at = Position()
        self._probed = -1  # the last step at which probes measured
        if saved:
            self._restore(saved)
        else:
            self._begin()

    def _begin(self) -> None:
        self._run.recorder.tell(self._record, "compiling")
        self.state = self._start()
        if self._run.has_pictures and not self._program.dataset.is_regression:
            self._before = final.probabilities(self._program, self.state)

    def _restore(self, saved: Saved) -> None:
        record = self._record
        with saved.reading():
            record.restore(saved)
            self.at = Position(**saved.about["position"])
            self._probed = self.at.step
        if saved.about["finished"]:
            record.extend()
        self._run.recorder.tell(record, "compiling")  # its position is known only now
        population = self._program.population
        with saved.reading():
            members = filled(population.template(), saved.arrays("state"))
            self._before = saved.arrays("before").get("probabilities")
        self.state = population.spread(members, record.still_training)

    def reach(self, evaluation: int) -> None:
        """Trains up to the step of an evaluation."""
        program, record = self._program, self._record
        boundary = program.boundaries[evaluation]
        every = 1 if program.recipe.every_norm else SAMPLE_EVERY
        self._probe()
        while self.at.step < boundary:
            step = self.at.step
            cut = next(cut for cut in program.cuts if cut > step)
            count = min(program.room, self._paced, cut - step)
            with record.training(step + count, count):
                self.state = jax.block_until_ready(
                    program.train(self.state, step, count)
                )
            samples = self.at.samples + math.ceil(count / every)
            self.at = Position(evaluation, step + count, samples)
            self._probe()
            self._paced = _paced(record.steps_in(SECONDS_OF_A_VISIT))
            if self.at.step < boundary:
                self.visit()

    def _probe(self) -> None:
        """Measures what the probes of this step do, unless they have."""
        program, step = self._program, self.at.step
        names = [name for name, one in program.probed.items() if step in one.steps]
        if not names or step == self._probed:
            return
        self._probed, start = step, None
        with self._record.clock.probing():
            if any(program.probed[name].asks_start for name in names):
                start = self._start()
            rows, found = program.probe_rows(), {"alive": self.state.alive}
            for name in names:
                begun = start if program.probed[name].asks_start else None
                found |= program.population.probe(name, self.state, rows, begun)
            found = program.population.gather(found)
        self._record.add_probed(step, found.pop("alive"), found)

    def _start(self) -> Any:
        """Returns the members before their first update."""
        state = self._program.population.init()
        if self._backbone and not self._program.features:
            state = self._program.population.begin_at(
                state, self._backbone.params, self._backbone.batch_stats
            )
        return state

    def evaluate(self, evaluation: int) -> None:
        """Evaluates the members at the step of an evaluation."""
        program, record = self._program, self._record
        with record.clock.evaluating():
            self.state, measured = jax.block_until_ready(
                program.population.evaluate(self.state, program.batches)
            )
        edges = (0, *program.boundaries)
        record.add(
            evaluation,
            program.population.gather(measured),
            edges[evaluation + 1] - edges[evaluation],
            self.at.samples,
        )
        self._run.recorder.write_if_due()
        self.at = Position(evaluation + 1, self.at.step)

    def drop_worst(self, factor: int) -> None:
        """Ends all but the best 1/factor of the trials."""
        self._record.drop_worst(factor)
        population = self._program.population
        self.state = population.end(self.state, self._record.still_training)

    def compact(self) -> None:
        """Moves the members that still train together."""
        population = self._program.population
        training = self._record.still_training
        self.state = population.compact(self.state, training)

    def visit(self) -> None:
        """Reports progress, and saves a checkpoint if one is due or it is stopped."""
        predict = functools.partial(final.predicted, self._program, self.state)
        alone = processes.count() == 1  # otherwise all processes would have to ask
        interrupted: KeyboardInterrupt | None = None
        try:
            recorder = self._run.recorder
            recorder.tell(self._record, "training", predict if alone else None)
        except KeyboardInterrupt as interrupt:
            interrupted = interrupt
        if processes.any_of(interrupted is not None):
            self.save()
            raise interrupted or KeyboardInterrupt
        if processes.agreed(self._run.checkpoints.is_due(self._program.part)):
            self.save()

    def look(self) -> None:
        """Evaluates the final members on further splits and for pictures."""
        program, record, state = self._program, self._record, member.kept(self.state)
        self._run.recorder.tell(record, "scoring")
        with record.clock.scoring():
            final.score(program, state, record)
            if "costs" in self._run.study.figures:
                speed = final.solo_inferences_per_second(program)
                record.clock.add_solo_speed(speed)
            if self._before is not None:
                final.look(program, state, record, self._before)

    def save(self, finished: bool = False) -> None:
        """Saves a checkpoint of the current state."""
        program, run, record = self._program, self._run, self._record
        items = {
            "state": named(program.population.gather(self.state)),
            "rows": record.rows.to_arrays(),
        }
        if program.probed:
            items["probes"] = record.probed.to_arrays()
        if self._before is not None:
            items["before"] = {"probabilities": self._before}
        if finished:
            items |= record.final_arrays()
            items |= saved_network.items_of(program, self._backbone)
        about = {
            "finished": finished,
            "num_steps": program.num_steps,
            "lane_width": program.width,
            "position": dataclasses.asdict(self.at),
            "known": record.snapshot(),
            **run.origin(run.recorder.identity(program.index)),
        }
        run.checkpoints.save(program.part, items, about, record.best_score())


def _paced(steps: float) -> int:
    """Rounds steps to whole stretches, so that the size of calls changes no number."""
    steps = min(processes.agreed(steps), STEPS_PER_CALL)
    return max(1, int(steps) // SAMPLE_EVERY) * SAMPLE_EVERY


def backbone_for(program: Program, run: Run) -> Backbone | None:
    """Returns a program's backbone from the run, a checkpoint or training, if any."""
    source = program.source
    if not source:
        return None
    if source.key in run.backbones:
        return run.backbones[source.key]
    own = {"key": source.key, "digest": source.digest}
    if source.training is None:
        assert source.variables is not None
        backbone = Backbone(**source.variables, about=own)
    else:
        part = backbone_part(source)
        of = parts_of(program, run.study, run.recorder)[part]
        if saved := run.checkpoints.latest(part, of):
            backbone = _saved_backbone(saved)
        else:
            backbone = _pretrain(source.training, own, run)
            arrays = {"params": backbone.params, "batch_stats": backbone.batch_stats}
            about = {"backbone": dict(backbone.about), **run.origin(of)}
            run.checkpoints.save(part, {"variables": named(arrays)}, about)
    run.backbones[source.key] = backbone
    run.recorder.add_backbone(backbone)
    return backbone


def _saved_backbone(saved: Saved) -> Backbone:
    with saved.reading():
        arrays = traverse_util.unflatten_dict(saved.arrays("variables"), sep="/")
        return Backbone(
            params=arrays["params"],
            batch_stats=arrays.get("batch_stats", {}),
            about=dict(saved.about["backbone"]),
        )


def with_backbone(program: NetworkProgram, backbone: Backbone) -> NetworkProgram:
    """Returns the program; with a frozen backbone, fed with its features."""
    assert program.source
    if not program.source.frozen:
        return program
    of = functools.partial(features, program.source.whole, backbone)
    return program.with_features(of)


def backbone_part(source: Source) -> str:
    """Returns the name of a backbone's checkpoint."""
    return f"backbone_{hashlib.sha256(source.key.encode()).hexdigest()[:12]}"


def _pretrain(training: NetworkProgram, own: Mapping[str, str], run: Run) -> Backbone:
    """Trains a backbone on its source, and notes `own` about the source."""
    h = training.hyperparameters
    begin = time.perf_counter()
    study = Study(base=h, num_seeds=1, root_seed=run.study.root_seed, figures=())
    placed = place(training, study)
    population, state = placed.population, placed.population.init()
    for start in range(0, training.num_steps, placed.room):
        count = min(placed.room, training.num_steps - start)
        run.recorder.pretraining(training, start)
        state = jax.block_until_ready(placed.train(state, start, count))
    state, measured = population.evaluate(state, placed.batches)
    measured = population.gather(measured)
    losses = [sums["loss"] for sums in measured["sums"].values()]
    if not (measured["alive"].all() and np.isfinite(losses).all()):
        raise FloatingPointError(
            f"the backbone diverged on {h.data} at transfer.learning_rate="
            f"{h.optimizer.learning_rate:g}"
        )

    def accuracy(split: str) -> float:
        return float(measured["sums"][split]["accuracy"][0, 0]) / placed.sizes[split]

    kept = {}
    for name, layers in layers_of(training.recipe).items():
        tree = {layer: getattr(state, name)[layer] for layer in layers}
        kept[name] = jax.tree.map(lambda leaf: leaf[0, 0], population.gather(tree))
    about = {
        **own,
        "dataset": h.data,
        "train_examples": len(training.dataset.train.labels),
        "num_epochs": h.num_epochs,
        "batch_size": h.batch_size,
        "learning_rate": h.optimizer.learning_rate,
        "validation_accuracy": accuracy("validation"),
        "test_accuracy": accuracy("test"),
        "lane_plan": training.plan.to_dict(),
    }
    return Backbone(**kept, about=about, seconds=time.perf_counter() - begin)


@train.register(TreeProgram)
def grow(program: TreeProgram, run: Run, saved: Saved | None = None) -> None:
    """Fits trees, seed after seed, and evaluates them; see `train`."""
    if saved:
        return
    model, recorder = program.hyperparameters.model, run.recorder
    test = program.dataset.test
    record = recorder.start(program, sizes_of(program.splits(0)))
    recorder.tell(record, "growing")

    def fit_of(seed: int) -> trees.Fit:
        return trees.fit(
            model.name,
            program.splits(seed),
            program.dataset.num_classes,
            num_trees=model.num_trees,
            depths=model.tree_depths,
            seed=run.study.root_seed + run.study.index_of("noise", seed),
            train_evaluation_size=TRAIN_EVALUATION_SIZE,
            unit=program.dataset.target_unit,
        )

    fits: list[list[trees.Fit]] = []
    for trial in program.trials:
        fits.append([])
        at_once = trees.at_once(model.name, program.dataset.train)
        with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
            seeds = program.members.seeds
            for seed, fit in zip(seeds, pool.map(fit_of, seeds)):
                start = time.perf_counter()
                fit.predict(test.inputs)
                inferences = len(test.labels) / (time.perf_counter() - start)
                record.add_trees(trial, seed, fit, inferences)
                recorder.tell(record, "growing")
                fits[-1].append(fit)
        if run.has_pictures and not program.dataset.is_regression:
            record.seen[trial.index] = final.seen_of_trees(program, fits[-1])
    for (transform, amount), split in program.test_sets.severities.items():
        inputs, size = split.inputs, len(split.labels)
        scores = [
            [trees.score(fit.predict(inputs), split.labels) for fit in some]
            for some in fits
        ]
        accuracy, loss = np.moveaxis(np.array(scores) * size, -1, 0)
        sums = {"accuracy": accuracy, "loss": loss}
        record.add_severity(transform, amount, sums, size)
    splits = [program.splits(seed) for seed in program.members.seeds]
    judged = final.judged_trees(fits, splits, run.study.example_losses)
    record.add_each(judged, sizes_of(splits[0]))
    items = {"rows": record.rows.to_arrays(), **record.final_arrays()}
    origin = run.origin(recorder.identity(program.index))
    about = {"finished": True, "known": record.snapshot(), **origin}
    run.checkpoints.save(program.part, items, about)
    run.checkpoints.wait()
    recorder.finish(record)
