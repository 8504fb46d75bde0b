# SPDX-License-Identifier: Apache-2.0
"""The contenders of `launch.bench`: nnlab's engine and the alternatives.

Each function sets one up on given data and returns a `Contender`, which trains about so
many steps and returns how many it did. All train with plain SGD in float32.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from nnlab import optim, plan, population, train
from nnlab.models.layers import LayerRow, check
from nnlab.models.stack import Stack

NUM_EXAMPLES = 16_384
NUM_CLASSES = 10
RATE = 0.05

Contender = Callable[[int], int]


@dataclasses.dataclass(frozen=True)
class Network:
    """What is trained.

    Attributes:
      name: for the table.
      layers: as `nnlab.models.layers.check` takes them.
      input_shape: of an example, channels last.
      batch_size: examples in an update.
    """

    name: str
    layers: Sequence[Mapping[str, Any]]
    input_shape: tuple[int, ...]
    batch_size: int

    @functools.cached_property
    def rows(self) -> tuple[LayerRow, ...]:
        """The checked layer table."""
        return check(self.layers, self.input_shape, NUM_CLASSES)

    @property
    def operations(self) -> int:
        """Operations that training executes for an example.

        Forward, and twice as much backward, less the gradient for the inputs, which
        nobody takes.
        """
        work = [row.flops for row in self.rows if row.flops]
        return 3 * sum(work) - work[0]


def data(network: Network) -> tuple[np.ndarray, np.ndarray]:
    """Random inputs, uint8 (N, *input_shape), and labels, int32 (N,)."""
    rng = np.random.default_rng(0)
    inputs = rng.integers(0, 256, (NUM_EXAMPLES, *network.input_shape))
    labels = rng.integers(0, NUM_CLASSES, NUM_EXAMPLES)
    return inputs.astype(np.uint8), labels.astype(np.int32)


def nnlab_population(network: Network, count: int, lane_width: int = 0) -> Contender:
    """`count` members of nnlab's engine: up to 8 seeds, the rest learning rates."""
    inputs, labels = data(network)
    seeds = next(s for s in (8, 4, 2, 1) if count % s == 0)
    recipe = train.Recipe(
        module=Stack(tuple(network.layers)),
        layers=tuple(row.name for row in network.rows if row.parameters),
        optimizer=functools.partial(
            optim.optimizer, "sgd", uses_momentum=False, uses_weight_decay=False
        ),
        schedule=optim.schedule("constant", warmup_steps=0, total_steps=1),
        input_shape=network.input_shape,
        input_scale=1 / 255,
    )
    parameters = sum(row.parameters for row in network.rows)
    lanes = plan.choose(
        network.rows,
        parameters=parameters,
        state_bytes=4 * parameters,
        num_trials=count // seeds,
        num_seeds=seeds,
        batch_size=network.batch_size,
        data_bytes=inputs.nbytes,
        devices=jax.local_devices(),
        lane_width=lane_width,
    ).lanes
    names = ("learning_rate", "momentum", "weight_decay", "init_scale", "dropout_rate")
    traced = {name: np.zeros(lanes.num_trials, np.float32) for name in names}
    traced["learning_rate"] += RATE
    traced["init_scale"] += 1
    members = population.Population(
        recipe,
        lanes,
        traced=traced,
        root_seed=0,
        devices=jax.local_devices()[: lanes.devices],
        inputs=inputs.reshape(NUM_EXAMPLES, -1),
        labels=labels,
    )
    room = min(256, NUM_EXAMPLES // network.batch_size)
    orders = [train.epoch_order(0, seed, 0, NUM_EXAMPLES) for seed in range(seeds)]
    shape = (room, network.batch_size)
    order = members.put_order(np.stack([np.resize(o, shape) for o in orders]))
    state = members.init()

    def run(steps: int) -> int:
        nonlocal state
        for start in range(0, steps, room):
            size = min(room, steps - start)
            state = members.train(state, order, first_step=start, num_steps=size)
        jax.block_until_ready(state)
        return steps

    return run


class _Stock(nn.Module):
    """The same layers from stock Flax, with XLA's own convolution."""

    rows: tuple[Any, ...]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for layer in map(dict, self.rows):
            match layer["layer"]:
                case "flatten":
                    x = x.reshape(x.shape[0], -1)
                case "dense":
                    x = nn.Dense(layer["units"])(x)
                case "conv":
                    x = nn.Conv(layer["channels"], (layer["kernel"],) * 2)(x)
                case "max_pool":
                    window = (layer["window"],) * 2
                    x = nn.max_pool(x, window, window)
                case "batch_norm":
                    x = nn.BatchNorm(use_running_average=False)(x)
                case "relu":
                    x = nn.relu(x)
        return x


def flax_loop(network: Network, count: int = 0) -> Contender:
    """Stock Flax and optax in a jitted scan.

    Args:
      network: what to train.
      count: 0 for one member; else so many under one naive `vmap`, each with its own
        data order.
    """
    inputs, labels = data(network)
    module = _Stock(tuple(tuple(row.layer.items()) for row in network.rows))
    optimizer = optax.sgd(RATE)
    images, answers = jnp.asarray(inputs, jnp.float32) / 255, jnp.asarray(labels)

    def init(key: jax.Array) -> Any:
        variables = module.init(key, images[:1])
        return variables, optimizer.init(variables["params"])

    def step(carry: Any, index: jax.Array) -> Any:
        variables, state = carry

        def loss_fn(params: Any) -> Any:
            logits, updated = module.apply(
                {**variables, "params": params}, images[index], mutable=["batch_stats"]
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(
                logits, answers[index]
            )
            return losses.mean(), updated

        gradients, updated = jax.grad(loss_fn, has_aux=True)(variables["params"])
        updates, state = optimizer.update(gradients, state)
        params = optax.apply_updates(variables["params"], updates)
        return ({**variables, **updated, "params": params}, state), None

    def scan(carry: Any, order: jax.Array) -> Any:
        return jax.lax.scan(step, carry, order)[0]

    per_call = 16
    rng = np.random.default_rng(0)
    orders = np.stack(
        [
            np.resize(rng.permutation(NUM_EXAMPLES), (per_call, network.batch_size))
            for _ in range(max(1, count))
        ]
    )
    keys = jax.random.split(jax.random.key(0), max(1, count))
    if count:
        carry = jax.jit(jax.vmap(init))(keys)
        call = jax.jit(jax.vmap(scan))
    else:
        carry, orders = jax.jit(init)(keys[0]), orders[0]
        call = jax.jit(scan)
    order = jnp.asarray(orders)

    def run(steps: int) -> int:
        nonlocal carry
        calls = max(1, round(steps / per_call))
        for _ in range(calls):
            carry = call(carry, order)
        jax.block_until_ready(carry)
        return calls * per_call

    return run


def torch_module(network: Network) -> Any:
    """The network in PyTorch."""
    from torch import nn as torch_nn

    found: list[Any] = []
    for row in network.rows:
        layer, inside = row.layer, row.input_shape
        match layer["layer"]:
            case "flatten":
                found.append(torch_nn.Flatten())
            case "dense":
                found.append(torch_nn.Linear(inside[-1], layer["units"]))
            case "conv":
                size = (inside[-1], layer["channels"], layer["kernel"])
                found.append(torch_nn.Conv2d(*size, padding="same"))
            case "max_pool":
                found.append(torch_nn.MaxPool2d(layer["window"]))
            case "batch_norm":
                found.append(torch_nn.BatchNorm1d(inside[-1]))
            case "relu":
                found.append(torch_nn.ReLU())
    return torch_nn.Sequential(*found)


def _torch_data(network: Network) -> Any:
    import torch

    inputs, labels = data(network)
    images = torch.from_numpy(inputs.astype(np.float32) / 255)
    if images.ndim == 4:
        images = images.permute(0, 3, 1, 2).contiguous()
    return images, torch.from_numpy(labels.astype(np.int64))


def torch_loop(network: Network, compiled: bool = False) -> Contender:
    """The plain PyTorch loop: one network, tensors in memory, eager or compiled."""
    import torch

    images, answers = _torch_data(network)
    module = torch_module(network)
    model = torch.compile(module) if compiled else module
    optimizer = torch.optim.SGD(module.parameters(), lr=RATE)
    loss_function = torch.nn.CrossEntropyLoss()
    batch = network.batch_size
    per_epoch = NUM_EXAMPLES // batch

    def run(steps: int) -> int:
        for step in range(steps):
            if step % per_epoch == 0:
                order = torch.randperm(NUM_EXAMPLES)
            index = order[step % per_epoch * batch :][:batch]
            optimizer.zero_grad(set_to_none=True)
            loss_function(model(images[index]), answers[index]).backward()
            optimizer.step()
        return steps

    return run


def torch_ensemble(network: Network, count: int) -> Contender:
    """`count` networks under `torch.func.vmap`, sharing each batch."""
    import torch
    from torch import func

    images, answers = _torch_data(network)
    models = [torch_module(network) for _ in range(count)]
    params, buffers = func.stack_module_state(models)
    params = {name: value.detach() for name, value in params.items()}
    skeleton = models[0]

    def loss(params: Any, buffers: Any, x: Any, y: Any) -> Any:
        logits = func.functional_call(skeleton, (params, buffers), (x,))
        return torch.nn.functional.cross_entropy(logits, y)

    gradient = func.vmap(func.grad(loss), in_dims=(0, 0, None, None))
    batch = network.batch_size
    per_epoch = NUM_EXAMPLES // batch

    def run(steps: int) -> int:
        nonlocal params
        for step in range(steps):
            if step % per_epoch == 0:
                order = torch.randperm(NUM_EXAMPLES)
            index = order[step % per_epoch * batch :][:batch]
            found = gradient(params, buffers, images[index], answers[index])
            params = {name: p - RATE * found[name] for name, p in params.items()}
        return steps

    return run


def sklearn_loop(network: Network) -> Contender:
    """scikit-learn's `MLPClassifier`, whole epochs; dense ReLU networks only."""
    from sklearn.neural_network import MLPClassifier

    inputs, labels = data(network)
    flat = inputs.reshape(NUM_EXAMPLES, -1).astype(np.float32) / 255
    units = [row.layer["units"] for row in network.rows if "units" in row.layer]
    model = MLPClassifier(
        units[:-1],
        solver="sgd",
        alpha=0.0,
        momentum=0.0,
        nesterovs_momentum=False,
        batch_size=network.batch_size,
        learning_rate_init=RATE,
    )
    per_epoch = NUM_EXAMPLES // network.batch_size

    def run(steps: int) -> int:
        epochs = max(1, round(steps / per_epoch))
        for _ in range(epochs):
            model.partial_fit(flat, labels, classes=range(NUM_CLASSES))
        return epochs * per_epoch

    return run


def ceiling(size: int = 2048) -> float:
    """Operations a second of a large float32 matrix product on the same devices.

    Each device multiplies two matrices of its own at the same time, the median of five.
    """
    devices = jax.local_devices()
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((size, size)).astype(np.float32)
    placed = [jax.device_put(matrix, device) for device in devices]
    product = jax.jit(jnp.matmul)

    def seconds() -> float:
        start = time.perf_counter()
        jax.block_until_ready([product(m, m) for m in placed])
        return time.perf_counter() - start

    seconds()
    return 2 * size**3 * len(devices) / float(np.median([seconds() for _ in range(5)]))
