# SPDX-License-Identifier: Apache-2.0
"""The README and the pages of docs/: examples run, and names exist."""

import pathlib
import re
import shlex
import shutil
import sys
import tomllib
import types
from fnmatch import fnmatch
from typing import NamedTuple

import numpy as np
import pandas
import pytest
from launched import PROGRAMS, QUICKSTART, ROOT, launched

import nnlab
from nnlab.data import generated

pytestmark = pytest.mark.usefixtures("compiled_fast")

README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {str(page.relative_to(ROOT)): page.read_text() for page in PAGES}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
MANY = ("--coordinator", "--processes", "--process_index")
SMALL = {"num_epochs": 1, "num_seeds": 2, "train_size": 200, "show": False}


def blocks(text, *languages):
    return [body for language, body in BLOCK.findall(text) if language in languages]


def codes(text):
    """Returns what stands between single backticks."""
    return re.findall(r"`([^`\n]+)`", BLOCK.sub("", text))


class Command(NamedTuple):
    """A ``python -m launch.PROGRAM`` of a page."""

    page: str
    program: str
    arguments: tuple[str, ...]

    def __str__(self):
        return " ".join((self.program, *self.arguments))


def commands():
    for page, text in TEXTS.items():
        shown = "\n".join((*blocks(text, "bash", "sh"), *codes(text)))
        for line in shown.replace("\\\n", " ").splitlines():
            found = re.search(r"python -m launch\.(\w+)(.*)", line)
            if found and found[2].strip():
                yield Command(page, found[1], (*shlex.split(found[2], comments=True),))


COMMANDS = list(dict.fromkeys(commands()))


# ---- The pages.


def test_the_readme_is_short_and_comes_to_a_question_of_ones_own_soon():
    assert len(TEXTS["README.md"].split()) <= 1_200
    assert "--sweep=" in " ".join(TEXTS["README.md"].split()[:400])


def test_the_readme_begins_with_the_two_lines_that_ci_runs():
    for words, told in {
        "configs/quickstart.py": ("-m launch.train", "--workdir=runs/quickstart"),
        "pytest": ("-m pytest", '".[dev]"'),
    }.items():
        line = next(li for li in TEXTS["README.md"].splitlines() if words in li)
        assert line.startswith("python3 -m venv .venv && ")
        assert all(word in line for word in told)


def test_the_readme_leads_to_every_page():
    targets = re.findall(r"\]\((docs/\w+\.md)\)", TEXTS["README.md"])
    assert {*targets, "README.md"} == set(TEXTS)


def test_every_block_says_its_language_or_is_output():
    for page, text in TEXTS.items():
        known = {"python", "bash", "bibtex", "diff"}
        assert {language for language, _ in BLOCK.findall(text)} <= known, page


@pytest.mark.parametrize("page", TEXTS)
def test_links_lead_somewhere(page):
    links = re.findall(r"(!?)\[([^]]*)\]\(([^)\s]+)\)", TEXTS[page])
    for image, text, target in links:
        assert text or not image, f"{target} has no alternative text"
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        found = (ROOT / page).parent / path if path else ROOT / page
        assert found.resolve().is_relative_to(ROOT), target
        assert found.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.+)$", found.read_text(), re.MULTILINE)
            slugs = [re.sub(r"[^\w -]", "", t).lower() for t in titles]
            assert anchor in [slug.replace(" ", "-") for slug in slugs], target


def test_the_citation_is_of_this_project():
    (cited,) = blocks(TEXTS["README.md"], "bibtex")
    assert f"version = {{{nnlab.__version__}}}" in cited
    assert f"nnlab_jax-{nnlab.__version__}-py3" in TEXTS["README.md"]


@pytest.mark.parametrize("page", TEXTS)
def test_extras_are_the_project_s(page):
    text = TEXTS[page]
    named = {*re.findall(r"\.\[(\w+)\]", text), *re.findall(r"extra: `(\w+)`", text)}
    assert named <= set(PROJECT["optional-dependencies"])


# ---- Examples run.


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Enters an empty folder that has the bundled studies."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p, t in TEXTS.items() if blocks(t, "python")])
def test_the_python_of_a_page_runs(page, here, monkeypatch):
    run = nnlab.run

    def smaller(*args, **kwargs):
        if kwargs.get("dataset") == "fashion_mnist":
            kwargs["dataset"] = "digits"
        return run(*args, **kwargs | SMALL)

    monkeypatch.setattr(nnlab, "run", smaller, raising=False)
    known = {"nnlab": nnlab}
    for block in blocks(TEXTS[page], "python"):
        exec(block, known)  # scan: allowed
    if page == "docs/questions.md":  # a config's
        assert nnlab.define(sweep=list(known["sweep"]())).size().startswith("9 trials")
    if page == "docs/extending.md":  # a file's
        module = types.SimpleNamespace(xor=known["xor"])
        monkeypatch.setitem(sys.modules, "nnlab.data.generated.xor", module)
        assert generated.make("xor:60:0.2").test.size == 12
    if page == "docs/python.md":
        assert known["found"].workdir == here / "runs" / "rates"
        assert "test_top2_mean" in known["mine"].summary()
        assert (here / "best.safetensors").exists()


def small(arguments):
    """Returns the arguments for the smoke variant, on built-in data."""
    for argument in arguments:
        if argument.startswith("--config="):
            name, _, arg = argument.partition(":")
            if "--decide" in arguments:  # else a pilot of many programs is trained
                name = "--config=quickstart"
            words = [w for w in arg.split(",") if w and not w.endswith("mnist")]
            argument = f"{name}:{','.join([*words, 'smoke'])}"
        yield "--seeds=4" if argument.startswith("--seeds=") else argument


def trains(command):
    """Whether it starts a run or a measurement that takes long."""
    told = {argument.partition("=")[0] for argument in command.arguments}
    begins = "--config" in told and "--resume" not in told
    return command.program in ("bench", "find_rate") or (
        command.program == "train" and begins
    )


@pytest.mark.parametrize("command", [c for c in COMMANDS if trains(c)], ids=str)
def test_a_command_is_refused_for_its_folder_alone(here, command):
    """Reads flags, study and sweep, until it meets a folder that it may not write."""
    (here / "taken").mkdir()
    (here / "taken" / "config.json").write_text("{}")
    # Several processes would look for each other; a test below checks these flags.
    arguments = [a for a in command.arguments if not a.startswith(MANY)]
    last, message = "--workdir=taken", "taken' holds results"
    if command.program == "bench":
        last, message = "--out=none/bench.json", "bench.json': no folder '"
        arguments += ["--dataset=digits"] * ("--suite=search" in arguments)
    status, out, err = launched(PROGRAMS[command.program], *arguments, last)
    assert (status, out) == (2, "")
    assert message in err


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A short run of the quickstart."""
    folder = tmp_path_factory.mktemp("quickstart")
    assert launched(PROGRAMS["train"], QUICKSTART, f"--workdir={folder}")[0] == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("command", [c for c in COMMANDS if not trains(c)], ids=str)
def test_a_command_runs(here, workdir, command):
    (here / "DIR").mkdir()
    for name in ("quickstart", "learning_rate", "a", "b"):
        shutil.copytree(workdir, here / "runs" / name)
    status, out, err = launched(PROGRAMS[command.program], *small(command.arguments))
    told = (0, 3, 4) if command.program == "check" else (0,)
    assert (status in told, err) == (True, "")
    assert out


@pytest.mark.slow
def test_the_files_of_a_workdir_are_told(workdir):
    row = re.compile(r"^\| (`.+?) \|", re.MULTILINE)
    told = [n for names in row.findall(TEXTS["docs/resuming.md"]) for n in codes(names)]
    for path in workdir.rglob("*"):
        name = str(path.relative_to(workdir))
        known = (
            name.startswith(pattern)
            if pattern.endswith("/")
            else fnmatch(name, pattern)
            for pattern in told
        )
        assert path.is_dir() or any(known), name


# ---- A table, from a file to an answer.


def students(kind):
    """Writes 240 rows that begin as the page shows."""
    drawn = np.random.default_rng(0)
    hours, sleep = drawn.normal(10, 4, 240).round(1), drawn.normal(7, 1, 240).round(1)
    missed, school = (
        drawn.integers(0, 10, 240),
        drawn.choice(["north", "south", "w"], 240),
    )
    first = re.search(
        r"^student_id,.*\n(?:\d.*\n)+", TEXTS["docs/data.md"], re.MULTILINE
    )
    names, *rows = [line.split(",") for line in first[0].splitlines()]
    for i in range(len(rows), 240):
        gaps = ("" if i % 50 == 9 else hours[i], "" if i == 60 else sleep[i])
        result = "pass" if hours[i] > missed[i] + 5 else "fail"
        cells = [1001 + i, f"Cem {i}", school[i], gaps[0], missed[i], gaps[1], result]
        rows.append([*map(str, cells)])
    text = "\n".join(map(",".join, [names, *rows])) + "\n"
    pathlib.Path("students.csv").write_text(text)
    if kind == "parquet":
        pandas.read_csv("students.csv").to_parquet("students.parquet", index=False)


def steps():
    """Returns the commands of the walk, each with what the page says that it tells."""
    _, _, walk = TEXTS["docs/data.md"].partition("### From a file to an answer")
    found = re.findall(
        r"^```bash\n(.*?)^```\n(?:\n^```\n(.*?)^```)?",
        walk.partition("\n## ")[0],
        re.DOTALL | re.MULTILINE,
    )
    return [
        (shlex.split(command.replace("\\\n", " "))[3:], " ".join(told.split()))
        for command, told in found
    ]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_each_mistake_with_a_table_is_told_as_on_the_page(here, kind):
    students(kind)
    for arguments, told in steps()[:3]:
        given = [a.replace("=csv:", f"={kind}:") for a in arguments]
        given = [a.replace("students.csv", f"students.{kind}") for a in given]
        status, out, err = launched(PROGRAMS["train"], *given)
        assert (status, out) == (2, "")
        said = " ".join(err.replace(f"{here}/", "").split())
        if kind == "csv":
            assert said == told
        else:  # the same, but for where it is
            assert said.partition("; ")[2].endswith(told.partition("; ")[2][-60:])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_that_is_mended_trains_as_on_the_page(here, caplog, kind):
    students(kind)
    small = ["--seeds=2", "--config.num_epochs=2", "--config.figures=()"]
    small += ["--sweep=batch_size=64"]
    for arguments, told in steps()[3:]:
        given = [a.replace("=csv:", f"={kind}:") for a in arguments]
        given = [a.replace("students.csv", f"students.{kind}") for a in given]
        caplog.clear()
        status, out, err = launched(PROGRAMS["train"], *given, *small)
        assert (status, err) == (0, "")
        assert "report: runs/" in out
        said = " ".join(caplog.messages)
        told = told.replace("csv:students.csv", f"{kind}:students.{kind}")
        assert told in said
        assert ("seems to number" in told) == ("seems to number" in said)


# ---- Names exist.


def help_of(program, topic):
    status, out, _ = launched(PROGRAMS[program], f"--help={topic}")
    assert status == 0
    return out


def test_flags_and_fields_are_known():
    told = help_of("train", "fields")
    fields = {*re.findall(r"^  ([\w.]+)=", told, re.MULTILINE)}
    told = "\n".join(help_of(program, "flags") for program in PROGRAMS)
    flags = {*re.findall(r"^  (--\w+)", told, re.MULTILINE), "--help"}
    set_or_swept = re.compile(r"--(?:config\.|sweep='?|search_space='?)([a-z_.]+)=")
    for page, text in TEXTS.items():
        shown = [c for c in codes(text) if c.startswith("--")]
        shown += [a for c in COMMANDS if c.page == page for a in c.arguments]
        assert {re.match(r"--\w+", argument)[0] for argument in shown} <= flags, page
        paths = {*set_or_swept.findall("\n".join(shown))}
        paths |= {*re.findall(r"`([a-z_]+\.[a-z_.]+)=", text)}
        assert paths <= fields, page


def test_files_are_where_the_pages_say():
    ours = re.compile(r"(nnlab|launch|configs|tests|notebooks)/[\w./]*")
    named = {c for text in TEXTS.values() for c in codes(text) if ours.fullmatch(c)}
    named -= {"configs/mine.py"}  # the reader's
    assert {path for path in named if not (ROOT / path).exists()} == set()


def test_the_table_of_rooms_is_complete():
    table = TEXTS["docs/extending.md"].partition("\n## Add")[0]
    told = set(re.findall(r"^\| `([\w.]+)/?` \|", table, re.MULTILINE))
    found = {path.name for path in (ROOT / "nnlab").glob("[!_.]*")}
    assert told == found - {"py.typed"}
