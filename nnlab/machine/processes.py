# SPDX-License-Identifier: Apache-2.0
"""Several processes as one run, with the networks spread over all their devices.

Each process runs the same command and holds the same numbers on the host; only the
first one writes. With a single process nothing here communicates.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding

_T = TypeVar("_T")

TIMEOUT_SECONDS = 120
"""How long the processes wait for each other at the start."""


def cluster(environment: Mapping[str, str] = os.environ) -> str:
    """Returns the launcher that started this process as one of several; else ""."""
    for name, count, *others in (
        ("Slurm", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_STEP_NODELIST"),
        ("Open MPI", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    ):
        there = environment.keys() >= {count, *others}
        if there and int(environment[count]) > 1:
            return name
    if "," in environment.get("TPU_WORKER_HOSTNAMES", "") and (
        "TPU_WORKER_ID" in environment
    ):
        return "the TPU pod"
    return ""


def start(coordinator: str = "", number: int = 0, place: int = -1) -> None:
    """Joins the other processes; call it before JAX's first use.

    Args:
      coordinator: "host:port" of the first process; "" to let JAX ask the cluster
        (Slurm, Open MPI, TPU pods and others that it knows).
      number, place: number of processes, and this one's index, from 0; with a
        coordinator.

    Raises:
      ValueError: the index is impossible, or JAX knows no cluster.
      RuntimeError: not all processes arrived in time.
    """
    if not coordinator:
        try:
            jax.distributed.initialize(initialization_timeout=TIMEOUT_SECONDS)
        except ValueError as error:
            raise ValueError(f"JAX finds no cluster here: {error}") from None
        return
    if not 0 <= place < number:
        raise ValueError(
            f"process {place} of {number}: they are counted from 0 to {number - 1}"
        )
    jax.distributed.initialize(
        coordinator, number, place, initialization_timeout=TIMEOUT_SECONDS
    )


def index() -> int:
    """Returns this process's index, from 0."""
    return jax.process_index()


def is_first() -> bool:
    """Returns whether this is the first process, which alone writes."""
    return index() == 0


def count() -> int:
    """Returns the number of processes."""
    return jax.process_count()


def put(value: Any, sharding: NamedSharding) -> jax.Array:
    """Places an array, or typed random keys, that all processes hold.

    Each process places its own devices' part.
    """
    if count() == 1:
        return jax.device_put(value, sharding)
    if isinstance(value, jax.Array) and jnp.issubdtype(
        value.dtype, jax.dtypes.prng_key
    ):
        data = put(np.asarray(jax.random.key_data(value)), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(value))
    host = np.asarray(value)
    return jax.make_array_from_callback(host.shape, sharding, lambda at: host[at])


def to_host(value: jax.Array) -> np.ndarray:
    """Copies a whole array to every process; all processes must call it."""
    if value.is_fully_addressable:
        return np.asarray(value)
    return np.asarray(multihost_utils.process_allgather(value, tiled=True))


def agreed(value: float) -> float:
    """Returns the first process's value on all processes, such as a time."""
    if count() == 1:
        return value
    return float(multihost_utils.broadcast_one_to_all(np.float64(value)))


def any_of(value: bool) -> bool:
    """Returns whether a value is true in any process."""
    if count() == 1:
        return value
    return bool(np.any(multihost_utils.process_allgather(np.bool_(value))))


class ElsewhereError(RuntimeError):
    """The first process failed; its own message says why."""


def in_first(action: Callable[[], _T]) -> _T | None:
    """Calls a function in the first process only; the others get None.

    If it fails, all processes fail: the first one with the function's own error, the
    others with ElsewhereError.
    """
    found, failure = None, None
    if is_first():
        try:
            found = action()
        except Exception as error:
            failure = error
    failed = any_of(failure is not None)
    if failure:
        raise failure
    if failed:
        raise ElsewhereError("the first process ended, and says why")
    return found


def wait(name: str) -> None:
    """Waits until all processes have called it."""
    if count() > 1:
        multihost_utils.sync_global_devices(name)
