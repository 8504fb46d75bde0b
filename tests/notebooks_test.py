# SPDX-License-Identifier: Apache-2.0
"""The notebooks run, begin alike, and are stored without outputs."""

import importlib.util
import os
import pathlib
import re
import shutil
import subprocess
import sys
import venv
import zipfile

import nbformat
import pytest
from nbclient import NotebookClient

import nnlab

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("compiled_fast")]

ROOT = pathlib.Path(__file__).parent.parent
FILES = sorted((ROOT / "notebooks").glob("*.ipynb"))
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
        *("12 trials x 3 seeds", "srcdoc=", "batch size **"),
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


def test_they_begin_alike_and_name_no_address():
    assert len({read(file).cells[1].source for file in FILES}) == 1
    for file in FILES:
        title, set_up = read(file).cells[:2]
        assert "http" not in title.source
        assert re.findall("^SOURCE = .*", set_up.source, re.MULTILINE) == [
            'SOURCE = ""'
        ]


def test_an_address_gives_them_badges_and_a_source(tmp_path):
    copy = shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    project = tmp_path / "pyproject.toml"
    without = '[project]\nname = "nnlab-jax"\n'
    address = '[project.urls]\nRepository = "https://github.com/some/one"\n'
    for text in (without + address, without):
        project.write_text(text)
        subprocess.run([sys.executable, copy / "publish.py"], check=True)
        for file in FILES:
            title, set_up = read(copy / file.name).cells[:2]
            target = f"github/some/one/blob/main/notebooks/{file.name}"
            badge = f"](https://colab.research.google.com/{target})\n"
            source = 'SOURCE = "git+https://github.com/some/one"\n'
            assert (
                (badge in title.source)
                == (source in set_up.source)
                == bool(text != without)
            )
    for file in FILES:
        assert (copy / file.name).read_bytes() == file.read_bytes()


def make_wheel(folder, name, version, code="", needs=()):
    """Writes a wheel of one module, as pip reads it; returns its path."""
    about = f"{name}-{version}.dist-info"
    head = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    head += [f"Requires-Dist: {need}" for need in needs]
    tag = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    module = "nnlab.py" if name == "nnlab_jax" else f"{name}.py"
    files = {module: code, f"{about}/METADATA": "\n".join(head) + "\n"}
    files[f"{about}/WHEEL"] = tag
    files[f"{about}/RECORD"] = "".join(f"{f},,\n" for f in (*files, f"{about}/RECORD"))
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as made:
        for file, text in files.items():
            made.writestr(file, text)
    return path


@pytest.fixture
def set_up(tmp_path):
    """Returns what runs the set-up cell in a bare environment with "toy" of a version.

    Beside it lies a wheel of nnlab that needs toy 2 or later, and "other", which is
    missing; the last "other" would need a later toy.
    """
    index, beside = tmp_path / "index", tmp_path / "notebooks"
    for version in ("1.0", "2.0", "3.0"):
        make_wheel(index, "toy", version)
    make_wheel(index, "other", "1.0", needs=["toy"])
    make_wheel(index, "other", "2.0", needs=["toy>=3"])
    code = "import other\nclass notebook:\n    def set_up(): print('it trains')\n"
    needs = ["Toy>=2", "other>=1", "toy>=3; extra == 'more'"]
    make_wheel(beside, "nnlab_jax", "9.0", code, needs)
    (beside / "cell.py").write_text(read(FILES[0]).cells[1].source)
    venv.create(tmp_path / "env", symlinks=True)
    (site,) = (tmp_path / "env").glob("lib/python*/site-packages")
    for name in ("pip", "packaging"):
        found = importlib.util.find_spec(name).origin
        (site / name).symlink_to(pathlib.Path(found).parent)
    environment = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index)}
    environment.pop("PYTHONPATH", None)

    def run(toy=None):
        if toy:
            wheel = zipfile.ZipFile(index / f"toy-{toy}-py3-none-any.whl")
            wheel.extractall(site)  # scan: allowed, it was made above
        command = [tmp_path / "env" / "bin" / "python", "cell.py"]
        how = {"cwd": beside, "env": environment, "capture_output": True, "text": True}
        done = subprocess.run(command, **how)
        said = [*done.stdout.splitlines(), *done.stderr.splitlines()]
        said[-1] = said[-1].removeprefix("__main__.")
        there = (path.name.removesuffix(".dist-info") for path in site.glob("*-info"))
        return said, sorted(there)

    return run


def test_the_set_up_leaves_what_is_new_enough_alone(set_up, tmp_path):
    (site,) = (tmp_path / "env").glob("lib/python*/site-packages")
    (site / "more.pth").write_text(f"{tmp_path / 'index' / 'toy-1.0-py3-none-any.whl'}")
    said, there = set_up(toy="2.0")  # Python imports it before that older copy
    assert said[-1] == "it trains"
    assert there == ["nnlab_jax-9.0", "other-1.0", "toy-2.0"]


def test_the_set_up_installs_the_newest_wheel_and_names_it(set_up, tmp_path):
    code = "class notebook:\n    def set_up(): print('it is new')\n"
    wheel = make_wheel(tmp_path / "notebooks", "nnlab_jax", "10.0", code, ["toy"])
    assert set_up()[0] == [f"nnlab comes from {wheel}", "it is new"]


def test_the_set_up_takes_no_mere_folder_for_nnlab(set_up, tmp_path):
    (tmp_path / "notebooks" / "nnlab" / "docs").mkdir(parents=True)
    assert set_up()[0][-1] == "it trains"


def test_the_set_up_asks_for_a_restart_if_it_had_to_change_a_package(set_up):
    line = "Stop: Restart the kernel: pip had to renew toy"
    assert set_up(toy="1.0")[0][-1] == line
    assert set_up()[0] == ["it trains"]


def test_the_set_up_says_what_to_do_where_nnlab_is_nowhere(set_up, tmp_path):
    next(tmp_path.glob("notebooks/*.whl")).unlink()
    line = "Stop: nnlab is missing: put its wheel beside this notebook or set SOURCE"
    said, there = set_up()
    assert (said[-1], there) == (line, [])


def test_the_set_up_says_what_to_do_where_only_pip_knows_nnlab(set_up, tmp_path):
    set_up()
    next(tmp_path.glob("env/lib/python*/site-packages/nnlab.py")).unlink()
    assert set_up()[0][-1].startswith("Stop: only pip finds nnlab")


@pytest.mark.parametrize(
    ("device", "size"),
    [(("cpu", 2), "12 trials"), (("gpu", 1), "240 trials"), (("tpu", 8), "480 trials")],
)
def test_the_study_is_as_large_as_the_device_allows(device, size, monkeypatch, capsys):
    monkeypatch.setattr(nnlab.notebook.devices, "trains_on", lambda: device)
    cell = read(ROOT / "notebooks/learning_rate_sweep_tpu.ipynb").cells[3].source
    exec(cell, {"nnlab": nnlab})  # scan: allowed, a cell of the repository
    assert capsys.readouterr().out.startswith(size)


@pytest.mark.parametrize("name", SHOWN)
def test_it_runs_and_a_mistake_is_one_line(name, tmp_path):
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
