# SPDX-License-Identifier: Apache-2.0
"""Trainings of about a second, and the plain Flax and Optax loop they must equal."""

import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from nnlab.data import Dataset
from nnlab.study import Hyperparameters, Study
from nnlab.training import member as train
from nnlab.training.lanes import Lanes
from nnlab.training.place import Order
from nnlab.training.population import Population
from nnlab.training.prepare import prepare
from nnlab.training.program import NetworkProgram

RATE = "optimizer.learning_rate"
NUM_STEPS = 20
BATCH_SIZE = 16
SIZES = {"train": 130, "validation": 26, "test": 37}
DEEP = {
    "model.name": "stack",
    "model.layers": [{"layer": "dense", "units": u} for u in (8, 8, 8, 3)],
}
"""Dense layers without activation; they diverge at rates above about 0.5."""


@functools.cache
def dataset() -> Dataset:
    """Draws three overlapping clouds of points; no split is a multiple of a batch."""
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=193)
    points = rng.normal(size=(193, 6)) + 2 * np.eye(3, 6)[labels]
    return Dataset.from_arrays(
        points[:156], labels[:156], test_inputs=points[156:], test_labels=labels[156:]
    )


def study(
    sweep: Sequence[Mapping[str, Any]] = ({RATE: 0.1},),
    *,
    num_seeds: int = 2,
    root_seed: int = 0,
    **overrides: Any,
) -> Study:
    """Makes a study of an MLP 6-8-3; overrides are ``**{path: value}``."""
    small = {"model.hidden": (8,), "batch_size": BATCH_SIZE, "num_epochs": 3}
    return Study(
        base=Hyperparameters().replace(small | overrides),
        sweep=tuple(dict(item) for item in sweep),
        num_seeds=num_seeds,
        root_seed=root_seed,
    )


def rates(*values: float) -> tuple[dict[str, float], ...]:
    return tuple({RATE: value} for value in values)


def program(of: Study, module: nn.Module | None = None) -> NetworkProgram:
    (prepared,) = prepare(of, dataset=dataset(), module=module)
    return prepared


def population(of: Study, lanes: Lanes | None = None, **changes: Any) -> Population:
    """Returns the networks of a study's only program; `changes` go to its recipe."""
    found = program(of)
    recipe = dataclasses.replace(found.recipe, **changes)
    lanes, train = lanes or found.plan.lanes, found.dataset.train
    return Population(recipe, lanes, found.members, of.root_seed, train)


def order(of: Study, num_steps: int) -> np.ndarray:
    """Returns the examples of a study's steps, int32 (S, steps, B)."""
    examples = Order(of.root_seed, range(of.num_seeds), SIZES["train"], BATCH_SIZE)
    return examples.take(0, num_steps, num_steps)


def trained(
    members: Population,
    calls: Sequence[int] = (NUM_STEPS,),
    *,
    root_seed: int = 0,
    room: int = NUM_STEPS,
) -> train.TrainState:
    """Returns the networks after calls of so many steps each, as lanes."""
    order = Order(root_seed, range(members.lanes.num_seeds), SIZES["train"], BATCH_SIZE)
    state, start = members.init(), 0
    for count in calls:
        examples = members.put(order.take(start, start + count, room))
        state = members.train(state, examples, first_step=start, num_steps=count)
        start += count
    return state


@dataclasses.dataclass(frozen=True)
class Loop:
    """The final variables of `loop`, and each step's loss and norms."""

    params: Any
    batch_stats: Any
    losses: np.ndarray
    norms: np.ndarray
    diverged_step: int | None


def loop(
    module: nn.Module,
    optimizer: optax.GradientTransformation,
    seed: int,
    num_steps: int = NUM_STEPS,
    root_seed: int = 0,
) -> Loop:
    """Trains one network as Flax's guide does, and checks every step."""
    inputs, labels = dataset().train.inputs, dataset().train.labels
    key = train.stream_key(root_seed, jnp.int32(seed), "init")
    variables = module.init({"params": key}, jnp.zeros((1, 6)), train=False)
    params, stats = variables["params"], variables.get("batch_stats", {})
    opt_state = optimizer.init(params)
    noise = train.stream_key(root_seed, jnp.int32(seed), "noise")
    steps_per_epoch = SIZES["train"] // BATCH_SIZE
    losses: list[float] = []
    norms: list[list[float]] = []
    for i in range(num_steps):
        epoch, at = divmod(i, steps_per_epoch)
        order = train.epoch_order(root_seed, seed, epoch, SIZES["train"])
        batch = order[at * BATCH_SIZE : (at + 1) * BATCH_SIZE]
        new, loss, gradients = _loop_step(
            module,
            optimizer,
            (params, stats, opt_state),
            jax.random.fold_in(noise, i),
            inputs[batch],
            labels[batch],
        )
        finite = np.isfinite(loss) and all(
            np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients)
        )
        if not finite:
            return Loop(params, stats, np.array(losses), np.array(norms), i)
        params, stats, opt_state = new
        losses.append(float(loss))
        norms.append([_norm(gradients[layer]) for layer in sorted(gradients)])
    return Loop(params, stats, np.array(losses), np.array(norms), None)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _loop_step(
    module: nn.Module,
    optimizer: optax.GradientTransformation,
    carry: Any,
    key: jax.Array,
    inputs: jax.Array,
    labels: jax.Array,
) -> Any:
    params, stats, opt_state = carry

    def loss_fn(params: Any) -> Any:
        logits, updated = module.apply(
            {"params": params, "batch_stats": stats},
            inputs,
            train=True,
            rngs={"dropout": key},
            mutable=["batch_stats"],
        )
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return losses.mean(), updated.get("batch_stats", {})

    (loss, stats), gradients = jax.value_and_grad(loss_fn, has_aux=True)(params)
    updates, opt_state = optimizer.update(gradients, opt_state, params)
    return (optax.apply_updates(params, updates), stats, opt_state), loss, gradients


def _norm(gradients: Any) -> float:
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(gradients)]
    return float(np.sqrt(sum(np.sum(leaf**2) for leaf in leaves)))


class Plain(nn.Module):
    """The MLP 6-8-3 in Flax's own layers.

    Attributes:
      batch_norm: whether to normalise before the activation.
      dropout_rate: share of hidden units dropped.
    """

    batch_norm: bool = False
    dropout_rate: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Logits (B, 3) of examples (B, 6)."""
        x = nn.Dense(8, name="dense_0")(x)
        if self.batch_norm:
            x = nn.BatchNorm(not train, momentum=0.9, name="batch_norm_0")(x)
        x = nn.relu(x)
        if self.dropout_rate and train:
            keep_rate = 1 - self.dropout_rate
            keep = jax.random.bernoulli(self.make_rng("dropout"), keep_rate, x.shape)
            x = jnp.where(keep, x / keep_rate, 0)
        return nn.Dense(3, name="dense_1")(x)


class DeepLinear(nn.Module):
    """The network of `DEEP` in Flax's own layers."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Logits (B, 3) of examples (B, 6)."""
        for i, units in enumerate((8, 8, 8, 3)):
            x = nn.Dense(units, name=f"dense_{i}")(x)
        return x


def rewrite_about(path: pathlib.Path, change: Callable[[Any], Any]) -> None:
    """Changes a checkpoint's description, and renews its digests."""
    told = path / "about" / "metadata"
    told.write_text(json.dumps(change(json.loads(told.read_text()))))
    files = sorted(file for file in path.rglob("*") if file.is_file())
    lines = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  "
        f"{file.relative_to(path).as_posix()}\n"
        for file in files
    ]
    path.with_name(f"{path.name}.sha256").write_text("".join(lines))
