# SPDX-License-Identifier: Apache-2.0
"""`nnlab PROGRAM` of a wheel; it names programs as they were called."""

import re
import sys

import pytest
from absl.testing import flagsaver
from launched import PROGRAMS, ROOT

import nnlab
from nnlab.commands import programs


@pytest.fixture
def nnlab_of(monkeypatch, capsys):
    """Runs ``nnlab ARGUMENTS``; returns its status, output and errors."""

    def called(*arguments):
        monkeypatch.setattr(sys, "argv", ["/somewhere/bin/nnlab", *arguments])
        with flagsaver.flagsaver():
            try:
                programs.main()
                status = 0
            except SystemExit as ended:
                status = ended.code
        return status, *capsys.readouterr()

    return called


def test_it_lists_the_programs(nnlab_of):
    status, out, err = nnlab_of()
    assert (status, out, err) == nnlab_of("--help")
    assert (status, err) == (0, "")
    told = re.findall(r"^  ([a-z-]+) +[A-Z]", out, re.MULTILINE)
    assert {name.replace("-", "_") for name in told} == set(PROGRAMS)
    assert max(map(len, out.splitlines())) <= 80


def test_it_says_its_version(nnlab_of):
    assert nnlab_of("--version") == (0, f"nnlab {nnlab.__version__}\n", "")


@pytest.mark.parametrize(
    ("name", "told"), [("trian", "did you mean 'train'?"), ("--config=x", "allowed: ")]
)
def test_a_misspelt_program_gets_one_line(nnlab_of, name, told):
    status, out, err = nnlab_of(name)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"error: unknown program '{name}'")
    assert told in err


def test_a_clone_has_a_door_for_each():
    doors = {path.stem for path in (ROOT / "launch").glob("[!_]*.py")} - {"config"}
    assert doors == {name.replace("-", "_") for name in programs.PROGRAMS}


def test_programs_are_called_as_this_one_was(nnlab_of):
    status, out, _ = nnlab_of("find_rate", "--help")
    assert status == 0
    assert "\n  nnlab find-rate --config=" in out
    assert "launch" not in out
    status, _, err = nnlab_of("report")
    assert (status, err) == (
        2,
        "error: --workdir is missing: a folder that nnlab train made\n",
    )


def test_only_programs_are_called_otherwise(monkeypatch):
    text = "python -m launch.find_rate, launch.train, runs/launch.train, a.launch.train"
    assert programs.as_typed(text) == text
    monkeypatch.setattr(sys, "argv", ["bin/nnlab"])
    told = "nnlab find-rate, nnlab train, runs/launch.train, a.launch.train"
    assert programs.as_typed(text) == told
