# SPDX-License-Identifier: Apache-2.0
"""A wheel holds all of nnlab and finds the bundled studies."""

import importlib.metadata
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
NEEDED = ("nnlab", "configs", "pyproject.toml", "setup.py", "README.md", "LICENSE")
OLDEST = 77  # the setuptools that pyproject.toml asks for


def setuptools_version():
    try:
        return int(importlib.metadata.version("setuptools").partition(".")[0])
    except importlib.metadata.PackageNotFoundError:
        return 0


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
    (wheel,) = tmp_path.glob("nnlab-*.whl")
    unpack = [f"--target={installed}", str(wheel)]
    subprocess.run([*pip, "install", *alone, *unpack], check=True, timeout=300)

    def files(folder):
        return {p.relative_to(folder) for p in folder.rglob("*") if p.is_file()}

    assert files(source / "configs") <= files(installed / "nnlab" / "configs")
    assert files(source / "nnlab") <= files(installed / "nnlab")
    command = [sys.executable, "-m", "nnlab.commands.describe", "--config=quickstart"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Which learning rate should a small network get?\n")
