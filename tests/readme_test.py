# SPDX-License-Identifier: Apache-2.0
"""The README's Python runs as it stands, on less data."""

import pathlib
import re

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

import nnlab

pytestmark = pytest.mark.slow

README = pathlib.Path(__file__).parent.parent / "README.md"
SMALL = {"num_epochs": 1, "num_seeds": 2, "train_size": 200, "show": False}


class MyNetwork(nn.Module):
    """What the README leaves to the reader."""

    @nn.compact
    def __call__(self, x, train):
        return nn.Dense(3)(x)


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = nnlab.run

    def smaller(*args, **kwargs):
        if kwargs.get("dataset") == "fashion_mnist":
            kwargs["dataset"] = "digits"
        return run(*args, **kwargs | SMALL)

    monkeypatch.setattr(nnlab, "run", smaller, raising=False)
    rng = np.random.default_rng(0)
    known = {
        "jnp": jnp,
        "MyNetwork": MyNetwork,
        "inputs": rng.normal(size=(600, 4)),
        "labels": rng.integers(3, size=600),
        "images": nnlab.data.load("digits").test.inputs,
    }
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    ran = [b for b in blocks if "def sweep" not in b]  # which is a config file's
    assert len(ran) >= 4
    for block in ran:
        exec(block, known)  # scan: allowed
    assert known["found"].workdir == tmp_path / "runs" / "rates"
    assert "test_top2_mean" in known["mine"].summary()
    assert (tmp_path / "best.safetensors").exists()
