# SPDX-License-Identifier: Apache-2.0
"""Runs killed at random moments end like uninterrupted ones."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("compiled_fast")]

TABLES = ("config.json", "curves.parquet", "*.csv", "artifacts/*")


class Victims:
    """The processes of `victim`, one after another."""

    def __init__(self, folder: pathlib.Path) -> None:
        program = pathlib.Path(__file__).parents[1] / "victim.py"
        # This checkout's code, whose commit may change meanwhile, so none is noted.
        checkout = {"PYTHONPATH": str(program.parent.parent), "GIT_DIR": os.devnull}
        self._process = subprocess.Popen(
            [sys.executable, str(program), str(folder / "cache")],
            env=os.environ | checkout,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, workdir: pathlib.Path, kill_after: float | None = None, **how):
        asked = {"kind": "plain", "draws": False, "workdir": str(workdir)}
        asked |= {"kill_after": kill_after, **how}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def end(self) -> None:
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def victims(tmp_path_factory):
    found = Victims(tmp_path_factory.mktemp("victims"))
    yield found
    found.end()


def content(workdir: pathlib.Path) -> dict[str, bytes]:
    files = (file for some in TABLES for file in workdir.glob(some))
    return {f.name: f.read_bytes() for f in files if f.name != "timings.csv"}


def torment(victims, folder: pathlib.Path, kills: int, seed: int, **how) -> float:
    """Kills runs `kills` times in all; returns training in units of one whole run's.

    Each is killed until it ends by itself, at moments spread over the seconds of a
    whole run, start included.
    """
    victims.run(folder / "first", **how)  # fills the compilation cache
    whole = victims.run(folder / "whole", **how)
    assert whole["status"] == 0
    expected = content(folder / "whole")
    kills_asked = kills
    rng = np.random.default_rng(seed)
    trained = [0]
    while kills:
        own = folder / f"run_{len(trained)}"
        answer = victims.run(own, rng.uniform(0.0, whole["seconds"]), **how)
        trained[-1] += answer["trained"]
        kills -= answer["killed"]
        if not answer["killed"] or not kills:
            if answer["killed"]:
                answer = victims.run(own, **how)
                trained[-1] += answer["trained"]
            assert answer["status"] == 0
            assert content(own) == expected
            trained.append(0)
    ratio = float(np.mean(trained[:-1])) / whole["trained"]
    print(f"{kills_asked} kills of {len(trained) - 1} runs: {ratio:.2f} of a whole")
    return ratio


@pytest.mark.long
def test_a_few_kills_change_nothing(victims, tmp_path):
    assert torment(victims, tmp_path, kills=2, seed=0) <= 1.5


@pytest.mark.long
@pytest.mark.parametrize("kind", ["sweep", "halving", "search", "looks"])
def test_kills_change_nothing_in_any_kind_of_run(victims, tmp_path, kind):
    kills = int(os.environ.get("NNLAB_KILLS", "10"))
    torment(victims, tmp_path, kills, seed=1, kind=kind, draws=True)
