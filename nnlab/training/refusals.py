# SPDX-License-Identifier: Apache-2.0
"""Refuses trials that do not fit their data, before anything is compiled."""

from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp

from nnlab.data import Dataset
from nnlab.study import Hyperparameters
from nnlab.study.hyperparameters import AUTO
from nnlab.training import losses, member, metrics, modules, own
from nnlab.training.program import SPLITS


def check_trial(
    h: Hyperparameters, dataset: Dataset, functions: Collection[str]
) -> None:
    """Refuses what a trial does to its data, and a loss that they do not go with.

    `functions` are what the user's own functions do, such as "loss".

    Raises:
      ValueError: such a trial.
    """
    _check_disturbances(h, dataset)
    _check_loss(h, dataset, functions)


def check_targets(dataset: Dataset) -> None:
    """Refuses (ValueError) a regression that has nothing to explain."""
    for name in SPLITS if dataset.is_regression else ():
        if not metrics.variance(getattr(dataset, name).labels):
            raise ValueError(
                f"all {name} targets of {dataset.name} are equal, and R² compares "
                "errors with how they differ: add examples"
            )


def _check_loss(
    h: Hyperparameters, dataset: Dataset, functions: Collection[str]
) -> None:
    """Refuses what does not go with a trial's loss, or with its targets."""
    for name in ("label_smoothing", "class_weights"):
        if dataset.is_regression and (value := getattr(h.loss, name)):
            raise ValueError(
                f"loss.{name}={value!r} needs classes, and the targets of "
                f"{dataset.name} are numbers: leave it out"
            )
    asked = {"name": AUTO, "label_smoothing": 0.0}
    for name, default in asked.items():
        value = getattr(h.loss, name)
        if "loss" in functions and value != default:
            raise ValueError(
                f"loss.{name}={value!r} does not go with a loss of your own: leave "
                "out one of them"
            )
    if h.loss.name == losses.hinge.__name__ and h.loss.label_smoothing:
        raise ValueError(
            f"loss.label_smoothing={h.loss.label_smoothing!r} does not go with "
            "loss.name='hinge', which knows one right class: leave it out"
        )
    weights, count = h.loss.class_weights, dataset.num_classes
    if weights and len(weights) != count:
        raise ValueError(
            f"loss.class_weights={weights} needs a weight for each class; "
            f"{dataset.name} has {count}"
        )


def _check_disturbances(h: Hyperparameters, dataset: Dataset) -> None:
    """Refuses shifts, blur and noise that do not go with the data, or with probing."""
    for name in ("augment_pixels", "augment_flip", "blur", "input_noise"):
        if (amount := getattr(h, name)) and h.transfer.mode == "probing":
            raise ValueError(
                f"{name}={amount:g} does not go with transfer.mode='probing', which "
                "computes features once; set it to 0"
            )
    for name in ("augment_pixels", "augment_flip", "blur"):
        if (amount := getattr(h, name)) and len(dataset.input_shape) != 3:
            raise ValueError(
                f"{name}={amount:g} needs images (height, width, channels); examples "
                f"of {dataset.name} have shape {dataset.input_shape}"
            )
    for name in ("standardize", "center", "input_noise"):
        if dataset.vocabulary and (amount := getattr(h, name)):
            raise ValueError(
                f"{name}={amount} needs inputs that are numbers; those of "
                f"{dataset.name} are tokens"
            )
    if h.label_noise and dataset.train.labels.dtype.kind == "f":
        raise ValueError(
            f"label_noise={h.label_noise:g} draws random classes; the targets of "
            f"{dataset.name} are numbers"
        )


def check_outputs(recipe: member.Recipe, state: Any, dataset: Dataset) -> None:
    """Refuses outputs and own metrics that do not fit the data.

    `state` has the shapes and types of a member's.

    Raises:
      ValueError: such outputs or metrics.
    """
    logits = jax.eval_shape(
        lambda params, stats, x: recipe.module.apply(
            {"params": params, "batch_stats": stats}, x, train=False
        ),
        state.params,
        state.batch_stats,
        jax.ShapeDtypeStruct(
            (2, *dataset.input_shape), modules.input_type(dataset.vocabulary)
        ),
    )
    shape = jax.tree.map(jnp.shape, logits)
    if shape != (wanted := (2, dataset.num_classes)):
        raise ValueError(
            f"the model returns shape {shape} for 2 examples of shape "
            f"{dataset.input_shape}; the data set's "
            f"{'targets' if dataset.is_regression else 'classes'} need {wanted}"
            f"{_remedy(shape, dataset)}"
        )
    if not jnp.issubdtype(logits.dtype, jnp.floating):
        raise ValueError(f"the model returns {logits.dtype}; logits are floats")
    for name, metric in recipe.own_metrics.items():
        own.check_metric(name, metric, dataset)


def _remedy(shape: Any, dataset: Dataset) -> str:
    """Returns how a user's own module would return logits; "" if unknown."""
    if not isinstance(shape, tuple) or not all(isinstance(n, int) for n in shape):
        return ": return nothing but the logits"
    if len(shape) > 2 and len(dataset.input_shape) > 1:
        return ": flatten the examples, x.reshape(len(x), -1), where dense layers begin"
    return ""
