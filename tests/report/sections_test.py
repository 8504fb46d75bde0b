# SPDX-License-Identifier: Apache-2.0
"""Sections say of claims, trials and losses what the tables say, in words."""

import dataclasses

import numpy as np
import pytest
import synthetic

from nnlab import study
from nnlab.report import sections
from nnlab.statistics.findings import Findings
from nnlab.study import Claim, Quantity

RATE = "optimizer.learning_rate"
RATES = [{RATE: r} for r in (0.02, 0.7, 3.0)]


def rows_of(section):
    (table,) = section.tables
    return [dict(zip(table.header, row)) for row in table.rows]


def test_missing_says_where_members_diverged():
    found = synthetic.results(diverged={(3, 0): 2, (3, 5): 4}, never_ran=[1])
    section = sections.missing(Findings(found), {})
    assert "Not run: learning rate 0.015." in section.items
    ((trial, lost, steps, layers, norms),) = section.tables[0].rows
    assert (trial, lost) == ("3.2", "2 of 8")
    assert (steps, layers) == ("104 to 174", "dense_1 (2)")
    assert "dense_1 1e+08" in norms


def test_comparison_shows_paired_drops_and_the_steps_used():
    test = np.array([[0.9, 0.8, 0.7], [0.6, 0.7, 0.8]])
    found = synthetic.results(
        {"test_accuracy": test, "test_moved_accuracy": test - 0.25},
        sweep=RATES[:2],
        stopped={(0, s): 4 + s for s in range(3)},
        base=study.Hyperparameters(early_stopping=study.EarlyStopping(patience=2)),
        fields={"test_sets": {"moved_pixels": 1}},
    )
    rows = rows_of(sections.comparison(Findings(found)))
    assert [r["moved, %"] for r in rows] == ["55 ± 25", "45 ± 25"]
    assert [r["drop, moved, points"] for r in rows] == ["25.0 ± 0.0", "25.0 ± 0.0"]
    assert [r["median steps used"] for r in rows] == ["175", "350"]  # 5 and 10 x 35
    best = np.median(found.member(1, "best_step"))
    assert rows[1]["median best step"] == f"{best:,.0f}"


def test_comparison_says_what_was_not_tested_and_over_how_many_pairs():
    lost = {(0, s): 2 for s in range(6)} | {(1, s): 2 for s in range(2)}
    lost |= {(2, s): 2 for s in range(7)}
    found = synthetic.results(diverged=lost)
    section = sections.comparison(Findings(found))
    rows = rows_of(section)
    assert [r["pairs"] for r in rows] == ["2", "6", "1", ""]
    assert [r["significant"] == "not tested" for r in rows] == [
        True,
        False,
        True,
        False,
    ]
    assert "±" not in rows[0]["test accuracy, %"] + rows[0]["test, points to best"]
    assert "±" in rows[1]["test accuracy, %"]
    said = " ".join(section.paragraphs)
    assert "Not tested: where more than a quarter of the pairs" in said
    assert "fewer than 3 such seeds has no interval" in said
    whole = " ".join(sections.comparison(synthetic.findings()).paragraphs)
    assert "Not tested:" not in whole
    assert "fewer than 3" not in whole
    assert "All else is described, not tested" in whole


def test_notes_say_what_p_was_adjusted_over():
    claim = Claim(
        text="x", quantity=Quantity(metric="test_accuracy"), left={}, right="chance"
    )
    alone = sections.comparison(synthetic.findings(sweep=RATES)).paragraphs
    both = synthetic.results(sweep=RATES, claims=[claim])
    single = synthetic.results(sweep=[{}], claims=[claim])
    said = {
        "comparison": " ".join(sections.comparison(Findings(both)).paragraphs),
        "claims": " ".join(sections.claims(Findings(both)).paragraphs),
    }
    for text in said.values():
        assert "Holm" in text
        assert "and doubled" in text
        assert "at most 2.5 % of reports" in text
    for text in (" ".join(alone), *sections.claims(Findings(single)).paragraphs):
        assert "doubled" not in text
        assert "at most 5 % of reports" in text


QUANTITIES = [
    (("test_accuracy", "final", {}), "final test accuracy"),
    (("test_loss", "best", {}), "best test loss"),
    (("test_accuracy", "at_epoch", {"epoch": 3}), "test accuracy at epoch 3"),
    (("test_accuracy", "at_step", {"step": 2857}), "test accuracy at 2,857 updates"),
    (
        ("validation_accuracy", "steps_to", {"target": 0.95}),
        "updates to 95 % validation accuracy",
    ),
    (("train_loss", "steps_to", {"target": 0.1}), "updates to a train loss of 0.1"),
    (("", "steps", {}), "updates until training ended"),
    (
        ("test_moved_accuracy", "drop_from_test", {}),
        "test accuracy minus moved test accuracy, both final",
    ),
    (("", "diverged_share", {}), "share of seeds that diverge"),
    (("", "seconds", {}), "seconds of training for an epoch"),
]


@pytest.mark.parametrize(("given", "text"), QUANTITIES)
def test_claims_say_in_words_what_is_compared(given, text):
    metric, reduction, more = given
    quantity = Quantity(metric=metric, reduction=reduction, **more)
    claim = Claim(
        text="x", quantity=quantity, left={RATE: 0.7}, right={}, relation="less"
    )
    found = synthetic.results(sweep=RATES, claims=[claim])
    (row,) = rows_of(sections.claims(Findings(found)))
    assert row["compared"] == f"{text}: left is less"
    same = {"relation": "same", "margin": 0.01, "among": "best"}
    found = synthetic.results(sweep=RATES, claims=[dataclasses.replace(claim, **same)])
    (row,) = rows_of(sections.claims(Findings(found)))
    share = metric.endswith("accuracy") and reduction != "steps_to"
    margin = "1 point" if share or reduction.endswith("share") else "0.01"
    assert row["compared"] == (
        f"{text}, between the best trials of both sides: both are the same within "
        f"{margin}"
    )


def test_a_claim_of_two_quantities_names_both():
    claim = Claim(
        text="x",
        quantity=Quantity(metric="test_accuracy", reduction="at_epoch", epoch=3),
        left={RATE: 0.7},
        right={RATE: 0.7},
        right_quantity=Quantity(metric="train_accuracy"),
    )
    found = synthetic.results(sweep=RATES, claims=[claim])
    (row,) = rows_of(sections.claims(Findings(found)))
    assert row["compared"] == (
        "test accuracy at epoch 3 on the left, final train accuracy on the right: left "
        "is greater"
    )


def test_a_side_of_a_claim_says_of_how_many_trials_it_is_the_mean():
    claim = Claim(
        text="x",
        quantity=Quantity(metric="test_accuracy"),
        left={"dataset": "digits"},
        right={RATE: 0.02},
    )
    for among, start in (("mean", "digits (mean of 3 trials): "), ("best", "0.7: ")):
        claims = [dataclasses.replace(claim, among=among)]
        found = synthetic.results(sweep=RATES, claims=claims)
        (row,) = rows_of(sections.claims(Findings(found)))
        assert row["left"].startswith(start)
        assert row["right"].startswith("0.02: ")
