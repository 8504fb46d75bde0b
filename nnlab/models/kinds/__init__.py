# SPDX-License-Identifier: Apache-2.0
"""Every kind of layer; a new one is an entry in `KINDS` of a file here."""

import importlib
import pkgutil

from nnlab.models.kind import Kind
from nnlab.models.kinds.elementwise import ACTIVATIONS


def _found() -> dict[str, Kind]:
    found: dict[str, Kind] = {}
    for one in pkgutil.iter_modules(__path__, f"{__name__}."):
        found |= importlib.import_module(one.name).KINDS
    return dict(sorted(found.items(), key=lambda one: (one[0] in ACTIVATIONS, one[0])))


KINDS = _found()
"""Name -> kind, of all files of this folder; activations come last."""
