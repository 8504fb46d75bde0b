# SPDX-License-Identifier: Apache-2.0
"""The paragraph to cite has methods, result and versions, and nothing too early."""

import dataclasses

import numpy as np
import synthetic

from nnlab import report
from nnlab.report import cite
from nnlab.results import asked
from nnlab.statistics.findings import Findings
from nnlab.study.claims import higher, same_within
from nnlab.study.hyperparameters import Hyperparameters

LEVELS = np.array([[0.9], [0.8]]) + 0.01 * np.random.default_rng(0).random((2, 8))
MADE = {"values": LEVELS, "sweep": synthetic.labelled(2)}
BETTER = higher("0 is better", "test_accuracy", {"label": "0"}, {"label": "1"})
WORSE = 'test_accuracy("0") < test_accuracy("1")'


def test_methods_and_result_are_told_with_their_numbers():
    base = Hyperparameters().replace({"model.dropout_rate": 0.25, "batch_size": 16})
    found = synthetic.findings(**MADE, claims=[BETTER], base=base, diverged={(1, 0): 2})
    text, (verdict,) = cite.paragraph(found), found.verdicts
    config = found.results.config
    (data,) = config["datasets"].values()
    for told in (
        found.results.study.question,
        "2 trials x 8 seeds = 16 networks",
        "learning rate (0.1 to 0.2)",
        *("dropout rate 0.25", "batch size 16", "root seed 0", "1 diverged"),
        *(f"{data[part]:,} {part}" for part in ("validation", "test")),
        data["digest"][:12],
        "“0 is better” is supported",
        f"+{100 * verdict.effect:.1f} points",
        f"n = {verdict.n} {verdict.over}",
        *(f"{name} {version}" for name, version in config["versions"].items()),
    ):
        assert told in text
    assert "\n" not in text
    assert "learning rate 0.1," not in text  # it is swept


def test_methods_are_those_of_the_tests_that_were_made():
    crossed, one_sided = "crossed design", "one-sided"
    assert crossed not in cite.paragraph(synthetic.findings(**MADE, claims=[BETTER]))
    right = np.random.default_rng(0).random((2, 8, 50)) < 0.9
    both = dataclasses.replace(BETTER, relation="same", margin=0.2)
    found = synthetic.findings(
        sweep=MADE["sweep"], correct={"test": right}, claims=[both]
    )
    assert crossed in (text := cite.paragraph(found))
    assert one_sided in text
    assert "Holm" not in cite.paragraph(synthetic.findings(LEVELS[:, :2]))


def test_of_many_claims_the_rest_is_counted_and_the_answer_comes_first():
    many = [dataclasses.replace(BETTER, text=f"claim {i}.") for i in range(9)]
    main = same_within("it", 0.2, "test_accuracy", {"label": "0"}, 0.9, main=True)
    text = cite.paragraph(synthetic.findings(**MADE, claims=[*many, main]))
    assert text.index("“it”") < text.index("“claim 0.”")
    assert text.count("“") == 6
    assert "4 supported" in text


def test_a_claim_asked_after_the_run_says_so():
    found, _ = asked.of_run(synthetic.results(**MADE, claims=[BETTER]), [WORSE])
    assert cite.paragraph(Findings(found)).count("asked after the run") == 1


def test_nothing_is_told_before_a_sealed_plan_is_done():
    options = {"fields": {"seal": True}, "unfinished": {(0, 0): 3}}
    text = cite.paragraph(synthetic.findings(**MADE, claims=[BETTER], **options))
    assert BETTER.text not in text


def test_the_file_is_wrapped_and_the_report_has_the_same(tmp_path):
    found = synthetic.findings(**MADE, claims=[BETTER], workdir=tmp_path)
    report.write(found)
    lines = (tmp_path / cite.FILE).read_text().splitlines()
    assert max(map(len, lines)) <= cite.WIDTH
    assert " ".join(lines) == cite.paragraph(found)
    (section,) = (s for s in report.content(found).sections if s.anchor == "cite")
    assert section.items == (cite.paragraph(found),)
