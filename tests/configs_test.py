# SPDX-License-Identifier: Apache-2.0
"""Every bundled study is valid, its claims find their trials, and it runs."""

import ast
import importlib
import itertools
import os
import pathlib
import subprocess
import sys

import pytest

from nnlab import results
from nnlab.study import Study

ROOT = pathlib.Path(__file__).parent.parent
FILES = sorted((ROOT / "configs").glob("*.py"))
SMOKE = ["quickstart:smoke", "learning_rate:smoke", "learning_rate:cnn,smoke"]


def arguments(name):
    """Every argument that a config takes: one choice of each of its groups."""
    if name == "quickstart":
        return ["", "smoke"]
    module = importlib.import_module(f"configs.{name}")
    groups = [getattr(module, g) for g in ("DATASETS", "MODELS", "SIZES")]
    return [",".join(filter(None, choice)) for choice in itertools.product(*groups)]


STUDIES = [(f.stem, arg) for f in FILES for arg in arguments(f.stem)]


def study_of(name, arg):
    module = importlib.import_module(f"configs.{name}")
    values = module.get_config(arg).to_dict()
    return Study.from_dict({**values, "sweep": tuple(module.sweep(arg))})


@pytest.mark.parametrize(("name", "arg"), STUDIES)
def test_a_config_makes_a_study_whose_claims_find_their_trials(name, arg):
    study = study_of(name, arg)
    assert study.question.endswith("?")
    assert study.claims
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
    assert "?" in text.splitlines()[0]
    assert f"python -m launch.train --config=configs/{file.name}" in text
    assert "--workdir=" in text


@pytest.mark.parametrize("name", [f.stem for f in FILES])
def test_smoke_alone_uses_the_built_in_data(name):
    study = study_of(name, "smoke")
    assert {t.hyperparameters.dataset for t in study.trials()} == {"digits"}
    assert study.base.num_epochs <= 3
    assert study.num_seeds <= 3


@pytest.mark.parametrize("name", [f.stem for f in FILES])
def test_an_unknown_argument_is_refused(name):
    with pytest.raises(ValueError, match=r"'smok'; did you mean 'smoke'\? allowed: "):
        study_of(name, "smok")


@pytest.mark.parametrize("study", SMOKE)
def test_a_smoke_study_runs_from_flags_to_report(tmp_path, study):
    name, _, arg = study.partition(":")
    config = f"--config=configs/{name}.py:{arg}"
    done = subprocess.run(
        [sys.executable, "-m", "launch.train", config, f"--workdir={tmp_path}"],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k != "NNLAB_DATA_DIR"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f"report: {tmp_path / 'report.html'}\n")
    found = results.load(tmp_path)
    expected = study_of(name, arg)
    assert done.stdout.startswith(f"{expected.question}\n")
    assert found.study == expected
    assert len(found.members) == len(expected.trials()) * expected.num_seeds
    assert found.config["status"] == "complete"
    assert {p.suffix for p in (tmp_path / "figures").iterdir()} == {".png", ".svg"}
