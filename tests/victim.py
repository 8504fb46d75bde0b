# SPDX-License-Identifier: Apache-2.0
"""Runs a small study in processes that are killed, for kill_test.

A process that imports JAX takes seconds to start, so this one imports it, starts no
device, and forks: each child is a run of its own. It reads lines of JSON from standard
input, {"kind": ..., "draws": ..., "workdir": ..., "kill_after": seconds or null}, and
answers each with a line: {"killed": ..., "seconds": ..., "trained": examples}.
"""

import dataclasses
import json
import os
import pathlib
import signal
import sys
import time
import traceback

import jax
import optuna  # noqa: F401  (else each child would import it; as are the next two)
import orbax.checkpoint  # noqa: F401
from matplotlib import pyplot  # noqa: F401

from nnlab import report, results
from nnlab.runs import experiment, search, sequential
from nnlab.statistics import sequential as planned
from nnlab.study import Halving, Search, Study
from nnlab.training import place

STUDY = Study.from_dict(
    {
        "batch_size": 32,
        "num_epochs": 400,
        "num_seeds": 3,
        "optimizer": {"momentum": 0.5},
        "early_stopping": {"patience": 150},
        "figures": ("curves", "confusion", "gallery", "probabilities"),
        "test_sets": {"moved_pixels": 1},
        "sweep": [
            {"model.hidden": (8,), "optimizer.learning_rate": 0.03},
            {"model.hidden": (8,), "optimizer.learning_rate": 0.3},
            {"model.hidden": (16,), "optimizer.learning_rate": 0.1},
            {"model.name": "boosted_trees", "model.num_trees": 3},
        ],
    }
)
# Kinds with noise and running means, which are states too.
NOISY = dataclasses.replace(
    STUDY,
    test_sets=dataclasses.replace(STUDY.test_sets, severity=True),
    base=STUDY.base.replace(
        {
            "model.batch_norm": True,
            "model.dropout_rate": 0.2,
            "num_epochs": 40,
            "early_stopping.patience": 15,
        }
    ),
)
STUDIES = {
    "plain": STUDY,
    "sweep": NOISY,
    "halving": dataclasses.replace(NOISY, halving=Halving(factor=2, min_epochs=10)),
    "search": dataclasses.replace(
        NOISY,
        sweep=({},),
        search=Search(
            space=("optimizer.learning_rate=log(1e-2,1)", "model.hidden=(8,),(16,)"),
            trials=9,
            batch=3,
        ),
    ),
    "looks": planned.begin(NOISY, (3, 4, 6)),
}


def run(kind: str, workdir: pathlib.Path) -> None:
    """Runs once; a file beside the workdir tells how many examples it trained."""
    study = STUDIES[kind]
    if (workdir / results.CONFIG).exists():
        study = Study.from_dict(results.load_config(workdir)["study"])
    kept = place.Kept()
    counter = workdir.with_suffix(".trained")
    first: list[int] = []

    def note(progress: experiment.Progress) -> None:
        first.append(progress.done)
        temporary = counter.with_suffix(".tmp")
        temporary.write_text(str(progress.done - first[0]))
        os.replace(temporary, counter)

    def trained(study: Study, resume: bool) -> results.Results:
        return experiment.run(
            study,
            workdir,
            lane_width=2,
            resume=resume,
            kept=kept,
            checkpoint_seconds=0.1,
            on_progress=note,
        )

    if study.search.space:
        search.run(study, workdir, trained, resumes=True)
    else:
        sequential.run(study, trained, True)


def main() -> None:
    """Answers requests until standard input ends."""
    jax.config.update("jax_compilation_cache_dir", sys.argv[1])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    for line in sys.stdin:
        asked = json.loads(line)
        workdir = pathlib.Path(asked["workdir"])
        counter = workdir.with_suffix(".trained")
        counter.unlink(missing_ok=True)
        start = time.monotonic()
        child = os.fork()
        if not child:
            status = 1
            try:
                run(asked["kind"], workdir)
                if asked["draws"]:
                    report.write(workdir)
                status = 0
            except BaseException:
                traceback.print_exc()
            os._exit(status)
        if asked["kill_after"] is not None:
            time.sleep(asked["kill_after"])
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        answer = {
            "killed": os.WIFSIGNALED(status),
            "status": os.waitstatus_to_exitcode(status),
            "seconds": time.monotonic() - start,
            "trained": int(counter.read_text()) if counter.exists() else 0,
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
