# SPDX-License-Identifier: Apache-2.0
"""Turns a `Study` into programs ready to train; trains and compiles nothing itself."""

import dataclasses
import functools
import hashlib
import itertools
import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from nnlab.data import Dataset, Split, labels
from nnlab.machine import devices
from nnlab.machine.files import absolute
from nnlab.models import layers, resnet, resnet_layers, weights
from nnlab.models import networks as networks_by_name
from nnlab.models.stack import Stack
from nnlab.study import (
    OWN_PROBE,
    TRAIN_EVALUATION_SIZE,
    WEIGHTS,
    Hyperparameters,
    Optimizer,
    Own,
    Schedule,
    Study,
)
from nnlab.study.fields import FieldError
from nnlab.study.hyperparameters import Model, OfLayers
from nnlab.study.members import Members, alike, by_program
from nnlab.study.probes import name_of, parse
from nnlab.training import (
    groups,
    losses,
    member,
    modules,
    optimizers,
    probes,
    refusals,
    schedules,
)
from nnlab.training.backbone import (
    IMAGENET_DEVIATION,
    IMAGENET_MEAN,
    backbone_of,
    head,
    layers_of,
)
from nnlab.training.handed import Handed
from nnlab.training.plan import Demand
from nnlab.training.program import (
    SPLITS,
    NetworkProgram,
    Probed,
    Program,
    Source,
    TreeProgram,
    networks_of,
)

MOST_EVALUATIONS = 1_000_000
"""Most evaluations of a network along its training; each is a row of the curves."""


@devices.pinned()
def prepare(
    study: Study,
    *,
    lane_width: int = 0,
    members: Sequence[Members] | None = None,
    **handed: Any,
) -> list[Program]:
    """Loads the data and prepares every program.

    Args:
      study: what to run.
      lane_width: members that run at once; 0 lets the plan choose.
      members: the members of each program; None for all of the study's.
      **handed: the fields of `Handed`.

    Raises:
      ValueError, FileNotFoundError, ConnectionError: as `experiment.run`.
    """
    given = Handed(**handed)
    given.check(study)
    if members is None:
        members = by_program(study.trials(), study.num_seeds)
    found: list[Program] = []
    for some in members:
        h = some.trials[0].hyperparameters
        dataset, test_sets, drawing = given.data(h, study)
        try:
            dataset = dataset.limit(h.train_size)
            if drawing:
                drawing = drawing.limit(h.train_size)
                dataset = drawing.dataset(dataset, 0)
            refusals.check_targets(dataset)
            program = Program(
                members=some,
                hyperparameters=h,
                dataset=dataset,
                test_sets=test_sets,
                drawing=drawing,
            )
            if h.model.is_network:
                program = _networks(program, study, given, lane_width)
            else:
                program = TreeProgram(**vars(program))
        except ValueError as error:
            raise ValueError(f"trial {some.trials[0].label!r}: {error}") from None
        found.append(program)
    if len({program.dataset.score for program in found}) > 1:
        raise ValueError(
            "some trials learn classes and some learn numbers, which do not compare: "
            "make a study of each (csv.task says what a table's labels are)"
        )
    return found


def own_of(study: Study, handed: Handed) -> Own:
    """Returns the record of all that is the user's own.

    Probes are traced on the first network.
    """
    found = handed.own(study)
    if not handed.probes:
        return found
    every = by_program(study.trials(), study.num_seeds)
    grown = (some for some in every if some.trials[0].hyperparameters.model.is_network)
    (first,) = networks(study, members=[next(grown)], **vars(handed))
    codes = {f"{OWN_PROBE}{t}": first.probed[name_of(t)].code for t in handed.probes}
    return dataclasses.replace(found, functions={**found.functions, **codes})


def networks(study: Study, **options: Any) -> list[NetworkProgram]:
    """Returns the programs of networks among those of `prepare`; same arguments."""
    return networks_of(prepare(study, **options))


def _networks(
    program: Program, study: Study, handed: Handed, lane_width: int
) -> NetworkProgram:
    h, dataset, members = program.hyperparameters, program.dataset, program.members
    training = _source_training(h, study, handed)
    boundaries, steps_per_epoch = _boundaries(h, dataset.train.size)
    recipe, rows = _recipe(program, study, handed, boundaries[-1])
    shapes, *_ = member.shapes(recipe, members.traced())
    refusals.check_outputs(recipe, shapes, dataset)
    fed, source, drawing = dataset, None, program.drawing
    pool, shared = (drawing.pool, drawing.shared) if drawing else (None, SPLITS)
    if h.transfer.mode != "scratch":
        source = _source(h, recipe, shapes, training)
    if source and source.frozen:
        fed, pool, recipe, rows = _probe(source, dataset, pool)
        shapes, *_ = member.shapes(recipe, members.traced())
    largest = (0, 0)
    if not (drawing or h.full_batch or (source and source.frozen)):
        whole = handed.data(h, study)[0].train
        largest = _largest(h, study, whole.size)
        pool = whole if any(largest) else None
    demand = Demand(
        members=members,
        rows=rows,
        parameters=_size(shapes.params),
        state_bytes=4 * _size(shapes),
        batch_size=h.batch_of(dataset.train.size),
        data_bytes=sum(
            array.nbytes
            for split in (pool, *(getattr(fed, name) for name in shared))
            if split
            for array in vars(split).values()
        ),
        stops_early=(
            h.early_stopping.patience > 0
            or study.halving.factor > 0
            or len(study.looks) > 1  # later looks have fewer trials
        ),
        room=_room(members, study),
    )
    if members.first_seed:  # added seeds may be fewer members than a lane is wide
        lane_width = min(lane_width, demand.most)
    probe_size = min(study.probe_size or fed.train.size, fed.train.size)
    return NetworkProgram(
        **{**vars(program), "source": source},
        fed=fed,
        pool=pool,
        rows=rows,
        recipe=recipe,
        demand=demand,
        plans=tuple(demand.plans(jax.devices(), lane_width)),
        steps_per_epoch=steps_per_epoch,
        boundaries=boundaries,
        probed=_probed(recipe, members, study, handed, boundaries, fed, probe_size),
        probe_size=probe_size,
        largest=largest,
    )


def _probed(
    recipe: member.Recipe,
    members: Members,
    study: Study,
    handed: Handed,
    boundaries: Sequence[int],
    fed: Dataset,
    size: int,
) -> dict[str, Probed]:
    """Returns the probes of a program; refuses one that cannot measure."""
    asked = [parse(text) for text in (*study.probes, *handed.probes)]
    if not asked:
        return {}
    state, traced, key = member.shapes(recipe, members.traced())
    inputs = jax.ShapeDtypeStruct(
        (size, math.prod(recipe.input_shape)), fed.train.inputs.dtype
    )
    labels = fed.train.labels
    shape = size, *labels.shape[1:]
    batch = probes.Batch(inputs, jax.ShapeDtypeStruct(shape, labels.dtype))
    found = {}
    for probe in asked:
        known = probes.shapes(probe.name, recipe, state, traced, key, batch)
        found[probe.name] = Probed(probe.steps(boundaries), *known)
    return found


def _largest(h: Hyperparameters, study: Study, size: int) -> tuple[int, int]:
    """Returns `NetworkProgram.largest`, of a data set of so many training examples."""
    every = (
        t.hyperparameters for t in study.trials() if t.hyperparameters.data == h.data
    )
    sizes = {one.train_size or size for one in every}
    if len(sizes) == 1:
        return 0, 0
    most = min(max(sizes), size)
    steps, _ = _boundaries(h, most)
    return min(most, TRAIN_EVALUATION_SIZE), int(np.diff(steps).max())


def _boundaries(h: Hyperparameters, size: int) -> tuple[tuple[int, ...], int]:
    """Returns the steps of the evaluations, and the number of updates in an epoch.

    The first evaluation is at 0, the last at the end of training; `size` is that of the
    training set.
    """
    steps_per_epoch = size // h.batch_of(size)
    if not steps_per_epoch:
        raise ValueError(
            f"batch_size={h.batch_size} is larger than the {size} training examples"
        )
    num_steps = steps_per_epoch * h.num_epochs
    num_steps = min(num_steps, h.max_steps or num_steps)
    if num_steps > layers.INT_MAX:
        raise ValueError(
            f"num_epochs={h.num_epochs} makes {num_steps:,} updates; at most "
            f"{layers.INT_MAX:,} are allowed (max_steps can end training earlier)"
        )
    interval = max(1.0, h.eval_every_epochs * steps_per_epoch)
    if num_steps / interval > MOST_EVALUATIONS:
        raise ValueError(
            f"eval_every_epochs={h.eval_every_epochs:g} makes "
            f"{num_steps / interval:,.0f} evaluations in {num_steps:,} updates; at "
            f"most {MOST_EVALUATIONS:,} are allowed"
        )
    regular = (round(i * interval) for i in range(math.ceil(num_steps / interval)))
    return tuple(sorted({*regular, num_steps})), steps_per_epoch


def _recipe(
    program: Program, study: Study, handed: Handed, num_steps: int
) -> tuple[member.Recipe, tuple[layers.LayerRow, ...]]:
    """Returns the static part of a program's members, and the layer table."""
    h, dataset = program.hyperparameters, program.dataset
    traced = program.members.traced()
    for trial in program.trials:
        refusals.check_trial(trial.hyperparameters, dataset, handed.functions)
    named = modules.by_name(handed.module)
    module: Any = modules.chosen(named, h.module) if named else None
    rows: tuple[layers.LayerRow, ...] = ()
    activity = module is None and "active_units" in study.figures
    if module is None:
        module, rows = network_of(
            h,
            dataset.input_shape,
            dataset.num_classes,
            dropout=bool(traced["dropout_rate"].any()),
            vocabulary=dataset.vocabulary,
        )
    else:
        is_scaled = bool((traced["init_scale"] != 1).any())
        seen = modules.input_type(dataset.vocabulary)
        modules.check(module, dataset.input_shape, is_scaled, seen)
    own_rule = handed.functions.get("optimizer")
    if isinstance(module, Stack) and (
        own_rule or h.optimizer.name in optimizers.BY_LAYER
    ):
        module = module.clone(rolled=False)
    scale, shift = _scaling(program)
    recipe = member.Recipe(
        module=module,
        layers=_layer_names(module, dataset, rows),
        runs=module.runs if isinstance(module, Stack) else {},
        optimizer=functools.partial(
            optimizers.optimizer,
            optimizers.joined(t.hyperparameters.optimizer for t in program.trials),
            own=own_rule,
            zeros=[name for name, of in traced.items() if not of.any()],
        ),
        schedule=_schedule(h, handed, num_steps),
        input_shape=dataset.input_shape,
        tokens=dataset.vocabulary > 0,
        input_scale=scale,
        input_shift=shift,
        augment_pixels=h.augment_pixels,
        augment_flip=h.augment_flip,
        class_weights=h.loss.class_weights,
        min_delta=h.early_stopping.min_delta * dataset.validation.size,
        full_batch=h.full_batch,
        relabels=dataset.num_classes if "label_noise" in traced else 0,
        activity=activity,
        # A regression has no right answers: its losses stand for them in tests.
        example_losses=study.example_losses or dataset.is_regression,
        own_metrics=dict(handed.own_metrics),
        every_norm="gradients" in study.figures,
        patience=h.early_stopping.patience,
        watched="loss"
        if dataset.is_regression
        else h.early_stopping.metric.removeprefix("validation_"),
        averages="average_decay" in traced,
        loss=_loss(h, dataset, handed),
        target_mean=_row(dataset.target_mean),
        target_unit=_row(dataset.target_unit),
        probes={
            **{name: probes.find(name) for name in map(name_of, study.probes)},
            **{name_of(text): probe for text, probe in handed.probes.items()},
        },
        probe_batch=h.batch_of(dataset.train.size),
    )
    schedules.check(num_steps, max(traced.get("warmup_steps", [0])))
    for path, given in (
        ("optimizer.rate_of", h.optimizer.rate_of),
        ("model.scale_of", h.model.scale_of),
    ):
        groups.check(path, dict(given.factors), recipe.layers)
    if h.model.parametrization == "mup":
        recipe = _mup(h, recipe, own_rule)
    return recipe, rows


def _row(values: np.ndarray | None) -> np.ndarray | None:
    """Returns values (C,) as float32 (1, C); None stays None."""
    return None if values is None else values[np.newaxis].astype(np.float32)


def _mup(h: Hyperparameters, recipe: member.Recipe, own_rule: Any) -> member.Recipe:
    """Returns a recipe with the factors of the maximal update parametrization."""
    if isinstance(recipe.module, modules.Called):
        raise FieldError(
            "model.parametrization",
            "='mup' knows the layers of nnlab's own models alone, not of a module of "
            "yours: set it to 'standard'",
        )
    if not h.model.init.startswith(groups.FAN_IN):
        raise FieldError(
            "model.parametrization",
            f"='mup' needs a model.init that begins with {' or '.join(groups.FAN_IN)}, "
            f"not {h.model.init!r}",
        )
    shapes = member.shapes_of_variables(
        recipe.module, recipe.input_shape, member.input_type(recipe)
    )["params"]
    rates, scales = groups.mup(
        shapes,
        recipe.layers,
        recipe.runs,
        base_width=h.model.base_width,
        optimizer="one of your own" if own_rule else h.optimizer.name,
    )
    return dataclasses.replace(recipe, rates=rates, scales=scales)


def _schedule(h: Hyperparameters, handed: Handed, num_steps: int) -> member.Schedule:
    """Returns a trial's schedule, or the one that is handed in."""
    mine = handed.functions.get("schedule")
    if mine is None:
        name = h.schedule.name
        return functools.partial(schedules.factor, name, total_steps=num_steps)
    if h.schedule != Schedule():
        raise ValueError(
            f"schedule.name={h.schedule.name!r} does not go with a schedule of your "
            "own: leave out one of them"
        )
    return lambda step, _: mine(jnp.asarray(step, jnp.float32) / num_steps)


def _loss(h: Hyperparameters, dataset: Dataset, handed: Handed) -> losses.Loss:
    """Returns a trial's loss, or the one that is handed in."""
    mine = handed.functions.get("loss")
    return mine or losses.find(h.loss.name, dataset.is_regression)


def _room(members: Members, study: Study) -> tuple[int, int]:
    """Returns the trials and seeds that another program of equal shape may have.

    The batches of a search, and the looks of a study, then compile once.
    """
    if study.search.space:
        return study.search.batch, 0
    if study.looks:
        added = [b - a for a, b in itertools.pairwise((0, *study.looks))]
        groups = alike(study.trials())
        same = next(group for group in groups if members.trials[0] in group)
        return len(same), max(added)
    return 0, 0


def _source_training(
    h: Hyperparameters, study: Study, handed: Handed
) -> NetworkProgram | None:
    """Prepares the training of a trial's backbone; None if nothing trains one."""
    asked = h.transfer
    if asked.mode == "scratch" or asked.source.endswith(WEIGHTS):
        return None
    if study.split and asked.source == h.dataset:
        raise ValueError(
            f"transfer.source={asked.source!r} is the data set itself: with vary="
            f"{study.split} its backbone would learn from examples that are drawn for "
            "validation or test; choose another source"
        )
    base = Hyperparameters(
        dataset=asked.source,
        csv=h.csv,
        train_size=asked.train_size,
        standardize=h.standardize,
        center=h.center,
        model=dataclasses.replace(
            h.model,
            dropout_rate=0.0,
            init_scale=1.0,
            scale_of=OfLayers(),
            parametrization="standard",
        ),
        optimizer=Optimizer(name="adam", learning_rate=asked.learning_rate),
        batch_size=asked.batch_size,
        num_epochs=asked.num_epochs,
        eval_every_epochs=asked.num_epochs,
        dtype=h.dtype,
    )
    first = Study(
        base=base,
        num_seeds=1,
        eval_size=study.eval_size,
        root_seed=study.root_seed,
        figures=(),
    )
    try:
        (training,) = networks(first, data_dir=handed.data_dir)
    except ValueError as error:
        raise ValueError(f"transfer.source={asked.source!r}: {error}") from None
    return training


def network_of(
    h: Hyperparameters,
    shape: Sequence[int],
    num_classes: int,
    *,
    dropout: bool,
    vocabulary: int = 0,
) -> tuple[nn.Module, tuple[layers.LayerRow, ...]]:
    """Returns a trial's module and its layer table, for examples of a shape.

    They are numbers, or tokens below `vocabulary`.
    `dropout` says whether any trial of the program has a dropout rate above 0.
    """
    model = h.model
    if model.name == "resnet18":
        rows = resnet_layers.table(shape, num_classes, model.stem)
        module = resnet.ResNet18(
            num_classes, stem=model.stem, initializer=model.init, dtype=h.dtype
        )
        return module, rows
    if model.name == "stack":
        if not model.layers:
            raise ValueError("model.name='stack' needs model.layers")
        chosen: Sequence[layers.Layer] = model.layers
    else:
        chosen = _chosen(model, shape, num_classes, dropout, vocabulary)
    rows = layers.check(chosen, shape, num_classes, vocabulary)
    return Stack(tuple(chosen), initializer=model.init, dtype=h.dtype), rows


def _chosen(
    model: Model,
    shape: Sequence[int],
    num_classes: int,
    dropout: bool,
    vocabulary: int,
) -> Sequence[layers.Layer]:
    """Returns the layers of a network that is told by name."""
    if model.name == "transformer":
        return networks_by_name.transformer(
            shape,
            num_classes,
            vocabulary=vocabulary,
            features=model.hidden[0],
            depth=model.depth,
            heads=model.heads,
            activation=model.activation,
            dropout=dropout,
        )
    fields: dict[str, Any] = {
        name: getattr(model, name) for name in ("activation", "batch_norm", "bias")
    }
    fields["dropout"] = dropout
    if model.name in ("cnn", "vgg"):
        fields |= {"kernel": model.kernel, "pool": model.pool}
    match model.name:
        case "vgg":
            sizes = model.channels, model.units, num_classes, model.depth
            return networks_by_name.vgg(*sizes, **fields)
        case "cnn":
            return layers.cnn(model.channels, model.units, num_classes, **fields)
        case name:
            make = {"mlp": layers.mlp, "resmlp": networks_by_name.resmlp}[name]
            hot = {"layer": "one_hot", "vocabulary": vocabulary}
            some = make(model.units, num_classes, **fields)
            return [hot, *some] if vocabulary else some


def _source(
    h: Hyperparameters,
    recipe: member.Recipe,
    shapes: Any,
    training: NetworkProgram | None,
) -> Source:
    """Returns the source of a network's backbone; refuses one that does not fit."""
    frozen = h.transfer.mode == "probing"
    backbone_of(recipe.module)  # refuses a network without a backbone
    if training is None:
        if h.model.name != "resnet18":
            raise ValueError(
                f"transfer.source={h.transfer.source!r} holds weights of a ResNet-18; "
                f"model.name={h.model.name!r} must be 'resnet18'"
            )
        file = absolute(h.transfer.source, "transfer.source")
        variables = weights.load_resnet18(
            file,
            num_classes=0,
            channels=recipe.input_shape[-1],
            stem=h.model.stem,
        )
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        return Source(h.transfer.source, digest, None, variables, recipe, frozen)
    begun, *_ = member.shapes(training.recipe, training.members.traced())
    for layer in layers_of(recipe)["params"]:
        wanted, found = (of.params.get(layer) for of in (shapes, begun))
        if jax.tree.map(jnp.shape, wanted) != jax.tree.map(jnp.shape, found):
            raise ValueError(
                f"transfer.source={h.transfer.source!r} has examples of shape "
                f"{training.dataset.input_shape}, the trial's data of "
                f"{recipe.input_shape}: {layer} does not fit both"
            )
    key = training.trials[0].id
    return Source(key, training.dataset.digest, training, None, recipe, frozen)


def _probe(
    source: Source, dataset: Dataset, pool: Split | None
) -> tuple[Dataset, Split | None, member.Recipe, tuple[layers.LayerRow, ...]]:
    """Returns data and pool (still 0), recipe and layer table of a last layer."""
    whole = source.whole
    backbone = backbone_of(whole.module)
    sample = jax.ShapeDtypeStruct((1, *whole.input_shape), np.float32)
    features, _ = jax.eval_shape(
        lambda key, x: backbone.init_with_output(key, x, train=False),
        member.key(0),
        sample,
    )
    shape = features.shape[1:]
    module = head(whole.module, dataset.num_classes)
    recipe = dataclasses.replace(
        whole,
        module=module,
        layers=("head",),
        runs={},
        rates={},
        scales={},
        input_shape=shape,
        input_scale=1.0,
        input_shift=0.0,
        activity=False,
    )

    def blank(split: Split) -> Split:
        zeros = np.broadcast_to(np.float32(0), (split.size, *shape))
        return Split(zeros, split.labels)

    blanks: dict[str, Any] = {name: blank(getattr(dataset, name)) for name in SPLITS}
    fed = dataclasses.replace(dataset, **blanks, scale=1.0)
    return (
        fed,
        pool and blank(pool),
        recipe,
        layers.check(module.layers, shape, dataset.num_classes),
    )


def _scaling(program: Program) -> tuple[Any, Any]:
    """Returns factor and shift from stored inputs to those of the network.

    Inputs are standardized by the training examples; where each seed draws its own, by
    all that it may draw, without their labels.
    """
    h, dataset = program.hyperparameters, program.dataset
    if h.transfer.mode != "scratch" and h.transfer.source.endswith(WEIGHTS):
        return _imagenet_scaling(dataset)
    if not (h.standardize or h.center or dataset.is_table):
        return dataset.scale, 0.0
    inputs = (program.drawing.pool if program.drawing else dataset.train).inputs
    if not (h.standardize or dataset.is_table):
        mean = inputs.mean(axis=0, dtype=np.float64).reshape(1, -1) * dataset.scale
        return dataset.scale, mean.astype(np.float32)
    if len(dataset.input_shape) == 1:
        mean = inputs.mean(axis=0, dtype=np.float64, keepdims=True)
        deviation = inputs.std(axis=0, dtype=np.float64, keepdims=True)
        if not deviation.any():
            raise ValueError("no column of the training inputs changes")
        # A constant column has no information: the network sees 0.
        factor = np.divide(1, deviation, out=0 * deviation, where=deviation > 0)
        return factor.astype(np.float32), (mean * factor).astype(np.float32)
    mean, deviation = _moments(inputs)
    if not deviation > 0:
        raise ValueError("standardize=True needs training inputs that differ")
    return 1 / deviation, mean / deviation


def _imagenet_scaling(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    shape = dataset.input_shape
    if len(shape) != 3 or shape[2] not in (1, 3):
        raise ValueError(
            f"{WEIGHTS} weights need images of 1 or 3 channels; examples of "
            f"{dataset.name} have shape {shape}"
        )
    mean, deviation = (
        np.array(v) if shape[2] == 3 else np.array([np.mean(v)])
        for v in (IMAGENET_MEAN, IMAGENET_DEVIATION)
    )
    pixels = (1, shape[0] * shape[1])
    factor, shift = dataset.scale / deviation, mean / deviation
    tiled, moved = (np.tile(v, pixels).astype(np.float32) for v in (factor, shift))
    return tiled, moved


def _moments(inputs: np.ndarray) -> tuple[float, float]:
    """Returns mean and standard deviation of all values together.

    `np.std` would need a temporary float64 array, eight times the size of 8-bit images.
    """
    flat = inputs.reshape(-1)
    mean = float(flat.mean(dtype=np.float64))
    square = float(np.einsum("i,i->", flat, flat, dtype=np.float64)) / flat.size
    return mean, math.sqrt(max(square - mean**2, 0.0))


def _layer_names(
    module: nn.Module | modules.Called,
    dataset: Dataset,
    rows: Sequence[layers.LayerRow],
) -> tuple[str, ...]:
    """Returns the names of the layers with parameters, in the order of the network.

    A module without a layer table has no order; its top-level names are sorted, dense_2
    before dense_10.
    """
    names: Any = [row.name for row in rows if row.parameters]
    if not rows:
        shapes = member.shapes_of_variables(
            module, dataset.input_shape, modules.input_type(dataset.vocabulary)
        )
        names = labels.in_order(shapes.get("params", {}))
    if not names:
        raise ValueError("the model has no parameters to train")
    return tuple(names)


def _size(tree: Any) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))
