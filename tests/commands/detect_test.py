# SPDX-License-Identifier: Apache-2.0
"""`launch.describe --detect` plans seeds and examples from a pilot."""

import dataclasses
import re

import launched
import numpy as np
import pytest
import tiny

from nnlab.commands import describe, detect
from nnlab.runs import experiment
from nnlab.statistics import pilot, plan, power
from nnlab.statistics.findings import Findings
from nnlab.study import claims as c

pytestmark = pytest.mark.usefixtures("compiled_fast")

STUDY = tiny.study(({tiny.RATE: 0.1}, {tiny.RATE: 0.3}, {tiny.RATE: 0.5}), num_seeds=6)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pilot")
    return experiment.run(STUDY, folder, dataset=tiny.dataset())


def planned(run, difference, share=0.8):
    return list(detect.lines(run.study, difference, share, str(run.workdir)))


def test_the_spread_is_that_of_the_nearest_trials_with_their_examples(run):
    findings = Findings(run)
    of = pilot.of_comparison(findings)
    assert of.size == tiny.SIZES["test"]
    final = [findings.final(t, "test_accuracy") for t in range(3)]
    others = [t for t in range(3) if t != findings.best]
    nearest = min(others, key=lambda t: abs(np.mean(final[t] - final[findings.best])))
    over_seeds = np.var(final[nearest] - final[findings.best], ddof=1)
    assert of.seeds + of.rest / of.size == pytest.approx(over_seeds, rel=1e-6)


def test_what_is_promised_keeps_the_power_and_the_level(run):
    of, alpha = (
        f(Findings(run)) for f in (pilot.of_comparison, pilot.alpha_of_comparison)
    )
    assert alpha == pytest.approx(0.05 / 3)
    promised = "\n".join(planned(run, 0.2))
    seeds = int(re.search(r"(\d+) seeds? would tell 20 points", promised)[1])
    assert power.chance_to_tell(of, 0.2, seeds, alpha=alpha) >= 0.8
    assert power.chance_to_tell(of, 0.2, seeds - 1, alpha=alpha) < 0.8 or seeds == 3


def test_where_examples_are_too_few_it_says_how_many_would_do(run, monkeypatch):
    of = power.Spread(seeds=1e-5, examples=0.01, rest=0.02, size=37, freedom=5)
    monkeypatch.setattr(pilot, "of_comparison", lambda _: of)
    alpha = pilot.alpha_of_comparison(Findings(run))
    told = planned(run, 0.01)
    assert "no number of seeds would tell 1 point apart" in told[-2]
    examples, seeds = (int(n.replace(",", "")) for n in re.findall(r"[\d,]+", told[-1]))
    assert power.chance_to_tell(of, 0.01, seeds, examples, alpha) >= 0.8
    assert power.chance_to_tell(of, 0.01, seeds, examples - 1, alpha) < 0.8


def test_where_splits_share_too_few_examples_it_says_what_they_tell(run, monkeypatch):
    of = power.Spread(seeds=1e-4, freedom=5, ratio=0.25)
    monkeypatch.setattr(pilot, "of_comparison", lambda _: of)
    alpha = pilot.alpha_of_comparison(Findings(run))
    told = planned(run, 0.01)[-1]
    assert told.startswith("no number of seeds would tell 1 point apart")
    limit = float(re.search(r"less than (\S+) points", told)[1]) / 100
    least = power.least_told(of, 2**30, alpha=alpha)
    assert limit == pytest.approx(least, rel=0.05)
    assert "seeds would tell 10 points apart" in planned(run, 0.1)[-1]


@pytest.mark.slow
def test_a_pilot_of_splits_plans_for_splits(tmp_path):
    study = dataclasses.replace(STUDY, vary=("init", "split"))
    split = experiment.run(study, tmp_path / "split", dataset=tiny.dataset())
    findings = Findings(split)
    of, test = pilot.of_comparison(findings), tiny.SIZES["test"]
    assert (of.size, of.ratio) == (1, pytest.approx(test / tiny.SIZES["train"]))
    with pytest.raises(ValueError, match="has --vary=init,split: give the plan that"):
        list(detect.lines(STUDY, 0.01, 0.8, str(split.workdir)))


def test_a_run_of_other_trials_is_no_pilot(run):
    other = dataclasses.replace(STUDY, sweep=STUDY.sweep[:2])
    with pytest.raises(ValueError, match="has other trials than the study"):
        list(detect.lines(other, 0.01, 0.8, str(run.workdir)))


def test_the_seeds_of_claims_are_those_of_the_plan(run):
    quick, slow = ({tiny.RATE: rate} for rate in (0.5, 0.1))
    claims = (
        c.higher("Quick is better", "test_accuracy", quick, slow, margin=0.2),
        c.higher("By anything", "test_accuracy", slow, slow),
    )
    study = dataclasses.replace(run.study, claims=claims)
    told = list(detect.decisive(study, 0.8, str(run.workdir)))
    found = plan.needs(Findings(dataclasses.replace(run, study=study)))
    assert f"Quick is better: {found[0].seeds} seed" in told[1]
    assert "no number of seeds" in told[2]
    seeds = plan.seeds_of_trials(found, 3)
    assert f"{seeds.sum()} networks" in told[-1]
    assert f"planned {3 * 6}" in told[-1]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--decide", "--config.claims=()"], "has none"),
        (["--detect=2"], "--detect=2 must be a difference of accuracies"),
        (["--detect=0.01", "--power=0.3"], "--power=0.3 must be the share of runs"),
        (["--power=0.9"], "go with --detect or --decide"),
    ],
)
def test_what_cannot_be_planned_is_one_line(arguments, told):
    status, _, err = launched.launched(describe, launched.QUICKSTART, *arguments)
    assert status == 2
    assert told in err
    assert len(err.splitlines()) == 1


@pytest.mark.slow
def test_a_shell_trains_a_pilot(tmp_path):
    arguments = (launched.QUICKSTART, "--detect=0.1", f"--workdir={tmp_path / 'pilot'}")
    status, out, _ = launched.launched(describe, *arguments)
    assert status == 0
    assert "4 seeds of a pilot" in " ".join(out.split())
    assert (tmp_path / "pilot" / "curves.parquet").exists()
