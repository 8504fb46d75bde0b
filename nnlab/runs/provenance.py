# SPDX-License-Identifier: Apache-2.0
"""Records what a run consists of (study, data, versions, devices), for config.json."""

import pathlib
import platform
import subprocess
from collections.abc import Sequence
from typing import Any

import flax
import jax
import jaxlib
import numpy as np
import optax

import nnlab
from nnlab.data import Dataset, labels
from nnlab.machine import devices
from nnlab.study import Study
from nnlab.training.program import Program


def record(study: Study, programs: Sequence[Program]) -> dict[str, Any]:
    """Returns the complete record of a run, without anything from the clock."""
    number_of = {
        trial.index: program.index
        for program in reversed(programs)  # a trial's first program counts
        for trial in program.trials
    }
    by_size = sorted(programs, key=lambda program: len(program.dataset.train.labels))
    largest = {program.hyperparameters.data: program.dataset for program in by_size}
    return {
        "study": study.to_dict(),
        "study_digest": study.digest(),
        "trials": [
            {
                "index": trial.index,
                "id": trial.id,
                "label": trial.label,
                "overrides": dict(trial.overrides),
                "cohort": number_of.get(trial.index),
            }
            for trial in study.trials()
        ],
        "cohorts": [program.to_dict() for program in programs],
        "module": study.own.module and study.own.module.name,
        "metrics": list(study.own.metrics),
        "backbones": [],
        "datasets": {
            name: {
                "name": dataset.name,
                "train": len(dataset.train.labels),
                "validation": len(dataset.validation.labels),
                "test": len(dataset.test.labels),
                "classes": list(dataset.class_names),
                "labels": labels.to_plain(dataset.values_of_classes()),
                "chance": chance_of(dataset),
                "input_shape": list(dataset.input_shape),
                "features": list(dataset.feature_names),
                "origin": None if dataset.origin is None else dataset.origin.tolist(),
                **({"vocabulary": dataset.vocabulary} if dataset.vocabulary else {}),
                "digest": dataset.digest,
                "notes": list(dataset.notes),
                **_targets(dataset),
            }
            for name, dataset in largest.items()
        },
        "versions": {
            "nnlab": nnlab.__version__,
            "python": platform.python_version(),
            **{of.__name__: of.__version__ for of in (jax, jaxlib, flax, optax)},
            "numpy": np.__version__,
        },
        "settings": devices.settings(),
        "failures": {},
        "out_of_memory": {},
        "begun_otherwise": [],
        "git_commit": _git_commit(),
        "devices": {
            "platform": jax.default_backend(),
            "kind": devices.device_kind(),
            "count": jax.device_count(),
            "processes": jax.process_count(),
        },
    }


def _targets(dataset: Dataset) -> dict[str, Any]:
    """Returns mean and unit of a regression's targets; nothing of classes."""
    some = {"mean": dataset.target_mean, "unit": dataset.target_unit}
    found = {name: each.tolist() for name, each in some.items() if each is not None}
    return {"targets": found} if found else {}


def chance_of(dataset: Dataset) -> float:
    """Returns the score of a constant answer on the validation examples.

    It is the largest class's share; of a regression 0, the R2 of the mean.
    """
    if dataset.is_regression:
        return 0.0
    labels = dataset.validation.labels
    return float(np.bincount(labels).max() / len(labels))


def _git_commit() -> str | None:
    """Returns the commit of nnlab's checkout, with "-dirty" if files are changed."""
    here = pathlib.Path(nnlab.__file__).parent
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        found = subprocess.run(
            command, cwd=here, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None
