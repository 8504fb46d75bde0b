# SPDX-License-Identifier: Apache-2.0
"""The host loop: from a `Study` to results on disk.

Each cohort trains as one population. The host visits it between segments: it hands in
the coming steps' examples, takes the metrics out, writes the tables, and tells a
callback how far it is.
"""

import dataclasses
import math
import os
import pathlib
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from nnlab import results, train, tuning
from nnlab.artifacts import NUM_EXAMPLES, Seen
from nnlab.data import Dataset, Split
from nnlab.population import SAMPLE_EVERY, Batches, Population
from nnlab.prepare import Prepared, prepare
from nnlab.recorder import Progress, Recorder
from nnlab.study import PICTURES, Study

STEPS_PER_CALL = 16 * SAMPLE_EVERY
"""Steps between two visits of the host, at most: a second or so of a population."""

PREDICTED_AT_ONCE = 500
"""Examples whose class probabilities are taken to the host at once."""

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
    try:
        for item in prepared:
            try:
                placed, tuning_seconds = choose_lanes(item, study)
                if profile_dir is not None:
                    _profile(placed, pathlib.Path(profile_dir))
                _train(placed, study, recorder, tuning_seconds)
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
    h, dataset = prepared.hyperparameters, prepared.dataset
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
    placed: Placed, study: Study, recorder: Recorder, tuning_seconds: float
) -> None:
    """Trains one cohort from its first step to its last, and looks at what came out."""
    population, boundaries = placed.population, placed.prepared.boundaries
    recorder.start(placed.prepared, population, placed.sizes, tuning_seconds)
    state = population.init()
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
            samples += math.ceil(count / SAMPLE_EVERY)
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
    inputs = _flat(placed.prepared.dataset.test.inputs[:NUM_EXAMPLES])
    return placed.population.gather(placed.population.predict(state, inputs))


def _look(
    placed: Placed,
    state: train.TrainState,
    recorder: Recorder,
    before: np.ndarray,
) -> None:
    """Takes out what pictures of the final members need: predictions, first layers."""
    population, prepared = placed.population, placed.prepared
    inputs = _flat(prepared.dataset.test.inputs)
    size = min(PREDICTED_AT_ONCE, len(inputs))
    predictions, confidences = [], []
    for start in range(0, len(inputs), size):
        chunk = inputs[start : start + size]
        padded = np.resize(chunk, (size, chunk.shape[1]))
        found = population.gather(population.predict(state, padded))
        found = found[:, :, : len(chunk)]
        predictions.append(found.argmax(axis=-1).astype(np.int32))
        confidences.append(found.max(axis=-1))
    prediction = np.concatenate(predictions, axis=2)
    confidence = np.concatenate(confidences, axis=2)
    first = state.params[prepared.recipe.layers[0]]
    kernels = population.gather(first["kernel"]) if "kernel" in first else None
    after = _probabilities(placed, state)
    for t, trial in enumerate(prepared.cohort.trials):
        living = recorder.living(trial.index)
        chosen = np.flatnonzero(living)
        recorder.seen[trial.index] = Seen(
            prediction=prediction[t],
            confidence=np.where(living[:, None], confidence[t], np.nan),
            kernel=kernels[t, chosen[0]]
            if kernels is not None and len(chosen)
            else None,
            before=before[t],
            after=after[t],
        )


def _solo_inferences_per_second(placed: Placed) -> float:
    """How many examples one network answers a second, one at a time.

    They follow each other inside one compiled program on one device, so the number
    leaves out what a call from Python would add.
    """
    recipe, (device, *_) = placed.prepared.recipe, jax.local_devices()
    traced = {k: jnp.float32(v[0]) for k, v in placed.prepared.cohort.traced().items()}
    state = train.init_state(recipe, traced, jax.random.key(0))
    inputs = _flat(placed.prepared.dataset.test.inputs)
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
