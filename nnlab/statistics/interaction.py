# SPDX-License-Identifier: Apache-2.0
"""Whether what one swept field gains depends on another: a difference of differences.

Where two fields were swept as a full grid, the gain is that of one field's last value
over its first, in final test accuracy. At any two values of the other field it may
differ; all pairs of them are tested, and Holm's adjustment runs over the pairs.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nnlab.statistics.effects import (
    MAX_LEFT_OUT,
    Effect,
    adjusted_interval,
    chance_of_parting,
    holm,
    holm_steps,
    is_enough,
    paired,
    scaled,
    two_sided,
)
from nnlab.statistics.examples import SEEDS, final_score, widened
from nnlab.statistics.intervals import LEVEL
from nnlab.statistics.ranking import correction
from nnlab.study.claims import AT_CHANCE
from nnlab.words.settings import is_number, words

if TYPE_CHECKING:
    from nnlab.statistics.findings import Findings

MOST_VALUES = 20
"""Of the other field: 190 pairs take a second on 10,000 examples."""


@dataclasses.dataclass(frozen=True)
class Interaction:
    """The clearest difference between the gains of one field at values of another.

    Attributes:
      field: path of the one that the question names first, else of the one with fewer
        values.
      other: path of the other one.
      trials: indices of the four trials: at the other field's first value the field's
        first and last one, then likewise at its second value.
      gains: mean gains at both values, over the seeds that all four trials have.
      effect: the second gain minus the first one.
      low, high: its interval, adjusted like `p_holm`; NaN without spread.
      n: seeds.
      p_holm: adjusted over all pairs of values and by `ranking.correction`, and not
        below the smallest of the trials' comparisons with the best: where no trial
        differs, it adds nothing to the 5 % of reports that err.
      over: of what else `p_holm` speaks, see `examples.widened`.
    """

    field: str
    other: str
    trials: tuple[int, int, int, int]
    gains: tuple[float, float]
    effect: float
    low: float
    high: float
    n: int
    p_holm: float
    over: str = SEEDS

    @property
    def resolved(self) -> bool:
        """Whether the gains differ significantly."""
        return self.p_holm <= 1 - LEVEL


def grid(findings: "Findings") -> tuple[str, str, np.ndarray] | None:
    """Returns two swept fields and the trials at their values, int (A, B).

    First comes the field that the question names first, by any word of four letters or
    more, else the one with fewer values. Numbers and truth values ascend, all others
    keep the order of the sweep. None unless exactly two fields were swept, every
    combination is a trial, and all ran.
    """
    results = findings.results
    swept = results.study.swept()
    if len(swept) != 2 or len(findings.ran) < len(results.trials):
        return None
    rows = [tuple(t.settings()[path] for path in swept) for t in results.trials]
    axes = [_ordered([row[axis] for row in rows]) for axis in (0, 1)]
    wanted = [[(a, b) for b in axes[1]] for a in axes[0]]
    if sorted(map(repr, itertools.chain(*wanted))) != sorted(map(repr, rows)):
        return None
    found = np.array([[rows.index(pair) for pair in line] for line in wanted])
    asked = [_place(path, results.study.question) for path in swept]
    if (asked[0], len(axes[0])) <= (asked[1], len(axes[1])):
        return swept[0], swept[1], found
    return swept[1], swept[0], found.T


def _place(path: str, question: str) -> int:
    """Returns where a question names a field; behind its end if it does not."""
    names = [word for word in words(path).split() if len(word) >= 4]  # no "of"
    places = [question.lower().find(word) for word in names]
    return min((p for p in places if p >= 0), default=len(question))


def _ordered(values: Sequence[Any]) -> list[Any]:
    distinct = list({repr(value): value for value in values}.values())
    plain = all(is_number(v) or isinstance(v, bool) for v in distinct)
    return sorted(distinct) if plain else distinct


def find(findings: "Findings") -> Interaction | None:
    """Returns the clearest interaction of two swept fields.

    None without a `grid`, with more than `MOST_VALUES` values of the other field, or
    where nothing is tested: the study does not compare its trials, or more than a
    quarter of the seeds lack a value.

    Tested is what the trials' comparison tests: for new seeds and, where they are
    known, new examples. Where the numbers of networks at chance part, p is at least
    that of these counts.
    """
    found = grid(findings)
    test = final_score(findings.results)
    if found is None or test.metric not in findings.results.metrics:
        return None
    field, other, trials = found
    if trials.shape[1] > MOST_VALUES:
        return None
    first, last = trials[0].tolist(), trials[-1].tolist()
    pairs = list(itertools.combinations(range(len(first)), 2))
    fours = [(first[j], last[j], first[k], last[k]) for j, k in pairs]
    tests = [_difference(findings, four) for four in fours]
    p = np.array([p for _, _, p in tests])
    if np.isnan(p).all():
        return None
    factor = correction(findings.results.study)
    among = [c.p_holm for c in findings.compared if not np.isnan(c.p_holm)]
    adjusted = np.clip(factor * holm(p), min(among, default=np.nan), 1.0)
    place = int(np.nanargmin(p))
    (effect, over, _), four = tests[place], fours[place]
    step = float(factor * holm_steps(p)[place])
    low, high = adjusted_interval(effect, step, adjusted[place])
    values = np.array([findings.final(trial, test.metric) for trial in four])
    means = values[:, ~np.isnan(values).any(axis=0)].mean(axis=1)
    return Interaction(
        *(field, other, four),
        gains=(float(means[1] - means[0]), float(means[3] - means[2])),
        effect=effect.mean,
        low=low,
        high=high,
        n=effect.n,
        p_holm=float(adjusted[place]),
        over=over,
    )


def _difference(
    findings: "Findings", four: tuple[int, int, int, int]
) -> tuple[Effect, str, float]:
    """Returns a difference of gains, of what its test speaks, and its p-value."""
    results = findings.results
    seeds = min(results.trials[t].num_seeds for t in four)
    test = final_score(results)
    a, b, c, d = (findings.final(t, test.metric)[:seeds] for t in four)
    # Half of it is a difference of two sides, each the mean of two trials.
    half = ((d - c) - (b - a)) / 2
    sides = [(test, (four[3], four[0])), (test, (four[2], four[1]))]
    found, over = widened(paired(half), half, sides, results)
    effect = scaled(found, 2.0)
    if not results.study.compares or not is_enough(effect, seeds):
        return effect, over, np.nan
    lost = [np.nansum(findings.reduced(t, AT_CHANCE)[:seeds]) for t in four]
    more = abs(lost[3] + lost[0] - lost[2] - lost[1])
    least = chance_of_parting(more, 2 * seeds) if more > MAX_LEFT_OUT * seeds else 0.0
    return effect, over, max(two_sided(effect), least)
