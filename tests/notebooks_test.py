# SPDX-License-Identifier: Apache-2.0
"""The notebooks run, begin alike, and are stored without outputs."""

import pathlib
import re
import tomllib

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parent.parent
FILES = sorted((ROOT / "notebooks").glob("*.ipynb"))
REPOSITORY = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"][
    "Repository"
]
SHOWN = {
    "quickstart": ("Learning rate 0.3 reaches 90 %", "srcdoc=", "seed 0:", "did you"),
    "learning_rate_sweep_tpu": ("A TPU was asked for", "srcdoc=", "batch size **"),
    "model_builder": ("test accuracy",),
}


def read(file):
    return nbformat.read(file, as_version=4)


def test_they_are_those_that_are_known():
    assert {file.stem for file in FILES} == set(SHOWN)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_is_stored_without_outputs(file):
    found = read(file)
    nbformat.validate(found)
    for cell in found.cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_begins_with_a_badge_and_the_set_up(file):
    title, set_up = read(file).cells[:2]
    place = REPOSITORY.removeprefix("https://github.com/")
    target = f"github/{place}/blob/main/notebooks/{file.name}"
    assert f"](https://colab.research.google.com/{target})" in title.source
    first = read(ROOT / "notebooks" / "quickstart.ipynb").cells[1].source
    without = re.sub(r"set_up\(.*\)$", "set_up()", set_up.source)
    assert without == first
    assert f"git+{REPOSITORY}" in first


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_runs(file, tmp_path, monkeypatch):
    monkeypatch.setenv("NNLAB_SMOKE", "1")
    found = read(file)
    client = NotebookClient(
        found, timeout=120, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    outputs = [o for c in found.cells if c.cell_type == "code" for o in c.outputs]
    text = " ".join(
        str(part) for o in outputs for part in (o.get("text"), o.get("data"))
    )
    for words in SHOWN[file.stem]:
        assert words in text
    assert not [o for o in outputs if o.get("name") == "stderr"]
