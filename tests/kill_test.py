# SPDX-License-Identifier: Apache-2.0
"""Runs that are killed at random moments end as those that were left alone."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.slow

TABLES = ("config.json", "curves.parquet", "members.csv", "summary.csv")
PICTURES = "artifacts/pictures.npz"


class Victims:
    """The processes of `victim`, one after another."""

    def __init__(self, folder: pathlib.Path) -> None:
        program = pathlib.Path(__file__).with_name("victim.py")
        self._process = subprocess.Popen(
            [sys.executable, str(program), str(folder / "cache")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, workdir: pathlib.Path, kill_after: float | None = None):
        asked = {"workdir": str(workdir), "kill_after": kill_after}
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


@pytest.fixture(scope="module")
def whole(victims, tmp_path_factory):
    """The folder of a run that was left alone, its seconds, its trained examples."""
    folder = tmp_path_factory.mktemp("whole")
    victims.run(folder / "first")  # fills the compilation cache
    answer = victims.run(folder / "second")
    assert answer["status"] == 0
    return folder / "second", answer["seconds"], answer["trained"]


def content(workdir: pathlib.Path) -> dict[str, bytes]:
    return {name: (workdir / name).read_bytes() for name in (*TABLES, PICTURES)}


def torment(victims, whole, folder: pathlib.Path, kills: int, seed: int) -> float:
    """Kills runs so often in all; returns training in units of one whole run's.

    Each sweep is killed until it ends by itself, at moments spread over the seconds of
    a whole run, start included.
    """
    workdir, seconds, examples = whole
    kills_asked = kills
    expected = content(workdir)
    rng = np.random.default_rng(seed)
    trained = [0]
    while kills:
        own = folder / f"run_{len(trained)}"
        answer = victims.run(own, kill_after=rng.uniform(0.0, seconds))
        trained[-1] += answer["trained"]
        kills -= answer["killed"]
        if not answer["killed"] or not kills:
            if answer["killed"]:
                answer = victims.run(own)
                trained[-1] += answer["trained"]
            assert answer["status"] == 0
            assert content(own) == expected
            trained.append(0)
    ratio = float(np.mean(trained[:-1])) / examples
    print(f"{kills_asked} kills of {len(trained) - 1} runs: {ratio:.2f} of a whole")
    return ratio


def test_a_few_kills_change_nothing(victims, whole, tmp_path):
    assert torment(victims, whole, tmp_path, kills=6, seed=0) <= 1.5


@pytest.mark.long
def test_a_hundred_kills_change_nothing(victims, whole, tmp_path):
    assert torment(victims, whole, tmp_path, kills=100, seed=1) <= 1.5
