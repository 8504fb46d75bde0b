# SPDX-License-Identifier: Apache-2.0
"""Addition modulo P, the task on which networks were seen to generalise late.

Power et al. (2022), "Grokking: generalization beyond overfitting on small algorithmic
datasets", https://arxiv.org/abs/2201.02177.
"""

from typing import Any

import numpy as np

from nnlab.data.dataset import Dataset, Split, canonical, digest_of
from nnlab.data.splits import divided

_MOST = 1_000  # a million pairs


def modular_addition(p: int, train_share: float = 0.5) -> Dataset:
    """Makes all pairs of tokens (a, b) below P, int32 (N, 2), of class a + b modulo P.

    `train_share` of the P^2 pairs are for training, of each class as many; of the
    others one half is for validation, one for testing.
    """
    if not 3 <= p <= _MOST:
        raise ValueError(f"P={p} is out of range; allowed: 3 to {_MOST:,}")
    if not 0 < train_share < 1:
        raise ValueError(f"TRAIN_SHARE={train_share:g} must be above 0 and below 1")
    pairs = np.indices((p, p), np.int32).reshape(2, -1).T.copy()
    inputs, labels = canonical(pairs, (pairs.sum(axis=1) % p).astype(np.int32))
    train = round(train_share * len(labels))
    test = (len(labels) - train) // 2
    sizes = {"train": train, "validation": len(labels) - train - test, "test": test}
    names = tuple(map(str, range(p)))
    parts: dict[str, Any] = {
        name: Split(*canonical(inputs[at], labels[at]))
        for name, at in divided(labels, sizes, names).items()
    }
    return Dataset(
        name="modular_addition",
        **parts,
        class_names=names,
        scale=1.0,
        digest=digest_of(**parts),
        vocabulary=p,
    )
