# SPDX-License-Identifier: Apache-2.0
"""The contenders of ``launch.bench --suite=search``: one search, three ways.

Each chooses learning rate, momentum and width of a network with one hidden layer by
Optuna's TPE sampler, and trains each trial with the same seeds, epochs and examples. It
takes the trial with the highest mean final validation accuracy. The clock runs from
data in memory to that trial; it includes compilation but no imports.
"""

import dataclasses
import functools
import pathlib
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from nnlab import data
from nnlab.commands.bench import rivals
from nnlab.machine import devices
from nnlab.models.layers import mlp
from nnlab.study import Hyperparameters, Search, Study

WIDTHS = (16, 32, 64, 128)
RATES = (1e-3, 3.0)
MOST_MOMENTUM = 0.95


@dataclasses.dataclass(frozen=True)
class Race:
    """A contender and its search.

    Attributes:
      batch: trials that nnlab trains at once; 0 for a plain loop in Flax and optax.
      train_size: training examples; 0 for all.
      root_seed: of the sampler and of the networks.
    """

    name: str
    batch: int
    dataset: str
    data_dir: str | None
    trials: int = 64
    seeds: int = 3
    epochs: int = 5
    train_size: int = 20_000
    batch_size: int = 64
    root_seed: int = 0


def by_population(race: Race, dataset: data.Dataset) -> rivals.Answer:
    """Runs nnlab's own search, `race.batch` trials at a time."""
    import optuna

    from nnlab.runs import experiment, search
    from nnlab.statistics.ranking import best_trial
    from nnlab.training import place

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    fields = {
        "train_size": race.train_size,
        "batch_size": race.batch_size,
        "num_epochs": race.epochs,
        "eval_every_epochs": float(race.epochs),
    }
    space = (
        f"optimizer.learning_rate=log({RATES[0]:g},{RATES[1]:g})",
        f"optimizer.momentum=uniform(0,{MOST_MOMENTUM:g})",
        f"model.hidden={','.join(f'({width},)' for width in WIDTHS)}",
    )
    study = Study(
        base=Hyperparameters().replace(fields),
        search=Search(space=space, trials=race.trials, batch=race.batch),
        num_seeds=race.seeds,
        root_seed=race.root_seed,
        figures=(),
    )
    begin = time.perf_counter()
    kept = place.Kept()
    with tempfile.TemporaryDirectory() as folder:
        workdir = pathlib.Path(folder) / "run"

        def train(study: Study, resume: bool) -> Any:
            return experiment.run(
                study, workdir, dataset=dataset, resume=resume, kept=kept
            )

        results = search.run(study, workdir, train)
        seconds = time.perf_counter() - begin
    best = best_trial(results)
    assert best is not None
    last = {
        name: float(np.nanmean(results.curve(best, f"{name}_accuracy").values[:, -1]))
        for name in ("validation", "test")
    }
    return {"seconds": seconds, "settings": dict(results.study.sweep[best]), **last}


def by_loop(race: Race, dataset: data.Dataset) -> rivals.Answer:
    """Runs Optuna around a plain jitted loop, one network after another."""
    import jax
    import jax.numpy as jnp
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    begin = time.perf_counter()
    dataset = dataset.limit(race.train_size)
    scale = np.float32(dataset.scale)
    splits = {
        name: (jnp.asarray(split.inputs) * scale, jnp.asarray(split.labels))
        for name in ("train", "validation", "test")
        for split in (getattr(dataset, name),)
    }
    count = len(dataset.train.labels)
    length = count // race.batch_size
    programs = functools.cache(
        lambda width: _programs(width, dataset.num_classes, *splits["train"])
    )
    tests: dict[int, float] = {}

    def objective(trial: Any) -> float:
        rate = trial.suggest_float("rate", *RATES, log=True)
        momentum = trial.suggest_float("momentum", 0.0, MOST_MOMENTUM)
        init, epoch, accuracy = programs(trial.suggest_categorical("width", WIDTHS))
        found = []
        for seed in range(race.seeds):
            key = jax.random.fold_in(jax.random.key(race.root_seed), seed)
            rng = np.random.default_rng((race.root_seed, seed))
            carry = init(key, np.float32(rate), np.float32(momentum))
            for _ in range(race.epochs):
                order = rng.permutation(count)[: length * race.batch_size]
                carry = epoch(carry, order.reshape(length, -1).astype(np.int32))
            names = "validation", "test"
            found.append([accuracy(carry[0], *splits[name]) for name in names])
        validation, test = np.array(found, float).mean(axis=0)
        tests[trial.number] = float(test)
        return float(validation)

    sampler = optuna.samplers.TPESampler(seed=race.root_seed)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.optimize(objective, n_trials=race.trials)
    seconds = time.perf_counter() - begin
    best = study.best_trial
    last = {"validation": best.value, "test": tests[best.number]}
    return {"seconds": seconds, "settings": dict(best.params), **last}


def _programs(width: int, num_classes: int, inputs: Any, labels: Any) -> Any:
    """Returns jitted functions of a network: its start, an epoch, and its accuracy.

    Learning rate and momentum are arguments, so that each width is compiled once.
    """
    import jax
    import optax

    shape = inputs.shape[1:]
    network = rivals.Network("", mlp((width,), num_classes), shape, 0, num_classes)
    module = rivals.stock_flax(network)
    optimizer = optax.inject_hyperparams(optax.sgd)(0.0, 0.0)
    step = rivals.flax_step(module, optimizer, inputs, labels)

    def init(key: jax.Array, rate: float, momentum: float) -> Any:
        variables = module.init(key, inputs[:1])
        state = optimizer.init(variables["params"])
        values = {"learning_rate": rate, "momentum": momentum}
        return variables, state._replace(hyperparams=values)

    def epoch(carry: Any, order: jax.Array) -> Any:
        return jax.lax.scan(step, carry, order)[0]

    def accuracy(variables: Any, inputs: jax.Array, labels: jax.Array) -> Any:
        return (module.apply(variables, inputs).argmax(-1) == labels).mean()

    return jax.jit(init), jax.jit(epoch, donate_argnums=0), jax.jit(accuracy)


def serve(race: Race, _: object) -> Iterator[rivals.Answer]:
    """Yields what a search found; see `rivals.work`.

    "seconds" are of the whole search, "settings" of the chosen trial; "validation" and
    "test" are the trial's mean accuracies over the seeds.
    """
    if race.batch:
        devices.use_all_cores()  # stock JAX has one device and spreads each operation
    dataset = data.load(race.dataset, data_dir=race.data_dir)
    yield by_population(race, dataset) if race.batch else by_loop(race, dataset)
