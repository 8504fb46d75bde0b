# SPDX-License-Identifier: Apache-2.0
"""A wheel holds all of nnlab under one name, and needs no clone."""

import importlib.metadata
import pathlib
import tomllib

import pytest
import yaml

import nnlab

ROOT = pathlib.Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def lowest(requirements):
    """Returns the lowest version that each of them allows."""
    for text in requirements:
        name, _, version = text.partition(";")[0].partition(">=")
        yield name.lower().replace("_", "-"), version


@pytest.mark.skipif(
    pathlib.Path(nnlab.__file__).is_relative_to(ROOT),
    reason="nnlab is imported from the clone here; .ci/run tests a wheel's",
)
def test_a_wheel_has_all_files_under_one_name():
    found = {str(path) for path in importlib.metadata.files("nnlab-jax")}
    about = f"nnlab_jax-{nnlab.__version__}.dist-info"
    assert {path.partition("/")[0] for path in found} == {"nnlab", "..", about}
    assert [path.rpartition("/")[2] for path in found if path[0] == "."] == ["nnlab"]
    for folder, place in {"nnlab": "nnlab", "configs": "nnlab/configs"}.items():
        for path in (ROOT / folder).rglob("*.*"):
            name = path.relative_to(ROOT / folder).as_posix()
            assert path.suffix == ".pyc" or f"{place}/{name}" in found


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
