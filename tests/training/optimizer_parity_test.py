# SPDX-License-Identifier: Apache-2.0
"""Losses of 100 steps beside those of PyTorch, with every hyperparameter set."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nnlab.machine import devices
from nnlab.study import Optimizer
from nnlab.training.optimizers import optimizer

torch = pytest.importorskip("torch")

STEPS, CLIP = 100, 0.5
ADAM = {"b1": 0.85, "b2": 0.98, "eps": 1e-6}
CASES = {
    "sgd": (
        Optimizer(learning_rate=0.05, momentum=0.8, weight_decay=0.01),
        lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.8, weight_decay=0.01),
    ),
    "nesterov": (
        Optimizer(learning_rate=0.05, momentum=0.8, nesterov=True, weight_decay=0.01),
        lambda p: torch.optim.SGD(
            p, lr=0.05, momentum=0.8, nesterov=True, weight_decay=0.01
        ),
    ),
    "adam": (
        Optimizer(
            name="adam",
            learning_rate=0.01,
            weight_decay=0.01,
            further=tuple(ADAM.items()),
        ),
        lambda p: torch.optim.Adam(
            p, lr=0.01, betas=(0.85, 0.98), eps=1e-6, weight_decay=0.01
        ),
    ),
    "adamw": (
        Optimizer(
            name="adamw",
            learning_rate=0.01,
            weight_decay=0.05,
            further=tuple(ADAM.items()),
        ),
        lambda p: torch.optim.AdamW(
            p, lr=0.01, betas=(0.85, 0.98), eps=1e-6, weight_decay=0.05
        ),
    ),
    "rmsprop": (
        Optimizer(
            name="rmsprop",
            learning_rate=0.003,
            momentum=0.7,
            weight_decay=0.01,
            further=(("decay", 0.95), ("eps", 1e-6)),
        ),
        lambda p: torch.optim.RMSprop(
            p, lr=0.003, alpha=0.95, eps=1e-6, momentum=0.7, weight_decay=0.01
        ),
    ),
    "rmsprop_centered": (
        Optimizer(
            name="rmsprop",
            learning_rate=0.003,
            momentum=0.7,
            further=(("centered", True), ("decay", 0.95), ("eps", 1e-3)),
        ),
        lambda p: torch.optim.RMSprop(
            p, lr=0.003, alpha=0.95, eps=1e-3, momentum=0.7, centered=True
        ),
    ),
    "adagrad": (
        Optimizer(
            name="adagrad",
            learning_rate=0.05,
            weight_decay=0.01,
            further=(("eps", 1e-10), ("initial_accumulator_value", 0.2)),
        ),
        lambda p: torch.optim.Adagrad(
            p,
            lr=0.05,
            eps=1e-10,
            initial_accumulator_value=0.2,
            weight_decay=0.01,
        ),
    ),
}


def problem():
    """Returns data and the weights of a network with one hidden layer, float64."""
    draw = np.random.default_rng(0)
    sizes = {"w": (12, 16), "b": (16,), "v": (16, 5), "c": (5,)}
    params = {k: draw.normal(size=shape) * 0.4 for k, shape in sizes.items()}
    return draw.normal(size=(STEPS, 32, 12)), draw.integers(0, 5, (STEPS, 32)), params


def ours(of, clip):
    """Trains in float64, so that only a difference of the rules shows."""
    inputs, labels, params = problem()
    traced = {f"optimizer.{k}": v for k, v in of.further if isinstance(v, float)}
    for name in ("momentum", "weight_decay"):
        if getattr(of, name) is not None:
            traced[name] = getattr(of, name)
    if clip:
        traced["clip_norm"] = clip

    def loss(p, x, y):
        outputs = jnp.tanh(x @ p["w"] + p["b"][None]) @ p["v"] + p["c"][None]
        each = optax.softmax_cross_entropy_with_integer_labels(outputs, y)
        return jnp.mean(each)

    def train(traced):
        rule = optimizer(of, learning_rate=of.learning_rate, traced=traced)

        def step(carry, batch):
            p, state = carry
            value, gradients = jax.value_and_grad(loss)(p, *batch)
            updates, state = rule.update(gradients, state, p)
            return (optax.apply_updates(p, updates), state), value

        start = jax.tree.map(jnp.asarray, params)
        return jax.lax.scan(step, (start, rule.init(start)), (inputs, labels))[1]

    with devices.setting("enable_x64", True):
        return np.asarray(jax.jit(train)(traced))


def pytorchs(make, clip):
    inputs, labels, params = problem()
    p = {k: torch.nn.Parameter(torch.tensor(v)) for k, v in params.items()}
    rule, losses = make(p.values()), []
    for x, y in zip(torch.tensor(inputs), torch.tensor(labels)):
        outputs = torch.tanh(x @ p["w"] + p["b"]) @ p["v"] + p["c"]
        loss = torch.nn.functional.cross_entropy(outputs, y)
        rule.zero_grad()
        loss.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(p.values(), clip)
        rule.step()
        losses.append(loss.item())
    return np.array(losses)


@pytest.mark.parametrize("clip", [0.0, CLIP])
@pytest.mark.parametrize("name", CASES)
def test_100_steps_have_the_losses_of_pytorch(name, clip):
    of, make = CASES[name]
    np.testing.assert_allclose(ours(of, clip), pytorchs(make, clip), rtol=1e-5)
    if clip:  # which does something
        assert np.abs(ours(of, 0.0) / ours(of, clip) - 1).max() > 1e-4
