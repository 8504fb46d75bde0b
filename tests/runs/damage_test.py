# SPDX-License-Identifier: Apache-2.0
"""Each file of a workdir is damaged in turn, and never accepted."""

import collections
import pathlib
import shutil

import pytest
import tiny

from nnlab import results
from nnlab.results import answers
from nnlab.runs import experiment
from nnlab.training import place

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("compiled_fast")]

STUDY = tiny.study(
    [{"model.hidden": (4,), tiny.RATE: 0.1}, {"model.hidden": (4,), tiny.RATE: 0.3}],
    num_epochs=4,
)
SAME, REFUSED, MENDED = "the same", "refused", "mended"


KEPT = place.Kept()
"""Programs, compiled once for all tests."""


def run(workdir: pathlib.Path, **options) -> results.Results:
    KEPT.loaded = {}  # data are checked in each run
    pinned = {"lane_width": 2, "checkpoint_seconds": 0.0, "kept": KEPT, **options}
    return experiment.run(STUDY, workdir, dataset=tiny.dataset(), **pinned)


def interrupted(workdir: pathlib.Path) -> pathlib.Path:
    """A run stopped after four of its five evaluations."""
    visits = []

    def stop(progress) -> None:
        visits.append(progress)
        if progress.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(workdir, on_progress=stop)
    return workdir


@pytest.fixture(scope="module")
def workdirs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workdirs")
    run(folder / "complete")
    return {"complete": folder / "complete", "interrupted": interrupted(folder / "cut")}


def flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


DAMAGES = {"flipped": flip, "cut": lambda c: c[: len(c) // 2], "emptied": lambda c: b""}


def tables(workdir: pathlib.Path) -> dict[str, bytes]:
    names = ("config.json", "curves.parquet", "members.csv", "summary.csv")
    return {name: (workdir / name).read_bytes() for name in names}


def reading(workdir: pathlib.Path, sound: dict[str, bytes]) -> str:
    """Returns what comes of reading the workdir."""
    problem = ""
    try:
        results.load(workdir)
    except (ValueError, FileNotFoundError) as error:
        problem = str(error)
    assert "\n" not in problem
    assert problem or tables(workdir) == sound
    return REFUSED if problem else SAME


def resuming(workdir: pathlib.Path, whole: dict[str, bytes], damaged: str) -> str:
    """Returns what comes of resuming the run."""
    before, problem = (workdir / damaged).read_bytes(), ""
    try:
        run(workdir, resume=True)
    except (ValueError, OSError) as error:
        problem = str(error)
    if not problem:
        assert tables(workdir) == whole
        return MENDED
    assert damaged.split("/")[0] in problem, "the message names what is damaged"
    assert (workdir / damaged).read_bytes() == before
    return REFUSED


def outcomes(workdirs, kind: str, damage: str, tmp_path, every: int):
    """``{(reading, resuming): files}`` for each file, or for one in `every`."""
    sound, whole = tables(workdirs[kind]), tables(workdirs["complete"])
    files = sorted(p for p in workdirs[kind].rglob("*") if p.is_file())
    found = collections.defaultdict(list)
    for number, path in enumerate(files):
        name, content = path.relative_to(workdirs[kind]).as_posix(), path.read_bytes()
        if not content or (number % every and "/" in name):
            continue
        own = shutil.copytree(workdirs[kind], tmp_path / f"{number}")
        (own / name).write_bytes(DAMAGES[damage](content))
        found[reading(own, sound), resuming(own, whole, name)].append(name)
        shutil.rmtree(own)
    return found


def check(found) -> None:
    read = [
        n for (reading, _), some in found.items() if reading == REFUSED for n in some
    ]
    tables = {"config.json", "curves.parquet", "members.csv", "summary.csv"}
    # Without a sound digest they are read without timings.csv. Not every file below a
    # folder is damaged.
    beside = {"timings.csv.sha256", answers.CORRECT}
    assert {*read} - beside == {*tables, "timings.csv"}
    refused = [
        n for (_, going), some in found.items() if going == REFUSED for n in some
    ]
    assert all(n.startswith("checkpoints/") for n in refused)


@pytest.mark.parametrize("kind", ["complete", "interrupted"])
def test_a_flipped_bit_in_any_file_is_never_taken_for_sound(workdirs, kind, tmp_path):
    check(outcomes(workdirs, kind, "flipped", tmp_path, every=15))


@pytest.mark.long
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", ["complete", "interrupted"])
def test_no_damage_to_any_file_is_taken_for_sound(workdirs, kind, damage, tmp_path):
    found = outcomes(workdirs, kind, damage, tmp_path, every=1)
    check(found)
    for (read, resumed), names in sorted(found.items()):
        print(f"{kind}, {damage}: read {read}, resumed {resumed}: {len(names)} files")
