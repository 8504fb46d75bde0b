# SPDX-License-Identifier: Apache-2.0
"""Networks by name: their shapes and published sizes."""

import dataclasses

import numpy as np
import pytest
import tiny

from nnlab.data import Dataset
from nnlab.models import layers, networks
from nnlab.training.prepare import networks as prepared


def parameters(rows):
    return sum(row.parameters for row in rows)


def test_vgg_13_has_its_published_parameters():
    """133 million, table 2 of Simonyan and Zisserman (2015)."""
    chosen = networks.vgg((64, 128, 256, 512, 512), (4096, 4096), 1000)
    rows = layers.check(chosen, (224, 224, 3), 1000)
    assert parameters(rows) == 133_047_848
    kinds = [row.layer["layer"] for row in rows]
    assert kinds[:5] == ["conv", "relu", "conv", "max_pool", "relu"]


@pytest.mark.parametrize("hidden", [(), (5,), (5, 5, 7)])
def test_a_resmlp_has_a_block_for_each_layer(hidden):
    chosen = networks.resmlp(hidden, 3, batch_norm=True, dropout=True)
    rows = layers.check(chosen, (2, 2, 1), 3)
    blocks = [row for row in rows if row.layer["layer"] == "residual"]
    assert [row.output_shape for row in blocks] == [(units,) for units in hidden]
    if hidden == (5, 5, 7):  # the last block projects, without a bias
        assert [row.parameters for row in blocks] == [40, 40, 10 + 42 + 35]
        parts = [row.layer["layer"] for row in blocks[0].inner]
        assert parts == ["batch_norm", "relu", "dense", "dropout"]


def test_a_transformer_refuses_images():
    with pytest.raises(ValueError, match=r"\(8, 8, 1\), needs tokens"):
        networks.transformer((8, 8, 1), 3, vocabulary=0, features=4, depth=1, heads=2)


TOKENS = np.random.default_rng(0).integers(0, 9, (60, 4))
LABELS = TOKENS[:, 0] % 3


def test_tokens_are_kept_and_every_network_by_name_reads_them():
    dataset = Dataset.from_arrays(TOKENS, LABELS, tokens=True)
    assert (dataset.vocabulary, dataset.train.inputs.dtype) == (9, np.int32)
    every = [getattr(dataset, name) for name in ("train", "validation", "test")]
    rows = np.concatenate([split.inputs for split in every])
    assert sorted(rows.tolist()) == sorted(TOKENS.tolist())
    base = tiny.study().base
    for name, first in (("mlp", "one_hot"), ("transformer", "embedding")):
        changes = {"model.name": name, "model.hidden": [8], "dataset": dataset.name}
        of = dataclasses.replace(tiny.study(), base=base.replace(changes))
        (program,) = prepared(of, dataset=dataset)
        assert program.rows[0].layer["layer"] == first
        assert program.recipe.tokens
    changes = {"standardize": True, "dataset": dataset.name}
    of = dataclasses.replace(tiny.study(), base=base.replace(changes))
    with pytest.raises(ValueError, match="standardize=True needs inputs that are numb"):
        prepared(of, dataset=dataset)
    for wrong in (TOKENS - 1, TOKENS / 2, TOKENS[:, 0]):
        with pytest.raises(ValueError, match="tokens"):
            Dataset.from_arrays(wrong, LABELS, tokens=True)
