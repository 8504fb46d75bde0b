# SPDX-License-Identifier: Apache-2.0
"""The device that trains is named, with a warning where it is not the wanted one."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nnlab.machine import devices


@pytest.mark.parametrize(
    ("environment", "platform"),
    [
        ({"JAX_PLATFORMS": "cpu", "TPU_NAME": "a"}, "cpu"),
        ({"JAX_PLATFORMS": "cuda,cpu"}, "gpu"),
        ({"JAX_PLATFORMS": "tpu"}, "tpu"),
        ({"COLAB_TPU_ADDR": "10.0.0.2:8470"}, "tpu"),
        ({"TPU_ACCELERATOR_TYPE": "v5litepod-8"}, "tpu"),
    ],
)
def test_what_a_machine_is_meant_for(environment, platform):
    assert devices.expected(environment) == platform


def test_a_machine_without_signs_of_an_accelerator_is_a_cpu(monkeypatch):
    monkeypatch.setattr(devices.glob, "glob", lambda pattern: [])
    monkeypatch.setattr(devices.shutil, "which", lambda name: None)
    assert devices.expected({}) == "cpu"
    monkeypatch.setattr(devices.shutil, "which", lambda name: "/bin/nvidia-smi")
    monkeypatch.setattr(devices.os.path, "exists", lambda path: True)
    assert devices.expected({}) == "gpu"
    monkeypatch.setattr(devices.glob, "glob", lambda pattern: ["/dev/accel0"])
    assert devices.expected({}) == "tpu"


def test_the_device_in_words_and_what_is_wrong_with_it(monkeypatch):
    if jax.default_backend() != "cpu":
        pytest.skip("is about the CPU")
    monkeypatch.setattr(devices, "num_cores", lambda: 2)
    count = jax.local_device_count()
    told, wrong = devices.check("cpu")
    assert told.startswith(f"{count} CPU device")
    assert not wrong
    for wanted, package in (("tpu", "jax[tpu]"), ("gpu", "jax[cuda13]")):
        _, wrong = devices.check(wanted)
        assert wrong.startswith(f"A {wanted.upper()} was asked for, but JAX found only")
        assert package in wrong
    monkeypatch.setattr(devices, "num_cores", lambda: count + 1)
    assert f"all {count + 1} cores" in devices.check("cpu")[1]
    with pytest.raises(ValueError, match="unknown platform 'gpus'; did you mean 'gpu'"):
        devices.check("gpus")


@pytest.mark.parametrize(
    ("asked", "before", "count"), [("1", "", 2), ("3", "import jax", 3)]
)
def test_there_are_two_devices_at_least(asked, before, count):
    """Works even if JAX was imported before and has read its environment."""
    code = f"{before}\nfrom nnlab.machine import devices; devices.use_all_cores()"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; import jax; print(jax.device_count())"],
        env=os.environ | {"JAX_NUM_CPU_DEVICES": asked, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) == count


def test_a_count_that_is_none_is_refused(monkeypatch):
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "many")
    with pytest.raises(ValueError, match="JAX_NUM_CPU_DEVICES='many' is not a number"):
        devices.use_all_cores()


def test_a_platform_that_is_not_there_is_told_of():
    code = "from nnlab.machine import devices; print(*devices.check(), sep='|')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"JAX_PLATFORMS": "nothing"},
        capture_output=True,
        text=True,
        check=True,
    )
    told, _, wrong = done.stdout.partition("|")
    assert told == "no device"
    assert wrong.startswith(
        "JAX cannot start: JAX_PLATFORMS='nothing', but here it has"
    )
    assert "cpu" in wrong


OTHERWISE = {
    "default_prng_impl": "rbg",
    "threefry_partitionable": False,
    "enable_x64": True,
    "numpy_dtype_promotion": "strict",
    "disable_jit": True,
    "debug_nans": True,
    "debug_infs": True,
    "transfer_guard": "disallow",
}


@pytest.mark.parametrize(("name", "value"), OTHERWISE.items(), ids=OTHERWISE)
def test_settings_of_a_notebook_are_left_alone_and_change_nothing_within(name, value):
    def numbers():
        x = jnp.log(jnp.arange(3) - np.float32(1))  # NaN, infinite, finite
        return np.asarray(jax.jit(jnp.add)(x, jax.random.normal(jax.random.key(0))))

    with devices.pinned():
        expected = numbers()
    with devices.setting(name, value):
        before = jax.config.values.copy()
        with devices.pinned():
            found = numbers()
        assert jax.config.values == before
    np.testing.assert_array_equal(found, expected, strict=True)


def test_what_else_changes_numbers_is_noted(monkeypatch):
    count = "--xla_force_host_platform_device_count=2"
    monkeypatch.setenv("XLA_FLAGS", f"{count} --xla_cpu_enable_fast_math=true")
    with jax.default_matmul_precision("highest"):
        noted = devices.settings()
    assert noted["XLA_FLAGS"] == "--xla_cpu_enable_fast_math=true"
    assert noted["jax_default_matmul_precision"] == "highest"
    assert noted["jax_default_prng_impl"] == "threefry2x32"
