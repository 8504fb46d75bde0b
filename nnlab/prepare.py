# SPDX-License-Identifier: Apache-2.0
"""From a `Study` to cohorts that are ready to train; trains and compiles nothing."""

import dataclasses
import functools
import math
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from nnlab import data, optim, sweep, train
from nnlab.data import Dataset, Split, transforms
from nnlab.data.dataset import read_only
from nnlab.models import layers
from nnlab.models.stack import Stack
from nnlab.plan import Plan, candidates
from nnlab.study import Hyperparameters, MovedSets, Study

TRAIN_EVALUATION_SIZE = 5_000
"""Training examples, at most, on which the training metrics are evaluated."""


@dataclasses.dataclass(frozen=True)
class FurtherSets:
    """Test sets beside the normal one.

    Attributes:
      splits: "test_moved" and "test_rotated", as far as the study asks for them.
      along_curve: whether they are evaluated whenever the others are.
      severities: ``{(transform, amount): split}``, for the final members.
    """

    splits: Mapping[str, Split]
    along_curve: bool
    severities: Mapping[tuple[str, float], Split]


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A cohort ready to train: what `describe` shows and `run` runs.

    Attributes:
      cohort: the trials.
      hyperparameters: those of the first trial; the static ones are all trials'.
      dataset: the data, limited to `train_size`.
      test_sets: beside the data's own.
      rows: the layer table; empty for a user's own module.
      parameters: trained values of a member.
      recipe: the static part of a member.
      plans: lane plans to choose from, first the one that is likely the fastest.
      steps_per_epoch: updates in an epoch; the short batch at its end is dropped.
      boundaries: steps at which members are evaluated, from 0, strictly increasing.
    """

    cohort: sweep.Cohort
    hyperparameters: Hyperparameters
    dataset: Dataset
    test_sets: FurtherSets
    rows: tuple[layers.LayerRow, ...]
    parameters: int
    recipe: train.Recipe
    plans: tuple[Plan, ...]
    steps_per_epoch: int
    boundaries: tuple[int, ...]

    @property
    def plan(self) -> Plan:
        """The plan that was chosen, or else the first."""
        return self.plans[0]

    def with_plan(self, chosen: Plan) -> "Prepared":
        """The same cohort with one of its plans."""
        return dataclasses.replace(self, plans=(chosen,))

    @property
    def num_steps(self) -> int:
        """Updates of a member in all."""
        return self.boundaries[-1]

    @property
    def module_name(self) -> str | None:
        """Class of a module of the user's own; None for the study's model."""
        module = self.recipe.module
        return None if isinstance(module, Stack) else type(module).__name__

    @property
    def num_examples(self) -> int:
        """Training examples of all members in all epochs."""
        members = self.plan.lanes.members
        return self.num_steps * self.hyperparameters.batch_size * members

    @property
    def num_evaluated(self) -> int:
        """Examples that all members evaluate in all evaluations."""
        size = sum(len(split.labels) for split in self.evaluated().values())
        once = [*self.scored().values(), *self.test_sets.severities.values()]
        last = sum(len(split.labels) for split in once)
        return (len(self.boundaries) * size + last) * self.plan.lanes.members

    def evaluated(self) -> dict[str, Split]:
        """The splits that are evaluated along training, by name."""
        train = self.dataset.train
        subset = Split(
            train.inputs[:TRAIN_EVALUATION_SIZE], train.labels[:TRAIN_EVALUATION_SIZE]
        )
        splits = {"train": subset, "validation": self.dataset.validation}
        splits["test"] = self.dataset.test
        sets = self.test_sets
        return splits | (dict(sets.splits) if sets.along_curve else {})

    def scored(self) -> dict[str, Split]:
        """The splits that only the final members are evaluated on, by name."""
        return {} if self.test_sets.along_curve else dict(self.test_sets.splits)

    def to_dict(self) -> dict[str, Any]:
        """The record in ``config.json``."""
        return {
            "index": self.cohort.index,
            "trials": [trial.index for trial in self.cohort.trials],
            "train_examples": len(self.dataset.train.labels),
            "parameters": self.parameters,
            "flops": sum(row.flops for row in self.rows),
            "layers": list(self.recipe.layers),
            "steps_per_epoch": self.steps_per_epoch,
            "num_steps": self.num_steps,
            "plan": self.plan.to_dict(),
        }


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
    loaded: dict[str, tuple[Dataset, FurtherSets]] = {}
    found = []
    for cohort in sweep.cohorts(study.trials()):
        hyperparameters = cohort.trials[0].hyperparameters
        name = hyperparameters.dataset
        if name not in loaded:
            some = dataset or data.load(name, data_dir=data_dir)
            loaded[name] = some, _test_sets(some, study.test_sets)
        try:
            item = _prepare_cohort(cohort, *loaded[name], module, study, lane_width)
        except ValueError as error:
            raise ValueError(f"trial {cohort.trials[0].label!r}: {error}") from None
        found.append(item)
    return found


def _test_sets(dataset: Dataset, asked: MovedSets) -> FurtherSets:
    """Moves and rotates the test images as a study asks."""
    test = dataset.test
    amounts = {"moved": asked.moved_pixels, "rotated": asked.rotated_degrees}
    wanted = {name: amount for name, amount in amounts.items() if amount}
    if (wanted or asked.severity) and len(dataset.input_shape) != 3:
        raise ValueError(
            f"test_sets need images (height, width, channels); examples of "
            f"{dataset.name} have shape {dataset.input_shape}"
        )

    def changed(name: str, amount: float, count: int | None = None) -> Split:
        inputs = transforms.TRANSFORMS[name](test.inputs[:count], amount)
        return Split(read_only(inputs), test.labels[:count])

    splits = {f"test_{name}": changed(name, amount) for name, amount in wanted.items()}
    severities = {
        (name, float(amount)): changed(name, amount, transforms.SEVERITY_SIZE)
        for name, amounts in transforms.SEVERITIES.items()
        for amount in (amounts if asked.severity else ())
    }
    return FurtherSets(splits, asked.along_curve, severities)


def _prepare_cohort(
    cohort: sweep.Cohort,
    dataset: Dataset,
    test_sets: FurtherSets,
    module: nn.Module | None,
    study: Study,
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
    activity = module is None and "active_units" in study.figures
    if module is None:
        stack = stack_of(
            h, dataset.num_classes, dropout=bool(traced["dropout_rate"].any())
        )
        rows = layers.check(stack, dataset.input_shape, dataset.num_classes)
        module = Stack(tuple(stack), initializer=h.model.init, dtype=h.dtype)
    scale, shift = dataset.scale, 0.0
    if h.standardize:
        mean, deviation = _moments(dataset.train.inputs)
        if not deviation > 0:
            raise ValueError("standardize=True needs training inputs that differ")
        scale, shift = 1 / deviation, mean / deviation
    if h.augment_pixels and len(dataset.input_shape) != 3:
        raise ValueError(
            f"augment_pixels={h.augment_pixels} needs images (height, width, "
            f"channels); examples of {dataset.name} have shape {dataset.input_shape}"
        )
    recipe = train.Recipe(
        module=module,
        layers=_layer_names(module, dataset.input_shape, rows),
        runs=module.runs if isinstance(module, Stack) else {},
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
        input_scale=scale,
        input_shift=shift,
        augment_pixels=h.augment_pixels,
        activity=activity,
        patience=h.early_stopping.patience,
        watched=h.early_stopping.metric.removeprefix("validation_"),
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
        test_sets=test_sets,
        rows=rows,
        parameters=parameters,
        recipe=recipe,
        plans=tuple(
            candidates(
                rows,
                parameters=parameters,
                num_trials=len(cohort.trials),
                num_seeds=study.num_seeds,
                batch_size=h.batch_size,
                state_bytes=4 * _size(shapes),
                data_bytes=sum(
                    split.inputs.nbytes + split.labels.nbytes
                    for split in (dataset.train, dataset.validation, dataset.test)
                ),
                devices=jax.local_devices(),
                stops_early=h.early_stopping.patience > 0,
                lane_width=lane_width,
            )
        ),
        steps_per_epoch=steps_per_epoch,
        boundaries=_boundaries(num_steps, steps_per_epoch, h.eval_every_epochs),
    )


def _moments(inputs: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of all values together.

    Not by `np.std`, whose temporary float64 array is eight times 8-bit images.
    """
    flat = inputs.reshape(-1)
    mean = float(flat.mean(dtype=np.float64))
    square = float(np.einsum("i,i->", flat, flat, dtype=np.float64)) / flat.size
    return mean, math.sqrt(max(square - mean**2, 0.0))


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
        shared |= {"kernel": model.kernel, "pool": model.pool}
        return layers.cnn(model.channels, model.units, num_classes, **shared)
    return layers.mlp(model.units, num_classes, **shared)


def _layer_names(
    module: nn.Module, input_shape: Sequence[int], rows: Sequence[layers.LayerRow]
) -> tuple[str, ...]:
    """Names of the layers with parameters, in the order of the network.

    A module without a layer table gives no order: the names of its parameters' top
    level are sorted, dense_2 before dense_10.
    """
    names: Any = [row.name for row in rows if row.parameters]
    if not rows:
        shapes = jax.eval_shape(
            lambda key, x: module.init(key, x, train=False),
            jax.random.key(0),
            jax.ShapeDtypeStruct((1, *input_shape), np.float32),
        )
        names = sorted(shapes.get("params", {}), key=_natural)
    if not names:
        raise ValueError("the model has no parameters to train")
    return tuple(names)


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(d or 0), t) for d, t in re.findall(r"(\d+)|(\D+)", name)]


def _check_logits(recipe: train.Recipe, state: Any, dataset: Dataset) -> None:
    logits = jax.eval_shape(
        lambda params, stats, x: recipe.module.apply(
            {"params": params, "batch_stats": stats}, x, train=False
        ),
        state.params,
        state.batch_stats,
        jax.ShapeDtypeStruct((2, *dataset.input_shape), np.float32),
    )
    shape = jax.tree.map(lambda leaf: leaf.shape, logits)
    if shape != (2, dataset.num_classes):
        raise ValueError(
            f"the model returns shape {shape} for 2 examples; the data set's "
            f"classes need (2, {dataset.num_classes})"
        )


def _size(tree: Any) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def _boundaries(
    num_steps: int, steps_per_epoch: int, eval_every_epochs: float
) -> tuple[int, ...]:
    """Steps of the evaluations: before training, every so often, and at the end."""
    interval = max(1.0, eval_every_epochs * steps_per_epoch)
    regular = (round(i * interval) for i in range(math.ceil(num_steps / interval)))
    return tuple(sorted({*regular, num_steps}))
