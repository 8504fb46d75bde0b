# SPDX-License-Identifier: Apache-2.0
"""Several processes as one program: members are spread over the devices of all of them.

Each process runs the same command. They hold the same numbers on the host; the first
one alone writes. With a single process every function here does nothing.
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
"""For all processes to be there."""


def cluster(environment: Mapping[str, str] = os.environ) -> str:
    """What started this process as one of several, in words; "" if nothing did."""

    def several(count: str, *others: str) -> bool:
        there = all(name in environment for name in others)
        return there and int(environment.get(count, "1")) > 1

    if several("SLURM_NTASKS", "SLURM_PROCID", "SLURM_STEP_NODELIST"):
        return "Slurm"
    if several("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"):
        return "Open MPI"
    if "," in environment.get("TPU_WORKER_HOSTNAMES", "") and (
        "TPU_WORKER_ID" in environment
    ):
        return "the TPU pod"
    return ""


def start(coordinator: str = "", number: int = 0, place: int = -1) -> None:
    """Joins the other processes; call it before JAX's first use.

    Args:
      coordinator: address and port of the first process, "host:port"; "" to have JAX
        find out from the cluster (Slurm, Open MPI, TPU pods and others that it knows).
      number: how many processes; with `coordinator`.
      place: the how manieth this one is, from 0; with `coordinator`.

    Raises:
      ValueError: numbers that make no sense, or no cluster that JAX knows.
      RuntimeError: the others did not come.
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
    """The how manieth process this is, from 0."""
    return jax.process_index()


def is_first() -> bool:
    """Whether this is the process that writes."""
    return index() == 0


def count() -> int:
    """How many processes there are."""
    return jax.process_count()


def put(value: Any, sharding: NamedSharding) -> jax.Array:
    """Places an array that all processes hold; each places what its devices take.

    Args:
      value: an array, or typed random keys.
      sharding: where it goes.
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
    """The whole of an array, on every process; all of them must ask."""
    if value.is_fully_addressable:
        return np.asarray(value)
    return np.asarray(multihost_utils.process_allgather(value, tiled=True))


def agreed(value: float) -> float:
    """The first process's value, such as one that depends on its clock."""
    if count() == 1:
        return value
    return float(multihost_utils.broadcast_one_to_all(np.float64(value)))


def any_of(value: bool) -> bool:
    """Whether it is true in any process."""
    if count() == 1:
        return value
    return bool(np.any(multihost_utils.process_allgather(np.bool_(value))))


class ElsewhereError(RuntimeError):
    """The first process could not go on, and says why."""


def in_first(action: Callable[[], _T]) -> _T | None:
    """Does something in the first process; if it fails there, all end.

    Returns:
      What it returned; None in the others.

    Raises:
      Exception: what it failed with, in the first process.
      ElsewhereError: it failed, in the others.
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
    """Waits until all processes are here."""
    if count() > 1:
        multihost_utils.sync_global_devices(name)
