# SPDX-License-Identifier: Apache-2.0
"""A laboratory for small neural networks; submodules load when first used."""

import importlib
import importlib.metadata
from types import ModuleType

SUBMODULES = (
    "answer",
    "artifacts",
    "baselines",
    "checked",
    "checkpoint",
    "cohorts",
    "costs",
    "data",
    "experiment",
    "figures",
    "gradients",
    "looking",
    "metrics",
    "models",
    "names",
    "optim",
    "placing",
    "plan",
    "population",
    "prepare",
    "provenance",
    "recorder",
    "report",
    "rerun",
    "results",
    "resume",
    "sections",
    "statistics",
    "study",
    "sweep",
    "swept",
    "texts",
    "train",
    "training",
    "transfer",
    "tuning",
)

try:
    __version__ = importlib.metadata.version("nnlab")
except importlib.metadata.PackageNotFoundError:  # a checkout that is not installed
    __version__ = "unknown"


def __getattr__(name: str) -> ModuleType:
    if name in SUBMODULES:
        return importlib.import_module(f"nnlab.{name}")
    raise AttributeError(f"module 'nnlab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*SUBMODULES, "__version__"]
