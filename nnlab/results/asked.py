# SPDX-License-Identifier: Apache-2.0
"""Claims that are asked in a line, of a study or of a finished run; no JAX."""

import dataclasses
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from nnlab.results.answers import SPLITS
from nnlab.results.tables import CURVES, Results
from nnlab.study import Claim, Study, Trial, grammar
from nnlab.study.fitting import meant
from nnlab.words.spelling import nearest

KEYS = ("trial", "seed", "step", "epoch", "examples")
"""Columns of the curves that say of what a row is."""
_BY_LAYER = re.compile(r"(last_)?grad_norm_\w+|\w+_active_share")
"""Columns whose names hold those of layers."""


def of_study(
    study: Study, texts: Iterable[str], own_metrics: Iterable[str] = ()
) -> list[Claim]:
    """Reads claims about a study that is to run; `own_metrics` are those handed in.

    They carry the answer to its question. A search does not know its trials before.

    Raises:
      ValueError: no claim, or about trials or columns that the study does not have.
    """
    sets, moved = list(SPLITS[:2]), study.test_sets
    sets += ["test_moved"] * (moved.moved_pixels > 0)
    sets += ["test_rotated"] * (moved.rotated_degrees > 0)
    metrics = ("loss", "accuracy", *study.own.metrics, *own_metrics)
    measured = [f"{split}_{metric}" for split in sets for metric in metrics]
    trials = () if study.search.space else study.trials()
    columns = [name for name in CURVES if name not in KEYS]
    columns += [name for name in measured if name not in columns]
    found = _read(texts, study.claims, trials, columns, layers=True)
    return [dataclasses.replace(claim, main=True) for claim in found]


def of_run(found: Results, texts: Iterable[str]) -> tuple[Results, list[Claim]]:
    """Adds claims to the study of a run, whose record on disk stays as it is.

    What the run compared beside its own claims, it still does.

    Returns:
      The results, and the claims that the texts name: the study's own where it has
      them.

    Raises:
      ValueError: no claim, or about trials or columns that the run does not have.
    """
    study = found.study
    asked = _read(texts, study.claims, found.trials, found.metrics)
    compares = "yes" if study.compares else study.compare_trials
    study = dataclasses.replace(
        study,
        claims=beside(study.claims, asked),
        compare_trials=compares,
        recorded=True,
    )
    return dataclasses.replace(found, study=study), asked


def beside(own: Iterable[Claim], asked: Iterable[Claim]) -> tuple[Claim, ...]:
    """Returns a study's own claims, as asked where they are, and then the others."""
    some = [*asked]
    of_study = [next((a for a in some if _is_same(a, c)), c) for c in own]
    return (*of_study, *(claim for claim in some if claim not in of_study))


def _read(
    texts: Iterable[str],
    known: Sequence[Claim],
    trials: Sequence[Trial],
    columns: Collection[str],
    layers: bool = False,
) -> list[Claim]:
    """Reads and checks claims; of one that is known, in any words, the known one."""
    found: list[Claim] = []
    for text in texts:
        claim = grammar.parse(text)
        _check(claim, trials, columns, layers)
        if not any(_is_same(c, claim) for c in found):
            found.append(next((c for c in known if _is_same(c, claim)), claim))
    return found


def _is_same(one: Claim, other: Claim) -> bool:
    said = {name: getattr(other, name) for name in ("text", "main", "otherwise")}
    return dataclasses.replace(one, **said) == other


def _check(
    claim: Claim, trials: Sequence[Trial], columns: Collection[str], layers: bool
) -> None:
    """Refuses a claim about trials, where these are known, or columns not there.

    With `layers` there are columns of layers beside.
    """
    where = f"claim {claim.text!r}: "
    for quantity in filter(None, (claim.quantity, claim.right_quantity)):
        name = quantity.metric
        by_layer = layers and _BY_LAYER.fullmatch(name)
        if name and name not in columns and not by_layer:
            hint = nearest(name, (*columns, *grammar.QUANTITIES))
            raise ValueError(f"{where}unknown column {name!r}{hint}")
    sides = [meant(trials, side) for side in claim.sides]
    for side, found in zip(claim.sides, sides):
        if trials and not found:
            raise ValueError(where + _unmet(side, trials))
    is_pair = len(sides) == 2 and claim.right_quantity is None
    if trials and is_pair and sides[0] == sides[1]:
        raise ValueError(f"{where}both sides are the same trials")


def _unmet(side: Mapping[str, Any], trials: Sequence[Trial]) -> str:
    """Says what no trial has, and which there are."""
    flats = [{**t.hyperparameters.flat(), "label": t.label} for t in trials]
    for path, value in side.items():
        if not meant(trials, {path: value}):
            values = dict.fromkeys(repr(flat[path]) for flat in flats)
            return f"no trial has {path}={value!r}{nearest(repr(value), values)}"
    together = " and ".join(f"{path}={value!r}" for path, value in side.items())
    return f"no trial has {together} together"
