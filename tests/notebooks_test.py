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
PROGRESS = ("trained in ", "100%")
SHOWN = {
    "quickstart": (
        *PROGRESS,
        "<table",
        "% validation accuracy after",
        "srcdoc=",
        "seed 0:",
        "did you",
    ),
    "learning_rate_sweep_tpu": (
        *PROGRESS,
        *("border: 2px solid", "A TPU was asked for, but JAX found only the CPU"),
        *("srcdoc=", "batch size **"),
    ),
}
"""Words in what a notebook shows; builder/browser_test.py runs the third one."""
MISTAKES = {
    "nnlab.run({}, num_seedz=2)": "ValueError: unknown field 'num_seedz'",
    "nnlab.load('nowhere')": "FileNotFoundError: no folder 'nowhere'",
    "found.plot('finale')": "ValueError: nothing to plot: 'finale'",
}


def read(file):
    return nbformat.read(file, as_version=4)


def test_they_are_those_that_are_known():
    assert {file.stem for file in FILES} == {*SHOWN, "model_builder"}


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


@pytest.mark.parametrize("name", SHOWN)
def test_it_runs_and_a_mistake_is_one_line(name, tmp_path, monkeypatch):
    monkeypatch.setenv("NNLAB_SMOKE", "1")
    found = read(ROOT / "notebooks" / f"{name}.ipynb")
    tags = {"tags": ["raises-exception"]}
    made = [nbformat.v4.new_code_cell(source, metadata=tags) for source in MISTAKES]
    found.cells += made
    where = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(found, timeout=120, resources=where).execute()
    outputs = [o for c in found.cells if c.cell_type == "code" for o in c.outputs]
    texts = [str(part) for o in outputs for part in (o.get("text"), o.get("data"))]
    missing = [words for words in SHOWN[name] if words not in " ".join(texts)]
    assert not missing
    assert not [o for o in outputs if o.get("name") == "stderr"]
    lines = [line for cell in made for o in cell.outputs for line in o["traceback"]]
    heads = [re.sub(r"'/.*/", "'", line.partition(";")[0]) for line in lines]
    assert heads == [*MISTAKES.values()]
