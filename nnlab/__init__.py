# SPDX-License-Identifier: Apache-2.0
"""A laboratory for small neural networks; everything loads when first used.

`run` trains a study, `define` makes one from plain values, `load` reads what a run
found, `load_network` one of its networks; see `nnlab.api`.
"""

import importlib
import importlib.metadata
from typing import Any

try:
    import fcntl  # noqa: F401
    import resource  # noqa: F401
except ImportError:
    raise ImportError(
        "nnlab needs the file locks of Linux or macOS; on Windows it runs in WSL, the "
        "Windows Subsystem for Linux: 'wsl --install', then install nnlab there",
        name="nnlab",
    ) from None

SUBMODULES = (
    "answer",
    "api",
    "artifacts",
    "baselines",
    "builder",
    "building",
    "cells",
    "checked",
    "checkpoint",
    "chunks",
    "cluster",
    "cohorts",
    "compare",
    "costs",
    "data",
    "devices",
    "display",
    "executor",
    "experiment",
    "figures",
    "files",
    "gradients",
    "halving",
    "interrupt",
    "listing",
    "looking",
    "looks",
    "metrics",
    "mistakes",
    "models",
    "names",
    "needs",
    "network",
    "notebook",
    "optim",
    "own",
    "placing",
    "plan",
    "population",
    "prepare",
    "processes",
    "provenance",
    "rates",
    "recorder",
    "report",
    "rerun",
    "results",
    "resume",
    "rows",
    "scaling",
    "search",
    "sections",
    "statistics",
    "storage",
    "study",
    "sweep",
    "swept",
    "tensorboard",
    "texts",
    "train",
    "training",
    "transfer",
    "tuning",
    "watching",
)

SHORT = {
    "Dataset": "data",
    "Study": "study",
    "define": "api",
    "find_rate": "api",
    "load": "api",
    "load_network": "api",
    "run": "api",
}
"""What is at hand without its submodule's name, and where it is."""

try:
    __version__ = importlib.metadata.version("nnlab")
except importlib.metadata.PackageNotFoundError:  # a checkout that is not installed
    __version__ = "unknown"


def __getattr__(name: str) -> Any:
    if name in SUBMODULES:
        return importlib.import_module(f"nnlab.{name}")
    if name in SHORT:
        return getattr(importlib.import_module(f"nnlab.{SHORT[name]}"), name)
    raise AttributeError(f"module 'nnlab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*SUBMODULES, *SHORT, "__version__"]
