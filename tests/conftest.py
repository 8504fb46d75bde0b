# SPDX-License-Identifier: Apache-2.0
"""Strict numerics in every test, and two CPU devices so that sharding is exercised."""

import os

import pytest

# Subprocesses of the tests, and JAX below, read it when the backend starts.
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "2")
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")


@pytest.fixture(autouse=True)
def _strict_keys():
    """Reusing a random key is an error."""
    import jax

    with jax.debug_key_reuse(True):
        yield
