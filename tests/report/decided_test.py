# SPDX-License-Identifier: Apache-2.0
"""Verdicts for programs: finite JSON beside the report, a line, an exit status."""

import dataclasses
import json
import math
import re

import numpy as np
import pytest
import synthetic
from launched import launched

from nnlab.commands import check
from nnlab.report import decided
from nnlab.study.claims import Claim, faster, higher

LEFT, RIGHT = {"label": "0"}, {"label": "1"}
BETTER = higher("0 is better", "test_accuracy", LEFT, RIGHT)
NEVER = faster("0 is there sooner", 0.99, LEFT, RIGHT)
ABSENT = higher("of nothing", "test_accuracy", {"label": "9"}, RIGHT)
WORSE = 'test_accuracy("0") < test_accuracy("1")'
ALIKE = 'seconds("0") > seconds("1")'  # of one program: not testable
LEVELS = np.array([[0.9], [0.8]]) + 0.01 * np.random.default_rng(0).random((2, 8))
MADE = {"values": LEVELS, "sweep": synthetic.labelled(2)}


def finite(value):
    return value if not isinstance(value, float) or math.isfinite(value) else None


def test_a_file_has_what_is_known_and_null_for_the_rest(tmp_path):
    findings = synthetic.findings(
        **MADE, claims=[BETTER, NEVER, ABSENT], workdir=tmp_path
    )
    decided.write(findings)
    text = (tmp_path / decided.FILE).read_text()
    assert not re.search("NaN|Infinity", text)
    entries = json.loads(text)
    for entry, verdict in zip(entries, findings.verdicts, strict=True):
        assert Claim(text=entry.pop("claim"), **entry.pop("fields")) == verdict.claim
        assert entry.pop("interval") == [finite(verdict.low), finite(verdict.high)]
        assert entry == {name: finite(getattr(verdict, name)) for name in entry}
        assert {"verdict", "effect", "n", "p_holm", "p_seeds", "detectable"} <= {*entry}
    _, never, absent = entries
    assert (never["left"], never["left_reached"]) == (None, 0)
    assert (absent["p"], absent["n"]) == (None, 0)


def test_a_line_says_that_a_difference_is_smaller_than_the_margin():
    claims = [dataclasses.replace(BETTER, margin=m) for m in (0.05, 0.5)]
    near, far = map(decided.line, synthetic.findings(**MADE, claims=claims).verdicts)
    assert near.startswith("supported")
    assert "less than" not in near
    assert "less than 50 points" in far


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"claims": [BETTER], "fields": {"seal": True}, "unfinished": {(0, 0): 3}},
    ],
)
def test_there_is_no_file_without_claims_or_before_a_plan_is_done(tmp_path, options):
    (tmp_path / decided.FILE).write_text("of an earlier report")
    decided.write(synthetic.findings(**MADE, **options, workdir=tmp_path))
    assert not (tmp_path / decided.FILE).exists()


@pytest.mark.parametrize(
    ("asked", "status", "first"),
    [
        ([], 0, "supported: 0 is better"),
        ([WORSE], 3, "contradicted"),
        ([ALIKE], 4, "not "),
        ([ALIKE, WORSE], 3, "not "),
    ],
)
def test_the_status_is_that_of_the_worst_verdict(tmp_path, asked, status, first):
    synthetic.results(**MADE, claims=[BETTER], workdir=tmp_path)
    given = [f"--claim={text}" for text in asked]
    code, out, err = launched(check, f"--workdir={tmp_path}", *given)
    assert (code, err) == (status, "")
    lines = out.splitlines()
    assert len(lines) == max(len(asked), 1)
    assert lines[0].startswith(first)
    assert all(text in line for text, line in zip(asked, lines))


REFUSED = {
    "at_epoch(2.5, test_accuracy) > 0.5": "near it are epoch 2 and epoch 3",
    "at_epoch(11, test_accuracy) > 0.5": "the last is epoch 10",
    "at_epoch(50 %, test_accuracy) > 0.5": "'50 %' goes with accuracies",
    "at_step(3, test_accuracy) > 0.5": "the first is update 35",
    "test_accuracy() > 97": "did you mean 0.97, 97 %?",
    "steps_to(97) < 9": "a target of 97 is out of range",
    "grad_norm_dense_7() > 0": "did you mean 'grad_norm_dense_",
    'test_accuracy("2") > 0.5': "no trial has label='2'",
    'test_accuracy("0") - test_accuracy("1") > 0.1': "compared with another one",
    'test_accuracy("0") > test_accuracy(learning_rate=0.1)': "are the same trials",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_the_run_cannot_tell_is_a_mistake_in_one_line(tmp_path, text):
    synthetic.results(**MADE, workdir=tmp_path)
    code, out, err = launched(check, f"--workdir={tmp_path}", f"--claim={text}")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"error: claim {text!r}: ")
    assert REFUSED[text] in err


def test_the_study_s_own_claim_in_another_form_is_answered_in_its_words(tmp_path):
    synthetic.results(**MADE, claims=[BETTER], workdir=tmp_path)
    mirrored = 'test_accuracy(learning_rate=0.2) < test_accuracy("0")'
    lines = [
        launched(check, f"--workdir={tmp_path}", *given)[1]
        for given in ([], [f"--claim={mirrored}"])
    ]
    assert lines[0] == lines[1]


def test_without_any_claim_a_check_is_a_mistake(tmp_path):
    synthetic.results(**MADE, workdir=tmp_path)
    code, out, err = launched(check, f"--workdir={tmp_path}")
    assert (code, out) == (2, "")
    assert "--claim" in err
