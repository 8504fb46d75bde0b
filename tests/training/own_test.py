# SPDX-License-Identifier: Apache-2.0
"""What identifies modules and metrics of one's own."""

import os
import pathlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from nnlab.training import modules, own

SHIFT = np.arange(3, dtype=np.float32)[None]


class Mine(nn.Module):
    """A module of one's own with every kind of field."""

    width: int = 5
    rate: float = 0.5
    act: Callable[..., Any] = nn.gelu
    shift: Any = None
    begin: Callable[..., Any] = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = nn.BatchNorm(not train)(nn.Dense(self.width)(x))
        x = nn.Dropout(self.rate, deterministic=not train)(self.act(x))
        shift = SHIFT if self.shift is None else self.shift
        return nn.Dense(3, bias_init=self.begin)(x) + shift


class Renamed(Mine):
    """The same module under another name."""


def code(module: nn.Module) -> str:
    return own.record(modules.called(module), {}, tiny.dataset()).module.code


def metric_code(metric: Callable[..., Any]) -> str:
    return own.record(None, {"m": metric}, tiny.dataset()).metrics["m"]


@jax.custom_jvp
def slow(x):
    return jax.nn.gelu(x)


@slow.defjvp
def slow_rule(primals, tangents):
    return slow(*primals), 0.5 * tangents[0]


@jax.jit
def first(x):
    return 2 * x


@jax.jit
def second(y):
    return 2 * y  # has another name elsewhere


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Mine(), Renamed()),
        (Mine(), Mine(shift=SHIFT)),
        (Mine(act=first), Mine(act=second)),
    ],
)
def test_what_computes_the_same_is_the_same(one, other):
    assert code(one) == code(other)


@pytest.mark.parametrize(
    "other",
    [
        *(Mine(width=6), Mine(rate=0.25), Mine(act=nn.tanh), Mine(act=slow)),
        *(Mine(shift=SHIFT + 1), Mine(begin=nn.initializers.ones)),
    ],
    ids=repr,
)
def test_what_computes_something_else_is_another(other):
    assert code(other) != code(Mine())


def test_its_attributes_and_shapes_can_be_read():
    found = own.record(modules.called(Mine(shift=SHIFT)), {}, tiny.dataset()).module
    assert (found.name, found.attributes["width"]) == ("Mine", "5")
    assert (found.attributes["act"], found.attributes["begin"]) == ("gelu", "zeros")
    assert found.attributes["shift"].startswith("float32(1, 3) ")
    assert found.parameters["Dense_1/kernel"] == (5, 3)


@pytest.mark.slow
def test_it_is_the_same_in_every_process():
    lines = "import own_test as t; print(t.code(t.Mine())); print(t.metric_code(t.top))"
    different = {
        "PYTHONHASHSEED": "7",
        "JAX_DEFAULT_PRNG_IMPL": "rbg",
        "JAX_DISABLE_JIT": "1",
        "PYTHONPATH": os.pathsep.join([str(pathlib.Path(__file__).parent), *sys.path]),
    }
    done = subprocess.run(
        [sys.executable, "-c", f"import scipy, optax, jax.random; {lines}"],
        env=os.environ | different,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [code(Mine()), metric_code(top)]


def top(logits, labels):
    return jnp.argmax(logits, axis=1) == labels


def on_the_host(function):
    def metric(logits, labels):
        shape = jax.ShapeDtypeStruct(labels.shape, np.float32)
        return jax.pure_callback(function, shape, logits, vmap_method="sequential")

    return metric


def test_what_runs_on_the_host_is_known_by_its_source():
    def of(factor):
        return metric_code(on_the_host(lambda x: np.asarray(x)[:, 0] * factor))

    assert of(2.0) == of(2.0) != of(3.0)
    assert metric_code(on_the_host(np.max)) == ""  # it has none
