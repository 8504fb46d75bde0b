# SPDX-License-Identifier: Apache-2.0
"""A list of runs shows each run, or the reason why it cannot be read."""

import fcntl
import os
import subprocess
import sys

import numpy as np
import synthetic

from nnlab import results
from nnlab.results import listing


def make(folder, **options):
    options = {"num_trials": 2, "num_seeds": 3, "num_evaluations": 3, **options}
    return synthetic.results(workdir=folder, **options)


def written_at(folder, seconds):
    for name in (results.CONFIG, "summary.csv"):
        os.utime(folder / name, (seconds, seconds))


def test_runs_are_found_below_and_those_written_last_come_first(tmp_path):
    make(tmp_path / "a", question="What is a?")
    make(tmp_path / "deep" / "er" / "b", never_ran=[1])
    make(tmp_path / "c", failures={0: "no memory"})
    for place, name in enumerate(("c", "deep/er/b", "a")):
        written_at(tmp_path / name, 1_000.0 + place)
    make(tmp_path / "a" / "within")  # in a run's own folder
    make(tmp_path / ".hidden")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    found = listing.listed(tmp_path)
    assert [run.name for run in found] == ["a", "deep/er/b", "c"]
    assert [run.status for run in found] == ["complete", "interrupted", "failed"]
    assert [run.written for run in found] == [1_002.0, 1_001.0, 1_000.0]
    a = found[0]
    assert (a.question, a.networks, a.broken) == ("What is a?", 6, "")
    assert a.best.startswith("learning_rate=")
    assert "±" in a.score
    (alone,) = listing.listed(tmp_path / "a")
    assert alone.name == "."


def test_the_best_trial_is_that_of_the_report_whatever_its_label(tmp_path):
    sweep = [{"label": "=1+1"}, {"batch_size": 8, "label": "=1+1, too"}]
    make(tmp_path, sweep=sweep, values=np.array([[0.8, 0.7, 0.6], [0.9, 0.9, 0.9]]))
    (run,) = listing.listed(tmp_path)
    assert (run.best, run.score) == ("=1+1, too", "90.0 ± 0.0 %")
    assert b"\"'=1+1" in (tmp_path / "summary.csv").read_bytes()


def test_what_cannot_be_read_is_listed_with_the_reason(tmp_path):
    for name in "abcdefgh":
        make(tmp_path / name)
    (tmp_path / "a" / "config.json").write_text("{")
    (tmp_path / "b" / "config.json").unlink()
    (tmp_path / "c" / "summary.csv").unlink()
    with (tmp_path / "d" / "summary.csv").open("a") as table:
        table.write("x\n")
    (tmp_path / "e" / "config.json").write_bytes(b"\xff")
    config = results.load_config(tmp_path / "f")
    del config["study"]
    results.write(tmp_path / "f", config, {})
    for name, content in (("g", b"a" * 200_000), ("h", b"\xff")):
        config = results.load_config(tmp_path / name)
        results.write(tmp_path / name, config, {"summary.csv": content})
    (tmp_path / "empty").mkdir()
    found = {run.name: run for run in listing.listed(tmp_path)}
    assert set(found) == set("abcdefgh")
    assert {run.status for run in found.values()} == {"broken"}
    reasons = {name: run.broken for name, run in found.items()}
    assert "config.json' is damaged" in reasons["a"]
    assert reasons["b"] == "no config.json"
    assert "No such file" in reasons["c"]
    assert reasons["d"] == "summary.csv is damaged: its digest differs"
    assert "config.json' is damaged" in reasons["e"]
    assert "'study'" in reasons["f"]
    assert "summary.csv is damaged: field larger" in reasons["g"]
    assert "summary.csv is damaged: 'utf-8' codec" in reasons["h"]
    assert not any("\n" in reason for reason in reasons.values())


def test_a_run_that_is_at_work_is_told(tmp_path):
    make(tmp_path / "a", never_ran=[1])
    make(tmp_path / "b", never_ran=[1])
    descriptor = os.open(tmp_path / "b", os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # as files.alone_in does
        found = {run.name: run.status for run in listing.listed(tmp_path)}
        assert found == {"a": "interrupted", "b": "running"}
    finally:
        os.close(descriptor)
    assert {run.status for run in listing.listed(tmp_path)} == {"interrupted"}


def test_a_list_is_not_endless(tmp_path):
    folder = tmp_path
    for depth in range(listing.DEEPEST + 2):
        folder = folder / str(depth)
    make(folder)
    assert listing.listed(tmp_path) == ()
    assert len(listing.listed(tmp_path / "0" / "1")) == 1


def test_a_list_takes_neither_jax_nor_matplotlib(tmp_path):
    make(tmp_path)
    code = (
        "import sys; from nnlab.commands import report; report.define_flags();"
        "from absl import flags; flags.FLAGS([sys.argv[0], '--list=' + sys.argv[1]]);"
        "report.main(); sys.exit(bool({'jax', 'matplotlib', 'scipy'} & {*sys.modules}))"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
