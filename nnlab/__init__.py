# SPDX-License-Identifier: Apache-2.0
"""A laboratory for small neural networks. Submodules load when first used.

`run` trains a study, `define` makes one from plain values, `load` reads what a run
found, `load_network` one of its networks; see `nnlab.api`.
"""

import importlib
import pkgutil
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

SUBMODULES = tuple(sorted(found.name for found in pkgutil.iter_modules(__path__)))

SHORT = {
    "Dataset": "data",
    "Study": "study",
    "define": "api",
    "find_rate": "api",
    "load": "api",
    "load_network": "api",
    "notebook": "watch",
    "run": "api",
}
"""The names that `nnlab` offers directly, and the module that defines each."""

__version__ = "0.1.0"
"""pyproject.toml reads it; CITATION.cff and the README name it, too."""


def __getattr__(name: str) -> Any:
    if name in SUBMODULES:
        return importlib.import_module(f"nnlab.{name}")
    if name in SHORT:
        return getattr(importlib.import_module(f"nnlab.{SHORT[name]}"), name)
    raise AttributeError(f"module 'nnlab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*SUBMODULES, *SHORT, "__version__"]
