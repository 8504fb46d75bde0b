# SPDX-License-Identifier: Apache-2.0
"""What a program finds when it starts, seen to before anything large is imported."""

import os
import sys

from nnlab import mistakes


def check() -> None:
    """Refuses limits within which NumPy or JAX would abort, with status 2.

    It also opens what is closed of the three standard streams: otherwise the next
    files would get their numbers, and what libraries print would go into those.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
    for limit in mistakes.LIMITS:
        if limit.allowed < limit.least:
            need = f"{limit.least} {limit.what}"
            print(f"error: a run needs {need}: {limit}", file=sys.stderr)
            sys.exit(2)
