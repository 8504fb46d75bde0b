# SPDX-License-Identifier: Apache-2.0
"""The tables of programs: what they cost and how they ran."""

import dataclasses

import numpy as np
import synthetic
from shown import RATE, rows_of

from nnlab.report import costs, sections, trials
from nnlab.statistics.findings import Findings
from nnlab.words import numbers


def test_costs_stand_side_by_side():
    values = np.array([0.9, 0.91, 0.95])[:, None] + 0.001 * np.array([-1, 0, 1])
    found = synthetic.findings(
        values,
        sweep=[
            {"model.hidden": (8,), RATE: 0.1},
            {"model.hidden": (8,), RATE: 0.2},
            {"model.hidden": (16,), RATE: 0.1},
        ],
        seconds={0: (0.01,) * 3, 1: (0.5,) * 3},
        fields={"figures": ("costs",)},
    )
    narrow, wide = rows_of(costs.costs(found))
    expected = {
        # 35 steps of 32 examples in 0.01 s and in 0.5 s, three epochs of them.
        "training examples/s": ("112,000", "2,240"),
        "training, s an epoch": ("0.01", "0.5"),
        "training, s in all": ("0.03", "1.5"),
        "parameters": ("530", "1,050"),
        "operations an example": ("1.02 k", "2.05 k"),
        "inferences/s": ("4,000,000", "4,000,000"),
        "inferences/s, batch 1": ("50,000", "50,000"),
        "test accuracy, %": ("91.0 ± 0.2", "95.0 ± 0.2"),  # of the better of its trials
        "accuracies of": tuple(trials.trial_name(found.results, t) for t in (1, 2)),
        "seeds": ("3", "3"),
    }
    assert {h: (narrow[h], wide[h]) for h in expected} == expected


def test_costs_say_over_how_many_seeds_an_accuracy_is():
    lost = {(1, 0): 2, **{(0, s): 2 for s in range(4)}}
    found = synthetic.results(
        sweep=[{"model.hidden": (h,)} for h in (8, 16)],
        num_seeds=4,
        diverged=lost,
        fields={"figures": ("costs",)},
    )
    assert [r["seeds"] for r in rows_of(costs.costs(Findings(found)))] == ["0", "3"]


def test_trees_have_no_parameters_no_lanes_and_no_updates_in_the_tables():
    sweep = [{}, {"model.hidden": (16,)}, {"model.name": "boosted_trees"}]
    fields = {"figures": ("costs",)}
    found = synthetic.results(sweep=sweep, fields=fields, target=0.5)
    network, _, trees = rows_of(sections.comparison(Findings(found)))
    assert (network["parameters"], trees["parameters"]) == ("4,170", numbers.NONE)
    (time, reached) = (c for c in trees if c.startswith(("median epochs", "reached")))
    assert trees[time] == trees[reached] == numbers.NONE
    assert network[reached] == "8 of 8"
    assert [r["parameters"] for r in rows_of(costs.costs(Findings(found)))][
        2
    ] == numbers.NONE
    how = costs.how(Findings(found))
    program = dict(zip(how.tables[1].header, how.tables[1].rows[2]))
    assert (program["parameters"], program["lanes"]) == (
        numbers.NONE,
        "trees by xgboost",
    )
    assert "Of trees an epoch is a round" in how.paragraphs[0]
    alone = costs.how(synthetic.findings(sweep=sweep[:2]))
    assert "trees" not in alone.paragraphs[0]


def test_a_backbone_is_among_the_facts():
    found = synthetic.results(num_trials=1)
    about = {
        "dataset": "mnist",
        "train_examples": 12_000,
        "num_epochs": 1,
        "batch_size": 64,
        "learning_rate": 0.001,
        "validation_accuracy": 0.1,
        "test_accuracy": 0.914,
    }
    backbones = [about, {"key": "resnet18.safetensors", "digest": "0" * 64}]
    found = dataclasses.replace(found, config=found.config | {"backbones": backbones})
    facts = costs.how(Findings(found)).tables[0].rows
    assert [value for name, value in facts if name == "backbone"] == [
        "trained on 12,000 examples of mnist, 1 epoch of Adam at rate 0.001, batch 64; "
        "there it has a test accuracy of 91.4 %. All seeds begin at it",
        "weights of resnet18.safetensors",
    ]
