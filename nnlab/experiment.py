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
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from nnlab import results, train
from nnlab.data import Dataset, Split
from nnlab.population import SAMPLE_EVERY, Batches, Population
from nnlab.prepare import Prepared, prepare
from nnlab.recorder import Progress, Recorder
from nnlab.study import Study

STEPS_PER_CALL = 16 * SAMPLE_EVERY
"""Steps between two visits of the host, at most: a second or so of a population."""

TRAIN_EVALUATION_SIZE = 5_000
"""Training examples, at most, on which the training metrics are evaluated."""


def run(
    study: Study,
    workdir: str | os.PathLike[str],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    dataset: Dataset | None = None,
    module: nn.Module | None = None,
    lane_width: int = 0,
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
      on_progress: called after every visit of the host.

    Returns:
      The results, as `results.load` reads them.

    Raises:
      ValueError: a setting that cannot run; nothing has been written then.
      FileExistsError: the workdir holds results.
      FileNotFoundError, ConnectionError: data that are not there.
      KeyboardInterrupt: after the results so far have been written.
    """
    folder = pathlib.Path(workdir)
    check_workdir(folder)
    prepared = prepare(
        study, data_dir=data_dir, dataset=dataset, module=module, lane_width=lane_width
    )
    recorder = Recorder(study, folder, prepared, on_progress)
    recorder.write("interrupted")  # what a run that is killed leaves behind
    try:
        for item in prepared:
            _train(_place(item, study), recorder)
    except BaseException:  # Ctrl-C, or a cohort that fails: keep what is there
        recorder.write("interrupted")
        raise
    recorder.write("complete")
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
class _Placed:
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

    def train(self, state: train.TrainState, start: int, count: int) -> Any:
        """Trains steps start..start+count-1; donates `state`."""
        examples = self.population.put_order(
            self.order.take(start, start + count, self.room)
        )
        return self.population.train(state, examples, first_step=start, num_steps=count)


def _place(prepared: Prepared, study: Study) -> _Placed:
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
    subset = Split(
        dataset.train.inputs[:TRAIN_EVALUATION_SIZE],
        dataset.train.labels[:TRAIN_EVALUATION_SIZE],
    )
    splits = {"train": subset, "validation": dataset.validation, "test": dataset.test}
    batches = {
        name: Batches.cut(
            _flat(split.inputs), split.labels, prepared.plan.evaluation_batch
        )
        for name, split in splits.items()
    }
    longest = int(np.diff(prepared.boundaries).max())
    return _Placed(
        prepared=prepared,
        population=population,
        batches=population.put(batches),
        sizes={name: len(split.labels) for name, split in splits.items()},
        order=Order(
            study.root_seed, study.num_seeds, len(dataset.train.labels), h.batch_size
        ),
        room=min(STEPS_PER_CALL, longest),
    )


def _flat(inputs: np.ndarray) -> np.ndarray:
    return inputs.reshape(len(inputs), -1)


def _train(placed: _Placed, recorder: Recorder) -> None:
    """Trains one cohort from its first step to its last."""
    population, boundaries = placed.population, placed.prepared.boundaries
    recorder.start(placed.prepared, population, placed.sizes)
    state = population.init()
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
        if not recorder.any_alive:
            break  # nothing is left to train
    recorder.finish()


@dataclasses.dataclass(frozen=True)
class Timing:
    """What `measure` found.

    Attributes:
      steps: updates that were timed.
      compile_seconds: of all programs of the cohort.
      examples_per_second: training examples of all members together.
      evaluation_seconds: of one evaluation of all members.
    """

    steps: int
    compile_seconds: float
    examples_per_second: float
    evaluation_seconds: float


def measure(prepared: Prepared, study: Study, seconds: float = 2.0) -> Timing:
    """Compiles a cohort's programs and times some steps and one evaluation.

    Args:
      prepared: the cohort.
      study: whose cohort it is.
      seconds: how long to train, at least one call.
    """
    placed = _place(prepared, study)
    population, room = placed.population, placed.room
    state = placed.train(population.init(), 0, min(room, 2))
    state, _ = population.evaluate(state, placed.batches)
    jax.block_until_ready(state)
    steps, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds or not steps:
        state = jax.block_until_ready(placed.train(state, 0, room))
        steps += room
    begin = time.perf_counter()
    jax.block_until_ready(population.evaluate(state, placed.batches))
    lanes = prepared.plan.lanes
    members = lanes.num_trials * lanes.num_seeds
    return Timing(
        steps=steps,
        compile_seconds=population.compile_seconds,
        examples_per_second=steps
        * prepared.hyperparameters.batch_size
        * members
        / elapsed,
        evaluation_seconds=time.perf_counter() - begin,
    )
