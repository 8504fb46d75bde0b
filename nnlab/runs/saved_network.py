# SPDX-License-Identifier: Apache-2.0
"""Takes one trained network from a workdir, to predict, save and load it.

A ``.safetensors`` file holds arrays under their path, such as
``params/dense_0/kernel``; any other path is an Orbax checkpoint. Both also hold what
prediction needs: the model as plain values, the shape of an example, the input scaling.
"""

import contextlib
import dataclasses
import functools
import json
import logging
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy
from flax import traverse_util

import nnlab
from nnlab import results
from nnlab.data import labels, numbers
from nnlab.machine import devices
from nnlab.machine.files import absolute, write_atomic
from nnlab.runs import resume
from nnlab.runs.checkpoint import Checkpoints, named, read_export, write_export
from nnlab.statistics.members import keep_best
from nnlab.study import WEIGHTS, Hyperparameters, Own
from nnlab.study.fields import from_mapping, to_mapping
from nnlab.study.hyperparameters import Module
from nnlab.training import backbone as transfer
from nnlab.training import member as train
from nnlab.training import modules, own
from nnlab.training.prepare import network_of
from nnlab.training.program import NetworkProgram

_log = logging.getLogger(__name__)

PREDICTED_AT_ONCE = 512
"""Examples whose class probabilities are computed at once."""

_ABOUT = "nnlab"
"""Key of the plain values in a file's metadata."""

_KEYS = (
    *("version", "question", "trial", "label", "seed", "status", "steps", "dataset"),
    *("classes", "input_shape", "hyperparameters", "dropout", "frozen", "module"),
)
"""Names of the plain values."""

_NEWER = ("labels", "features", "origin")
"""Plain values that networks of older versions lack."""

_OF_TOKENS = ("vocabulary",)
"""Plain values of networks that read tokens."""


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """A trained network.

    Attributes:
      module: Linen module whose ``__call__(self, x, train)`` returns logits (B, C); a
        user's own is wrapped in `modules.Called`.
      variables: ``{"params": ..., "batch_stats": ...}``, trees of NumPy arrays, for
        ``module.apply(variables, x, train=False)``.
      scale, shift: the module's input is a stored example * scale - shift; float32, (),
        or (1, values of an example).
      about: its origin, as plain values: question, trial, label, seed, status, steps,
        dataset, classes, labels (their values and NumPy's name of their type),
        input_shape, features (names of a table's columns), origin (subtracted from
        examples before they are stored, in float64), hyperparameters.
    """

    module: nn.Module | modules.Called
    variables: Mapping[str, Any]
    scale: np.ndarray
    shift: np.ndarray
    about: Mapping[str, Any]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of an example."""
        return tuple(self.about["input_shape"])

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the C classes."""
        return tuple(self.about["classes"])

    @property
    def labels(self) -> np.ndarray:
        """The label of each class in the data, (C,); its name if that is unknown."""
        if self.about["labels"] is None:
            return np.array(self.class_names)
        return labels.from_plain(self.about["labels"], len(self.class_names))

    @property
    def num_parameters(self) -> int:
        """Number of trained values."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.variables["params"]))

    @devices.pinned()
    def probabilities(self, inputs: npt.ArrayLike) -> np.ndarray:
        """Returns the class probabilities of examples.

        Args:
          inputs: examples as in the training data (images as 0 to 255, say), (N,
            *input_shape); a last axis of one channel may be left out. Columns of a data
            frame are found by their names, if the training data had names.

        Returns:
          float32 (N, C), in the order of `class_names`.

        Raises:
          ValueError: the shape or the columns differ, a value is not finite, or the
            network learnt numbers, not classes.
        """
        if self.about.get("targets"):
            raise ValueError("a regression has no classes: use predict(inputs)")
        return self._answers(inputs)

    def _answers(self, inputs: npt.ArrayLike) -> np.ndarray:
        shape, features = self.input_shape, self.about["features"] or ()
        values = numbers.check(inputs, "inputs", features)
        if shape[-1:] == (1,) and values.shape[1:] == shape[:-1]:
            values = values[..., None]
        if values.ndim == 0 or values.shape[1:] != shape:
            raise ValueError(
                f"inputs of shape {values.shape} and type {values.dtype}: this network "
                f"takes numbers of shape (N, {', '.join(map(str, shape))})"
            )
        tokens = self.about.get("vocabulary")
        if tokens and not np.isin(values, np.arange(tokens)).all():
            raise ValueError(
                f"inputs are tokens: whole numbers from 0 to {tokens - 1} are allowed"
            )
        origin = self.about["origin"]
        if origin is not None or values.dtype != np.uint8:
            taken = None if origin is None else np.asarray(origin, np.float64)
            values = numbers.stored(values, taken, "inputs")
        flat = values.reshape(len(values), math.prod(shape))
        found = [np.zeros((0, len(self.class_names)), np.float32)]
        for start in range(0, len(flat), PREDICTED_AT_ONCE):
            chunk = flat[start : start + PREDICTED_AT_ONCE]
            padded = np.resize(chunk, (PREDICTED_AT_ONCE, flat.shape[1]))
            found.append(np.asarray(self._predict(padded))[: len(chunk)])
        return np.concatenate(found)

    def predict(self, inputs: npt.ArrayLike) -> np.ndarray:
        """Returns the most probable label of each example, (N,), of type `labels`.

        Labels are as in the user's data; see `codes` for class numbers, and
        `probabilities` for the argument. A regression returns its C targets in the
        user's units, float32 (N, C).
        """
        if self.about.get("targets"):
            return self._answers(inputs)
        return self.labels[self.codes(inputs)]

    def codes(self, inputs: npt.ArrayLike) -> np.ndarray:
        """Returns the index in `class_names` of the most probable class, int64 (N,)."""
        return self.probabilities(inputs).argmax(axis=1)

    @functools.cached_property
    def _predict(self) -> Any:
        variables = jax.device_put(dict(self.variables))
        targets = self.about.get("targets")

        @jax.jit
        def of_batch(variables: Any, inputs: jax.Array) -> jax.Array:
            x = train.rescaled(inputs, self.scale, self.shift, self.input_shape)
            outputs: Any = self.module.apply(variables, x, train=False)
            if targets is None:
                return jax.nn.softmax(outputs)
            mean, unit = (jnp.float32([targets[name]]) for name in ("mean", "unit"))
            return outputs * unit + mean

        return functools.partial(of_batch, variables)

    def save(self, path: str | os.PathLike[str]) -> pathlib.Path:
        """Saves the network for `load`.

        Args:
          path: a file that ends in ``.safetensors``, or else the folder of an Orbax
            checkpoint, which must not exist yet.

        Returns:
          The path.

        Raises:
          FileExistsError: the folder exists.
          OSError: it cannot be written.
        """
        target = absolute(path)
        inputs = {"scale": self.scale, "shift": self.shift}
        arrays = named({**self.variables, "input": inputs})
        if target.suffix == WEIGHTS:
            target.parent.mkdir(parents=True, exist_ok=True)
            whole = {n: np.array(array, order="C") for n, array in arrays.items()}
            metadata = {_ABOUT: json.dumps(self.about)}
            write_atomic(target, safetensors.numpy.save(whole, metadata))
        else:
            write_export(target, arrays, self.about)
        return target

    def __getstate__(self) -> dict[str, Any]:
        """Returns its fields for pickle and copy, without the compiled function."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    def __repr__(self) -> str:
        about = self.about
        return (
            f"Network({about['label']}, seed {about['seed']}: "
            f"{self.num_parameters:,} parameters, {about['steps']:,} steps, "
            f"{about['status']})"
        )


def load(path: str | os.PathLike[str], *, module: Any = None) -> Network:
    """Loads what `Network.save` wrote.

    Args:
      path: the file or the folder.
      module: the network's module, if it was a user's own.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is damaged, not a network of nnlab, or needs its module.
    """
    source = absolute(path)
    if not source.exists():
        raise FileNotFoundError(f"no network {str(source)!r}")
    try:
        if source.is_dir():
            arrays, about = read_export(source)
        else:
            with safetensors.safe_open(source, framework="numpy") as stored:
                about = json.loads((stored.metadata() or {})[_ABOUT])
                names = stored.keys()
                arrays = {name: stored.get_tensor(name) for name in names}
        newer = {key: about.get(key) for key in _NEWER}
        if "targets" in about:  # of a regression
            newer["targets"] = {k: about["targets"][k] for k in ("mean", "unit")}
        tokens = {key: about[key] for key in _OF_TOKENS if key in about}
        about = {key: about[key] for key in _KEYS} | newer | tokens
        if about["labels"] is not None:
            labels.from_plain(about["labels"], len(about["classes"]))
        if about["origin"] is not None:
            taken = np.asarray(about["origin"], np.float64)
            np.broadcast_to(taken, about["input_shape"])
    except (
        safetensors.SafetensorError,
        ValueError,
        KeyError,
        TypeError,
        RecursionError,
    ) as error:
        line = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(
            f"{str(source)!r} is no network that nnlab saved: {line}"
        ) from None
    return _network(arrays, about, module, str(source))


def items_of(
    program: NetworkProgram, backbone: transfer.Backbone | None
) -> dict[str, dict[str, np.ndarray]]:
    """Returns what `of_member` needs in a checkpoint beside the members' state."""
    recipe = program.whole
    inputs = {"scale": recipe.input_scale, "shift": recipe.input_shift}
    items = {"input": {n: np.asarray(v, np.float32) for n, v in inputs.items()}}
    if program.features and backbone:
        variables = {"params": backbone.params, "batch_stats": backbone.batch_stats}
        items["backbone"] = jax.tree.map(np.asarray, named(variables))
    return items


def of_member(
    workdir: str | os.PathLike[str],
    trial: int,
    seed: int,
    *,
    module: Any = None,
) -> Network:
    """Returns one network of a run, as it was at the end of its training.

    With early stopping it is at its best evaluation; one that diverged is at its last
    finite step. A user's own module must be handed in.

    Raises:
      FileNotFoundError: no results.
      ValueError: no such network, trees, no checkpoint of the end of training, damaged
        results, or a missing module.
    """
    found = results.load(workdir)
    found.check_member(trial, seed)
    label = f"trial {trial} ({found.trials[trial].label})"
    if not found.trials[trial].hyperparameters.model.is_network:
        raise ValueError(f"{label} is of trees, not a network")
    record = found.program_of(trial, seed)
    of = resume.identity(found.study, record, found.config)
    store = Checkpoints(found.workdir, math.inf, read_only=True)
    with contextlib.closing(store):
        saved = store.latest(f"program_{record['index']}", of)
    if saved is None or not saved.about.get("finished"):
        raise ValueError(
            f"{label} has no checkpoint of its end in {str(found.workdir)!r}"
        )
    at = record["trials"].index(trial), seed - record["first_seed"]
    kept = "best/" if keep_best(found, trial)[seed] else ""
    with saved.reading():
        arrays = {
            name.removeprefix(kept): values[at]
            for name, values in saved.arrays("state").items()
            if name.startswith((f"{kept}params/", f"{kept}batch_stats/"))
        }
        frozen = saved.arrays("backbone")
    if frozen:
        parts = {"head": arrays, "backbone": frozen}
        arrays = {
            name.replace("/", f"/{part}/", 1): values
            for part, some in parts.items()
            for name, values in some.items()
        }
    arrays |= {f"input/{name}": v for name, v in saved.arrays("input").items()}
    about = _about_of(found, trial, seed) | {"frozen": bool(frozen)}
    return _network(arrays, about, module, str(found.workdir))


def _about_of(found: results.Results, trial: int, seed: int) -> dict[str, Any]:
    """Returns the plain values of a network of a run, without "frozen"."""
    of, dataset = found.trials[trial], found.dataset(trial)
    together = found.program_of(trial, seed)["trials"]
    models = [found.trials[index].hyperparameters.model for index in together]
    hyperparameters = to_mapping(of.hyperparameters)
    return {
        "version": nnlab.__version__,
        "question": found.study.question,
        "trial": trial,
        "label": of.label,
        "seed": seed,
        "status": str(found.member(trial, "status")[seed]),
        "steps": int(found.member(trial, "steps")[seed]),
        "dataset": dataset["name"],
        "classes": dataset["classes"],
        **{key: dataset.get(key) for key in _NEWER},
        **({"targets": dataset["targets"]} if "targets" in dataset else {}),
        "input_shape": dataset["input_shape"],
        **{key: dataset[key] for key in _OF_TOKENS if key in dataset},
        "hyperparameters": json.loads(json.dumps(hyperparameters)),
        "dropout": any(model.dropout_rate for model in models),
        "module": found.study.own.record_of(of.hyperparameters.module),
    }


class Probed(nn.Module):
    """A frozen backbone and the last layer that was trained on its features."""

    backbone: nn.Module
    head: nn.Module

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Returns logits (B, C) of scaled examples (B, *input_shape)."""
        found: jax.Array = self.head(self.backbone(x, train=False), train)
        return found


@devices.pinned()
def _network(
    arrays: Mapping[str, np.ndarray],
    about: Mapping[str, Any],
    module: nn.Module | None,
    where: str,
) -> Network:
    """Makes a network from its arrays and its plain values."""
    known = about["module"] or None
    if isinstance(known, str):  # written by an earlier nnlab
        known = {"name": known}
    trained: Own = from_mapping(Own, {"module": known}, "")
    named = modules.by_name(module) if trained.module else {}
    set_by = from_mapping(Module, about["hyperparameters"].get("module", {}), "")
    mine = modules.chosen(named, set_by) if named else None
    if trained.module and mine is None:
        raise ValueError(
            f"{where!r} was trained with a module of its own, {trained.module.name!r}: "
            "hand it in as module="
        )
    if mine:
        seen = modules.input_type(about.get("vocabulary", 0))
        handed = Own(module=own.of_module(mine, about["input_shape"], seen))
        try:
            doubts = resume.check_own(trained, handed)
        except ValueError as error:
            raise ValueError(f"{where!r} does not fit: {error}") from None
        for doubt in doubts:
            _log.warning("%s: %s", where, doubt)
    used = mine or _module_of(about)
    tree = traverse_util.unflatten_dict(dict(arrays), sep="/")
    inputs = tree.pop("input")
    tree.setdefault("batch_stats", {})
    network = Network(used, tree, inputs["scale"], inputs["shift"], about)
    _check(network, where)
    return network


def _module_of(about: Mapping[str, Any]) -> nn.Module:
    """Makes the module that the plain values describe."""
    hyperparameters = from_mapping(Hyperparameters, about["hyperparameters"], "")
    shape, num_classes = about["input_shape"], len(about["classes"])
    module, _ = network_of(
        hyperparameters,
        shape,
        num_classes,
        dropout=about["dropout"],
        vocabulary=about.get("vocabulary", 0),
    )
    if not about["frozen"]:
        return module
    return Probed(transfer.backbone_of(module), transfer.head(module, num_classes))


def _check(network: Network, where: str) -> None:
    """Refuses arrays that do not fit their module."""

    def shapes_of(tree: Any) -> dict[str, tuple[int, ...]]:
        return {name: tuple(leaf.shape) for name, leaf in named(tree).items()}

    sample = jax.ShapeDtypeStruct((1, *network.input_shape), np.float32)
    init = functools.partial(network.module.init, train=False)
    wanted = jax.eval_shape(init, train.key(0), sample)
    shapes = shapes_of({kind: wanted.get(kind, {}) for kind in network.variables})
    found = shapes_of(network.variables)
    for name in sorted({*shapes, *found}):
        if shapes.get(name) != found.get(name):
            raise ValueError(
                f"{where!r} does not fit its model: {name} has shape {found.get(name)} "
                f"and needs {shapes.get(name)}"
            )
