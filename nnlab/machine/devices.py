# SPDX-License-Identifier: Apache-2.0
"""Prepares JAX for all cores of this machine, and says which device it got.

nnlab uses JAX only within `pinned`. The functions import JAX themselves, because
`use_all_cores` must run before it.
"""

import contextlib
import glob
import os
import pathlib
import platform
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from nnlab.machine import files
from nnlab.words import spelling

if TYPE_CHECKING:
    import jax

ACCELERATORS = ("gpu", "tpu")
PLATFORMS = ("cpu", *ACCELERATORS)

PINNED: Mapping[str, Any] = {
    "default_prng_impl": "threefry2x32",
    "threefry_partitionable": True,
    "enable_x64": False,
    "numpy_dtype_promotion": "standard",
    "disable_jit": False,
    "debug_nans": False,
    "debug_infs": False,
    "transfer_guard": "allow",
}
"""JAX's settings that change numbers or stop a computation."""
VARIABLES = ("XLA_FLAGS", "LIBTPU_INIT_ARGS", "NVIDIA_TF32_OVERRIDE")
"""Environment variables that JAX's compilers read; they may change numbers too."""
_CHANGE_NOTHING = ("--xla_force_host_platform_device_count", "--xla_dump")

_REMEDIES = {
    "gpu": 'pip install -U "jax[cuda13]" (or "jax[cuda12]" with an older driver)',
    "tpu": 'pip install -U "jax[tpu]"',
}


LEAST_CPU_DEVICES = 2
"""XLA optimizes for one device differently from several: it simplifies divisions in
another order, so that Adam and batch norm give other bits. So there are always several
devices, even on one core."""


def use_all_cores(cores: int = 0) -> None:
    """Makes one JAX device for each CPU core; call it before JAX's first use.

    JAX_NUM_CPU_DEVICES sets another number, of at least `LEAST_CPU_DEVICES`. Once JAX
    has found its devices, this changes nothing.

    Args:
      cores: number of cores, unless JAX_NUM_CPU_DEVICES is set; 0 for all cores of this
        process.

    Raises:
      ValueError: JAX_NUM_CPU_DEVICES is not a number, or JAX refuses its environment.
    """
    asked = os.environ.get("JAX_NUM_CPU_DEVICES") or str(cores or num_cores())
    if not asked.isdecimal():
        raise ValueError(f"JAX_NUM_CPU_DEVICES={asked!r} is not a number of devices")
    count = max(int(asked), LEAST_CPU_DEVICES)
    os.environ["JAX_NUM_CPU_DEVICES"] = str(count)
    jax = _jax()  # may have been imported, and so have read its environment, before
    with contextlib.suppress(RuntimeError):  # if it has found its devices
        jax.config.update("jax_num_cpu_devices", count)
    programs = jax.config.jax_compilation_cache_dir
    if programs and "://" not in programs:
        folder = files.absolute(programs, "JAX_COMPILATION_CACHE_DIR")
        jax.config.update("jax_compilation_cache_dir", str(folder))


def _jax() -> ModuleType:
    try:
        import jax
    except ValueError as error:  # such as JAX_ENABLE_X64=maybe
        raise ValueError(f"JAX cannot start: {error}") from None
    return jax


@contextlib.contextmanager
def pinned() -> Iterator[None]:
    """Sets JAX to `PINNED` while the context lasts, whatever else was set.

    Raises:
      ValueError: JAX has no device; the message names JAX_PLATFORMS.
    """
    _local_devices()
    with contextlib.ExitStack() as stack:
        for name, value in PINNED.items():
            stack.enter_context(setting(name, value))
        yield


def setting(name: str, value: Any) -> contextlib.AbstractContextManager[Any]:
    """Returns a context that sets one of JAX's settings, such as "enable_x64"."""
    place = _jax()
    if not hasattr(place, name):  # where "enable_x64" was before JAX 0.8
        import jax.experimental as place
    found: contextlib.AbstractContextManager[Any] = getattr(place, name)(value)
    return found


def settings() -> dict[str, Any]:
    """Returns all settings that change JAX's numbers, except versions and devices."""
    found = {f"jax_{name}": value for name, value in PINNED.items()}
    precision = "jax_default_matmul_precision"
    found[precision] = getattr(_jax().config, precision)
    for name in VARIABLES:
        words = os.environ.get(name, "").split()
        found[name] = " ".join(w for w in words if not w.startswith(_CHANGE_NOTHING))
    return found


def _local_devices() -> list[Any]:
    jax = _jax()
    try:
        found: list[Any] = jax.local_devices()
        return found
    except (RuntimeError, AssertionError) as error:  # AssertionError: no device left
        line = str(error).partition(" (set JAX_PLATFORMS")[0]
    from jax.extend import backend

    line = " ".join(line.split()).removesuffix(".")
    if asked := jax.config.jax_platforms:
        jax.config.update("jax_platforms", None)
        try:
            there = ", ".join(backend.backends())
        finally:
            backend.clear_backends()
            jax.config.update("jax_platforms", asked)
        why = f": {line}" if line else ""
        line = f"JAX_PLATFORMS={asked!r}, but here it has {there}{why}"
    raise ValueError(f"JAX cannot start: {line}")


def num_cores() -> int:
    """Returns the number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def expected(environment: Mapping[str, str] = os.environ) -> str:
    """Guesses which of `PLATFORMS` this machine is meant for; does not start JAX.

    JAX_PLATFORMS decides if it is set, else the variables that hosted notebooks set for
    their accelerators.
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


def trains_on() -> tuple[str, int]:
    """Returns one of `PLATFORMS`, and how many devices of it JAX has here.

    Raises:
      ValueError: JAX has no device; the message names JAX_PLATFORMS.
    """
    devices = _local_devices()
    platform = devices[0].platform
    return platform if platform in PLATFORMS else "gpu", len(devices)  # "cuda", "rocm"


def check(wanted: str | None = None) -> tuple[str, str]:
    """Checks whether JAX got the wanted device.

    Args:
      wanted: one of `PLATFORMS`; None for what `expected` returns.

    Returns:
      The device in words, such as "8 TPU devices (TPU v5 lite)"; and what is wrong with
      it, with the remedy, or "".

    Raises:
      ValueError: an unknown platform.
    """
    if wanted is not None and wanted not in PLATFORMS:
        raise ValueError(
            f"unknown platform {wanted!r}{spelling.nearest(wanted, PLATFORMS)}"
        )
    wanted = wanted or expected()
    use_all_cores()
    try:
        found, count = trains_on()
    except ValueError as error:
        return "no device", f"{error}. {_remedy(wanted)}"
    told = f"{count} {found.upper()} device{'s' * (count != 1)}"
    if (kind := _local_devices()[0].device_kind).lower() != found:
        told += f" ({kind})"
    if found == "cpu" and wanted in ACCELERATORS:
        return told, (
            f"A {wanted.upper()} was asked for, but JAX found only the CPU: training "
            f"will be many times slower. {_remedy(wanted)}"
        )
    if found == "cpu" and count < max(num_cores(), LEAST_CPU_DEVICES):
        return told, (
            f"JAX was in use before nnlab could give it all {num_cores()} cores: "
            "restart the kernel and run this cell first."
        )
    return told, ""


def _remedy(wanted: str) -> str:
    """Says what to install for an accelerator."""
    if wanted not in _REMEDIES:
        return "Unset JAX_PLATFORMS, or set it to cpu."
    return f"Install its support, {_REMEDIES[wanted]}, and restart the kernel."


def device_memory(device: "jax.Device") -> int:
    """Returns a device's memory in bytes; for a CPU the machine's; 0 if unknown."""
    if device.platform == "cpu":
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int((device.memory_stats() or {}).get("bytes_limit", 0))


def device_kind() -> str:
    """Returns the model of the device, or of the processor."""
    jax = _jax()
    if jax.default_backend() != "cpu":
        return str(jax.local_devices()[0].device_kind)
    return processor()


def processor() -> str:
    """Returns the model of the processor; does not start JAX."""
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    found = re.search(r"model name\s*:\s*(.+)", text)
    return found.group(1).strip() if found else platform.machine()


def peak_bytes() -> int:
    """Returns the peak memory in bytes, of JAX's devices or of a CPU process."""
    jax = _jax()
    if jax.local_devices()[0].platform != "cpu":
        stats = [d.memory_stats() or {} for d in jax.local_devices()]
        return sum(int(s.get("peak_bytes_in_use", 0)) for s in stats)
    return peak_resident_bytes()


def peak_resident_bytes() -> int:
    """Returns the peak resident memory of this process; does not start JAX."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
