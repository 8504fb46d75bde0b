# SPDX-License-Identifier: Apache-2.0
"""The contenders of `launch.bench`, each in its own process.

Each imports its own libraries: PyTorch and JAX never share a process.
"""

import dataclasses
import functools
import importlib
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from multiprocessing import connection
from typing import Any

import numpy as np

from nnlab.machine import devices
from nnlab.models.layers import LayerRow, check, cnn, mlp
from nnlab.words import numbers

RATE = 0.05
ENSEMBLE = 16
"""Networks that rivals train at once."""

Run = Callable[[int], int]
"""Trains for about so many steps and returns how many it did."""

SetUp = tuple[Run, dict[str, Any]]
"""A contender that is ready, and its plan for the record."""

Answer = dict[str, Any]
"""What a process answers."""


@dataclasses.dataclass(frozen=True)
class Network:
    """What is trained, and on how many examples in memory.

    Attributes:
      layers: as `nnlab.models.layers.check` takes them.
      input_shape: of an example, channels last.
      optimizer: "sgd" or "adam"; of the rivals only the PyTorch loop has Adam here.
    """

    name: str
    layers: Sequence[Mapping[str, Any]]
    input_shape: Sequence[int]
    batch_size: int
    num_classes: int = 10
    num_examples: int = 16_384
    optimizer: str = "sgd"

    @functools.cached_property
    def rows(self) -> tuple[LayerRow, ...]:
        """The checked layer table."""
        return check(self.layers, self.input_shape, self.num_classes)

    @property
    def kinds(self) -> set[str]:
        """The kinds of its layers."""
        return {row.layer["layer"] for row in self.rows}

    @property
    def operations(self) -> int:
        """Operations of the matrix products that training executes for an example.

        Backward takes twice as many as forward, less the inputs' gradient, which nobody
        needs.
        """
        work = [row.flops for row in self.rows if row.flops]
        return 3 * sum(work) - work[0]

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in an epoch."""
        return self.num_examples // self.batch_size


@dataclasses.dataclass(frozen=True)
class Contender:
    """What trains a network.

    Attributes:
      kind: one of `KINDS`.
      members: networks trained at once.
      options: further keywords of the kind's function.
      cores: CPU cores that it may use; 0 for all.
    """

    name: str
    kind: str
    members: int = 1
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    cores: int = 0


IMAGE = (28, 28, 1)
DEPTHS_AND_WIDTHS = ((1, 16), (2, 16), (6, 16), (10, 16), (6, 8), (6, 32), (6, 64))


def of_depth_and_width(depth: int, width: int) -> Network:
    """Returns a network of the study `configs/depth_width.py`."""
    stack = mlp((width,) * depth, 20, batch_norm=True)
    name = f"MLP 2-{depth}x{width}-20, batch norm, Adam"
    return Network(name, stack, (2,), 256, 20, 40_000, "adam")


DEEP = mlp((64,) * 6, 20, batch_norm=True)
SUITES: dict[str, list[Network]] = {
    "mlp": [
        Network("MLP 784-64-10", mlp((64,), 10), IMAGE, size) for size in (32, 64, 256)
    ],
    "deep": [Network("MLP 2-64x6-20, batch norm", DEEP, (2,), 256, 20)],
    "depth_width": [of_depth_and_width(*pair) for pair in DEPTHS_AND_WIDTHS],
    "cnn": [Network("CNN 32-64-128-10", cnn((32, 64), (128,), 10), IMAGE, 64)],
    "architectures": [
        Network(
            "three 3x3 convolutions 32-64-64, hidden 128",
            *(cnn((32, 64, 64), (128,), 10), IMAGE, 64),
        ),
        Network(
            "one 5x5 convolution 32, hidden 128-64",
            *(cnn((32,), (128, 64), 10, kernel=5), IMAGE, 64),
        ),
    ],
}


def contenders(
    network: Network, members: Iterable[int], cores: Sequence[int] = ()
) -> list[Contender]:
    """Returns the contenders for a network.

    Populations have these numbers of `members`, on all cores and besides on each number
    of `cores`. Rivals train an `ENSEMBLE` at once, where they can.
    """
    found = []
    for count in members:
        name = f"nnlab, {numbers.count(count, 'network')}"
        found.append(Contender(name, "nnlab", count))
        for some in cores:
            of = f"{name}, {numbers.count(some, 'core')}"
            found.append(Contender(of, "nnlab", count, cores=some))
    if network.optimizer != "sgd":
        return [*found, Contender("PyTorch loop", "torch")]
    found += [
        Contender("Flax, jitted scan", "flax"),
        Contender(f"Flax, {ENSEMBLE} under vmap", "flax", ENSEMBLE),
        Contender("PyTorch loop", "torch"),
        Contender("PyTorch, compiled", "torch", 1, {"compiled": True}),
    ]
    if "conv" in network.kinds:
        options = {"channels_last": True}
        found.append(Contender("PyTorch, channels last", "torch", 1, options))
    found.append(Contender(f"torch.func, {ENSEMBLE}", "torch.func", ENSEMBLE))
    if network.kinds <= {"flatten", "dense", "relu"}:
        found.append(Contender("scikit-learn", "scikit-learn"))
    return found


def make_data(network: Network) -> tuple[np.ndarray, np.ndarray]:
    """Draws inputs, uint8 (N, *input_shape), and labels, int32 (N,)."""
    rng = np.random.default_rng(0)
    shape = (network.num_examples, *network.input_shape)
    inputs = rng.integers(0, 256, shape, np.uint8)
    return inputs, rng.integers(0, network.num_classes, len(inputs), np.int32)


def nnlab_population(network: Network, count: int) -> SetUp:
    """Sets up a population of nnlab, as `nnlab.runs.experiment.run` trains it.

    It has 4 seeds if 4 divides `count`, times learning rates. The engine chooses its
    lanes, as in a run of 20 epochs.
    """
    import jax

    from nnlab import data
    from nnlab.study import Hyperparameters, Study
    from nnlab.training import lane_width, prepare

    inputs, labels = make_data(network)
    split, few = data.Split(inputs, labels), data.Split(inputs[:64], labels[:64])
    classes = tuple(map(str, range(network.num_classes)))
    dataset = data.Dataset("random", split, few, few, classes, 1 / 255, digest="")
    fields = {
        "model.name": "stack",
        "model.layers": network.layers,
        "batch_size": network.batch_size,
        "optimizer.name": network.optimizer,
        "num_epochs": 20,
    }
    seeds = math.gcd(count, 4)
    rates = np.linspace(RATE / 2, RATE, count // seeds)
    study = Study(
        base=Hyperparameters().replace(fields),
        sweep=tuple({"optimizer.learning_rate": rate} for rate in rates),
        num_seeds=seeds,
    )
    programs = prepare.networks(study, dataset=dataset)
    program, _ = lane_width.choose_lanes(programs[0], study)
    state, at = program.population.init(), 0

    def run(steps: int) -> int:
        nonlocal state, at
        stop = at + steps
        while at < stop:
            size = min(program.room, stop - at)
            state = program.train(state, at, size)
            at += size
        jax.block_until_ready(state)
        return steps

    return run, program.plan.to_dict()


def stock_flax(network: Network) -> Any:
    """Returns the network in stock Flax, with XLA's own convolution."""
    import flax.linen as nn

    makers: dict[str, Callable[[Any], Any]] = {
        "flatten": lambda layer: lambda x: x.reshape(x.shape[0], -1),
        "dense": lambda layer: nn.Dense(layer["units"]),
        "conv": lambda layer: nn.Conv(layer["channels"], (layer["kernel"],) * 2),
        "max_pool": lambda layer: functools.partial(
            nn.max_pool,
            window_shape=(layer["window"],) * 2,
            strides=(layer["window"],) * 2,
        ),
        "batch_norm": lambda layer: nn.BatchNorm(use_running_average=False),
        "relu": lambda layer: nn.relu,
    }
    found = [row.layer for row in network.rows]
    return nn.Sequential([makers[layer["layer"]](layer) for layer in found])


def flax_step(module: Any, optimizer: Any, images: Any, answers: Any) -> Any:
    """Returns a plain training step for `jax.lax.scan`."""
    import jax
    import optax

    def step(carry: Any, index: jax.Array) -> Any:
        variables, state = carry

        def loss(params: Any) -> Any:
            logits, updated = module.apply(
                {**variables, "params": params}, images[index], mutable=["batch_stats"]
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(
                logits, answers[index]
            )
            return losses.mean(), updated

        gradients, updated = jax.grad(loss, has_aux=True)(variables["params"])
        updates, state = optimizer.update(gradients, state)
        params = optax.apply_updates(variables["params"], updates)
        return ({**variables, **updated, "params": params}, state), None

    return step


def _repeated(
    call: Callable[[int], Any], size: int, wait: Callable[[Any], Any] | None = None
) -> Run:
    """Calls again and again, each time for `size` steps, and waits for the last."""

    def run(steps: int) -> int:
        calls = math.ceil(steps / size)
        for index in range(calls):
            found = call(index)
        if wait and calls:
            wait(found)
        return calls * size

    return run


def flax_loop(network: Network, count: int) -> SetUp:
    """Sets up stock Flax and optax in a jitted scan.

    Several networks are under a plain `vmap`, each with its own order.
    """
    import jax
    import jax.numpy as jnp
    import optax

    inputs, labels = make_data(network)
    module, optimizer = stock_flax(network), optax.sgd(RATE)
    images = jnp.asarray(inputs, jnp.float32) / 255
    step = flax_step(module, optimizer, images, jnp.asarray(labels))

    def init(key: jax.Array) -> Any:
        variables = module.init(key, images[:1])
        return variables, optimizer.init(variables["params"])

    def scan(carry: Any, order: jax.Array) -> Any:
        return jax.lax.scan(step, carry, order)[0]

    # A call must be short beside a turn: XLA's convolution takes 0.2 s a step.
    length = 1 if "conv" in network.kinds else 16
    calls_per_epoch = max(1, network.steps_per_epoch // length)
    rng = np.random.default_rng(0)
    shape = (calls_per_epoch, length, network.batch_size)
    lots = [rng.permutation(len(inputs)).astype(np.int32) for _ in range(count)]
    orders = np.stack([np.resize(lot, shape) for lot in lots], axis=1)
    keys = jax.random.split(jax.random.key(0), count)
    if count > 1:
        init, scan = jax.vmap(init), jax.vmap(scan)
    else:
        keys, orders = keys[0], orders[:, 0]
    carry, epoch = jax.jit(init)(keys), jax.jit(scan, donate_argnums=0)

    def call(index: int) -> Any:
        nonlocal carry
        carry = epoch(carry, orders[index % calls_per_epoch])
        return carry

    return _repeated(call, length, jax.block_until_ready), {}


def torch_module(network: Network) -> Any:
    """Returns the network in PyTorch."""
    from torch import nn

    makers: dict[str, Callable[[Any, int], Any]] = {
        "flatten": lambda layer, channels: nn.Flatten(),
        "dense": lambda layer, channels: nn.Linear(channels, layer["units"]),
        "conv": lambda layer, channels: nn.Conv2d(
            channels, layer["channels"], layer["kernel"], padding=layer["kernel"] // 2
        ),
        "max_pool": lambda layer, channels: nn.MaxPool2d(layer["window"]),
        "batch_norm": lambda layer, channels: nn.BatchNorm1d(channels),
        "relu": lambda layer, channels: nn.ReLU(),
    }
    return nn.Sequential(
        *(makers[r.layer["layer"]](r.layer, r.input_shape[-1]) for r in network.rows)
    )


def torch_data(network: Network, channels_last: bool = False) -> tuple[Any, Any]:
    """Returns inputs, float32 (N, ...), channels first, and labels, int64 (N,).

    `channels_last` puts the channels of images last in memory.
    """
    import torch

    torch.set_num_threads(devices.num_cores())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32, as is XLA's default there
    inputs, labels = (torch.from_numpy(array) for array in make_data(network))
    if inputs.ndim == 4:
        # A permuted tensor of one channel counts as contiguous: `contiguous` would not
        # copy it, and PyTorch would train it as channels last, at twice the speed of a
        # plain loop. So it is copied into a tensor of the wanted strides.
        inputs = inputs.permute(0, 3, 1, 2)
    images = torch.empty(inputs.shape, dtype=torch.float32)
    if channels_last:
        images = images.to(memory_format=torch.channels_last)
    images.copy_(inputs).div_(255)
    return images.to(device), labels.long().to(device)


def torch_loop(
    network: Network, count: int, compiled: bool = False, channels_last: bool = False
) -> SetUp:
    """Sets up the plain PyTorch loop: one network, tensors in memory."""
    import torch

    assert count == 1
    images, answers = torch_data(network, channels_last)
    module = torch_module(network).to(images.device)
    if channels_last:
        module = module.to(memory_format=torch.channels_last)
    model = torch.compile(module) if compiled else module
    rules = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}
    optimizer = rules[network.optimizer](module.parameters(), lr=RATE)
    loss_function = torch.nn.CrossEntropyLoss()

    def step(index: Any) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss_function(model(images[index]), answers[index]).backward()
        optimizer.step()

    return _torch_run(network, step, images.device), {}


def torch_ensemble(network: Network, count: int) -> SetUp:
    """Sets up `count` networks under `torch.func.vmap` that share each batch."""
    import torch
    from torch import func

    images, answers = torch_data(network)
    models = [torch_module(network).to(images.device) for _ in range(count)]
    for model in models:
        # As PyTorch's manual says: vmap cannot update running statistics in place.
        func.replace_all_batch_norm_modules_(model)
    stacked, buffers = func.stack_module_state(models)
    params = {name: value.detach() for name, value in stacked.items()}

    def loss(params: Any, buffers: Any, x: Any, y: Any) -> Any:
        logits = func.functional_call(models[0], (params, buffers), (x,))
        return torch.nn.functional.cross_entropy(logits, y)

    gradient = func.vmap(func.grad(loss), in_dims=(0, 0, None, None))

    def step(index: Any) -> None:
        found = gradient(params, buffers, images[index], answers[index])
        for name, value in params.items():
            value.sub_(found[name], alpha=RATE)

    return _torch_run(network, step, images.device), {}


def _torch_run(network: Network, step: Callable[[Any], None], device: Any) -> Run:
    """Takes steps along a new random order in each epoch."""
    import torch

    batch, order = network.batch_size, torch.arange(0)

    def call(index: int) -> None:
        nonlocal order
        position = index % network.steps_per_epoch
        if position == 0:
            order = torch.randperm(network.num_examples, device=device)
        step(order[position * batch :][:batch])

    def wait(_: None) -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    return _repeated(call, 1, wait)


def sklearn_loop(network: Network, count: int) -> SetUp:
    """Sets up scikit-learn's `MLPClassifier`, for dense ReLU networks only."""
    from sklearn.neural_network import MLPClassifier

    assert count == 1
    inputs, labels = make_data(network)
    flat = inputs.reshape(len(inputs), -1).astype(np.float32) / 255
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

    def call(_: int) -> None:
        model.partial_fit(flat, labels, classes=range(network.num_classes))

    return _repeated(call, math.ceil(len(inputs) / network.batch_size)), {}


def matrix_product(network: Network, count: int) -> SetUp:
    """Sets up the ceiling: each device multiplies large matrices; a step is a FLOP."""
    import jax
    import jax.numpy as jnp

    devices = jax.local_devices()
    size = 2048 if devices[0].platform == "cpu" else 8192
    matrix = np.random.default_rng(0).standard_normal((size, size), np.float32)
    placed = [jax.device_put(matrix, device) for device in devices]
    product = jax.jit(jnp.matmul)

    def call(_: int) -> list[jax.Array]:
        return [product(m, m) for m in placed]

    return _repeated(call, 2 * size**3 * len(devices), jax.block_until_ready), {}


KINDS: dict[str, tuple[str, Callable[..., SetUp]]] = {
    "nnlab": ("nnlab.training.population", nnlab_population),
    "flax": ("flax.linen", flax_loop),
    "torch": ("torch", torch_loop),
    "torch.func": ("torch", torch_ensemble),
    "scikit-learn": ("sklearn.neural_network", sklearn_loop),
    "matrix product": ("jax", matrix_product),
}
"""Kind of contender -> the module to import, and the function that sets it up."""


def serve(
    network: Network, contender: Contender, turns: Iterable[int]
) -> Iterator[Answer]:
    """Sets a contender up and runs it.

    Yields:
      First plan, times (that of the set-up has data, compilation and two steps), device
      and memory so far. Then for each of `turns`, which are numbers of steps, how many
      were done, how long they took, and memory.
    """
    module, set_up = KINDS[contender.kind]
    if contender.cores:
        some = sorted(os.sched_getaffinity(0))[: contender.cores]
        os.sched_setaffinity(0, some)
        os.environ["JAX_NUM_CPU_DEVICES"] = str(len(some))
    if contender.kind in ("nnlab", "matrix product"):
        devices.use_all_cores()  # stock JAX has one device and spreads each operation
    begin = time.perf_counter()
    importlib.import_module(module)
    imported = time.perf_counter()
    run, plan = set_up(network, contender.members, **contender.options)
    run(2)
    yield {
        "plan": plan,
        "import_seconds": imported - begin,
        "setup_seconds": time.perf_counter() - imported,
        "device": _device(),
        "peak_bytes": _peak_bytes(),
    }
    for wanted in turns:
        begin = time.perf_counter()
        steps = run(wanted)
        seconds = time.perf_counter() - begin
        yield {"steps": steps, "seconds": seconds, "peak_bytes": _peak_bytes()}


def _device() -> str:
    if jax := sys.modules.get("jax"):
        return f"{jax.local_device_count()} x {jax.local_devices()[0].device_kind}"
    if (torch := sys.modules.get("torch")) and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{devices.num_cores()} cores"


def _peak_bytes() -> int:
    """Returns peak memory: of the accelerator if there is one, else of this process."""
    if "jax" in sys.modules:
        return devices.peak_bytes()
    if (torch := sys.modules.get("torch")) and torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return devices.peak_resident_bytes()


def work(
    pipe: connection.Connection,
    environment: Mapping[str, str],
    answers: Callable[..., Iterator[Answer]],
    *given: object,
) -> None:
    """Sends all that ``answers(*given, what the pipe receives)`` yields.

    It is the whole work of a process. An error's answer is ``{"error": "..."}``.
    """
    os.environ.update(environment)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # what libraries print
        os.dup2(nowhere, stream)
    try:
        for answer in answers(*given, iter(pipe.recv, None)):
            pipe.send(answer)
    except Exception as error:  # a contender that cannot do this network, or no more
        reason = str(error).strip() or type(error).__name__
        pipe.send({"error": reason.splitlines()[0]})
