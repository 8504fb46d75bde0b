# SPDX-License-Identifier: Apache-2.0
"""The host loop: from a `Study` to results on disk.

Each cohort trains as one population. The host visits it between segments: it hands in
the coming steps' examples, takes the metrics out, writes the tables, and tells a
callback how far it is.
"""

import concurrent.futures
import dataclasses
import functools
import math
import os
import pathlib
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from nnlab import baselines, results, train, transfer, tuning
from nnlab.artifacts import NUM_EXAMPLES, Plane, Seen
from nnlab.cohorts import TRAIN_EVALUATION_SIZE, Baseline, Prepared, Source
from nnlab.data import Dataset, Split
from nnlab.population import SAMPLE_EVERY, Batches, Population
from nnlab.prepare import prepare
from nnlab.recorder import Progress, Recorder, plane_of
from nnlab.study import PICTURES, Study

STEPS_PER_CALL = 16 * SAMPLE_EVERY
"""Steps between two visits of the host, at most: a second or so of a population."""

PREDICTED_AT_ONCE = 500
"""Examples whose class probabilities are taken to the host at once."""

GRID = 240
"""Cells along each side of a plane whose predictions are kept."""

SOLO_INFERENCES = 256
"""Examples over which the speed at batch 1 is measured."""

TUNING_SHARE = 0.02
"""Of the predicted training time, what may be spent on measuring lane widths."""


def run(
    study: Study,
    workdir: str | os.PathLike[str],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    dataset: Dataset | None = None,
    module: nn.Module | None = None,
    lane_width: int = 0,
    profile_dir: str | os.PathLike[str] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> results.Results:
    """Trains every trial of a study with every seed, and writes what it found.

    Args:
      study: what to run.
      workdir: a folder without results in it; made if missing.
      data_dir: where image data lie; see `nnlab.data.load`.
      dataset: a data set of one's own, in the place of the study's.
      module: a Linen module of one's own, in the place of the study's model; its
        ``__call__(self, x, train)`` returns logits (B, C).
      lane_width: members that run at once; 0 lets the plan choose.
      profile_dir: a folder for a trace of each cohort's first steps and evaluation,
        which Perfetto and TensorBoard open.
      on_progress: called after every visit of the host.

    Returns:
      The results, as `results.load` reads them.

    Raises:
      ValueError: a setting that cannot run; nothing has been written then.
      FileExistsError: the workdir holds results.
      FileNotFoundError, ConnectionError: data that are not there.
      KeyboardInterrupt: after the results so far have been written.
      Exception: what the first cohort failed with, if all of them did. If only some
        did, the others' results are returned, and `Results.config` has the "failures".
    """
    folder = pathlib.Path(workdir)
    check_workdir(folder)
    prepared = prepare(
        study, data_dir=data_dir, dataset=dataset, module=module, lane_width=lane_width
    )
    recorder = Recorder(study, folder, prepared, on_progress)
    recorder.write("interrupted")  # what a run that is killed leaves behind
    failures: list[Exception] = []
    backbones: dict[str, transfer.Backbone] = {}
    try:
        # What takes longest comes last: if it is cut off, the others are done.
        for item in sorted(prepared, key=lambda item: item.work):
            try:
                if isinstance(item, Baseline):
                    _grow(item, study, recorder)
                    continue
                begin = None
                if item.source:
                    begin = _backbone(item, item.source, backbones, recorder)
                    if item.source.frozen:
                        of = functools.partial(transfer.features, item.source.whole)
                        item = item.with_features(functools.partial(of, begin))
                        begin = None
                placed, tuning_seconds = choose_lanes(item, study)
                if profile_dir is not None:
                    _profile(placed, pathlib.Path(profile_dir))
                _train(placed, study, recorder, tuning_seconds, begin)
            except Exception as error:  # out of memory, say: the others go on
                failures.append(error)
                recorder.fail(item, error)
                traceback.clear_frames(error.__traceback__)  # they hold its arrays
    except BaseException:  # Ctrl-C: keep what is there
        recorder.write("interrupted")
        raise
    recorder.write("failed" if failures else "complete")
    if len(failures) == len(prepared):
        raise failures[0]
    return results.load(folder)


def _backbone(
    item: Prepared,
    source: Source,
    known: dict[str, transfer.Backbone],
    recorder: Recorder,
) -> transfer.Backbone:
    """The trained backbone of a cohort; cohorts of one source share it."""
    if source.key not in known:
        if source.training:
            backbone = _pretrain(item, source.training, recorder)
        else:
            assert source.variables is not None
            about = {"weights": source.key}
            backbone = transfer.Backbone(**source.variables, about=about)
        known[source.key] = backbone
        recorder.add_backbone(backbone)
    return known[source.key]


def _pretrain(
    item: Prepared, training: Prepared, recorder: Recorder
) -> transfer.Backbone:
    """Trains the backbone of a cohort on its source."""
    h = training.hyperparameters
    begin = time.perf_counter()
    study = Study(base=h, num_seeds=1, figures=())
    placed = _place(training, study)
    population, state = placed.population, placed.population.init()
    for start in range(0, training.num_steps, placed.room):
        count = min(placed.room, training.num_steps - start)
        recorder.pretraining(item, training, start)
        state = jax.block_until_ready(placed.train(state, start, count))
    state, measured = population.evaluate(state, placed.batches)
    measured = population.gather(measured)
    if not measured["alive"].all():
        raise FloatingPointError(
            f"the backbone diverged on {h.dataset} at transfer.learning_rate="
            f"{h.optimizer.learning_rate:g}"
        )
    accuracy = {
        name: float(measured["sums"][name]["accuracy"][0, 0]) / size
        for name, size in placed.sizes.items()
    }
    last = training.recipe.layers[-1]
    kept = {
        name: jax.tree.map(lambda leaf: leaf[0, 0], population.gather(tree))
        for name, tree in (
            ("params", {k: v for k, v in state.params.items() if k != last}),
            ("batch_stats", state.batch_stats),
        )
    }
    about = {
        "dataset": h.dataset,
        "digest": training.dataset.digest,
        "train_examples": len(training.dataset.train.labels),
        "num_epochs": h.num_epochs,
        "batch_size": h.batch_size,
        "learning_rate": h.optimizer.learning_rate,
        "validation_accuracy": accuracy["validation"],
        "test_accuracy": accuracy["test"],
        "lane_plan": training.plan.to_dict(),
    }
    return transfer.Backbone(**kept, about=about, seconds=time.perf_counter() - begin)


def _grow(item: Baseline, study: Study, recorder: Recorder) -> None:
    """Fits the trees of a cohort, seed after seed, and looks at what came out."""
    splits, model, test = item.splits(), item.hyperparameters.model, item.dataset.test
    recorder.start_baseline(item, _sizes(splits))

    def grow(seed: int) -> baselines.Fit:
        return baselines.fit(
            model.name,
            splits,
            item.dataset.num_classes,
            num_trees=model.num_trees,
            depths=model.tree_depths,
            seed=study.root_seed + seed,
            train_evaluation_size=TRAIN_EVALUATION_SIZE,
        )

    fits: list[list[baselines.Fit]] = []
    for trial in item.cohort.trials:
        fits.append([])
        at_once = baselines.at_once(model.name, item.dataset.train)
        with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
            for seed, fit in enumerate(pool.map(grow, range(study.num_seeds))):
                start = time.perf_counter()
                fit.predict(test.inputs)
                inferences = len(test.labels) / (time.perf_counter() - start)
                recorder.add_trees(trial, seed, fit, inferences)
                fits[-1].append(fit)
        if set(PICTURES) & set(study.figures):
            recorder.seen[trial.index] = _seen_of_trees(item.dataset, fits[-1])
    for (transform, amount), split in item.test_sets.severities.items():
        sums = [[_sums(fit, split) for fit in some] for some in fits]
        names = {name: [[s[name] for s in some] for some in sums] for name in SUMS}
        recorder.add_severity(
            transform,
            amount,
            {name: np.array(values) for name, values in names.items()},
            len(split.labels),
        )
    recorder.finish()


SUMS = ("accuracy", "loss")


def _sums(fit: baselines.Fit, split: Split) -> dict[str, float]:
    """Right answers and summed losses of trees."""
    accuracy, loss = baselines.score(fit.predict(split.inputs), split.labels)
    count = len(split.labels)
    return {"accuracy": accuracy * count, "loss": loss * count}


def _seen_of_trees(dataset: Dataset, fits: Sequence[baselines.Fit]) -> Seen:
    """What pictures need of the trees of all seeds."""
    probabilities = np.stack([fit.probabilities for fit in fits])
    after = probabilities[:, :NUM_EXAMPLES]
    plane = plane_of(dataset)
    regions = None
    if plane:
        regions = _as_map(fits[0].predict(grid_of(plane)).argmax(axis=-1))
    return Seen(
        prediction=probabilities.argmax(axis=-1).astype(np.int32),
        confidence=probabilities.max(axis=-1),
        before=np.full_like(after, 1 / after.shape[-1]),  # without trees, no opinion
        after=after,
        kernel=None,
        regions=regions,
    )


def grid_of(plane: Plane) -> np.ndarray:
    """The centres of a grid's cells, float32 (G * G, 2), row after row."""
    x0, x1, y0, y1 = plane.extent
    centres = (np.arange(GRID) + 0.5) / GRID
    x, y = np.meshgrid(x0 + (x1 - x0) * centres, y0 + (y1 - y0) * centres)
    return np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)


def _as_map(classes: np.ndarray) -> np.ndarray:
    return classes.reshape(GRID, GRID).astype(np.int32)


def check_workdir(folder: pathlib.Path) -> None:
    """Refuses a workdir that holds results, or that is no folder.

    Raises:
      FileExistsError: names the folder.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"workdir {str(folder)!r} is a file, not a folder")
    if (folder / "config.json").exists():
        raise FileExistsError(
            f"workdir {str(folder)!r} holds results; choose another, or remove it"
        )


class Order:
    """Hands out the examples of coming steps, epoch after epoch, for every seed."""

    def __init__(
        self, root_seed: int, num_seeds: int, train_size: int, batch: int
    ) -> None:
        """Begins at no epoch; `take` may ask for any step."""
        self._root_seed = root_seed
        self._num_seeds = num_seeds
        self._train_size = train_size
        self._batch = batch
        self._steps_per_epoch = train_size // batch
        self._epoch = -1
        self._current = np.empty((0, 0, 0), np.int32)

    def take(self, start: int, stop: int, room: int) -> np.ndarray:
        """Examples of steps start..stop-1, int32 (S, room, B), zeros behind them."""
        taken = np.zeros((self._num_seeds, room, self._batch), np.int32)
        step = start
        while step < stop:
            epoch, first = divmod(step, self._steps_per_epoch)
            count = min(stop - step, self._steps_per_epoch - first)
            taken[:, step - start : step - start + count] = self._of_epoch(epoch)[
                :, first : first + count
            ]
            step += count
        return taken

    def _of_epoch(self, epoch: int) -> np.ndarray:
        """Examples of an epoch, int32 (S, steps, B); the short batch is dropped."""
        if epoch != self._epoch:
            shape = (self._steps_per_epoch, self._batch)
            orders = (
                train.epoch_order(self._root_seed, seed, epoch, self._train_size)
                for seed in range(self._num_seeds)
            )
            self._current = np.stack([np.resize(order, shape) for order in orders])
            self._epoch = epoch
        return self._current


@dataclasses.dataclass(frozen=True)
class Placed:
    """A cohort with its data on the devices.

    Attributes:
      prepared: the cohort.
      population: its programs and members.
      batches: the evaluation splits, on the devices.
      sizes: examples of each split.
      order: hands out the examples of the coming steps.
      room: steps of a call, at most.
    """

    prepared: Prepared
    population: Population
    batches: dict[str, Any]
    sizes: dict[str, int]
    order: Order
    room: int

    @property
    def width(self) -> int:
        """The lane width."""
        return self.prepared.plan.lanes.width

    def train(self, state: train.TrainState, start: int, count: int) -> Any:
        """Trains steps start..start+count-1; donates `state`."""
        examples = self.population.put_order(
            self.order.take(start, start + count, self.room)
        )
        return self.population.train(state, examples, first_step=start, num_steps=count)


def _place(prepared: Prepared, study: Study) -> Placed:
    h, dataset = prepared.hyperparameters, prepared.fed
    lanes = prepared.plan.lanes
    population = Population(
        prepared.recipe,
        lanes,
        traced=prepared.cohort.traced(),
        root_seed=study.root_seed,
        devices=jax.local_devices()[: lanes.devices],
        inputs=_flat(dataset.train.inputs),
        labels=dataset.train.labels,
    )
    splits = prepared.evaluated()
    longest = int(np.diff(prepared.boundaries).max())
    return Placed(
        prepared=prepared,
        population=population,
        batches=population.put(_batches(prepared, splits)),
        sizes=_sizes(splits),
        order=Order(
            study.root_seed, study.num_seeds, len(dataset.train.labels), h.batch_size
        ),
        room=min(STEPS_PER_CALL, longest),
    )


def _batches(prepared: Prepared, splits: Mapping[str, Split]) -> dict[str, Batches]:
    size = prepared.plan.evaluation_batch
    return {
        name: Batches.cut(_flat(split.inputs), split.labels, size)
        for name, split in splits.items()
    }


def _sizes(splits: Mapping[str, Split]) -> dict[str, int]:
    return {name: len(split.labels) for name, split in splits.items()}


def _flat(inputs: np.ndarray) -> np.ndarray:
    return inputs.reshape(len(inputs), -1)


def choose_lanes(prepared: Prepared, study: Study) -> tuple[Placed, float]:
    """Places a cohort with the lanes that train it the fastest, as far as is known.

    What is not known is measured while that costs less than `TUNING_SHARE` of the
    predicted training time.

    Returns:
      The cohort and the seconds that were spent on plans that were not taken.
    """
    known = tuning.recall(prepared)
    placed = _place(prepared.with_plan(tuning.fastest(prepared.plans, known)), study)
    unknown = [
        plan
        for plan in prepared.plans
        if plan.lanes.width not in known and plan != placed.prepared.plan
    ]
    if not unknown:
        return placed, 0.0
    start = time.perf_counter()
    speed_of = _Stopwatch(placed).speed
    rate = speed_of(0.1)
    # Another program takes about as long to compile, and both are timed three times.
    compiling = placed.population.compile_seconds
    cost = compiling + 3 * (time.perf_counter() - start - compiling)
    measured = {placed.width: tuning.Rates(rate)}
    allowed, spent = TUNING_SHARE * prepared.num_examples / rate, 0.0
    for plan in unknown:
        if spent + cost > allowed:
            break
        start = time.perf_counter()
        other = _place(prepared.with_plan(plan), study)
        speed_of_other = _Stopwatch(other).speed
        turns = [[speed_of(0.1), speed_of_other(0.1)] for _ in range(3)]
        speeds = np.median(turns, axis=0)
        spent += time.perf_counter() - start
        measured |= {
            each.width: tuning.Rates(float(speed))
            for each, speed in zip((placed, other), speeds)
        }
        if speeds[1] > speeds[0] * (1 + tuning.TOLERANCE):
            placed, speed_of = other, speed_of_other
        elif speeds[1] < 0.8 * speeds[0]:
            break  # those further off will do no better
    if spent:
        tuning.remember(prepared, measured)
    return placed, spent


class _Stopwatch:
    """Times training on states of zeros."""

    def __init__(self, placed: Placed) -> None:
        """Compiles the program if it is not yet."""
        self._placed, population = placed, placed.population
        self._order = population.put_order(
            placed.order.take(0, placed.room, placed.room)
        )
        self._state = population.zeros()
        self._steps, self._lanes = min(SAMPLE_EVERY, placed.room), 1
        self._timed(0, self._steps)
        self._idle = min(self._timed(0, self._steps) for _ in range(2))

    def _timed(self, lanes: int, steps: int) -> float:
        """Seconds in which each device trains so many of its lanes."""
        population, start = self._placed.population, time.perf_counter()
        self._state = population.train(
            self._state, self._order, first_step=0, num_steps=steps, first_lanes=lanes
        )
        jax.block_until_ready(self._state)
        return time.perf_counter() - start

    def speed(self, seconds: float) -> float:
        """Examples a second of all members together, from about so many seconds.

        Where a stretch of all lanes takes longer, each device trains only its first
        ones, and the others are reckoned to take as long.
        """
        placed = self._placed
        lanes, room = placed.prepared.plan.lanes, placed.room
        turns = lanes.count // lanes.devices
        while True:
            training = self._timed(self._lanes, self._steps) - self._idle
            if training >= seconds or (self._lanes, self._steps) == (turns, room):
                break
            if self._lanes < turns:
                self._lanes = min(2 * self._lanes, turns)
            else:
                self._steps = min(2 * self._steps, room)
        step = training * turns / (self._lanes * self._steps) + self._idle / room
        return placed.prepared.hyperparameters.batch_size * lanes.members / step


def _profile(placed: Placed, folder: pathlib.Path) -> None:
    """Writes a trace of one stretch of steps and one evaluation, on states of zeros."""
    population, steps = placed.population, min(SAMPLE_EVERY, placed.room)

    def work() -> None:
        state = placed.train(population.zeros(), 0, steps)
        jax.block_until_ready(population.evaluate(state, placed.batches))

    work()  # compiles
    with jax.profiler.trace(str(folder), create_perfetto_trace=True):
        work()


def _train(
    placed: Placed,
    study: Study,
    recorder: Recorder,
    tuning_seconds: float,
    begin_at: transfer.Backbone | None = None,
) -> None:
    """Trains one cohort from its first step to its last, and looks at what came out."""
    population, boundaries = placed.population, placed.prepared.boundaries
    recorder.start(placed.prepared, population, placed.sizes, tuning_seconds)
    state = population.init()
    if begin_at:
        state = population.begin_at(state, begin_at.params, begin_at.batch_stats)
    before = None
    if set(PICTURES) & set(study.figures):
        before = _probabilities(placed, state)
    begin = 0
    for evaluation, boundary in enumerate(boundaries):
        samples = 0
        for start in range(begin, boundary, placed.room):
            count = min(placed.room, boundary - start)
            with recorder.training(start + count, count):
                state = jax.block_until_ready(placed.train(state, start, count))
            every = 1 if placed.prepared.recipe.every_norm else SAMPLE_EVERY
            samples += math.ceil(count / every)
        with recorder.evaluating():
            state, measured = jax.block_until_ready(
                population.evaluate(state, placed.batches)
            )
        recorder.add(evaluation, population.gather(measured), boundary - begin, samples)
        begin = boundary
        if not recorder.still_training.any():
            break
        state = population.compact(state, recorder.still_training)
    if begin:
        tuning.remember(placed.prepared, {placed.width: recorder.rates()})
    with recorder.scoring():
        _score(placed, state, recorder)
        if "costs" in study.figures:
            recorder.add_solo_speed(_solo_inferences_per_second(placed))
        if before is not None:
            _look(placed, state, recorder, before)
    recorder.finish()


def _score(placed: Placed, state: train.TrainState, recorder: Recorder) -> None:
    """Evaluates the final members on the test sets that are not along the curve."""
    population, prepared = placed.population, placed.prepared
    if splits := prepared.scored():
        batches = population.put(_batches(prepared, splits))
        sums = population.gather(population.score(state, batches))
        recorder.add_final(sums, _sizes(splits))
    for (transform, amount), split in prepared.test_sets.severities.items():
        # One name for all of them, hence one compilation.
        batches = population.put(_batches(prepared, {"severity": split}))
        sums = population.gather(population.score(state, batches))["severity"]
        recorder.add_severity(transform, amount, sums, len(split.labels))


def _probabilities(placed: Placed, state: train.TrainState) -> np.ndarray:
    """Class probabilities of the first test examples, float32 (T, S, E, C)."""
    inputs = _flat(placed.prepared.fed.test.inputs[:NUM_EXAMPLES])
    return placed.population.gather(placed.population.predict(state, inputs))


def _look(
    placed: Placed,
    state: train.TrainState,
    recorder: Recorder,
    before: np.ndarray,
) -> None:
    """Takes out what pictures of the final members need: predictions, first layers."""
    population, prepared = placed.population, placed.prepared
    found = [
        (chunk.argmax(axis=-1).astype(np.int32), chunk.max(axis=-1))
        for chunk in _predicted(placed, state, prepared.fed.test.inputs)
    ]
    prediction, confidence = (np.concatenate(part, axis=2) for part in zip(*found))
    first = state.params.get(prepared.recipe.layers[0], {})
    kernels = population.gather(first["kernel"]) if "kernel" in first else None
    after = _probabilities(placed, state)
    plane = plane_of(prepared.fed)
    regions = None
    if plane:
        grid = _predicted(placed, state, grid_of(plane))
        regions = np.concatenate([chunk.argmax(axis=-1) for chunk in grid], axis=2)
    for t, trial in enumerate(prepared.cohort.trials):
        living = recorder.living(trial.index)
        chosen = np.flatnonzero(living)[:1]  # of one seed, if any is left
        recorder.seen[trial.index] = Seen(
            prediction=prediction[t],
            confidence=np.where(living[:, None], confidence[t], np.nan),
            kernel=kernels[t, chosen[0]]
            if kernels is not None and len(chosen)
            else None,
            before=before[t],
            after=after[t],
            regions=_as_map(regions[t, chosen[0]])
            if regions is not None and len(chosen)
            else None,
        )


def _predicted(
    placed: Placed, state: train.TrainState, inputs: np.ndarray
) -> Iterator[np.ndarray]:
    """Class probabilities of stored inputs, a few at a time, float32 (T, S, N, C)."""
    population, flat = placed.population, _flat(inputs)
    size = min(PREDICTED_AT_ONCE, len(placed.prepared.fed.test.labels))
    for start in range(0, len(flat), size):
        chunk = flat[start : start + size]
        padded = np.resize(chunk, (size, chunk.shape[1]))
        found = population.gather(population.predict(state, padded))
        yield found[:, :, : len(chunk)]


def _solo_inferences_per_second(placed: Placed) -> float:
    """How many examples one network answers a second, one at a time.

    They follow each other inside one compiled program on one device, so the number
    leaves out what a call from Python would add.
    """
    recipe, (device, *_) = placed.prepared.recipe, jax.local_devices()
    traced = {k: jnp.float32(v[0]) for k, v in placed.prepared.cohort.traced().items()}
    state = train.init_state(recipe, traced, jax.random.key(0))
    inputs = _flat(placed.prepared.fed.test.inputs)
    inputs = np.resize(inputs, (SOLO_INFERENCES, inputs.shape[1]))

    @jax.jit
    def answer(state: train.TrainState, inputs: jax.Array) -> jax.Array:
        return jax.lax.map(lambda x: train.predict(recipe, state, x[None]), inputs)

    arguments = jax.device_put((state, inputs), device)
    answer(*arguments).block_until_ready()  # compiles
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        answer(*arguments).block_until_ready()
        seconds.append(time.perf_counter() - start)
    return SOLO_INFERENCES / float(np.median(seconds))


def measure(
    prepared: Prepared, study: Study, seconds: float = 2.0
) -> dict[int, tuning.Rates]:
    """Times every lane width of a cohort, and remembers what it found.

    Args:
      prepared: the cohort.
      study: whose cohort it is.
      seconds: how long to train with each width.

    Returns:
      ``{lane width: rates}``; the fastest width has those of evaluation too.
    """
    found: dict[int, tuning.Rates] = {}
    for plan in prepared.plans:
        placed = _place(prepared.with_plan(plan), study)
        found[placed.width] = tuning.Rates(_Stopwatch(placed).speed(seconds))
    placed = _place(prepared.with_plan(tuning.fastest(prepared.plans, found)), study)
    population = placed.population
    state = placed.train(population.init(), 0, 1)
    state, _ = jax.block_until_ready(population.evaluate(state, placed.batches))
    start = time.perf_counter()
    jax.block_until_ready(population.evaluate(state, placed.batches))
    evaluated = sum(placed.sizes.values()) * prepared.plan.lanes.members
    found[placed.width] = dataclasses.replace(
        found[placed.width],
        inferences_per_second=evaluated / (time.perf_counter() - start),
        compile_seconds=population.compile_seconds,
    )
    tuning.remember(prepared, found)
    return found
