# SPDX-License-Identifier: Apache-2.0
"""Every bundled study is valid, its claims find their trials, and it runs."""

import ast
import dataclasses
import importlib
import itertools

import pytest
from launched import ROOT, launched

from nnlab import report, results
from nnlab.commands import train
from nnlab.results.asked import check_planned
from nnlab.runs import experiment
from nnlab.statistics.findings import Findings
from nnlab.statistics.judging import undecidable
from nnlab.statistics.verdicts import NOT_TESTED
from nnlab.study import Study
from nnlab.training.prepare import prepare

pytestmark = pytest.mark.usefixtures("compiled_fast")

FILES = sorted((ROOT / "configs").glob("*.py"))
WHOLE = ["quickstart", "model_builder"]
"""These run from flags to report, of the others one trial."""
UNUSUAL = {"transfer", "cnn_architectures", "mlp_vs_cnn", "gradient_norms"}
"""Their figures are unusual, so their reports are written too."""
BUILT_IN = {"digits", "map", "real_or_generated:digits"}
MOST_LINES = 70
# Least training images of MNIST in a study with dense or with other networks.
IMAGES = {True: 20_000, False: 10_000}


def arguments(name):
    """Returns every argument of a config: one choice of each of its groups."""
    module = importlib.import_module(f"configs.{name}")
    groups = getattr(module, "GROUPS", (("", "smoke"),))
    return [",".join(filter(None, choice)) for choice in itertools.product(*groups)]


STUDIES = [
    (f.stem, arg) for f in FILES for arg in arguments(f.stem) if "folder" not in arg
]
BUILT_IN_STUDIES = [
    (name, arg)
    for name, arg in STUDIES
    if not any(word in arg for word in ("mnist", "cifar", "smoke"))
    and name != "edge_of_stability"  # of Fashion-MNIST alone
    and not (arg.endswith(",full") and (name, arg[: -len(",full")]) in STUDIES)
]
# Studies of whole image data sets; their arguments say so.
IMAGE_STUDIES = [n for n, arg in STUDIES if arg == "fashion_mnist"]


def study_of(name, arg):
    module = importlib.import_module(f"configs.{name}")
    values = module.get_config(arg).to_dict()
    return Study.from_dict({**values, "sweep": tuple(module.sweep(arg))})


@pytest.mark.parametrize(("name", "arg"), STUDIES)
def test_a_config_makes_a_study_whose_claims_find_their_trials(name, arg):
    study = study_of(name, arg)
    assert study.question.endswith("?")
    assert study.claims
    check_planned(study)
    for claim in study.claims:
        for side in (claim.left, claim.right):
            if isinstance(side, dict):
                assert any(_matches(trial, side) for trial in study.trials()), (
                    claim.text
                )


def _matches(trial, selector):
    settings = {**trial.hyperparameters.flat(), "label": trial.label}
    return all(settings[path] == value for path, value in selector.items())


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_a_docstring_holds_question_and_command(file):
    text = ast.get_docstring(ast.parse(file.read_text()))
    assert text.partition("\n\n")[0].endswith("?")
    assert f"python -m launch.train --config=configs/{file.name}" in text
    assert "--workdir=" in text


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_below_its_docstring_a_config_fits_on_a_page(file):
    text = file.read_text()
    docstring = ast.parse(text).body[0]
    assert len(text.splitlines()) - docstring.end_lineno < MOST_LINES


@pytest.mark.parametrize("name", [f.stem for f in FILES])
def test_smoke_alone_uses_the_built_in_data(name):
    study = study_of(name, "smoke")
    assert study.num_seeds <= 3
    for trial in study.trials():
        assert trial.hyperparameters.dataset in BUILT_IN
        assert trial.hyperparameters.num_epochs <= 3


@pytest.mark.parametrize(("name", "arg"), [s for s in STUDIES if "smoke" not in s[1]])
def test_some_outcome_decides_each_claim(name, arg):
    assert undecidable(study_of(name, arg)) == ()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "arg"), BUILT_IN_STUDIES)
def test_every_network_fits_the_built_in_images(name, arg):
    study = study_of(name, arg)
    programs = prepare(study)
    trained = {t.index for program in programs for t in program.trials}
    assert len(trained) == len(study.trials())  # some in two, if seeds differ


@pytest.mark.parametrize("name", IMAGE_STUDIES)
def test_a_study_of_mnist_is_large_enough_and_full_takes_all_of_it(name):
    usual, full = study_of(name, "mnist"), study_of(name, "mnist,full")
    dense = {t.hyperparameters.model.name for t in usual.trials()} == {"mlp"}
    assert usual.num_seeds >= 5
    assert full.num_seeds >= 3
    for trial in usual.trials():
        size = trial.hyperparameters.train_size
        assert size == 0 or size >= IMAGES[dense]
    for trial, larger in zip(usual.trials(), full.trials()):
        assert larger.hyperparameters.train_size in (0, 50_000)
        assert larger.hyperparameters.num_epochs >= trial.hyperparameters.num_epochs


@pytest.mark.slow
@pytest.mark.parametrize("name", [f.stem for f in FILES if f.stem not in WHOLE])
def test_a_trial_trains_and_records_what_the_claims_need(tmp_path, name):
    study = study_of(name, "smoke")
    some = dataclasses.replace(study, sweep=study.sweep[:1], num_seeds=1)
    found = experiment.run(some, tmp_path)
    assert found.config["failures"] == {}
    assert {c.quantity.metric for c in study.claims} <= {"", *found.metrics}
    if name in UNUSUAL:
        assert report.write(tmp_path).exists()


@pytest.mark.parametrize("name", [f.stem for f in FILES])
def test_an_unknown_argument_is_refused(name):
    with pytest.raises(ValueError, match=r"'smok'; did you mean 'smoke'\? allowed: "):
        study_of(name, "smok")


@pytest.mark.slow
@pytest.mark.parametrize("name", WHOLE)
def test_a_smoke_study_runs_from_flags_to_report(tmp_path, monkeypatch, name):
    monkeypatch.delenv("NNLAB_DATA_DIR", raising=False)
    asked = [f"--config={name}:smoke", f"--workdir={tmp_path}"]
    status, out, err = launched(train, *asked)
    assert (status, err) == (0, "")
    assert out.endswith(f"report: {tmp_path / 'report.html'}\n")
    found, expected = results.load(tmp_path), study_of(name, "smoke")
    assert out.startswith(f"{expected.question}\n")
    assert found.study == expected
    assert len(found.members) == len(expected.trials()) * expected.num_seeds
    assert found.config["status"] == "complete"
    for verdict in Findings(found).verdicts:
        assert verdict.verdict != NOT_TESTED, verdict.claim.text
    assert {p.suffix for p in (tmp_path / "figures").iterdir()} == {".png", ".svg"}
