# SPDX-License-Identifier: Apache-2.0
"""A sealed plan hides test scores until it is done, and the report compares with it."""

import dataclasses
import json

import launched
import pytest
import tiny
from stopped import Stop, content

from nnlab import results
from nnlab.commands import train
from nnlab.report import answer
from nnlab.results import seal
from nnlab.runs import experiment
from nnlab.statistics.findings import Findings
from nnlab.study import Search
from nnlab.study.claims import higher

pytestmark = pytest.mark.usefixtures("compiled_fast")

STUDY = dataclasses.replace(
    tiny.study(({tiny.RATE: 0.1}, {tiny.RATE: 1.0}), num_seeds=3),
    claims=(higher("it learns", "test_accuracy", {tiny.RATE: 0.1}, "chance"),),
    seal=True,
)


def run(of, folder, **kwargs):
    return experiment.run(of, folder, dataset=tiny.dataset(), **kwargs)


def num_test_scores(found):
    columns = [c for c in found.curves.column_names if seal.is_test(c)]
    return sum(len(found.curves[c]) - found.curves[c].null_count for c in columns)


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    return run(STUDY, tmp_path_factory.mktemp("planned"))


def said(found):
    return answer.sentences(Findings(found))[-1]


def test_a_run_as_planned_says_so_with_the_digest_of_its_plan(planned):
    plan = seal.load(planned.workdir)
    assert plan.study == planned.study
    assert plan.datasets == {"digits": tiny.dataset().digest}
    assert seal.deviations(planned) == (plan.digest[:12], [])
    assert plan.digest[:12] in said(planned)
    assert num_test_scores(planned)


def test_no_test_score_is_seen_before_the_plan_is_done(planned, tmp_path):
    stop = Stop(6)
    with pytest.raises(KeyboardInterrupt):
        run(STUDY, tmp_path, on_progress=stop)
    evaluations = [told.evaluation for told in stop.told if told.evaluation]
    assert evaluations
    for found in evaluations:
        assert "validation_accuracy" in found.metrics
        assert not any(map(seal.is_test, found.metrics))
    left = results.load(tmp_path)
    assert left.curves.num_rows
    assert not num_test_scores(left)
    summary = Findings(left).rows
    tests = [v for row in summary for k, v in row.items() if seal.is_test(k)]
    assert not any(isinstance(v, float) or v is True for v in tests)
    assert "sealed" in " ".join(answer.sentences(Findings(left)))
    run(STUDY, tmp_path, resume=True)  # keeps the plan, and reveals
    files = ("curves.parquet", "members.csv", "summary.csv", seal.FILE)
    assert content(tmp_path, files) == content(planned.workdir, files)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"num_seeds": 4}, "3 seeds were planned, and 4 ran"),
        ({"claims": ()}, "the claim “it learns” was planned, and is not made"),
        (
            {"sweep": (*STUDY.sweep, {tiny.RATE: 0.5})},
            "trial “learning_rate=0.5” was not planned",
        ),
        ({"target": 0.5}, "the target was 0, and is 0.5"),
        ({"compare_trials": "yes"}, "compare_trials was auto, and is yes"),
    ],
)
def test_what_deviates_is_told(planned, change, told):
    changed = dataclasses.replace(planned.study, **change)
    found = dataclasses.replace(planned, study=changed, each={})
    assert seal.deviations(found)[1] == [told]
    assert told in said(found)


@pytest.mark.slow
def test_a_run_that_goes_on_keeps_its_plan_and_tells_if_its_scores_were_seen(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(STUDY, tmp_path, on_progress=Stop(4))
    more = dataclasses.replace(STUDY, seal=False, num_seeds=4)
    found = run(more, tmp_path, resume=True)
    assert found.study.seal
    assert seal.deviations(found)[1] == ["3 seeds were planned, and 4 ran"]
    same = run(more, tmp_path, resume=True)
    assert len(seal.deviations(same)[1]) == 1
    found = run(dataclasses.replace(more, num_seeds=5), tmp_path, resume=True)
    assert "after its test scores could be seen" in seal.deviations(found)[1][-1]


@pytest.mark.parametrize("damage", ["missing", "edited", "no JSON"])
def test_a_plan_that_is_lost_or_changed_is_told(planned, tmp_path, damage):
    if damage == "edited":
        plan = json.loads((planned.workdir / seal.FILE).read_text())
        plan["study"]["num_seeds"] = 2
        (tmp_path / seal.FILE).write_text(json.dumps(plan))
    elif damage == "no JSON":
        (tmp_path / seal.FILE).write_text("{")
    found = dataclasses.replace(planned, workdir=tmp_path)
    digest, (told,) = seal.deviations(found)
    assert not digest
    assert seal.FILE in told
    assert told in said(found)


def test_a_run_that_is_not_sealed_cannot_be_later(tmp_path):
    open_study = dataclasses.replace(STUDY, seal=False)
    with pytest.raises(KeyboardInterrupt):
        run(open_study, tmp_path, on_progress=Stop(4))
    with pytest.raises(ValueError, match="seal was False and is True now: a plan is"):
        run(STUDY, tmp_path, resume=True)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("looks", {"looks": (2, 3)}),
        ("search.space", {"search": Search(space=("batch_size=int(8,16)",))}),
    ],
)
def test_only_a_plan_can_be_sealed(field, values):
    with pytest.raises(ValueError, match=f"seal=True does not go with {field}"):
        dataclasses.replace(STUDY, **values)


def test_a_shell_seals_with_a_flag(tmp_path):
    arguments = (*launched.ONE, "--seal", f"--workdir={tmp_path}")
    status, out, _ = launched.launched(train, *arguments)
    assert status == 0
    assert seal.load(tmp_path).digest[:12] in out
