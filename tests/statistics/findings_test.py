# SPDX-License-Identifier: Apache-2.0
"""Each statistic of a run is computed once."""

import collections
import contextlib
import sys

import pytest
import synthetic

from nnlab import report
from nnlab.statistics import (
    judging,
    members,
    ranking,
    sequential,
    summary,
    targets,
)
from nnlab.study import Claim, Quantity

RATE = "optimizer.learning_rate"
STATISTICS = (
    *(ranking.best_trial, ranking.compare_to_best, judging.judge, summary.summarize),
    *(targets.steps_to_target, targets.default_target, sequential.history),
    *(members.dropped, members.status_counts),
)


@contextlib.contextmanager
def counted_calls():
    """Counts how often each statistic is computed, and of what."""
    names = {function.__code__: function.__name__ for function in STATISTICS}
    calls = collections.Counter()

    def note(frame, event, _):
        if event == "call" and frame.f_code in names:
            values = frame.f_locals.values()
            of = [v for v in values if isinstance(v, int | float | tuple)]
            calls[names[frame.f_code], *of] += 1

    sys.setprofile(note)
    try:
        yield calls
    finally:
        sys.setprofile(None)


@pytest.mark.slow
def test_a_report_computes_each_statistic_once(tmp_path):
    rate = Quantity(metric="test_accuracy")
    claim = Claim(text="x", quantity=rate, left={RATE: 3.2}, right="chance")
    options = {"num_trials": 2, "num_evaluations": 4, "diverged": {(1, 0): 2}}
    options["fields"] = {"figures": ("curves", "target")}
    found = synthetic.results(claims=[claim], workdir=tmp_path, **options)
    with counted_calls() as calls:
        report.write(found.workdir)
    assert {name for name, *_ in calls} == {f.__name__ for f in STATISTICS}
    assert set(calls.values()) == {1}, calls


def test_what_is_found_is_what_the_functions_say_and_is_held():
    found = synthetic.findings(never_ran=[1], diverged={(0, 1): 2})
    results = found.results
    assert found.ran == (0, 2, 3)
    assert found.best == ranking.best_trial(results)
    assert found.best_of([3, 0]) == ranking.best_trial(results, [0, 3])
    assert found.target == targets.default_target(results, found.best)
    time = found.steps_to_target(2, 0.5)
    assert time == targets.steps_to_target(results, 2, 0.5)
    assert found.rows == found.summary.to_pylist()
    values = found.final(0, "test_accuracy")
    assert values is found.final(0, "test_accuracy")
    with pytest.raises(ValueError, match="read-only"):
        values[0] = 0.0
