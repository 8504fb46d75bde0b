# SPDX-License-Identifier: Apache-2.0
"""What trains: readies JAX for all cores of a machine, and says which device it got.

JAX is imported where it is asked, not before: what readies it must come first.
"""

import contextlib
import glob
import os
import shutil
import sys
from collections.abc import Mapping

from nnlab import names

ACCELERATORS = ("gpu", "tpu")
PLATFORMS = ("cpu", *ACCELERATORS)

_REMEDIES = {
    "gpu": 'pip install -U "jax[cuda13]" (or "jax[cuda12]" with an older driver)',
    "tpu": 'pip install -U "jax[tpu]"',
}


LEAST_CPU_DEVICES = 2
"""XLA compiles a program for one device by other passes than one for several, which
simplify divisions in another order: Adam's steps and batch norm then end with other
bits. So there are always several, on one core too."""


def use_all_cores(cores: int = 0) -> None:
    """Makes one JAX device for each CPU core; call it before JAX's first use.

    JAX_NUM_CPU_DEVICES asks for more or fewer, but never for fewer than
    `LEAST_CPU_DEVICES`. Once JAX has found its devices, nothing changes any more.

    Args:
      cores: how many, where JAX_NUM_CPU_DEVICES does not say; 0 for all of this
        process.

    Raises:
      ValueError: JAX_NUM_CPU_DEVICES is no number.
    """
    asked = os.environ.get("JAX_NUM_CPU_DEVICES") or str(cores or num_cores())
    if not asked.isdecimal():
        raise ValueError(f"JAX_NUM_CPU_DEVICES={asked!r} is not a number of devices")
    count = max(int(asked), LEAST_CPU_DEVICES)
    os.environ["JAX_NUM_CPU_DEVICES"] = str(count)
    if "jax" in sys.modules:  # it has read its environment
        import jax

        with contextlib.suppress(RuntimeError):  # and found its devices
            jax.config.update("jax_num_cpu_devices", count)


def num_cores() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def expected(environment: Mapping[str, str] = os.environ) -> str:
    """The platform that this machine seems to be meant for, without asking JAX.

    Args:
      environment: variables; JAX_PLATFORMS decides, else those that hosted notebooks
        set for their accelerators.

    Returns:
      One of `PLATFORMS`.
    """
    asked = environment.get("JAX_PLATFORMS", "").lower().split(",")[0]
    if asked:
        asked = {"cuda": "gpu", "rocm": "gpu"}.get(asked, asked)
        return asked if asked in PLATFORMS else "cpu"
    of_tpu = ("COLAB_TPU_ADDR", "TPU_NAME", "TPU_ACCELERATOR_TYPE")
    if any(environment.get(name) for name in of_tpu) or glob.glob("/dev/accel*"):
        return "tpu"
    if shutil.which("nvidia-smi") and os.path.exists("/dev/nvidiactl"):
        return "gpu"
    return "cpu"


def check(wanted: str | None = None) -> tuple[str, str]:
    """Which device JAX got, and whether that is the one that was wanted.

    Args:
      wanted: one of `PLATFORMS`; what `expected` says if None.

    Returns:
      The device in words, such as "8 TPU devices (TPU v5 lite)"; and what is wrong with
      it and how it is mended, "" if nothing is.

    Raises:
      ValueError: an unknown platform.
    """
    if wanted is not None and wanted not in PLATFORMS:
        raise ValueError(
            f"unknown platform {wanted!r}{names.nearest(wanted, PLATFORMS)}"
        )
    wanted = wanted or expected()
    use_all_cores()
    import jax

    try:
        devices = jax.local_devices()
    except RuntimeError as error:
        line = str(error).splitlines()[0]
        return "no device", f"JAX cannot start: {line}. {_remedy(wanted)}"
    found, kind = devices[0].platform, devices[0].device_kind
    if found not in PLATFORMS:
        found = "gpu"  # "cuda", "rocm"
    told = f"{len(devices)} {found.upper()} device{'s' * (len(devices) != 1)}"
    if kind.lower() != found:
        told += f" ({kind})"
    if found == "cpu" and wanted in ACCELERATORS:
        return told, (
            f"A {wanted.upper()} was asked for, but JAX found only the CPU: training "
            f"will be many times slower. {_remedy(wanted)}"
        )
    if found == "cpu" and len(devices) < max(num_cores(), LEAST_CPU_DEVICES):
        return told, (
            f"JAX was in use before nnlab could give it all {num_cores()} cores: "
            "restart the kernel, and begin with this."
        )
    return told, ""


def _remedy(wanted: str) -> str:
    """How JAX gets its accelerator."""
    if wanted not in _REMEDIES:
        return "Unset JAX_PLATFORMS, or set it to cpu."
    return f"Install its support, {_REMEDIES[wanted]}, and restart the kernel."
