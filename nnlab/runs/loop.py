# SPDX-License-Identifier: Apache-2.0
"""Trains one cohort from where it is to its end: networks, backbones, trees."""

import concurrent.futures
import dataclasses
import functools
import hashlib
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from nnlab.training import trees, lane_width
from nnlab.runs import halving, final, saved_network
from nnlab.machine import processes
from nnlab.training.backbone import Backbone, features, layers_of
from nnlab.runs.checkpoint import Checkpoints, Saved, filled, named
from nnlab.training.program import TRAIN_EVALUATION_SIZE, Baseline, Prepared, Source
from nnlab.data import Split
from nnlab.training.place import STEPS_PER_CALL, Placed, place, sizes_of
from nnlab.training.population import SAMPLE_EVERY
from nnlab.runs.recorder import Recorder
from nnlab.study import PICTURES, Study

SECONDS_OF_A_VISIT = 1.0
"""Between two visits of the host, about: so long a stop may have to wait."""


@dataclasses.dataclass(frozen=True)
class Position:
    """Where the training of a cohort is.

    Attributes:
      evaluation: the next of its evaluations.
      step: updates done.
      samples: samples of the gradient norms since the last evaluation.
    """

    evaluation: int = 0
    step: int = 0
    samples: int = 0

    def check(self, boundaries: Sequence[int]) -> None:
        """Refuses what is not where a cohort's training can be.

        Raises:
          ValueError, IndexError, TypeError: it is not between two of its evaluations.
        """
        edges = (0, *boundaries, boundaries[-1])
        if not edges[self.evaluation] <= self.step <= edges[self.evaluation + 1]:
            raise ValueError(f"step {self.step} is not at evaluation {self.evaluation}")


def train_cohort(
    placed: Placed,
    study: Study,
    recorder: Recorder,
    checkpoints: Checkpoints | None = None,
    tuning_seconds: float = 0.0,
    backbone: Backbone | None = None,
    saved: Saved | None = None,
) -> None:
    """Trains one cohort to its last step, and looks at what came out.

    Args:
      placed: the cohort.
      study: whose cohort it is.
      recorder: takes in what is measured.
      checkpoints: where to save; None for nowhere.
      tuning_seconds: spent on choosing its lanes.
      backbone: with which all members begin, or by which they are fed.
      saved: where to begin; None for the first step.
    """
    population, prepared = placed.population, placed.prepared
    record = recorder.start(prepared, placed.sizes, population, tuning_seconds)
    looks = bool(set(PICTURES) & set(study.figures))
    at, before = Position(), None
    if saved:
        with saved.reading():
            record.restore(saved)
            at = Position(**saved.about["position"])
        if saved.about["finished"]:
            record.extend()
    record.tell("compiling")  # only now is it known how far it is
    if saved:
        with saved.reading():
            members = filled(population.template(), saved.arrays("state"))
            before = saved.arrays("before").get("probabilities")
        state = population.spread(members, record.still_training)
    else:
        state = population.init()
        if backbone and not prepared.features:
            state = population.begin_at(state, backbone.params, backbone.batch_stats)
        if looks:
            before = final.probabilities(placed, state)

    origin = _origin(recorder, recorder.identity(prepared.cohort.index))

    def save(finished: bool = False) -> None:
        if checkpoints is None:
            return
        items = {
            "state": named(population.gather(state)),
            "rows": record.rows.to_arrays(),
        }
        if before is not None:
            items["before"] = {"probabilities": before}
        if finished:
            items["seen"] = record.seen_arrays()
            items |= saved_network.items_of(prepared, backbone)
        about = {
            "finished": finished,
            "num_steps": prepared.num_steps,
            "lane_width": placed.width,
            "position": dataclasses.asdict(at),
            "known": record.snapshot(),
            **origin,
        }
        checkpoints.save(part_of(prepared), items, about, record.best_accuracy())

    def visit() -> None:
        predict = functools.partial(final.predicted, placed, state)
        alone = processes.count() == 1  # else all would have to ask
        interrupted: KeyboardInterrupt | None = None
        try:
            record.tell("training", predict if alone else None)
        except KeyboardInterrupt as interrupt:
            interrupted = interrupt
        if processes.any_of(interrupted is not None):
            save()
            raise interrupted or KeyboardInterrupt
        due = checkpoints is not None and checkpoints.is_due(part_of(prepared))
        if processes.agreed(due):
            save()

    boundaries = prepared.boundaries
    paced = SAMPLE_EVERY  # until it is known how long a step takes
    race = study.halving
    rungs = halving.rungs(
        boundaries, prepared.steps_per_epoch, race.min_epochs, race.factor
    )
    for evaluation in range(at.evaluation, len(boundaries)):
        if not record.still_training.any():
            break
        boundary = boundaries[evaluation]
        while at.step < boundary:
            count = min(placed.room, paced, boundary - at.step)
            with record.training(at.step + count, count):
                state = jax.block_until_ready(placed.train(state, at.step, count))
            every = 1 if prepared.recipe.every_norm else SAMPLE_EVERY
            samples = at.samples + math.ceil(count / every)
            at = Position(evaluation, at.step + count, samples)
            paced = _paced(record.steps_in(SECONDS_OF_A_VISIT))
            if at.step < boundary:
                visit()
        with record.clock.evaluating():
            state, measured = jax.block_until_ready(
                population.evaluate(state, placed.batches)
            )
        steps = boundary - (boundaries[evaluation - 1] if evaluation else 0)
        record.add(evaluation, population.gather(measured), steps, at.samples)
        recorder.write_if_due()
        at = Position(evaluation + 1, at.step)
        if evaluation in rungs:
            record.drop_worst(race.factor)
            state = population.end(state, record.still_training)
        state = population.compact(state, record.still_training)
        visit()
    if at.step and not saved and processes.is_first():
        lane_width.remember(prepared, {placed.width: record.clock.rates()})
    with record.scoring():
        final.score(placed, state, record)
        if "costs" in study.figures:
            record.clock.add_solo_speed(final.solo_inferences_per_second(placed))
        if before is not None:
            final.look(placed, state, record, before)
    save(finished=True)
    if checkpoints:
        checkpoints.wait()
    recorder.finish(record)


def _paced(steps: float) -> int:
    """So many steps, in whole stretches: where calls end then changes no number."""
    steps = min(processes.agreed(steps), STEPS_PER_CALL)
    return max(1, int(steps) // SAMPLE_EVERY) * SAMPLE_EVERY


def part_of(item: Prepared | Baseline) -> str:
    """The name of a cohort's checkpoints."""
    return f"program_{item.cohort.index}"


def parts_of(
    item: Prepared | Baseline, study: Study, recorder: Recorder
) -> dict[str, dict[str, Any]]:
    """The names of all checkpoints that a cohort needs, and what they are of.

    Its own come first; then its backbone's, if that is trained.
    """
    found = {part_of(item): recorder.identity(item.cohort.index)}
    source = item.source if isinstance(item, Prepared) else None
    if source and source.training:
        found[backbone_part(source)] = _backbone_identity(source, study)
    return found


def _backbone_identity(source: Source, study: Study) -> dict[str, Any]:
    """What a backbone's checkpoint is of; see `resume.identity`."""
    return {
        "the digest of its settings": source.key,
        "the digest of its data": source.digest[:12],
        "root_seed": study.root_seed,
        "eval_size": study.eval_size,
    }


def _origin(recorder: Recorder, of: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint says of where it comes from."""
    config = recorder.config
    under = ("versions", "devices", "settings")
    return {"of": of, **{name: config[name] for name in under}}


def backbone_for(
    item: Prepared,
    source: Source,
    known: dict[str, Backbone],
    recorder: Recorder,
    checkpoints: Checkpoints,
    study: Study,
) -> Backbone:
    """The trained backbone of a cohort; cohorts of one source share it.

    Args:
      item: the cohort.
      source: its backbone's.
      known: backbones by their source's key; this one is added.
      recorder: notes it.
      checkpoints: where it may be, and is saved.
      study: whose cohort it is.
    """
    if source.key in known:
        return known[source.key]
    part, of = backbone_part(source), _backbone_identity(source, study)
    if source.training is None:
        assert source.variables is not None
        own = {"key": source.key, "digest": source.digest}
        backbone = Backbone(**source.variables, about=own)
    elif saved := checkpoints.latest(part, of):
        with saved.reading():
            arrays = traverse_util.unflatten_dict(saved.arrays("variables"), sep="/")
            backbone = Backbone(
                params=arrays["params"],
                batch_stats=arrays.get("batch_stats", {}),
                about=dict(saved.about["backbone"]),
            )
    else:
        backbone = _pretrain(item, source, source.training, recorder, study.root_seed)
        arrays = {"params": backbone.params, "batch_stats": backbone.batch_stats}
        items = {"variables": named(arrays)}
        about = {"backbone": dict(backbone.about), **_origin(recorder, of)}
        checkpoints.save(part, items, about)
    known[source.key] = backbone
    recorder.add_backbone(backbone)
    return backbone


def with_backbone(item: Prepared, backbone: Backbone) -> Prepared:
    """The cohort; fed with the backbone's features if that is frozen."""
    assert item.source
    if not item.source.frozen:
        return item
    of = functools.partial(features, item.source.whole, backbone)
    return item.with_features(of)


def backbone_part(source: Source) -> str:
    """The name of a backbone's checkpoint."""
    return f"backbone_{hashlib.sha256(source.key.encode()).hexdigest()[:12]}"


def _pretrain(
    item: Prepared,
    source: Source,
    training: Prepared,
    recorder: Recorder,
    root_seed: int,
) -> Backbone:
    """Trains the backbone of a cohort on its source."""
    h = training.hyperparameters
    begin = time.perf_counter()
    study = Study(base=h, num_seeds=1, root_seed=root_seed, figures=())
    placed = place(training, study)
    population, state = placed.population, placed.population.init()
    for start in range(0, training.num_steps, placed.room):
        count = min(placed.room, training.num_steps - start)
        recorder.pretraining(training, start)
        state = jax.block_until_ready(placed.train(state, start, count))
    state, measured = population.evaluate(state, placed.batches)
    measured = population.gather(measured)
    losses = [sums["loss"] for sums in measured["sums"].values()]
    if not (measured["alive"].all() and np.isfinite(losses).all()):
        raise FloatingPointError(
            f"the backbone diverged on {h.data} at transfer.learning_rate="
            f"{h.optimizer.learning_rate:g}"
        )
    accuracy = {
        name: float(measured["sums"][name]["accuracy"][0, 0]) / size
        for name, size in placed.sizes.items()
    }
    kept = {
        name: {
            layer: jax.tree.map(lambda leaf: leaf[0, 0], population.gather(tree[layer]))
            for layer in layers
        }
        for name, layers in layers_of(training.recipe).items()
        for tree in (getattr(state, name),)
    }
    about = {
        "key": source.key,
        "digest": source.digest,
        "dataset": h.data,
        "train_examples": len(training.dataset.train.labels),
        "num_epochs": h.num_epochs,
        "batch_size": h.batch_size,
        "learning_rate": h.optimizer.learning_rate,
        "validation_accuracy": accuracy["validation"],
        "test_accuracy": accuracy["test"],
        "lane_plan": training.plan.to_dict(),
    }
    return Backbone(**kept, about=about, seconds=time.perf_counter() - begin)


def grow(
    item: Baseline, study: Study, recorder: Recorder, checkpoints: Checkpoints
) -> None:
    """Fits the trees of a cohort, seed after seed, and looks at what came out."""
    splits, model, test = item.splits(), item.hyperparameters.model, item.dataset.test
    record = recorder.start(item, sizes_of(splits))
    record.tell("growing")

    def grow(seed: int) -> trees.Fit:
        return trees.fit(
            model.name,
            splits,
            item.dataset.num_classes,
            num_trees=model.num_trees,
            depths=model.tree_depths,
            seed=study.root_seed + seed,
            train_evaluation_size=TRAIN_EVALUATION_SIZE,
        )

    fits: list[list[trees.Fit]] = []
    for trial in item.cohort.trials:
        fits.append([])
        at_once = trees.at_once(model.name, item.dataset.train)
        with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
            seeds = item.cohort.seeds
            for seed, fit in zip(seeds, pool.map(grow, seeds), strict=True):
                start = time.perf_counter()
                fit.predict(test.inputs)
                inferences = len(test.labels) / (time.perf_counter() - start)
                record.add_trees(trial, seed, fit, inferences)
                record.tell("growing")
                fits[-1].append(fit)
        if set(PICTURES) & set(study.figures):
            record.seen[trial.index] = final.seen_of_trees(item.dataset, fits[-1])
    for (transform, amount), split in item.test_sets.severities.items():
        sums = [[_sums(fit, split) for fit in some] for some in fits]
        names = {name: [[s[name] for s in some] for some in sums] for name in SUMS}
        record.add_severity(
            transform,
            amount,
            {name: np.array(values) for name, values in names.items()},
            len(split.labels),
        )
    origin = _origin(recorder, recorder.identity(item.cohort.index))
    checkpoints.save(
        part_of(item),
        {"rows": record.rows.to_arrays(), "seen": record.seen_arrays()},
        {"finished": True, "known": record.snapshot(), **origin},
    )
    checkpoints.wait()
    recorder.finish(record)


SUMS = ("accuracy", "loss")


def _sums(fit: trees.Fit, split: Split) -> dict[str, float]:
    """Right answers and summed losses of trees."""
    accuracy, loss = trees.score(fit.predict(split.inputs), split.labels)
    count = len(split.labels)
    return {"accuracy": accuracy * count, "loss": loss * count}
