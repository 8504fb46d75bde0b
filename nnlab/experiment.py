# SPDX-License-Identifier: Apache-2.0
"""The host loop: from a `Study` to results on disk.

Each cohort trains as one population. The host visits it between segments: it hands in
the coming steps' examples, takes the metrics out, writes the tables, and tells a
callback how far it is.
"""

import dataclasses
import functools
import math
import os
import pathlib
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax
import flax.linen as nn
import jax
import jaxlib
import numpy as np
import optax

import nnlab
from nnlab import data, optim, plan, results, statistics, sweep, train
from nnlab.data import Dataset
from nnlab.models import layers
from nnlab.models.stack import Stack
from nnlab.population import SAMPLE_EVERY, Batches, Population
from nnlab.study import Hyperparameters, Study

STEPS_PER_CALL = 16 * SAMPLE_EVERY
"""Steps between two visits of the host, at most: a second or so of a population."""

TRAIN_EVALUATION_SIZE = 5_000
"""Training examples, at most, on which the training metrics are evaluated."""

SECONDS_BETWEEN_WRITES = 10.0


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a run is; handed to the callback after every visit of the host.

    Attributes:
      cohort, num_cohorts: which program runs, from 0.
      epoch, num_epochs: of the cohort's training.
      done, total: examples trained and to train, over all cohorts and members.
      examples_per_second: of the last visit, all members together.
      best_accuracy: highest mean validation accuracy of a trial so far; NaN before.
      best_label: that trial's label.
      diverged: members so far.
      status: what goes on: "compiling", "training", "evaluating".
    """

    cohort: int
    num_cohorts: int
    epoch: float
    num_epochs: int
    done: int
    total: int
    examples_per_second: float
    best_accuracy: float
    best_label: str
    diverged: int
    status: str


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A cohort ready to train: what `describe` shows and `run` runs.

    Attributes:
      cohort: the trials.
      hyperparameters: those of the first trial; the static ones are all trials'.
      dataset: the data, limited to `train_size`.
      rows: the layer table; empty for a user's own module.
      parameters: trained values of a member.
      recipe: the static part of a member.
      plan: the lane plan.
      steps_per_epoch: updates in an epoch; the short batch at its end is dropped.
      boundaries: steps at which members are evaluated, from 0, strictly increasing.
    """

    cohort: sweep.Cohort
    hyperparameters: Hyperparameters
    dataset: Dataset
    rows: tuple[layers.LayerRow, ...]
    parameters: int
    recipe: train.Recipe
    plan: plan.Plan
    steps_per_epoch: int
    boundaries: tuple[int, ...]

    @property
    def num_steps(self) -> int:
        """Updates of a member in all."""
        return self.boundaries[-1]

    @property
    def num_examples(self) -> int:
        """Training examples of all members in all epochs."""
        members = self.plan.lanes.num_trials * self.plan.lanes.num_seeds
        return self.num_steps * self.hyperparameters.batch_size * members

    def to_dict(self) -> dict[str, Any]:
        """The record in ``config.json``."""
        return {
            "index": self.cohort.index,
            "trials": [trial.index for trial in self.cohort.trials],
            "train_examples": len(self.dataset.train.labels),
            "parameters": self.parameters,
            "layers": list(self.recipe.layers),
            "steps_per_epoch": self.steps_per_epoch,
            "num_steps": self.num_steps,
            "plan": self.plan.to_dict(),
        }


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
    recorder = _Recorder(study, folder, prepared, on_progress)
    recorder.write("interrupted")  # what a run that is killed leaves behind
    try:
        for item in prepared:
            _run_cohort(item, study, recorder)
    except KeyboardInterrupt:
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


def prepare(
    study: Study,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    dataset: Dataset | None = None,
    module: nn.Module | None = None,
    lane_width: int = 0,
) -> list[Prepared]:
    """Loads the data and settles every cohort; trains and compiles nothing.

    Raises:
      ValueError, FileNotFoundError, ConnectionError: as `run`.
    """
    loaded: dict[str, Dataset] = {}
    found = []
    for cohort in sweep.cohorts(study.trials()):
        hyperparameters = cohort.trials[0].hyperparameters
        name = hyperparameters.dataset
        if name not in loaded:
            loaded[name] = dataset or data.load(name, data_dir=data_dir)
        try:
            item = _prepare_cohort(
                cohort, loaded[name], module, study.num_seeds, lane_width
            )
        except ValueError as error:
            raise ValueError(f"trial {cohort.trials[0].label!r}: {error}") from None
        found.append(item)
    return found


def _prepare_cohort(
    cohort: sweep.Cohort,
    dataset: Dataset,
    module: nn.Module | None,
    num_seeds: int,
    lane_width: int,
) -> Prepared:
    h = cohort.trials[0].hyperparameters
    dataset = dataset.limit(h.train_size)
    train_size = len(dataset.train.labels)
    steps_per_epoch = train_size // h.batch_size
    if not steps_per_epoch:
        raise ValueError(
            f"batch_size={h.batch_size} is larger than the {train_size} training "
            "examples"
        )
    num_steps = steps_per_epoch * h.num_epochs
    traced = cohort.traced()
    rows: tuple[layers.LayerRow, ...] = ()
    if module is None:
        stack = stack_of(h, dataset.num_classes, dropout=bool(traced["dropout_rate"].any()))
        rows = layers.check(stack, dataset.input_shape, dataset.num_classes)
        module = Stack(tuple(stack), initializer=h.model.init, dtype=h.dtype)
    recipe = train.Recipe(
        module=module,
        layers=_layer_names(module, dataset.input_shape),
        optimizer=functools.partial(
            optim.optimizer,
            h.optimizer.name,
            nesterov=h.optimizer.nesterov,
            uses_momentum=bool(traced["momentum"].any()),
            uses_weight_decay=bool(traced["weight_decay"].any()),
        ),
        schedule=optim.schedule(
            h.schedule.name,
            warmup_steps=h.schedule.warmup_steps,
            total_steps=num_steps,
        ),
        input_shape=dataset.input_shape,
        input_scale=dataset.scale,
    )
    shapes = jax.eval_shape(
        functools.partial(train.init_state, recipe),
        {name: jax.ShapeDtypeStruct((), np.float32) for name in traced},
        jax.eval_shape(lambda: jax.random.key(0)),
    )
    _check_logits(recipe, shapes, dataset)
    parameters = _size(shapes.params)
    return Prepared(
        cohort=cohort,
        hyperparameters=h,
        dataset=dataset,
        rows=rows,
        parameters=parameters,
        recipe=recipe,
        plan=plan.choose(
            rows,
            parameters=parameters,
            num_trials=len(cohort.trials),
            num_seeds=num_seeds,
            batch_size=h.batch_size,
            state_bytes=4 * _size(shapes),
            data_bytes=sum(
                split.inputs.nbytes + split.labels.nbytes
                for split in (dataset.train, dataset.validation, dataset.test)
            ),
            devices=jax.local_devices(),
            lane_width=lane_width,
        ),
        steps_per_epoch=steps_per_epoch,
        boundaries=_boundaries(num_steps, steps_per_epoch, h.eval_every_epochs),
    )


def stack_of(
    h: Hyperparameters, num_classes: int, *, dropout: bool
) -> list[dict[str, Any]]:
    """The layers of a trial's model, as `models.layers.check` takes them."""
    model = h.model
    shared: dict[str, Any] = {
        "activation": model.activation,
        "batch_norm": model.batch_norm,
        "dropout": dropout,
        "bias": model.bias,
    }
    if model.name == "stack":
        if not model.layers:
            raise ValueError("model.name='stack' needs model.layers")
        return list(model.layers)
    if model.name == "cnn":
        return layers.cnn(model.channels, model.hidden, num_classes, **shared)
    return layers.mlp(model.hidden, num_classes, **shared)


def _layer_names(module: nn.Module, input_shape: Sequence[int]) -> tuple[str, ...]:
    """Names of the parameters' top level, dense_2 before dense_10."""
    shapes = jax.eval_shape(
        lambda key, x: module.init(key, x, train=False),
        jax.random.key(0),
        jax.ShapeDtypeStruct((1, *input_shape), np.float32),
    )
    names = shapes.get("params", {})
    if not names:
        raise ValueError("the model has no parameters to train")

    def natural(name: str) -> list[tuple[int, str]]:
        return [(int(d or 0), t) for d, t in re.findall(r"(\d+)|(\D+)", name)]

    order = {row: i for i, row in enumerate(_stack_names(module))}
    return tuple(sorted(names, key=lambda n: (order.get(n, len(order)), natural(n))))


def _stack_names(module: nn.Module) -> list[str]:
    if not isinstance(module, Stack):
        return []
    return [dict(layer)["name"] for layer in module.layers]


def _check_logits(recipe: train.Recipe, state: Any, dataset: Dataset) -> None:
    logits = jax.eval_shape(
        lambda params, stats, x: recipe.module.apply(
            {"params": params, "batch_stats": stats}, x, train=False
        ),
        state.params,
        state.batch_stats,
        jax.ShapeDtypeStruct((2, *dataset.input_shape), np.float32),
    )
    if logits.shape != (2, dataset.num_classes):
        raise ValueError(
            f"the model returns shape {logits.shape} for 2 examples; the data set's "
            f"classes need (2, {dataset.num_classes})"
        )


def _size(tree: Any) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def _boundaries(
    num_steps: int, steps_per_epoch: int, eval_every_epochs: float
) -> tuple[int, ...]:
    """Steps of the evaluations: before training, every so often, and at the end."""
    interval = eval_every_epochs * steps_per_epoch
    regular = (round(i * interval) for i in range(math.ceil(num_steps / interval)))
    return tuple(sorted({*regular, num_steps}))


class _Order:
    """Hands out the examples of coming steps, epoch after epoch, for every seed."""

    def __init__(
        self, root_seed: int, num_seeds: int, train_size: int, batch: int
    ) -> None:
        self._root_seed = root_seed
        self._num_seeds = num_seeds
        self._train_size = train_size
        self._batch = batch
        self._steps_per_epoch = train_size // batch
        self._epoch = -1
        self._current = np.empty(0, np.int32)

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
        if epoch != self._epoch:
            kept = self._steps_per_epoch * self._batch
            self._current = np.stack(
                [
                    train.epoch_order(self._root_seed, s, epoch, self._train_size)[:kept]
                    for s in range(self._num_seeds)
                ]
            ).reshape(self._num_seeds, self._steps_per_epoch, self._batch)
            self._epoch = epoch
        return self._current


def _run_cohort(prepared: Prepared, study: Study, recorder: "_Recorder") -> None:
    """Trains one cohort from its first step to its last."""
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
    splits = {
        "train": (
            dataset.train.inputs[:TRAIN_EVALUATION_SIZE],
            dataset.train.labels[:TRAIN_EVALUATION_SIZE],
        ),
        "validation": (dataset.validation.inputs, dataset.validation.labels),
        "test": (dataset.test.inputs, dataset.test.labels),
    }
    sizes = {name: len(labels) for name, (_, labels) in splits.items()}
    batches = population.put(
        {
            name: Batches.cut(
                _flat(inputs),
                labels,
                min(prepared.plan.evaluation_batch, _power_of_two(len(labels))),
            )
            for name, (inputs, labels) in splits.items()
        }
    )
    order = _Order(
        study.root_seed, study.num_seeds, len(dataset.train.labels), h.batch_size
    )
    stretches = np.diff(prepared.boundaries)
    room = int(min(STEPS_PER_CALL, stretches.max()))
    recorder.start(prepared, population, sizes)
    state = population.init()
    for evaluation, boundary in enumerate(prepared.boundaries):
        begin = prepared.boundaries[evaluation - 1] if evaluation else 0
        samples = 0
        for start in range(begin, boundary, room):
            count = min(room, boundary - start)
            examples = population.put_order(order.take(start, start + count, room))
            state = recorder.timed_train(
                lambda s, e=examples, f=start, c=count: population.train(
                    s, e, first_step=f, num_steps=c
                ),
                state,
                start + count,
                count,
            )
            samples += math.ceil(count / SAMPLE_EVERY)
        state, measured = recorder.timed_evaluate(population, state, batches)
        recorder.add(evaluation, population.gather(measured), boundary - begin, samples)
        if not recorder.any_alive:
            break  # nothing is left to train
    recorder.finish()


def _flat(inputs: np.ndarray) -> np.ndarray:
    return inputs.reshape(len(inputs), -1)


def _power_of_two(size: int) -> int:
    return 1 << max(5, (size - 1).bit_length())


class _Recorder:
    """Turns what the host sees into rows, tables on disk, and progress."""

    def __init__(
        self,
        study: Study,
        workdir: pathlib.Path,
        prepared: Sequence[Prepared],
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self._study = study
        self._workdir = workdir
        self._prepared = prepared
        self._on_progress = on_progress
        self._config = _provenance(study, prepared)
        self._curves: list[dict[str, Any]] = []
        self._members: dict[tuple[int, int], dict[str, Any]] = {}
        self._timings: list[dict[str, Any]] = []
        self._total = sum(item.num_examples for item in prepared)
        self._done = 0
        self._best = (math.nan, "")
        self._written = -math.inf

    def start(
        self, prepared: Prepared, population: Population, sizes: Mapping[str, int]
    ) -> None:
        """Begins a cohort."""
        self._current = prepared
        self._population = population
        self._sizes = sizes
        lanes = prepared.plan.lanes
        self._num_members = lanes.num_trials * lanes.num_seeds
        self._done_before = self._done
        self._alive = np.ones((lanes.num_trials, lanes.num_seeds), bool)
        self._compiled_seconds = 0.0
        self._train_seconds = self._evaluation_seconds = 0.0
        self._trained = 0
        self._rate = math.nan
        self._step = 0
        for trial in prepared.cohort.trials:
            for seed in range(lanes.num_seeds):
                self._members[trial.index, seed] = {
                    "trial": trial.index,
                    "seed": seed,
                    "status": results.UNFINISHED,
                    "at_chance": False,
                    "steps": 0,
                }
        self._tell("compiling")

    @property
    def any_alive(self) -> bool:
        """Whether a member of the cohort still trains."""
        return bool(self._alive.any())

    def timed_train(
        self, function: Callable[[Any], Any], state: Any, step: int, count: int
    ) -> Any:
        """Runs one call of training and accounts for its time."""
        state, seconds = self._timed(lambda: function(state))
        examples = count * self._current.hyperparameters.batch_size * self._num_members
        self._train_seconds += seconds
        self._trained += examples
        self._rate = examples / seconds
        self._done += examples
        self._step = step
        self._tell("training")
        return state

    def timed_evaluate(
        self, population: Population, state: Any, batches: Any
    ) -> tuple[Any, Any]:
        """Runs one evaluation and accounts for its time."""
        found, seconds = self._timed(lambda: population.evaluate(state, batches))
        self._evaluation_seconds += seconds
        return found

    def _timed(self, function: Callable[[], Any]) -> tuple[Any, float]:
        before = self._population.compile_seconds
        start = time.perf_counter()
        found = jax.block_until_ready(function())
        elapsed = time.perf_counter() - start
        return found, elapsed - (self._population.compile_seconds - before)

    def add(
        self,
        evaluation: int,
        measured: Mapping[str, Any],
        num_steps: int,
        samples: int,
    ) -> None:
        """Takes in one evaluation of all members, leaves (T, S, ...)."""
        cohort = self._current
        step = cohort.boundaries[evaluation]
        metrics = {
            f"{split}_{metric}": sums / self._sizes[split]
            for split, values in measured["sums"].items()
            for metric, sums in values.items()
        }
        self._alive = measured["alive"]
        last = step == cohort.num_steps
        for t, trial in enumerate(cohort.cohort.trials):
            for s in range(self._alive.shape[1]):
                member = self._members[trial.index, s]
                if not self._alive[t, s]:
                    if member["status"] != results.DIVERGED:
                        member |= self._divergence(measured, t, s)
                    continue
                row = {
                    "trial": trial.index,
                    "seed": s,
                    "step": step,
                    "epoch": step / cohort.steps_per_epoch,
                    "examples": step * cohort.hyperparameters.batch_size,
                    "batch_loss": None,
                    **{name: float(values[t, s]) for name, values in metrics.items()},
                }
                if num_steps:
                    row["batch_loss"] = float(measured["loss_sum"][t, s]) / num_steps
                    norms = measured["norm_sum"][t, s] / samples
                    row |= self._by_layer("grad_norm_", norms)
                self._curves.append(row)
                member["steps"] = step
                self._note_best(member, row)
                if last:
                    member["status"] = results.FINISHED
                    member["at_chance"] = self._at_chance(row["validation_accuracy"])
        self._add_timing(evaluation, step)
        self._note_best_trial(metrics["validation_accuracy"])
        if time.monotonic() - self._written > SECONDS_BETWEEN_WRITES:
            self.write("interrupted")
        self._tell("training")

    def _by_layer(self, prefix: str, values: np.ndarray) -> dict[str, float]:
        names = self._current.recipe.layers
        return {prefix + name: float(v) for name, v in zip(names, values)}

    def _divergence(self, measured: Mapping[str, Any], t: int, s: int) -> dict[str, Any]:
        """Where a member left the finite numbers.

        A NaN spreads to every layer at once, so the layer named is the one whose last
        finite gradient was the largest.
        """
        step = int(measured["step"][t, s])
        norms = measured["last_norms"][t, s]
        found: dict[str, Any] = {
            "status": results.DIVERGED,
            "at_chance": False,
            "steps": step,
            "diverged_step": step,
        }
        if norms.min() < 0:  # it never took a step
            return found
        found["diverged_layer"] = self._current.recipe.layers[int(norms.argmax())]
        return found | self._by_layer("last_grad_norm_", norms)

    @staticmethod
    def _note_best(member: dict[str, Any], row: Mapping[str, Any]) -> None:
        accuracy = row["validation_accuracy"]
        if accuracy > member.get("_best", -1.0):
            member["_best"] = accuracy
            member["best_step"] = row["step"]

    def _note_best_trial(self, accuracy: np.ndarray) -> None:
        for t, trial in enumerate(self._current.cohort.trials):
            mean = accuracy[t].mean() if self._alive[t].all() else math.nan
            if not mean <= self._best[0] and not math.isnan(mean):
                self._best = (float(mean), trial.label)

    def _at_chance(self, accuracy: float) -> bool:
        """Whether an accuracy is not above chance: one-sided binomial test at 1 %."""
        chance, size = chance_of(self._current.dataset), self._sizes["validation"]
        return accuracy <= chance + 2.326 * math.sqrt(chance * (1 - chance) / size)

    def _add_timing(self, evaluation: int, step: int) -> None:
        evaluated = sum(self._sizes.values()) * self._num_members
        compiled = self._population.compile_seconds
        self._timings.append(
            {
                "cohort": self._current.cohort.index,
                "segment": evaluation,
                "step": step,
                "members": self._num_members,
                "compile_seconds": compiled - self._compiled_seconds,
                "train_seconds": self._train_seconds,
                "evaluation_seconds": self._evaluation_seconds,
                "examples_per_second": self._trained / self._train_seconds
                if self._trained
                else None,
                "inferences_per_second": evaluated / self._evaluation_seconds,
                "peak_bytes": peak_bytes(),
            }
        )
        self._compiled_seconds = compiled
        self._train_seconds = self._evaluation_seconds = 0.0
        self._trained = 0

    def finish(self) -> None:
        """Ends a cohort."""
        self._done = self._done_before + self._current.num_examples
        self.write("interrupted")

    def _tell(self, status: str) -> None:
        if self._on_progress is None:
            return
        current = self._current
        diverged = [m["status"] == results.DIVERGED for m in self._members.values()]
        self._on_progress(
            Progress(
                cohort=current.cohort.index,
                num_cohorts=len(self._prepared),
                epoch=self._step / current.steps_per_epoch,
                num_epochs=current.hyperparameters.num_epochs,
                done=self._done,
                total=self._total,
                examples_per_second=self._rate,
                best_accuracy=self._best[0],
                best_label=self._best[1],
                diverged=sum(diverged),
                status=status,
            )
        )

    def write(self, status: str) -> None:
        """Writes all tables; a run that is cut off leaves those of its last write."""
        curves = sorted(
            self._curves, key=lambda row: (row["trial"], row["seed"], row["step"])
        )
        members = [
            {k: v for k, v in self._members[key].items() if k != "_best"}
            for key in sorted(self._members)
        ]
        config = {**self._config, "status": status}
        tables = {
            "curves.parquet": results.table(curves, results.CURVES),
            "members.csv": results.table(members, results.MEMBERS),
            "timings.csv": results.table(self._timings, results.TIMINGS),
        }
        found = results.Results(
            workdir=self._workdir,
            config=config,
            study=self._study,
            curves=tables["curves.parquet"],
            members=tables["members.csv"],
            timings=tables["timings.csv"],
        )
        tables["summary.csv"] = statistics.summarize(found)
        results.write(self._workdir, config, tables)
        self._written = time.monotonic()


def chance_of(dataset: Dataset) -> float:
    """Share of the largest class of the validation set: what a constant answer gets."""
    labels = dataset.validation.labels
    return float(np.bincount(labels).max() / len(labels))


def peak_bytes() -> int:
    """Peak memory so far: of the devices, or of this process on CPU."""
    device = jax.local_devices()[0]
    if device.platform != "cpu":
        stats = [d.memory_stats() or {} for d in jax.local_devices()]
        return sum(int(s.get("peak_bytes_in_use", 0)) for s in stats)
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _provenance(study: Study, prepared: Sequence[Prepared]) -> dict[str, Any]:
    """Everything resolved; nothing of the clock."""
    of_trial = {
        trial.index: item.cohort.index for item in prepared for trial in item.cohort.trials
    }
    by_size = sorted(prepared, key=lambda item: len(item.dataset.train.labels))
    largest = {item.hyperparameters.dataset: item.dataset for item in by_size}
    return {
        "study": study.to_dict(),
        "study_digest": study.digest(),
        "trials": [
            {
                "index": trial.index,
                "id": trial.id,
                "label": trial.label,
                "overrides": dict(trial.overrides),
                "cohort": of_trial[trial.index],
            }
            for trial in study.trials()
        ],
        "cohorts": [item.to_dict() for item in prepared],
        "datasets": {
            name: {
                "name": dataset.name,
                "train": len(dataset.train.labels),
                "validation": len(dataset.validation.labels),
                "test": len(dataset.test.labels),
                "classes": list(dataset.class_names),
                "chance": chance_of(dataset),
                "digest": dataset.digest,
            }
            for name, dataset in largest.items()
        },
        "versions": {
            "nnlab": nnlab.__version__,
            "python": platform.python_version(),
            "jax": jax.__version__,
            "jaxlib": jaxlib.__version__,
            "flax": flax.__version__,
            "optax": optax.__version__,
            "numpy": np.__version__,
        },
        "git_commit": _git_commit(),
        "devices": {
            "platform": jax.default_backend(),
            "kind": _device_kind(),
            "count": jax.local_device_count(),
        },
    }


def _device_kind() -> str:
    if jax.default_backend() != "cpu":
        return str(jax.local_devices()[0].device_kind)
    try:
        found = re.search(r"model name\s*:\s*(.+)", pathlib.Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found.group(1).strip() if found else platform.machine()


def _git_commit() -> str | None:
    """The commit of nnlab's own checkout, "-dirty" behind it if files are changed."""
    here = pathlib.Path(__file__).parent
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        found = subprocess.run(
            command, cwd=here, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None
