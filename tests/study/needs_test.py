# SPDX-License-Identifier: Apache-2.0
"""Which fields trials read, checked against the programs themselves."""

import contextlib
import functools
import re
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nnlab.data import Dataset
from nnlab.runs import loop
from nnlab.study import Study, needs, needs_of
from nnlab.training import member as train
from nnlab.training import prepare, trees
from nnlab.training.backbone import backbone_of
from nnlab.training.disturbances import Drawn
from nnlab.training.program import TreeProgram

IMAGES = Dataset.from_arrays(
    np.random.default_rng(0).random((80, 8, 8, 1)), np.arange(80) % 10
)
TABLE = Dataset.from_arrays(
    np.random.default_rng(0).normal(size=(80, 3)),
    np.arange(80) % 2,
    feature_names=("a", "b", "c"),
)


class Mine(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        return nn.Dense(10)(x.reshape(len(x), -1))


TINY = {"batch_size": 8, "num_epochs": 2, "model.hidden": (3,), "model.channels": (2,)}
STACK = ({"layer": "flatten"}, {"layer": "dense", "units": 10})
DROPS = (STACK[0], {"layer": "dense", "units": 3}, "dropout", STACK[1])
TUNED = {"transfer.mode": "tuning", "transfer.source": "digits"}
BASES = {
    "mlp": {},
    "linear": {"model.hidden": ()},
    "cnn": {"model.name": "cnn"},
    "cnn without hidden": {"model.name": "cnn", "model.hidden": ()},
    "cnn without conv": {"model.name": "cnn", "model.channels": ()},
    "stack": {"model.name": "stack", "model.layers": STACK},
    "stack that drops": {"model.name": "stack", "model.layers": DROPS},
    "momentum": {"optimizer.momentum": 0.5},
    "rmsprop": {"optimizer.name": "rmsprop", "optimizer.momentum": 0.5},
    "adam": {"optimizer.name": "adam", "optimizer.momentum": 0.5},
    "adamw": {"optimizer.name": "adamw"},
    "patience": {"early_stopping.patience": 2},
    "table": {"dataset": "csv:x.csv"},
    "tuning": TUNED,
    "probing": TUNED | {"transfer.mode": "probing"},
    "forest": {"model.name": "random_forest"},
    "boosted": {"model.name": "boosted_trees"},
    "resnet18": {"model.name": "resnet18"},
    "resmlp": {"model.name": "resmlp"},
    "vgg": {"model.name": "vgg"},
    "own": {needs.OWN_MODULE: True},
}
OTHERS = {
    "train_size": 40,
    "standardize": True,
    "center": True,
    "augment_pixels": 1,
    "augment_flip": True,
    "label_noise": 0.3,
    "input_noise": 0.1,
    "blur": 0.5,
    "model.hidden": (5,),
    "model.depth": 2,
    "model.heads": 2,
    "loss.l1": 0.1,
    "early_stopping.min_delta": 0.1,
    "model.channels": (3,),
    "model.kernel": 5,
    "model.pool": "max_abs",
    "model.stem": "small",
    "model.num_trees": 7,
    "model.tree_depths": (2,),
    "model.activation": "tanh",
    "model.init": "he_normal",
    "model.init_scale": 0.5,
    "model.bias": "none",
    "model.batch_norm": True,
    "model.dropout_rate": 0.3,
    "optimizer.learning_rate": 0.7,
    "optimizer.momentum": 0.9,
    "optimizer.nesterov": True,
    "optimizer.weight_decay": 0.01,
    "schedule.name": "cosine",
    "schedule.warmup_steps": 3,
    "transfer.train_size": 50,
    "transfer.num_epochs": 1,
    "transfer.batch_size": 32,
    "transfer.learning_rate": 0.1,
    "batch_size": 16,
    "full_batch": True,
    "num_epochs": 3,
    "max_steps": 5,
    "eval_every_epochs": 0.5,
    "early_stopping.patience": 3,
    "early_stopping.metric": "validation_accuracy",
    "dtype": "bfloat16",
}
"""For each field a value that differs from the bases'."""


def program(settings):
    """Returns all that decides what is trained and measured, as a text."""
    values = {k: v for k, v in settings.items() if k != needs.OWN_MODULE}
    is_own = settings.get(needs.OWN_MODULE, False)
    study = Study(base=Study().base.replace(TINY | values), num_seeds=1)
    dataset = TABLE if study.base.dataset.startswith("csv:") else IMAGES
    (found,) = prepare.prepare(
        study, dataset=dataset, module=Mine() if is_own else None
    )
    return text_of(found)


def text_of(program):
    """Returns what decides about one prepared program, as a text, for `program`."""
    if isinstance(program, TreeProgram):
        with (
            mock.patch.object(trees, "fit", side_effect=ZeroDivisionError) as fit,
            pytest.raises(ZeroDivisionError),
        ):
            loop.grow(program, mock.MagicMock(study=Study()))
        (name, splits, *rest), options = fit.call_args
        return repr((name, len(splits["train"].labels), rest, options))
    recipe, source = program.recipe, program.source
    size = program.batch_size
    traced = {name: value[0] for name, value in program.members.traced().items()}
    key = jax.eval_shape(lambda: jax.random.key(0))
    values = int(np.prod(recipe.input_shape))
    stored = program.fed.train.inputs.dtype
    inputs = jax.ShapeDtypeStruct((size, values), stored)
    labels, flags = (jax.ShapeDtypeStruct((size,), of) for of in (np.int32, np.bool_))
    as_trained = labels
    if recipe.relabels:
        shares = jax.ShapeDtypeStruct((size,), np.float32)
        as_trained = Drawn(labels, shares, labels)
    init = functools.partial(train.init_state, recipe, traced)
    state, sums = jax.eval_shape(init, key), {"loss": 0.0, "accuracy": 0.0}
    step = functools.partial(
        train.train_step, recipe, traced=traced, sample=np.True_, check=np.True_
    )
    made = [
        jax.make_jaxpr(init)(key),
        jax.make_jaxpr(lambda s, k, x, y: step(s, key=k, inputs=x, labels=y))(
            state, key, inputs, as_trained
        ),
        jax.make_jaxpr(functools.partial(train.evaluate, recipe))(
            state, inputs, labels, flags
        ),
    ]
    if recipe.patience:
        note = functools.partial(train.note_best, recipe, sums=sums)
        made.append(jax.make_jaxpr(note)(state))
    if source and source.frozen:
        backbone = backbone_of(source.whole.module)
        images = jnp.zeros((size, *source.whole.input_shape))
        weights = jax.eval_shape(lambda k: backbone.init(k, images, train=False), key)
        made.append(
            jax.make_jaxpr(lambda w, x: backbone.apply(w, x, train=False))(
                weights, train.scaled(source.whole, images)
            )
        )
    texts = [re.sub("0x[0-9a-f]+", "", str(m)) for m in made]
    texts += [repr([np.asarray(c).tolist() for c in m.consts]) for m in made]
    if source:
        texts.append(text_of(source.training))
    return repr((texts, size, program.boundaries, len(program.dataset.train.labels)))


def read(base):
    """Returns the fields that trials of a base read, by `needs`."""
    settings = {needs.OWN_MODULE: False, **Study().base.replace(TINY).flat()}
    settings |= BASES[base]
    return [path for path in OTHERS if not needs.lacking(needs_of(path), settings)]


@pytest.mark.parametrize(
    "base",
    [
        pytest.param(base, marks=[pytest.mark.slow] * (base == "resnet18"))
        for base in BASES
    ],
)
def test_what_is_said_not_to_be_read_changes_no_program(base):
    unread = {path: value for path, value in OTHERS.items() if path not in read(base)}
    assert unread
    assert program(BASES[base] | unread) == program(BASES[base])


@pytest.mark.long
@pytest.mark.parametrize("base", BASES)
def test_what_is_said_to_be_read_changes_the_program(base):
    before, same = program(BASES[base]), []
    for path in read(base):
        # It may not fit the rest, and so is read.
        with contextlib.suppress(ValueError):
            if program(BASES[base] | {path: OTHERS[path]}) == before:
                same.append(path)
    assert not same
