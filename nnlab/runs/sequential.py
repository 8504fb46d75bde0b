# SPDX-License-Identifier: Apache-2.0
"""Adds seeds to a study until its differences are significant."""

import logging
from collections.abc import Callable

from nnlab.results import Results
from nnlab.statistics import sequential
from nnlab.study import Study
from nnlab.words import numbers

_log = logging.getLogger(__name__)


def run(
    study: Study, trained: Callable[[Study, bool], Results], resumes: bool
) -> Results:
    """Trains a study; if it names looks, adds seeds where they are needed.

    `trained` trains a study, as `experiment.run` does; its other argument says whether
    to continue the run that is there, at first `resumes`.
    """
    if not study.looks:
        return trained(study, resumes)
    found = trained(sequential.begin(study, study.looks), resumes)
    while more := sequential.asked_next(found):
        number = len(sequential.history(found)) + 1
        going = sum(t.num_seeds == more.num_seeds for t in more.trials())
        _log.info(
            "look %d of %d: %s of %s of %s",
            *(number, len(more.looks), numbers.count(more.num_seeds, "seed")),
            *(going, numbers.count(len(more.sweep), "trial")),
        )
        found = trained(more, True)
    return found
