# SPDX-License-Identifier: Apache-2.0
"""A question or a sweep of one's own takes over only what fits it."""

import dataclasses

import pytest

from nnlab import api
from nnlab.study import Study, product
from nnlab.study.claims import higher
from nnlab.study.fitting import fitted

RATE, RATES = "optimizer.learning_rate", (0.1, 0.3, 1.0)
BETTER = higher("0.3 wins", "test_accuracy", {RATE: 0.3}, {RATE: 0.1}, main=True)
LEARNS = higher("1 learns", "test_accuracy", {RATE: 1.0}, "chance")
OTHER = Study(
    question="Which rate?",
    sweep=product({RATE: RATES}),
    claims=(BETTER, LEARNS),
    notes=("0.1 is usual.",),
)
AS_IT_IS = (OTHER.question, OTHER.claims, OTHER.notes)
PLAIN = dataclasses.replace(BETTER, main=False)


@pytest.mark.parametrize(
    ("own", "kept"),
    [
        ({"num_seeds": 3}, AS_IT_IS),
        ({"sweep": {RATE: (*RATES, 3.0)}}, AS_IT_IS),
        ({"sweep": {RATE: RATES[:2]}}, (OTHER.question, (BETTER,), OTHER.notes)),
        ({"sweep": {RATE: RATES[1:]}}, (OTHER.question, (LEARNS,), OTHER.notes)),
        ({"question": "Why?"}, ("Why?", (PLAIN, LEARNS), OTHER.notes)),
        ({"question": "Why?", "sweep": {"batch_size": (8, 9)}}, ("Why?", (), ())),
        (
            {"sweep": {"batch_size": (8, 9), RATE: (0.1, 0.3)}, "notes": ("Mine.",)},
            (
                "How do the learning rate and the batch size change training?",
                (PLAIN,),
                ("Mine.",),
            ),
        ),
        ({"question": "Why?", "claims": (BETTER,)}, ("Why?", (BETTER,), OTHER.notes)),
    ],
)
def test_it_keeps_what_fits(own, kept):
    study = api.define(OTHER, **own)
    assert (study.question, study.claims, study.notes) == kept


def test_trials_are_compared_once_no_claim_is_left():
    assert not OTHER.compares
    values = {**OTHER.fields(), "sweep": product({"batch_size": (8, 9)})}
    assert fitted(values, {"sweep"}, OTHER.sweep).compares
