# SPDX-License-Identifier: Apache-2.0
"""A wheel holds all of nnlab under one name, and needs no clone."""

import importlib.metadata
import os
import pathlib
import shutil
import subprocess
import sys
import tomllib

import pytest
import yaml

import nnlab

ROOT = pathlib.Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NEEDED = ("nnlab", "configs", "pyproject.toml", "setup.py", "README.md", "LICENSE")
OLDEST = 77  # the setuptools that pyproject.toml asks for


def setuptools_version():
    try:
        return int(importlib.metadata.version("setuptools").partition(".")[0])
    except importlib.metadata.PackageNotFoundError:
        return 0


def lowest(requirements):
    """Returns the lowest version that each of them allows."""
    for text in requirements:
        name, _, version = text.partition(";")[0].partition(">=")
        yield name.lower().replace("_", "-"), version


@pytest.mark.slow
@pytest.mark.skipif(
    setuptools_version() < OLDEST, reason=f"needs setuptools {OLDEST} or later"
)
def test_a_wheel_has_all_modules_and_runs_a_bundled_study(tmp_path):
    source, installed = tmp_path / "source", tmp_path / "installed"
    source.mkdir()
    for name in NEEDED:
        if (ROOT / name).is_dir():
            junk = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, source / name, ignore=junk)
        else:
            shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "-q"]
    alone = ["--no-index", "--no-deps"]
    build = ["--no-build-isolation", f"--wheel-dir={tmp_path}", str(source)]
    subprocess.run([*pip, "wheel", *alone, *build], check=True, timeout=300)
    wheel = tmp_path / f"nnlab_jax-{nnlab.__version__}-py3-none-any.whl"
    unpack = [f"--target={installed}", str(wheel)]
    subprocess.run([*pip, "install", *alone, *unpack], check=True, timeout=300)

    def files(folder):
        return {p.relative_to(folder) for p in folder.rglob("*") if p.is_file()}

    assert {p.name for p in installed.iterdir() if p.suffix != ".dist-info"} == {
        "nnlab",
        "bin",
    }
    assert files(source / "configs") <= files(installed / "nnlab" / "configs")
    assert files(source / "nnlab") <= files(installed / "nnlab")
    done = subprocess.run(
        [installed / "bin" / "nnlab", "describe", "--config=quickstart"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Which learning rate should a small network get?\n")


def test_the_citation_and_the_changes_are_of_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == nnlab.__version__
    assert cited["license"] == PROJECT["license"]
    assert f"\n## {nnlab.__version__} " in (ROOT / "CHANGELOG.md").read_text()


def test_ci_tries_the_lowest_versions_that_are_allowed():
    lines = (ROOT / ".ci" / "floor.txt").read_text().splitlines()
    tried = {
        name.lower().replace("_", "-"): version
        for name, _, version in (line.partition("==") for line in lines)
    }
    for name, version in lowest(PROJECT["dependencies"]):
        assert (tried[name] + ".0.0").startswith(f"{version}."), name
