# SPDX-License-Identifier: Apache-2.0
"""Claims that are asked in a line, of a study or of a finished run; no JAX."""

import dataclasses
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from nnlab.results import instants
from nnlab.results.answers import SPLITS
from nnlab.results.tables import CURVES, Results
from nnlab.study import Claim, Quantity, Study, Trial, grammar
from nnlab.study.claims import nonsense
from nnlab.study.fitting import meant
from nnlab.study.hyperparameters import Flat
from nnlab.study.probes import parse
from nnlab.words.spelling import nearest

KEYS = ("trial", "seed", "step", "epoch", "examples")
"""Columns of the curves that say of what a row is."""
METRICS = ("loss", "accuracy", "r2", "mae")
"""What is measured of every split, of classes or of numbers."""
_BY_LAYER = r"grad_norm_\w+|\w+_active_share"
"""Columns whose names hold those of layers."""


def of_study(
    study: Study,
    texts: Iterable[str],
    own_metrics: Iterable[str] = (),
    own_probes: Iterable[str] = (),
) -> tuple[Claim, ...]:
    """Returns a study's claims and those that texts ask of it, each of these once.

    What is asked carries the answer to its question; of a study's claims that are it,
    the first does. `own_metrics` and `own_probes` are those handed in. A search does
    not know its trials before.

    Raises:
      ValueError: no claim, or about trials, columns or epochs that the study does not
        have.
    """
    sets, moved = list(SPLITS[:2]), study.test_sets
    sets += ["test_moved"] * (moved.moved_pixels > 0)
    sets += ["test_rotated"] * (moved.rotated_degrees > 0)
    sets += ["train_clean"] * study.has_label_noise()
    metrics = (*METRICS, *study.further_metrics(), *own_metrics)
    measured = [f"{split}_{metric}" for split in sets for metric in metrics]
    trials = () if study.search.space else study.trials()
    columns = [name for name in CURVES if name not in KEYS]
    columns += [name for name in measured if name not in columns]
    texts = list(texts)
    names = [probe.name for probe in (*study.probed(), *map(parse, own_probes))]
    columns += names
    further = re.compile("|".join((_BY_LAYER, *(rf"{name}_\w+" for name in names))))
    asked = _read(texts, trials, columns, instants.unplanned, further)
    typed = [grammar.answer(text) for text in texts]  # a study may have them already
    claims: list[Claim] = []
    left = dict(asked)
    for claim in study.claims:
        key = _key(claim, trials)
        if left.pop(key, None):
            claim = dataclasses.replace(claim, main=True)
        elif key in asked and claim in typed:
            continue
        claims.append(claim)
    more = (dataclasses.replace(claim, main=True) for claim in left.values())
    return (*claims, *more)


def planned(study: Study) -> tuple[Claim, ...]:
    """Returns a study's claims that will have values, as where epochs were changed.

    Of trials that the study does not have, claims stay.
    """
    trials = study.trials()
    return tuple(c for c in study.claims if not _lacking(c, trials, instants.unplanned))


def check_planned(study: Study) -> None:
    """Checks that a new run of a study could decide the study's own claims.

    Claims about trials that the study does not have may stay.

    Raises:
      ValueError: a claim about a number where no value can be, or an epoch at which
        nothing is evaluated.
    """
    trials = study.trials()
    for claim in study.claims:
        problem = nonsense(claim) or _lacking(claim, trials, instants.unplanned)
        if problem:
            raise ValueError(f"claim {claim.text!r}: {problem}")


def of_run(found: Results, texts: Iterable[str]) -> tuple[Results, list[Claim]]:
    """Adds claims to the study of a run, whose record on disk stays as it is.

    What the run compared beside its own claims, it still does.

    Returns:
      The results, and the claims that the texts name: the study's own where it has
      them.

    Raises:
      ValueError: no claim, or about trials, columns or instants that the run does not
        have.
    """

    def lacking(trial: Trial, quantity: Quantity) -> str:
        return instants.unmeasured(found, trial.index, quantity)

    study, trials = found.study, found.trials
    asked = _read(texts, trials, found.metrics, lacking)
    own = {_key(claim, trials): claim for claim in reversed(study.claims)}
    more = [claim for key, claim in asked.items() if key not in own]
    compares = "yes" if study.compares else study.compare_trials
    study = dataclasses.replace(
        study, claims=(*study.claims, *more), compare_trials=compares, recorded=True
    )
    claims = [own.get(key, claim) for key, claim in asked.items()]
    return dataclasses.replace(found, study=study), claims


def _read(
    texts: Iterable[str],
    trials: Sequence[Trial],
    columns: Collection[str],
    lacking: Callable[[Trial, Quantity], str],
    further: re.Pattern[str] | None = None,
) -> dict[str, Claim]:
    """Reads and checks claims, each once, by what they compare.

    `lacking` says why a trial has no value of a quantity. There may be `further`
    columns, such as those of layers.
    """
    found: dict[str, Claim] = {}
    for text in texts:
        claim = grammar.parse(text)
        problem = _unknown(claim, columns, further) or _unmet(claim, trials, lacking)
        if problem:
            raise ValueError(f"claim {claim.text!r}: {problem}")
        found.setdefault(_key(claim, trials), claim)
    return found


def _key(claim: Claim, trials: Sequence[Trial]) -> str:
    """Returns what a claim compares, whatever its words and those of its sides.

    The best of one trial is that trial.
    """
    if all(len(meant(trials, side)) == 1 for side in claim.sides):
        claim = dataclasses.replace(claim, among="mean")
    return claim.normal(
        lambda side: [t.index for t in meant(trials, side)] or sorted(side.items())
    )


def _unknown(
    claim: Claim, columns: Collection[str], further: re.Pattern[str] | None
) -> str:
    """Says which column of a claim there is not; "" for none."""
    for quantity, _ in claim.compared:
        name = quantity.metric
        is_further = further and further.fullmatch(name)
        if name and name not in columns and not is_further:
            hint = nearest(name, (*columns, *grammar.QUANTITIES))
            return f"unknown column {name!r}{hint}"
    return ""


def _unmet(
    claim: Claim,
    trials: Sequence[Trial],
    lacking: Callable[[Trial, Quantity], str],
) -> str:
    """Says which side of a claim has no trials, or no value; "" for none."""
    if not trials:
        return ""
    for side in claim.sides:
        if not meant(trials, side):
            return _unnamed(side, trials)
    if reason := _lacking(claim, trials, lacking):
        return reason
    added, taken = claim.parted(lambda side: [t.index for t in meant(trials, side)])
    return "both sides are the same trials" if added == taken else ""


def _lacking(
    claim: Claim,
    trials: Sequence[Trial],
    lacking: Callable[[Trial, Quantity], str],
) -> str:
    """Says what a trial of a claim, of the best all, have no value of; "" for none."""
    for quantity, side in claim.compared:
        found = meant(trials, side) if isinstance(side, dict) else []
        reasons = [lacking(trial, quantity) for trial in found]
        if any(reasons) and (claim.among == "mean" or all(reasons)):
            return next(filter(None, reasons))
    return ""


def _unnamed(side: Mapping[str, Any], trials: Sequence[Trial]) -> str:
    """Says what no trial has, and which there are."""
    flats = [Flat(t.hyperparameters.flat() | {"label": t.label}) for t in trials]
    for path, value in side.items():
        if not meant(trials, {path: value}):
            values = dict.fromkeys(repr(flat[path]) for flat in flats)
            return f"no trial has {path}={value!r}{nearest(repr(value), values)}"
    together = " and ".join(f"{path}={value!r}" for path, value in side.items())
    return f"no trial has {together} together"
