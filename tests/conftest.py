# SPDX-License-Identifier: Apache-2.0
"""Strict numerics in every test, and two CPU devices so that sharding is exercised."""

import os
import pathlib
import shutil
import tempfile

import pytest

# All processes of a session share one folder of compiled programs, so that each program
# is compiled once. The first process names it in the environment.
_COMPILED = pathlib.Path(tempfile.gettempdir()) / f"nnlab-tests-{os.getpid()}"

# Subprocesses, and JAX below, read these when the backend starts.
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "2")
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_COMPILED))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")


def pytest_unconfigure():
    """Removes the compiled programs; workers have no folder of their own."""
    shutil.rmtree(_COMPILED, ignore_errors=True)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    """Hides what earlier runs left in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NNLAB_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True, scope="session")
def _no_waiting_for_the_disk():
    """Leaves out fsync, some 60 times a checkpoint: nobody cuts the power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture
def ax():
    """An Axes to draw on."""
    from matplotlib.figure import Figure

    from nnlab.report.figures.drawing import style

    with style.context():
        yield Figure(figsize=(7.2, 3.9), layout="constrained").add_subplot()


@pytest.fixture(autouse=True)
def _strict_keys():
    """Makes the reuse of a random key an error.

    But for JAX 0.7, which takes a single key that a loop reads twice for reused.
    """
    import jax

    with jax.debug_key_reuse(jax.__version_info__ >= (0, 8)):
        yield


@pytest.fixture(scope="module")
def compiled_fast():
    """Leaves out most of XLA's optimizations, which take longer than small trainings.

    For files that compare no bits of programs that differ. The processes that their
    tests start leave them out, too.
    """
    import jax

    name = "jax_disable_most_optimizations"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(name.upper(), "1")
        jax.config.update(name, True)
        yield
    jax.config.update(name, False)


@pytest.fixture(scope="module")
def chromium():
    """A browser without windows. Its event loop must end with the module."""
    reason = "no playwright here"
    sync_api = pytest.importorskip("playwright.sync_api", reason=reason)
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("no Chromium here")
    with sync_api.sync_playwright() as player:
        arguments = ["--no-sandbox", "--disable-gpu"]
        browser = player.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()
