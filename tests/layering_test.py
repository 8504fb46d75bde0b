# SPDX-License-Identifier: Apache-2.0
"""Import arrows point down only, and what a laptop needs never imports JAX."""

import ast
import graphlib
import pathlib
import subprocess
import sys

import pytest

import nnlab

ROOT = pathlib.Path(__file__).parent.parent

# Module or package -> what stands right below it. It may import all that can be reached
# from there. A new module needs a line here; a new arrow upward makes a cycle. The
# packages `statistics` and `figures` have a line for each of their modules.
BELOW = {
    "files": [],
    "names": [],
    "metrics": [],
    "data": ["files", "names", "texts"],
    "models": ["names"],
    "checked": ["names"],
    "needs": [],
    "study": ["checked", "models", "needs", "texts"],
    "optim": ["study"],
    "own": ["study"],
    "sweep": ["study"],
    "chunks": ["sweep"],
    "cells": [],
    "results": ["cells", "files", "sweep"],
    "statistics": [],
    "statistics.intervals": ["statistics"],
    "statistics.effects": ["statistics.intervals"],
    "statistics.members": ["results", "statistics.intervals"],
    "statistics.ranking": ["statistics.effects", "statistics.members"],
    "statistics.across": ["statistics.ranking"],
    "statistics.targets": ["statistics.ranking"],
    "statistics.rates": ["statistics.members"],
    "statistics.looks": ["statistics.ranking"],
    "statistics.summary": ["statistics.targets"],
    "statistics.verdicts": ["statistics.targets"],
    "swept": ["statistics.members"],
    "texts": [],
    "artifacts": [],
    "rates": ["statistics.rates", "swept", "texts"],
    "looks": ["statistics.looks", "texts"],
    "answer": [
        "statistics.looks",
        "statistics.rates",
        "statistics.verdicts",
        "swept",
        "texts",
    ],
    "figures": [],
    "figures.style": ["figures", "swept"],
    "figures.labels": ["figures.style"],
    "figures.scales": ["figures.labels"],
    "figures.levels": ["figures.scales"],
    "figures.curves": ["figures.levels"],
    "figures.overlay": ["figures.curves"],
    "figures.points": ["figures.curves", "statistics.targets"],
    "figures.live": ["figures.style", "statistics.intervals"],
    "figures.moved": ["figures.points"],
    "figures.rate_range": ["figures.points", "statistics.rates"],
    "figures.captions": ["figures.curves", "texts"],
    "figures.extremes": ["figures.curves"],
    "figures.norms": ["figures.curves", "statistics.ranking"],
    "figures.maps": ["figures.scales", "statistics.ranking"],
    "figures.sizes": ["figures.points"],
    "figures.pictures": ["artifacts", "figures.labels"],
    "figures.findings": ["answer", "artifacts", "figures.moved", "figures.norms"],
    "figures.sketches": [
        "figures.captions",
        "figures.extremes",
        "figures.findings",
        "figures.maps",
        "figures.pictures",
        "figures.rate_range",
        "figures.sizes",
    ],
    "figures.panels": ["figures.sketches"],
    "sections": ["figures.panels", "statistics.looks", "statistics.summary"],
    "costs": ["sections"],
    "report": ["costs"],
    "listing": ["results", "texts"],
    "compare": ["figures.overlay", "listing", "report", "statistics.across"],
    "train": ["metrics", "own"],
    "baselines": ["data", "study"],
    "transfer": ["train"],
    "processes": [],
    "halving": [],
    "population": ["devices", "processes", "train"],
    "plan": ["population"],
    "cohorts": ["baselines", "data", "plan", "sweep"],
    "prepare": ["cohorts", "optim", "transfer"],
    "tuning": ["cohorts"],
    "scaling": ["recorder"],
    "gradients": ["cohorts"],
    "provenance": ["cohorts"],
    "rows": ["results", "sweep"],
    "recorder": [
        "artifacts",
        "halving",
        "provenance",
        "resume",
        "rows",
        "statistics.summary",
        "transfer",
        "tuning",
    ],
    "tensorboard": ["recorder"],
    "checkpoint": ["mistakes", "results"],
    "resume": ["sweep"],
    "search": ["resume", "statistics.ranking"],
    "placing": ["prepare", "tuning"],
    "looking": ["placing", "recorder"],
    "network": ["checkpoint", "prepare", "resume"],
    "training": ["looking", "network"],
    "experiment": ["resume", "training"],
    "storage": ["checkpoint"],
    "cluster": [],
    "executor": ["chunks", "cluster", "experiment", "storage"],
    "rerun": ["resume", "training"],
    "mistakes": ["texts"],
    "interrupt": [],
    "devices": ["files", "names"],
    "display": ["recorder"],
    "notebook": ["devices", "display"],
    "api": [
        "experiment",
        "interrupt",
        "looks",
        "mistakes",
        "notebook",
        "rates",
        "report",
        "search",
    ],
    "building": ["experiment", "mistakes"],
    "watching": ["building", "statistics.members", "texts"],
    "builder": ["figures.live", "report", "watching"],
    "launch": [
        "api",
        "compare",
        "executor",
        "gradients",
        "rerun",
        "scaling",
        "tensorboard",
    ],
    "configs": ["launch"],
}
FILES = sorted(
    p for top in ("nnlab", "launch", "configs") for p in (ROOT / top).rglob("*.py")
)


def reachable(name):
    return set(BELOW[name]).union(*(reachable(below) for below in BELOW[name]))


def module_of(parts):
    """The name in `BELOW` for the dotted parts of a module; None for nnlab itself."""
    if parts[0] != "nnlab":
        return parts[0]
    inner = ".".join(parts[1:3])
    return inner if inner in BELOW else parts[1] if len(parts) > 1 else None


def imports(file):
    """Dotted names that a file imports, those inside functions among them."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def parts_of(file):
    return file.relative_to(ROOT).with_suffix("").parts


def test_every_module_has_its_layer_and_loads_when_it_is_used():
    files = (p for p in (ROOT / "nnlab").glob("[!_]*") if p.name != "templates")
    modules = {file.stem for file in files}
    tops = {name for name in BELOW if "." not in name}
    assert modules == tops - {"launch", "configs"}
    assert modules == set(nnlab.SUBMODULES)


@pytest.mark.parametrize("package", ["statistics", "figures"])
def test_every_module_of_a_layered_package_has_its_layer(package):
    files = (ROOT / "nnlab" / package).glob("[!_]*.py")
    inner = {name for name in BELOW if name.startswith(f"{package}.")}
    assert {f"{package}.{file.stem}" for file in files} == inner


def test_the_layers_have_no_cycle():
    assert set(graphlib.TopologicalSorter(BELOW).static_order()) == set(BELOW)


@pytest.mark.parametrize("file", FILES, ids=lambda f: "/".join(parts_of(f)))
def test_imports_point_down(file):
    own = module_of(parts_of(file))
    if own == "__init__":  # of nnlab, which loads its modules when they are used
        return
    for name in imports(file):
        parts = name.split(".")
        other = module_of(parts)
        if parts[0] in ("nnlab", "launch", "configs") and other not in (own, None):
            assert other in reachable(own), f"{own} imports {name}"


@pytest.mark.parametrize("file", FILES, ids=lambda f: "/".join(parts_of(f)))
def test_flags_and_configs_stay_out_of_the_library(file):
    if parts_of(file)[0] == "nnlab":
        tops = {name.partition(".")[0] for name in imports(file)}
        assert not tops & {"absl", "ml_collections", "launch", "configs"}


@pytest.mark.parametrize(
    "module",
    [
        "nnlab",
        "nnlab.sweep",
        "nnlab.compare",
        "nnlab.report",  # and so most of statistics and figures, results and study
        *(f"nnlab.{name}" for name in BELOW if name.startswith("statistics.")),
        "nnlab.data",
        "nnlab.display",
        "nnlab.tensorboard",
        "nnlab.baselines",
        "nnlab.models.layers",
        "nnlab.api",
        "launch.config",
        "launch.report",
        "launch.train",
        "launch.describe",
    ],
)
def test_importing_it_leaves_jax_alone(module):
    code = f"import sys, {module}; sys.exit(bool({{'jax', 'flax'}} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
