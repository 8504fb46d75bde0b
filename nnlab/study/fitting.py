# SPDX-License-Identifier: Apache-2.0
"""Which trials a claim means, and what of a study fits a sweep of one's own; no JAX."""

import dataclasses
import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from nnlab.study.claims import Claim
from nnlab.study.hyperparameters import Flat
from nnlab.study.study import OF_TRIAL, Study, Trial
from nnlab.words.numbers import joined
from nnlab.words.settings import words


def meant(trials: Sequence[Trial], selector: Mapping[str, Any]) -> list[Trial]:
    """Returns the trials that ``{path: value}`` on a side of a claim means."""

    def fits(trial: Trial) -> bool:
        known = Flat(trial.hyperparameters.flat() | {"label": trial.label})
        return all(_equal(known[path], value) for path, value in selector.items())

    return list(filter(fits, trials))


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_equal, a, b))
    if isinstance(a, int | float) and isinstance(b, int | float):
        return math.isclose(a, b, rel_tol=1e-9)
    return a == b


def fitted(
    values: Mapping[str, Any],
    given: Collection[str],
    before: Sequence[Mapping[str, Any]] = (),
) -> Study:
    """Makes a study without what it took over and what its own sweep does not fit.

    A question and notes fit while the same fields are swept, a claim while trials of
    all its sides are there. To a question of one's own no claim of another is the
    answer.

    Args:
      values: another study's, some of them replaced; see `Study.from_dict`.
      given: the fields that were replaced; these stay.
      before: the sweep of the other.

    Raises:
      ValueError: as `Study.from_dict`.

    >>> sweep = [{"batch_size": 8}, {"batch_size": 9}]
    >>> other = {"question": "Which rate?", "notes": ("0.1 is usual.",)}
    >>> study = fitted({**other, "sweep": sweep}, {"sweep"})
    >>> study.question, study.notes
    ('How does the batch size change training?', ())
    """
    study = Study.from_dict(values)
    if not {"sweep", "question"} & {*given}:
        return study
    now, then = ({*itertools.chain(*of)} - {*OF_TRIAL} for of in (study.sweep, before))
    is_other = "sweep" in given and now != then
    claims = [c for c in study.claims if "sweep" not in given or _fits(study, c)]
    if is_other or "question" in given:
        claims = [dataclasses.replace(claim, main=False) for claim in claims]
    own: dict[str, Any] = {"claims": tuple(claims)}
    if is_other:
        own["notes"] = ()
    if is_other and study.question != Study().question:
        own["question"] = _question(study)
    kept = {name: value for name, value in own.items() if name not in given}
    return Study.from_dict({**values, **kept})


def _fits(study: Study, claim: Claim) -> bool:
    return all(meant(study.trials(), side) for side in claim.sides)


def _question(study: Study) -> str:
    names = [f"the {words(path)}" for path in study.swept()]
    if not names:
        return Study().question
    return f"How do{'es' * (len(names) == 1)} {joined(names)} change training?"
