# SPDX-License-Identifier: Apache-2.0
"""Modules and metrics of one's own: how they are called and identified."""

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
from flax import nnx

from nnlab.training import own

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
    return own.record(own.called(module), {}, (6,), 3).module.code


def metric_code(metric: Callable[..., Any]) -> str:
    return own.record(None, {"m": metric}, (6,), 3).metrics["m"]


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


# ---- How they are identified.


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
    found = own.record(own.called(Mine(shift=SHIFT)), {}, (6,), 3).module
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


# ---- How they are called.


def calls(body: str, arguments: str = "self, x") -> nn.Module:
    """Makes a module whose ``__call__`` returns an expression."""
    names = {"nn": nn, "jax": jax, "jnp": jnp}
    exec(f"def call({arguments}):\n    return {body}", names)  # scan: allowed
    return type("Made", (nn.Module,), {"__call__": nn.compact(names["call"])})()


STILL = "deterministic"
NOISE = "nn.Dense(3)(x) + jax.random.normal(self.make_rng('noise'), (len(x), 3))"


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential([nn.Dense(4), nn.relu, nn.Dense(3)]),
        calls("nn.Dense(3)(x)"),
        calls(f"nn.Dense(3)(nn.Dropout(0.5)(x, {STILL}))", f"self, x, {STILL}"),
        calls("nn.Dense(3)(x) * (2 if training else 1)", "self, x, *, training"),
        calls("nn.Dense(3)(x) * (2 if more['train'] else 1)", "self, x, **more"),
        calls(f"{NOISE} if train else nn.Dense(3)(x)", "self, x, train=False"),
        calls("nn.Dense(3, dtype='bfloat16')(x)"),
    ],
)  # fmt: skip
def test_a_module_is_called_as_it_takes_it(module):
    program = tiny.program(tiny.study(), module=module)
    assert code(module)  # in training, too
    variables = program.recipe.module.init(
        jax.random.key(0), jnp.ones((2, 6)), train=False
    )
    logits = program.recipe.module.apply(variables, jnp.ones((2, 6)), train=False)
    assert (logits.shape, logits.dtype) == ((2, 3), np.float32)


class Later(nnx.Module):
    """A module of the other kind."""


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Mine, r"module is the class 'Mine': hand in an instance, such as Mine\(\)"),
        (Later(), "a Later, a flax.nnx.module.Module: it must be a flax.linen.Module"),
        (lambda x, train: x, "module is a function: it must be a flax.linen.Module"),
        ("mlp", "module is a str: it must be a flax.linen.Module"),
        (calls("x", "self, x, mask, train"), "'Made' also needs 'mask': it must be"),
        (calls("x", "self"), "'Made' takes no x: it must be"),
        (calls(NOISE), "where train is False"),
        (
            calls("nn.Dense(3)(x) + self.variable('cache', 'n', int).value"),
            "'batch_stats'",
        ),
        (
            calls("nn.Dense(3)(x @ jnp.ones(7))"),
            r"'Made' fails: TypeError: dot_general",
        ),
        (calls("nn.Dense(3)(x).astype(int)"), "returns int32; logits are floats"),
        (calls("{'logits': nn.Dense(3)(x)}"), "return nothing but the logits"),
    ],
)
def test_a_module_that_cannot_be_trained_is_one_line(module, message):
    with pytest.raises(ValueError, match=message) as caught:
        tiny.program(tiny.study(), module=module)
    assert "\n" not in str(caught.value)


class Breaks(nn.Module):
    """A module with a mistake in it."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        sizes = {"hidden": 3}
        return nn.Dense(sizes["hiden"])(x)


def test_a_mistake_in_it_is_told_with_its_line():
    line = Breaks.__call__.__wrapped__.__code__.co_firstlineno + 3
    with pytest.raises(
        ValueError, match=rf"KeyError: 'hiden' \(own_test.py, line {line}"
    ):
        tiny.program(tiny.study(), module=Breaks())
