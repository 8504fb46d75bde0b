# SPDX-License-Identifier: Apache-2.0
"""Times the study `edge_of_stability` beside a hand-written JAX loop.

python -m nnlab.commands.bench.edge 8 200 3

Arguments: seeds (two networks each), steps, turns. The loop trains the same networks
one after another, each a jitted scan between two sharpnesses, of which each is
`PRODUCTS` Hessian-vector products. The ceiling is the step's matrix products alone.
Turns alternate; set-up and compilation are left out.
"""

import functools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

EVERY = 50
"""Steps between two sharpnesses, as in the study."""
PRODUCTS = 20
"""Hessian-vector products of a sharpness; nnlab takes ten at a time, until sure."""
SIZES = (784, 100, 100, 10)
EXAMPLES = 1_000
RATE = 0.05


def loop() -> tuple[
    Callable[[int], None], Callable[[int], None], Callable[[int], None]
]:
    """Returns what trains for some steps, measures some sharpnesses, and multiplies."""
    import jax
    import jax.numpy as jnp

    keys = jax.random.split(jax.random.key(0), 9)
    x = jax.random.normal(keys[0], (EXAMPLES, SIZES[0]))
    y = jax.nn.one_hot(jax.random.randint(keys[1], (EXAMPLES,), 0, 10), 10)
    begun = [
        (jax.random.normal(key, (a, b)) / a**0.5, jnp.zeros(b))
        for key, a, b in zip(keys[2:], SIZES, SIZES[1:])
    ]

    def loss(params: Any) -> jax.Array:
        h = x
        for kernel, bias in params[:-1]:
            h = jnp.tanh(h @ kernel + bias)
        out = h @ params[-1][0] + params[-1][1]
        return 0.5 * jnp.mean(jnp.sum((out - y) ** 2, axis=1))

    slope = jax.grad(loss)

    def step(params: Any, _: Any) -> tuple[Any, None]:
        return jax.tree.map(lambda p, g: p - RATE * g, params, slope(params)), None

    def power(vector: Any, _: Any) -> tuple[Any, jax.Array]:
        bent = jax.jvp(slope, (begun,), (vector,))[1]
        norm = jnp.sqrt(sum(jnp.sum(v**2) for v in jax.tree.leaves(bent)))
        return jax.tree.map(lambda v: v / norm, bent), norm

    def products(kernels: Any, _: Any) -> tuple[Any, None]:
        h, hidden = x, []
        for kernel in kernels:
            hidden.append(h)
            h = h @ kernel
        slopes = []
        for place in reversed(range(len(kernels))):
            slopes.append(hidden[place].T @ h)
            h = h @ kernels[place].T if place else h
        return [k - 1e-9 * s for k, s in zip(kernels, reversed(slopes))], None

    def repeated(of: Any, count: int, start: Any) -> Callable[[int], None]:
        many = jax.jit(functools.partial(jax.lax.scan, of, xs=None, length=count))

        def run(times: int) -> None:
            carry = start
            for _ in range(times):
                carry, _ = many(carry)
            jax.block_until_ready(carry)

        run(1)  # compiles
        return run

    kernels = [kernel for kernel, _ in begun]
    return (
        repeated(step, EVERY, begun),
        repeated(power, PRODUCTS, begun),
        repeated(products, EVERY, kernels),
    )


def study_seconds(seeds: int, steps: int) -> tuple[float, float]:
    """Returns the seconds in which nnlab trains and measures, without compiling."""
    import numpy as np

    import nnlab

    rng = np.random.default_rng(0)
    data = rng.normal(size=(1_500, SIZES[0])), rng.integers(10, size=1_500)
    with tempfile.TemporaryDirectory() as folder:
        found = nnlab.run(
            dataset=data,
            train_size=EXAMPLES,
            full_batch=True,
            num_epochs=steps,
            eval_every_epochs=steps,
            probes=(f"sharpness@{EVERY}",),
            **{"loss.name": "squared_error"},
            model={"hidden": SIZES[1:-1], "activation": "tanh"},
            sweep={"optimizer.learning_rate": [RATE, 2 * RATE]},
            num_seeds=seeds,
            figures=(),
            show=False,
            workdir=f"{folder}/run",
        )
        timings = found.results.timings
        both = (timings[f"{what}_seconds"].to_numpy() for what in ("train", "probe"))
        train, probe = (float(np.nansum(seconds)) for seconds in both)
        return train, probe


def main(seeds: int = 8, steps: int = 200, turns: int = 3) -> None:
    """Prints each turn's seconds, and the medians of the ratios."""
    train, sharpness, products = loop()
    networks, calls = 2 * seeds, steps // EVERY
    ratios: dict[str, list[float]] = {"training": [], "sharpness": [], "ceiling": []}
    for turn in range(turns):
        seconds = []
        for run, times in ((train, calls), (sharpness, calls + 1), (products, calls)):
            start = time.perf_counter()
            run(networks * times)
            seconds.append(time.perf_counter() - start)
        ours = study_seconds(seeds, steps)
        print(
            f"turn {turn + 1}: {networks} networks, {steps} steps: nnlab trains "
            f"{ours[0]:.2f} s, measures {ours[1]:.2f} s; the loop {seconds[0]:.2f} and "
            f"{seconds[1]:.2f} s; products alone {seconds[2]:.2f} s"
        )
        ratios["training"].append(seconds[0] / ours[0])
        ratios["sharpness"].append(seconds[1] / ours[1])
        ratios["ceiling"].append(seconds[2] / ours[0])
    medians = {name: statistics.median(found) for name, found in ratios.items()}
    print(
        f"medians of {turns} turns: nnlab trains at {medians['training']:.2f} of the "
        f"loop's speed, measures at {medians['sharpness']:.2f} of it, and trains at "
        f"{medians['ceiling']:.0%} of the ceiling"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
