# SPDX-License-Identifier: Apache-2.0
"""Checks limits, streams and settings before a program imports anything large."""

import os
import sys

from nnlab.words import errors


def check() -> None:
    """Refuses limits within which NumPy or JAX would abort, with status 2.

    It also opens closed standard streams: otherwise the next files would get their
    numbers, and libraries would print into them. And it makes matplotlib ignore the
    user's settings, which may be broken: figures are nnlab's own.
    """
    os.environ["MATPLOTLIBRC"] = os.devnull
    os.environ.pop("MPLBACKEND", None)
    if not os.environ.get("HOME", "home"):  # as good as none: /.cache is nobody's
        del os.environ["HOME"]
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
    for limit in errors.LIMITS:
        if limit.allowed < limit.least:
            need = f"{limit.least} {limit.what}"
            print(f"error: a run needs {need}: {limit}", file=sys.stderr)
            sys.exit(2)
