# SPDX-License-Identifier: Apache-2.0
"""Joins a Ray cluster, or starts a Ray on this machine alone.

Anyone who reaches a Ray can run any program there. So a Ray that is started here
listens on loopback only, asks for a token that nobody else has, and ends with this
process. A joined cluster gets the user's token if it asks for one. Ray reads all this
from environment variables, which are restored afterwards.
"""

import concurrent.futures
import contextlib
import ipaddress
import logging
import os
import secrets
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

from nnlab.words import errors

CONNECT_SECONDS = 8.0
"""Time for the cluster to answer; after 10 s Ray prints complaints of its own."""

STORE_BYTES = 100 << 20
"""Object store of a Ray that is started here; nearly nothing goes through it."""

_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
_MODE, _TOKEN = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"

_WATCH = f"""
import os, pathlib, signal, sys, time

sys.stdin.read()  # until the process that started this has ended
token, found = os.environb[b"{_TOKEN}"], True
while found:  # one that is just being started is seen the next time
    found = False
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            is_of_ray = token in (folder / "environ").read_bytes()
            if is_of_ray and int(folder.name) != os.getpid():
                os.kill(int(folder.name), signal.SIGKILL)
                found = True
        except OSError:  # it has ended, or is somebody else's
            pass
    time.sleep(0.2 * found)
"""
"""Ends the agents of a Ray, which would otherwise live for another minute."""


def load() -> Any:
    """Imports Ray.

    Raises:
      ValueError: it is not installed, or too old.
    """
    with contextlib.suppress(ImportError):
        import ray

        if hasattr(ray._raylet, "AuthenticationTokenLoader"):
            return ray
    raise ValueError(
        "--executor=ray needs Ray 2.52 or later, which has tokens: "
        f"{errors.extra('ray')}"
    )


@contextlib.contextmanager
def connected(ray: Any, address: str) -> Iterator[None]:
    """Connects to the cluster at an address; "" starts a Ray on this machine.

    Raises:
      ConnectionError: there is none, it does not answer, or it refuses the token.
    """
    with contextlib.ExitStack() as stack:
        stack.callback(_look_again, ray)
        stack.enter_context(_variables(RAY_USAGE_STATS_ENABLED="0"))
        try:
            with warnings.catch_warnings():
                # Ray forks to start programs, which does not harm JAX's threads.
                warnings.filterwarnings("ignore", r"os\.fork\(\) was called")
                stack.enter_context(_joined(ray, address) if address else _own(ray))
        except Exception as error:  # Ray raises errors of many kinds
            line = " ".join(str(error).split())
            if isinstance(error, ray.exceptions.AuthenticationError):
                line = (
                    f"{error.message} (a token is in {_TOKEN}, in the file "
                    f"{_TOKEN}_PATH or in ~/.ray/auth_token)"
                )
            elif isinstance(error, ray.exceptions.RpcError):
                line = "no head of a cluster listens there"
            raise ConnectionError(
                f"cannot join Ray at {address or 'this machine'!r}: {line}"
            ) from None
        yield


@contextlib.contextmanager
def _variables(**given: str) -> Iterator[None]:
    """Sets Ray's environment variables; restores all of them at the end."""
    before = {name: os.environ[name] for name in _names()}
    os.environ.update(given)
    try:
        yield
    finally:
        for name in _names():
            del os.environ[name]
        os.environ.update(before)


def _names() -> list[str]:
    return [name for name in os.environ if name.startswith("RAY_")]


def _look_again(ray: Any) -> None:
    """Makes Ray read again which token to send; by itself it reads that only once."""
    # The mode comes first, or a thread of Ray asks for a token that no longer exists.
    ray._raylet.Config.initialize("")
    ray._raylet.AuthenticationTokenLoader.instance().reset_cache()


@contextlib.contextmanager
def _own(ray: Any) -> Iterator[None]:
    """Starts a Ray that only this user reaches, and that ends with this process."""
    with contextlib.ExitStack() as stack:
        with _variables(**{_MODE: "token", _TOKEN: secrets.token_hex(32)}):
            _look_again(ray)
            watch = [sys.executable, "-S", "-c", _WATCH]
            watching = subprocess.Popen(
                watch, stdin=subprocess.PIPE, start_new_session=True
            )
            stack.callback(watching.communicate)
            stack.callback(ray.shutdown)
            # Ray has no other way to stay on loopback, and reads it when imported.
            is_open = ray._private.ray_constants.ENABLE_RAY_CLUSTER
            ray._private.ray_constants.ENABLE_RAY_CLUSTER = False
            try:
                ray.init(
                    "local",
                    include_dashboard=False,
                    object_store_memory=STORE_BYTES,
                    **_QUIET,
                )
            finally:
                ray._private.ray_constants.ENABLE_RAY_CLUSTER = is_open
        for node in ray.nodes():
            where = node["NodeManagerAddress"]
            if not ipaddress.ip_address(where).is_loopback:
                raise ConnectionError(
                    f"Ray {ray.__version__} is open to all at {where}"
                )
        yield


@contextlib.contextmanager
def _joined(ray: Any, address: str) -> Iterator[None]:
    """Joins a cluster, with the user's token if the cluster asks for one.

    By itself Ray sends no token unless RAY_AUTH_MODE says so.
    """
    with _variables():
        _look_again(ray)
        if "://" not in address:
            find = ray._private.services.canonicalize_bootstrap_address_or_die
            _knock(ray, find(address))
        try:
            ray.init(address, **_QUIET)
            yield
        finally:
            ray.shutdown()


def _knock(ray: Any, where: str) -> None:
    """Makes Ray send the user's token from now on if the cluster asks for it."""
    try:
        _ask(ray, where)
    except ray.exceptions.AuthenticationError:
        tokens = ray._raylet.AuthenticationTokenLoader.instance()
        if _MODE in os.environ or not tokens.has_token(ignore_auth_mode=True):
            raise
        os.environ[_MODE] = "token"
        _look_again(ray)
        _ask(ray, where)


def _ask(ray: Any, where: str) -> None:
    """Asks a cluster for its name.

    Ray itself would ask for minutes, and print a line each time.

    Raises:
      ConnectionError, TimeoutError: there is none, or it does not answer.
      ray.exceptions.RayError: it refuses.
    """
    host, _, port = where.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS):
        pass
    setup = ray._private.authentication.authentication_token_setup
    setup.ensure_token_if_auth_enabled(create_token_if_missing=False)
    answer: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def ask() -> None:
        try:
            answer.set_result(ray._raylet.GcsClient(address=where))
        except Exception as error:
            answer.set_exception(error)

    with _hushed():
        threading.Thread(target=ask, daemon=True).start()
        try:
            answer.result(CONNECT_SECONDS)
        except TimeoutError:
            raise TimeoutError(f"no answer in {CONNECT_SECONDS:g} s") from None


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Drops everything written to standard error, also by libraries."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
