# SPDX-License-Identifier: Apache-2.0
"""The sealed plan of a run, fixed before any test example is scored; no JAX.

A study with ``seal`` writes its plan into `FILE` before it trains. Until the plan is
done, tables, pictures and observers get no test score; checkpoints do hold them. The
report then compares what has run with the plan.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from nnlab.machine.files import write_atomic
from nnlab.results.answers import Answers
from nnlab.results.tables import CURVES, SEVERITY, Results, table
from nnlab.study import Study, digest_json
from nnlab.words import numbers

FILE = "seal.json"


@dataclasses.dataclass(frozen=True)
class Seal:
    """What was planned.

    Attributes:
      study: the study, with its claims and seeds.
      datasets: the digest of each data set, by its name in the study.
      digest: SHA-256 (hexadecimal) of both.
    """

    study: Study
    datasets: Mapping[str, str]
    digest: str


def write(workdir: pathlib.Path, study: Study, datasets: Mapping[str, Any]) -> str:
    """Writes the plan of a new run; `datasets` are as in ``config.json``.

    Returns:
      The plan's digest.
    """
    digests = {name: data["digest"] for name, data in datasets.items()}
    plan = {"study": study.to_dict(), "datasets": digests}
    digest = digest_json(plan)
    text = json.dumps({**plan, "digest": digest}, indent=1)
    write_atomic(workdir / FILE, (text + "\n").encode())
    return digest


def load(workdir: str | os.PathLike[str]) -> Seal | None:
    """Reads the plan of a workdir; None if there is none.

    Raises:
      ValueError: it is not what a run wrote.
    """
    path = pathlib.Path(workdir) / FILE
    try:
        plan = json.loads(path.read_bytes())
        digest = plan.pop("digest")
        study = Study.from_dict(plan["study"], recorded=True)
        datasets = {str(k): str(v) for k, v in plan["datasets"].items()}
    except FileNotFoundError:
        return None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        digest = plan = None
    if plan is None or digest != digest_json(plan):
        raise ValueError(f"{str(path)!r} is not the plan that was sealed")
    return Seal(study, datasets, digest)


def is_closed(study: Study, status: str) -> bool:
    """Whether the test scores of a run, by the status of its config, stay hidden."""
    return study.seal and status == "interrupted"


def without_tests(results: Results) -> Results:
    """Returns results without test scores."""
    curves = results.curves
    for name in filter(is_test, curves.column_names):
        place = curves.column_names.index(name)
        if name in CURVES:
            nulls = pa.nulls(curves.num_rows, CURVES[name])
            curves = curves.set_column(place, name, nulls)
        else:
            curves = curves.remove_column(place)
    each = {file: _untested(one) for file, one in (results.each or {}).items()}
    none = table([], SEVERITY)
    return dataclasses.replace(results, curves=curves, severity=none, each=each)


def _untested(each: Answers) -> Answers:
    kept = [split for split in each.values if not is_test(split)]
    return dataclasses.replace(
        each,
        sizes={split: each.sizes[split] for split in kept},
        values={split: each.values[split] for split in kept},
    )


def is_test(name: str) -> bool:
    """Whether a split, or a column of the curves, is of test examples."""
    return name.startswith("test")


def deviations(results: Results) -> tuple[str, list[str]]:
    """Compares a run with its sealed plan.

    Returns:
      The first digits of the plan's digest, "" if there is no plan to read, and how
      what ran differs from it, in words.
    """
    try:
        seal = load(results.workdir)
    except ValueError as error:
        return "", [str(error)]
    if seal is None:
        return "", [f"{FILE} is missing: what was planned is not known"]
    found = [*_changes(seal.study, results.study)]
    for name, digest in seal.datasets.items():
        data = results.config["datasets"].get(name)
        if data and data["digest"] != digest:
            found.append(f"the data of {name} are others than planned")
    if failures := results.config["failures"]:
        programs = numbers.count(len(results.config["cohorts"]), "program")
        found.append(f"{len(failures)} of {programs} failed")
    if results.config.get("test_seen"):
        found.append("the run went on after its test scores could be seen")
    return seal.digest[:12], found


def _changes(plan: Study, ran: Study) -> Iterator[str]:
    """Yields what differs between a plan and the study that continued it.

    Such a study has all trials of the plan, in its order; see `nnlab.runs.resume`.
    """
    if plan.num_seeds != ran.num_seeds:
        yield f"{plan.seeds()} were planned, and {ran.num_seeds:,} ran"
    before, after = plan.trials(), ran.trials()
    for trial in after[len(before) :]:
        yield f"trial “{trial.label}” was not planned"
    epochs = [[t.hyperparameters.num_epochs for t in some] for some in (before, after)]
    if epochs[0] != epochs[1][: len(before)]:
        yield f"{max(epochs[0])} epochs were planned, and {max(epochs[1])} ran"
    if plan.target != ran.target:
        yield f"the target was {plan.target:g}, and is {ran.target:g}"
    if plan.compare_trials != ran.compare_trials:
        yield f"compare_trials was {plan.compare_trials}, and is {ran.compare_trials}"
    claims, now = ({c.text: c for c in of.claims} for of in (plan, ran))
    for text in (*claims, *(text for text in now if text not in claims)):
        if text not in now:
            yield f"the claim “{text}” was planned, and is not made"
        elif text not in claims:
            yield f"the claim “{text}” was not planned"
        elif claims[text] != now[text]:
            yield f"the claim “{text}” compares something else than planned"
