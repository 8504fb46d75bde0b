# SPDX-License-Identifier: Apache-2.0
"""A program describes itself, and the slowest has the most work."""

import tiny

from nnlab.training.prepare import networks, prepare
from nnlab.training.program import TreeProgram
from nnlab.training.trees import library

TREES = {"model.name": "boosted_trees", "model.num_trees": 7}


def test_trees_are_programs_of_their_own_that_are_no_networks():
    study = tiny.study([{}, TREES, {**TREES, "model.num_trees": 9}], num_seeds=3)
    network, trees, others = prepare(study, dataset=tiny.dataset())
    assert isinstance(trees, TreeProgram)
    assert isinstance(others, TreeProgram)
    assert networks(study, dataset=tiny.dataset())[0].members == network.members
    assert trees.num_examples == 3 * tiny.SIZES["train"]
    record = trees.to_dict()
    assert (record["parameters"], record["num_steps"]) == (None, 7)
    assert record["library"] == " ".join(library("boosted_trees"))
    assert trees.work < network.work


def test_what_takes_longest_has_the_most_work():
    sweep = [{"batch_size": 1}, {"batch_size": 100}, {"model.hidden": (512,)}]
    one, hundred, wide = networks(tiny.study(sweep), dataset=tiny.dataset())
    assert hundred.work < one.work  # a hundred times as many steps
    assert wide.rows[1].flops == 64 * hundred.rows[1].flops
    usual = networks(tiny.study(), dataset=tiny.dataset())[0]
    assert usual.work < wide.work
