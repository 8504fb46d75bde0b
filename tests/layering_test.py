# SPDX-License-Identifier: Apache-2.0
"""Imports point down only, and what a laptop needs never imports JAX."""

import ast
import graphlib
import pathlib
import subprocess
import sys

import pytest

import nnlab

ROOT = pathlib.Path(__file__).parent.parent

# Room -> the rooms right below it. It may import these, all that they can reach, and
# its own modules. A new module needs no line here.
BELOW = {
    "words": [],
    "machine": ["words"],
    "data": ["machine"],
    "models": ["words"],
    "study": ["data", "models"],
    "training": ["study"],
    "results": ["study"],
    "statistics": ["results"],
    "runs": ["statistics", "training"],
    "report": ["statistics"],
    "watch": ["runs"],
    "describe": ["training"],
    "builder": ["report", "runs"],
    "cluster": ["runs"],
    "api": ["report", "watch"],
    "commands": ["api", "cluster", "describe"],
    "configs": ["commands"],
    "launch": ["commands"],
}
LIGHT = ("words", "data", "study", "results", "statistics", "report", "watch")
"""Rooms that draw a report; they load no JAX when imported."""
LIGHT_FILES = ("machine.devices", "machine.files", "machine.signals", "models.layers")
"""Modules of other rooms that load no JAX either."""
FILES = sorted(
    p for top in ("nnlab", "launch", "configs") for p in (ROOT / top).rglob("*.py")
)


def reachable(name):
    return set(BELOW[name]).union(*(reachable(below) for below in BELOW[name]))


def room_of(parts):
    """Returns the room of a module's dotted parts; None for nnlab itself."""
    return parts[0] if parts[0] != "nnlab" else parts[1] if len(parts) > 1 else None


def imports(file, nested=True):
    """Returns the dotted names that a file imports, also in functions if `nested`."""
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree) if nested else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def parts_of(file):
    return file.relative_to(ROOT).with_suffix("").parts


def test_every_room_is_in_the_table():
    there = (ROOT / "nnlab").glob("[!_]*")
    rooms = {parts_of(p)[1] for p in there if p.suffix in ("", ".py")}
    assert rooms == set(BELOW) - {"launch", "configs"} == set(nnlab.SUBMODULES)


def test_the_rooms_have_no_cycle():
    assert set(graphlib.TopologicalSorter(BELOW).static_order()) == set(BELOW)


def test_the_modules_have_no_cycle():
    modules = {parts_of(file): set(imports(file, nested=False)) for file in FILES}
    names = {".".join(parts).removesuffix(".__init__"): parts for parts in modules}
    below = {
        parts: {
            names[found]
            for name in used
            for found in (name, name.rpartition(".")[0])
            if found in names
            and names[found] != parts
            and names[found][-1] != "__init__"
        }
        for parts, used in modules.items()
    }
    assert set(graphlib.TopologicalSorter(below).static_order()) == set(below)


@pytest.mark.parametrize("file", FILES, ids=lambda f: "/".join(parts_of(f)))
def test_imports_point_down(file):
    own = room_of(parts_of(file))
    if own == "__init__":  # of nnlab, which loads its rooms when they are used
        return
    for name in imports(file):
        parts = name.split(".")
        other = room_of(parts)
        if parts[0] in ("nnlab", "launch", "configs") and other not in (own, None):
            assert other in reachable(own), f"{own} imports {name}"


@pytest.mark.parametrize("file", FILES, ids=lambda f: "/".join(parts_of(f)))
def test_flags_and_configs_stay_out_of_the_library(file):
    parts = parts_of(file)
    if parts[0] == "nnlab" and parts[1] != "commands":
        tops = {name.partition(".")[0] for name in imports(file)}
        assert not tops & {"absl", "ml_collections", "launch", "configs"}


def test_what_a_laptop_needs_leaves_jax_alone():
    lines = ["import sys"]
    for name in (*LIGHT, *LIGHT_FILES, "commands", "api"):
        room = ROOT.joinpath("nnlab", *name.split("."))
        for file in room.rglob("*.py") if room.is_dir() else [room.with_suffix(".py")]:
            module = ".".join(parts_of(file)).removesuffix(".__init__")
            lines.append(f"import {module}")
            lines.append(f"assert not {{'jax', 'flax'}} & set(sys.modules), {module!r}")
    command = [sys.executable, "-c", "\n".join(lines)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("", "")
