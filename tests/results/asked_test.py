# SPDX-License-Identifier: Apache-2.0
"""Claims asked of a study or of a run join its own, each once, and are checked."""

import dataclasses

import pytest
import synthetic

from nnlab.results import asked
from nnlab.statistics.findings import Findings
from nnlab.study import Study, grammar
from nnlab.study.claims import at_epoch, higher

OWN = higher("own words", "test_accuracy", {"label": "0"}, "chance")
SAME, OTHER = 'test_accuracy("0") > chance', 'test_accuracy("1") > chance'


def test_a_claim_of_a_study_carries_its_answer_and_is_there_once():
    study = Study(claims=[OWN], sweep=synthetic.labelled(2))
    alone = OTHER.replace('"1"', 'best of "1"')  # of one trial
    own, other = asked.of_study(study, [SAME, OTHER, OTHER, alone])
    assert own == dataclasses.replace(OWN, main=True)
    assert (other.text, other.main) == (OTHER, True)


def test_asking_leaves_all_claims_of_a_study():
    again = dataclasses.replace(OWN, text="other words", otherwise="It does not")
    study = Study(claims=[OWN, again], sweep=synthetic.labelled(2))
    first = dataclasses.replace(OWN, main=True)
    assert asked.of_study(study, [SAME]) == (first, again)


def test_a_studys_own_claims_are_about_what_is_evaluated():
    sweep = [{"num_epochs": n, "label": str(n)} for n in (1, 3)]
    for at, label in ((3, "3"), (9, "gone")):
        early = higher("It learns", at_epoch(at, "test_loss"), {"label": label}, 0.5)
        asked.check_planned(Study(claims=[early], sweep=sweep))
    early = higher("It learns", at_epoch(3, "test_loss"), {"label": "1"}, 0.5)
    with pytest.raises(ValueError, match="'It learns': test_loss has no value at e"):
        asked.check_planned(Study(claims=[early], sweep=sweep))
    fields = {"text": "x", "quantity": {"metric": "test_accuracy"}, "left": {}}
    old = Study(claims=[{**fields, "right": 97}])  # as the record of a run may have it
    with pytest.raises(ValueError, match="claim 'x': 97 is out of range"):
        asked.check_planned(old)


def test_of_the_best_trials_one_needs_a_value():
    sweep = [{"num_epochs": n, "label": str(n)} for n in (1, 3)]
    study, text = Study(sweep=sweep), "at_epoch({}, test_accuracy, {}) > chance"
    assert asked.of_study(study, [text.format(2, "best of all")])
    for epoch, side in ((2, ""), (4, "best of all")):
        with pytest.raises(ValueError, match=f"no value at epoch {epoch}"):
            asked.of_study(study, [text.format(epoch, side).replace(", )", ")")])


TWO = [{"batch_size": 8, "label": "a"}, {"batch_size": 9, "label": "b"}]
BETTER = higher("a is better", "test_accuracy", {"label": "a"}, {"label": "b"})
MIRRORED = [
    "test_accuracy(batch_size=8) > test_accuracy(batch_size=9)",
    """test_accuracy("b") < test_accuracy("a")""",
    "Words: final(test_accuracy, batch_size=9) < test_accuracy(batch_size=8.0)",
]


@pytest.mark.parametrize("text", MIRRORED)
def test_a_claim_of_the_study_in_another_form_is_not_a_new_one(text):
    study = Study(claims=[BETTER], sweep=TWO)
    assert asked.of_study(study, [text]) == (dataclasses.replace(BETTER, main=True),)
    run = synthetic.results(claims=[BETTER], sweep=TWO)
    more, claims = asked.of_run(run, [text])
    assert (more.study.claims, claims) == ((BETTER,), [BETTER])


def test_forms_of_one_claim_in_a_call_are_one():
    study = Study(claims=MIRRORED, sweep=TWO)
    assert len(study.claims) == 3
    assert [c.text for c in asked.of_study(study, MIRRORED)] == MIRRORED[:1]


def test_columns_are_those_that_the_study_will_measure():
    moved = Study(test_sets={"moved_pixels": 1})
    for name, study, more in (
        ("test_moved_loss", moved, ()),
        ("test_top2", Study(), ("top2",)),
        ("grad_norm_dense_0", Study(), ()),
    ):
        assert asked.of_study(study, [f"{name}() > 1"], more)
    for name in ("test_moved_loss", "test_top2", "grad_nrm_dense_0"):
        with pytest.raises(ValueError, match=f"unknown column '{name}'"):
            asked.of_study(Study(), [f"{name}() > 1"])


def test_trials_of_a_search_are_not_known_beforehand():
    search = {"space": ["batch_size=8,16"]}
    text = "test_accuracy(batch_size=16) > chance"
    assert asked.of_study(Study(search=search), [text])
    with pytest.raises(ValueError, match="no trial has batch_size=16; allowed: 32"):
        asked.of_study(Study(), [text])


def test_a_side_is_not_compared_with_itself():
    sweep = [{"batch_size": 8}, {"batch_size": 9}]
    both = "test_accuracy(batch_size=8) > test_accuracy(batch_size=8.0, depth=1)"
    with pytest.raises(ValueError, match="both sides are the same trials"):
        asked.of_study(Study(sweep=sweep), [both])
    early = "test_accuracy(batch_size=8) > at_epoch(1, test_accuracy, batch_size=8)"
    assert asked.of_study(Study(sweep=sweep), [early])
    gain = "test_loss(batch_size=8) / test_loss(batch_size=9)"
    with pytest.raises(ValueError, match="both sides are the same trials"):
        asked.of_study(Study(sweep=sweep), [f"{gain} > {gain}"])


def test_settings_that_no_trial_has_together_are_named():
    sweep = [{"batch_size": 8, "num_epochs": 1}, {"batch_size": 9, "num_epochs": 2}]
    text = "test_accuracy(batch_size=8, num_epochs=2) > chance"
    with pytest.raises(ValueError, match="no trial has batch_size=8 and num_epochs=2"):
        asked.of_study(Study(sweep=sweep), [text])


def test_what_is_no_column_of_a_run_or_says_of_what_a_row_is_is_refused():
    run = synthetic.results(layers=["dense_0"], sweep=synthetic.labelled(2))
    assert asked.of_run(run, ["grad_norm_dense_0() > 1"])
    with pytest.raises(ValueError, match="unknown column 'grad_norm_dense_9'"):
        asked.of_run(run, ["grad_norm_dense_9() > 1"])
    with pytest.raises(ValueError, match="unknown column 'last_grad_norm_dense_0'"):
        asked.of_study(Study(), ["last_grad_norm_dense_0() > 1"])  # of members
    with pytest.raises(ValueError, match="unknown column 'epoch'"):
        asked.of_study(Study(), ["epoch() > 1"])


def test_a_run_is_asked_and_says_so():
    found = synthetic.results(claims=[OWN], sweep=synthetic.labelled(2))
    more, claims = asked.of_run(found, [SAME, OTHER])
    assert claims == [OWN, grammar.parse(OTHER)]
    own, after = Findings(more).verdicts
    assert (own.claim, own.asked_after) == (OWN, False)
    assert (after.claim.text, after.asked_after) == (OTHER, True)
    assert "asked after the run" in after.reason
    (alone,) = Findings(found).verdicts
    assert own.p_holm == pytest.approx(min(2 * alone.p, own.p_holm))
    assert own.p_holm > alone.p_holm


def test_what_a_run_compared_it_still_compares_and_no_more():
    for claims in ([], [OWN]):
        found = synthetic.results(claims=claims, sweep=synthetic.labelled(2))
        more, _ = asked.of_run(found, [OTHER])
        assert more.study.compares == found.study.compares == (not claims)
