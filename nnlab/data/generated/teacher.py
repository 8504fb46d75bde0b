# SPDX-License-Identifier: Apache-2.0
"""A random network as teacher: can another one learn what it computes?"""

import zlib

import numpy as np

from nnlab.data.dataset import Dataset

_KEY = zlib.crc32(b"teacher")
_EXAMPLES = 6_000


def teacher(width: int, dimensions: int = 20) -> Dataset:
    """Makes 6,000 examples of a random network's output, a regression.

    Inputs x are standard normal, float32 (N, D). The target is sqrt(2 / width) times
    the sum over its units of a ReLU(w x / sqrt(D)), with standard normal weights a and
    w, (D,). Its mean square is 1 over many teachers, and may be far from 1 for one.
    """
    if not 1 <= width <= 2_000:
        raise ValueError(f"WIDTH={width} is out of range; allowed: 1 to 2,000")
    if not 1 <= dimensions <= 10_000:
        raise ValueError(
            f"DIMENSIONS={dimensions} is out of range; allowed: 1 to 10,000"
        )
    draws = np.random.default_rng([_KEY, width, dimensions])
    inner = draws.standard_normal((dimensions, width)) / np.sqrt(dimensions)
    outer = draws.standard_normal(width) * np.sqrt(2 / width)
    inputs = draws.standard_normal((_EXAMPLES, dimensions)).astype(np.float32)
    # Not by BLAS, whose last digits differ between machines and numbers of threads.
    hidden = np.maximum(np.einsum("nd,dw->nw", inputs.astype(float), inner), 0)
    targets = np.einsum("nw,w->n", hidden, outer)
    return Dataset.from_arrays(
        inputs, targets, class_names=("output",), task="regression"
    )
