# SPDX-License-Identifier: Apache-2.0
"""Evaluates the final members: further test sets, predictions, first layers."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nnlab.data import Dataset, Split, numbers
from nnlab.results.pictures import NUM_EXAMPLES, Plane, Seen, plane_of
from nnlab.runs.record import Record
from nnlab.training import member, trees
from nnlab.training.lanes import flattened
from nnlab.training.place import PlacedProgram, batches_of, sizes_of
from nnlab.training.program import Program, TreeProgram

PREDICTED_AT_ONCE = 500
"""Examples whose class probabilities are copied to the host at once."""

GRID = 240
"""Cells along each side of the grid of predictions."""

SOLO_INFERENCES = 256
"""Number of examples for measuring the speed at batch size 1."""


def score(program: PlacedProgram, state: member.TrainState, record: Record) -> None:
    """Evaluates the final members: example by example, and on further test sets."""
    population, sizes = program.population, dict(program.sizes)
    each = population.gather(population.judge(state, program.batches))
    if splits := program.scored():
        batches = population.put(batches_of(program, splits, population))
        sums, more = population.gather(population.score(state, batches))
        sizes |= sizes_of(splits)
        record.add_final(sums, sizes)
        each |= more
    record.add_each(each, sizes)
    for (transform, amount), split in program.test_sets.severities.items():
        # One name for all sets, so that one compilation serves them.
        severity = {"severity": split}
        batches = population.put(batches_of(program, severity, population))
        sums, _ = population.score(state, batches)
        found = population.gather(sums)["severity"]
        record.add_severity(transform, amount, found, len(split.labels))


def probabilities(program: PlacedProgram, state: member.TrainState) -> np.ndarray:
    """Returns class probabilities of the first test examples, float32 (T, S, E, C)."""
    inputs = flattened(program.fed.test.inputs[:NUM_EXAMPLES])
    return program.population.gather(program.population.predict(state, inputs))


def look(
    program: PlacedProgram,
    state: member.TrainState,
    record: Record,
    before: np.ndarray,
) -> None:
    """Collects what pictures of the final members need: predictions, first layers."""
    population = program.population
    found = [
        (chunk.argmax(axis=-1).astype(np.int32), chunk.max(axis=-1))
        for chunk in _tested(program, state)
    ]
    prediction, confidence = (np.concatenate(part, axis=2) for part in zip(*found))
    first = state.params.get(program.recipe.layers[0], {})
    kernels = population.gather(first["kernel"]) if "kernel" in first else None
    after = probabilities(program, state)
    regions = None
    if plane := plane_of(program.dataset):
        cells = _cells_of(program.dataset, plane)
        fed = program.features(cells) if program.features else cells
        grid = _predicted(program, state, fed)
        regions = np.concatenate([chunk.argmax(axis=-1) for chunk in grid], axis=2)
    for t, trial in enumerate(program.trials):
        living = record.living(trial.index)
        # Of the first living seed, if there is one.
        place = (t, living.argmax()) if living.any() else None
        record.seen[trial.index] = Seen(
            prediction=prediction[t],
            confidence=np.where(living[:, None], confidence[t], np.nan),
            labels=own_labels(program),
            kernel=kernels[place] if kernels is not None and place else None,
            before=before[t],
            after=after[t],
            regions=_as_map(regions[place]) if regions is not None and place else None,
        )


def predicted(
    program: PlacedProgram, state: member.TrainState, inputs: np.ndarray
) -> np.ndarray:
    """Returns class probabilities, float32 (T, S, N, C), of a few examples (N, ...)."""
    features = program.features
    fed = features(inputs) if features else inputs
    return program.population.gather(program.population.predict(state, flattened(fed)))


def own_labels(program: Program) -> np.ndarray | None:
    """Returns the classes of each seed's own test examples, int32 (S, N), if it has."""
    drawing = program.drawing
    if not (drawing and "test" in drawing.sizes):
        return None
    return drawing.pool.labels[drawing.stacked("test", program.members.seeds)]


def _tested(program: PlacedProgram, state: member.TrainState) -> Iterator[np.ndarray]:
    """Yields class probabilities of the test examples, in parts, float32 (T, S, N, C).

    They are each seed's own where seeds draw them.
    """
    test = program.evaluated()["test"]
    if isinstance(test, Split):
        yield from _predicted(program, state, test.inputs)
        return
    population, places = program.population, program.order.places
    size = min(PREDICTED_AT_ONCE, test.size)
    for start in range(0, test.size, size):
        rows = test.rows[:, start : start + size]
        more = (0, places - len(rows)), (0, size - rows.shape[1])
        found = population.predict_picked(state, np.pad(rows, more))
        yield population.gather(found)[:, :, : rows.shape[1]]


def _predicted(
    program: PlacedProgram, state: member.TrainState, inputs: np.ndarray
) -> Iterator[np.ndarray]:
    """Yields class probabilities of stored inputs, in parts, float32 (T, S, N, C)."""
    population, flat = program.population, flattened(inputs)
    size = min(PREDICTED_AT_ONCE, len(program.fed.test.labels))
    for start in range(0, len(flat), size):
        chunk = flat[start : start + size]
        padded = np.resize(chunk, (size, chunk.shape[1]))
        found = population.gather(population.predict(state, padded))
        yield found[:, :, : len(chunk)]


def seen_of_trees(program: TreeProgram, fits: Sequence[trees.Fit]) -> Seen:
    """Collects what pictures of the trees need, over all seeds."""
    dataset = program.dataset
    probabilities = np.stack([fit.probabilities["test"] for fit in fits])
    after = probabilities[:, :NUM_EXAMPLES]
    regions = None
    if plane := plane_of(dataset):
        regions = _as_map(fits[0].predict(_cells_of(dataset, plane)).argmax(axis=-1))
    return Seen(
        prediction=probabilities.argmax(axis=-1).astype(np.int32),
        confidence=probabilities.max(axis=-1),
        before=np.full_like(after, 1 / after.shape[-1]),  # without trees: uniform
        after=after,
        kernel=None,
        regions=regions,
        labels=own_labels(program),
    )


def judged_trees(
    fits: Sequence[Sequence[trees.Fit]],
    splits: Sequence[Mapping[str, Split]],
    losses: bool,
) -> dict[str, dict[str, np.ndarray]]:
    """Returns what trees, by trial and seed, said of each example; see `add_each`.

    `splits` are those of each seed.
    """
    found: dict[str, dict[str, np.ndarray]] = {}
    is_regression = "test_accuracy" not in fits[0][0].metrics
    judge: Callable[..., Any] = trees.half_square if is_regression else trees.judge
    for split in fits[0][0].probabilities:
        each = [
            [
                judge(fit.probabilities[split], of_seed[split].labels)
                for fit, of_seed in zip(some, splits, strict=True)
            ]
            for some in fits
        ]
        if is_regression:
            found[split] = {"loss": np.array(each)}
            continue
        right, loss = (np.array([[f[i] for f in s] for s in each]) for i in (0, 1))
        found[split] = {"accuracy": right} | ({"loss": loss} if losses else {})
    return found


def _cells_of(dataset: Dataset, plane: Plane) -> np.ndarray:
    """Returns the centres of a grid's cells, row after row, float32 (G * G, 2).

    They are as the data are stored.
    """
    x0, x1, y0, y1 = plane.extent
    centres = (np.arange(GRID) + 0.5) / GRID
    x, y = np.meshgrid(x0 + (x1 - x0) * centres, y0 + (y1 - y0) * centres)
    cells = np.stack([x.ravel(), y.ravel()], axis=1)
    return numbers.stored(cells, dataset.origin, "cells")


def _as_map(classes: np.ndarray) -> np.ndarray:
    return classes.reshape(GRID, GRID).astype(np.int32)


def solo_inferences_per_second(program: PlacedProgram) -> float:
    """Returns how many examples per second one network answers, one at a time.

    All in one compiled function on one device, without a call from Python for each.
    """
    recipe, (device, *_) = program.recipe, jax.local_devices()
    traced = {k: jnp.float32(v[0]) for k, v in program.members.traced().items()}
    state = member.init_state(recipe, traced, member.key(0))
    inputs = flattened(program.fed.test.inputs)
    inputs = np.resize(inputs, (SOLO_INFERENCES, inputs.shape[1]))

    @jax.jit
    def answer(state: member.TrainState, inputs: jax.Array) -> jax.Array:
        return jax.lax.map(lambda x: member.predict(recipe, state, x[None]), inputs)

    arguments = jax.device_put((state, inputs), device)
    answer(*arguments).block_until_ready()  # compiles
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        answer(*arguments).block_until_ready()
        seconds.append(time.perf_counter() - start)
    return SOLO_INFERENCES / float(np.median(seconds))
