# SPDX-License-Identifier: Apache-2.0
"""What a run says about the seeds and test examples that a difference needs."""

import dataclasses
import math

import numpy as np

from nnlab.statistics.examples import answers, final_score, ratio
from nnlab.statistics.findings import Findings
from nnlab.statistics.intervals import LEVEL, MIN_SEEDS
from nnlab.statistics.power import Spread, pooled, spread
from nnlab.statistics.ranking import correction


def of_comparison(findings: Findings) -> Spread | None:
    """Returns the spread of the trials' differences to the best in test accuracy.

    Small differences are between trials that are about as good, so it is the mean over
    the half of the trials that come nearest to the best; of those without a seed that
    diverged or ended at chance. None if no other is like that, or of fewer than three
    seeds.
    """
    best, results = findings.best, findings.results
    test = final_score(results)
    found = {}
    for trial in findings.ran:
        counts = findings.counts(trial)
        if best is None or trial == best or counts["at_chance"] or counts["diverged"]:
            continue
        d = findings.final(trial, test.metric) - findings.final(best, test.metric)
        there = ~np.isnan(d)
        if there.sum() < MIN_SEEDS:
            continue
        own, other = (answers(results, t, test) for t in (trial, best))
        x, share = d[:, None], ratio(results, trial, test)
        if own and other and own.of == other.of:
            kind = np.result_type(own.values, np.int8)  # of truth values, numbers
            x = np.subtract(own.values, other.values, dtype=kind)
        found[abs(float(d[there].mean()))] = spread(x[there], ratio=share)
    nearest = [of for _, of in sorted(found.items(), key=lambda item: item[0])]
    return pooled(nearest[: -(-len(nearest) // 2)]) if nearest else None


def alpha_of_comparison(findings: Findings) -> float:
    """Returns the level of the first step of the comparison with the best, if asked."""
    pairs = math.comb(len(findings.results.trials), 2)
    study = findings.results.study
    asked = dataclasses.replace(study, compare_trials="yes", recorded=True)
    return (1 - LEVEL) / (correction(asked) * max(pairs, 1))


def seconds_of_seeds(findings: Findings) -> np.ndarray:
    """Returns how long each trial trains and evaluates a seed, (T,): an equal share of
    its program's time, without compilation."""
    results = findings.results
    seconds = np.zeros(len(results.trials))
    names = ("train_seconds", "evaluation_seconds", "scoring_seconds")
    for trial in findings.ran:
        program = results.program(trial)
        rows = findings.timings(program["index"])
        spent = sum(row[n] or 0.0 for row in rows for n in names if n in row)
        seconds[trial] = spent / (len(program["trials"]) * program["num_seeds"])
    return seconds
