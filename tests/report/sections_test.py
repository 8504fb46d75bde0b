# SPDX-License-Identifier: Apache-2.0
"""Sections on claims, trials and losses say what the tables say, in words."""

import dataclasses
import re

import numpy as np
import pytest
import synthetic
from answered import World
from null import draw_answers
from shown import RATE, RATES, rows_of

from nnlab import report, study
from nnlab.report import answer, sections
from nnlab.statistics.findings import Findings
from nnlab.study import Claim, Quantity
from nnlab.words import numbers

VALIDATION = "validation_accuracy"
FINAL = Quantity(metric="test_accuracy")
CLAIM = Claim(text="x", quantity=FINAL, left={RATE: 0.7}, right={RATE: 0.02})


def claim_row(**changes):
    """Returns the row of one claim about three rates."""
    claim = dataclasses.replace(CLAIM, **changes)
    found = synthetic.findings(sweep=RATES, claims=[claim])
    (row,) = rows_of(sections.claims(found))
    return row


def test_missing_says_where_networks_diverged():
    found = synthetic.findings(diverged={(3, 0): 2, (3, 5): 4}, never_ran=[1])
    section = sections.missing(found, {})
    assert "Not run: learning rate 0.015." in section.items
    ((trial, lost, steps, layers, norms),) = section.tables[0].rows
    assert (trial, lost) == ("3.2", "2 of 8")
    assert (steps, layers) == ("104 to 174", "dense_1 (2)")
    assert "dense_1 1e+08" in norms


def test_missing_says_what_failed_and_how():
    widths = [{"model.hidden": (h,)} for h in (8, 16)]
    found = synthetic.findings(sweep=widths, never_ran=[1], failures={1: "OOM"})
    items = sections.missing(found, {}).items
    assert items == ("Failed: hidden 16. The program said: OOM",)


def test_comparison_shows_paired_drops_and_the_steps_used():
    test = np.array([[0.9, 0.8, 0.7], [0.6, 0.7, 0.8]])
    found = synthetic.findings(
        {"test_accuracy": test, "test_moved_accuracy": test - 0.25},
        sweep=RATES[:2],
        stopped={(0, s): 4 + s for s in range(3)},
        base=study.Hyperparameters(early_stopping=study.EarlyStopping(patience=2)),
        fields={"test_sets": {"moved_pixels": 1}},
    )
    rows = rows_of(sections.comparison(found))
    assert [r["moved, %"] for r in rows] == ["55 ± 25", "45 ± 25"]
    assert [r["drop, moved, points"] for r in rows] == ["25.0 ± 0.0", "25.0 ± 0.0"]
    assert [r["median steps used"] for r in rows] == ["175", "350"]  # 5 and 10 x 35
    best = np.median(found.results.member(1, "best_step"))
    assert rows[1]["median best step"] == f"{best:,.0f}"


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({}, ""),
        ({"patience": 2}, "by validation accuracy, whose parameters"),
        ({"patience": 2, "metric": "validation_loss"}, "by validation loss, whose par"),
    ],
)
def test_comparison_says_which_metric_stopped_networks(rule, told):
    base = study.Hyperparameters(early_stopping=study.EarlyStopping(**rule))
    said = " ".join(sections.comparison(synthetic.findings(base=base)).paragraphs)
    assert told in said
    assert ("whose parameters" in said) == bool(told)


def test_comparison_says_what_was_not_tested_and_over_how_many_pairs():
    lost = {(0, s): 2 for s in range(6)} | {(1, s): 2 for s in range(2)}
    lost |= {(2, s): 2 for s in range(7)}
    section = sections.comparison(synthetic.findings(diverged=lost))
    rows = rows_of(section)
    assert [r["pairs"] for r in rows] == ["2", "6", "1", ""]
    tested = [r["significant"] != "not tested" for r in rows]
    assert tested == [False, True, False, True]
    assert "±" not in rows[0]["test accuracy, %"]
    assert "±" not in rows[0]["test, points to best (interval adjusted like p)"]
    assert "±" in rows[1]["test accuracy, %"]
    whole = sections.comparison(synthetic.findings())
    for text in ("Not tested:", "fewer than 3"):
        assert text in " ".join(section.paragraphs)
        assert text not in " ".join(whole.paragraphs)


def test_tables_tell_seeds_from_examples_where_answers_are_kept():
    rng, p = np.random.default_rng(0), "p (over seeds alone)"
    found = Findings(draw_answers(World(8, 300, (0.9, 0.8, 0.9)), rng))
    bare = Findings(dataclasses.replace(found.results, each=None))
    for make in (sections.claims, sections.comparison):
        with_answers, without = make(found), make(bare)
        rows, others = rows_of(with_answers), rows_of(without)
        alone = [re.sub(r".*\((.*)\)", r"\1", r[p]) for r in rows]
        assert alone == [r["p (adjusted)"] for r in others]
        assert p not in others[0]
        assert "crossed design" in " ".join(with_answers.paragraphs)
        assert "p speaks of new seeds" in " ".join(without.paragraphs)
    reach = {r["n, over"] for r in rows_of(sections.claims(found))}
    assert reach == {"8 seeds and examples"}
    said = " ".join(report.content(found).answer)
    assert "over seeds and examples." in said


@pytest.mark.parametrize(
    ("rates", "claims", "doubled"),
    [(RATES, [CLAIM], True), (RATES, [], False), ([{RATE: 0.7}], [CLAIM], False)],
)
def test_notes_say_what_p_was_adjusted_over(rates, claims, doubled):
    fields = {"compare_trials": "yes"}
    found = synthetic.findings(sweep=rates, claims=claims, fields=fields)
    tables = [sections.comparison(found)] * (len(rates) > 1)
    tables += [sections.claims(found)] * bool(claims)
    for section in tables:
        text = " ".join(section.paragraphs)
        assert ("and doubled" in text) == doubled


@pytest.mark.parametrize(
    ("vary", "told"), [("init", r"\d+ seeds"), ("split", "no number of seeds")]
)
def test_of_splits_it_says_that_more_of_them_would_not_decide(vary, told):
    values = np.array([np.zeros(8), np.linspace(-0.01, 0.01, 8) + 0.003]) + 0.9
    sweep, fields = [{RATE: 0.02}, {RATE: 0.7}], {"vary": (vary,)}
    found = synthetic.findings(values, sweep=sweep, claims=[CLAIM], fields=fields)
    (row,) = rows_of(sections.claims(found))
    assert re.search(f"if it is as measured, {told} would decide it", row["remarks"])


def test_what_is_not_asked_is_shown_with_its_interval_and_called_nothing():
    rng = np.random.default_rng(0)
    values = np.array([[0.6], [0.9], [0.7]]) + 0.001 * rng.normal(size=(3, 8))
    found = synthetic.findings(values, sweep=RATES, claims=[CLAIM])
    section = sections.comparison(found)
    rows = rows_of(section)
    shown = [row["test, points to best (95 %)"] for row in rows]
    assert ["±" in text for text in shown] == [True, False, True]
    assert not {"significant", "p (adjusted)"} & set(rows[0])
    assert "described and not tested" in " ".join(section.paragraphs)
    assert "significant" not in " ".join(answer.sentences(found)).partition("claim")[0]


def test_a_ratio_is_shown_with_its_interval_and_an_order_without():
    norm = Quantity(metric="grad_norm_dense_0")
    claim = dataclasses.replace(CLAIM, quantity=norm)
    values = np.ones((3, 4)) + 0.001 * np.arange(4)
    values[1] = [300, 310, 330, 350]

    def cells():
        curves = {norm.metric: values, "validation_accuracy": np.full((3, 4), 0.9)}
        found = synthetic.findings(curves, sweep=RATES, claims=[claim])
        (row,) = rows_of(sections.claims(found))
        return row["difference, or ratio x"], row["interval (adjusted like p)"]

    ratio, interval = cells()
    assert re.fullmatch(r"x 32\d", ratio)
    assert re.fullmatch(r"2\d\d to 3\d\d", interval)
    values[0, 0] = 0.0
    assert cells() == (numbers.NONE, numbers.NONE)


@pytest.mark.parametrize(
    ("metric", "reduction", "more", "text"),
    [
        ("test_accuracy", "final", {}, "final test accuracy"),
        ("test_loss", "best", {}, "best test loss"),
        ("test_accuracy", "at_epoch", {"epoch": 3}, "test accuracy at epoch 3"),
        ("test_loss", "at_step", {"step": 2857}, "test loss at 2,857 updates"),
        (
            VALIDATION,
            "steps_to",
            {"target": 0.95},
            "updates to 95 % validation accuracy",
        ),
        ("train_loss", "steps_to", {"target": 0.1}, "updates to a train loss of 0.1"),
        ("", "steps", {}, "updates until training ended"),
        (
            *("test_moved_accuracy", "drop_from_test", {}),
            "test accuracy minus moved test accuracy, both final",
        ),
        ("", "diverged_share", {}, "share of seeds that diverge"),
        ("", "seconds", {}, "seconds of training for an epoch"),
    ],
)
def test_claims_say_in_words_what_is_compared(metric, reduction, more, text):
    quantity = Quantity(metric=metric, reduction=reduction, **more)
    row = claim_row(quantity=quantity, relation="less")
    assert row["compared"] == f"{text}: left is less"
    same = {"relation": "same", "margin": 0.01, "among": "best"}
    compared = claim_row(quantity=quantity, **same)["compared"]
    share = metric.endswith("accuracy") and reduction != "steps_to"
    margin = "1 point" if share or reduction.endswith("share") else "0.01"
    assert compared.startswith(f"{text}, between the best trials of both sides: ")
    assert compared.endswith(f"within {margin}")


def test_a_claim_of_two_quantities_names_both():
    early = Quantity(metric="test_accuracy", reduction="at_epoch", epoch=3)
    row = claim_row(quantity=early, right_quantity=Quantity(metric="train_accuracy"))
    one, other = row["compared"].split(", ")
    assert one == "test accuracy at epoch 3 on the left"
    assert other.startswith("final train accuracy on the right")


@pytest.mark.parametrize(
    ("among", "start"),
    [("mean", "digits (mean of 3 trials): "), ("best", "learning rate 0.7: ")],
)
def test_a_side_of_a_claim_says_of_how_many_trials_it_is_the_mean(among, start):
    row = claim_row(left={"dataset": "digits"}, among=among)
    assert row["left"].startswith(start)
    assert row["right"].startswith("learning rate 0.02: ")


def test_a_switch_is_named_by_its_field():
    sweep = [{"model.batch_norm": norm} for norm in (True, False)]
    claim = dataclasses.replace(CLAIM, left=sweep[0], right=sweep[1])
    found = synthetic.findings(sweep=sweep, claims=[claim])
    (row,) = rows_of(sections.claims(found))
    assert row["left"].startswith("batch norm: ")
    assert row["right"].startswith("no batch norm: ")
    trials = [row["trial"] for row in rows_of(sections.comparison(found))]
    assert trials == ["batch norm", "no batch norm"]


def test_claims_that_carry_the_answer_come_first_and_others_are_folded():
    claims = [dataclasses.replace(CLAIM, text=t, main=t == "b") for t in "abc"]
    found = synthetic.findings(sweep=RATES, claims=claims)
    first, others, tested = sections.claims(found).tables
    assert [row[0] for row in first.rows] == ["b"]
    assert [row[0] for row in others.rows] == ["a", "c"]
    assert (first.folded, others.folded, tested.folded) == (False, True, True)
    assert [chip.text for chip in sections.chips(found)] == ["b"]
    assert len(first.header) == len(others.header) == 4
    plain = synthetic.findings(sweep=RATES, claims=[CLAIM] * 3)
    first, tested = sections.claims(plain).tables
    assert len(first.rows) == len(sections.chips(plain)) == 3


@pytest.mark.parametrize("columns", [2, 9, 10, 25])
def test_a_table_too_wide_for_a_page_is_split_and_loses_nothing(columns):
    header = tuple(f"h{n}" for n in range(columns))
    rows = tuple(tuple(f"{r}.{n}" for n in range(columns)) for r in range(3))
    parts = sections.in_width(sections.Table(header, rows, marked=1))
    assert all(len(part.header) <= 9 for part in parts)
    assert [part.folded for part in parts] == [n > 0 for n in range(len(parts))]
    merged = rows_of(sections.Section("a", "A", tables=parts))
    assert merged == [dict(zip(header, row)) for row in rows]
    assert {(part.marked, part.rows[1][0]) for part in parts} == {(1, "1.0")}


def test_a_side_means_trials_as_the_verdict_does():
    """Rates that differ only by rounding are one, however they are written."""
    row = claim_row(left={RATE: 0.7 + 1e-16}, right={RATE: 0.02 * (1 + 1e-12)})
    assert "mean of" not in row["left"] + row["right"]
    assert row["verdict"] != "not tested in this run"
